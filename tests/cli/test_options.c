#include <errno.h>
#include <stdlib.h>

#include "options.h"
#include "str.h"
#include "test.h"
#include "usage.h"

enum { WORDS_MAX = 16 };

static int parse(const char *const *words, struct options *o, struct err *err) {
    char *argv[WORDS_MAX + 2] = {(char *)"logq"};
    int argc = 1;
    for (; words[argc - 1] && argc <= WORDS_MAX; argc++)
        argv[argc] = (char *)words[argc - 1];
    return options_parse(argc, argv, o, err);
}

static void clear_environment(void) {
    static const char *const names[] = {"LOGQ_ADDR",   "LOKI_ADDR",           "LOKI_USERNAME",
                                        "LOKI_ORG_ID", "LOKI_CLIENT_RETRIES", "LOKI_NO_CACHE"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unsetenv(names[i]);
}

static void test_commands(void) {
    static const struct {
        const char *words[WORDS_MAX];
        enum command command;
        const char *first; /* argument */
        size_t n_patterns;
    } cases[] = {
        {{"error"}, COMMAND_GREP, "error", 0},
        {{"-c", "error"}, COMMAND_GREP, "error", 0},
        {{"query", "{a=\"b\"}"}, COMMAND_QUERY, "{a=\"b\"}", 0},
        {{"--addr", "http://x", "query", "q"}, COMMAND_QUERY, "q", 0},
        {{"--addr=http://x", "-q", "labels"}, COMMAND_LABELS, NULL, 0},
        {{"grep", "query"}, COMMAND_GREP, "query", 0},
        {{"--", "query"}, COMMAND_GREP, "query", 0},
        {{"-e", "x", "query"}, COMMAND_GREP, "query", 1},
        {{"-l", "labels=push", "x"}, COMMAND_GREP, "x", 0},
        {{"-m5", "-ic", "x"}, COMMAND_GREP, "x", 0},
        {{"push", "-l", "a=b", "-"}, COMMAND_PUSH, "-", 0},
        {{"help", "push"}, COMMAND_HELP, "push", 0},
        {{"series"}, COMMAND_SERIES, NULL, 0},
        {{"stats", "--since", "1d"}, COMMAND_STATS, NULL, 0},
        {{"instant-query", "1"}, COMMAND_INSTANT, "1", 0},
        {{"--version"}, COMMAND_VERSION, NULL, 0},
        {{"push", "--version"}, COMMAND_VERSION, NULL, 0},
        {{"error", "query"}, COMMAND_GREP, "error", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static struct options o;
        struct err err = {0};
        CHECK_INT(parse(cases[i].words, &o, &err), 0);
        CHECK_INT(o.command, cases[i].command);
        CHECK_INT(o.patterns.count, cases[i].n_patterns);
        CHECK_STR(str_from(o.arguments.count ? o.arguments.items[0] : NULL),
                  str_from(cases[i].first));
    }
}

static void test_values(void) {
    static const char *const words[] = {"-icm", "7",        "--since=2h", "-lapp=x",
                                        "-l",   "b!=c",     "--color",    "always",
                                        "pat",  "--header", "A: b",       NULL};
    static struct options o;
    struct err err = {0};
    CHECK_INT(parse(words, &o, &err), 0);
    CHECK(o.ignore_case && o.count);
    CHECK_INT(o.limit, 7);
    CHECK_STR(str_from(o.since), STR("2h"));
    CHECK_INT(o.labels.count, 2);
    CHECK_STR(str_from(o.labels.items[0]), STR("app=x"));
    CHECK_STR(str_from(o.color), STR("always"));
    CHECK_STR(str_from(o.arguments.items[0]), STR("pat"));
    CHECK_INT(o.headers.count, 1);
    static const char *const color[] = {"--color", "pat", NULL};
    CHECK_INT(parse(color, &o, &err), 0);
    CHECK_STR(str_from(o.color), STR("auto"));
    CHECK_STR(str_from(o.arguments.items[0]), STR("pat"));
    static const char *const query[] = {"query", "-o", "jsonl", "q", NULL};
    CHECK_INT(parse(query, &o, &err), 0);
    CHECK_STR(str_from(o.output), STR("jsonl"));
    CHECK(!o.only_matching);
}

static void test_refusals(void) {
    static const struct {
        const char *words[WORDS_MAX];
        const char *message; /* part of it */
    } cases[] = {
        {{"--nonsense", "x"}, "--nonsense"},
        {{"-J", "x"}, "-J"},
        {{"x", "-m"}, "wants a value"},
        {{"x", "-m", "many"}, "whole number"},
        {{"x", "-m", "-3"}, "whole number"},
        {{"x", "--color=pink"}, "auto, always or never"},
        {{"query", "x", "-c"}, "logq query has no option -c"},
        {{"labels", "--limit", "3"}, "logq labels has no option --limit"},
        {{"push", "--since", "3h"}, "logq push has no option --since"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static struct options o;
        struct err err = {0};
        CHECK_INT(parse(cases[i].words, &o, &err), -ESYNTAX);
        if (!strstr(err.text, cases[i].message))
            printf("  \"%s\" is not in \"%s\"\n", cases[i].message, err.text);
        CHECK(strstr(err.text, cases[i].message) != NULL);
    }
}

static void test_list_limit(void) {
    static struct options o;
    static char *argv[OPTION_LIST_MAX + 3];
    struct err err = {0};
    argv[0] = (char *)"logq";
    for (int i = 1; i <= OPTION_LIST_MAX + 1; i++)
        argv[i] = (char *)"word";
    CHECK_INT(options_parse(OPTION_LIST_MAX + 1, argv, &o, &err), 0);
    CHECK_INT(options_parse(OPTION_LIST_MAX + 2, argv, &o, &err), -ESYNTAX);
    CHECK(strstr(err.text, "256") != NULL);
}

static void test_environment(void) {
    static const char *const words[] = {"x", NULL};
    static const char *const given[] = {"x", "--addr", "http://c", NULL};
    static struct options o;
    struct err err = {0};
    clear_environment();
    CHECK_INT(parse(words, &o, &err), 0);
    CHECK_STR(str_from(o.addr), STR("http://localhost:3100"));
    setenv("LOKI_ADDR", "http://a", 1);
    setenv("LOKI_ORG_ID", "team", 1);
    setenv("LOKI_NO_CACHE", "true", 1);
    CHECK_INT(parse(words, &o, &err), 0);
    CHECK_STR(str_from(o.addr), STR("http://a"));
    CHECK_STR(str_from(o.org_id), STR("team"));
    CHECK(o.nocache);
    setenv("LOGQ_ADDR", "http://b", 1);
    CHECK_INT(parse(words, &o, &err), 0);
    CHECK_STR(str_from(o.addr), STR("http://b"));
    CHECK_INT(parse(given, &o, &err), 0);
    CHECK_STR(str_from(o.addr), STR("http://c"));
    setenv("LOKI_CLIENT_RETRIES", "some", 1);
    CHECK_INT(parse(words, &o, &err), -ESYNTAX);
    CHECK(strstr(err.text, "LOKI_CLIENT_RETRIES") != NULL);
    clear_environment();
}

/* Each option stands in the help of each command that knows it. */
static void test_help_is_complete(void) {
    for (unsigned command = COMMAND_GREP; command <= COMMAND_PUSH; command <<= 1) {
        struct buf help = buf_make(BUF_NO_MAX);
        unsigned known;
        const char *name;
        usage_add(&help, (enum command)command);
        for (size_t i = 0; (name = options_name(i, &known)); i++) {
            char word[64];
            (void)snprintf(word, sizeof(word), "--%s", name);
            bool said = str_find(buf_str(&help), str_from(word)) != NULL;
            if ((known & command) && !said)
                printf("  the help of command %u lacks %s\n", command, word);
            CHECK(!(known & command) || said);
        }
        buf_done(&help);
    }
}

int main(void) {
    clear_environment();
    RUN(test_commands);
    RUN(test_values);
    RUN(test_refusals);
    RUN(test_list_limit);
    RUN(test_environment);
    RUN(test_help_is_complete);
    return test_done();
}
