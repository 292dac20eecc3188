/* matcher: one condition on a label of a stream. Storage knows equality itself; a regular expression is a
 * function that the caller brings (query's RE2), anchored at both ends by the caller. */
#pragma once

#include <stdbool.h>

#include "labels.h"
#include "str.h"

enum match_op { MATCH_EQ, MATCH_NEQ, MATCH_RE, MATCH_NRE };

typedef bool match_fn(const void *regex, struct str value);

struct matcher {
    enum match_op op;
    struct str name;
    struct str value;
    const void *regex; /* MATCH_RE, MATCH_NRE; borrowed */
    match_fn *matches; /* asked for the regex alone, negation is applied here */
    /* For MATCH_RE that is a plain alternation (a|b|c): its values, so that postings are looked up one by one
     * instead of listing all values. Optional. */
    const struct str *set;
    size_t set_count;
};

/* An absent label counts as the empty string. */
static inline bool matcher_accepts(const struct matcher *m, struct str value) {
    switch (m->op) {
    case MATCH_EQ:
        return str_eq(m->value, value);
    case MATCH_NEQ:
        return !str_eq(m->value, value);
    case MATCH_RE:
        return m->matches(m->regex, value);
    case MATCH_NRE:
        return !m->matches(m->regex, value);
    }
    return false;
}

static inline bool matchers_accept(const struct matcher *m, size_t count, struct labels labels) {
    for (size_t i = 0; i < count; i++)
        if (!matcher_accepts(&m[i], labels_get(labels, m[i].name)))
            return false;
    return true;
}
