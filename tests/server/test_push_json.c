#include <errno.h>
#include <stdlib.h>

#include "push_json.h"
#include "test.h"
#include "trial.h"

static void trial_decode(struct trial *t, struct str body) {
    body = trial_begin(t, body, 64 << 20);
    t->r = push_json_decode(body, &t->d, &t->err);
}

#define TS "\"1767607201000000000\""
#define ONE(values) "{\"streams\":[{\"stream\":{\"a\":\"b\"},\"values\":" values "}]}"

static const struct {
    const char *body;
    int r;
    size_t streams, entries;
} cases[] = {
    {"{}", 0, 0, 0},
    {"null", 0, 0, 0},
    {"{\"streams\":[]}", 0, 0, 0},
    {"{\"streams\":null}", 0, 0, 0},
    {"{\"stream\":{\"push\":\"x\"}}", 0, 0, 0},
    {"{\"streams\":[{}]}", 0, 1, 0},
    {"{\"streams\":[null]}", 0, 1, 0},
    {"{\"streams\":[{\"stream\":{}}]}", 0, 1, 0},
    {"{\"streams\":[{\"stream\":null,\"values\":null}]}", 0, 1, 0},
    {"{\"streams\":[{\"stream\":{},\"values\":[]}]}", 0, 1, 0},
    {"", -ESYNTAX, 0, 0},
    {" \n", -ESYNTAX, 0, 0},
    {"[]", -ESYNTAX, 0, 0},
    {"nonsense", -ESYNTAX, 0, 0},
    {"{", -ESYNTAX, 0, 0},
    {"\"x\"", -ESYNTAX, 0, 0},
    {"\xef\xbb\xbf{}", -ESYNTAX, 0, 0},
    {"{\"streams\":{}}", -ESYNTAX, 0, 0},
    {"{\"streams\":[1]}", -ESYNTAX, 0, 0},
    {"{\"streams\":[{\"stream\":\"x\"}]}", -ESYNTAX, 0, 0},
    {ONE("[[" TS ",\"l\"]]"), 0, 1, 1},
    {ONE("[[" TS ",\"l\"]]") " trailing", 0, 1, 1},
    {ONE("[[" TS ",\"l\"],[" TS ",\"m\"]]"), 0, 1, 2},
    {ONE("[[" TS "]]"), 0, 1, 1},
    {ONE("[[" TS ",\"l\",{}]]"), 0, 1, 1},
    {ONE("[[" TS ",\"l\",null]]"), 0, 1, 1},
    {ONE("[[" TS ",\"l\",{\"a\":\"b\"},\"extra\",[1,{}]]]"), 0, 1, 1},
    {ONE("[[" TS ",\"l\",{\"a\":1,\"b\":true,\"c\":null}]]"), 0, 1, 1},
    {ONE("[[" TS ",\"l\",{\"a\":{\"b\":\"c\"}}]]"), -ESYNTAX, 0, 0},
    {ONE("[[" TS ",\"l\",\"meta\"]]"), -ESYNTAX, 0, 0},
    {ONE("[[" TS ",5]]"), -ESYNTAX, 0, 0},
    {ONE("[[" TS ",null]]"), -ESYNTAX, 0, 0},
    {ONE("[[]]"), -ESYNTAX, 0, 0},
    {ONE("[{}]"), -ESYNTAX, 0, 0},
    {ONE("{\"1\":\"l\"}"), -ESYNTAX, 0, 0},
    {ONE("[[1767607201000000000,\"l\"]]"), -ESYNTAX, 0, 0},
    {ONE("[[\"\",\"l\"]]"), -ESYNTAX, 0, 0},
    {ONE("[[\"-\",\"l\"]]"), -ESYNTAX, 0, 0},
    {ONE("[[\"1.5\",\"l\"]]"), -ESYNTAX, 0, 0},
    {ONE("[[\" 1\",\"l\"]]"), -ESYNTAX, 0, 0},
    {ONE("[[\"2026-01-05T10:00:00Z\",\"l\"]]"), -ESYNTAX, 0, 0},
    {ONE("[[\"99999999999999999999\",\"l\"]]"), -ESYNTAX, 0, 0},
    {ONE("[[" TS ",\"unterminated]]"), -ESYNTAX, 0, 0},
    {ONE("[[" TS ",\"bad \\x escape\"]]"), -ESYNTAX, 0, 0},
    {ONE("[[" TS ",\"l\"] [" TS ",\"l\"]]"), -ESYNTAX, 0, 0},
    {ONE("[[" TS ",\"l\"]"), -ESYNTAX, 0, 0},
    {"{\"extra\":1,\"streams\":[{\"values\":[[" TS
     ",\"l\"]],\"u\":{\"a\":[1]},\"stream\":{\"a\":\"b\"}}]}",
     0, 1, 1},
    {"{\"streams\":[{\"labels\":\"{a=\\\"b\\\"}\",\"entries\":[{\"ts\":\"2026-01-05T10:00:01Z\","
     "\"line\":\"l\"}]}]}",
     0, 1, 1},
    {"{\"streams\":[{\"labels\":\"{}\",\"entries\":[{\"ts\":\"now\",\"line\":\"l\"}]}]}", -ESYNTAX,
     0, 0},
    {"{\"streams\":[{\"labels\":5}]}", -ESYNTAX, 0, 0},
    {"{\"streams\":[{\"labels\":\"{}\",\"entries\":null}]}", 0, 1, 0},
};

static void test_shapes(void) {
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct trial t;
        trial_decode(&t, str_from(cases[i].body));
        if (t.r != cases[i].r)
            printf("  body: %s\n", cases[i].body);
        CHECK_INT(t.r, cases[i].r);
        CHECK((t.r == 0) == (t.err.text[0] == '\0'));
        if (t.r == 0) {
            CHECK_INT(t.d.n_streams, cases[i].streams);
            CHECK_INT(t.d.n_entries, cases[i].entries);
        }
        trial_done(&t);
    }
}

static void test_values(void) {
    struct trial t;
    trial_decode(
        &t, STR("{\"streams\":[{\"stream\":{\"a\":\"b\",\"n\":5,\"x\":null,\"o\":{\"k\":[1]},\"q\":"
                "\"\\\"\"},"
                "\"values\":[[\"-12\",\"plain\"],[\"9223372036854775807\",\"esc \\u00e9\\n\\/\","
                "{\"k\":\"v\",\"\\u006b2\":\"\\t\",\"num\":1.50,\"nil\":null}],[\"0\"]]}]}"));
    CHECK_INT(t.r, 0);
    const struct decoded_stream *s = &t.d.streams[0];
    CHECK(!s->labels_text.data);
    CHECK_STR(s->labels_key,
              STR("{\"a\":\"b\",\"n\":5,\"x\":null,\"o\":{\"k\":[1]},\"q\":\"\\\"\"}"));
    CHECK_INT(s->labels.count, 5);
    CHECK_STR(s->labels.items[1].value, STR("5"));
    CHECK_STR(s->labels.items[2].value, STR("null"));
    CHECK_STR(s->labels.items[3].value, STR("{\"k\":[1]}"));
    CHECK_STR(s->labels.items[4].value, STR("\""));
    CHECK_INT(s->n_entries, 3);
    const struct entry *e = t.d.entries;
    CHECK_INT(e[0].ts_ns, -12);
    CHECK_STR(e[0].line, STR("plain"));
    CHECK(e[0].line.data > t.copy && e[0].line.data < t.copy + 400); /* a view */
    CHECK_INT(e[0].meta_count, 0);
    CHECK_INT(e[1].ts_ns, INT64_MAX);
    CHECK_STR(e[1].line, STR("esc \xc3\xa9\n/"));
    CHECK_INT(e[1].meta_count, 3);
    CHECK_STR(e[1].meta[0].name, STR("k"));
    CHECK_STR(e[1].meta[1].name, STR("k2"));
    CHECK_STR(e[1].meta[1].value, STR("\t"));
    CHECK_STR(e[1].meta[2].value, STR("1.50"));
    CHECK_STR(e[2].line, STR(""));
    trial_done(&t);
}

static void test_legacy(void) {
    struct trial t;
    trial_decode(
        &t, STR("{\"streams\":[{\"entries\":[{\"line\":\"l\",\"ts\":\"2026-01-05T10:00:01.5Z\","
                "\"structuredMetadata\":{\"a\":\"1\"},\"other\":[]},{\"line\":\"no time\"}],"
                "\"labels\":\"{push=\\\"p2\\\"}\"}]}"));
    CHECK_INT(t.r, 0);
    CHECK_STR(t.d.streams[0].labels_text, STR("{push=\"p2\"}"));
    CHECK_INT(t.d.n_entries, 2);
    CHECK_INT(t.d.entries[0].ts_ns, INT64_C(1767607201500000000));
    CHECK_INT(t.d.entries[0].meta_count, 1);
    CHECK_INT(t.d.entries[1].ts_ns, PUSH_TS_TOO_OLD);
    trial_done(&t);
}

/* Thousands of one-entry streams with the same labels share one array of pairs. */
static void test_repeated_labels(void) {
    enum { STREAMS = 3000 };
    struct buf b = buf_make(BUF_NO_MAX);
    buf_add_str(&b, STR("{\"streams\":["));
    for (int i = 0; i < STREAMS; i++)
        buf_addf(&b,
                 "%s{\"stream\":{\"job\":\"fb\",\"n\":\"%d\"},\"values\":[[\"%d\",\"line "
                 "%d\",{\"i\":\"%d\",\"k\":\"v\"}]]}",
                 i > 0 ? "," : "", i / 1000, i, i, i);
    buf_add_str(&b, STR("]}"));
    struct trial t;
    trial_decode(&t, buf_str(&b));
    CHECK_INT(t.r, 0);
    CHECK_INT(t.d.n_streams, STREAMS);
    CHECK_INT(t.d.n_entries, STREAMS);
    CHECK(t.d.streams[0].labels.items == t.d.streams[999].labels.items);
    CHECK(t.d.streams[0].labels.items != t.d.streams[1000].labels.items);
    for (int i = 0; i < STREAMS; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "%d", i);
        CHECK_INT(t.d.entries[i].ts_ns, i);
        CHECK_INT(t.d.entries[i].meta_count, 2);
        CHECK_STR(t.d.entries[i].meta[0].value, str_from(text));
        CHECK_STR(t.d.entries[i].meta[1].name, STR("k"));
    }
    trial_done(&t);
    buf_done(&b);
}

/* Many pairs in one entry; the place behind the last pair is free to write. */
static void test_many_pairs(void) {
    enum { PAIRS = 700 };
    struct buf b = buf_make(BUF_NO_MAX);
    buf_add_str(&b, STR("{\"streams\":[{\"values\":[[\"1\",\"\",{\"first\":\"x\"}],[\"2\",\"\",{"));
    for (int i = 0; i < PAIRS; i++)
        buf_addf(&b, "%s\"k%d\":\"v%d\"", i > 0 ? "," : "", i, i);
    buf_add_str(&b, STR("}],[\"3\",\"\",{\"last\":\"y\"}]]}]}"));
    struct trial t;
    trial_decode(&t, buf_str(&b));
    CHECK_INT(t.r, 0);
    CHECK_INT(t.d.entries[1].meta_count, PAIRS);
    CHECK_STR(t.d.entries[1].meta[PAIRS - 1].name, STR("k699"));
    for (int i = 0; i < 3; i++)
        ((struct label *)(uintptr_t)t.d.entries[i].meta)[t.d.entries[i].meta_count] =
            (struct label){0};
    CHECK_STR(t.d.entries[0].meta[0].value, STR("x"));
    CHECK_STR(t.d.entries[1].meta[0].value, STR("v0"));
    CHECK_STR(t.d.entries[2].meta[0].value, STR("y"));
    trial_done(&t);
    buf_done(&b);
}

/* Limits are refused by name: too many streams, too much working memory, labels too long. */
static void test_limits(void) {
    struct buf b = buf_make(BUF_NO_MAX);
    buf_add_str(&b, STR("{\"streams\":[{}"));
    for (int i = 0; i < PUSH_STREAMS_MAX; i++)
        buf_add_str(&b, STR(",{}"));
    buf_add_str(&b, STR("]}"));
    struct trial t;
    trial_decode(&t, buf_str(&b));
    CHECK_INT(t.r, -E2BIG);
    CHECK(strstr(t.err.text, "100000 streams") != NULL);
    trial_done(&t);

    buf_clear(&b);
    buf_add_str(&b, STR("{\"streams\":[{\"values\":[[\"1\"]"));
    for (int i = 0; i < 1000; i++)
        buf_add_str(&b, STR(",[\"1\"]"));
    buf_add_str(&b, STR("]}]}"));
    struct arena small = arena_make(16384);
    struct decoded_push d;
    decoded_push_init(&d, &small);
    struct err err = {0};
    CHECK_INT(push_json_decode(buf_str(&b), &d, &err), -E2BIG);
    CHECK(strstr(err.text, "16384 bytes of working memory") != NULL);
    arena_done(&small);

    buf_clear(&b);
    buf_add_str(&b, STR("{\"streams\":[{\"stream\":{\"a\":\""));
    for (int i = 0; i < PUSH_LABELS_TEXT_MAX / 16; i++)
        buf_add_str(&b, STR("0123456789abcdef"));
    buf_add_str(&b, STR("\"}}]}"));
    trial_decode(&t, buf_str(&b));
    CHECK_INT(t.r, -E2BIG);
    trial_done(&t);
    buf_done(&b);
}

/* Entries as most clients spell them have a way of their own: with a blank in each they take the other, and must
 * come out the same; cut anywhere, both are refused. */
static void test_plain_spelling(void) {
    static const char *const times[] = {
        "1767607201000000000", "0000000000000000001",  "8999999999999999999",
        "9223372036854775807", "9223372036854775808",  "9999999999999999999",
        "176760720100000000",  "17676072010000000001", "-176760720100000000",
        "176760720100000000x", "1767607:01000000000",  "17676072010000000/0",
        "x767607201000000000", "17676072 1000000000",  "1767607201000000\\u0030"};
    static const char *const rests[] = {",\"line\"]", ",\"a \\\"b\\\" \\\\\"]",
                                        ",\"\"]",     ",\"l\",{\"m\":\"1\"}]",
                                        ",\"l\" ]",   ",\"l\",{},5]",
                                        ",\"\\x\"]",  "]",
                                        ",5]",        ",\"l\"}",
                                        ",\"l\""};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        for (size_t k = 0; k < sizeof(rests) / sizeof(rests[0]); k++) {
            struct trial t[2];
            for (int blank = 0; blank < 2; blank++) {
                struct buf b = buf_make(BUF_NO_MAX);
                buf_addf(&b, ONE("[[" TS ",\"l\"],[%s\"%s\"%s,[" TS ",\"m\"]]"), blank ? " " : "",
                         times[i], rests[k]);
                trial_decode(&t[blank], buf_str(&b));
                for (size_t cut = 0; t[blank].r == 0 && cut < b.size; cut++) {
                    struct trial c;
                    trial_decode(&c, str_make(b.data, cut));
                    CHECK_INT(c.r, -ESYNTAX);
                    trial_done(&c);
                }
                buf_done(&b);
            }
            CHECK_INT(t[0].r, t[1].r);
            CHECK_INT(t[0].d.n_entries, t[1].d.n_entries);
            for (size_t n = 0; t[0].r == 0 && n < t[0].d.n_entries; n++) {
                const struct entry *plain = &t[0].d.entries[n], *other = &t[1].d.entries[n];
                CHECK_INT(plain->ts_ns, other->ts_ns);
                CHECK_STR(plain->line, other->line);
                CHECK_INT(plain->meta_count, other->meta_count);
            }
            trial_done(&t[0]);
            trial_done(&t[1]);
        }
}

int main(void) {
    RUN(test_shapes);
    RUN(test_values);
    RUN(test_plain_spelling);
    RUN(test_legacy);
    RUN(test_repeated_labels);
    RUN(test_many_pairs);
    RUN(test_limits);
    return test_done();
}
