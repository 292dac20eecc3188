/* WebSocket frames and handshake as bytes; the messages of a tail. */
#include "test.h"

#include "json.h"
#include "tail_frame.h"
#include "ws.h"

static void accepts(void) {
    char out[WS_ACCEPT_SIZE + 1];
    /* The example of RFC 6455 section 1.3. */
    CHECK(ws_accept(STR("dGhlIHNhbXBsZSBub25jZQ=="), out));
    CHECK_STR(str_from(out), STR("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    CHECK(ws_accept(STR("x3JJHMbDL1EzLkh9GBhXDw=="), out));
    CHECK_STR(str_from(out), STR("HSmrc0sMlYUkAGmm5OPpG2HaGWk="));
    static const char *const bad[] = {
        "",
        "short",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=a",
        "dGhlIHNhbXBsZSBub25jZQ=====",
        "dGhlIHNhbXBs SBub25jZQ==",
        "dGhlIHNhbXBsZSBub25j====",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(!ws_accept(str_from(bad[i]), out));
    CHECK(!ws_accept((struct str){0}, out));
}

#define BYTES(text) text, sizeof(text) - 1

struct row {
    const char *name;
    const char *bytes;
    size_t size;
    enum ws_event_kind kinds[4]; /* NONE ends */
    uint16_t code;               /* of the last */
    const char *payload;         /* of the last; NULL = not looked at */
};

static const struct row rows[] = {
    {"empty ping", BYTES("\x89\x80\1\2\3\4"), {WS_EVENT_PING}, 0, ""},
    {"masked ping", BYTES("\x89\x85\1\2\3\4\x69\x67\x6f\x68\x6e"), {WS_EVENT_PING}, 0, "hello"},
    {"pong", BYTES("\x8a\x81\0\0\0\0x"), {WS_EVENT_PONG}, 0, "x"},
    {"text", BYTES("\x81\x82\0\0\0\0hi"), {WS_EVENT_MESSAGE}, 0, NULL},
    {"empty binary", BYTES("\x82\x80\0\0\0\0"), {WS_EVENT_MESSAGE}, 0, NULL},
    {"fragments with a ping inside",
     BYTES("\x01\x81\0\0\0\0a\x89\x80\0\0\0\0\x00\x81\0\0\0\0b\x80\x80\0\0\0\0"),
     {WS_EVENT_PING, WS_EVENT_MESSAGE},
     0,
     NULL},
    {"two frames",
     BYTES("\x89\x80\0\0\0\0\x8a\x80\0\0\0\0"),
     {WS_EVENT_PING, WS_EVENT_PONG},
     0,
     ""},
    {"close",
     BYTES("\x88\x85\0\0\0\0\x03\xe8"
           "bye"),
     {WS_EVENT_CLOSE},
     1000,
     "bye"},
    {"close without code", BYTES("\x88\x80\0\0\0\0"), {WS_EVENT_CLOSE}, WS_NO_STATUS, ""},
    {"close of an application", BYTES("\x88\x82\0\0\0\0\x0f\xa0"), {WS_EVENT_CLOSE}, 4000, ""},
    {"close, one byte", BYTES("\x88\x81\0\0\0\0\x03"), {WS_EVENT_BAD}, 1002, NULL},
    {"close, 1005", BYTES("\x88\x82\0\0\0\0\x03\xed"), {WS_EVENT_BAD}, 1002, NULL},
    {"close, 999", BYTES("\x88\x82\0\0\0\0\x03\xe7"), {WS_EVENT_BAD}, 1002, NULL},
    {"close, 5000", BYTES("\x88\x82\0\0\0\0\x13\x88"), {WS_EVENT_BAD}, 1002, NULL},
    {"close, bad UTF-8", BYTES("\x88\x83\0\0\0\0\x03\xe8\xff"), {WS_EVENT_BAD}, 1007, NULL},
    {"not masked", BYTES("\x81\x02hi"), {WS_EVENT_BAD}, 1002, NULL},
    {"RSV1", BYTES("\xc1\x80\0\0\0\0"), {WS_EVENT_BAD}, 1002, NULL},
    {"RSV3", BYTES("\x91\x80\0\0\0\0"), {WS_EVENT_BAD}, 1002, NULL},
    {"opcode 3", BYTES("\x83\x80\0\0\0\0"), {WS_EVENT_BAD}, 1002, NULL},
    {"opcode 11", BYTES("\x8b\x80\0\0\0\0"), {WS_EVENT_BAD}, 1002, NULL},
    {"fragmented ping", BYTES("\x09\x80\0\0\0\0"), {WS_EVENT_BAD}, 1002, NULL},
    {"long ping", BYTES("\x89\xfe\0\x7e\0\0\0\0"), {WS_EVENT_BAD}, 1002, NULL},
    {"lone continuation", BYTES("\x80\x80\0\0\0\0"), {WS_EVENT_BAD}, 1002, NULL},
    {"message inside a message",
     BYTES("\x01\x80\0\0\0\0\x81\x80\0\0\0\0"),
     {WS_EVENT_BAD},
     1002,
     NULL},
    {"16 bits for 125", BYTES("\x81\xfe\0\x7d\0\0\0\0"), {WS_EVENT_BAD}, 1002, NULL},
    {"64 bits for 65535",
     BYTES("\x81\xff\0\0\0\0\0\0\xff\xff\0\0\0\0"),
     {WS_EVENT_BAD},
     1002,
     NULL},
    {"highest bit of 64", BYTES("\x81\xff\x80\0\0\0\0\1\0\0\0\0\0\0"), {WS_EVENT_BAD}, 1002, NULL},
    {"65,537 bytes", BYTES("\x81\xff\0\0\0\0\0\1\0\1\0\0\0\0"), {WS_EVENT_BAD}, 1009, NULL},
    {"65,535 and 2 bytes: the second fragment is refused when it comes",
     BYTES("\x01\xfe\xff\xff\0\0\0\0"),
     {WS_EVENT_NONE},
     0,
     NULL},
    {"half a header", BYTES("\x89"), {WS_EVENT_NONE}, 0, NULL},
    {"half a mask", BYTES("\x89\x80\0\0"), {WS_EVENT_NONE}, 0, NULL},
    {"half a payload", BYTES("\x89\x83\0\0\0\0ab"), {WS_EVENT_NONE}, 0, NULL},
    {"nothing", "", 0, {WS_EVENT_NONE}, 0, NULL},
};

/* Feeds in pieces of `step` bytes and compares the events. */
static void feed(const struct row *row, size_t step) {
    struct ws_reader r = {0};
    size_t seen = 0;
    for (size_t at = 0; at < row->size; at += step) {
        size_t n = row->size - at < step ? row->size - at : step;
        struct str in = str_make(row->bytes + at, n);
        while (in.size > 0) {
            struct ws_event e = ws_read(&r, &in);
            if (e.kind == WS_EVENT_NONE)
                continue;
            if (seen == 4 || e.kind != row->kinds[seen]) {
                printf("  %s, by %zu: event %zu is %d\n", row->name, step, seen, e.kind);
                test_case_failures++;
                return;
            }
            seen++;
            bool last = seen == 4 || row->kinds[seen] == WS_EVENT_NONE;
            if (last && row->payload)
                CHECK_STR(e.payload, str_from(row->payload));
            if (last)
                CHECK_INT(e.code, row->code);
        }
    }
    CHECK(seen == 4 || row->kinds[seen] == WS_EVENT_NONE);
}

static void reads(void) {
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        feed(&rows[i], rows[i].size ? rows[i].size : 1);
        feed(&rows[i], 1);
        feed(&rows[i], 3);
    }
}

static void reads_long_messages(void) {
    static char payload[WS_MESSAGE_MAX];
    struct ws_reader r = {0};
    struct str in = STR("\x82\xff\0\0\0\0\0\1\0\0\1\2\3\4");
    CHECK_INT(ws_read(&r, &in).kind, WS_EVENT_NONE);
    in = str_make(payload, sizeof(payload));
    CHECK_INT(ws_read(&r, &in).kind, WS_EVENT_MESSAGE);
    CHECK_INT(in.size, 0);
    /* One byte more, in fragments. */
    in = STR("\x02\xfe\xff\xff\1\2\3\4");
    CHECK_INT(ws_read(&r, &in).kind, WS_EVENT_NONE);
    in = str_make(payload, 65535);
    CHECK_INT(ws_read(&r, &in).kind, WS_EVENT_NONE);
    in = STR("\x80\x82\0\0\0\0");
    struct ws_event e = ws_read(&r, &in);
    CHECK_INT(e.kind, WS_EVENT_BAD);
    CHECK_INT(e.code, WS_TOO_BIG);
    /* Nothing is read behind a fault. */
    in = STR("\x89\x80\0\0\0\0");
    CHECK_INT(ws_read(&r, &in).kind, WS_EVENT_NONE);
    CHECK_INT(in.size, 0);
}

static void writes(void) {
    static const struct {
        uint64_t size;
        struct str want;
    } sizes[] = {
        {0, STR_INIT("\x81\x00")},
        {125, STR_INIT("\x81\x7d")},
        {126, STR_INIT("\x81\x7e\x00\x7e")},
        {65535, STR_INIT("\x81\x7e\xff\xff")},
        {65536, STR_INIT("\x81\x7f\0\0\0\0\0\1\0\0")},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t header[WS_HEADER_MAX];
        size_t n = ws_header(header, WS_TEXT, sizes[i].size);
        CHECK_STR(str_make((const char *)header, n), sizes[i].want);
    }
    struct buf out = buf_make(1000);
    ws_write_close(&out, WS_NORMAL, STR(""));
    CHECK_STR(buf_str(&out), STR("\x88\x02\x03\xe8"));
    buf_clear(&out);
    /* A reason is cut to 123 bytes, between characters: 61 of two bytes. */
    struct buf reason = buf_make(1000);
    for (int i = 0; i < 100; i++)
        buf_add_str(&reason, STR("\xc3\xa9"));
    ws_write_close(&out, WS_INTERNAL_ERROR, buf_str(&reason));
    CHECK_INT(out.size, 2 + 2 + 122);
    CHECK_INT(out.data[1], 2 + 122);
    buf_done(&reason);
    buf_done(&out);
}

/* ---- messages */

static const struct label app[] = {{STR_INIT("app"), STR_INIT("a")}};
static const struct label both[] = {{STR_INIT("app"), STR_INIT("a")},
                                    {STR_INIT("k"), STR_INIT("v")}};
static const struct label other[] = {{STR_INIT("app"), STR_INIT("b")}};

static void check_frame(const struct tail_format *f, size_t count, struct tail_drops *drops,
                        const char *want) {
    const struct labels a = {app, 1}, b = {both, 2}, c = {other, 1}, k = {both + 1, 1};
    const struct tail_item items[] = {
        {.ts_ns = 1, .line = STR("one"), .merged = a, .stream = a},
        {.ts_ns = 2, .line = STR("<two>"), .merged = a, .stream = a},
        {.ts_ns = 3, .line = STR("three"), .merged = b, .stream = a, .metadata = k},
        {.ts_ns = 4, .line = STR("four"), .merged = c, .stream = c},
        {.ts_ns = 5, .line = STR(""), .merged = b, .stream = a, .parsed = k},
    };
    struct buf out = buf_make(10000);
    tail_frame_write(&out, f, items, count, drops);
    CHECK_STR(buf_str(&out), str_from(want));
    buf_done(&out);
}

static void frames(void) {
    struct tail_drops drops = {.json = buf_make(TAIL_DROPS_BYTES_MAX)};
    struct tail_format plain = {.encoding_flags = STR("")};
    struct tail_format categories = {.encoding_flags = STR("categorize-labels"),
                                     .categorize = true};
    struct tail_format legacy = {.encoding_flags = STR(""), .legacy = true};
    check_frame(&plain, 0, &drops, "{\"streams\":[]}");
    check_frame(&plain, 5, &drops,
                "{\"streams\":[{\"stream\":{\"app\":\"a\"},\"values\":[[\"1\",\"one\"],[\"2\","
                "\"\\u003ctwo\\u003e\"]]},{\"stream\":{\"app\":\"a\",\"k\":\"v\"},\"values\":[["
                "\"3\",\"three\"]]},{\"stream\":{\"app\":\"b\"},\"values\":[[\"4\",\"four\"]]},{"
                "\"stream\":{\"app\":\"a\",\"k\":\"v\"},\"values\":[[\"5\",\"\"]]}]}");
    check_frame(&categories, 5, &drops,
                "{\"streams\":[{\"stream\":{\"app\":\"a\"},\"values\":[[\"1\",\"one\",{}],[\"2\","
                "\"\\u003ctwo\\u003e\",{}],[\"3\",\"three\",{\"structuredMetadata\":{\"k\":\"v\"}}]"
                "]},{\"stream\":{\"app\":\"b\"},\"values\":[[\"4\",\"four\",{}]]},{\"stream\":{"
                "\"app\":\"a\"},\"values\":[[\"5\",\"\",{\"parsed\":{\"k\":\"v\"}}]]}],"
                "\"encodingFlags\":[\"categorize-labels\"]}");
    check_frame(&legacy, 1, &drops,
                "{\"streams\":[{\"labels\":\"{app=\\\"a\\\"}\",\"entries\":[{\"ts\":\"1970-01-"
                "01T00:00:00.000000001Z\",\"line\":\"one\"}]}],\"dropped_entries\":null}");
    const struct labels a = {app, 1};
    tail_drops_add(&drops, &plain, 7, a);
    tail_drops_add(&drops, &plain, 8, (struct labels){0});
    check_frame(&plain, 0, &drops,
                "{\"streams\":[],\"dropped_entries\":[{\"timestamp\":\"7\",\"labels\":{\"app\":"
                "\"a\"}},{\"timestamp\":\"8\",\"labels\":{}}]}");
    tail_drops_clear(&drops);
    for (int i = 0; i < TAIL_DROPS_MAX + 5; i++)
        tail_drops_add(&drops, &plain, i, a);
    CHECK_INT(drops.count, TAIL_DROPS_MAX);
    CHECK_INT(drops.untold, 5);
    tail_drops_clear(&drops);
    /* Labels that do not fit leave no half an entry behind. */
    static char large[TAIL_DROPS_BYTES_MAX / 2 + 1];
    memset(large, 'x', sizeof(large));
    const struct label huge = {STR("h"), str_make(large, sizeof(large))};
    for (int i = 0; i < 3; i++)
        tail_drops_add(&drops, &plain, i, (struct labels){&huge, 1});
    CHECK_INT(drops.count, 1);
    CHECK_INT(drops.untold, 2);
    tail_drops_add(&drops, &plain, 9, a);
    CHECK_INT(drops.count, 2);
    CHECK(
        str_ends(buf_str(&drops.json), STR("},{\"timestamp\":\"9\",\"labels\":{\"app\":\"a\"}}")));
    buf_done(&drops.json);
}

int main(void) {
    RUN(accepts);
    RUN(reads);
    RUN(reads_long_messages);
    RUN(writes);
    RUN(frames);
    return test_done();
}
