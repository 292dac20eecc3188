/* What merging does to a store: days of many streams, flushed again and again as an idle or full head is, then one round
 * over all of it. Prints files and bytes before and after, CPU-seconds per GB of raw lines, and the time to scan all
 * lines, to count all entries, and to look for a needle, before and after.
 * Usage: bench_merge [DIR [STREAMS [DAYS [FLUSHES PER DAY [LINES PER FLUSH]]]]] */
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "clock.h"
#include "compactor.h"
#include "gram.h"
#include "measure.h"
#include "units.h"

enum { LINES_MAX = 20000, LINE_SIZE = 400 };

#define FIRST_DAY_NS (20000 * NS_PER_DAY)

static uint64_t random_state = 1;

static uint64_t random_next(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static _Noreturn void die(const char *what, const struct err *err) {
    (void)fprintf(stderr, "%s: %s\n", what, err->text);
    exit(1);
}

/* ---- data */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void on_done(void *ctx, int status) {
    struct waiter *w = ctx;
    if (status < 0)
        die("push", &(struct err){"failed"});
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

static char lines[LINES_MAX][LINE_SIZE];

static size_t make_line(char *out) {
    static const char *const levels[] = {"info", "info", "info", "warn", "error"};
    uint64_t a = random_next(), b = random_next(), c = random_next();
    return (size_t)snprintf(
        out, LINE_SIZE,
        "{\"level\":\"%s\",\"msg\":\"request done\",\"trace_id\":\"%016llx%016llx\",\"path\":"
        "\"/api/v1/orders/"
        "%llu\",\"status\":%d,\"latency_ms\":%llu,\"client\":\"10.%llu.%llu.%llu\","
        "\"user\":\"user-%llu\"}",
        levels[c % 5], (unsigned long long)a, (unsigned long long)b, (unsigned long long)(c % 1000),
        c % 17 ? 200 : 500, (unsigned long long)(c >> 20) % 900, (unsigned long long)(c >> 8) % 4,
        (unsigned long long)(c >> 12) % 256, (unsigned long long)(c >> 30) % 256,
        (unsigned long long)(c >> 40) % 500);
}

static void push(struct store *s, unsigned stream, int64_t start_ns, int64_t step_ns, unsigned n,
                 uint64_t *raw) {
    static struct entry entries[LINES_MAX];
    char name[32];
    (void)snprintf(name, sizeof(name), "app-%u", stream);
    struct label items[] = {{STR("app"), str_from(name)}, {STR("env"), STR("bench")}};
    struct err err = {0};
    struct batch_stream part = {.entries = entries, .count = n};
    if (store_stream(s, STR("fake"), (struct labels){items, 2}, str_from(name), &part.stream,
                     &err) < 0)
        die("stream", &err);
    for (unsigned i = 0; i < n; i++) {
        size_t size = make_line(lines[i]);
        *raw += size;
        entries[i] = (struct entry){.ts_ns = start_ns + (int64_t)i * step_ns,
                                    .line = str_make(lines[i], size)};
    }
    struct batch batch = {.tenant = STR("fake"), .streams = &part, .n_streams = 1};
    struct waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    if (store_append(s, &batch, on_done, &w, &err) < 0)
        die("append", &err);
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.cond, &w.lock);
    pthread_mutex_unlock(&w.lock);
    store_unpin(s, part.stream);
}

/* ---- figures */

static uint64_t files, file_bytes, disk_bytes;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)ftw;
    if (type == FTW_F && strstr(path, "/chunks/")) {
        files++;
        file_bytes += (uint64_t)st->st_size;
        disk_bytes += (uint64_t)st->st_blocks * 512;
    }
    return 0;
}

enum scan { SCAN_TIMES, SCAN_LINES, SCAN_NEEDLE };

static double scan(struct store *s, enum scan what, uint64_t *ret_entries) {
    struct err err = {0};
    struct snapshot *snap;
    const struct snap_stream *streams;
    struct gram_query grams;
    gram_query_init(&grams, STR("0123456789abcdef0123"), false);
    struct select sel = {.tenant = STR("fake"),
                         .start_ns = INT64_MIN,
                         .end_ns = INT64_MAX,
                         .grams = what == SCAN_NEEDLE ? &grams : NULL};
    int64_t begun = clock_mono_ns();
    if (store_select(s, &sel, &snap, &err) < 0)
        die("select", &err);
    size_t n = snapshot_streams(snap, &streams);
    struct block_reader *r = block_reader_new();
    *ret_entries = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < streams[i].n_blocks; k++) {
            struct block_ref_info info;
            const int64_t *times;
            struct str text;
            block_ref_get(streams[i].blocks[k], &info);
            if (block_reader_open(r, streams[i].blocks[k], &err) < 0 ||
                (what == SCAN_TIMES ? block_reader_times(r, &times, &err)
                                    : block_reader_lines(r, &text, &err)) < 0)
                die("read", &err);
            *ret_entries += info.count;
        }
    block_reader_free(r);
    store_snapshot_free(snap);
    return (double)(clock_mono_ns() - begun) / 1e6;
}

static void report(struct store *s, const char *dir, const char *when, uint64_t raw) {
    uint64_t entries, found;
    files = file_bytes = disk_bytes = 0;
    (void)nftw(dir, count_file, 16, FTW_PHYS);
    struct index_stats index = {0};
    (void)index_get_stats(store_index(s), &index);
    (void)scan(s, SCAN_LINES, &entries); /* warm */
    double count_ms = scan(s, SCAN_TIMES, &entries), lines_ms = scan(s, SCAN_LINES, &entries);
    double needle_ms = scan(s, SCAN_NEEDLE, &found);
    printf("%-7s %8llu files  %10.1f MB (%.3f of raw)  %10.1f MB on disk  index %6.1f MB | "
           "count %8.1f ms  scan %8.1f ms  needle %8.1f ms  entries %llu\n",
           when, (unsigned long long)files, (double)file_bytes / 1e6,
           (double)file_bytes / (double)raw, (double)disk_bytes / 1e6,
           (double)index.file_bytes / 1e6, count_ms, lines_ms, needle_ms,
           (unsigned long long)entries);
}

static unsigned argument(int argc, char **argv, int i, unsigned fallback) {
    return argc > i ? (unsigned)strtoul(argv[i], NULL, 10) : fallback;
}

int main(int argc, char **argv) {
    char made[] = "/tmp/logq-bench-merge-XXXXXX";
    const char *dir = argc > 1 ? argv[1] : mkdtemp(made);
    unsigned n_streams = argument(argc, argv, 2, 200), days = argument(argc, argv, 3, 10);
    unsigned flushes = argument(argc, argv, 4, 12), n = argument(argc, argv, 5, 100);
    if (!dir || n == 0 || n > LINES_MAX || flushes == 0)
        return 2;
    struct store_options o = {
        .data_dir = dir, .wal = {.sync = WAL_SYNC_OFF}, .effort = EFFORT_ZSTD_FAST};
    struct store *s = NULL;
    struct err err = {0};
    if (store_open(&o, &s, &err) < 0)
        die("open", &err);
    uint64_t raw = 0;
    int64_t span_ns = NS_PER_DAY / flushes;
    for (unsigned day = 0; day < days; day++)
        for (unsigned f = 0; f < flushes; f++) {
            int64_t start_ns = FIRST_DAY_NS + day * NS_PER_DAY + f * span_ns;
            for (unsigned i = 0; i < n_streams; i++)
                push(s, i, start_ns, span_ns / n, n, &raw);
            if (store_flush(s, &err) < 0)
                die("flush", &err);
        }
    printf("%u streams, %u days, %u flushes a day of %u lines: %.1f MB raw\n", n_streams, days,
           flushes, n, (double)raw / 1e6);
    report(s, dir, "before", raw);
    struct compactor *c;
    struct compactor_options co = {.merge = false};
    if (compactor_start(s, NULL, &co, &c, &err) < 0)
        die("compactor", &err);
    struct merge_result got;
    double cpu_before = cpu_s();
    int64_t begun = clock_mono_ns();
    if (compactor_merge_once(c, true, &got, &err) < 0)
        die("merge", &err);
    double wall_s = (double)(clock_mono_ns() - begun) / 1e9, cpu = cpu_s() - cpu_before;
    compactor_stop(c);
    (void)store_reap(s);
    report(s, dir, "after", raw);
    printf("merge: %.1f s, %.1f CPU-s, %.2f CPU-s per GB raw; %llu rewrites, %llu blocks copied, "
           "%llu encoded\n",
           wall_s, cpu, cpu / ((double)raw / 1e9), (unsigned long long)got.rewrites,
           (unsigned long long)got.sums.blocks_copied, (unsigned long long)got.sums.blocks_encoded);
    printf("30 days of 10 000 such streams: %.0f files before, %.0f after\n",
           (double)flushes * 30 * 10000, (double)files / days / n_streams * 30 * 10000);
    store_close(s);
    return 0;
}
