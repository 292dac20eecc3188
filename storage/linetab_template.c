/* Everything up to where the walk ends has to be well-formed, by the rules of query/stage_json.c and stage_logfmt.c, which
 * are Loki's: an object that is a value is delimited by its brackets before a reader looks into it, what stands behind
 * the outermost object is never seen, words of logfmt without a value are passed over. */
#include "linetab_template.h"

#include <string.h>

enum { ITEM_END = -1, ITEM_SLOT = -2 };

/* Where a value stands. */
enum context { IN_STRING, BARE_JSON, BARE_LOGFMT };

struct walker {
    struct linetab *t;
    struct group *g;
    struct err *err;
    uint32_t slot; /* the present stretch of fixed bytes is the one before this slot */
    size_t at;     /* in it */
    int status;    /* of loading a column */
    template_fn *fn;
    void *ctx;
    bool enough;
    struct str path[TEMPLATE_DEPTH + 1];
    struct template_field field; /* the one that is being read */
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

static bool text_is_plain(struct str text, enum context context) {
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        bool plain = context == BARE_JSON   ? is_bare_byte(c)
                     : context == IN_STRING ? c != '"' && c != '\\' && (unsigned char)c >= ' '
                                            : c != '"' && c != '=' && (unsigned char)c > ' ';
        if (!plain)
            return false;
    }
    return true;
}

/* In a string a backslash may stand with what it escapes, both in this text. */
static bool text_is_tame(struct str text, enum context context) {
    if (context != IN_STRING || text_is_plain(text, context))
        return text_is_plain(text, context);
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '"' || (unsigned char)c < ' ' || (c == '\\' && ++i == text.size))
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

static struct str text_value(const struct column *c, uint32_t row) {
    return str_make(c->text + c->numbers[row], (size_t)(c->numbers[row + 1] - c->numbers[row]));
}

static bool texts_are_tame(struct walker *w, struct column *c, enum context context) {
    if (c->flags == TEXT_IN_PLAN && text_is_plain(str_make(c->text, c->text_size), context))
        return true;
    w->status = column_load(w->t, c, w->err);
    if (w->status < 0)
        return false;
    if (text_is_plain(str_make(c->text, c->text_size), context))
        return true;
    for (uint32_t i = 0; i < c->n; i++)
        if (!text_is_tame(text_value(c, i), context))
            return false;
    return true;
}

static bool column_is_tame(struct walker *w, struct column *c, enum context context) {
    switch (c->kind) {
    case COLUMN_NUMBER:
    case COLUMN_HEX:
    case COLUMN_IP:
        return true;
    case COLUMN_TIME:
        return context != BARE_JSON && text_is_plain(str_make(&c->between, 1), context) &&
               (c->digits == 0 || text_is_plain(str_make(&c->point, 1), context));
    case COLUMN_DICT:
    case COLUMN_SHARED:
        return column_is_tame(w, c->values, context);
    case COLUMN_TEXT:
        return texts_are_tame(w, c, context);
    case COLUMN_TABLE:
        return table_is_tame(w, c->table, context);
    case COLUMN_KINDS:
        break;
    }
    return false;
}

static bool begins_number(struct str text) {
    return text.size > 0 && (text.data[0] == '-' || (text.data[0] >= '0' && text.data[0] <= '9'));
}

/* Without quotes a reader knows what begins as a number does, and three words. */
static bool is_known(struct str text, bool whole) {
    return begins_number(text) ||
           (whole &&
            (str_eq(text, STR("true")) || str_eq(text, STR("false")) || str_eq(text, STR("null"))));
}

/* `whole`: the value is all that stands there; else more follows. */
static bool column_is_known(struct walker *w, struct column *c, bool whole);

static bool table_is_known(struct walker *w, struct table *table, bool whole) {
    if (table->odd && !column_is_known(w, table->odd, whole))
        return false;
    for (uint32_t i = 0; i < table->n_groups; i++) {
        const struct group *g = &table->groups[i];
        struct str first = g->n_slots > 0 ? g->slots[0].before : g->after;
        bool known = first.size > 0 ? is_known(first, whole && g->n_slots == 0)
                                    : g->n_slots > 0 && g->slots[0].column->kind == COLUMN_NUMBER;
        if (!known)
            return false;
    }
    return true;
}

static bool column_is_known(struct walker *w, struct column *c, bool whole) {
    if (c->kind == COLUMN_NUMBER || c->kind == COLUMN_IP)
        return true;
    if (c->kind == COLUMN_TABLE)
        return table_is_known(w, c->table, whole);
    if (c->kind == COLUMN_DICT || c->kind == COLUMN_SHARED)
        return column_is_known(w, c->values, whole);
    if (c->kind != COLUMN_TEXT)
        return false;
    w->status = column_load(w->t, c, w->err);
    for (uint32_t i = 0; w->status == 0 && i < c->n; i++)
        if (!is_known(text_value(c, i), whole))
            return false;
    return w->status == 0;
}

/* ---- parts of a value */

static void start_field(struct walker *w, bool quoted) {
    w->field.is_nested = false;
    w->field.quoted = quoted;
    w->field.too_many = false;
    w->field.n_parts = 0;
}

/* The part that bytes or a slot are to be added to. */
static struct field_part *open_part(struct template_field *f) {
    if (f->n_parts > 0 && !f->parts[f->n_parts - 1].column)
        return &f->parts[f->n_parts - 1];
    if (f->n_parts == TEMPLATE_PARTS) {
        f->too_many = true;
        return NULL;
    }
    f->parts[f->n_parts] = (struct field_part){0};
    return &f->parts[f->n_parts++];
}

/* Takes the slot that comes next into the field; false when its values are not tame. */
static bool add_slot(struct walker *w, enum context context) {
    struct column *c = w->g->slots[w->slot++].column;
    w->at = 0;
    struct field_part *part = open_part(&w->field);
    if (part)
        part->column = c;
    return column_is_tame(w, c, context);
}

static void add_byte(struct walker *w) {
    struct field_part *part = open_part(&w->field);
    if (part && part->fixed.size == 0)
        part->fixed.data = fixed_now(w).data + w->at;
    if (part)
        part->fixed.size++;
    w->at++;
}

static bool field_is_empty(const struct template_field *f) {
    return f->n_parts == 0 && !f->too_many;
}

static void tell(struct walker *w, size_t depth) {
    w->field.path = w->path;
    w->field.depth = depth;
    w->enough |= w->fn(w->ctx, &w->field);
}

static void tell_nested(struct walker *w, size_t depth) {
    start_field(w, false);
    w->field.is_nested = true;
    tell(w, depth);
}

/* A string behind its opening quote, up to and with its closing one. */
static bool walk_string(struct walker *w) {
    start_field(w, true);
    for (;;) {
        int c = peek(w);
        if (c == ITEM_SLOT) {
            if (!add_slot(w, IN_STRING))
                return false;
            continue;
        }
        if (c < ' ')
            return false;
        if (c == '"') {
            w->at++;
            return true;
        }
        add_byte(w);
        if (c != '\\')
            continue;
        if (peek(w) < ' ')
            return false;
        add_byte(w);
    }
}

/* ---- as JSON */

/* Does a reader know what it is that it has read? */
static bool bare_is_known(struct walker *w) {
    const struct template_field *f = &w->field;
    if (field_is_empty(f))
        return false;
    const struct field_part *first = &f->parts[0];
    if (first->fixed.size > 0)
        return is_known(first->fixed, field_is_fixed(f));
    return column_is_known(w, first->column, field_is_slot(f));
}

/* A number or a word: what it begins with decides whether a reader knows it. */
static bool walk_bare(struct walker *w) {
    start_field(w, false);
    for (;;) {
        int c = peek(w);
        if (c == ITEM_SLOT) {
            if (!add_slot(w, BARE_JSON))
                return false;
            continue;
        }
        if (c == ITEM_END || !is_bare_byte((char)c))
            return (c == ',' || c == '}' || c == ']' || c == ' ') && bare_is_known(w);
        add_byte(w);
    }
}

static bool walk_key(struct walker *w, struct str *ret) {
    if (!take(w, '"') || !walk_string(w) || !field_is_fixed(&w->field) || field_is_empty(&w->field))
        return false;
    *ret = w->field.parts[0].fixed;
    if (memchr(ret->data, '\\', ret->size))
        return false;
    skip_blanks(w);
    if (!take(w, ':'))
        return false;
    skip_blanks(w);
    return true;
}

/* Behind a value inside an object or array: closes what ends here. False: this is not how JSON goes on. */
static bool walk_closings(struct walker *w, const char *open, size_t *depth) {
    for (;;) {
        skip_blanks(w);
        if (*depth == 0)
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

static bool in_array(const char *open, size_t depth) {
    return depth > 0 && memchr(open, '[', depth) != NULL;
}

/* The value of a member of the outermost object, whatever it holds. */
static bool walk_value(struct walker *w) {
    char open[TEMPLATE_DEPTH];
    size_t depth = 0;
    do {
        if (depth > 0 && open[depth - 1] == '{' && !walk_key(w, &w->path[depth]))
            return false;
        int c = peek(w);
        if (c == '{' || c == '[') {
            if (depth == TEMPLATE_DEPTH)
                return false;
            if (!in_array(open, depth))
                tell_nested(w, depth + 1);
            open[depth++] = (char)c;
            w->at++;
            skip_blanks(w);
            if (peek(w) != (c == '{' ? '}' : ']'))
                continue;
        } else if (c == '"') {
            w->at++;
            if (!walk_string(w))
                return false;
        } else if (!walk_bare(w)) {
            return false;
        }
        if (c != '{' && c != '[' && !in_array(open, depth))
            tell(w, depth + 1);
        if (depth > 0 && !walk_closings(w, open, &depth))
            return false;
    } while (depth > 0);
    return true;
}

static bool walk_json(struct walker *w) {
    if (!take(w, '{'))
        return false;
    skip_blanks(w);
    if (peek(w) == '}')
        return true;
    for (;;) {
        if (!walk_key(w, &w->path[0]) || !walk_value(w))
            return false;
        if (w->enough)
            return true;
        skip_blanks(w);
        if (peek(w) == '}')
            return true;
        if (!take(w, ','))
            return false;
        skip_blanks(w);
    }
}

/* ---- as logfmt */

/* What stands up to the next blank or one of two bytes; its slots must be tame. */
static bool walk_logfmt_part(struct walker *w, bool is_key) {
    start_field(w, false);
    for (;;) {
        int c = peek(w);
        if (c == ITEM_SLOT) {
            if (!add_slot(w, BARE_LOGFMT))
                return false;
            continue;
        }
        if (c == ITEM_END || c <= ' ' || (is_key && c == '='))
            return true;
        if (c == '"' || c == '=')
            return false;
        add_byte(w);
    }
}

/* Words without a value are passed over, as a reader does. */
static bool walk_logfmt(struct walker *w) {
    while (!w->enough) {
        while (peek(w) >= 0 && peek(w) <= ' ')
            w->at++;
        if (peek(w) == ITEM_END)
            return true;
        if (!walk_logfmt_part(w, true))
            return false;
        if (!take(w, '='))
            continue;
        if (!field_is_fixed(&w->field) || field_is_empty(&w->field))
            return false;
        w->path[0] = w->field.parts[0].fixed;
        bool quoted = take(w, '"');
        if (quoted ? !walk_string(w) : !walk_logfmt_part(w, false))
            return false;
        if (peek(w) != ITEM_END && (peek(w) < 0 || peek(w) > ' '))
            return false;
        tell(w, 1);
    }
    return true;
}

int linetab_read_template(struct linetab *t, struct group *g, enum linetab_form form,
                          template_fn *fn, void *ctx, struct err *reterr) {
    struct walker w = {.t = t, .g = g, .err = reterr, .fn = fn, .ctx = ctx};
    bool sure = form == FORM_JSON ? walk_json(&w) : walk_logfmt(&w);
    return w.status < 0 ? w.status : sure;
}
