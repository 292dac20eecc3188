/* Opening and reading chunk files. The footer leads to the trailer, the trailer to everything else; when either
 * does not check out, the blocks are found from the front, each one telling where the next begins, and
 * behind a damaged block header by looking for the next magic bytes. What is found that way is taken only
 * when its timestamps check out too: the header copies in the trailer look like blocks otherwise. */
#include "chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "arena.h"
#include "block_format.h"
#include "buf.h"
#include "bytes.h"
#include "chunk_format.h"
#include "hash.h"
#include "io.h"

enum {
    HEADER_GUESS = 1024,   /* nearly always holds the whole header */
    TAIL_GUESS = 12 << 10, /* mostly holds footer and trailer */
    TAIL_GUESS_MAX = 1 << 20,
    TAIL_BLOCK =
        240, /* of a trailer for each block: row, header with some seven sections, pages of the filter */
    TAIL_REST = 512,
    DISK_PAGE = 4096,
    SEARCH_STEP = 1 << 20,
    ARENA_MAX = 512 << 20,
    ARENA_FIRST = 512 /* of many chunks with one small block */,
    SLAB_BLOCKS = 24, /* a chunk of so many fills what a slab gives */
    BLOCK_HEADER_MAX = BLOCK_HEADER_FIXED + BLOCK_SECTIONS_MAX * BLOCK_SECTION_SIZE,
};

struct chunk_part {
    struct block_info info;
    uint64_t offset;
    uint64_t header_copy_offset; /* in the trailer; 0: found without it */
};

struct chunk {
    int dir_fd;
    const char *name;
    bool wait;     /* for the disk, while it is opened */
    uint64_t base; /* where it begins in its file: in a pack; offsets count from there */
    struct chunk_head head;
    struct chunk_sums sums;
    bool damaged;  /* the header, or the trailer */
    bool headless; /* the header */
    uint32_t header_size;
    uint32_t tail_guess;
    struct chunk_part *parts;
    uint32_t n_parts, parts_room;
    struct filters *filters;
    struct arena arena;
};

/* pread of exactly `size` bytes behind what `out` holds. */
static int read_part(const struct chunk *c, int fd, uint64_t offset, size_t size, struct buf *out) {
    int r = buf_reserve(out, size);
    if (r < 0 || size == 0)
        return r;
    ssize_t n = c->wait ? io_pread_all(fd, out->data + out->size, size, c->base + offset)
                        : io_pread_now(fd, out->data + out->size, size, c->base + offset);
    if (n < 0)
        return (int)n;
    if ((size_t)n < size)
        return -ECORRUPT;
    out->size += size;
    return 0;
}

/* ---- header */

static int read_header_bytes(const struct chunk *c, int fd, uint64_t file_size, struct buf *raw) {
    uint64_t size = file_size < HEADER_GUESS ? file_size : HEADER_GUESS;
    int r = read_part(c, fd, 0, (size_t)size, raw);
    if (r < 0)
        return r;
    if (raw->size < CHUNK_HEADER_FIXED || memcmp(raw->data, CHUNK_MAGIC, 8) != 0)
        return -ECORRUPT;
    size = get_le32(raw->data + CHUNK_AT_HEADER_SIZE);
    if (size < CHUNK_HEADER_FIXED || size > CHUNK_HEADER_MAX || size > file_size)
        return -ECORRUPT;
    if (size > raw->size)
        return read_part(c, fd, raw->size, (size_t)size - raw->size, raw);
    raw->size = (size_t)size;
    return 0;
}

/* Grade and replaced chunks: what stands behind the labels. */
static int parse_replaces(struct chunk *c, struct str raw) {
    const uint8_t *p = (const uint8_t *)raw.data, *end = p + raw.size;
    uint64_t n, number = 0;
    if (raw.size == 0)
        return -ECORRUPT;
    c->head.grade = *p++;
    p = get_varint(p, end, &n);
    if (!p || n > CHUNK_REPLACES_MAX || n > (uint64_t)(end - p))
        return -ECORRUPT;
    uint64_t *replaces = arena_array(&c->arena, (size_t)n + 1, sizeof(*replaces));
    if (!replaces)
        return -ENOMEM;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t distance;
        p = get_varint(p, end, &distance);
        if (!p || (distance == 0 && i > 0) || __builtin_add_overflow(number, distance, &number))
            return -ECORRUPT;
        replaces[i] = number;
    }
    c->head.replaces = replaces;
    c->head.n_replaces = (size_t)n;
    return 0;
}

static int parse_header(struct chunk *c, struct str raw) {
    const size_t sum_from = CHUNK_AT_CHECKSUM + 4;
    const char *p = raw.data;
    if ((uint32_t)hash64(p + sum_from, raw.size - sum_from) != get_le32(p + CHUNK_AT_CHECKSUM))
        return -ECORRUPT;
    if (get_le32(p + CHUNK_AT_INCOMPAT) & ~(uint32_t)CHUNK_INCOMPAT_KNOWN)
        return -EFORMAT;
    uint64_t tenant_size = get_le32(p + CHUNK_AT_TENANT_SIZE);
    uint64_t labels_size = get_le32(p + CHUNK_AT_LABELS_SIZE);
    if (tenant_size + labels_size > raw.size - CHUNK_HEADER_FIXED)
        return -ECORRUPT;
    struct str text = arena_copy(&c->arena, str_from_offset(raw, CHUNK_HEADER_FIXED));
    if (!text.data)
        return -ENOMEM;
    c->header_size = (uint32_t)raw.size;
    c->head = (struct chunk_head){
        .tenant = str_make(text.data, (size_t)tenant_size),
        .day = (int32_t)get_le32(p + CHUNK_AT_DAY),
        .wal_index = get_le32(p + CHUNK_AT_WAL_INDEX),
        .stream_id = get_le64(p + CHUNK_AT_STREAM_ID),
        .chunk_seq = get_le64(p + CHUNK_AT_SEQ),
        .wal_lsn = get_le64(p + CHUNK_AT_WAL_LSN),
    };
    int r = labels_decode(str_make(text.data + tenant_size, (size_t)labels_size), &c->arena,
                          &c->head.labels);
    if (r == 0 && (get_le32(p + CHUNK_AT_INCOMPAT) & CHUNK_INCOMPAT_REPLACES))
        r = parse_replaces(c, str_from_offset(text, (size_t)(tenant_size + labels_size)));
    return r;
}

static int load_header(struct chunk *c, int fd, uint64_t file_size) {
    struct buf raw = buf_make(CHUNK_HEADER_MAX);
    int r = read_header_bytes(c, fd, file_size, &raw);
    if (r == 0)
        r = parse_header(c, buf_str(&raw));
    buf_done(&raw);
    return r;
}

/* ---- trailer */

struct footer {
    uint64_t filters_offset, trailer_offset;
    uint32_t trailer_size, trailer_checksum;
};

static int parse_footer(const struct chunk *c, const char *p, uint64_t file_size,
                        struct footer *ret) {
    if (memcmp(p + FOOTER_AT_MAGIC, CHUNK_FOOTER_MAGIC, 8) != 0 ||
        (uint32_t)hash64(p, FOOTER_AT_CHECKSUM) != get_le32(p + FOOTER_AT_CHECKSUM) ||
        get_le64(p + FOOTER_AT_FILE_SIZE) != file_size)
        return -ECORRUPT;
    struct footer f = {
        .filters_offset = get_le64(p + FOOTER_AT_FILTERS),
        .trailer_offset = get_le64(p + FOOTER_AT_TRAILER),
        .trailer_size = get_le32(p + FOOTER_AT_TRAILER_SIZE),
        .trailer_checksum = get_le32(p + FOOTER_AT_TRAILER_CHECKSUM),
    };
    if (f.trailer_size < TRAILER_FIXED || f.trailer_size > CHUNK_TRAILER_MAX ||
        f.trailer_offset > file_size || f.filters_offset < c->header_size ||
        f.filters_offset > f.trailer_offset ||
        file_size - f.trailer_offset != (uint64_t)f.trailer_size + FOOTER_SIZE)
        return -ECORRUPT;
    *ret = f;
    return 0;
}

/* Reads the footer and, into `raw`, the trailer: mostly with one read of the file's end. */
static int read_trailer(const struct chunk *c, int fd, uint64_t file_size, struct buf *raw,
                        struct footer *ret) {
    uint64_t guess = file_size - c->header_size;
    if (guess < FOOTER_SIZE)
        return -ECORRUPT;
    if (guess > c->tail_guess)
        guess = c->tail_guess;
    int r = read_part(c, fd, file_size - guess, (size_t)guess, raw);
    if (r == 0)
        r = parse_footer(c, raw->data + raw->size - FOOTER_SIZE, file_size, ret);
    if (r < 0)
        return r;
    uint64_t from = file_size - guess;
    if (ret->trailer_offset >= from) {
        memmove(raw->data, raw->data + (ret->trailer_offset - from), ret->trailer_size);
        raw->size = ret->trailer_size;
    } else {
        buf_clear(raw);
        r = read_part(c, fd, ret->trailer_offset, ret->trailer_size, raw);
    }
    if (r == 0 && (uint32_t)hash64(raw->data, raw->size) != ret->trailer_checksum)
        return -ECORRUPT;
    return r;
}

static int reserve_parts(struct chunk *c, uint32_t room) {
    struct chunk_part *parts = realloc(c->parts, room * sizeof(*parts));
    if (!parts)
        return -ENOMEM;
    c->parts = parts;
    c->parts_room = room;
    return 0;
}

static int add_part(struct chunk *c, const struct chunk_part *part) {
    int r = 0;
    if (c->n_parts == c->parts_room)
        r = reserve_parts(c, c->parts_room == 0 ? 8 : c->parts_room * 2);
    if (r < 0)
        return r;
    memcpy(&c->parts[c->n_parts++], part, sizeof(*part));
    return 0;
}

/* What rows say of the filters, gathered. */
struct filter_rows {
    uint32_t *sizes;
    uint64_t *offsets; /* these two: of an old trailer */
    uint32_t *checksums;
};

/* `header`: the copy of the block's header, which stands at `at` of the trailer. */
static int parse_row(struct chunk *c, const struct footer *f, uint64_t offset, struct str header,
                     size_t at, struct err *reterr) {
    struct chunk_part part = {.header_copy_offset = f->trailer_offset + at, .offset = offset};
    int r = block_parse_header(header, &c->arena, &part.info, reterr);
    if (r < 0)
        return r;
    if (part.info.header_size != header.size || part.offset < c->header_size ||
        part.offset > f->filters_offset || part.info.stored_size > f->filters_offset - part.offset)
        return -ECORRUPT;
    return add_part(c, &part);
}

/* Rows and header copies; *at is behind them then. */
static int parse_rows(struct chunk *c, const struct footer *f, struct str raw, bool old, uint32_t n,
                      struct filter_rows *filters, size_t *at, struct err *reterr) {
    const char *row = raw.data + TRAILER_FIXED;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < n; i++, row += old ? OLD_ROW_SIZE : ROW_SIZE) {
        uint32_t size = get_le32(row + (old ? OLD_ROW_AT_HEADER_SIZE : ROW_AT_HEADER_SIZE));
        filters->sizes[i] = get_le32(row + (old ? OLD_ROW_AT_FILTER_SIZE : ROW_AT_FILTER_SIZE));
        if (old) {
            filters->offsets[i] = get_le64(row + OLD_ROW_AT_FILTER);
            filters->checksums[i] = get_le32(row + OLD_ROW_AT_FILTER_CHECKSUM);
        }
        if (size > raw.size - *at)
            return -ECORRUPT;
        static_assert((int)ROW_AT_BLOCK == (int)OLD_ROW_AT_BLOCK, "read alike");
        r = parse_row(c, f, get_le64(row + ROW_AT_BLOCK), str_make(raw.data + *at, size), *at,
                      reterr);
        *at += size;
    }
    return r;
}

static int parse_trailer(struct chunk *c, int fd, const struct footer *f, struct str raw,
                         struct err *reterr) {
    bool old = memcmp(raw.data, CHUNK_TRAILER_OLD_MAGIC, 8) == 0;
    uint32_t n = get_le32(raw.data + TRAILER_AT_BLOCKS);
    size_t at = TRAILER_FIXED + (size_t)n * (old ? OLD_ROW_SIZE : ROW_SIZE);
    if ((!old && memcmp(raw.data, CHUNK_TRAILER_MAGIC, 8) != 0) || n == 0 || n > CHUNK_BLOCKS_MAX ||
        at > raw.size)
        return -ECORRUPT;
    struct filter_rows rows = {.sizes = arena_alloc(&c->arena, n * sizeof(uint32_t))};
    if (old) {
        rows.offsets = arena_alloc(&c->arena, n * sizeof(uint64_t));
        rows.checksums = arena_alloc(&c->arena, n * sizeof(uint32_t));
    }
    if (!rows.sizes || (old && (!rows.offsets || !rows.checksums)))
        return -ENOMEM;
    int r = reserve_parts(c, n);
    if (r == 0)
        r = parse_rows(c, f, raw, old, n, &rows, &at, reterr);
    if (r < 0)
        return r;
    struct filters_layout layout = {.dir_fd = c->dir_fd,
                                    .name = c->name,
                                    .n = n,
                                    .base = c->base,
                                    .begin = f->filters_offset,
                                    .end = f->trailer_offset,
                                    .sizes = rows.sizes,
                                    .offsets = rows.offsets,
                                    .checksums = rows.checksums};
    uint64_t sums = old ? 0 : 4 * filters_page_count(layout.begin, layout.end);
    if (raw.size - at != sums)
        return -ECORRUPT;
    if (!old) {
        layout.shift = get_le32(raw.data + TRAILER_AT_SHIFT);
        layout.page_sums = arena_copy(&c->arena, str_make(raw.data + at, raw.size - at)).data;
        if (!layout.page_sums)
            return -ENOMEM;
    }
    return filters_open(fd, &layout, c->wait, &c->arena, &c->filters);
}

static int load_tail(struct chunk *c, int fd, uint64_t file_size, struct err *reterr) {
    struct buf raw = buf_make(CHUNK_TRAILER_MAX);
    struct footer f = {0};
    int r = read_trailer(c, fd, file_size, &raw, &f);
    if (r == 0)
        r = parse_trailer(c, fd, &f, buf_str(&raw), reterr);
    buf_done(&raw);
    return r;
}

/* ---- from the front, without the trailer */

/* The block at `offset`, if there is one that fits the file. */
static int read_block_header(struct chunk *c, int fd, uint64_t offset, uint64_t file_size,
                             struct buf *raw, struct chunk_part *ret) {
    struct err ignored;
    uint64_t size = file_size - offset < BLOCK_HEADER_MAX ? file_size - offset : BLOCK_HEADER_MAX;
    buf_clear(raw);
    int r = read_part(c, fd, offset, (size_t)size, raw);
    *ret = (struct chunk_part){.offset = offset};
    if (r == 0)
        r = block_parse_header(buf_str(raw), &c->arena, &ret->info, &ignored);
    if (r == 0 && ret->info.stored_size > file_size - offset)
        r = -ECORRUPT;
    return r;
}

static bool times_check_out(const struct chunk *c, int fd, const struct chunk_part *part,
                            struct buf *raw) {
    const struct section *s = block_section(&part->info, SECTION_TIMES);
    buf_clear(raw);
    return read_part(c, fd, part->offset + s->offset, s->stored_size, raw) == 0 &&
           (uint32_t)hash64(raw->data, raw->size) == s->checksum;
}

/* The next offset from `from` on at which the magic bytes of a block stand; file_size when there is none. */
static int search_magic(const struct chunk *c, int fd, uint64_t from, uint64_t file_size,
                        struct buf *raw, uint64_t *ret_offset) {
    const size_t magic_size = sizeof(BLOCK_MAGIC) - 1;
    while (file_size - from >= magic_size) {
        uint64_t size = file_size - from < SEARCH_STEP ? file_size - from : SEARCH_STEP;
        buf_clear(raw);
        int r = read_part(c, fd, from, (size_t)size, raw);
        if (r < 0)
            return r;
        const char *hit = str_find(buf_str(raw), str_make(BLOCK_MAGIC, magic_size));
        if (hit) {
            *ret_offset = from + (uint64_t)(hit - raw->data);
            return 0;
        }
        from += size - (magic_size - 1);
    }
    *ret_offset = file_size;
    return 0;
}

static int scan_blocks(struct chunk *c, int fd, uint64_t file_size) {
    struct buf raw = buf_make(BLOCK_RAW_MAX);
    uint64_t offset = c->header_size;
    bool in_sequence = true;
    int r = 0;
    while (offset < file_size && c->n_parts < CHUNK_BLOCKS_MAX) {
        struct chunk_part part;
        r = read_block_header(c, fd, offset, file_size, &raw, &part);
        if (r == 0 && (in_sequence || times_check_out(c, fd, &part, &raw))) {
            r = add_part(c, &part);
            offset += part.info.stored_size;
            in_sequence = true;
        } else if (r == 0 || r == -ECORRUPT || r == -EIO) {
            r = search_magic(c, fd, offset + 1, file_size, &raw, &offset);
            in_sequence = false;
        }
        if (r < 0)
            break;
    }
    buf_done(&raw);
    /* What has been found is worth more than the reason why there is not more. */
    return r == -ENOMEM || c->n_parts == 0 ? (r < 0 ? r : -ECORRUPT) : 0;
}

/* ---- the door */

static int load(struct chunk *c, int fd, uint64_t file_size, struct err *reterr) {
    int r = file_size > 0 ? 0 : io_file_size(fd, &file_size);
    if (r == 0)
        r = load_header(c, fd, file_size);
    /* A reader knows from the index whose file this is: with a sound trailer it needs no header. */
    c->headless = r == -ECORRUPT && file_size > CHUNK_HEADER_FIXED;
    if (c->headless) {
        c->damaged = true;
        c->header_size = CHUNK_HEADER_FIXED;
        c->head = (struct chunk_head){0};
    } else if (r < 0) {
        return err_set(reterr, r, "header: %s", err_name(r));
    }
    r = load_tail(c, fd, file_size, reterr);
    if (r == -ECORRUPT && c->headless)
        return err_set(reterr, r, "header and trailer: %s", err_name(r));
    if ((r == -ECORRUPT || r == -EIO) && c->wait) {
        c->damaged = true;
        c->n_parts = 0;
        r = scan_blocks(c, fd, file_size);
    }
    if (r < 0)
        return err_set(reterr, r, "blocks: %s", err_name(r));
    for (uint32_t i = 0; i < c->n_parts; i++)
        chunk_sums_add(&c->sums, &c->parts[i].info);
    c->sums.file_bytes = file_size;
    return 0;
}

/* How much of the file's end to read at once: from the beginning of a page. */
static uint32_t guess_tail(struct chunk_span span) {
    uint64_t size = span.size > 0 ? span.size : span.likely_size;
    uint64_t guess = TAIL_REST + FOOTER_SIZE + (uint64_t)span.likely_blocks * TAIL_BLOCK;
    guess += (span.offset + size - guess) % DISK_PAGE;
    return span.likely_blocks == 0 ? TAIL_GUESS
                                   : (uint32_t)(guess < TAIL_GUESS_MAX ? guess : TAIL_GUESS_MAX);
}

static struct chunk *chunk_new(int dir_fd, const char *name, struct chunk_span span, bool wait) {
    struct chunk *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->arena = arena_make_in(span.likely_blocks >= SLAB_BLOCKS ? span.slab : NULL, ARENA_MAX);
    c->arena.first_bytes = ARENA_FIRST;
    c->dir_fd = dir_fd;
    c->name = arena_copy(&c->arena, str_make(name, strlen(name) + 1)).data;
    c->base = span.offset;
    c->wait = wait;
    c->tail_guess = guess_tail(span);
    if (!c->name) {
        chunk_close(c);
        return NULL;
    }
    return c;
}

int chunk_begin(int dir_fd, const char *name, struct chunk_span span, struct chunk **ret) {
    *ret = NULL;
    int fd = io_open(dir_fd, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    /* No more than is asked for: what stands beside it are blocks. */
    io_read_at_random(fd);
    uint64_t size = span.size > 0 ? span.size : span.likely_size, tail = guess_tail(span);
    struct chunk *c = chunk_new(dir_fd, name, span, false);
    /* What is not as it should be is for who has the time to look around. */
    if (c && size > 0 && load(c, fd, size, NULL) == 0 && !c->damaged) {
        *ret = c;
        return fd;
    }
    chunk_close(c);
    io_will_need(fd, span.offset, HEADER_GUESS);
    io_will_need(fd, span.offset + (size > tail ? size - tail : 0), (size_t)tail);
    return fd;
}

int chunk_open(int dir_fd, const char *name, struct chunk **ret, struct err *reterr) {
    return chunk_open_at(dir_fd, name, (struct chunk_span){0}, ret, reterr);
}

int chunk_open_at(int dir_fd, const char *name, struct chunk_span span, struct chunk **ret,
                  struct err *reterr) {
    int fd = io_open(dir_fd, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return err_set(reterr, fd, "chunk %s: %s", name, err_name(fd));
    int r = chunk_open_begun(fd, dir_fd, name, span, ret, reterr);
    io_close(fd);
    return r;
}

int chunk_open_begun(int fd, int dir_fd, const char *name, struct chunk_span span,
                     struct chunk **ret, struct err *reterr) {
    struct chunk *c = chunk_new(dir_fd, name, span, true);
    if (!c)
        return err_set(reterr, -ENOMEM, "chunk %s: no memory", name);
    int r = load(c, fd, span.size, reterr);
    if (r < 0) {
        chunk_close(c);
        return err_prefix(reterr, r, "chunk %s", name);
    }
    *ret = c;
    return 0;
}

void chunk_close(struct chunk *c) {
    if (!c)
        return;
    filters_close(c->filters);
    arena_done(&c->arena);
    free(c->parts);
    free(c);
}

const struct chunk_head *chunk_get_head(const struct chunk *c) {
    return &c->head;
}

const struct chunk_sums *chunk_get_sums(const struct chunk *c) {
    return &c->sums;
}

const char *chunk_get_name(const struct chunk *c) {
    return c->name;
}

uint64_t chunk_offset(const struct chunk *c) {
    return c->base;
}

uint32_t chunk_header_size(const struct chunk *c) {
    return c->headless && c->n_parts > 0 ? (uint32_t)c->parts[0].offset : c->header_size;
}

bool chunk_has_head(const struct chunk *c) {
    return !c->headless;
}

bool chunk_has_trailer(const struct chunk *c) {
    return c->n_parts > 0 && c->parts[0].header_copy_offset > 0;
}

bool chunk_is_damaged(const struct chunk *c) {
    return c->damaged;
}

uint32_t chunk_block_count(const struct chunk *c) {
    return c->n_parts;
}

const struct block_info *chunk_block_info(const struct chunk *c, uint32_t i) {
    assert(i < c->n_parts);
    return &c->parts[i].info;
}

uint64_t chunk_block_offset(const struct chunk *c, uint32_t i) {
    assert(i < c->n_parts);
    return c->base + c->parts[i].offset;
}

uint64_t chunk_block_header_copy(const struct chunk *c, uint32_t i) {
    assert(i < c->n_parts);
    uint64_t at = c->parts[i].header_copy_offset;
    return at > 0 ? c->base + at : 0;
}

const struct filters *chunk_filters(const struct chunk *c) {
    return c->filters;
}

size_t chunk_cost_bytes(const struct chunk *c) {
    return sizeof(*c) + c->parts_room * sizeof(c->parts[0]) + c->arena.total_bytes +
           filters_cost_bytes(c->filters);
}
