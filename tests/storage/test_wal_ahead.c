/* wal_ahead: pieces of segments come in order and are what the files hold; what fails is left to who asks. And replay over it:
 * records of all sizes across pieces and segments, damaged ones, failing calls. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "io.h"
#include "test.h"
#include "test_folder.h"
#include "test_random.h"
#include "wal.h"
#include "wal_ahead.h"
#include "wal_segment.h"

enum { MIB = 1 << 20, RECORDS = 36, SEGMENT_BYTES = 6 * MIB, LONG_RECORD = 5 * MIB };

static struct open_folder dir;

static int segment_open(uint64_t number, int flags) {
    char name[WAL_NAME_SIZE];
    wal_segment_name(name, number);
    int fd = openat(dir.fd, name, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        abort();
    return fd;
}

static char byte_at(uint64_t number, uint64_t offset) {
    return (char)((number + offset * 2654435761U) >> 13 | 1); /* no zeros */
}

/* `size` bytes, behind them a hole up to `file_size`. */
static void segment_make(uint64_t number, size_t size, uint64_t file_size) {
    char *bytes = malloc(size + 1);
    if (!bytes)
        abort();
    for (size_t i = 0; i < size; i++)
        bytes[i] = byte_at(number, i);
    int fd = segment_open(number, O_RDWR | O_CREAT | O_EXCL);
    CHECK(write(fd, bytes, size) == (ssize_t)size && ftruncate(fd, (off_t)file_size) == 0);
    CHECK(fsync(fd) == 0);
    close(fd);
    free(bytes);
}

static void forget_cached(uint64_t number) {
    int fd = segment_open(number, O_RDONLY);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

/* Bytes of a segment from `offset` on that come in pieces, all of them right. */
static uint64_t walk(struct wal_ahead *a, const uint64_t *numbers, size_t i, uint64_t offset) {
    uint64_t from = offset;
    size_t n = 0;
    for (const char *p; (p = wal_ahead_get(a, i, offset, &n)); offset += n) {
        CHECK(n > 0 && n <= WAL_AHEAD_PIECE);
        bool same = true;
        for (size_t k = 0; k < n; k++)
            same = same && p[k] == byte_at(numbers[i], offset + k);
        CHECK(same);
    }
    return offset - from;
}

static const uint64_t numbers[] = {1, 2, 3, 4, 9};
enum { N = 5, LARGE = 11 * MIB + 123 };

/* 1 is large, 2 empty, 3 missing, 4 small. 9 is large, too, for what follows a gap. */
static void segments_make(void) {
    open_folder_make(&dir);
    segment_make(1, LARGE, LARGE);
    segment_make(2, 0, 0);
    segment_make(4, 10, 10);
    segment_make(9, LARGE, LARGE);
}

static void pieces_come_in_order(void) {
    segments_make();
    for (int round = 0; round < 2; round++) { /* from the page cache, and past it */
        struct wal_ahead *a = wal_ahead_new(dir.fd, numbers, N, 0, 0);
        CHECK(a);
        CHECK_INT(walk(a, numbers, 0, 0), LARGE);
        CHECK_INT(walk(a, numbers, 1, 0), 0);
        CHECK_INT(walk(a, numbers, 2, 0), 0);
        CHECK_INT(walk(a, numbers, 3, 0), 10);
        CHECK_INT(walk(a, numbers, 4, 0), LARGE);
        size_t n;
        CHECK(!wal_ahead_get(a, 4, LARGE, &n) && !wal_ahead_get(a, 4, LARGE + MIB, &n));
        wal_ahead_free(a);
        forget_cached(1);
        forget_cached(9);
    }
    open_folder_remove(&dir);
}

static void places_may_be_left_out(void) {
    segments_make();
    struct wal_ahead *a = wal_ahead_new(dir.fd, numbers, N, 0, 5 * MIB + 77);
    size_t n;
    CHECK(!wal_ahead_get(a, 0, 0, &n)); /* before all that is read */
    CHECK_INT(walk(a, numbers, 0, 7 * MIB + 5), LARGE - 7 * MIB - 5);
    CHECK_INT(walk(a, numbers, 4, 9 * MIB), LARGE - 9 * MIB);
    CHECK(!wal_ahead_get(a, 4, 0, &n) && !wal_ahead_get(a, 0, 8 * MIB, &n)); /* gone by */
    wal_ahead_free(a);

    a = wal_ahead_new(dir.fd, numbers, N, 4, 0);
    CHECK(!wal_ahead_get(a, 3, 0, &n));
    CHECK(wal_ahead_get(a, 4, 1, &n));
    wal_ahead_free(a); /* in the midst */
    wal_ahead_free(wal_ahead_new(dir.fd, numbers, 0, 0, 0));
    wal_ahead_free(NULL);
    open_folder_remove(&dir);
}

/* What is allocated and never written is not read. */
static void holes_are_skipped(void) {
    open_folder_make(&dir);
    segment_make(1, 5 * MIB, 64 * MIB);
    segment_make(2, 100, 100);
    static const uint64_t two[] = {1, 2};
    struct wal_ahead *a = wal_ahead_new(dir.fd, two, 2, 0, 0);
    size_t n;
    for (uint64_t offset = 0; offset < 5 * MIB; offset += n)
        if (!wal_ahead_get(a, 0, offset, &n))
            break;
    CHECK(!wal_ahead_get(a, 0, 20 * MIB, &n));
    CHECK_INT(walk(a, two, 1, 0), 100);
    wal_ahead_free(a);
    open_folder_remove(&dir);
}

/* ---- replay */

static char payload[LONG_RECORD];

static size_t payload_size(size_t i) {
    static const size_t sizes[] = {0, 5, 3000, 400000, 70000, MIB, 2 * MIB + 1, 31, LONG_RECORD};
    return sizes[i % 9];
}

static void records_make(void) {
    open_folder_make(&dir);
    struct wal *w = NULL;
    struct err err = {0};
    const struct wal_options o = {.sync = WAL_SYNC_ALWAYS, .segment_bytes = SEGMENT_BYTES};
    CHECK_INT(wal_open(dir.fd, &o, &w, &err), 0);
    for (size_t i = 0; i < RECORDS; i++) {
        uint64_t lsn;
        struct str bytes = str_make(payload, payload_size(i));
        CHECK_INT(wal_append(w, 1, 2, (uint32_t)i, bytes, NULL, NULL, &lsn), 0);
        CHECK_INT(wal_flush(w), 0);
    }
    wal_close(w);
}

struct seen {
    size_t count, next;
    bool wrong;
    uint64_t lsns[RECORDS];
};

static int see(const struct wal_record *r, void *ctx) {
    struct seen *s = ctx;
    size_t i = r->raw_size;
    if (i < s->next || i >= RECORDS || r->payload.size != payload_size(i) ||
        memcmp(r->payload.data, payload, r->payload.size) != 0)
        s->wrong = true;
    s->lsns[s->count++] = r->lsn;
    s->next = i + 1;
    return 0;
}

static int replay_all(struct seen *ret, uint64_t *ret_lost) {
    *ret = (struct seen){0};
    struct wal_found found = {0};
    struct err err = {0};
    int r = wal_replay(dir.fd, see, ret, &found, &err);
    CHECK(!ret->wrong);
    *ret_lost = found.lost_bytes;
    return r;
}

static void records_across_pieces(void) {
    records_make();
    struct seen seen;
    uint64_t lost;
    for (uint64_t number = 1; number < 8; number++)
        forget_cached(number);
    CHECK_INT(replay_all(&seen, &lost), 0);
    CHECK(seen.count == RECORDS && lost == 0);
    /* Record 21, of 400,000 bytes, is damaged: its size still leads to the next. */
    struct seen before = seen;
    int fd = segment_open(before.lsns[21] >> 32, O_RDWR);
    char *byte = &payload[1000], flipped = (char)(*byte ^ 1);
    off_t place = (off_t)(before.lsns[21] & UINT32_MAX) + WAL_RECORD_HEADER_SIZE + 1000;
    CHECK(pwrite(fd, &flipped, 1, place) == 1);
    close(fd);
    CHECK_INT(replay_all(&seen, &lost), 0);
    CHECK_INT(seen.count, RECORDS - 1);
    CHECK_INT(lost, WAL_RECORD_HEADER_SIZE + 400000);
    CHECK(seen.lsns[20] == before.lsns[20] && seen.lsns[21] == before.lsns[22]);
    open_folder_remove(&dir);
}

/* ---- failing calls */

static atomic_int calls;
static int fail_at;

static int on_io(enum io_op op, const char *path, void *ctx) {
    (void)path, (void)ctx;
    if (op != IO_READ && op != IO_OPEN)
        return 0;
    return atomic_fetch_add(&calls, 1) + 1 == fail_at ? -EIO : 0;
}

/* A call that fails while pieces are read costs nothing; one of replay's own is an error, or counts as loss. */
static void any_call_fails(void) {
    records_make();
    size_t whole = 0;
    for (fail_at = 1;; fail_at++) {
        struct seen seen;
        uint64_t lost;
        atomic_store(&calls, 0);
        io_set_hook(on_io, NULL);
        int r = replay_all(&seen, &lost);
        io_set_hook(NULL, NULL);
        CHECK(r == 0 || r == -EIO);
        if (r == 0 && lost == 0) {
            CHECK_INT(seen.count, RECORDS);
            whole++;
        }
        if (atomic_load(&calls) < fail_at)
            break;
    }
    CHECK(whole > 1);
    open_folder_remove(&dir);
}

int main(void) {
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (char)random_next();
    RUN(pieces_come_in_order);
    RUN(places_may_be_left_out);
    RUN(holes_are_skipped);
    RUN(records_across_pieces);
    RUN(any_call_fails);
    return test_done();
}
