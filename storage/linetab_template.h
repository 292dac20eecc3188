/* linetab_template: the template of a group read as JSON or logfmt, a slot standing for whatever values it has.
 *
 * That is sound as long as no value can change how the bytes behind it are read: in a string no quote and no backslash
 * that is not the value's own, outside of one nothing that ends a value. Columns are looked at for that; where it is in
 * doubt the walk ends and says so. Part of the decoder of tables. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "linetab_reader.h"

enum {
    TEMPLATE_DEPTH = 16, /* objects in objects; deeper templates are left alone */
    TEMPLATE_PARTS = 16, /* of one value */
};

/* Fixed bytes, then the values of a column unless it is NULL. */
struct field_part {
    struct str fixed;
    struct column *column;
};

/* A field as it stands in the template: its value is its parts one behind the other. */
struct template_field {
    const struct str
        *path; /* keys as written, from the outermost object inwards; without escapes */
    size_t depth;
    bool is_nested; /* an object or an array: nothing below is told, and it is no value */
    bool quoted;    /* the parts are what stands between the quotes; escapes of it are whole */
    bool too_many;  /* more parts than there is room for: those are missing */
    uint32_t n_parts;
    struct field_part parts[TEMPLATE_PARTS];
};

static inline bool field_is_fixed(const struct template_field *f) {
    return f->n_parts == 0 || (f->n_parts == 1 && !f->parts[0].column);
}

/* All of it is one slot. */
static inline bool field_is_slot(const struct template_field *f) {
    return f->n_parts == 1 && f->parts[0].column && f->parts[0].fixed.size == 0;
}

/* Is told of each field in the order in which a reader of a row meets them, of an object before its members; those inside
 * arrays are left out. True: enough; the walk ends when the outermost member that the field belongs to has been seen
 * to its end. */
typedef bool template_fn(void *ctx, const struct template_field *f);

/* 1: every row of the group reads like that, up to where `fn` had enough or to its end; 0: this cannot be told for
 * certain, whatever `fn` has heard; or a negative error. */
int linetab_read_template(struct linetab *t, struct group *g, enum linetab_form form,
                          template_fn *fn, void *ctx, struct err *reterr);

/* The value of a dictionary without the fixed bytes that are kept behind it. */
static inline struct str dictionary_cell(const struct column *c, uint32_t i) {
    return str_make(c->cells[i].data, c->cells[i].size - c->after.size);
}
