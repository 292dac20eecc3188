#include "sift.h"

#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "linetab.h"

enum {
    SIFT_SHARE = 2, /* when more of the lines are wanted, writing all at once is cheaper */
    ASK_MIN = 16,   /* blocks after which what hardly refuses a line is asked no more */
    FEW_SHARE = 16, /* fewer lines are cheaper to look at than the parts of their block */
};

bool sift_takes_fields(const struct scanner *s, uint32_t entry) {
    return s->has_fields && (!s->plan->fields.has_filter || s->levels[entry] == LINETAB_YES) &&
           block_reader_has_fields(s->reader, entry);
}

static int reserve_levels(struct scanner *s, struct err *reterr) {
    size_t words = s->info.count / 64 + 1;
    if (words > s->levels_capacity) {
        free(s->levels);
        free(s->other_levels);
        free(s->wanted);
        s->levels_capacity = 0;
        s->levels = malloc(words * 64);
        s->other_levels = malloc(words * 64);
        s->wanted = malloc(words * sizeof(*s->wanted));
        if (!s->levels || !s->other_levels || !s->wanted)
            return exec_no_memory(reterr);
        s->levels_capacity = words;
    }
    memset(s->wanted, 0, words * sizeof(*s->wanted));
    return 0;
}

/* ---- clauses */

/* Raises levels of lines that have what the clause asks for. */
static int ask_clause(struct scanner *s, const struct plan_clause *c, uint8_t *levels,
                      struct err *reterr) {
    if (c->is_row)
        return block_reader_match_row(s->reader, &c->row, levels, reterr);
    int r = 1;
    for (size_t i = 0; i < c->count && r > 0; i++)
        r = block_reader_match(s->reader, c->any[i].text, c->any[i].fold, levels, reterr);
    return r;
}

/* Both must hold. */
static void lower_levels(uint8_t *levels, const uint8_t *by, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        levels[i] = by[i] < levels[i] ? by[i] : levels[i];
}

static void lower_levels_negated(uint8_t *levels, const uint8_t *by, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint8_t level = (uint8_t)(LINETAB_YES - by[i]);
        levels[i] = level < levels[i] ? level : levels[i];
    }
}

static int lower_by_clause(struct scanner *s, const struct plan_clause *c, struct err *reterr) {
    memset(s->other_levels, LINETAB_NO, s->info.count);
    int r = ask_clause(s, c, s->other_levels, reterr);
    if (c->negated)
        lower_levels_negated(s->levels, s->other_levels, s->info.count);
    else
        lower_levels(s->levels, s->other_levels, s->info.count);
    return r;
}

static uint32_t count_left(const struct scanner *s) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < s->info.count; i++)
        left += s->levels[i] != LINETAB_NO;
    return left;
}

/* What the clauses do not ask for, but all lines that pass have. */
static int sift_by_search(struct scanner *s, struct err *reterr) {
    const struct plan *p = s->plan;
    memset(s->other_levels, LINETAB_NO, s->info.count);
    int r = 1;
    for (size_t i = 0; r > 0 && i < p->n_search; i++)
        r = block_reader_match(s->reader, p->search[i].needle, p->search[i].fold, s->other_levels,
                               reterr);
    lower_levels(s->levels, s->other_levels, s->info.count);
    return r;
}

/* Of each line whether the clauses hold; 0: the block is no table. Where lines are looked at anyway, and few are left, the
 * other clauses are left to the pipeline. */
static int sift_by_clauses(struct scanner *s, struct err *reterr) {
    const struct plan *p = s->plan;
    bool all_matter = p->clauses_decide || p->takes_fields;
    /* Mostly there is one clause, whose levels are the answer as they are. */
    bool as_they_are = !p->also_search && p->n_clauses > 0 && !p->clauses[0].negated;
    uint32_t left = s->info.count;
    int r = 1;
    memset(s->levels, as_they_are ? LINETAB_NO : LINETAB_YES, s->info.count);
    if (p->also_search) {
        r = sift_by_search(s, reterr);
        left = count_left(s);
    }
    for (size_t i = 0; r > 0 && i < p->n_clauses && left > 0; i++) {
        const struct plan_clause *c = &p->clauses[i];
        if (!all_matter && left < s->info.count / FEW_SHARE)
            break;
        r = i == 0 && as_they_are ? ask_clause(s, c, s->levels, reterr)
                                  : lower_by_clause(s, c, reterr);
        if (i + 1 < p->n_clauses)
            left = count_left(s);
    }
    return r;
}

/* ---- fields */

static bool refuses(void *ctx, struct str value, bool quoted) {
    return field_filter_refuses(ctx, value, quoted);
}

/* A label of that name would be asked instead of the field. */
static int has_label(struct scanner *s, struct str name, struct err *reterr) {
    const struct meta_column *column;
    if (labels_get(s->plan->streams[s->task->stream].labels, name).data)
        return 1;
    int r = block_reader_meta_column(s->reader, name, &column, reterr);
    return r < 0 ? r : column != NULL;
}

/* Leaves out lines that a filter behind | json or | logfmt refuses for what its field's column says. */
static int sift_by_fields(struct scanner *s, struct err *reterr) {
    const struct plan *p = s->plan;
    if (p->n_field_filters == 0 || (s->n_asked >= ASK_MIN && s->n_refusing * 4 < s->n_asked))
        return 1;
    int r = 1;
    for (size_t i = 0; r > 0 && i < p->n_field_filters; i++) {
        const struct field_filter *f = &p->field_filters[i];
        int labelled = has_label(s, f->name, reterr);
        if (labelled < 0)
            return labelled;
        if (!labelled)
            r = block_reader_refuse(s->reader, f->form, f->name, refuses, (void *)(uintptr_t)f,
                                    s->levels, reterr);
    }
    s->n_asked += r > 0;
    return r;
}

/* Finds the fields that do in place of lines. A reader of a line stops when it has them all, which it has not when a label
 * has the name of one: the field then makes another. */
static int find_fields(struct scanner *s, struct err *reterr) {
    const struct plan *p = s->plan;
    struct linetab_question q = {.form = p->fields.form,
                                 .wanted = pipeline_field_number,
                                 .ctx = (void *)(uintptr_t)&p->fields,
                                 .n_wanted = (uint32_t)p->fields.count,
                                 .by_path = p->fields.paths != NULL};
    int labelled = 0;
    for (size_t i = 0; labelled == 0 && !q.by_path && i < p->fields.count; i++)
        labelled = has_label(s, p->fields.names[i], reterr);
    q.until_found = labelled == 0;
    int r = labelled < 0 ? labelled : block_reader_find_fields(s->reader, &q, reterr);
    s->has_fields = r > 0;
    if (r > 0 && p->same_for_same_fields)
        memset(s->answers, SCAN_UNKNOWN, sizeof(s->answers));
    return r;
}

int sift_ask(struct scanner *s, struct err *reterr) {
    int r = reserve_levels(s, reterr);
    if (r == 0)
        r = sift_by_clauses(s, reterr);
    if (r > 0)
        r = sift_by_fields(s, reterr);
    s->asked = r > 0;
    return r;
}

int sift_block(struct scanner *s, struct str *ret, struct err *reterr) {
    const struct plan *p = s->plan;
    int r = s->asked ? 1 : sift_ask(s, reterr);
    int found = r > 0 && p->takes_fields ? find_fields(s, reterr) : 0;
    r = found < 0 ? found : r;
    if (r <= 0)
        return r;
    uint32_t count = 0, left = 0;
    for (uint32_t i = s->from; i < s->to; i++) {
        while (s->to - i >= 8 && get_le64(s->levels + i) == 0)
            i += 8;
        if (i == s->to)
            break;
        left += s->levels[i] != LINETAB_NO;
        bool wanted =
            s->levels[i] == LINETAB_MAYBE || (s->levels[i] == LINETAB_YES && !p->clauses_decide);
        wanted = wanted && !sift_takes_fields(s, i);
        s->wanted[i / 64] |= (uint64_t)wanted << (i % 64);
        count += wanted;
    }
    s->n_refusing += p->n_field_filters > 0 && left < (s->to - s->from) / SIFT_SHARE;
    if (count > s->info.count / SIFT_SHARE)
        return 0;
    if (count > 0)
        r = block_reader_some_lines(s->reader, s->wanted, ret, &s->places, reterr);
    return r < 0 ? r : 1;
}

bool sift_takes_part(const struct scanner *s) {
    return s->to - s->from < s->info.count / SIFT_SHARE;
}

int sift_chosen(struct scanner *s, const uint32_t *entries, uint32_t count, struct str *ret,
                struct err *reterr) {
    int r = reserve_levels(s, reterr);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < count; i++)
        s->wanted[entries[i] / 64] |= UINT64_C(1) << (entries[i] % 64);
    return block_reader_some_lines(s->reader, s->wanted, ret, &s->places, reterr);
}

int sift_part(struct scanner *s, struct str *ret, struct err *reterr) {
    int r = reserve_levels(s, reterr);
    if (r < 0)
        return r;
    for (uint32_t i = s->from; i < s->to; i++)
        s->wanted[i / 64] |= UINT64_C(1) << (i % 64);
    return block_reader_some_lines(s->reader, s->wanted, ret, &s->places, reterr);
}

bool sift_is_worth(const struct scanner *s) {
    const struct plan *p = s->plan;
    bool may_leave_few = s->n_sifts < ASK_MIN || s->n_sifted * 4 >= s->n_sifts;
    return p->search || p->n_field_filters > 0 || p->takes_fields ||
           (p->n_clauses > 0 && may_leave_few);
}
