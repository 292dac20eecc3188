/* Pieces are numbered in the order of their places. Piece n lies in slot n % WAL_AHEAD_PIECES: the thread's that has begun it
 * until it is ready, then the caller's until he has asked for something behind it. How long a segment is turns out when a piece
 * is read: what was begun behind its end comes to nothing. */
#include "wal_ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "io.h"
#include "pages.h"
#include "pool.h"
#include "wal_segment.h"

enum { PAGE = 4096 }; /* what O_DIRECT wants its places and sizes to be multiples of, at most */

/* Bytes of a segment, and where the next ones are. */
struct piece {
    size_t segment; /* index */
    uint64_t offset;
    size_t size;
    bool is_ready;
};

struct wal_ahead {
    int dir_fd;
    const uint64_t *numbers;
    size_t count;
    struct pages memory; /* of all pieces */
    struct pool *threads;
    pthread_mutex_t lock; /* guards all below, and what is said of a piece but its bytes */
    pthread_cond_t moved; /* something of it has changed */
    size_t segment;       /* of the next piece to begin; count: there is none */
    uint64_t offset;
    uint64_t begun, left; /* pieces: how many reads have begun; how many the caller is done with */
    bool stop;
    struct piece pieces[WAL_AHEAD_PIECES];
};

static char *piece_bytes(const struct wal_ahead *a, const struct piece *p) {
    return a->memory.data + (size_t)(p - a->pieces) * WAL_AHEAD_PIECE;
}

/* ---- the threads */

/* The next piece, to be read; NULL: no more are. */
static struct piece *begin_piece(struct wal_ahead *a) {
    (void)pthread_mutex_lock(&a->lock);
    while (a->begun - a->left == WAL_AHEAD_PIECES && !a->stop)
        (void)pthread_cond_wait(&a->moved, &a->lock);
    struct piece *p = NULL;
    if (!a->stop && a->segment < a->count) {
        p = &a->pieces[a->begun++ % WAL_AHEAD_PIECES];
        *p = (struct piece){.segment = a->segment, .offset = a->offset};
        a->offset += WAL_AHEAD_PIECE;
    }
    (void)pthread_mutex_unlock(&a->lock);
    return p;
}

/* `size` bytes were read; what comes next in the segment is at `next` or behind it, UINT64_MAX when nothing does. */
static void end_piece(struct wal_ahead *a, struct piece *p, size_t size, uint64_t next) {
    (void)pthread_mutex_lock(&a->lock);
    p->size = size;
    p->is_ready = true;
    bool present = a->segment == p->segment;
    if (present && next == UINT64_MAX) {
        a->segment++;
        a->offset = 0;
    } else if (present && next > a->offset) {
        a->offset = next / PAGE * PAGE;
    }
    (void)pthread_cond_broadcast(&a->moved);
    (void)pthread_mutex_unlock(&a->lock);
}

/* Whole pages past the page cache, where the file system lets them be read so. */
static ssize_t read_bytes(int fd, char *to, size_t size, uint64_t offset) {
    if (!io_is_cached(fd, offset) && io_set_direct(fd, true) == 0) {
        ssize_t n = io_pread_all(fd, to, (size + PAGE - 1) / PAGE * PAGE, offset);
        if (n != -EINVAL || io_set_direct(fd, false) < 0)
            return n < (ssize_t)size ? n : (ssize_t)size;
    }
    return io_pread_all(fd, to, size, offset);
}

static void read_piece(struct wal_ahead *a, struct piece *p) {
    char name[WAL_NAME_SIZE];
    wal_segment_name(name, a->numbers[p->segment]);
    uint64_t file_size = 0, next = UINT64_MAX;
    size_t size = 0;
    int fd = io_open(a->dir_fd, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0 || io_file_size(fd, &file_size) < 0 || p->offset >= file_size)
        goto out;
    uint64_t data = io_skip_hole(fd, p->offset, file_size), end = p->offset + WAL_AHEAD_PIECE;
    if (data >= file_size)
        goto out;
    next = data > end ? data : end;
    if (data < end) {
        size = (size_t)((end < file_size ? end : file_size) - p->offset);
        ssize_t n = read_bytes(fd, piece_bytes(a, p), size, p->offset);
        size = n > 0 ? (size_t)n : 0;
    }
    if (next >= file_size)
        next = UINT64_MAX;
out:
    io_close(fd);
    end_piece(a, p, size, next);
}

static void read_pieces(void *arg) {
    struct wal_ahead *a = arg;
    for (struct piece *p; (p = begin_piece(a));)
        read_piece(a, p);
}

/* ---- who asks */

/* Does the piece end at or before this place? */
static bool lies_before(const struct piece *p, size_t i, uint64_t offset) {
    return p->segment < i || (p->segment == i && p->offset + p->size <= offset);
}

const char *wal_ahead_get(struct wal_ahead *a, size_t i, uint64_t offset, size_t *ret_size) {
    const struct piece *found = NULL;
    (void)pthread_mutex_lock(&a->lock);
    for (;;) {
        const struct piece *p = &a->pieces[a->left % WAL_AHEAD_PIECES];
        if (a->left == a->begun && a->segment == a->count)
            break;
        if (a->left == a->begun || !p->is_ready) {
            (void)pthread_cond_wait(&a->moved, &a->lock);
        } else if (lies_before(p, i, offset)) {
            a->left++;
            (void)pthread_cond_broadcast(&a->moved);
        } else {
            found = p->segment == i && p->offset <= offset ? p : NULL;
            break;
        }
    }
    (void)pthread_mutex_unlock(&a->lock);
    if (!found)
        return NULL;
    size_t from = (size_t)(offset - found->offset);
    *ret_size = found->size - from;
    return piece_bytes(a, found) + from;
}

struct wal_ahead *wal_ahead_new(int dir_fd, const uint64_t *numbers, size_t count, size_t first,
                                uint64_t offset) {
    struct wal_ahead *a = calloc(1, sizeof(*a));
    if (!a)
        return NULL;
    a->dir_fd = dir_fd;
    a->numbers = numbers;
    a->count = count;
    a->segment = first;
    a->offset = offset / PAGE * PAGE;
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->moved, NULL);
    int r = pages_reserve(&a->memory, (size_t)WAL_AHEAD_PIECES * WAL_AHEAD_PIECE);
    a->threads = r == 0 ? pool_new("logq-ahead", WAL_AHEAD_THREADS, WAL_AHEAD_THREADS) : NULL;
    bool any = false; /* one of them is enough */
    for (int i = 0; a->threads && i < WAL_AHEAD_THREADS; i++)
        any = pool_submit(a->threads, read_pieces, a) == 0 || any;
    if (any)
        return a;
    wal_ahead_free(a);
    return NULL;
}

void wal_ahead_free(struct wal_ahead *a) {
    if (!a)
        return;
    (void)pthread_mutex_lock(&a->lock);
    a->stop = true;
    (void)pthread_cond_broadcast(&a->moved);
    (void)pthread_mutex_unlock(&a->lock);
    pool_free(a->threads);
    pages_done(&a->memory);
    (void)pthread_cond_destroy(&a->moved);
    (void)pthread_mutex_destroy(&a->lock);
    free(a);
}
