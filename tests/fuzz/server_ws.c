/* A client's frames, at once and in two pieces: the events are the same, and what is written is read again. */
#include <assert.h>
#include <stdint.h>

#include "ws.h"

enum { EVENTS_MAX = 4096 };

struct digest {
    size_t count;
    uint64_t sum;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed(struct ws_reader *r, struct str in, struct digest *d) {
    while (in.size > 0) {
        size_t before = in.size;
        struct ws_event e = ws_read(r, &in);
        assert(e.kind != WS_EVENT_NONE || in.size == 0);
        assert(in.size < before);
        assert(e.payload.size <= WS_CONTROL_MAX || e.kind == WS_EVENT_BAD);
        if (e.kind == WS_EVENT_NONE)
            continue;
        d->count++;
        d->sum = d->sum * 31 + (uint64_t)e.kind * 65536 + e.code;
        for (size_t i = 0; i < e.payload.size; i++)
            d->sum = d->sum * 31 + (uint8_t)e.payload.data[i];
        if (e.kind == WS_EVENT_CLOSE && e.code != WS_NO_STATUS) {
            struct buf out = buf_make(WS_HEADER_MAX + WS_CONTROL_MAX);
            ws_write_close(&out, e.code, e.payload);
            assert(!out.failed && out.size == 4 + e.payload.size);
            buf_done(&out);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char accept[WS_ACCEPT_SIZE + 1];
    struct str in = str_make((const char *)data, size);
    (void)ws_accept(str_make(in.data, size < 24 ? size : 24), accept);
    struct ws_reader whole = {0}, split = {0};
    struct digest a = {0}, b = {0};
    feed(&whole, in, &a);
    size_t half = size > 0 ? data[0] % size : 0;
    feed(&split, str_make(in.data, half), &b);
    feed(&split, str_from_offset(in, half), &b);
    assert(a.count == b.count && a.sum == b.sum);
    return 0;
}
