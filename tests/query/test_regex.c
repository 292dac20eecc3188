#include "test.h"

#include <errno.h>
#include <stdlib.h>

#include "arena.h"
#include "buf.h"
#include "regex.h"
#include "test_random.h"
#include "utf8.h"

static struct err err;

static struct regex *compile(const char *pattern, bool anchored) {
    struct regex *re = NULL;
    CHECK_INT(regex_compile(str_from(pattern), anchored, &re, &err), 0);
    if (!re)
        printf("  %s: %s\n", pattern, err.text);
    return re;
}

static void matches(void) {
    static const struct {
        const char *pattern;
        bool anchored;
        struct str text;
        bool want;
    } cases[] = {
        {"b", false, {"abc", 3}, true},
        {"b", true, {"abc", 3}, false},
        {"a.c", true, {"a\nc", 3}, true},
        {"a.c", false, {"a\nc", 3}, false},
        {"(?s)a.c", false, {"a\nc", 3}, true},
        {"a|ab", true, {"ab", 2}, true},
        {"c$", false, {"abc\n", 4}, false},
        {"(?m)c$", false, {"abc\n", 4}, true},
        {"", true, {"", 0}, true},
        {"", false, {"x", 1}, true},
        {"\\d+", false, {"\xd9\xa1", 2}, false},
        {"^..$", false, {"\xec\x84\x9c\xec\x9a\xb8", 6}, true},
        {"\\p{Hangul}", false, {"\xec\x84\x9c", 3}, true},
        {"(?i)\xc3\xa9", false, {"\xc3\x89", 2}, true},
        /* Bytes that are no UTF-8 count as one character each. */
        {"a.c",
         false,
         {"a\xff"
          "c",
          3},
         true},
        {"^.*$",
         true,
         {"a\xff"
          "c",
          3},
         true},
        {"\xec\x84\x9c", false, {"\xff\xec\x84\x9c", 4}, true},
        {"a", false, {"\xff", 1}, false},
        {"a\\x00c", true, {"a\0c", 3}, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct regex *re = compile(cases[i].pattern, cases[i].anchored);
        if (!re)
            continue;
        CHECK_INT(regex_matches(re, cases[i].text), cases[i].want);
        struct str group;
        CHECK_INT(regex_find(re, cases[i].text, 0, &group, 1), cases[i].want);
        CHECK_STR(regex_pattern(re), str_from(cases[i].pattern));
        regex_free(re);
    }
}

static void refuses_in_gos_words(void) {
    static const struct {
        const char *pattern, *want;
    } cases[] = {
        {"(", "missing closing ): `(`"},
        {"a(?P<n>b", "missing closing ): `a(?P<n>b`"},
        {"a(?<n>b", "missing closing ): `a(?<n>b`"},
        {"a)", "unexpected ): `a)`"},
        {"[a", "missing closing ]: `[a`"},
        {"[z-a]", "invalid character class range: `z-a`"},
        {"[[:nope:]]", "invalid character class range: `[:nope:]`"},
        {"\\8", "invalid escape sequence: `\\8`"},
        {"a\\C", "invalid escape sequence: `\\C`"},
        {"a\\", "trailing backslash at end of expression: ``"},
        {"*a", "missing argument to repetition operator: `*`"},
        {"a**", "invalid nested repetition operator: `**`"},
        {"a{1001}", "invalid repeat count: `{1001}`"},
        {"(?=a)", "invalid or unsupported Perl syntax: `(?=`"},
        {"(?P<a-b>c)", "invalid named capture: `(?P<a-b>`"},
        {"(?<\xea\xb3\xa0>c)", "invalid named capture: `(?<\xea\xb3\xa0>`"},
        {"a\xff", "invalid UTF-8: `a\xff`"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct regex *re;
        CHECK_INT(regex_compile(str_from(cases[i].pattern), false, &re, &err), -ESYNTAX);
        CHECK(strncmp(err.text, "error parsing regexp: ", 22) == 0);
        CHECK_STR(str_from(err.text + 22), str_from(cases[i].want));
    }
    static char text[REGEX_PATTERN_MAX + 2];
    memset(text, 'x', sizeof(text) - 1);
    struct regex *re;
    CHECK_INT(regex_compile(str_from(text), false, &re, &err), -ESYNTAX);
    CHECK_INT(regex_compile(str_make(text, REGEX_PATTERN_MAX), false, &re, &err), 0);
    regex_free(re);
}

static void finds_groups(void) {
    struct regex *re = compile("(?P<a>x+)(?<b>y)?(z)(?P<a>w)\\Q(\\E[)(]", false);
    CHECK_INT(regex_group_count(re), 4);
    CHECK_STR(regex_group_name(re, 1), STR("a"));
    CHECK_STR(regex_group_name(re, 2), STR("b"));
    CHECK_STR(regex_group_name(re, 3), STR(""));
    CHECK_STR(regex_group_name(re, 4), STR("a"));
    CHECK_STR(regex_group_name(re, 5), STR(""));
    struct str groups[6];
    CHECK(regex_find(re, STR("..xxzw((.."), 0, groups, 6));
    CHECK_STR(groups[0], STR("xxzw(("));
    CHECK_STR(groups[1], STR("xx"));
    CHECK(groups[2].data == NULL);
    CHECK_STR(groups[3], STR("z"));
    CHECK(groups[5].data == NULL);
    CHECK(!regex_find(re, STR("..xxzw((.."), 4, groups, 6));
    CHECK(!regex_find(re, STR("x"), 2, groups, 6));
    regex_free(re);
    re = compile("^a", false);
    CHECK(!regex_find(re, STR("aa"), 1, groups, 1));
    regex_free(re);
}

static void expands(void) {
    static const struct {
        const char *template_text, *want;
    } cases[] = {
        {"", ""},    {"x", "x"},        {"$1-$2", "ab-"},  {"${1}x", "abx"},
        {"$1x", ""}, {"$name!", "ab!"}, {"${name}", "ab"}, {"$$1", "$1"},
        {"$", "$"},  {"a$", "a$"},      {"${1", "${1"},    {"$0", "abc"},
        {"$9", ""},  {"$01", ""},       {"${}", "${}"},    {"$nope", ""},
    };
    struct regex *re = compile("(?P<name>ab)c(d)?", false);
    struct str groups[3];
    CHECK(regex_find(re, STR("xabcx"), 0, groups, 3));
    struct buf b = buf_make(BUF_NO_MAX);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buf_clear(&b);
        regex_expand(re, str_from(cases[i].template_text), groups, 3, &b);
        CHECK_STR(buf_str(&b), str_from(cases[i].want));
    }
    buf_done(&b);
    regex_free(re);
}

/* ---- facts */

static struct arena arena;

/* "exact=... literal=... fold required=a,b any=c,d" */
static struct str show(struct buf *b, const struct regex_facts *f) {
    buf_clear(b);
    if (f->is_literal)
        buf_addf(b, "literal %.*s ", STR_ARG(f->literal));
    if (f->is_set_exact)
        buf_add_str(b, STR("exact "));
    if (f->fold_case)
        buf_add_str(b, STR("fold "));
    if (f->matches_empty)
        buf_add_str(b, STR("empty "));
    for (size_t i = 0; i < f->n_required; i++)
        buf_addf(b, "%s%.*s", i == 0 ? "all:" : ",", STR_ARG(f->required[i]));
    for (size_t i = 0; i < f->n_any_of; i++)
        buf_addf(b, "%s%.*s", i == 0 ? " any:" : ",", STR_ARG(f->any_of[i]));
    return buf_str(b);
}

static void knows_facts(void) {
    static const struct {
        const char *pattern;
        bool anchored;
        const char *want;
    } cases[] = {
        {"error", false, "literal error exact all:error any:error"},
        {".*error.*", false, "literal error exact all:error any:error"},
        {".*error.*", true, "all:error any:error"},
        {"^error", false, "all:error any:error"},
        {"^error$", true, "literal error exact all:error any:error"},
        {"^(api)$", true, "literal api exact all:api any:api"},
        {"error|fail", false, "exact  any:error,fail"},
        {"(error|fail)", true, "exact  any:error,fail"},
        {".*error.*|.*fail.*", false, "exact  any:error,fail"},
        {"foo.*bar", false, "all:foo,bar any:foo"},
        {"foo.+barbaz", false, "all:barbaz,foo any:barbaz"},
        {"a(b|c)d", true, "exact  any:abd,acd"},
        {"api-[12]", true, "exact  any:api-1,api-2"},
        {"api-[0-9]+", false, "all:api- any:api-"},
        {"colou?r", false, "exact  any:colour,color"},
        {"x*", false, "empty "},
        {"x+y", false, "all:x,y any:x"},
        {"xa+y", false, "all:x,a,y any:x"},
        {"(ab){2}", false, "literal abab exact all:abab any:abab"},
        {"(ab){2,}", false, "all:ab any:ab"},
        {"a{,3}", false, "literal a{,3} exact all:a{,3} any:a{,3}"},
        {"(?i)Error", false, "literal error exact fold all:error any:error"},
        {"(?i:error)X", false, "fold all:errorx any:errorx"},
        {"foo\\.bar\\[\\x41", false, "literal foo.bar[A exact all:foo.bar[A any:foo.bar[A"},
        {"\\Qa.b\\E", false, "literal a.b exact all:a.b any:a.b"},
        {"\\bfoo\\b", false, "all:foo any:foo"},
        {"a|", true, "empty "},
        {"a|b*", false, "empty "},
        {"", false, "literal  empty "},
        {".*", false, "literal  empty "},
        {"a|[0-9]", false, ""},
        {"(foo|ba[rz])!.x", false, "all:x any:foo!,bar!,baz!"},
        {"(?P<n>foo)", false, "literal foo exact all:foo any:foo"},
        {"서울|부산", true, "exact  any:서울,부산"},
        {"(?i)é", false, ""},
        {"a|a", true, "exact  any:a"},
        {"(", false, "empty "},
        {"a\\8", false, "empty "},
    };
    struct buf b = buf_make(BUF_NO_MAX);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct regex_facts facts;
        regex_analyze(str_from(cases[i].pattern), cases[i].anchored, &arena, &facts);
        struct str got = show(&b, &facts);
        CHECK_STR(got, str_from(cases[i].want));
        if (!str_eq(got, str_from(cases[i].want)))
            printf("  of %s\n", cases[i].pattern);
    }
    buf_done(&b);
}

static void large_patterns_stay_small(void) {
    struct buf b = buf_make(BUF_NO_MAX);
    struct regex_facts facts;
    for (int i = 0; i < 1000; i++)
        buf_addf(&b, "%sname%d", i == 0 ? "" : "|", i);
    regex_analyze(buf_str(&b), true, &arena, &facts);
    CHECK(facts.is_set_exact);
    CHECK_INT(facts.n_any_of, 1000);
    buf_clear(&b);
    for (int i = 0; i < 5000; i++)
        buf_add_str(&b, STR("(["));
    regex_analyze(buf_str(&b), true, &arena, &facts);
    buf_clear(&b);
    for (int i = 0; i < 60; i++)
        buf_add_str(&b, STR("((((((((((a|b)"));
    regex_analyze(buf_str(&b), true, &arena, &facts);
    buf_clear(&b);
    for (int i = 0; i < 3000; i++)
        buf_add_str(&b, STR("[ab]."));
    regex_analyze(buf_str(&b), false, &arena, &facts);
    buf_done(&b);
}

/* ---- property: what RE2 matches bears the facts out, and exact facts decide */

static void random_pattern(struct buf *b) {
    static const char *const pieces[] = {
        "a",        "b",    "c",    "ab",     "A",           "B",    "|",     "(",     ")",
        "*",        "+",    "?",    ".",      ".*",          "[ab]", "[^a]",  "[a-c]", "^",
        "$",        "(?i)", "(?i:", "(?:",    "{2}",         "{0}",  "{1,2}", "\\b",   "\\.",
        "\\Qa*\\E", "(?s)", "(?m)", "\\x61",  "[[:alpha:]]", "é",    "\\A",   "\\z",   "*?",
        "??",       "\\w",  "\\n",  "(?P<n>", "]",           "}",    "{0,1}", "(?-i)",
    };
    buf_clear(b);
    for (uint64_t i = 1 + random_below(8); i > 0; i--)
        buf_add_str(b, str_from(pieces[random_below(sizeof(pieces) / sizeof(pieces[0]))]));
}

static void random_text(struct buf *b) {
    static const char *const pieces[] = {"a", "b", "c", "A",    "B", "C", "\n", ".",
                                         "*", "é", "É", "\xff", "]", "}", " "};
    buf_clear(b);
    for (uint64_t i = random_below(7); i > 0; i--)
        buf_add_str(b, str_from(pieces[random_below(sizeof(pieces) / sizeof(pieces[0]))]));
}

static struct str lower(struct arena *a, struct str s) {
    char *data = arena_alloc(a, s.size + 1);
    for (size_t i = 0; i < s.size; i++)
        data[i] = s.data[i] >= 'A' && s.data[i] <= 'Z' ? (char)(s.data[i] | 0x20) : s.data[i];
    return str_make(data, s.size);
}

static bool contains(struct str text, struct str part) {
    return part.size == 0 || str_find(text, part) != NULL;
}

static bool facts_hold(const struct regex_facts *f, bool anchored, struct str text, bool matched) {
    if (f->fold_case)
        text = lower(&arena, text);
    if (matched) {
        for (size_t i = 0; i < f->n_required; i++)
            if (!contains(text, f->required[i]))
                return false;
        bool any = f->n_any_of == 0;
        for (size_t i = 0; i < f->n_any_of; i++)
            any = any || contains(text, f->any_of[i]);
        if (!any || (text.size == 0 && !f->matches_empty))
            return false;
    }
    if (f->is_set_exact) {
        bool decided = false;
        for (size_t i = 0; i < f->n_any_of; i++)
            decided =
                decided || (anchored ? str_eq(text, f->any_of[i]) : contains(text, f->any_of[i]));
        if (decided != matched)
            return false;
    }
    if (f->is_literal)
        return matched == (anchored ? str_eq(text, f->literal) : contains(text, f->literal));
    return true;
}

static void facts_never_contradict_re2(void) {
    struct buf pattern = buf_make(BUF_NO_MAX), text = buf_make(BUF_NO_MAX);
    unsigned compiled = 0, matched = 0, informative = 0;
    for (unsigned i = 0; i < 30000; i++) {
        random_pattern(&pattern);
        bool anchored = random_below(2);
        struct regex *re;
        if (regex_compile(buf_str(&pattern), anchored, &re, &err) < 0)
            continue;
        compiled++;
        struct regex_facts facts;
        regex_analyze(buf_str(&pattern), anchored, &arena, &facts);
        informative += facts.n_any_of > 0;
        for (unsigned n = 0; n < 20; n++) {
            random_text(&text);
            bool hit = regex_matches(re, buf_str(&text));
            matched += hit;
            bool holds = facts_hold(&facts, anchored, buf_str(&text), hit);
            CHECK(holds);
            if (!holds) {
                struct buf b = buf_make(BUF_NO_MAX);
                printf("  %.*s %d on \"%.*s\" (%d): %.*s\n", STR_ARG(buf_str(&pattern)), anchored,
                       STR_ARG(buf_str(&text)), hit, STR_ARG(show(&b, &facts)));
                buf_done(&b);
            }
        }
        regex_free(re);
        arena_reset(&arena);
    }
    CHECK(compiled > 5000 && matched > 5000 && informative > 2000);
    buf_done(&pattern);
    buf_done(&text);
}

int main(void) {
    arena = arena_make(256 << 20);
    RUN(matches);
    RUN(refuses_in_gos_words);
    RUN(finds_groups);
    RUN(expands);
    RUN(knows_facts);
    RUN(large_patterns_stay_small);
    RUN(facts_never_contradict_re2);
    arena_done(&arena);
    return test_done();
}
