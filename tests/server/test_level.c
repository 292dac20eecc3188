#include <stdlib.h>

#include "level.h"
#include "test.h"
#include "test_random.h"

static const struct str default_fields[] = {
    {"level", 5},
    {"LEVEL", 5},
    {"Level", 5},
    {"log.level", 9},
    {"severity", 8},
    {"SEVERITY", 8},
    {"Severity", 8},
    {"SeverityText", 12},
    {"lvl", 3},
    {"LVL", 3},
    {"Lvl", 3},
    {"severity_text", 13},
    {"Severity_Text", 13},
    {"SEVERITY_TEXT", 13},
};

static const struct limits limits = {
    .log_level_fields = default_fields,
    .n_log_level_fields = sizeof(default_fields) / sizeof(default_fields[0]),
};
static struct level_fields fields;

static void test_normalize(void) {
    static const struct {
        const char *given, *want;
    } cases[] = {
        {"ERR", "error"},   {"error", "error"},       {"Warning", "warn"}, {"WRN", "warn"},
        {"warn", "warn"},   {"INFO", "info"},         {"inf", "info"},     {"Information", "info"},
        {"dbg", "debug"},   {"DEBUG", "debug"},       {"trc", "trace"},    {"Trace", "trace"},
        {"FATAL", "fatal"}, {"Critical", "critical"}, {"weird", NULL},     {"", NULL},
        {"panic", NULL},    {"notice", NULL},         {"unknown", NULL},   {"errors", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str got = level_normalize(str_from(cases[i].given));
        if (cases[i].want)
            CHECK_STR(got, str_from(cases[i].want));
        else
            CHECK(!got.data);
    }
}

static const struct {
    const char *line, *want;
} line_cases[] = {
    /* text */
    {"", "unknown"},
    {"error", "error"},
    {"plain words", "unknown"},
    {"an Error here", "error"},
    {"[ERROR] x", "error"},
    {"info: started", "info"},
    {"err=1", "error"},
    {"debug|trace", "debug"},
    {"misc:error", "unknown"},
    {"terror", "unknown"},
    {"errors", "unknown"},
    {"error.", "unknown"},
    {"error!", "error"},
    {"(warn)", "warn"},
    {"{fatal}", "fatal"},
    {"'critical',", "critical"},
    {"a\twarning\nb", "warn"},
    {"a\rwarning", "unknown"},
    {"panic notice", "unknown"},
    {"warn before error", "warn"},
    {"warned error", "error"},
    {"Jun 14 15:16:01 combo sshd(pam_unix)[19939]: an authentication failure happened error",
     "error"},
    {"Jun 14 15:16:01 combo sshd(pam_unix)[19939]: an authentication failure happened err",
     "error"},
    {"081109 203615 148 INFO dfs.DataNode$PacketResponder: PacketResponder 1", "info"},
    {"2015-07-29 17:41:44,747 - WARN  [QuorumPeer[myid=1]]", "warn"},
    {"wrn dbg trc inf", "unknown"},
    /* JSON */
    {"{\"level\":\"error\",\"msg\":\"x\"}", "error"},
    {" \t{\"level\":\"WRN\"}\n", "warn"},
    {"{\"msg\":\"info\",\"lvl\":\"dbg\"}", "debug"},
    {"{\"lvl\":\"dbg\",\"level\":\"wrn\"}", "debug"},
    {"{\"level\":30,\"msg\":\"x\"}", "unknown"},
    {"{\"level\":30,\"msg\":\"warn\"}", "warn"},
    {"{\"level\":\"weird\",\"msg\":\"fatal\"}", "fatal"},
    {"{\"level\":\"weird\",\"lvl\":\"dbg\"}", "unknown"},
    {"{\"LeVeL\":\"wrn\"}", "unknown"},
    {"{\"a\":{\"level\":\"wrn\"}}", "warn"},
    {"{\"a\":{\"x\":1},\"level\":\"wrn\"}", "warn"},
    {"{\"a\":{\"b\":{\"level\":\"wrn\"}}}", "unknown"},
    {"{\"a\":{\"b\":{\"level\":\"wrn\"}},\"lvl\":\"trc\"}", "trace"},
    {"{\"a\":[{\"level\":\"wrn\"}],\"lvl\":\"trc\"}", "trace"},
    {"{\"a\":\"}{\\\"\",\"n\":null,\"t\":true,\"f\":-1.5e3,\"level\":\"inf\"}", "info"},
    {"{\"log.level\":\"ERR\"}", "error"},
    {"{\"severity_text\":\"Information\"}", "info"},
    {"{\"level\":\"error\"", "error"},
    {"{not json} error", "error"},
    {"{broken error }", "error"},
    {"{}", "unknown"},
    {"{", "unknown"},
    {"}{", "unknown"},
    {"{\"level\"}", "unknown"},
    {"{\"level\":}", "unknown"},
    {"{\"a\":{}", "unknown"},
    /* logfmt */
    {"level=wrn msg=x", "warn"},
    {"LEVEL=Wrn msg=x", "warn"},
    {"msg=\"an error\" level=inf", "info"},
    {"lvl=dbg severity=ERR", "error"},
    {"severity=ERR lvl=dbg", "error"},
    {"lvl=dbg lvl=trc", "debug"},
    {"level=\"wrn\" x=1", "warn"},
    {"level= lvl=wrn", "unknown"},
    {"level lvl=wrn", "unknown"},
    {"x=\"unterminated level=wrn", "unknown"},
    {"GET \"/x?a=1\" lvl=wrn", "unknown"},
    {"a=b=c lvl=wrn", "unknown"},
    {"=b lvl=wrn", "unknown"},
    {"p=\"C:\\q\" lvl=wrn", "unknown"},
    {"p=\"a\\\"b\\u00e9\" lvl=wrn", "warn"},
    {"lvl=weird error", "error"},
    {"this is = not logfmt [error]", "error"},
};

static void test_lines(void) {
    for (size_t i = 0; i < sizeof(line_cases) / sizeof(line_cases[0]); i++) {
        struct str line = str_from(line_cases[i].line);
        /* An exact copy on the heap lets ASan see each byte read outside. */
        char *copy = malloc(line.size > 0 ? line.size : 1);
        memcpy(copy, line.data, line.size);
        const struct label *pair = level_of_line(&fields, str_make(copy, line.size));
        struct str got = pair->value;
        if (!str_eq(got, str_from(line_cases[i].want)))
            printf("  line: %s\n", line_cases[i].line);
        CHECK_STR(got, str_from(line_cases[i].want));
        CHECK_STR(pair->name, STR("detected_level"));
        free(copy);
    }
}

static void check_level(struct str line, const char *want) {
    char *copy = malloc(line.size > 0 ? line.size : 1);
    memcpy(copy, line.data, line.size);
    struct str got = level_of_line(&fields, str_make(copy, line.size))->value;
    if (!str_eq(got, str_from(want)))
        printf("  line: %.*s\n", STR_ARG(line));
    CHECK_STR(got, str_from(want));
    free(copy);
}

/* The same at other places of lines that are longer than what is looked at in one piece. */
static void test_long_lines(void) {
    struct buf line = buf_make(BUF_NO_MAX);
    char pad[150];
    memset(pad, 'x', sizeof(pad));
    for (size_t i = 0; i < sizeof(line_cases) / sizeof(line_cases[0]); i++)
        for (int n = 0; n < (int)sizeof(pad); n++) {
            const char *text = line_cases[i].line, *brace = strchr(text, '{');
            buf_clear(&line);
            if (brace)
                buf_addf(&line, "%.*s\"p\":\"%.*s\", %s", (int)(brace + 1 - text), text, n, pad,
                         brace + 1);
            else
                buf_addf(&line, "p=%.*s %s", n, pad, text);
            check_level(buf_str(&line), line_cases[i].want);
            if (brace)
                continue;
            buf_addf(&line, " q=%.*s", n, pad);
            check_level(buf_str(&line), line_cases[i].want);
        }
    buf_done(&line);
}

/* The first key of those that a slow reader of logfmt meets before it stops, in the order of the fields. */
static const char *model_logfmt(const char *p) {
    size_t best = fields.count;
    struct str value = {0};
    while (*p) {
        while (*p && (unsigned char)*p <= ' ')
            p++;
        const char *key = p;
        while ((unsigned char)*p > ' ' && *p != '=' && *p != '"')
            p++;
        struct str name = str_make(key, (size_t)(p - key)), text = {0};
        if (*p == '"' || (*p == '=' && p == key))
            break;
        if (*p == '=') {
            const char *from = ++p;
            bool quoted = *p == '"', escaped = false, control = false;
            if (quoted) {
                for (from = ++p; *p && *p != '"'; p++) {
                    control |= (unsigned char)*p < ' ';
                    escaped |= *p == '\\';
                    p += *p == '\\' && p[1];
                }
            } else {
                while ((unsigned char)*p > ' ' && *p != '=' && *p != '"')
                    p++;
            }
            text = str_make(from, (size_t)(p - from));
            if (quoted ? *p != '"' || (escaped && control) : *p == '"' || *p == '=')
                break;
            p += quoted;
        }
        for (size_t i = 0; i < best; i++)
            if (str_eq_nocase(fields.names[i], name)) {
                best = i;
                value = text;
            }
    }
    struct str level = level_normalize(value);
    return level.data ? level.data : "unknown";
}

/* ---- the slow model of the text scan: lower-case, every place, every word */

static bool in_set(char c, const char *set) {
    return c != '\0' && strchr(set, c) != NULL;
}

static const char *model_text(struct str line) {
    static const struct {
        const char *word, *level;
    } words[] = {
        {"trace", "trace"},       {"debug", "debug"}, {"fatal", "fatal"},
        {"critical", "critical"}, {"error", "error"}, {"err", "error"},
        {"warning", "warn"},      {"warn", "warn"},   {"info", "info"},
    };
    for (size_t at = 0; at < line.size; at++) {
        if (at > 0 && !in_set(line.data[at - 1], " \t\n[({\"'=|"))
            continue;
        for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
            size_t size = strlen(words[w].word), i = 0;
            while (i < size && at + i < line.size &&
                   (line.data[at + i] >= 'A' && line.data[at + i] <= 'Z'
                        ? line.data[at + i] + 32
                        : line.data[at + i]) == words[w].word[i])
                i++;
            if (i == size &&
                (at + i == line.size || in_set(line.data[at + i], " \t\n[](){}:,!\"'=|")))
                return words[w].level;
        }
    }
    return "unknown";
}

/* Random text out of pieces that come near level words, at all lengths and places. */
static void test_text_against_model(void) {
    static const char *const pieces[] = {
        "error",    "ERR",      "warn",       "Warning", "info", "inf", "debug", "trace", "fatal",
        "critical", "e",        "er",         "errr",    " ",    " ",   "\t",    "[",     "]",
        "(",        ")",        ":",          ",",       "!",    "\"",  "'",     "|",     "x",
        "abc",      "\xc3\xa9", "0123456789", "*",       ")",    "wa",
    };
    for (int round = 0; round < 200000; round++) {
        char text[240];
        size_t size = 0, wanted = random_next() % 200;
        while (size < wanted) {
            const char *piece = pieces[random_next() % (sizeof(pieces) / sizeof(pieces[0]))];
            memcpy(text + size, piece, strlen(piece));
            size += strlen(piece);
        }
        char *copy = malloc(size > 0 ? size : 1);
        memcpy(copy, text, size);
        struct str line = str_make(copy, size);
        CHECK_STR(level_of_line(&fields, line)->value, str_from(model_text(line)));
        free(copy);
    }
}

static void test_logfmt_against_model(void) {
    static const char *const pieces[] = {
        "level=",
        "lvl=",
        "severity=",
        "wrn",
        "INF",
        "dbg",
        "=",
        "\"",
        " ",
        " ",
        "\t",
        "a",
        "key=",
        "xyz",
        "k=v",
        "k=\"a b\"",
        "0123456789abc",
        "\\\"",
        "\\n",
        "Level=ERR",
        " p=\"",
        "\" ",
        " ",
        " ",
        "=\"",
        "\xc3\xa9",
    };
    for (int round = 0; round < 200000; round++) {
        char text[300] = "";
        size_t size = 0, wanted = random_next() % 200;
        while (size < wanted) {
            const char *piece = pieces[random_next() % (sizeof(pieces) / sizeof(pieces[0]))];
            memcpy(text + size, piece, strlen(piece));
            size += strlen(piece);
        }
        text[size] = '\0';
        const char *want = model_logfmt(text);
        if (str_eq(str_from(want), STR("unknown")))
            want = model_text(str_make(text, size));
        check_level(str_make(text, size), want);
    }
}

static void test_detect_steps(void) {
    const struct label stream_level[] = {{STR("app"), STR("x")}, {STR("level"), STR("WARNING")}};
    const struct label stream_weird[] = {{STR("lvl"), STR("x")}};
    const struct label stream_plain[] = {{STR("app"), STR("x")}};
    const struct label given[] = {{STR("detected_level"), STR("ERR")}};
    const struct label given_odd[] = {{STR("detected_level"), STR("Odd")}};
    const struct label meta_level[] = {{STR("level"), STR("dbg")},
                                       {STR("severity_number"), STR("17")}};
    const struct label other[] = {{STR("trace_id"), STR("abc")}};
#define SET(items) ((struct labels){items, sizeof(items) / sizeof((items)[0])})
    const struct labels none = {0};
    struct str line = STR("fatal x");
    CHECK_STR(level_detect(&fields, SET(stream_level), SET(given), line), STR("error"));
    CHECK_STR(level_detect(&fields, SET(stream_level), SET(given_odd), line), STR("Odd"));
    CHECK_STR(level_detect(&fields, SET(stream_level), SET(meta_level), line), STR("warn"));
    CHECK_STR(level_detect(&fields, SET(stream_weird), SET(meta_level), line), STR("x"));
    CHECK_STR(level_detect(&fields, SET(stream_plain), SET(meta_level), line), STR("debug"));
    CHECK_STR(level_detect(&fields, SET(stream_plain), SET(other), line), STR("fatal"));
    CHECK_STR(level_detect(&fields, SET(stream_plain), none, STR("x")), STR("unknown"));
    CHECK_STR(level_detect(&fields, none, none, STR("x")), STR("unknown"));
    CHECK(!level_of_labels(&fields, SET(stream_plain)).data);
}

static void test_severity_numbers(void) {
    static const struct {
        const char *number, *want;
    } cases[] = {
        {"0", "unknown"}, {"1", "trace"},  {"4", "trace"},  {"5", "debug"},    {"8", "debug"},
        {"9", "info"},    {"12", "info"},  {"13", "warn"},  {"16", "warn"},    {"17", "error"},
        {"20", "error"},  {"21", "fatal"}, {"24", "fatal"}, {"25", "unknown"}, {"x", "info"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct label meta[] = {{STR("severity_number"), str_from(cases[i].number)}};
        struct str got = level_detect(&fields, (struct labels){0}, SET(meta), STR("warn x"));
        CHECK_STR(got, str_from(cases[i].want));
    }
}

int main(void) {
    fields = level_fields_make(&limits);
    RUN(test_normalize);
    RUN(test_lines);
    RUN(test_long_lines);
    RUN(test_text_against_model);
    RUN(test_logfmt_against_model);
    RUN(test_detect_steps);
    RUN(test_severity_numbers);
    return test_done();
}
