/* casefind: substring search that ignores ASCII case, for |~ "(?i)..." over whole blocks. Compares the
 * needle's first and last byte in both cases at 16 (or 32) places at once and looks closer only where both
 * fit. Pure functions, any thread. */
#pragma once

#include "str.h"

/* First place in `haystack` where `needle` stands in any ASCII case, or NULL. An empty needle is found at
 * once. Bytes above 0x7f must be equal. */
const char *casefind(struct str haystack, struct str needle);
