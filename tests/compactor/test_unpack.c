/* Packs in the compactor's hands: what stays in them, what takes a rest out, and that deleted lines leave the disk. */
#include "unpack.h"

#include "clock.h"
#include "compactor.h"
#include "erasure.h"
#include "merge.h"
#include "store_world.h"
#include "units.h"

enum { STREAMS = 16, SECRET = 3 /* the stream whose lines will be deleted: {app="s"} */ };

static struct store_world world;

static struct store *begin_again(void) {
    return world_open(
        &world, (struct store_options){.wal = {.sync = WAL_SYNC_OFF, .segment_bytes = 64 << 10},
                                       .effort = EFFORT_FAST});
}

static struct store *begin(void) {
    world_begin_in_memory(&world);
    return begin_again();
}

static int shell(const char *format) {
    char command[600];
    (void)snprintf(command, sizeof(command), format, world.dir);
    return system(command);
}

static void push(struct store *s, unsigned stream, int64_t ts_ns, const char *line) {
    char value[16];
    (void)snprintf(value, sizeof(value), "%u", stream);
    struct label pairs[] = {{STR("app"), stream == SECRET ? STR("s") : STR("a")},
                            {STR("n"), str_from(value)}};
    struct entry e = {.ts_ns = ts_ns, .line = str_from(line)};
    CHECK_INT(world_append(s, STR("t"), (struct labels){pairs, 2}, &e, 1), 0);
}

static void push_all(struct store *s, int64_t ts_ns) {
    for (unsigned i = 0; i < STREAMS; i++)
        push(s, i, ts_ns, i == SECRET ? "a rememberable lines-secret" : "a line of text");
    CHECK_INT(store_flush(s, NULL), 0);
}

struct count {
    unsigned packed, own;
    struct index_chunk first[STREAMS * 16];
    unsigned n;
};

static int count_chunk(const struct index_chunk *c, void *ctx) {
    struct count *n = ctx;
    n->packed += c->pack_seq > 0;
    n->own += c->pack_seq == 0;
    n->first[n->n++] = *c;
    return 0;
}

static struct count *count_chunks(struct store *s) {
    static struct count n;
    n = (struct count){0};
    CHECK_INT(index_walk_chunks(store_index(s), STR("t"), count_chunk, &n, NULL), 0);
    return &n;
}

static void check_chunks(struct store *s, unsigned packed, unsigned own) {
    const struct count *n = count_chunks(s);
    CHECK_INT(n->packed, packed);
    CHECK_INT(n->own, own);
}

static int64_t midnight(void) {
    return clock_now_ns() / NS_PER_DAY * NS_PER_DAY - 10 * NS_PER_DAY;
}

static void little_stays_packed(void) {
    struct store *s = begin();
    struct compactor *c = NULL;
    struct merge_result got;
    const struct compactor_options o = {.merge_policy = {.settle_ns = 1}};
    CHECK_INT(compactor_start(s, NULL, &o, &c, NULL), 0);
    for (unsigned i = 0; i < 7; i++)
        push_all(s, midnight() + i * NS_PER_MIN);
    CHECK_INT(compactor_merge_once(c, false, &got, NULL), 0);
    CHECK_INT(got.rewrites, 0);
    check_chunks(s, 7 * STREAMS, 0);
    push_all(s, midnight() + 7 * NS_PER_MIN); /* eight pieces are joined */
    CHECK_INT(compactor_merge_once(c, false, &got, NULL), 0);
    CHECK_INT(got.rewrites, STREAMS);
    check_chunks(s, 0, STREAMS);
    compactor_stop(c);
    (void)store_reap(s);
    CHECK(shell("! ls %s/chunks/t/*/ | grep -q pack") == 0);
    world_end(&world);
}

static int drop_most(struct index_txn *t, void *ctx, struct err *reterr) {
    const struct count *n = ctx;
    int r = 0;
    for (unsigned i = 0; i < STREAMS - 3 && r == 0; i++)
        r = index_del_chunk(t, STR("t"), &n->first[i], reterr);
    return r;
}

static void a_thin_pack_is_emptied(void) {
    struct store *s = begin();
    struct compactor *c = NULL;
    struct merge_result got;
    const struct compactor_options o = {.merge_policy = {.settle_ns = 1}};
    CHECK_INT(compactor_start(s, NULL, &o, &c, NULL), 0);
    push_all(s, midnight());
    struct count *n = count_chunks(s);
    CHECK_INT(n->packed, STREAMS);
    CHECK_INT(store_index_update(s, drop_most, n, NULL), 0);
    for (unsigned i = 0; i < STREAMS - 3; i++)
        store_delete_chunk(s, STR("t"), &n->first[i]);
    CHECK_INT(store_reap(s), 0);
    CHECK_INT(compactor_merge_once(c, false, &got, NULL), 0);
    CHECK_INT(got.rewrites, 3);
    check_chunks(s, 0, 3);
    (void)store_reap(s);
    CHECK(shell("! ls %s/chunks/t/*/ | grep -q pack") == 0);
    compactor_stop(c);
    world_end(&world);
}

/* The others of the pack move out, so that it goes, and with it what was written in it. */
static void deleted_lines_leave_the_disk(void) {
    struct store *s = begin();
    struct deletes *d = NULL;
    struct deletes_result got;
    char id[DELETE_ID_SIZE + 1];
    const struct deletes_options o = {.language = &erasure_language};
    push_all(s, midnight());
    push_all(s, midnight() + NS_PER_MIN);
    CHECK_INT(deletes_open(s, &o, &d, NULL), 0);
    CHECK(shell("grep -rq lines-secret %s/chunks") == 0);
    CHECK_INT(
        deletes_add(d, STR("t"), STR("s lines-secret"), 0, midnight() + NS_PER_S, 1, id, NULL), 0);
    CHECK_INT(deletes_run(d, clock_now_ns(), NULL, NULL, &got, NULL), 0);
    CHECK_INT(got.processed, 1);
    CHECK_INT(got.sums.lines, 1);
    (void)store_reap(s);
    check_chunks(s, STREAMS, STREAMS - 1); /* the second pack was not concerned */
    CHECK_INT(deletes_add(d, STR("t"), STR("s lines-secret"), 0, INT64_MAX, 2, id, NULL), 0);
    CHECK_INT(deletes_run(d, clock_now_ns(), NULL, NULL, &got, NULL), 0);
    (void)store_reap(s);
    check_chunks(s, 0, 2 * (STREAMS - 1));
    CHECK(shell("grep -rq lines-secret %s/chunks") != 0);
    deletes_close(d);
    world_end(&world);
}

struct rows {
    struct index_chunk own[16];
    size_t n;
};

static int note_secret(const struct index_stream *s, void *ctx) {
    if (str_eq(labels_get(s->labels, STR("app")), STR("s")))
        *(uint64_t *)ctx = s->id;
    return 0;
}

static struct rows secret_rows(struct store *s) {
    struct rows rows = {0};
    uint64_t id = 0;
    CHECK_INT(index_walk_streams(store_index(s), STR("t"), note_secret, &id, NULL), 0);
    const struct count *n = count_chunks(s);
    for (unsigned i = 0; i < n->n; i++)
        if (n->first[i].stream_id == id)
            rows.own[rows.n++] = n->first[i];
    return rows;
}

/* The first two of its three chunks. */
static void merge_day_of_secret(struct store *s) {
    const struct rows rows = secret_rows(s);
    CHECK_INT(rows.n, 3);
    struct rewrite_result got;
    const struct rewrite w = {.tenant = STR("t"),
                              .sources = rows.own,
                              .n_sources = 2,
                              .grade = GRADE_SETTLED,
                              .effort = merge_effort(GRADE_SETTLED),
                              .target_bytes = 1 << 20};
    CHECK_INT(store_rewrite(s, &w, &got, NULL, NULL), 0);
    CHECK_INT(got.outputs, 1);
    (void)store_reap(s);
    CHECK_INT(secret_rows(s).n, 2);
    CHECK_INT(secret_rows(s).own[0].pack_seq, 0);
}

/* What a merge has taken out of a pack still stands there, and only the merged chunk names it as replaced: before
 * that one goes the pack must go. */
static void merged_lines_leave_their_pack(const char *query) {
    struct store *s = begin();
    struct deletes *d = NULL;
    struct deletes_result got;
    struct store_rebuild rebuilt;
    char id[DELETE_ID_SIZE + 1];
    const struct deletes_options o = {.language = &erasure_language};
    push_all(s, midnight());
    push_all(s, midnight() + NS_PER_MIN);
    push_all(s, midnight() + NS_PER_DAY); /* another day's pack is not concerned */
    merge_day_of_secret(s);
    CHECK_INT(deletes_open(s, &o, &d, NULL), 0);
    CHECK_INT(deletes_add(d, STR("t"), str_from(query), 0, midnight() + NS_PER_HOUR, 1, id, NULL),
              0);
    CHECK_INT(deletes_run(d, clock_now_ns(), NULL, NULL, &got, NULL), 0);
    CHECK_INT(got.processed, 1);
    CHECK_INT(got.sums.lines, 2);
    (void)store_reap(s);
    check_chunks(s, STREAMS, 2 * (STREAMS - 1));
    CHECK_INT(secret_rows(s).n, 1);
    deletes_close(d);
    world_close(&world);
    CHECK(shell("ls %s/chunks/t/*/*.pack | wc -l | grep -qx 1") == 0);
    CHECK(shell("rm -r %s/index") == 0);
    CHECK_INT(store_rebuild_index(world.dir, &rebuilt, NULL), 0);
    s = begin_again();
    CHECK_INT(world_count(s, STR("t"), "s"), 1);
    CHECK_INT(world_count(s, STR("t"), "a"), 3 * (STREAMS - 1));
    world_end(&world);
}

static void merged_streams_leave_their_pack(void) {
    merged_lines_leave_their_pack("s");
}

static void merged_needles_leave_their_pack(void) {
    merged_lines_leave_their_pack("s lines-secret");
}

int main(void) {
    RUN(little_stays_packed);
    RUN(a_thin_pack_is_emptied);
    RUN(deleted_lines_leave_the_disk);
    RUN(merged_streams_leave_their_pack);
    RUN(merged_needles_leave_their_pack);
    return test_done();
}
