/* One push, in steps, each of which may end it:
 *
 *   1. decode     push_body: 400 for what does not parse, 413 for what is too large; nothing is stored.
 *   2. group      streams with the same label text are one group: Fluent Bit sends a stream object for each line.
 *                 Text seen before gives the stream at once; other text is parsed and checked. A label set that does
 *                 not parse fails the request; one that breaks a limit costs its own entries only.
 *   3. check      entry by entry: age, size, metadata. Refused ones are counted by reason and reported; the others
 *                 move together and get their metadata normalised and detected_level added.
 *   4. rate       429, nothing is stored.
 *   5. store      new streams are made, entries are put side by side per stream, one store_append for all.
 *   6. complete   from the WAL thread: 204; 400 when something was refused in step 2 or 3; 503 when not durable.
 *
 * Budget: nothing is allocated per line but metadata, in the arena; one look at each line's
 * bytes (level). */
#include "push.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "decoded.h"
#include "level.h"
#include "map.h"
#include "metadata.h"
#include "push_body.h"
#include "push_group.h"
#include "rate_limit.h"
#include "rejects.h"
#include "units.h"

enum {
    SMALL_BODY_MAX = 256 << 10,     /* decodes in well under a millisecond */
    WORK_MEMORY_PER_BODY = 4,       /* arena bytes allowed per byte of the largest body */
    LABELS_SPELLING_MAX = 64 << 10, /* longer label texts are not worth remembering */
    MESSAGE_MAX = 1 << 20,
};

#define BYTES_PER_MB 1048576.0

struct str discard_reason_name(enum discard_reason r) {
    static const struct str names[DISCARD_REASONS] = {
        [DISCARD_LINE_TOO_LONG] = {"line_too_long", 13},
        [DISCARD_TOO_OLD] = {"greater_than_max_sample_age", 27},
        [DISCARD_TOO_NEW] = {"too_far_in_future", 17},
        [DISCARD_LABEL_NAMES] = STR_INIT("max_label_names_per_series"),
        [DISCARD_LABEL_NAME_LONG] = STR_INIT("label_name_too_long"),
        [DISCARD_LABEL_VALUE_LONG] = STR_INIT("label_value_too_long"),
        [DISCARD_LABEL_TWICE] = STR_INIT("duplicate_label_names"),
        [DISCARD_LABEL_MISSING] = STR_INIT("missing_enforced_labels"),
        [DISCARD_METADATA_OFF] = STR_INIT("disallowed_structured_metadata"),
        [DISCARD_METADATA_LARGE] = STR_INIT("structured_metadata_too_large"),
        [DISCARD_METADATA_MANY] = STR_INIT("structured_metadata_too_many"),
        [DISCARD_RATE] = {"rate_limited", 12},
        [DISCARD_STREAMS] = {"stream_limit", 12},
        [DISCARD_MALFORMED] = {"malformed", 9},
        [DISCARD_STORAGE] = {"storage", 7},
    };
    assert(r < DISCARD_REASONS);
    return names[r];
}

struct push {
    struct store *store;
    const struct limits *limits;
    struct level_fields level_fields;
    struct push_metrics *metrics;
    const struct push_request *request;
    struct arena arena;
    struct push_body body;
    struct decoded_push decoded;
    struct rejects rejects;
    struct buf message; /* scratch for one message */
    struct push_grouping grouping;
    struct push_group *groups;
    uint32_t *group_of; /* per decoded stream */
    size_t n_groups;
    uint64_t n_kept, kept_bytes;
    bool over_stream_limit;
    int64_t oldest_ns, newest_ns; /* what age limits allow */
};

/* What the completion needs, after the request's memory is gone. */
struct ticket {
    push_done *done;
    void *ctx;
    struct push_metrics *metrics;
    struct store *store;
    uint64_t n_lines, n_bytes;
    int status;
    size_t text_size;
    char text[];
};

static void discard(struct push *p, enum discard_reason reason, uint64_t lines, uint64_t bytes) {
    atomic_fetch_add_explicit(&p->metrics->discarded_lines[reason], lines, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->metrics->discarded_bytes[reason], bytes, memory_order_relaxed);
}

static uint64_t pairs_size(const struct label *pairs, size_t count) {
    uint64_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += pairs[i].name.size + pairs[i].value.size;
    return size;
}

static uint64_t lines_size(const struct entry *entries, size_t count) {
    uint64_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += entries[i].line.size;
    return size;
}

/* ---- grouping */

/* Makes a group for each spelling. The stream before is the first guess, then a table. */
static int make_groups(struct push *p, struct err *reterr) {
    const struct decoded_push *d = &p->decoded;
    p->groups = arena_array(&p->arena, d->n_streams, sizeof(*p->groups));
    p->group_of = arena_array(&p->arena, d->n_streams, sizeof(*p->group_of));
    if (!p->groups || !p->group_of)
        return err_set(reterr, -ENOMEM, "out of memory for a push of %zu streams", d->n_streams);
    struct map by_spelling = map_make();
    struct push_group *last = NULL;
    int r = 0;
    for (size_t i = 0; i < d->n_streams && r == 0; i++) {
        const struct decoded_stream *s = &d->streams[i];
        struct str spelling = push_group_spelling(s);
        if (!last || !str_eq(last->spelling, spelling)) {
            struct push_group *g = map_get(&by_spelling, spelling);
            if (!g) {
                g = &p->groups[p->n_groups];
                r = push_group_open(&p->grouping, s, g, reterr);
                if (r < 0)
                    break;
                g->target = p->n_groups;
                p->n_groups++;
                if (map_put(&by_spelling, spelling, g) < 0)
                    r = err_set(reterr, -ENOMEM, "out of memory for a push");
            }
            last = g;
        }
        p->group_of[i] = (uint32_t)(last - p->groups);
    }
    map_done(&by_spelling);
    return r;
}

/* ---- entries */

static void add_time(struct buf *out, int64_t ns) {
    if (ns == PUSH_TS_TOO_OLD)
        buf_add_str(out, STR("0001-01-01T00:00:00Z")); /* what "no time" is for Loki */
    else
        time_format_rfc3339(out, ns, true);
}

/* What the entries of one part have in common. Those without metadata of their own have one of
 * few sets: the shared pairs with one of few levels. */
enum { PART_SETS_MAX = 12 };
struct part {
    struct push_group *g;
    struct labels shared;
    uint64_t shared_size;
    struct labels sets[PART_SETS_MAX];
    struct str set_levels[PART_SETS_MAX];
    size_t n_sets;
};

/* Is the metadata, of the given count and bytes, within the limits? Else the message is written. */
static enum discard_reason check_metadata(struct push *p, struct push_group *g, size_t count,
                                          uint64_t size) {
    const struct limits *l = p->limits;
    struct buf *m = &p->message;
    if (count == 0)
        return DISCARD_REASONS;
    if (!l->allow_structured_metadata) {
        buf_addf(m,
                 "stream '%.*s' includes structured metadata, but this feature is disallowed. "
                 "Please see "
                 "`limits_config.allow_structured_metadata` or contact your Loki administrator to "
                 "enable it",
                 STR_ARG(push_group_text(&p->grouping, g)));
        return DISCARD_METADATA_OFF;
    }
    uint64_t size_max = l->max_structured_metadata_size;
    if (size_max == 0 || size_max > ENTRY_META_BYTES_MAX)
        size_max = ENTRY_META_BYTES_MAX;
    if (size > size_max) {
        buf_addf(m,
                 "stream '%.*s' has structured metadata too large: '%llu' bytes, limit: '%llu' "
                 "bytes. Please see "
                 "`limits_config.max_structured_metadata_size` or contact your Loki administrator "
                 "to increase it",
                 STR_ARG(push_group_text(&p->grouping, g)), (unsigned long long)size,
                 (unsigned long long)size_max);
        return DISCARD_METADATA_LARGE;
    }
    /* Storage has a limit of its own; one place is kept for detected_level. */
    uint32_t max = l->max_structured_metadata_entries_count;
    if (max == 0 || max > ENTRY_META_MAX - 1)
        max = ENTRY_META_MAX - 1;
    if (count > max) {
        buf_addf(
            m,
            "stream '%.*s' has too many structured metadata labels: '%zu', limit: '%u'. Please see "
            "`limits_config.max_structured_metadata_entries_count` or contact your Loki "
            "administrator to "
            "increase it",
            STR_ARG(push_group_text(&p->grouping, g)), count, max);
        return DISCARD_METADATA_MANY;
    }
    return DISCARD_REASONS;
}

static uint64_t line_size_max(const struct limits *l) {
    return l->max_line_size > 0 && l->max_line_size < ENTRY_LINE_MAX ? l->max_line_size
                                                                     : ENTRY_LINE_MAX;
}

/* DISCARD_REASONS when the entry may be stored; else why not, with the message written. */
static enum discard_reason check_entry(struct push *p, const struct part *part, struct entry *e,
                                       uint64_t meta_size) {
    struct push_group *g = part->g;
    struct buf *m = &p->message;
    buf_clear(m);
    if (e->ts_ns < p->oldest_ns || e->ts_ns == PUSH_TS_TOO_OLD) {
        buf_addf(m, "entry for stream '%.*s' has timestamp too old: ",
                 STR_ARG(push_group_text(&p->grouping, g)));
        add_time(m, e->ts_ns);
        buf_add_str(m, STR(", oldest acceptable timestamp is: "));
        time_format_rfc3339(m, p->oldest_ns, true);
        return DISCARD_TOO_OLD;
    }
    if (e->ts_ns > p->newest_ns || e->ts_ns == PUSH_TS_TOO_NEW) {
        buf_addf(m, "entry for stream '%.*s' has timestamp too new: ",
                 STR_ARG(push_group_text(&p->grouping, g)));
        add_time(m, e->ts_ns);
        return DISCARD_TOO_NEW;
    }
    uint64_t max = line_size_max(p->limits);
    if (e->line.size > max && p->limits->max_line_size_truncate)
        e->line.size = max;
    if (e->line.size > max) {
        buf_addf(m,
                 "max entry size '%llu' bytes exceeded for stream '%.*s' while adding an entry "
                 "with length '%zu' bytes",
                 (unsigned long long)max, STR_ARG(push_group_text(&p->grouping, g)), e->line.size);
        return DISCARD_LINE_TOO_LONG;
    }
    return check_metadata(p, g, e->meta_count + part->shared.count, meta_size);
}

/* Metadata of an entry that has none but the shared: made for the first of its level, then used
 * again. */
static int share_metadata(struct push *p, struct part *part, struct entry *e) {
    struct label level = {.name = part->g->level.name};
    level.value = level_detect(&p->level_fields, part->g->labels, part->shared, e->line);
    size_t i = 0;
    while (i < part->n_sets && !str_eq(part->set_levels[i], level.value))
        i++;
    struct labels set;
    if (i < part->n_sets) {
        set = part->sets[i];
    } else {
        size_t count;
        struct label *pairs = metadata_merge(&p->arena, part->shared, (struct labels){0}, &count);
        if (!pairs)
            return -ENOMEM;
        set = (struct labels){.items = pairs, .count = metadata_set(pairs, count, level)};
        if (i < PART_SETS_MAX) {
            part->sets[i] = set;
            part->set_levels[i] = level.value;
            part->n_sets++;
        }
    }
    e->meta = set.items;
    e->meta_count = (uint32_t)set.count;
    return 0;
}

/* Normalises the metadata of an entry that has some and adds what it shares with others. */
static int normalize_entry(struct push *p, const struct part *part, struct entry *e) {
    /* The arena's own array, with one place free behind (decoded.h). */
    struct label *pairs = (struct label *)(uintptr_t)e->meta;
    int64_t own = metadata_normalize(&p->arena, pairs, e->meta_count);
    if (own < 0)
        return -ENOMEM;
    size_t count = (size_t)own;
    if (count > 0 && part->shared.count > 0) {
        struct labels given = {.items = pairs, .count = count};
        pairs = metadata_merge(&p->arena, given, part->shared, &count);
        if (!pairs)
            return -ENOMEM;
    }
    e->meta = pairs;
    e->meta_count = (uint32_t)count;
    return 0;
}

/* Completes the metadata and adds detected_level. Entries that have nothing else share static
 * pairs. */
static int enrich_entry(struct push *p, struct part *part, struct entry *e) {
    struct push_group *g = part->g;
    bool discover = p->limits->discover_log_levels && p->limits->allow_structured_metadata;
    if (e->meta_count > 0 && normalize_entry(p, part, e) < 0)
        return -ENOMEM;
    if (e->meta_count == 0 && part->shared.count > 0) {
        if (discover)
            return share_metadata(p, part, e);
        e->meta = part->shared.items;
        e->meta_count = (uint32_t)part->shared.count;
    } else if (e->meta_count == 0 && discover) {
        e->meta = g->level.value.data ? &g->level : level_of_line(&p->level_fields, e->line);
        assert(e->meta);
        e->meta_count = 1;
    } else if (discover) {
        struct labels meta = {.items = e->meta, .count = e->meta_count};
        struct label level = {.name = g->level.name};
        level.value = level_detect(&p->level_fields, g->labels, meta, e->line);
        e->meta_count =
            (uint32_t)metadata_set((struct label *)(uintptr_t)e->meta, meta.count, level);
    }
    return 0;
}

/* Entries at the front that nothing is to be said of, as is nearly always: of an acceptable age and size, without metadata
 * but the level. How many. */
static uint32_t check_plain(struct push *p, const struct part *part, struct entry *entries,
                            uint32_t count) {
    const struct limits *l = p->limits;
    if (part->shared.count > 0)
        return 0;
    bool discover = l->discover_log_levels && l->allow_structured_metadata;
    const struct label *level = part->g->level.value.data ? &part->g->level : NULL;
    uint64_t max = line_size_max(l), bytes = 0;
    uint32_t i = 0;
    for (; i < count; i++) {
        struct entry *e = &entries[i];
        bool known = e->ts_ns != PUSH_TS_TOO_OLD && e->ts_ns != PUSH_TS_TOO_NEW;
        if (e->ts_ns < p->oldest_ns || e->ts_ns > p->newest_ns || !known || e->line.size > max ||
            e->meta_count > 0)
            break;
        bytes += e->line.size;
        if (!discover)
            continue;
        e->meta = level ? level : level_of_line(&p->level_fields, e->line);
        e->meta_count = 1;
    }
    p->kept_bytes += bytes;
    return i;
}

/* Checks and enriches the entries of one part; those that stay move to its front. */
static int check_part(struct push *p, struct decoded_stream *s, struct push_group *g) {
    struct entry *entries = p->decoded.entries + s->first_entry;
    struct part part; /* not zeroed as a whole: there may be a part for each line */
    part.g = g;
    part.shared = s->shared_meta;
    part.shared_size = pairs_size(part.shared.items, part.shared.count);
    part.n_sets = 0;
    uint32_t kept = check_plain(p, &part, entries, s->n_entries);
    for (uint32_t i = kept; i < s->n_entries; i++) {
        struct entry *e = &entries[i];
        uint64_t meta_size = part.shared_size + pairs_size(e->meta, e->meta_count);
        enum discard_reason reason = check_entry(p, &part, e, meta_size);
        if (reason != DISCARD_REASONS) {
            rejects_add(&p->rejects, buf_str(&p->message));
            discard(p, reason, 1, e->line.size);
            continue;
        }
        p->kept_bytes += e->line.size + meta_size;
        if (enrich_entry(p, &part, e) < 0)
            return -ENOMEM;
        if (kept != i)
            entries[kept] = *e;
        kept++;
    }
    s->n_entries = kept;
    g->n_entries += kept;
    g->n_parts += kept > 0;
    p->n_kept += kept;
    return 0;
}

static void set_age_limits(struct push *p) {
    const struct limits *l = p->limits;
    int64_t now = p->request->now_ns, age = l->reject_old_samples_max_age_ns;
    if (l->retention_period_ns > 0 && (age <= 0 || age > l->retention_period_ns))
        age = l->retention_period_ns;
    p->oldest_ns = INT64_MIN;
    if (l->reject_old_samples && age > 0 && __builtin_sub_overflow(now, age, &p->oldest_ns))
        p->oldest_ns = INT64_MIN;
    p->newest_ns = INT64_MAX;
    if (l->creation_grace_period_ns > 0 &&
        __builtin_add_overflow(now, l->creation_grace_period_ns, &p->newest_ns))
        p->newest_ns = INT64_MAX;
}

static int check_entries(struct push *p) {
    set_age_limits(p);
    for (size_t i = 0; i < p->decoded.n_streams; i++) {
        struct decoded_stream *s = &p->decoded.streams[i];
        struct push_group *g = &p->groups[p->group_of[i]];
        if (s->n_entries == 0)
            continue;
        if (g->refusal.data) {
            rejects_add(&p->rejects, g->refusal);
            discard(p, g->refused_for, s->n_entries,
                    lines_size(p->decoded.entries + s->first_entry, s->n_entries));
            s->n_entries = 0;
            continue;
        }
        if (check_part(p, s, g) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* ---- storing */

/* The entries of group i are not stored. */
static void drop_group(struct push *p, size_t i) {
    for (size_t k = 0; k < p->decoded.n_streams; k++) {
        struct decoded_stream *s = &p->decoded.streams[k];
        if (p->group_of[k] != i || s->n_entries == 0)
            continue;
        uint64_t bytes = lines_size(p->decoded.entries + s->first_entry, s->n_entries);
        discard(p, DISCARD_STREAMS, s->n_entries, bytes);
        p->n_kept -= s->n_entries;
        p->kept_bytes -= bytes;
        s->n_entries = 0;
    }
    p->groups[i].n_entries = 0;
    p->groups[i].n_parts = 0;
}

/* Refuses streams that are new beyond the tenant's limit; what is active goes on. */
static void limit_streams(struct push *p) {
    uint32_t limit = p->limits->max_global_streams_per_user;
    if (limit == 0)
        return;
    struct str tenant = p->request->tenant;
    uint64_t active = store_active_streams(p->store, tenant);
    for (size_t i = 0; i < p->n_groups; i++) {
        struct push_group *g = &p->groups[i];
        if (g->stream || g->refusal.data || g->n_entries == 0 ||
            store_has_active_stream(p->store, tenant, g->labels))
            continue;
        if (active < limit) {
            active++;
            continue;
        }
        buf_clear(&p->message);
        buf_addf(&p->message, "maximum active stream limit exceeded when trying to create stream ");
        labels_format(&p->message, g->labels);
        buf_addf(&p->message,
                 ", reduce the number of active streams (reduce labels or reduce label values), or "
                 "contact your Loki administrator to see if the limit can be increased, user: "
                 "'%.*s'",
                 STR_ARG(tenant));
        rejects_add(&p->rejects, buf_str(&p->message));
        drop_group(p, i);
        p->over_stream_limit = true;
    }
}

/* Makes the streams that are new, and lets groups that turn out to be one stream share one
 * target. */
static int open_streams(struct push *p, struct err *reterr) {
    struct map by_stream = map_make();
    int r = 0;
    for (size_t i = 0; i < p->n_groups && r == 0; i++) {
        struct push_group *g = &p->groups[i];
        if (g->n_entries == 0)
            continue;
        struct str spelling = g->spelling.size <= LABELS_SPELLING_MAX ? g->spelling : STR("");
        if (!g->stream)
            r = store_stream(p->store, p->request->tenant, g->labels, spelling, &g->stream, reterr);
        if (r < 0)
            break;
        struct str key = str_make((const char *)&g->stream, sizeof(g->stream));
        struct push_group *first = map_get(&by_stream, key);
        if (!first) {
            if (map_put(&by_stream, key, g) < 0)
                r = err_set(reterr, -ENOMEM, "out of memory for a push");
            continue;
        }
        g->target = first->target;
        first->n_entries += g->n_entries;
        first->n_parts += g->n_parts;
        g->n_entries = 0;
    }
    map_done(&by_stream);
    return r;
}

/* Puts the entries of groups that come in several parts side by side, in the order in which they
 * were sent. Sets each batch stream's entries. `at` holds, per group, where its next entry goes. */
static int gather(struct push *p, struct batch_stream *streams, const uint32_t *slot_of) {
    struct decoded_push *d = &p->decoded;
    struct entry *entries = arena_alloc(&p->arena, p->n_kept * sizeof(*entries));
    struct entry **at = arena_array(&p->arena, p->n_groups, sizeof(*at));
    if (!entries || !at)
        return -ENOMEM;
    struct entry *next = entries;
    for (size_t i = 0; i < p->n_groups; i++) {
        at[i] = next;
        if (p->groups[i].n_entries > 0)
            streams[slot_of[i]].entries = next;
        next += p->groups[i].n_entries;
    }
    for (size_t i = 0; i < d->n_streams; i++) {
        const struct decoded_stream *s = &d->streams[i];
        if (s->n_entries == 0)
            continue;
        size_t target = p->groups[p->group_of[i]].target;
        memcpy(at[target], d->entries + s->first_entry, s->n_entries * sizeof(*entries));
        at[target] += s->n_entries;
    }
    return 0;
}

static int make_batch(struct push *p, struct batch *ret, struct err *reterr) {
    struct batch_stream *streams = arena_array(&p->arena, p->n_groups, sizeof(*streams));
    uint32_t *slot_of = arena_array(&p->arena, p->n_groups, sizeof(*slot_of));
    if (!streams || !slot_of)
        return err_set(reterr, -ENOMEM, "out of memory for a push of %zu streams", p->n_groups);
    size_t count = 0;
    bool scattered = false;
    for (size_t i = 0; i < p->n_groups; i++) {
        const struct push_group *g = &p->groups[i];
        if (g->n_entries == 0)
            continue;
        slot_of[i] = (uint32_t)count;
        streams[count++] = (struct batch_stream){.stream = g->stream, .count = g->n_entries};
        scattered |= g->n_parts > 1;
    }
    if (scattered && gather(p, streams, slot_of) < 0)
        return err_set(reterr, -ENOMEM, "out of memory for a push of %zu streams", p->n_groups);
    for (size_t i = 0; i < p->decoded.n_streams && !scattered; i++) {
        const struct decoded_stream *s = &p->decoded.streams[i];
        if (s->n_entries > 0)
            streams[slot_of[p->groups[p->group_of[i]].target]].entries =
                p->decoded.entries + s->first_entry;
    }
    *ret = (struct batch){
        .tenant = p->request->tenant,
        .streams = streams,
        .n_streams = count,
        .source = {.packed = p->body.packed, .plain = buf_str(&p->body.plain)},
    };
    return 0;
}

static void complete(void *ctx, int status) {
    struct ticket *t = ctx;
    if (status == 0) {
        t->done(t->ctx, t->status, str_make(t->text, t->text_size));
    } else {
        struct err err, why = {0};
        bool told = store_writable(t->store, &why) < 0;
        (void)err_set(&err, status, "cannot store the push: %s; send it again later",
                      told ? why.text : err_name(status));
        atomic_fetch_add(&t->metrics->discarded_lines[DISCARD_STORAGE], t->n_lines);
        atomic_fetch_add(&t->metrics->discarded_bytes[DISCARD_STORAGE], t->n_bytes);
        t->done(t->ctx, 503, str_from(err.text));
    }
    free(t);
}

/* 429 when streams were refused that a later push may bring in, 400 when what was refused stays so. */
static int refused_status(const struct push *p) {
    if (p->over_stream_limit)
        return 429;
    return p->rejects.total > 0 ? 400 : 204;
}

static struct ticket *ticket_new(const struct push *p, push_done *done, void *ctx,
                                 struct str text) {
    struct ticket *t = malloc(sizeof(*t) + text.size);
    if (!t)
        return NULL;
    *t = (struct ticket){
        .done = done,
        .ctx = ctx,
        .metrics = p->metrics,
        .store = p->store,
        .n_lines = p->n_kept,
        .n_bytes = p->kept_bytes,
        .status = refused_status(p),
        .text_size = text.size,
    };
    if (text.size > 0)
        memcpy(t->text, text.data, text.size);
    return t;
}

/* What a step that cannot go on answers. */
static int status_of(int code) {
    if (code == -ESYNTAX)
        return 400;
    return code == -E2BIG ? 413 : 503;
}

/* Stores what is left; 0 when the completion will answer, else the HTTP status for the text in
 * reterr. */
static int store_entries(struct push *p, push_done *done, void *ctx, struct str text,
                         struct err *reterr) {
    struct batch batch;
    struct ticket *t = ticket_new(p, done, ctx, text);
    int r = t ? 0 : err_set(reterr, -ENOMEM, "out of memory for a push");
    if (r == 0)
        r = open_streams(p, reterr);
    if (r == 0)
        r = make_batch(p, &batch, reterr);
    if (r == 0)
        r = store_append(p->store, &batch, complete, t, reterr);
    if (r == 0)
        return 0;
    discard(p, DISCARD_STORAGE, p->n_kept, p->kept_bytes);
    free(t);
    return 503;
}

static bool rate_allows(struct push *p, struct err *reterr) {
    const struct limits *l = p->limits;
    struct rate rate = {.bytes_per_second = l->ingestion_rate_mb * BYTES_PER_MB,
                        .burst_bytes = l->ingestion_burst_size_mb * BYTES_PER_MB};
    if (rate.burst_bytes < rate.bytes_per_second)
        rate.burst_bytes = rate.bytes_per_second;
    if (rate_limit_take(p->request->tenant, rate, p->kept_bytes, clock_mono_ns()))
        return true;
    discard(p, DISCARD_RATE, p->n_kept, p->kept_bytes);
    (void)err_set(
        reterr, -EREFUSED,
        "ingestion rate limit exceeded for user %.*s (limit: %lld bytes/sec) while attempting to "
        "ingest '%llu' lines totaling '%llu' bytes, reduce log volume or contact your Loki "
        "administrator to see if the limit can be increased",
        STR_ARG(p->request->tenant), (long long)rate.bytes_per_second,
        (unsigned long long)p->n_kept, (unsigned long long)p->kept_bytes);
    return false;
}

/* Steps 1 to 3. 0, or the HTTP status for the text in reterr. */
static int prepare(struct push *p, struct err *reterr) {
    const struct push_request *q = p->request;
    struct push_content content = {
        .type = q->content_type,
        .encoding = q->content_encoding,
        .body = q->body,
        .otlp = q->kind == PUSH_OTLP,
        .otlp_options = {.now_ns = q->now_ns,
                         .labels_max = p->limits->max_label_names_per_series,
                         .rules = p->limits->otlp}};
    int r = push_body_decode(&p->body, &content, &p->decoded, reterr);
    if (r == 0 && p->decoded.n_streams == 0) {
        (void)err_set(reterr, -ESYNTAX,
                      "error at least one valid stream is required for ingestion");
        return 422;
    }
    uint64_t bytes = lines_size(p->decoded.entries, p->decoded.n_entries);
    if (r == 0) {
        atomic_fetch_add(&p->metrics->lines_received, p->decoded.n_entries);
        atomic_fetch_add(&p->metrics->line_bytes_received, bytes);
        r = make_groups(p, reterr);
    }
    if (r == 0 && check_entries(p) < 0)
        r = decoded_error(&p->decoded, reterr);
    if (r == -ESYNTAX)
        discard(p, DISCARD_MALFORMED, p->decoded.n_entries, bytes);
    return r < 0 ? status_of(r) : 0;
}

/* Runs all steps; 0 when the completion will answer, else the HTTP status for `text`. */
static int run(struct push *p, push_done *done, void *ctx, struct buf *text, struct err *err) {
    int status = prepare(p, err);
    if (status == 0 && p->n_kept > 0 && !rate_allows(p, err))
        status = 429;
    if (status == 0) {
        limit_streams(p);
        if (p->rejects.total > 0)
            rejects_format(&p->rejects, text);
        if (p->n_kept == 0)
            return refused_status(p);
        status = store_entries(p, done, ctx, buf_str(text), err);
    }
    buf_clear(text);
    if (status != 0)
        buf_add_str(text, str_from(err->text));
    return status;
}

void push_handle(struct store *store, const struct limits *limits, struct push_metrics *metrics,
                 const struct push_request *request, push_done *done, void *ctx) {
    size_t body_max = request->body_max > 0 ? request->body_max : PUSH_BODY_DEFAULT;
    struct push p = {
        .store = store,
        .limits = limits,
        .level_fields = level_fields_make(limits),
        .metrics = metrics,
        .request = request,
        .arena = arena_make_for(BUDGET_PUSHES, body_max * WORK_MEMORY_PER_BODY),
        .body = push_body_make(body_max),
        .message = buf_make(MESSAGE_MAX),
    };
    p.grouping = (struct push_grouping){.store = store,
                                        .limits = limits,
                                        .level_fields = &p.level_fields,
                                        .tenant = request->tenant,
                                        .arena = &p.arena,
                                        .message = &p.message};
    p.rejects = rejects_make(&p.arena);
    decoded_push_init(&p.decoded, &p.arena);
    atomic_fetch_add(&metrics->requests, 1);
    atomic_fetch_add(&metrics->bytes_received, request->body.size);
    struct err err = {0};
    struct buf text = buf_make(BUF_NO_MAX);
    int status = run(&p, done, ctx, &text, &err);
    for (size_t i = 0; i < p.n_groups; i++) {
        if (p.groups[i].stream)
            store_unpin(store, p.groups[i].stream);
    }
    if (status != 0)
        done(ctx, status, buf_str(&text));
    buf_done(&text);
    buf_done(&p.message);
    rejects_done(&p.rejects);
    push_body_done(&p.body);
    arena_done(&p.arena);
}

bool push_is_small(const struct push_request *request) {
    struct push_content content = {.type = request->content_type,
                                   .encoding = request->content_encoding,
                                   .body = request->body,
                                   .otlp = request->kind == PUSH_OTLP};
    return push_body_size_guess(&content) <= SMALL_BODY_MAX;
}
