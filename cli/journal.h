/* journal: entries of systemd's journal, as `journalctl --output=json --follow` tells them; no library of systemd is
 * needed. Owns the child process. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "str.h"

struct journal;

struct journal_entry {
    int64_t ns;
    struct str line;
    /* Where it comes from: the unit or else the identifier; the level of its priority. May be empty. */
    const char *unit, *level;
    const char *cursor; /* behind the entry */
};

/* From behind `cursor`, or with NULL from the beginning of the boot. -ENOENT: there is no journalctl. */
int journal_open(const char *cursor, bool follow, struct journal **ret, struct err *reterr);
void journal_close(struct journal *j);

/* The next entry: 1, 0 = none came within timeout_ms, -ENODATA = the end; it lives until the next call. */
int journal_next(struct journal *j, int timeout_ms, struct journal_entry *ret, struct err *reterr);
