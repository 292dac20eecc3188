#include "walrec.h"

#include <assert.h>
#include <errno.h>
#include <lz4.h>

#include "bytes.h"
#include "stream.h"
#include "unsnap.h"

enum {
    COMPRESS_FROM = 512, /* smaller records are stored as they are */
    /* LZ4's step past places that do not match. Bench JSON: 1 packs to 0.330 at 0.7 GB/s, 8 to 0.353 at 1.06 GB/s, 16
     * to 0.419 at 1.13 GB/s. */
    ACCELERATION = 8,
    TABLE_SHARE = 4,      /* a table of less than a fourth of its body is not worth packing */
    KEEP_BYTES = 8 << 20, /* scratch kept between pushes */
    ENTRIES_PER_RECORD_MAX = 16 << 20,
    TABLE_HEAD = 4 + 4,
    ENTRY_HEAD_MAX = 3 * VARINT_MAX_BYTES + 1,
};

void walrec_writer_done(struct walrec_writer *w) {
    buf_done(&w->raw);
    buf_done(&w->front);
}

void walrec_writer_trim(struct walrec_writer *w) {
    if (w->raw.capacity > KEEP_BYTES)
        buf_done(&w->raw);
    if (w->front.capacity > KEEP_BYTES)
        buf_done(&w->front);
}

static void add_varint(struct buf *b, uint64_t v) {
    uint8_t bytes[VARINT_MAX_BYTES];
    buf_add(b, bytes, (size_t)(put_varint(bytes, v) - bytes));
}

static void add_sized(struct buf *b, struct str s) {
    add_varint(b, s.size);
    buf_add_str(b, s);
}

/* A line within `plain` by its place there, any other by its bytes. */
static uint8_t *put_place(uint8_t *p, struct str line, struct str plain, size_t *previous_end,
                          bool *ret_inside) {
    uintptr_t from = (uintptr_t)plain.data, at = (uintptr_t)line.data;
    bool inside = at >= from && at - from <= plain.size && line.size <= plain.size - (at - from);
    *ret_inside = inside;
    if (!inside)
        return put_varint(p, (uint64_t)line.size << 1 | 1);
    size_t place = at - from;
    p = put_varint(p, (uint64_t)line.size << 1);
    p = put_varint(p, zigzag((int64_t)(place - *previous_end)));
    *previous_end = place + line.size;
    return p;
}

/* Arrays of metadata that entries of one record share, by address, as they stand in the data. Levels alternate: every third
 * entry has other metadata than the one before. */
enum { RECENT_METAS = 8, META_ENCODED_MAX = 48 };
struct recent_metas {
    struct recent_meta {
        const struct label *meta;
        uint32_t count, size;
        char encoded[META_ENCODED_MAX];
    } items[RECENT_METAS];
};

static void add_meta(struct buf *b, const struct entry *e, struct recent_metas *recent) {
    struct recent_meta *r =
        &recent->items[(uintptr_t)e->meta / sizeof(struct label) % RECENT_METAS];
    if (r->size > 0 && r->meta == e->meta && r->count == e->meta_count &&
        b->capacity - b->size >= META_ENCODED_MAX) {
        memcpy(b->data + b->size, r->encoded, META_ENCODED_MAX);
        b->size += r->size;
        return;
    }
    size_t before = b->size;
    add_varint(b, 1 + (uint64_t)e->meta_count);
    for (uint32_t i = 0; i < e->meta_count; i++) {
        add_sized(b, e->meta[i].name);
        add_sized(b, e->meta[i].value);
    }
    size_t size = b->size - before;
    if (b->failed || size > META_ENCODED_MAX)
        return;
    *r = (struct recent_meta){.meta = e->meta, .count = e->meta_count, .size = (uint32_t)size};
    memcpy(r->encoded, b->data + before, size);
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

/* Where a record's lines go: into the data itself, or places in the body. */
struct place {
    const struct batch_source *source; /* NULL: the lines are in the data */
    size_t previous_end;
    struct recent_metas metas;
};

/* `same_meta`: as the entry before. */
static void add_entry(struct buf *b, const struct entry *e, int64_t previous_ns, bool same_meta,
                      struct place *at) {
    if (b->capacity - b->size < ENTRY_HEAD_MAX && buf_reserve(b, ENTRY_HEAD_MAX) < 0)
        return;
    uint8_t *start = (uint8_t *)b->data + b->size;
    uint8_t *p = put_varint(start, zigzag((int64_t)((uint64_t)e->ts_ns - (uint64_t)previous_ns)));
    bool inside = false;
    if (at->source)
        p = put_place(p, e->line, at->source->plain, &at->previous_end, &inside);
    else
        p = put_varint(p, e->line.size);
    if (inside && same_meta)
        *p++ = 0;
    b->size += (size_t)(p - start);
    if (!inside)
        buf_add_str(b, e->line);
    if (!same_meta)
        add_meta(b, e, &at->metas);
    else if (!inside)
        buf_add_char(b, 0);
}

static int add_stream(struct buf *b, const struct batch_stream *s, struct place *at) {
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
        add_entry(b, e, previous_ns, same, at);
        previous_ns = e->ts_ns;
        meta = e->meta;
        meta_count = e->meta_count;
    }
    return b->failed ? -ENOMEM : 0;
}

/* Compresses the bytes of `b` when that makes them smaller: behind them in the same buffer, then moved to the
 * front. 1 compressed, 0 left as they are, -ENOMEM. */
static int compress(struct buf *b) {
    if (b->size < COMPRESS_FROM)
        return 0;
    int bound = LZ4_compressBound((int)b->size);
    if (bound <= 0 || buf_reserve(b, (size_t)bound) < 0)
        return -ENOMEM;
    int n = LZ4_compress_fast(b->data, b->data + b->size, (int)b->size, bound, ACCELERATION);
    if (n <= 0 || (size_t)n >= b->size)
        return 0;
    memmove(b->data, b->data + b->size, (size_t)n);
    b->size = (size_t)n;
    return 1;
}

/* A body of which little is kept would only make the WAL longer. */
static bool body_pays(const struct batch_source *source, size_t line_bytes) {
    if (source->packed.size < COMPRESS_FROM || source->plain.size > WAL_RECORD_MAX / 2)
        return false;
    return line_bytes >= source->packed.size && line_bytes >= source->plain.size / 2;
}

int walrec_write_data(struct walrec_writer *w, const struct batch *batch, size_t line_bytes,
                      bool pack) {
    w->raw.max = w->front.max = WAL_RECORD_MAX;
    buf_clear(&w->raw);
    buf_clear(&w->front);
    bool with_body = body_pays(&batch->source, line_bytes);
    struct place at = {.source = with_body ? &batch->source : NULL};
    add_varint(&w->raw, batch->n_streams);
    int r = w->raw.failed ? -ENOMEM : 0;
    for (size_t i = 0; i < batch->n_streams && r == 0; i++)
        r = add_stream(&w->raw, &batch->streams[i], &at);
    if (r < 0)
        return r;
    uint32_t size = (uint32_t)w->raw.size;
    bool small_table = with_body && size < batch->source.packed.size / TABLE_SHARE;
    r = !pack || small_table ? 0 : compress(&w->raw);
    if (r < 0)
        return r;
    w->type = with_body ? WALREC_PUSH_BODY : WALREC_PUSH;
    w->body = with_body ? batch->source.packed : STR("");
    w->raw_size = with_body ? (uint32_t)batch->source.plain.size : size;
    w->table_size = size;
    if (with_body)
        w->codec = WALREC_SNAPPY;
    else
        w->codec = r > 0 ? WALREC_LZ4 : WALREC_NONE;
    return 0;
}

size_t walrec_size(const struct walrec_writer *w) {
    return w->front.size + w->raw.size + w->body.size;
}

void walrec_payload(const struct walrec_writer *w, struct str ret[static WALREC_PARTS]) {
    ret[0] = buf_str(&w->front);
    ret[1] = buf_str(&w->raw);
    ret[2] = w->body;
}

int walrec_write_definitions(struct walrec_writer *w, const struct batch *batch,
                             const bool *define) {
    buf_clear(&w->front);
    uint8_t size[4] = {0};
    buf_add(&w->front, size, sizeof(size));
    for (size_t i = 0; i < batch->n_streams; i++) {
        if (!define[i])
            continue;
        const struct stream *s = batch->streams[i].stream;
        add_varint(&w->front, s->id);
        add_sized(&w->front, s->tenant->name);
        add_sized(&w->front, s->encoded);
    }
    if (!w->front.failed)
        put_le32(w->front.data, (uint32_t)(w->front.size - sizeof(size)));
    if (w->type == WALREC_PUSH_BODY) {
        uint8_t head[TABLE_HEAD];
        put_le32(head, (uint32_t)w->raw.size);
        put_le32(head + 4, w->table_size);
        buf_add(&w->front, head, sizeof(head));
    }
    return w->front.failed ? -ENOMEM : 0;
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

/* What lines are made of while a record is read. */
struct lines_source {
    bool has_body;
    bool unpacked;     /* else `body` is where the bytes will stand */
    struct str packed; /* snappy */
    struct str body;   /* decompressed */
    size_t previous_end;
};

static bool take_line(struct cursor *c, struct lines_source *from, struct str *ret) {
    if (!from->has_body)
        return take_sized(c, ret);
    uint64_t head, distance;
    if (!take_varint(c, &head))
        return false;
    uint64_t size = head >> 1;
    if (head & 1) {
        if (size > (uint64_t)(c->end - c->at))
            return false;
        *ret = str_make((const char *)c->at, (size_t)size);
        c->at += size;
        return true;
    }
    if (!take_varint(c, &distance))
        return false;
    uint64_t place = (uint64_t)from->previous_end + (uint64_t)unzigzag(distance);
    if (place > from->body.size || size > from->body.size - place)
        return false;
    *ret = str_make(from->body.data + place, (size_t)size);
    from->previous_end = (size_t)(place + size);
    return true;
}

/* Hands a stream's entries over, with the bytes that they point to. */
static int deliver(struct lines_source *from, const struct walrec_visitor *v, uint64_t id,
                   const struct entry *entries, size_t count) {
    if (from->has_body && !from->unpacked) {
        if (!unsnap(from->packed, (char *)(uintptr_t)from->body.data, from->body.size))
            return -ECORRUPT;
        from->unpacked = true;
    }
    return v->entries(id, entries, count, v->ctx);
}

static int read_stream(struct cursor *c, struct lines_source *from, struct arena *arena,
                       const struct walrec_visitor *v) {
    uint64_t id, count;
    if (!take_varint(c, &id) || !take_varint(c, &count))
        return -ECORRUPT;
    /* Each entry takes at least three bytes: a false count cannot make us allocate much. */
    if (count > ENTRIES_PER_RECORD_MAX || count > (uint64_t)(c->end - c->at) / 3)
        return -ECORRUPT;
    bool wanted = !v->needs || v->needs(id, (size_t)count, v->ctx);
    size_t room = wanted ? (size_t)count : 0;
    struct entry *entries = arena_alloc(arena, room * sizeof(*entries)), passed;
    if (!entries)
        return -ENOMEM;
    uint64_t ts = 0;
    struct entry previous = {0};
    for (uint64_t i = 0; i < count; i++) {
        struct entry *e = wanted ? &entries[i] : &passed;
        uint64_t delta, meta;
        if (!take_varint(c, &delta) || !take_line(c, from, &e->line) || !take_varint(c, &meta))
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
    return wanted ? deliver(from, v, id, entries, (size_t)count) : 0;
}

static int read_data(struct str data, struct lines_source *from, struct arena *arena,
                     const struct walrec_visitor *v) {
    struct cursor c = {.at = (const uint8_t *)data.data};
    c.end = data.size > 0 ? c.at + data.size : c.at;
    uint64_t n_streams;
    if (!take_varint(&c, &n_streams))
        return -ECORRUPT;
    for (uint64_t i = 0; i < n_streams; i++) {
        int r = read_stream(&c, from, arena, v);
        if (r != 0)
            return r;
    }
    return c.at == c.end ? 0 : -ECORRUPT;
}

/* Decompresses, or copies what is not compressed, into the room behind what `scratch` holds; the room must have been
 * reserved. */
static int unpack(enum walrec_codec codec, struct str packed, uint32_t raw_size,
                  struct buf *scratch, struct str *ret, struct err *reterr) {
    char *to = scratch->data ? scratch->data + scratch->size : NULL;
    assert(raw_size <= scratch->capacity - scratch->size);
    if (codec == WALREC_NONE) {
        if (packed.size != raw_size)
            return err_set(reterr, -ECORRUPT, "wal record: sizes do not agree");
        if (raw_size > 0)
            memcpy(to, packed.data, raw_size);
        *ret = str_make(to, raw_size);
        scratch->size += raw_size;
        return 0;
    }
    assert(codec == WALREC_LZ4);
    int n = LZ4_decompress_safe(packed.data, to, (int)packed.size, (int)raw_size);
    if (n < 0 || (uint32_t)n != raw_size)
        return err_set(reterr, -ECORRUPT, "wal record does not decompress");
    *ret = str_make(to, raw_size);
    scratch->size += raw_size;
    return 0;
}

static int reserve(struct buf *scratch, uint64_t size, struct err *reterr) {
    buf_clear(scratch);
    if (size > 2 * (uint64_t)WAL_RECORD_MAX)
        return err_set(reterr, -ECORRUPT, "wal record claims %llu bytes", (unsigned long long)size);
    if (buf_reserve(scratch, (size_t)size) < 0)
        return err_set(reterr, -ENOMEM, "no memory for a wal record of %llu bytes",
                       (unsigned long long)size);
    return 0;
}

/* Data with the lines in it. */
static int open_data(const struct wal_record *record, struct str stored, struct buf *scratch,
                     struct str *ret_data, struct err *reterr) {
    if (record->codec != WALREC_LZ4 && record->codec != WALREC_NONE)
        return err_set(reterr, -ECORRUPT, "wal record with unknown codec %u", record->codec);
    int r = reserve(scratch, record->raw_size, reterr);
    return r < 0 ? r
                 : unpack((enum walrec_codec)record->codec, stored, record->raw_size, scratch,
                          ret_data, reterr);
}

/* The table, and room for the body. */
static int open_body(const struct wal_record *record, struct str stored, struct buf *scratch,
                     struct str *ret_table, struct lines_source *ret_lines, struct err *reterr) {
    if (record->codec != WALREC_SNAPPY)
        return err_set(reterr, -ECORRUPT, "wal record with unknown codec %u", record->codec);
    if (stored.size < TABLE_HEAD || get_le32(stored.data) > stored.size - TABLE_HEAD)
        return err_set(reterr, -ECORRUPT, "wal record is shorter than its table");
    uint32_t table_stored = get_le32(stored.data), table_size = get_le32(stored.data + 4);
    struct str table = str_make(stored.data + TABLE_HEAD, table_stored);
    struct str body = str_from_offset(stored, TABLE_HEAD + (size_t)table_stored);
    int r = reserve(scratch, (uint64_t)table_size + record->raw_size, reterr);
    if (r == 0)
        r = unpack(table_stored == table_size ? WALREC_NONE : WALREC_LZ4, table, table_size,
                   scratch, ret_table, reterr);
    if (r < 0)
        return r;
    assert(record->raw_size <= scratch->capacity - scratch->size);
    *ret_lines = (struct lines_source){
        .has_body = true,
        .packed = body,
        .body = str_make(scratch->data + scratch->size, record->raw_size),
    };
    return 0;
}

int walrec_read(const struct wal_record *record, struct arena *arena, struct buf *scratch,
                const struct walrec_visitor *visitor, struct err *reterr) {
    struct str payload = record->payload;
    if (record->type != WALREC_PUSH && record->type != WALREC_PUSH_BODY)
        return err_set(reterr, -ECORRUPT, "wal record of unknown type %u", record->type);
    if (payload.size < 4 || get_le32(payload.data) > payload.size - 4)
        return err_set(reterr, -ECORRUPT, "wal record is shorter than its definitions");
    uint32_t defined = get_le32(payload.data);
    int r =
        read_definitions(str_make(payload.data + 4, defined), arena, visitor->define, visitor->ctx);
    if (r != 0)
        return r < 0 ? err_set(reterr, r, "wal record: bad stream definition") : r;
    struct str stored = str_from_offset(payload, 4 + (size_t)defined), data = {0};
    struct lines_source lines = {0};
    if (record->type == WALREC_PUSH)
        r = open_data(record, stored, scratch, &data, reterr);
    else
        r = open_body(record, stored, scratch, &data, &lines, reterr);
    if (r < 0)
        return r;
    r = read_data(data, &lines, arena, visitor);
    return r == -ECORRUPT ? err_set(reterr, r, "wal record: entries are malformed") : r;
}
