#include "stage.h"

#include <errno.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "ip.h"
#include "pattern.h"
#include "regex.h"

#if defined(__SSE2__)
/* Sixteen positions at a time are compared by the needle's first and last byte; only where both agree is the
 * whole needle compared. The tail, and needles of one byte, go to libc. */
static bool contains(struct str line, struct str needle) {
    if (needle.size == 0)
        return true;
    if (needle.size > line.size)
        return false;
    if (needle.size == 1)
        return memchr(line.data, needle.data[0], line.size) != NULL;
    const __m128i first = _mm_set1_epi8(needle.data[0]);
    const __m128i last = _mm_set1_epi8(needle.data[needle.size - 1]);
    const char *p = line.data;
    size_t positions = line.size - needle.size + 1;
    size_t i = 0;
    for (; i + 16 <= positions; i += 16) {
        __m128i a = _mm_loadu_si128((const void *)(p + i));
        __m128i b = _mm_loadu_si128((const void *)(p + i + needle.size - 1));
        __m128i both = _mm_and_si128(_mm_cmpeq_epi8(a, first), _mm_cmpeq_epi8(b, last));
        unsigned mask = (unsigned)_mm_movemask_epi8(both);
        for (; mask != 0; mask &= mask - 1)
            if (memcmp(p + i + __builtin_ctz(mask), needle.data, needle.size) == 0)
                return true;
    }
    for (; i < positions; i++)
        if (p[i] == needle.data[0] && memcmp(p + i, needle.data, needle.size) == 0)
            return true;
    return false;
}
#else
static bool contains(struct str line, struct str needle) {
    return str_find(line, needle) != NULL;
}
#endif

static int test_compile(struct stage_compiler *c, enum line_op op, const struct line_operand *o,
                        struct line_test *ret) {
    ret->text = o->text;
    if (op == LINE_PATTERN || op == LINE_NOT_PATTERN)
        return pattern_compile(c, o->text, true, &ret->pattern);
    bool by_regex = op == LINE_MATCHES || op == LINE_NOT_MATCHES;
    if (o->ip)
        return by_regex ? err_set(c->reterr, -ESYNTAX, "ip: invalid operation")
                        : ip_compile(c, o->text, &ret->ip);
    ret->literals = &ret->text;
    ret->n_literals = 1;
    if (!by_regex)
        return 0;
    struct regex_facts facts = {0};
    regex_analyze(o->text, false, c->arena, &facts);
    ret->fold = facts.fold_case;
    if (facts.is_literal) {
        ret->text = facts.literal;
    } else {
        ret->literals = facts.any_of;
        ret->n_literals = facts.is_set_exact ? facts.n_any_of : 0;
    }
    if (!facts.is_literal || facts.fold_case)
        ret->regex = o->regex;
    if (!facts.is_literal) {
        ret->bytes = regex_bytes(o->regex);
        ret->n_parts = regex_parts(o->regex, &ret->parts);
    }
    return 0;
}

int line_filter_compile(struct stage_compiler *c, const struct stage *s,
                        struct line_filter_step *ret) {
    enum line_op op = s->line_filter.op;
    size_t count = 0;
    for (const struct line_operand *o = s->line_filter.operands; o; o = o->next)
        count++;
    struct line_test *tests = arena_array(c->arena, count + 1, sizeof(*tests));
    if (!tests)
        return -ENOMEM;
    size_t i = 0;
    for (const struct line_operand *o = s->line_filter.operands; o; o = o->next, i++) {
        int r = test_compile(c, op, o, &tests[i]);
        if (r < 0)
            return r;
    }
    *ret = (struct line_filter_step){
        .tests = tests,
        .count = count,
        .negated = op == LINE_EXCLUDES || op == LINE_NOT_MATCHES || op == LINE_NOT_PATTERN,
    };
    return 0;
}

static bool test_holds(const struct line_test *t, struct str line) {
    if (t->regex)
        return regex_matches(t->regex, line);
    if (t->ip)
        return ip_find(t->ip, line);
    return t->pattern ? pattern_matches(t->pattern, line) : contains(line, t->text);
}

bool line_filter_run(const struct line_filter_step *s, struct str line) {
    for (size_t i = 0; i < s->count; i++)
        if (test_holds(&s->tests[i], line))
            return !s->negated;
    return s->negated;
}
