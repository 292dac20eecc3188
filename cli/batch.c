#include <errno.h>
#include <snappy-c.h>

#include "batch.h"
#include "bytes.h"
#include "units.h"

enum {
    BATCH_MEMORY_MAX = 64 << 20,
    /* Wire types and field numbers of PushRequest, StreamAdapter, EntryAdapter and Timestamp. */
    TAG_STREAM = 1 << 3 | 2,
    TAG_LABELS = 1 << 3 | 2,
    TAG_ENTRY = 2 << 3 | 2,
    TAG_TIMESTAMP = 1 << 3 | 2,
    TAG_LINE = 2 << 3 | 2,
    TAG_SECONDS = 1 << 3,
    TAG_NANOS = 2 << 3,
    TIMESTAMP_BYTES_MAX = 2 * (1 + VARINT_MAX_BYTES),
};

struct batch batch_make(void) {
    return (struct batch){
        .entries = buf_make(BATCH_MEMORY_MAX),
        .message = buf_make(BATCH_MEMORY_MAX),
        .packed = buf_make(BATCH_MEMORY_MAX),
    };
}

void batch_done(struct batch *b) {
    buf_done(&b->entries);
    buf_done(&b->message);
    buf_done(&b->packed);
}

void batch_clear(struct batch *b) {
    buf_clear(&b->entries);
    b->n_lines = 0;
    b->line_bytes = 0;
}

static size_t varint_size(uint64_t v) {
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static void add_varint(struct buf *out, uint64_t v) {
    uint8_t bytes[VARINT_MAX_BYTES];
    buf_add(out, bytes, (size_t)(put_varint(bytes, v) - bytes));
}

static void add_field(struct buf *out, uint64_t tag, struct str payload) {
    add_varint(out, tag);
    add_varint(out, payload.size);
    buf_add_str(out, payload);
}

void batch_add(struct batch *b, int64_t ns, struct str line) {
    uint8_t time[TIMESTAMP_BYTES_MAX], *p = time;
    int64_t seconds = ns / NS_PER_S - (ns % NS_PER_S < 0);
    *p++ = TAG_SECONDS;
    p = put_varint(p, (uint64_t)seconds);
    *p++ = TAG_NANOS;
    p = put_varint(p, (uint64_t)(ns - seconds * NS_PER_S));
    size_t time_size = (size_t)(p - time);
    add_varint(&b->entries, TAG_ENTRY);
    add_varint(&b->entries,
               1 + varint_size(time_size) + time_size + 1 + varint_size(line.size) + line.size);
    add_field(&b->entries, TAG_TIMESTAMP, str_make((const char *)time, time_size));
    add_field(&b->entries, TAG_LINE, line);
    b->n_lines++;
    b->line_bytes += line.size;
}

int batch_encode(struct batch *b, struct str labels, struct str *ret) {
    buf_clear(&b->message);
    buf_clear(&b->packed);
    add_varint(&b->message, TAG_STREAM);
    add_varint(&b->message, 1 + varint_size(labels.size) + labels.size + b->entries.size);
    add_field(&b->message, TAG_LABELS, labels);
    buf_add_str(&b->message, buf_str(&b->entries));
    if (b->entries.failed || b->message.failed)
        return -ENOMEM;
    size_t size = snappy_max_compressed_length(b->message.size);
    if (buf_reserve(&b->packed, size) < 0 ||
        snappy_compress(b->message.data, b->message.size, b->packed.data, &size) != SNAPPY_OK)
        return -ENOMEM;
    b->packed.size = size;
    *ret = buf_str(&b->packed);
    return 0;
}
