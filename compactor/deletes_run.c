/* What delete requests mean, removed: chunks that are meant as a whole go, the others are rewritten without it. */
#include "deletes_private.h"

#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "log.h"
#include "merge.h"
#include "units.h"
#include "unpack.h"

enum {
    CHUNKS_PER_COMMIT = 1000,
    /* Chunks that lose something of which packs hold bytes, gathered before these packs are emptied. */
    PACKED_MAX = 65536,
    REPLACED_MAX = 1 << 20,    /* numbers of members that they replace, likewise */
    DAYS = 64,                 /* days of which it is remembered whether there are packs */
    REWRITE_TARGET = 64 << 20, /* far above what merging makes: one file stays one */
    ARENA_MAX = 1 << 30,
};

/* A member of a pack that loses something, or a chunk in place of members. */
struct packed {
    struct index_chunk chunk;
    bool whole;
};

struct day_packs {
    bool known, any;
    int32_t day;
};

struct run {
    struct deletes *d;
    struct request *q; /* a reference */
    bool (*stopped)(void *ctx);
    void *stopped_ctx;
    uint64_t streams, done; /* of the tenant: how far */
    bool changed;           /* since the receipt was saved */
    bool in_wal;            /* the WAL may have entries of streams that the request concerns */
    struct delete_receipt receipt;
    struct labels labels; /* of the stream at hand */
    struct index_chunk gone[CHUNKS_PER_COMMIT];
    size_t n_gone;
    struct packed *packed; /* PACKED_MAX, made at first use */
    size_t n_packed;
    struct numbers replaced; /* members that gathered chunks have replaced */
    struct day_packs days[DAYS];
    /* Whether chunks of this stream and day have replaced any. */
    uint64_t asked_stream;
    int32_t asked_day;
    bool asked, asked_any;
    struct deletes_result *result;
    struct err *reterr;
};

static int on_erase(void *ctx, struct labels labels, struct block_reader *r,
                    const struct block_ref_info *info, uint64_t *bits, struct err *reterr) {
    const struct request *q = ctx;
    return q->language->mark(q->compiled, labels, q->start_ns, q->end_ns, r, info, bits, reterr);
}

static int on_pace(void *ctx, uint64_t bytes) {
    const struct run *run = ctx;
    (void)bytes;
    return run->stopped && run->stopped(run->stopped_ctx) ? -ECANCELED : 0;
}

static int drop_rows(struct index_txn *t, void *ctx, struct err *reterr) {
    const struct run *run = ctx;
    int r = 0;
    for (size_t i = 0; i < run->n_gone && r == 0; i++)
        r = index_del_chunk(t, run->q->tenant, &run->gone[i], reterr);
    return r;
}

static int keep_positions(struct run *run) {
    uint64_t ids[CHUNKS_PER_COMMIT];
    for (size_t i = 0; i < run->n_gone; i++)
        ids[i] = run->gone[i].stream_id;
    return store_keep_positions(run->d->store, ids, run->n_gone, run->reterr);
}

/* Chunks that are meant as a whole: rows first, then files. */
static int drop_chunks(struct run *run) {
    if (run->n_gone == 0)
        return 0;
    int r = keep_positions(run);
    if (r == 0)
        r = store_index_update(run->d->store, drop_rows, run, run->reterr);
    if (r < 0)
        return r;
    for (size_t i = 0; i < run->n_gone; i++) {
        const struct index_chunk *c = &run->gone[i];
        store_delete_chunk(run->d->store, run->q->tenant, c);
        run->receipt.chunks_removed++;
        run->receipt.lines += c->sums.entries;
        run->receipt.bytes += c->sums.line_bytes;
        run->receipt.file_bytes_before += c->sums.file_bytes;
    }
    run->n_gone = 0;
    run->changed = true;
    return 0;
}

/* What cannot be read is counted; *ret is zeroed then. */
static int try_rewrite(struct run *run, const struct rewrite *w, struct rewrite_result *ret) {
    struct err err = {0};
    *ret = (struct rewrite_result){0};
    int r = store_rewrite(run->d->store, w, ret, NULL, &err);
    if (r == -ECORRUPT || r == -EREFUSED || r == -EFORMAT) {
        run->result->failures++;
        deletes_log(run->d, LOG_ERROR, "a chunk cannot be rewritten, its entries stay hidden",
                    run->q, err.text);
        return 0;
    }
    return r < 0 ? err_set(run->reterr, r, "%s", err.text) : 0;
}

static struct rewrite erasing(struct run *run, const struct index_chunk *c) {
    return (struct rewrite){.tenant = run->q->tenant,
                            .sources = c,
                            .n_sources = 1,
                            .effort = merge_effort((enum merge_grade)c->grade),
                            .grade = c->grade,
                            .target_bytes = REWRITE_TARGET,
                            .erase = on_erase,
                            .erase_ctx = run->q,
                            .pace = on_pace,
                            .pace_ctx = run};
}

static int rewrite_chunk(struct run *run, const struct index_chunk *c) {
    struct rewrite_result done;
    struct rewrite w = erasing(run, c);
    int r = try_rewrite(run, &w, &done);
    if (r < 0)
        return r;
    if (done.sources > 0) {
        run->receipt.chunks_rewritten++;
        run->receipt.lines += done.erased_entries;
        run->receipt.bytes += done.erased_bytes;
        run->receipt.file_bytes_before += done.source_bytes;
        run->receipt.file_bytes_after += done.output_bytes;
        run->changed = true;
    }
    (void)store_reap(run->d->store);
    return 0;
}

/* ---- members of packs: what stands beside them is moved first, see unpack.h */

static int move_member(const struct index_chunk *c, void *ctx) {
    struct run *run = ctx;
    struct rewrite_result done;
    struct rewrite w = unpack_rewrite(run->q->tenant, c);
    w.pace = on_pace;
    w.pace_ctx = run;
    int r = try_rewrite(run, &w, &done);
    (void)store_reap(run->d->store);
    return r;
}

/* Which packs hold bytes of the gathered ones. */
static int list_packs(struct run *run, struct unpack *u) {
    struct numbers days = {0};
    int r = 0;
    for (size_t i = 0; i < run->n_packed && r == 0; i++) {
        const struct index_chunk *c = &run->packed[i].chunk;
        r = numbers_add(&u->keep, c->chunk_seq);
        if (r == 0)
            r = c->pack_seq > 0 ? numbers_add(&u->packs, c->pack_seq)
                                : numbers_add(&days, (uint64_t)(int64_t)c->day);
    }
    if (r < 0)
        r = err_set(run->reterr, r, "no memory to empty packs");
    numbers_sort(&days);
    numbers_sort(&run->replaced);
    for (size_t i = 0; i < days.n && r == 0; i++)
        if (i == 0 || days.items[i] != days.items[i - 1])
            r = unpack_add_holders(run->d->store, u, (int32_t)(int64_t)days.items[i],
                                   &run->replaced, run->reterr);
    numbers_sort(&u->packs);
    numbers_sort(&u->keep);
    numbers_done(&days);
    return r;
}

static int move_others(struct run *run) {
    struct unpack u = {.tenant = run->q->tenant};
    int r = list_packs(run, &u);
    if (r == 0)
        r = unpack_walk(run->d->store, &u, move_member, run, run->reterr);
    numbers_done(&u.packs);
    numbers_done(&u.keep);
    return r;
}

/* When one of the others cannot be moved, the gathered ones stay: hidden, until the next pass tries again. */
static int erase_packed(struct run *run) {
    uint64_t failures = run->result->failures;
    int r = run->n_packed > 0 ? move_others(run) : 0;
    bool moved = run->result->failures == failures;
    for (size_t i = 0; i < run->n_packed && r == 0 && moved; i++) {
        const struct packed *p = &run->packed[i];
        if (!p->whole) {
            r = rewrite_chunk(run, &p->chunk);
            continue;
        }
        run->gone[run->n_gone++] = p->chunk;
        if (run->n_gone == CHUNKS_PER_COMMIT)
            r = drop_chunks(run);
    }
    run->n_packed = 0;
    run->replaced.n = 0;
    return r == 0 ? drop_chunks(run) : r;
}

/* Does the request want anything of it? */
static int ask(struct run *run, const struct index_chunk *c, bool whole, bool *ret) {
    struct rewrite_result asked = {.sources = whole};
    struct rewrite w = erasing(run, c);
    w.ask_only = true;
    int r = whole ? 0 : try_rewrite(run, &w, &asked);
    *ret = asked.sources > 0;
    return r;
}

static int gather(struct run *run, const struct index_chunk *c, bool whole) {
    if (!run->packed)
        run->packed = malloc(sizeof(*run->packed) * PACKED_MAX);
    if (!run->packed)
        return err_set(run->reterr, -ENOMEM, "no memory to process a delete request");
    run->packed[run->n_packed++] = (struct packed){.chunk = *c, .whole = whole};
    return run->n_packed == PACKED_MAX || run->replaced.n >= REPLACED_MAX ? erase_packed(run) : 0;
}

/* ---- chunks of their own that stand in place of members */

static bool day_has_packs(struct run *run, int32_t day) {
    struct day_packs *d = &run->days[(uint32_t)day % DAYS];
    if (!d->known || d->day != day)
        *d = (struct day_packs){
            .known = true, .day = day, .any = unpack_has_packs(run->d->store, run->q->tenant, day)};
    return d->any;
}

static int note_replaced_by(struct run *run, const struct index_chunk *c) {
    char path[CHUNK_PATH_MAX];
    struct chunk *chunk;
    if (chunk_path(path, run->q->tenant, c->day, c->stream_id, c->chunk_seq) < 0 ||
        chunk_open(store_dir_fd(run->d->store), path, &chunk, NULL) < 0)
        return 0; /* who erases from it says what is wrong */
    const struct chunk_head *head = chunk_get_head(chunk);
    int r = 0;
    for (size_t i = 0; i < head->n_replaces && r == 0; i++)
        r = numbers_add(&run->replaced, head->replaces[i]);
    chunk_close(chunk);
    return r < 0 ? err_set(run->reterr, r, "no memory to empty packs") : 0;
}

/* Has any chunk of a stream and day replaced others? All of them are asked, since only the first of several files that a
 * merge has made names what they stand for. */
static int has_replaced(struct run *run, const struct index_chunk *chunks, size_t count,
                        const struct index_chunk *of, bool *ret) {
    if (!run->asked || run->asked_stream != of->stream_id || run->asked_day != of->day) {
        size_t before = run->replaced.n;
        int r = 0;
        for (size_t i = 0; i < count && r == 0; i++)
            if (chunks[i].day == of->day && chunks[i].pack_seq == 0)
                r = note_replaced_by(run, &chunks[i]);
        if (r < 0)
            return r;
        run->asked = true;
        run->asked_stream = of->stream_id;
        run->asked_day = of->day;
        run->asked_any = run->replaced.n > before;
    }
    *ret = run->asked_any;
    return 0;
}

/* ---- streams */

static int erase_own(struct run *run, const struct index_chunk *c, bool whole) {
    if (!whole)
        return rewrite_chunk(run, c);
    run->gone[run->n_gone++] = *c;
    return run->n_gone == CHUNKS_PER_COMMIT ? drop_chunks(run) : 0;
}

/* chunks[i] of all that the stream has on the days that the request means. */
static int erase_chunk(struct run *run, const struct index_chunk *chunks, size_t count, size_t i) {
    const struct request *q = run->q;
    const struct index_chunk *c = &chunks[i];
    bool whole = !q->language->has_filter(q->compiled) && c->sums.first_ns >= q->start_ns &&
                 c->sums.last_ns <= q->end_ns;
    if (c->sums.last_ns < q->start_ns || c->sums.first_ns > q->end_ns)
        return 0;
    if (c->pack_seq == 0 && !day_has_packs(run, c->day))
        return erase_own(run, c, whole);
    bool wanted, in_packs = true;
    int r = ask(run, c, whole, &wanted);
    if (r == 0 && wanted && c->pack_seq == 0)
        r = has_replaced(run, chunks, count, c, &in_packs);
    if (r < 0 || !wanted)
        return r;
    return in_packs ? gather(run, c, whole) : erase_own(run, c, whole);
}

static void whole_days(const struct request *q, int64_t *ret_first_ns, int64_t *ret_last_ns) {
    if (__builtin_mul_overflow(time_day(q->start_ns), NS_PER_DAY, ret_first_ns))
        *ret_first_ns = INT64_MIN;
    if (__builtin_mul_overflow((int64_t)time_day(q->end_ns) + 1, NS_PER_DAY, ret_last_ns))
        *ret_last_ns = INT64_MAX;
}

static int erase_stream(struct run *run, const struct index_stream *s) {
    const struct request *q = run->q;
    struct arena arena = arena_make(ARENA_MAX);
    struct index_reader *reader = NULL;
    struct index_chunk *chunks = NULL;
    size_t count = 0;
    int64_t first_ns, last_ns;
    whole_days(q, &first_ns, &last_ns);
    int r = index_reader_begin(store_index(run->d->store), &reader, run->reterr);
    if (r == 0)
        r = index_reader_chunks(reader, q->tenant, s->id, first_ns, last_ns, &arena, &chunks,
                                &count, run->reterr);
    index_reader_end(reader);
    for (size_t i = 0; i < count && r == 0; i++)
        r = erase_chunk(run, chunks, count, i);
    arena_done(&arena);
    return r;
}

static int save_progress(struct run *run, enum delete_state state) {
    const struct request_progress progress = {
        .state = state,
        .percent = run->streams > 0 ? (unsigned)(run->done * 100 / run->streams) : 0,
        .receipt = run->receipt,
    };
    run->changed = false;
    return deletes_save_progress(run->d, run->q, &progress, run->reterr);
}

static int visit_stream(const struct index_stream *s, void *ctx) {
    struct run *run = ctx;
    const struct request *q = run->q;
    int r = 0;
    if (s->first_ns <= s->last_ns &&
        delete_request_concerns(q, s->labels, s->first_ns, s->last_ns)) {
        run->in_wal = run->in_wal || store_wal_reaches(run->d->store, s->flushed_lsn);
        r = erase_stream(run, s);
    }
    run->done++;
    if (r == 0 && run->changed)
        r = save_progress(run, DELETE_RUNNING);
    if (r == 0)
        r = on_pace(run, 0);
    return r;
}

static int count_stream(const struct index_stream *s, void *ctx) {
    (void)s;
    ((struct run *)ctx)->streams++;
    return 0;
}

static int finish(struct run *run) {
    run->receipt.finished_ns = clock_now_ns();
    int r = save_progress(run, DELETE_PROCESSED);
    if (r < 0)
        return r;
    deletes_show_again(run->d, run->q->tenant);
    run->result->processed++;
    deletes_log(run->d, LOG_INFO, "delete request processed", run->q, NULL);
    return 0;
}

static void add_receipt(struct delete_receipt *sums, const struct delete_receipt *before,
                        const struct delete_receipt *after) {
    sums->chunks_removed += after->chunks_removed - before->chunks_removed;
    sums->chunks_rewritten += after->chunks_rewritten - before->chunks_rewritten;
    sums->lines += after->lines - before->lines;
    sums->bytes += after->bytes - before->bytes;
    sums->file_bytes_before += after->file_bytes_before - before->file_bytes_before;
    sums->file_bytes_after += after->file_bytes_after - before->file_bytes_after;
}

static int process(struct run *run) {
    struct request *q = run->q;
    struct deletes *d = run->d;
    uint64_t failures = run->result->failures;
    run->receipt = q->receipt;
    if (run->receipt.begun_ns == 0)
        run->receipt.begun_ns = clock_now_ns();
    struct delete_receipt before = run->receipt;
    /* What is still in memory becomes chunk files that can be rewritten. */
    int r = store_flush(d->store, run->reterr);
    if (r == 0)
        r = index_walk_streams(store_index(d->store), q->tenant, count_stream, run, run->reterr);
    if (r == 0)
        r = index_walk_streams(store_index(d->store), q->tenant, visit_stream, run, run->reterr);
    if (r == 0)
        r = drop_chunks(run);
    if (r == 0)
        r = erase_packed(run);
    free(run->packed);
    run->packed = NULL;
    numbers_done(&run->replaced);
    /* The request is told to be processed when the files have gone, too: a crash would leave them to an index that is lost
     * and made anew. */
    (void)store_reap(d->store);
    if (r == 0 && run->result->failures > failures)
        r = save_progress(run, DELETE_RUNNING);
    else if (r == 0)
        r = finish(run);
    add_receipt(&run->result->sums, &before, &run->receipt);
    deletes_count_erased(d, q->tenant, run->receipt.lines - before.lines);
    return r;
}

int deletes_run(struct deletes *d, int64_t now_ns, bool (*stopped)(void *ctx), void *ctx,
                struct deletes_result *ret, struct err *reterr) {
    struct run *run = calloc(1, sizeof(*run));
    if (!run)
        return err_set(reterr, -ENOMEM, "no memory to process delete requests");
    int r = 0;
    bool in_wal = false;
    *ret = (struct deletes_result){0};
    struct request *q = deletes_next_due(d, now_ns, NULL);
    while (q && r == 0) {
        *run = (struct run){.d = d,
                            .q = q,
                            .stopped = stopped,
                            .stopped_ctx = ctx,
                            .result = ret,
                            .reterr = reterr};
        uint64_t lines = ret->sums.lines;
        r = process(run);
        in_wal = in_wal || (run->in_wal && ret->sums.lines > lines);
        if (r == -ECANCELED && !(stopped && stopped(ctx)))
            r = 0; /* taken back */
        struct request *next = r == 0 ? deletes_next_due(d, now_ns, q) : NULL;
        delete_request_unref(q);
        q = next;
    }
    delete_request_unref(q);
    free(run);
    if (in_wal)
        store_renew_wal(d->store);
    return r;
}
