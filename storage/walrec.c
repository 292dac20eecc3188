#include "walrec.h"

#include <errno.h>
#include <lz4.h>

#include "block.h"
#include "bytes.h"
#include "stream.h"

enum {
    COMPRESS_FROM = 512,  /* smaller records are stored as they are */
    KEEP_BYTES = 8 << 20, /* scratch kept between pushes */
    ENTRIES_PER_RECORD_MAX = 16 << 20,
};

void walrec_writer_done(struct walrec_writer *w) {
    buf_done(&w->raw);
    buf_done(&w->payload);
}

void walrec_writer_trim(struct walrec_writer *w) {
    if (w->raw.capacity > KEEP_BYTES)
        buf_done(&w->raw);
    if (w->payload.capacity > KEEP_BYTES)
        buf_done(&w->payload);
}

static void add_varint(struct buf *b, uint64_t v) {
    uint8_t bytes[VARINT_MAX_BYTES];
    buf_add(b, bytes, (size_t)(put_varint(bytes, v) - bytes));
}

static void add_sized(struct buf *b, struct str s) {
    add_varint(b, s.size);
    buf_add_str(b, s);
}

static void add_entry(struct buf *b, const struct entry *e, int64_t previous_ns, bool same_meta) {
    uint8_t head[2 * VARINT_MAX_BYTES];
    uint8_t *p = put_varint(head, zigzag((int64_t)((uint64_t)e->ts_ns - (uint64_t)previous_ns)));
    p = put_varint(p, e->line.size);
    buf_add(b, head, (size_t)(p - head));
    buf_add_str(b, e->line);
    if (same_meta) {
        buf_add_char(b, 0);
        return;
    }
    add_varint(b, 1 + (uint64_t)e->meta_count);
    for (uint32_t i = 0; i < e->meta_count; i++) {
        add_sized(b, e->meta[i].name);
        add_sized(b, e->meta[i].value);
    }
}

/* What no block could hold must not get in: it could never be flushed. */
static bool entry_fits(const struct entry *e) {
    if (e->line.size > ENTRY_LINE_MAX || e->meta_count > ENTRY_META_MAX)
        return false;
    size_t bytes = 0;
    for (uint32_t i = 0; i < e->meta_count; i++)
        bytes += e->meta[i].name.size + e->meta[i].value.size;
    return bytes <= ENTRY_META_BYTES_MAX;
}

static int add_stream(struct buf *b, const struct batch_stream *s) {
    add_varint(b, stream_id(s->stream));
    add_varint(b, s->count);
    int64_t previous_ns = 0;
    const struct label *meta = NULL;
    uint32_t meta_count = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct entry *e = &s->entries[i];
        bool same = e->meta_count == meta_count && (meta_count == 0 || e->meta == meta);
        if ((!same || e->line.size > ENTRY_LINE_MAX) && !entry_fits(e))
            return -E2BIG;
        add_entry(b, e, previous_ns, same);
        previous_ns = e->ts_ns;
        meta = e->meta;
        meta_count = e->meta_count;
    }
    return b->failed ? -ENOMEM : 0;
}

int walrec_write_data(struct walrec_writer *w, const struct batch *batch) {
    w->raw.max = w->payload.max = WAL_RECORD_MAX;
    buf_clear(&w->raw);
    add_varint(&w->raw, batch->n_streams);
    int r = w->raw.failed ? -ENOMEM : 0;
    for (size_t i = 0; i < batch->n_streams && r == 0; i++)
        r = add_stream(&w->raw, &batch->streams[i]);
    if (r < 0)
        return r;
    w->raw_size = (uint32_t)w->raw.size;
    w->codec = CODEC_NONE;
    if (w->raw.size < COMPRESS_FROM)
        return 0;
    /* Compressed in place of the raw bytes: behind them in the same buffer, then moved to the front. */
    int bound = LZ4_compressBound((int)w->raw.size);
    if (bound <= 0 || buf_reserve(&w->raw, (size_t)bound) < 0)
        return -ENOMEM;
    int n = LZ4_compress_default(w->raw.data, w->raw.data + w->raw.size, (int)w->raw.size, bound);
    if (n <= 0 || (size_t)n >= w->raw.size)
        return 0;
    memmove(w->raw.data, w->raw.data + w->raw.size, (size_t)n);
    w->raw.size = (size_t)n;
    w->codec = CODEC_LZ4;
    return 0;
}

int walrec_write_definitions(struct walrec_writer *w, const struct batch *batch,
                             const bool *define) {
    buf_clear(&w->payload);
    uint8_t size[4] = {0};
    buf_add(&w->payload, size, sizeof(size));
    for (size_t i = 0; i < batch->n_streams; i++) {
        if (!define[i])
            continue;
        const struct stream *s = batch->streams[i].stream;
        add_varint(&w->payload, s->id);
        add_sized(&w->payload, s->tenant->name);
        add_sized(&w->payload, s->encoded);
    }
    if (!w->payload.failed)
        put_le32(w->payload.data, (uint32_t)(w->payload.size - sizeof(size)));
    buf_add(&w->payload, w->raw.data, w->raw.size);
    return w->payload.failed ? -ENOMEM : 0;
}

/* ---- reading */

struct cursor {
    const uint8_t *at, *end;
};

static bool take_varint(struct cursor *c, uint64_t *ret) {
    const uint8_t *p = get_varint(c->at, c->end, ret);
    if (!p)
        return false;
    c->at = p;
    return true;
}

static bool take_sized(struct cursor *c, struct str *ret) {
    uint64_t size;
    if (!take_varint(c, &size) || size > (uint64_t)(c->end - c->at))
        return false;
    *ret = str_make((const char *)c->at, (size_t)size);
    c->at += size;
    return true;
}

static int read_definitions(struct str bytes, struct arena *arena, walrec_define_fn *define,
                            void *ctx) {
    struct cursor c = {.at = (const uint8_t *)bytes.data};
    c.end = c.at + bytes.size;
    while (c.at < c.end) {
        uint64_t id;
        struct str tenant, encoded;
        struct labels labels;
        if (!take_varint(&c, &id) || !take_sized(&c, &tenant) || !take_sized(&c, &encoded))
            return -ECORRUPT;
        int r = labels_decode(encoded, arena, &labels);
        if (r < 0)
            return r;
        r = define(id, tenant, labels, ctx);
        if (r != 0)
            return r;
    }
    return 0;
}

static int read_meta(struct cursor *c, uint64_t count, struct arena *arena, struct entry *e) {
    if (count > ENTRY_META_MAX)
        return -ECORRUPT;
    struct label *items = arena_array(arena, (size_t)count, sizeof(*items));
    if (!items)
        return -ENOMEM;
    for (uint64_t i = 0; i < count; i++)
        if (!take_sized(c, &items[i].name) || !take_sized(c, &items[i].value))
            return -ECORRUPT;
    e->meta = items;
    e->meta_count = (uint32_t)count;
    return 0;
}

static int read_stream(struct cursor *c, struct arena *arena, walrec_entries_fn *fn, void *ctx) {
    uint64_t id, count;
    if (!take_varint(c, &id) || !take_varint(c, &count))
        return -ECORRUPT;
    /* Each entry takes at least three bytes: a false count cannot make us allocate much. */
    if (count > ENTRIES_PER_RECORD_MAX || count > (uint64_t)(c->end - c->at) / 3)
        return -ECORRUPT;
    struct entry *entries = arena_array(arena, (size_t)count, sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    uint64_t ts = 0;
    struct entry previous = {0};
    for (uint64_t i = 0; i < count; i++) {
        struct entry *e = &entries[i];
        uint64_t delta, meta;
        if (!take_varint(c, &delta) || !take_sized(c, &e->line) || !take_varint(c, &meta))
            return -ECORRUPT;
        ts += (uint64_t)unzigzag(delta);
        e->ts_ns = (int64_t)ts;
        e->meta = previous.meta;
        e->meta_count = previous.meta_count;
        int r = meta > 0 ? read_meta(c, meta - 1, arena, e) : 0;
        if (r < 0)
            return r;
        previous = *e;
    }
    return fn(id, entries, (size_t)count, ctx);
}

static int read_data(struct str data, struct arena *arena, walrec_entries_fn *fn, void *ctx) {
    struct cursor c = {.at = (const uint8_t *)data.data};
    c.end = c.at + data.size;
    uint64_t n_streams;
    if (!take_varint(&c, &n_streams))
        return -ECORRUPT;
    for (uint64_t i = 0; i < n_streams; i++) {
        int r = read_stream(&c, arena, fn, ctx);
        if (r != 0)
            return r;
    }
    return c.at == c.end ? 0 : -ECORRUPT;
}

int walrec_read(const struct wal_record *record, struct arena *arena, struct buf *scratch,
                walrec_define_fn *define, walrec_entries_fn *entries, void *ctx,
                struct err *reterr) {
    struct str payload = record->payload;
    if (record->type != WALREC_PUSH)
        return err_set(reterr, -ECORRUPT, "wal record of unknown type %u", record->type);
    if (payload.size < 4 || get_le32(payload.data) > payload.size - 4)
        return err_set(reterr, -ECORRUPT, "wal record is shorter than its definitions");
    uint32_t defined = get_le32(payload.data);
    int r = read_definitions(str_make(payload.data + 4, defined), arena, define, ctx);
    if (r != 0)
        return r < 0 ? err_set(reterr, r, "wal record: bad stream definition") : r;
    struct str data = str_from_offset(payload, 4 + (size_t)defined);
    if (record->codec == CODEC_LZ4) {
        if (record->raw_size > WAL_RECORD_MAX)
            return err_set(reterr, -ECORRUPT, "wal record claims %u bytes", record->raw_size);
        buf_clear(scratch);
        if (buf_reserve(scratch, record->raw_size) < 0)
            return err_set(reterr, -ENOMEM, "no memory for a wal record of %u bytes",
                           record->raw_size);
        int n =
            LZ4_decompress_safe(data.data, scratch->data, (int)data.size, (int)record->raw_size);
        if (n < 0 || (uint32_t)n != record->raw_size)
            return err_set(reterr, -ECORRUPT, "wal record does not decompress");
        data = str_make(scratch->data, (size_t)n);
    } else if (record->codec != CODEC_NONE) {
        return err_set(reterr, -ECORRUPT, "wal record with unknown codec %u", record->codec);
    }
    r = read_data(data, arena, entries, ctx);
    return r == -ECORRUPT ? err_set(reterr, r, "wal record: entries are malformed") : r;
}
