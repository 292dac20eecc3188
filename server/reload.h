/* reload: what SIGHUP and changed files do to a running server. A mistake in a file is logged and
 * changes nothing. Main thread only. */
#pragma once

#include "api.h"
#include "tls.h"

/* How a file looked: another one under the same name looks different. */
struct file_stamp {
    uint64_t device, inode, size;
    int64_t changed_ns;
};

enum reload_file {
    RELOAD_ACCESS,
    RELOAD_OVERRIDES,
    RELOAD_CERT,
    RELOAD_KEY,
    RELOAD_CLIENT_CA,
    RELOAD_FILES,
};

struct reload {
    struct api *api;
    struct tls_context *tls;                     /* NULL: plain HTTP */
    int (*load)(void *ctx, struct config **ret); /* the configuration; says itself what is wrong */
    void *ctx;
    struct file_stamp stamps[RELOAD_FILES];
};

/* Notes what the files look like now. Before they are read for the first time, better than after. */
void reload_look(struct reload *r, const struct config *c);
/* SIGHUP: everything is read again. */
void reload_all(struct reload *r);
/* Reads again which of the files look different. */
void reload_changed(struct reload *r);

/* What is possible, and yet probably not meant. */
void reload_log_warnings(const struct settings *s);
