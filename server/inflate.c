#include "inflate.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>

#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>

#include "unsnap.h"

/* Each streaming codec fills `out` in steps. Room is made by doubling, never beyond out->max; when the output has
 * exactly out->max bytes, one more byte is asked for to tell "just fits" from "too large". */

enum { STEP_MIN = 16 << 10, RATIO_GUESS = 4, FRAMES_MAX = 65536 };

static int fail_too_large(const struct buf *out, struct err *reterr) {
    return err_set(reterr, -E2BIG,
                   "request body too large: more than %zu bytes after decompression", out->max);
}

static int fail_memory(struct err *reterr) {
    return err_set(reterr, -ENOMEM, "out of memory while decompressing a request");
}

/* Where the next step of a codec writes. */
struct window {
    char *at;
    size_t size;
    char probe; /* takes the byte that must not come */
    bool full;
};

static int window_open(struct window *w, struct buf *out, size_t first_guess, struct err *reterr) {
    if (out->size == out->capacity && out->size < out->max) {
        size_t extra = out->size > 0 ? out->size : first_guess;
        if (extra < STEP_MIN)
            extra = STEP_MIN;
        if (extra > out->max - out->size)
            extra = out->max - out->size;
        if (buf_reserve(out, extra) < 0)
            return fail_memory(reterr);
    }
    size_t end = out->capacity < out->max ? out->capacity : out->max;
    w->full = out->size == end;
    w->at = w->full ? &w->probe : out->data + out->size;
    w->size = w->full ? 1 : end - out->size;
    return 0;
}

static int window_close(const struct window *w, struct buf *out, size_t made, struct err *reterr) {
    assert(made <= w->size);
    if (w->full)
        return made > 0 ? fail_too_large(out, reterr) : 0;
    out->size += made;
    return 0;
}

static size_t guess_size(struct str in) {
    return in.size < SIZE_MAX / RATIO_GUESS ? in.size * RATIO_GUESS : in.size;
}

static uInt clamp_uint(size_t n) {
    return n > UINT_MAX ? UINT_MAX : (uInt)n;
}

/* What zlib's answer after a step means: 1 at the end, 0 to go on, else negative. */
static int zlib_status(int status, bool input_used_up, const char *corrupt, struct err *reterr) {
    if (status == Z_STREAM_END)
        return 1;
    if (status == Z_MEM_ERROR)
        return fail_memory(reterr);
    if (status == Z_BUF_ERROR && input_used_up)
        return err_set(reterr, -ENODATA, "unexpected EOF");
    if (status != Z_OK && status != Z_BUF_ERROR)
        return err_set(reterr, -ESYNTAX, "%s", corrupt);
    return 0;
}

/* One gzip member, zlib stream or raw stream; *in moves behind it. */
static int zlib_member(int window_bits, const char *corrupt, struct str *in, struct buf *out,
                       struct err *reterr) {
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in->data};
    if (inflateInit2(&z, window_bits) != Z_OK)
        return fail_memory(reterr);
    size_t waiting = in->size, guess = guess_size(*in);
    int r = 0;
    while (r == 0) {
        struct window w;
        r = window_open(&w, out, guess, reterr);
        if (r < 0)
            break;
        if (z.avail_in == 0) {
            z.avail_in = clamp_uint(waiting);
            waiting -= z.avail_in;
        }
        uInt room = clamp_uint(w.size);
        z.next_out = (Bytef *)w.at;
        z.avail_out = room;
        int status = inflate(&z, Z_NO_FLUSH);
        r = window_close(&w, out, room - z.avail_out, reterr);
        if (r == 0)
            r = zlib_status(status, z.avail_in == 0 && waiting == 0, corrupt, reterr);
    }
    *in = str_from_offset(*in, in->size - waiting - z.avail_in);
    (void)inflateEnd(&z);
    return r < 0 ? r : 0;
}

/* Members may follow each other; what comes behind the last one must be another. */
static int inflate_gzip(struct str in, struct buf *out, struct err *reterr) {
    if (in.size == 0)
        return err_set(reterr, -ESYNTAX, "EOF");
    for (int n = 0; in.size > 0; n++) {
        if (n == FRAMES_MAX)
            return err_set(reterr, -ESYNTAX, "gzip: more than %d members", FRAMES_MAX);
        bool is_gzip = in.size >= 2 && (uint8_t)in.data[0] == 0x1f && (uint8_t)in.data[1] == 0x8b;
        if (!is_gzip)
            return err_set(reterr, -ESYNTAX, "gzip: invalid header");
        int r = zlib_member(16 + MAX_WBITS, "gzip: corrupt input", &in, out, reterr);
        if (r < 0)
            return r;
    }
    return 0;
}

/* RFC 1950 has a two-byte header with a check, RFC 1951 has none; clients send either under this name. Bytes
 * that look like the header and are none are tried as raw. */
static int inflate_deflate(struct str in, struct buf *out, struct err *reterr) {
    if (in.size == 0)
        return err_set(reterr, -ESYNTAX, "EOF");
    if (in.size >= 2 && (in.data[0] & 0x0f) == 8 &&
        ((unsigned)(uint8_t)in.data[0] << 8 | (uint8_t)in.data[1]) % 31 == 0) {
        struct str rest = in;
        int r = zlib_member(MAX_WBITS, "zlib: corrupt input", &rest, out, reterr);
        if (r != -ESYNTAX)
            return r;
        buf_clear(out); /* corrupt: not a zlib stream after all */
    }
    return zlib_member(-MAX_WBITS, "flate: corrupt input", &in, out, reterr);
}

static int inflate_zstd(struct str in, struct buf *out, struct err *reterr) {
    ZSTD_DStream *z = ZSTD_createDStream();
    if (!z)
        return fail_memory(reterr);
    ZSTD_inBuffer source = {.src = in.data, .size = in.size};
    size_t left = 1;
    int r = in.size == 0 ? err_set(reterr, -ESYNTAX, "EOF") : 0;
    while (r == 0 && (source.pos < source.size || left != 0)) {
        struct window w;
        r = window_open(&w, out, guess_size(in), reterr);
        if (r < 0)
            break;
        ZSTD_outBuffer target = {.dst = w.at, .size = w.size};
        size_t before = source.pos;
        left = ZSTD_decompressStream(z, &target, &source);
        if (ZSTD_isError(left)) {
            r = err_set(reterr, -ESYNTAX, "zstd: %s", ZSTD_getErrorName(left));
            break;
        }
        r = window_close(&w, out, target.pos, reterr);
        if (r == 0 && left != 0 && source.pos == source.size && source.pos == before &&
            target.pos == 0)
            r = err_set(reterr, -ENODATA, "unexpected EOF");
    }
    (void)ZSTD_freeDStream(z);
    return r;
}

static int inflate_lz4(struct str in, struct buf *out, struct err *reterr) {
    if (in.size == 0)
        return err_set(reterr, -ESYNTAX, "EOF");
    LZ4F_dctx *z = NULL;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&z, LZ4F_VERSION)))
        return fail_memory(reterr);
    size_t hint = 1;
    int r = 0;
    while (r == 0 && (in.size > 0 || hint != 0)) {
        struct window w;
        r = window_open(&w, out, guess_size(in), reterr);
        if (r < 0)
            break;
        size_t made = w.size, used = in.size;
        hint = LZ4F_decompress(z, w.at, &made, in.data, &used, NULL);
        if (LZ4F_isError(hint)) {
            r = err_set(reterr, -ESYNTAX, "lz4: %s", LZ4F_getErrorName(hint));
            break;
        }
        in = str_from_offset(in, used);
        r = window_close(&w, out, made, reterr);
        if (r == 0 && used == 0 && made == 0)
            r = err_set(reterr, -ENODATA, "unexpected EOF");
    }
    (void)LZ4F_freeDecompressionContext(z);
    return r;
}

size_t inflate_snappy_size(struct str in) {
    size_t size = 0;
    return unsnap_size(in, &size) ? size : 0;
}

static int inflate_snappy(struct str in, struct buf *out, struct err *reterr) {
    size_t size = 0;
    if (!unsnap_size(in, &size))
        return err_set(reterr, -ESYNTAX, "snappy: corrupt input");
    if (size > out->max)
        return fail_too_large(out, reterr);
    /* No element of the format makes more than 64 bytes of fewer than 3: a larger claim is a lie, and no
     * reason to allocate. */
    if (size / 64 > in.size)
        return err_set(reterr, -ESYNTAX, "snappy: corrupt input");
    if (buf_reserve(out, size > 0 ? size : 1) < 0)
        return fail_memory(reterr);
    if (!unsnap(in, out->data, size))
        return err_set(reterr, -ESYNTAX, "snappy: corrupt input");
    out->size = size;
    return 0;
}

int inflate_body(enum encoding e, struct str in, struct buf *out, struct err *reterr) {
    buf_clear(out);
    int r = -EINVAL;
    switch (e) {
    case ENC_IDENTITY:
        if (in.size > out->max)
            return fail_too_large(out, reterr);
        buf_add_str(out, in);
        r = out->failed ? fail_memory(reterr) : 0;
        break;
    case ENC_GZIP:
        r = inflate_gzip(in, out, reterr);
        break;
    case ENC_DEFLATE:
        r = inflate_deflate(in, out, reterr);
        break;
    case ENC_ZSTD:
        r = inflate_zstd(in, out, reterr);
        break;
    case ENC_LZ4_FRAME:
        r = inflate_lz4(in, out, reterr);
        break;
    case ENC_SNAPPY:
        r = inflate_snappy(in, out, reterr);
        break;
    }
    return r;
}
