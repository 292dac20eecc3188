/* Walks a template's tree for a line. Every place that can fail first says where it is (x->node), in the order in
 * which Go's walker does: the node is part of the error's text. Recursion follows the tree, whose depth the parser
 * limits. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "template_private.h"
#include "template_work.h"

struct variable {
    struct str name;
    struct value value;
};

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE, FLOW_FAILED };

static bool eval_pipeline(struct exec *x, const struct value *dot, const struct node *pipe,
                          struct value *ret);

/* ---- errors */

/* Writes "template: line:1:3: executing "line" at <...>: " and the cause, once. */
static void raise_error(struct exec *x, struct str cause) {
    struct buf *out = x->message;
    size_t line = 1, begin = 0, pos = x->node ? x->node->pos : 0; /* none before the walk */
    for (size_t i = 0; i < pos; i++) {
        if (x->template->text.data[i] == '\n') {
            line++;
            begin = i + 1;
        }
    }
    x->failed = true;
    buf_clear(out);
    buf_addf(out, "template: %s:%zu:%zu: executing \"%s\" at <", x->template->name, line,
             pos - begin, x->template->name);
    if (x->node)
        node_print(out, x->node);
    buf_add_str(out, STR(">: "));
    buf_add_str(out, cause);
}

bool exec_error(struct exec *x, const char *format, ...) {
    if (x->failed)
        return false;
    char *text = NULL;
    va_list ap;
    va_start(ap, format);
    int size = vasprintf(&text, format, ap);
    va_end(ap);
    raise_error(x, size < 0 ? STR("out of memory") : str_make(text, (size_t)size));
    if (size >= 0)
        free(text);
    return false;
}

struct buf *exec_cause(struct exec *x) {
    buf_clear(&x->work->cause);
    return &x->work->cause;
}

bool exec_call_error(struct exec *x, const char *format, ...) {
    char *text = NULL;
    va_list ap;
    va_start(ap, format);
    int size = vasprintf(&text, format, ap);
    va_end(ap);
    buf_add_str(exec_cause(x), size < 0 ? STR("out of memory") : str_make(text, (size_t)size));
    if (size >= 0)
        free(text);
    return false;
}

void *exec_alloc(struct exec *x, size_t size) {
    void *p = arena_alloc(x->arena, size > 0 ? size : 1);
    if (!p)
        exec_error(x, "the line needs more than %d bytes of memory", TEMPLATE_BYTES_MAX);
    return p;
}

struct buf *exec_text(struct exec *x) {
    buf_clear(&x->work->text);
    return &x->work->text;
}

bool exec_text_take(struct exec *x, struct value *ret) {
    struct buf *text = &x->work->text;
    if (text->failed)
        return exec_error(x, "a text is longer than %d bytes", TEMPLATE_OUTPUT_MAX);
    char *own = exec_alloc(x, text->size);
    if (!own)
        return false;
    if (text->size > 0)
        memcpy(own, text->data, text->size);
    *ret = value_string(str_make(own, text->size));
    return true;
}

/* ---- types */

/* Puts `v` into a parameter of the type, as Go's assignability has it. */
static bool validate(struct exec *x, struct value *v, enum param type) {
    if (type == PARAM_VALUE)
        return true;
    if (type == PARAM_ANY) {
        if (v->type == VALUE_NONE)
            v->type = VALUE_NIL;
        return true;
    }
    if (v->type == VALUE_NONE)
        return exec_error(x, "invalid value; expected %s", param_name(type));
    bool fits = (type == PARAM_STRING && v->type == VALUE_STRING) ||
                (type == PARAM_INT && v->type == VALUE_INT) ||
                (type == PARAM_FLOAT && v->type == VALUE_FLOAT) ||
                (type == PARAM_TIME && v->type == VALUE_TIME) ||
                (type == PARAM_DURATION && v->type == VALUE_DURATION);
    if (!fits)
        return exec_error(x, "wrong type for value; expected %s; got %s", param_name(type),
                          value_type_name(v->type));
    return true;
}

static bool expected(struct exec *x, const char *what, const struct node *n) {
    struct buf text = buf_make(1000);
    node_print(&text, n);
    exec_error(x, "expected %s; found %.*s", what, STR_ARG(buf_str(&text)));
    buf_done(&text);
    return false;
}

/* The value of a number where nothing says of which type it is to be. */
static bool ideal_number(struct exec *x, const struct node *n, struct value *ret) {
    x->node = n;
    struct str text = n->number.text;
    bool is_char = text.data[0] == '\'';
    bool is_hex = text.size > 2 && text.data[0] == '0' && (text.data[1] | 0x20) == 'x' &&
                  !memchr(text.data, 'p', text.size) && !memchr(text.data, 'P', text.size);
    bool looks_float = false;
    for (size_t i = 0; i < text.size; i++)
        looks_float = looks_float || strchr(".eEpP", text.data[i]);
    if (n->number.is_float && !is_hex && !is_char && looks_float)
        *ret = value_float(n->number.f);
    else if (n->number.is_int)
        *ret = value_int(n->number.i);
    else
        return exec_error(x, "%.*s overflows int", STR_ARG(text));
    return true;
}

/* ---- fields, variables, methods */

static bool call(struct exec *x, const struct value *dot, const struct function *f,
                 const struct node *at, struct str name, const struct node *args,
                 const struct value *receiver, const struct value *final, struct value *ret);

static void label_value(struct exec *x, const struct path_name *name, struct value *ret) {
    struct labelset *set = x->run->set;
    struct str value = STR("");
    if (name->is_error && labelset_get_error(set).size > 0)
        value = labelset_get_error(set);
    else if (name->is_details && labelset_told_details(set).size > 0)
        value = labelset_told_details(set);
    else
        (void)labelset_get(set, name->label, &value);
    *ret = value_string(value.data ? value : STR(""));
}

static bool has_methods(enum value_type type) {
    return type == VALUE_TIME || type == VALUE_DURATION || type == VALUE_MONTH ||
           type == VALUE_WEEKDAY;
}

/* `args` begins with the field itself, NULL for none; `final` is the value of the pipeline before, or NULL. */
static bool eval_field(struct exec *x, const struct value *dot, const struct path_name *name,
                       const struct node *at, const struct node *args, const struct value *final,
                       struct value *value) {
    struct value receiver = *value;
    if (receiver.type == VALUE_NONE)
        return true;
    if (receiver.type == VALUE_NIL)
        return exec_error(x, "nil pointer evaluating interface {}.%.*s", STR_ARG(name->name));
    if (has_methods(receiver.type)) {
        const struct function *method = method_find(receiver.type, name->name);
        if (method)
            return call(x, dot, method, at, name->name, args ? args->next : NULL, &receiver, final,
                        value);
    }
    if (!value_is_map(&receiver))
        return exec_error(x, "can't evaluate field %.*s in type %s", STR_ARG(name->name),
                          value_type_name(receiver.type));
    if ((args && args->next) || final)
        return exec_error(x, "%.*s is not a method but has arguments", STR_ARG(name->name));
    if (receiver.type == VALUE_LABELS) {
        label_value(x, name, value);
        return true;
    }
    const struct value *found = map_find(receiver.map, name->name);
    *value = found ? *found : (struct value){.type = VALUE_NIL};
    return true;
}

static bool eval_path(struct exec *x, const struct value *dot, const struct node *at,
                      const struct node *args, const struct value *final, struct value *value) {
    for (const struct path_name *name = at->path.names; name; name = name->next) {
        bool last = !name->next;
        if (!eval_field(x, dot, name, at, last ? args : NULL, last ? final : NULL, value))
            return false;
    }
    return true;
}

static bool not_a_function(struct exec *x, const struct node *args, const struct value *final) {
    if (!(args && args->next) && !final)
        return true;
    struct buf text = buf_make(1000);
    node_print(&text, args);
    exec_error(x, "can't give argument to non-function %.*s", STR_ARG(buf_str(&text)));
    buf_done(&text);
    return false;
}

static bool eval_variable(struct exec *x, const struct value *dot, const struct node *n,
                          const struct node *args, const struct value *final, struct value *ret) {
    x->node = n;
    size_t i = x->n_vars;
    while (i > 0 && !str_eq(x->vars[i - 1].name, n->path.variable))
        i--;
    if (i == 0)
        return exec_error(x, "undefined variable: %.*s", STR_ARG(n->path.variable));
    *ret = x->vars[i - 1].value;
    if (!n->path.names)
        return not_a_function(x, args, final);
    return eval_path(x, dot, n, args, final, ret);
}

static bool eval_arg(struct exec *x, const struct value *dot, enum param type, const struct node *n,
                     struct value *ret);

static bool eval_chain(struct exec *x, const struct value *dot, const struct node *n,
                       const struct node *args, const struct value *final, struct value *ret) {
    x->node = n;
    if (n->path.base->kind == NODE_PIPE) {
        x->node = n->path.base;
        if (!eval_pipeline(x, dot, n->path.base, ret))
            return false;
    } else if (!eval_arg(x, dot, PARAM_VALUE, n->path.base, ret)) {
        return false;
    }
    return eval_path(x, dot, n, args, final, ret);
}

/* ---- calls */

/* A literal as an argument: the parameter decides its type. */
static bool eval_literal(struct exec *x, enum param type, const struct node *n, struct value *ret) {
    bool number = n->kind == NODE_NUMBER;
    switch (type) {
    case PARAM_STRING:
        if (n->kind != NODE_STRING)
            return expected(x, "string", n);
        *ret = value_string(n->string.text);
        return true;
    case PARAM_INT:
    case PARAM_DURATION:
        if (!number || !n->number.is_int)
            return expected(x, "integer", n);
        *ret = value_int(n->number.i);
        ret->type = type == PARAM_INT ? VALUE_INT : VALUE_DURATION;
        return true;
    case PARAM_FLOAT:
        if (!number || !n->number.is_float)
            return expected(x, "float", n);
        *ret = value_float(n->number.f);
        return true;
    case PARAM_TIME: {
        struct buf text = buf_make(1000);
        node_print(&text, n);
        exec_error(x, "can't handle %.*s for arg of type time.Time", STR_ARG(buf_str(&text)));
        buf_done(&text);
        return false;
    }
    case PARAM_ANY:
    case PARAM_VALUE:
        break;
    }
    if (number)
        return ideal_number(x, n, ret);
    *ret = n->kind == NODE_BOOL ? value_bool(n->is_true) : value_string(n->string.text);
    return true;
}

static bool eval_arg(struct exec *x, const struct value *dot, enum param type, const struct node *n,
                     struct value *ret) {
    x->node = n;
    bool fine;
    switch ((int)n->kind) {
    case NODE_DOT:
        *ret = *dot;
        fine = true;
        break;
    case NODE_NIL:
        if (type != PARAM_ANY && type != PARAM_VALUE)
            return exec_error(x, "cannot assign nil to %s", param_name(type));
        *ret = (struct value){.type = type == PARAM_ANY ? VALUE_NIL : VALUE_NONE};
        return true;
    case NODE_FIELD:
        *ret = *dot;
        fine = eval_path(x, dot, n, NULL, NULL, ret);
        break;
    case NODE_VARIABLE:
        fine = eval_variable(x, dot, n, NULL, NULL, ret);
        break;
    case NODE_PIPE:
        fine = eval_pipeline(x, dot, n, ret);
        break;
    case NODE_IDENTIFIER:
        fine = call(x, dot, n->call.function, n, n->call.name, NULL, NULL, NULL, ret);
        break;
    case NODE_CHAIN:
        fine = eval_chain(x, dot, n, NULL, NULL, ret);
        break;
    default:
        return eval_literal(x, type, n, ret);
    }
    return fine && validate(x, ret, type);
}

static enum param param_of(const struct function *f, size_t i) {
    return f->params[i < f->n_params ? i : f->n_params - 1];
}

/* The first argument that decides is the result; those behind it are not looked at. */
static bool call_short(struct exec *x, const struct value *dot, const struct function *f,
                       const struct node *args, const struct value *final, struct value *ret) {
    for (; args; args = args->next)
        if (!eval_arg(x, dot, PARAM_VALUE, args, ret))
            return false;
        else if (value_truth(x, ret) == (f->special == CALL_OR))
            return true;
    if (final)
        *ret = *final;
    return true;
}

/* `receiver` is a method's. */
static bool call(struct exec *x, const struct value *dot, const struct function *f,
                 const struct node *at, struct str name, const struct node *args,
                 const struct value *receiver, const struct value *final, struct value *ret) {
    size_t n_args = 0, hidden = receiver ? 1 : 0, wanted = f->n_params - hidden;
    for (const struct node *a = args; a; a = a->next)
        n_args++;
    size_t count = n_args + (final ? 1 : 0);
    if (f->variadic && count < wanted - 1)
        return exec_error(x, "wrong number of args for %.*s: want at least %zu got %zu",
                          STR_ARG(name), wanted - 1, n_args);
    if (!f->variadic && count != wanted)
        return exec_error(x, "wrong number of args for %.*s: want %zu got %zu", STR_ARG(name),
                          wanted, count);
    if (f->special != CALL_PLAIN)
        return call_short(x, dot, f, args, final, ret);
    struct value small[8], *values = small;
    if (count + hidden > sizeof(small) / sizeof(small[0]) &&
        !(values = exec_alloc(x, (count + hidden) * sizeof(*values))))
        return false;
    size_t i = 0;
    if (receiver)
        values[i++] = *receiver;
    for (const struct node *a = args; a; a = a->next, i++)
        if (!eval_arg(x, dot, param_of(f, i), a, &values[i]))
            return false;
    if (final) {
        values[i] = *final;
        if (!validate(x, &values[i], param_of(f, i)))
            return false;
        i++;
    }
    if (f->run(x, values, i, ret))
        return true;
    x->node = at;
    /* The cause may be long: a label's value is part of it. */
    return exec_error(x, "error calling %.*s: %.*s", STR_ARG(name),
                      STR_ARG(buf_str(&x->work->cause)));
}

/* ---- pipelines */

static bool eval_command(struct exec *x, const struct value *dot, const struct node *command,
                         const struct value *final, struct value *ret) {
    const struct node *args = command->command.args;
    switch ((int)args->kind) {
    case NODE_FIELD:
        x->node = args;
        *ret = *dot;
        return eval_path(x, dot, args, args, final, ret);
    case NODE_CHAIN:
        return eval_chain(x, dot, args, args, final, ret);
    case NODE_IDENTIFIER:
        x->node = args;
        return call(x, dot, args->call.function, command, args->call.name, args->next, NULL, final,
                    ret);
    case NODE_PIPE:
        return not_a_function(x, args, final) && eval_pipeline(x, dot, args, ret);
    case NODE_VARIABLE:
        return eval_variable(x, dot, args, args, final, ret);
    default:
        break;
    }
    x->node = args;
    if (!not_a_function(x, args, final))
        return false;
    if (args->kind == NODE_NIL)
        return exec_error(x, "nil is not a command");
    if (args->kind == NODE_DOT) {
        *ret = *dot;
        return true;
    }
    return eval_literal(x, PARAM_VALUE, args, ret);
}

static bool set_variable(struct exec *x, struct str name, const struct value *value) {
    for (size_t i = x->n_vars; i > 0; i--) {
        if (str_eq(x->vars[i - 1].name, name)) {
            x->vars[i - 1].value = *value;
            return true;
        }
    }
    return exec_error(x, "undefined variable: %.*s", STR_ARG(name));
}

static bool take_step(struct exec *x) {
    if (++x->steps <= TEMPLATE_STEPS_MAX)
        return true;
    return exec_error(x, "more than %d steps for one line", TEMPLATE_STEPS_MAX);
}

static bool eval_pipeline(struct exec *x, const struct value *dot, const struct node *pipe,
                          struct value *ret) {
    x->node = pipe;
    if (!take_step(x))
        return false;
    struct value before;
    const struct value *final = NULL;
    for (const struct node *c = pipe->pipe.commands; c; c = c->next) {
        if (!eval_command(x, dot, c, final, ret))
            return false;
        if (ret->type == VALUE_NIL)
            ret->type = VALUE_NONE;
        before = *ret;
        final = &before;
    }
    for (const struct node *d = pipe->pipe.decls; d; d = d->next) {
        if (!pipe->pipe.is_assign)
            x->vars[x->n_vars++] = (struct variable){d->path.variable, *ret};
        else if (!set_variable(x, d->path.variable, ret))
            return false;
    }
    return true;
}

/* ---- walking */

static enum flow walk(struct exec *x, const struct value *dot, const struct node *list);

struct range {
    const struct node *node;
    size_t mark; /* of the variables behind those of the range */
};

/* FLOW_CONTINUE is not seen outside. */
static enum flow iterate(struct exec *x, const struct range *r, const struct value *index,
                         const struct value *element) {
    const struct node *pipe = r->node->branch.pipe, *first = pipe->pipe.decls;
    const struct node *second = first ? first->next : NULL;
    if (!take_step(x))
        return FLOW_FAILED;
    if (pipe->pipe.is_assign) {
        /* With one name it is the element's; with two, the first is the index's. */
        if (first && !set_variable(x, first->path.variable, second ? index : element))
            return FLOW_FAILED;
        if (second && !set_variable(x, second->path.variable, element))
            return FLOW_FAILED;
    } else if (first) {
        x->vars[r->mark - 1].value = *element;
        if (second)
            x->vars[r->mark - 2].value = *index;
    }
    enum flow flow = walk(x, element, r->node->branch.list);
    x->n_vars = r->mark;
    return flow == FLOW_CONTINUE ? FLOW_ON : flow;
}

static enum flow range_map(struct exec *x, const struct range *r, const struct value *over) {
    const struct value_map *m = value_map(x, over);
    if (!m)
        return FLOW_FAILED;
    for (size_t i = 0; i < m->count; i++) {
        struct value key = value_string(m->keys[i]);
        enum flow flow = iterate(x, r, &key, &m->values[i]);
        if (flow != FLOW_ON)
            return flow;
    }
    return FLOW_ON;
}

static enum flow range_count(struct exec *x, const struct range *r, const struct value *over) {
    const struct node *first = r->node->branch.pipe->pipe.decls;
    if (first && first->next) {
        exec_error(x, "can't use %lld to iterate over more than one variable",
                   (long long)over->integer);
        return FLOW_FAILED;
    }
    for (int64_t i = 0; i < over->integer; i++) {
        struct value value = {.type = over->type, .integer = i};
        enum flow flow = iterate(x, r, &value, &value);
        if (flow != FLOW_ON)
            return flow;
    }
    return FLOW_ON;
}

static enum flow cannot_iterate(struct exec *x, const struct value *v) {
    struct buf text = buf_make(1000);
    fmt_value(x, &text, v);
    exec_error(x, "range can't iterate over %.*s", STR_ARG(buf_str(&text)));
    buf_done(&text);
    return FLOW_FAILED;
}

static enum flow walk_range(struct exec *x, const struct value *dot, const struct node *n) {
    struct value over;
    x->node = n;
    if (!eval_pipeline(x, dot, n->branch.pipe, &over))
        return FLOW_FAILED;
    struct range r = {.node = n, .mark = x->n_vars};
    enum flow flow = FLOW_ON;
    bool any = false;
    if (over.type == VALUE_LIST) {
        any = over.list->count > 0;
        for (size_t i = 0; i < over.list->count && flow == FLOW_ON; i++) {
            struct value index = value_int((int64_t)i);
            flow = iterate(x, &r, &index, &over.list->items[i]);
        }
    } else if (value_is_map(&over)) {
        const struct value_map *m = value_map(x, &over);
        any = m && m->count > 0;
        flow = range_map(x, &r, &over);
    } else if (value_is_integer(&over)) {
        any = over.integer > 0;
        flow = range_count(x, &r, &over);
    } else if (over.type != VALUE_NONE) {
        return cannot_iterate(x, &over);
    }
    if (flow == FLOW_FAILED)
        return flow;
    return any || !n->branch.else_list ? FLOW_ON : walk(x, dot, n->branch.else_list);
}

static enum flow walk_branch(struct exec *x, const struct value *dot, const struct node *n) {
    struct value value;
    if (!eval_pipeline(x, dot, n->branch.pipe, &value))
        return FLOW_FAILED;
    if (!value_truth(x, &value))
        return walk(x, dot, n->branch.else_list);
    return walk(x, n->kind == NODE_WITH ? &value : dot, n->branch.list);
}

static enum flow walk_action(struct exec *x, const struct value *dot, const struct node *n) {
    struct value value;
    if (!eval_pipeline(x, dot, n->branch.pipe, &value))
        return FLOW_FAILED;
    if (n->branch.pipe->pipe.decls)
        return FLOW_ON;
    x->node = n;
    if (value.type == VALUE_STRING)
        buf_add_str(x->out, value.text);
    else
        fmt_value(x, x->out, &value);
    return x->failed ? FLOW_FAILED : FLOW_ON;
}

static enum flow walk_one(struct exec *x, const struct value *dot, const struct node *n) {
    size_t mark = x->n_vars;
    enum flow flow = FLOW_ON;
    x->node = n;
    switch ((int)n->kind) {
    case NODE_TEXT:
        buf_add_str(x->out, n->text);
        return FLOW_ON;
    case NODE_ACTION:
        return walk_action(x, dot, n); /* its variables stay until the next end */
    case NODE_IF:
    case NODE_WITH:
        flow = walk_branch(x, dot, n);
        break;
    case NODE_RANGE:
        flow = walk_range(x, dot, n);
        break;
    case NODE_BREAK:
        return FLOW_BREAK;
    case NODE_CONTINUE:
        return FLOW_CONTINUE;
    default:
        return FLOW_ON;
    }
    x->n_vars = mark;
    return flow;
}

static enum flow walk(struct exec *x, const struct value *dot, const struct node *list) {
    for (const struct node *n = list; n; n = n->next) {
        enum flow flow = walk_one(x, dot, n);
        if (flow != FLOW_ON)
            return flow;
        if (x->out->failed) {
            x->node = n;
            exec_error(x, "the result is longer than %d bytes", TEMPLATE_OUTPUT_MAX);
            return FLOW_FAILED;
        }
    }
    return FLOW_ON;
}

bool template_walk(struct exec *x) {
    x->vars = exec_alloc(x, (x->template->n_decls + 1) * sizeof(*x->vars));
    if (!x->vars)
        return false;
    struct value dot = {.type = VALUE_LABELS};
    x->vars[x->n_vars++] = (struct variable){STR("$"), dot};
    return walk(x, &dot, x->template->root) != FLOW_FAILED;
}
