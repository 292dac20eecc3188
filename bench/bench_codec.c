/* bench_codec: the lines of files through each codec: size as a share of the raw bytes, MB/s of raw on one core for
 * encoding and decoding. `bench_codec [--only CODEC] FILE...`; each file is one stream, cut into blocks as a head cuts
 * them. Every decoded block is compared with its lines. */
#include <stdio.h>
#include <stdlib.h>

#include <lz4.h>
#include <zstd.h>

#include "block.h"
#include "linetab.h"
#include "measure.h"

enum { BLOCKS_MAX = 256, OUT_SIZE = 16 << 20, ROUNDS = 4 };
enum codec { LZ4, ZSTD_1, ZSTD_3, ZSTD_9, TABLE, CODECS };
static const char *const codec_names[CODECS] = {"lz4", "zstd1", "zstd3", "zstd9", "table"};

struct cut {
    struct str text;
    uint32_t *offsets, count;
    struct str stored;
};

static struct cut cuts[BLOCKS_MAX];
static size_t n_cuts;
static double raw_bytes;
static struct linetab_encoder *encoder;
static struct linetab *table;
static struct buf out;

/* The lines of a file, each ended, with what an encoder may read behind them. */
static int load(const char *path, struct buf *text) {
    if (load_text(path, text) < 0)
        return -1;
    if (text->size > 0 && text->data[text->size - 1] != '\n')
        buf_add_char(text, '\n');
    return buf_reserve(text, LINETAB_SLACK);
}

static int cut(const struct buf *text) {
    n_cuts = 0;
    raw_bytes = 0;
    for (size_t at = 0; at < text->size && n_cuts < BLOCKS_MAX;) {
        struct cut *c = &cuts[n_cuts++];
        *c = (struct cut){.offsets = malloc((BLOCK_ENTRIES_MAX + 1) * sizeof(uint32_t))};
        if (!c->offsets)
            return -1;
        size_t from = at;
        while (at < text->size && at - from < BLOCK_RAW_TARGET && c->count < BLOCK_ENTRIES_MAX) {
            c->offsets[c->count++] = (uint32_t)(at - from);
            const char *end = memchr(text->data + at, '\n', text->size - at);
            at = (size_t)(end - text->data) + 1;
        }
        c->offsets[c->count] = (uint32_t)(at - from);
        c->text = str_make(text->data + from, at - from);
        raw_bytes += (double)c->text.size;
    }
    return 0;
}

/* The encoded block in `out`; false when the codec refuses it. */
static bool encode(enum codec codec, const struct cut *c) {
    static const int levels[CODECS] = {[ZSTD_1] = 1, [ZSTD_3] = 3, [ZSTD_9] = 9};
    buf_clear(&out);
    if (codec == TABLE)
        return linetab_encode(encoder, c->text, c->offsets, c->count, &out) == 1;
    if (codec == LZ4)
        out.size = (size_t)LZ4_compress_default(c->text.data, out.data, (int)c->text.size,
                                                (int)out.capacity);
    else
        out.size = ZSTD_compress(out.data, out.capacity, c->text.data, c->text.size, levels[codec]);
    return true;
}

static bool decode(enum codec codec, const struct cut *c, char *lines) {
    struct err err;
    if (codec == TABLE)
        return linetab_open(table, c->stored, c->count, &err) == 0 &&
               linetab_lines(table, lines, c->text.size, &err) == 0;
    if (codec == LZ4)
        return LZ4_decompress_safe(c->stored.data, lines, (int)c->stored.size, (int)c->text.size) ==
               (int)c->text.size;
    return ZSTD_decompress(lines, c->text.size, c->stored.data, c->stored.size) == c->text.size;
}

/* Encodes all blocks and keeps them; a block that is refused is stored by zstd 1, as block_encode does. */
static double encode_all(enum codec codec, size_t *ret_refused) {
    double stored = 0;
    for (size_t i = 0; i < n_cuts; i++) {
        struct cut *c = &cuts[i];
        c->stored = (struct str){0};
        bool refused = !encode(codec, c);
        if (refused)
            (void)encode(ZSTD_1, c);
        stored += (double)out.size;
        *ret_refused += refused;
        char *copy = refused ? NULL : malloc(out.size);
        if (copy)
            c->stored = str_make(memcpy(copy, out.data, out.size), out.size);
    }
    return stored;
}

static void measure(enum codec codec, char *lines) {
    double encoding = 1e9, decoding = 1e9;
    size_t refused = 0;
    double stored = encode_all(codec, &refused);
    for (int round = 0; round < ROUNDS; round++) {
        double start = cpu_s();
        for (size_t i = 0; i < n_cuts; i++)
            (void)encode(codec, &cuts[i]);
        double took = cpu_s() - start;
        encoding = took < encoding ? took : encoding;
        start = cpu_s();
        for (size_t i = 0; i < n_cuts; i++)
            if (cuts[i].stored.data && !decode(codec, &cuts[i], lines))
                printf("block %zu is not decoded\n", i);
        took = cpu_s() - start;
        decoding = took < decoding ? took : decoding;
    }
    for (size_t i = 0; i < n_cuts; i++) {
        if (cuts[i].stored.data && decode(codec, &cuts[i], lines) &&
            memcmp(lines, cuts[i].text.data, cuts[i].text.size) != 0)
            printf("block %zu comes back different\n", i);
        free((char *)cuts[i].stored.data);
    }
    printf("  %-6s %.4f  %5.0f  %5.0f", codec_names[codec], stored / raw_bytes,
           raw_bytes / encoding / 1e6, raw_bytes / decoding / 1e6);
    if (refused > 0)
        printf("  %zu of %zu blocks refused", refused, n_cuts);
    printf("\n");
}

int main(int argc, char **argv) {
    char *lines = malloc(OUT_SIZE);
    const char *only = NULL;
    encoder = linetab_encoder_new();
    table = linetab_new();
    out = buf_make(BUF_NO_MAX);
    if (!encoder || !table || !lines || buf_reserve(&out, OUT_SIZE) < 0)
        return 2;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
            continue;
        }
        struct buf text = buf_make(BUF_NO_MAX);
        if (load(argv[i], &text) < 0 || cut(&text) < 0) {
            (void)fprintf(stderr, "bench_codec: cannot read %s\n", argv[i]);
            return 2;
        }
        printf("%s, %.1f MB: share of raw, encoding MB/s, decoding MB/s\n", argv[i],
               raw_bytes / 1e6);
        for (int codec = 0; codec < CODECS; codec++)
            if (!only || strcmp(only, codec_names[codec]) == 0)
                measure((enum codec)codec, lines);
        for (size_t k = 0; k < n_cuts; k++)
            free(cuts[k].offsets);
        buf_done(&text);
    }
    linetab_encoder_free(encoder);
    linetab_free(table);
    buf_done(&out);
    free(lines);
    return 0;
}
