#include "block.h"

#include <errno.h>
#include <stdlib.h>

#include "bytes.h"
#include "gram.h"
#include "hash.h"
#include "patterns.h"
#include "test.h"

/* ---- a block as the model sees it: arrays, and what must come out of them */

enum { MODEL_MAX = 4096, SETS_MAX = 600, PAIRS_MAX = 8 };

struct model {
    uint32_t count;
    int64_t times[MODEL_MAX];
    struct str lines[MODEL_MAX];
    uint32_t meta_ids[MODEL_MAX];
    struct label pairs[SETS_MAX][PAIRS_MAX];
    struct labels sets[SETS_MAX];
    uint32_t n_sets;
    struct arena arena;
};

static struct model model;
static struct block_encoder *encoder;
static uint64_t random_state = 42;

static uint32_t random_below(uint32_t n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

static struct str textf(const char *format, unsigned a, unsigned b) {
    char text[128];
    int n = snprintf(text, sizeof(text), format, a, b);
    return arena_copy(&model.arena, str_make(text, (size_t)n));
}

static void model_reset(void) {
    arena_done(&model.arena);
    memset(&model, 0, sizeof(model));
    model.arena = arena_make(64 << 20);
    model.n_sets = 1;
}

static void model_add(int64_t time, struct str line, uint32_t set) {
    model.times[model.count] = time;
    model.lines[model.count] = line;
    model.meta_ids[model.count++] = set;
}

static uint32_t model_add_set(const struct label *pairs, size_t n) {
    uint32_t set = model.n_sets++;
    memcpy(model.pairs[set], pairs, n * sizeof(*pairs));
    model.sets[set] = (struct labels){.items = model.pairs[set], .count = n};
    return set;
}

static struct block_input model_input(void) {
    return (struct block_input){
        .count = model.count,
        .times = model.times,
        .lines = model.lines,
        .meta_ids = model.meta_ids,
        .meta_sets = model.sets,
        .n_meta_sets = model.n_sets,
    };
}

/* Slow and obvious: the input's index of each entry, sorted by time, equal times as they came. */
static void model_order(uint32_t *order) {
    for (uint32_t i = 0; i < model.count; i++) {
        uint32_t k = i;
        for (; k > 0 && model.times[order[k - 1]] > model.times[i]; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
}

static struct str section_bytes(struct str block, const struct section *s) {
    return str_make(block.data + s->offset, s->stored_size);
}

static void check_meta(struct str block, const struct block_info *info, const uint32_t *order,
                       struct arena *arena) {
    struct str before = {0};
    uint64_t pairs = 0, want_pairs = 0, bytes = 0;
    for (uint32_t i = 0; i < info->n_sections; i++) {
        const struct section *s = &info->sections[i];
        if (s->kind != SECTION_META)
            continue;
        struct meta_column c;
        struct err err;
        CHECK_INT(block_decode_meta(info, s, section_bytes(block, s), arena, &c, &err), 0);
        CHECK(str_cmp(before, c.name) < 0);
        CHECK_INT(s->key, (uint32_t)hash_str(c.name));
        before = c.name;
        for (uint32_t k = 0; k < info->count; k++) {
            struct labels set = model.sets[model.meta_ids[order[k]]];
            struct str want = {0};
            for (size_t p = 0; p < set.count; p++) {
                if (str_eq(set.items[p].name, c.name))
                    want = set.items[p].value;
            }
            pairs += c.ids[k] > 0;
            CHECK((c.ids[k] == 0) == (want.data == NULL));
            if (c.ids[k] > 0)
                CHECK_STR(c.values[c.ids[k] - 1], want);
        }
    }
    for (uint32_t i = 0; i < model.count; i++) {
        struct labels set = model.sets[model.meta_ids[i]];
        want_pairs += set.count;
        for (size_t p = 0; p < set.count; p++)
            bytes += set.items[p].name.size + set.items[p].value.size;
    }
    CHECK_INT(pairs, want_pairs);
    CHECK_INT(info->meta_bytes, bytes);
}

static void check_columns(struct str block, const struct block_info *info) {
    static int64_t times[MODEL_MAX];
    static uint32_t offsets[MODEL_MAX + 1], order[MODEL_MAX];
    struct buf scratch = buf_make(BLOCK_RAW_MAX);
    struct arena arena = arena_make(64 << 20);
    struct err err;
    const struct section *s = block_section(info, SECTION_TIMES);
    CHECK_INT(block_decode_times(info, s, section_bytes(block, s), &scratch, times, &err), 0);
    s = block_section(info, SECTION_LENGTHS);
    CHECK_INT(block_decode_lengths(info, s, section_bytes(block, s), &scratch, offsets, &err), 0);
    s = block_section(info, SECTION_LINES);
    char *lines = malloc(s->raw_size);
    CHECK_INT(block_decode_lines(info, s, section_bytes(block, s), NULL, lines, &err), 0);
    CHECK_INT(block_check_line_ends(info, offsets, lines, &err), 0);
    CHECK_INT(offsets[info->count], s->raw_size);
    model_order(order);
    for (uint32_t k = 0; k < info->count; k++) {
        CHECK_INT(times[k], model.times[order[k]]);
        CHECK_STR(str_make(lines + offsets[k], offsets[k + 1] - 1 - offsets[k]),
                  model.lines[order[k]]);
    }
    check_meta(block, info, order, &arena);
    free(lines);
    arena_done(&arena);
    buf_done(&scratch);
}

/* The model's lines are one text: the block is the same, and nothing but the text's bytes matters. `want`: of the lines one
 * by one. */
static void check_one_text(enum block_effort effort, struct str want, struct str want_filter) {
    static uint32_t offsets[MODEL_MAX + 1];
    struct block_input in = model_input();
    for (uint32_t i = 0; i < in.count; i++)
        offsets[i + 1] = offsets[i] + (uint32_t)in.lines[i].size + 1;
    char *text = malloc(offsets[in.count] + (size_t)LINETAB_SLACK);
    for (uint32_t i = 0; i < in.count; i++) {
        if (in.lines[i].size > 0)
            memcpy(text + offsets[i], in.lines[i].data, in.lines[i].size);
        text[offsets[i + 1] - 1] = '\n';
    }
    memset(text + offsets[in.count], '7', LINETAB_SLACK);
    in.text = text;
    in.offsets = offsets;
    struct buf out = buf_make(BUF_NO_MAX), filter = buf_make(BUF_NO_MAX);
    CHECK_INT(block_encode(encoder, &in, effort, &out, &filter), 0);
    CHECK_STR(buf_str(&out), want);
    CHECK_STR(buf_str(&filter), want_filter);
    buf_done(&filter);
    buf_done(&out);
    free(text);
}

/* Encodes the model with each effort, decodes it and compares. */
static void check_round_trip(void) {
    for (int effort = EFFORT_FAST; effort <= EFFORT_TABLE; effort++) {
        struct buf out = buf_make(BUF_NO_MAX), filter = buf_make(BUF_NO_MAX);
        struct arena arena = arena_make(1 << 20);
        struct block_input in = model_input();
        struct block_info info;
        struct err err;
        buf_add(&out, "xyz", 3); /* appended, not written over */
        CHECK_INT(block_encode(encoder, &in, (enum block_effort)effort, &out, &filter), 0);
        struct str block = str_from_offset(buf_str(&out), 3);
        int r = block_parse_header(block, &arena, &info, &err);
        CHECK_INT(r, 0);
        if (r == 0) {
            CHECK_INT(info.count, model.count);
            CHECK_INT(info.stored_size, block.size);
            check_columns(block, &info);
        }
        CHECK(filter.size >= 8 && filter.size == 8 + get_le32(filter.data) / 8);
        check_one_text((enum block_effort)effort, block, buf_str(&filter));
        arena_done(&arena);
        buf_done(&filter);
        buf_done(&out);
    }
}

/* ---- cases */

static void one_entry(void) {
    model_reset();
    model_add(-5, STR(""), 0);
    check_round_trip();
    model_reset();
    model_add(INT64_MIN, STR("a\nb\0c"), 0);
    check_round_trip();
}

static void times_of_all_kinds(void) {
    static const int64_t cases[][5] = {
        {1, 2, 3, 4, 5},
        {0, 0, 0, 0, 0},
        {5, 4, 3, 2, 1},
        {INT64_MIN, -1, 0, 1, INT64_MAX},
        {INT64_MAX, INT64_MIN, 0, INT64_MIN, INT64_MAX},
        {-3000, -2000, -1000, 0, 7000},
        {-3000000, 2000000, 2000000, 1700000000000000000, 1700000001000000000},
        {1000000, 2000000, 2000500, 2001000, 9000000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        model_reset();
        for (unsigned k = 0; k < 5; k++)
            model_add(cases[i][k], textf("line %u of %u", k, (unsigned)i), 0);
        check_round_trip();
    }
}

static void sorting_is_stable(void) {
    static const uint32_t spreads[] = {1, 3, 50, 1000000};
    for (size_t i = 0; i < sizeof(spreads) / sizeof(spreads[0]); i++) {
        model_reset();
        for (unsigned k = 0; k < 3000; k++)
            model_add(k / 3 + random_below(spreads[i]), textf("line %u (%u)", k, 0), 0);
        check_round_trip();
    }
}

static void metadata_columns(void) {
    model_reset();
    for (unsigned i = 0; i < 500; i++) {
        struct label pairs[] = {
            {STR("always"), STR("same")},
            {textf("rare%u", i % 7, 0), STR("x")},
            {STR("shared"), textf("v%u", i % 5, 0)},
            {STR("trace"), textf("%08x%08x", i * 2654435761u, i)},
        };
        model_add_set(pairs + i % 2, 4 - i % 2);
    }
    for (unsigned k = 0; k < 2000; k++)
        model_add(k * 1000, textf("line %u %u", k, random_below(100)), random_below(400));
    check_round_trip(); /* sets 400.. are used by no entry */
    for (unsigned k = 0; k < 2000; k++)
        model.meta_ids[k] = 0;
    check_round_trip();
}

/* Dictionaries whose ids need one bit more or less. */
static void widths_of_ids(void) {
    static const unsigned sizes[] = {1, 2, 3, 4, 7, 8, 15, 16, 127, 128, 255, 256, 511, 512};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        model_reset();
        for (unsigned k = 0; k < sizes[i]; k++) {
            struct label pair = {STR("n"), textf("%u", k, 0)};
            model_add_set(&pair, 1);
        }
        for (unsigned k = 0; k <= sizes[i]; k++)
            model_add(k, STR("l"), k);
        check_round_trip();
    }
}

static void random_blocks(void) {
    for (int round = 0; round < 20; round++) {
        model_reset();
        for (unsigned k = 1 + random_below(2000); k > 0; k--) {
            char line[300];
            size_t size = random_below(random_below(10) == 0 ? 300 : 20);
            for (size_t c = 0; c < size; c++)
                line[c] = (char)(round % 2 ? random_below(256) : 'a' + random_below(3));
            model_add((int64_t)random_below(1 << 30) << random_below(30),
                      arena_copy(&model.arena, str_make(line, size)), 0);
        }
        check_round_trip();
    }
}

static void refuses_what_is_too_big(void) {
    struct buf out = buf_make(BUF_NO_MAX), filter = buf_make(BUF_NO_MAX);
    model_reset();
    struct block_input in = model_input();
    CHECK_INT(block_encode(encoder, &in, EFFORT_FAST, &out, &filter), -EINVAL);

    uint32_t n = BLOCK_ENTRIES_MAX + 1;
    int64_t *times = calloc(n, sizeof(*times));
    struct str *lines = calloc(n, sizeof(*lines));
    in = (struct block_input){.count = n, .times = times, .lines = lines};
    CHECK_INT(block_encode(encoder, &in, EFFORT_FAST, &out, &filter), -E2BIG);
    in.count = BLOCK_ENTRIES_MAX;
    CHECK_INT(block_encode(encoder, &in, EFFORT_FAST, &out, &filter), 0);

    char *big = calloc(1, BLOCK_RAW_MAX);
    buf_clear(&out);
    buf_clear(&filter);
    lines[0] = str_make(big, BLOCK_RAW_MAX);
    in.count = 1;
    CHECK_INT(block_encode(encoder, &in, EFFORT_FAST, &out, &filter), -E2BIG);
    lines[0].size = BLOCK_RAW_MAX - 1;
    CHECK_INT(block_encode(encoder, &in, EFFORT_FAST, &out, &filter), 0);

    struct label *pairs = calloc(BLOCK_META_COLUMNS_MAX + 1, sizeof(*pairs));
    for (unsigned i = 0; i <= BLOCK_META_COLUMNS_MAX; i++)
        pairs[i] = (struct label){textf("n%05u", i, 0), STR("v")};
    struct labels sets[2] = {{0}, {.items = pairs, .count = BLOCK_META_COLUMNS_MAX + 1}};
    uint32_t id = 1;
    in = (struct block_input){.count = 1,
                              .times = times,
                              .lines = &lines[1],
                              .meta_ids = &id,
                              .meta_sets = sets,
                              .n_meta_sets = 2};
    size_t before = out.size;
    CHECK_INT(block_encode(encoder, &in, EFFORT_FAST, &out, &filter), -E2BIG);
    CHECK_INT(out.size, before);
    sets[1].count = BLOCK_META_COLUMNS_MAX;
    CHECK_INT(block_encode(encoder, &in, EFFORT_FAST, &out, &filter), 0);
    free(pairs);
    free(big);
    free(lines);
    free(times);
    buf_done(&filter);
    buf_done(&out);
}

/* ---- damage */

static void put_header_checksum(struct buf *b) {
    size_t size = BLOCK_HEADER_FIXED + (size_t)get_le16(b->data + 12) * BLOCK_SECTION_SIZE;
    put_le32(b->data + 8, (uint32_t)hash64(b->data + 12, size - 12));
}

/* Decodes everything; the first error. */
static int decode_all(struct str block) {
    static int64_t times[MODEL_MAX];
    static uint32_t offsets[MODEL_MAX + 1];
    struct buf scratch = buf_make(BLOCK_RAW_MAX);
    struct arena arena = arena_make(64 << 20);
    struct block_info info;
    struct err err;
    int r = block_parse_header(block, &arena, &info, &err);
    if (r == 0 && (info.stored_size > block.size || info.count > MODEL_MAX))
        r = -ECORRUPT;
    for (uint32_t i = 0; r == 0 && i < info.n_sections; i++) {
        const struct section *s = &info.sections[i];
        struct str stored = section_bytes(block, s);
        struct meta_column c;
        if (s->kind == SECTION_TIMES) {
            r = block_decode_times(&info, s, stored, &scratch, times, &err);
        } else if (s->kind == SECTION_LENGTHS) {
            r = block_decode_lengths(&info, s, stored, &scratch, offsets, &err);
        } else if (s->kind == SECTION_META) {
            r = block_decode_meta(&info, s, stored, &arena, &c, &err);
        } else if (s->kind == SECTION_LINES) {
            char *lines = malloc(s->raw_size);
            r = block_decode_lines(&info, s, stored, NULL, lines, &err);
            if (r == 0)
                r = block_check_line_ends(&info, offsets, lines, &err);
            free(lines);
        } else if (s->kind == SECTION_PATTERNS) {
            struct pattern_list list;
            r = block_decode_patterns(s, stored, &arena, &list, &err);
        }
    }
    arena_done(&arena);
    buf_done(&scratch);
    return r;
}

static void encode_small(struct buf *out) {
    struct buf filter = buf_make(BUF_NO_MAX);
    model_reset();
    struct label pair = {STR("level"), STR("info")};
    uint32_t set = model_add_set(&pair, 1);
    for (unsigned k = 0; k < 40; k++)
        model_add(1000 + k * k, textf("a line with number %u and %u", k, k * 7), k % 3 ? set : 0);
    struct block_input in = model_input();
    CHECK_INT(block_encode(encoder, &in, EFFORT_FAST, out, &filter), 0);
    CHECK_INT(decode_all(buf_str(out)), 0);
    buf_done(&filter);
}

/* A block of few bytes is left to be mined by whoever asks. */
static void small_blocks_have_no_patterns(void) {
    for (unsigned extra = 0; extra < 2; extra++) {
        struct buf out = buf_make(BUF_NO_MAX), filter = buf_make(BUF_NO_MAX);
        struct arena arena = arena_make(1 << 20);
        struct block_info info;
        model_reset();
        for (unsigned i = 0; i < PATTERNS_LEAST_BYTES / 16 - 1 + extra; i++)
            model_add(1000 + i, textf("line %04u of%4u", i, i / 2), 0);
        struct block_input in = model_input();
        CHECK_INT(block_encode(encoder, &in, EFFORT_TABLE, &out, &filter), 0);
        CHECK_INT(block_parse_header(buf_str(&out), &arena, &info, NULL), 0);
        CHECK_INT(block_section(&info, SECTION_PATTERNS) != NULL, extra);
        arena_done(&arena);
        buf_done(&out);
        buf_done(&filter);
    }
}

static void every_flipped_bit_is_noticed(void) {
    struct buf out = buf_make(BUF_NO_MAX);
    encode_small(&out);
    for (size_t i = 0; i < out.size * 8; i++) {
        out.data[i / 8] = (char)(out.data[i / 8] ^ 1 << i % 8);
        CHECK(decode_all(buf_str(&out)) < 0);
        out.data[i / 8] = (char)(out.data[i / 8] ^ 1 << i % 8);
    }
    for (size_t size = 0; size < out.size; size++)
        CHECK(decode_all(str_make(out.data, size)) < 0);
    buf_done(&out);
}

/* Header fields that contradict the rest, under a right checksum. */
static void contradictions_are_noticed(void) {
    static const struct {
        size_t at;
        uint32_t value;
        int want;
    } cases[] = {
        {12, 3, -ECORRUPT},                                  /* sections */
        {12, BLOCK_SECTIONS_MAX + 1, -ECORRUPT},             /* sections */
        {16, 4, -EFORMAT},                                   /* incompatible flag */
        {24, 0, -ECORRUPT},                                  /* entries */
        {24, 41, -ECORRUPT},                                 /* entries */
        {24, BLOCK_ENTRIES_MAX + 1, -ECORRUPT},              /* entries */
        {28, 1, -ECORRUPT},                                  /* line bytes */
        {36, 100, -ECORRUPT},                                /* stored size */
        {40, 1001, -ECORRUPT},                               /* first time */
        {48, 999, -ECORRUPT},                                /* last time */
        {48, 1000 + 39 * 39 + 1, -ECORRUPT},                 /* last time */
        {64, 2, -ECORRUPT},                                  /* kind of the times: lengths twice */
        {64, 1 | 9 << 8, -EFORMAT},                          /* codec */
        {64 + 8, 0, -ECORRUPT},                              /* offset */
        {64 + 16, 1 << 30, -ECORRUPT},                       /* raw size */
        {64 + 20, 1, -ECORRUPT},                             /* checksum of a section */
        {64 + 2 * 24 + 4, 7, -ECORRUPT},                     /* key of the column */
        {64 + 3 * 24, SECTION_LINES | CODEC_NONE, -ECORRUPT} /* codec of the lines */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = buf_make(BUF_NO_MAX);
        encode_small(&out);
        put_le32(out.data + cases[i].at, cases[i].value);
        if (cases[i].at != 12)
            put_header_checksum(&out);
        CHECK_INT(decode_all(buf_str(&out)), cases[i].want);
        buf_done(&out);
    }
    /* A flag of the compatible word and an unknown kind are somebody else's and do no harm. */
    struct buf out = buf_make(BUF_NO_MAX);
    encode_small(&out);
    put_le32(out.data + 20, 0x80);
    out.data[64 + 2 * 24] = 77;
    put_header_checksum(&out);
    CHECK_INT(decode_all(buf_str(&out)), 0);
    buf_done(&out);
}

/* A block as the first version of the format wrote it: it must be readable for ever. */
static void first_version_is_readable(void) {
    static const uint8_t bytes[] = {
        0x4c, 0x51, 0x42, 0x4c, 0x4f, 0x43, 0x4b, 0x31, 0x3c, 0x0f, 0x68, 0xb4, 0x05, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x45, 0x00,
        0x00, 0x00, 0x25, 0x00, 0x00, 0x00, 0x1a, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x4e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xb8, 0x00, 0x00,
        0x00, 0x04, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0xac, 0xc8, 0x6d, 0xcb, 0x02, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xbc, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x03,
        0x00, 0x00, 0x00, 0xc0, 0x07, 0x02, 0xb2, 0x04, 0x00, 0x00, 0x00, 0x33, 0x8a, 0x41, 0x27,
        0xbf, 0x00, 0x00, 0x00, 0x13, 0x00, 0x00, 0x00, 0x13, 0x00, 0x00, 0x00, 0xa8, 0x11, 0xa0,
        0xd6, 0x04, 0x00, 0x00, 0x00, 0xbc, 0xd8, 0xa1, 0x46, 0xd2, 0x00, 0x00, 0x00, 0x12, 0x00,
        0x00, 0x00, 0x12, 0x00, 0x00, 0x00, 0x14, 0x0b, 0xfd, 0xa0, 0x03, 0x01, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0xe4, 0x00, 0x00, 0x00, 0x36, 0x00, 0x00, 0x00, 0x48, 0x00, 0x00, 0x00,
        0x72, 0x94, 0xe6, 0x1d, 0x00, 0x02, 0x26, 0x08, 0x17, 0x17, 0x17, 0x05, 0x6c, 0x65, 0x76,
        0x65, 0x6c, 0x02, 0x05, 0x65, 0x72, 0x72, 0x6f, 0x72, 0x04, 0x69, 0x6e, 0x66, 0x6f, 0x24,
        0x05, 0x74, 0x72, 0x61, 0x63, 0x65, 0x02, 0x04, 0x76, 0x30, 0x78, 0x30, 0x04, 0x76, 0x31,
        0x78, 0x31, 0x24, 0xb3, 0x30, 0x20, 0x72, 0x65, 0x71, 0x75, 0x65, 0x73, 0x74, 0x20, 0x30,
        0x01, 0x00, 0x75, 0x20, 0x64, 0x6f, 0x6e, 0x65, 0x0a, 0x31, 0x18, 0x00, 0x82, 0x39, 0x65,
        0x33, 0x37, 0x37, 0x39, 0x62, 0x31, 0x18, 0x00, 0x15, 0x32, 0x18, 0x00, 0xe0, 0x33, 0x63,
        0x36, 0x65, 0x66, 0x33, 0x36, 0x32, 0x20, 0x64, 0x6f, 0x6e, 0x65, 0x0a};
    struct label first[] = {{STR("level"), STR("error")}, {STR("trace"), STR("v0x0")}};
    struct label second[] = {{STR("level"), STR("info")}, {STR("trace"), STR("v1x1")}};
    struct arena arena = arena_make(1 << 20);
    struct block_info info;
    struct err err;
    model_reset();
    model_add(0, STR("0 request 00000000 done"), 0);
    model_add(38, STR("1 request 9e3779b1 done"), model_add_set(first, 2));
    model_add(78, STR("2 request 3c6ef362 done"), model_add_set(second, 2));
    struct str block = str_make((const char *)bytes, sizeof(bytes));
    CHECK_INT(block_parse_header(block, &arena, &info, &err), 0);
    check_columns(block, &info);
    arena_done(&arena);
}

/* The first block with its lines as a table and packed lengths. */
static void first_table_is_readable(void) {
    static const uint8_t bytes[] = {
        0x4c, 0x51, 0x42, 0x4c, 0x4f, 0x43, 0x4b, 0x31, 0x3b, 0xe6, 0x90, 0xe8, 0x04, 0x00, 0x00,
        0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x16, 0x03,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xaf, 0x01, 0x00, 0x00, 0xe8, 0x03, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x61, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xa0, 0x00, 0x00,
        0x00, 0x0a, 0x00, 0x00, 0x00, 0x0a, 0x00, 0x00, 0x00, 0x4d, 0x5c, 0x33, 0xd4, 0x02, 0x04,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xaa, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x0c,
        0x00, 0x00, 0x00, 0x2f, 0xc7, 0xe4, 0x63, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0xaf, 0x00, 0x00, 0x00, 0x2a, 0x00, 0x00, 0x00, 0x2a, 0x00, 0x00, 0x00, 0x0e, 0xbb, 0xb7,
        0xc7, 0x03, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xd9, 0x00, 0x00, 0x00, 0xd6, 0x00,
        0x00, 0x00, 0x22, 0x03, 0x00, 0x00, 0xad, 0x37, 0xad, 0xbd, 0x00, 0x05, 0x01, 0x40, 0x10,
        0x83, 0x14, 0x73, 0x50, 0x52, 0x02, 0x40, 0x91, 0xba, 0xae, 0x01, 0x0a, 0x00, 0x01, 0x00,
        0x0c, 0x20, 0x7b, 0x22, 0x61, 0x74, 0x22, 0x3a, 0x22, 0x01, 0x22, 0x2c, 0x22, 0x69, 0x64,
        0x22, 0x3a, 0x22, 0x01, 0x22, 0x2c, 0x22, 0x6e, 0x22, 0x01, 0x2c, 0x22, 0x77, 0x22, 0x3a,
        0x22, 0x01, 0x22, 0x7d, 0x01, 0x00, 0x0c, 0x01, 0x00, 0x00, 0x00, 0x4e, 0x00, 0x00, 0x00,
        0x4e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x70, 0x00, 0x00,
        0x00, 0x01, 0x01, 0x00, 0x0c, 0x07, 0x7b, 0x22, 0x61, 0x74, 0x22, 0x3a, 0x22, 0x07, 0x01,
        0x01, 0x54, 0x2e, 0x01, 0xc5, 0xbe, 0xc0, 0xf2, 0x42, 0x0b, 0x09, 0x5a, 0x22, 0x2c, 0x22,
        0x69, 0x64, 0x22, 0x3a, 0x22, 0x05, 0x00, 0x08, 0x06, 0x22, 0x2c, 0x22, 0x6e, 0x22, 0x3a,
        0x04, 0x00, 0x01, 0x01, 0x00, 0x0e, 0x06, 0x2c, 0x22, 0x77, 0x22, 0x3a, 0x22, 0x02, 0x02,
        0x01, 0x01, 0x01, 0x09, 0x00, 0x03, 0x65, 0x72, 0x72, 0x6f, 0x72, 0x69, 0x6e, 0x66, 0x6f,
        0x02, 0x22, 0x7d, 0x00, 0xff, 0x0f, 0x06, 0x00, 0x80, 0x2c, 0xcb, 0xb2, 0x2c, 0xcb, 0xb2,
        0x2c, 0xcb, 0x00, 0x00, 0x00, 0x00, 0x9e, 0x37, 0x79, 0xb1, 0x3c, 0x6e, 0xf3, 0x62, 0xda,
        0xa6, 0x6d, 0x13, 0x78, 0xdd, 0xe6, 0xc4, 0x17, 0x15, 0x60, 0x75, 0xb5, 0x4c, 0xda, 0x26,
        0x53, 0x84, 0x53, 0xd7, 0xf1, 0xbb, 0xcd, 0x88, 0x8f, 0xf3, 0x47, 0x39, 0x2e, 0x2a, 0xc0,
        0xea, 0xcc, 0x62, 0x3a, 0x9b, 0x08, 0x00, 0x00, 0x07, 0x15, 0x23, 0x31, 0x3f, 0x4d, 0x5b,
        0x69, 0x77, 0x85, 0x93, 0xb6, 0x0d, 0x01, 0x04, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
    struct arena arena = arena_make(1 << 20);
    struct block_info info;
    struct err err;
    model_reset();
    for (unsigned i = 0; i < 12; i++) {
        char text[80];
        int n =
            snprintf(text, sizeof(text),
                     "{\"at\":\"2026-11-26T10:00:%02u.5Z\",\"id\":\"%08x\",\"n\":%u,\"w\":\"%s\"}",
                     i * 5, i * 0x9e3779b1u, i * i * 7, i % 3 ? "info" : "error");
        model_add(1000 + i * i, arena_copy(&model.arena, str_make(text, (size_t)n)), 0);
    }
    struct str block = str_make((const char *)bytes, sizeof(bytes));
    CHECK_INT(block_parse_header(block, &arena, &info, &err), 0);
    CHECK_INT(block_section(&info, SECTION_LINES)->codec, CODEC_TABLE);
    CHECK_INT(block_section(&info, SECTION_LENGTHS)->codec, CODEC_PACKED);
    check_columns(block, &info);
    arena_done(&arena);
}

int main(void) {
    encoder = block_encoder_new();
    RUN(one_entry);
    RUN(times_of_all_kinds);
    RUN(sorting_is_stable);
    RUN(metadata_columns);
    RUN(widths_of_ids);
    RUN(random_blocks);
    RUN(refuses_what_is_too_big);
    RUN(small_blocks_have_no_patterns);
    RUN(every_flipped_bit_is_noticed);
    RUN(contradictions_are_noticed);
    RUN(first_version_is_readable);
    RUN(first_table_is_readable);
    arena_done(&model.arena);
    block_encoder_free(encoder);
    return test_done();
}
