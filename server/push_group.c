#include "push_group.h"

#include <errno.h>
#include <string.h>

#include "metadata.h"
#include "utf8.h"

enum { TEXT_MAX = 1 << 20 }; /* longer ones are not worth a message */

/* service_name from the first of the discovery labels that is there; skipped for Loki's own
 * internal streams. */
static void add_service_name(const struct limits *limits, struct label *items, size_t *count) {
    struct labels labels = {.items = items, .count = *count};
    if (limits->n_discover_service_name == 0 || labels_get(labels, STR("service_name")).data ||
        labels_get(labels, STR("__aggregated_metric__")).data ||
        labels_get(labels, STR("__pattern__")).data)
        return;
    struct str value = STR("unknown_service");
    for (size_t i = 0; i < limits->n_discover_service_name; i++) {
        struct str found = labels_get(labels, limits->discover_service_name[i]);
        if (found.size == 0)
            continue;
        value = found;
        break;
    }
    *count =
        metadata_set(items, *count, (struct label){.name = STR("service_name"), .value = value});
}

static bool pairs_are_valid(const struct label *items, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!label_name_valid(items[i].name) || !utf8_valid(items[i].value))
            return false;
    }
    return true;
}

/* Pairs of a JSON stream object: the last of equal names counts, as in any JSON object. Bad
 * names and values go through the parser of label texts, so that they are refused for the same
 * reasons in the same words. */
static int labels_from_pairs(const struct push_grouping *p, struct labels given, struct labels *ret,
                             struct err *reterr) {
    struct label *items = arena_array(p->arena, given.count + 1, sizeof(*items));
    if (!items)
        return err_set(reterr, -ENOMEM, "out of memory while reading labels");
    if (given.count > 0)
        memcpy(items, given.items, given.count * sizeof(*items));
    int64_t count = pairs_sort_last_wins(p->arena, items, given.count);
    if (count < 0)
        return err_set(reterr, -ENOMEM, "out of memory while reading labels");
    *ret = (struct labels){.items = items, .count = (size_t)count};
    if (!pairs_are_valid(items, (size_t)count)) {
        buf_clear(p->message);
        labels_format(p->message, *ret);
        struct str text = arena_copy(p->arena, buf_str(p->message));
        if (p->message->failed || !text.data)
            return err_set(reterr, -ENOMEM, "out of memory while reading labels");
        return labels_parse(text, p->arena, ret, reterr);
    }
    ret->count = labels_normalize(items, (size_t)count);
    return 0;
}

static int parse_labels(const struct push_grouping *p, const struct decoded_stream *s,
                        struct push_group *g, struct err *reterr) {
    struct labels parsed;
    int r = s->labels_text.data ? labels_parse(s->labels_text, p->arena, &parsed, reterr)
                                : labels_from_pairs(p, s->labels, &parsed, reterr);
    if (r == -ESYNTAX)
        return err_prefix(reterr, r, "couldn't parse labels");
    if (r < 0)
        return r;
    size_t count = parsed.count;
    struct label *items = arena_array(p->arena, count + 1, sizeof(*items));
    if (!items)
        return err_set(reterr, -ENOMEM, "out of memory while reading labels");
    if (count > 0)
        memcpy(items, parsed.items, count * sizeof(*items));
    add_service_name(p->limits, items, &count);
    g->labels = (struct labels){.items = items, .count = count};
    return 0;
}

struct str push_group_text(const struct push_grouping *p, struct push_group *g) {
    if (g->text.data)
        return g->text;
    struct buf b = buf_make(TEXT_MAX);
    labels_format(&b, g->stream ? stream_labels(g->stream) : g->labels);
    g->text = arena_copy(p->arena, buf_str(&b));
    if (!g->text.data)
        g->text = STR("{...}");
    buf_done(&b);
    return g->text;
}

/* Checks the label set against the limits; sets g->refusal. Zero = unlimited. */
static void check_labels(const struct push_grouping *p, struct push_group *g) {
    const struct limits *l = p->limits;
    struct labels labels = g->labels;
    struct buf *m = p->message;
    buf_clear(m);
    if (labels_get(labels, STR("__aggregated_metric__")).data)
        return;
    size_t counted = labels.count - (labels_get(labels, STR("service_name")).data != NULL);
    if (l->max_label_names_per_series > 0 && counted > l->max_label_names_per_series) {
        buf_addf(m, "entry for stream '%.*s' has %zu label names; limit %u",
                 STR_ARG(push_group_text(p, g)), counted, l->max_label_names_per_series);
        g->refused_for = DISCARD_LABEL_NAMES;
    }
    for (size_t i = 0; i < labels.count && m->size == 0; i++) {
        struct str name = labels.items[i].name, value = labels.items[i].value;
        if (l->max_label_name_length > 0 && name.size > l->max_label_name_length) {
            buf_addf(m, "stream '%.*s' has label name too long: '%.*s'",
                     STR_ARG(push_group_text(p, g)), STR_ARG(name));
            g->refused_for = DISCARD_LABEL_NAME_LONG;
        } else if (l->max_label_value_length > 0 && value.size > l->max_label_value_length) {
            buf_addf(m, "stream '%.*s' has label value too long: '%.*s'",
                     STR_ARG(push_group_text(p, g)), STR_ARG(value));
            g->refused_for = DISCARD_LABEL_VALUE_LONG;
        } else if (i > 0 && str_eq(labels.items[i - 1].name, name)) {
            buf_addf(m, "stream '%.*s' has duplicate label name: '%.*s'",
                     STR_ARG(push_group_text(p, g)), STR_ARG(name));
            g->refused_for = DISCARD_LABEL_TWICE;
        }
    }
    if (m->size > 0 || m->failed) {
        g->refusal = arena_copy(p->arena, buf_str(m));
        if (!g->refusal.data)
            g->refusal = STR("stream has labels beyond the limits");
    }
}

/* Sets g->refusal when labels are missing that each stream must have; a stream that is known may be from a time when it did
 * not. */
static void check_enforced(const struct push_grouping *p, struct push_group *g) {
    const struct limits *l = p->limits;
    if (labels_get(g->labels, STR("__aggregated_metric__")).data)
        return;
    struct buf *m = p->message;
    buf_clear(m);
    for (size_t i = 0; i < l->n_enforced_labels; i++) {
        if (!labels_get(g->labels, l->enforced_labels[i]).data)
            buf_addf(m, "%s%.*s", m->size == 0 ? "missing required labels " : ",",
                     STR_ARG(l->enforced_labels[i]));
    }
    if (m->size == 0 && !m->failed)
        return;
    buf_addf(m, " for user %.*s for stream %.*s", STR_ARG(p->tenant),
             STR_ARG(push_group_text(p, g)));
    g->refusal = arena_copy(p->arena, buf_str(m));
    if (!g->refusal.data || m->failed)
        g->refusal = STR("missing required labels");
    g->refused_for = DISCARD_LABEL_MISSING;
}

/* What its labels alone say about the level of a stream's entries. */
static void find_level(const struct push_grouping *p, struct push_group *g) {
    g->level.name = STR("detected_level");
    g->level.value = level_of_labels(p->level_fields, g->labels);
}

struct str push_group_spelling(const struct decoded_stream *s) {
    if (s->labels_text.data)
        return s->labels_text;
    return s->labels_key.size > 0 ? s->labels_key : STR("{}");
}

int push_group_open(const struct push_grouping *p, const struct decoded_stream *s,
                    struct push_group *g, struct err *reterr) {
    *g = (struct push_group){.spelling = push_group_spelling(s)};
    g->stream = store_stream_by_text(p->store, p->tenant, g->spelling);
    if (g->stream) {
        g->labels = stream_labels(g->stream);
    } else {
        int r = parse_labels(p, s, g, reterr);
        if (r < 0)
            return r;
        check_labels(p, g);
    }
    if (!g->refusal.data && p->limits->n_enforced_labels > 0)
        check_enforced(p, g);
    find_level(p, g);
    return 0;
}
