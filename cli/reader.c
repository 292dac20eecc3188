#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "hash.h"
#include "reader.h"
#include "rotation.h"
#include "units.h"

enum {
    FOLLOW_POLL_MS = 200,
    /* A writer goes on in a renamed file until it is told: so long must nothing have come. */
    ROTATION_GRACE_MS = 1000,
};

struct reader {
    int fd;
    const char *path;
    char *renamed; /* the name of the open file when it is not path */
    struct positions *positions;
    bool follow, forced_now, is_stdin, is_file;
    bool at_end; /* nothing more to read */
    bool reopen; /* the file was cut or replaced: what is left is given, then the next one opened */
    int64_t grown_mono_ns; /* when something last came */
    uint64_t head_hash;
    uint32_t head_size;
    int64_t modified_ns;
    ino_t inode;
    dev_t device;
    uint64_t read_offset; /* of the buffer's end in the file */
    uint64_t line_offset; /* of the line given last */
    char *data;
    size_t start, end; /* what has been read and not given */
    size_t scanned;    /* no line break before this */
    bool in_piece;     /* the bytes at start go on a line that was cut */
    uint64_t cut_lines;
    struct stamper stamper;
};

/* ---- opening */

static void look_at_head(struct reader *s) {
    char head[PLACE_HEAD_BYTES];
    if (s->head_size == PLACE_HEAD_BYTES || !s->is_file)
        return;
    ssize_t n = pread(s->fd, head, sizeof(head), 0);
    s->head_size = n > 0 ? (uint32_t)n : 0;
    s->head_hash = hash64(head, s->head_size);
}

/* Is the open file the one of the place? An inode may have been given to another file since. */
static bool is_of_place(const struct reader *s, const struct stat *st, const struct place *p) {
    char head[PLACE_HEAD_BYTES];
    if (!p || st->st_dev != p->device || st->st_ino != p->inode ||
        (uint64_t)st->st_size < p->offset)
        return false;
    ssize_t n = pread(s->fd, head, p->head_size, 0);
    return n == (ssize_t)p->head_size && hash64(head, p->head_size) == p->head_hash;
}

static int start_stamper(struct reader *s, const struct stat *st, struct err *reterr) {
    ssize_t n = pread(s->fd, s->data, STAMPER_LOOK_AHEAD, 0);
    if (n < 0)
        return err_set(reterr, -errno, "cannot read %s: %s", s->path, strerror(errno));
    stamper_init_file(&s->stamper, s->forced_now, s->modified_ns, (uint64_t)st->st_size,
                      str_make(s->data, (size_t)n));
    return 0;
}

static int open_file(struct reader *s, struct err *reterr) {
    struct stat st;
    const char *path = s->renamed ? s->renamed : s->path;
    const struct place *place = s->positions ? positions_get(s->positions, s->path) : NULL;
    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0 || fstat(s->fd, &st) < 0)
        return err_set(reterr, -errno, "cannot read %s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return err_set(reterr, -EISDIR, "%s is a folder: name its files", path);
    s->inode = st.st_ino;
    s->device = st.st_dev;
    s->modified_ns = (int64_t)st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
    s->read_offset = 0;
    s->head_size = 0;
    s->start = s->end = s->scanned = 0;
    s->grown_mono_ns = clock_mono_ns();
    s->is_file = S_ISREG(st.st_mode);
    if (!s->is_file) {
        stamper_init_stream(&s->stamper, s->forced_now);
        return 0;
    }
    if (!is_of_place(s, &st, place))
        return start_stamper(s, &st, reterr);
    if (lseek(s->fd, (off_t)place->offset, SEEK_SET) < 0)
        return err_set(reterr, -errno, "cannot read %s: %s", path, strerror(errno));
    s->read_offset = place->offset;
    s->stamper = place->stamper;
    stamper_moved(&s->stamper);
    return 0;
}

/* An earlier run may have stopped in a file that has been renamed since: that one comes first. */
static int open_first(struct reader *s, struct err *reterr) {
    const struct place *place = s->positions ? positions_get(s->positions, s->path) : NULL;
    struct stat st;
    bool here = stat(s->path, &st) == 0;
    bool same = here && place && st.st_dev == place->device && st.st_ino == place->inode;
    if (place && !same) {
        s->renamed = rotation_find(s->path, place->device, place->inode);
        if (!s->renamed)
            s->renamed = rotation_next(s->path, s->positions, place->device, place->inode,
                                       place->modified_ns);
    }
    return open_file(s, reterr);
}

int reader_open(const char *path, const struct reader_options *o, struct reader **ret,
                struct err *reterr) {
    struct reader *s = calloc(1, sizeof(*s));
    int r = 0;
    if (!s || !(s->data = malloc(READER_BUFFER_SIZE))) {
        free(s);
        return err_set(reterr, -ENOMEM, "out of memory");
    }
    s->path = path;
    s->positions = o->positions;
    s->forced_now = o->forced_now;
    s->is_stdin = strcmp(path, "-") == 0;
    s->follow = o->follow && !s->is_stdin;
    s->fd = -1;
    if (s->is_stdin) {
        s->fd = STDIN_FILENO;
        stamper_init_stream(&s->stamper, o->forced_now);
    } else {
        r = open_first(s, reterr);
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
    free(s->renamed);
    free(s->data);
    free(s);
}

void reader_get_place(struct reader *s, struct place *ret) {
    look_at_head(s);
    *ret = (struct place){
        .device = s->device,
        .inode = s->inode,
        .offset = s->read_offset - (s->end - s->start),
        .modified_ns = s->modified_ns,
        .head_hash = s->head_hash,
        .head_size = s->head_size,
        .stamper = s->stamper,
    };
    stamper_moved(&ret->stamper);
}

bool reader_has(const struct reader *s, uint64_t device, uint64_t inode) {
    return s->is_file && s->device == device && s->inode == inode;
}

bool reader_is_file(const struct reader *s) {
    return s->is_file;
}

uint64_t reader_line_offset(const struct reader *s) {
    return s->line_offset;
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
    s->line_offset = s->read_offset - (s->end - s->start);
    uint64_t end_offset = s->line_offset + size + skip;
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

/* Opens what comes behind the file that was read: itself when it was cut, another one that was renamed, or the one that
 * has the name now. */
static int open_next(struct reader *s, struct err *reterr) {
    struct stat st;
    bool cut = fstat(s->fd, &st) == 0 && (uint64_t)st.st_size < s->read_offset;
    if (!cut && s->positions) {
        positions_finish(s->positions, s->device, s->inode, (uint64_t)st.st_size);
        free(s->renamed);
        s->renamed = rotation_next(s->path, s->positions, s->device, s->inode,
                                   (int64_t)st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec);
    }
    close(s->fd);
    s->fd = -1;
    s->reopen = false;
    return open_file(s, reterr);
}

/* Between two files of a rotation there may be none for a moment. */
static int wait_for_file(struct reader *s, int timeout_ms) {
    struct stat st;
    bool there = stat(s->path, &st) == 0 && S_ISREG(st.st_mode);
    if (!there && timeout_ms > 0)
        (void)poll(NULL, 0, timeout_ms < FOLLOW_POLL_MS ? timeout_ms : FOLLOW_POLL_MS);
    return there;
}

/* At the end of a followed file: has it been cut, or another file taken its name? */
static int follow_on(struct reader *s, int timeout_ms, struct err *reterr) {
    struct stat st, now;
    if (s->reopen) {
        if (!wait_for_file(s, timeout_ms))
            return 0;
        int r = open_next(s, reterr);
        return r < 0 ? r : 1;
    }
    bool known = fstat(s->fd, &st) == 0;
    if (known)
        s->modified_ns = (int64_t)st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
    if (known && (uint64_t)st.st_size < s->read_offset) {
        s->reopen = true; /* truncated in place (copytruncate): begin anew */
        return 1;
    }
    bool replaced = stat(s->path, &now) == 0 && (now.st_ino != s->inode || now.st_dev != s->device);
    bool quiet = clock_mono_ns() - s->grown_mono_ns > ROTATION_GRACE_MS * NS_PER_MS;
    if (replaced && quiet) {
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
    /* A file that is not there at the moment (rotation failed halfway) is waited for. */
    ssize_t n = s->fd < 0 ? 0 : read(s->fd, s->data + s->end, READER_BUFFER_SIZE - s->end);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n < 0)
        return err_set(reterr, -errno, "cannot read %s: %s", s->path, strerror(errno));
    if (n > 0) {
        s->end += (size_t)n;
        s->read_offset += (uint64_t)n;
        s->grown_mono_ns = clock_mono_ns();
        return 1;
    }
    if (s->follow)
        return follow_on(s, timeout_ms, reterr);
    s->at_end = true;
    return 1;
}
