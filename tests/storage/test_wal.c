/* wal: append and replay, rotation, torn and damaged segments, full disks, failed fsyncs, many threads. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "hash.h"
#include "io.h"
#include "test.h"
#include "test_folder.h"
#include "wal.h"
#include "wal_segment.h"

static struct open_folder dir;

static struct wal *open_wal(struct wal_options o) {
    struct wal *w = NULL;
    struct err err = {0};
    int r = wal_open(dir.fd, &o, &w, &err);
    CHECK_INT(r, 0);
    if (r < 0) {
        printf("  %s\n", err.text);
        exit(1);
    }
    return w;
}

/* Payload number i: its own size and content. */
static struct str payload_make(size_t i, char *room, size_t room_size) {
    size_t size = (i * 37 + 5) % room_size;
    for (size_t k = 0; k < size; k++)
        room[k] = (char)(i * 131 + k * 7);
    return str_make(room, size);
}

static uint64_t append(struct wal *w, size_t i, wal_done *done, void *ctx) {
    char room[300];
    uint64_t lsn = 0;
    CHECK_INT(wal_append(w, (uint8_t)(i % 5), (uint8_t)(i % 3), (uint32_t)i,
                         payload_make(i, room, sizeof(room)), done, ctx, &lsn),
              0);
    return lsn;
}

/* ---- replay that checks records against payload_make */

struct replayed {
    size_t count;
    size_t numbers[4096]; /* raw_size carries the record's number */
    uint64_t lsns[4096];
    bool wrong;
    size_t stop_at;
};

static int replay_one(const struct wal_record *record, void *ctx) {
    struct replayed *got = ctx;
    char room[300];
    size_t i = record->raw_size;
    if (!str_eq(record->payload, payload_make(i, room, sizeof(room))) || record->type != i % 5 ||
        record->codec != i % 3 || (got->count > 0 && record->lsn <= got->lsns[got->count - 1]))
        got->wrong = true;
    got->numbers[got->count] = i;
    got->lsns[got->count++] = record->lsn;
    return got->stop_at && got->count == got->stop_at ? 5 : 0;
}

static uint64_t replay(struct replayed *got) {
    *got = (struct replayed){0};
    struct err err = {0};
    struct wal_found found = {.lost_bytes = 12345};
    CHECK_INT(wal_replay(dir.fd, replay_one, got, &found, &err), 0);
    CHECK(!got->wrong);
    return found.lost_bytes;
}

static struct replayed got;

static size_t segment_count(void) {
    uint64_t *numbers = NULL;
    size_t count = 0;
    struct err err = {0};
    CHECK_INT(wal_segment_list(dir.fd, &numbers, &count, &err), 0);
    free(numbers);
    return count;
}

static void segment_path(char out[static PATH_MAX], uint64_t number) {
    char name[WAL_NAME_SIZE];
    wal_segment_name(name, number);
    (void)snprintf(out, PATH_MAX, "%s/%s", dir.path, name);
}

static uint64_t segment_size(uint64_t number) {
    char path[PATH_MAX];
    segment_path(path, number);
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* ---- plain use */

static void append_and_replay(void) {
    open_folder_make(&dir);
    static const enum wal_sync syncs[] = {WAL_SYNC_ALWAYS, WAL_SYNC_INTERVAL, WAL_SYNC_OFF};
    size_t next = 0;
    for (size_t k = 0; k < 3; k++) {
        struct wal *w =
            open_wal((struct wal_options){.sync = syncs[k], .sync_interval_ns = 1000000});
        uint64_t lsns[50];
        for (size_t i = 0; i < 50; i++)
            lsns[i] = append(w, next + i, NULL, NULL);
        CHECK_INT(lsns[0] >> 32, k + 1);
        CHECK_INT(lsns[0] & UINT32_MAX, WAL_HEADER_SIZE);
        CHECK_INT(wal_flush(w), 0);
        struct wal_stats stats;
        wal_get_stats(w, &stats);
        CHECK_INT(stats.records, 50);
        CHECK_INT(stats.failed, 0);
        CHECK_INT(stats.oldest_lsn, wal_lsn_make(1, WAL_HEADER_SIZE));
        CHECK((stats.fsyncs > 0) == (syncs[k] != WAL_SYNC_OFF));
        /* What is flushed is there for other readers while the wal is open. */
        CHECK_INT(replay(&got), 0);
        CHECK_INT(got.count, next + 50);
        for (size_t i = 0; i < 50; i++)
            CHECK(got.lsns[next + i] == lsns[i] && got.numbers[next + i] == next + i);
        wal_close(w);
        next += 50;
        CHECK(segment_size(k + 1) < 50 * 320); /* the preallocated rest was cut */
    }
    CHECK_INT(replay(&got), 0);
    CHECK_INT(got.count, 150);

    struct err err = {0};
    struct wal_found found = {0};
    got = (struct replayed){.stop_at = 60};
    CHECK_INT(wal_replay(dir.fd, replay_one, &got, &found, &err), 5);
    CHECK_INT(got.count, 60);
    open_folder_remove(&dir);
}

static void empty_and_foreign_folders(void) {
    open_folder_make(&dir);
    struct wal *w = open_wal((struct wal_options){0});
    CHECK_INT(wal_flush(w), 0);
    wal_close(w);
    wal_close(NULL);
    CHECK_INT(segment_count(), 0);
    static const char *foreign[] = {"0000000000000007.tmp", "README", "00000000000000zz.wal",
                                    "0000000000000000.wal", "0000000100000000.wal"};
    for (size_t i = 0; i < 5; i++)
        CHECK_INT(io_write_file_durable(dir.fd, foreign[i], STR("not a segment")), 0);
    CHECK_INT(replay(&got), 0);
    CHECK_INT(segment_count(), 0);
    w = open_wal((struct wal_options){.first_segment = 9});
    CHECK_INT(wal_next_segment(w, 10), 9);
    CHECK_INT(append(w, 1, NULL, NULL) >> 32, 9);
    wal_close(w);
    CHECK_INT(replay(&got), 0);
    CHECK_INT(got.count, 1);
    open_folder_remove(&dir);
}

static void rotation(void) {
    open_folder_make(&dir);
    struct wal *w = open_wal((struct wal_options){.segment_bytes = 4096});
    uint64_t segment = 1;
    for (size_t i = 0; i < 500; i++) {
        char room[300];
        uint64_t next = wal_next_segment(w, payload_make(i, room, sizeof(room)).size);
        uint64_t lsn = append(w, i, NULL, NULL);
        CHECK_INT(lsn >> 32, next);
        CHECK(next == segment || next == segment + 1);
        segment = next;
        if (i % 100 == 99)
            CHECK_INT(wal_flush(w), 0);
    }
    CHECK(segment > 15);
    /* A record larger than a segment gets one of its own. */
    char *big = calloc(1, 100000);
    uint64_t lsn = 0;
    CHECK_INT(wal_next_segment(w, 100000), segment + 1);
    CHECK_INT(wal_append(w, 1, 0, 0, str_make(big, 100000), NULL, NULL, &lsn), 0);
    CHECK_INT(lsn, wal_lsn_make(segment + 1, WAL_HEADER_SIZE));
    CHECK_INT(append(w, 500, NULL, NULL), wal_lsn_make(segment + 2, WAL_HEADER_SIZE));
    CHECK_INT(wal_flush(w), 0);
    CHECK_INT(segment_count(), segment + 2);
    CHECK_INT(segment_size(segment + 2), 4096); /* allocated ahead */
    struct wal_stats stats;
    wal_get_stats(w, &stats);
    CHECK(stats.bytes > 100000 && stats.bytes == stats.appended_bytes + segment_count() * 32);

    uint64_t middle = wal_lsn_make(segment / 2, 100);
    CHECK_INT(wal_truncate(w, middle), 0);
    CHECK_INT(segment_count(), segment + 2 - (segment / 2 - 1));
    wal_get_stats(w, &stats);
    CHECK_INT(stats.oldest_lsn, wal_lsn_make(segment / 2, WAL_HEADER_SIZE));
    CHECK_INT(wal_truncate(w, UINT64_MAX), 0);
    CHECK_INT(segment_count(), 1); /* never the open one */
    free(big);
    wal_close(w);
    CHECK_INT(replay(&got), 0);
    CHECK_INT(got.count, 1);
    CHECK_INT(got.numbers[0], 500);

    /* The highest number stays until a higher one exists, so that numbers never start again. */
    w = open_wal((struct wal_options){.segment_bytes = 4096});
    CHECK_INT(wal_truncate(w, UINT64_MAX), 0);
    CHECK_INT(segment_count(), 1);
    CHECK_INT(append(w, 1, NULL, NULL) >> 32, segment + 3);
    CHECK_INT(wal_flush(w), 0);
    CHECK_INT(wal_truncate(w, UINT64_MAX), 0);
    CHECK_INT(segment_count(), 1);
    wal_close(w);
    open_folder_remove(&dir);
}

static void truncate_by_position(void) {
    open_folder_make(&dir);
    struct wal *w = open_wal((struct wal_options){.segment_bytes = 4096});
    char payload[1000] = {0};
    uint64_t lsns[12];
    for (size_t i = 0; i < 12; i++) /* 4 records of 1016 bytes fit a segment */
        CHECK_INT(wal_append(w, 1, 0, 0, str_make(payload, 1000), NULL, NULL, &lsns[i]), 0);
    CHECK_INT(wal_flush(w), 0);
    CHECK_INT(lsns[4] >> 32, 2);
    CHECK_INT(wal_truncate(w, lsns[3]), 0); /* segment 1 still holds record 3 */
    CHECK_INT(segment_count(), 3);
    CHECK_INT(wal_truncate(w, lsns[3] + 1016), 0); /* everything below its end: gone */
    CHECK_INT(segment_count(), 2);
    CHECK_INT(wal_truncate(w, lsns[4]), 0);
    CHECK_INT(segment_count(), 2);
    CHECK_INT(wal_truncate(w, lsns[8]), 0);
    CHECK_INT(segment_count(), 1);
    wal_close(w);
    open_folder_remove(&dir);
}

/* What nobody needs is not left for the next start to read. */
static void fresh_segment(void) {
    open_folder_make(&dir);
    struct wal *w = open_wal((struct wal_options){0});
    struct wal_stats stats;
    wal_begin_fresh(w); /* nothing is there yet: nothing to do */
    CHECK_INT(segment_count(), 0);
    uint64_t first = append(w, 0, NULL, NULL);
    CHECK_INT(wal_flush(w), 0);
    wal_begin_fresh(w);
    CHECK_INT(segment_count(), 2);
    wal_get_stats(w, &stats);
    CHECK_INT(stats.next_lsn, wal_lsn_make((first >> 32) + 1, WAL_HEADER_SIZE));
    CHECK_INT(wal_truncate(w, first + 1), 0); /* record 0 is still needed */
    CHECK_INT(replay(&got), 0);
    CHECK_INT(got.count, 1);
    CHECK_INT(wal_truncate(w, stats.next_lsn), 0);
    CHECK_INT(segment_count(), 1);
    wal_begin_fresh(w); /* it is */
    CHECK_INT(segment_count(), 1);
    /* Between a caller's question and its record the segment stays what was said. */
    CHECK_INT(append(w, 1, NULL, NULL), stats.next_lsn);
    uint64_t segment = wal_next_segment(w, 100);
    wal_begin_fresh(w);
    CHECK_INT(append(w, 2, NULL, NULL) >> 32, segment);
    CHECK_INT(wal_flush(w), 0);
    wal_close(w);
    CHECK_INT(replay(&got), 0);
    CHECK(got.count == 2 && got.numbers[0] == 1 && got.numbers[1] == 2);

    /* One that was left by a process before: the number of the next was not given yet. What replay has found of it is
     * believed. */
    struct wal_found found;
    struct err err;
    CHECK_INT(wal_replay(dir.fd, replay_one, &got, &found, &err), 0);
    CHECK_INT(found.last_segment, segment);
    w = open_wal((struct wal_options){0});
    wal_get_stats(w, &stats);
    CHECK_INT(stats.bytes, found.last_used_bytes);
    wal_close(w);
    w = open_wal((struct wal_options){.last_segment = segment, .last_used_bytes = 4711});
    wal_get_stats(w, &stats);
    CHECK_INT(stats.bytes, 4711);
    wal_close(w);
    w = open_wal((struct wal_options){.last_segment = segment - 1, .last_used_bytes = 4711});
    wal_get_stats(w, &stats);
    CHECK_INT(stats.bytes, found.last_used_bytes);
    wal_begin_fresh(w);
    CHECK_INT(wal_truncate(w, UINT64_MAX), 0);
    CHECK_INT(segment_count(), 1);
    CHECK_INT(append(w, 3, NULL, NULL) >> 32, segment + 1);
    wal_close(w);
    CHECK_INT(replay(&got), 0);
    CHECK(got.count == 1 && got.numbers[0] == 3);
    open_folder_remove(&dir);
}

static void limits(void) {
    open_folder_make(&dir);
    struct wal *w = open_wal((struct wal_options){.buffer_max_bytes = 4096});
    uint64_t lsn;
    CHECK_INT(wal_append(w, 1, 0, 0, (struct str){.data = "", .size = (size_t)WAL_RECORD_MAX + 1},
                         NULL, NULL, &lsn),
              -E2BIG);
    /* Without a completion and below half of the buffer nothing is written, so it fills up. */
    char payload[1500] = {0};
    CHECK_INT(wal_append(w, 1, 0, 0, str_make(payload, 1500), NULL, NULL, &lsn), 0);
    CHECK_INT(wal_append(w, 1, 0, 0, str_make(payload, 4000), NULL, NULL, &lsn), -EBUSYNOW);
    CHECK_INT(wal_flush(w), 0);
    /* One that is larger than the whole buffer goes when nothing else waits. */
    char *big = calloc(1, 100000);
    CHECK_INT(wal_append(w, 1, 0, 0, str_make(big, 100000), NULL, NULL, &lsn), 0);
    CHECK_INT(wal_flush(w), 0);
    CHECK_INT(wal_append(w, 0, 0, 0, (struct str){0}, NULL, NULL, &lsn), 0);
    wal_close(w);
    free(big);
    struct err err = {0};
    struct wal_scan scan;
    CHECK_INT(wal_segment_scan(dir.fd, 1, NULL, NULL, &scan, &err), 0);
    CHECK_INT(scan.used_bytes, 32 + 1516 + 100016 + 16); /* an empty record of zeros is a record */
    CHECK_INT(scan.lost_bytes, 0);
    CHECK(!scan.missing);
    CHECK_INT(wal_segment_scan(dir.fd, 2, NULL, NULL, &scan, &err), 0);
    CHECK(scan.missing);
    open_folder_remove(&dir);
}

/* ---- torn and damaged segments */

static uint8_t content[1 << 16];

static size_t segment_read(uint64_t number) {
    char path[PATH_MAX];
    segment_path(path, number);
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(content, 1, sizeof(content), f) : 0;
    if (f)
        (void)fclose(f);
    return n;
}

static void segment_write(uint64_t number, size_t size) {
    char path[PATH_MAX];
    segment_path(path, number);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(content, 1, size, f) != size)
        abort();
    (void)fclose(f);
}

/* Five records in segment 1, three in segment 2. Returns segment 1's bytes in `content`. */
static size_t two_segments(uint64_t lsns[static 5]) {
    struct wal *w = open_wal((struct wal_options){0});
    for (size_t i = 0; i < 5; i++)
        lsns[i] = append(w, i + 1, NULL, NULL);
    wal_close(w);
    w = open_wal((struct wal_options){0});
    for (size_t i = 5; i < 8; i++)
        (void)append(w, i + 1, NULL, NULL);
    wal_close(w);
    return segment_read(1);
}

static void torn_tail(void) {
    open_folder_make(&dir);
    uint64_t lsns[5];
    size_t size = two_segments(lsns);
    size_t last = (size_t)(lsns[4] & UINT32_MAX);
    static uint8_t whole[1 << 16];
    memcpy(whole, content, size);
    for (size_t cut = last; cut < size; cut++) {
        for (int preallocated = 0; preallocated < 2; preallocated++) {
            memcpy(content, whole, cut);
            memset(content + cut, 0, 4096);
            size_t nonzero = cut;
            while (nonzero > last && content[nonzero - 1] == 0)
                nonzero--;
            segment_write(1, cut + (preallocated ? 4096 : 0));
            CHECK_INT(replay(&got), nonzero - last);
            CHECK_INT(got.count, 7);
            CHECK(got.numbers[3] == 4 && got.numbers[4] == 6);
        }
    }
    memcpy(content, whole, size);
    segment_write(1, size);
    CHECK_INT(replay(&got), 0);
    CHECK_INT(got.count, 8);
    open_folder_remove(&dir);
}

static void damaged_bytes(void) {
    open_folder_make(&dir);
    uint64_t lsns[5];
    size_t size = two_segments(lsns);
    unsigned mended = 0;
    for (size_t bit = 0; bit < size * 8; bit++) {
        size_t at = bit / 8;
        content[at] ^= (uint8_t)(1u << bit % 8);
        segment_write(1, size);
        /* The flag words and the reserved bytes of the header have a checksum, too. A damaged record costs itself
         * alone; one whose size is damaged, and a damaged header, cost nothing. */
        bool in_size = false;
        for (size_t i = 0; i < 5; i++)
            in_size |= at >= (lsns[i] & UINT32_MAX) && at < (lsns[i] & UINT32_MAX) + 4;
        uint64_t lost = replay(&got);
        CHECK_INT(got.count, at < WAL_HEADER_SIZE || in_size ? 8 : 7);
        CHECK(in_size ? lost == 0 : lost > 0);
        mended += in_size;
        content[at] ^= (uint8_t)(1u << bit % 8);
    }
    CHECK_INT(mended, 5 * 32);
    /* Two flips in one record, of which one is in its size: nobody can tell where the next one begins. */
    size_t second = (size_t)(lsns[1] & UINT32_MAX);
    content[second] ^= 1;
    content[second + 20] ^= 1;
    segment_write(1, size);
    CHECK(replay(&got) > 0);
    CHECK_INT(got.count, 4);
    content[second] ^= 1;
    content[second + 20] ^= 1;
    /* A segment of zeros, an empty one, one that claims another number. */
    memset(content, 0, sizeof(content));
    segment_write(1, 4096);
    CHECK_INT(replay(&got), 0);
    CHECK_INT(got.count, 3);
    segment_write(1, 0);
    CHECK_INT(replay(&got), 0);
    CHECK_INT(got.count, 3);
    size = segment_read(2);
    segment_write(1, size);
    CHECK_INT(replay(&got), size);
    CHECK_INT(got.count, 3);
    /* A record that claims to be larger than the limit or the file. */
    size = segment_read(2);
    static const uint32_t claims[] = {WAL_RECORD_MAX + 1u, WAL_RECORD_MAX, UINT32_MAX, 100000};
    for (size_t i = 0; i < 4; i++) {
        put_le32(content + WAL_HEADER_SIZE, claims[i]);
        segment_write(2, size);
        CHECK(replay(&got) > 0);
        CHECK_INT(got.count, 0);
    }
    /* The next wal_open never continues a damaged segment. */
    struct wal *w = open_wal((struct wal_options){0});
    CHECK_INT(append(w, 9, NULL, NULL) >> 32, 3);
    wal_close(w);
    CHECK(replay(&got) > 0);
    CHECK_INT(got.count, 1);
    open_folder_remove(&dir);
}

static void unknown_version(void) {
    open_folder_make(&dir);
    uint8_t header[WAL_HEADER_SIZE];
    wal_header_encode(header, 1);
    CHECK_INT(wal_header_check(header, 1), 0);
    CHECK_INT(wal_header_check(header, 2), -ECORRUPT);
    memcpy(content, header, sizeof(header));
    put_le16(content + 8, 2);
    put_le32(content + 28, (uint32_t)hash64(content, 28));
    segment_write(1, WAL_HEADER_SIZE);
    struct err err = {0};
    struct wal_found found;
    CHECK_INT(wal_replay(dir.fd, replay_one, &got, &found, &err), -EFORMAT);
    CHECK(strstr(err.text, "0000000000000001.wal") != NULL);
    open_folder_remove(&dir);
}

/* ---- failures */

static _Atomic int fail_op = -1;
static _Atomic int fail_code;
static _Atomic int fail_after; /* calls that still succeed */

static int failing_hook(enum io_op op, const char *path, void *ctx) {
    (void)path, (void)ctx;
    if ((int)op != fail_op || atomic_fetch_sub(&fail_after, 1) > 0)
        return 0;
    return fail_code;
}

static void fail_set(int op, int code, int after) {
    fail_after = after;
    fail_code = code;
    fail_op = op;
}

struct outcome {
    _Atomic int calls;
    _Atomic int status;
};

static void on_done(void *ctx, int status) {
    struct outcome *o = ctx;
    o->status = status;
    o->calls++;
}

static void disk_full(enum io_op op, int code) {
    open_folder_make(&dir);
    struct wal *w = open_wal((struct wal_options){.segment_bytes = 4096});
    static struct outcome outcomes[200];
    memset(outcomes, 0, sizeof(outcomes));
    (void)append(w, 1, on_done, &outcomes[1]);
    CHECK_INT(wal_flush(w), 0);
    fail_set((int)op, code, 0);
    size_t accepted = 0;
    /* Enough for a new segment, so that allocation is asked, too. */
    for (size_t i = 2; i < 100; i++) {
        char room[300];
        uint64_t lsn;
        int r = wal_append(w, (uint8_t)(i % 5), (uint8_t)(i % 3), (uint32_t)i,
                           payload_make(i, room, sizeof(room)), i % 4 ? on_done : NULL,
                           &outcomes[i], &lsn);
        if (r == 0)
            accepted = i;
        else
            CHECK_INT(r, -ENOSPC);
    }
    CHECK(accepted > 1);
    int flushed = wal_flush(w);
    struct wal_stats stats;
    wal_get_stats(w, &stats);
    CHECK_INT(stats.failed, -ENOSPC);
    CHECK(flushed == -ENOSPC || flushed == 0);
    CHECK(strstr(stats.failed_text, ".wal: ") != NULL);
    uint64_t lsn;
    CHECK_INT(wal_append(w, 1, 0, 0, STR("x"), on_done, &outcomes[0], &lsn), -ENOSPC);
    CHECK_INT(outcomes[0].calls, 0);

    /* Space is back: the next probe goes through, into a segment of its own. */
    fail_set(-1, 0, 0);
    int r = -ENOSPC;
    for (int i = 0; i < 300 && r == -ENOSPC; i++) {
        usleep(10000);
        char room[300];
        r = wal_append(w, 100 % 5, 100 % 3, 100, payload_make(100, room, sizeof(room)), on_done,
                       &outcomes[100], &lsn);
    }
    CHECK_INT(r, 0);
    CHECK_INT(wal_flush(w), 0);
    wal_get_stats(w, &stats);
    CHECK_INT(stats.failed, 0);
    (void)append(w, 101, on_done, &outcomes[101]);
    wal_close(w);
    CHECK_INT(outcomes[100].status, 0);
    (void)replay(&got);
    for (size_t i = 0; i < 102; i++) {
        CHECK_INT(outcomes[i].calls,
                  i > 0 && (i <= accepted || i >= 100) && (i == 1 || i >= 100 || i % 4));
        bool there = false;
        for (size_t k = 0; k < got.count; k++)
            there |= got.numbers[k] == i;
        if (outcomes[i].calls && outcomes[i].status == 0)
            CHECK(there);
    }
    open_folder_remove(&dir);
}

static void full_disk_recovers(void) {
    io_set_hook(failing_hook, NULL);
    disk_full(IO_WRITE, -ENOSPC);
    disk_full(IO_WRITE, -EDQUOT);
    disk_full(IO_ALLOCATE, -ENOSPC);
    disk_full(IO_OPEN, -EMFILE);
    io_set_hook(NULL, NULL);
}

/* The n-th write finds that the file system takes no bytes past the page cache. */
static int direct_writes_left;

static int refuse_direct(enum io_op op, const char *path, void *ctx) {
    (void)path;
    (void)ctx;
    return op == IO_WRITE && direct_writes_left-- == 0 ? -EINVAL : 0;
}

static void goes_on_through_the_page_cache(void) {
    enum { RECORDS = 120 };
    for (int after = 0; after < 12; after++) {
        open_folder_make(&dir);
        direct_writes_left = after;
        io_set_hook(refuse_direct, NULL);
        struct wal *w = open_wal((struct wal_options){.segment_bytes = 10000});
        for (size_t i = 0; i < RECORDS; i++) {
            (void)append(w, i, NULL, NULL);
            if (i % 7 == 3)
                CHECK_INT(wal_flush(w), 0);
        }
        CHECK_INT(wal_flush(w), 0);
        io_set_hook(NULL, NULL);
        CHECK_INT(replay(&got), 0);
        CHECK_INT(got.count, RECORDS);
        wal_close(w);
        CHECK_INT(replay(&got), 0);
        CHECK_INT(got.count, RECORDS);
        open_folder_remove(&dir);
    }
}

static void failed_fsync_is_final(void) {
    io_set_hook(failing_hook, NULL);
    static const enum wal_sync syncs[] = {WAL_SYNC_ALWAYS, WAL_SYNC_INTERVAL};
    for (int after = 0; after < 3; after++) {
        for (size_t k = 0; k < 2; k++) {
            open_folder_make(&dir);
            struct wal *w =
                open_wal((struct wal_options){.sync = syncs[k], .sync_interval_ns = 1000});
            static struct outcome outcomes[50];
            memset(outcomes, 0, sizeof(outcomes));
            /* Whatever errno an fsync fails with: it is not a full disk. */
            fail_set(IO_FSYNC, after % 2 ? -ENOSPC : -EIO, after);
            size_t accepted = 0;
            for (; accepted < 50; accepted++) {
                char room[300];
                uint64_t lsn;
                int r = wal_append(w, (uint8_t)(accepted % 5), (uint8_t)(accepted % 3),
                                   (uint32_t)accepted, payload_make(accepted, room, sizeof(room)),
                                   on_done, &outcomes[accepted], &lsn);
                if (r < 0) {
                    CHECK_INT(r, -EIO);
                    break;
                }
                r = wal_flush(w);
                CHECK(r == 0 || r == -EIO);
            }
            CHECK(accepted > 0 && accepted < 50);
            fail_set(-1, 0, 0); /* the disk is well again, the wal is not */
            uint64_t lsn;
            CHECK_INT(wal_append(w, 0, 0, 0, STR("x"), on_done, &outcomes[49], &lsn), -EIO);
            CHECK_INT(wal_flush(w), -EIO);
            struct wal_stats stats;
            wal_get_stats(w, &stats);
            CHECK_INT(stats.failed, -EIO);
            CHECK(strstr(stats.failed_text, "fsync") != NULL);
            wal_close(w);
            (void)replay(&got);
            for (size_t i = 0; i < accepted; i++) {
                CHECK_INT(outcomes[i].calls, 1);
                if (outcomes[i].status == 0)
                    CHECK(got.count > i && got.numbers[i] == i);
            }
            open_folder_remove(&dir);
        }
    }
    io_set_hook(NULL, NULL);
}

/* Calls of one kind fail from the n-th on: what was acknowledged is there afterwards. */
static void any_call_fails(void) {
    io_set_hook(failing_hook, NULL);
    static const enum io_op ops[] = {IO_OPEN,     IO_WRITE,    IO_FSYNC,
                                     IO_TRUNCATE, IO_ALLOCATE, IO_UNLINK};
    for (size_t k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
        for (int after = 0; after < 12; after++) {
            open_folder_make(&dir);
            fail_set(-1, 0, 0);
            struct wal *w = open_wal((struct wal_options){.segment_bytes = 4096});
            fail_set((int)ops[k], -EIO, after);
            static struct outcome outcomes[60];
            memset(outcomes, 0, sizeof(outcomes));
            for (size_t i = 0; i < 60; i++) {
                char room[300];
                uint64_t lsn;
                int r =
                    wal_append(w, (uint8_t)(i % 5), (uint8_t)(i % 3), (uint32_t)i,
                               payload_make(i, room, sizeof(room)), on_done, &outcomes[i], &lsn);
                if (r == 0 && i % 10 == 9)
                    (void)wal_flush(w);
            }
            wal_close(w);
            fail_set(-1, 0, 0);
            (void)replay(&got);
            for (size_t i = 0; i < 60; i++) {
                bool there = false;
                for (size_t n = 0; n < got.count; n++)
                    there |= got.numbers[n] == i;
                CHECK(!(outcomes[i].calls && outcomes[i].status == 0) || there);
            }
            open_folder_remove(&dir);
        }
    }
    io_set_hook(NULL, NULL);
}

/* ---- threads */

enum { THREADS = 6, PER_THREAD = 400 };

struct thread_arg {
    struct wal *w;
    size_t first;
    struct outcome *outcomes;
    uint64_t *lsns;
};

static void *appender(void *p) {
    struct thread_arg *a = p;
    for (size_t i = 0; i < PER_THREAD; i++) {
        char room[300];
        size_t n = a->first + i;
        int r;
        do {
            r = wal_append(a->w, (uint8_t)(n % 5), (uint8_t)(n % 3), (uint32_t)n,
                           payload_make(n, room, sizeof(room)), on_done, &a->outcomes[n],
                           &a->lsns[n]);
        } while (r == -EBUSYNOW);
        if (r < 0)
            return (void *)1;
        if (i % 50 == 0)
            (void)wal_flush(a->w);
    }
    return NULL;
}

static void many_threads(void) {
    open_folder_make(&dir);
    static struct outcome outcomes[THREADS * PER_THREAD];
    static uint64_t lsns[THREADS * PER_THREAD];
    struct wal *w =
        open_wal((struct wal_options){.segment_bytes = 16384, .buffer_max_bytes = 8192});
    pthread_t threads[THREADS];
    struct thread_arg args[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        args[i] = (struct thread_arg){
            .w = w, .first = i * PER_THREAD, .outcomes = outcomes, .lsns = lsns};
        if (pthread_create(&threads[i], NULL, appender, &args[i]) != 0)
            abort();
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        CHECK(result == NULL);
    }
    CHECK_INT(wal_flush(w), 0);
    wal_close(w);
    CHECK_INT(replay(&got), 0);
    CHECK_INT(got.count, THREADS * PER_THREAD);
    static bool seen[THREADS * PER_THREAD];
    for (size_t i = 0; i < got.count; i++) {
        CHECK(!seen[got.numbers[i]] && got.lsns[i] == lsns[got.numbers[i]]);
        seen[got.numbers[i]] = true;
    }
    for (size_t i = 0; i < THREADS * PER_THREAD; i++)
        CHECK(outcomes[i].calls == 1 && outcomes[i].status == 0);
    open_folder_remove(&dir);
}

static uint64_t buffer_bytes(struct wal *w) {
    struct wal_stats stats;
    wal_get_stats(w, &stats);
    return stats.buffer_bytes;
}

/* Memory that many pushes at once needed is used again by the next, and given back when none comes. */
static void large_buffers(void) {
    enum { LARGE = 6 << 20, LARGER = 20 << 20, LEFT = 2 * (4 << 20) };
    open_folder_make(&dir);
    struct wal *w = open_wal((struct wal_options){0});
    char *big = calloc(1, LARGER);
    if (!big)
        abort();
    uint64_t lsn;
    CHECK_INT(wal_append(w, 1, 0, 0, str_make(big, LARGER), NULL, NULL, &lsn), 0);
    CHECK_INT(wal_flush(w), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(wal_append(w, 1, 0, 0, str_make(big, LARGE), NULL, NULL, &lsn), 0);
        CHECK(buffer_bytes(w) >= LARGE);
        CHECK_INT(wal_flush(w), 0);
    }
    CHECK(buffer_bytes(w) < LARGER);
    while (buffer_bytes(w) > LEFT)
        (void)usleep(10000);
    CHECK_INT(wal_append(w, 1, 0, 0, str_make(big, LARGE), NULL, NULL, &lsn), 0);
    CHECK_INT(wal_flush(w), 0);
    wal_close(w);
    free(big);
    open_folder_remove(&dir);
}

int main(void) {
    RUN(append_and_replay);
    RUN(empty_and_foreign_folders);
    RUN(rotation);
    RUN(truncate_by_position);
    RUN(fresh_segment);
    RUN(limits);
    RUN(torn_tail);
    RUN(damaged_bytes);
    RUN(unknown_version);
    RUN(full_disk_recovers);
    RUN(goes_on_through_the_page_cache);
    RUN(failed_fsync_is_final);
    RUN(any_call_fails);
    RUN(many_threads);
    RUN(large_buffers);
    return test_done();
}
