#include "format_file.h"

#include <errno.h>

#include "buf.h"
#include "io.h"
#include "units.h"

enum { FORMAT_VERSION = 1, FORMAT_TEXT_MAX = 4096, FORMAT_SHOWN_MAX = 40 };

int format_file_write(int dir_fd) {
    struct buf text = buf_make(FORMAT_TEXT_MAX);
    buf_addf(&text, "logq %d\ncompatible 0\nincompatible %d\n", FORMAT_VERSION,
             FORMAT_INCOMPAT_KNOWN);
    int r = text.failed ? -ENOMEM : io_write_file_durable(dir_fd, "format", buf_str(&text));
    buf_done(&text);
    return r;
}

/* The number behind `name`, which begins a line; UINT64_MAX when there is none. */
static uint64_t word(struct str text, struct str name) {
    const char *at = str_starts(text, name) ? text.data : str_find(text, name);
    if (!at || (at > text.data && at[-1] != '\n'))
        return UINT64_MAX;
    struct str rest = str_from_offset(text, (size_t)(at - text.data) + name.size);
    const char *end = str_find(rest, STR("\n"));
    uint64_t value;
    bool fine = end && u64_parse(str_make(rest.data, (size_t)(end - rest.data)), &value) == 0;
    return fine ? value : UINT64_MAX;
}

static int judge(struct str text, const char *dir, bool *ret_is_latest, struct err *reterr) {
    uint64_t version = word(text, STR("logq "));
    if (version == UINT64_MAX)
        return err_set(reterr, -EFORMAT,
                       "%s/format is not one of logqd's (\"%.*s\"): is this a data directory?", dir,
                       (int)(text.size < FORMAT_SHOWN_MAX ? text.size : FORMAT_SHOWN_MAX),
                       text.data ? text.data : "");
    if (version != FORMAT_VERSION)
        return err_set(reterr, -EFORMAT,
                       "%s has format version %llu, this build of logqd reads version %d: use the "
                       "build that wrote it, or %s",
                       dir, (unsigned long long)version, FORMAT_VERSION,
                       version > FORMAT_VERSION ? "a newer one" : "one that converts it");
    uint64_t flags = word(text, STR("incompatible "));
    if (flags & ~(uint64_t)FORMAT_INCOMPAT_KNOWN)
        return err_set(
            reterr, -EFORMAT,
            "%s uses extensions of the format (flags %#llx) that this build of logqd does "
            "not know (it knows %#x): use a newer build",
            dir, (unsigned long long)flags, FORMAT_INCOMPAT_KNOWN);
    *ret_is_latest = flags == FORMAT_INCOMPAT_KNOWN;
    return 0;
}

int format_file_check(int dir_fd, const char *dir, bool *ret_is_latest, struct err *reterr) {
    struct buf text = buf_make(FORMAT_TEXT_MAX);
    int r = io_read_file(dir_fd, "format", &text);
    if (r == 0)
        r = judge(buf_str(&text), dir, ret_is_latest, reterr);
    else
        (void)err_set(reterr, r, "cannot read %s/format: %s", dir, err_name(r));
    buf_done(&text);
    return r;
}
