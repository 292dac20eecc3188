#include "rollup.h"

#include <assert.h>
#include <errno.h>

#include "block_format.h"
#include "bytes.h"
#include "err.h"

static uint8_t *put_row(uint8_t *p, const struct rollup_row *row, uint32_t n_values) {
    for (uint32_t id = 0; id <= n_values; id++) {
        p = put_varint(p, row->entries[id]);
        if (row->entries[id] > 0)
            p = put_varint(p, row->bytes[id]);
    }
    return p;
}

/* The rows into `p`, at most up to `end`; NULL when they do not fit. */
static uint8_t *put_rows(const struct rollup_input *in, uint8_t *p, const uint8_t *end,
                         uint32_t *ret_rows) {
    const size_t row_max =
        VARINT_MAX_BYTES + (size_t)(in->n_values + 1) * 2 * 5; /* counts and bytes fit 32 bits */
    uint32_t rows = 0;
    int64_t previous = 0;
    for (uint32_t k = 0; k < in->count;) {
        struct rollup_row row = {0};
        uint32_t i = in->order ? in->order[k] : k;
        row.minute = rollup_minute(in->times[i]);
        while (k < in->count && in->times[i] <= (row.minute + 1) * ROLLUP_MINUTE_NS) {
            unsigned id = in->ids ? in->ids[i] : 0;
            row.entries[id]++;
            row.bytes[id] += in->lines[i].size;
            k++;
            i = in->order && k < in->count ? in->order[k] : k;
        }
        if ((size_t)(end - p) < row_max)
            return NULL;
        p = put_varint(p, rows == 0 ? 0 : (uint64_t)(row.minute - previous));
        p = put_row(p, &row, in->n_values);
        previous = row.minute;
        rows++;
    }
    *ret_rows = rows;
    return p;
}

int rollup_write(const struct rollup_input *in, struct buf *out) {
    assert(in->n_values <= ROLLUP_VALUES_MAX);
    enum { ROOM = 256 }; /* a full row, and the numbers in front */
    size_t max = in->count / ROLLUP_SHARE, head = 4 * VARINT_MAX_BYTES + in->name.size;
    for (uint32_t i = 0; i < in->n_values; i++)
        head += VARINT_MAX_BYTES + in->values[i].size;
    /* The minute behind the last one must not overflow. */
    bool in_range = true;
    for (uint32_t i = 0; i < in->count && in_range; i++)
        in_range = in->times[i] < INT64_MAX - 2 * ROLLUP_MINUTE_NS &&
                   in->times[i] > INT64_MIN + 2 * ROLLUP_MINUTE_NS;
    if (in->count < ROLLUP_ENTRIES_MIN || head > max + ROOM || !in_range)
        return 0;
    int r = buf_reserve(out, head + max + ROOM);
    if (r < 0)
        return r;
    uint8_t *start = (uint8_t *)out->data + out->size, *p = put_text(start, in->name);
    p = put_varint(p, in->n_values);
    for (uint32_t i = 0; i < in->n_values; i++)
        p = put_text(p, in->values[i]);
    /* The number of rows stands in front of them: they are written behind room for it, then moved up. */
    uint8_t *rows_at = p + 2 * VARINT_MAX_BYTES;
    uint32_t rows = 0;
    const uint8_t *end = put_rows(in, rows_at, start + head + max + ROOM, &rows);
    if (!end)
        return 0;
    p = put_varint(p, rows);
    p = put_varint(p, zigzag(rollup_minute(in->times[in->order ? in->order[0] : 0])));
    memmove(p, rows_at, (size_t)(end - rows_at));
    p += end - rows_at;
    if ((size_t)(p - start) > max)
        return 0;
    out->size += (size_t)(p - start);
    return 1;
}

/* ---- reading */

static bool take(struct rollup *r, uint64_t *ret) {
    const uint8_t *p = get_varint(r->at, r->end, ret);
    if (!p)
        return false;
    r->at = p;
    return true;
}

static bool take_text(struct rollup *r, struct str *ret) {
    uint64_t size;
    if (!take(r, &size) || size > (uint64_t)(r->end - r->at))
        return false;
    *ret = str_make((const char *)r->at, (size_t)size);
    r->at += size;
    return true;
}

static bool take_row(struct rollup *r, struct rollup_row *ret) {
    uint64_t distance;
    const uint8_t *p = get_varint(r->at, r->end, &distance);
    if (!p || distance > UINT32_MAX)
        return false;
    r->minute += (int64_t)distance;
    ret->minute = r->minute;
    for (uint32_t id = 0; id <= r->n_values; id++) {
        ret->bytes[id] = 0;
        p = get_varint(p, r->end, &ret->entries[id]);
        if (!p || ret->entries[id] > UINT32_MAX)
            return false;
        if (ret->entries[id] > 0)
            p = get_varint(p, r->end, &ret->bytes[id]);
        if (!p || ret->bytes[id] > UINT32_MAX)
            return false;
    }
    r->at = p;
    r->rows_left--;
    return true;
}

bool rollup_next(struct rollup *r, struct rollup_row *ret) {
    return r->rows_left > 0 && take_row(r, ret);
}

/* Up to the first row. */
static bool take_head(struct str raw, struct rollup *r) {
    uint64_t n_values, rows, first;
    r->name = (struct str){0};
    r->values[0] = (struct str){0};
    r->at = (const uint8_t *)raw.data;
    r->end = r->at + raw.size;
    if (!take_text(r, &r->name) || !take(r, &n_values) || n_values > ROLLUP_VALUES_MAX)
        return false;
    r->n_values = (uint32_t)n_values;
    for (uint32_t id = 1; id <= r->n_values; id++)
        if (!take_text(r, &r->values[id]))
            return false;
    r->head = str_make(raw.data, (size_t)((const char *)r->at - raw.data));
    if (!take(r, &rows) || !take(r, &first) || rows > UINT32_MAX)
        return false;
    r->minute = unzigzag(first);
    r->rows_left = (uint32_t)rows;
    return true;
}

void rollup_reopen(struct str raw, struct rollup *ret) {
    bool right = take_head(raw, ret);
    assert(right);
}

int rollup_open(struct str raw, uint32_t count, uint32_t line_bytes, struct rollup *ret) {
    struct rollup r;
    const int64_t minute_max = INT64_MAX / ROLLUP_MINUTE_NS;
    if (!take_head(raw, &r) || r.rows_left > count || r.minute > minute_max ||
        r.minute < -minute_max)
        return -ECORRUPT;
    struct rollup walk = r;
    uint64_t entries = 0, bytes = 0;
    while (walk.rows_left > 0) {
        struct rollup_row row;
        if (!take_row(&walk, &row) || row.minute >= minute_max)
            return -ECORRUPT;
        for (uint32_t id = 0; id <= walk.n_values; id++) {
            entries += row.entries[id];
            bytes += row.bytes[id];
        }
    }
    if (walk.at != walk.end || entries != count || bytes != line_bytes)
        return -ECORRUPT;
    *ret = r;
    return 0;
}
