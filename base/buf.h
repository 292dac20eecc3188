/* buf: owned bytes that grow up to a maximum given at creation. A failed append (no memory, or the
 * maximum reached) sets `failed` and every later append is a no-op, so a writer checks once at its
 * end. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "budget.h"
#include "str.h"

struct buf {
    char *data;
    size_t size;
    size_t capacity;
    size_t max;
    bool failed;
    enum budget_kind account; /* pays for the capacity */
};

#define BUF_NO_MAX (SIZE_MAX / 2)

static inline struct buf buf_make(size_t max) {
    return (struct buf){.max = max};
}

/* A buf whose memory counts in the budget: it also fails when that refuses. */
static inline struct buf buf_make_for(enum budget_kind account, size_t max) {
    return (struct buf){.max = max, .account = account};
}

void buf_done(struct buf *b);

/* Room for `extra` more bytes, so that b->data + b->size may be written directly; 0, -ENOMEM or
 * -E2BIG (and `failed` is set). */
int buf_reserve(struct buf *b, size_t extra);

void buf_add_slow(struct buf *b, const void *data, size_t size);

static inline void buf_add(struct buf *b, const void *data, size_t size) {
    if (!b->failed && size <= b->capacity - b->size && size > 0) {
        memcpy(b->data + b->size, data, size);
        b->size += size;
        return;
    }
    buf_add_slow(b, data, size);
}

static inline void buf_add_str(struct buf *b, struct str s) {
    buf_add(b, s.data, s.size);
}

static inline void buf_add_char(struct buf *b, char c) {
    buf_add(b, &c, 1);
}

void buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Decimal, without printf. */
void buf_add_u64(struct buf *b, uint64_t value);
void buf_add_i64(struct buf *b, int64_t value);

/* Forgets the content, keeps the memory. */
static inline void buf_clear(struct buf *b) {
    b->size = 0;
    b->failed = false;
}

static inline struct str buf_str(const struct buf *b) {
    return str_make(b->data, b->size);
}

/* The bytes now belong to the caller (free with free()); the buf is empty. */
char *buf_take(struct buf *b, size_t *ret_size);
