/* Writing a sieve. Filters of some thousand blocks do not fit memory, so the file is made run by run of stripes, and for each
 * run every chunk is opened and asked for the part of its filters that has the run's hashes: those stand side by side there,
 * too (slices.h). A first look at all chunks says which block gets which column.
 *
 * Columns lie side by side in a row, a filter's bits one after the other: eight columns are gathered, and turned eight
 * bits at a time. Two blocks of one size share a column. Those of a stream have much in common: their union is 0.64 full
 * where each is 0.46, and 13 grams find a false one among 300; a stream's blocks come one after the other, so they mostly
 * meet. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "bytes.h"
#include "hash.h"
#include "io.h"
#include "sieve.h"
#include "sieve_format.h"
#include "store_private.h"

enum {
    FILE_MODE = 0640,
    RUN_BYTES = 8 << 20, /* of stripes in memory */
    RUN_STEP = 8,        /* stripes: then a run begins with a whole byte of each filter */
    STRIPE_MIN = 512,    /* shorter ones cost more in checksums than they save */
    STRETCH_SHARE = 16,  /* stretching small filters may add a sixteenth */
    EXPONENT_MIN = 7,    /* 4 * 2^7 bits */
    EXPONENT_MAX = GRAM_HASH_BITS - 2,
    CLASSES = (EXPONENT_MAX + 1) * 4,
    TURN = 8, /* columns that are turned together */
};

/* Filters of one size. */
struct class {
    uint32_t bits; /* of a filter */
    uint32_t columns;
    bool is_half; /* the last column has one block so far */
    unsigned stretch;
    uint32_t rows; /* of a stripe */
    uint32_t row_bytes;
    uint32_t first_word; /* its columns are numbered from 64 times that */
    uint64_t offset;     /* in a stripe */
    uint8_t *slots;      /* TURN of them: columns being gathered */
    uint32_t slot_bytes; /* allocated */
    uint32_t group;      /* which columns these are: from group * TURN on */
    bool gathers;
};

struct source {
    uint64_t print;
    uint32_t row; /* of the order */
    uint32_t first;
    uint32_t blocks;
};

struct place {
    uint32_t column; /* of its class; or SIEVE_NO_COLUMN */
    uint8_t class;
};

struct work {
    struct store *store;
    const struct sieve_order *order;
    struct class classes[CLASSES];
    struct source *sources;
    uint32_t n_sources;
    struct place *places; /* one per block */
    uint32_t n_blocks;
    unsigned shift;
    uint64_t stripe_bytes;
    uint64_t head_size;
    uint32_t n_classes;
    uint32_t from, to; /* the run */
    uint8_t *run;      /* its stripes */
    uint32_t run_max;
    uint32_t *sums;  /* of all stripes */
    uint8_t *filter; /* of one block */
    int fd;
    char path[CHUNK_PATH_MAX], temp[CHUNK_PATH_MAX + 8];
    struct err *reterr;
};

static int no_memory(const struct work *w) {
    return err_set(w->reterr, -ENOMEM, "no memory to write a sieve");
}

static bool stopped(const struct work *w) {
    return w->order->stopped && w->order->stopped(w->order->ctx);
}

/* ---- which column is whose */

static int open_chunk(const struct work *w, uint32_t row, struct chunk **ret) {
    struct chunk_id id = chunk_id_of(w->order->tenant, &w->order->rows[row]);
    char path[CHUNK_PATH_MAX];
    int r = chunk_id_path(&id, path);
    return r < 0 ? r : chunk_open_at(w->store->dir_fd, path, chunk_id_span(&id), ret, NULL);
}

/* The class of filters of that size, or a negative number. */
static int class_of(uint32_t size) {
    uint32_t bits = size > 0 ? gram_filter_bits(size) : 0;
    if (bits < 4u << EXPONENT_MIN)
        return -1;
    unsigned k = 31 - (unsigned)__builtin_clz(bits) - 2;
    return bits >> k << k == bits && k <= EXPONENT_MAX ? (int)(k * 4 + (bits >> k) - 4) : -1;
}

static struct place place_block(struct work *w, uint32_t size) {
    int number = class_of(size);
    if (number < 0)
        return (struct place){.column = SIEVE_NO_COLUMN};
    struct class *c = &w->classes[number];
    c->bits = gram_filter_bits(size);
    if (!c->is_half)
        c->columns++;
    c->is_half = !c->is_half;
    return (struct place){.column = c->columns - 1, .class = (uint8_t)number};
}

/* Whether the chunk says what its row says. */
static bool is_the_one(const struct chunk *chunk, const struct index_chunk *row) {
    const struct chunk_sums *sums = chunk_get_sums(chunk);
    return chunk_has_head(chunk) && chunk_get_head(chunk)->chunk_seq == row->chunk_seq &&
           chunk_has_trailer(chunk) && sums->entries == row->sums.entries &&
           chunk_block_count(chunk) == row->sums.blocks;
}

static int place_chunk(struct work *w, uint32_t row) {
    const struct index_chunk *c = &w->order->rows[row];
    struct chunk *chunk = NULL;
    if (w->n_blocks + (uint64_t)c->sums.blocks > SIEVE_BLOCKS_MAX)
        return 0;
    int r = open_chunk(w, row, &chunk);
    if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
        return err_set(w->reterr, r, "cannot open a chunk for a sieve: %s", err_name(r));
    if (r == 0 && is_the_one(chunk, c) && chunk_filters(chunk)) {
        struct source *source = &w->sources[w->n_sources++];
        *source = (struct source){.print = sieve_fingerprint(c),
                                  .row = row,
                                  .first = w->n_blocks,
                                  .blocks = c->sums.blocks};
        for (uint32_t i = 0; i < source->blocks; i++)
            w->places[w->n_blocks++] = place_block(w, filters_size(chunk_filters(chunk), i));
    }
    chunk_close(chunk);
    return 0;
}

static int place_all(struct work *w) {
    uint64_t blocks = 0;
    for (size_t i = 0; i < w->order->n_rows; i++)
        blocks += w->order->rows[i].sums.blocks;
    if (blocks > SIEVE_BLOCKS_MAX)
        blocks = SIEVE_BLOCKS_MAX;
    w->sources = calloc(w->order->n_rows + 1, sizeof(*w->sources));
    w->places = calloc(blocks + 1, sizeof(*w->places));
    int r = w->sources && w->places ? 0 : no_memory(w);
    for (size_t i = 0; i < w->order->n_rows && r == 0; i++)
        r = stopped(w) ? -ECANCELED : place_chunk(w, (uint32_t)i);
    return r;
}

/* ---- the layout */

static unsigned exponent_of(size_t class) {
    return (unsigned)(class / 4);
}

/* Bytes of all stripes if there were 2^shift, as far as they do not depend on whole bytes. */
static uint64_t bits_with(const struct work *w, unsigned shift) {
    uint64_t sum = 0;
    for (size_t i = 0; i < CLASSES; i++) {
        unsigned k = exponent_of(i), stretch = k < shift ? shift - k : 0;
        sum += ((uint64_t)w->classes[i].bits << stretch) * w->classes[i].columns;
    }
    return sum;
}

static void choose_shift(struct work *w) {
    uint64_t least = bits_with(w, SIEVE_SHIFT_MIN);
    w->shift = SIEVE_SHIFT_MIN;
    while (w->shift < SIEVE_SHIFT_MAX && least >> (w->shift + 1) >= STRIPE_MIN * 8 &&
           bits_with(w, w->shift + 1) <= least + least / STRETCH_SHARE)
        w->shift++;
}

static int lay_out(struct work *w) {
    uint32_t words = 0;
    choose_shift(w);
    for (size_t i = 0; i < CLASSES; i++) {
        struct class *c = &w->classes[i];
        if (c->columns == 0)
            continue;
        unsigned k = exponent_of(i);
        c->stretch = k < w->shift ? w->shift - k : 0;
        c->rows = c->bits >> (w->shift - c->stretch);
        c->row_bytes = (c->columns + 7) / 8;
        c->first_word = words;
        c->offset = w->stripe_bytes;
        words += (c->columns + 63) / 64;
        w->stripe_bytes += (uint64_t)c->rows * c->row_bytes;
        w->n_classes++;
    }
    if (w->n_classes == 0)
        return err_set(w->reterr, -ENODATA, "there is nothing to put into a sieve");
    w->head_size = sieve_head_size(w->n_classes, w->n_sources, w->n_blocks, w->shift);
    uint64_t stripes = RUN_BYTES / w->stripe_bytes / RUN_STEP * RUN_STEP;
    if (stripes < RUN_STEP)
        stripes = RUN_STEP;
    w->run_max = stripes < 1u << w->shift ? (uint32_t)stripes : 1u << w->shift;
    w->run = malloc(w->run_max * w->stripe_bytes);
    w->sums = calloc((size_t)1 << w->shift, sizeof(*w->sums));
    w->filter = malloc(GRAM_FILTER_HEADER + GRAM_FILTER_MAX_BYTES);
    if (!w->run || !w->sums || !w->filter)
        return no_memory(w);
    for (size_t i = 0; i < CLASSES; i++) {
        struct class *c = &w->classes[i];
        c->slot_bytes = c->columns ? (w->run_max * c->rows >> c->stretch) / 8 + 2 : 0;
        c->slots = c->columns ? calloc(TURN, c->slot_bytes) : NULL;
        if (c->columns > 0 && !c->slots)
            return no_memory(w);
    }
    return 0;
}

/* ---- a run of stripes */

/* Bytes of a filter that have the run's hashes. */
struct part {
    uint32_t from, to;
};

static struct part part_of(const struct work *w, const struct class *c) {
    uint32_t from = w->from * c->rows >> c->stretch;
    uint32_t to = ((w->to * c->rows - 1) >> c->stretch) + 1;
    return (struct part){from / 8, (to + 7) / 8};
}

/* Eight bytes, one of each column, as eight bytes, one of each row. */
static uint64_t turn(uint64_t x) {
    uint64_t t = (x ^ (x >> 7)) & 0x00aa00aa00aa00aau;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000cccc0000ccccu;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000f0f0f0f0u;
    return x ^ t ^ (t << 28);
}

static uint64_t gather(const struct class *c, uint32_t byte) {
    uint64_t x = 0;
    for (unsigned i = 0; i < TURN; i++)
        x |= (uint64_t)c->slots[(size_t)i * c->slot_bytes + byte] << (8 * i);
    return x;
}

/* Puts the gathered columns into the run. */
static void put_columns(struct work *w, struct class *c) {
    uint32_t first_bit = part_of(w, c).from * 8;
    uint64_t turned = 0;
    uint32_t turned_byte = UINT32_MAX;
    if (!c->gathers)
        return;
    uint32_t row = w->from * c->rows;
    uint8_t *out = w->run + c->offset + c->group;
    for (uint32_t stripe = w->from; stripe < w->to; stripe++, out += w->stripe_bytes) {
        uint8_t *at = out;
        for (uint32_t i = 0; i < c->rows; i++, row++, at += c->row_bytes) {
            uint32_t bit = (row >> c->stretch) - first_bit;
            if (bit / 8 != turned_byte) {
                turned_byte = bit / 8;
                turned = turn(gather(c, turned_byte));
            }
            *at = (uint8_t)(turned >> (8 * (bit & 7)));
        }
    }
    memset(c->slots, 0, (size_t)TURN * c->slot_bytes);
    c->gathers = false;
}

/* False: the filter cannot be read any more. */
static bool put_block(struct work *w, const struct filters *f, uint32_t i, struct place place) {
    struct class *c = &w->classes[place.class];
    struct part part = part_of(w, c);
    if (place.column / TURN != c->group)
        put_columns(w, c);
    c->group = place.column / TURN;
    c->gathers = true;
    if (class_of(filters_size(f, i)) != place.class ||
        !filters_take_part(f, i, part.from, part.to, w->filter))
        return false;
    uint8_t *slot = c->slots + (size_t)(place.column % TURN) * c->slot_bytes;
    const uint8_t *bits = w->filter + GRAM_FILTER_HEADER;
    for (uint32_t byte = part.from; byte < part.to; byte++)
        slot[byte - part.from] = (uint8_t)(slot[byte - part.from] | bits[byte]);
    return true;
}

/* One that cannot be read as it was a moment ago passes from now on. */
static void put_source(struct work *w, struct source *source) {
    struct chunk *chunk = NULL;
    struct place *places = w->places + source->first;
    bool good = open_chunk(w, source->row, &chunk) == 0 &&
                is_the_one(chunk, &w->order->rows[source->row]) && chunk_filters(chunk);
    for (uint32_t i = 0; i < source->blocks && good; i++)
        if (places[i].column != SIEVE_NO_COLUMN)
            good = put_block(w, chunk_filters(chunk), i, places[i]);
    for (uint32_t i = 0; i < source->blocks && !good; i++)
        places[i].column = SIEVE_NO_COLUMN;
    chunk_close(chunk);
}

static int write_fail(const struct work *w, int code) {
    return err_set(w->reterr, code, "cannot write %s: %s", w->temp, err_name(code));
}

static int write_run(struct work *w) {
    size_t size = (w->to - w->from) * w->stripe_bytes;
    memset(w->run, 0, size);
    for (uint32_t i = 0; i < w->n_sources; i++) {
        if (stopped(w))
            return -ECANCELED;
        put_source(w, &w->sources[i]);
    }
    for (size_t i = 0; i < CLASSES; i++)
        put_columns(w, &w->classes[i]);
    for (uint32_t i = w->from; i < w->to; i++)
        w->sums[i] = (uint32_t)hash64(w->run + (i - w->from) * w->stripe_bytes, w->stripe_bytes);
    int r = io_pwrite_all(w->fd, w->run, size, w->head_size + w->from * w->stripe_bytes);
    return r < 0 ? write_fail(w, r) : 0;
}

/* ---- header and tables */

static int compare_sources(const void *a, const void *b) {
    uint64_t x = ((const struct source *)a)->print, y = ((const struct source *)b)->print;
    return (x > y) - (x < y);
}

static uint32_t number_of(const struct work *w, struct place place) {
    return place.column == SIEVE_NO_COLUMN ? SIEVE_NO_COLUMN
                                           : w->classes[place.class].first_word * 64 + place.column;
}

static char *put_tables(const struct work *w, char *at) {
    for (size_t i = 0; i < CLASSES; i++) {
        const struct class *c = &w->classes[i];
        if (c->columns == 0)
            continue;
        put_le32(at + SIEVE_CLASS_AT_ROWS, c->rows << w->shift);
        put_le32(at + SIEVE_CLASS_AT_COLUMNS, c->columns);
        at += SIEVE_CLASS_SIZE;
    }
    uint32_t first = 0;
    for (uint32_t i = 0; i < w->n_sources; i++, at += SIEVE_CHUNK_SIZE) {
        put_le64(at + SIEVE_CHUNK_AT_PRINT, w->sources[i].print);
        put_le32(at + SIEVE_CHUNK_AT_FIRST, first);
        first += w->sources[i].blocks;
    }
    for (uint32_t i = 0; i < w->n_sources; i++)
        for (uint32_t k = 0; k < w->sources[i].blocks; k++, at += 4)
            put_le32(at, number_of(w, w->places[w->sources[i].first + k]));
    for (uint32_t i = 0; i >> w->shift == 0; i++, at += 4)
        put_le32(at, w->sums[i]);
    return at;
}

static int write_head(struct work *w) {
    const size_t sum_from = SIEVE_AT_CHECKSUM + 4;
    char *head = calloc(1, w->head_size);
    if (!head)
        return no_memory(w);
    qsort(w->sources, w->n_sources, sizeof(*w->sources), compare_sources);
    const char *end = put_tables(w, head + SIEVE_HEADER_SIZE);
    assert((uint64_t)(end - head) <= w->head_size);
    memcpy(head + SIEVE_AT_MAGIC, SIEVE_MAGIC, 8);
    put_le32(head + SIEVE_AT_HEAD_SIZE, (uint32_t)w->head_size);
    put_le32(head + SIEVE_AT_DAY, (uint32_t)w->order->day);
    put_le32(head + SIEVE_AT_SHIFT, w->shift);
    put_le32(head + SIEVE_AT_CLASSES, w->n_classes);
    put_le32(head + SIEVE_AT_CHUNKS, w->n_sources);
    put_le32(head + SIEVE_AT_BLOCKS, w->n_blocks);
    put_le32(head + SIEVE_AT_TABLES_CHECKSUM,
             (uint32_t)hash64(head + SIEVE_HEADER_SIZE, w->head_size - SIEVE_HEADER_SIZE));
    put_le64(head + SIEVE_AT_FILE_SIZE, w->head_size + (w->stripe_bytes << w->shift));
    put_le64(head + SIEVE_AT_ROWS_SUM, w->order->rows_sum);
    put_le32(head + SIEVE_AT_CHECKSUM,
             (uint32_t)hash64(head + sum_from, SIEVE_HEADER_SIZE - sum_from));
    int r = io_pwrite_all(w->fd, head, w->head_size, 0);
    free(head);
    return r < 0 ? write_fail(w, r) : 0;
}

/* ---- the file */

static int write_file(struct work *w) {
    w->fd = io_open(w->store->dir_fd, w->temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    int r = w->fd < 0 ? write_fail(w, w->fd) : 0;
    for (w->from = 0; w->from >> w->shift == 0 && r == 0; w->from = w->to) {
        w->to = w->from + w->run_max;
        if (w->to > 1u << w->shift)
            w->to = 1u << w->shift;
        r = write_run(w);
    }
    if (r == 0)
        r = write_head(w);
    if (r == 0) {
        r = io_fsync(w->fd);
        if (r < 0)
            (void)write_fail(w, r);
    }
    if (w->fd >= 0)
        io_close(w->fd);
    return r;
}

static int name_file(struct work *w) {
    char folder[CHUNK_PATH_MAX];
    int r = io_rename(w->store->dir_fd, w->temp, w->store->dir_fd, w->path);
    if (r < 0)
        return write_fail(w, r);
    store_forget_sieve(w->store, w->order->tenant, w->order->day);
    memcpy(folder, w->path, sizeof(folder));
    *strrchr(folder, '/') = '\0';
    r = io_fsync_dir(w->store->dir_fd, folder);
    return r < 0 ? write_fail(w, r) : 0;
}

int store_write_sieve(struct store *s, const struct sieve_order *o, struct sieve_written *ret,
                      struct err *reterr) {
    struct work *w = calloc(1, sizeof(*w));
    if (!w)
        return err_set(reterr, -ENOMEM, "no memory to write a sieve");
    w->store = s;
    w->order = o;
    w->fd = -1;
    w->reterr = reterr;
    int r = sieve_path(w->path, o->tenant, o->day);
    if (r < 0)
        r = err_set(reterr, r, "the name of a sieve is too long");
    (void)snprintf(w->temp, sizeof(w->temp), "%s.tmp", w->path);
    if (r == 0)
        r = place_all(w);
    if (r == 0)
        r = lay_out(w);
    if (r == 0) {
        r = write_file(w);
        if (r == 0)
            r = name_file(w);
        else
            (void)io_unlink(s->dir_fd, w->temp);
    }
    if (r == 0)
        *ret = (struct sieve_written){.file_bytes = w->head_size + (w->stripe_bytes << w->shift),
                                      .chunks = w->n_sources,
                                      .blocks = w->n_blocks};
    for (size_t i = 0; i < CLASSES; i++)
        free(w->classes[i].slots);
    free(w->sources);
    free(w->places);
    free(w->run);
    free(w->sums);
    free(w->filter);
    free(w);
    return r;
}

int store_remove_sieve(struct store *s, struct str tenant, int32_t day) {
    char path[CHUNK_PATH_MAX];
    int r = sieve_path(path, tenant, day);
    if (r == 0)
        r = io_unlink(s->dir_fd, path);
    store_forget_sieve(s, tenant, day);
    return r == -ENOENT ? 0 : r;
}
