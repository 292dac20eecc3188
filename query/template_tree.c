/* Names and prints: nodes as Go's parser writes them, types as Go's reflection calls them; truth; maps. */
#include <stdlib.h>

#include "labels.h"
#include "template_private.h"

/* ---- nodes */

static void print_list(struct buf *out, const struct node *list, struct str separator) {
    for (const struct node *n = list; n; n = n->next) {
        if (n != list)
            buf_add_str(out, separator);
        bool parentheses = n->kind == NODE_PIPE;
        if (parentheses)
            buf_add_char(out, '(');
        node_print(out, n);
        if (parentheses)
            buf_add_char(out, ')');
    }
}

static void print_path(struct buf *out, const struct node *n) {
    if (n->kind == NODE_VARIABLE)
        buf_add_str(out, n->path.variable);
    if (n->kind == NODE_CHAIN)
        print_list(out, n->path.base, STR(" "));
    for (const struct path_name *name = n->path.names; name; name = name->next) {
        buf_add_char(out, '.');
        buf_add_str(out, name->name);
    }
}

static void print_pipe(struct buf *out, const struct node *n) {
    if (n->pipe.decls) {
        print_list(out, n->pipe.decls, STR(", "));
        buf_add_str(out, n->pipe.is_assign ? STR(" = ") : STR(" := "));
    }
    print_list(out, n->pipe.commands, STR(" | "));
}

static void print_branch(struct buf *out, const struct node *n) {
    buf_add_str(out, STR("{{"));
    if (n->kind != NODE_ACTION)
        buf_add_str(out, n->kind == NODE_IF      ? STR("if ")
                         : n->kind == NODE_RANGE ? STR("range ")
                                                 : STR("with "));
    node_print(out, n->branch.pipe);
    buf_add_str(out, STR("}}"));
    if (n->kind == NODE_ACTION)
        return;
    print_list(out, n->branch.list, STR(""));
    if (n->branch.else_list) {
        buf_add_str(out, STR("{{else}}"));
        print_list(out, n->branch.else_list, STR(""));
    }
    buf_add_str(out, STR("{{end}}"));
}

/* Recursion is bounded by TEMPLATE_DEPTH_MAX. */
void node_print(struct buf *out, const struct node *n) {
    switch (n->kind) {
    case NODE_TEXT:
        buf_add_str(out, n->text);
        return;
    case NODE_ACTION:
    case NODE_IF:
    case NODE_RANGE:
    case NODE_WITH:
        print_branch(out, n);
        return;
    case NODE_BREAK:
        buf_add_str(out, STR("{{break}}"));
        return;
    case NODE_CONTINUE:
        buf_add_str(out, STR("{{continue}}"));
        return;
    case NODE_END:
        buf_add_str(out, STR("{{end}}"));
        return;
    case NODE_ELSE:
        buf_add_str(out, STR("{{else}}"));
        return;
    case NODE_PIPE:
        print_pipe(out, n);
        return;
    case NODE_COMMAND:
        print_list(out, n->command.args, STR(" "));
        return;
    case NODE_FIELD:
    case NODE_VARIABLE:
    case NODE_CHAIN:
        print_path(out, n);
        return;
    case NODE_IDENTIFIER:
        buf_add_str(out, n->call.name);
        return;
    case NODE_DOT:
        buf_add_char(out, '.');
        return;
    case NODE_NIL:
        buf_add_str(out, STR("nil"));
        return;
    case NODE_BOOL:
        buf_add_str(out, n->is_true ? STR("true") : STR("false"));
        return;
    case NODE_NUMBER:
        buf_add_str(out, n->number.text);
        return;
    case NODE_STRING:
        buf_add_str(out, n->string.quoted);
        return;
    }
}

/* ---- types */

const char *value_type_name(enum value_type type) {
    switch (type) {
    case VALUE_NONE:
        return "<nil>";
    case VALUE_NIL:
        return "interface {}";
    case VALUE_BOOL:
        return "bool";
    case VALUE_INT:
        return "int";
    case VALUE_INT64:
        return "int64";
    case VALUE_UINT8:
        return "uint8";
    case VALUE_FLOAT:
        return "float64";
    case VALUE_STRING:
        return "string";
    case VALUE_TIME:
        return "time.Time";
    case VALUE_DURATION:
        return "time.Duration";
    case VALUE_MONTH:
        return "time.Month";
    case VALUE_WEEKDAY:
        return "time.Weekday";
    case VALUE_LIST:
        return "[]interface {}";
    case VALUE_MAP:
        return "map[string]interface {}";
    case VALUE_LABELS:
        return "map[string]string";
    }
    return "?";
}

const char *param_name(enum param p) {
    switch (p) {
    case PARAM_ANY:
        return "interface {}";
    case PARAM_VALUE:
        return "reflect.Value";
    case PARAM_STRING:
        return "string";
    case PARAM_INT:
        return "int";
    case PARAM_FLOAT:
        return "float64";
    case PARAM_TIME:
        return "time.Time";
    case PARAM_DURATION:
        return "time.Duration";
    }
    return "?";
}

bool value_truth(struct exec *x, const struct value *v) {
    switch (v->type) {
    case VALUE_NONE:
    case VALUE_NIL:
        return false;
    case VALUE_BOOL:
        return v->boolean;
    case VALUE_INT:
    case VALUE_INT64:
    case VALUE_UINT8:
    case VALUE_DURATION:
    case VALUE_MONTH:
    case VALUE_WEEKDAY:
        return v->integer != 0;
    case VALUE_FLOAT:
        return v->number != 0;
    case VALUE_STRING:
        return v->text.size > 0;
    case VALUE_TIME:
        return true;
    case VALUE_LIST:
        return v->list->count > 0;
    case VALUE_MAP:
        return v->map->count > 0;
    case VALUE_LABELS: {
        const struct value_map *m = value_map(x, v);
        return m && m->count > 0;
    }
    }
    return false;
}

/* ---- maps */

struct gather {
    struct label *items;
    size_t count, room;
};

static void gather_one(struct labelset *set, uint32_t id, struct str value, void *ctx) {
    struct gather *g = ctx;
    if (g->count < g->room)
        g->items[g->count] = (struct label){labelset_name_text(set, id), value};
    g->count++;
}

static int by_name(const void *a, const void *b) {
    return str_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

static const struct value_map *make_labels(struct exec *x) {
    struct labelset *set = x->run->set;
    struct gather g = {.room = 0}; /* counts */
    labelset_each(set, gather_one, &g);
    g.room = g.count;
    g.items = exec_alloc(x, (g.count + 2) * sizeof(*g.items));
    if (!g.items)
        return NULL;
    g.count = 0;
    labelset_each(set, gather_one, &g);
    if (labelset_get_error(set).size > 0)
        g.items[g.count++] = (struct label){STR("__error__"), labelset_get_error(set)};
    if (labelset_told_details(set).size > 0)
        g.items[g.count++] = (struct label){STR("__error_details__"), labelset_told_details(set)};
    qsort(g.items, g.count, sizeof(*g.items), by_name);
    struct value_map *m = exec_alloc(x, sizeof(*m));
    struct str *keys = exec_alloc(x, (g.count + 1) * sizeof(*keys));
    struct value *values = exec_alloc(x, (g.count + 1) * sizeof(*values));
    if (!m || !keys || !values)
        return NULL;
    *m = (struct value_map){.keys = keys, .values = values};
    for (size_t i = 0; i < g.count; i++) {
        if (i > 0 && str_eq(g.items[i].name, g.items[i - 1].name))
            continue; /* __error__ may be a label, too */
        keys[m->count] = g.items[i].name;
        values[m->count++] = value_string(g.items[i].value.data ? g.items[i].value : STR(""));
    }
    return m;
}

const struct value_map *value_map(struct exec *x, const struct value *v) {
    if (v->type == VALUE_MAP)
        return v->map;
    if (!x->labels)
        x->labels = make_labels(x);
    return x->labels;
}

const struct value *map_find(const struct value_map *m, struct str key) {
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int c = str_cmp(m->keys[middle], key);
        if (c == 0)
            return &m->values[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* ---- functions */

const struct function *function_in(const struct function *table, size_t count, struct str name) {
    for (size_t i = 0; i < count; i++)
        if (str_eq(table[i].name, name))
            return &table[i];
    return NULL;
}

const struct function *function_find(struct str name) {
    const struct function *f = builtin_function_find(name);
    if (!f)
        f = text_function_find(name);
    if (!f)
        f = math_function_find(name);
    return f ? f : time_function_find(name);
}
