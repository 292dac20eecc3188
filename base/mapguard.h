/* mapguard: reading a mapped file cannot fail, it kills: where the disk has an error, or the file has become shorter,
 * the kernel sends SIGBUS. A guarded map reads as bytes of 0xff there instead, for the reader's checksums to find or, in
 * filters, to let everything pass.
 *
 * The handler is the process's own for SIGBUS from the first map on; a fault anywhere else goes to the handler that was
 * there before, by default the end of the process. Any thread. */
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

/* Guards a map until it is given back; a negative number: it is not guarded, there are too many. */
int map_guard_add(const void *map, size_t size);
/* Before the map is unmapped. */
void map_guard_remove(int guard);
/* For the signals that a thread is going to block: the one for a failed read stays out, or it would end the process in
 * that thread. */
void map_guard_leave_open(sigset_t *blocked);
/* Pages that have been replaced so far. */
uint64_t map_guard_faults(void);
