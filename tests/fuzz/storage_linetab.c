/* Tables of lines: arbitrary bytes as an encoded table, or arbitrary lines there and back. The first byte chooses. */
#include <stdlib.h>

#include "gram.h"
#include "linetab.h"

enum { LINES_SIZE = 1 << 16, COUNT_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool refuses(void *ctx, struct str value, bool quoted) {
    *(size_t *)ctx += value.size > 0 ? (unsigned char)value.data[value.size - 1] : quoted;
    return value.size % 2 > 0;
}

static uint32_t wants(void *ctx, const struct str *path, size_t depth) {
    *(size_t *)ctx += depth;
    return path[depth - 1].size % 3 == 0 ? 0 : path[0].size % 3 == 0 ? 1 : LINETAB_UNWANTED;
}

static void read_fields(struct linetab *t, enum linetab_form form, uint32_t count) {
    size_t sum = 0;
    struct linetab_question q = {
        .form = form, .wanted = wants, .ctx = &sum, .n_wanted = 2, .until_found = count % 2};
    struct linetab_value values[LINETAB_FIELDS_MAX];
    struct err err;
    if (linetab_find_fields(t, &q, &err) <= 0)
        return;
    for (uint32_t i = 0; i < count; i++) {
        size_t n = linetab_has_fields(t, i) ? linetab_fields(t, i, values) : 0;
        if (linetab_fields_combination(t, i) >= LINETAB_COMBINATIONS_MAX &&
            linetab_fields_combination(t, i) != LINETAB_UNWANTED)
            abort();
        while (n-- > 0)
            (void)refuses(&sum, values[n].text, values[n].quoted);
    }
}

static void decode(struct str encoded, uint32_t count, uint32_t lines_size) {
    static uint8_t levels[COUNT_MAX];
    static uint64_t wanted[COUNT_MAX / 64 + 1];
    uint32_t offsets[COUNT_MAX + 1];
    struct linetab *t = linetab_new();
    char *lines = malloc(lines_size > 0 ? lines_size : 1);
    struct err err;
    if (t && lines && linetab_open(t, encoded, count, &err) == 0) {
        (void)linetab_match(t, STR("error=1"), false, levels, &err);
        (void)linetab_match(t, STR("Error"), true, levels, &err);
        uint64_t allowed[256] = {['e'] = 1, ['='] = 4, ['5'] = 8, ['a'] = 2};
        for (unsigned c = '0'; c <= '9'; c++)
            allowed[c] |= 3 | (uint64_t)(count % 2) << 3;
        struct linetab_row row = {.size = 3 + count % 2, .allowed = allowed};
        (void)linetab_match_row(t, &row, levels, &err);
        size_t sum = 0;
        (void)linetab_refuse(t, FORM_JSON, STR("status"), refuses, &sum, levels, &err);
        (void)linetab_refuse(t, FORM_LOGFMT, STR("level"), refuses, &sum, levels, &err);
        read_fields(t, FORM_JSON, count);
        read_fields(t, FORM_LOGFMT, count);
        for (uint32_t i = 0; i < count / 64; i++)
            wanted[i] = UINT64_C(0x5a5a5a5a5a5a5a5a);
        (void)linetab_rows(t, wanted, lines, lines_size, offsets, &err);
        (void)linetab_lines(t, lines, lines_size, &err);
    }
    free(lines);
    linetab_free(t);
}

/* Is the filter of the spans that the encoder told that of all lines? */
static bool fresh_is_all(const struct linetab_encoder *e, struct str text) {
    static uint8_t want[GRAM_FILTER_MAX_BYTES + 8], got[GRAM_FILTER_MAX_BYTES + 8];
    static struct gram_builder *grams;
    uint32_t n = 0;
    const struct gram_span *spans = linetab_encoder_fresh(e, &n);
    if (!grams)
        grams = gram_builder_new();
    if (!grams)
        return true;
    struct buf runs = buf_make(BUF_NO_MAX);
    for (uint32_t i = 0; i < n; i++) {
        size_t end = spans[i].end + (size_t)LINETAB_RUN - 1;
        buf_add(&runs, text.data + spans[i].from,
                (end < text.size ? end : text.size) - spans[i].from);
        buf_add_char(&runs, '\n');
    }
    size_t size = gram_build(grams, text, want);
    bool same = gram_build(grams, buf_str(&runs), got) == size && memcmp(got, want, size) == 0;
    buf_done(&runs);
    return same && gram_build_spans(grams, text, spans, n, got) == size &&
           memcmp(got, want, size) == 0;
}

/* Does the encoder write these bytes for any processor? */
static bool narrow_is_same(struct str text, const uint32_t *offsets, uint32_t count,
                           struct str encoded) {
    struct linetab_encoder *e = linetab_encoder_new();
    struct buf out = buf_make(BUF_NO_MAX);
    bool same = true;
    if (e) {
        linetab_encoder_narrow(e);
        same = linetab_encode(e, text, offsets, count, &out) != 1 || str_eq(buf_str(&out), encoded);
    }
    buf_done(&out);
    linetab_encoder_free(e);
    return same;
}

/* A bit here and there turned over: the comparison that the encoder trusts says what reading all lines says. */
static void turn_bits(struct linetab *t, struct buf *encoded, struct str text,
                      const uint32_t *offsets, uint32_t count) {
    char *lines = malloc(text.size);
    struct err err;
    uint64_t random = encoded->size * 0x9e3779b97f4a7c15u;
    for (unsigned i = 0; i < 32 && lines; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        char *at = encoded->data + (random >> 33) % encoded->size, bit = (char)(1 << (i & 7));
        *at ^= bit;
        bool opens = linetab_open(t, buf_str(encoded), count, &err) == 0;
        bool equal = opens && linetab_equals(t, text, offsets, &err) == 1;
        bool same = opens && linetab_lines(t, lines, text.size, &err) == 0 &&
                    memcmp(lines, text.data, text.size) == 0;
        if (equal != same)
            abort();
        *at ^= bit;
    }
    free(lines);
}

static void there_and_back(struct str bytes) {
    struct linetab_encoder *e = linetab_encoder_new();
    struct linetab *t = linetab_new();
    struct buf text = buf_make(BUF_NO_MAX), out = buf_make(BUF_NO_MAX);
    uint32_t offsets[COUNT_MAX + 1], count = 0;
    struct err err;
    offsets[0] = 0;
    /* Few bytes make many lines: each is there three times. */
    for (size_t at = 0; at < bytes.size && count < COUNT_MAX - 3;) {
        const char *end = memchr(bytes.data + at, '\n', bytes.size - at);
        size_t size = (end ? (size_t)(end - bytes.data) : bytes.size) - at;
        for (unsigned i = 0; i < 3; i++) {
            buf_add(&text, bytes.data + at, size);
            buf_add_char(&text, '\n');
            offsets[++count] = (uint32_t)text.size;
        }
        at += size + 1;
    }
    if (e && t && buf_reserve(&text, LINETAB_SLACK) == 0 &&
        linetab_encode(e, buf_str(&text), offsets, count, &out) == 1) {
        char *lines = malloc(text.size);
        if (lines && (linetab_open(t, buf_str(&out), count, &err) < 0 ||
                      linetab_lines(t, lines, text.size, &err) < 0 ||
                      memcmp(lines, text.data, text.size) != 0))
            abort();
        if (!fresh_is_all(e, buf_str(&text)) ||
            !narrow_is_same(buf_str(&text), offsets, count, buf_str(&out)))
            abort();
        turn_bits(t, &out, buf_str(&text), offsets, count);
        free(lines);
    }
    if (e && linetab_encoder_mismatches(e) > 0)
        abort();
    buf_done(&text);
    buf_done(&out);
    linetab_free(t);
    linetab_encoder_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4)
        return 0;
    struct str rest = str_make((const char *)data + 4, size - 4);
    uint32_t count = 1 + (data[1] | (uint32_t)(data[2] & 15) << 8);
    char *copy = malloc(rest.size > 0 ? rest.size : 1);
    if (!copy)
        return 0;
    memcpy(copy, rest.data, rest.size);
    rest.data = copy;
    if (data[0] & 1)
        there_and_back(rest);
    else
        decode(rest, count, data[3] * 256u);
    free(copy);
    return 0;
}
