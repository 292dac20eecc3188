/* A stream at a time: the patterns of its blocks go through one drain, which joins those that differ only in what the
 * other block has not seen change yet. Then the stream's groups are added to what other streams had, by level and
 * words without digits. Counts are kept sparsely, per pattern those steps that have lines. */
#include "pattern_query.h"

#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "drain.h"
#include "exec.h"
#include "map.h"
#include "units.h"

struct step_count {
    int64_t step; /* the multiple of step_ns */
    uint64_t count;
};

/* How often something was seen, over time. */
struct tally {
    uint64_t hits, total;
    struct step_count *counts; /* ascending */
    size_t n_counts, capacity;
};

/* A pattern of the answer. */
struct found {
    struct str text; /* a template, in the work's arena */
    enum pattern_level level;
    bool is_part;
    struct tally tally;
};

struct work {
    const struct pattern_query *query;
    struct err *reterr;
    struct block_reader *reader;
    struct drain *drain, *joiner;
    struct tally groups[DRAIN_GROUPS_MAX]; /* of the stream at hand; their memory is kept */
    struct found *found;
    size_t n_found, found_capacity;
    struct map by_key; /* level, is_part and text without digits -> number in `found`, plus one */
    struct arena arena;
    struct buf text, key;
    size_t n_samples;
};

/* ---- tallies */

static struct step_count *insert_count(struct work *w, struct tally *t, size_t at, int64_t step) {
    if (w->n_samples == PATTERN_SAMPLES_MAX)
        return NULL;
    if (t->n_counts == t->capacity) {
        size_t capacity = t->capacity ? t->capacity * 2 : 8;
        struct step_count *counts = realloc(t->counts, capacity * sizeof(*counts));
        if (!counts)
            return NULL;
        t->counts = counts;
        t->capacity = capacity;
    }
    memmove(t->counts + at + 1, t->counts + at, (t->n_counts - at) * sizeof(*t->counts));
    t->n_counts++;
    w->n_samples++;
    t->counts[at] = (struct step_count){.step = step};
    return &t->counts[at];
}

/* Blocks come in order of time: mostly the last step, or a new one behind it. */
static int tally_add(struct work *w, struct tally *t, int64_t step, uint64_t count) {
    size_t from = 0, to = t->n_counts;
    if (count == 0)
        return 0;
    if (to > 0 && t->counts[to - 1].step <= step)
        from = to - 1;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (t->counts[middle].step < step)
            from = middle + 1;
        else
            to = middle;
    }
    struct step_count *c = from < t->n_counts && t->counts[from].step == step
                               ? &t->counts[from]
                               : insert_count(w, t, from, step);
    if (!c)
        return w->n_samples == PATTERN_SAMPLES_MAX
                   ? err_set(w->reterr, -EREFUSED,
                             "the patterns have more than %d samples; use a larger step or a "
                             "narrower selector",
                             PATTERN_SAMPLES_MAX)
                   : exec_no_memory(w->reterr);
    c->count += count;
    t->total += count;
    return 0;
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

/* count * part / whole, rounded to the nearest. A bucket counts the entries of one block: 17 bits. */
static uint64_t share(uint64_t count, uint64_t part, uint64_t whole) {
    for (; whole >> 40 != 0; whole >>= 1)
        part >>= 1;
    return (count * part + whole / 2) / whole;
}

/* A span of time, both ends inclusive. */
struct span {
    int64_t from_ns, to_ns;
};

static uint64_t span_size(struct span s) {
    uint64_t size = (uint64_t)s.to_ns - (uint64_t)s.from_ns;
    return size == UINT64_MAX ? size : size + 1;
}

static struct span span_cut(struct span a, struct span b) {
    return (struct span){.from_ns = a.from_ns > b.from_ns ? a.from_ns : b.from_ns,
                         .to_ns = a.to_ns < b.to_ns ? a.to_ns : b.to_ns};
}

/* The lines of a bucket that is as wide as a step, or narrower, belong to the step where it begins. Those of a
 * wider one are spread evenly: where in it they are is not known. */
static int add_spread(struct work *w, struct tally *t, struct span in, int64_t width_ns,
                      uint64_t count) {
    int64_t step_ns = w->query->step_ns;
    int64_t step = floor_div(in.from_ns, step_ns), last = floor_div(in.to_ns, step_ns);
    if (width_ns <= step_ns || step == last)
        return tally_add(w, t, step, count);
    uint64_t whole = span_size(in), done = 0;
    int r = 0;
    for (; step <= last && r == 0; step++) {
        uint64_t part = (uint64_t)(step + 1) * (uint64_t)step_ns - (uint64_t)in.from_ns;
        uint64_t until = step == last ? count : share(count, part, whole);
        r = tally_add(w, t, step, until - done);
        done = until;
    }
    return r;
}

/* What of an entry lies in `asked`; a bucket reaches no further than its block. */
static int add_cells(struct work *w, struct tally *t, const struct pattern_entry *e,
                     int64_t width_ns, struct span block, struct span asked) {
    uint64_t before = t->total;
    int r = 0;
    for (uint32_t i = 0; i < e->n_cells && r == 0; i++) {
        const struct pattern_cell *c = &e->cells[i];
        struct span bucket = {c->start_ns, time_add(c->start_ns, width_ns - 1)};
        bucket = span_cut(bucket, block);
        struct span in = span_cut(bucket, asked);
        if (in.from_ns > in.to_ns)
            continue;
        uint64_t whole = span_size(bucket), part = span_size(in);
        uint64_t count = part == whole ? c->count : share(c->count, part, whole);
        r = add_spread(w, t, in, width_ns, count);
    }
    if (t->total > before)
        t->hits += e->hits;
    return r;
}

/* ---- what streams have in common */

/* A text without a letter, a digit or the like outside of <_> says nothing. */
static bool says_something(struct str text) {
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = (uint8_t)text.data[i];
        if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
            return true;
        if (c >= 0x80 || (c >= '0' && c <= '9'))
            return true;
    }
    return false;
}

/* What a pattern is known by among streams: its words without digits. One stream has seen a value of which another
 * one has only seen that it changes; names differ for good. */
static int make_key(struct work *w, enum pattern_level level, bool is_part, struct str text) {
    buf_clear(&w->key);
    buf_add_char(&w->key, (char)level);
    buf_add_char(&w->key, (char)is_part);
    drain_reset(w->joiner);
    int group = drain_add_template(w->joiner, 0, text);
    if (group >= 0)
        drain_template(w->joiner, group, DRAIN_MASK_DIGITS, &w->key);
    else
        buf_add_str(&w->key, text);
    return w->key.failed ? exec_no_memory(w->reterr) : 0;
}

/* With the key of a new pattern in w->key. NULL without memory. */
static struct found *add_new(struct work *w, enum pattern_level level, bool is_part,
                             struct str text) {
    if (w->n_found == w->found_capacity) {
        size_t capacity = w->found_capacity ? w->found_capacity * 2 : 64;
        struct found *found = realloc(w->found, capacity * sizeof(*found));
        if (!found)
            return NULL;
        w->found = found;
        w->found_capacity = capacity;
    }
    struct str key = arena_copy(&w->arena, buf_str(&w->key));
    struct str copy = arena_copy(&w->arena, text);
    if (!key.data || !copy.data ||
        map_put(&w->by_key, key, (void *)(uintptr_t)(w->n_found + 1)) < 0)
        return NULL;
    struct found *f = &w->found[w->n_found++];
    *f = (struct found){.text = copy, .level = level, .is_part = is_part};
    return f;
}

/* The text that both have in common: their keys are equal, so words with digits are all that differs. */
static int join_texts(struct work *w, struct found *f, struct str text) {
    if (str_eq(f->text, text))
        return 0;
    drain_reset(w->joiner);
    int first = drain_add_template(w->joiner, 0, f->text);
    int second = drain_add_template(w->joiner, 0, text);
    buf_clear(&w->text);
    if (first >= 0 && first == second)
        drain_template(w->joiner, first, DRAIN_AS_IS, &w->text);
    else
        buf_add_str(&w->text, str_from_offset(buf_str(&w->key), 2));
    if (str_eq(f->text, buf_str(&w->text)))
        return 0;
    struct str joined = arena_copy(&w->arena, buf_str(&w->text));
    if (w->text.failed || !joined.data)
        return exec_no_memory(w->reterr);
    f->text = joined;
    return 0;
}

static int add_found(struct work *w, enum pattern_level level, struct str text, bool is_part,
                     const struct tally *t) {
    if (t->total == 0)
        return 0;
    int r = make_key(w, level, is_part, text);
    if (r < 0)
        return r;
    uintptr_t number = (uintptr_t)map_get(&w->by_key, buf_str(&w->key));
    if (number == 0 && w->n_found == PATTERN_FOUND_MAX)
        return 0;
    struct found *f = number ? &w->found[number - 1] : add_new(w, level, is_part, text);
    if (!f)
        return exec_no_memory(w->reterr);
    r = join_texts(w, f, text);
    f->tally.hits += t->hits;
    for (size_t i = 0; i < t->n_counts && r == 0; i++)
        r = tally_add(w, &f->tally, t->counts[i].step, t->counts[i].count);
    return r;
}

/* ---- a stream */

static int check(const struct work *w) {
    const struct pattern_query *q = w->query;
    if (q->cancel && atomic_load_explicit(q->cancel, memory_order_relaxed))
        return err_set(w->reterr, -ECANCELED, "The request was cancelled by the client.");
    if (q->deadline_mono_ns && clock_mono_ns() >= q->deadline_mono_ns)
        return err_set(w->reterr, -EEXPIRED, "request timed out");
    return 0;
}

static void forget_counts(struct work *w, struct tally *t) {
    w->n_samples -= t->n_counts;
    t->hits = t->total = t->n_counts = 0;
}

/* A pattern that finds no room among the stream's groups stands for itself. */
static int add_entry(struct work *w, const struct pattern_entry *e, int64_t width_ns,
                     struct span block, struct span asked) {
    struct tally lone = {0};
    int group = drain_add_template(w->drain, pattern_kind(e->level, e->is_part), e->text);
    struct tally *t = group >= 0 ? &w->groups[group] : &lone;
    int r = add_cells(w, t, e, width_ns, block, asked);
    if (r == 0 && group < 0)
        r = add_found(w, e->level, e->text, e->is_part, &lone);
    forget_counts(w, &lone);
    free(lone.counts);
    return r;
}

static int add_block(struct work *w, const struct block_ref *b, struct span asked) {
    struct block_ref_info info;
    struct pattern_list list;
    block_ref_get(b, &info);
    struct span block = {info.first_ns, info.last_ns};
    if (block.to_ns < asked.from_ns || block.from_ns > asked.to_ns)
        return 0;
    int r = check(w);
    if (r < 0)
        return r;
    block_reader_open_raw(w->reader, b);
    r = block_reader_patterns(w->reader, &list, w->reterr);
    if (r == -ECORRUPT || r == -EFORMAT) {
        (void)err_set(w->reterr, 0, "%s", "");
        return 0; /* the lines can still be read: that a few counts are missing is the smaller harm */
    }
    for (uint32_t i = 0; i < list.count && r == 0; i++)
        r = add_entry(w, &list.entries[i], list.width_ns, block, asked);
    return r;
}

static int add_stream(struct work *w, const struct snap_stream *s) {
    const struct pattern_query *q = w->query;
    struct span asked = {q->start_ns > s->visible_from_ns ? q->start_ns : s->visible_from_ns,
                         q->end_ns - 1};
    int r = 0;
    drain_reset(w->drain);
    for (size_t i = 0; i < s->n_blocks && r == 0; i++) {
        r = add_block(w, s->blocks[i], asked);
        if (r < 0 && block_ref_is_lost(s->blocks[i], r))
            r = 0; /* a damaged block costs itself */
    }
    for (uint32_t i = 0; i < drain_groups(w->drain); i++) {
        struct buf text = buf_make(DRAIN_LINE_MAX);
        uint32_t kind = drain_kind(w->drain, (int)i);
        drain_template(w->drain, (int)i, DRAIN_AS_IS, &text);
        if (r == 0 && text.failed)
            r = exec_no_memory(w->reterr);
        if (r == 0)
            r = add_found(w, (enum pattern_level)(kind / 2), buf_str(&text), kind % 2,
                          &w->groups[i]);
        forget_counts(w, &w->groups[i]);
        buf_done(&text);
    }
    return r;
}

/* ---- the answer */

static int compare_found(const void *a, const void *b) {
    const struct found *x = a, *y = b;
    if (x->tally.total != y->tally.total)
        return x->tally.total > y->tally.total ? -1 : 1;
    int c = str_cmp(x->text, y->text);
    return c != 0 ? c : (int)x->level - (int)y->level;
}

static bool is_shown(const struct found *f) {
    return (f->tally.hits >= PATTERN_HITS_MIN || f->tally.total >= PATTERN_LINES_MIN) &&
           says_something(f->text);
}

static int copy_series(struct work *w, const struct found *f, struct arena *arena,
                       struct pattern_series *ret) {
    struct pattern_sample *samples = arena_array(arena, f->tally.n_counts, sizeof(*samples));
    buf_clear(&w->text);
    pattern_text(f->text, f->is_part, &w->text);
    struct str text = arena_copy(arena, buf_str(&w->text));
    if (!samples || !text.data || w->text.failed)
        return exec_no_memory(w->reterr);
    for (size_t k = 0; k < f->tally.n_counts; k++)
        samples[k] = (struct pattern_sample){
            .ts_ns = f->tally.counts[k].step * w->query->step_ns,
            .count = f->tally.counts[k].count,
        };
    *ret = (struct pattern_series){
        .text = text,
        .level = f->level,
        .total = f->tally.total,
        .samples = samples,
        .n_samples = f->tally.n_counts,
    };
    return 0;
}

static int answer(struct work *w, struct pattern_result *result) {
    size_t n = 0;
    for (size_t i = 0; i < w->n_found; i++) {
        struct found f = w->found[i];
        if (is_shown(&f)) {
            w->found[i] = w->found[n];
            w->found[n++] = f;
        }
    }
    if (n > 0)
        qsort(w->found, n, sizeof(w->found[0]), compare_found);
    if (n > PATTERN_SERIES_MAX)
        n = PATTERN_SERIES_MAX;
    struct pattern_series *series = arena_array(&result->arena, n ? n : 1, sizeof(*series));
    int r = series ? 0 : exec_no_memory(w->reterr);
    for (size_t i = 0; i < n && r == 0; i++)
        r = copy_series(w, &w->found[i], &result->arena, &series[i]);
    result->series = series;
    result->n_series = n;
    return r;
}

static int gather(struct work *w, struct store *store) {
    const struct pattern_query *q = w->query;
    if (q->end_ns <= q->start_ns)
        return 0;
    const struct select sel = {
        .tenant = q->tenant,
        .matchers = q->matchers,
        .n_matchers = q->n_matchers,
        .start_ns = q->start_ns,
        .end_ns = q->end_ns - 1,
    };
    struct snapshot *snap = NULL;
    int r = store_select(store, &sel, &snap, w->reterr);
    if (r < 0)
        return r;
    const struct snap_stream *streams;
    size_t count = snapshot_streams(snap, &streams);
    for (size_t i = 0; i < count && r == 0; i++)
        r = add_stream(w, &streams[i]);
    store_snapshot_free(snap);
    return r;
}

int pattern_query(struct store *store, const struct pattern_query *q, struct pattern_result **ret,
                  struct err *reterr) {
    int r = -ENOMEM;
    struct pattern_result *result = calloc(1, sizeof(*result));
    struct work *w = calloc(1, sizeof(*w));
    if (!result || !w)
        goto out;
    result->arena = arena_make(EXEC_BYTES_MAX);
    *w = (struct work){
        .query = q,
        .reterr = reterr,
        .reader = block_reader_new(),
        .drain = drain_new(),
        .joiner = drain_new(),
        .by_key = map_make(),
        .arena = arena_make(EXEC_BYTES_MAX),
        .text = buf_make(3 * DRAIN_LINE_MAX + 16),
        .key = buf_make(3 * DRAIN_LINE_MAX + 17),
    };
    if (!w->reader || !w->drain || !w->joiner)
        goto out;
    r = gather(w, store);
    if (r == 0)
        r = answer(w, result);
    if (r == 0) {
        *ret = result;
        result = NULL;
    }
out:
    if (r == -ENOMEM)
        (void)exec_no_memory(reterr);
    for (size_t i = 0; w && i < w->n_found; i++)
        free(w->found[i].tally.counts);
    for (size_t i = 0; w && i < DRAIN_GROUPS_MAX; i++)
        free(w->groups[i].counts);
    if (w) {
        free(w->found);
        map_done(&w->by_key);
        arena_done(&w->arena);
        buf_done(&w->text);
        buf_done(&w->key);
        drain_free(w->drain);
        drain_free(w->joiner);
        block_reader_free(w->reader);
    }
    free(w);
    pattern_result_free(result);
    return r;
}

void pattern_result_free(struct pattern_result *r) {
    if (!r)
        return;
    arena_done(&r->arena);
    free(r);
}
