/* Crash states of a salvage: `to` alone, unfinished or whole; it counts only when the caller gives it its name. */
#include "chunk_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "arena.h"
#include "buf.h"
#include "bytes.h"
#include "chunk_format.h"
#include "hash.h"
#include "io.h"

enum { ARENA_MAX = 512 << 20 };

struct chunk_checker {
    struct arena arena;
    struct buf block, scratch, lines;
    int64_t *times;
    uint32_t *offsets;
    uint32_t room; /* of both, in entries */
    struct gram_builder *grams;
    uint8_t filter[GRAM_FILTER_MAX_BYTES + 8];
};

struct chunk_checker *chunk_checker_new(void) {
    struct chunk_checker *k = calloc(1, sizeof(*k));
    if (!k)
        return NULL;
    k->arena = arena_make(ARENA_MAX);
    k->block = buf_make(BUF_NO_MAX);
    k->scratch = buf_make(BUF_NO_MAX);
    k->lines = buf_make(BUF_NO_MAX);
    k->grams = gram_builder_new();
    if (!k->grams) {
        chunk_checker_free(k);
        return NULL;
    }
    return k;
}

void chunk_checker_free(struct chunk_checker *k) {
    if (!k)
        return;
    arena_done(&k->arena);
    buf_done(&k->block);
    buf_done(&k->scratch);
    buf_done(&k->lines);
    free(k->times);
    free(k->offsets);
    gram_builder_free(k->grams);
    free(k);
}

/* ---- one block */

static int reserve_entries(struct chunk_checker *k, uint32_t count) {
    if (count < k->room)
        return 0;
    int64_t *times = realloc(k->times, sizeof(*times) * ((size_t)count + 1));
    if (times)
        k->times = times;
    uint32_t *offsets = realloc(k->offsets, sizeof(*offsets) * ((size_t)count + 1));
    if (offsets)
        k->offsets = offsets;
    if (!times || !offsets)
        return -ENOMEM;
    k->room = count + 1;
    return 0;
}

static int read_span(int fd, uint64_t offset, void *out, size_t size) {
    ssize_t n = io_pread_all(fd, out, size, offset);
    return n < 0 ? (int)n : (size_t)n == size ? 0 : -ECORRUPT;
}

/* The block's bytes into k->block; a damaged header is replaced by its copy, and *ret_patched says so. */
static int load_block(struct chunk_checker *k, int fd, const struct chunk *c, uint32_t i,
                      bool *ret_patched) {
    const struct block_info *info = chunk_block_info(c, i);
    uint64_t copy = chunk_block_header_copy(c, i);
    buf_clear(&k->block);
    int r = buf_reserve(&k->block, info->stored_size);
    if (r == 0)
        r = read_span(fd, chunk_block_offset(c, i), k->block.data, info->stored_size);
    *ret_patched = false;
    if (r < 0)
        return r;
    k->block.size = info->stored_size;
    if (copy == 0)
        return 0;
    buf_clear(&k->scratch);
    r = buf_reserve(&k->scratch, info->header_size);
    if (r == 0)
        r = read_span(fd, copy, k->scratch.data, info->header_size);
    if (r < 0)
        return r;
    *ret_patched = memcmp(k->block.data, k->scratch.data, info->header_size) != 0;
    memcpy(k->block.data, k->scratch.data, info->header_size);
    return 0;
}

static struct str section_of(const struct chunk_checker *k, const struct section *s) {
    return str_make(k->block.data + s->offset, s->stored_size);
}

static const char *section_name(enum section_kind kind) {
    switch ((int)kind) { /* what is derived from the rest needs no word of its own */
    case SECTION_TIMES:
        return "its times are damaged";
    case SECTION_LENGTHS:
        return "its line lengths are damaged";
    case SECTION_LINES:
        return "its lines are damaged";
    case SECTION_META:
        return "its metadata is damaged";
    default:
        return "what has been counted of it is damaged";
    }
}

static int decode_section(struct chunk_checker *k, const struct block_info *info,
                          const struct section *s) {
    struct str stored = section_of(k, s);
    struct meta_column column;
    if ((uint32_t)hash_str(stored) != s->checksum)
        return -ECORRUPT;
    switch ((int)s->kind) {
    case SECTION_TIMES:
        return block_decode_times(info, s, stored, &k->scratch, k->times, NULL);
    case SECTION_LENGTHS:
        return block_decode_lengths(info, s, stored, &k->scratch, k->offsets, NULL);
    case SECTION_LINES:
        buf_clear(&k->lines);
        if (buf_reserve(&k->lines, s->raw_size) < 0)
            return -ENOMEM;
        k->lines.size = s->raw_size;
        return block_decode_lines(info, s, stored, NULL, k->lines.data, NULL);
    case SECTION_META:
        return block_decode_meta(info, s, stored, &k->arena, &column, NULL);
    default: /* counts, patterns: the checksum has to do, who reads them checks each number */
        return 0;
    }
}

/* All of a block that is in k->block. -ECORRUPT with what and where in the block. */
static int check_block(struct chunk_checker *k, const struct block_info *info,
                       const char **ret_what, uint32_t *ret_at) {
    int r = reserve_entries(k, info->count);
    for (uint32_t i = 0; r == 0 && i < info->n_sections; i++) {
        const struct section *s = &info->sections[i];
        arena_reset(&k->arena);
        r = decode_section(k, info, s);
        *ret_what = section_name(s->kind);
        *ret_at = s->offset;
    }
    if (r == 0) {
        *ret_what = "its lines do not end where they should";
        r = block_check_line_ends(info, k->offsets, k->lines.data, NULL);
    }
    return r;
}

/* ---- a file */

struct check {
    struct chunk_checker *k;
    const struct chunk *chunk;
    int fd;
    chunk_fault_fn *fn;
    void *ctx;
    struct chunk_health *health;
};

static void tell(const struct check *check, const struct chunk_fault *fault) {
    check->health->faults++;
    if (check->fn)
        check->fn(fault, check->ctx);
}

/* Reads block i; *ret_sound tells whether it can be used. */
static int visit_block(const struct check *check, uint32_t i, bool *ret_sound) {
    const struct block_info *info = chunk_block_info(check->chunk, i);
    struct chunk_fault f = {.offset = chunk_block_offset(check->chunk, i),
                            .has_range = true,
                            .first_ns = info->first_ns,
                            .last_ns = info->last_ns};
    bool patched = false;
    uint32_t at = 0;
    f.what = "it cannot be read";
    int r = load_block(check->k, check->fd, check->chunk, i, &patched);
    if (r == 0)
        r = check_block(check->k, info, &f.what, &at);
    if (r == -ENOMEM)
        return r;
    *ret_sound = r == 0;
    check->health->blocks++;
    check->health->entries += info->count;
    if (r < 0) {
        f.offset += at;
        f.lost_entries = info->count;
        check->health->lost_entries += info->count;
        tell(check, &f);
        return 0;
    }
    check->health->sound_blocks++;
    if (patched) {
        f.what = "a block's header is damaged; its copy is sound";
        tell(check, &f);
    }
    return 0;
}

/* Once for all: most of what can be damaged of them serves all blocks. */
static void visit_filters(const struct check *check, uint64_t end) {
    const struct chunk *c = check->chunk;
    bool whole = true;
    for (uint32_t i = 0; i < chunk_block_count(c) && whole; i++)
        whole = filters_has(chunk_filters(c), i);
    if (!whole)
        tell(check, &(struct chunk_fault){
                        .offset = end,
                        .what = "filters are damaged; searches read more blocks than they need"});
}

static int open_check(struct check *check, int dir_fd, const char *name, struct err *reterr) {
    *check->health = (struct chunk_health){0};
    check->fd = io_open(dir_fd, name, O_RDONLY | O_CLOEXEC, 0);
    return check->fd < 0
               ? err_set(reterr, check->fd, "cannot open %s: %s", name, err_name(check->fd))
               : 0;
}

int chunk_check(struct chunk_checker *k, int dir_fd, const char *name, const struct chunk *c,
                chunk_fault_fn *fn, void *ctx, struct chunk_health *ret, struct err *reterr) {
    struct check check = {.k = k, .chunk = c, .fn = fn, .ctx = ctx, .health = ret};
    int r = open_check(&check, dir_fd, name, reterr);
    if (r < 0)
        return r;
    uint64_t end = chunk_offset(c) + chunk_header_size(c);
    for (uint32_t i = 0; r == 0 && i < chunk_block_count(c); i++) {
        bool sound;
        /* Without a trailer blocks are searched for: what lies between them may have been one. */
        if (!chunk_has_trailer(c) && chunk_block_offset(c, i) > end)
            tell(&check, &(struct chunk_fault){.offset = end, .what = "no block is found here"});
        r = visit_block(&check, i, &sound);
        end = chunk_block_offset(c, i) + chunk_block_info(c, i)->stored_size;
    }
    if (r == 0 && !chunk_has_head(c))
        tell(&check,
             &(struct chunk_fault){.offset = chunk_offset(c), .what = "the header is damaged"});
    if (r == 0 && chunk_has_trailer(c))
        visit_filters(&check, end);
    else if (r == 0)
        tell(&check, &(struct chunk_fault){.offset = end, .what = "the trailer is damaged"});
    io_close(check.fd);
    return r < 0 ? err_set(reterr, r, "cannot check %s: %s", name, err_name(r)) : 0;
}

/* ---- saving what is sound */

static int add_block(const struct check *check, uint32_t i, struct chunk_writer *w,
                     struct err *reterr) {
    struct chunk_checker *k = check->k;
    struct chunk_block block = {.encoded = buf_str(&k->block)};
    buf_clear(&k->scratch);
    if (filters_take(chunk_filters(check->chunk), i, &k->scratch))
        block.filter = buf_str(&k->scratch);
    else
        block.filter =
            str_make((const char *)k->filter, gram_build(k->grams, buf_str(&k->lines), k->filter));
    return chunk_writer_add(w, &block, reterr);
}

static int write_sound_blocks(const struct check *check, struct chunk_writer *w,
                              struct err *reterr) {
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < chunk_block_count(check->chunk); i++) {
        bool sound = false;
        r = visit_block(check, i, &sound);
        if (r == 0 && sound)
            r = add_block(check, i, w, reterr);
    }
    return r;
}

int chunk_salvage(struct chunk_checker *k, int dir_fd, const char *name, const struct chunk *c,
                  const struct chunk_head *head, const char *to, struct chunk_sums *ret,
                  struct err *reterr) {
    struct chunk_health health;
    int r = chunk_check(k, dir_fd, name, c, NULL, NULL, &health, reterr);
    if (r < 0)
        return r;
    if (health.sound_blocks == 0)
        return err_set(reterr, -ENODATA, "%s: no block is sound", name);
    struct chunk_head own = chunk_has_head(c) ? *chunk_get_head(c) : *head;
    if (health.lost_entries > 0 || chunk_is_damaged(c)) {
        own.wal_lsn = 0;
        own.wal_index = 0;
        own.replaces = NULL;
        own.n_replaces = 0;
    }
    struct check check = {.k = k, .chunk = c, .health = &health};
    r = open_check(&check, dir_fd, name, reterr);
    if (r < 0)
        return r;
    struct chunk_writer *w = NULL;
    int fd = -1;
    r = chunk_writer_open(dir_fd, to, &own, &w, reterr);
    if (r == 0)
        r = write_sound_blocks(&check, w, reterr);
    if (r == 0)
        r = chunk_writer_finish(w, &fd, ret, reterr);
    if (r < 0) {
        chunk_writer_abort(w);
    } else {
        r = io_fsync(fd);
        io_close(fd);
        if (r < 0)
            (void)err_set(reterr, r, "cannot sync %s: %s", to, err_name(r));
    }
    io_close(check.fd);
    return r;
}
