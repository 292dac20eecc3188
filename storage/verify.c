/* Order: format, index, WAL, positions, chunk files, then what the index knows and is not there. With `repair` the damaged
 * chunk files are replaced on the way, and at the end the index is made anew when it, or any chunk, was damaged.
 *
 * Crash states of a repair: (1) NAME.tmp of a salvage: removed by the orphan sweep. (2) the damaged file in quarantine,
 * the saved one still NAME.tmp: nobody reads either, the next verify --repair finds the file missing; what was saved is
 * lost with the .tmp, the original is not. A damaged pack goes as a whole, its members get files of their own. (3) files
 * replaced, the index not yet: its rows are compared by the next verify; the next repair makes the index anew. */
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "chunk_check.h"
#include "format_file.h"
#include "index_check.h"
#include "io.h"
#include "map.h"
#include "pack.h"
#include "positions.h"
#include "sieve.h"
#include "store_private.h"
#include "wal_segment.h"
#include "walrec.h"

enum {
    VERIFY_PATH_MAX = 2 * CHUNK_PATH_MAX,
    TEXT_MAX = 256,
    VERIFY_ARENA_MAX = 1 << 30,
    QUARANTINE_TRIES = 1000,
};

struct known_chunk {
    struct index_chunk row;
    struct str tenant;
    bool seen;
};

struct verify {
    const struct verify_options *o;
    struct verify_result *ret;
    struct err *reterr;
    int dir_fd, lock_fd;
    bool index_damaged, rebuild;
    struct arena arena;        /* of the index's rows */
    struct index *index;       /* NULL when it cannot be read */
    struct known_chunk *known; /* by number */
    size_t n_known, known_capacity;
    struct str tenant_in_walk;
    struct chunk_checker *checker;
    char path[VERIFY_PATH_MAX];
    const struct pack_member *member; /* of the pack at `path`; NULL: a chunk file */
    uint64_t pack_seq;
    bool member_bad; /* some of the pack's members are */
};

/* ---- telling */

static void tell(struct verify *v, struct verify_finding *f) {
    v->ret->damages += f->damage;
    v->ret->notes += !f->damage;
    v->ret->lost_entries += f->lost_entries;
    if (v->o->report)
        v->o->report(v->o->ctx, f);
}

static void note(struct verify *v, const char *file, const char *what) {
    tell(v, &(struct verify_finding){.file = file, .what = what});
}

static void damage(struct verify *v, const char *file, const char *what, const char *saved) {
    tell(v, &(struct verify_finding){.damage = true, .file = file, .what = what, .saved = saved});
}

/* Text for a report; lives until the second call after it. */
static const char *text(const char *format, ...) {
    static char texts[2][TEXT_MAX];
    static unsigned turn;
    char *out = texts[turn++ % 2];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(out, TEXT_MAX, format, args);
    va_end(args);
    return out;
}

/* ---- quarantine */

/* Moves a file or folder to quarantine/ under its own path. */
static int quarantine(struct verify *v, const char *path) {
    char folder[VERIFY_PATH_MAX + 16], to[VERIFY_PATH_MAX + 32];
    const char *slash = strrchr(path, '/');
    int size = slash ? (int)(slash - path) : 0;
    (void)snprintf(folder, sizeof(folder), "quarantine/%.*s", size, path);
    int r = io_mkdirs(v->dir_fd, folder, 0750);
    bool free_name = false;
    for (unsigned i = 0; r == 0 && i < QUARANTINE_TRIES && !free_name; i++) {
        int n = i == 0 ? snprintf(to, sizeof(to), "quarantine/%s", path)
                       : snprintf(to, sizeof(to), "quarantine/%s.%u", path, i);
        if (n < 0 || (size_t)n >= sizeof(to))
            return -ENAMETOOLONG;
        int fd = io_open(v->dir_fd, to, O_RDONLY | O_CLOEXEC, 0);
        free_name = fd == -ENOENT;
        io_close(fd);
    }
    if (r == 0)
        r = free_name ? io_rename(v->dir_fd, path, v->dir_fd, to) : -EEXIST;
    if (r == 0)
        r = io_fsync_dir(v->dir_fd, folder);
    if (r < 0)
        return err_set(v->reterr, r, "cannot move %s to quarantine: %s", path, err_name(r));
    v->ret->quarantined++;
    return 0;
}

/* ---- format */

static int open_directory(struct verify *v) {
    const char *dir = v->o->data_dir;
    v->dir_fd = io_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (v->dir_fd < 0)
        return err_set(v->reterr, v->dir_fd, "cannot open %s: %s", dir, err_name(v->dir_fd));
    v->lock_fd = io_open(v->dir_fd, "LOCK", O_RDONLY | O_CLOEXEC, 0);
    int r = v->lock_fd < 0 ? 0 : io_lock(v->lock_fd);
    v->ret->server_runs = r == -EWOULDBLOCK;
    if (v->o->repair && v->ret->server_runs)
        return err_set(v->reterr, -EBUSY, "%s is in use by a running logqd: stop it first", dir);
    if (!v->o->repair) { /* a server may start meanwhile */
        io_close(v->lock_fd);
        v->lock_fd = -1;
    }
    return 0;
}

static int check_format(struct verify *v) {
    bool is_latest;
    int r = format_file_check(v->dir_fd, v->o->data_dir, &is_latest, v->reterr);
    if (r == -ENOENT) {
        int fd = io_open(v->dir_fd, "chunks", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        io_close(fd);
        if (fd < 0)
            return err_set(v->reterr, -ENOENT,
                           "%s is not a data directory of logqd: no format, no chunks",
                           v->o->data_dir);
        note(v, "format",
             "the file is missing: this is a copy of chunk files, or the next start writes one");
    }
    return r == -ENOENT ? 0 : r;
}

/* ---- index */

static int note_row(const struct index_chunk *row, void *ctx) {
    struct verify *v = ctx;
    if (v->n_known == v->known_capacity) {
        size_t capacity = v->known_capacity ? v->known_capacity * 2 : 1024;
        struct known_chunk *known = realloc(v->known, sizeof(*known) * capacity);
        if (!known)
            return -ENOMEM;
        v->known = known;
        v->known_capacity = capacity;
    }
    v->known[v->n_known++] = (struct known_chunk){.row = *row, .tenant = v->tenant_in_walk};
    return 0;
}

static int compare_known(const void *a, const void *b) {
    uint64_t x = ((const struct known_chunk *)a)->row.chunk_seq;
    uint64_t y = ((const struct known_chunk *)b)->row.chunk_seq;
    return (x > y) - (x < y);
}

static int load_rows(struct verify *v, struct index *index) {
    struct str *tenants;
    size_t n_tenants;
    int r = index_tenants(index, &v->arena, &tenants, &n_tenants);
    for (size_t i = 0; r == 0 && i < n_tenants; i++) {
        v->tenant_in_walk = tenants[i];
        r = index_walk_chunks(index, tenants[i], note_row, v, v->reterr);
    }
    if (r == 0 && v->n_known > 0)
        qsort(v->known, v->n_known, sizeof(*v->known), compare_known);
    return r < 0 ? err_set(v->reterr, r, "cannot read the index: %s", err_name(r)) : 0;
}

/* Without a server the file is checked here, for the pages' count; opening it checks it in any case. */
static int check_index(struct verify *v) {
    char path[VERIFY_PATH_MAX];
    struct err err = {0};
    struct index_check found = {0};
    int fd = io_open(v->dir_fd, "index/data.mdb", O_RDONLY | O_CLOEXEC, 0);
    int r = fd < 0 ? fd : v->ret->server_runs ? 0 : index_check_file(fd, 0, &found, &err);
    io_close(fd);
    if (r == 0 && !found.is_new) {
        (void)snprintf(path, sizeof(path), "%s/index", v->o->data_dir);
        const struct index_options o = {.read_only = true};
        r = index_open(path, &o, &v->index, &err);
        if (r == 0)
            r = load_rows(v, v->index);
        if (r < 0 && r != -ECORRUPT && r != -ENOENT)
            return err_set(v->reterr, r, "%s", err.text[0] ? err.text : err_name(r));
    }
    v->ret->index_pages = found.pages;
    v->ret->index_rows = found.rows;
    if (r == -ENOENT)
        (void)err_set(&err, r, "the file is missing");
    if (r == -ECORRUPT || r == -ENOENT) {
        v->index_damaged = true;
        damage(v, "index/data.mdb", err.text, "all: it can be made anew from the chunk files");
        return 0;
    }
    return r < 0 ? err_set(v->reterr, r, "%s", err.text) : 0;
}

/* ---- WAL */

struct wal_look {
    struct verify *v;
    char file[64];
    struct arena arena;
    struct buf scratch;
};

static int take_definition(uint64_t id, struct str tenant, struct labels labels, void *ctx) {
    (void)id, (void)tenant, (void)labels, (void)ctx;
    return 0;
}

static int take_entries(uint64_t id, const struct entry *entries, size_t count, void *ctx) {
    struct wal_look *w = ctx;
    (void)id, (void)entries;
    w->v->ret->wal_entries += count;
    return 0;
}

static int look_at_record(const struct wal_record *record, void *ctx) {
    struct wal_look *w = ctx;
    struct err err = {0};
    arena_reset(&w->arena);
    struct walrec_visitor visitor = {.define = take_definition, .entries = take_entries, .ctx = w};
    int r = walrec_read(record, &w->arena, &w->scratch, &visitor, &err);
    if (r == -ECORRUPT) {
        tell(w->v, &(struct verify_finding){.damage = true,
                                            .file = w->file,
                                            .has_offset = true,
                                            .offset = record->lsn & UINT32_MAX,
                                            .what = err.text});
        return 0;
    }
    return r;
}

/* Bytes that are not a record: where a crash cut one off, at the end; else damage. */
static void judge_segment(struct verify *v, const char *file, const struct wal_scan *scan,
                          bool last) {
    if (scan->lost_bytes == 0 || (last && v->ret->server_runs))
        return;
    bool damaged = scan->used_bytes == 0 || scan->skipped_bytes > 0;
    tell(v,
         &(struct verify_finding){
             .damage = damaged,
             .file = file,
             .has_offset = true,
             .offset = scan->bad_offset,
             .what = text("%" PRIu64 " bytes are no sound record%s", scan->lost_bytes,
                          damaged ? "" : ", as when a crash cuts one off that nobody was told of"),
             .saved = "the records before and behind them are read at the next start"});
}

static int check_wal(struct verify *v) {
    uint64_t *numbers = NULL;
    size_t count = 0;
    int fd = io_open(v->dir_fd, "wal", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd == -ENOENT) {
        note(v, "wal", "there is no write-ahead log: nothing to replay");
        return 0;
    }
    int r = fd < 0 ? err_set(v->reterr, fd, "cannot open the WAL: %s", err_name(fd))
                   : wal_segment_list(fd, &numbers, &count, v->reterr);
    struct wal_look w = {
        .v = v, .arena = arena_make(VERIFY_ARENA_MAX), .scratch = buf_make(BUF_NO_MAX)};
    for (size_t i = 0; r == 0 && i < count; i++) {
        char name[WAL_NAME_SIZE];
        struct wal_scan scan = {0};
        wal_segment_name(name, numbers[i]);
        (void)snprintf(w.file, sizeof(w.file), "wal/%s", name);
        r = wal_segment_scan(fd, numbers[i], look_at_record, &w, &scan, v->reterr);
        v->ret->wal_segments += !scan.missing;
        v->ret->wal_bytes += scan.used_bytes;
        if (r == 0)
            judge_segment(v, w.file, &scan, i + 1 == count);
    }
    arena_done(&w.arena);
    buf_done(&w.scratch);
    free(numbers);
    io_close(fd);
    return r;
}

/* ---- chunk files */

static struct known_chunk *find_known(struct verify *v, uint64_t seq) {
    struct known_chunk key = {.row = {.chunk_seq = seq}};
    return v->n_known == 0 ? NULL
                           : bsearch(&key, v->known, v->n_known, sizeof(*v->known), compare_known);
}

struct chunk_look {
    struct verify *v;
    struct chunk_head head; /* the file's own, or what the index knows; without tenant: neither */
};

/* What the index knows of the chunk, by the number in the file's name or in the pack's directory. */
static struct known_chunk *known_at_hand(struct verify *v) {
    unsigned long long stream, seq;
    if (v->member)
        return find_known(v, v->member->chunk_seq);
    return sscanf(strrchr(v->path, '/'), "/%16llx-%16llx.chunk", &stream, &seq) == 2
               ? find_known(v, seq)
               : NULL;
}

static void head_by_index(struct verify *v, struct chunk_head *ret) {
    struct index_stream row;
    *ret = (struct chunk_head){0};
    const struct known_chunk *k = v->index ? known_at_hand(v) : NULL;
    if (!k || index_stream_by_id(v->index, k->row.stream_id, &v->arena, &row) < 0)
        return;
    *ret = (struct chunk_head){.tenant = row.tenant,
                               .labels = row.labels,
                               .stream_id = k->row.stream_id,
                               .chunk_seq = k->row.chunk_seq,
                               .day = k->row.day,
                               .grade = k->row.grade};
}

static void tell_fault(const struct chunk_fault *fault, void *ctx) {
    struct chunk_look *l = ctx;
    const struct chunk_head *head = &l->head;
    tell(l->v, &(struct verify_finding){
                   .damage = true,
                   .file = l->v->path,
                   .has_offset = true,
                   .offset = fault->offset,
                   .what = fault->lost_entries > 0 ? text("a block: %s", fault->what) : fault->what,
                   .has_stream = head->tenant.size > 0,
                   .tenant = head->tenant,
                   .labels = head->labels,
                   .has_range = fault->has_range,
                   .first_ns = fault->first_ns,
                   .last_ns = fault->last_ns,
                   .lost_entries = fault->lost_entries});
}

/* Header, file name and index row say the same. */
static void compare_with_index(struct verify *v, const struct chunk *c,
                               const struct chunk_head *head) {
    char path[CHUNK_PATH_MAX];
    int named = v->member
                    ? pack_path(path, head->tenant, head->day, v->pack_seq)
                    : chunk_path(path, head->tenant, head->day, head->stream_id, head->chunk_seq);
    if (named < 0 || strcmp(path, v->path) != 0)
        note(v, v->path,
             head->tenant.size == 0 ? "nobody knows whose it is"
                                    : "its name is not the one that its header gives it");
    if (v->index_damaged)
        return;
    struct known_chunk *k = find_known(v, head->chunk_seq);
    if (!k) {
        if (!v->ret->server_runs && !v->member) /* members go before their packs do */
            note(v, v->path,
                 "the index does not know it: a crash left it, its entries are elsewhere");
        return;
    }
    const struct chunk_sums *a = chunk_get_sums(c), *b = &k->row.sums;
    k->seen = true;
    if (k->row.day != head->day || a->entries != b->entries || a->blocks != b->blocks ||
        a->first_ns != b->first_ns || a->last_ns != b->last_ns || a->line_bytes != b->line_bytes ||
        a->file_bytes != b->file_bytes || !str_eq(k->tenant, head->tenant) ||
        k->row.pack_seq != (v->member ? v->pack_seq : 0) ||
        k->row.pack_offset != (v->member ? v->member->offset : 0)) {
        if (!chunk_is_damaged(c))
            damage(v, v->path, "the index says something else of it", NULL);
        v->rebuild = true;
    }
}

/* The sound blocks in place of the file. */
static int replace_chunk(struct verify *v, const struct chunk *c, const struct chunk_head *head) {
    char temporary[VERIFY_PATH_MAX + 8], folder[VERIFY_PATH_MAX];
    struct chunk_sums sums;
    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", v->path);
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(v->path, '/') - v->path), v->path);
    v->rebuild = true;
    int r = head->tenant.size == 0 ? -ENODATA
                                   : chunk_salvage(v->checker, v->dir_fd, v->path, c, head,
                                                   temporary, &sums, v->reterr);
    bool saved = r == 0;
    if (r == 0 || r == -ENODATA)
        r = quarantine(v, v->path);
    if (r == 0 && saved) {
        r = io_rename(v->dir_fd, temporary, v->dir_fd, v->path);
        if (r == 0)
            r = io_fsync_dir(v->dir_fd, folder);
        if (r < 0)
            (void)err_set(v->reterr, r, "cannot rename %s: %s", temporary, err_name(r));
    }
    return r;
}

static int check_open_chunk(struct verify *v, const struct chunk *c) {
    struct chunk_look l = {.v = v};
    struct chunk_health health;
    if (chunk_has_head(c))
        l.head = *chunk_get_head(c);
    else
        head_by_index(v, &l.head);
    v->ret->chunk_files += !v->member;
    v->ret->chunk_bytes += chunk_get_sums(c)->file_bytes;
    int r = chunk_check(v->checker, v->dir_fd, v->path, c, tell_fault, &l, &health, v->reterr);
    if (r < 0)
        return r;
    v->ret->entries += health.entries - health.lost_entries;
    compare_with_index(v, c, &l.head);
    if (health.faults == 0)
        return 0;
    tell(v,
         &(struct verify_finding){
             .file = v->path,
             .what = text("%" PRIu64 " of %" PRIu64 " entries in %u of %u blocks %s",
                          health.entries - health.lost_entries, health.entries, health.sound_blocks,
                          health.blocks, v->o->repair ? "are saved" : "can be saved")});
    if (v->member) {
        v->member_bad = true;
        return 0;
    }
    return v->o->repair ? replace_chunk(v, c, &l.head) : 0;
}

static int open_at_hand(struct verify *v, struct chunk **ret, struct err *reterr) {
    const struct pack_member *m = v->member;
    return m ? chunk_open_at(v->dir_fd, v->path,
                             (struct chunk_span){.offset = m->offset, .size = m->size}, ret, reterr)
             : chunk_open(v->dir_fd, v->path, ret, reterr);
}

static int check_chunk(struct verify *v) {
    struct chunk *c = NULL;
    struct err err = {0};
    int r = open_at_hand(v, &c, &err);
    if (r == -ENOENT || r == -ENOMEM || r == -EMFILE || r == -ENFILE)
        return r == -ENOENT ? 0 : err_set(v->reterr, r, "%s", err.text);
    if (r < 0) {
        struct known_chunk *k = known_at_hand(v);
        if (k && v->member)
            k->seen = true;
        v->ret->chunk_files += !v->member;
        tell(v, &(struct verify_finding){.damage = true,
                                         .file = v->path,
                                         .has_offset = v->member != NULL,
                                         .offset = v->member ? v->member->offset : 0,
                                         .what = err.text,
                                         .has_range = k != NULL,
                                         .first_ns = k ? k->row.sums.first_ns : 0,
                                         .last_ns = k ? k->row.sums.last_ns : 0,
                                         .lost_entries = k ? k->row.sums.entries : 0,
                                         .saved = "nothing"});
        v->rebuild = true;
        v->member_bad = v->member != NULL;
        return v->o->repair && !v->member ? quarantine(v, v->path) : 0;
    }
    r = check_open_chunk(v, c);
    chunk_close(c);
    return r;
}

/* ---- packs */

/* What an earlier pass has taken out is not brought back. */
static bool is_live_member(struct verify *v, const struct pack_member *m) {
    const struct known_chunk *k = find_known(v, m->chunk_seq);
    return v->index_damaged || !v->index || (k && k->row.pack_seq == v->pack_seq);
}

/* The sound blocks of the member at hand into a file of its own, which has not got its name yet; an empty path when there
 * are none. */
static int save_member(struct verify *v, char path[static CHUNK_PATH_MAX]) {
    char temporary[CHUNK_PATH_MAX + 8];
    struct chunk *c = NULL;
    struct chunk_head head;
    struct chunk_sums sums;
    path[0] = '\0';
    int r = open_at_hand(v, &c, NULL);
    if (r < 0)
        return r == -ENOMEM ? err_set(v->reterr, r, "no memory") : 0;
    if (chunk_has_head(c))
        head = *chunk_get_head(c);
    else
        head_by_index(v, &head);
    const struct known_chunk *k = known_at_hand(v);
    if (head.tenant.size > 0 &&
        chunk_path(path, head.tenant, head.day, k ? k->row.stream_id : head.stream_id,
                   head.chunk_seq) == 0) {
        (void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
        r = chunk_salvage(v->checker, v->dir_fd, v->path, c, &head, temporary, &sums, v->reterr);
    }
    if (r == -ENODATA)
        r = path[0] = '\0';
    chunk_close(c);
    return r;
}

/* Files in place of a damaged pack: those of the live members. */
static int replace_pack(struct verify *v, const struct pack *pack) {
    char folder[VERIFY_PATH_MAX], temporary[CHUNK_PATH_MAX + 8];
    char(*paths)[CHUNK_PATH_MAX] = calloc(pack->n_members + 1, sizeof(*paths));
    int r = paths ? 0 : err_set(v->reterr, -ENOMEM, "no memory to replace a pack");
    v->rebuild = true;
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(v->path, '/') - v->path), v->path);
    for (size_t i = 0; i < pack->n_members && r == 0; i++) {
        v->member = &pack->members[i];
        if (is_live_member(v, v->member))
            r = save_member(v, paths[i]);
    }
    v->member = NULL;
    if (r == 0)
        r = quarantine(v, v->path);
    for (size_t i = 0; i < pack->n_members && r == 0; i++) {
        if (paths[i][0] == '\0')
            continue;
        (void)snprintf(temporary, sizeof(temporary), "%s.tmp", paths[i]);
        r = io_rename(v->dir_fd, temporary, v->dir_fd, paths[i]);
        if (r < 0)
            (void)err_set(v->reterr, r, "cannot rename %s: %s", temporary, err_name(r));
    }
    if (r == 0)
        r = io_fsync_dir(v->dir_fd, folder);
    free(paths);
    return r;
}

static int check_pack(struct verify *v) {
    struct pack pack;
    struct err err = {0};
    int r = pack_open(v->dir_fd, v->path, &pack, &err);
    if (r == -ENOENT || r == -ENOMEM || r == -EMFILE || r == -ENFILE)
        return r == -ENOENT ? 0 : err_set(v->reterr, r, "%s", err.text);
    v->ret->chunk_files++;
    if (r < 0) {
        damage(v, v->path, err.text, "nothing");
        v->rebuild = true;
        return v->o->repair ? quarantine(v, v->path) : 0;
    }
    unsigned long long seq = 0;
    (void)sscanf(strrchr(v->path, '/'), "/%16llx.pack", &seq);
    v->pack_seq = seq;
    v->member_bad = pack.damaged;
    if (pack.damaged)
        damage(v, v->path, "the header or the directory of a pack is damaged",
               "its members are found without them");
    else if (pack.head.seq != seq)
        note(v, v->path, "its name is not the one that its header gives it");
    for (size_t i = 0; i < pack.n_members && r == 0; i++) {
        v->member = &pack.members[i];
        r = check_chunk(v);
    }
    v->member = NULL;
    if (r == 0 && v->member_bad && v->o->repair)
        r = replace_pack(v, &pack);
    pack_done(&pack);
    return r;
}

/* ---- sieves, which hold nothing that is not in the chunks */

static int check_sieve(struct verify *v) {
    struct sieve *sieve = NULL;
    struct err err = {0};
    int r = sieve_open(v->dir_fd, v->path, &sieve, &err);
    if (r == 0)
        r = sieve_check(sieve, &err);
    sieve_close(sieve);
    if (r == -EFORMAT)
        note(v, v->path, "a sieve of a newer format; queries go without");
    if (r != -ECORRUPT && r != -EIO)
        return r == -ENOMEM ? err_set(v->reterr, r, "%s", err.text) : 0;
    damage(v, v->path, err.text, "nothing is lost: the server makes it anew");
    return v->o->repair ? quarantine(v, v->path) : 0;
}

/* ---- walking the folders; a name of somebody else's is left alone */

/* Puts a name behind the path, whose size was `outside`; false when it has no room there: it cannot be ours. */
static bool enter(struct verify *v, const char *name, size_t *ret_outside) {
    size_t size = strlen(v->path), room = sizeof(v->path) - size;
    if ((size_t)snprintf(v->path + size, room, "/%s", name) >= room) {
        v->path[size] = '\0';
        return false;
    }
    *ret_outside = size;
    return true;
}

static int visit_file(const char *name, bool is_dir, void *ctx) {
    struct verify *v = ctx;
    struct str s = str_from(name);
    size_t outside;
    if (!enter(v, name, &outside))
        return 0;
    int r = 0;
    if (!is_dir && str_ends(s, STR(".chunk")))
        r = check_chunk(v);
    else if (!is_dir && str_ends(s, STR(".pack")))
        r = check_pack(v);
    else if (!is_dir && str_eq(s, STR(SIEVE_NAME)))
        r = check_sieve(v);
    else if (!is_dir && (str_ends(s, STR(".chunk.tmp")) || str_ends(s, STR(".pack.tmp")) ||
                         str_eq(s, STR(SIEVE_NAME ".tmp"))))
        note(v, v->path, "an unfinished file; the server removes it");
    else
        note(v, v->path, "this is not logqd's");
    v->path[outside] = '\0';
    return r;
}

static int visit_folder(struct verify *v, const char *name, bool is_dir, io_list_fn *fn) {
    size_t outside;
    if (!enter(v, name, &outside))
        return 0;
    int r = 0;
    if (is_dir)
        r = io_list(v->dir_fd, v->path, fn, v);
    else
        note(v, v->path, "this is not logqd's");
    if (r == -ENOENT) /* the server's reaper was here */
        r = 0;
    v->path[outside] = '\0';
    return r;
}

static int visit_day(const char *name, bool is_dir, void *ctx) {
    return visit_folder(ctx, name, is_dir, visit_file);
}

static int visit_tenant(const char *name, bool is_dir, void *ctx) {
    return visit_folder(ctx, name, is_dir, visit_day);
}

static int check_chunks(struct verify *v) {
    (void)snprintf(v->path, sizeof(v->path), "chunks");
    int r = io_list(v->dir_fd, v->path, visit_tenant, v);
    if (r == -ENOENT) {
        note(v, "chunks", "there are no chunk files");
        r = 0;
    }
    if (r < 0)
        return v->reterr && v->reterr->text[0]
                   ? r
                   : err_set(v->reterr, r, "cannot list %s: %s", v->path, err_name(r));
    for (size_t i = 0; i < v->n_known && !v->ret->server_runs; i++) {
        const struct known_chunk *k = &v->known[i];
        const struct chunk_id id = chunk_id_of(k->tenant, &k->row);
        if (k->seen || chunk_id_path(&id, v->path) < 0)
            continue;
        int fd = io_open(v->dir_fd, v->path, O_RDONLY | O_CLOEXEC, 0);
        io_close(fd);
        if (fd != -ENOENT && k->row.pack_seq == 0)
            continue; /* it is there, and has been spoken of */
        tell(v, &(struct verify_finding){.damage = true,
                                         .file = v->path,
                                         .what = fd == -ENOENT ? "the file is missing"
                                                               : "a member of a pack is missing",
                                         .has_range = true,
                                         .first_ns = k->row.sums.first_ns,
                                         .last_ns = k->row.sums.last_ns,
                                         .lost_entries = k->row.sums.entries,
                                         .saved = "nothing"});
        v->rebuild = true;
    }
    return 0;
}

/* ---- positions */

/* Only what a rebuild asks: nothing is lost with it but what deletes have taken. */
static int check_positions(struct verify *v) {
    struct positions p = positions_make();
    struct err err = {0};
    int r = positions_read(v->dir_fd, POSITIONS_NAME, &p, &err);
    positions_done(&p);
    if (r == 0 || r == -ENOENT)
        return 0;
    if (r == -ENOMEM)
        return err_set(v->reterr, r, "no memory");
    damage(v, POSITIONS_NAME, err.text,
           "everything; if the index is lost, deleted lines that the WAL still has come back");
    return v->o->repair ? quarantine(v, POSITIONS_NAME) : 0;
}

/* The WAL is to fill the gaps of what has been repaired. */
static int put_positions_aside(struct verify *v) {
    int fd = io_open(v->dir_fd, POSITIONS_NAME, O_RDONLY | O_CLOEXEC, 0);
    io_close(fd);
    return fd >= 0 ? quarantine(v, POSITIONS_NAME) : 0;
}

/* ---- the top folder */

static int visit_top(const char *name, bool is_dir, void *ctx) {
    struct verify *v = ctx;
    static const char *const ours[] = {"LOCK", "format", "wal", "index", "chunks"};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strcmp(name, ours[i]) == 0)
            return 0;
    if (strcmp(name, "quarantine") == 0)
        note(v, name, "what earlier repairs have put aside");
    else if (is_dir && strncmp(name, "index.old-", 10) == 0)
        note(v, name, "an index that was damaged or replaced");
    return 0;
}

static int make_new_index(struct verify *v) {
    struct store_rebuild done = {0};
    index_close(v->index);
    v->index = NULL;
    io_close(v->lock_fd); /* rebuilding takes the lock itself */
    v->lock_fd = -1;
    return store_rebuild_index(v->o->data_dir, &done, v->reterr);
}

int store_verify(const struct verify_options *o, struct verify_result *ret, struct err *reterr) {
    *ret = (struct verify_result){0};
    struct verify v = {.o = o,
                       .ret = ret,
                       .reterr = reterr,
                       .dir_fd = -1,
                       .lock_fd = -1,
                       .arena = arena_make(VERIFY_ARENA_MAX)};
    v.checker = chunk_checker_new();
    int r = v.checker ? open_directory(&v) : err_set(reterr, -ENOMEM, "no memory");
    if (r == 0)
        r = check_format(&v);
    if (r == 0)
        r = io_list(v.dir_fd, ".", visit_top, &v);
    if (r == 0)
        r = check_index(&v);
    if (r == 0)
        r = check_wal(&v);
    if (r == 0)
        r = check_positions(&v);
    if (r == 0)
        r = check_chunks(&v);
    if (r == 0 && o->repair && v.rebuild)
        r = put_positions_aside(&v);
    if (r == 0 && o->repair && (v.rebuild || v.index_damaged))
        r = make_new_index(&v);
    chunk_checker_free(v.checker);
    index_close(v.index);
    free(v.known);
    arena_done(&v.arena);
    io_close(v.lock_fd);
    io_close(v.dir_fd);
    return r < 0 ? r : 0;
}
