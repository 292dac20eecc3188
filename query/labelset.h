/* labelset: the labels of the line at hand, in their three groups, and the table of distinct sets seen so far.
 *
 * Names are interned: a name is a small number (its id), and what a line says about a name lies in an array
 * indexed by id, stamped with the line's number. Nothing is cleared between lines, and looking a label up is one
 * load. The ids of the names that a query mentions are fixed (0, 1, 2, ... in the order given to labelset_new);
 * others come with the lines and may be renumbered at the start of a line when there are too many.
 *
 * One worker owns a labelset. Values are borrowed until the line is over. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "pipeline.h"

enum label_group { GROUP_STREAM, GROUP_META, GROUP_PARSED, GROUP_NONE };

#define NAME_NONE UINT32_MAX

enum {
    NAMES_MAX = 1 << 14, /* more distinct label names than this are dropped between lines */
    LINE_LABELS_MAX =
        16384, /* labels of one line: a 256 KiB line cannot hold more fields that matter */
};

/* What parser stages may leave out (Loki's ParserHints). With `required` only these names are extracted, and
 * parsing ends when all have been found. */
struct label_hints {
    bool no_labels;
    const uint32_t *required; /* fixed ids */
    size_t n_required;
    /* __error__ is among what the query asks for by name: lines with an error of a parser are grouped like others, and a
     * metric query does not fail for them. */
    bool keeps_errors;
};

struct labelset;

struct labelset *labelset_new(const struct str *names, size_t n_names, const struct label_hints *h);
void labelset_free(struct labelset *s);

void labelset_stream(struct labelset *s, struct labels stream_labels);
void labelset_line(struct labelset *s, const struct label *meta, size_t meta_count);

struct str labelset_name_text(const struct labelset *s, uint32_t id);

/* The label that field `key` below the labels' prefix `parent` (NAME_NONE at the top) makes: sanitised and
 * joined with '_'. An empty name is NAME_NONE. */
uint32_t labelset_key(struct labelset *s, uint32_t parent, struct str key);

/* False when no line of this query can want a label from this raw field name (cheap, not exact). */
bool labelset_key_possible(const struct labelset *s, struct str key);

bool labelset_get(const struct labelset *s, uint32_t id, struct str *ret);
void labelset_set(struct labelset *s, enum label_group group, uint32_t id, struct str value);
enum label_group labelset_group(const struct labelset *s, uint32_t id);
void labelset_delete(struct labelset *s, uint32_t id);

/* The name under which a parser stage stores `id`: with "_extracted" behind it when the stream or the metadata
 * has the name already. */
uint32_t labelset_target(struct labelset *s, uint32_t id);
bool labelset_wants(const struct labelset *s, uint32_t id); /* hints let it be extracted */
bool labelset_wants_all(const struct labelset *s);          /* there are no hints */
bool labelset_wants_prefix(const struct labelset *s,
                           uint32_t id); /* something below it may be wanted */
bool labelset_extracted(const struct labelset *s,
                        uint32_t id);                   /* an earlier field had it: first wins */
bool labelset_nothing_wanted(const struct labelset *s); /* parser stages are skipped */
/* A stage begins that keeps the last of equal names: what it makes itself does not count as had by an earlier field. */
void labelset_stage(struct labelset *s);
bool labelset_extracted_before(const struct labelset *s, uint32_t id); /* by an earlier stage */
bool labelset_all_found(const struct labelset *s);

void labelset_error(struct labelset *s, struct str error, struct str details);
/* The same of a parser stage: where the query asks for __error__ by name, it does not fail for these (and only these). */
void labelset_parser_error(struct labelset *s, struct str error, struct str details);
/* Has the line an error for which a metric query fails? */
bool labelset_fails(const struct labelset *s);
struct str labelset_get_error(const struct labelset *s);
struct str labelset_get_details(const struct labelset *s);
/* The same as results and templates see them: of a line without an error and without any label that is not its stream's as
 * it came, details are not told, as in Loki. */
struct str labelset_told_details(const struct labelset *s);
/* Has the line no label, and no error? */
bool labelset_is_empty(const struct labelset *s);

/* Calls fn for every label of the line, errors left out. fn may delete the label it is given. */
typedef void labelset_fn(struct labelset *s, uint32_t id, struct str value, void *ctx);
void labelset_each(struct labelset *s, labelset_fn *fn, void *ctx);

/* Leaves the label out of the sets that labelset_intern and groups other than by(...) make of this and all later
 * lines: what unwrap has turned into the value is not a label of the series. */
void labelset_hide(struct labelset *s, uint32_t id);

const struct line_labels *labelset_intern(struct labelset *s);
const struct line_labels *labelset_intern_group(struct labelset *s, const struct grouping *g);
