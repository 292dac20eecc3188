/* The head of a request and a chunked body behind it, fed in two pieces. */
#include "http_parse.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed(struct str bytes) {
    struct http_chunked whole = {0}, split = {0};
    struct buf a = buf_make(1 << 16), b = buf_make(1 << 16);
    size_t used = 0, first = 0, second = 0;
    int r = http_chunked_feed(&whole, bytes, &a, &used);
    assert(used <= bytes.size);
    /* Arriving in two pieces makes no difference to what is accepted. */
    size_t half = bytes.size / 2;
    int s = http_chunked_feed(&split, str_make(bytes.data, half), &b, &first);
    if (s == 0 && split.state != CHUNK_DONE)
        s = http_chunked_feed(&split, str_from_offset(bytes, first), &b, &second);
    if (r == 0 && whole.state == CHUNK_DONE)
        assert(s == 0 && split.state == CHUNK_DONE && str_eq(buf_str(&a), buf_str(&b)));
    buf_done(&a);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str bytes = str_make((const char *)data, size);
    static struct http_head head;
    struct err err;
    size_t scanned = 0;
    size_t end = http_head_end(bytes, &scanned);
    if (end > 0) {
        (void)http_head_parse(str_make(bytes.data, end), &head, &err);
        bytes = str_from_offset(bytes, end);
    }
    feed(bytes);
    return 0;
}
