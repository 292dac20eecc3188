#include "buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_done(struct buf *b) {
    if (!b)
        return;
    budget_give(b->account, b->capacity);
    free(b->data);
    *b = (struct buf){.max = b->max, .account = b->account};
}

int buf_reserve(struct buf *b, size_t extra) {
    if (b->failed)
        return -ENOMEM;
    if (extra <= b->capacity - b->size)
        return 0;
    if (extra > b->max || b->size > b->max - extra) {
        b->failed = true;
        return -E2BIG;
    }
    size_t wanted = b->size + extra;
    size_t capacity = b->capacity < 64 ? 64 : b->capacity;
    while (capacity < wanted)
        capacity = capacity < BUF_NO_MAX / 2 ? capacity * 2 : wanted;
    if (capacity > b->max)
        capacity = b->max;
    size_t more = capacity - b->capacity;
    bool taken = budget_take(b->account, more);
    char *data = taken ? realloc(b->data, capacity) : NULL;
    if (!data) {
        if (taken)
            budget_give(b->account, more);
        b->failed = true;
        return -ENOMEM;
    }
    b->data = data;
    b->capacity = capacity;
    return 0;
}

void buf_add_slow(struct buf *b, const void *data, size_t size) {
    if (size == 0 || buf_reserve(b, size) < 0)
        return;
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void buf_addf(struct buf *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        b->failed = true;
    if (n > 0 && buf_reserve(b, (size_t)n + 1) == 0) {
        (void)vsnprintf(b->data + b->size, (size_t)n + 1, format, again);
        b->size += (size_t)n;
    }
    va_end(again);
}

void buf_add_u64(struct buf *b, uint64_t value) {
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    buf_add(b, digits + at, sizeof(digits) - at);
}

void buf_add_i64(struct buf *b, int64_t value) {
    if (value < 0) {
        buf_add_char(b, '-');
        buf_add_u64(b, 0 - (uint64_t)value);
    } else {
        buf_add_u64(b, (uint64_t)value);
    }
}

char *buf_take(struct buf *b, size_t *ret_size) {
    char *data = b->data;
    *ret_size = b->size;
    budget_give(b->account, b->capacity);
    *b = (struct buf){.max = b->max, .account = b->account};
    return data;
}
