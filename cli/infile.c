#include "infile.h"

#include <errno.h>
#include <fcntl.h>
#include <lz4frame.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "str.h"

enum {
    PACKED_SIZE = 256 << 10,
    PIPE_SIZE = 1 << 20, /* fewer system calls; the kernel may say no */
    MAGIC_MAX = 4,
};

enum packing { PACKING_NONE, PACKING_GZIP, PACKING_ZSTD, PACKING_LZ4 };

struct infile {
    const char *path;
    int fd;
    enum packing packing;
    char *packed; /* read and not yet used: [at, end) */
    size_t at, end;
    bool inside;   /* a compressed frame has begun and not ended */
    bool finished; /* nothing comes from fd any more */
    z_stream gzip;
    bool gzip_ready;
    ZSTD_DStream *zstd;
    LZ4F_dctx *lz4;
};

static int read_fd(struct infile *f, void *to, size_t size, struct err *reterr) {
    ssize_t n;
    do {
        n = read(f->fd, to, size);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set(reterr, -errno, "cannot read %s: %s", f->path, strerror(errno));
    return (int)n;
}

static int refill(struct infile *f, struct err *reterr) {
    if (f->at > 0) {
        memmove(f->packed, f->packed + f->at, f->end - f->at);
        f->end -= f->at;
        f->at = 0;
    }
    if (f->finished || f->end == PACKED_SIZE)
        return 0;
    int n = read_fd(f, f->packed + f->end, PACKED_SIZE - f->end, reterr);
    if (n < 0)
        return n;
    f->finished = n == 0;
    f->end += (size_t)n;
    return 0;
}

static enum packing recognise(const uint8_t *p, size_t size) {
    if (size >= 2 && p[0] == 0x1f && p[1] == 0x8b)
        return PACKING_GZIP;
    if (size >= 4 && memcmp(p, "\x28\xb5\x2f\xfd", 4) == 0)
        return PACKING_ZSTD;
    if (size >= 4 && memcmp(p, "\x04\x22\x4d\x18", 4) == 0)
        return PACKING_LZ4;
    return PACKING_NONE;
}

static int start_unpacking(struct infile *f, struct err *reterr) {
    int r = 0;
    while (r == 0 && f->end < MAGIC_MAX && !f->finished)
        r = refill(f, reterr);
    if (r < 0)
        return r;
    f->packing = recognise((const uint8_t *)f->packed, f->end);
    if (f->packing == PACKING_GZIP) {
        f->gzip_ready = inflateInit2(&f->gzip, 15 + 16) == Z_OK;
        r = f->gzip_ready ? 0 : -ENOMEM;
    } else if (f->packing == PACKING_ZSTD) {
        f->zstd = ZSTD_createDStream();
        r = f->zstd ? 0 : -ENOMEM;
    } else if (f->packing == PACKING_LZ4) {
        r = LZ4F_isError(LZ4F_createDecompressionContext(&f->lz4, LZ4F_VERSION)) ? -ENOMEM : 0;
    }
    return r < 0 ? err_set(reterr, r, "out of memory") : 0;
}

int infile_open(const char *path, struct infile **ret, struct err *reterr) {
    struct infile *f = calloc(1, sizeof(*f));
    char *packed = malloc(PACKED_SIZE);
    if (!f || !packed) {
        free(f);
        free(packed);
        return err_set(reterr, -ENOMEM, "out of memory");
    }
    bool is_stdin = strcmp(path, "-") == 0;
    *f = (struct infile){.path = is_stdin ? "standard input" : path, .packed = packed};
    f->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int r = 0;
    if (f->fd < 0) {
        r = err_set(reterr, -errno, "cannot open %s: %s", path, strerror(errno));
    } else {
        (void)fcntl(f->fd, F_SETPIPE_SZ, PIPE_SIZE);
        (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        r = start_unpacking(f, reterr);
    }
    if (r < 0) {
        infile_close(f);
        return r;
    }
    *ret = f;
    return 0;
}

void infile_close(struct infile *f) {
    if (!f)
        return;
    if (f->gzip_ready)
        (void)inflateEnd(&f->gzip);
    ZSTD_freeDStream(f->zstd);
    (void)LZ4F_freeDecompressionContext(f->lz4);
    if (f->fd > STDIN_FILENO)
        (void)close(f->fd);
    free(f->packed);
    free(f);
}

/* ---- one step of each: takes from [at, end), gives up to `size` bytes; negative = damaged */

static ssize_t step_gzip(struct infile *f, void *to, size_t size) {
    f->gzip.next_in = (Bytef *)f->packed + f->at;
    f->gzip.avail_in = (uInt)(f->end - f->at);
    f->gzip.next_out = to;
    f->gzip.avail_out = (uInt)size;
    int rc = inflate(&f->gzip, Z_NO_FLUSH);
    f->at = f->end - f->gzip.avail_in;
    f->inside = rc != Z_STREAM_END;
    if (rc == Z_STREAM_END)
        (void)inflateReset(&f->gzip);
    return rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR
               ? (ssize_t)(size - f->gzip.avail_out)
               : -1;
}

static ssize_t step_zstd(struct infile *f, void *to, size_t size) {
    ZSTD_inBuffer in = {f->packed + f->at, f->end - f->at, 0};
    ZSTD_outBuffer out = {to, size, 0};
    size_t left = ZSTD_decompressStream(f->zstd, &out, &in);
    f->at += in.pos;
    f->inside = left != 0;
    return ZSTD_isError(left) ? -1 : (ssize_t)out.pos;
}

static ssize_t step_lz4(struct infile *f, void *to, size_t size) {
    size_t in = f->end - f->at, out = size;
    size_t left = LZ4F_decompress(f->lz4, to, &out, f->packed + f->at, &in, NULL);
    f->at += in;
    f->inside = left != 0;
    return LZ4F_isError(left) ? -1 : (ssize_t)out;
}

static ssize_t read_plain(struct infile *f, void *to, size_t size, struct err *reterr) {
    if (f->at == f->end)
        return f->finished ? 0 : read_fd(f, to, size, reterr);
    size_t n = f->end - f->at < size ? f->end - f->at : size;
    memcpy(to, f->packed + f->at, n);
    f->at += n;
    return (ssize_t)n;
}

ssize_t infile_read(struct infile *f, void *to, size_t size, struct err *reterr) {
    if (f->packing == PACKING_NONE)
        return read_plain(f, to, size, reterr);
    for (;;) {
        if (f->at == f->end) {
            int r = refill(f, reterr);
            if (r < 0)
                return r;
        }
        bool empty = f->at == f->end;
        if (empty && !f->inside)
            return 0;
        size_t at = f->at;
        ssize_t n = f->packing == PACKING_GZIP   ? step_gzip(f, to, size)
                    : f->packing == PACKING_ZSTD ? step_zstd(f, to, size)
                                                 : step_lz4(f, to, size);
        if (n > 0)
            return n;
        if (n < 0 || (empty && f->at == at))
            return err_set(reterr, -ECORRUPT, "%s is %s", f->path,
                           n < 0 ? "damaged: it does not decompress" : "cut off");
    }
}
