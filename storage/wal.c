/* The writing half of the WAL.
 *
 * Two batches of memory: callers fill one under the mutex while the thread writes the other. Segment and offset of
 * a record are decided when it is appended; the thread only follows, so positions never change.
 *
 * Order of a batch: for each run of records in one segment: create the segment when it is new (allocate, fsync
 * the folder), write the run, fdatasync; a segment that is left gets its last fdatasync. Only then completions are
 * called, and only after them it is cut to its used size.
 *
 * Crash states: see wal_replay.c; the folder is fsynced before a record in a new segment is acknowledged, so
 * a segment with acknowledged records cannot vanish. The file with the highest number is never removed, so a
 * restart never hands out a position twice.
 *
 * Failures. Disk full (or no descriptor, no memory in the kernel): the batch and all that waits behind it complete
 * with -ENOSPC, for their positions are in a segment that now has a hole; the segment is cut back to its last
 * good record and later records go to a new one. Appends are refused for RETRY_NS; then the thread tries to make the
 * next segment, and so on until that or a record that comes first succeeds. Anything else, and every failed fsync,
 * is final.
 *
 * With WAL_SYNC_ALWAYS bytes go to the disk past the page cache (O_DIRECT) where the file system lets them: nobody reads
 * them again, and each page would be allocated, copied to and given back. Whole pages are written then. A batch's bytes
 * stand in memory as they stand in the file, counted from the beginning of a page; the first page is filled up with what
 * the file holds of it already, the last one with zeros, which the next batch writes over. (Through the cache the kernel
 * does the same.)
 *
 * The last of the disk is not the WAL's: a segment is made only when it leaves reserve_bytes free, so that heads can
 * still be flushed and expired chunks still leave the index, which is what brings space back. */
#include "wal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bytes.h"
#include "clock.h"
#include "io.h"
#include "pages.h"
#include "units.h"
#include "wal_segment.h"

#define RETRY_NS INT64_C(1000000000)
#define GIVE_BACK_NS INT64_C(1000000000)

enum {
    SEGMENT_MIN = 4096,
    SEGMENT_MAX = 1 << 30, /* offsets are 32 bits and one record may stand behind the limit */
    RESERVE_MAX = 64 << 20,
    DISK_SHARE = 16, /* a segment, and the reserve, are at most this part of the file system */
    SPEED_FROM = 64 << 10,
    KEEP_BATCH_BYTES =
        4 << 20, /* a larger buffer is given back when no push has come for GIVE_BACK_NS */
    BUSY_BATCH_BYTES = 16 << 20, /* and one that is larger than this right after its batch */
    PAGE = 4096, /* what O_DIRECT wants its places and sizes to be multiples of, at most */
};

static_assert((uint64_t)SEGMENT_MAX + WAL_RECORD_MAX + WAL_RECORD_HEADER_SIZE < UINT32_MAX,
              "every position fits 32 bits");

/* Neighbouring records in one segment. */
struct run {
    uint64_t segment;
    uint64_t offset; /* in the segment */
    size_t start;    /* in the batch's bytes */
    size_t size;
};

struct waiter {
    wal_done *done;
    void *ctx;
};

struct batch {
    struct pages bytes;   /* each stands at the same place within a page as in its segment */
    size_t records_bytes; /* of `bytes`, without what fills pages up */
    struct run *runs;
    size_t n_runs, runs_capacity;
    struct waiter *waiters;
    size_t n_waiters, waiters_capacity;
    uint64_t records;
    int doomed; /* negative: an earlier batch failed; complete with this, write nothing */
};

struct segment {
    uint64_t number;
    uint64_t used_bytes;
};

struct wal {
    int dir_fd;      /* borrowed */
    int dir_sync_fd; /* own descriptor of the same folder: an fsync of it never waits for a free one */
    struct wal_options o;
    uint64_t reserve_bytes;
    pthread_t thread;
    pthread_cond_t work;    /* wakes the thread */
    pthread_cond_t settled; /* wakes wal_flush */
    pthread_mutex_t lock;   /* guards all down to the blank line */
    struct batch *filling, *writing;
    size_t writing_bytes; /* of *writing, whose content is the thread's own */
    bool wake, stop, flush_wanted, fresh_wanted;
    uint64_t next_segment, next_offset; /* of the next record, unless it does not fit */
    uint64_t appended, settled_count;   /* records accepted; records durable (or failed) */
    uint64_t synced_count;              /* of the settled ones, how many an fsync covers */
    uint64_t failed_upto;    /* the last record that failed, counted like appended; 0 = none */
    bool asked, refuse_next; /* see wal_next_segment */
    int failed;
    int64_t retry_ns; /* -ENOSPC: when the next probe is let through */
    char failed_text[200];
    struct segment *closed; /* ascending */
    size_t n_closed, closed_capacity;
    uint64_t open_segment, open_used;
    uint64_t records, appended_bytes;
    uint64_t speed; /* bytes per second that batches reach at best; fades; 0 = not known yet */
    uint64_t fsyncs, fsync_ns_total, fsync_ns_max, fsync_buckets[WAL_FSYNC_BUCKETS];

    /* The thread's own. */
    struct batch batches[2];
    int fd; /* of the open segment, or -1 */
    uint64_t fd_segment;
    int left_fd; /* of the segment before, until it is cut to left_used; or -1 */
    uint64_t left_used;
    bool direct; /* fd is open with O_DIRECT */
    char *
        last_page; /* PAGE bytes, aligned: what stands in the page that holds written_end, up to there */
    uint64_t written_end; /* in the open segment: end of what was written */
    uint64_t good_end;    /* ... and of what was acknowledged or may be */
    bool unsynced;
    int64_t unsynced_since_ns;
    char why[200]; /* text of the batch's failure */
};

/* ---- batches */

static size_t page_round_up(size_t size) {
    return (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

static void batch_done(struct batch *b) {
    pages_done(&b->bytes);
    free(b->runs);
    free(b->waiters);
}

static void batch_clear(struct batch *b) {
    if (b->bytes.capacity > BUSY_BATCH_BYTES)
        pages_done(&b->bytes);
    b->bytes.size = 0;
    b->records_bytes = 0;
    b->n_runs = 0;
    b->n_waiters = 0;
    b->records = 0;
    b->doomed = 0;
}

/* Room for one more element of an array. */
static int grow(void **items, size_t *capacity, size_t count, size_t item_size) {
    if (count < *capacity)
        return 0;
    size_t wanted = *capacity ? *capacity * 2 : 64;
    void *p = realloc(*items, wanted * item_size);
    if (!p)
        return -ENOMEM;
    *items = p;
    *capacity = wanted;
    return 0;
}

static int batch_reserve(struct batch *b, size_t size) {
    int r = grow((void **)&b->runs, &b->runs_capacity, b->n_runs, sizeof(*b->runs));
    if (r == 0)
        r = grow((void **)&b->waiters, &b->waiters_capacity, b->n_waiters, sizeof(*b->waiters));
    /* With what fills up the pages at the ends of runs. */
    return r < 0 ? r : pages_reserve(&b->bytes, b->bytes.size + size + (size_t)3 * PAGE);
}

/* ---- appending */

static size_t record_size(size_t payload_size) {
    return WAL_RECORD_HEADER_SIZE + payload_size;
}

/* Where a record of that size goes. */
static void place(const struct wal *w, size_t size, uint64_t *ret_segment, uint64_t *ret_offset) {
    bool fits = w->next_offset == WAL_HEADER_SIZE || w->next_offset + size <= w->o.segment_bytes;
    *ret_segment = fits ? w->next_segment : w->next_segment + 1;
    *ret_offset = fits ? w->next_offset : WAL_HEADER_SIZE;
}

uint64_t wal_next_segment(struct wal *w, size_t payload_size) {
    uint64_t segment, offset;
    pthread_mutex_lock(&w->lock);
    place(w, record_size(payload_size), &segment, &offset);
    w->asked = true;
    w->refuse_next = false;
    pthread_mutex_unlock(&w->lock);
    return segment;
}

/* May a record of this size be accepted now? */
static int admit(struct wal *w, size_t size) {
    if (w->stop || w->failed == -EIO)
        return -EIO;
    if (w->filling->doomed)
        return w->filling->doomed;
    if (w->failed == -ENOSPC && clock_mono_ns() < w->retry_ns)
        return -ENOSPC;
    if (w->refuse_next) /* a failure moved the position between the question and this call */
        return -ENOSPC;
    uint64_t waiting = w->filling->records_bytes + w->writing_bytes;
    /* A record larger than the whole buffer goes alone. */
    if (waiting > 0 && waiting + size > w->o.buffer_max_bytes)
        return -EBUSYNOW;
    uint64_t segment, offset;
    place(w, size, &segment, &offset);
    return segment <= UINT32_MAX ? 0 : -EIO;
}

static void add_to_run(struct batch *b, uint64_t segment, uint64_t offset, size_t size) {
    struct run *last = b->n_runs > 0 ? &b->runs[b->n_runs - 1] : NULL;
    if (last && last->segment == segment) {
        assert(last->offset + last->size == offset);
        last->size += size;
        return;
    }
    b->bytes.size = page_round_up(b->bytes.size) + offset % PAGE;
    b->runs[b->n_runs++] =
        (struct run){.segment = segment, .offset = offset, .start = b->bytes.size, .size = size};
}

/* SIZE_MAX when they are together too large for a record. */
static size_t joined_size(const struct str *parts, size_t n_parts) {
    size_t size = 0;
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].size > WAL_RECORD_MAX - size)
            return SIZE_MAX;
        size += parts[i].size;
    }
    return size;
}

int wal_append_parts(struct wal *w, uint8_t type, uint8_t codec, uint32_t raw_size,
                     const struct str *parts, size_t n_parts, wal_done *done, void *ctx,
                     uint64_t *ret_lsn) {
    size_t payload_size = joined_size(parts, n_parts);
    if (payload_size > WAL_RECORD_MAX)
        return -E2BIG;
    size_t size = record_size(payload_size);
    pthread_mutex_lock(&w->lock);
    struct batch *b = w->filling;
    int r = admit(w, size);
    w->asked = false;
    w->refuse_next = false;
    if (r == 0)
        r = batch_reserve(b, size);
    if (r < 0)
        goto out;
    if (w->failed == -ENOSPC)
        w->retry_ns = clock_mono_ns() + RETRY_NS;
    uint64_t segment, offset;
    place(w, size, &segment, &offset);
    add_to_run(b, segment, offset, size);
    char *record = b->bytes.data + b->bytes.size, *at = record + WAL_RECORD_HEADER_SIZE;
    for (size_t i = 0; i < n_parts; at += parts[i++].size)
        if (parts[i].size > 0)
            memcpy(at, parts[i].data, parts[i].size);
    wal_record_seal((uint8_t *)record, type, codec, raw_size, (uint32_t)payload_size);
    b->bytes.size += size;
    b->records_bytes += size;
    if (done)
        b->waiters[b->n_waiters++] = (struct waiter){.done = done, .ctx = ctx};
    b->records++;
    w->next_segment = segment;
    w->next_offset = offset + size;
    w->appended++;
    w->records++;
    w->appended_bytes += size;
    *ret_lsn = wal_lsn_make(segment, offset);
    /* A record without completion travels with the next, unless too many of them gather. */
    if (!w->wake && (done || b->records_bytes > w->o.buffer_max_bytes / 2)) {
        w->wake = true;
        pthread_cond_signal(&w->work);
    }
out:
    pthread_mutex_unlock(&w->lock);
    return r;
}

/* ---- the thread: writing */

static int fail_text(struct wal *w, int r, const char *what, uint64_t segment) {
    char name[WAL_NAME_SIZE];
    wal_segment_name(name, segment);
    (void)snprintf(w->why, sizeof(w->why), "cannot %s WAL segment %s: %s", what, name, err_name(r));
    return r;
}

/* Causes that pass by themselves and leave nothing unknown behind. */
static bool is_passing(int r) {
    return r == -ENOSPC || r == -EDQUOT || r == -EMFILE || r == -ENFILE || r == -ENOMEM ||
           r == -EEXIST;
}

/* A failed fsync must never look like a full disk, whatever errno came with it. */
static int final_cause(int r) {
    return r < 0 ? -EIO : 0;
}

const double wal_fsync_bounds[WAL_FSYNC_BUCKETS] = {.0001, .00025, .0005, .001, .0025, .005, .01,
                                                    .025,  .05,    .1,    .25,  .5,    1,    5};

static int sync_segment(struct wal *w) {
    int64_t start_ns = clock_mono_ns();
    int r = io_fdatasync(w->fd);
    uint64_t took_ns = (uint64_t)(clock_mono_ns() - start_ns);
    pthread_mutex_lock(&w->lock);
    w->fsyncs++;
    w->fsync_ns_total += took_ns;
    if (took_ns > w->fsync_ns_max)
        w->fsync_ns_max = took_ns;
    size_t bucket = 0;
    while (bucket < WAL_FSYNC_BUCKETS && (double)took_ns > wal_fsync_bounds[bucket] * 1e9)
        bucket++;
    if (bucket < WAL_FSYNC_BUCKETS)
        w->fsync_buckets[bucket]++;
    pthread_mutex_unlock(&w->lock);
    if (r < 0)
        return final_cause(fail_text(w, r, "fsync", w->fd_segment));
    w->unsynced = false;
    return 0;
}

/* Remembers a segment that takes no more records. Losing track of one for want of memory would let it stay for
 * ever, so the room is made before the segment is created. */
static void note_closed(struct wal *w, uint64_t number, uint64_t used_bytes) {
    assert(w->n_closed < w->closed_capacity);
    w->closed[w->n_closed++] = (struct segment){.number = number, .used_bytes = used_bytes};
}

/* Cuts the segment that was left to its used size, and closes it: some milliseconds, for which no push waits. A failed
 * cut leaves zeros or a torn tail, which replay knows how to read. */
static void cut_left(struct wal *w) {
    if (w->left_fd < 0)
        return;
    (void)io_truncate(w->left_fd, w->left_used);
    io_close(w->left_fd);
    w->left_fd = -1;
}

/* The open segment takes no more records; cut_left follows. */
static void leave_segment(struct wal *w, uint64_t used_bytes) {
    if (w->fd < 0)
        return;
    cut_left(w);
    w->left_fd = w->fd;
    w->left_used = used_bytes;
    w->fd = -1;
    pthread_mutex_lock(&w->lock);
    note_closed(w, w->fd_segment, used_bytes);
    w->open_segment = 0;
    w->open_used = 0;
    pthread_mutex_unlock(&w->lock);
}

/* Is there room for `size` bytes beside the reserve? A file system that cannot say so is asked by allocating. */
static int check_space(struct wal *w, uint64_t size) {
    uint64_t free_bytes, total_bytes;
    if (io_disk_space(w->dir_fd, &free_bytes, &total_bytes) < 0)
        return 0;
    return free_bytes >= size && free_bytes - size >= w->reserve_bytes ? 0 : -ENOSPC;
}

/* Whole pages past the page cache. A file system may say only now that it can not. */
static int write_direct(struct wal *w, const char *data, size_t size, uint64_t offset) {
    assert((uintptr_t)data % PAGE == 0 && size % PAGE == 0 && offset % PAGE == 0);
    int r = io_pwrite_all(w->fd, data, size, offset);
    if (r != -EINVAL)
        return r;
    w->direct = false;
    r = io_set_direct(w->fd, false);
    return r < 0 ? r : io_pwrite_all(w->fd, data, size, offset);
}

/* Writes what comes at written_end. `data` stands in a batch, where the rest of its first and its last page is free. */
static int write_bytes(struct wal *w, char *data, size_t size, uint64_t offset) {
    if (!w->direct)
        return io_pwrite_all(w->fd, data, size, offset);
    size_t before = offset % PAGE, all = page_round_up(before + size);
    char *first = data - before;
    memcpy(first, w->last_page, before);
    memset(data + size, 0, all - before - size);
    size_t rest = (before + size) % PAGE;
    memcpy(w->last_page, data + size - rest, rest);
    return write_direct(w, first, all, offset - before);
}

static int create_segment(struct wal *w, uint64_t number, uint64_t first_run_end) {
    char name[WAL_NAME_SIZE];
    wal_segment_name(name, number);
    pthread_mutex_lock(&w->lock);
    int r = grow((void **)&w->closed, &w->closed_capacity, w->n_closed, sizeof(*w->closed));
    pthread_mutex_unlock(&w->lock);
    if (r < 0)
        return fail_text(w, r, "create", number);
    uint64_t size = w->o.segment_bytes > first_run_end ? w->o.segment_bytes : first_run_end;
    size = page_round_up(size);
    r = check_space(w, size);
    if (r < 0)
        return fail_text(w, r, "allocate", number);
    int fd = io_open(w->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0)
        return fail_text(w, fd, "create", number);
    w->fd = fd;
    memset(w->last_page, 0, PAGE);
    wal_header_encode((uint8_t *)w->last_page, number);
    r = io_allocate(fd, size);
    w->direct = w->o.sync == WAL_SYNC_ALWAYS && io_set_direct(fd, true) == 0;
    if (r == 0)
        r = w->direct ? write_direct(w, w->last_page, PAGE, 0)
                      : io_pwrite_all(fd, w->last_page, WAL_HEADER_SIZE, 0);
    if (r < 0) {
        fail_text(w, r, "allocate", number);
        goto fail;
    }
    if (w->o.sync != WAL_SYNC_OFF) {
        r = io_fsync(w->dir_sync_fd);
        if (r < 0) {
            r = final_cause(fail_text(w, r, "fsync the folder of", number));
            goto fail;
        }
    }
    w->fd_segment = number;
    w->written_end = w->good_end = WAL_HEADER_SIZE;
    pthread_mutex_lock(&w->lock);
    w->open_segment = number;
    w->open_used = WAL_HEADER_SIZE;
    pthread_mutex_unlock(&w->lock);
    return 0;
fail:
    io_close(fd);
    w->fd = -1;
    (void)io_unlink(w->dir_fd, name);
    return r;
}

static int write_run(struct wal *w, const struct batch *b, const struct run *run) {
    if (w->fd >= 0 && w->fd_segment != run->segment) {
        int r = w->unsynced && w->o.sync != WAL_SYNC_OFF ? sync_segment(w) : 0;
        if (r < 0)
            return r;
        w->good_end = w->written_end;
        w->unsynced = false;
        leave_segment(w, w->written_end);
    }
    if (w->fd < 0) {
        assert(run->offset == WAL_HEADER_SIZE);
        int r = create_segment(w, run->segment, run->offset + run->size);
        if (r < 0)
            return r;
    }
    assert(w->written_end == run->offset);
    int r = write_bytes(w, b->bytes.data + run->start, run->size, run->offset);
    if (r < 0)
        return fail_text(w, r, "write", run->segment);
    w->written_end = run->offset + run->size;
    if (!w->unsynced) {
        w->unsynced = true;
        w->unsynced_since_ns = clock_mono_ns();
    }
    return 0;
}

/* Writes a batch and, when asked, makes it durable. */
static int write_batch(struct wal *w, const struct batch *b, bool sync) {
    for (size_t i = 0; i < b->n_runs; i++) {
        int r = write_run(w, b, &b->runs[i]);
        if (r < 0)
            return r;
    }
    if (sync && w->unsynced && w->fd >= 0) {
        int r = sync_segment(w);
        if (r < 0)
            return r;
    }
    w->good_end = w->written_end;
    return 0;
}

/* ---- the thread: rounds */

/* After a failed write: leaves the segment as its last good record left it. Returns -ENOSPC, or -EIO when there
 * is no way on. */
static int step_back(struct wal *w, int r) {
    if (is_passing(r)) {
        /* What was acknowledged before an interval's fsync must not miss it. */
        bool owed = w->fd >= 0 && w->unsynced && w->o.sync == WAL_SYNC_INTERVAL;
        r = owed ? sync_segment(w) : 0;
        if (r == 0) {
            leave_segment(w, w->good_end);
            r = -ENOSPC;
        }
    } else {
        r = -EIO; /* nothing is known about the file: it is left as it is */
    }
    cut_left(w);
    w->unsynced = false;
    return r;
}

/* Called with the lock held after a batch failed with `r`: what waits is doomed too, and later records go to a
 * new segment. */
static void enter_failure(struct wal *w, int r) {
    w->failed = r == -EIO ? -EIO : -ENOSPC;
    memcpy(w->failed_text, w->why, sizeof(w->failed_text));
    w->retry_ns = clock_mono_ns() + RETRY_NS;
    w->filling->doomed = w->failed;
    w->next_segment++;
    w->next_offset = WAL_HEADER_SIZE;
    w->refuse_next = w->asked;
    w->wake = true; /* for the doomed */
}

/* The best counts, for a batch that took long may have waited for a processor; small ones tell how long an fsync
 * takes, not how much is written in a second. */
static void note_speed(struct wal *w, size_t size, int64_t took_ns) {
    if (size < SPEED_FROM || took_ns <= 0)
        return;
    uint64_t speed = (uint64_t)size * NS_PER_S / (uint64_t)took_ns,
             faded = w->speed - w->speed / 16;
    w->speed = speed > faded ? speed : faded;
}

/* One batch from memory to disk to its completions. Called and left with the lock held. */
static void run_batch(struct wal *w, bool sync) {
    struct batch *b = w->filling;
    w->filling = w->writing;
    w->writing = b;
    size_t size = b->records_bytes;
    w->writing_bytes = size;
    w->wake = false;
    uint64_t upto = w->appended;
    pthread_mutex_unlock(&w->lock);

    int64_t start_ns = clock_mono_ns();
    int r = b->doomed ? b->doomed : write_batch(w, b, sync);
    int64_t took_ns = clock_mono_ns() - start_ns;
    bool failed_now = r < 0 && !b->doomed;
    if (failed_now)
        r = step_back(w, r);

    pthread_mutex_lock(&w->lock);
    if (failed_now)
        enter_failure(w, r);
    else if (r == 0 && b->n_runs > 0 && w->failed == -ENOSPC)
        w->failed = 0;
    if (r < 0 && b->records > 0)
        w->failed_upto = upto;
    w->open_used = w->fd >= 0 ? w->good_end : 0;
    w->settled_count = upto;
    if (r < 0 || !w->unsynced)
        w->synced_count = upto;
    w->writing_bytes = 0;
    if (r == 0)
        note_speed(w, size, took_ns);
    pthread_cond_broadcast(&w->settled);
    pthread_mutex_unlock(&w->lock);

    for (size_t i = 0; i < b->n_waiters; i++)
        b->waiters[i].done(b->waiters[i].ctx, r);
    pthread_mutex_lock(&w->lock);
    batch_clear(b);
}

static bool sync_is_due(const struct wal *w) {
    return w->unsynced && w->o.sync == WAL_SYNC_INTERVAL &&
           clock_mono_ns() >= w->unsynced_since_ns + (int64_t)w->o.sync_interval_ns;
}

static bool probe_is_due(const struct wal *w) {
    return w->failed == -ENOSPC && w->filling->records == 0 && !w->filling->doomed &&
           clock_mono_ns() >= w->retry_ns;
}

/* Is space back? Without pushes nobody else would find out, and a balancer that asks before it sends some would wait
 * for ever. Called and left with the lock held. */
static void probe(struct wal *w) {
    uint64_t number = w->next_segment;
    assert(w->fd < 0 && w->next_offset == WAL_HEADER_SIZE);
    pthread_mutex_unlock(&w->lock);
    int r = create_segment(w, number, WAL_HEADER_SIZE);
    pthread_mutex_lock(&w->lock);
    if (r == 0)
        w->failed = 0;
    else
        enter_failure(w, is_passing(r) ? -ENOSPC : -EIO);
}

/* Begins a new segment though the last one has room. Not when that would leave too little of the disk, nor between a
 * caller's question and its record. Called and left with the lock held, with no record waiting. */
static void begin_fresh(struct wal *w) {
    bool used = w->next_offset > WAL_HEADER_SIZE || (w->fd < 0 && w->n_closed > 0);
    if (!used || w->asked || w->failed != 0 || check_space(w, w->o.segment_bytes) < 0)
        return;
    w->next_segment += w->next_offset > WAL_HEADER_SIZE;
    w->next_offset = WAL_HEADER_SIZE;
    uint64_t number = w->next_segment;
    pthread_mutex_unlock(&w->lock);
    int r = w->fd >= 0 && w->unsynced && w->o.sync != WAL_SYNC_OFF ? sync_segment(w) : 0;
    if (r == 0) {
        leave_segment(w, w->written_end);
        r = create_segment(w, number, WAL_HEADER_SIZE);
        cut_left(w);
    }
    pthread_mutex_lock(&w->lock);
    if (r < 0)
        enter_failure(w, is_passing(r) ? -ENOSPC : -EIO);
}

/* Until there is work, or that time has come: false then. */
static bool wait_until(struct wal *w, int64_t until_ns) {
    struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    return pthread_cond_timedwait(&w->work, &w->lock, &until) == 0;
}

static bool is_large(const struct batch *b) {
    return b->records == 0 && b->bytes.capacity > KEEP_BATCH_BYTES;
}

/* Both buffers are of the size that many pushes at once need, or one is, and no push comes any more. While they come, to
 * give a buffer back after each batch would cost a fault for each of its pages. */
static void give_back(struct wal *w) {
    if (is_large(w->filling))
        pages_done(&w->filling->bytes);
    if (is_large(w->writing))
        pages_done(&w->writing->bytes);
}

static void wait_for_work(struct wal *w) {
    bool syncs = w->unsynced && w->o.sync == WAL_SYNC_INTERVAL;
    if (syncs)
        (void)wait_until(w, w->unsynced_since_ns + (int64_t)w->o.sync_interval_ns);
    else if (w->failed == -ENOSPC)
        (void)wait_until(w, w->retry_ns);
    else if (!is_large(w->filling) && !is_large(w->writing))
        pthread_cond_wait(&w->work, &w->lock);
    else if (!wait_until(w, clock_mono_ns() + GIVE_BACK_NS))
        give_back(w);
}

static void *wal_main(void *arg) {
    struct wal *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->wake && !w->stop && !w->flush_wanted && !w->fresh_wanted && !sync_is_due(w) &&
               !probe_is_due(w))
            wait_for_work(w);
        if (probe_is_due(w) && !w->stop) {
            probe(w);
            continue;
        }
        bool stopping = w->stop && w->filling->records == 0 && !w->filling->doomed;
        bool sync =
            w->o.sync == WAL_SYNC_ALWAYS ||
            (w->o.sync == WAL_SYNC_INTERVAL && (w->flush_wanted || w->stop || sync_is_due(w)));
        w->flush_wanted = false;
        run_batch(w, sync && w->failed != -EIO);
        if (w->fresh_wanted && w->filling->records == 0 && !w->filling->doomed)
            begin_fresh(w);
        w->fresh_wanted = false;
        pthread_cond_broadcast(&w->settled);
        if (stopping)
            break;
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* ---- opening and closing */

static int note_existing(struct wal *w, struct err *reterr) {
    uint64_t *numbers = NULL;
    size_t count = 0;
    int r = wal_segment_list(w->dir_fd, &numbers, &count, reterr);
    for (size_t i = 0; r == 0 && i < count; i++) {
        /* Segments but the last were cut to their used size when they were left; only the last may have a
         * preallocated rest that must not be counted. */
        char name[WAL_NAME_SIZE];
        wal_segment_name(name, numbers[i]);
        uint64_t used_bytes = 0;
        if (i + 1 < count) {
            int fd = io_open(w->dir_fd, name, O_RDONLY | O_CLOEXEC, 0);
            r = fd < 0 ? fd : io_file_size(fd, &used_bytes);
            io_close(fd);
            if (r < 0)
                err_set(reterr, r, "cannot open WAL segment %s: %s", name, err_name(r));
        } else if (numbers[i] == w->o.last_segment) {
            used_bytes = w->o.last_used_bytes;
        } else {
            struct wal_scan scan = {0};
            r = wal_segment_scan(w->dir_fd, numbers[i], NULL, NULL, &scan, reterr);
            used_bytes = scan.used_bytes;
        }
        if (r == 0)
            r = grow((void **)&w->closed, &w->closed_capacity, w->n_closed, sizeof(*w->closed));
        if (r == 0)
            note_closed(w, numbers[i], used_bytes);
        w->next_segment = numbers[i] + 1;
    }
    free(numbers);
    return r;
}

static void wal_free(struct wal *w) {
    batch_done(&w->batches[0]);
    batch_done(&w->batches[1]);
    free(w->closed);
    free(w->last_page);
    io_close(w->dir_sync_fd);
    pthread_cond_destroy(&w->work);
    pthread_cond_destroy(&w->settled);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static int start_thread(struct wal *w) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = -pthread_create(&w->thread, NULL, wal_main, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        (void)pthread_setname_np(w->thread, "wal");
    return r;
}

/* On a small disk a few segments of the usual size would be all of it. */
static void fit_to_disk(struct wal *w) {
    uint64_t free_bytes, total_bytes;
    if (io_disk_space(w->dir_fd, &free_bytes, &total_bytes) < 0)
        return;
    uint64_t share = total_bytes / DISK_SHARE;
    w->reserve_bytes = share < RESERVE_MAX ? share : RESERVE_MAX;
    if (w->o.segment_bytes > share)
        w->o.segment_bytes = share > SEGMENT_MIN ? share : SEGMENT_MIN;
}

int wal_open(int dir_fd, const struct wal_options *o, struct wal **ret, struct err *reterr) {
    struct wal *w = calloc(1, sizeof(*w));
    if (!w)
        return err_set(reterr, -ENOMEM, "no memory for the WAL");
    w->dir_fd = dir_fd;
    w->fd = w->left_fd = -1;
    w->o = *o;
    if (w->o.segment_bytes == 0)
        w->o.segment_bytes = WAL_SEGMENT_DEFAULT;
    if (w->o.segment_bytes < SEGMENT_MIN)
        w->o.segment_bytes = SEGMENT_MIN;
    if (w->o.segment_bytes > SEGMENT_MAX)
        w->o.segment_bytes = SEGMENT_MAX;
    fit_to_disk(w);
    if (w->o.buffer_max_bytes == 0)
        w->o.buffer_max_bytes = WAL_BUFFER_DEFAULT;
    w->filling = &w->batches[0];
    w->writing = &w->batches[1];
    w->next_segment = 1;
    w->next_offset = WAL_HEADER_SIZE;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&w->settled, NULL);
    pthread_mutex_init(&w->lock, NULL);
    w->dir_sync_fd = io_open(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    w->last_page = aligned_alloc(PAGE, PAGE);
    int r = w->dir_sync_fd < 0 ? w->dir_sync_fd : 0;
    if (r < 0)
        err_set(reterr, r, "cannot open the WAL folder: %s", err_name(r));
    else if (!w->last_page)
        r = err_set(reterr, -ENOMEM, "no memory for the WAL");
    else
        r = note_existing(w, reterr);
    if (r == 0 && w->next_segment < o->first_segment)
        w->next_segment = o->first_segment;
    if (r == 0) {
        r = start_thread(w);
        if (r < 0)
            err_set(reterr, r, "cannot start the WAL thread: %s", err_name(r));
    }
    if (r < 0) {
        wal_free(w);
        return r;
    }
    *ret = w;
    return 0;
}

void wal_close(struct wal *w) {
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    if (w->failed == -EIO)
        io_close(w->fd);
    else
        leave_segment(w, w->good_end);
    cut_left(w);
    wal_free(w);
}

/* ---- flush, truncate, figures */

int wal_flush(struct wal *w) {
    pthread_mutex_lock(&w->lock);
    uint64_t target = w->appended, before = w->settled_count;
    uint64_t *reached = w->o.sync == WAL_SYNC_OFF ? &w->settled_count : &w->synced_count;
    while (*reached < target) {
        w->flush_wanted = true;
        pthread_cond_signal(&w->work);
        pthread_cond_wait(&w->settled, &w->lock);
    }
    int r = 0;
    if (w->failed == -EIO)
        r = -EIO;
    else if (w->failed_upto > before)
        r = -ENOSPC;
    pthread_mutex_unlock(&w->lock);
    return r;
}

void wal_begin_fresh(struct wal *w) {
    pthread_mutex_lock(&w->lock);
    w->fresh_wanted = true;
    pthread_cond_signal(&w->work);
    while (w->fresh_wanted)
        pthread_cond_wait(&w->settled, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

/* Takes the oldest segment off the list when it holds only records below `lsn`; false when there is none. */
static bool take_oldest_below(struct wal *w, uint64_t lsn, struct segment *ret) {
    bool found = false;
    pthread_mutex_lock(&w->lock);
    /* Without an open segment the last closed one has the highest number of all: it stays. */
    size_t removable = w->open_segment ? w->n_closed : w->n_closed > 0 ? w->n_closed - 1 : 0;
    if (removable > 0) {
        struct segment s = w->closed[0];
        if (wal_lsn_make(s.number, s.used_bytes) <= lsn || s.number < lsn >> 32) {
            memmove(w->closed, w->closed + 1, (w->n_closed - 1) * sizeof(*w->closed));
            w->n_closed--;
            *ret = s;
            found = true;
        }
    }
    pthread_mutex_unlock(&w->lock);
    return found;
}

static void put_back(struct wal *w, struct segment s) {
    pthread_mutex_lock(&w->lock);
    if (grow((void **)&w->closed, &w->closed_capacity, w->n_closed, sizeof(*w->closed)) == 0) {
        memmove(w->closed + 1, w->closed, w->n_closed * sizeof(*w->closed));
        w->closed[0] = s;
        w->n_closed++;
    }
    pthread_mutex_unlock(&w->lock);
}

int wal_truncate(struct wal *w, uint64_t lsn) {
    struct segment s;
    bool removed = false;
    int r = 0;
    while (take_oldest_below(w, lsn, &s)) {
        char name[WAL_NAME_SIZE];
        wal_segment_name(name, s.number);
        r = io_unlink(w->dir_fd, name);
        if (r < 0 && r != -ENOENT) {
            put_back(w, s);
            break;
        }
        r = 0;
        removed = true;
    }
    if (removed) {
        int sync_r = io_fsync(w->dir_sync_fd);
        r = r < 0 ? r : sync_r;
    }
    return r;
}

void wal_get_stats(struct wal *w, struct wal_stats *ret) {
    pthread_mutex_lock(&w->lock);
    *ret = (struct wal_stats){
        .bytes = w->open_used,
        .next_lsn = wal_lsn_make(w->next_segment, w->next_offset),
        .fsyncs = w->fsyncs,
        .fsync_ns_total = w->fsync_ns_total,
        .fsync_ns_max = w->fsync_ns_max,
        .records = w->records,
        .appended_bytes = w->appended_bytes,
        .buffer_bytes = w->filling->bytes.capacity + w->writing->bytes.capacity,
        .keeps_up = (w->speed == 0 || w->speed >= WAL_KEEPS_UP_SPEED) &&
                    w->filling->records_bytes + w->writing_bytes < WAL_KEEPS_UP_BYTES,
        .failed = w->failed,
    };
    memcpy(ret->fsync_buckets, w->fsync_buckets, sizeof(ret->fsync_buckets));
    uint64_t oldest = w->next_segment;
    if (w->open_segment)
        oldest = w->open_segment;
    if (w->n_closed > 0)
        oldest = w->closed[0].number;
    ret->oldest_lsn = wal_lsn_make(oldest, WAL_HEADER_SIZE);
    for (size_t i = 0; i < w->n_closed; i++)
        ret->bytes += w->closed[i].used_bytes;
    if (w->failed)
        memcpy(ret->failed_text, w->failed_text, sizeof(ret->failed_text));
    pthread_mutex_unlock(&w->lock);
}
