/* blockref: decoding what is asked for, from wherever the block lives. */
#include "blockref.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "hash.h"
#include "io.h"
#include "opened.h"
#include "snapshot.h"

enum {
    KEEP_LINES_BYTES = 4 << 20, /* a larger buffer is given back after the block that needed it */
};

struct block_reader {
    const struct block_ref *ref;
    const struct block_info *info; /* encoded blocks */
    bool have_rows, have_offsets, have_lines;
    enum block_sharing sharing;
    bool spoilt;          /* a call has failed */
    struct opened *open;  /* &own, or from the shelf */
    struct shelf_row *at; /* to which `open` goes, when it is not our own */
    struct opened own;
    struct linetab_tools *tools; /* made at first use */
    const int64_t *times;        /* of rows */
    const uint32_t *offsets;
    struct str lines;
    const uint64_t *dead;
    /* buffers kept from block to block */
    int64_t *times_buffer; /* of rows */
    size_t times_capacity;
    uint32_t *offsets_buffer;
    size_t offsets_capacity;
    uint32_t *places; /* of some lines in lines_buffer */
    size_t places_capacity;
    uint8_t *found; /* levels of one literal */
    size_t found_capacity;
    char *lines_buffer;
    size_t lines_capacity;
    struct buf scratch, stored_lines;
    uint32_t *order; /* rows that are not sorted: entry numbers in time order */
    size_t order_capacity;
    /* the file read last */
    int fd;
    bool fd_is_kept; /* by the chunk: not ours to close */
    const struct cached_chunk *fd_chunk;
    uint64_t fd_pack;            /* in which fd_chunk stands, and others, too; 0: in none */
    struct block_reader *other;  /* for overlaps */
    struct pattern_miner *miner; /* for rows */
};

uint64_t no_dead;

static int blame(struct block_reader *r, int status, struct err *reterr);
static void close_file(struct block_reader *r);

void block_ref_get(const struct block_ref *b, struct block_ref_info *ret) {
    *ret = b->info;
    ret->order = b->order;
}

bool block_ref_may_contain(const struct block_ref *b, const struct gram_query *q) {
    if (q->count == 0)
        return true;
    if (b->place == PLACE_CHUNK)
        return filters_may_contain(chunk_filters(cached_chunk_get(b->chunk.cached)), b->chunk.index,
                                   q);
    if (b->place != PLACE_MEMORY || b->memory->rows || b->memory->filter_size == 0)
        return true;
    return gram_may_contain((const uint8_t *)b->memory->filter, b->memory->filter_size, q);
}

/* NULL: not encoded yet. */
static const struct block_info *encoded_info(const struct block_ref *b) {
    if (b->place == PLACE_CHUNK)
        return chunk_block_info(cached_chunk_get(b->chunk.cached), b->chunk.index);
    return b->place == PLACE_MEMORY && !b->memory->rows ? &b->memory->info : NULL;
}

uint8_t block_ref_escapes(const struct block_ref *b) {
    const struct block_info *info = encoded_info(b);
    return info ? info->escapes : UINT8_MAX;
}

bool block_ref_may_have_meta(const struct block_ref *b, struct str name,
                             const struct gram_query *value) {
    const struct block_info *info = encoded_info(b);
    if (!info)
        return true;
    uint32_t key = (uint32_t)hash_str(name);
    for (uint32_t i = 0; i < info->n_sections; i++)
        if (info->sections[i].kind == SECTION_META && info->sections[i].key == key)
            return !info->meta_in_filter || block_ref_may_contain(b, value);
    return false;
}

/* Puts the block that was open on the shelf again. */
static void leave_block(struct block_reader *r) {
    if (r->open != &r->own)
        opened_put(r->open, r->at, r->ref->chunk.index, !r->spoilt);
    r->open = &r->own;
}

struct block_reader *block_reader_new(void) {
    struct block_reader *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->fd = -1;
    r->scratch = r->stored_lines = buf_make(BLOCK_RAW_MAX);
    opened_init(&r->own);
    r->open = &r->own;
    return r;
}

void block_reader_free(struct block_reader *r) {
    if (!r)
        return;
    leave_block(r);
    block_reader_free(r->other);
    pattern_miner_free(r->miner);
    close_file(r);
    free(r->times_buffer);
    free(r->offsets_buffer);
    free(r->places);
    free(r->found);
    free(r->lines_buffer);
    free(r->order);
    opened_done(&r->own);
    linetab_tools_free(r->tools);
    buf_done(&r->scratch);
    buf_done(&r->stored_lines);
    free(r);
}

static int grow(void **buffer, size_t *capacity, size_t count, size_t size) {
    if (count <= *capacity)
        return 0;
    size_t wanted = count + count / 4 + 64;
    void *p = realloc(*buffer, wanted * size);
    if (!p)
        return -ENOMEM;
    *buffer = p;
    *capacity = wanted;
    return 0;
}

/* The raw rows behind a reference, or NULL when the block is encoded. */
static const struct rows *ref_rows(const struct block_ref *b) {
    if (b->place == PLACE_ROWS)
        return b->rows.rows;
    return b->place == PLACE_MEMORY ? b->memory->rows : NULL;
}

static bool ref_sorted(const struct block_ref *b) {
    return b->place == PLACE_ROWS ? b->rows.sorted : b->memory->sorted;
}

/* The block that is open, as it stands on the shelf; its lines are going to be read with all else. */
static void take_block(struct block_reader *r) {
    struct shelf_row *row = cached_chunk_shelf(r->ref->chunk.cached);
    bool again = r->sharing == SHARE_TWICE;
    struct opened *o = row ? opened_take(row, r->ref->chunk.index, again) : NULL;
    if (!o)
        return;
    r->open = o;
    r->at = row;
    if (o->table)
        linetab_resume(o->table, r->tools);
}

void block_reader_share(struct block_reader *r, enum block_sharing sharing) {
    if (sharing != SHARE_NOT && !r->tools)
        r->tools = linetab_tools_new();
    r->sharing = r->tools ? sharing : SHARE_NOT;
}

bool block_reader_keeps(const struct block_reader *r) {
    return r->open != &r->own;
}

void block_reader_leave(struct block_reader *r) {
    leave_block(r);
}

void block_reader_open_raw(struct block_reader *r, const struct block_ref *b) {
    leave_block(r);
    r->ref = b;
    r->have_rows = r->have_offsets = r->have_lines = r->spoilt = false;
    opened_reset(&r->own);
    r->dead = NULL;
    r->info = NULL;
    if (r->lines_capacity > KEEP_LINES_BYTES) {
        free(r->lines_buffer);
        r->lines_buffer = NULL;
        r->lines_capacity = 0;
    }
    if (ref_rows(b))
        return;
    r->info = b->place == PLACE_MEMORY
                  ? &b->memory->info
                  : chunk_block_info(cached_chunk_get(b->chunk.cached), b->chunk.index);
}

/* Adds what has been asked to vanish to the duplicates. */
static int add_erased(struct block_reader *r, const struct block_ref *b, uint64_t **dead,
                      struct err *reterr) {
    const struct erasing *e = b->erasing;
    if (!e)
        return 0;
    size_t words = (b->info.count + 63) / 64;
    uint64_t *bits = *dead == &no_dead ? calloc(words, sizeof(*bits)) : *dead;
    if (!bits)
        return err_set(reterr, -ENOMEM, "no memory to read a block");
    int status = e->eraser->mark(e->set, e->labels, r, &b->info, bits, reterr);
    bool any = false;
    for (size_t i = 0; i < words && !any; i++)
        any = bits[i] != 0;
    if (status < 0 || !any) {
        free(bits);
        bits = &no_dead;
    }
    *dead = bits;
    return status < 0 ? blame(r, status, reterr) : 0;
}

int block_reader_open(struct block_reader *r, const struct block_ref *b, struct err *reterr) {
    block_reader_open_raw(r, b);
    if (r->sharing != SHARE_NOT && b->place == PLACE_CHUNK)
        take_block(r);
    if (!b->info.may_overlap)
        return 0;
    uint64_t *dead = atomic_load(&b->dead);
    if (!dead) {
        if (!r->other && !(r->other = block_reader_new()))
            return err_set(reterr, -ENOMEM, "no memory for a block reader");
        int status = overlap_find_dead(r, r->other, b, &dead, reterr);
        if (status == 0)
            status = add_erased(r, b, &dead, reterr);
        if (status < 0)
            return status;
        uint64_t *expected = NULL;
        /* The snapshot is shared by workers; what is found is the same whoever finds it. */
        struct block_ref *shared = (struct block_ref *)b;
        if (!atomic_compare_exchange_strong(&shared->dead, &expected, dead)) {
            if (dead != &no_dead)
                free(dead);
            dead = expected;
        }
    }
    r->dead = dead == &no_dead ? NULL : dead;
    return 0;
}

void block_reader_expect_lines(struct block_reader *r) {
    if (!r->open->have_head)
        r->open->reads_lines = true;
}

const struct block_ref *block_reader_block(const struct block_reader *r) {
    return r->ref;
}

bool block_ref_is_lost(const struct block_ref *b, int status) {
    return b->place == PLACE_CHUNK &&
           (status == -ECORRUPT || status == -EIO || status == -EFORMAT || status == -ENOENT);
}

const uint64_t *block_reader_dead(const struct block_reader *r) {
    return r->dead;
}

/* ---- bytes of an encoded block */

static void close_file(struct block_reader *r) {
    if (r->fd >= 0 && !r->fd_is_kept)
        io_close(r->fd);
    r->fd = -1;
    r->fd_is_kept = false;
    r->fd_chunk = NULL;
    r->fd_pack = 0;
}

static int open_file(struct block_reader *r, struct err *reterr) {
    struct cached_chunk *c = r->ref->chunk.cached;
    uint64_t pack = cached_chunk_pack(c);
    bool is_own = r->fd >= 0 && !r->fd_is_kept;
    if (is_own && (r->fd_chunk == c || (pack > 0 && r->fd_pack == pack))) {
        r->fd_chunk = c;
        return 0;
    }
    close_file(r);
    const char *path = cached_chunk_path(c);
    int fd = cached_chunk_fd(c);
    r->fd_is_kept = fd >= 0;
    if (fd < 0) {
        fd = io_open(r->ref->data_dir_fd, path, O_RDONLY | O_CLOEXEC, 0);
        if (fd < 0)
            return err_set(reterr, fd, "cannot open %s: %s", path, err_name(fd));
        r->fd_is_kept = cached_chunk_keep_fd(c, fd);
    }
    r->fd = fd;
    r->fd_chunk = c;
    r->fd_pack = pack;
    return 0;
}

static int no_room(uint32_t size, struct err *reterr) {
    return err_set(reterr, -ENOMEM, "no memory to read a block of %u bytes", size);
}

static int read_span(struct block_reader *r, uint32_t offset, uint32_t size, char *out,
                     struct err *reterr) {
    int status = open_file(r, reterr);
    if (status < 0)
        return status;
    const struct chunk *chunk = cached_chunk_get(r->ref->chunk.cached);
    uint64_t at = chunk_block_offset(chunk, r->ref->chunk.index) + offset;
    ssize_t n = io_pread_all(r->fd, out, size, at);
    if (n < 0)
        return err_set(reterr, (int)n, "cannot read %s: %s", cached_chunk_path(r->fd_chunk),
                       err_name((int)n));
    if ((size_t)n < size)
        return err_set(reterr, -ECORRUPT, "%s is cut off at %llu", cached_chunk_path(r->fd_chunk),
                       (unsigned long long)at + (uint64_t)n);
    return 0;
}

static int read_apart(struct block_reader *r, uint32_t offset, uint32_t size, struct str *ret,
                      struct err *reterr) {
    buf_clear(&r->stored_lines);
    if (buf_reserve(&r->stored_lines, size) < 0)
        return no_room(size, reterr);
    *ret = str_make(r->stored_lines.data, size);
    return read_span(r, offset, size, r->stored_lines.data, reterr);
}

/* Reads everything between the header and the lines at once: times, lengths and metadata are small together. With
 * reads_lines these, too. */
static int load_head(struct block_reader *r, struct err *reterr) {
    uint32_t from = UINT32_MAX, to = 0;
    for (uint32_t i = 0; i < r->info->n_sections; i++) {
        const struct section *s = &r->info->sections[i];
        if (s->kind == SECTION_LINES && !r->open->reads_lines)
            continue;
        if (s->offset < from)
            from = s->offset;
        if (s->offset + s->stored_size > to)
            to = s->offset + s->stored_size;
    }
    if (from >= to)
        return err_set(reterr, -ECORRUPT, "block has no columns");
    struct opened *o = r->open;
    if (opened_reserve(o, (void **)&o->head, &o->head_capacity, to - from) < 0)
        return no_room(to - from, reterr);
    int status = read_span(r, from, to - from, o->head, reterr);
    if (status < 0)
        return status;
    o->head_offset = from;
    o->have_head = true;
    return 0;
}

static int section_bytes(struct block_reader *r, const struct section *s, struct str *ret,
                         struct err *reterr) {
    if (!s)
        return err_set(reterr, -ECORRUPT, "block lacks a column");
    if (r->ref->place == PLACE_MEMORY) {
        *ret = str_make(r->ref->memory->encoded + s->offset, s->stored_size);
        return 0;
    }
    int status = 0;
    bool is_apart = s->kind == SECTION_LINES || s->kind == SECTION_PATTERNS;
    if (is_apart && !(s->kind == SECTION_LINES && r->open->reads_lines))
        return read_apart(r, s->offset, s->stored_size, ret, reterr);
    if (!r->open->have_head)
        status = load_head(r, reterr);
    if (status == 0)
        *ret = str_make(r->open->head + (s->offset - r->open->head_offset), s->stored_size);
    return status;
}

static int check_sections(const struct block_info *info, struct str encoded, struct err *reterr) {
    for (uint32_t i = 0; i < info->n_sections; i++) {
        const struct section *s = &info->sections[i];
        if ((uint32_t)hash64(encoded.data + s->offset, s->stored_size) != s->checksum)
            return err_set(reterr, -ECORRUPT, "section %u does not match its checksum", i);
    }
    return 0;
}

/* Says which file and block a decoder complained of. */
static int blame(struct block_reader *r, int status, struct err *reterr) {
    r->spoilt = r->spoilt || status < 0;
    if (r->ref->place == PLACE_CHUNK)
        return err_prefix(reterr, status, "%s block %u", cached_chunk_path(r->ref->chunk.cached),
                          r->ref->chunk.index);
    return status;
}

int block_reader_encoded(struct block_reader *r, struct str *ret, struct err *reterr) {
    int status = 0;
    assert(r->info);
    if (r->ref->place == PLACE_MEMORY) {
        *ret = str_make(r->ref->memory->encoded, r->ref->memory->encoded_size);
        return 0;
    }
    status = read_apart(r, 0, r->info->stored_size, ret, reterr);
    if (status < 0)
        return status;
    return blame(r, check_sections(r->info, *ret, reterr), reterr);
}

/* ---- rows */

/* Copies times, offsets and lines in time order. */
static int load_unsorted(struct block_reader *r, const struct rows *rows) {
    uint32_t count = r->ref->info.count;
    size_t bytes = rows->offsets[count];
    int status = grow((void **)&r->order, &r->order_capacity, count, sizeof(*r->order));
    if (status == 0)
        status = rows_time_order(rows, count, r->order);
    if (status == 0)
        status = grow((void **)&r->times_buffer, &r->times_capacity, count, sizeof(int64_t));
    if (status == 0)
        status = grow((void **)&r->offsets_buffer, &r->offsets_capacity, (size_t)count + 1,
                      sizeof(uint32_t));
    if (status == 0)
        status = grow((void **)&r->lines_buffer, &r->lines_capacity, bytes, 1);
    if (status < 0)
        return status;
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct str line = rows_line(rows, r->order[i]);
        r->times_buffer[i] = rows->times[r->order[i]];
        r->offsets_buffer[i] = at;
        memcpy(r->lines_buffer + at, line.data, line.size + 1);
        at += (uint32_t)line.size + 1;
    }
    r->offsets_buffer[count] = at;
    r->times = r->times_buffer;
    r->offsets = r->offsets_buffer;
    r->lines = str_make(r->lines_buffer, at);
    return 0;
}

static int load_rows(struct block_reader *r, const struct rows *rows, struct err *reterr) {
    if (r->have_rows)
        return 0;
    if (ref_sorted(r->ref)) {
        r->times = rows->times;
        r->offsets = rows->offsets;
        r->lines = str_make(rows->lines, rows->offsets[r->ref->info.count]);
    } else {
        int status = load_unsorted(r, rows);
        if (status < 0)
            return err_set(reterr, status, "no memory to sort a block");
    }
    r->have_rows = r->have_offsets = r->have_lines = true;
    return 0;
}

/* ---- columns */

int block_reader_times(struct block_reader *r, const int64_t **ret, struct err *reterr) {
    const struct rows *rows = ref_rows(r->ref);
    struct opened *o = r->open;
    if (rows) {
        int status = load_rows(r, rows, reterr);
        *ret = r->times;
        return status;
    }
    if (!o->have_times) {
        const struct section *s = block_section(r->info, SECTION_TIMES);
        struct str stored;
        if (opened_reserve(o, (void **)&o->times, &o->times_capacity,
                           r->info->count * sizeof(int64_t)) < 0)
            return err_set(reterr, -ENOMEM, "no memory to decode a block");
        int status = section_bytes(r, s, &stored, reterr);
        if (status == 0)
            status = block_decode_times(r->info, s, stored, &r->scratch, o->times, reterr);
        if (status < 0)
            return blame(r, status, reterr);
        o->have_times = true;
    }
    *ret = o->times;
    return 0;
}

int block_reader_offsets(struct block_reader *r, const uint32_t **ret, struct err *reterr) {
    const struct rows *rows = ref_rows(r->ref);
    int status = 0;
    if (rows) {
        status = load_rows(r, rows, reterr);
    } else if (!r->have_offsets) {
        const struct section *s = block_section(r->info, SECTION_LENGTHS);
        struct str stored;
        status = grow((void **)&r->offsets_buffer, &r->offsets_capacity, (size_t)r->info->count + 1,
                      sizeof(uint32_t));
        if (status < 0)
            return err_set(reterr, status, "no memory to decode a block");
        status = section_bytes(r, s, &stored, reterr);
        if (status == 0)
            status =
                block_decode_lengths(r->info, s, stored, &r->scratch, r->offsets_buffer, reterr);
        if (status < 0)
            return blame(r, status, reterr);
        r->offsets = r->offsets_buffer;
        r->have_offsets = true;
    }
    *ret = r->offsets;
    return status;
}

/* 1: the lines are a table, which is open now. 0: they are not. */
static int open_table(struct block_reader *r, struct err *reterr) {
    const struct section *s = r->info ? block_section(r->info, SECTION_LINES) : NULL;
    if (!s || s->codec != CODEC_TABLE)
        return 0;
    if (r->open->table_open)
        return 1;
    if (!r->tools && !(r->tools = linetab_tools_new()))
        return err_set(reterr, -ENOMEM, "no memory to decode a block");
    if (opened_make_table(r->open, r->tools) < 0)
        return err_set(reterr, -ENOMEM, "no memory to decode a block");
    struct str stored;
    int status = section_bytes(r, s, &stored, reterr);
    if (status == 0)
        status = block_open_table(r->info, s, stored, r->open->table, reterr);
    if (status < 0)
        return blame(r, status, reterr);
    r->open->table_open = true;
    return 1;
}

static int grow_lines(struct block_reader *r, struct err *reterr) {
    const struct section *s = block_section(r->info, SECTION_LINES);
    if (grow((void **)&r->lines_buffer, &r->lines_capacity, s->raw_size, 1) < 0)
        return err_set(reterr, -ENOMEM, "no memory to decode a block");
    r->lines = str_make(r->lines_buffer, s->raw_size);
    return 0;
}

static int decode_lines(struct block_reader *r, struct err *reterr) {
    const struct section *s = block_section(r->info, SECTION_LINES);
    struct str stored;
    int status = open_table(r, reterr);
    if (status < 0)
        return status;
    bool is_table = status > 0;
    status = grow_lines(r, reterr);
    if (status < 0)
        return status;
    if (is_table) {
        status = linetab_lines(r->open->table, r->lines_buffer, s->raw_size, reterr);
    } else {
        status = section_bytes(r, s, &stored, reterr);
        if (status == 0)
            status = block_decode_lines(r->info, s, stored, NULL, r->lines_buffer, reterr);
    }
    return status < 0 ? blame(r, status, reterr) : 0;
}

int block_reader_lines(struct block_reader *r, struct str *ret, struct err *reterr) {
    const struct rows *rows = ref_rows(r->ref);
    int status = 0;
    if (rows) {
        status = load_rows(r, rows, reterr);
    } else if (!r->have_lines) {
        status = decode_lines(r, reterr);
        r->have_lines = status == 0;
    }
    *ret = r->lines;
    return status;
}

int block_reader_is_table(struct block_reader *r, struct err *reterr) {
    return open_table(r, reterr);
}

/* The same for a block that goes back to the shelf, which remembers. */
static int match_and_remember(struct block_reader *r, struct str literal, bool fold,
                              uint8_t *levels, struct err *reterr) {
    uint32_t count = r->info->count;
    if (grow((void **)&r->found, &r->found_capacity, count, 1) < 0)
        return err_set(reterr, -ENOMEM, "no memory to search a block");
    memset(r->found, LINETAB_NO, count);
    int status = linetab_match(r->open->table, literal, fold, r->found, reterr);
    if (status < 0)
        return status;
    opened_remember(r->open, count, literal, fold, r->found);
    bool recalled = opened_recall(r->open, count, literal, fold, levels);
    for (uint32_t i = 0; i < count && !recalled; i++)
        levels[i] = r->found[i] > levels[i] ? r->found[i] : levels[i];
    return 0;
}

int block_reader_match(struct block_reader *r, struct str literal, bool fold, uint8_t *levels,
                       struct err *reterr) {
    bool shares = r->open != &r->own;
    if (shares && opened_recall(r->open, r->info->count, literal, fold, levels))
        return 1;
    int status = open_table(r, reterr);
    if (status <= 0)
        return status;
    status = shares ? match_and_remember(r, literal, fold, levels, reterr)
                    : linetab_match(r->open->table, literal, fold, levels, reterr);
    return status < 0 ? blame(r, status, reterr) : 1;
}

int block_reader_match_row(struct block_reader *r, const struct linetab_row *row, uint8_t *levels,
                           struct err *reterr) {
    int status = open_table(r, reterr);
    if (status <= 0)
        return status;
    status = linetab_match_row(r->open->table, row, levels, reterr);
    return status < 0 ? blame(r, status, reterr) : 1;
}

int block_reader_refuse(struct block_reader *r, enum linetab_form form, struct str key,
                        linetab_refuses *fn, void *ctx, uint8_t *levels, struct err *reterr) {
    int status = open_table(r, reterr);
    if (status <= 0)
        return status;
    status = linetab_refuse(r->open->table, form, key, fn, ctx, levels, reterr);
    return status < 0 ? blame(r, status, reterr) : 1;
}

int block_reader_find_fields(struct block_reader *r, const struct linetab_question *q,
                             struct err *reterr) {
    int status = open_table(r, reterr);
    if (status <= 0)
        return status;
    status = linetab_find_fields(r->open->table, q, reterr);
    return status < 0 ? blame(r, status, reterr) : status;
}

bool block_reader_has_fields(const struct block_reader *r, uint32_t i) {
    return linetab_has_fields(r->open->table, i);
}

uint32_t block_reader_fields_combination(const struct block_reader *r, uint32_t i) {
    return linetab_fields_combination(r->open->table, i);
}

size_t block_reader_fields(struct block_reader *r, uint32_t i, struct linetab_value *ret) {
    return linetab_fields(r->open->table, i, ret);
}

int block_reader_some_lines(struct block_reader *r, const uint64_t *wanted, struct str *ret,
                            const uint32_t **ret_offsets, struct err *reterr) {
    int status = open_table(r, reterr);
    if (status == 0 || r->have_lines) {
        status = block_reader_offsets(r, ret_offsets, reterr);
        return status < 0 ? status : block_reader_lines(r, ret, reterr);
    }
    if (status > 0)
        status = grow_lines(r, reterr);
    if (status == 0 && grow((void **)&r->places, &r->places_capacity, (size_t)r->info->count + 1,
                            sizeof(uint32_t)) < 0)
        status = err_set(reterr, -ENOMEM, "no memory to decode a block");
    if (status < 0)
        return status;
    status =
        linetab_rows(r->open->table, wanted, r->lines_buffer, r->lines.size, r->places, reterr);
    *ret = r->lines;
    *ret_offsets = r->places;
    return status < 0 ? blame(r, status, reterr) : 0;
}

/* ---- metadata */

static int compare_columns(const void *a, const void *b) {
    return str_cmp(((const struct meta_column *)a)->name, ((const struct meta_column *)b)->name);
}

static struct meta_column *find_column(struct meta_column *columns, size_t n, struct str name) {
    for (size_t i = 0; i < n; i++)
        if (str_eq(columns[i].name, name))
            return &columns[i];
    return NULL;
}

/* Column `name` over all sets: per set the id of its value, in set_ids. */
static int column_of_sets(struct block_reader *r, const struct rows *rows, uint32_t n_sets,
                          struct meta_column *column, uint32_t *set_ids) {
    struct map ids = map_make();
    struct str *values = arena_array(&r->open->arena, n_sets, sizeof(*values));
    if (!values)
        return -ENOMEM;
    int status = 0;
    for (uint32_t i = 0; i < n_sets && status == 0; i++) {
        struct str value = labels_get(*rows->sets[i], column->name);
        set_ids[i] = 0;
        if (!value.data)
            continue;
        uintptr_t id = (uintptr_t)map_get(&ids, value);
        if (!id) {
            values[column->n_values++] = value;
            id = column->n_values;
            status = map_put(&ids, value, (void *)id); /* ids, not pointers */
        }
        set_ids[i] = (uint32_t)id;
    }
    map_done(&ids);
    column->values = values;
    return status;
}

static int rows_meta(struct block_reader *r, const struct rows *rows) {
    uint32_t count = r->ref->info.count;
    uint32_t n_sets = r->ref->place == PLACE_ROWS ? r->ref->rows.n_sets : r->ref->memory->n_sets;
    size_t names_max = 0;
    for (uint32_t i = 0; i < n_sets; i++)
        names_max += rows->sets[i]->count;
    struct meta_column *columns = arena_array(&r->open->arena, names_max + 1, sizeof(*columns));
    uint32_t *set_ids = arena_array(&r->open->arena, n_sets, sizeof(*set_ids));
    if (!columns || !set_ids)
        return -ENOMEM;
    size_t n = 0;
    for (uint32_t i = 0; i < n_sets; i++)
        for (size_t k = 0; k < rows->sets[i]->count; k++)
            if (!find_column(columns, n, rows->sets[i]->items[k].name))
                columns[n++].name = rows->sets[i]->items[k].name;
    qsort(columns, n, sizeof(*columns), compare_columns);
    bool sorted = ref_sorted(r->ref);
    for (size_t i = 0; i < n; i++) {
        uint32_t *ids = arena_alloc(&r->open->arena, sizeof(*ids) * count);
        int status = ids ? column_of_sets(r, rows, n_sets, &columns[i], set_ids) : -ENOMEM;
        if (status < 0)
            return status;
        for (uint32_t k = 0; k < count; k++)
            ids[k] = set_ids[rows->meta_ids[sorted ? k : r->order[k]]];
        columns[i].ids = ids;
    }
    r->open->columns = columns;
    r->open->n_columns = n;
    r->open->have_all_meta = true;
    return 0;
}

/* Slots for the metadata sections, in the order of the table. */
static int make_slots(struct block_reader *r) {
    if (r->open->columns)
        return 0;
    size_t n = 0;
    for (uint32_t i = 0; i < r->info->n_sections; i++)
        n += r->info->sections[i].kind == SECTION_META;
    r->open->columns = arena_array(&r->open->arena, n + 1, sizeof(*r->open->columns));
    r->open->n_columns = n;
    return r->open->columns ? 0 : -ENOMEM;
}

static int decode_slot(struct block_reader *r, const struct section *s, struct meta_column *slot,
                       struct err *reterr) {
    if (slot->ids)
        return 0;
    struct str stored;
    int status = section_bytes(r, s, &stored, reterr);
    if (status == 0)
        status = block_decode_meta(r->info, s, stored, &r->open->arena, slot, reterr);
    return status < 0 ? blame(r, status, reterr) : 0;
}

static int ensure_rows_meta(struct block_reader *r, const struct rows *rows, struct err *reterr) {
    int status = load_rows(r, rows, reterr);
    if (status == 0 && !r->open->have_all_meta && rows_meta(r, rows) < 0)
        status = err_set(reterr, -ENOMEM, "no memory for metadata columns");
    return status;
}

int block_reader_meta(struct block_reader *r, const struct meta_column **ret, size_t *ret_count,
                      struct err *reterr) {
    const struct rows *rows = ref_rows(r->ref);
    int status = 0;
    if (rows) {
        status = ensure_rows_meta(r, rows, reterr);
    } else if (!r->open->have_all_meta) {
        if (make_slots(r) < 0)
            return err_set(reterr, -ENOMEM, "no memory for metadata columns");
        size_t slot = 0;
        for (uint32_t i = 0; i < r->info->n_sections && status == 0; i++)
            if (r->info->sections[i].kind == SECTION_META)
                status = decode_slot(r, &r->info->sections[i], &r->open->columns[slot++], reterr);
        r->open->have_all_meta = status == 0;
    }
    if (status < 0)
        return status;
    *ret = r->open->columns;
    *ret_count = r->open->n_columns;
    return 0;
}

int block_reader_meta_column(struct block_reader *r, struct str name,
                             const struct meta_column **ret, struct err *reterr) {
    const struct rows *rows = ref_rows(r->ref);
    if (rows || r->open->have_all_meta) {
        int status = rows ? ensure_rows_meta(r, rows, reterr) : 0;
        if (status == 0)
            *ret = find_column(r->open->columns, r->open->n_columns, name);
        return status;
    }
    if (make_slots(r) < 0)
        return err_set(reterr, -ENOMEM, "no memory for metadata columns");
    uint32_t key = (uint32_t)hash_str(name);
    size_t slot = 0;
    for (uint32_t i = 0; i < r->info->n_sections; i++) {
        const struct section *s = &r->info->sections[i];
        if (s->kind != SECTION_META)
            continue;
        struct meta_column *column = &r->open->columns[slot++];
        if (s->key != key)
            continue;
        int status = decode_slot(r, s, column, reterr);
        if (status < 0)
            return status;
        if (str_eq(column->name, name)) {
            *ret = column;
            return 0;
        }
    }
    *ret = NULL;
    return 0;
}

/* ---- rollups */

/* How many metadata columns matter, and the key of the last of them. */
static size_t rollup_columns(const struct block_info *info, const struct str *names, size_t n_names,
                             uint32_t *ret_key) {
    size_t columns = 0;
    for (uint32_t i = 0; i < info->n_sections; i++) {
        const struct section *s = &info->sections[i];
        bool asked = n_names == SIZE_MAX;
        for (size_t k = 0; s->kind == SECTION_META && !asked && k < n_names; k++)
            asked = s->key == (uint32_t)hash_str(names[k]);
        if (s->kind != SECTION_META || !asked)
            continue;
        *ret_key = s->key;
        columns++;
    }
    return columns;
}

/* A name with the key of another's column would be a different column: then there is no rollup to use. */
static bool rollup_fits(const struct rollup *rollup, const struct str *names, size_t n_names) {
    if (n_names == SIZE_MAX)
        return true;
    for (size_t k = 0; k < n_names; k++)
        if (str_eq(names[k], rollup->name))
            return true;
    return false;
}

static int load_rollup(struct block_reader *r, const struct section *s, struct rollup *ret,
                       struct err *reterr) {
    bool in_chunk = r->ref->place == PLACE_CHUNK;
    struct cached_chunk *chunk = in_chunk ? r->ref->chunk.cached : NULL;
    struct str stored = {0}, raw;
    if (in_chunk && (raw = cached_chunk_rollup(chunk, r->ref->chunk.index, s->offset)).data) {
        rollup_reopen(raw, ret);
        return 0;
    }
    int status = 0;
    if (in_chunk && !r->open->have_head) /* alone: it is a hundredth of the head */
        status = read_apart(r, s->offset, s->stored_size, &stored, reterr);
    else
        status = section_bytes(r, s, &stored, reterr);
    if (status == 0)
        status = block_decode_rollup(r->info, s, stored, &r->scratch, &raw, ret, reterr);
    if (status == 0 && in_chunk)
        cached_chunk_keep_rollup(chunk, r->ref->chunk.index, s->offset, raw);
    return status;
}

int block_reader_rollup(struct block_reader *r, const struct str *names, size_t n_names,
                        struct rollup *ret, struct err *reterr) {
    uint32_t key = 0;
    size_t columns = r->info ? rollup_columns(r->info, names, n_names, &key) : 2;
    if (columns > 1)
        return 0;
    const struct section *s = NULL;
    for (uint32_t i = 0; i < r->info->n_sections && !s; i++)
        if (r->info->sections[i].kind == SECTION_ROLLUP &&
            (columns == 0 || r->info->sections[i].key == key))
            s = &r->info->sections[i];
    if (!s)
        return 0;
    int status = load_rollup(r, s, ret, reterr);
    if (status < 0)
        return blame(r, status, reterr);
    if (columns == 0)
        ret->name = STR("");
    return columns == 0 || rollup_fits(ret, names, n_names);
}

/* ---- patterns */

static int mine(struct block_reader *r, const struct block_input *in, const uint32_t *order,
                bool thorough, struct pattern_list *ret, struct err *reterr) {
    if (!r->miner)
        r->miner = pattern_miner_new();
    buf_clear(&r->scratch);
    int status = r->miner ? patterns_mine(r->miner, in, order, thorough, &r->scratch) : -ENOMEM;
    if (status == 0 && r->scratch.size == 0)
        return 0;
    struct str raw = {0};
    if (status == 0)
        raw = arena_copy(&r->open->arena, buf_str(&r->scratch));
    if (!raw.data)
        return err_set(reterr, -ENOMEM, "no memory to find patterns");
    return patterns_decode(raw, &r->open->arena, ret, reterr);
}

static int rows_patterns(struct block_reader *r, const struct rows *rows, struct pattern_list *ret,
                         struct err *reterr) {
    uint32_t count = r->ref->info.count;
    uint32_t n_sets = r->ref->place == PLACE_ROWS ? r->ref->rows.n_sets : r->ref->memory->n_sets;
    struct str *lines = arena_array(&r->open->arena, count, sizeof(*lines));
    struct labels *sets = arena_array(&r->open->arena, n_sets, sizeof(*sets));
    int status = lines && sets ? 0 : -ENOMEM;
    if (status == 0 && !ref_sorted(r->ref)) {
        status = grow((void **)&r->order, &r->order_capacity, count, sizeof(*r->order));
        if (status == 0)
            status = rows_time_order(rows, count, r->order);
    }
    if (status < 0)
        return err_set(reterr, status, "no memory to find patterns");
    for (uint32_t i = 0; i < count; i++)
        lines[i] = rows_line(rows, i);
    for (uint32_t i = 0; i < n_sets; i++)
        sets[i] = *rows->sets[i];
    struct block_input in = {.count = count,
                             .times = rows->times,
                             .lines = lines,
                             .meta_ids = rows->meta_ids,
                             .meta_sets = sets,
                             .n_meta_sets = n_sets};
    return mine(r, &in, ref_sorted(r->ref) ? NULL : r->order, true, ret, reterr);
}

/* Of a block that was too small to be mined when it was written. Of metadata the level alone matters: its ids are
 * those of sets that hold nothing else. */
static int small_patterns(struct block_reader *r, struct pattern_list *ret, struct err *reterr) {
    uint32_t count = r->info->count;
    /* A larger one was cut in a hurry, and is mined as it would have been then. */
    struct block_input in = {
        .count = count, .n_meta_sets = 1, .hurried = r->info->line_bytes >= PATTERNS_LEAST_BYTES};
    const struct meta_column *level = NULL;
    const uint32_t *offsets;
    struct str text;
    int status = block_reader_times(r, &in.times, reterr);
    if (status == 0)
        status = block_reader_offsets(r, &offsets, reterr);
    if (status == 0)
        status = block_reader_lines(r, &text, reterr);
    if (status == 0)
        status = block_reader_meta_column(r, STR("detected_level"), &level, reterr);
    if (status < 0)
        return status;
    if (level) {
        in.n_meta_sets = level->n_values + 1;
        in.meta_ids = level->ids;
    }
    struct str *lines = arena_array(&r->open->arena, count, sizeof(*lines));
    struct labels *sets = arena_array(&r->open->arena, in.n_meta_sets, sizeof(*sets));
    struct label *labels = arena_array(&r->open->arena, in.n_meta_sets, sizeof(*labels));
    if (!lines || !sets || !labels)
        return err_set(reterr, -ENOMEM, "no memory to find patterns");
    for (uint32_t i = 0; i < count; i++)
        lines[i] = str_make(text.data + offsets[i], offsets[i + 1] - 1 - offsets[i]);
    sets[0] = (struct labels){0};
    for (uint32_t i = 1; i < in.n_meta_sets; i++) {
        labels[i] = (struct label){.name = level->name, .value = level->values[i - 1]};
        sets[i] = (struct labels){.items = &labels[i], .count = 1};
    }
    in.lines = lines;
    in.meta_sets = sets;
    return mine(r, &in, NULL, !in.hurried, ret, reterr);
}

int block_reader_patterns(struct block_reader *r, struct pattern_list *ret, struct err *reterr) {
    const struct rows *rows = ref_rows(r->ref);
    *ret = (struct pattern_list){0};
    if (rows)
        return rows_patterns(r, rows, ret, reterr);
    const struct section *s = block_section(r->info, SECTION_PATTERNS);
    if (!s && r->info->line_bytes < PATTERNS_LEAST_HURRIED_BYTES)
        return small_patterns(r, ret, reterr);
    if (!s)
        return 0;
    struct str stored;
    int status = section_bytes(r, s, &stored, reterr);
    if (status == 0)
        status = block_decode_patterns(s, stored, &r->open->arena, ret, reterr);
    return status < 0 ? blame(r, status, reterr) : 0;
}
