/* What the fields of rows are, told from columns: the template of a group says where each field stands
 * (linetab_template.h). */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "linetab_template.h"

static int no_memory(struct err *reterr) {
    return err_set(reterr, -ENOMEM, "block: no memory to read a column");
}

/* ---- which rows are refused for a field */

struct refusal {
    linetab_refuses *fn;
    void *ctx;
    struct str key;
    bool found;
    struct template_field field;
};

static bool is_refusals(void *ctx, const struct template_field *f) {
    struct refusal *r = ctx;
    if (f->is_nested || f->depth > 1 || !str_eq(f->path[0], r->key))
        return false;
    r->found = true;
    r->field = *f;
    return true;
}

/* Per row of the group whether its value is refused; `rows` is zeroed. */
static int ask_rows(struct linetab *t, struct column *c, const struct refusal *refusal,
                    uint8_t *rows, struct err *reterr) {
    bool quoted = refusal->field.quoted;
    if (c->kind == COLUMN_DICT || c->kind == COLUMN_SHARED) {
        int r = column_load_cells(t, c, reterr);
        if (r == 0)
            r = column_load_ids(t, c, reterr);
        uint8_t *cells = r < 0 ? NULL : arena_array(&t->tools->scratch, c->n_distinct, 1);
        if (!cells)
            return r < 0 ? r : no_memory(reterr);
        for (uint32_t i = 0; i < c->n_distinct; i++)
            cells[i] = refusal->fn(refusal->ctx, dictionary_cell(c, i), quoted);
        for (uint32_t i = 0; i < c->n; i++)
            rows[i] = cells[c->ids[i]];
        return 0;
    }
    int r = column_load(t, c, reterr);
    if (r < 0)
        return r;
    char *room = arena_alloc(&t->tools->scratch, (size_t)c->value_max + LINETAB_SLACK);
    if (!room)
        return no_memory(reterr);
    for (uint32_t i = 0; i < c->n; i++) {
        char *end = column_write(c, i, room);
        rows[i] = refusal->fn(refusal->ctx, str_make(room, (size_t)(end - room)), quoted);
    }
    return 0;
}

/* 1: rows[] tells which rows are refused, or, when it stays NULL, all are. 0: nothing is known. */
static int refuse_group(struct linetab *t, struct group *g, enum linetab_form form,
                        struct refusal *refusal, uint8_t **rows, struct err *reterr) {
    refusal->found = false;
    int sure = linetab_read_template(t, g, form, is_refusals, refusal, reterr);
    const struct template_field *f = &refusal->field;
    if (sure <= 0 || !refusal->found)
        return sure < 0 ? sure : 0;
    if (field_is_fixed(f))
        return f->n_parts > 0 && refusal->fn(refusal->ctx, f->parts[0].fixed, f->quoted);
    if (!field_is_slot(f))
        return 0;
    *rows = arena_array(&t->tools->scratch, g->rows, 1);
    if (!*rows)
        return no_memory(reterr);
    int r = ask_rows(t, f->parts[0].column, refusal, *rows, reterr);
    return r < 0 ? r : 1;
}

int linetab_refuse(struct linetab *t, enum linetab_form form, struct str key, linetab_refuses *fn,
                   void *ctx, uint8_t *levels, struct err *reterr) {
    struct table *root = t->root;
    struct refusal refusal = {.fn = fn, .ctx = ctx, .key = key};
    uint8_t *refused[LINETAB_GROUPS_MAX + 1] = {NULL};
    int known[LINETAB_GROUPS_MAX + 1] = {0}, any = 0;
    for (uint32_t i = 0; i < root->n_groups; i++) {
        int r = refuse_group(t, &root->groups[i], form, &refusal, &refused[i + 1], reterr);
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

/* ---- fields in place of lines */

struct found_field {
    uint32_t number;
    bool quoted;
    bool may_be_null; /* which is no value */
    uint32_t n_parts;
    struct field_part *parts;
    char *room; /* for a value that no column has as it is */
};

/* A dictionary that fields are made of: its ids times `step` are part of a combination's number. */
struct digit {
    const uint32_t *ids;
    uint32_t step;
};

struct group_fields {
    bool known;
    uint32_t n;
    struct found_field *list;
    bool counted; /* combinations of its dictionaries are numbered from `first` on */
    uint32_t first, n_digits;
    struct digit *digits;
};

struct search {
    struct linetab *t;
    const struct linetab_question *question;
    struct err *err;
    struct found_field list[LINETAB_FIELDS_MAX];
    uint32_t n;
    uint32_t met; /* bits of what every row has */
    uint32_t seen;
    bool unsure;
    int status;
};

static bool is_null(const struct template_field *f) {
    return !f->quoted && field_is_fixed(f) && f->n_parts > 0 &&
           str_eq(f->parts[0].fixed, STR("null"));
}

static bool may_be_null(const struct template_field *f) {
    return !f->quoted && field_is_slot(f) && f->parts[0].column->kind != COLUMN_NUMBER;
}

static bool note_field(void *ctx, const struct template_field *f) {
    struct search *s = ctx;
    const struct linetab_question *q = s->question;
    uint32_t number = q->wanted(q->ctx, f->path, f->depth);
    bool is_json = q->form == FORM_JSON;
    if (number == LINETAB_UNWANTED || (f->is_nested && !q->by_path))
        return false;
    bool again = number < q->n_wanted && (s->seen >> number & 1);
    if (q->by_path && (f->is_nested || again)) {
        s->unsure = true;
        return true;
    }
    if (number < q->n_wanted)
        s->seen |= 1u << number;
    if (is_json && is_null(f))
        return false;
    assert(number < q->n_wanted || number == LINETAB_UNSURE);
    if (f->too_many || number == LINETAB_UNSURE || s->n == LINETAB_FIELDS_MAX) {
        s->unsure = true;
        return true;
    }
    struct found_field *found = &s->list[s->n++];
    *found = (struct found_field){.number = number,
                                  .quoted = f->quoted,
                                  .may_be_null = is_json && may_be_null(f),
                                  .n_parts = f->n_parts};
    found->parts = arena_array(&s->t->tools->scratch, f->n_parts + 1, sizeof(*found->parts));
    if (!found->parts) {
        s->status = no_memory(s->err);
        return true;
    }
    memcpy(found->parts, f->parts, f->n_parts * sizeof(*found->parts));
    if (!found->may_be_null)
        s->met |= 1u << number;
    return is_json && q->until_found && s->met == (uint32_t)((UINT64_C(1) << q->n_wanted) - 1);
}

/* Loads what the field's values need. */
static int prepare_field(struct linetab *t, struct found_field *f, struct err *reterr) {
    size_t most = 0;
    for (uint32_t i = 0; i < f->n_parts; i++) {
        struct column *c = f->parts[i].column;
        most += f->parts[i].fixed.size;
        if (!c)
            continue;
        int r = column_load(t, c, reterr);
        if (r < 0)
            return r;
        most += c->value_max;
    }
    f->room = arena_alloc(&t->tools->scratch, most + LINETAB_SLACK);
    return f->room ? 0 : no_memory(reterr);
}

static int find_in_group(struct linetab *t, struct group *g, const struct linetab_question *q,
                         struct group_fields *ret, struct err *reterr) {
    struct search s = {.t = t, .question = q, .err = reterr};
    int sure = linetab_read_template(t, g, q->form, note_field, &s, reterr);
    if (sure < 0 || s.status < 0)
        return sure < 0 ? sure : s.status;
    if (sure == 0 || s.unsure)
        return 0;
    for (uint32_t i = 0; i < s.n; i++) {
        int r = prepare_field(t, &s.list[i], reterr);
        if (r < 0)
            return r;
    }
    ret->list = arena_array(&t->tools->scratch, s.n + 1, sizeof(*ret->list));
    if (!ret->list)
        return no_memory(reterr);
    memcpy(ret->list, s.list, s.n * sizeof(*ret->list));
    ret->n = s.n;
    ret->known = true;
    return 1;
}

/* Numbers the combinations of values that rows of the group can have, from *next on, as long as they are few. */
static int count_combinations(struct linetab *t, struct group_fields *g, uint32_t *next,
                              struct err *reterr) {
    uint32_t total = 1, n_columns = 0;
    for (uint32_t i = 0; i < g->n; i++)
        n_columns += g->list[i].n_parts;
    g->digits = arena_array(&t->tools->scratch, n_columns + 1, sizeof(*g->digits));
    if (!g->digits)
        return no_memory(reterr);
    for (uint32_t i = 0; i < g->n; i++) {
        for (uint32_t k = 0; k < g->list[i].n_parts; k++) {
            const struct column *c = g->list[i].parts[k].column;
            if (!c)
                continue;
            if ((c->kind != COLUMN_DICT && c->kind != COLUMN_SHARED) ||
                c->n_distinct > LINETAB_COMBINATIONS_MAX / total)
                return 0;
            g->digits[g->n_digits++] = (struct digit){.ids = c->ids, .step = total};
            total *= c->n_distinct;
        }
    }
    if (total > LINETAB_COMBINATIONS_MAX - *next)
        return 0;
    g->counted = true;
    g->first = *next;
    *next += total;
    return 0;
}

uint32_t linetab_fields_combination(const struct linetab *t, uint32_t i) {
    const struct group_fields *g = &t->fields[t->root->ids[i]];
    if (!g->counted)
        return LINETAB_UNWANTED;
    uint32_t row = t->root->rank[i], number = g->first;
    for (uint32_t k = 0; k < g->n_digits; k++)
        number += g->digits[k].ids[row] * g->digits[k].step;
    return number;
}

int linetab_find_fields(struct linetab *t, const struct linetab_question *q, struct err *reterr) {
    struct table *root = t->root;
    assert(q->n_wanted <= LINETAB_FIELDS_MAX);
    t->fields = arena_array(&t->tools->scratch, root->n_groups + 1, sizeof(*t->fields));
    if (!t->fields)
        return no_memory(reterr);
    int any = 0;
    uint32_t combinations = 0;
    for (uint32_t i = 0; i < root->n_groups; i++) {
        struct group_fields *g = &t->fields[i + 1];
        int r = find_in_group(t, &root->groups[i], q, g, reterr);
        if (r > 0 && count_combinations(t, g, &combinations, reterr) < 0)
            return -ENOMEM;
        if (r < 0)
            return r;
        any |= r;
    }
    int r = any ? table_load_ids(t, root, reterr) : 0;
    return r < 0 ? r : any;
}

bool linetab_has_fields(const struct linetab *t, uint32_t i) {
    return t->fields[t->root->ids[i]].known;
}

static struct str field_text(const struct found_field *f, uint32_t row) {
    if (f->n_parts == 1 && f->parts[0].fixed.size == 0) {
        const struct column *c = f->parts[0].column;
        if (c->kind == COLUMN_DICT || c->kind == COLUMN_SHARED)
            return dictionary_cell(c, c->ids[row]);
        if (c->kind == COLUMN_TEXT)
            return str_make(c->text + c->numbers[row],
                            (size_t)(c->numbers[row + 1] - c->numbers[row]));
    }
    if (f->n_parts == 1 && !f->parts[0].column)
        return f->parts[0].fixed;
    char *at = f->room;
    for (uint32_t i = 0; i < f->n_parts; i++) {
        const struct field_part *p = &f->parts[i];
        memcpy(at, p->fixed.data ? p->fixed.data : "", p->fixed.size);
        at += p->fixed.size;
        if (!p->column)
            continue;
        char *end = column_write(p->column, row, at);
        bool joined = p->column->kind == COLUMN_DICT || p->column->kind == COLUMN_SHARED;
        at = joined ? end - p->column->after.size : end;
    }
    return str_make(f->room, (size_t)(at - f->room));
}

size_t linetab_fields(struct linetab *t, uint32_t i, struct linetab_value *ret) {
    const struct group_fields *g = &t->fields[t->root->ids[i]];
    uint32_t row = t->root->rank[i];
    size_t n = 0;
    assert(g->known);
    for (uint32_t k = 0; k < g->n; k++) {
        const struct found_field *f = &g->list[k];
        struct str text = field_text(f, row);
        if (!f->may_be_null || !str_eq(text, STR("null")))
            ret[n++] =
                (struct linetab_value){.number = f->number, .quoted = f->quoted, .text = text};
    }
    return n;
}
