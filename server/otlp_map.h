/* otlp_map: from OTLP's resources, scopes and records to decoded streams. Both decoders call it
 * in the order of the document:
 *
 *   begin_resource
 *     begin_scope
 *       begin_record  add_attribute..  end_record    for each
 *     add_attribute..  end_scope                     for each
 *   add_attribute..  end_resource
 *
 * Attributes of a resource or a scope may come before or after what stands inside it, as they
 * apply at its end. Functions that return int give 0, or -E2BIG, -ENOMEM with text. */
#pragma once

#include "buf.h"
#include "otlp.h"
#include "otlp_rules.h"
#include "otlp_value.h"

enum { OTLP_INDEX_LABELS = 18 };

/* A value as text is at most this long. Lines beyond half of it could not be stored anyway
 * (entry.h); escapes may make a text longer than the body that brought it. */
enum { OTLP_VALUE_TEXT_MAX = 32 << 20 };

/* Pairs of one owner; the array grows in the arena. */
struct otlp_pairs {
    struct label *items;
    size_t count, capacity;
};

struct otlp_builder {
    struct decoded_push *out;
    const struct otlp_options *options;
    struct err *reterr;
    struct buf scratch; /* one text while it is made */
    /* Of the resource: by index attribute, then what the rules make labels. */
    struct otlp_pairs index[OTLP_INDEX_LABELS + 1];
    struct otlp_pairs resource, scope, record;
    size_t first_stream; /* of the resource */
    bool scope_has_stream;
};

struct otlp_builder otlp_builder_make(struct decoded_push *out, const struct otlp_options *options,
                                      struct err *reterr);
void otlp_builder_done(struct otlp_builder *b);

void otlp_begin_resource(struct otlp_builder *b);
int otlp_end_resource(struct otlp_builder *b);

struct otlp_scope {
    struct str name, version;
    uint64_t dropped_attributes_count;
};
void otlp_begin_scope(struct otlp_builder *b);
int otlp_end_scope(struct otlp_builder *b, const struct otlp_scope *s);

/* Zero and empty = absent. */
struct otlp_record {
    uint64_t time_ns, observed_ns;
    int64_t severity_number;
    struct str severity_text, event_name;
    struct otlp_value body;
    uint64_t dropped_attributes_count, flags;
    struct str trace_id, span_id; /* of the wrong size or all zero: no id */
    bool ids_are_hex;             /* JSON; else bytes */
};
void otlp_begin_record(struct otlp_builder *b);
int otlp_end_record(struct otlp_builder *b, const struct otlp_record *r);

/* Maps are flattened, their names joined by '_'. Empty values are dropped. */
int otlp_add_attribute(struct otlp_builder *b, enum otlp_owner owner, struct str key,
                       const struct otlp_value *value);

/* The resource attributes that become labels; OTLP_INDEX_LABELS of them. */
const struct str *otlp_index_attributes(void);

/* What both formats say about a value that is nested beyond OTLP_DEPTH_MAX; -ESYNTAX. */
int otlp_too_deep(struct err *reterr);
