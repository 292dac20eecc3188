#include "vector.h"

#include <errno.h>
#include <stdlib.h>

#include "hash.h"
#include "regex.h"

int vec_series_make(struct exec *x, struct labels labels, struct vec_series *ret) {
    double *values = arena_array(&x->arena, x->steps.count, sizeof(*values));
    bool *present = arena_array(&x->arena, x->steps.count, sizeof(*present));
    if (!values || !present)
        return -ENOMEM;
    *ret = (struct vec_series){.labels = labels, .values = values, .present = present};
    return 0;
}

int vec_check_series(const struct exec *x, size_t count, struct err *reterr) {
    uint32_t max = x->query->max_series;
    if (max == 0 || count <= max)
        return 0;
    return err_set(
        reterr, -EREFUSED,
        "maximum number of series (%u) reached for a single query; consider reducing query "
        "cardinality by adding more specific stream selectors, reducing the time range, or "
        "aggregating results with functions like sum(), count() or topk()",
        max);
}

/* ---- sets of label sets */

int label_index_make(struct arena *arena, size_t expected, struct label_index *ret) {
    size_t slots = 16;
    while (slots < expected * 2)
        slots *= 2;
    *ret = (struct label_index){
        .arena = arena,
        .slots = arena_array(arena, slots, sizeof(struct label_index_slot)),
        .mask = slots - 1,
        .sets = arena_array(arena, slots / 2, sizeof(struct labels)),
        .capacity = slots / 2,
    };
    return ret->slots && ret->sets ? 0 : -ENOMEM;
}

static int label_index_grow(struct label_index *index) {
    struct label_index bigger;
    int r = label_index_make(index->arena, index->capacity * 2, &bigger);
    if (r < 0)
        return r;
    for (size_t i = 0; i <= index->mask; i++) {
        struct label_index_slot slot = index->slots[i];
        if (slot.id_plus_one == 0)
            continue;
        size_t at = (size_t)slot.hash & bigger.mask;
        while (bigger.slots[at].id_plus_one)
            at = (at + 1) & bigger.mask;
        bigger.slots[at] = slot;
    }
    memcpy(bigger.sets, index->sets, index->count * sizeof(*index->sets));
    bigger.count = index->count;
    *index = bigger;
    return 0;
}

int label_index_find(struct label_index *index, struct labels set, uint32_t *ret, bool *ret_new) {
    uint64_t hash = labels_hash(set);
    size_t at = (size_t)hash & index->mask;
    for (; index->slots[at].id_plus_one; at = (at + 1) & index->mask) {
        uint32_t id = index->slots[at].id_plus_one - 1;
        if (index->slots[at].hash == hash && labels_eq(index->sets[id], set)) {
            *ret = id;
            if (ret_new)
                *ret_new = false;
            return 0;
        }
    }
    if (index->count == index->capacity) {
        int r = label_index_grow(index);
        if (r < 0)
            return r;
        at = (size_t)hash & index->mask;
        while (index->slots[at].id_plus_one)
            at = (at + 1) & index->mask;
    }
    uint32_t id = (uint32_t)index->count++;
    index->sets[id] = set;
    index->slots[at] = (struct label_index_slot){.hash = hash, .id_plus_one = id + 1};
    *ret = id;
    if (ret_new)
        *ret_new = true;
    return 0;
}

static bool named(struct str name, const struct str *names, size_t n_names) {
    for (size_t i = 0; i < n_names; i++)
        if (str_eq(names[i], name))
            return true;
    return false;
}

int labels_reduce(struct arena *arena, struct labels set, const struct str *names, size_t n_names,
                  bool keep, struct labels *ret) {
    struct label *items = arena_array(arena, set.count ? set.count : 1, sizeof(*items));
    if (!items)
        return -ENOMEM;
    size_t count = 0;
    for (size_t i = 0; i < set.count; i++)
        if (named(set.items[i].name, names, n_names) == keep && set.items[i].value.size > 0)
            items[count++] = set.items[i];
    *ret = (struct labels){.items = items, .count = count};
    return 0;
}

/* ---- label_replace */

enum { REPLACEMENT_MAX = 64 << 10 }; /* a label value; far above what a label may be */

/* The set with dst set to the expanded replacement, or without it when that is empty. */
static int replace_label(struct exec *x, const struct expr *e, struct labels set,
                         struct labels *ret, struct err *reterr) {
    struct str groups[REGEX_GROUPS_MAX];
    size_t n_groups = regex_group_count(e->label_replace.regex) + 1;
    if (n_groups > REGEX_GROUPS_MAX)
        n_groups = REGEX_GROUPS_MAX;
    struct str source = labels_get(set, e->label_replace.src);
    if (!source.data)
        source = STR("");
    *ret = set;
    if (!regex_find(e->label_replace.regex, source, 0, groups, n_groups))
        return 0;
    struct buf value = buf_make(REPLACEMENT_MAX);
    regex_expand(e->label_replace.regex, e->label_replace.replacement, groups, n_groups, &value);
    struct label *items = arena_array(&x->arena, set.count + 1, sizeof(*items));
    struct str copied = arena_copy(&x->arena, buf_str(&value));
    bool failed = value.failed || !items || !copied.data;
    buf_done(&value);
    if (failed)
        return exec_no_memory(reterr);
    size_t count = 0;
    for (size_t i = 0; i < set.count; i++)
        if (!str_eq(set.items[i].name, e->label_replace.dst))
            items[count++] = set.items[i];
    items[count++] = (struct label){.name = e->label_replace.dst, .value = copied};
    *ret = (struct labels){.items = items, .count = labels_normalize(items, count)};
    return 0;
}

int vec_label_replace(struct exec *x, const struct expr *e, const struct vec *in, struct vec *ret,
                      struct err *reterr) {
    *ret = *in;
    for (size_t i = 0; i < ret->count; i++) {
        int r = replace_label(x, e, ret->series[i].labels, &ret->series[i].labels, reterr);
        if (r < 0)
            return r;
    }
    return 0;
}
