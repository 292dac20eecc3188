/* linetab_split: the tokens of pieces of a text. Three ways to split:
 *   line    as coarse; a quoted string is one token, and keys ("key": and key=) belong to the gaps
 *   coarse  at blanks, controls, quotes, brackets and , ; = | \: words as people see them (10.0.3.7, a/b/c, 12ms)
 *   fine    at everything but ASCII letters, digits and bytes from 0x80 on
 * The bytes between tokens are gaps; tokens and gaps together are the piece. Part of the linetab encoder. */
#pragma once

#include "linetab_token.h"

enum split { SPLIT_LINE, SPLIT_COARSE, SPLIT_FINE };

/* What two pieces must have in common to share columns. Equal shapes have equal hashes; whether equal hashes mean
 * equal gaps is for the caller to check. */
struct shape {
    uint64_t gaps;  /* gaps, and which tokens have digits or are quoted */
    uint64_t words; /* the same and the words without digits */
};

/* The paths that pieces of one kind took from gap to gap: most pieces go a path that was gone before, and then each gap
 * costs a comparison. */
struct path;
struct splitter {
    const struct text_marks *marks;
    enum split split;
    struct path *paths;
    uint32_t n_paths, max_paths;
};

enum { SPLITTER_PATHS_MAX = 4096, SPLITTER_PATH_SIZE = 40 };

/* `memory` has room for max_paths times SPLITTER_PATH_SIZE bytes, at least one, as malloc aligns them. */
void splitter_init(struct splitter *s, const struct text_marks *marks, enum split split,
                   void *memory, uint32_t max_paths);

/* The tokens of `p`, at most `max`; UINT32_MAX when there are more. */
uint32_t split_piece(struct splitter *s, struct piece p, struct piece *ret_tokens, uint32_t max,
                     struct shape *ret_shape);
