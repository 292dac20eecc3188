#include "pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "buf.h"
#include "bytes.h"
#include "chunk_format.h"
#include "hash.h"
#include "io.h"
#include "pack_format.h"

enum { FILE_MODE = 0640, SEARCH_BYTES_MAX = 1 << 30 };

/* ---- writing */

struct pack_writer {
    int dir_fd, fd;
    struct chunk_writer *chunks; /* all bytes go through it */
    uint64_t offset;
    struct buf directory;
    uint32_t n_members;
    char name[];
};

static int write_fail(const struct pack_writer *w, int code, struct err *reterr) {
    return err_set(reterr, code, "pack: cannot write %s: %s", w->name, err_name(code));
}

static void writer_free(struct pack_writer *w) {
    chunk_writer_abort(w->chunks);
    buf_done(&w->directory);
    free(w);
}

static int put(struct pack_writer *w, const void *data, size_t size, struct err *reterr) {
    w->offset += size;
    return chunk_writer_put(w->chunks, data, size, reterr);
}

static int align(struct pack_writer *w, struct err *reterr) {
    static const char zeros[PACK_ALIGN];
    size_t extra = -w->offset % PACK_ALIGN;
    return extra > 0 ? put(w, zeros, extra, reterr) : 0;
}

static void make_header(const struct pack_head *head, struct buf *out) {
    static const char zeros[PACK_HEADER_FIXED];
    buf_add(out, zeros, sizeof(zeros));
    buf_add_str(out, head->tenant);
    buf_add(out, zeros, -out->size % PACK_ALIGN);
    if (out->failed)
        return;
    char *p = out->data;
    memcpy(p + PACK_AT_MAGIC, PACK_MAGIC, 8);
    put_le32(p + PACK_AT_HEADER_SIZE, (uint32_t)out->size);
    put_le32(p + PACK_AT_DAY, (uint32_t)head->day);
    put_le32(p + PACK_AT_TENANT_SIZE, (uint32_t)head->tenant.size);
    put_le64(p + PACK_AT_SEQ, head->seq);
    const size_t sum_from = PACK_AT_CHECKSUM + 4;
    put_le32(p + PACK_AT_CHECKSUM, (uint32_t)hash64(p + sum_from, out->size - sum_from));
}

int pack_writer_open(int dir_fd, const char *name, const struct pack_head *head,
                     struct pack_writer **ret, struct err *reterr) {
    struct buf header = buf_make(PACK_HEADER_MAX);
    size_t name_size = strlen(name) + 1;
    struct pack_writer *w = calloc(1, sizeof(*w) + name_size);
    make_header(head, &header);
    if (!w || header.failed) {
        free(w);
        buf_done(&header);
        return err_set(reterr, -ENOMEM, "pack: no memory to write %s", name);
    }
    memcpy(w->name, name, name_size);
    w->dir_fd = dir_fd;
    w->directory = buf_make(PACK_MEMBERS_MAX * PACK_ROW_SIZE);
    w->fd = io_open(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    int r = w->fd < 0 ? w->fd : 0;
    if (r == 0 && !(w->chunks = chunk_writer_borrow(w->fd, name)))
        r = -ENOMEM;
    r = r < 0 ? write_fail(w, r, reterr) : put(w, header.data, header.size, reterr);
    buf_done(&header);
    if (r < 0)
        pack_writer_abort(w);
    else
        *ret = w;
    return r;
}

int pack_writer_add(struct pack_writer *w, const struct chunk_head *head,
                    const struct chunk_block *blocks, size_t n_blocks, uint64_t *ret_offset,
                    struct chunk_sums *ret_sums, struct err *reterr) {
    uint8_t row[PACK_ROW_SIZE];
    int r = w->n_members < PACK_MEMBERS_MAX ? align(w, reterr) : write_fail(w, -E2BIG, reterr);
    if (r < 0)
        return r;
    uint64_t offset = w->offset;
    r = chunk_writer_chunk(w->chunks, head, blocks, n_blocks, ret_sums, reterr);
    if (r < 0)
        return r;
    w->offset += ret_sums->file_bytes;
    put_le64(row + PACK_ROW_AT_OFFSET, offset);
    put_le64(row + PACK_ROW_AT_SIZE, ret_sums->file_bytes);
    put_le64(row + PACK_ROW_AT_STREAM, head->stream_id);
    put_le64(row + PACK_ROW_AT_SEQ, head->chunk_seq);
    put_le64(row + PACK_ROW_AT_FIRST, (uint64_t)ret_sums->first_ns);
    buf_add(&w->directory, row, sizeof(row));
    w->n_members++;
    *ret_offset = offset;
    return w->directory.failed ? write_fail(w, -ENOMEM, reterr) : 0;
}

int pack_writer_finish(struct pack_writer *w, int *ret_fd, struct err *reterr) {
    uint8_t footer[PACK_FOOTER_SIZE] = {0};
    int r = align(w, reterr);
    put_le64(footer + PACK_FOOTER_AT_DIRECTORY, w->offset);
    put_le64(footer + PACK_FOOTER_AT_FILE_SIZE, w->offset + w->directory.size + PACK_FOOTER_SIZE);
    put_le32(footer + PACK_FOOTER_AT_MEMBERS, w->n_members);
    put_le32(footer + PACK_FOOTER_AT_DIRECTORY_CHECKSUM,
             (uint32_t)hash_str(buf_str(&w->directory)));
    put_le32(footer + PACK_FOOTER_AT_CHECKSUM, (uint32_t)hash64(footer, PACK_FOOTER_AT_CHECKSUM));
    memcpy(footer + PACK_FOOTER_AT_MAGIC, PACK_FOOTER_MAGIC, 8);
    buf_add(&w->directory, footer, sizeof(footer));
    if (r == 0 && w->directory.failed)
        r = write_fail(w, -ENOMEM, reterr);
    if (r == 0)
        r = put(w, w->directory.data, w->directory.size, reterr);
    if (r == 0)
        r = chunk_writer_flush(w->chunks, reterr);
    if (r < 0)
        return r;
    *ret_fd = w->fd;
    writer_free(w);
    return 0;
}

void pack_writer_abort(struct pack_writer *w) {
    if (!w)
        return;
    if (w->fd >= 0) {
        io_close(w->fd);
        (void)io_unlink(w->dir_fd, w->name);
    }
    writer_free(w);
}

/* ---- reading */

static int read_span(int fd, uint64_t offset, size_t size, struct buf *out) {
    buf_clear(out);
    int r = buf_reserve(out, size);
    if (r < 0)
        return r;
    ssize_t n = io_pread_all(fd, out->data, size, offset);
    if (n < 0)
        return (int)n;
    out->size = (size_t)n;
    return out->size == size ? 0 : -ECORRUPT;
}

/* Whose pack it is. -ECORRUPT when the header does not tell. */
static int read_header(int fd, struct pack *p, struct buf *raw) {
    const size_t sum_from = PACK_AT_CHECKSUM + 4;
    int r = read_span(fd, 0, PACK_HEADER_FIXED, raw);
    if (r < 0)
        return r;
    uint32_t size = get_le32(raw->data + PACK_AT_HEADER_SIZE);
    if (memcmp(raw->data, PACK_MAGIC, 8) != 0 || size < PACK_HEADER_FIXED || size > PACK_HEADER_MAX)
        return -ECORRUPT;
    r = read_span(fd, 0, size, raw);
    if (r < 0)
        return r;
    const char *at = raw->data;
    uint32_t tenant_size = get_le32(at + PACK_AT_TENANT_SIZE);
    if ((uint32_t)hash64(at + sum_from, size - sum_from) != get_le32(at + PACK_AT_CHECKSUM) ||
        tenant_size == 0 || tenant_size > size - PACK_HEADER_FIXED)
        return -ECORRUPT;
    if (get_le32(at + PACK_AT_INCOMPAT) != 0)
        return -EFORMAT;
    p->tenant = malloc(tenant_size);
    if (!p->tenant)
        return -ENOMEM;
    memcpy(p->tenant, at + PACK_HEADER_FIXED, tenant_size);
    p->head = (struct pack_head){.tenant = str_make(p->tenant, tenant_size),
                                 .seq = get_le64(at + PACK_AT_SEQ),
                                 .day = (int32_t)get_le32(at + PACK_AT_DAY)};
    return 0;
}

static bool row_fits(const struct pack_member *m, uint64_t end, uint64_t directory) {
    return m->offset % PACK_ALIGN == 0 && m->offset >= end && m->offset < directory &&
           m->size >= CHUNK_HEADER_FIXED && m->size <= directory - m->offset;
}

static int read_directory(int fd, struct pack *p, struct buf *raw) {
    if (p->file_size < PACK_HEADER_FIXED + PACK_FOOTER_SIZE)
        return -ECORRUPT;
    int r = read_span(fd, p->file_size - PACK_FOOTER_SIZE, PACK_FOOTER_SIZE, raw);
    if (r < 0)
        return r;
    const char *f = raw->data;
    uint64_t directory = get_le64(f + PACK_FOOTER_AT_DIRECTORY);
    uint32_t n = get_le32(f + PACK_FOOTER_AT_MEMBERS);
    uint32_t checksum = get_le32(f + PACK_FOOTER_AT_DIRECTORY_CHECKSUM);
    if (memcmp(f + PACK_FOOTER_AT_MAGIC, PACK_FOOTER_MAGIC, 8) != 0 ||
        (uint32_t)hash64(f, PACK_FOOTER_AT_CHECKSUM) != get_le32(f + PACK_FOOTER_AT_CHECKSUM) ||
        get_le64(f + PACK_FOOTER_AT_FILE_SIZE) != p->file_size || n == 0 || n > PACK_MEMBERS_MAX ||
        directory > p->file_size ||
        p->file_size - directory != (uint64_t)n * PACK_ROW_SIZE + PACK_FOOTER_SIZE)
        return -ECORRUPT;
    r = read_span(fd, directory, (size_t)n * PACK_ROW_SIZE, raw);
    if (r == 0 && (uint32_t)hash_str(buf_str(raw)) != checksum)
        r = -ECORRUPT;
    if (r < 0)
        return r;
    p->members = calloc(n, sizeof(*p->members));
    if (!p->members)
        return -ENOMEM;
    uint64_t end = PACK_HEADER_FIXED;
    for (uint32_t i = 0; i < n; i++) {
        const char *row = raw->data + (size_t)i * PACK_ROW_SIZE;
        struct pack_member *m = &p->members[i];
        *m = (struct pack_member){.offset = get_le64(row + PACK_ROW_AT_OFFSET),
                                  .size = get_le64(row + PACK_ROW_AT_SIZE),
                                  .stream_id = get_le64(row + PACK_ROW_AT_STREAM),
                                  .chunk_seq = get_le64(row + PACK_ROW_AT_SEQ),
                                  .first_ns = (int64_t)get_le64(row + PACK_ROW_AT_FIRST)};
        if (!row_fits(m, end, directory))
            return -ECORRUPT;
        end = m->offset + m->size;
    }
    p->n_members = n;
    return 0;
}

/* ---- without the directory */

static int add_member(struct pack *p, const struct pack_member *m) {
    struct pack_member *grown = realloc(p->members, sizeof(*grown) * (p->n_members + 1));
    if (!grown)
        return -ENOMEM;
    p->members = grown;
    p->members[p->n_members++] = *m;
    return 0;
}

/* A header with the right checksum: the magic bytes alone may stand in a line, too. */
static bool is_chunk(struct str all, size_t at) {
    const size_t sum_from = CHUNK_AT_CHECKSUM + 4;
    const char *p = all.data + at;
    if (at % PACK_ALIGN != 0 || all.size - at < CHUNK_HEADER_FIXED ||
        memcmp(p, CHUNK_MAGIC, 8) != 0)
        return false;
    uint32_t size = get_le32(p + CHUNK_AT_HEADER_SIZE);
    return size >= CHUNK_HEADER_FIXED && size <= all.size - at &&
           (uint32_t)hash64(p + sum_from, size - sum_from) == get_le32(p + CHUNK_AT_CHECKSUM);
}

/* The end of the chunk that begins at `from`: behind its footer, which tells its size; else where the next chunk
 * begins. */
static size_t member_end(struct str all, size_t from) {
    for (size_t at = from + CHUNK_HEADER_FIXED; at + 8 <= all.size; at++) {
        const char *magic = memchr(all.data + at, CHUNK_MAGIC[0], all.size - at - 7);
        if (!magic)
            break;
        at = (size_t)(magic - all.data);
        if (is_chunk(all, at))
            return at;
        if (memcmp(magic, CHUNK_FOOTER_MAGIC, 8) != 0 || at + 8 - from < FOOTER_SIZE)
            continue;
        const char *footer = magic + 8 - FOOTER_SIZE;
        if ((uint32_t)hash64(footer, FOOTER_AT_CHECKSUM) == get_le32(footer + FOOTER_AT_CHECKSUM) &&
            get_le64(footer + FOOTER_AT_FILE_SIZE) == at + 8 - from)
            return at + 8;
    }
    return all.size;
}

/* Members by the magic bytes of their headers. What the headers say is told by opening them (chunk_open_at). */
static int search_members(int fd, struct pack *p, struct buf *raw) {
    if (p->file_size > SEARCH_BYTES_MAX)
        return -ECORRUPT;
    int r = read_span(fd, 0, (size_t)p->file_size, raw);
    struct str all = buf_str(raw);
    for (size_t at = 0; r == 0 && at + CHUNK_HEADER_FIXED < all.size;) {
        if (!is_chunk(all, at)) {
            at += PACK_ALIGN;
            continue;
        }
        size_t end = member_end(all, at);
        struct pack_member m = {.offset = at,
                                .size = end - at,
                                .stream_id = get_le64(all.data + at + CHUNK_AT_STREAM_ID),
                                .chunk_seq = get_le64(all.data + at + CHUNK_AT_SEQ),
                                .first_ns = INT64_MIN};
        r = add_member(p, &m);
        at = (end + PACK_ALIGN - 1) & ~(size_t)(PACK_ALIGN - 1);
    }
    return r == 0 && p->n_members == 0 ? -ECORRUPT : r;
}

static int load(int fd, struct pack *p) {
    struct buf raw = buf_make(SEARCH_BYTES_MAX + 1);
    int r = io_file_size(fd, &p->file_size);
    if (r == 0) {
        r = read_header(fd, p, &raw);
        p->damaged = r == -ECORRUPT;
    }
    if (r == 0 || p->damaged)
        r = read_directory(fd, p, &raw);
    if (r == -ECORRUPT) {
        p->damaged = true;
        free(p->members);
        p->members = NULL;
        p->n_members = 0;
        r = search_members(fd, p, &raw);
    }
    buf_done(&raw);
    return r;
}

int pack_open(int dir_fd, const char *name, struct pack *ret, struct err *reterr) {
    *ret = (struct pack){0};
    int fd = io_open(dir_fd, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return err_set(reterr, fd, "pack %s: %s", name, err_name(fd));
    int r = load(fd, ret);
    io_close(fd);
    if (r < 0) {
        pack_done(ret);
        return err_set(reterr, r, "pack %s: %s", name, err_name(r));
    }
    return 0;
}

void pack_done(struct pack *p) {
    free(p->members);
    free(p->tenant);
    *p = (struct pack){0};
}
