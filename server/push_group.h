/* push_group: all parts of a push that name their stream by the same text. What concerns the stream is settled here once for
 * all of them: which labels it has, service_name included, whether they are within the limits, and what they say of the
 * level. */
#pragma once

#include "decoded.h"
#include "level.h"
#include "push.h"

struct push_group {
    struct stream *stream; /* pinned; NULL until found or made */
    struct labels labels;  /* canonical, with service_name */
    struct str spelling;   /* what the sender wrote */
    struct str text;       /* canonical, for messages; made when first needed */
    struct str refusal;    /* why the label set breaks a limit; .data NULL = it does not */
    enum discard_reason refused_for;
    struct label level; /* detected_level from the labels; .value.data NULL = look at each entry */
    size_t target;      /* another spelling of this stream came first: its group, else this one */
    uint32_t n_entries; /* kept */
    uint32_t n_parts;
};

/* What the groups of one push have in common; everything is borrowed. */
struct push_grouping {
    struct store *store;
    const struct limits *limits;
    const struct level_fields *level_fields;
    struct str tenant;
    struct arena *arena; /* holds what is made for groups */
    struct buf *message; /* scratch for one message */
};

/* What the sender calls the stream: its label text, or something as good in its place. */
struct str push_group_spelling(const struct decoded_stream *s);

/* Fills a group from the first of its parts; its stream is pinned when it is known by this spelling. A label set that breaks a
 * limit is no error but a refusal. -ESYNTAX: the labels; -ENOMEM. */
int push_group_open(const struct push_grouping *p, const struct decoded_stream *s,
                    struct push_group *ret, struct err *reterr);

/* The canonical text of the labels, for messages. */
struct str push_group_text(const struct push_grouping *p, struct push_group *g);
