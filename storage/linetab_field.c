/* Which rows of a table have a refused value in a field, told from the field's column.
 *
 * The template of a group is read as JSON or logfmt, a slot standing for whatever values it has. That is sound as long as
 * no value can change how the bytes behind it are read: in a string there must be no quote and no backslash, outside
 * of one nothing that ends a value. Everything up to the field has to be well-formed; what stands behind it does not
 * matter, as the reader of a line leaves it at a refused field. Where any of this is in doubt the group's rows are
 * left alone. */
#include <errno.h>
#include <string.h>

#include "linetab_reader.h"

enum { JSON_DEPTH = 16, ITEM_END = -1, ITEM_SLOT = -2 };

/* Where a value stands. */
enum context { IN_STRING, BARE_JSON, BARE_LOGFMT };

struct walker {
    struct linetab *t;
    struct group *g;
    struct err *err;
    uint32_t slot; /* the present stretch of fixed bytes is the one before this slot */
    size_t at;     /* in it */
    int status;    /* of loading a column */
};

static struct str fixed_now(const struct walker *w) {
    return w->slot < w->g->n_slots ? w->g->slots[w->slot].before : w->g->after;
}

/* The byte that comes next, or that it is a slot, or the end. */
static int peek(const struct walker *w) {
    struct str fixed = fixed_now(w);
    if (w->at < fixed.size)
        return (unsigned char)fixed.data[w->at];
    return w->slot < w->g->n_slots ? ITEM_SLOT : ITEM_END;
}

static struct column *take_slot(struct walker *w) {
    struct column *c = w->g->slots[w->slot++].column;
    w->at = 0;
    return c;
}

static bool take(struct walker *w, char c) {
    if (peek(w) != (unsigned char)c)
        return false;
    w->at++;
    return true;
}

static void skip_blanks(struct walker *w) {
    for (int c = peek(w); c == ' ' || c == '\t' || c == '\r' || c == '\n'; c = peek(w))
        w->at++;
}

/* ---- what values can do to the bytes behind them */

static bool is_bare_byte(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '-' || c == '+' || c == '_';
}

static bool text_is_tame(struct str text, enum context context) {
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        bool tame = context == BARE_JSON   ? is_bare_byte(c)
                    : context == IN_STRING ? c != '"' && c != '\\' && (unsigned char)c >= ' '
                                           : c != '"' && c != '=' && (unsigned char)c > ' ';
        if (!tame)
            return false;
    }
    return true;
}

static bool column_is_tame(struct walker *w, struct column *c, enum context context);

static bool table_is_tame(struct walker *w, struct table *table, enum context context) {
    if (table->odd && !column_is_tame(w, table->odd, context))
        return false;
    for (uint32_t i = 0; i < table->n_groups; i++) {
        const struct group *g = &table->groups[i];
        if (!text_is_tame(g->after, context))
            return false;
        for (uint32_t k = 0; k < g->n_slots; k++)
            if (!text_is_tame(g->slots[k].before, context) ||
                !column_is_tame(w, g->slots[k].column, context))
                return false;
    }
    return true;
}

static bool column_is_tame(struct walker *w, struct column *c, enum context context) {
    switch (c->kind) {
    case COLUMN_NUMBER:
    case COLUMN_HEX:
    case COLUMN_IP:
        return true;
    case COLUMN_TIME:
        return context != BARE_JSON && c->between > ' ' && c->between != '"' && c->between != '\\';
    case COLUMN_DICT:
    case COLUMN_SHARED:
        return column_is_tame(w, c->values, context);
    case COLUMN_TEXT:
        if (c->flags != TEXT_IN_PLAN) {
            w->status = column_load(w->t, c, w->err);
            if (w->status < 0)
                return false;
        }
        return text_is_tame(str_make(c->text, c->text_size), context);
    case COLUMN_TABLE:
        return table_is_tame(w, c->table, context);
    case COLUMN_KINDS:
        break;
    }
    return false;
}

/* Without quotes a reader knows what begins as a number does, and three words. */
static bool is_known(struct str text) {
    if (text.size == 0)
        return false;
    char c = text.data[0];
    return c == '-' || (c >= '0' && c <= '9') || str_eq(text, STR("true")) ||
           str_eq(text, STR("false")) || str_eq(text, STR("null"));
}

static bool column_is_known(struct walker *w, struct column *c);

static bool table_is_known(struct walker *w, struct table *table) {
    if (table->odd && !column_is_known(w, table->odd))
        return false;
    for (uint32_t i = 0; i < table->n_groups; i++) {
        const struct group *g = &table->groups[i];
        struct str first = g->n_slots > 0 ? g->slots[0].before : g->after;
        bool known = first.size > 0 ? is_known(first)
                                    : g->n_slots > 0 && g->slots[0].column->kind == COLUMN_NUMBER;
        if (!known)
            return false;
    }
    return true;
}

static bool column_is_known(struct walker *w, struct column *c) {
    if (c->kind == COLUMN_NUMBER || c->kind == COLUMN_IP)
        return true;
    if (c->kind == COLUMN_TABLE)
        return table_is_known(w, c->table);
    if (c->kind == COLUMN_DICT || c->kind == COLUMN_SHARED)
        return column_is_known(w, c->values);
    if (c->kind != COLUMN_TEXT)
        return false;
    w->status = column_load(w->t, c, w->err);
    for (uint32_t i = 0; w->status == 0 && i < c->n; i++)
        if (!is_known(
                str_make(c->text + c->numbers[i], (size_t)(c->numbers[i + 1] - c->numbers[i]))))
            return false;
    return w->status == 0;
}

/* ---- the template as JSON */

/* A value as it stands in the template. */
struct field {
    bool quoted, is_slot; /* all of it is one slot; else it is `fixed`, unless... */
    bool is_mixed;        /* ...it has both, or several */
    bool is_nested;
    struct column *column;
    struct str fixed;
};

static void add_slot(struct walker *w, struct field *f) {
    f->is_mixed |= f->is_slot || f->fixed.size > 0;
    f->is_slot = true;
    f->column = take_slot(w);
}

static void add_byte(struct walker *w, struct field *f) {
    f->is_mixed |= f->is_slot;
    if (f->fixed.size == 0)
        f->fixed.data = fixed_now(w).data + w->at;
    f->fixed.size++;
    w->at++;
}

/* A string behind its opening quote, up to and with its closing one. */
static bool walk_string(struct walker *w, struct field *ret) {
    *ret = (struct field){.quoted = true};
    for (;;) {
        int c = peek(w);
        if (c == ITEM_SLOT) {
            add_slot(w, ret);
            if (!column_is_tame(w, ret->column, IN_STRING))
                return false;
            continue;
        }
        if (c < ' ' || c == '\\')
            return false;
        if (c == '"') {
            w->at++;
            return true;
        }
        add_byte(w, ret);
    }
}

/* A number or a word: what it begins with decides whether a reader knows it. */
static bool walk_bare(struct walker *w, struct field *ret) {
    *ret = (struct field){0};
    bool known = false;
    for (;;) {
        int c = peek(w);
        if (c == ITEM_SLOT) {
            bool first = !ret->is_slot && ret->fixed.size == 0;
            add_slot(w, ret);
            if (!column_is_tame(w, ret->column, BARE_JSON))
                return false;
            known |= first && column_is_known(w, ret->column);
            continue;
        }
        if (c == ITEM_END || !is_bare_byte((char)c)) {
            known |= !ret->is_slot && is_known(ret->fixed);
            return known && (c == ',' || c == '}' || c == ']' || c == ' ');
        }
        known |= !ret->is_slot && ret->fixed.size == 0 && (c == '-' || (c >= '0' && c <= '9'));
        add_byte(w, ret);
    }
}

/* Behind a value inside an object or array: closes what ends here. False: this is not how JSON goes on. */
static bool walk_closings(struct walker *w, char *open, size_t *depth, size_t until) {
    for (;;) {
        skip_blanks(w);
        if (*depth == until)
            return true;
        if (take(w, open[*depth - 1] == '{' ? '}' : ']')) {
            (*depth)--;
            continue;
        }
        if (!take(w, ','))
            return false;
        skip_blanks(w);
        return true;
    }
}

static bool walk_key(struct walker *w, struct str *ret) {
    struct field key;
    if (!take(w, '"') || !walk_string(w, &key) || key.is_slot || key.fixed.size == 0)
        return false;
    skip_blanks(w);
    if (!take(w, ':'))
        return false;
    skip_blanks(w);
    *ret = key.fixed;
    return true;
}

/* One value, whatever it holds; `ret` tells of one that is not nested. */
static bool walk_value(struct walker *w, struct field *ret) {
    char open[JSON_DEPTH];
    size_t depth = 0;
    struct field part;
    *ret = (struct field){0};
    do {
        if (depth > 0 && open[depth - 1] == '{') {
            struct str key;
            if (!walk_key(w, &key))
                return false;
        }
        int c = peek(w);
        if (c == '{' || c == '[') {
            if (depth == JSON_DEPTH)
                return false;
            open[depth++] = (char)c;
            w->at++;
            ret->is_nested = true;
            skip_blanks(w);
            bool empty = peek(w) == (c == '{' ? '}' : ']');
            if (!empty)
                continue;
        } else if (c == '"') {
            w->at++;
            if (!walk_string(w, &part))
                return false;
        } else if (!walk_bare(w, &part)) {
            return false;
        }
        if (depth == 0)
            *ret = part;
        else if (!walk_closings(w, open, &depth, 0))
            return false;
    } while (depth > 0);
    return true;
}

/* Goes to the value of `key` in the outermost object. */
static bool find_json_field(struct walker *w, struct str key, struct field *ret) {
    skip_blanks(w);
    if (!take(w, '{'))
        return false;
    for (;;) {
        struct str name;
        skip_blanks(w);
        if (!walk_key(w, &name) || !walk_value(w, ret))
            return false;
        if (str_eq(name, key))
            return !ret->is_nested && !ret->is_mixed;
        skip_blanks(w);
        if (!take(w, ','))
            return false;
    }
}

/* ---- the template as logfmt */

/* What stands up to the next blank or one of two bytes; its slots must be tame. */
static bool walk_logfmt_part(struct walker *w, bool is_key, struct field *ret) {
    *ret = (struct field){0};
    for (;;) {
        int c = peek(w);
        if (c == ITEM_SLOT) {
            add_slot(w, ret);
            if (!column_is_tame(w, ret->column, BARE_LOGFMT))
                return false;
            continue;
        }
        if (c == ITEM_END || c <= ' ' || (is_key && c == '='))
            return true;
        if (c == '"' || c == '=')
            return false;
        add_byte(w, ret);
    }
}

/* Goes to the first value of `key`. Words without a value are passed over, as a reader does. */
static bool find_logfmt_field(struct walker *w, struct str key, struct field *ret) {
    for (;;) {
        struct field name;
        while (peek(w) >= 0 && peek(w) <= ' ')
            w->at++;
        if (peek(w) == ITEM_END || !walk_logfmt_part(w, true, &name))
            return false;
        if (!take(w, '='))
            continue;
        if (name.is_slot || name.fixed.size == 0)
            return false;
        bool quoted = take(w, '"');
        if (quoted ? !walk_string(w, ret) : !walk_logfmt_part(w, false, ret))
            return false;
        if (peek(w) != ITEM_END && (peek(w) < 0 || peek(w) > ' '))
            return false;
        if (str_eq(name.fixed, key))
            return !ret->is_mixed;
    }
}

/* ---- rows */

struct refusal {
    linetab_refuses *fn;
    void *ctx;
};

/* Per row of the group whether its value is refused; `rows` is zeroed. */
static int ask_rows(struct walker *w, struct column *c, bool quoted, const struct refusal *refusal,
                    uint8_t *rows) {
    if (c->kind == COLUMN_DICT || c->kind == COLUMN_SHARED) {
        int r = column_load_cells(w->t, c, w->err);
        if (r == 0)
            r = column_load_ids(w->t, c, w->err);
        uint8_t *cells = r < 0 ? NULL : arena_array(&w->t->arena, c->n_distinct, 1);
        if (!cells)
            return r < 0 ? r : err_set(w->err, -ENOMEM, "block: no memory to read a column");
        for (uint32_t i = 0; i < c->n_distinct; i++) {
            struct str value = str_make(c->cells[i].data, c->cells[i].size - c->after.size);
            cells[i] = refusal->fn(refusal->ctx, value, quoted);
        }
        for (uint32_t i = 0; i < c->n; i++)
            rows[i] = cells[c->ids[i]];
        return 0;
    }
    int r = column_load(w->t, c, w->err);
    if (r < 0)
        return r;
    char *room = arena_alloc(&w->t->arena, (size_t)c->value_max + LINETAB_SLACK);
    if (!room)
        return err_set(w->err, -ENOMEM, "block: no memory to read a column");
    for (uint32_t i = 0; i < c->n; i++) {
        char *end = column_write(c, i, room);
        rows[i] = refusal->fn(refusal->ctx, str_make(room, (size_t)(end - room)), quoted);
    }
    return 0;
}

/* 1: rows[] tells which rows are refused, or, when it stays NULL, all are. 0: nothing is known. */
static int refuse_group(struct linetab *t, struct group *g, enum linetab_form form, struct str key,
                        const struct refusal *refusal, uint8_t **rows, struct err *reterr) {
    struct walker w = {.t = t, .g = g, .err = reterr};
    struct field f;
    bool found = form == FORM_JSON ? find_json_field(&w, key, &f) : find_logfmt_field(&w, key, &f);
    if (!found)
        return w.status;
    if (!f.is_slot)
        return f.fixed.size > 0 && refusal->fn(refusal->ctx, f.fixed, f.quoted);
    *rows = arena_array(&t->arena, g->rows, 1);
    if (!*rows)
        return err_set(reterr, -ENOMEM, "block: no memory to read a column");
    int r = ask_rows(&w, f.column, f.quoted, refusal, *rows);
    return r < 0 ? r : 1;
}

int linetab_refuse(struct linetab *t, enum linetab_form form, struct str key, linetab_refuses *fn,
                   void *ctx, uint8_t *levels, struct err *reterr) {
    struct table *root = t->root;
    struct refusal refusal = {.fn = fn, .ctx = ctx};
    uint8_t *refused[LINETAB_GROUPS_MAX + 1] = {NULL};
    int known[LINETAB_GROUPS_MAX + 1] = {0}, any = 0;
    for (uint32_t i = 0; i < root->n_groups; i++) {
        int r = refuse_group(t, &root->groups[i], form, key, &refusal, &refused[i + 1], reterr);
        if (r < 0)
            return r;
        any |= known[i + 1] = r;
    }
    int r = any ? table_load_ids(t, root, reterr) : 0;
    for (uint32_t i = 0; r == 0 && any && i < root->n; i++) {
        uint8_t id = root->ids[i];
        if (known[id] && (!refused[id] || refused[id][root->rank[i]]))
            levels[i] = LINETAB_NO;
    }
    return r;
}
