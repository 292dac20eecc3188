#include "sieve.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "bytes.h"
#include "hash.h"
#include "io.h"
#include "sieve_format.h"

enum {
    HEAD_LIKELY = 128 << 10, /* of a day of 2 GB; read at once */
    HEAD_MAX = 16 << 20,
    CLASSES_MAX = 128, /* sizes of filters that there are */
    ROWS_MAX = 1 << GRAM_HASH_BITS,
    SLACK = 8, /* behind a stripe: rows are read in words */
};
static_assert(SIEVE_HEADER_SIZE + CLASSES_MAX * SIEVE_CLASS_SIZE + SIEVE_BLOCKS_MAX * 16ull +
                      (4 << SIEVE_SHIFT_MAX) <
                  HEAD_MAX,
              "the largest sieve can be opened");

/* Columns of one size of filters. */
struct class {
    uint32_t rows;       /* in all stripes */
    uint32_t columns;    /* bits of a row */
    uint32_t first_word; /* of `alive` */
    uint32_t words;
    uint64_t offset; /* in a stripe */
};

struct sieve {
    int fd;
    unsigned shift; /* there are 2^shift stripes */
    uint32_t n_classes, n_chunks, n_blocks, n_words;
    uint64_t stripe_bytes, file_bytes, rows_sum;
    size_t head_size;
    struct class *classes;
    char *head; /* header and tables; the next ones point into it */
    const char *chunks, *columns, *sums;
};

int sieve_path(char out[static CHUNK_PATH_MAX], struct str tenant, int32_t day) {
    int r = pack_path(out, tenant, day, 0);
    if (r < 0)
        return r;
    char *name = strrchr(out, '/') + 1;
    if ((size_t)(out + CHUNK_PATH_MAX - name) < sizeof(SIEVE_NAME ".tmp"))
        return -ENAMETOOLONG;
    memcpy(name, SIEVE_NAME, sizeof(SIEVE_NAME));
    return 0;
}

uint64_t sieve_fingerprint(const struct index_chunk *c) {
    uint8_t row[68];
    put_le64(row, c->stream_id);
    put_le64(row + 8, c->chunk_seq);
    put_le64(row + 16, (uint64_t)c->sums.first_ns);
    put_le64(row + 24, (uint64_t)c->sums.last_ns);
    put_le64(row + 32, c->sums.file_bytes);
    put_le64(row + 40, c->sums.line_bytes);
    put_le64(row + 48, c->sums.meta_bytes);
    put_le32(row + 56, c->sums.entries);
    put_le32(row + 60, c->sums.blocks);
    put_le32(row + 64, (uint32_t)c->day);
    return hash64(row, sizeof(row));
}

/* ---- opening */

static int corrupt(const char *name, const char *why, struct err *reterr) {
    return err_set(reterr, -ECORRUPT, "sieve %s: %s", name, why);
}

static int check_header(const char *h, const char *name, struct err *reterr) {
    const size_t sum_from = SIEVE_AT_CHECKSUM + 4;
    if (memcmp(h, SIEVE_MAGIC, 8) != 0)
        return corrupt(name, "it does not begin as one", reterr);
    if ((uint32_t)hash64(h + sum_from, SIEVE_HEADER_SIZE - sum_from) !=
        get_le32(h + SIEVE_AT_CHECKSUM))
        return corrupt(name, "the header is damaged", reterr);
    if (get_le32(h + SIEVE_AT_INCOMPAT) != 0)
        return err_set(reterr, -EFORMAT, "sieve %s: it is of a newer format", name);
    return 0;
}

static int read_head(struct sieve *s, const char *name, struct err *reterr) {
    s->head = malloc(HEAD_LIKELY);
    if (!s->head)
        return err_set(reterr, -ENOMEM, "no memory for a sieve");
    ssize_t n = io_pread_all(s->fd, s->head, HEAD_LIKELY, 0);
    if (n < 0)
        return err_set(reterr, (int)n, "sieve %s: %s", name, err_name((int)n));
    if (n < SIEVE_HEADER_SIZE)
        return corrupt(name, "it is too short", reterr);
    int r = check_header(s->head, name, reterr);
    if (r < 0)
        return r;
    size_t size = s->head_size = get_le32(s->head + SIEVE_AT_HEAD_SIZE);
    if (size < SIEVE_HEADER_SIZE || size > HEAD_MAX)
        return corrupt(name, "its header says an impossible size", reterr);
    char *whole = realloc(s->head, size);
    if (!whole)
        return err_set(reterr, -ENOMEM, "no memory for a sieve");
    s->head = whole;
    if (size > (size_t)n) {
        ssize_t more = io_pread_all(s->fd, s->head + n, size - (size_t)n, (uint64_t)n);
        if (more < 0)
            return err_set(reterr, (int)more, "sieve %s: %s", name, err_name((int)more));
        if ((size_t)more != size - (size_t)n)
            return corrupt(name, "it is too short", reterr);
    }
    if ((uint32_t)hash64(s->head + SIEVE_HEADER_SIZE, size - SIEVE_HEADER_SIZE) !=
        get_le32(s->head + SIEVE_AT_TABLES_CHECKSUM))
        return corrupt(name, "its tables are damaged", reterr);
    return 0;
}

/* Sizes, and where the tables are. */
static int lay_out(struct sieve *s) {
    const char *h = s->head;
    s->shift = get_le32(h + SIEVE_AT_SHIFT);
    s->n_classes = get_le32(h + SIEVE_AT_CLASSES);
    s->n_chunks = get_le32(h + SIEVE_AT_CHUNKS);
    s->n_blocks = get_le32(h + SIEVE_AT_BLOCKS);
    s->file_bytes = get_le64(h + SIEVE_AT_FILE_SIZE);
    s->rows_sum = get_le64(h + SIEVE_AT_ROWS_SUM);
    if (s->shift < SIEVE_SHIFT_MIN || s->shift > SIEVE_SHIFT_MAX || s->n_classes == 0 ||
        s->n_classes > CLASSES_MAX || s->n_blocks > SIEVE_BLOCKS_MAX || s->n_chunks > s->n_blocks ||
        sieve_head_size(s->n_classes, s->n_chunks, s->n_blocks, s->shift) != s->head_size)
        return -ECORRUPT;
    s->chunks = h + SIEVE_HEADER_SIZE + (size_t)s->n_classes * SIEVE_CLASS_SIZE;
    s->columns = s->chunks + (size_t)s->n_chunks * SIEVE_CHUNK_SIZE;
    s->sums = s->columns + (size_t)s->n_blocks * 4;
    return 0;
}

static int lay_out_classes(struct sieve *s) {
    s->classes = calloc(s->n_classes + 1, sizeof(*s->classes));
    if (!s->classes)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->n_classes; i++) {
        const char *row = s->head + SIEVE_HEADER_SIZE + (size_t)i * SIEVE_CLASS_SIZE;
        struct class *c = &s->classes[i];
        c->rows = get_le32(row + SIEVE_CLASS_AT_ROWS);
        c->columns = get_le32(row + SIEVE_CLASS_AT_COLUMNS);
        if (c->rows == 0 || c->rows > ROWS_MAX || c->rows >> s->shift << s->shift != c->rows ||
            c->columns == 0 || c->columns > SIEVE_BLOCKS_MAX)
            return -ECORRUPT;
        c->first_word = s->n_words;
        c->words = (c->columns + 63) / 64;
        c->offset = s->stripe_bytes;
        s->n_words += c->words;
        s->stripe_bytes += (uint64_t)(c->rows >> s->shift) * ((c->columns + 7) / 8);
    }
    bool fits = s->stripe_bytes << s->shift == s->file_bytes - s->head_size;
    return s->file_bytes >= s->head_size && fits ? 0 : -ECORRUPT;
}

/* A column that is none would never pass. */
static int check_tables(const struct sieve *s) {
    uint64_t *there = calloc(s->n_words + 1, sizeof(*there));
    if (!there)
        return -ENOMEM;
    sieve_begin(s, there);
    int r = 0;
    for (uint32_t i = 0; i < s->n_blocks && r == 0; i++) {
        uint32_t column = get_le32(s->columns + (size_t)i * 4);
        if (column != SIEVE_NO_COLUMN &&
            (column / 64 >= s->n_words || !(there[column / 64] >> (column & 63) & 1)))
            r = -ECORRUPT;
    }
    free(there);
    uint64_t print = 0;
    uint32_t first = 0;
    for (uint32_t i = 0; i < s->n_chunks && r == 0; i++) {
        const char *row = s->chunks + (size_t)i * SIEVE_CHUNK_SIZE;
        if ((i > 0 && get_le64(row + SIEVE_CHUNK_AT_PRINT) <= print) ||
            get_le32(row + SIEVE_CHUNK_AT_FIRST) < first ||
            (i == 0 && get_le32(row + SIEVE_CHUNK_AT_FIRST) > 0) ||
            get_le32(row + SIEVE_CHUNK_AT_FIRST) > s->n_blocks)
            r = -ECORRUPT;
        print = get_le64(row + SIEVE_CHUNK_AT_PRINT);
        first = get_le32(row + SIEVE_CHUNK_AT_FIRST);
    }
    return r;
}

int sieve_open(int dir_fd, const char *name, struct sieve **ret, struct err *reterr) {
    struct sieve *s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(reterr, -ENOMEM, "no memory for a sieve");
    s->fd = io_open(dir_fd, name, O_RDONLY | O_CLOEXEC, 0);
    int r = s->fd < 0 ? err_set(reterr, s->fd, "sieve %s: %s", name, err_name(s->fd))
                      : read_head(s, name, reterr);
    uint64_t size = 0;
    if (r == 0) {
        r = lay_out(s);
        r = r == 0 ? lay_out_classes(s) : r;
        r = r == 0 ? check_tables(s) : r;
        r = r == 0 ? io_file_size(s->fd, &size) : r;
        if (r == 0 && size != s->file_bytes)
            r = -ECORRUPT;
        if (r == -ECORRUPT)
            (void)corrupt(name, "its tables contradict one another", reterr);
        else if (r < 0)
            (void)err_set(reterr, r, "sieve %s: %s", name, err_name(r));
    }
    if (r < 0) {
        sieve_close(s);
        return r;
    }
    io_read_at_random(s->fd);
    *ret = s;
    return 0;
}

void sieve_close(struct sieve *s) {
    if (!s)
        return;
    if (s->fd >= 0)
        io_close(s->fd);
    free(s->classes);
    free(s->head);
    free(s);
}

int sieve_peek(int dir_fd, const char *name, uint64_t *ret_rows_sum) {
    char header[SIEVE_HEADER_SIZE];
    int fd = io_open(dir_fd, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    ssize_t n = io_pread_all(fd, header, sizeof(header), 0);
    io_close(fd);
    int r = n < 0 ? (int)n : n < SIEVE_HEADER_SIZE ? -ECORRUPT : check_header(header, name, NULL);
    if (r == 0)
        *ret_rows_sum = get_le64(header + SIEVE_AT_ROWS_SUM);
    return r;
}

size_t sieve_cost_bytes(const struct sieve *s) {
    return sizeof(*s) + s->head_size + s->n_classes * sizeof(*s->classes);
}

uint64_t sieve_file_bytes(const struct sieve *s) {
    return s->file_bytes;
}

uint32_t sieve_chunks(const struct sieve *s) {
    return s->n_chunks;
}

uint32_t sieve_blocks(const struct sieve *s) {
    return s->n_blocks;
}

uint64_t sieve_rows_sum(const struct sieve *s) {
    return s->rows_sum;
}

/* ---- asking */

uint32_t sieve_words(const struct sieve *s) {
    return s->n_words;
}

void sieve_begin(const struct sieve *s, uint64_t *alive) {
    for (uint32_t i = 0; i < s->n_classes; i++) {
        const struct class *c = &s->classes[i];
        memset(alive + c->first_word, 0xff, c->words * sizeof(*alive));
        if (c->columns % 64 > 0)
            alive[c->first_word + c->words - 1] = ((uint64_t)1 << (c->columns % 64)) - 1;
    }
}

static uint32_t stripe_of(const struct sieve *s, uint32_t hash) {
    return hash >> (GRAM_HASH_BITS - s->shift);
}

static uint64_t stripe_offset(const struct sieve *s, uint32_t stripe) {
    return s->head_size + stripe * s->stripe_bytes;
}

/* Clears the columns without the gram; false when none is left. The bits behind a class's last column belong to
 * something else, and are not set in `alive`. */
static bool narrow(const struct sieve *s, const char *bytes, uint32_t hash, uint64_t *alive) {
    uint32_t stripe = stripe_of(s, hash);
    uint64_t any = 0;
    for (uint32_t i = 0; i < s->n_classes; i++) {
        const struct class *c = &s->classes[i];
        uint64_t first = (uint64_t)stripe * (c->rows >> s->shift);
        uint64_t row = ((uint64_t)hash * c->rows >> GRAM_HASH_BITS) - first;
        const char *bits = bytes + c->offset + row * ((c->columns + 7) / 8);
        uint64_t *words = alive + c->first_word;
        for (uint32_t w = 0; w < c->words; w++) {
            words[w] &= get_le64(bits + (size_t)w * 8);
            any |= words[w];
        }
    }
    return any != 0;
}

static bool stripe_is_sound(const struct sieve *s, uint32_t stripe, const char *bytes) {
    return (uint32_t)hash64(bytes, s->stripe_bytes) == get_le32(s->sums + (size_t)stripe * 4);
}

int sieve_ask(const struct sieve *s, const struct gram_query *q, bool wait, struct buf *scratch,
              uint64_t *alive, bool *ret_damaged) {
    buf_clear(scratch);
    if (buf_reserve(scratch, s->stripe_bytes + SLACK) < 0)
        return 0; /* what cannot be asked lets everything pass */
    for (uint32_t i = 0; i < q->count; i++) {
        uint32_t stripe = stripe_of(s, q->hashes[i]);
        uint64_t offset = stripe_offset(s, stripe);
        ssize_t n = wait ? io_pread_all(s->fd, scratch->data, s->stripe_bytes, offset)
                         : io_pread_now(s->fd, scratch->data, s->stripe_bytes, offset);
        if (n < 0 && !wait) {
            for (uint32_t k = i; k < q->count; k++)
                io_will_need(s->fd, stripe_offset(s, stripe_of(s, q->hashes[k])), s->stripe_bytes);
            return -EAGAIN;
        }
        if (n != (ssize_t)s->stripe_bytes || !stripe_is_sound(s, stripe, scratch->data))
            *ret_damaged = true;
        else if (!narrow(s, scratch->data, q->hashes[i], alive))
            return 0;
    }
    return 0;
}

static uint64_t print_of(const struct sieve *s, uint32_t chunk) {
    return get_le64(s->chunks + (size_t)chunk * SIEVE_CHUNK_SIZE + SIEVE_CHUNK_AT_PRINT);
}

int64_t sieve_find(const struct sieve *s, uint64_t fingerprint) {
    uint32_t from = 0, to = s->n_chunks;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        uint64_t print = print_of(s, middle);
        if (print == fingerprint)
            return middle;
        if (print < fingerprint)
            from = middle + 1;
        else
            to = middle;
    }
    return -1;
}

static uint32_t first_block(const struct sieve *s, int64_t chunk) {
    return chunk == s->n_chunks
               ? s->n_blocks
               : get_le32(s->chunks + (size_t)chunk * SIEVE_CHUNK_SIZE + SIEVE_CHUNK_AT_FIRST);
}

bool sieve_may_contain(const struct sieve *s, int64_t chunk, const uint64_t *alive) {
    for (uint32_t i = first_block(s, chunk); i < first_block(s, chunk + 1); i++) {
        uint32_t column = get_le32(s->columns + (size_t)i * 4);
        if (column == SIEVE_NO_COLUMN || alive[column / 64] >> (column & 63) & 1)
            return true;
    }
    return false;
}

uint32_t sieve_chunk_blocks(const struct sieve *s, int64_t chunk) {
    return first_block(s, chunk + 1) - first_block(s, chunk);
}

int sieve_check(const struct sieve *s, struct err *reterr) {
    char *bytes = malloc(s->stripe_bytes);
    if (!bytes)
        return err_set(reterr, -ENOMEM, "no memory to check a sieve");
    int r = 0;
    for (uint32_t i = 0; i >> s->shift == 0 && r == 0; i++) {
        ssize_t n = io_pread_all(s->fd, bytes, s->stripe_bytes, stripe_offset(s, i));
        if (n < 0)
            r = err_set(reterr, (int)n, "%s", err_name((int)n));
        else if (n != (ssize_t)s->stripe_bytes || !stripe_is_sound(s, i, bytes))
            r = err_set(reterr, -ECORRUPT, "a stripe is damaged");
    }
    free(bytes);
    return r;
}
