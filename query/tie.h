/* tie: Loki's hash of a label set, by which it orders what has the same time. Any thread. */
#pragma once

#include <stdint.h>

#include "buf.h"
#include "labels.h"

/* `scratch` is made empty first, and is the caller's. 0 or -ENOMEM. */
int tie_hash(struct labels labels, struct buf *scratch, uint64_t *ret);
