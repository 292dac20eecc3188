/* Writing a chunk file. Everything is laid out from the sizes of its parts, so the file is written from the front
 * to the end and never touched again. Crash states: the file still has its temporary name until the flusher
 * has made it durable and renamed it; a file with that name is somebody's unfinished work and is removed at
 * the next start. */
#include "chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "buf.h"
#include "bytes.h"
#include "chunk_format.h"
#include "hash.h"
#include "io.h"

enum {
    WRITE_BUFFER = 1 << 20, /* one write(2) for small chunks, large ones go out in steps */
    FILE_MODE = 0640,
    TENANT_FOLDER_MAX = 200, /* below NAME_MAX; longer tenant names become a hash */
};

struct writer {
    int fd;
    uint64_t offset;
    struct buf buf;
};

static int writer_flush(struct writer *w) {
    int r = io_write_all(w->fd, w->buf.data, w->buf.size);
    buf_clear(&w->buf);
    return r;
}

static int writer_add(struct writer *w, const void *data, size_t size) {
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

static int writer_align(struct writer *w) {
    static const char zeros[CHUNK_FILTER_ALIGN];
    size_t extra = -w->offset % CHUNK_FILTER_ALIGN;
    return extra > 0 ? writer_add(w, zeros, extra) : 0;
}

static int make_header(const struct chunk_head *head, struct buf *out) {
    static const char zeros[CHUNK_HEADER_FIXED];
    buf_add(out, zeros, sizeof(zeros));
    buf_add_str(out, head->tenant);
    labels_encode(out, head->labels);
    size_t labels_size = out->size - CHUNK_HEADER_FIXED - head->tenant.size;
    buf_add(out, zeros, -out->size % CHUNK_FILTER_ALIGN);
    if (out->failed)
        return -ENOMEM;
    if (out->size > CHUNK_HEADER_MAX)
        return -E2BIG;
    char *p = out->data;
    memcpy(p + CHUNK_AT_MAGIC, CHUNK_MAGIC, 8);
    put_le32(p + CHUNK_AT_HEADER_SIZE, (uint32_t)out->size);
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

/* Rows and header copies for blocks that start at `offset` and filters that start at `filters_offset`; checks each
 * block's header on the way and sums up. */
static int make_trailer(const struct chunk_block *blocks, size_t n_blocks, uint64_t offset,
                        uint64_t filters_offset, struct buf *out, struct chunk_sums *sums,
                        struct err *reterr) {
    struct arena arena = arena_make(BLOCK_SECTIONS_MAX * sizeof(struct section) + (64 << 10));
    uint8_t fixed[TRAILER_FIXED] = {0};
    int r = 0;
    memcpy(fixed + TRAILER_AT_MAGIC, CHUNK_TRAILER_MAGIC, 8);
    put_le32(fixed + TRAILER_AT_BLOCKS, (uint32_t)n_blocks);
    buf_add(out, fixed, sizeof(fixed));
    for (size_t i = 0; i < n_blocks; i++) {
        struct block_info info;
        uint8_t row[ROW_SIZE] = {0};
        struct str filter = blocks[i].filter;
        arena_reset(&arena);
        r = block_parse_header(blocks[i].encoded, &arena, &info, reterr);
        if (r == 0 && info.stored_size != blocks[i].encoded.size)
            r = err_set(reterr, -ECORRUPT, "chunk: block %zu has %zu bytes, not %u", i,
                        blocks[i].encoded.size, info.stored_size);
        if (r < 0)
            goto out;
        assert(filter.size % CHUNK_FILTER_ALIGN == 0);
        put_le64(row + ROW_AT_BLOCK, offset);
        put_le64(row + ROW_AT_FILTER, filters_offset);
        put_le32(row + ROW_AT_FILTER_SIZE, (uint32_t)filter.size);
        put_le32(row + ROW_AT_FILTER_CHECKSUM, (uint32_t)hash_str(filter));
        put_le32(row + ROW_AT_HEADER_SIZE, info.header_size);
        buf_add(out, row, sizeof(row));
        offset += info.stored_size;
        filters_offset += filter.size;
        chunk_sums_add(sums, &info);
    }
    for (size_t i = 0; i < n_blocks; i++) {
        const char *p = blocks[i].encoded.data;
        const char *row = out->data + TRAILER_FIXED + i * ROW_SIZE;
        if (!out->failed)
            buf_add(out, p, get_le32(row + ROW_AT_HEADER_SIZE));
    }
    if (out->failed)
        r = err_set(reterr, -E2BIG, "chunk: the trailer of %zu blocks is too big", n_blocks);
out:
    arena_done(&arena);
    return r;
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

static int write_all(struct writer *w, const struct buf *header, const struct chunk_block *blocks,
                     size_t n_blocks, const struct buf *trailer) {
    uint8_t footer[FOOTER_SIZE];
    int r = writer_add(w, header->data, header->size);
    for (size_t i = 0; r == 0 && i < n_blocks; i++)
        r = writer_add(w, blocks[i].encoded.data, blocks[i].encoded.size);
    if (r == 0)
        r = writer_align(w);
    uint64_t filters_offset = w->offset;
    for (size_t i = 0; r == 0 && i < n_blocks; i++)
        r = writer_add(w, blocks[i].filter.data, blocks[i].filter.size);
    make_footer(trailer, filters_offset, w->offset, footer);
    if (r == 0)
        r = writer_add(w, trailer->data, trailer->size);
    if (r == 0)
        r = writer_add(w, footer, sizeof(footer));
    return r < 0 ? r : writer_flush(w);
}

int chunk_write(int dir_fd, const char *name, const struct chunk_head *head,
                const struct chunk_block *blocks, size_t n_blocks, int *ret_fd,
                struct chunk_sums *ret_sums, struct err *reterr) {
    if (n_blocks == 0 || n_blocks > CHUNK_BLOCKS_MAX)
        return err_set(reterr, n_blocks == 0 ? -EINVAL : -E2BIG, "chunk: %zu blocks, limit is %d",
                       n_blocks, CHUNK_BLOCKS_MAX);
    struct buf header = buf_make(BUF_NO_MAX), trailer = buf_make(CHUNK_TRAILER_MAX);
    struct writer w = {.fd = -1, .buf = buf_make(WRITE_BUFFER)};
    struct chunk_sums sums = {0};
    int r = make_header(head, &header);
    if (r < 0) {
        (void)err_set(reterr, r, "chunk: cannot make the header of %s", name);
        goto out;
    }
    uint64_t blocks_size = 0;
    for (size_t i = 0; i < n_blocks; i++)
        blocks_size += blocks[i].encoded.size;
    uint64_t filters_offset = header.size + blocks_size;
    filters_offset += -filters_offset % CHUNK_FILTER_ALIGN;
    r = make_trailer(blocks, n_blocks, header.size, filters_offset, &trailer, &sums, reterr);
    if (r < 0)
        goto out;
    w.fd = io_open(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, FILE_MODE);
    r = w.fd < 0 ? w.fd : write_all(&w, &header, blocks, n_blocks, &trailer);
    if (r < 0) {
        (void)err_set(reterr, r, "chunk: cannot write %s: %s", name, err_name(r));
        goto out;
    }
    sums.file_bytes = w.offset;
    *ret_sums = sums;
    *ret_fd = w.fd;
out:
    if (r < 0 && w.fd >= 0) {
        io_close(w.fd);
        (void)io_unlink(dir_fd, name);
    }
    buf_done(&w.buf);
    buf_done(&trailer);
    buf_done(&header);
    return r;
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

int chunk_path(char out[static CHUNK_PATH_MAX], struct str tenant, int32_t day, uint64_t stream_id,
               uint64_t chunk_seq) {
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
    int n = snprintf(out, CHUNK_PATH_MAX,
                     "chunks/%.*s/%04" PRId64 "-%02u-%02u/%016" PRIx64 "-%016" PRIx64 ".chunk",
                     (int)size, folder, year, month, month_day, stream_id, chunk_seq);
    return n > 0 && n < CHUNK_PATH_MAX ? 0 : -ENAMETOOLONG;
}
