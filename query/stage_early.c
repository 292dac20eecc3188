/* Filters that parser stages ask early.
 *
 * A label of the stream or of the metadata keeps its value through every parser (what those find of that name gets a
 * suffix), so a filter on it may drop the line before the first parser runs. Not one whose name ends in that suffix: what
 * the metadata has under it, for the stream's sake or by itself, gives way to what a parser puts there.
 *
 * The others are of two kinds. Filters that follow a parser stage with nothing in between that changes labels: asking them
 * early only saves time. And what Loki does when no grouping limits the labels: every filter of a single label, wherever it
 * stands, is asked by every parser stage that makes its label, and one filter per label. This shows: after `| json | drop
 * status | status=""` nothing is left of lines that have a status, and after `| json | __error__="" | status > 5` nothing of
 * lines whose status is no number, since asking has set the error. */
#include <errno.h>
#include <string.h>

#include "stage.h"

/* ---- compiling */

/* Counts the leaves that all must pass, and stores them when `out` is given. */
static size_t conjuncts(const struct filter_node *f, const struct filter_node **out) {
    if (f->kind == FILTER_AND) {
        size_t n = conjuncts(f->left, out);
        return n + conjuncts(f->right, out ? out + n : NULL);
    }
    if (f->kind == FILTER_OR || f->kind == FILTER_IP || f->is_error)
        return 0;
    if (out)
        *out = f;
    return 1;
}

static void add_early(struct early_filters *e, const struct filter_node *f) {
    for (size_t i = 0; i < e->count; i++)
        if (e->list[i] == f)
            return;
    e->list[e->count++] = f;
}

static void add_everywhere(const struct step *steps, size_t count, struct early_filters *e) {
    for (size_t i = 0; i < count; i++) {
        if (steps[i].kind != STAGE_LABEL_FILTER)
            continue;
        const struct filter_node *f = steps[i].filter;
        bool first = f->kind != FILTER_AND && f->kind != FILTER_OR && !f->is_error;
        for (size_t j = 0; j < i && first; j++)
            first = steps[j].kind != STAGE_LABEL_FILTER || steps[j].filter->kind == FILTER_AND ||
                    steps[j].filter->kind == FILTER_OR || steps[j].filter->name != f->name;
        if (first)
            add_early(e, f);
        if (first &&
            (f->kind == FILTER_NUMBER || f->kind == FILTER_DURATION || f->kind == FILTER_BYTES))
            e->marking[e->n_marking++] = f;
    }
}

static bool extracts(enum stage_kind kind) {
    return kind == STAGE_JSON || kind == STAGE_LOGFMT || kind == STAGE_REGEXP ||
           kind == STAGE_PATTERN || kind == STAGE_UNPACK;
}

bool early_is_plain(struct str name) {
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (i > 0 && c >= '0' && c <= '9')))
            return false;
    }
    return name.size > 0;
}

static int find_plain(struct stage_compiler *c, struct early_filters *e) {
    e->plain = arena_array(c->arena, e->count + 1, sizeof(*e->plain));
    e->plain_names = arena_array(c->arena, e->count + 1, sizeof(*e->plain_names));
    if (!e->plain || !e->plain_names)
        return -ENOMEM;
    for (size_t i = 0; i < e->count && e->n_plain < 64; i++) {
        /* Whether an address matters depends on errors, which a field before it may set. */
        if (!early_is_plain(c->names[e->list[i]->name]) || e->list[i]->kind == FILTER_IP)
            continue;
        e->plain_names[e->n_plain] = c->names[e->list[i]->name];
        e->plain[e->n_plain++] = e->list[i];
    }
    return 0;
}

static bool changes_labels(enum stage_kind kind) {
    return kind == STAGE_LABEL_FORMAT || kind == STAGE_DROP || kind == STAGE_KEEP;
}

/* Filters that the first parser may ask before it begins. */
static int attach_before(struct stage_compiler *c, struct step *parser, const struct step *end,
                         const struct filter_node **found, size_t most) {
    struct early_filters *e = &parser->early;
    e->before = arena_array(c->arena, most + 1, sizeof(*e->before));
    if (!e->before)
        return -ENOMEM;
    for (const struct step *s = parser + 1; s < end && !changes_labels(s->kind); s++) {
        if (s->kind != STAGE_LABEL_FILTER)
            continue;
        size_t n = conjuncts(s->filter, found);
        for (size_t i = 0; i < n; i++)
            if (!str_ends(c->names[found[i]->name], STR("_extracted")))
                e->before[e->n_before++] = found[i];
    }
    return 0;
}

int early_attach(struct stage_compiler *c, struct step *steps, size_t count, bool grouped,
                 bool hinted) {
    size_t most = 0;
    for (size_t i = 0; i < count; i++)
        if (steps[i].kind == STAGE_LABEL_FILTER)
            most += conjuncts(steps[i].filter, NULL) + 1;
    const struct filter_node **found = arena_array(c->arena, most + 1, sizeof(*found));
    if (!found)
        return -ENOMEM;
    bool is_first = true;
    for (size_t i = 0; i < count; i++) {
        if (!extracts(steps[i].kind))
            continue;
        if (is_first && attach_before(c, &steps[i], steps + count, found, most) < 0)
            return -ENOMEM;
        is_first = false;
        struct early_filters *e = &steps[i].early;
        e->list = arena_array(c->arena, 2 * most + 1, sizeof(*e->list));
        e->marking = arena_array(c->arena, most + 1, sizeof(*e->marking));
        if (!e->list || !e->marking)
            return -ENOMEM;
        for (size_t j = i + 1; j < count; j++) {
            if (steps[j].kind == STAGE_LINE_FILTER)
                continue;
            if (steps[j].kind != STAGE_LABEL_FILTER)
                break;
            size_t n = conjuncts(steps[j].filter, found);
            for (size_t k = 0; k < n; k++)
                add_early(e, found[k]);
        }
        if (!grouped)
            add_everywhere(steps, count, e);
        /* With hints little is extracted anyway, and what was seen before an error matters. */
        int r = hinted ? 0 : find_plain(c, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- running */

bool early_refuses_before(const struct early_filters *e, const struct run *r) {
    for (size_t i = 0; i < e->n_before; i++) {
        const struct filter_node *f = e->before[i];
        enum label_group group = labelset_group(r->set, f->name);
        struct str value;
        if ((group == GROUP_STREAM || group == GROUP_META) &&
            labelset_get(r->set, f->name, &value) && label_filter_refuses(f, value, false))
            return true;
    }
    return false;
}

bool run_probes(const struct run *r) {
    const struct early_filters *e = r->early;
    if (e->n_plain == 0 || (r->n_probed >= 64 && r->n_refused * 4 < r->n_probed))
        return false;
    for (size_t i = 0; i < e->n_plain; i++)
        if (labelset_group(r->set, e->plain[i]->name) != GROUP_NONE ||
            labelset_extracted(r->set, e->plain[i]->name))
            return false;
    return true;
}

void run_probed(struct run *r, bool refused) {
    r->n_probed++;
    r->n_refused += refused;
    if (r->n_probed >= 4096) {
        r->n_probed /= 2;
        r->n_refused /= 2;
    }
}

int run_probe(const struct run *r, struct str key, struct str value, uint64_t *seen) {
    const struct early_filters *e = r->early;
    int found = -1;
    for (size_t i = 0; i < e->n_plain; i++) {
        if (!str_eq(e->plain_names[i], key) || (*seen >> i & 1))
            continue;
        *seen |= UINT64_C(1) << i;
        if (label_filter_refuses(e->plain[i], value, labelset_get_error(r->set).size > 0))
            return 1;
        found = 0;
    }
    return found;
}

bool run_refuses(struct run *r, uint32_t id, struct str value) {
    const struct early_filters *e = r->early;
    for (size_t i = 0; i < e->count; i++)
        if (e->list[i]->name == id &&
            label_filter_refuses(e->list[i], value, labelset_get_error(r->set).size > 0))
            return true;
    for (size_t i = 0; i < e->n_marking; i++)
        if (e->marking[i]->name == id)
            label_filter_mark(e->marking[i], r, value);
    return false;
}
