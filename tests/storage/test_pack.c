/* Packs: the file format, damaged at every place; and a store whose streams share packs: flush, reopen, a lost index,
 * members that go, verify and repair. */
#include "pack.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "bytes.h"
#include "clock.h"
#include "io.h"
#include "rewrite.h"
#include "store_world.h"
#include "units.h"
#include "verify.h"

enum { MEMBERS = 12, LINES = 6, STREAMS = 20, LARGE_MEMBERS = 24 };
#define BASE_NS (INT64_C(1790035200) * NS_PER_S) /* a midnight */

static struct store_world world;
static int dir_fd;

static void fresh_folder(void) {
    world_begin_in_memory(&world);
    dir_fd = open(world.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void remove_folder(void) {
    (void)close(dir_fd);
    world_end(&world);
}

/* ---- the file */

static struct pack_member written[MEMBERS];

/* `share`: so many members in a row have the same labels, though streams of different numbers. */
static void write_pack(const char *name, unsigned share) {
    struct block_encoder *e = block_encoder_new();
    struct pack_writer *w = NULL;
    struct pack_head head = {.tenant = STR("a tenant"), .seq = 900, .day = 20718};
    CHECK_INT(pack_writer_open(dir_fd, name, &head, &w, NULL), 0);
    for (unsigned m = 0; m < MEMBERS; m++) {
        int64_t times[LINES];
        struct str lines[LINES];
        char text[LINES][80], value[16];
        for (unsigned i = 0; i < LINES; i++) {
            times[i] = BASE_NS + m * NS_PER_MIN + i;
            lines[i].data = text[i];
            lines[i].size = (size_t)snprintf(text[i], sizeof(text[i]), "member %u line %u", m, i);
        }
        struct block_input in = {.count = LINES, .times = times, .lines = lines};
        struct buf encoded = buf_make(BUF_NO_MAX), filter = buf_make(BUF_NO_MAX);
        CHECK_INT(block_encode(e, &in, EFFORT_FAST, &encoded, &filter), 0);
        struct chunk_block block = {buf_str(&encoded), buf_str(&filter)};
        (void)snprintf(value, sizeof(value), "%u", m / share);
        struct label pairs[] = {{STR("n"), str_from(value)}};
        struct chunk_head chunk = {.tenant = head.tenant,
                                   .labels = {pairs, 1},
                                   .stream_id = 100 + m,
                                   .chunk_seq = 800 + m,
                                   .day = head.day};
        struct chunk_sums sums;
        written[m] = (struct pack_member){.stream_id = 100 + m, .chunk_seq = 800 + m};
        CHECK_INT(pack_writer_add(w, &chunk, &block, 1, &written[m].offset, &sums, NULL), 0);
        written[m].size = sums.file_bytes;
        written[m].first_ns = sums.first_ns;
        buf_done(&encoded);
        buf_done(&filter);
    }
    int fd = -1;
    CHECK_INT(pack_writer_finish(w, &fd, NULL), 0);
    io_close(fd);
    block_encoder_free(e);
}

/* The member can be opened and is the one that was written there. */
static bool is_member(const char *name, const struct pack_member *m) {
    struct chunk *c = NULL;
    struct chunk_span span = {.offset = m->offset, .size = m->size};
    if (chunk_open_at(dir_fd, name, span, &c, NULL) < 0)
        return false;
    const struct chunk_head *head = chunk_get_head(c);
    bool fine = !chunk_is_damaged(c) && head->chunk_seq == m->chunk_seq &&
                head->stream_id == m->stream_id && chunk_get_sums(c)->entries == LINES &&
                chunk_offset(c) == m->offset && chunk_block_offset(c, 0) > m->offset &&
                chunk_block_offset(c, 0) < m->offset + m->size;
    struct gram_query q;
    char needle[32];
    (void)snprintf(needle, sizeof(needle), "member %u", (unsigned)(m->chunk_seq - 800));
    gram_query_init(&q, str_from(needle), false);
    fine = fine && filters_may_contain(chunk_filters(c), 0, &q);
    gram_query_init(&q, STR("nothing of the kind"), false);
    fine = fine && !filters_may_contain(chunk_filters(c), 0, &q);
    chunk_close(c);
    return fine;
}

static void written_is_read(void) {
    fresh_folder();
    write_pack("p", 1);
    struct pack p;
    CHECK_INT(pack_open(dir_fd, "p", &p, NULL), 0);
    CHECK(!p.damaged && p.head.seq == 900 && p.head.day == 20718);
    CHECK_STR(p.head.tenant, STR("a tenant"));
    CHECK_INT(p.n_members, MEMBERS);
    for (size_t i = 0; i < p.n_members; i++) {
        CHECK(memcmp(&p.members[i], &written[i], sizeof(written[i])) == 0);
        CHECK(is_member("p", &p.members[i]));
    }
    pack_done(&p);
    CHECK_INT(pack_open(dir_fd, "none", &p, NULL), -ENOENT);
    remove_folder();
}

static size_t members_found(const char *name, const struct pack *p) {
    size_t n = 0;
    for (size_t i = 0; i < p->n_members; i++)
        for (unsigned m = 0; m < MEMBERS; m++)
            n += p->members[i].offset == written[m].offset &&
                 p->members[i].size == written[m].size && is_member(name, &written[m]);
    return n;
}

/* Whichever byte flips: at most one member is lost. */
static void any_byte_flips(void) {
    fresh_folder();
    write_pack("p", 1);
    struct buf file = buf_make(BUF_NO_MAX);
    CHECK_INT(io_read_file(dir_fd, "p", &file), 0);
    for (size_t at = 0; at < file.size && test_case_failures == 0; at += at < 128 ? 1 : 7) {
        struct pack p;
        file.data[at] = (char)(file.data[at] ^ 0x41);
        CHECK_INT(io_write_file_durable(dir_fd, "d", buf_str(&file)), 0);
        CHECK_INT(pack_open(dir_fd, "d", &p, NULL), 0);
        CHECK(members_found("d", &p) >= MEMBERS - 1);
        CHECK(p.damaged || p.n_members == MEMBERS);
        pack_done(&p);
        file.data[at] = (char)(file.data[at] ^ 0x41);
    }
    buf_done(&file);
    remove_folder();
}

/* Cut off: what stands before the cut is found. */
static void cut_off_anywhere(void) {
    fresh_folder();
    write_pack("p", 1);
    struct buf file = buf_make(BUF_NO_MAX);
    CHECK_INT(io_read_file(dir_fd, "p", &file), 0);
    for (size_t size = 0; size < file.size && test_case_failures == 0; size += 61) {
        struct pack p;
        size_t whole = 0;
        for (unsigned m = 0; m < MEMBERS; m++)
            whole += written[m].offset + written[m].size <= size;
        CHECK_INT(io_write_file_durable(dir_fd, "c", str_make(file.data, size)), 0);
        int r = pack_open(dir_fd, "c", &p, NULL);
        CHECK(r == 0 || (r == -ECORRUPT && whole == 0));
        CHECK(r < 0 || members_found("c", &p) == whole);
        if (r == 0)
            pack_done(&p);
    }
    buf_done(&file);
    remove_folder();
}

static int refuse_writes(enum io_op op, const char *path, void *ctx) {
    (void)path;
    int *left = ctx;
    return op == IO_WRITE && (*left)-- == 0 ? -ENOSPC : 0;
}

/* Members whose bytes reach the file in several steps. */
static int write_large_pack(struct pack_writer *w, struct str encoded) {
    struct chunk_block block = {encoded, {0}};
    int r = 0, fd = -1;
    for (unsigned m = 0; r == 0 && m < LARGE_MEMBERS; m++) {
        struct chunk_head chunk = {.tenant = STR("t"), .stream_id = m, .chunk_seq = m};
        struct chunk_sums sums;
        uint64_t offset;
        r = pack_writer_add(w, &chunk, &block, 1, &offset, &sums, NULL);
    }
    if (r == 0)
        r = pack_writer_finish(w, &fd, NULL);
    if (r < 0)
        pack_writer_abort(w);
    else
        io_close(fd);
    return r;
}

static void failed_write_leaves_nothing(void) {
    static char noise[128 << 10];
    uint64_t state = 1;
    for (size_t i = 0; i < sizeof(noise); i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        noise[i] = (char)(state >> 56);
    }
    int64_t time = BASE_NS;
    struct str line = str_make(noise, sizeof(noise));
    struct block_input in = {.count = 1, .times = &time, .lines = &line};
    struct block_encoder *e = block_encoder_new();
    struct buf encoded = buf_make(BUF_NO_MAX), filter = buf_make(BUF_NO_MAX);
    CHECK_INT(block_encode(e, &in, EFFORT_FAST, &encoded, &filter), 0);
    fresh_folder();
    int r = -ENOSPC;
    for (int at = 0; r < 0 && at < LARGE_MEMBERS; at++) {
        int left = at;
        struct pack_writer *w = NULL;
        struct pack_head head = {.tenant = STR("t"), .seq = 1};
        io_set_hook(refuse_writes, &left);
        CHECK_INT(pack_writer_open(dir_fd, "w", &head, &w, NULL), 0);
        r = write_large_pack(w, buf_str(&encoded));
        io_set_hook(NULL, NULL);
        CHECK_INT(r, left < 0 ? -ENOSPC : 0);
        CHECK(at >= 2 || r < 0);
        CHECK_INT(faccessat(dir_fd, "w", F_OK, 0), r < 0 ? -1 : 0);
    }
    CHECK_INT(r, 0);
    remove_folder();
    buf_done(&encoded);
    buf_done(&filter);
    block_encoder_free(e);
}

/* ---- a store */

static struct store *open_store(void) {
    return world_open(&world, (struct store_options){.wal = {.sync = WAL_SYNC_OFF}});
}

static void push_all(struct store *s, unsigned round) {
    for (unsigned i = 0; i < STREAMS; i++) {
        char value[16], line[40];
        (void)snprintf(value, sizeof(value), "%u", i);
        (void)snprintf(line, sizeof(line), "round %u of stream %u", round, i);
        struct label pairs[] = {{STR("n"), str_from(value)}};
        struct entry e = {.ts_ns = BASE_NS + round * NS_PER_MIN + i, .line = str_from(line)};
        CHECK_INT(world_append(s, STR("t"), (struct labels){pairs, 1}, &e, 1), 0);
    }
}

static unsigned n_packs, n_chunks;
static char a_pack[512];

static int note_file(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)ftw;
    struct str name = str_from(path);
    if (type == FTW_F && str_ends(name, STR(".pack"))) {
        n_packs++;
        (void)snprintf(a_pack, sizeof(a_pack), "%s", path + strlen(world.dir) + 1);
    }
    n_chunks += type == FTW_F && str_ends(name, STR(".chunk"));
    return 0;
}

static void check_files(unsigned packs, unsigned chunks) {
    char path[300];
    n_packs = n_chunks = 0;
    (void)snprintf(path, sizeof(path), "%s/chunks", world.dir);
    (void)nftw(path, note_file, 16, FTW_PHYS);
    CHECK_INT(n_packs, packs);
    CHECK_INT(n_chunks, chunks);
}

/* What cannot be read does not count. */
static void count_block(struct block_reader *r, const struct snap_stream *stream,
                        const struct block_ref *b, void *ctx) {
    struct block_ref_info info;
    struct str lines;
    const int64_t *times;
    (void)stream;
    block_ref_get(b, &info);
    if (block_reader_open(r, b, NULL) < 0 || block_reader_times(r, &times, NULL) < 0 ||
        block_reader_lines(r, &lines, NULL) < 0)
        return;
    CHECK(str_starts(lines, STR("round ")));
    *(size_t *)ctx += info.count;
}

/* Entries that a snapshot shows. */
static size_t count_entries(struct snapshot *snap) {
    size_t n = 0;
    world_walk_blocks(snap, count_block, &n);
    return n;
}

static void check_entries(struct store *s, size_t want) {
    struct snapshot *snap = world_select(s, STR("t"), NULL);
    CHECK_INT(count_entries(snap), want);
    store_snapshot_free(snap);
}

static void streams_share_a_file(void) {
    fresh_folder();
    struct store *s = open_store();
    push_all(s, 0);
    CHECK_INT(store_flush(s, NULL), 0);
    check_files(1, 0);
    check_entries(s, STREAMS);
    push_all(s, 1);
    world_close(&world); /* flushes */
    check_files(2, 0);
    s = open_store();
    check_entries(s, 2 * STREAMS);
    CHECK_INT(store_sweep_orphans(s, NULL), 0);
    check_files(2, 0);
    world_close(&world);
    /* The index is lost: the packs tell all of it. */
    struct store_rebuild got;
    CHECK_INT(store_rebuild_index(world.dir, &got, NULL), 0);
    CHECK_INT(got.chunks, 2 * STREAMS);
    CHECK_INT(got.streams, STREAMS);
    CHECK_INT(got.damaged, 0);
    s = open_store();
    check_entries(s, 2 * STREAMS);
    world_close(&world);
    remove_folder();
}

struct removal {
    struct index_chunk chunks[4 * STREAMS];
    size_t n, from, to;
};

static int note_chunk(const struct index_chunk *c, void *ctx) {
    struct removal *r = ctx;
    r->chunks[r->n++] = *c;
    return 0;
}

static int drop_rows(struct index_txn *t, void *ctx, struct err *reterr) {
    const struct removal *r = ctx;
    int e = 0;
    for (size_t i = r->from; i < r->to && e == 0; i++)
        e = index_del_chunk(t, STR("t"), &r->chunks[i], reterr);
    return e;
}

static void drop(struct store *s, struct removal *r, size_t from, size_t to) {
    r->from = from;
    r->to = to;
    CHECK_INT(store_index_update(s, drop_rows, r, NULL), 0);
    for (size_t i = from; i < to; i++)
        store_delete_chunk(s, STR("t"), &r->chunks[i]);
}

static void a_pack_goes_with_its_last_member(void) {
    fresh_folder();
    static struct removal all;
    struct store *s = open_store();
    push_all(s, 0);
    CHECK_INT(store_flush(s, NULL), 0);
    all.n = 0;
    CHECK_INT(index_walk_chunks(store_index(s), STR("t"), note_chunk, &all, NULL), 0);
    CHECK_INT(all.n, STREAMS);
    CHECK(all.chunks[0].pack_seq > 0 && all.chunks[0].pack_offset > 0);
    struct snapshot *snap = world_select(s, STR("t"), NULL);
    drop(s, &all, 0, STREAMS / 2);
    CHECK_INT(store_reap(s), 0);
    check_files(1, 0);
    check_entries(s, STREAMS / 2);
    drop(s, &all, STREAMS / 2, STREAMS);
    CHECK_INT(store_reap(s), 1); /* a snapshot may read it */
    check_files(1, 0);
    CHECK_INT(count_entries(snap), STREAMS);
    store_snapshot_free(snap);
    CHECK_INT(store_reap(s), 0);
    check_files(0, 0);
    check_entries(s, 0);
    /* After a crash nobody has noted that members went: the sweep looks. */
    push_all(s, 1);
    CHECK_INT(store_flush(s, NULL), 0);
    all.n = 0;
    CHECK_INT(index_walk_chunks(store_index(s), STR("t"), note_chunk, &all, NULL), 0);
    all.from = 0;
    all.to = all.n;
    CHECK_INT(store_index_update(s, drop_rows, &all, NULL), 0);
    check_files(1, 0);
    world_close(&world);
    s = open_store();
    CHECK_INT(store_sweep_orphans(s, NULL), 1);
    check_files(0, 0);
    world_close(&world);
    remove_folder();
}

/* A crash can leave a label set under two numbers. A rebuild knows one, and the header of a member says the other for
 * good: merges take it all the same. */
static void members_of_another_number_merge(void) {
    fresh_folder();
    struct str tenant = STR("a tenant");
    char path[CHUNK_PATH_MAX];
    CHECK_INT(pack_path(path, tenant, 20718, 900), 0);
    *strrchr(path, '/') = '\0';
    CHECK_INT(io_mkdirs(dir_fd, path, 0755), 0);
    CHECK_INT(pack_path(path, tenant, 20718, 900), 0);
    (void)open_store(); /* makes a directory of a store */
    world_close(&world);
    write_pack(path, 2);
    struct store_rebuild got;
    CHECK_INT(store_rebuild_index(world.dir, &got, NULL), 0);
    CHECK_INT(got.chunks, MEMBERS);
    CHECK_INT(got.streams, MEMBERS / 2);
    struct store *s = open_store();
    static struct removal all;
    all.n = 0;
    CHECK_INT(index_walk_chunks(store_index(s), tenant, note_chunk, &all, NULL), 0);
    CHECK_INT(all.n, MEMBERS);
    for (size_t i = 0; i + 1 < all.n; i += 2) {
        struct rewrite w = {.tenant = tenant,
                            .sources = &all.chunks[i],
                            .n_sources = 2,
                            .effort = EFFORT_FAST,
                            .target_bytes = 1 << 20};
        struct rewrite_result done = {0};
        struct err err = {0};
        CHECK(all.chunks[i].stream_id == all.chunks[i + 1].stream_id);
        CHECK_INT(store_rewrite(s, &w, &done, NULL, &err), 0);
        CHECK_INT(done.sources, 2);
        CHECK_INT(done.outputs, 1);
    }
    (void)store_reap(s);
    check_files(0, MEMBERS / 2);
    CHECK_INT(world_count(s, tenant, NULL), MEMBERS * LINES);
    world_close(&world);
    remove_folder();
}

/* ---- damage */

static void flip(const char *path, uint64_t offset) {
    int fd = openat(dir_fd, path, O_RDWR | O_CLOEXEC);
    char c = 0;
    CHECK_INT(pread(fd, &c, 1, (off_t)offset), 1);
    c = (char)(c ^ 0x55);
    CHECK_INT(pwrite(fd, &c, 1, (off_t)offset), 1);
    (void)close(fd);
}

static void check_verify(bool repair, uint64_t damages, uint64_t entries) {
    struct verify_options o = {.data_dir = world.dir, .repair = repair};
    struct verify_result got;
    CHECK_INT(store_verify(&o, &got, NULL), 0);
    CHECK_INT(got.damages, damages);
    CHECK_INT(got.entries, entries);
}

static void damage_is_found_and_repaired(void) {
    fresh_folder();
    struct store *s = open_store();
    push_all(s, 0);
    world_close(&world);
    check_files(1, 0);
    check_verify(false, 0, STREAMS);
    struct pack p;
    CHECK_INT(pack_open(dir_fd, a_pack, &p, NULL), 0);
    struct chunk *c = NULL;
    struct chunk_span span = {.offset = p.members[7].offset, .size = p.members[7].size};
    CHECK_INT(chunk_open_at(dir_fd, a_pack, span, &c, NULL), 0);
    const struct section *times = block_section(chunk_block_info(c, 0), SECTION_TIMES);
    uint64_t at = chunk_block_offset(c, 0) + times->offset;
    chunk_close(c);
    flip(a_pack, at);
    check_verify(false, 1, STREAMS - 1);
    s = open_store(); /* the others are served */
    check_entries(s, STREAMS - 1);
    world_close(&world);
    flip(a_pack, p.file_size - 45); /* the footer, too */
    check_verify(false, 2, STREAMS - 1);
    pack_done(&p);
    s = open_store();
    check_entries(s, STREAMS - 1);
    world_close(&world);
    check_verify(true, 2, STREAMS - 1);
    check_files(0, STREAMS - 1);
    check_verify(false, 0, STREAMS - 1);
    s = open_store();
    check_entries(s, STREAMS); /* the WAL still had what was lost */
    world_close(&world);
    remove_folder();
}

int main(void) {
    RUN(written_is_read);
    RUN(any_byte_flips);
    RUN(cut_off_anywhere);
    RUN(failed_write_leaves_nothing);
    RUN(streams_share_a_file);
    RUN(a_pack_goes_with_its_last_member);
    RUN(members_of_another_number_merge);
    RUN(damage_is_found_and_repaired);
    return test_done();
}
