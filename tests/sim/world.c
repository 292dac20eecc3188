#include "world.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk.h"
#include "units.h"

enum { LINE_MAX_BYTES = 700, NUMBER_SIZE = 7 };

static struct {
    pthread_mutex_t lock; /* guards all */
    pthread_cond_t none;
    unsigned open;        /* pushes without an answer */
    struct world *direct; /* its states, too */
} answers = {.lock = PTHREAD_MUTEX_INITIALIZER, .none = PTHREAD_COND_INITIALIZER};

/* ---- entries */

static size_t line_of(uint32_t number, char out[LINE_MAX_BYTES]) {
    uint64_t random = number * UINT64_C(0x9e3779b97f4a7c15) + 1;
    size_t size = 20 + (random >> 40) % (number % 16 == 0 ? LINE_MAX_BYTES - 20 : 120);
    (void)snprintf(out, LINE_MAX_BYTES, "%06u ", number);
    for (size_t i = NUMBER_SIZE; i < size; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        out[i] = (char)('a' + (random >> 33) % 26);
    }
    return size;
}

struct str world_tenant(uint32_t stream) {
    return stream % 2 ? STR("one") : STR("two/..");
}

static void print_log(int level, const char *msg, const char *pairs) {
    if (getenv("WORLD_LOG"))
        printf("    log %d: %s %s\n", level, msg, pairs ? pairs : "");
}

struct store_options world_options(const char *dir) {
    return (struct store_options){.data_dir = dir,
                                  .wal = {.segment_bytes = 24 << 10},
                                  .wal_compress = true,
                                  .pack_from = 2,
                                  .log = print_log};
}

void world_note(uint32_t kind, uint64_t value, void *world) {
    struct world *w = world;
    uint32_t first = (uint32_t)(value >> 16), n = (uint32_t)(value & 0xffff);
    if (kind == NOTE_EXPIRED) {
        for (uint32_t i = 0; i < value; i++)
            if (w->entries[i].stream >= WORLD_OLD_FROM && w->states[i] != WORLD_NEVER)
                w->states[i] = WORLD_EXPIRED;
        return;
    }
    for (uint32_t i = first; i < first + n; i++)
        if (kind == NOTE_ACKNOWLEDGED || w->states[i] == WORLD_NEVER)
            w->states[i] = kind == NOTE_ACKNOWLEDGED ? WORLD_ACKNOWLEDGED : WORLD_PUSHED;
}

/* ---- pushing */

static struct stream *stream_of(struct world *w, uint32_t stream) {
    char number[16];
    (void)snprintf(number, sizeof(number), "%u", stream);
    struct label items[] = {{STR("app"), stream >= WORLD_OLD_FROM ? STR("old") : STR("new")},
                            {STR("n"), str_from(number)}};
    struct stream *found = NULL;
    (void)store_stream(w->store, world_tenant(stream), (struct labels){.items = items, .count = 2},
                       str_from(number), &found, NULL);
    return found;
}

void world_note_directly(struct world *w) {
    answers.direct = w;
}

static void take_note(uint32_t kind, uint64_t value) {
    disk_note(kind, value);
    pthread_mutex_lock(&answers.lock);
    if (answers.direct)
        world_note(kind, value, answers.direct);
    pthread_mutex_unlock(&answers.lock);
}

static void on_answer(void *ctx, int status) {
    if (status == 0)
        take_note(NOTE_ACKNOWLEDGED, (uint64_t)(uintptr_t)ctx);
    pthread_mutex_lock(&answers.lock);
    if (--answers.open == 0)
        pthread_cond_signal(&answers.none);
    pthread_mutex_unlock(&answers.lock);
}

void world_wait(void) {
    pthread_mutex_lock(&answers.lock);
    while (answers.open > 0)
        pthread_cond_wait(&answers.none, &answers.lock);
    pthread_mutex_unlock(&answers.lock);
}

bool world_push(struct world *w, uint32_t first, uint32_t n) {
    static char lines[WORLD_PUSH_MAX][LINE_MAX_BYTES];
    struct entry entries[WORLD_PUSH_MAX];
    const struct label levels[] = {{STR("level"), STR("info")}, {STR("level"), STR("warn")}};
    uint32_t stream = w->entries[first].stream;
    struct batch_stream part = {.stream = stream_of(w, stream), .entries = entries, .count = n};
    uint64_t what = (uint64_t)first << 16 | n;
    if (!part.stream)
        return false;
    for (uint32_t i = 0; i < n; i++)
        entries[i] = (struct entry){
            .ts_ns = w->entries[first + i].ts_ns,
            .line = str_make(lines[i], line_of(first + i, lines[i])),
            .meta = &levels[(first + i) % 3 == 0],
            .meta_count = (first + i) % 2,
        };
    struct batch batch = {.tenant = world_tenant(stream), .streams = &part, .n_streams = 1};
    take_note(NOTE_PUSHED, what);
    pthread_mutex_lock(&answers.lock);
    answers.open++;
    pthread_mutex_unlock(&answers.lock);
    int r = store_append(w->store, &batch, on_answer, (void *)(uintptr_t)what, NULL);
    if (r < 0)
        on_answer((void *)(uintptr_t)what, r);
    store_unpin(w->store, part.stream);
    return r == 0;
}

/* ---- reading back */

struct count {
    const struct world *world;
    uint8_t seen[WORLD_ENTRIES_MAX];
    unsigned wrong;
};

static void complain(struct count *c, const char *what, uint32_t number) {
    if (c->wrong++ < 5)
        printf("    entry %u (stream %u) is %s\n", number, c->world->entries[number].stream, what);
}

static void count_entry(struct count *c, uint32_t stream, int64_t ts_ns, struct str line) {
    char wanted[LINE_MAX_BYTES];
    unsigned number = WORLD_ENTRIES_MAX;
    if (line.size < NUMBER_SIZE || sscanf(line.data, "%6u ", &number) != 1 ||
        number >= c->world->n_entries) {
        c->wrong++;
        return;
    }
    const struct world_entry *e = &c->world->entries[number];
    if (e->stream != stream || e->ts_ns != ts_ns ||
        !str_eq(line, str_make(wanted, line_of(number, wanted))))
        complain(c, "altered", number);
    if (c->seen[number]++ == 1)
        complain(c, "doubled", number);
}

static void count_block(struct count *c, struct block_reader *r, const struct block_ref *b,
                        uint32_t stream) {
    struct err err = {0};
    const uint32_t *offsets;
    const int64_t *times;
    struct str lines;
    struct block_ref_info info;
    block_ref_get(b, &info);
    if (block_reader_open(r, b, &err) < 0 || block_reader_offsets(r, &offsets, &err) < 0 ||
        block_reader_times(r, &times, &err) < 0 || block_reader_lines(r, &lines, &err) < 0) {
        printf("    %s\n", err.text);
        c->wrong++;
        return;
    }
    for (uint32_t i = 0; i < info.count; i++)
        if (!dead_test(block_reader_dead(r), i))
            count_entry(c, stream, times[i],
                        str_make(lines.data + offsets[i], offsets[i + 1] - offsets[i] - 1));
}

static void count_tenant(struct count *c, struct str tenant, struct block_reader *reader) {
    struct select sel = {.tenant = tenant, .start_ns = INT64_MIN, .end_ns = INT64_MAX};
    struct snapshot *snap = NULL;
    struct err err = {0};
    if (store_select(c->world->store, &sel, &snap, &err) < 0) {
        printf("    %s\n", err.text);
        c->wrong++;
        return;
    }
    const struct snap_stream *streams;
    size_t n_streams = snapshot_streams(snap, &streams);
    for (size_t i = 0; i < n_streams; i++) {
        struct str n = labels_get(streams[i].labels, STR("n"));
        uint32_t stream = n.size == 1 ? (uint32_t)(n.data[0] - '0') : UINT32_MAX;
        for (size_t k = 0; k < streams[i].n_blocks; k++)
            count_block(c, reader, streams[i].blocks[k], stream);
    }
    store_snapshot_free(snap);
}

unsigned world_check(const struct world *w, const char *when) {
    static struct count c;
    c = (struct count){.world = w};
    struct block_reader *reader = block_reader_new();
    count_tenant(&c, world_tenant(0), reader);
    count_tenant(&c, world_tenant(1), reader);
    block_reader_free(reader);
    for (uint32_t i = 0; i < w->n_entries; i++) {
        if (w->states[i] == WORLD_ACKNOWLEDGED && c.seen[i] == 0)
            complain(&c, "lost", i);
        if (w->states[i] == WORLD_NEVER && c.seen[i] > 0)
            complain(&c, "invented", i);
    }
    if (c.wrong > 0)
        printf("  %u entries are wrong %s\n", c.wrong, when);
    return c.wrong;
}
