/* stamper: gives every pushed line its time. A line's own time counts when it begins with one; a
 * line without takes the time of the line before it. Lines that would have the same time are
 * told apart by nanoseconds in the order of the file, so that equal lines are kept and the order
 * is, and the same file gets the same times whenever it is pushed: then the server recognises
 * what it has. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "str.h"

enum { STAMPER_SLOTS = 256, STAMPER_LOOK_AHEAD = 64 << 10 };

struct stamper {
    bool forced_now;
    bool is_file;
    int64_t modified_ns; /* file: of the last change, when it was opened */
    uint64_t size_bytes; /* file: then */
    int64_t last_now_ns;
    struct stamper_slot {
        int64_t stamp_ns, next_ns;
        bool used;
    } slots[STAMPER_SLOTS];       /* recent stamps -> time of the next line with that stamp */
    struct stamper_slot *current; /* of the last stamp seen; NULL = none yet */
    size_t current_index;         /* its place in slots */
};

/* A stream: lines without any time get the present one. */
void stamper_init_stream(struct stamper *s, bool forced_now);

/* A file: lines before the first time in `beginning` (its first bytes) get times just before it.
 * A file without any times in its lines gets times counted back from its last change. */
void stamper_init_file(struct stamper *s, bool forced_now, int64_t modified_ns, uint64_t size_bytes,
                       struct str beginning);

/* `end_offset`: the line's end in the file; `now_ns`: the wall clock. */
int64_t stamper_next(struct stamper *s, struct str line, uint64_t end_offset, int64_t now_ns);

/* For stampers that are kept: lines of `stamp_ns` go on at `next_ns`; and after a copy, which must point into itself. */
void stamper_restore(struct stamper *s, int64_t stamp_ns, int64_t next_ns, bool is_current);
void stamper_moved(struct stamper *s);
