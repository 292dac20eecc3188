/* reserve: DATA/reserve, a file of zeros that keeps some of the disk for the work that makes room on it. Removing expired
 * chunks begins with a transaction of the index, which needs new pages: on a disk that somebody else has filled to the
 * last byte nothing could ever be removed. Then the file is cut to nothing, and filled again when there is room.
 * The caller serialises. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct reserve {
    int dir_fd; /* borrowed */
    uint64_t size_bytes;
    bool held;
};

/* At most `max_bytes`, and a small part of the disk; filled when there is plenty of room. A reserve that cannot be had is
 * none: no error. */
void reserve_init(struct reserve *r, int dir_fd, uint64_t max_bytes);
/* Gives the space back; true when there was some. */
bool reserve_release(struct reserve *r);
/* Fills it again when there is plenty of room. Cheap when it is held. */
void reserve_refill(struct reserve *r);
