#include <errno.h>
#include <stdlib.h>

#include "buf.h"
#include "bytes.h"
#include "push_proto.h"
#include "test.h"
#include "trial.h"

/* ---- a writer of messages, field by field */

static void add_varint(struct buf *b, uint64_t v) {
    uint8_t bytes[VARINT_MAX_BYTES];
    buf_add(b, bytes, (size_t)(put_varint(bytes, v) - bytes));
}

static void add_tag(struct buf *b, unsigned number, unsigned wire) {
    add_varint(b, (uint64_t)number << 3 | wire);
}

static void add_bytes(struct buf *b, unsigned number, struct str s) {
    add_tag(b, number, 2);
    add_varint(b, s.size);
    buf_add_str(b, s);
}

/* Adds the message in `inner` and empties it. */
static void add_message(struct buf *b, unsigned number, struct buf *inner) {
    add_bytes(b, number, buf_str(inner));
    buf_clear(inner);
}

static void add_timestamp(struct buf *entry, int64_t seconds, int64_t nanos) {
    struct buf ts = buf_make(64);
    if (seconds != 0) {
        add_tag(&ts, 1, 0);
        add_varint(&ts, (uint64_t)seconds);
    }
    if (nanos != 0) {
        add_tag(&ts, 2, 0);
        add_varint(&ts, (uint64_t)nanos);
    }
    add_message(entry, 1, &ts);
    buf_done(&ts);
}

static void trial_decode(struct trial *t, struct str body) {
    body = trial_begin(t, body, 64 << 20);
    t->r = push_proto_decode(body, &t->d, &t->err);
}

static void test_push(void) {
    struct buf push = buf_make(BUF_NO_MAX), stream = buf_make(BUF_NO_MAX),
               entry = buf_make(BUF_NO_MAX), pair = buf_make(BUF_NO_MAX);
    /* The fields of the first entry come in odd order, with unknown ones of every wire type between. */
    add_tag(&entry, 9, 0);
    add_varint(&entry, 300);
    add_bytes(&entry, 2, STR("line \xff\xfe"));
    add_tag(&entry, 10, 1);
    buf_add_str(&entry, STR("12345678"));
    add_tag(&entry, 11, 5);
    buf_add_str(&entry, STR("1234"));
    add_tag(&entry, 12, 3); /* a group in a group */
    add_tag(&entry, 1, 3);
    add_bytes(&entry, 2, STR("inside"));
    add_tag(&entry, 1, 4);
    add_tag(&entry, 12, 4);
    add_bytes(&pair, 1, STR("trace"));
    add_bytes(&pair, 2, STR("abc"));
    add_message(&entry, 3, &pair);
    add_bytes(&pair, 1, STR("no value"));
    add_message(&entry, 3, &pair);
    add_bytes(&pair, 2, STR("no name"));
    add_message(&entry, 3, &pair);
    add_bytes(&pair, 1, STR("parsed, ignored"));
    add_message(&entry, 4, &pair);
    add_timestamp(&entry, 1767607201, 999999999);
    add_message(&stream, 2, &entry);
    add_bytes(&stream, 1, STR("{a=\"b\"}"));
    add_message(&stream, 2, &entry); /* an entry of nothing */
    add_tag(&stream, 3, 0);
    add_varint(&stream, UINT64_MAX);
    add_bytes(&push, 2, STR("format"));
    add_message(&push, 1, &stream);
    add_message(&push, 1, &stream); /* a stream of nothing */

    struct trial t;
    trial_decode(&t, buf_str(&push));
    CHECK_INT(t.r, 0);
    CHECK_INT(t.d.n_streams, 2);
    CHECK_STR(t.d.streams[0].labels_text, STR("{a=\"b\"}"));
    CHECK_INT(t.d.streams[0].n_entries, 2);
    CHECK(t.d.streams[1].labels_text.data != NULL);
    CHECK_INT(t.d.streams[1].labels_text.size, 0);
    const struct entry *e = t.d.entries;
    CHECK_INT(e[0].ts_ns, INT64_C(1767607201999999999));
    CHECK_STR(e[0].line, STR("line \xff\xfe"));
    CHECK_INT(e[0].meta_count, 3);
    CHECK_STR(e[0].meta[0].name, STR("trace"));
    CHECK_STR(e[0].meta[0].value, STR("abc"));
    CHECK_STR(e[0].meta[1].value, STR(""));
    CHECK_STR(e[0].meta[2].name, STR(""));
    CHECK_INT(e[1].ts_ns, PUSH_TS_TOO_OLD);
    CHECK_STR(e[1].line, STR(""));
    trial_done(&t);

    /* Cut anywhere, it is either malformed or ends between two streams. */
    size_t good = 0;
    for (size_t size = 0; size < push.size; size++) {
        trial_decode(&t, str_make(push.data, size));
        CHECK(t.r == 0 || t.r == -ESYNTAX);
        good += t.r == 0;
        trial_done(&t);
    }
    CHECK_INT(good, 3);
    buf_done(&push);
    buf_done(&stream);
    buf_done(&entry);
    buf_done(&pair);
}

static void test_timestamps(void) {
    static const struct {
        int64_t seconds, nanos;
        int r;
        int64_t want;
    } times[] = {
        {0, 0, 0, 0},
        {1, 5, 0, 1000000005},
        {-1, 0, 0, -1000000000},
        {-62135596800, 0, 0, PUSH_TS_TOO_OLD},
        {INT64_MIN, 0, 0, PUSH_TS_TOO_OLD},
        {9223372036, 854775806, 0, INT64_MAX - 1},
        {9223372036, 854775808, 0, PUSH_TS_TOO_NEW},
        {253402300799, 0, 0, PUSH_TS_TOO_NEW},
        {1, 1000000000, -ESYNTAX, 0},
        {1, -1, -ESYNTAX, 0},
    };
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct buf push = buf_make(BUF_NO_MAX), stream = buf_make(BUF_NO_MAX),
                   entry = buf_make(BUF_NO_MAX);
        add_timestamp(&entry, times[i].seconds, times[i].nanos);
        add_message(&stream, 2, &entry);
        add_message(&push, 1, &stream);
        struct trial t;
        trial_decode(&t, buf_str(&push));
        CHECK_INT(t.r, times[i].r);
        if (t.r == 0)
            CHECK_INT(t.d.entries[0].ts_ns, times[i].want);
        trial_done(&t);
        buf_done(&push);
        buf_done(&stream);
        buf_done(&entry);
    }
}

/* Entries as most clients write them have a way of their own: with an unknown field in front they take the other, and
 * must come out the same; with each byte changed as well. */
static void test_plain_front(void) {
    static const int64_t seconds[] = {0,          1,          127,       128, 1767607201,
                                      9223372035, 9223372036, INT64_MAX, -1};
    static const int64_t nanos[] = {0, 1, 999999999, 1000000000, -1};
    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++)
        for (size_t k = 0; k < sizeof(nanos) / sizeof(nanos[0]); k++) {
            struct buf plain = buf_make(4096);
            add_timestamp(&plain, seconds[i], nanos[k]);
            add_bytes(&plain, 2, STR("a line"));
            for (size_t at = 0; at <= plain.size; at++) {
                struct trial t[2];
                if (at < plain.size)
                    plain.data[at] ^= (char)(1 << (at + k) % 8);
                for (int other = 0; other < 2; other++) {
                    struct buf entry = buf_make(4096), stream = buf_make(4096),
                               body = buf_make(4096);
                    if (other)
                        add_bytes(&entry, 9, STR("unknown"));
                    buf_add_str(&entry, buf_str(&plain));
                    add_bytes(&stream, 1, STR("{a=\"b\"}"));
                    add_message(&stream, 2, &entry);
                    add_message(&body, 1, &stream);
                    trial_decode(&t[other], buf_str(&body));
                    buf_done(&entry);
                    buf_done(&stream);
                    buf_done(&body);
                }
                CHECK_INT(t[0].r, t[1].r);
                if (t[0].r == 0) {
                    CHECK_INT(t[0].d.entries[0].ts_ns, t[1].d.entries[0].ts_ns);
                    CHECK_STR(t[0].d.entries[0].line, t[1].d.entries[0].line);
                    CHECK_INT(t[0].d.entries[0].meta_count, t[1].d.entries[0].meta_count);
                }
                trial_done(&t[0]);
                trial_done(&t[1]);
                if (at < plain.size)
                    plain.data[at] ^= (char)(1 << (at + k) % 8);
            }
            buf_done(&plain);
        }
}

static void test_malformed(void) {
    static const struct str bodies[] = {
        {"\x00", 1},     /* field number 0 */
        {"\x0a", 1},     /* no length */
        {"\x0a\x05", 2}, /* length beyond the end */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},
        {"\x08\x01", 2},         /* streams as a varint */
        {"\x0a\x02\x08\x01", 4}, /* labels as a varint */
        {"\x0a\x02\x12\x01", 4},
        {"\x0c", 1}, /* end of a group that never began */
        {"\x13", 1}, /* a group that never ends */
        {"\x0f", 1}, /* wire type 7 */
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11},
        {"{\"streams\":[]}", 14},
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct trial t;
        trial_decode(&t, bodies[i]);
        CHECK_INT(t.r, -ESYNTAX);
        CHECK(t.err.text[0] != '\0');
        trial_done(&t);
    }
    struct trial t;
    trial_decode(&t, STR(""));
    CHECK_INT(t.r, 0);
    CHECK_INT(t.d.n_streams, 0);
    trial_done(&t);
}

static void test_limits(void) {
    struct buf push = buf_make(BUF_NO_MAX);
    for (int i = 0; i <= PUSH_STREAMS_MAX; i++)
        add_bytes(&push, 1, STR(""));
    struct trial t;
    trial_decode(&t, buf_str(&push));
    CHECK_INT(t.r, -E2BIG);
    trial_done(&t);
    buf_clear(&push);
    /* Two bytes an entry: the cheapest way to make us allocate. */
    struct buf stream = buf_make(BUF_NO_MAX);
    for (int i = 0; i < 200000; i++)
        add_bytes(&stream, 2, STR(""));
    add_message(&push, 1, &stream);
    struct arena small = arena_make(1 << 20);
    struct decoded_push d;
    decoded_push_init(&d, &small);
    struct err err = {0};
    CHECK_INT(push_proto_decode(buf_str(&push), &d, &err), -E2BIG);
    arena_done(&small);
    buf_done(&push);
    buf_done(&stream);
}

int main(void) {
    RUN(test_push);
    RUN(test_timestamps);
    RUN(test_plain_front);
    RUN(test_malformed);
    RUN(test_limits);
    return test_done();
}
