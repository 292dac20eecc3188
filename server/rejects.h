/* rejects: why parts of a push were refused, in Loki's form: one error stands alone; several are grouped by text in
 * first-seen order, "N errors like: A; M errors like: B". Everything lives in the request's arena. */
#pragma once

#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "map.h"
#include "str.h"

/* Texts that differ are kept up to this many: clients log the first kilobyte at best, and a push of many bad
 * lines must not be answered with as much text. The rest is counted. */
enum { REJECT_TEXTS_MAX = 100 };

struct reject {
    struct str text;
    uint64_t count;
};

struct rejects {
    struct arena *arena;
    struct reject *items; /* REJECT_TEXTS_MAX, allocated with the first */
    size_t count;
    uint64_t total;
    uint64_t unlisted; /* errors whose text was not kept */
    struct map by_text;
};

static inline struct rejects rejects_make(struct arena *arena) {
    return (struct rejects){.arena = arena};
}
void rejects_done(struct rejects *r);

/* The text is copied when it is new. Without memory the error is counted as unlisted. */
void rejects_add(struct rejects *r, struct str text);

/* Appends the whole text. */
void rejects_format(const struct rejects *r, struct buf *out);
