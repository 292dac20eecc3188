/* The encoder gathers the lines once, each followed by '\n', in a scratch buffer that both the compressor and
 * the gram builder read. Compressed sections gather in `body`; the header is made last, when all
 * sizes are known, and header and body are appended to the caller's buffer. Nothing is allocated per line: all
 * scratch memory stays with the encoder. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include <lz4.h>
#include <lz4hc.h>
#include <zstd.h>

#include "block_format.h"
#include "block_meta.h"
#include "bytes.h"
#include "gram.h"
#include "hash.h"
#include "patterns.h"
#include "rollup.h"

enum {
    LZ4_ACCELERATION = 1,
    LZ4HC_LEVEL = 4,
    ZSTD_LEVEL = 3,
    ZSTD_FAST_LEVEL = 1,
    COMPRESS_MIN = 32, /* smaller sections are stored as they are */
    /* Compression must save this share of the section, or decoding it is wasted work; small columns are what
     * counts read. */
    PAYS_SHARE = 32,
    COLUMN_PAYS_SHARE = 8,
    SORT_RUN = 16,
    KEEP_MAX = 4 << 20, /* scratch buffers that grew larger for one huge block are given back */
};

struct timed {
    int64_t time;
    uint32_t index;
};

struct block_encoder {
    struct meta_builder *meta;
    struct gram_builder *grams;
    struct buf value_places; /* of metadata in the filter */
    struct pattern_miner *patterns;
    void *lz4_state, *lz4hc_state;
    ZSTD_CCtx *zstd;
    struct linetab_encoder *table;
    uint32_t *offsets; /* of copied lines, for the table */
    struct str text;   /* the lines at hand; in `coded` as a table, if they are one */
    bool is_table;
    const uint32_t *places; /* theirs in it */
    struct timed *sorted;   /* two halves: the array and the space to merge in */
    uint32_t *order;
    uint8_t *ids; /* of one metadata column, by entry */
    struct buf lines, coded, column, body;
    struct buf block, block_filter; /* of block_encode_view */
    struct buf room;                /* the caller's */
    struct section sections[BLOCK_SECTIONS_MAX];
    uint32_t n_sections;
    uint8_t filter[GRAM_FILTER_MAX_BYTES + 8];
};

struct block_encoder *block_encoder_new(void) {
    struct block_encoder *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->meta = meta_builder_new();
    e->grams = gram_builder_new();
    e->patterns = pattern_miner_new();
    e->lz4_state = malloc((size_t)LZ4_sizeofState());
    e->sorted = malloc(2 * BLOCK_ENTRIES_MAX * sizeof(e->sorted[0]));
    e->order = malloc(BLOCK_ENTRIES_MAX * sizeof(e->order[0]));
    e->ids = malloc(BLOCK_ENTRIES_MAX);
    e->lines = buf_make(BLOCK_RAW_MAX + LINETAB_SLACK);
    e->coded = buf_make(BLOCK_RAW_MAX);
    e->column = buf_make(BLOCK_RAW_MAX);
    e->body = buf_make(UINT32_MAX);
    e->value_places = e->block = e->block_filter = e->room = buf_make(BUF_NO_MAX);
    if (!e->meta || !e->grams || !e->patterns || !e->lz4_state || !e->sorted || !e->order ||
        !e->ids) {
        block_encoder_free(e);
        return NULL;
    }
    return e;
}

void block_encoder_free(struct block_encoder *e) {
    if (!e)
        return;
    meta_builder_free(e->meta);
    gram_builder_free(e->grams);
    pattern_miner_free(e->patterns);
    free(e->lz4_state);
    free(e->lz4hc_state);
    ZSTD_freeCCtx(e->zstd);
    linetab_encoder_free(e->table);
    free(e->offsets);
    free(e->sorted);
    free(e->order);
    free(e->ids);
    buf_done(&e->lines);
    buf_done(&e->value_places);
    buf_done(&e->coded);
    buf_done(&e->column);
    buf_done(&e->body);
    buf_done(&e->block);
    buf_done(&e->block_filter);
    buf_done(&e->room);
    free(e);
}

/* ---- order */

static bool is_ascending(const int64_t *times, uint32_t count) {
    for (uint32_t i = 1; i < count; i++) {
        if (times[i] < times[i - 1])
            return false;
    }
    return true;
}

static void sort_run(struct timed *a, size_t n) {
    for (size_t i = 1; i < n; i++) {
        struct timed t = a[i];
        size_t k = i;
        for (; k > 0 && a[k - 1].time > t.time; k--)
            a[k] = a[k - 1];
        a[k] = t;
    }
}

static void merge(const struct timed *a, size_t n_a, const struct timed *b, size_t n_b,
                  struct timed *out) {
    size_t i = 0, k = 0;
    while (i < n_a && k < n_b)
        *out++ = b[k].time < a[i].time ? b[k++] : a[i++];
    while (i < n_a)
        *out++ = a[i++];
    while (k < n_b)
        *out++ = b[k++];
}

/* Stable merge sort: arrival mostly is nearly in order, so short runs are inserted and runs that already follow
 * one another are copied. */
static void sort_entries(struct block_encoder *e, const int64_t *times, uint32_t count) {
    struct timed *from = e->sorted, *to = e->sorted + BLOCK_ENTRIES_MAX;
    for (uint32_t i = 0; i < count; i++)
        from[i] = (struct timed){.time = times[i], .index = i};
    for (size_t at = 0; at < count; at += SORT_RUN)
        sort_run(from + at, count - at < SORT_RUN ? count - at : SORT_RUN);
    for (size_t width = SORT_RUN; width < count; width *= 2) {
        for (size_t at = 0; at < count; at += 2 * width) {
            size_t middle = at + width < count ? at + width : count;
            size_t end = at + 2 * width < count ? at + 2 * width : count;
            if (middle == end || from[middle - 1].time <= from[middle].time)
                memcpy(to + at, from + at, (end - at) * sizeof(*to));
            else
                merge(from + at, middle - at, from + middle, end - middle, to + at);
        }
        struct timed *other = from;
        from = to;
        to = other;
    }
    for (uint32_t i = 0; i < count; i++)
        e->order[i] = from[i].index;
}

/* ---- sections */

static bool is_zstd(enum block_effort effort) {
    return effort == EFFORT_ZSTD || effort == EFFORT_ZSTD_FAST || effort == EFFORT_TABLE;
}

/* Bytes written to `out`, or 0 when they do not fit `room` or the compressor failed. */
static size_t compress(struct block_encoder *e, enum block_effort effort, struct str raw, char *out,
                       size_t room) {
    int n = 0;
    switch (effort) {
    case EFFORT_FAST:
        n = LZ4_compress_fast_extState(e->lz4_state, raw.data, out, (int)raw.size, (int)room,
                                       LZ4_ACCELERATION);
        return n > 0 ? (size_t)n : 0;
    case EFFORT_LZ4HC:
        n = LZ4_compress_HC_extStateHC(e->lz4hc_state, raw.data, out, (int)raw.size, (int)room,
                                       LZ4HC_LEVEL);
        return n > 0 ? (size_t)n : 0;
    case EFFORT_ZSTD_FAST:
    case EFFORT_ZSTD:
    case EFFORT_TABLE: {
        int level = effort == EFFORT_ZSTD ? ZSTD_LEVEL : ZSTD_FAST_LEVEL;
        size_t size = ZSTD_compressCCtx(e->zstd, out, room, raw.data, raw.size, level);
        return ZSTD_isError(size) ? 0 : size;
    }
    }
    return 0;
}

static int prepare_effort(struct block_encoder *e, enum block_effort effort) {
    if (effort == EFFORT_LZ4HC && !e->lz4hc_state) {
        e->lz4hc_state = malloc((size_t)LZ4_sizeofStateHC());
        return e->lz4hc_state ? 0 : -ENOMEM;
    }
    if (is_zstd(effort) && !e->zstd && !(e->zstd = ZSTD_createCCtx()))
        return -ENOMEM;
    if (effort == EFFORT_TABLE && !e->table) {
        free(e->offsets);
        e->offsets = malloc((BLOCK_ENTRIES_MAX + 1) * sizeof(*e->offsets));
        e->table = e->offsets ? linetab_encoder_new() : NULL;
        return e->table ? 0 : -ENOMEM;
    }
    return 0;
}

static_assert(BLOCK_RAW_MAX <= LZ4_MAX_INPUT_SIZE, "a section fits one LZ4 block");

/* Notes the section whose stored bytes have just been appended to the body. */
static void note_section(struct block_encoder *e, struct section s, size_t size) {
    s.offset = (uint32_t)(e->body.size - size); /* the header's size is added when it is known */
    s.stored_size = (uint32_t)size;
    s.checksum = (uint32_t)hash64(e->body.data + s.offset, size);
    assert(e->n_sections < BLOCK_SECTIONS_MAX);
    e->sections[e->n_sections++] = s;
}

/* Appends one section to the body. */
static int add_section(struct block_encoder *e, enum block_effort effort, enum section_kind kind,
                       uint32_t key, struct str raw) {
    assert(raw.size <= BLOCK_RAW_MAX);
    /* zstd saves much on lines; the other columns are small, and counts read nothing else: LZ4 decodes them faster. */
    if (is_zstd(effort) && kind != SECTION_LINES && kind != SECTION_PATTERNS)
        effort = EFFORT_FAST;
    int r = buf_reserve(&e->body, raw.size);
    if (r < 0)
        return r;
    char *to = e->body.data + e->body.size;
    size_t size = 0;
    enum block_codec codec = is_zstd(effort) ? CODEC_ZSTD : CODEC_LZ4;
    size_t pays_share = kind == SECTION_LINES ? PAYS_SHARE : COLUMN_PAYS_SHARE;
    if (raw.size >= COMPRESS_MIN)
        size = compress(e, effort, raw, to, raw.size - raw.size / pays_share - 1);
    if (size == 0) {
        codec = CODEC_NONE;
        size = raw.size;
        if (size > 0)
            memcpy(to, raw.data, size);
    }
    e->body.size += size;
    note_section(
        e,
        (struct section){.kind = kind, .codec = codec, .key = key, .raw_size = (uint32_t)raw.size},
        size);
    return 0;
}

/* The lines as a table, when that is asked for and pays. This comes before what else looks at lines: it reads all of them
 * from the first to the last, which memory does best, and patterns read some here and there. */
static int make_table(struct block_encoder *e, enum block_effort effort, uint32_t count) {
    buf_clear(&e->coded);
    int r =
        effort == EFFORT_TABLE ? linetab_encode(e->table, e->text, e->places, count, &e->coded) : 0;
    e->is_table = r == 1;
    return r < 0 ? r : 0;
}

static int add_lines(struct block_encoder *e, enum block_effort effort) {
    if (!e->is_table)
        return add_section(e, effort, SECTION_LINES, 0, e->text);
    buf_add(&e->body, e->coded.data, e->coded.size);
    if (e->body.failed)
        return -ENOMEM;
    struct section s = {
        .kind = SECTION_LINES, .codec = CODEC_TABLE, .raw_size = (uint32_t)e->text.size};
    note_section(e, s, e->coded.size);
    return 0;
}

/* How to divide by a unit of time without dividing: it is 2^shift times an odd number, whose inverse modulo 2^64 makes
 * what it divides small, and nothing else (Hacker's Delight, 10-17). */
struct unit {
    unsigned shift;
    uint64_t inverse, most; /* of the odd number, and how often it is in what an int64_t holds */
};
static const struct unit units[TIME_SCALES] = {
    {0, 1, INT64_MAX},
    {3, 0x1cac083126e978d5, INT64_MAX / 125},
    {6, 0x790fb65668c26139, INT64_MAX / 15625},
    {9, 0x8e47ce423a2e9c6d, INT64_MAX / 1953125},
};

static inline bool is_whole(int64_t time, const struct unit *u) {
    uint64_t low = (uint64_t)time & ((UINT64_C(1) << u->shift) - 1);
    return low == 0 && (uint64_t)time * u->inverse + u->most <= 2 * u->most;
}

/* Of a time that is a whole number of units. */
static inline int64_t in_units(int64_t time, const struct unit *u) {
    return (int64_t)((uint64_t)time * u->inverse) >> u->shift;
}

static unsigned find_scale(const int64_t *times, uint32_t count) {
    unsigned scale = TIME_SCALES - 1;
    for (uint32_t i = 0; i < count && scale > 0; i++) {
        while (scale > 0 && !is_whole(times[i], &units[scale]))
            scale--;
    }
    return scale;
}

/* Packs n numbers of `width` bits, lowest bit first, into whole bytes; returns the end. */
static uint8_t *pack_bits(uint8_t *p, const uint64_t *numbers, uint32_t n, unsigned width) {
    uint64_t gathered = 0;
    unsigned bits = 0;
    for (uint32_t i = 0; i < n && width > 0; i++) {
        gathered |= numbers[i] << bits;
        if (bits + width < 64) {
            bits += width;
            continue;
        }
        put_le64(p, gathered);
        p += 8;
        gathered = bits > 0 ? numbers[i] >> (64 - bits) : 0;
        bits = bits + width - 64;
    }
    for (; bits > 0; bits = bits > 8 ? bits - 8 : 0) {
        *p++ = (uint8_t)gathered;
        gathered >>= 8;
    }
    return p;
}

/* One group of distances: width, smallest, the others above it. */
static uint8_t *put_time_group(uint8_t *p, uint64_t *deltas, uint32_t n) {
    uint64_t smallest = UINT64_MAX, largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        smallest = deltas[i] < smallest ? deltas[i] : smallest;
        largest = deltas[i] > largest ? deltas[i] : largest;
    }
    uint64_t range = largest - smallest;
    unsigned width = range > 0 ? 64 - (unsigned)__builtin_clzll(range) : 0;
    for (uint32_t i = 0; i < n; i++)
        deltas[i] -= smallest;
    *p++ = (uint8_t)width;
    p = put_varint(p, smallest);
    return pack_bits(p, deltas, n, width);
}

/* Unit, then the distances between neighbours in groups. Differences are formed in 64-bit arithmetic that wraps: the
 * decoder does the same. */
static int add_times(struct block_encoder *e, enum block_effort effort,
                     const struct block_input *in, const uint32_t *order) {
    unsigned scale = find_scale(in->times, in->count);
    const struct unit unit = units[scale];
    size_t groups = in->count / TIME_GROUP + 1;
    buf_clear(&e->column);
    int r = buf_reserve(&e->column, 1 + groups * (1 + VARINT_MAX_BYTES + TIME_GROUP_MAX_BYTES + 8));
    if (r < 0)
        return r;
    uint8_t *p = (uint8_t *)e->column.data;
    *p++ = (uint8_t)scale;
    uint64_t deltas[TIME_GROUP];
    uint32_t n = 0;
    uint64_t before = (uint64_t)in_units(in->times[order ? order[0] : 0], &unit);
    for (uint32_t k = 1; k < in->count; k++) {
        uint64_t time = (uint64_t)in_units(in->times[order ? order[k] : k], &unit);
        deltas[n++] = time - before;
        before = time;
        if (n == TIME_GROUP || k + 1 == in->count) {
            p = put_time_group(p, deltas, n);
            n = 0;
        }
    }
    e->column.size = (size_t)((char *)p - e->column.data);
    return add_section(e, effort, SECTION_TIMES, 0, buf_str(&e->column));
}

/* The lines as one text, copied unless they are one. */
static int gather_lines(struct block_encoder *e, const struct block_input *in,
                        const uint32_t *order, size_t raw_size) {
    if (in->text && !order) {
        assert(in->offsets[0] == 0 && in->offsets[in->count] == raw_size);
        e->text = str_make(in->text, raw_size);
        e->places = in->offsets;
        return 0;
    }
    int r = buf_reserve(&e->lines, raw_size + LINETAB_SLACK);
    if (r < 0)
        return r;
    char *line_at = e->lines.data;
    uint32_t *offsets = e->offsets; /* NULL: no table was ever asked for */
    for (uint32_t k = 0; k < in->count; k++) {
        struct str line = in->lines[order ? order[k] : k];
        if (offsets)
            offsets[k] = (uint32_t)(line_at - e->lines.data);
        if (line.size > 0)
            memcpy(line_at, line.data, line.size);
        line_at += line.size;
        *line_at++ = '\n';
    }
    if (offsets)
        offsets[in->count] = (uint32_t)raw_size;
    assert(line_at == e->lines.data + raw_size);
    e->text = str_make(e->lines.data, raw_size);
    e->places = offsets;
    return 0;
}

static int add_length_varints(struct block_encoder *e, enum block_effort effort,
                              const struct block_input *in, const uint32_t *order) {
    buf_clear(&e->column);
    int r = buf_reserve(&e->column, (size_t)in->count * VARINT_MAX_BYTES);
    if (r < 0)
        return r;
    uint8_t *p = (uint8_t *)e->column.data;
    for (uint32_t k = 0; k < in->count; k++)
        p = put_varint(p, in->lines[order ? order[k] : k].size);
    e->column.size = (size_t)((char *)p - e->column.data);
    return add_section(e, effort, SECTION_LENGTHS, 0, buf_str(&e->column));
}

/* Bytes that the lengths take as varints. */
static size_t varints_size(const uint32_t *offsets, uint32_t count) {
    size_t size = count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = offsets[i + 1] - offsets[i] - 1;
        size += (length >= 1u << 7) + (length >= 1u << 14) + (length >= 1u << 21) +
                (length >= 1u << 28);
    }
    return size;
}

/* A table's lengths are packed when that is shorter. */
static int add_lengths(struct block_encoder *e, enum block_effort effort,
                       const struct block_input *in, const uint32_t *order) {
    if (effort != EFFORT_TABLE)
        return add_length_varints(e, effort, in, order);
    size_t groups = in->count / TIME_GROUP + 1, raw_size = varints_size(e->places, in->count);
    int r = buf_reserve(&e->body, groups * (1 + VARINT_MAX_BYTES + TIME_GROUP_MAX_BYTES + 8));
    if (r < 0)
        return r;
    uint8_t *from = (uint8_t *)e->body.data + e->body.size, *p = from;
    uint64_t lengths[TIME_GROUP];
    for (uint32_t i = 0, n = 0; i < in->count; i++) {
        lengths[n++] = e->places[i + 1] - e->places[i] - 1;
        if (n == TIME_GROUP || i + 1 == in->count) {
            p = put_time_group(p, lengths, n);
            n = 0;
        }
    }
    size_t size = (size_t)(p - from);
    if (size > raw_size - raw_size / COLUMN_PAYS_SHARE)
        return add_length_varints(e, effort, in, order);
    e->body.size += size;
    struct section s = {
        .kind = SECTION_LENGTHS, .codec = CODEC_PACKED, .raw_size = (uint32_t)raw_size};
    note_section(e, s, size);
    return 0;
}

static int add_meta(struct block_encoder *e, enum block_effort effort, const struct block_input *in,
                    const uint32_t *order) {
    for (uint32_t i = 0; i < meta_builder_count(e->meta); i++) {
        uint32_t key = 0;
        buf_clear(&e->column);
        int r = meta_builder_write(e->meta, i, in, order, &e->column, &key);
        if (r == 0)
            r = add_section(e, effort, SECTION_META, key, buf_str(&e->column));
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_rollup(struct block_encoder *e, enum block_effort effort,
                      const struct rollup_input *in) {
    buf_clear(&e->column);
    int r = rollup_write(in, &e->column);
    if (r <= 0)
        return r;
    uint32_t key = in->name.size > 0 ? (uint32_t)hash_str(in->name) : 0;
    return add_section(e, effort, SECTION_ROLLUP, key, buf_str(&e->column));
}

/* One rollup for each of the first columns with few values; one over all entries when there is none. */
static int add_rollups(struct block_encoder *e, enum block_effort effort,
                       const struct block_input *in, const uint32_t *order) {
    struct str values[ROLLUP_VALUES_MAX];
    struct rollup_input rollup = {
        .count = in->count, .times = in->times, .lines = in->lines, .order = order};
    uint32_t added = 0;
    for (uint32_t i = 0; i < meta_builder_count(e->meta) && added < ROLLUP_COLUMNS_MAX; i++) {
        if (!meta_builder_small(e->meta, i, ROLLUP_VALUES_MAX, &rollup.name, values,
                                &rollup.n_values))
            continue;
        meta_builder_ids(e->meta, i, in, e->ids);
        rollup.values = values;
        rollup.ids = e->ids;
        int r = add_rollup(e, effort, &rollup);
        if (r < 0)
            return r;
        added++;
    }
    if (added > 0)
        return 0;
    rollup = (struct rollup_input){
        .count = in->count, .times = in->times, .lines = in->lines, .order = order};
    return add_rollup(e, effort, &rollup);
}

/* No room in the table of sections: the columns are worth more. Few lines: whoever asks finds them as fast. */
static int add_patterns(struct block_encoder *e, enum block_effort effort,
                        const struct block_input *in, const uint32_t *order) {
    size_t line_bytes = e->text.size - in->count;
    size_t least = in->hurried ? PATTERNS_LEAST_HURRIED_BYTES : PATTERNS_LEAST_BYTES;
    if (in->no_patterns || line_bytes < least || e->n_sections + 2 > BLOCK_SECTIONS_MAX)
        return 0;
    buf_clear(&e->column);
    int r = patterns_mine(e->patterns, in, order, false, &e->column);
    if (r == 0 && e->column.size > 0)
        r = add_section(e, effort, SECTION_PATTERNS, 0, buf_str(&e->column));
    return r;
}

/* ---- assembly */

static void write_section(uint8_t *p, const struct section *s, uint32_t header_size) {
    p[SECTION_AT_KIND] = (uint8_t)s->kind;
    p[SECTION_AT_CODEC] = (uint8_t)s->codec;
    put_le16(p + SECTION_AT_RESERVED, 0);
    put_le32(p + SECTION_AT_KEY, s->key);
    put_le32(p + SECTION_AT_OFFSET, header_size + s->offset);
    put_le32(p + SECTION_AT_STORED, s->stored_size);
    put_le32(p + SECTION_AT_RAW, s->raw_size);
    put_le32(p + SECTION_AT_CHECKSUM, s->checksum);
}

static uint32_t incompatible_flags(const struct block_encoder *e) {
    uint32_t flags = 0;
    for (uint32_t i = 0; i < e->n_sections; i++) {
        flags |= e->sections[i].codec == CODEC_TABLE ? BLOCK_INCOMPAT_TABLE : 0;
        flags |= e->sections[i].codec == CODEC_PACKED ? BLOCK_INCOMPAT_PACKED : 0;
    }
    return flags;
}

/* Values of metadata that the next filter is to know. */
static int note_meta(struct block_encoder *e) {
    size_t n = meta_builder_values(e->meta);
    buf_clear(&e->value_places);
    int r = buf_reserve(&e->value_places, n * GRAM_VALUE_BITS * sizeof(uint32_t));
    if (r < 0)
        return r;
    uint32_t *places = (uint32_t *)(void *)e->value_places.data;
    for (size_t i = 0; i < n; i++)
        gram_value_places(meta_builder_hash(e->meta, i), places + i * GRAM_VALUE_BITS);
    gram_builder_add(e->grams, places, n * GRAM_VALUE_BITS);
    return 0;
}

static uint8_t find_escapes(struct str lines) {
    const char *p = lines.data, *end = lines.data + lines.size;
    unsigned found = 0;
    while (found != BLOCK_ESCAPES && p < end && (p = memchr(p, '\\', (size_t)(end - p)))) {
        if (end - p > 4 && p[1] == 'u' && p[2] == '0' && p[3] == '0' && p[4] >= '2' && p[4] <= '7')
            found |= 1u << (p[4] - '0');
        p++;
    }
    return (uint8_t)found;
}

static int write_block(const struct block_encoder *e, const struct block_info *info,
                       struct buf *out) {
    int r = buf_reserve(out, info->stored_size);
    if (r < 0)
        return r;
    uint8_t *p = (uint8_t *)out->data + out->size;
    memcpy(p + BLOCK_AT_MAGIC, BLOCK_MAGIC, 8);
    put_le16(p + BLOCK_AT_SECTIONS, (uint16_t)e->n_sections);
    put_le16(p + BLOCK_AT_SECTIONS + 2, 0);
    put_le32(p + BLOCK_AT_INCOMPAT, incompatible_flags(e));
    put_le32(p + BLOCK_AT_COMPAT, BLOCK_ESCAPES_KNOWN | BLOCK_META_IN_FILTER | info->escapes);
    put_le32(p + BLOCK_AT_COUNT, info->count);
    put_le32(p + BLOCK_AT_LINE_BYTES, info->line_bytes);
    put_le32(p + BLOCK_AT_META_BYTES, info->meta_bytes);
    put_le32(p + BLOCK_AT_STORED, info->stored_size);
    put_le64(p + BLOCK_AT_FIRST, (uint64_t)info->first_ns);
    put_le64(p + BLOCK_AT_LAST, (uint64_t)info->last_ns);
    put_le64(p + BLOCK_AT_RESERVED, 0);
    for (uint32_t i = 0; i < e->n_sections; i++)
        write_section(p + BLOCK_HEADER_FIXED + (size_t)i * BLOCK_SECTION_SIZE, &e->sections[i],
                      info->header_size);
    const size_t sum_from = BLOCK_AT_CHECKSUM + 4;
    put_le32(p + BLOCK_AT_CHECKSUM, (uint32_t)hash64(p + sum_from, info->header_size - sum_from));
    memcpy(p + info->header_size, e->body.data, e->body.size);
    out->size += info->stored_size;
    return 0;
}

static int encode_sections(struct block_encoder *e, const struct block_input *in,
                           const uint32_t *order, size_t raw_size, enum block_effort effort) {
    e->n_sections = 0;
    buf_clear(&e->body);
    int r = add_times(e, effort, in, order);
    if (r == 0)
        r = gather_lines(e, in, order, raw_size);
    if (r == 0)
        r = make_table(e, effort, in->count);
    if (r == 0)
        r = add_lengths(e, effort, in, order);
    if (r == 0)
        r = add_meta(e, effort, in, order);
    if (r == 0)
        r = add_rollups(e, effort, in, order);
    if (r == 0)
        r = add_patterns(e, effort, in, order);
    if (r == 0)
        r = add_lines(e, effort);
    return r;
}

/* Size of all lines with their separators, checked against the maxima. */
static int measure(const struct block_input *in, size_t *ret_raw_size) {
    size_t raw_size = 0;
    if (in->count == 0)
        return -EINVAL;
    if (in->count > BLOCK_ENTRIES_MAX)
        return -E2BIG;
    for (uint32_t i = 0; i < in->count; i++) {
        if (in->lines[i].size >= BLOCK_RAW_MAX - raw_size)
            return -E2BIG;
        raw_size += in->lines[i].size + 1;
    }
    *ret_raw_size = raw_size;
    return 0;
}

static void trim(struct buf *b) {
    if (b->capacity > KEEP_MAX)
        buf_done(b);
}

/* A table has told most grams' first places; the filter is the same. */
static size_t build_filter(struct block_encoder *e) {
    struct str lines = e->text;
    uint32_t n = 0;
    const struct gram_span *fresh = e->is_table ? linetab_encoder_fresh(e->table, &n) : NULL;
    return n > 0 ? gram_build_spans(e->grams, lines, fresh, n, e->filter)
                 : gram_build(e->grams, lines, e->filter);
}

/* What block_encode does once sizes are known to be within bounds. */
static int encode(struct block_encoder *e, const struct block_input *in, enum block_effort effort,
                  size_t raw_size, struct buf *out, struct buf *filter) {
    uint64_t meta_bytes = 0;
    int r = meta_builder_load(e->meta, in, &meta_bytes);
    if (r < 0)
        return r;
    if (meta_bytes > UINT32_MAX)
        return -E2BIG;
    const uint32_t *order = NULL;
    if (!is_ascending(in->times, in->count)) {
        sort_entries(e, in->times, in->count);
        order = e->order;
    }
    r = encode_sections(e, in, order, raw_size, effort);
    if (r < 0)
        return r;
    uint32_t header_size = BLOCK_HEADER_FIXED + e->n_sections * BLOCK_SECTION_SIZE;
    if (e->body.size > UINT32_MAX - header_size)
        return -E2BIG;
    r = note_meta(e);
    if (r < 0)
        return r;
    size_t filter_size = build_filter(e);
    r = buf_reserve(filter, filter_size);
    if (r < 0)
        return r;
    struct block_info info = {
        .count = in->count,
        .line_bytes = (uint32_t)(raw_size - in->count),
        .meta_bytes = (uint32_t)meta_bytes,
        .stored_size = header_size + (uint32_t)e->body.size,
        .header_size = header_size,
        .first_ns = in->times[order ? order[0] : 0],
        .last_ns = in->times[order ? order[in->count - 1] : in->count - 1],
        .escapes = find_escapes(e->text),
    };
    r = write_block(e, &info, out);
    if (r == 0)
        buf_add(filter, e->filter, filter_size);
    return r;
}

int block_encode(struct block_encoder *e, const struct block_input *in, enum block_effort effort,
                 struct buf *out, struct buf *filter) {
    size_t raw_size = 0;
    int r = measure(in, &raw_size);
    if (r == 0)
        r = prepare_effort(e, effort);
    if (r == 0)
        r = encode(e, in, effort, raw_size, out, filter);
    trim(&e->lines);
    trim(&e->coded);
    trim(&e->column);
    trim(&e->body);
    trim(&e->value_places);
    return r;
}

int block_encode_view(struct block_encoder *e, const struct block_input *in,
                      enum block_effort effort, struct str *ret_block, struct str *ret_filter) {
    trim(&e->block);
    buf_clear(&e->block);
    buf_clear(&e->block_filter);
    int r = block_encode(e, in, effort, &e->block, &e->block_filter);
    *ret_block = buf_str(&e->block);
    *ret_filter = buf_str(&e->block_filter);
    return r;
}

void *block_encoder_room(struct block_encoder *e, size_t size) {
    trim(&e->room);
    buf_clear(&e->room);
    return buf_reserve(&e->room, size) == 0 ? e->room.data : NULL;
}
