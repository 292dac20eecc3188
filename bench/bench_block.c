/* bench_block: what cutting and reading blocks costs on one core. `bench_block FILE` takes the lines of a file,
 * without one a service log with ids is made up. Prints MB/s of raw line bytes unless a unit is
 * named. */
#include <stdio.h>
#include <stdlib.h>

#include "block.h"
#include "gram.h"
#include "measure.h"
#include "patterns.h"

enum {
    ENTRIES_MAX = 1 << 20,
    BLOCKS_MAX = 4096,
    GENERATED_LINES = 120000,
    TEXT_MAX = 512 << 20,
    SETS = 64,
    PROBES = 400,
};

static struct str lines[ENTRIES_MAX];
static int64_t times[ENTRIES_MAX];
static uint32_t meta_ids[ENTRIES_MAX];
static struct label pairs[SETS][3];
static struct labels sets[SETS];
static char values[SETS][16];
static size_t n_lines, line_bytes;
static uint32_t block_ends[BLOCKS_MAX];
static size_t n_blocks;
static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 2685821657736338717u;
}

static void generate(struct buf *text) {
    static const char *const messages[] = {
        "request completed", "connection reset by peer", "user logged in", "cache miss for key",
        "payment accepted",  "retrying upstream call",   "order created",  "invalid token supplied",
    };
    uint64_t trace = 0;
    for (unsigned i = 0; i < GENERATED_LINES; i++) {
        uint64_t r = random_next();
        if (i % 4 == 0)
            trace = random_next();
        buf_addf(text,
                 "{\"ts\":\"2026-11-21T10:%02u:%02u.%06uZ\",\"level\":\"%s\",\"service\":\"%s\","
                 "\"msg\":\"%s\",\"trace_id\":\"%016llx%016llx\",\"span_id\":\"%016llx\","
                 "\"ip\":\"10.%u.%u.%u\",\"status\":%u,\"duration_ms\":%u}\n",
                 i / 6000 % 60, i / 100 % 60, (unsigned)(r % 1000000), r % 7 ? "info" : "error",
                 r % 3 ? "api" : "auth", messages[r >> 20 & 7], (unsigned long long)trace,
                 (unsigned long long)(trace * 2654435761u), (unsigned long long)random_next(),
                 (unsigned)(r >> 30 & 15), (unsigned)(r >> 34 & 63), (unsigned)(r >> 40 & 255),
                 r % 11 ? 200u : 500u, (unsigned)(r >> 50 & 4095));
    }
}

/* Lines, times some milliseconds apart, a few sets of metadata, and the cuts at BLOCK_RAW_TARGET. */
static void prepare(const struct buf *text) {
    const char *p = text->data, *end = p + text->size;
    int64_t time = 1795255200000000000;
    size_t block_bytes = 0;
    for (; p < end && n_lines < ENTRIES_MAX && n_blocks < BLOCKS_MAX - 1; n_lines++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t size = newline ? (size_t)(newline - p) : (size_t)(end - p);
        time += (int64_t)(random_next() % 4000000);
        times[n_lines] = time;
        lines[n_lines] = str_make(p, size);
        meta_ids[n_lines] = (uint32_t)(random_next() % SETS);
        line_bytes += size;
        block_bytes += size;
        p += size + 1;
        if (block_bytes >= BLOCK_RAW_TARGET || p >= end) {
            block_ends[n_blocks++] = (uint32_t)n_lines + 1;
            block_bytes = 0;
        }
    }
    for (unsigned i = 1; i < SETS; i++) {
        int n = snprintf(values[i], sizeof(values[i]), "pod-%u", i);
        pairs[i][0] = (struct label){STR("detected_level"), i % 5 ? STR("info") : STR("error")};
        pairs[i][1] = (struct label){STR("pod"), str_make(values[i], (size_t)n)};
        sets[i] = (struct labels){.items = pairs[i], .count = 2};
    }
}

static uint32_t block_start(size_t b) {
    return b == 0 ? 0 : block_ends[b - 1];
}

static struct block_input block_input(size_t b) {
    uint32_t from = block_start(b);
    return (struct block_input){
        .count = block_ends[b] - from,
        .times = times + from,
        .lines = lines + from,
        .meta_ids = meta_ids + from,
        .meta_sets = sets,
        .n_meta_sets = SETS,
    };
}

static struct str block_text(size_t b) {
    const char *from = lines[block_start(b)].data;
    struct str last = lines[block_ends[b] - 1];
    return str_make(from, (size_t)(last.data + last.size - from));
}

/* Repeats `fn` for at least half a second, three times; prints the best. */
static void measure(const char *name, void (*fn)(void *), void *ctx, double units,
                    const char *unit) {
    double best = 1e9;
    for (int round = 0; round < 3; round++) {
        double start = cpu_s(), took = 0;
        unsigned n = 0;
        for (; took < 0.3; n++, took = cpu_s() - start)
            fn(ctx);
        if (took / n < best)
            best = took / n;
    }
    printf("%-28s %10.1f %s\n", name, units / best / 1e6, unit);
}

static void run_grams(void *ctx) {
    static uint8_t out[GRAM_FILTER_MAX_BYTES + 8];
    for (size_t b = 0; b < n_blocks; b++)
        (void)gram_build(ctx, block_text(b), out);
}

struct mining {
    struct pattern_miner *miner;
    struct buf out;
};

static void run_mine(void *ctx) {
    struct mining *m = ctx;
    for (size_t b = 0; b < n_blocks; b++) {
        struct block_input in = block_input(b);
        buf_clear(&m->out);
        if (patterns_mine(m->miner, &in, NULL, false, &m->out) < 0)
            abort();
    }
}

struct encoded {
    struct block_encoder *encoder;
    enum block_effort effort;
    bool no_patterns;
    struct buf out, filters;
    size_t offsets[BLOCKS_MAX], filter_offsets[BLOCKS_MAX + 1];
};

static void run_encode(void *ctx) {
    struct encoded *e = ctx;
    buf_clear(&e->out);
    buf_clear(&e->filters);
    for (size_t b = 0; b < n_blocks; b++) {
        struct block_input in = block_input(b);
        e->offsets[b] = e->out.size;
        e->filter_offsets[b] = e->filters.size;
        in.no_patterns = e->no_patterns;
        if (block_encode(e->encoder, &in, e->effort, &e->out, &e->filters) < 0)
            abort();
    }
    e->filter_offsets[n_blocks] = e->filters.size;
}

struct decoding {
    struct encoded *encoded;
    enum section_kind kind;
    struct block_info *infos;
    struct buf scratch;
    int64_t *times;
    uint32_t *offsets;
    char *lines;
};

static void run_decode(void *ctx) {
    struct decoding *d = ctx;
    struct arena arena = arena_make(64 << 20);
    for (size_t b = 0; b < n_blocks; b++) {
        const struct block_info *info = &d->infos[b];
        const struct section *s = block_section(info, d->kind);
        struct str stored =
            str_make(d->encoded->out.data + d->encoded->offsets[b] + s->offset, s->stored_size);
        struct meta_column column;
        struct err err;
        int r = 0;
        arena_reset(&arena);
        if (d->kind == SECTION_TIMES)
            r = block_decode_times(info, s, stored, &d->scratch, d->times, &err);
        else if (d->kind == SECTION_LENGTHS)
            r = block_decode_lengths(info, s, stored, &d->scratch, d->offsets, &err);
        else if (d->kind == SECTION_LINES)
            r = block_decode_lines(info, s, stored, NULL, d->lines, &err);
        else
            r = block_decode_meta(info, s, stored, &arena, &column, &err);
        if (r < 0)
            abort();
    }
    arena_done(&arena);
}

static void measure_decoding(struct encoded *e, const char *lines_name) {
    struct decoding d = {.encoded = e, .scratch = buf_make(BLOCK_RAW_MAX)};
    struct arena arena = arena_make(256 << 20);
    uint64_t sizes[SECTION_ROLLUP + 1] = {0}, entries = n_lines;
    d.infos = calloc(n_blocks, sizeof(*d.infos));
    d.times = malloc(BLOCK_ENTRIES_MAX * sizeof(*d.times));
    d.offsets = malloc((BLOCK_ENTRIES_MAX + 1) * sizeof(*d.offsets));
    d.lines = malloc(BLOCK_RAW_MAX);
    for (size_t b = 0; b < n_blocks; b++) {
        struct err err;
        struct str bytes = str_from_offset(buf_str(&e->out), e->offsets[b]);
        if (block_parse_header(bytes, &arena, &d.infos[b], &err) < 0)
            abort();
        for (uint32_t i = 0; i < d.infos[b].n_sections; i++)
            sizes[d.infos[b].sections[i].kind] += d.infos[b].sections[i].stored_size;
    }
    d.kind = SECTION_LINES;
    measure(lines_name, run_decode, &d, (double)line_bytes, "MB/s");
    if (e->effort == EFFORT_FAST) {
        d.kind = SECTION_TIMES;
        measure("decode times", run_decode, &d, (double)entries, "M entries/s");
        d.kind = SECTION_LENGTHS;
        measure("decode lengths", run_decode, &d, (double)entries, "M entries/s");
        d.kind = SECTION_META;
        measure("decode one metadata column", run_decode, &d, (double)entries, "M entries/s");
        printf(
            "bytes per entry: times %.2f, lengths %.2f, metadata %.2f, rollups %.2f, lines %.2f of "
            "%.2f\n",
            (double)sizes[SECTION_TIMES] / (double)entries,
            (double)sizes[SECTION_LENGTHS] / (double)entries,
            (double)sizes[SECTION_META] / (double)entries,
            (double)sizes[SECTION_ROLLUP] / (double)entries,
            (double)sizes[SECTION_LINES] / (double)entries, (double)line_bytes / (double)entries);
    }
    printf("patterns %.2f %% of raw\n",
           100.0 * (double)sizes[SECTION_PATTERNS] / (double)line_bytes);
    free(d.lines);
    free(d.offsets);
    free(d.times);
    free(d.infos);
    buf_done(&d.scratch);
    arena_done(&arena);
}

/* Blocks that pass although memmem finds nothing, over random needles of one kind. */
static void false_positives(const struct encoded *e, const char *name, const char *alphabet,
                            size_t size) {
    size_t absent = 0, passed = 0, n_letters = strlen(alphabet);
    for (unsigned k = 0; k < PROBES; k++) {
        char needle[64];
        struct gram_query q;
        for (size_t i = 0; i < size; i++)
            needle[i] = alphabet[random_next() % n_letters];
        gram_query_init(&q, str_make(needle, size), false);
        for (size_t b = k % 8; b < n_blocks; b += 8) {
            if (str_find(block_text(b), str_make(needle, size)))
                continue;
            absent++;
            passed += gram_may_contain((uint8_t *)e->filters.data + e->filter_offsets[b],
                                       e->filter_offsets[b + 1] - e->filter_offsets[b], &q);
        }
    }
    if (absent > 0)
        printf("false positives %-12s %10.2f %%\n", name, 100.0 * (double)passed / (double)absent);
}

static void measure_filters(const struct encoded *e) {
    static const char hex[] = "0123456789abcdef", letters[] = "abcdefghijklmnopqrstuvwxyz";
    printf("filters %.2f %% of raw, %.2f %% of encoded\n",
           100.0 * (double)e->filters.size / (double)line_bytes,
           100.0 * (double)e->filters.size / (double)e->out.size);
    false_positives(e, "hex 8", hex, 8);
    false_positives(e, "hex 12", hex, 12);
    false_positives(e, "hex 32", hex, 32);
    false_positives(e, "letters 8", letters, 8);
}

int main(int argc, char **argv) {
    struct buf text = buf_make(TEXT_MAX);
    if (argc > 1 && load_text(argv[1], &text) < 0) {
        fprintf(stderr, "bench_block: cannot read %s\n", argv[1]);
        return 2;
    }
    if (argc <= 1)
        generate(&text);
    prepare(&text);
    printf("%zu lines, %.1f MB, %zu blocks\n", n_lines, (double)line_bytes / 1e6, n_blocks);
    struct gram_builder *grams = gram_builder_new();
    measure("gram_build", run_grams, grams, (double)line_bytes, "MB/s");
    gram_builder_narrow(grams, 1);
    measure("gram_build scalar", run_grams, grams, (double)line_bytes, "MB/s");
    gram_builder_free(grams);
    struct mining mining = {.miner = pattern_miner_new(), .out = buf_make(BUF_NO_MAX)};
    measure("mine patterns", run_mine, &mining, (double)line_bytes, "MB/s");
    buf_done(&mining.out);
    pattern_miner_free(mining.miner);
    static const char *const names[][2] = {
        {"encode lz4 (with filter)", "decode lines lz4"},
        {"encode lz4hc (with filter)", "decode lines lz4hc"},
        {"encode zstd 1 (with filter)", "decode lines zstd 1"},
        {"encode zstd 3 (with filter)", "decode lines zstd 3"},
        {"encode table (with filter)", "decode lines table"},
    };
    for (int effort = EFFORT_FAST; effort <= EFFORT_TABLE; effort++) {
        struct encoded *e = calloc(1, sizeof(*e));
        if (!e)
            return 2;
        e->encoder = block_encoder_new();
        e->effort = (enum block_effort)effort;
        e->out = buf_make(BUF_NO_MAX);
        e->filters = buf_make(BUF_NO_MAX);
        e->no_patterns = true;
        measure("encode without patterns", run_encode, e, (double)line_bytes, "MB/s");
        e->no_patterns = false;
        measure(names[effort][0], run_encode, e, (double)line_bytes, "MB/s");
        printf("%-28s %10.2f\n", "ratio", (double)line_bytes / (double)e->out.size);
        measure_decoding(e, names[effort][1]);
        if (effort == EFFORT_FAST)
            measure_filters(e);
        block_encoder_free(e->encoder);
        buf_done(&e->out);
        buf_done(&e->filters);
        free(e);
    }
    buf_done(&text);
    return 0;
}
