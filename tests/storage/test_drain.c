#include "drain.h"

#include <stdlib.h>

#include "patterns.h"
#include "test.h"

static struct drain *drain;
static struct buf text;

/* The text of a group, as people see it. */
static struct str shown(int group) {
    struct buf raw = buf_make(DRAIN_LINE_MAX);
    buf_clear(&text);
    drain_template(drain, group, DRAIN_AS_IS, &raw);
    pattern_text(buf_str(&raw), false, &text);
    buf_done(&raw);
    return buf_str(&text);
}

static int add(const char *line) {
    return drain_add(drain, 0, str_from(line));
}

/* Lines that come into one group, and its text. */
static void joins(void) {
    static const struct {
        const char *lines[4];
        const char *want;
    } cases[] = {
        {{"user 17 logged in", "user 23 logged in"}, "user <_> logged in"},
        {{"test 1 test test", "test 2 test test", "test 3 test test"}, "test <_> test test"},
        {{"GET /a/1?x=2 200", "GET /a/9?x=3 200"}, "GET <_>?x=<_> 200"},
        {{"ts=2024-05-30T12:50:36.648Z level=warn msg=\"no answer\" addr=10.0.151.101:9095",
          "ts=2024-05-30T12:50:36.350Z level=warn msg=\"no answer\" addr=10.0.45.239:9095"},
         "ts=<_> level=warn msg=\"no answer\" addr=<_>"},
        {{"took 5ms (id 7)", "took 91ms (id 8)"}, "took <_> (id <_>)"},
        {{"same line again", "same line again"}, "same line again"},
        {{"  indented 1  end ", "  indented 2  end "}, "indented <_>  end "},
        {{"\ttab\t1", "\ttab\t2"}, "\ttab\t<_>"},
        {{"<b>bold</b> text 1", "<b>bold</b> text 2"}, "<_> text <_>"},
        {{"a < b and c <d e> 1", "a < b and c <d e> 2"}, "a < b and c <d e> <_>"},
        {{"Größe 5 für Käse", "Größe 6 für Käse"}, "Größe <_> für Käse"},
        /* The last word does not lead through the tree. */
        {{"user logged in as alice", "user logged in as bob"}, "user logged in as <_>"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        drain_reset(drain);
        for (size_t k = 0; k < 4 && cases[i].lines[k]; k++)
            CHECK_INT(add(cases[i].lines[k]), 0);
        CHECK_INT(drain_groups(drain), 1);
        CHECK_STR(shown(0), str_from(cases[i].want));
    }
}

/* Lines that must stay apart. */
static void stays_apart(void) {
    static const char *const cases[][2] = {
        {"user 17 logged in", "user 17 logged out 5 times"}, /* number of tokens */
        {"disk sda is full", "file sda is full"},            /* words in front */
        {"took 5 ms", "took  5 ms"},                         /* spaces */
        {"value 1 2 (3)", "value 1 2 [3)"},                  /* delimiters */
        {"end 1", "end 1 "},                                 /* trailing space */
        {"1 2 3 4 a", "5 6 7 8 b"},                          /* nothing is equal */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        drain_reset(drain);
        CHECK_INT(add(cases[i][0]), 0);
        CHECK_INT(add(cases[i][1]), 1);
    }
    drain_reset(drain);
    CHECK_INT(drain_add(drain, 3, STR("same line")), 0);
    CHECK_INT(drain_add(drain, 4, STR("same line")), 1);
    CHECK_INT(drain_kind(drain, 1), 4);
}

/* Words at one place become "any" when there are too many of them. */
static void many_words(void) {
    char line[64];
    int last = 0;
    drain_reset(drain);
    for (int i = 0; i < 26; i++) {
        (void)snprintf(line, sizeof(line), "hello %c%c how are you", 'a' + i, 'a' + i);
        last = add(line);
    }
    CHECK_INT(drain_groups(drain), DRAIN_CHILDREN_MAX);
    CHECK_INT(last, DRAIN_CHILDREN_MAX - 1);
    CHECK_STR(shown(last), STR("hello <_> how are you"));
    CHECK_STR(shown(0), STR("hello aa how are you"));
    CHECK_INT(add("hello aa how are you"), 0);
}

static void limits(void) {
    char line[DRAIN_LINE_MAX + 2];
    drain_reset(drain);
    CHECK_INT(add(""), DRAIN_NONE);
    CHECK_INT(add("   "), DRAIN_NONE);
    CHECK_INT(add("word"), DRAIN_NONE);
    memset(line, 'x', sizeof(line));
    memcpy(line, "a ", 2);
    CHECK_INT(drain_add(drain, 0, str_make(line, DRAIN_LINE_MAX + 1)), DRAIN_NONE);
    CHECK_INT(drain_add(drain, 0, str_make(line, DRAIN_LINE_MAX)), 0);
    /* What stands behind the last token that counts is one <_>. */
    drain_reset(drain);
    for (unsigned i = 0; i < DRAIN_LINE_MAX; i++)
        line[i] = i % 2 ? ',' : 'a';
    CHECK_INT(drain_add(drain, 0, str_make(line, 500)), 0);
    CHECK_INT(drain_add(drain, 0, str_make(line, 600)), 0);
    struct str t = shown(0);
    CHECK_INT(t.size, DRAIN_TOKENS_MAX - 1 + 3);
    CHECK(str_ends(t, STR("a,a<_>")));
    /* No more groups: the line is in none, those that exist go on. */
    drain_reset(drain);
    for (int i = 0; i < DRAIN_GROUPS_MAX; i++) {
        (void)snprintf(line, sizeof(line), "group%.*s x", i + 1, "(((((((((((((((((((((((((((((");
        drain_add(drain, (uint32_t)i, STR("some line"));
    }
    CHECK_INT(drain_groups(drain), DRAIN_GROUPS_MAX);
    CHECK_INT(drain_add(drain, DRAIN_GROUPS_MAX, STR("some line")), DRAIN_NONE);
    CHECK_INT(drain_add(drain, 7, STR("some line")), 7);
}

/* All nodes used up: the same. */
static void limit_of_nodes(void) {
    char line[400];
    bool refused = false;
    drain_reset(drain);
    for (unsigned i = 0; i < DRAIN_GROUPS_MAX && !refused; i++) {
        size_t n = 0;
        for (unsigned k = 0; k < 30; k++)
            n += (size_t)snprintf(line + n, sizeof(line) - n, "w%c%c ", 'a' + (int)(i % 26),
                                  'a' + (int)k % 26);
        refused = drain_add(drain, i, str_make(line, n)) < 0;
    }
    CHECK(refused);
}

/* A template says the same in another drain, and joins with lines and templates. */
static void templates(void) {
    struct buf raw = buf_make(DRAIN_LINE_MAX);
    drain_reset(drain);
    CHECK_INT(add("user 17 of host-3 logged in at 12:00:01"), 0);
    drain_template(drain, 0, DRAIN_MASK_VALUES, &raw);
    CHECK_STR(buf_str(&raw), STR("user \x01 of host-3 logged in at \x01"));
    struct buf digits = buf_make(DRAIN_LINE_MAX);
    drain_template(drain, 0, DRAIN_MASK_DIGITS, &digits);
    CHECK_STR(buf_str(&digits), STR("user \x01 of \x01 logged in at \x01"));
    buf_done(&digits);
    drain_reset(drain);
    CHECK_INT(drain_add_template(drain, 0, buf_str(&raw)), 0);
    CHECK_STR(shown(0), STR("user <_> of host-3 logged in at <_>"));
    CHECK_INT(drain_add_template(drain, 0, STR("user \x01 of host-7 logged in at \x01")), 0);
    CHECK_STR(shown(0), STR("user <_> of <_> logged in at <_>"));
    CHECK_INT(add("user 1 of x logged in at 3"), 0);
    CHECK_INT(add("guest 1 of x logged in at 3"), 1); /* another word where the tree leads */
    /* In a line the byte is nothing special, but makes its word wild. */
    drain_reset(drain);
    CHECK_INT(add("odd a\x01z word"), 0);
    CHECK_STR(shown(0), STR("odd <_> word"));
    buf_done(&raw);
}

static void json_messages(void) {
    static const struct {
        const char *line, *want; /* NULL: none */
    } cases[] = {
        {"{\"msg\":\"a b\"}", "a b"},
        {"{\"level\":\"info\", \"message\" : \"x \\\"q\\\" y\"}", "x \\\"q\\\" y"},
        {"{\"content\":\"c\",\"msg\":\"m\",\"log\":\"l\"}", "l"},
        {"{\"msg\":\"m\",\"message\":\"better\"}", "better"},
        {"{\"msg\":5,\"_msg\":\"later\"}", "later"},
        {"{\"a\":{\"msg\":\"inner\"},\"msg\":\"outer\"}", "outer"},
        {"{\"a\":[\"msg\",{\"msg\":\"inner\"}],\"b\":1}", NULL},
        {"{\"a\":\"msg\",\"b\":\"\\\\\",\"msg\":\"z\\\\\"}", "z\\\\"},
        {"{\"msg\":\"\"}", ""},
        {"{\"msg\"}", NULL},
        {"{\"msg\":\"open}", NULL},
        {"{\"msg\":}", NULL},
        {"{}", NULL},
        {"{", NULL},
        {"{\"", NULL},
        {"{\"\\\"}", NULL},
        {"", NULL},
        {"msg=\"x\"", NULL},
        {"[{\"msg\":\"x\"}]", NULL},
        {"{\"msg\":\"x\"} ", NULL},
        {"{}}}]]{\"msg\":\"no JSON\"}", "no JSON"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str line = str_from(cases[i].line), got = {0};
        char *exact = malloc(line.size + 1); /* a read past the end is seen by ASan */
        memcpy(exact, line.data, line.size);
        bool found = drain_json_message(str_make(exact, line.size), &got);
        CHECK_INT(found, cases[i].want != NULL);
        if (found && cases[i].want)
            CHECK_STR(got, str_from(cases[i].want));
        free(exact);
    }
}

/* Runs are told apart by number: nothing of the one before is seen. */
static void resets(void) {
    for (int i = 0; i < 300; i++) {
        drain_reset(drain);
        CHECK_INT(add("first line 1"), 0);
        CHECK_INT(add("second line"), 1);
        CHECK_INT(add("first line 2"), 0);
    }
}

int main(void) {
    drain = drain_new();
    text = buf_make(1 << 20);
    RUN(joins);
    RUN(stays_apart);
    RUN(many_words);
    RUN(limits);
    RUN(limit_of_nodes);
    RUN(templates);
    RUN(json_messages);
    RUN(resets);
    drain_free(drain);
    buf_done(&text);
    return test_done();
}
