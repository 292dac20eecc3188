/* sieve_days: a sieve for each day of a tenant, however few chunks it has, and a look at all that stand in a folder: for
 * suites in which disks fail. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>

#include "sieve.h"
#include "store.h"
#include "test.h"

struct sieve_rows {
    struct index_chunk *items;
    size_t n;
};

static inline int sieve_note_row(const struct index_chunk *c, void *ctx) {
    struct sieve_rows *rows = ctx;
    struct index_chunk *items = realloc(rows->items, sizeof(*items) * (rows->n + 1));
    if (!items)
        return -ENOMEM;
    rows->items = items;
    rows->items[rows->n++] = *c;
    return 0;
}

static inline int sieve_compare_days(const void *a, const void *b) {
    const struct index_chunk *x = a, *y = b;
    return (x->day > y->day) - (x->day < y->day);
}

/* Whether it works or not. */
static inline void sieve_days_write(struct store *s, struct str tenant) {
    struct sieve_rows rows = {0};
    struct sieve_written written;
    if (index_walk_chunks(store_index(s), tenant, sieve_note_row, &rows, NULL) == 0 && rows.n > 0)
        qsort(rows.items, rows.n, sizeof(*rows.items), sieve_compare_days);
    for (size_t from = 0, to; from < rows.n; from = to) {
        for (to = from; to < rows.n && rows.items[to].day == rows.items[from].day;)
            to++;
        struct sieve_order o = {.tenant = tenant,
                                .day = rows.items[from].day,
                                .rows = rows.items + from,
                                .n_rows = to - from,
                                .rows_sum = from + 1};
        (void)store_write_sieve(s, &o, &written, NULL);
    }
    free(rows.items);
}

static inline int sieve_check_file(const char *path, const struct stat *st, int type,
                                   struct FTW *ftw) {
    struct sieve *sieve = NULL;
    (void)st;
    if (type != FTW_F || strcmp(path + ftw->base, SIEVE_NAME) != 0)
        return 0;
    int r = sieve_open(AT_FDCWD, path, &sieve, NULL);
    CHECK_INT(r, 0);
    if (r == 0)
        CHECK_INT(sieve_check(sieve, NULL), 0);
    sieve_close(sieve);
    return 0;
}

/* One that has its name is whole. */
static inline void sieve_days_check(const char *data_dir) {
    (void)nftw(data_dir, sieve_check_file, 16, FTW_PHYS);
}
