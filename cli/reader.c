#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "reader.h"
#include "units.h"

enum { FOLLOW_POLL_MS = 200 };

struct reader {
    int fd;
    const char *path;
    bool follow, forced_now, is_stdin;
    bool at_end; /* nothing more to read */
    bool reopen; /* the file was replaced: what is left is given, then the new one opened */
    ino_t inode;
    dev_t device;
    uint64_t read_offset; /* of the buffer's end in the file */
    char *data;
    size_t start, end; /* what has been read and not given */
    size_t scanned;    /* no line break before this */
    bool in_piece;     /* the bytes at start go on a line that was cut */
    uint64_t cut_lines;
    struct stamper stamper;
};

static int open_file(struct reader *s, struct err *reterr) {
    struct stat st;
    s->fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0 || fstat(s->fd, &st) < 0)
        return err_set(reterr, -errno, "cannot read %s: %s", s->path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return err_set(reterr, -EISDIR, "%s is a folder: name its files", s->path);
    s->inode = st.st_ino;
    s->device = st.st_dev;
    s->read_offset = 0;
    s->start = s->end = s->scanned = 0;
    if (!S_ISREG(st.st_mode)) {
        stamper_init_stream(&s->stamper, s->forced_now);
        return 0;
    }
    ssize_t n = pread(s->fd, s->data, STAMPER_LOOK_AHEAD, 0);
    if (n < 0)
        return err_set(reterr, -errno, "cannot read %s: %s", s->path, strerror(errno));
    int64_t modified_ns = (int64_t)st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
    stamper_init_file(&s->stamper, s->forced_now, modified_ns, (uint64_t)st.st_size,
                      str_make(s->data, (size_t)n));
    return 0;
}

int reader_open(const char *path, bool follow, bool forced_now, struct reader **ret,
                struct err *reterr) {
    struct reader *s = calloc(1, sizeof(*s));
    int r = 0;
    if (!s || !(s->data = malloc(READER_BUFFER_SIZE))) {
        free(s);
        return err_set(reterr, -ENOMEM, "out of memory");
    }
    s->path = path;
    s->forced_now = forced_now;
    s->is_stdin = strcmp(path, "-") == 0;
    s->follow = follow && !s->is_stdin;
    s->fd = -1;
    if (s->is_stdin) {
        s->fd = STDIN_FILENO;
        stamper_init_stream(&s->stamper, forced_now);
    } else {
        r = open_file(s, reterr);
    }
    if (r < 0) {
        reader_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

void reader_close(struct reader *s) {
    if (!s)
        return;
    if (s->fd > STDIN_FILENO)
        close(s->fd);
    free(s->data);
    free(s);
}

uint64_t reader_cut_lines(const struct reader *s) {
    return s->cut_lines;
}

/* ---- lines */

/* The next READER_LINE_MAX bytes at most that end where a UTF-8 character does, if that is near. */
static size_t piece_size(const struct reader *s) {
    size_t size = READER_LINE_MAX;
    for (int back = 0; back < 4; back++)
        if (((uint8_t)s->data[s->start + size - (size_t)back] & 0xc0) != 0x80)
            return size - (size_t)back;
    return size;
}

static void give(struct reader *s, size_t size, size_t skip, struct str *ret_line,
                 int64_t *ret_ns) {
    struct str line = str_make(s->data + s->start, size);
    uint64_t end_offset = s->read_offset - (s->end - s->start) + size + skip;
    s->start += size + skip;
    s->scanned = s->start;
    if (skip > 0 && line.size > 0 && line.data[line.size - 1] == '\r')
        line.size--;
    *ret_line = line;
    *ret_ns = stamper_next(&s->stamper, line, end_offset, clock_now_ns());
}

enum reader_state reader_next(struct reader *s, struct str *ret_line, int64_t *ret_ns) {
    const char *newline =
        s->scanned < s->end ? memchr(s->data + s->scanned, '\n', s->end - s->scanned) : NULL;
    size_t size = (newline ? (size_t)(newline - s->data) : s->end) - s->start;
    if (size > READER_LINE_MAX) {
        s->cut_lines += !s->in_piece;
        s->in_piece = true;
        give(s, piece_size(s), 0, ret_line, ret_ns);
        return READER_LINE;
    }
    if (newline) {
        s->in_piece = false;
        give(s, size, 1, ret_line, ret_ns);
        return READER_LINE;
    }
    s->scanned = s->end;
    bool last = s->at_end || s->reopen;
    if (last && size > 0) {
        s->in_piece = false;
        give(s, size, 0, ret_line, ret_ns);
        return READER_LINE;
    }
    return s->at_end ? READER_END : READER_EMPTY;
}

/* ---- reading */

static void make_room(struct reader *s) {
    if (s->start == 0)
        return;
    memmove(s->data, s->data + s->start, s->end - s->start);
    s->end -= s->start;
    s->scanned -= s->start;
    s->start = 0;
}

/* At the end of a followed file: has it been cut, or another file taken its name? */
static int follow_on(struct reader *s, int timeout_ms, struct err *reterr) {
    struct stat st, now;
    if (s->reopen) {
        close(s->fd);
        s->fd = -1;
        s->reopen = false;
        return open_file(s, reterr) < 0 ? -EIO : 1;
    }
    if (fstat(s->fd, &st) == 0 && (uint64_t)st.st_size < s->read_offset) {
        /* Truncated in place (copytruncate): begin anew. */
        s->reopen = true;
        return 1;
    }
    if (stat(s->path, &now) == 0 && (now.st_ino != s->inode || now.st_dev != s->device)) {
        s->reopen = true;
        return 1;
    }
    int wait_ms = timeout_ms < FOLLOW_POLL_MS ? timeout_ms : FOLLOW_POLL_MS;
    if (wait_ms > 0)
        (void)poll(NULL, 0, wait_ms);
    return 0;
}

int reader_fill(struct reader *s, int timeout_ms, struct err *reterr) {
    make_room(s);
    if (!s->follow) {
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        int ready = poll(&p, 1, timeout_ms);
        if (ready == 0 || (ready < 0 && errno == EINTR))
            return 0;
    }
    ssize_t n = read(s->fd, s->data + s->end, READER_BUFFER_SIZE - s->end);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n < 0)
        return err_set(reterr, -errno, "cannot read %s: %s", s->path, strerror(errno));
    if (n > 0) {
        s->end += (size_t)n;
        s->read_offset += (uint64_t)n;
        return 1;
    }
    if (s->follow)
        return follow_on(s, timeout_ms, reterr);
    s->at_end = true;
    return 1;
}
