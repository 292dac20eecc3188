/* Records of pushes: what is written is read back, whether the lines are in the data or in the sender's body; what is
 * damaged is refused. */
#include "walrec.h"

#include <errno.h>
#include <snappy-c.h>
#include <stdlib.h>

#include "stream.h"
#include "test.h"

enum { ENTRIES = 200, STREAMS = 2 };

static const struct label levels[2] = {{{"level", 5}, {"info", 4}}, {{"level", 5}, {"error", 5}}};

struct push {
    char plain[64 << 10];
    char packed[64 << 10];
    struct batch batch;
    struct batch_stream streams[STREAMS];
    struct stream stream[STREAMS];
    struct tenant tenant;
    struct entry entries[STREAMS * ENTRIES];
};

/* Lines in a body with something between them; every 50th is not in it, one is empty. */
static void make_push(struct push *p, bool with_body) {
    size_t at = 0;
    p->tenant = (struct tenant){.name = STR("t")};
    for (size_t i = 0; i < STREAMS * ENTRIES; i++) {
        struct entry *e = &p->entries[i];
        int n = snprintf(p->plain + at, sizeof(p->plain) - at,
                         "<<line %zu of a push, number %zu of its kind", i, i * 7919 % 1000);
        *e = (struct entry){.ts_ns = (int64_t)(i * 1000) - 50000};
        e->line = str_make(p->plain + at + 2, (size_t)n - 2);
        if (i % 50 == 7)
            e->line = STR("made by the server, not sent");
        if (i == 11)
            e->line = STR("");
        if (i % 3 > 0) {
            e->meta = &levels[i % 3 - 1];
            e->meta_count = 1;
        }
        at += (size_t)n;
    }
    for (size_t i = 0; i < STREAMS; i++) {
        p->stream[i] = (struct stream){.id = i + 1, .tenant = &p->tenant};
        p->stream[i].encoded = STR("\0");
        p->streams[i] = (struct batch_stream){
            .stream = &p->stream[i], .entries = p->entries + i * ENTRIES, .count = ENTRIES};
    }
    p->batch = (struct batch){.tenant = STR("t"), .streams = p->streams, .n_streams = STREAMS};
    if (!with_body)
        return;
    size_t size = sizeof(p->packed);
    CHECK(snappy_compress(p->plain, at, p->packed, &size) == SNAPPY_OK);
    p->batch.source.packed = str_make(p->packed, size);
    p->batch.source.plain = str_make(p->plain, at);
}

struct reading {
    const struct push *push;
    size_t entries, defined;
};

static int on_define(uint64_t id, struct str tenant, struct labels labels, void *ctx) {
    struct reading *r = ctx;
    CHECK(id == 1 || id == 2);
    CHECK_STR(tenant, STR("t"));
    CHECK_INT(labels.count, 0);
    r->defined++;
    return 0;
}

static int on_entries(uint64_t id, const struct entry *entries, size_t count, void *ctx) {
    struct reading *r = ctx;
    CHECK_INT(count, ENTRIES);
    for (size_t i = 0; i < count; i++) {
        const struct entry *want = &r->push->entries[(id - 1) * ENTRIES + i];
        CHECK_INT(entries[i].ts_ns, want->ts_ns);
        CHECK_STR(entries[i].line, want->line);
        CHECK_INT(entries[i].meta_count, want->meta_count);
        if (want->meta_count > 0)
            CHECK_STR(entries[i].meta[0].value, want->meta[0].value);
        r->entries++;
    }
    return 0;
}

/* The payload in one piece, in `out`. */
static struct str join(const struct walrec_writer *w, struct buf *out) {
    struct str parts[WALREC_PARTS];
    walrec_payload(w, parts);
    buf_clear(out);
    for (size_t i = 0; i < WALREC_PARTS; i++)
        buf_add_str(out, parts[i]);
    CHECK_INT(out->size, walrec_size(w));
    return buf_str(out);
}

static int read_back(const struct push *p, const struct walrec_writer *w, struct str payload,
                     size_t *ret_entries) {
    struct reading reading = {.push = p};
    struct arena arena = arena_make(16 << 20);
    struct buf scratch = buf_make(BUF_NO_MAX);
    struct wal_record record = {
        .type = w->type, .codec = w->codec, .raw_size = w->raw_size, .payload = payload};
    struct walrec_visitor visitor = {.define = on_define, .entries = on_entries, .ctx = &reading};
    int r = walrec_read(&record, &arena, &scratch, &visitor, NULL);
    *ret_entries = reading.entries;
    if (r == 0)
        CHECK_INT(reading.defined, STREAMS);
    arena_done(&arena);
    buf_done(&scratch);
    return r;
}

static void write_record(struct push *p, struct walrec_writer *w) {
    const bool define[STREAMS] = {true, true};
    CHECK_INT(walrec_write_data(w, &p->batch, batch_line_bytes(&p->batch), true), 0);
    CHECK_INT(walrec_write_definitions(w, &p->batch, define), 0);
}

static void round_trip(bool with_body, enum walrec_type type) {
    struct push *p = calloc(1, sizeof(*p));
    struct walrec_writer w = {0};
    struct buf joined = buf_make(BUF_NO_MAX);
    make_push(p, with_body);
    write_record(p, &w);
    CHECK_INT(w.type, type);
    size_t entries;
    CHECK_INT(read_back(p, &w, join(&w, &joined), &entries), 0);
    CHECK_INT(entries, STREAMS * ENTRIES);
    walrec_writer_done(&w);
    buf_done(&joined);
    free(p);
}

static void test_lines_in_the_data(void) {
    round_trip(false, WALREC_PUSH);
}

static void test_lines_in_the_body(void) {
    round_trip(true, WALREC_PUSH_BODY);
}

/* Bytes at random in place of half the lines, so that the body packs badly, but pays. */
static void shuffle_body(struct push *p) {
    struct str plain = p->batch.source.plain;
    uint32_t random = 1;
    for (size_t i = 0; i < plain.size / 2; i++) {
        random = random * 1664525 + 1013904223;
        p->plain[i] = (char)(random >> 24);
    }
    size_t size = sizeof(p->packed);
    CHECK(snappy_compress(p->plain, plain.size, p->packed, &size) == SNAPPY_OK);
    p->batch.source.packed.size = size;
}

/* A table beside a body is packed only when it is large: one with long metadata for each line is. */
static void test_tables(void) {
    char text[600];
    memset(text, 'm', sizeof(text));
    const struct label large = {STR("name"), str_make(text, sizeof(text))};
    for (int packed = 0; packed < 2; packed++) {
        struct push *p = calloc(1, sizeof(*p));
        struct walrec_writer w = {0};
        struct buf joined = buf_make(BUF_NO_MAX);
        make_push(p, true);
        shuffle_body(p);
        for (size_t i = 0; i < STREAMS * ENTRIES; i++) {
            p->entries[i].meta = packed && i % 2 ? &large : NULL;
            p->entries[i].meta_count = packed && i % 2;
        }
        write_record(p, &w);
        CHECK((w.raw.size < w.table_size) == packed);
        size_t entries;
        CHECK_INT(read_back(p, &w, join(&w, &joined), &entries), 0);
        CHECK_INT(entries, STREAMS * ENTRIES);
        walrec_writer_done(&w);
        buf_done(&joined);
        free(p);
    }
}

static bool wants_second(uint64_t id, size_t count, void *ctx) {
    CHECK_INT(count, ENTRIES);
    (void)ctx;
    return id == 2;
}

static bool wants_none(uint64_t id, size_t count, void *ctx) {
    (void)id;
    (void)count;
    (void)ctx;
    return false;
}

/* Entries that nobody wants are not handed over; a body that nobody wants is not even decompressed: damage in it is
 * no error then. */
static void test_unwanted_entries(void) {
    struct push *p = calloc(1, sizeof(*p));
    struct walrec_writer w = {0};
    struct buf joined = buf_make(BUF_NO_MAX);
    make_push(p, true);
    write_record(p, &w);
    struct arena arena = arena_make(16 << 20);
    struct buf scratch = buf_make(BUF_NO_MAX);
    struct wal_record record = {
        .type = w.type, .codec = w.codec, .raw_size = w.raw_size, .payload = join(&w, &joined)};
    struct reading reading = {.push = p};
    struct walrec_visitor visitor = {
        .define = on_define, .needs = wants_second, .entries = on_entries, .ctx = &reading};
    CHECK_INT(walrec_read(&record, &arena, &scratch, &visitor, NULL), 0);
    CHECK_INT(reading.entries, ENTRIES);
    memset(joined.data + joined.size - 100, 0xff, 100);
    CHECK_INT(walrec_read(&record, &arena, &scratch, &visitor, NULL), -ECORRUPT);
    visitor.needs = wants_none;
    CHECK_INT(walrec_read(&record, &arena, &scratch, &visitor, NULL), 0);
    CHECK_INT(reading.entries, ENTRIES);
    arena_done(&arena);
    buf_done(&scratch);
    walrec_writer_done(&w);
    buf_done(&joined);
    free(p);
}

/* A body of which little was kept is not worth its place. */
static void test_body_that_does_not_pay(void) {
    struct push *p = calloc(1, sizeof(*p));
    struct walrec_writer w = {0};
    make_push(p, true);
    p->streams[0].count = p->streams[1].count = 3;
    write_record(p, &w);
    CHECK_INT(w.type, WALREC_PUSH);
    walrec_writer_done(&w);
    free(p);
}

/* Each cut and each changed byte outside the body is refused or read without harm; under the sanitizers. */
static void test_damage(void) {
    struct push *p = calloc(1, sizeof(*p));
    struct walrec_writer w = {0};
    struct buf joined = buf_make(BUF_NO_MAX);
    make_push(p, true);
    for (size_t i = 0; i < STREAMS * ENTRIES;
         i++) /* values may differ: only bounds are of interest */
        p->entries[i].meta_count = 0;
    write_record(p, &w);
    struct arena arena = arena_make(16 << 20);
    struct buf scratch = buf_make(BUF_NO_MAX);
    struct str payload = join(&w, &joined);
    size_t refused = 0;
    for (size_t cut = 0; cut < payload.size; cut += 13) {
        struct wal_record record = {.type = w.type, .codec = w.codec, .raw_size = w.raw_size};
        record.payload = str_make(payload.data, cut);
        struct reading reading = {.push = p};
        struct walrec_visitor visitor = {
            .define = on_define, .entries = on_entries, .ctx = &reading};
        refused += walrec_read(&record, &arena, &scratch, &visitor, NULL) == -ECORRUPT;
        arena_reset(&arena);
    }
    CHECK_INT(refused, (payload.size + 12) / 13);
    uint32_t sizes[] = {0, 1, w.raw_size - 1, w.raw_size + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct wal_record record = {
            .type = w.type, .codec = w.codec, .raw_size = sizes[i], .payload = payload};
        struct reading reading = {.push = p};
        struct walrec_visitor visitor = {
            .define = on_define, .entries = on_entries, .ctx = &reading};
        CHECK_INT(walrec_read(&record, &arena, &scratch, &visitor, NULL), -ECORRUPT);
    }
    arena_done(&arena);
    buf_done(&scratch);
    walrec_writer_done(&w);
    buf_done(&joined);
    free(p);
}

int main(void) {
    RUN(test_lines_in_the_data);
    RUN(test_lines_in_the_body);
    RUN(test_tables);
    RUN(test_unwanted_entries);
    RUN(test_body_that_does_not_pay);
    RUN(test_damage);
    return test_done();
}
