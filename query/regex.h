/* regex: RE2 (Go's regular expressions, linear time) behind C, and what can be known from an expression's text
 * before running it. A compiled regex is immutable; any thread may match with it. Memory of one regex is
 * bounded (REGEX_MEMORY_MAX). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "err.h"
#include "str.h"

#ifdef __cplusplus
extern "C" {
#endif

struct arena;
struct buf;
struct regex;

enum { REGEX_PATTERN_MAX = 16 << 10, REGEX_MEMORY_MAX = 8 << 20, REGEX_GROUPS_MAX = 64 };

/* Go syntax, (?<name>..) included. `anchored`: as if ^(?:...)$ with (?s) as Loki's label matchers have it.
 * -ESYNTAX with Go's wording ("error parsing regexp: ...") in reterr. */
int regex_compile(struct str pattern, bool anchored, struct regex **ret, struct err *reterr);
void regex_free(struct regex *re);

/* Lines that are not valid UTF-8 are matched byte-wise (Latin-1 twin, compiled at first need). */
bool regex_matches(const struct regex *re, struct str text);

struct byteseq;
/* The same expression as a row of bytes (byteseq.h), or NULL; lives as long. */
const struct byteseq *regex_bytes(const struct regex *re);
/* Of an expression that is none: rows that all texts which match have (runseq.h), none when nothing is known; the count. */
size_t regex_parts(const struct regex *re, const struct byteseq *const **ret);

/* First match at or after `from`; group 0 and up to n_groups - 1 captures (data NULL = did not take part). */
bool regex_find(const struct regex *re, struct str text, size_t from, struct str *ret_groups,
                size_t n_groups);

size_t regex_group_count(const struct regex *re);                  /* without group 0 */
struct str regex_group_name(const struct regex *re, size_t group); /* empty when unnamed */
struct str regex_pattern(const struct regex *re);

/* Expands $1, ${1}, $name, ${name}, $$ in Go's Regexp.Expand way into out. */
void regex_expand(const struct regex *re, struct str template_text, const struct str *groups,
                  size_t n_groups, struct buf *out);

/* ---- analysis, for the planner */

struct regex_facts {
    /* The whole expression is one literal (after stripping .* at both ends for an unanchored one): then matching
     * is a substring search. */
    bool is_literal;
    bool fold_case; /* the literals below are to be compared without case */
    struct str literal;
    /* Every matching text contains ALL of these. The longest first; empties never. */
    const struct str *required;
    size_t n_required;
    /* Every matching text contains AT LEAST ONE of these (an alternation of literals); 0 = nothing known. When
     * is_set_exact, matching any of them is all there is to it (unanchored: contains; anchored: equals). */
    const struct str *any_of;
    size_t n_any_of;
    bool is_set_exact;
    bool matches_empty;
};
/* Pure text analysis of Go syntax; whatever it does not understand gives "nothing known". Strings live in the
 * arena. */
void regex_analyze(struct str pattern, bool anchored, struct arena *arena, struct regex_facts *ret);

#ifdef __cplusplus
}
#endif
