#include "census.h"

#include <errno.h>
#include <stdlib.h>

#include "arena.h"
#include "distinct.h"
#include "hash.h"
#include "map.h"
#include "store.h"
#include "units.h"

#define CENSUS_BYTES_MAX ((size_t)256 << 20)

struct counted {
    struct str name;
    uint64_t hash;
    uint64_t cardinality;
    bool only_ids;
    bool only_booleans; /* 0 and 1 */
};

struct census {
    struct arena arena;
    struct map by_name;
    struct counted **counted;
    size_t count, capacity;
    struct distinct seen; /* names with values */
};

struct census *census_new(void) {
    struct census *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->arena = arena_make_for(BUDGET_QUERIES, CENSUS_BYTES_MAX);
    c->by_name = map_make();
    c->seen = distinct_make();
    return c;
}

void census_free(struct census *c) {
    if (!c)
        return;
    distinct_done(&c->seen);
    map_done(&c->by_name);
    arena_done(&c->arena);
    free(c->counted);
    free(c);
}

/* ---- identifiers */

static bool all_hex(struct str s) {
    for (size_t i = 0; i < s.size; i++) {
        char c = s.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')))
            return false;
    }
    return true;
}

/* 8-4-4-4-12, also in braces or after urn:uuid:, or 32 digits in a row. */
static bool is_uuid(struct str s) {
    static const size_t groups[] = {8, 4, 4, 4, 12};
    if (s.size == 32)
        return all_hex(s);
    if (s.size == 38 && s.data[0] == '{' && s.data[37] == '}')
        s = str_make(s.data + 1, 36);
    else if (s.size == 45 && str_eq_nocase(str_make(s.data, 9), STR("urn:uuid:")))
        s = str_from_offset(s, 9);
    if (s.size != 36)
        return false;
    size_t at = 0;
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (i > 0 && s.data[at++] != '-')
            return false;
        if (!all_hex(str_make(s.data + at, groups[i])))
            return false;
        at += groups[i];
    }
    return true;
}

bool census_is_id(struct str value) {
    double number;
    return float_parse_go(value, &number) == 0 || is_uuid(value);
}

static bool always_shown(struct str name) {
    return str_eq(name, STR("cluster")) || str_eq(name, STR("namespace")) ||
           str_eq(name, STR("instance")) || str_eq(name, STR("pod"));
}

/* The tenant of a read of several is nothing that a stream has. */
static bool is_hidden(const struct counted *n) {
    if (str_eq(n->name, STR(STORE_TENANT_LABEL)))
        return true;
    return n->only_ids && !n->only_booleans && !always_shown(n->name);
}

/* ---- counting */

/* NULL in *ret: one name too many. */
static int find_name(struct census *c, struct str name, struct counted **ret) {
    *ret = map_get(&c->by_name, name);
    if (*ret || c->count >= CENSUS_NAMES_MAX)
        return 0;
    if (c->count == c->capacity) {
        size_t capacity = c->capacity ? c->capacity * 2 : 64;
        struct counted **grown = realloc(c->counted, capacity * sizeof(struct counted *));
        if (!grown)
            return -ENOMEM;
        c->counted = grown;
        c->capacity = capacity;
    }
    struct counted *n = arena_array(&c->arena, 1, sizeof(*n));
    struct str copy = arena_copy(&c->arena, name);
    if (!n || !copy.data || map_put(&c->by_name, copy, n) < 0)
        return -ENOMEM;
    *n = (struct counted){
        .name = copy, .hash = hash_str(name), .only_ids = true, .only_booleans = true};
    c->counted[c->count++] = n;
    *ret = n;
    return 0;
}

int census_add(struct census *c, struct labels labels) {
    for (size_t i = 0; i < labels.count; i++) {
        struct label label = labels.items[i];
        struct counted *n;
        int r = find_name(c, label.name, &n);
        if (r == 0 && n)
            r = distinct_add(&c->seen, hash_mix(n->hash, hash_str(label.value)));
        if (r < 0)
            return r;
        if (r == 0)
            continue;
        n->cardinality++;
        n->only_ids = n->only_ids && census_is_id(label.value);
        n->only_booleans =
            n->only_booleans && (str_eq(label.value, STR("0")) || str_eq(label.value, STR("1")));
    }
    return 0;
}

static int compare_labels(const void *a, const void *b) {
    return str_cmp(((const struct census_label *)a)->name, ((const struct census_label *)b)->name);
}

int census_list(struct census *c, const struct census_label **ret, size_t *ret_count) {
    struct census_label *list = arena_array(&c->arena, c->count, sizeof(*list));
    if (!list)
        return -ENOMEM;
    size_t count = 0;
    for (size_t i = 0; i < c->count; i++) {
        const struct counted *n = c->counted[i];
        if (n->cardinality > 0 && !is_hidden(n))
            list[count++] = (struct census_label){.name = n->name, .cardinality = n->cardinality};
    }
    qsort(list, count, sizeof(*list), compare_labels);
    *ret = list;
    *ret_count = count;
    return 0;
}
