/* The reading half of the WAL: names, headers and records of segment files, and their replay.
 *
 * What a crash can leave of a segment, and what replay makes of it:
 *   (1) an empty or all-zero file (created, nothing written): no records, nothing lost.
 *   (2) a header and records, then zeros (the preallocated rest): all records.
 *   (3) as 2 with a half-written record at the end: the records before it; its bytes are counted as lost. It
 *       was never acknowledged.
 *   (4) a damaged record in the middle (bad disk): the others, when its size still leads to the next one; a size
 *       with one wrong bit is found by trying (the checksum tells). Bytes that only look like a record are not
 *       searched for: pushed lines could hold such. A damaged header before a sound record costs nothing.
 *   (5) a sound header of an unknown format version: refused with -EFORMAT, for reading on would end in
 *       the deletion of a segment that a newer build wrote.
 * Nothing is written here. */
#include "wal_segment.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "bytes.h"
#include "hash.h"
#include "io.h"
#include "numbers.h"
#include "wal_ahead.h"

static const char MAGIC[8] = {'L', 'O', 'G', 'Q', 'W', 'A', 'L', '\n'};

enum {
    HEADER_CHECKED = 28,
    READ_AHEAD = 1 << 20,   /* bytes read at a time; records larger than this are read whole */
    SEGMENTS_MAX = 1 << 20, /* 64 TiB of default segments: a folder with more is not ours */
};

static_assert(8 + 2 + 2 + 4 + 4 + 8 == HEADER_CHECKED && HEADER_CHECKED + 4 == WAL_HEADER_SIZE,
              "on-disk layout");
static_assert(4 + 4 + 1 + 1 + 2 + 4 == WAL_RECORD_HEADER_SIZE, "on-disk layout");

void wal_segment_name(char out[static WAL_NAME_SIZE], uint64_t number) {
    (void)snprintf(out, WAL_NAME_SIZE, "%016" PRIx64 ".wal", number);
}

/* True for exactly the names that wal_segment_name makes of numbers that fit an lsn. */
static bool name_parse(const char *name, uint64_t *ret_number) {
    uint64_t number = 0;
    for (int i = 0; i < 16; i++) {
        char c = name[i];
        if (c >= '0' && c <= '9')
            number = number << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            number = number << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    if (strcmp(name + 16, ".wal") != 0 || number == 0 || number > UINT32_MAX)
        return false;
    *ret_number = number;
    return true;
}

void wal_header_encode(uint8_t out[static WAL_HEADER_SIZE], uint64_t number) {
    memset(out, 0, WAL_HEADER_SIZE);
    memcpy(out, MAGIC, sizeof(MAGIC));
    put_le16(out + 8, WAL_VERSION);
    put_le64(out + 20, number);
    put_le32(out + HEADER_CHECKED, (uint32_t)hash64(out, HEADER_CHECKED));
}

static bool header_is_whole(const uint8_t header[static WAL_HEADER_SIZE]) {
    return memcmp(header, MAGIC, sizeof(MAGIC)) == 0 &&
           get_le32(header + HEADER_CHECKED) == (uint32_t)hash64(header, HEADER_CHECKED);
}

int wal_header_check(const uint8_t header[static WAL_HEADER_SIZE], uint64_t number) {
    if (!header_is_whole(header))
        return -ECORRUPT;
    if (get_le16(header + 8) != WAL_VERSION || get_le32(header + 16) != 0)
        return -EFORMAT;
    return get_le64(header + 20) == number ? 0 : -ECORRUPT;
}

static uint32_t record_checksum(const uint8_t *record, size_t payload_size) {
    return (uint32_t)hash64(record + WAL_RECORD_CHECKED_FROM,
                            WAL_RECORD_HEADER_SIZE - WAL_RECORD_CHECKED_FROM + payload_size);
}

void wal_record_seal(uint8_t *record, uint8_t type, uint8_t codec, uint32_t raw_size,
                     uint32_t payload_size) {
    put_le32(record, payload_size);
    record[8] = type;
    record[9] = codec;
    put_le16(record + 10, 0);
    put_le32(record + 12, raw_size);
    put_le32(record + 4, record_checksum(record, payload_size));
}

/* ---- listing */

static int list_add(const char *name, bool is_dir, void *ctx) {
    struct numbers *list = ctx;
    uint64_t number;
    if (is_dir || !name_parse(name, &number))
        return 0;
    return list->n == SEGMENTS_MAX ? -E2BIG : numbers_add(list, number);
}

int wal_segment_list(int dir_fd, uint64_t **ret, size_t *ret_count, struct err *reterr) {
    struct numbers list = {0};
    int r = io_list(dir_fd, ".", list_add, &list);
    if (r < 0) {
        numbers_done(&list);
        return err_set(reterr, r, "cannot list the WAL folder: %s", err_name(r));
    }
    numbers_sort(&list);
    *ret = list.items;
    *ret_count = list.n;
    return 0;
}

/* ---- scanning one segment */

/* Segments that are read one after the other, and where the present one stands among them. */
struct course {
    int dir_fd;
    const uint64_t *numbers;
    size_t count, i;
    struct wal_ahead *ahead; /* NULL: none has begun */
    bool asked;              /* it has been, or could not */
};

struct scanner {
    int fd;
    uint64_t file_size;
    uint64_t offset; /* of the next record */
    /* Bytes [view_offset, view_offset + view.size) of the file, in a piece that was read ahead or in the window. */
    struct str view;
    uint64_t view_offset;
    struct buf window;
    struct course *course;
    bool read_failed;
};

/* A piece that was read ahead. A segment of one window's size is read without. */
static const char *scanner_ahead(struct scanner *s, uint64_t offset, size_t *ret_size) {
    struct course *c = s->course;
    if (!c->asked && offset >= READ_AHEAD) {
        c->asked = true;
        c->ahead = wal_ahead_new(c->dir_fd, c->numbers, c->count, c->i, offset);
    }
    return c->ahead ? wal_ahead_get(c->ahead, c->i, offset, ret_size) : NULL;
}

/* Fills the window up to `size` bytes or more: with what the view has, with pieces, and with what nobody has read yet. */
static void scanner_gather(struct scanner *s, size_t size) {
    struct buf *w = &s->window;
    uint64_t seen = s->offset - s->view_offset;
    size_t kept = seen < s->view.size ? s->view.size - (size_t)seen : 0;
    const char *from = kept > 0 ? s->view.data + seen : NULL;
    bool in_window = kept > 0 && s->view.data == w->data;
    if (in_window)
        memmove(w->data, from, kept);
    w->size = in_window ? kept : 0;
    s->view = STR("");
    if (buf_reserve(w, size - w->size) < 0)
        return;
    if (kept > 0 && !in_window)
        buf_add(w, from, kept);
    while (w->size < size) {
        size_t n = 0;
        const char *piece = scanner_ahead(s, s->offset + w->size, &n);
        if (!piece)
            break;
        buf_add(w, piece, n < size - w->size ? n : size - w->size);
    }
    size_t wanted = size > READ_AHEAD ? size : READ_AHEAD;
    if (wanted > s->file_size - s->offset)
        wanted = (size_t)(s->file_size - s->offset);
    if (w->size < size && buf_reserve(w, wanted - w->size) == 0) {
        ssize_t n = io_pread_all(s->fd, w->data + w->size, wanted - w->size, s->offset + w->size);
        w->size += n > 0 ? (size_t)n : 0;
        if (w->size < size)
            s->read_failed = n < 0;
    }
    s->view = buf_str(w);
    s->view_offset = s->offset;
}

/* `size` bytes at s->offset, valid until the next call; NULL when the file ends before them, cannot be read
 * (read_failed) or memory is used up (window.failed). */
static const uint8_t *scanner_peek(struct scanner *s, size_t size) {
    if (size > s->file_size - s->offset)
        return NULL;
    if (s->offset < s->view_offset || s->offset + size > s->view_offset + s->view.size) {
        size_t n = 0;
        const char *piece = scanner_ahead(s, s->offset, &n);
        if (piece && n >= size) {
            s->view = str_make(piece, n);
            s->view_offset = s->offset;
        } else {
            scanner_gather(s, size);
        }
        if (s->view.size < size)
            return NULL;
    }
    return (const uint8_t *)s->view.data + (s->offset - s->view_offset);
}

static bool all_zero(const uint8_t *p, size_t size) {
    return size == 0 || (p[0] == 0 && memcmp(p, p + 1, size - 1) == 0);
}

/* Bytes from s->offset up to the last one that is not zero. What cannot be read counts as lost. */
static uint64_t scanner_lost(struct scanner *s) {
    uint64_t start = s->offset, lost = 0;
    while (s->offset < s->file_size && !s->read_failed && !s->window.failed) {
        /* What is allocated and has never been written need not be read. */
        s->offset = io_skip_hole(s->fd, s->offset, s->file_size);
        uint64_t left = s->file_size - s->offset;
        size_t size = left < READ_AHEAD ? (size_t)left : READ_AHEAD;
        const uint8_t *p = scanner_peek(s, size);
        if (!p)
            break;
        if (!all_zero(p, size)) {
            size_t used = size;
            while (p[used - 1] == 0)
                used--;
            lost = s->offset + used - start;
        }
        s->offset += size;
    }
    return s->read_failed ? s->file_size - start : lost;
}

/* The record at s->offset if its payload had `payload_size` bytes; NULL when it does not check out. */
static const uint8_t *scanner_record(struct scanner *s, size_t payload_size) {
    if (payload_size > WAL_RECORD_MAX)
        return NULL;
    const uint8_t *p = scanner_peek(s, WAL_RECORD_HEADER_SIZE + payload_size);
    return p && get_le32(p + 4) == record_checksum(p, payload_size) ? p : NULL;
}

/* With one bit of its size flipped. */
static const uint8_t *scanner_mend(struct scanner *s, size_t damaged_size, size_t *ret_size) {
    const uint8_t *p = NULL;
    for (unsigned bit = 0; bit < 32 && !p && !s->read_failed && !s->window.failed; bit++) {
        *ret_size = damaged_size ^ (size_t)1 << bit;
        p = scanner_record(s, *ret_size);
    }
    return p;
}

/* Is there a valid record `distance` bytes on? */
static bool leads_on(struct scanner *s, size_t distance) {
    uint64_t here = s->offset;
    if (distance > s->file_size - here)
        return false;
    s->offset = here + distance;
    const uint8_t *p = scanner_peek(s, WAL_RECORD_HEADER_SIZE);
    bool found = p && !all_zero(p, WAL_RECORD_HEADER_SIZE) && scanner_record(s, get_le32(p));
    s->offset = here;
    return found;
}

/* Delivers records until there is no more. s->offset stands behind the last valid one. */
static int scan_records(struct scanner *s, uint64_t number, wal_replay_fn *fn, void *ctx,
                        struct wal_scan *found) {
    for (;;) {
        const uint8_t *p = scanner_peek(s, WAL_RECORD_HEADER_SIZE);
        if (!p || all_zero(p, WAL_RECORD_HEADER_SIZE))
            return 0;
        size_t payload_size = get_le32(p), damaged_size = payload_size;
        p = scanner_record(s, payload_size);
        if (!p) {
            p = scanner_mend(s, damaged_size, &payload_size);
            found->mended += p != NULL;
        }
        if (!p) {
            size_t size = WAL_RECORD_HEADER_SIZE + damaged_size;
            if (s->read_failed || s->window.failed || !leads_on(s, size))
                return 0;
            if (found->skipped_bytes == 0)
                found->bad_offset = s->offset;
            found->skipped_bytes += size;
            s->offset += size;
            continue;
        }
        struct wal_record record = {
            .lsn = wal_lsn_make(number, s->offset),
            .type = p[8],
            .codec = p[9],
            .raw_size = get_le32(p + 12),
            .payload = str_make((const char *)p + WAL_RECORD_HEADER_SIZE, payload_size),
        };
        int r = fn ? fn(&record, ctx) : 0;
        if (r != 0)
            return r;
        s->offset += WAL_RECORD_HEADER_SIZE + payload_size;
    }
}

static int scan_segment(struct course *c, wal_replay_fn *fn, void *ctx, struct wal_scan *ret,
                        struct err *reterr) {
    char name[WAL_NAME_SIZE];
    uint64_t number = c->numbers[c->i];
    wal_segment_name(name, number);
    struct scanner s = {
        .fd = -1, .course = c, .window = buf_make(WAL_RECORD_HEADER_SIZE + (size_t)WAL_RECORD_MAX)};
    int r = io_open(c->dir_fd, name, O_RDONLY | O_CLOEXEC, 0);
    s.fd = r;
    if (r == -ENOENT) {
        *ret = (struct wal_scan){.missing = true};
        return 0;
    }
    if (r < 0)
        return err_set(reterr, r, "cannot open WAL segment %s: %s", name, err_name(r));
    r = io_file_size(s.fd, &s.file_size);
    if (r < 0) {
        err_set(reterr, r, "cannot get the size of WAL segment %s: %s", name, err_name(r));
        goto out;
    }
    if (s.file_size >
        UINT32_MAX) /* offsets behind this do not fit a position: never written by us */
        s.file_size = UINT32_MAX;
    const uint8_t *header = scanner_peek(&s, WAL_HEADER_SIZE);
    int header_state = header ? wal_header_check(header, number) : -ECORRUPT;
    if (header_state == -EFORMAT) {
        r = err_set(reterr, -EFORMAT, "WAL segment %s was written in a newer format", name);
        goto out;
    }
    struct wal_scan found = {0};
    /* The name tells the number, too, and sound records tell that this is a segment of this version. */
    bool has_records =
        header_state == 0 || (header && !header_is_whole(header) && leads_on(&s, WAL_HEADER_SIZE));
    if (has_records) {
        found.skipped_bytes = header_state == 0 ? 0 : WAL_HEADER_SIZE;
        s.offset = WAL_HEADER_SIZE;
        r = scan_records(&s, number, fn, ctx, &found);
        if (r != 0)
            goto out;
    }
    r = 0;
    found.used_bytes = s.offset;
    found.lost_bytes = scanner_lost(&s) + found.skipped_bytes;
    if (found.skipped_bytes == 0)
        found.bad_offset = found.used_bytes;
    if (s.window.failed) {
        r = err_set(reterr, -ENOMEM, "no memory to read WAL segment %s", name);
        goto out;
    }
    *ret = found;
out:
    buf_done(&s.window);
    io_close(s.fd);
    return r;
}

int wal_segment_scan(int dir_fd, uint64_t number, wal_replay_fn *fn, void *ctx,
                     struct wal_scan *ret, struct err *reterr) {
    struct course c = {.dir_fd = dir_fd, .numbers = &number, .count = 1};
    int r = scan_segment(&c, fn, ctx, ret, reterr);
    wal_ahead_free(c.ahead);
    return r;
}

int wal_replay(int dir_fd, wal_replay_fn *fn, void *ctx, struct wal_found *ret,
               struct err *reterr) {
    uint64_t *numbers = NULL;
    size_t count = 0;
    struct wal_found found = {0};
    int r = wal_segment_list(dir_fd, &numbers, &count, reterr);
    struct course c = {.dir_fd = dir_fd, .numbers = numbers, .count = count};
    for (; r == 0 && c.i < count; c.i++) {
        struct wal_scan scan = {0};
        r = scan_segment(&c, fn, ctx, &scan, reterr);
        found.lost_bytes += scan.lost_bytes;
        found.last_segment = scan.missing ? 0 : numbers[c.i];
        found.last_used_bytes = scan.used_bytes;
    }
    wal_ahead_free(c.ahead);
    free(numbers);
    if (r == 0)
        *ret = found;
    return r;
}
