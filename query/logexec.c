/* Log queries: the first `limit` entries from the asked end over all streams.
 *
 * All workers share one bounded heap whose root is the worst entry kept. Once it is full, its root's time is
 * the threshold: blocks are tried in time order from the asked end, so a worker skips blocks and leaves
 * blocks that cannot hold anything better, and the query is over when no block left can. Entries at the
 * same time as the threshold are still compared, because the complete order decides who stays:
 *   time, then the hash of the final label set, then the stream's id, then arrival (block order, place in it);
 * backward queries turn time and arrival round. The hash is Loki's, which merges by it. The order is total, so answers do
 * not depend on how the workers ran.
 *
 * Where the parts of blocks say which lines pass (scan_tell), the limit's time is found first, from levels and times alone
 * (horizon.h), and only then are lines written: no others but those of the answer, and of entries at that time. Blocks that
 * cannot tell are searched at once, meanwhile.
 *
 * Mostly the limit is reached at the asked end of a long range: so that the blocks of all of it need not be listed and
 * their filters asked, a part of it there is tried first, and the rest only when that had too few. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "bytes.h"
#include "exec.h"
#include "hash.h"
#include "horizon.h"
#include "plan.h"
#include "scan.h"
#include "tie.h"
#include "units.h"

enum {
    PARTS_MAX = 2,
    FIRST_SHARE = 32,              /* of the range is tried first */
    WHOLE_SECONDS = 3600,          /* shorter ranges are not cut */
    FIRST_LIMIT_MAX = 1000 * 1000, /* so many are hardly there */
    COMMON_SIZE_MAX = 7,           /* of a literal that many blocks have */
    SCOUT_LIMIT_MAX = 16 * 1024,   /* more lines are not in blocks that stay open */
    WRITE_BATCH = 4,               /* blocks of some lines each */
};

struct candidate {
    uint64_t tie;
    const struct snap_stream *stream;
    uint64_t order;
    uint32_t entry;
    const struct line_labels *labels; /* lives as long as the worker's run */
    /* The line's bytes; the memory is used again when a better entry takes this place. */
    char *line;
    size_t line_size, line_capacity;
    bool in_result; /* the memory is the result's */
};

/* The heap moves these: two words, and what tells most of them apart. */
struct place {
    int64_t ts_ns;
    struct candidate *candidate;
};

struct tie {
    bool known;
    uint64_t hash;
};

struct log_worker {
    struct log_query *query;
    bool ready;
    struct scanner scanner;
    struct arena chosen; /* what the part's tasks have chosen */
    struct tie *ties;    /* by the label set's id in the run */
    size_t n_ties;
    struct buf scratch;
};

/* A part of the range. What candidates refer to lives until the answer is made. */
struct log_part {
    struct plan plan;
    struct log_worker *workers;
    struct scan_chosen *chosen; /* by task, while it is searched in two steps */
    size_t *writing;            /* the second step: tasks that have chosen something */
    size_t n_writing;
};

/* SEARCH: lines are found and written. SCOUT: found, and written only where that is the way to find them; WRITE: written. */
enum log_step { STEP_SEARCH, STEP_SCOUT, STEP_WRITE };

struct log_query {
    struct exec *exec;
    struct query_result *result;
    bool backward;
    struct log_part parts[PARTS_MAX];
    struct log_part *part; /* the one that is searched */
    size_t n_parts;
    unsigned n_workers;
    enum log_step step;

    atomic_bool full;
    atomic_int_least64_t threshold_ns; /* time of the worst entry found, once there are enough */
    pthread_mutex_t lock;              /* guards all below, and the result's arena */
    struct place *heap;                /* the worst is at 0 */
    size_t n_heap, capacity, limit;
    struct horizon horizon; /* of the steps SCOUT and WRITE */
    struct arena candidates;
    size_t line_bytes; /* of what candidates keep */
};

/* Should `a` come before `b`, of the same time, in the answer? */
static bool wins_tie(const struct log_query *q, const struct candidate *a,
                     const struct candidate *b) {
    if (a->tie != b->tie)
        return a->tie < b->tie;
    if (a->stream != b->stream)
        return a->stream->id < b->stream->id;
    if (a->order != b->order)
        return q->backward ? a->order > b->order : a->order < b->order;
    return q->backward ? a->entry > b->entry : a->entry < b->entry;
}

static inline bool comes_before(const struct log_query *q, struct place a, struct place b) {
    if (a.ts_ns != b.ts_ns)
        return q->backward ? a.ts_ns > b.ts_ns : a.ts_ns < b.ts_ns;
    return wins_tie(q, a.candidate, b.candidate);
}

/* Puts `added` where place i is free. */
static void sift_up(struct log_query *q, size_t i, struct place added) {
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (!comes_before(q, q->heap[parent], added))
            break;
        q->heap[i] = q->heap[parent];
        i = parent;
    }
    q->heap[i] = added;
}

/* Puts `added` in place of the worst. */
static void sift_down(struct log_query *q, struct place added) {
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= q->n_heap)
            break;
        if (child + 1 < q->n_heap && comes_before(q, q->heap[child], q->heap[child + 1]))
            child++;
        if (!comes_before(q, added, q->heap[child]))
            break;
        q->heap[i] = q->heap[child];
        i = child;
    }
    q->heap[i] = added;
}

/* Is an entry at this time, or any later one in the query's direction, worth looking at? */
static bool time_counts(struct log_query *q, int64_t ts_ns) {
    if (!atomic_load_explicit(&q->full, memory_order_acquire))
        return true;
    int64_t threshold = atomic_load_explicit(&q->threshold_ns, memory_order_relaxed);
    return q->backward ? ts_ns >= threshold : ts_ns <= threshold;
}

static int too_large(struct err *reterr) {
    return err_set(reterr, -EREFUSED,
                   "the result is larger than %zu bytes; ask for fewer entries with limit",
                   EXEC_BYTES_MAX);
}

/* Memory of the candidate's own, which it uses again for the next line. */
static int own_room(struct log_query *q, struct candidate *place, size_t size, struct err *reterr) {
    size_t capacity = place->line_capacity, wanted = size < 128 ? 128 : size;
    if (q->line_bytes - capacity + wanted > EXEC_BYTES_MAX)
        return too_large(reterr);
    bool taken = budget_take(BUDGET_QUERIES, wanted - capacity);
    char *grown = taken ? realloc(place->line, wanted) : NULL;
    if (!grown) {
        if (taken)
            budget_give(BUDGET_QUERIES, wanted - capacity);
        return exec_no_memory(reterr);
    }
    q->line_bytes += wanted - capacity;
    place->line = grown;
    place->line_capacity = wanted;
    return 0;
}

/* Memory of the result, for a line that is hardly going to be replaced. */
static int result_room(struct log_query *q, struct candidate *place, size_t size,
                       struct err *reterr) {
    size_t wanted = size < 2 * place->line_capacity ? 2 * place->line_capacity : size;
    char *room = arena_alloc(&q->result->arena, wanted);
    if (!room)
        return q->result->arena.total_bytes + wanted > EXEC_BYTES_MAX ? too_large(reterr)
                                                                      : exec_no_memory(reterr);
    place->line = room;
    place->line_capacity = wanted;
    place->in_result = true;
    return 0;
}

static int candidate_fill(struct log_query *q, struct candidate *place,
                          const struct candidate *from, struct str line, struct err *reterr) {
    if (line.size > place->line_capacity || !place->line) {
        bool in_result = place->in_result || (q->step == STEP_WRITE && !place->line);
        int r = in_result ? result_room(q, place, line.size, reterr)
                          : own_room(q, place, line.size, reterr);
        if (r < 0)
            return r;
    }
    if (line.size > 0)
        memcpy(place->line, line.data, line.size);
    struct candidate filled = *from;
    filled.line = place->line;
    filled.line_size = line.size;
    filled.line_capacity = place->line_capacity;
    filled.in_result = place->in_result;
    *place = filled;
    return 0;
}

static int heap_grow(struct log_query *q, struct err *reterr) {
    size_t capacity = q->capacity ? q->capacity * 2 : 256;
    if (capacity > q->limit)
        capacity = q->limit;
    struct place *heap = realloc(q->heap, capacity * sizeof(*heap));
    if (!heap)
        return exec_no_memory(reterr);
    q->heap = heap;
    q->capacity = capacity;
    return 0;
}

/* A candidate without a line, in the heap's next place. */
static int heap_add(struct log_query *q, struct candidate **ret, struct err *reterr) {
    int r = q->n_heap == q->capacity ? heap_grow(q, reterr) : 0;
    if (r < 0)
        return r;
    struct candidate *c = arena_array(&q->candidates, 1, sizeof(*c));
    if (!c)
        return exec_no_memory(reterr);
    *ret = q->heap[q->n_heap++].candidate = c;
    return 0;
}

static void set_threshold(struct log_query *q, int64_t ts_ns) {
    atomic_store_explicit(&q->threshold_ns, ts_ns, memory_order_relaxed);
    atomic_store_explicit(&q->full, true, memory_order_release);
}

static int heap_offer(struct log_query *q, const struct candidate *c, int64_t ts_ns,
                      struct str line, struct err *reterr) {
    struct place added = {.ts_ns = ts_ns, .candidate = (struct candidate *)c};
    bool was_full = q->n_heap == q->limit;
    if (was_full && !comes_before(q, added, q->heap[0]))
        return 0;
    int r = 0;
    if (was_full)
        added.candidate = q->heap[0].candidate;
    else
        r = heap_add(q, &added.candidate, reterr);
    if (r == 0)
        r = candidate_fill(q, added.candidate, c, line, reterr);
    if (r < 0)
        return r;
    if (was_full)
        sift_down(q, added);
    else
        sift_up(q, q->n_heap - 1, added);
    if (q->n_heap == q->limit && q->step == STEP_SEARCH)
        set_threshold(q, q->heap[0].ts_ns);
    return 0;
}

/* Entries are found at these times, the best first. */
static int note_found(struct log_query *q, const int64_t *times_ns, size_t count,
                      struct err *reterr) {
    int64_t horizon_ns;
    if (horizon_add(&q->horizon, times_ns, count) < 0)
        return exec_no_memory(reterr);
    if (horizon_get(&q->horizon, &horizon_ns))
        set_threshold(q, horizon_ns);
    return 0;
}

/* tie_hash of a set of this worker's run, computed once per set. */
static int set_tie(struct log_worker *w, const struct line_labels *labels, uint64_t *ret,
                   struct err *reterr) {
    if (labels->id >= w->n_ties) {
        size_t count = w->n_ties ? w->n_ties * 2 : 64;
        while (count <= labels->id)
            count *= 2;
        struct tie *grown = realloc(w->ties, count * sizeof(*grown));
        if (!grown)
            return exec_no_memory(reterr);
        memset(grown + w->n_ties, 0, (count - w->n_ties) * sizeof(*grown));
        w->ties = grown;
        w->n_ties = count;
    }
    struct tie *tie = &w->ties[labels->id];
    if (!tie->known) {
        if (tie_hash(labels->merged, &w->scratch, &tie->hash) < 0)
            return exec_no_memory(reterr);
        tie->known = true;
    }
    *ret = tie->hash;
    return 0;
}

static int take_line(void *ctx, struct scanner *s, uint32_t entry, int64_t ts_ns,
                     const struct pipeline_output *out, struct err *reterr) {
    struct log_worker *w = ctx;
    struct log_query *q = w->query;
    if (!time_counts(q, ts_ns))
        return 1; /* entries come in the query's direction: the rest of the block is no better */
    const struct line_labels *labels = pipeline_run_labels(s->run);
    if (!labels)
        return exec_no_memory(reterr);
    struct candidate c = {
        .stream = s->stream,
        .order = s->task->order,
        .entry = entry,
        .labels = labels,
    };
    int r = set_tie(w, labels, &c.tie, reterr);
    if (r < 0)
        return r;
    pthread_mutex_lock(&q->lock);
    r = heap_offer(q, &c, ts_ns, out->line, reterr);
    if (r == 0 && q->step == STEP_SCOUT)
        r = note_found(q, &ts_ns, 1, reterr);
    pthread_mutex_unlock(&q->lock);
    return r;
}

/* Of `count` levels, how many at the end that is looked at first are LINETAB_NO, in steps of eight. */
static uint32_t count_refused(const uint8_t *levels, uint32_t count, bool backward) {
    uint32_t n = 0;
    while (count - n >= 8 && get_le64(backward ? levels + (count - n - 8) : levels + n) == 0)
        n += 8;
    return n;
}

/* Of the open block, whose `levels` tell of each entry whether it passes (NULL: all do; labels may have to be asked, too),
 * those that count. */
static int choose(struct log_query *q, struct scanner *s, struct log_worker *w,
                  const uint8_t *levels, struct err *reterr) {
    uint32_t total = s->to - s->from, n = 0;
    bool labels_tell = q->part->plan.labels_tell;
    /* Metadata comes with the lines; if it is damaged, the block's entries are not to be counted on. */
    int r = scan_times(s, reterr);
    if (r == 0)
        r = scan_columns(s, reterr);
    int64_t *times = arena_alloc(&w->chosen, total * (sizeof(*times) + sizeof(uint32_t)));
    uint32_t *entries = (uint32_t *)(void *)(times + total);
    if (r < 0 || !times)
        return r < 0 ? r : exec_no_memory(reterr);
    for (uint32_t k = 0; k < total; k++) {
        if (levels)
            k += count_refused(levels + s->from + (q->backward ? 0 : k), total - k, q->backward);
        if (k == total)
            break;
        uint32_t i = q->backward ? s->to - 1 - k : s->from + k;
        if ((levels && levels[i] != LINETAB_YES) || dead_test(s->dead, i))
            continue;
        if (!time_counts(q, s->times[i]) || (n >= q->limit && s->times[i] != times[n - 1]))
            break;
        if (labels_tell && !scan_labels_pass(s, i))
            continue;
        times[n] = s->times[i];
        entries[n++] = i;
    }
    memmove(times + n, entries, n * sizeof(*entries));
    arena_trim(&w->chosen, times, n * (sizeof(*times) + sizeof(*entries)));
    q->part->chosen[s->task - q->part->plan.tasks] = (struct scan_chosen){
        .times = times, .entries = (uint32_t *)(void *)(times + n), .count = n};
    pthread_mutex_lock(&q->lock);
    r = note_found(q, times, n, reterr);
    pthread_mutex_unlock(&q->lock);
    return r;
}

/* Lines that are worse than all that is kept are not even written. */
static int search_block(struct log_query *q, struct scanner *s, struct log_worker *w,
                        struct err *reterr) {
    int r = 0;
    if (atomic_load_explicit(&q->full, memory_order_acquire)) {
        int64_t worst_ns = atomic_load_explicit(&q->threshold_ns, memory_order_relaxed);
        bool cuts = q->backward ? s->task->first_ns < worst_ns : s->task->last_ns > worst_ns;
        if (cuts)
            r = scan_narrow(s, q->backward ? worst_ns : INT64_MIN,
                            q->backward ? INT64_MAX : worst_ns, reterr);
    }
    if (r < 0 || s->from >= s->to)
        return r;
    const uint8_t *levels;
    r = q->step == STEP_SCOUT ? scan_tell(s, &levels, reterr) : 0;
    if (r < 0)
        return r;
    return r > 0 ? choose(q, s, w, levels, reterr) : scan_entries(s, take_line, w, reterr);
}

static int worker_begin(struct log_query *q, struct log_worker *w, struct err *reterr) {
    w->ready = true;
    w->query = q;
    w->scratch = buf_make(EXEC_BYTES_MAX);
    w->chosen = arena_make_for(BUDGET_QUERIES, EXEC_BYTES_MAX);
    int r = scanner_init(&w->scanner, &q->part->plan, reterr);
    w->scanner.twice = q->step == STEP_SCOUT;
    return r;
}

/* Goes on without a block whose bytes are damaged or gone. */
static int forgive(struct scanner *s, const struct plan_task *task, int r, struct err *reterr) {
    if (r >= 0 || !block_ref_is_lost(task->block, r))
        return r;
    exec_note_lost(&s->stats, 1, reterr->text);
    return 0;
}

static int run_tasks(void *ctx, unsigned worker, size_t from, size_t to, struct err *reterr) {
    struct log_query *q = ctx;
    struct plan *plan = &q->part->plan;
    struct log_worker *w = &q->part->workers[worker];
    struct scanner *s = &w->scanner;
    int begun = w->ready ? 0 : worker_begin(q, w, reterr);
    if (begun < 0)
        return begun;
    for (size_t i = from; i < to; i++) {
        const struct plan_task *task = &plan->tasks[i];
        if (!time_counts(q, q->backward ? task->last_ns : task->first_ns))
            return 1; /* tasks are in this order too */
        int r = exec_check(q->exec, reterr);
        if (r == 0)
            r = scan_begin(s, task, reterr);
        if (r > 0)
            r = search_block(q, s, w, reterr);
        r = forgive(s, task, r, reterr);
        if (r < 0)
            return r;
        if (q->step == STEP_SCOUT)
            scan_leave(s); /* whoever writes of it */
    }
    return 0;
}

/* The second step. */
static int write_tasks(void *ctx, unsigned worker, size_t from, size_t to, struct err *reterr) {
    struct log_query *q = ctx;
    struct log_part *part = q->part;
    struct log_worker *w = &part->workers[worker];
    int r = w->ready ? 0 : worker_begin(q, w, reterr);
    for (size_t i = from; r == 0 && i < to; i++) {
        size_t number = part->writing[i];
        const struct plan_task *task = &part->plan.tasks[number];
        struct scan_chosen chosen = part->chosen[number];
        while (!time_counts(q, chosen.times[chosen.count - 1]))
            chosen.count--;
        r = exec_check(q->exec, reterr);
        if (r == 0)
            r = scan_chosen(&w->scanner, task, &chosen, take_line, w, reterr);
        r = forgive(&w->scanner, task, r, reterr);
    }
    return r;
}

/* The horizon is known: writes what lies before it. */
static int write_chosen(struct log_query *q, struct err *reterr) {
    struct log_part *part = q->part;
    q->step = STEP_WRITE;
    for (size_t i = 0; i < part->plan.n_tasks; i++)
        if (part->chosen[i].count > 0 && time_counts(q, part->chosen[i].times[0]))
            part->writing[part->n_writing++] = i;
    struct crew_job job = {
        .run = write_tasks, .ctx = q, .n_tasks = part->n_writing, .batch = WRITE_BATCH};
    return crew_run(q->exec->crew, &job, reterr);
}

static int prepare_scout(struct log_query *q, struct err *reterr) {
    struct log_part *part = q->part;
    struct arena *arena = &q->exec->arena;
    q->step = STEP_SEARCH;
    bool tells = part->plan.clauses_tell || part->plan.labels_tell;
    if (!tells || q->limit > SCOUT_LIMIT_MAX)
        return 0;
    part->chosen = arena_array(arena, part->plan.n_tasks, sizeof(*part->chosen));
    part->writing = arena_array(arena, part->plan.n_tasks, sizeof(*part->writing));
    q->step = STEP_SCOUT;
    return part->chosen && part->writing ? 0 : exec_no_memory(reterr);
}

/* ---- the answer */

/* Result sets are found by the pointer of the worker's interned labels first, by content second. */
struct set_slot {
    const struct line_labels *labels; /* NULL = free */
    uint32_t set;
};

struct set_table {
    struct set_slot *by_pointer, *by_content;
    size_t mask;
    struct result_set *sets;
    size_t n_sets;
};

static bool sets_equal(const struct result_set *set, const struct line_labels *l) {
    return set->hash == l->hash && labels_eq(set->merged, l->merged) &&
           labels_eq(set->stream, l->stream) && labels_eq(set->metadata, l->metadata) &&
           labels_eq(set->parsed, l->parsed);
}

static int set_add(struct set_table *t, struct arena *arena, const struct line_labels *l) {
    struct result_set *set = &t->sets[t->n_sets];
    set->hash = l->hash;
    int r = exec_copy_labels(arena, l->merged, &set->merged);
    if (r == 0)
        r = exec_copy_labels(arena, l->stream, &set->stream);
    if (r == 0)
        r = exec_copy_labels(arena, l->metadata, &set->metadata);
    if (r == 0)
        r = exec_copy_labels(arena, l->parsed, &set->parsed);
    if (r == 0)
        t->n_sets++;
    return r;
}

static int set_find(struct set_table *t, struct arena *arena, const struct line_labels *l,
                    uint32_t *ret) {
    size_t at = (size_t)hash_mix((uint64_t)(uintptr_t)l, 0) & t->mask;
    while (t->by_pointer[at].labels && t->by_pointer[at].labels != l)
        at = (at + 1) & t->mask;
    if (t->by_pointer[at].labels == l) {
        *ret = t->by_pointer[at].set;
        return 0;
    }
    size_t place = (size_t)l->hash & t->mask;
    while (t->by_content[place].labels && !sets_equal(&t->sets[t->by_content[place].set], l))
        place = (place + 1) & t->mask;
    if (!t->by_content[place].labels) {
        int r = set_add(t, arena, l);
        if (r < 0)
            return r;
        t->by_content[place] = (struct set_slot){l, (uint32_t)(t->n_sets - 1)};
    }
    *ret = t->by_content[place].set;
    t->by_pointer[at] = (struct set_slot){l, *ret};
    return 0;
}

/* Loki thins after the limit: the first entry, then each that is at least an interval past the last kept. */
static bool interval_keeps(const struct query *q, bool backward, int64_t last_ns, int64_t ts_ns) {
    return backward ? ts_ns <= time_sub(last_ns, q->interval_ns)
                    : ts_ns >= time_add(last_ns, q->interval_ns);
}

static int answer(struct log_query *q, struct query_result *result, struct err *reterr) {
    /* Heap order to answer order: take the worst out again and again. */
    size_t count = q->n_heap;
    while (q->n_heap > 1) {
        struct place worst = q->heap[0];
        q->n_heap--;
        sift_down(q, q->heap[q->n_heap]);
        q->heap[q->n_heap] = worst;
    }
    q->n_heap = count;
    if (count == 0)
        return 0;
    struct arena *scratch = &q->exec->arena;
    size_t slots = 16;
    while (slots < count * 2)
        slots *= 2;
    struct set_table table = {
        .by_pointer = arena_array(scratch, slots, sizeof(struct set_slot)),
        .by_content = arena_array(scratch, slots, sizeof(struct set_slot)),
        .mask = slots - 1,
        .sets = arena_array(&result->arena, count, sizeof(struct result_set)),
    };
    struct result_entry *entries = arena_array(&result->arena, count, sizeof(*entries));
    if (!table.by_pointer || !table.by_content || !table.sets || !entries)
        return exec_no_memory(reterr);
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        const struct candidate *c = q->heap[i].candidate;
        int64_t ts_ns = q->heap[i].ts_ns;
        if (n > 0 && q->exec->query->interval_ns > 0 &&
            !interval_keeps(q->exec->query, q->backward, entries[n - 1].ts_ns, ts_ns))
            continue;
        struct result_entry *e = &entries[n];
        e->ts_ns = ts_ns;
        e->line = str_make(c->line, c->line_size);
        if (!c->in_result)
            e->line = arena_copy(&result->arena, e->line);
        if (!e->line.data || set_find(&table, &result->arena, c->labels, &e->set) < 0)
            return exec_no_memory(reterr);
        n++;
    }
    result->sets = table.sets;
    result->n_sets = table.n_sets;
    result->entries = entries;
    result->n_entries = n;
    return 0;
}

/* All entries of [start_ns, end_ns], both inclusive, that are better than what has been kept. */
static int scan_part(struct log_query *q, const struct log_expr *log, int64_t start_ns,
                     int64_t end_ns, struct err *reterr) {
    struct log_part *part = q->part = &q->parts[q->n_parts++];
    uint64_t streams_before = q->exec->stats.streams;
    struct plan_options options = {
        .log = log,
        .pipeline = {.needs = {.all = true}},
        .start_ns = start_ns,
        .end_ns = end_ns,
        .order = q->backward ? PLAN_NEWEST_FIRST : PLAN_OLDEST_FIRST,
        .shows_lines = true,
    };
    part->workers = arena_array(&q->exec->arena, q->n_workers, sizeof(*part->workers));
    int r =
        part->workers ? plan_make(q->exec, &options, &part->plan, reterr) : exec_no_memory(reterr);
    if (r < 0)
        return r;
    /* Streams that both parts have are counted once. */
    if (streams_before > part->plan.n_streams)
        q->exec->stats.streams = streams_before;
    else
        q->exec->stats.streams = part->plan.n_streams;
    r = prepare_scout(q, reterr);
    if (r < 0)
        return r;
    struct crew_job job = {.run = run_tasks, .ctx = q, .n_tasks = part->plan.n_tasks, .batch = 1};
    r = crew_run(q->exec->crew, &job, reterr);
    return r == 0 && q->step == STEP_SCOUT ? write_chosen(q, reterr) : r;
}

/* A long literal is rare: its filters are better asked for all of the range at once. */
static bool seeks_rare(const struct log_expr *log) {
    for (const struct stage *s = log->stages; s; s = s->next) {
        const struct line_operand *o = s->line_filter.operands;
        if (s->kind == STAGE_LINE_FILTER && s->line_filter.op == LINE_CONTAINS && o && !o->next &&
            o->text.size > COMMON_SIZE_MAX)
            return true;
    }
    return false;
}

static int scan_all(struct log_query *q, const struct log_expr *log, struct err *reterr) {
    const struct query *query = q->exec->query;
    int64_t first_ns = query->start_ns, last_ns = time_sub(query->end_ns, 1);
    int64_t span_ns = time_sub(last_ns, first_ns), share_ns = span_ns / FIRST_SHARE;
    /* A tail's history is one snapshot, which its tap is told of. */
    if (span_ns < WHOLE_SECONDS * NS_PER_S || q->limit > FIRST_LIMIT_MAX || query->tap ||
        seeks_rare(log))
        return scan_part(q, log, first_ns, last_ns, reterr);
    int64_t cut_ns = q->backward ? last_ns - share_ns : first_ns + share_ns;
    int r = q->backward ? scan_part(q, log, cut_ns + 1, last_ns, reterr)
                        : scan_part(q, log, first_ns, cut_ns, reterr);
    if (r < 0 || q->n_heap == q->limit)
        return r;
    return q->backward ? scan_part(q, log, first_ns, cut_ns, reterr)
                       : scan_part(q, log, cut_ns + 1, last_ns, reterr);
}

static void part_done(struct log_query *q, struct log_part *part) {
    for (unsigned i = 0; part->workers && i < q->n_workers; i++) {
        struct log_worker *w = &part->workers[i];
        if (!w->ready)
            continue;
        exec_add_stats(&q->exec->stats, &w->scanner.stats);
        scanner_done(&w->scanner);
        free(w->ties);
        buf_done(&w->scratch);
        arena_done(&w->chosen);
    }
    plan_done(&part->plan);
}

int exec_log(struct exec *x, const struct log_expr *log, struct query_result *result,
             struct err *reterr) {
    const struct query *query = x->query;
    struct log_query q = {
        .exec = x,
        .result = result,
        .backward = query->direction == DIR_BACKWARD,
        .limit = query->limit ? query->limit : UINT32_MAX,
        .n_workers = crew_slots(x->crew),
        .horizon = horizon_make(query->direction == DIR_BACKWARD,
                                query->limit ? query->limit : UINT32_MAX),
        .candidates = arena_make_for(BUDGET_QUERIES, EXEC_BYTES_MAX),
    };
    /* It is held for less than a sleep takes. */
    pthread_mutexattr_t adaptive;
    pthread_mutexattr_init(&adaptive);
    pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&q.lock, &adaptive);
    pthread_mutexattr_destroy(&adaptive);
    result->type = RESULT_STREAMS;
    int r = scan_all(&q, log, reterr);
    if (r == 0)
        r = answer(&q, result, reterr);
    for (size_t i = 0; i < q.n_parts; i++)
        part_done(&q, &q.parts[i]);
    for (size_t i = 0; i < q.n_heap; i++)
        if (!q.heap[i].candidate->in_result)
            free(q.heap[i].candidate->line);
    free(q.heap);
    horizon_done(&q.horizon);
    arena_done(&q.candidates);
    budget_give(BUDGET_QUERIES, q.line_bytes);
    pthread_mutex_destroy(&q.lock);
    return r;
}
