/* What a server answers to /loki/api/v1/lines, as logq reads it: any bytes, in pieces of any size, give the same lines
 * or are refused. */
#include <assert.h>
#include <string.h>

#include "hash.h"
#include "linestream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
    uint64_t hash, lines;
};

static int add_page(const struct page *page, void *ctx) {
    struct sum *s = ctx;
    for (size_t i = 0; i < page->n_lines; i++) {
        const struct page_line *line = &page->lines[i];
        assert(line->stream < page->n_streams);
        assert(json_is_object(page->streams[line->stream].labels));
        s->hash = hash_mix(hash_mix(s->hash, hash_str(line->text)), (uint64_t)line->ns);
        s->lines++;
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const size_t pieces[] = {1 << 20, 1, 7};
    struct sum sums[3] = {0};
    int results[3];
    for (int i = 0; i < 3; i++) {
        struct err err = {0};
        const struct page_request q = {.fn = add_page, .ctx = &sums[i]};
        results[i] = linestream_read(&q, str_make((const char *)data, size), pieces[i], &err);
        assert(results[i] == results[0]);
        assert(sums[i].hash == sums[0].hash && sums[i].lines == sums[0].lines);
    }
    return 0;
}
