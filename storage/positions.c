/* positions: the file. Its layout is in docs/format.md, section 5.1. */
#include "positions.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "buf.h"
#include "bytes.h"
#include "hash.h"
#include "io.h"

#define MAGIC "LOGQPOS1"

enum {
    AT_CHECKSUM = 8,
    AT_INCOMPATIBLE = 12,
    AT_COMPATIBLE = 16,
    AT_COUNT = 20,
    AT_FILE_SIZE = 24,
    HEADER_SIZE = 32,
    ROW_AT_STREAM = 0,
    ROW_AT_LSN = 8,
    ROW_AT_INDEX = 16,
    ROW_FIXED = 20, /* then the tenant and the labels, each behind its size */
    ROW_MIN = ROW_FIXED + 1 + 1 + 1,
    TENANT_MAX = 511, /* of the index */
    FIRST_CAPACITY = 64,
    ARENA_MAX = 1 << 30,
};
static_assert(AT_FILE_SIZE + 8 == HEADER_SIZE && ROW_AT_INDEX + 4 == ROW_FIXED, "on-disk layout");

struct positions positions_make(void) {
    return (struct positions){.arena = arena_make(ARENA_MAX)};
}

void positions_done(struct positions *p) {
    free(p->items);
    arena_done(&p->arena);
    *p = positions_make();
}

static int add(struct positions *p, const struct position *item) {
    if (p->count == p->capacity) {
        size_t capacity = p->capacity ? p->capacity * 2 : FIRST_CAPACITY;
        struct position *items = realloc(p->items, sizeof(*items) * capacity);
        if (!items)
            return -ENOMEM;
        p->items = items;
        p->capacity = capacity;
    }
    struct position *to = &p->items[p->count];
    *to = *item;
    to->tenant = arena_copy(&p->arena, item->tenant);
    to->labels = arena_copy(&p->arena, item->labels);
    if (!to->tenant.data || !to->labels.data)
        return -ENOMEM;
    p->count++;
    return 0;
}

int positions_add(struct positions *p, const struct index_stream *row) {
    struct buf labels = buf_make(BUF_NO_MAX);
    labels_encode(&labels, row->labels);
    const struct position item = {.stream_id = row->id,
                                  .flushed_lsn = row->flushed_lsn,
                                  .flushed_index = row->flushed_index,
                                  .tenant = row->tenant,
                                  .labels = buf_str(&labels)};
    int r = labels.failed ? -ENOMEM : add(p, &item);
    buf_done(&labels);
    return r;
}

/* The furthest position of a stream first. */
static int compare(const void *a, const void *b) {
    const struct position *x = a, *y = b;
    if (x->stream_id != y->stream_id)
        return x->stream_id < y->stream_id ? -1 : 1;
    if (x->flushed_lsn != y->flushed_lsn)
        return x->flushed_lsn > y->flushed_lsn ? -1 : 1;
    return (x->flushed_index < y->flushed_index) - (x->flushed_index > y->flushed_index);
}

void positions_sort(struct positions *p) {
    size_t n = 0;
    if (p->count > 0)
        qsort(p->items, p->count, sizeof(*p->items), compare);
    for (size_t i = 0; i < p->count; i++)
        if (n == 0 || p->items[n - 1].stream_id != p->items[i].stream_id)
            p->items[n++] = p->items[i];
    p->count = n;
}

static int compare_id(const void *key, const void *item) {
    uint64_t id = *(const uint64_t *)key, other = ((const struct position *)item)->stream_id;
    return (id > other) - (id < other);
}

const struct position *positions_find(const struct positions *p, uint64_t stream_id) {
    return p->count > 0 ? bsearch(&stream_id, p->items, p->count, sizeof(*p->items), compare_id)
                        : NULL;
}

/* ---- bytes */

static void put_text(struct buf *out, struct str text) {
    uint8_t number[VARINT_MAX_BYTES];
    buf_add(out, number, (size_t)(put_varint(number, text.size) - number));
    buf_add_str(out, text);
}

static bool take_text(const uint8_t **p, const uint8_t *end, struct str *ret) {
    uint64_t size;
    *p = get_varint(*p, end, &size);
    if (!*p || size > (uint64_t)(end - *p))
        return false;
    *ret = str_make((const char *)*p, (size_t)size);
    *p += size;
    return true;
}

static bool take_row(const uint8_t **p, const uint8_t *end, struct position *ret) {
    if (end - *p < ROW_MIN)
        return false;
    *ret = (struct position){.stream_id = get_le64(*p + ROW_AT_STREAM),
                             .flushed_lsn = get_le64(*p + ROW_AT_LSN),
                             .flushed_index = get_le32(*p + ROW_AT_INDEX)};
    *p += ROW_FIXED;
    return take_text(p, end, &ret->tenant) && take_text(p, end, &ret->labels) &&
           ret->stream_id > 0 && ret->tenant.size > 0 && ret->tenant.size <= TENANT_MAX &&
           ret->tenant.data[0] != '\0' && ret->labels.size > 0;
}

static int parse_rows(struct str bytes, uint32_t count, struct positions *ret) {
    const uint8_t *p = (const uint8_t *)bytes.data + HEADER_SIZE,
                  *end = (const uint8_t *)bytes.data + bytes.size;
    struct arena arena = arena_make(ARENA_MAX);
    int r = 0;
    for (uint32_t i = 0; i < count && r == 0; i++) {
        struct position item;
        struct labels labels;
        arena_reset(&arena);
        r = take_row(&p, end, &item) ? labels_decode(item.labels, &arena, &labels) : -ECORRUPT;
        if (r == 0)
            r = add(ret, &item);
    }
    arena_done(&arena);
    return r < 0 || p == end ? r : -ECORRUPT;
}

int positions_parse(struct str bytes, struct positions *ret, struct err *reterr) {
    struct positions p = positions_make();
    const char *at = bytes.data;
    if (bytes.size < HEADER_SIZE || memcmp(at, MAGIC, 8) != 0 ||
        get_le64(at + AT_FILE_SIZE) != bytes.size ||
        get_le32(at + AT_CHECKSUM) !=
            (uint32_t)hash64(at + AT_INCOMPATIBLE, bytes.size - AT_INCOMPATIBLE))
        return err_set(reterr, -ECORRUPT, "positions: the file is damaged");
    if (get_le32(at + AT_INCOMPATIBLE) != 0)
        return err_set(reterr, -EFORMAT, "positions: the file is of a newer build");
    int r = parse_rows(bytes, get_le32(at + AT_COUNT), &p);
    if (r < 0) {
        positions_done(&p);
        return err_set(reterr, r, "positions: a row cannot be read: %s", err_name(r));
    }
    positions_sort(&p);
    *ret = p;
    return 0;
}

int positions_read(int dir_fd, const char *path, struct positions *ret, struct err *reterr) {
    struct buf bytes = buf_make(POSITIONS_BYTES_MAX);
    int r = io_read_file(dir_fd, path, &bytes);
    if (r < 0)
        (void)err_set(reterr, r, "cannot read %s: %s", path, err_name(r));
    else
        r = positions_parse(buf_str(&bytes), ret, reterr);
    buf_done(&bytes);
    return r;
}

int positions_write(int dir_fd, const char *path, struct positions *p, struct err *reterr) {
    static const char zeros[HEADER_SIZE];
    struct buf out = buf_make(POSITIONS_BYTES_MAX);
    positions_sort(p);
    buf_add(&out, zeros, sizeof(zeros));
    for (size_t i = 0; i < p->count; i++) {
        uint8_t fixed[ROW_FIXED];
        put_le64(fixed + ROW_AT_STREAM, p->items[i].stream_id);
        put_le64(fixed + ROW_AT_LSN, p->items[i].flushed_lsn);
        put_le32(fixed + ROW_AT_INDEX, p->items[i].flushed_index);
        buf_add(&out, fixed, sizeof(fixed));
        put_text(&out, p->items[i].tenant);
        put_text(&out, p->items[i].labels);
    }
    int r = out.failed || p->count > UINT32_MAX ? -ENOMEM : 0;
    if (r == 0) {
        memcpy(out.data, MAGIC, 8);
        put_le32(out.data + AT_COUNT, (uint32_t)p->count);
        put_le64(out.data + AT_FILE_SIZE, out.size);
        put_le32(out.data + AT_CHECKSUM,
                 (uint32_t)hash64(out.data + AT_INCOMPATIBLE, out.size - AT_INCOMPATIBLE));
        r = io_write_file_durable(dir_fd, path, buf_str(&out));
    }
    buf_done(&out);
    return r < 0 ? err_set(reterr, r, "cannot write %s: %s", path, err_name(r)) : 0;
}
