/* sift: what the parts of a block (linetab.h) say of its lines, instead of the lines. */
#pragma once

#include "scan.h"

/* Is it worth asking the parts? What is in no filter of grams, a row or what lines must not have, has to leave few
 * lines in most blocks: where it has not so far, all lines are looked at. */
bool sift_is_worth(const struct scanner *s);

/* Asks the parts of the open block what clauses and filters of fields say of its lines: 1: s->levels are known; 0: it has
 * none. */
int sift_ask(struct scanner *s, struct err *reterr);
/* The same, unless it has been asked. 1: s->levels tells which lines may pass, and those of them that the pipeline must see are
 * in `ret`; 0: the lines have to be looked at. */
int sift_block(struct scanner *s, struct str *ret, struct err *reterr);

/* Where few of a block's lines are in the range: these alone, into `ret` and s->places. */
bool sift_takes_part(const struct scanner *s);
int sift_part(struct scanner *s, struct str *ret, struct err *reterr);

/* The lines of these entries, into `ret` and s->places. */
int sift_chosen(struct scanner *s, const uint32_t *entries, uint32_t count, struct str *ret,
                struct err *reterr);

/* Are there fields in place of the line? */
bool sift_takes_fields(const struct scanner *s, uint32_t entry);
