/* Writing a chunk file. What comes behind the blocks is gathered while they pass, so the file is written from the
 * front to the end and never touched again. Crash states: the file still has its temporary name until the flusher
 * has made it durable and renamed it; a file with that name is somebody's unfinished work and is removed at
 * the next start. */
#include "chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "bytes.h"
#include "chunk_format.h"
#include "hash.h"
#include "io.h"
#include "slices.h"

enum {
    WRITE_BUFFER = 1 << 20, /* one write(2) for small chunks, large ones go out in steps */
    FILE_MODE = 0640,
    TENANT_FOLDER_MAX = 200, /* below NAME_MAX; longer tenant names become a hash */
};

struct chunk_writer {
    int dir_fd;
    int fd;
    bool borrowed;            /* the file is the caller's */
    uint64_t offset;          /* bytes of the file so far, those in `buf` included */
    struct buf buf;           /* not written yet */
    struct buf rows, headers; /* of the trailer */
    struct buf filters;       /* one after the other, as they come */
    struct buf scratch, trailer, page_sums;
    struct arena arena; /* of one call */
    struct chunk_sums sums;
    char name[];
};

static int writer_flush(struct chunk_writer *w) {
    int r = io_write_all(w->fd, w->buf.data, w->buf.size);
    buf_clear(&w->buf);
    return r;
}

static int writer_put(struct chunk_writer *w, const void *data, size_t size) {
    int r = 0;
    if (size > WRITE_BUFFER - w->buf.size)
        r = writer_flush(w);
    if (r == 0 && size > WRITE_BUFFER)
        r = io_write_all(w->fd, data, size);
    else
        buf_add(&w->buf, data, size);
    w->offset += size;
    return r < 0 ? r : w->buf.failed ? -ENOMEM : 0;
}

static int writer_align(struct chunk_writer *w) {
    static const char zeros[CHUNK_ALIGN];
    size_t extra = -w->offset % CHUNK_ALIGN;
    return extra > 0 ? writer_put(w, zeros, extra) : 0;
}

/* Grade, count, then the numbers as distances. */
static void put_replaces(const struct chunk_head *head, struct buf *out) {
    uint8_t number[VARINT_MAX_BYTES];
    uint64_t before = 0;
    buf_add_char(out, (char)head->grade);
    buf_add(out, number, (size_t)(put_varint(number, head->n_replaces) - number));
    for (size_t i = 0; i < head->n_replaces; i++) {
        assert(head->replaces[i] > before || i == 0);
        buf_add(out, number, (size_t)(put_varint(number, head->replaces[i] - before) - number));
        before = head->replaces[i];
    }
}

static int make_header(const struct chunk_head *head, struct buf *out) {
    static const char zeros[CHUNK_HEADER_FIXED];
    bool rewritten = head->grade > 0 || head->n_replaces > 0;
    buf_add(out, zeros, sizeof(zeros));
    buf_add_str(out, head->tenant);
    labels_encode(out, head->labels);
    size_t labels_size = out->size - CHUNK_HEADER_FIXED - head->tenant.size;
    if (rewritten)
        put_replaces(head, out);
    buf_add(out, zeros, -out->size % CHUNK_ALIGN);
    if (out->failed)
        return -ENOMEM;
    if (out->size > CHUNK_HEADER_MAX)
        return -E2BIG;
    char *p = out->data;
    memcpy(p + CHUNK_AT_MAGIC, CHUNK_MAGIC, 8);
    put_le32(p + CHUNK_AT_HEADER_SIZE, (uint32_t)out->size);
    put_le32(p + CHUNK_AT_INCOMPAT,
             CHUNK_INCOMPAT_SLICED | (rewritten ? CHUNK_INCOMPAT_REPLACES : 0u));
    put_le32(p + CHUNK_AT_DAY, (uint32_t)head->day);
    put_le32(p + CHUNK_AT_WAL_INDEX, head->wal_index);
    put_le64(p + CHUNK_AT_STREAM_ID, head->stream_id);
    put_le64(p + CHUNK_AT_SEQ, head->chunk_seq);
    put_le64(p + CHUNK_AT_WAL_LSN, head->wal_lsn);
    put_le32(p + CHUNK_AT_TENANT_SIZE, (uint32_t)head->tenant.size);
    put_le32(p + CHUNK_AT_LABELS_SIZE, (uint32_t)labels_size);
    const size_t sum_from = CHUNK_AT_CHECKSUM + 4;
    put_le32(p + CHUNK_AT_CHECKSUM, (uint32_t)hash64(p + sum_from, out->size - sum_from));
    return 0;
}

static void writer_free(struct chunk_writer *w) {
    buf_done(&w->buf);
    buf_done(&w->rows);
    buf_done(&w->headers);
    buf_done(&w->filters);
    buf_done(&w->scratch);
    buf_done(&w->trailer);
    buf_done(&w->page_sums);
    arena_done(&w->arena);
    free(w);
}

void chunk_writer_abort(struct chunk_writer *w) {
    if (!w)
        return;
    if (w->fd >= 0 && !w->borrowed) {
        io_close(w->fd);
        (void)io_unlink(w->dir_fd, w->name);
    }
    writer_free(w);
}

static int writer_fail(const struct chunk_writer *w, int code, struct err *reterr) {
    return err_set(reterr, code, "chunk: cannot write %s: %s", w->name, err_name(code));
}

static struct chunk_writer *writer_new(const char *name) {
    size_t name_size = strlen(name) + 1;
    struct chunk_writer *w = calloc(1, sizeof(*w) + name_size);
    if (!w)
        return NULL;
    memcpy(w->name, name, name_size);
    w->fd = -1;
    w->buf = buf_make(WRITE_BUFFER);
    w->rows = w->headers = w->trailer = w->page_sums = buf_make(CHUNK_TRAILER_MAX);
    w->filters = w->scratch = buf_make(BUF_NO_MAX);
    w->arena = arena_make(BUF_NO_MAX);
    return w;
}

/* Begins a chunk where the file's bytes end. */
static int writer_begin(struct chunk_writer *w, const struct chunk_head *head, struct err *reterr) {
    buf_clear(&w->scratch);
    buf_clear(&w->rows);
    buf_clear(&w->headers);
    buf_clear(&w->filters);
    w->sums = (struct chunk_sums){0};
    w->offset = 0;
    int r = make_header(head, &w->scratch);
    if (r < 0)
        return err_set(reterr, r, "chunk: cannot make the header of %s", w->name);
    r = writer_put(w, w->scratch.data, w->scratch.size);
    return r < 0 ? writer_fail(w, r, reterr) : 0;
}

int chunk_writer_open(int dir_fd, const char *name, const struct chunk_head *head,
                      struct chunk_writer **ret, struct err *reterr) {
    struct chunk_writer *w = writer_new(name);
    if (!w)
        return err_set(reterr, -ENOMEM, "chunk: no memory to write %s", name);
    w->dir_fd = dir_fd;
    w->fd = io_open(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, FILE_MODE);
    int r = w->fd < 0 ? writer_fail(w, w->fd, reterr) : writer_begin(w, head, reterr);
    if (r < 0)
        chunk_writer_abort(w);
    else
        *ret = w;
    return r;
}

int chunk_writer_add(struct chunk_writer *w, const struct chunk_block *block, struct err *reterr) {
    struct block_info info;
    struct str filter = block->filter;
    arena_reset(&w->arena);
    int r = block_parse_header(block->encoded, &w->arena, &info, reterr);
    if (r == 0 && info.stored_size != block->encoded.size)
        r = err_set(reterr, -ECORRUPT, "chunk: block %u has %zu bytes, not %u", w->sums.blocks,
                    block->encoded.size, info.stored_size);
    if (r == 0 && w->sums.blocks == CHUNK_BLOCKS_MAX)
        r = err_set(reterr, -E2BIG, "chunk: %s has more than %d blocks", w->name, CHUNK_BLOCKS_MAX);
    if (r < 0)
        return r;
    assert(filter.size == 0 || gram_filter_is_sound((const uint8_t *)filter.data, filter.size));
    uint8_t row[ROW_SIZE] = {0};
    put_le64(row + ROW_AT_BLOCK, w->offset);
    put_le32(row + ROW_AT_FILTER_SIZE, (uint32_t)filter.size);
    put_le32(row + ROW_AT_HEADER_SIZE, info.header_size);
    buf_add(&w->rows, row, sizeof(row));
    buf_add(&w->headers, block->encoded.data, info.header_size);
    buf_add(&w->filters, filter.data, filter.size);
    chunk_sums_add(&w->sums, &info);
    r = writer_put(w, block->encoded.data, block->encoded.size);
    if (r < 0)
        (void)writer_fail(w, r, reterr);
    else if (w->rows.failed || w->headers.failed || w->filters.failed)
        r = err_set(reterr, -E2BIG, "chunk: the trailer of %u blocks is too big", w->sums.blocks);
    return r;
}

uint64_t chunk_writer_size(const struct chunk_writer *w) {
    return w->offset + w->filters.size;
}

uint32_t chunk_writer_blocks(const struct chunk_writer *w) {
    return w->sums.blocks;
}

/* Writes what `pending` has of pages of the file, and notes their checksums; with `last` also the end that fills none. */
static int put_pages(struct chunk_writer *w, struct buf *pending, bool last) {
    size_t done = 0;
    int r = 0;
    while (r == 0 && done < pending->size) {
        size_t size = FILTERS_PAGE - (size_t)(w->offset % FILTERS_PAGE);
        if (size > pending->size - done && !last)
            break;
        if (size > pending->size - done)
            size = pending->size - done;
        char sum[4];
        put_le32(sum, (uint32_t)hash64(pending->data + done, size));
        buf_add(&w->page_sums, sum, sizeof(sum));
        r = writer_put(w, pending->data + done, size);
        done += size;
    }
    memmove(pending->data, pending->data + done, pending->size - done);
    pending->size -= done;
    return r;
}

/* Some slices at a time: the filters of a large chunk are not in memory twice. */
static int put_slices(struct chunk_writer *w, const struct slices *s, const uint32_t *sizes) {
    uint32_t stride = slices_stride(s), count = stride > 0 ? UINT32_C(1) << s->shift : 0;
    uint32_t step = stride < WRITE_BUFFER ? WRITE_BUFFER / (stride + 1) : 1;
    struct buf *pending = &w->scratch;
    int r = 0;
    buf_clear(pending);
    for (uint32_t from = 0, to; r == 0 && from < count; from = to) {
        to = count - from < step ? count : from + step;
        size_t size = (size_t)(to - from) * stride;
        r = buf_reserve(pending, size);
        const uint8_t *filter = (const uint8_t *)w->filters.data;
        for (uint32_t i = 0; r == 0 && i < s->n; filter += sizes[i++])
            slices_put(s, i, filter, sizes[i], from, to, (uint8_t *)pending->data + pending->size);
        pending->size += r == 0 ? size : 0;
        if (r == 0)
            r = put_pages(w, pending, to == count);
    }
    return r;
}

/* Slices the filters behind the blocks; *ret_shift and w->page_sums are for the trailer. */
static int put_filters(struct chunk_writer *w, unsigned *ret_shift) {
    uint32_t n = w->sums.blocks;
    struct slices slices;
    arena_reset(&w->arena);
    buf_clear(&w->page_sums);
    uint32_t *sizes = arena_alloc(&w->arena, n * sizeof(*sizes));
    int r = sizes ? 0 : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < n; i++)
        sizes[i] = get_le32(w->rows.data + (size_t)i * ROW_SIZE + ROW_AT_FILTER_SIZE);
    if (r == 0) {
        *ret_shift = slices_best_shift(sizes, n);
        r = slices_make(sizes, n, *ret_shift, &w->arena, &slices);
    }
    return r == 0 ? put_slices(w, &slices, sizes) : r;
}

/* Fixed part, rows, header copies, checksums of pages. */
static int make_trailer(struct chunk_writer *w, unsigned shift) {
    struct buf *out = &w->trailer;
    buf_clear(out);
    uint8_t fixed[TRAILER_FIXED] = {0};
    memcpy(fixed + TRAILER_AT_MAGIC, CHUNK_TRAILER_MAGIC, 8);
    put_le32(fixed + TRAILER_AT_BLOCKS, w->sums.blocks);
    put_le32(fixed + TRAILER_AT_SHIFT, shift);
    buf_add(out, fixed, sizeof(fixed));
    buf_add_str(out, buf_str(&w->rows));
    buf_add_str(out, buf_str(&w->headers));
    buf_add_str(out, buf_str(&w->page_sums));
    return out->failed || w->page_sums.failed ? -E2BIG : 0;
}

static void make_footer(const struct buf *trailer, uint64_t filters_offset, uint64_t trailer_offset,
                        uint8_t footer[static FOOTER_SIZE]) {
    memset(footer, 0, FOOTER_SIZE);
    put_le64(footer + FOOTER_AT_FILTERS, filters_offset);
    put_le64(footer + FOOTER_AT_TRAILER, trailer_offset);
    put_le64(footer + FOOTER_AT_FILE_SIZE, trailer_offset + trailer->size + FOOTER_SIZE);
    put_le32(footer + FOOTER_AT_TRAILER_SIZE, (uint32_t)trailer->size);
    put_le32(footer + FOOTER_AT_TRAILER_CHECKSUM, (uint32_t)hash64(trailer->data, trailer->size));
    put_le32(footer + FOOTER_AT_CHECKSUM, (uint32_t)hash64(footer, FOOTER_AT_CHECKSUM));
    memcpy(footer + FOOTER_AT_MAGIC, CHUNK_FOOTER_MAGIC, 8);
}

/* What comes behind the blocks of a chunk. */
static int writer_end(struct chunk_writer *w, struct chunk_sums *ret_sums, struct err *reterr) {
    uint8_t footer[FOOTER_SIZE];
    unsigned shift = 0;
    if (w->sums.blocks == 0)
        return err_set(reterr, -EINVAL, "chunk: %s has no block", w->name);
    int r = writer_align(w);
    uint64_t filters_offset = w->offset;
    if (r == 0)
        r = put_filters(w, &shift);
    if (r == 0)
        r = make_trailer(w, shift);
    if (r < 0)
        return writer_fail(w, r, reterr);
    make_footer(&w->trailer, filters_offset, w->offset, footer);
    r = writer_put(w, w->trailer.data, w->trailer.size);
    if (r == 0)
        r = writer_put(w, footer, sizeof(footer));
    if (r < 0)
        return writer_fail(w, r, reterr);
    *ret_sums = w->sums;
    ret_sums->file_bytes = w->offset;
    return 0;
}

int chunk_writer_finish(struct chunk_writer *w, int *ret_fd, struct chunk_sums *ret_sums,
                        struct err *reterr) {
    struct chunk_sums sums;
    int r = writer_end(w, &sums, reterr);
    if (r == 0)
        r = chunk_writer_flush(w, reterr);
    if (r < 0)
        return r;
    *ret_sums = sums;
    *ret_fd = w->fd;
    writer_free(w);
    return 0;
}

static int add_blocks(struct chunk_writer *w, const struct chunk_block *blocks, size_t n_blocks,
                      struct err *reterr) {
    if (n_blocks == 0 || n_blocks > CHUNK_BLOCKS_MAX)
        return err_set(reterr, n_blocks == 0 ? -EINVAL : -E2BIG, "chunk: %zu blocks, limit is %d",
                       n_blocks, CHUNK_BLOCKS_MAX);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n_blocks; i++)
        r = chunk_writer_add(w, &blocks[i], reterr);
    return r;
}

int chunk_write(int dir_fd, const char *name, const struct chunk_head *head,
                const struct chunk_block *blocks, size_t n_blocks, int *ret_fd,
                struct chunk_sums *ret_sums, struct err *reterr) {
    struct chunk_writer *w = NULL;
    int r = chunk_writer_open(dir_fd, name, head, &w, reterr);
    if (r == 0)
        r = add_blocks(w, blocks, n_blocks, reterr);
    if (r == 0)
        r = chunk_writer_finish(w, ret_fd, ret_sums, reterr);
    if (r < 0)
        chunk_writer_abort(w);
    return r;
}

/* ---- many chunks in one file */

struct chunk_writer *chunk_writer_borrow(int fd, const char *name) {
    struct chunk_writer *w = writer_new(name);
    if (w) {
        w->fd = fd;
        w->borrowed = true;
    }
    return w;
}

int chunk_writer_put(struct chunk_writer *w, const void *data, size_t size, struct err *reterr) {
    int r = writer_put(w, data, size);
    return r < 0 ? writer_fail(w, r, reterr) : 0;
}

int chunk_writer_chunk(struct chunk_writer *w, const struct chunk_head *head,
                       const struct chunk_block *blocks, size_t n_blocks,
                       struct chunk_sums *ret_sums, struct err *reterr) {
    int r = writer_begin(w, head, reterr);
    if (r == 0)
        r = add_blocks(w, blocks, n_blocks, reterr);
    return r == 0 ? writer_end(w, ret_sums, reterr) : r;
}

int chunk_writer_flush(struct chunk_writer *w, struct err *reterr) {
    int r = writer_flush(w);
    return r < 0 ? writer_fail(w, r, reterr) : 0;
}

/* ---- names */

/* Years, months and days of a day number since 1970-01-01, in the Gregorian calendar: counted in eras of 400
 * years (146 097 days) that begin on a first of March, so that the leap day is a year's last. */
static void day_to_date(int32_t day, int64_t *year, unsigned *month, unsigned *month_day) {
    int64_t shifted = (int64_t)day + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    unsigned era_day = (unsigned)(shifted - era * 146097);
    unsigned era_year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
    unsigned year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    unsigned from_march = (5 * year_day + 2) / 153;
    *month_day = year_day - (153 * from_march + 2) / 5 + 1;
    *month = from_march < 10 ? from_march + 3 : from_march - 9;
    *year = era * 400 + era_year + (*month <= 2);
}

static bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

/* The folder of a tenant; returns its length, 0 when the encoded name is too long. */
static size_t encode_tenant(struct str tenant, char out[static TENANT_FOLDER_MAX + 4]) {
    static const char digits[] = "0123456789ABCDEF";
    size_t at = 0;
    for (size_t i = 0; i < tenant.size; i++) {
        uint8_t c = (uint8_t)tenant.data[i];
        if (at + 3 > TENANT_FOLDER_MAX)
            return 0;
        if (is_plain((char)c)) {
            out[at++] = (char)c;
        } else {
            out[at++] = '%';
            out[at++] = digits[c >> 4];
            out[at++] = digits[c & 15];
        }
    }
    return at;
}

/* "chunks/<tenant>/<day>/": its length, or a negative errno. */
static int day_folder(char out[static CHUNK_PATH_MAX], struct str tenant, int32_t day) {
    char folder[TENANT_FOLDER_MAX + 4];
    int64_t year = 0;
    unsigned month = 0, month_day = 0;
    if (tenant.size == 0)
        return -EINVAL;
    size_t size = encode_tenant(tenant, folder);
    if (size == 0) {
        struct hash128 h = hash128(tenant.data, tenant.size);
        size =
            (size_t)snprintf(folder, sizeof(folder), "~%016" PRIx64 "%016" PRIx64, h.high, h.low);
    }
    day_to_date(day, &year, &month, &month_day);
    int n = snprintf(out, CHUNK_PATH_MAX, "chunks/%.*s/%04" PRId64 "-%02u-%02u/", (int)size, folder,
                     year, month, month_day);
    return n > 0 && n < CHUNK_PATH_MAX ? n : -ENAMETOOLONG;
}

int chunk_path(char out[static CHUNK_PATH_MAX], struct str tenant, int32_t day, uint64_t stream_id,
               uint64_t chunk_seq) {
    int at = day_folder(out, tenant, day);
    if (at < 0)
        return at;
    int n = snprintf(out + at, (size_t)(CHUNK_PATH_MAX - at), "%016" PRIx64 "-%016" PRIx64 ".chunk",
                     stream_id, chunk_seq);
    return n > 0 && n < CHUNK_PATH_MAX - at ? 0 : -ENAMETOOLONG;
}

int pack_path(char out[static CHUNK_PATH_MAX], struct str tenant, int32_t day, uint64_t pack_seq) {
    int at = day_folder(out, tenant, day);
    if (at < 0)
        return at;
    int n = snprintf(out + at, (size_t)(CHUNK_PATH_MAX - at), "%016" PRIx64 ".pack", pack_seq);
    return n > 0 && n < CHUNK_PATH_MAX - at ? 0 : -ENAMETOOLONG;
}
