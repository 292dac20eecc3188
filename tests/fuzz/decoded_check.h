/* decoded_check: what must hold of any decoded push; reads every byte that it refers to. */
#pragma once

#include <assert.h>
#include <stddef.h>

#include "decoded.h"

static volatile size_t touched;

static inline void touch(struct str s) {
    size_t sum = 0;
    for (size_t i = 0; i < s.size; i++)
        sum += (unsigned char)s.data[i];
    touched = sum;
}

static inline void touch_pairs(const struct label *pairs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        touch(pairs[i].name);
        touch(pairs[i].value);
    }
}

/* `r`, `err`: what the decoder has answered. */
static inline void decoded_check(const struct decoded_push *d, int r, const struct err *err) {
    assert((r == 0) == (err->text[0] == '\0'));
    size_t entries = 0;
    for (size_t i = 0; i < d->n_streams; i++) {
        const struct decoded_stream *s = &d->streams[i];
        assert(s->first_entry == entries);
        entries += s->n_entries;
        touch(s->labels_text);
        touch(s->labels_key);
        touch_pairs(s->labels.items, r == 0 ? s->labels.count : 0);
        touch_pairs(s->shared_meta.items, s->shared_meta.count);
        for (size_t n = 1; n < s->shared_meta.count; n++)
            assert(str_cmp(s->shared_meta.items[n - 1].name, s->shared_meta.items[n].name) < 0);
    }
    assert(entries == d->n_entries);
    for (size_t i = 0; i < d->n_entries; i++) {
        touch(d->entries[i].line);
        touch_pairs(d->entries[i].meta, d->entries[i].meta_count);
    }
}

/* Texts of labels that the decoder has made itself parse. */
static inline void decoded_check_texts(const struct decoded_push *d) {
    for (size_t i = 0; i < d->n_streams; i++) {
        struct labels labels;
        struct err err = {0};
        assert(labels_parse(d->streams[i].labels_text, d->arena, &labels, &err) != -ESYNTAX);
    }
}
