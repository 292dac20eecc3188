/* Reading encoded blocks. Nothing here trusts a stored value: every size is compared with what holds it before
 * it is used, every column must come out exactly as long as the header says, and a checksum is looked at
 * before the bytes under it. A checksum does not replace the other checks: bytes may have been made up together
 * with it. */
#include "block.h"

#include <errno.h>

#include <lz4.h>
#include <zstd.h>

#include "block_format.h"
#include "bytes.h"
#include "hash.h"
#include "patterns.h"

/* ---- header */

static void read_section(const uint8_t *p, struct section *ret) {
    *ret = (struct section){
        .kind = p[SECTION_AT_KIND],
        .codec = p[SECTION_AT_CODEC],
        .key = get_le32(p + SECTION_AT_KEY),
        .offset = get_le32(p + SECTION_AT_OFFSET),
        .stored_size = get_le32(p + SECTION_AT_STORED),
        .raw_size = get_le32(p + SECTION_AT_RAW),
        .checksum = get_le32(p + SECTION_AT_CHECKSUM),
    };
}

/* Sizes that any section of its kind can have, given the entries. */
static bool section_sane(const struct block_info *info, const struct section *s) {
    uint64_t groups;
    uint64_t count = info->count;
    if (s->raw_size > BLOCK_RAW_MAX || (s->codec == CODEC_NONE && s->raw_size != s->stored_size))
        return false;
    switch (s->kind) {
    case SECTION_TIMES:
        /* At least a width and a smallest distance per group, at most full words behind them. */
        groups = (count - 1 + TIME_GROUP - 1) / TIME_GROUP;
        return s->raw_size >= 1 + groups * 2 &&
               s->raw_size <= 1 + groups * (1 + VARINT_MAX_BYTES + TIME_GROUP_MAX_BYTES);
    case SECTION_LENGTHS:
        return s->raw_size >= count && s->raw_size <= count * 5;
    case SECTION_LINES:
        return s->raw_size == (uint64_t)info->line_bytes + count;
    case SECTION_META:
        return s->raw_size >= 3;
    case SECTION_ROLLUP:
        return s->raw_size >= 3 && s->raw_size <= count;
    case SECTION_PATTERNS:
        return s->raw_size <= PATTERNS_RAW_MAX;
    }
    return true; /* a kind that this build does not know: nobody will ask for it */
}

/* Sections stand behind one another without gaps up to the end of the block; times, lengths and lines are there
 * once each. */
static int check_sections(const struct block_info *info, struct err *reterr) {
    unsigned seen[SECTION_META + 1] = {0};
    uint64_t at = info->header_size;
    for (uint32_t i = 0; i < info->n_sections; i++) {
        const struct section *s = &info->sections[i];
        if (s->offset != at)
            return err_set(reterr, -ECORRUPT, "block: section %u is at %u, not at %llu", i,
                           s->offset, (unsigned long long)at);
        if (s->codec > CODEC_PACKED)
            return err_set(reterr, -EFORMAT, "block: section %u has the unknown codec %u", i,
                           (unsigned)s->codec);
        if (!section_sane(info, s) || (s->codec == CODEC_TABLE && s->kind != SECTION_LINES) ||
            (s->codec == CODEC_PACKED && s->kind != SECTION_LENGTHS))
            return err_set(reterr, -ECORRUPT, "block: section %u cannot have %u bytes", i,
                           s->raw_size);
        at += s->stored_size;
        if (s->kind <= SECTION_META)
            seen[s->kind]++;
    }
    if (at != info->stored_size)
        return err_set(reterr, -ECORRUPT, "block: sections end at %llu, the block at %u",
                       (unsigned long long)at, info->stored_size);
    if (seen[SECTION_TIMES] != 1 || seen[SECTION_LENGTHS] != 1 || seen[SECTION_LINES] != 1)
        return err_set(reterr, -ECORRUPT, "block: times, lengths or lines are not there once");
    return 0;
}

static int check_envelope(struct str bytes, uint32_t *ret_sections, struct err *reterr) {
    const uint8_t *p = (const uint8_t *)bytes.data;
    if (bytes.size < BLOCK_HEADER_FIXED)
        return err_set(reterr, -ECORRUPT, "block: header is cut off at %zu bytes", bytes.size);
    if (memcmp(p + BLOCK_AT_MAGIC, BLOCK_MAGIC, 8) != 0)
        return err_set(reterr, -ECORRUPT, "block: does not start with its magic bytes");
    uint32_t n = get_le16(p + BLOCK_AT_SECTIONS);
    size_t header_size = BLOCK_HEADER_FIXED + (size_t)n * BLOCK_SECTION_SIZE;
    if (n > BLOCK_SECTIONS_MAX || header_size > bytes.size)
        return err_set(reterr, -ECORRUPT, "block: table of %u sections is cut off", n);
    const size_t sum_from = BLOCK_AT_CHECKSUM + 4;
    if ((uint32_t)hash64(p + sum_from, header_size - sum_from) != get_le32(p + BLOCK_AT_CHECKSUM))
        return err_set(reterr, -ECORRUPT, "block: wrong checksum of the header");
    uint32_t flags = get_le32(p + BLOCK_AT_INCOMPAT);
    if (flags & ~(uint32_t)BLOCK_INCOMPAT_KNOWN)
        return err_set(reterr, -EFORMAT, "block: written by a newer version (flags 0x%x)", flags);
    *ret_sections = n;
    return 0;
}

static uint8_t find_escapes(uint32_t flags) {
    return flags & BLOCK_ESCAPES_KNOWN ? (uint8_t)(flags & BLOCK_ESCAPES) : UINT8_MAX;
}

int block_parse_header(struct str bytes, struct arena *arena, struct block_info *ret,
                       struct err *reterr) {
    uint32_t n = 0;
    int r = check_envelope(bytes, &n, reterr);
    if (r < 0)
        return r;
    const uint8_t *p = (const uint8_t *)bytes.data;
    struct section *sections = arena_array(arena, n, sizeof(sections[0]));
    if (!sections)
        return err_set(reterr, -ENOMEM, "block: no memory for %u sections", n);
    for (uint32_t i = 0; i < n; i++)
        read_section(p + BLOCK_HEADER_FIXED + (size_t)i * BLOCK_SECTION_SIZE, &sections[i]);
    struct block_info info = {
        .count = get_le32(p + BLOCK_AT_COUNT),
        .line_bytes = get_le32(p + BLOCK_AT_LINE_BYTES),
        .meta_bytes = get_le32(p + BLOCK_AT_META_BYTES),
        .stored_size = get_le32(p + BLOCK_AT_STORED),
        .header_size = BLOCK_HEADER_FIXED + n * BLOCK_SECTION_SIZE,
        .first_ns = (int64_t)get_le64(p + BLOCK_AT_FIRST),
        .last_ns = (int64_t)get_le64(p + BLOCK_AT_LAST),
        .escapes = find_escapes(get_le32(p + BLOCK_AT_COMPAT)),
        .meta_in_filter = get_le32(p + BLOCK_AT_COMPAT) & BLOCK_META_IN_FILTER,
        .n_sections = n,
        .sections = sections,
    };
    if (info.count == 0 || info.count > BLOCK_ENTRIES_MAX)
        return err_set(reterr, -ECORRUPT, "block: cannot have %u entries", info.count);
    if (info.first_ns > info.last_ns)
        return err_set(reterr, -ECORRUPT, "block: first time is after the last");
    r = check_sections(&info, reterr);
    if (r < 0)
        return r;
    *ret = info;
    return 0;
}

const struct section *block_section(const struct block_info *info, enum section_kind kind) {
    for (uint32_t i = 0; i < info->n_sections; i++) {
        if (info->sections[i].kind == kind)
            return &info->sections[i];
    }
    return NULL;
}

/* ---- codec */

static int check_stored(const struct section *s, struct str stored, struct err *reterr) {
    if (stored.size != s->stored_size)
        return err_set(reterr, -ECORRUPT, "block: section has %zu bytes, not %u", stored.size,
                       s->stored_size);
    if ((uint32_t)hash64(stored.data, stored.size) != s->checksum)
        return err_set(reterr, -ECORRUPT, "block: wrong checksum of section kind %u",
                       (unsigned)s->kind);
    return 0;
}

/* Unpacks into `out`, which has room for s->raw_size. */
static int unpack(const struct section *s, struct str stored, char *out, struct err *reterr) {
    size_t size = 0;
    switch (s->codec) {
    case CODEC_NONE:
        if (stored.size > s->raw_size)
            break;
        size = stored.size;
        if (size > 0)
            memcpy(out, stored.data, size);
        break;
    case CODEC_LZ4: {
        int n = LZ4_decompress_safe(stored.data, out, (int)stored.size, (int)s->raw_size);
        size = n < 0 ? SIZE_MAX : (size_t)n;
        break;
    }
    case CODEC_ZSTD:
        size = ZSTD_decompress(out, s->raw_size, stored.data, stored.size);
        break;
    case CODEC_TABLE:  /* block_decode_lines does it */
    case CODEC_PACKED: /* block_decode_lengths does it */
        size = SIZE_MAX;
        break;
    }
    if (size != s->raw_size)
        return err_set(reterr, -ECORRUPT, "block: section kind %u does not decompress to %u bytes",
                       (unsigned)s->kind, s->raw_size);
    return 0;
}

/* The raw bytes of a section: those stored, or unpacked into scratch. */
static int load_raw(const struct section *s, struct str stored, struct buf *scratch,
                    struct str *ret, struct err *reterr) {
    int r = check_stored(s, stored, reterr);
    if (r < 0)
        return r;
    if (s->codec == CODEC_NONE) {
        *ret = stored;
        return 0;
    }
    buf_clear(scratch);
    r = buf_reserve(scratch, s->raw_size);
    if (r < 0)
        return err_set(reterr, -ENOMEM, "block: no memory for a section of %u bytes", s->raw_size);
    r = unpack(s, stored, scratch->data, reterr);
    if (r < 0)
        return r;
    scratch->size = s->raw_size;
    *ret = buf_str(scratch);
    return 0;
}

/* ---- columns */

/* Number i of those that stand in `width` bits each at p; nine bytes from its first one on are readable. */
static uint64_t unpack_bits(const uint8_t *p, uint32_t i, unsigned width) {
    size_t bit = (size_t)i * width;
    unsigned shift = (unsigned)(bit & 7);
    const uint8_t *at = p + (bit >> 3);
    uint64_t number = get_le64(at) >> shift;
    if (width > 56 && shift > 0)
        number |= (uint64_t)at[8] << (64 - shift);
    return width < 64 ? number & ((UINT64_C(1) << width) - 1) : number;
}

/* Numbers up to so many bits are read from eight bytes, and those of a group added up do not overflow twice. */
enum { NARROW_BITS = 56 };

struct time_reader {
    uint64_t first_ns, unit;
    uint64_t at, limit; /* distance from the first time, in units; what it may not exceed */
};

/* One group of packed numbers. */
struct group_view {
    unsigned width;
    uint64_t smallest;
    const uint8_t *packed; /* nine bytes from any number's first one on are readable */
    uint8_t padded[TIME_GROUP_MAX_BYTES + 16];
};

/* The group of n numbers at p; returns the end of its bytes, or NULL when they are cut off. */
static const uint8_t *open_group(const uint8_t *p, const uint8_t *end, uint32_t n,
                                 struct group_view *ret) {
    if (p >= end || *p > 64)
        return NULL;
    ret->width = *p++;
    p = get_varint(p, end, &ret->smallest);
    size_t size = ((size_t)n * ret->width + 7) / 8;
    if (!p || size > (size_t)(end - p))
        return NULL;
    ret->packed = p;
    if ((size_t)(end - p) < size + 16) { /* reads reach over the last group's end */
        memcpy(ret->padded, p, size);
        memset(ret->padded + size, 0, 16);
        ret->packed = ret->padded;
    }
    return p + size;
}

/* The times of one group of n distances; returns the end of its bytes, or NULL when they are cut off or lead too
 * far. */
static const uint8_t *read_time_group(struct time_reader *t, const uint8_t *p, const uint8_t *end,
                                      uint32_t n, int64_t *times) {
    struct group_view g;
    p = open_group(p, end, n, &g);
    if (!p)
        return NULL;
    uint64_t at = t->at, limit = t->limit;
    if (g.width <= NARROW_BITS && g.smallest >> NARROW_BITS == 0) {
        /* The sum of a group fits, so that a look at its end does for all. */
        uint64_t mask = (UINT64_C(1) << g.width) - 1;
        for (uint32_t i = 0, bit = 0; i < n; i++, bit += g.width) {
            at += g.smallest + (get_le64(g.packed + (bit >> 3)) >> (bit & 7) & mask);
            times[i] = (int64_t)(t->first_ns + at * t->unit);
        }
        if (at < t->at || at > limit)
            return NULL;
        t->at = at;
        return p;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t above = g.width > 0 ? unpack_bits(g.packed, i, g.width) : 0;
        uint64_t delta = g.smallest + above;
        if (delta < above || delta > limit - at)
            return NULL;
        at += delta;
        times[i] = (int64_t)(t->first_ns + at * t->unit);
    }
    t->at = at;
    return p;
}

/* Fills `times`; they ascend and end at the header's last time, or it is corrupt. Distances are counted from
 * the first time, in the column's unit, as unsigned numbers: the whole int64 range fits. */
static bool read_times(const struct block_info *info, const uint8_t *p, const uint8_t *end,
                       uint64_t unit, int64_t *times) {
    uint64_t span = (uint64_t)info->last_ns - (uint64_t)info->first_ns;
    struct time_reader t = {
        .first_ns = (uint64_t)info->first_ns, .unit = unit, .limit = span / unit};
    times[0] = info->first_ns;
    for (uint32_t i = 1; i < info->count && p;) {
        uint32_t n = info->count - i < TIME_GROUP ? info->count - i : TIME_GROUP;
        p = read_time_group(&t, p, end, n, times + i);
        i += n;
    }
    return p == end && t.at * unit == span;
}

int block_decode_times(const struct block_info *info, const struct section *s, struct str stored,
                       struct buf *scratch, int64_t *ret_times, struct err *reterr) {
    struct str raw;
    int r = load_raw(s, stored, scratch, &raw, reterr);
    if (r < 0)
        return r;
    const uint8_t *p = (const uint8_t *)raw.data;
    if (raw.size < 1 || p[0] >= TIME_SCALES)
        return err_set(reterr, -ECORRUPT, "block: unknown unit of the times");
    if (!read_times(info, p + 1, p + raw.size, (uint64_t)time_scales[p[0]], ret_times))
        return err_set(reterr, -ECORRUPT, "block: times do not add up");
    return 0;
}

/* Where lines of one group begin; false when they lead too far. */
static bool read_length_group(const struct group_view *g, uint32_t n, uint64_t total, uint64_t *at,
                              uint32_t *offsets) {
    if (g->width > 32 || g->smallest > UINT32_MAX)
        return false; /* no block is that long */
    uint64_t place = *at, mask = (UINT64_C(1) << g->width) - 1;
    for (uint32_t i = 0, bit = 0; i < n; i++, bit += g->width) {
        offsets[i] = (uint32_t)place;
        place += g->smallest + (get_le64(g->packed + (bit >> 3)) >> (bit & 7) & mask) + 1;
    }
    *at = place;
    return place <= total;
}

/* Lengths in groups: each is what its group's smallest is, and so much more. */
static int read_packed_lengths(const struct block_info *info, struct str raw, uint32_t *ret_offsets,
                               struct err *reterr) {
    const uint8_t *p = (const uint8_t *)raw.data, *end = p + raw.size;
    uint64_t at = 0, total = (uint64_t)info->line_bytes + info->count;
    struct group_view g;
    for (uint32_t i = 0; i < info->count;) {
        uint32_t n = info->count - i < TIME_GROUP ? info->count - i : TIME_GROUP;
        p = open_group(p, end, n, &g);
        if (!p)
            return err_set(reterr, -ECORRUPT, "block: lengths are cut off");
        if (!read_length_group(&g, n, total, &at, ret_offsets + i))
            return err_set(reterr, -ECORRUPT, "block: lengths from line %u on are out of bounds",
                           i);
        i += n;
    }
    if (p != end || at != total)
        return err_set(reterr, -ECORRUPT, "block: line lengths do not add up");
    ret_offsets[info->count] = (uint32_t)at;
    return 0;
}

int block_decode_lengths(const struct block_info *info, const struct section *s, struct str stored,
                         struct buf *scratch, uint32_t *ret_offsets, struct err *reterr) {
    struct str raw;
    if (s->codec == CODEC_PACKED) {
        int status = check_stored(s, stored, reterr);
        return status < 0 ? status : read_packed_lengths(info, stored, ret_offsets, reterr);
    }
    int r = load_raw(s, stored, scratch, &raw, reterr);
    if (r < 0)
        return r;
    const uint8_t *p = (const uint8_t *)raw.data, *end = p + raw.size;
    uint64_t at = 0, total = (uint64_t)info->line_bytes + info->count;
    for (uint32_t i = 0; i < info->count; i++) {
        uint64_t length;
        ret_offsets[i] = (uint32_t)at;
        p = get_varint(p, end, &length);
        if (!p || length >= total - at)
            return err_set(reterr, -ECORRUPT, "block: length of line %u is out of bounds", i);
        at += length + 1;
    }
    if (p != end || at != total)
        return err_set(reterr, -ECORRUPT, "block: line lengths do not add up");
    ret_offsets[info->count] = (uint32_t)at;
    return 0;
}

int block_open_table(const struct block_info *info, const struct section *s, struct str stored,
                     struct linetab *table, struct err *reterr) {
    int r = check_stored(s, stored, reterr);
    return r < 0 ? r : linetab_open(table, stored, info->count, reterr);
}

static int unpack_table(const struct block_info *info, const struct section *s, struct str stored,
                        struct linetab *table, char *ret_lines, struct err *reterr) {
    struct linetab *own = table ? NULL : linetab_new();
    if (!table && !own)
        return err_set(reterr, -ENOMEM, "block: no memory for a table of lines");
    int r = block_open_table(info, s, stored, table ? table : own, reterr);
    if (r == 0)
        r = linetab_lines(table ? table : own, ret_lines, s->raw_size, reterr);
    linetab_free(own);
    return r;
}

int block_decode_lines(const struct block_info *info, const struct section *s, struct str stored,
                       struct linetab *table, char *ret_lines, struct err *reterr) {
    int r;
    if (s->codec == CODEC_TABLE) {
        r = unpack_table(info, s, stored, table, ret_lines, reterr);
    } else {
        r = check_stored(s, stored, reterr);
        if (r == 0)
            r = unpack(s, stored, ret_lines, reterr);
    }
    if (r < 0)
        return r;
    if (s->raw_size != (uint64_t)info->line_bytes + info->count ||
        ret_lines[s->raw_size - 1] != '\n')
        return err_set(reterr, -ECORRUPT, "block: the last line has no end");
    return 0;
}

int block_check_line_ends(const struct block_info *info, const uint32_t *offsets, const char *lines,
                          struct err *reterr) {
    for (uint32_t i = 1; i <= info->count; i++) {
        if (lines[offsets[i] - 1] != '\n')
            return err_set(reterr, -ECORRUPT, "block: line %u does not end where it should", i - 1);
    }
    return 0;
}

int block_decode_rollup(const struct block_info *info, const struct section *s, struct str stored,
                        struct buf *scratch, struct str *ret_raw, struct rollup *ret,
                        struct err *reterr) {
    int r = load_raw(s, stored, scratch, ret_raw, reterr);
    if (r < 0)
        return r;
    r = rollup_open(*ret_raw, info->count, info->line_bytes, ret);
    return r < 0 ? err_set(reterr, r, "block: rollup is malformed") : 0;
}

/* ---- metadata */

/* A size and so many bytes. */
static const uint8_t *read_text(const uint8_t *p, const uint8_t *end, struct str *ret) {
    uint64_t size;
    p = get_varint(p, end, &size);
    if (!p || size > (uint64_t)(end - p))
        return NULL;
    *ret = str_make((const char *)p, (size_t)size);
    return p + size;
}

/* Unpacks `count` ids of `width` bits, low bits first; false when one is above n_values. A field is at most 17
 * bits wide, so 4 bytes at any bit offset hold it; the last ones are read byte by byte. */
static bool unpack_ids(const uint8_t *p, size_t size, unsigned width, uint32_t count,
                       uint32_t n_values, uint32_t *ids) {
    const uint32_t mask = (1u << width) - 1;
    uint32_t largest = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t bit = (size_t)i * width, at = bit >> 3;
        uint32_t word = 0;
        if (at + 4 <= size)
            word = get_le32(p + at);
        else
            memcpy(&word, p + at, size - at);
        uint32_t id = word >> (bit & 7) & mask;
        largest = id > largest ? id : largest;
        ids[i] = id;
    }
    return largest <= n_values;
}

static_assert(BLOCK_ENTRIES_MAX < 1 << 17,
              "an id has at most 17 bits, 24 with its offset in a byte");

static int read_column(const struct block_info *info, const struct section *s, struct str raw,
                       struct arena *arena, struct meta_column *ret, struct err *reterr) {
    const uint8_t *p = (const uint8_t *)raw.data, *end = p + raw.size;
    struct meta_column c = {0};
    uint64_t n_values = 0;
    p = read_text(p, end, &c.name);
    if (!p || (uint32_t)hash_str(c.name) != s->key)
        return err_set(reterr, -ECORRUPT, "block: name of a metadata column is damaged");
    p = get_varint(p, end, &n_values);
    if (!p || n_values == 0 || n_values > info->count)
        return err_set(reterr, -ECORRUPT, "block: metadata column has a wrong number of values");
    struct str *values = arena_alloc(arena, (size_t)n_values * sizeof(*values));
    uint32_t *ids = arena_alloc(arena, info->count * sizeof(*ids));
    if (!values || !ids)
        return err_set(reterr, -ENOMEM, "block: no memory for a metadata column");
    for (uint64_t i = 0; i < n_values; i++) {
        p = read_text(p, end, &values[i]);
        if (!p)
            return err_set(reterr, -ECORRUPT, "block: metadata value is cut off");
    }
    unsigned width = block_id_width((uint32_t)n_values);
    size_t size = ((size_t)info->count * width + 7) / 8;
    if ((size_t)(end - p) != size ||
        !unpack_ids(p, size, width, info->count, (uint32_t)n_values, ids))
        return err_set(reterr, -ECORRUPT, "block: metadata ids are damaged");
    c.values = values;
    c.n_values = (uint32_t)n_values;
    c.ids = ids;
    *ret = c;
    return 0;
}

int block_decode_meta(const struct block_info *info, const struct section *s, struct str stored,
                      struct arena *arena, struct meta_column *ret, struct err *reterr) {
    int r = check_stored(s, stored, reterr);
    if (r < 0)
        return r;
    char *raw = arena_alloc(arena, s->raw_size);
    if (!raw)
        return err_set(reterr, -ENOMEM, "block: no memory for a metadata column of %u bytes",
                       s->raw_size);
    r = unpack(s, stored, raw, reterr);
    if (r < 0)
        return r;
    return read_column(info, s, str_make(raw, s->raw_size), arena, ret, reterr);
}

int block_decode_patterns(const struct section *s, struct str stored, struct arena *arena,
                          struct pattern_list *ret, struct err *reterr) {
    int r = check_stored(s, stored, reterr);
    if (r < 0)
        return r;
    char *raw = arena_alloc(arena, s->raw_size ? s->raw_size : 1);
    if (!raw)
        return err_set(reterr, -ENOMEM, "block: no memory for patterns of %u bytes", s->raw_size);
    r = unpack(s, stored, raw, reterr);
    return r < 0 ? r : patterns_decode(str_make(raw, s->raw_size), arena, ret, reterr);
}
