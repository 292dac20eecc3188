/* Sets are interned by the caller, so the work per entry is one lookup per column; names and values are hashed
 * once per distinct set, and mostly not even that: neighbouring sets tend to have the same names in
 * the same places and many of the same values, which is tried first.
 *
 *   pairs    (set, value id, next pair of the same column), in the order of sets
 *   columns  name, first and last pair, values
 *   table    open addressing over (column, value) -> value id */
#include "block_meta.h"

#include <errno.h>
#include <stdlib.h>

#include "block_format.h"
#include "bytes.h"
#include "hash.h"

enum { NAME_SLOTS = 4096, VALUE_SLOTS_FIRST = 1024 };
static const uint32_t NONE = UINT32_MAX; /* end of a chain */

static_assert(NAME_SLOTS >= 2 * BLOCK_META_COLUMNS_MAX, "a probe always meets an empty slot");

struct pair {
    uint32_t set;
    uint32_t id;
    uint32_t next;
};

struct value {
    struct str text;
    uint64_t hash;
    uint32_t column;
    uint32_t id;   /* 1..n_values of its column */
    uint32_t next; /* value of the same column with the next id */
    size_t slot;   /* where the table holds it */
};

struct column {
    struct str name;
    uint64_t hash;
    uint32_t first_pair, last_pair;
    uint32_t first_value, last_value;
    uint32_t n_values;
};

struct meta_builder {
    struct column columns[BLOCK_META_COLUMNS_MAX];
    uint32_t n_columns;
    uint16_t by_name[BLOCK_META_COLUMNS_MAX]; /* sorted */
    uint16_t names[NAME_SLOTS];               /* column + 1 */
    uint32_t *slots;                          /* value + 1; n_slots is a power of two */
    size_t n_slots;
    struct value *values;
    size_t n_values, values_room;
    struct pair *pairs;
    size_t n_pairs, pairs_room;
    uint32_t
        *uses; /* per set: entries that have it; later reused as set -> id of the column at hand */
    size_t uses_room;
};

struct meta_builder *meta_builder_new(void) {
    struct meta_builder *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->n_slots = VALUE_SLOTS_FIRST;
    b->slots = calloc(b->n_slots, sizeof(b->slots[0]));
    if (!b->slots) {
        free(b);
        return NULL;
    }
    return b;
}

void meta_builder_free(struct meta_builder *b) {
    if (!b)
        return;
    free(b->slots);
    free(b->values);
    free(b->pairs);
    free(b->uses);
    free(b);
}

/* Makes room for `wanted` elements in an array that doubles. */
static int grow(void **array, size_t *room, size_t wanted, size_t element) {
    if (wanted <= *room)
        return 0;
    size_t count = *room < 256 ? 256 : *room * 2, size;
    if (count < wanted)
        count = wanted;
    if (__builtin_mul_overflow(count, element, &size))
        return -ENOMEM;
    void *p = realloc(*array, size);
    if (!p)
        return -ENOMEM;
    *array = p;
    *room = count;
    return 0;
}

static int double_slots(struct meta_builder *b) {
    size_t n = b->n_slots * 2;
    uint32_t *slots = calloc(n, sizeof(slots[0]));
    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < b->n_values; i++) {
        size_t at = b->values[i].hash & (n - 1);
        while (slots[at] != 0)
            at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i + 1;
        b->values[i].slot = at;
    }
    free(b->slots);
    b->slots = slots;
    b->n_slots = n;
    return 0;
}

static int find_column(struct meta_builder *b, struct str name, uint32_t *ret) {
    uint64_t hash = hash_str(name);
    size_t at = hash & (NAME_SLOTS - 1);
    for (; b->names[at] != 0; at = (at + 1) & (NAME_SLOTS - 1)) {
        uint32_t c = b->names[at] - 1u;
        if (b->columns[c].hash == hash && str_eq(b->columns[c].name, name)) {
            *ret = c;
            return 0;
        }
    }
    if (b->n_columns == BLOCK_META_COLUMNS_MAX)
        return -E2BIG;
    *ret = b->n_columns++;
    b->columns[*ret] = (struct column){
        .name = name,
        .hash = hash,
        .first_pair = NONE,
        .last_pair = NONE,
        .first_value = NONE,
        .last_value = NONE,
    };
    b->names[at] = (uint16_t)(*ret + 1);
    return 0;
}

static int find_value(struct meta_builder *b, uint32_t column, struct str text, uint32_t *ret_id) {
    uint64_t hash = hash_mix(hash_str(text), b->columns[column].hash);
    size_t at = hash & (b->n_slots - 1);
    for (; b->slots[at] != 0; at = (at + 1) & (b->n_slots - 1)) {
        const struct value *v = &b->values[b->slots[at] - 1];
        if (v->hash == hash && v->column == column && str_eq(v->text, text)) {
            *ret_id = v->id;
            return 0;
        }
    }
    int r = grow((void **)&b->values, &b->values_room, b->n_values + 1, sizeof(b->values[0]));
    if (r < 0)
        return r;
    struct column *c = &b->columns[column];
    uint32_t i = (uint32_t)b->n_values++;
    b->values[i] = (struct value){
        .text = text,
        .hash = hash,
        .column = column,
        .id = ++c->n_values,
        .next = NONE,
        .slot = at,
    };
    b->slots[at] = i + 1;
    if (c->last_value == NONE)
        c->first_value = i;
    else
        b->values[c->last_value].next = i;
    c->last_value = i;
    *ret_id = c->n_values;
    return b->n_values * 2 > b->n_slots ? double_slots(b) : 0;
}

static int add_pair(struct meta_builder *b, uint32_t set, uint32_t column, struct str text) {
    struct column *c = &b->columns[column];
    uint32_t id = 0;
    int r = find_value(b, column, text, &id);
    if (r < 0)
        return r;
    r = grow((void **)&b->pairs, &b->pairs_room, b->n_pairs + 1, sizeof(b->pairs[0]));
    if (r < 0)
        return r;
    if (b->n_pairs == NONE)
        return -E2BIG;
    uint32_t i = (uint32_t)b->n_pairs++;
    b->pairs[i] = (struct pair){.set = set, .id = id, .next = NONE};
    if (c->last_pair == NONE)
        c->first_pair = i;
    else
        b->pairs[c->last_pair].next = i;
    c->last_pair = i;
    return 0;
}

/* `guess` is the column that the set before had in each place. */
static int add_set(struct meta_builder *b, uint32_t set, const struct labels *labels,
                   uint16_t *guess, uint64_t *ret_bytes) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < labels->count; i++) {
        struct str name = labels->items[i].name, text = labels->items[i].value;
        uint32_t column = i < BLOCK_META_COLUMNS_MAX ? guess[i] : 0;
        if (column >= b->n_columns || !str_eq(b->columns[column].name, name)) {
            int r = find_column(b, name, &column);
            if (r < 0)
                return r;
            if (i < BLOCK_META_COLUMNS_MAX)
                guess[i] = (uint16_t)column;
        }
        int r = add_pair(b, set, column, text);
        if (r < 0)
            return r;
        bytes += name.size + text.size;
    }
    *ret_bytes = bytes;
    return 0;
}

static int compare_columns(const void *a, const void *b, void *columns) {
    const struct column *c = columns;
    return str_cmp(c[*(const uint16_t *)a].name, c[*(const uint16_t *)b].name);
}

/* Clears the slots in use, not the whole table: it may have grown large for one block long ago. */
static void reset(struct meta_builder *b) {
    memset(b->names, 0, sizeof(b->names));
    for (size_t i = 0; i < b->n_values; i++)
        b->slots[b->values[i].slot] = 0;
    b->n_columns = 0;
    b->n_values = 0;
    b->n_pairs = 0;
}

int meta_builder_load(struct meta_builder *b, const struct block_input *in, uint64_t *ret_bytes) {
    uint16_t guess[BLOCK_META_COLUMNS_MAX] = {0};
    uint64_t bytes = 0;
    *ret_bytes = 0;
    reset(b);
    if (in->n_meta_sets <= 1)
        return 0;
    int r = grow((void **)&b->uses, &b->uses_room, in->n_meta_sets, sizeof(b->uses[0]));
    if (r < 0)
        return r;
    memset(b->uses, 0, in->n_meta_sets * sizeof(b->uses[0]));
    for (uint32_t i = 0; i < in->count; i++) {
        assert(in->meta_ids[i] < in->n_meta_sets);
        b->uses[in->meta_ids[i]]++;
    }
    for (uint32_t set = 0; set < in->n_meta_sets; set++) {
        uint64_t set_bytes = 0;
        if (b->uses[set] == 0)
            continue;
        r = add_set(b, set, &in->meta_sets[set], guess, &set_bytes);
        if (r < 0)
            return r;
        bytes += set_bytes * b->uses[set];
    }
    for (uint32_t i = 0; i < b->n_columns; i++)
        b->by_name[i] = (uint16_t)i;
    qsort_r(b->by_name, b->n_columns, sizeof(b->by_name[0]), compare_columns, b->columns);
    memset(b->uses, 0, in->n_meta_sets * sizeof(b->uses[0]));
    *ret_bytes = bytes;
    return 0;
}

size_t meta_builder_values(const struct meta_builder *b) {
    return b->n_values;
}

uint64_t meta_builder_hash(const struct meta_builder *b, size_t i) {
    return b->values[i].hash;
}

uint32_t meta_builder_count(const struct meta_builder *b) {
    return b->n_columns;
}

bool meta_builder_small(const struct meta_builder *b, uint32_t i, uint32_t max,
                        struct str *ret_name, struct str *ret_values, uint32_t *ret_count) {
    const struct column *c = &b->columns[b->by_name[i]];
    if (c->n_values > max)
        return false;
    *ret_name = c->name;
    *ret_count = c->n_values;
    for (uint32_t v = c->first_value, k = 0; v != NONE; v = b->values[v].next)
        ret_values[k++] = b->values[v].text;
    return true;
}

void meta_builder_ids(struct meta_builder *b, uint32_t i, const struct block_input *in,
                      uint8_t *ret_ids) {
    const struct column *c = &b->columns[b->by_name[i]];
    for (uint32_t k = c->first_pair; k != NONE; k = b->pairs[k].next)
        b->uses[b->pairs[k].set] = b->pairs[k].id;
    for (uint32_t k = 0; k < in->count; k++)
        ret_ids[k] = (uint8_t)b->uses[in->meta_ids[k]];
    for (uint32_t k = c->first_pair; k != NONE; k = b->pairs[k].next)
        b->uses[b->pairs[k].set] = 0;
}

/* Low bits first; may write up to 8 bytes past the end it returns. `ids` maps a set to the id; sets without the
 * name have 0. */
static uint8_t *pack_ids(const struct block_input *in, const uint32_t *order, const uint32_t *ids,
                         unsigned width, uint8_t *p) {
    uint8_t *end = p + ((size_t)in->count * width + 7) / 8;
    uint64_t pending = 0;
    unsigned bits = 0;
    for (uint32_t k = 0; k < in->count; k++) {
        uint32_t i = order ? order[k] : k;
        pending |= (uint64_t)ids[in->meta_ids[i]] << bits;
        bits += width;
        if (bits >= 32) {
            put_le32(p, (uint32_t)pending);
            p += 4;
            pending >>= 32;
            bits -= 32;
        }
    }
    put_le64(p, pending);
    return end;
}

/* Upper bound of a column's bytes, with the room that pack_ids may overwrite. */
static size_t column_bound(const struct meta_builder *b, const struct column *c, uint32_t count) {
    size_t size = 2 * VARINT_MAX_BYTES + c->name.size + (size_t)count * 4 + 16;
    for (uint32_t v = c->first_value; v != NONE; v = b->values[v].next)
        size += VARINT_MAX_BYTES + b->values[v].text.size;
    return size;
}

int meta_builder_write(struct meta_builder *b, uint32_t i, const struct block_input *in,
                       const uint32_t *order, struct buf *out, uint32_t *ret_key) {
    const struct column *c = &b->columns[b->by_name[i]];
    int r = buf_reserve(out, column_bound(b, c, in->count));
    if (r < 0)
        return r;
    uint8_t *p = put_text((uint8_t *)out->data + out->size, c->name);
    p = put_varint(p, c->n_values);
    for (uint32_t v = c->first_value; v != NONE; v = b->values[v].next)
        p = put_text(p, b->values[v].text);
    for (uint32_t k = c->first_pair; k != NONE; k = b->pairs[k].next)
        b->uses[b->pairs[k].set] = b->pairs[k].id;
    p = pack_ids(in, order, b->uses, block_id_width(c->n_values), p);
    for (uint32_t k = c->first_pair; k != NONE; k = b->pairs[k].next)
        b->uses[b->pairs[k].set] = 0;
    out->size = (size_t)((char *)p - out->data);
    *ret_key = (uint32_t)c->hash;
    return 0;
}
