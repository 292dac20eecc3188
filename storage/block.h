/* block: up to BLOCK_RAW_TARGET bytes of one stream's lines as immutable encoded columns. This header is about
 * bytes only: building the encoded form and decoding parts of it. Who holds the bytes (memory, chunk
 * file) is blockref.h's business. Format in docs/format.md.
 *
 * Encoded block = header (fixed part, then section table) + sections, each compressed on its own:
 *   times    bit-packed distances between the sorted timestamps
 *   lengths  varints of line lengths
 *   meta     one section per metadata name: name, dictionary of distinct values, bit-packed indexes
 *            (0 = absent)
 *   rollup   entries and bytes per minute and value of a metadata column with few values (rollup.h)
 *   patterns which patterns the lines have, how often in time (patterns.h); may be missing
 *   lines    line bytes, each line followed by '\n'
 * Entries are sorted by time; equal times keep arrival order. Any thread, no shared state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "hash.h"
#include "labels.h"
#include "linetab.h"
#include "rollup.h"
#include "str.h"

enum {
    BLOCK_RAW_TARGET =
        256 << 10, /* cut when the line bytes reach this: the knee of the filter figures */
    BLOCK_ENTRIES_MAX = 64 << 10, /* cut at so many entries even when lines are tiny */
    BLOCK_RAW_MAX = 64 << 20, /* decoder's bound: BLOCK_RAW_TARGET plus one push of huge lines */
    BLOCK_META_COLUMNS_MAX = 1024,
    BLOCK_SECTIONS_MAX = BLOCK_META_COLUMNS_MAX + 3 + ROLLUP_COLUMNS_MAX,
};

enum block_codec {
    CODEC_NONE = 0,
    CODEC_LZ4 = 1,
    CODEC_ZSTD = 2,
    CODEC_TABLE = 3,  /* linetab.h; lines only */
    CODEC_PACKED = 4, /* groups of packed numbers; lengths only */
};                    /* LZ4HC writes CODEC_LZ4 bytes */
/* EFFORT_ZSTD_FAST: level 1, EFFORT_ZSTD: level 3; both for the lines alone. EFFORT_TABLE: lines as a table, zstd level
 * 1 where that does not pay. */
enum block_effort { EFFORT_FAST, EFFORT_LZ4HC, EFFORT_ZSTD_FAST, EFFORT_ZSTD, EFFORT_TABLE };

enum section_kind {
    SECTION_TIMES = 1,
    SECTION_LENGTHS = 2,
    SECTION_LINES = 3,
    SECTION_META = 4,
    SECTION_PATTERNS = 5,
    SECTION_ROLLUP = 6
};

struct section {
    enum section_kind kind;
    enum block_codec codec;
    uint32_t key;    /* SECTION_META, SECTION_ROLLUP: low 32 bits of hash_str(name); else 0 */
    uint32_t offset; /* from the start of the encoded block */
    uint32_t stored_size;
    uint32_t raw_size;
    uint32_t checksum; /* low 32 bits of hash64(stored bytes) */
};

/* The parsed header of an encoded block: what a reader needs before touching any section. */
struct block_info {
    uint32_t count;      /* entries */
    uint32_t line_bytes; /* sum of line lengths, without separators */
    uint32_t
        meta_bytes; /* sum of metadata name and value sizes over all entries, as Loki counts them */
    uint32_t stored_size; /* of the whole encoded block */
    uint32_t header_size; /* bytes of header and section table */
    int64_t first_ns, last_ns;
    /* Bit n: some line may hold \u00n, by which writers of JSON can put an ASCII character of 0xn0 to 0xnf. */
    uint8_t escapes;
    bool meta_in_filter; /* the filter knows all values of metadata (block_meta_hash) */
    uint32_t n_sections;
    const struct section *sections; /* owned by whoever parsed (arena) */
};

/* What a block is made of. Arrays in arrival order; block_encode sorts (stable). */
struct block_input {
    uint32_t count;
    const int64_t *times;
    const struct str *lines;
    /* Lines that stand one behind the other in the order of their times need not be copied: line i is
     * [offsets[i], offsets[i + 1] - 1) of `text`, from 0 on, '\n' is behind each, and LINETAB_SLACK more bytes can be
     * read. NULL: they do not, or nobody knows. Of no use where times are out of order. */
    const char *text;
    const uint32_t *offsets;
    /* Metadata: entry i has the set meta_sets[meta_ids[i]]; a set is sorted by name. Set 0 is always empty. */
    const uint32_t *meta_ids;
    const struct labels *meta_sets;
    uint32_t n_meta_sets;
    bool hurried;     /* memory is short: its patterns may be estimates (patterns.h) */
    bool no_patterns; /* leave them out */
};

/* Scratch memory of an encoder (hash tables, gram scratch, LZ4 states); one per thread. */
struct block_encoder;
struct block_encoder *block_encoder_new(void);
void block_encoder_free(struct block_encoder *e);

/* Appends the encoded block to `out` and the gram filter of its lines to `filter`. The order in which entries
 * end up is stable by time. -E2BIG: more than BLOCK_ENTRIES_MAX entries, BLOCK_RAW_MAX bytes of lines or of one
 * metadata column, or BLOCK_META_COLUMNS_MAX names; the caller halves the entries and tries again (one
 * entry within entry.h's maxima always fits). 0, -EINVAL (no entry), -ENOMEM. On an error nothing is appended. */
int block_encode(struct block_encoder *e, const struct block_input *in, enum block_effort effort,
                 struct buf *out, struct buf *filter);

/* The same in the encoder's memory, until its next use. */
int block_encode_view(struct block_encoder *e, const struct block_input *in,
                      enum block_effort effort, struct str *ret_block, struct str *ret_filter);

/* Memory for what the caller makes an input of, until it asks again; NULL when there is none. */
void *block_encoder_room(struct block_encoder *e, size_t size);

/* Parses and checks the header (its own checksum, bounds, sane sizes). `bytes` may hold more than one block.
 * The section table is allocated in `arena`. -ECORRUPT with what is wrong. */
int block_parse_header(struct str bytes, struct arena *arena, struct block_info *ret,
                       struct err *reterr);

/* By which a filter knows a value of metadata: gram_query_add_value. */
static inline uint64_t block_meta_hash(struct str name, struct str value) {
    return hash_mix(hash_str(value), hash_str(name));
}

/* Upper bound for header bytes that block_parse_header can ever need. */
enum { BLOCK_HEADER_FIXED = 64, BLOCK_SECTION_SIZE = 24 };

/* Section lookups; NULL when absent. */
const struct section *block_section(const struct block_info *info, enum section_kind kind);

/* Decoders. `stored` are the section's stored bytes. Outputs have exactly the documented room. Each checks
 * the checksum, the sizes and every value. -ECORRUPT, -ENOMEM. */

/* `ret_times`: room for info->count, ascending. */
int block_decode_times(const struct block_info *info, const struct section *s, struct str stored,
                       struct buf *scratch, int64_t *ret_times, struct err *reterr);

/* `ret_offsets`: room for info->count + 1; line i is [offsets[i], offsets[i+1] - 1) of the decoded lines. */
int block_decode_lengths(const struct block_info *info, const struct section *s, struct str stored,
                         struct buf *scratch, uint32_t *ret_offsets, struct err *reterr);

/* Lines in CODEC_TABLE: opens them in `table`, to search and to write some. The stored bytes must stay. */
int block_open_table(const struct block_info *info, const struct section *s, struct str stored,
                     struct linetab *table, struct err *reterr);

/* `ret_lines`: room for s->raw_size. `table`: the caller's, for lines in CODEC_TABLE; NULL: one is made. */
int block_decode_lines(const struct block_info *info, const struct section *s, struct str stored,
                       struct linetab *table, char *ret_lines, struct err *reterr);

/* Does each decoded line end in '\n' where its offset says? What the checksums cannot tell (lengths of another
 * block); for verification, as readers stay in bounds without it. */
int block_check_line_ends(const struct block_info *info, const uint32_t *offsets, const char *lines,
                          struct err *reterr);

/* Strings borrow `stored` or scratch. */
int block_decode_rollup(const struct block_info *info, const struct section *s, struct str stored,
                        struct buf *scratch, struct str *ret_raw, struct rollup *ret,
                        struct err *reterr);

struct meta_column {
    struct str name;
    const struct str *values; /* values[id - 1] */
    uint32_t n_values;
    const uint32_t *ids; /* per entry; 0 = the entry has no such name */
};

/* Everything is allocated in `arena`, strings included. */
int block_decode_meta(const struct block_info *info, const struct section *s, struct str stored,
                      struct arena *arena, struct meta_column *ret, struct err *reterr);

/* Texts and arrays are allocated in `arena`. */
struct pattern_list;
int block_decode_patterns(const struct section *s, struct str stored, struct arena *arena,
                          struct pattern_list *ret, struct err *reterr);
