/* Line filters as clauses. */
#include <errno.h>

#include "finder.h"
#include "stage.h"

enum {
    CLAUSES_MAX = 16,
    LITERALS_MAX = 8, /* of one clause: more, and RE2 on each line is faster */
};

static bool makes_line(enum stage_kind kind) {
    return kind == STAGE_LINE_FORMAT || kind == STAGE_UNPACK || kind == STAGE_DECOLORIZE;
}

static bool can_be_asked(struct str literal, bool fold) {
    return literal.size > 0 && literal.size <= LINETAB_LITERAL_MAX &&
           (!fold || finder_foldable(literal).size == literal.size);
}

/* `|= ""`, as query builders write it. */
static bool holds_always(const struct line_filter_step *s) {
    bool always = false;
    for (size_t i = 0; i < s->count; i++)
        always = always || (s->tests[i].n_literals == 1 && s->tests[i].literals[0].size == 0 &&
                            !s->tests[i].ip && !s->tests[i].pattern);
    return always && !s->negated;
}

/* 0: it is none; *ret is its literals in any case of memory. */
static int literals_of(struct arena *arena, const struct line_filter_step *s,
                       struct line_clause *ret) {
    struct needle found[LITERALS_MAX];
    for (size_t i = 0; i < s->count; i++) {
        const struct line_test *t = &s->tests[i];
        if (t->n_literals == 0 || ret->count + t->n_literals > LITERALS_MAX)
            return 0;
        for (size_t k = 0; k < t->n_literals; k++) {
            if (!can_be_asked(t->literals[k], t->fold))
                return 0;
            found[ret->count++] = (struct needle){.text = t->literals[k], .fold = t->fold};
        }
    }
    struct needle *any = arena_array(arena, ret->count + 1, sizeof(*any));
    if (!any)
        return -ENOMEM;
    for (size_t i = 0; i < ret->count; i++)
        any[i] = found[i];
    ret->any = any;
    return ret->count > 0;
}

static int clause_of(struct arena *arena, const struct line_filter_step *s,
                     struct line_clause *ret) {
    *ret = (struct line_clause){.negated = s->negated};
    if (s->count == 1 && s->tests[0].bytes) {
        ret->row = s->tests[0].bytes;
        return 1;
    }
    return literals_of(arena, s, ret);
}

/* What a line must have for the filter to hold; whether it does, is for the filter to say. */
static size_t hints_of(const struct line_filter_step *s, struct line_clause *list, size_t room) {
    size_t n = s->negated || s->count != 1 ? 0 : s->tests[0].n_parts;
    n = n < room ? n : room;
    for (size_t i = 0; i < n; i++)
        list[i] = (struct line_clause){.row = s->tests[0].parts[i]};
    return n;
}

int line_clauses_find(struct arena *arena, struct step *steps, size_t count,
                      struct line_clause **ret, size_t *ret_count) {
    struct line_clause *list = arena_array(arena, CLAUSES_MAX, sizeof(*list));
    size_t n = 0;
    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < count && !makes_line(steps[i].kind); i++) {
        if (steps[i].kind != STAGE_LINE_FILTER)
            continue;
        struct line_filter_step *s = &steps[i].line_filter;
        int r = holds_always(s) || n == CLAUSES_MAX ? 0 : clause_of(arena, s, &list[n]);
        if (r < 0)
            return r;
        s->is_clause = r > 0 || holds_always(s);
        n += r > 0 ? 1 : s->is_clause ? 0 : hints_of(s, &list[n], CLAUSES_MAX - n);
    }
    *ret = list;
    *ret_count = n;
    return 0;
}
