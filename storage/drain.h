/* drain: groups log lines that differ in a few words only, and says what each group has in common:
 *
 *     user 17 logged in from 10.0.0.1
 *     user 23 logged in from 10.0.0.9   ->   user <_> logged in from <_>
 *
 * The algorithm is Drain (He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017) with the
 * parameters that Loki's pattern ingester has, so that the texts look like Loki's: a line is cut into words and
 * delimiters; a tree over the number of tokens and the first DRAIN_DEPTH of them (a word with a digit counts as
 * "any") leads to a leaf; of the leaf's groups the line joins the most similar one, if at least three tenths
 * of their tokens are equal, and what differs becomes <_>.
 *
 * A text always matches the lines it stands for as a LogQL pattern filter (|>). That filter takes each literal at its
 * first place without looking back, so: only words become <_>; delimiters and the number of spaces behind
 * each token must be the same in all lines of a group; a word that would itself be read as a capture
 * ("<name>") is <_> from the start. A word holds neither space nor delimiter, so the literal behind it cannot begin inside.
 *
 * One thread at a time; nothing is allocated per line. Without memory, or when all groups are used up, a line
 * is in no group: patterns are an aid, never a reason to fail. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "str.h"

enum {
    DRAIN_LINE_MAX = 3000,  /* longer lines are in no group */
    DRAIN_TOKENS_MIN = 2,   /* neither are shorter ones: nothing would be left to tell them apart */
    DRAIN_TOKENS_MAX = 128, /* what stands behind so many is one <_> */
    DRAIN_DEPTH = 27,       /* tokens that lead through the tree */
    DRAIN_CHILDREN_MAX = 15, /* different words at one place of the tree; others count as "any" */
    DRAIN_GROUPS_MAX = 512,
    DRAIN_NODES_MAX = 8192,
    DRAIN_NONE = -1,
};

/* The byte that stands for <_> in a template: see drain_template. */
#define DRAIN_WILD '\x01'

struct drain;
struct drain *drain_new(void);
void drain_free(struct drain *d);

/* Forgets all groups, keeps the memory. */
void drain_reset(struct drain *d);

/* Puts a line, or a template that another drain wrote, into a group; lines of different `kind` are never in one
 * group. The group's number, counted from 0 in order of appearance, or DRAIN_NONE. Nothing is kept of `line`. */
int drain_add(struct drain *d, uint32_t kind, struct str line);
int drain_add_template(struct drain *d, uint32_t kind, struct str text);

uint32_t drain_groups(const struct drain *d);
uint32_t drain_kind(const struct drain *d, int group);

/* The text of a group with DRAIN_WILD for what differs, and for more: */
enum drain_mask {
    DRAIN_AS_IS,
    DRAIN_MASK_VALUES, /* words that look like a number, a time or an address: for a group of one line */
    DRAIN_MASK_DIGITS, /* all words with a digit: what the tree tells lines apart by is left */
};
void drain_template(const struct drain *d, int group, enum drain_mask mask, struct buf *out);

/* The part of a JSON line that tells what happened: the string under one of the keys log, message, msg, msg_, _msg,
 * content (the first of these that exists), as it stands in the line, with its escapes. False: not a JSON
 * object, or it has no such key. The part is never at the line's very start or end. */
bool drain_json_message(struct str line, struct str *ret);
