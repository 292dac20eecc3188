/* unsnap: decodes snappy blocks (the raw format, not the framed one), as agents send them and the WAL keeps them. Any
 * thread; nothing is allocated. https://github.com/google/snappy/blob/main/format_description.txt */
#pragma once

#include <stdbool.h>

#include "str.h"

/* The size that the block says it has when decoded, at most UINT32_MAX. False when it says none. */
bool unsnap_size(struct str block, size_t *ret_size);

/* Decodes the block to out, where there is room for exactly `size` bytes. False when it is damaged or has any other
 * size; out then holds anything. */
bool unsnap(struct str block, char *out, size_t size);
