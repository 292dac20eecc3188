/* Parsing of templates: the pieces become a tree, by Go's grammar and with Go's complaints. The position of a node
 * is that of the piece it begins with, as Go has it: errors of the walk name it.
 *
 * The first complaint ends the parse: `failed` is set and every function returns at once. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "labels.h"
#include "template_private.h"
#include "units.h"
#include "utf8.h"

enum {
    MESSAGE_MAX = 1024,
};

struct parser {
    struct stage_compiler *c;
    struct template *t;
    struct template_lexer lexer;
    struct item items[3]; /* three pieces of lookahead */
    unsigned peeked;
    struct str *vars; /* those that may be used here */
    size_t n_vars;
    uint32_t action_line; /* of the action at hand; 0 = none */
    unsigned range_depth;
    unsigned depth;
    int result;
};

/* ---- complaints */

static void *fail_memory(struct parser *p) {
    if (p->result == 0)
        p->result = -ENOMEM;
    return NULL;
}

static void *complain(struct parser *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void *complain(struct parser *p, const char *format, ...) {
    if (p->result < 0)
        return NULL;
    char text[MESSAGE_MAX];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    p->result =
        err_set(p->c->reterr, -ESYNTAX, "template: %s:%u: %s", p->t->name, p->items[0].line, text);
    return NULL;
}

/* The piece as Go prints it: words as <end>, texts quoted and cut after ten characters. */
static void print_item(struct buf *out, const struct item *i) {
    if (i->kind == ITEM_EOF) {
        buf_add_str(out, STR("EOF"));
    } else if (i->kind == ITEM_ERROR) {
        buf_add_str(out, i->text);
    } else if (i->kind > ITEM_KEYWORD) {
        buf_addf(out, "<%.*s>", STR_ARG(i->text));
    } else if (i->text.size > 10) {
        size_t size = 0;
        for (unsigned n = 0; n < 10 && size < i->text.size; n++) {
            uint32_t rune;
            size += utf8_decode(str_from_offset(i->text, size), &rune);
        }
        go_quote(out, str_make(i->text.data, size));
        buf_add_str(out, STR("..."));
    } else {
        go_quote(out, i->text);
    }
}

static void *unexpected(struct parser *p, struct item i, const char *context) {
    struct buf text = buf_make(MESSAGE_MAX);
    print_item(&text, &i);
    if (i.kind != ITEM_ERROR) {
        complain(p, "unexpected %.*s in %s", STR_ARG(buf_str(&text)), context);
    } else if (p->action_line != 0 && p->action_line != i.line) {
        const char *in = str_ends(i.text, STR(" action")) ? "" : " in action";
        complain(p, "%.*s%s started at %s:%u", STR_ARG(i.text), in, p->t->name, p->action_line);
    } else {
        complain(p, "%.*s", STR_ARG(i.text));
    }
    buf_done(&text);
    return NULL;
}

/* ---- pieces */

static struct item next(struct parser *p) {
    if (p->peeked > 0)
        p->peeked--;
    else
        p->items[0] = template_lex(&p->lexer);
    return p->items[p->peeked];
}

static void backup(struct parser *p) {
    p->peeked++;
}

static struct item peek(struct parser *p) {
    if (p->peeked > 0)
        return p->items[p->peeked - 1];
    p->peeked = 1;
    p->items[0] = template_lex(&p->lexer);
    return p->items[0];
}

static struct item next_nonspace(struct parser *p) {
    struct item i = next(p);
    while (i.kind == ITEM_SPACE)
        i = next(p);
    return i;
}

static struct item peek_nonspace(struct parser *p) {
    struct item i = next_nonspace(p);
    backup(p);
    return i;
}

static struct node *new_node(struct parser *p, enum node_kind kind, uint32_t pos) {
    struct node *n = arena_array(p->c->arena, 1, sizeof(*n));
    if (!n)
        return fail_memory(p);
    n->kind = kind;
    n->pos = pos;
    return n;
}

static bool enter(struct parser *p) {
    if (++p->depth <= TEMPLATE_DEPTH_MAX)
        return true;
    complain(p, "nested more than %d deep", TEMPLATE_DEPTH_MAX);
    return false;
}

/* ---- names */

static struct path_name *add_name(struct parser *p, struct path_name **tail, struct str name) {
    struct path_name *n = arena_array(p->c->arena, 1, sizeof(*n));
    if (!n)
        return fail_memory(p);
    *n = (struct path_name){
        .name = name,
        .label = compiler_name(p->c, name),
        .is_error = str_eq(name, STR("__error__")),
        .is_details = str_eq(name, STR("__error_details__")),
    };
    if (n->label == NAME_NONE)
        return fail_memory(p);
    *tail = n;
    return n;
}

static void push_var(struct parser *p, struct str name) {
    p->vars[p->n_vars++] = name; /* there is room for one by each '$' of the text */
    p->t->n_decls++;
}

static struct node *new_variable(struct parser *p, struct item i) {
    struct node *n = new_node(p, NODE_VARIABLE, i.pos);
    if (n)
        n->path.variable = i.text;
    return n;
}

static struct node *use_variable(struct parser *p, struct item i) {
    for (size_t k = 0; k < p->n_vars; k++)
        if (str_eq(p->vars[k], i.text))
            return new_variable(p, i);
    return complain(p, "undefined variable \"%.*s\"", STR_ARG(i.text));
}

/* ---- literals */

static void *refuse_number(struct parser *p, const char *why, struct str text) {
    struct buf quoted = buf_make(MESSAGE_MAX / 2);
    go_quote(&quoted, text);
    complain(p, "%s: %.*s", why, STR_ARG(buf_str(&quoted)));
    buf_done(&quoted);
    return NULL;
}

/* strconv.ParseInt(text, 0, 64) and ParseUint: 0x, 0o, 0b, a leading 0, underscores between digits. */
static int parse_integer(struct str text, bool *ret_negative, uint64_t *ret) {
    bool negative = text.size > 0 && text.data[0] == '-';
    if (text.size > 0 && (negative || text.data[0] == '+'))
        text = str_from_offset(text, 1);
    unsigned base = 10;
    bool prefixed = false;
    if (text.size > 1 && text.data[0] == '0') {
        char c = (char)(text.data[1] | 0x20);
        base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
        prefixed = c == 'x' || c == 'b' || c == 'o';
        text = str_from_offset(text, prefixed ? 2 : 1);
    }
    uint64_t value = 0;
    bool digit = base == 8 || prefixed, any = base == 8 && !prefixed;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '_') {
            if (!digit || i + 1 == text.size)
                return -ESYNTAX;
            digit = false;
            continue;
        }
        unsigned d = c >= '0' && c <= '9'                     ? (unsigned)(c - '0')
                     : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (unsigned)((c | 0x20) - 'a') + 10
                                                              : 99;
        if (d >= base)
            return -ESYNTAX;
        if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, d, &value))
            return -ERANGE;
        digit = any = true;
    }
    *ret_negative = negative;
    *ret = value;
    return any ? 0 : -ESYNTAX;
}

int template_integer(struct str text, int64_t *ret) {
    bool negative;
    uint64_t value;
    int r = parse_integer(text, &negative, &value);
    if (r < 0)
        return r;
    if (value > (uint64_t)INT64_MAX + negative)
        return -ERANGE;
    *ret = negative ? (int64_t)(0 - value) : (int64_t)value;
    return 0;
}

static void char_constant(struct parser *p, struct item i, struct node *n) {
    struct str text;
    uint32_t rune = 0;
    int r = go_unquote(i.text, p->c->arena, &text);
    if (r == -ENOMEM) {
        fail_memory(p);
    } else if (r < 0 || text.size == 0) {
        complain(p, "invalid syntax");
    } else if (text.size == 1) { /* '\xff' is the character 0xff */
        rune = (unsigned char)text.data[0];
    } else if (utf8_decode(text, &rune) != text.size) {
        complain(p, "malformed character constant: %.*s", STR_ARG(i.text));
    }
    n->number.is_int = n->number.is_uint = n->number.is_float = true;
    n->number.i = rune;
    n->number.f = rune;
}

static struct node *new_number(struct parser *p, struct item i) {
    struct node *n = new_node(p, NODE_NUMBER, i.pos);
    if (!n)
        return NULL;
    n->number.text = i.text;
    if (i.kind == ITEM_CHAR_CONSTANT) {
        char_constant(p, i, n);
        return n;
    }
    if (i.kind == ITEM_COMPLEX || str_ends(i.text, STR("i")))
        return refuse_number(p, "complex numbers are not supported", i.text);
    bool negative;
    uint64_t magnitude;
    int r = parse_integer(i.text, &negative, &magnitude);
    bool has_sign = i.text.data[0] == '-' || i.text.data[0] == '+';
    n->number.is_int = template_integer(i.text, &n->number.i) == 0;
    n->number.is_uint = r == 0 && !has_sign;
    if (n->number.is_int || n->number.is_uint) {
        n->number.is_float = true;
        n->number.f = n->number.is_int ? (double)n->number.i : (double)magnitude;
        return n;
    }
    if (float_parse_go(i.text, &n->number.f) < 0)
        return refuse_number(p, "illegal number syntax", i.text);
    bool looks_float = false;
    for (size_t k = 0; k < i.text.size; k++)
        looks_float = looks_float || strchr(".eEpP", i.text.data[k]);
    if (!looks_float)
        return refuse_number(p, "integer overflow", i.text);
    n->number.is_float = true;
    if (fabs(n->number.f) < 9.2e18 && n->number.f == trunc(n->number.f)) {
        n->number.is_int = true;
        n->number.i = (int64_t)n->number.f;
    }
    return n;
}

static struct node *new_string(struct parser *p, struct item i) {
    struct node *n = new_node(p, NODE_STRING, i.pos);
    if (!n)
        return NULL;
    n->string.quoted = i.text;
    int r = go_unquote(i.text, p->c->arena, &n->string.text);
    if (r == -ENOMEM)
        return fail_memory(p);
    return r < 0 ? complain(p, "invalid syntax") : n;
}

/* ---- pipelines */

static struct node *parse_pipeline(struct parser *p, const char *context, enum item_kind end);

static struct node *parse_term(struct parser *p) {
    struct item i = next_nonspace(p);
    struct node *n;
    switch ((int)i.kind) {
    case ITEM_IDENTIFIER:
        n = new_node(p, NODE_IDENTIFIER, i.pos);
        if (n) {
            n->call.name = i.text;
            n->call.function = function_find(i.text);
            if (!n->call.function)
                return complain(p, "function \"%.*s\" not defined", STR_ARG(i.text));
        }
        return n;
    case ITEM_DOT:
        return new_node(p, NODE_DOT, i.pos);
    case ITEM_NIL:
        return new_node(p, NODE_NIL, i.pos);
    case ITEM_VARIABLE:
        return use_variable(p, i);
    case ITEM_FIELD:
        n = new_node(p, NODE_FIELD, i.pos);
        if (n)
            (void)add_name(p, &n->path.names, str_from_offset(i.text, 1));
        return n;
    case ITEM_BOOL:
        n = new_node(p, NODE_BOOL, i.pos);
        if (n)
            n->is_true = str_eq(i.text, STR("true"));
        return n;
    case ITEM_CHAR_CONSTANT:
    case ITEM_COMPLEX:
    case ITEM_NUMBER:
        return new_number(p, i);
    case ITEM_LEFT_PAREN:
        return parse_pipeline(p, "parenthesized pipeline", ITEM_RIGHT_PAREN);
    case ITEM_STRING:
    case ITEM_RAW_STRING:
        return new_string(p, i);
    default:
        backup(p);
        return NULL;
    }
}

static void *refuse_field(struct parser *p, const struct node *n) {
    struct buf text = buf_make(MESSAGE_MAX / 2), quoted = buf_make(MESSAGE_MAX / 2);
    node_print(&text, n);
    go_quote(&quoted, buf_str(&text));
    complain(p, "unexpected . after term %.*s", STR_ARG(buf_str(&quoted)));
    buf_done(&text);
    buf_done(&quoted);
    return NULL;
}

/* A term and the fields behind it. */
static struct node *parse_operand(struct parser *p) {
    struct node *n = parse_term(p);
    if (!n || p->result < 0 || peek(p).kind != ITEM_FIELD)
        return n;
    if (n->kind == NODE_BOOL || n->kind == NODE_STRING || n->kind == NODE_NUMBER ||
        n->kind == NODE_NIL || n->kind == NODE_DOT) {
        while (peek(p).kind == ITEM_FIELD)
            (void)next(p);
        return refuse_field(p, n);
    }
    uint32_t pos = peek(p).pos;
    if (n->kind != NODE_FIELD && n->kind != NODE_VARIABLE) {
        struct node *chain = new_node(p, NODE_CHAIN, pos);
        if (!chain)
            return NULL;
        chain->path.base = n;
        n = chain;
    }
    n->pos = pos;
    struct path_name **tail = &n->path.names;
    while (*tail)
        tail = &(*tail)->next;
    while (peek(p).kind == ITEM_FIELD) {
        struct path_name *name = add_name(p, tail, str_from_offset(next(p).text, 1));
        if (!name)
            return NULL;
        tail = &name->next;
    }
    return n;
}

static struct node *parse_command(struct parser *p) {
    struct node *command = new_node(p, NODE_COMMAND, peek_nonspace(p).pos);
    if (!command)
        return NULL;
    struct node **tail = &command->command.args;
    for (;;) {
        (void)peek_nonspace(p);
        struct node *operand = parse_operand(p);
        if (p->result < 0)
            return NULL;
        if (operand) {
            *tail = operand;
            tail = &operand->next;
            command->command.count++;
        }
        struct item i = next(p);
        if (i.kind == ITEM_SPACE)
            continue;
        if (i.kind == ITEM_RIGHT_DELIM || i.kind == ITEM_RIGHT_PAREN)
            backup(p);
        else if (i.kind != ITEM_PIPE)
            return unexpected(p, i, "operand");
        break;
    }
    if (command->command.count == 0)
        return complain(p, "empty command");
    if (command->command.count > TEMPLATE_ARGS_MAX)
        return complain(p, "more than %d arguments", TEMPLATE_ARGS_MAX);
    return command;
}

static void check_pipeline(struct parser *p, const struct node *pipe, const char *context) {
    const struct node *command = pipe->pipe.commands;
    if (!command) {
        complain(p, "missing value for %s", context);
        return;
    }
    unsigned stage = 2;
    for (command = command->next; command; command = command->next, stage++) {
        enum node_kind kind = command->command.args->kind;
        if (kind == NODE_BOOL || kind == NODE_DOT || kind == NODE_NIL || kind == NODE_NUMBER ||
            kind == NODE_STRING)
            complain(p, "non executable command in pipeline stage %u", stage);
    }
}

static bool add_decl(struct parser *p, struct node *pipe, struct item i) {
    (void)next_nonspace(p); /* ":=", "=" or "," */
    struct node **tail = &pipe->pipe.decls;
    while (*tail)
        tail = &(*tail)->next;
    *tail = new_variable(p, i);
    push_var(p, i.text);
    return p->result == 0;
}

/* "$x :=", "$x =", "$i, $x :=". Whether a variable is declared here shows only behind it and a blank. */
static void parse_decls(struct parser *p, struct node *pipe, const char *context) {
    bool in_range = strcmp(context, "range") == 0;
    for (unsigned count = 1;; count++) {
        struct item v = peek_nonspace(p);
        if (v.kind != ITEM_VARIABLE)
            return;
        (void)next(p);
        struct item behind = peek(p);
        struct item i = peek_nonspace(p);
        if (i.kind == ITEM_ASSIGN || i.kind == ITEM_DECLARE) {
            pipe->pipe.is_assign = i.kind == ITEM_ASSIGN;
            (void)add_decl(p, pipe, v);
            return;
        }
        if (i.kind == ITEM_CHAR && str_eq(i.text, STR(","))) {
            if (!add_decl(p, pipe, v))
                return;
            enum item_kind after = peek_nonspace(p).kind;
            if (!in_range || count > 1) {
                complain(p, "too many declarations in %s", context);
                return;
            }
            if (after == ITEM_VARIABLE || after == ITEM_RIGHT_DELIM || after == ITEM_RIGHT_PAREN)
                continue;
            complain(p, "range can only initialize variables");
            return;
        }
        if (behind.kind == ITEM_SPACE) {
            p->items[1] = behind;
            p->items[2] = v;
            p->peeked = 3;
        } else {
            p->items[1] = v;
            p->peeked = 2;
        }
        return;
    }
}

static bool begins_command(enum item_kind kind) {
    switch ((int)kind) {
    case ITEM_BOOL:
    case ITEM_CHAR_CONSTANT:
    case ITEM_COMPLEX:
    case ITEM_DOT:
    case ITEM_FIELD:
    case ITEM_IDENTIFIER:
    case ITEM_NUMBER:
    case ITEM_NIL:
    case ITEM_RAW_STRING:
    case ITEM_STRING:
    case ITEM_VARIABLE:
    case ITEM_LEFT_PAREN:
        return true;
    default:
        return false;
    }
}

static struct node *parse_pipeline(struct parser *p, const char *context, enum item_kind end) {
    struct node *pipe = new_node(p, NODE_PIPE, peek_nonspace(p).pos);
    if (!pipe || !enter(p))
        return NULL;
    parse_decls(p, pipe, context);
    struct node **tail = &pipe->pipe.commands;
    while (p->result == 0) {
        struct item i = next_nonspace(p);
        if (i.kind == end) {
            check_pipeline(p, pipe, context);
            p->depth--;
            return pipe;
        }
        if (!begins_command(i.kind))
            return unexpected(p, i, context);
        backup(p);
        *tail = parse_command(p);
        if (*tail)
            tail = &(*tail)->next;
    }
    return NULL;
}

/* ---- actions */

static struct node *parse_item(struct parser *p);

/* Up to {{end}} or {{else}}, which is returned apart. */
static struct node *parse_list(struct parser *p, struct node **ret_end) {
    struct node *first = NULL, **tail = &first;
    while (peek_nonspace(p).kind != ITEM_EOF) {
        struct node *n = parse_item(p);
        if (!n || p->result < 0)
            return NULL;
        if (n->kind == NODE_END || n->kind == NODE_ELSE) {
            *ret_end = n;
            return first;
        }
        *tail = n;
        tail = &n->next;
    }
    return complain(p, "unexpected EOF");
}

static struct node *parse_control(struct parser *p, enum node_kind kind, uint32_t pos);

static void parse_else(struct parser *p, struct node *n) {
    enum item_kind word = peek(p).kind;
    if ((n->kind == NODE_IF && word == ITEM_IF) || (n->kind == NODE_WITH && word == ITEM_WITH)) {
        /* {{else if}} is an {{if}} within the else that shares its {{end}}. */
        uint32_t pos = next(p).pos;
        n->branch.else_list = parse_control(p, n->kind, pos);
        return;
    }
    if (word == ITEM_IF || word == ITEM_WITH) {
        unexpected(p, next(p), "input");
        return;
    }
    struct node *end = NULL;
    n->branch.else_list = parse_list(p, &end);
    if (end && end->kind != NODE_END)
        complain(p, "expected end; found {{else}}");
}

static struct node *parse_control(struct parser *p, enum node_kind kind, uint32_t pos) {
    const char *context = kind == NODE_IF ? "if" : kind == NODE_RANGE ? "range" : "with";
    struct node *n = new_node(p, kind, pos);
    size_t vars = p->n_vars;
    if (!n || !enter(p))
        return NULL;
    n->branch.pipe = parse_pipeline(p, context, ITEM_RIGHT_DELIM);
    if (p->result < 0)
        return NULL;
    n->pos = n->branch.pipe->pos;
    p->range_depth += kind == NODE_RANGE;
    struct node *end = NULL;
    n->branch.list = parse_list(p, &end);
    p->range_depth -= kind == NODE_RANGE;
    if (p->result == 0 && end->kind == NODE_ELSE)
        parse_else(p, n);
    p->n_vars = vars;
    p->depth--;
    return p->result < 0 ? NULL : n;
}

static struct node *parse_else_word(struct parser *p, uint32_t pos) {
    enum item_kind word = peek_nonspace(p).kind;
    if (word != ITEM_IF && word != ITEM_WITH) {
        struct item i = next_nonspace(p);
        if (i.kind != ITEM_RIGHT_DELIM)
            return unexpected(p, i, "else");
    }
    return new_node(p, NODE_ELSE, pos);
}

static struct node *parse_end(struct parser *p) {
    struct item i = next_nonspace(p);
    if (i.kind != ITEM_RIGHT_DELIM)
        return unexpected(p, i, "end");
    return new_node(p, NODE_END, i.pos);
}

static struct node *parse_jump(struct parser *p, struct item word) {
    const char *name = word.kind == ITEM_BREAK ? "{{break}}" : "{{continue}}";
    struct item i = next_nonspace(p);
    if (i.kind != ITEM_RIGHT_DELIM)
        return unexpected(p, i, name);
    if (p->range_depth == 0)
        return complain(p, "%s outside {{range}}", name);
    return new_node(p, word.kind == ITEM_BREAK ? NODE_BREAK : NODE_CONTINUE, word.pos);
}

/* Named templates inside a query's template are refused in the words with which Go refuses a misplaced one. */
static struct node *parse_action(struct parser *p) {
    struct item i = next_nonspace(p);
    switch ((int)i.kind) {
    case ITEM_ELSE:
        return parse_else_word(p, i.pos);
    case ITEM_END:
        return parse_end(p);
    case ITEM_IF:
        return parse_control(p, NODE_IF, i.pos);
    case ITEM_RANGE:
        return parse_control(p, NODE_RANGE, i.pos);
    case ITEM_WITH:
        return parse_control(p, NODE_WITH, i.pos);
    case ITEM_BREAK:
    case ITEM_CONTINUE:
        return parse_jump(p, i);
    default:
        break;
    }
    backup(p);
    struct node *n = new_node(p, NODE_ACTION, peek(p).pos);
    if (n)
        n->branch.pipe = parse_pipeline(p, "command", ITEM_RIGHT_DELIM);
    return p->result < 0 ? NULL : n;
}

static struct node *parse_item(struct parser *p) {
    struct item i = next_nonspace(p);
    if (i.kind == ITEM_TEXT) {
        struct node *n = new_node(p, NODE_TEXT, i.pos);
        if (n)
            n->text = i.text;
        return n;
    }
    if (i.kind != ITEM_LEFT_DELIM)
        return unexpected(p, i, "input");
    p->action_line = i.line;
    struct node *n = parse_action(p);
    p->action_line = 0;
    return n;
}

/* {{.x}} and nothing else: its value without a walk, also when a variable is made of it. Errors are no labels here, as in
 * Loki. */
static void find_simple(struct template *t) {
    const struct node *n = t->root;
    if (!n || n->next || n->kind != NODE_ACTION || strcmp(t->name, "line") != 0)
        return;
    const struct node *command = n->branch.pipe->pipe.commands;
    if (command->next || command->command.count != 1)
        return;
    const struct node *field = command->command.args;
    if (field->kind == NODE_FIELD && !field->path.names->next)
        t->simple = field->path.names;
}

int template_parse(struct stage_compiler *c, struct template *t) {
    struct parser p = {
        .c = c,
        .t = t,
        .lexer = {.arena = c->arena, .text = t->text, .line = 1},
    };
    size_t dollars = 1;
    for (size_t i = 0; i < t->text.size; i++)
        dollars += t->text.data[i] == '$';
    p.vars = arena_array(c->arena, dollars, sizeof(*p.vars));
    if (!p.vars)
        return -ENOMEM;
    p.vars[p.n_vars++] = STR("$");
    struct node **tail = &t->root;
    while (p.result == 0 && peek(&p).kind != ITEM_EOF) {
        struct node *n = parse_item(&p);
        if (n && (n->kind == NODE_END || n->kind == NODE_ELSE))
            complain(&p, "unexpected %s", n->kind == NODE_END ? "{{end}}" : "{{else}}");
        if (p.result < 0)
            break;
        *tail = n;
        tail = &n->next;
    }
    if (p.result == 0)
        find_simple(t);
    return p.result;
}
