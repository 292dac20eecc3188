/* merge: choosing, and a round over the index. Chunk rows come in the order of streams and times, so each day of a stream
 * is a run of rows. A day is looked at again after each of its rewrites, until nothing is left to choose. */
#include "merge.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "io.h"
#include "log.h"
#include "units.h"
#include "unpack.h"

enum {
    TARGET_DEFAULT = 32 << 20,
    TARGET_MIN = 1 << 20, /* a few blocks; what a flush makes is not large */
    DISK_PERCENT_DEFAULT = 10,
    JOIN_COUNT = 8,        /* files of a tier that are joined; also the factor between tiers */
    TIER_BYTES = 64 << 10, /* all below are one tier */
    JOB_TARGETS = 4,       /* one rewrite reads at most so many target files */
    FAIR_SHARE = 4, /* a file is rewritten for others that have together a quarter of its size */
    ROUNDS_PER_DAY = 1000,  /* rewrites of one day of a stream in one run */
    BAD_MAX = 4096,         /* chunks that could not be read, remembered */
    DAY_ROWS_MAX = 1 << 20, /* more chunks of one stream and day are looked at in parts */
    PACK_LIVE_PERCENT = 50, /* a pack of which less is left is emptied */
    PAIRS_MAX = 2048,
    ARENA_MAX = 1 << 30,
};

#define SETTLE_DEFAULT_NS (2 * NS_PER_HOUR)

/* A table takes half of what zstd 3 leaves, at its cost, and is searched without being decoded. */
enum block_effort merge_effort(enum merge_grade grade) {
    return grade == GRADE_SETTLED ? EFFORT_TABLE : EFFORT_ZSTD_FAST;
}

/* ---- choosing */

static uint64_t target_of(const struct merge_policy *p) {
    uint64_t bytes = p->target_bytes ? p->target_bytes : TARGET_DEFAULT;
    return bytes < TARGET_MIN ? TARGET_MIN : bytes;
}

bool merge_is_settled(const struct merge_policy *p, int32_t day, int64_t now_ns) {
    int64_t settle_ns = p->settle_ns > 0 ? p->settle_ns : SETTLE_DEFAULT_NS;
    int64_t over_ns;
    if (p->everything)
        return true;
    return !__builtin_mul_overflow((int64_t)day + 1, NS_PER_DAY, &over_ns) &&
           !__builtin_add_overflow(over_ns, settle_ns, &over_ns) && over_ns <= now_ns;
}

static bool is_small(const struct merge_policy *p, const struct index_chunk *c) {
    return c->sums.file_bytes < target_of(p) / 2;
}

static unsigned tier_of(uint64_t bytes) {
    unsigned tier = 0;
    for (; bytes >= TIER_BYTES; bytes /= JOIN_COUNT)
        tier++;
    return tier;
}

static bool pick(struct merge_choice *ret, size_t i, uint64_t bytes, uint64_t *sum,
                 uint64_t max_bytes) {
    if (ret->n == REWRITE_SOURCES_MAX || (ret->n > 0 && *sum + bytes > max_bytes))
        return false;
    ret->picked[ret->n++] = i;
    *sum += bytes;
    return true;
}

/* The present day: the lowest tier that has gathered enough files. */
static void choose_tier(const struct index_chunk *chunks, size_t count,
                        const struct merge_policy *p, uint64_t max_bytes,
                        struct merge_choice *ret) {
    enum { TIERS = 32 };
    size_t members[TIERS] = {0};
    for (size_t i = 0; i < count; i++)
        if (is_small(p, &chunks[i]))
            members[tier_of(chunks[i].sums.file_bytes)]++;
    unsigned tier = 0;
    while (tier < TIERS && members[tier] < JOIN_COUNT)
        tier++;
    uint64_t sum = 0;
    for (size_t i = 0; i < count && tier < TIERS; i++)
        if (is_small(p, &chunks[i]) && tier_of(chunks[i].sums.file_bytes) == tier &&
            !pick(ret, i, chunks[i].sums.file_bytes, &sum, max_bytes))
            break;
    ret->grade = GRADE_JOINED;
    if (ret->n < 2)
        ret->n = 0;
}

/* Among settled small files: the largest so that each is worth touching for the others. Many are joined in any case. */
static uint64_t fair_limit(const struct index_chunk *chunks, size_t count,
                           const struct merge_policy *p) {
    uint64_t sum = 0, largest = 0, limit = UINT64_MAX;
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += is_small(p, &chunks[i]);
    while (n >= 2 && n < JOIN_COUNT) {
        sum = largest = n = 0;
        for (size_t i = 0; i < count; i++) {
            uint64_t bytes = chunks[i].sums.file_bytes;
            if (!is_small(p, &chunks[i]) || bytes >= limit)
                continue;
            n++;
            sum += bytes;
            largest = bytes > largest ? bytes : largest;
        }
        if (largest / FAIR_SHARE <= sum - largest)
            return limit;
        limit = largest;
    }
    return n >= 2 ? limit : 0;
}

/* Little of a stream, in few pieces, stays where it is: a file of its own would take more of the disk than it has
 * lines. */
static bool may_stay_packed(const struct index_chunk *chunks, size_t count) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += chunks[i].sums.file_bytes;
        if (chunks[i].pack_seq == 0)
            return false;
    }
    return count < JOIN_COUNT && sum < TIER_BYTES;
}

/* A day that is over. Whatever is not settled yet is rewritten in any case, and takes along what is small beside
 * it; else small files are joined. */
static void choose_settled(const struct index_chunk *chunks, size_t count,
                           const struct merge_policy *p, uint64_t max_bytes,
                           struct merge_choice *ret) {
    uint64_t fresh_bytes = 0, sum = 0;
    if (may_stay_packed(chunks, count))
        return;
    for (size_t i = 0; i < count; i++)
        if (chunks[i].grade < GRADE_SETTLED)
            fresh_bytes += chunks[i].sums.file_bytes;
    uint64_t limit = fresh_bytes > 0 ? 0 : fair_limit(chunks, count, p);
    for (size_t i = 0; i < count; i++) {
        uint64_t bytes = chunks[i].sums.file_bytes;
        bool wanted = chunks[i].grade < GRADE_SETTLED ||
                      (is_small(p, &chunks[i]) &&
                       (bytes < limit || (fresh_bytes > 0 && bytes / FAIR_SHARE <= fresh_bytes)));
        if (wanted && !pick(ret, i, bytes, &sum, max_bytes))
            break;
    }
    ret->grade = GRADE_SETTLED;
    if (fresh_bytes == 0 && ret->n < 2)
        ret->n = 0;
    /* The first files may be settled ones that fill a rewrite by themselves: without them then. */
    bool any_fresh = fresh_bytes == 0;
    for (size_t i = 0; i < ret->n; i++)
        any_fresh = any_fresh || chunks[ret->picked[i]].grade < GRADE_SETTLED;
    if (any_fresh)
        return;
    ret->n = 0;
    sum = 0;
    for (size_t i = 0; i < count; i++)
        if (chunks[i].grade < GRADE_SETTLED &&
            !pick(ret, i, chunks[i].sums.file_bytes, &sum, max_bytes))
            break;
}

void merge_choose(const struct index_chunk *chunks, size_t count, const struct merge_policy *p,
                  int64_t now_ns, uint64_t max_bytes, struct merge_choice *ret) {
    ret->n = 0;
    uint64_t job_bytes = JOB_TARGETS * target_of(p);
    if (max_bytes < job_bytes)
        job_bytes = max_bytes;
    if (count == 0)
        return;
    if (merge_is_settled(p, chunks[0].day, now_ns))
        choose_settled(chunks, count, p, job_bytes, ret);
    else
        choose_tier(chunks, count, p, job_bytes, ret);
    /* A single file may be larger than all that a rewrite may take. */
    if (ret->n == 1 && chunks[ret->picked[0]].sums.file_bytes > max_bytes)
        ret->n = 0;
}

/* ---- a round */

/* What the index knows of a pack of the tenant at hand. */
struct pack_use {
    uint64_t seq;
    int32_t day;
    uint64_t live_bytes;
};

struct merger {
    struct store *store;
    struct merge_hooks hooks;
    struct block_encoder *encoder; /* of a run */
    uint64_t bad[BAD_MAX];         /* damaged, or overlapping too much: left alone */
    size_t n_bad;
    /* of the present run */
    const struct merge_policy *policy;
    int64_t now_ns;
    struct str tenant;
    struct index_chunk *rows; /* of one stream and day */
    size_t n_rows, rows_capacity;
    int64_t pace_from_ns;
    uint64_t pace_bytes;
    struct merge_result *result;
    struct err *reterr;
    struct map packs; /* by number: struct pack_use */
    struct arena packs_arena;
    struct merge_choice choice;
    struct index_chunk sources[REWRITE_SOURCES_MAX];
};

struct merger *merger_new(struct store *store, const struct merge_hooks *hooks) {
    struct merger *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->store = store;
    m->hooks = *hooks;
    return m;
}

void merger_free(struct merger *m) {
    if (!m)
        return;
    free(m->rows);
    free(m);
}

static bool stopped(const struct merger *m) {
    return m->hooks.stopped && m->hooks.stopped(m->hooks.ctx);
}

/* Sleeps as long as the bytes so far are ahead of the rate. */
static int on_pace(void *ctx, uint64_t bytes) {
    struct merger *m = ctx;
    m->pace_bytes += bytes;
    while (!stopped(m)) {
        if (m->policy->rate_bytes == 0)
            return 0;
        double due_s = (double)m->pace_bytes / (double)m->policy->rate_bytes;
        int64_t due_ns = m->pace_from_ns + (int64_t)(due_s * (double)NS_PER_S);
        int64_t wait_ns = due_ns - clock_mono_ns();
        if (wait_ns < -NS_PER_S) { /* no credit for what was not used */
            m->pace_from_ns = clock_mono_ns();
            m->pace_bytes = 0;
        }
        if (wait_ns <= 0)
            return 0;
        if (wait_ns > NS_PER_S / 10)
            wait_ns = NS_PER_S / 10;
        struct timespec pause = {.tv_nsec = wait_ns};
        (void)nanosleep(&pause, NULL);
    }
    return -ECANCELED;
}

static bool is_bad(const struct merger *m, uint64_t seq) {
    for (size_t i = 0; i < m->n_bad; i++)
        if (m->bad[i] == seq)
            return true;
    return false;
}

static void note_bad(struct merger *m, uint64_t seq) {
    if (m->n_bad < BAD_MAX)
        m->bad[m->n_bad++] = seq;
}

/* The day's rows as they are now, without the bad ones. */
static int load_day(struct merger *m, uint64_t stream_id, int32_t day) {
    struct arena arena = arena_make(ARENA_MAX);
    struct index_reader *reader = NULL;
    struct index_chunk *chunks = NULL;
    size_t count = 0, n = 0;
    int64_t start_ns, end_ns;
    if (__builtin_mul_overflow((int64_t)day, NS_PER_DAY, &start_ns))
        start_ns = INT64_MIN;
    if (__builtin_add_overflow(start_ns, NS_PER_DAY - 1, &end_ns))
        end_ns = INT64_MAX;
    int r = index_reader_begin(store_index(m->store), &reader, m->reterr);
    if (r == 0)
        r = index_reader_chunks(reader, m->tenant, stream_id, start_ns, end_ns, &arena, &chunks,
                                &count, m->reterr);
    index_reader_end(reader);
    for (size_t i = 0; i < count && r == 0; i++)
        if (chunks[i].day == day && n < m->rows_capacity && !is_bad(m, chunks[i].chunk_seq))
            m->rows[n++] = chunks[i];
    m->n_rows = n;
    arena_done(&arena);
    return r;
}

/* What a rewrite may write beside its sources. */
static uint64_t room(const struct merger *m) {
    uint64_t free_bytes = 0, total_bytes = 0;
    unsigned percent =
        m->policy->disk_percent ? m->policy->disk_percent : (unsigned)DISK_PERCENT_DEFAULT;
    if (percent > 100)
        percent = 100;
    if (io_disk_space(store_dir_fd(m->store), &free_bytes, &total_bytes) < 0)
        return 0;
    return free_bytes / 100 * percent;
}

static void log_failure(const struct merger *m, const struct index_chunk *c,
                        const struct err *err) {
    struct buf pairs = buf_make(PAIRS_MAX);
    if (!m->hooks.log)
        return;
    buf_addf(&pairs, "tenant=");
    go_quote(&pairs, m->tenant);
    buf_addf(&pairs, " stream=%016" PRIx64 " chunk=%016" PRIx64 " err=", c->stream_id,
             c->chunk_seq);
    go_quote(&pairs, str_from(err->text));
    buf_add_char(&pairs, '\0');
    m->hooks.log(LOG_WARN, "chunks left unmerged", pairs.failed ? "" : pairs.data);
    buf_done(&pairs);
}

static struct rewrite chosen_rewrite(struct merger *m) {
    struct rewrite w = {.tenant = m->tenant,
                        .sources = m->sources,
                        .effort = merge_effort(m->choice.grade),
                        .grade = (uint8_t)m->choice.grade,
                        .target_bytes = target_of(m->policy)};
    if (m->choice.grade == GRADE_SETTLED)
        w.reencode_below = GRADE_SETTLED;
    return w;
}

static int rewrite_once(struct merger *m, struct rewrite *w, size_t n, struct rewrite_result *done,
                        size_t *bad, struct err *reterr) {
    w->n_sources = n;
    w->encoder = m->encoder;
    w->pace = on_pace;
    w->pace_ctx = m;
    if (m->hooks.enter)
        m->hooks.enter(m->hooks.ctx);
    int r = store_rewrite(m->store, w, done, bad, reterr);
    if (m->hooks.leave)
        m->hooks.leave(m->hooks.ctx);
    (void)store_reap(m->store);
    return r;
}

/* Rewrites the sources, or fewer of them when too much overlaps. 1 when something has changed for the better. */
static int rewrite(struct merger *m, struct rewrite *w, size_t n) {
    struct err err = {0};
    struct rewrite_result done = {0};
    size_t bad = 0;
    int r = rewrite_once(m, w, n, &done, &bad, &err);
    while (r == -E2BIG && n > 1) {
        n /= 2;
        r = rewrite_once(m, w, n, &done, &bad, &err);
    }
    if (r == 0) {
        m->result->rewrites++;
        rewrite_result_add(&m->result->sums, &done);
        if (m->hooks.progress)
            m->hooks.progress(m->hooks.ctx, &done);
        return 1;
    }
    if (r == -ESTALE) /* somebody else was here: look again, another time */
        return 0;
    if (r == -ECORRUPT || r == -E2BIG || r == -EREFUSED || r == -EFORMAT) {
        if (r != -ECORRUPT)
            bad = 0;
        m->result->failures++;
        log_failure(m, &m->sources[bad], &err);
        note_bad(m, m->sources[bad].chunk_seq);
        return m->n_bad < BAD_MAX ? 1 : 0;
    }
    return err_set(m->reterr, r, "%s", err.text);
}

/* The gathered rows are those of one stream and day. */
static int merge_day(struct merger *m) {
    if (m->n_rows == 0)
        return 0;
    uint64_t stream_id = m->rows[0].stream_id;
    int32_t day = m->rows[0].day;
    int r = 1;
    bool fresh = false; /* the rows come from the index just now, without the bad ones */
    for (int round = 0; round < ROUNDS_PER_DAY && r > 0; round++) {
        merge_choose(m->rows, m->n_rows, m->policy, m->now_ns, room(m), &m->choice);
        if (m->choice.n == 0)
            break;
        if (!fresh) {
            fresh = true;
            r = load_day(m, stream_id, day);
            r = r == 0 ? 1 : r;
            continue;
        }
        for (size_t i = 0; i < m->choice.n; i++)
            m->sources[i] = m->rows[m->choice.picked[i]];
        struct rewrite w = chosen_rewrite(m);
        r = rewrite(m, &w, m->choice.n);
        if (r > 0) {
            int status = load_day(m, stream_id, day);
            r = status < 0 ? status : r;
        }
    }
    m->n_rows = 0;
    return r < 0 ? r : 0;
}

/* ---- packs of which little is left */

static int count_member(const struct index_chunk *c, void *ctx) {
    struct merger *m = ctx;
    if (c->pack_seq == 0)
        return 0;
    struct pack_use *p =
        map_get(&m->packs, str_make((const char *)&c->pack_seq, sizeof(c->pack_seq)));
    if (!p) {
        p = arena_array(&m->packs_arena, 1, sizeof(*p));
        if (!p)
            return -ENOMEM;
        *p = (struct pack_use){.seq = c->pack_seq, .day = c->day};
        if (map_put(&m->packs, str_make((const char *)&p->seq, sizeof(p->seq)), p) < 0)
            return -ENOMEM;
    }
    p->live_bytes += c->sums.file_bytes;
    return 0;
}

static bool is_thin(const struct merger *m, const struct pack_use *p) {
    char path[CHUNK_PATH_MAX];
    uint64_t size = 0;
    if (pack_path(path, m->tenant, p->day, p->seq) < 0)
        return false;
    int fd = io_open(store_dir_fd(m->store), path, O_RDONLY | O_CLOEXEC, 0);
    bool thin =
        fd >= 0 && io_file_size(fd, &size) == 0 && p->live_bytes < size / 100 * PACK_LIVE_PERCENT;
    io_close(fd);
    return thin;
}

static int move_member(const struct index_chunk *c, void *ctx) {
    struct merger *m = ctx;
    if (stopped(m))
        return -ECANCELED;
    if (is_bad(m, c->chunk_seq))
        return 0;
    m->sources[0] = *c;
    struct rewrite w = unpack_rewrite(m->tenant, m->sources);
    int r = rewrite(m, &w, 1);
    return r < 0 ? r : 0;
}

/* What is left of them gets files of its own, or a small rest would keep the space of all. */
static int empty_thin_packs(struct merger *m) {
    m->packs = map_make();
    m->packs_arena = arena_make(ARENA_MAX);
    struct unpack u = {.tenant = m->tenant};
    int r = index_walk_chunks(store_index(m->store), m->tenant, count_member, m, m->reterr);
    size_t at = 0;
    struct str key;
    void *value;
    while (r == 0 && map_next(&m->packs, &at, &key, &value)) {
        const struct pack_use *p = value;
        if (is_thin(m, p) && numbers_add(&u.packs, p->seq) < 0)
            r = err_set(m->reterr, -ENOMEM, "no memory to empty packs");
    }
    if (r == 0 && u.packs.n > 0) {
        numbers_sort(&u.packs);
        r = unpack_walk(m->store, &u, move_member, m, m->reterr);
    }
    numbers_done(&u.packs);
    map_done(&m->packs);
    arena_done(&m->packs_arena);
    return r;
}

/* ---- streams and days */

static int visit(const struct index_chunk *c, void *ctx) {
    struct merger *m = ctx;
    int r = 0;
    if (m->n_rows > 0 && (m->rows[0].stream_id != c->stream_id || m->rows[0].day != c->day ||
                          m->n_rows == DAY_ROWS_MAX))
        r = merge_day(m);
    if (r == 0 && stopped(m))
        r = -ECANCELED;
    if (r < 0)
        return r;
    if (m->n_rows == m->rows_capacity) {
        size_t capacity = m->rows_capacity ? m->rows_capacity * 2 : 256;
        struct index_chunk *rows = realloc(m->rows, sizeof(*rows) * capacity);
        if (!rows)
            return err_set(m->reterr, -ENOMEM, "no memory to merge chunks");
        m->rows = rows;
        m->rows_capacity = capacity;
    }
    m->rows[m->n_rows++] = *c;
    return 0;
}

int merger_run(struct merger *m, const struct merge_policy *p, int64_t now_ns,
               struct merge_result *ret, struct err *reterr) {
    struct arena arena = arena_make(ARENA_MAX);
    struct str *tenants = NULL;
    size_t n_tenants = 0;
    *ret = (struct merge_result){0};
    m->policy = p;
    m->now_ns = now_ns;
    m->result = ret;
    m->reterr = reterr;
    m->pace_from_ns = clock_mono_ns();
    m->pace_bytes = 0;
    m->encoder = block_encoder_new(); /* without memory each rewrite tries again */
    int r = index_tenants(store_index(m->store), &arena, &tenants, &n_tenants);
    if (r < 0)
        (void)err_set(reterr, r, "merge: cannot list tenants: %s", err_name(r));
    for (size_t i = 0; i < n_tenants && r == 0; i++) {
        m->tenant = tenants[i];
        m->n_rows = 0;
        r = index_walk_chunks(store_index(m->store), tenants[i], visit, m, reterr);
        if (r == 0)
            r = merge_day(m);
        if (r == 0)
            r = empty_thin_packs(m);
    }
    block_encoder_free(m->encoder); /* some MiB that nobody needs until the next run */
    m->encoder = NULL;
    if (r == -ECANCELED)
        (void)err_set(reterr, r, "the merge was stopped");
    arena_done(&arena);
    return r;
}
