/* Any bytes as a JSON push: decoded or refused with a text; decoded strings lie in the body or in the arena. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "push_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t touched;

static void touch(struct str s) {
    size_t sum = 0;
    for (size_t i = 0; i < s.size; i++)
        sum += (unsigned char)s.data[i];
    touched = sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena = arena_make(8 << 20);
    struct decoded_push d;
    decoded_push_init(&d, &arena);
    struct err err = {0};
    int r = push_json_decode(str_make((const char *)data, size), &d, &err);
    assert((r == 0) == (err.text[0] == '\0'));
    size_t entries = 0;
    for (size_t i = 0; i < d.n_streams; i++) {
        assert(d.streams[i].first_entry == entries);
        entries += d.streams[i].n_entries;
        touch(d.streams[i].labels_text);
        touch(d.streams[i].labels_key);
        for (size_t n = 0; n < d.streams[i].labels.count && r == 0; n++) {
            touch(d.streams[i].labels.items[n].name);
            touch(d.streams[i].labels.items[n].value);
        }
    }
    assert(entries == d.n_entries);
    for (size_t i = 0; i < d.n_entries; i++) {
        touch(d.entries[i].line);
        for (uint32_t n = 0; n < d.entries[i].meta_count; n++) {
            touch(d.entries[i].meta[n].name);
            touch(d.entries[i].meta[n].value);
        }
    }
    arena_done(&arena);
    return 0;
}
