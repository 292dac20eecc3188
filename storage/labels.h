/* labels: label sets. A set is an array of pairs sorted by name (byte-wise) without duplicate names and
 * without empty values; its canonical text is {a="1", b="x"} with Go quoting. Names and values borrow.
 * Pure functions, any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "str.h"

struct label {
    struct str name;
    struct str value;
};

struct labels {
    const struct label *items;
    size_t count;
};

/* Parses the label text of a push ({a="1", b=`x`}): sorted, empty values removed.
 * Duplicate names are kept (adjacent): the caller looks for them and reports them. Unescaped values
 * live in the arena, others borrow `text`. -ESYNTAX with Loki's wording (without the "couldn't parse labels: "
 * prefix), -ENOMEM. */
int labels_parse(struct str text, struct arena *arena, struct labels *ret, struct err *reterr);

/* Sorts in place and drops pairs with empty values; returns the new count. */
size_t labels_normalize(struct label *items, size_t count);

/* Appends the canonical text. */
void labels_format(struct buf *out, struct labels labels);

/* Value of a name; .data is NULL when absent. Linear: sets are small. */
struct str labels_get(struct labels labels, struct str name);

/* Same for equal sets, whatever their text was. Stable on disk. */
uint64_t labels_hash(struct labels labels);
bool labels_eq(struct labels a, struct labels b);
/* For sorting: byte-wise by name and value in turn, a shorter set first. */
int labels_order(struct labels a, struct labels b);

/* Binary form for disk: varint count, then per pair varint sizes and bytes. */
void labels_encode(struct buf *out, struct labels labels);
/* The same labels with their texts where labels_encode has put them, in `items`, which has room for them. */
struct labels labels_place(struct labels labels, const char *encoded, struct label *items);
/* Decodes; strings borrow `bytes`. -ECORRUPT when it does not fill `bytes` exactly. */
int labels_decode(struct str bytes, struct arena *arena, struct labels *ret);

/* [a-zA-Z_][a-zA-Z0-9_]* */
bool label_name_valid(struct str name);

/* Appends value as Go's strconv.Quote does, quotes included. */
void go_quote(struct buf *out, struct str value);

/* The opposite: `literal` is a whole "..", '..' or `..` with Go's escapes. The result borrows `literal` when
 * nothing was escaped, else lives in the arena. -ESYNTAX or -ENOMEM. */
int go_unquote(struct str literal, struct arena *arena, struct str *ret);
