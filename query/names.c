#include "names.h"

#include <stdlib.h>

#include "bytes.h"
#include "hash.h"
#include "utf8.h"

enum {
    FIRST_SLOTS = 256,
    KEYS_MAX = 1 << 15,  /* remembered raw field names; others are worked out each time */
    KEY_BYTES_MAX = 256, /* longer raw names are not remembered */
    ARENA_MAX =
        256 << 20, /* a backstop: NAMES_MAX names of 256 KiB lines do not reach it in practice */
};

void names_init(struct names *n) {
    *n = (struct names){.arena = arena_make_for(BUDGET_QUERIES, ARENA_MAX)};
    memset(n->predicted, 0xff, sizeof(n->predicted));
}

void names_done(struct names *n) {
    arena_done(&n->arena);
    free(n->texts);
    free(n->hashes);
    free(n->slots);
    free(n->keys);
    free(n->key_slots);
    names_init(n);
}

uint64_t names_hash(struct str s) {
    const char *p = s.data;
    uint64_t a, b;
    if (s.size > 16)
        return hash_str(s);
    if (s.size >= 8) {
        a = get_le64(p);
        b = get_le64(p + s.size - 8);
    } else if (s.size >= 4) {
        a = get_le32(p);
        b = get_le32(p + s.size - 4);
    } else if (s.size > 0) {
        a = (uint8_t)p[0] | (uint64_t)(uint8_t)p[s.size / 2] << 8;
        b = (uint8_t)p[s.size - 1];
    } else {
        a = b = 0;
    }
    uint64_t x = (a ^ UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xff51afd7ed558ccd);
    x ^= (b ^ s.size << 56) * UINT64_C(0xc4ceb9fe1a85ec53);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ (x >> 29);
}

/* Doubles a table of index + 1 entries when it would be more than half full. */
static bool slots_grow(uint32_t **slots, size_t *n_slots, size_t count, const uint64_t *hashes,
                       const struct name_key *keys) {
    if (*n_slots > 0 && (count + 1) * 2 <= *n_slots)
        return true;
    size_t size = *n_slots ? *n_slots * 2 : FIRST_SLOTS;
    uint32_t *fresh = calloc(size, sizeof(*fresh));
    if (!fresh)
        return false;
    for (size_t i = 0; i < count; i++) {
        size_t at = (size_t)(hashes ? hashes[i] : keys[i].hash) & (size - 1);
        while (fresh[at])
            at = (at + 1) & (size - 1);
        fresh[at] = (uint32_t)i + 1;
    }
    free(*slots);
    *slots = fresh;
    *n_slots = size;
    return true;
}

static bool texts_grow(struct names *n) {
    if (n->count < n->capacity)
        return true;
    size_t capacity = n->capacity ? n->capacity * 2 : 64;
    struct str *texts = realloc(n->texts, capacity * sizeof(*texts));
    if (!texts)
        return false;
    n->texts = texts;
    uint64_t *hashes = realloc(n->hashes, capacity * sizeof(*hashes));
    if (!hashes)
        return false;
    n->hashes = hashes;
    n->capacity = capacity;
    return true;
}

uint32_t names_add(struct names *n, struct str text) {
    uint64_t hash = names_hash(text);
    if (n->n_slots > 0) {
        size_t at = (size_t)hash & (n->n_slots - 1);
        for (; n->slots[at]; at = (at + 1) & (n->n_slots - 1)) {
            uint32_t id = n->slots[at] - 1;
            if (n->hashes[id] == hash && str_eq(n->texts[id], text))
                return id;
        }
    }
    if (!texts_grow(n) || !slots_grow(&n->slots, &n->n_slots, n->count, n->hashes, NULL))
        return UINT32_MAX;
    struct str copy = arena_copy(&n->arena, text);
    if (!copy.data && text.size > 0)
        return UINT32_MAX;
    uint32_t id = (uint32_t)n->count++;
    n->texts[id] = copy;
    n->hashes[id] = hash;
    size_t at = (size_t)hash & (n->n_slots - 1);
    while (n->slots[at])
        at = (at + 1) & (n->n_slots - 1);
    n->slots[at] = id + 1;
    return id;
}

static bool is_name_byte(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9');
}

/* Unicode's white space (Go's unicode.IsSpace). */
static bool is_space(uint32_t r) {
    return r == ' ' || (r >= 9 && r <= 13) || r == 0x85 || r == 0xa0 || r == 0x1680 ||
           (r >= 0x2000 && r <= 0x200a) || r == 0x2028 || r == 0x2029 || r == 0x202f ||
           r == 0x205f || r == 0x3000;
}

static struct str trim_space(struct str s) {
    while (s.size > 0) {
        uint32_t rune;
        unsigned n = utf8_decode(s, &rune);
        if (!is_space(rune))
            break;
        s = str_from_offset(s, n);
    }
    while (s.size > 0) {
        size_t at = s.size - 1;
        while (at > 0 && s.size - at < 4 && ((unsigned char)s.data[at] & 0xc0) == 0x80)
            at--;
        uint32_t rune;
        unsigned n = utf8_decode(str_from_offset(s, at), &rune);
        if (n != s.size - at || !is_space(rune))
            break;
        s.size = at;
    }
    return s;
}

size_t name_sanitize(struct str key, bool at_start, char *out) {
    key = trim_space(key);
    size_t size = 0;
    if (at_start && key.size > 0 && key.data[0] >= '0' && key.data[0] <= '9')
        out[size++] = '_';
    for (size_t i = 0; i < key.size;) {
        unsigned char c = (unsigned char)key.data[i];
        if (c < 0x80) {
            out[size++] = is_name_byte(c) ? (char)c : '_';
            i++;
        } else {
            uint32_t rune;
            i += utf8_decode(str_from_offset(key, i), &rune);
            out[size++] = '_';
        }
    }
    return size;
}

static uint32_t key_make(struct names *n, uint32_t parent, struct str key, bool *ret_failed) {
    struct str prefix = parent == UINT32_MAX ? STR("") : n->texts[parent];
    char small[512];
    char *text = small, *big = NULL;
    size_t need = prefix.size + key.size + 2;
    if (need > sizeof(small)) {
        text = big = malloc(need);
        if (!big) {
            *ret_failed = true;
            return UINT32_MAX;
        }
    }
    size_t size = prefix.size;
    if (size > 0) {
        memcpy(text, prefix.data, size);
        text[size++] = '_';
    }
    size += name_sanitize(key, size == 0, text + size);
    uint32_t id = UINT32_MAX;
    if (size > 0) {
        id = names_add(n, str_make(text, size));
        *ret_failed = *ret_failed || id == UINT32_MAX;
    }
    free(big);
    return id;
}

static void key_remember(struct names *n, uint64_t hash, uint32_t parent, struct str key,
                         uint32_t id, size_t place) {
    if (n->n_keys >= KEYS_MAX || key.size > KEY_BYTES_MAX)
        return;
    if (n->n_keys == n->key_capacity) {
        size_t capacity = n->key_capacity ? n->key_capacity * 2 : 64;
        struct name_key *keys = realloc(n->keys, capacity * sizeof(*keys));
        if (!keys)
            return;
        n->keys = keys;
        n->key_capacity = capacity;
    }
    if (!slots_grow(&n->key_slots, &n->n_key_slots, n->n_keys, NULL, n->keys))
        return;
    struct str raw = arena_copy(&n->arena, key);
    if (!raw.data && key.size > 0)
        return;
    size_t at = (size_t)hash & (n->n_key_slots - 1);
    while (n->key_slots[at])
        at = (at + 1) & (n->n_key_slots - 1);
    n->keys[n->n_keys] = (struct name_key){.hash = hash, .raw = raw, .parent = parent, .id = id};
    n->predicted[place % 64] = (uint32_t)n->n_keys++;
    n->key_slots[at] = (uint32_t)n->n_keys;
}

uint32_t names_key(struct names *n, uint32_t parent, struct str key, size_t place,
                   bool *ret_failed) {
    uint32_t guess = n->predicted[place % 64];
    if (guess != UINT32_MAX && n->keys[guess].parent == parent && str_eq(n->keys[guess].raw, key))
        return n->keys[guess].id;
    uint64_t hash = hash_mix(names_hash(key), parent);
    if (n->n_key_slots > 0) {
        size_t at = (size_t)hash & (n->n_key_slots - 1);
        for (; n->key_slots[at]; at = (at + 1) & (n->n_key_slots - 1)) {
            uint32_t index = n->key_slots[at] - 1;
            const struct name_key *k = &n->keys[index];
            if (k->hash == hash && k->parent == parent && str_eq(k->raw, key)) {
                n->predicted[place % 64] = index;
                return k->id;
            }
        }
    }
    uint32_t id = key_make(n, parent, key, ret_failed);
    if (!*ret_failed)
        key_remember(n, hash, parent, key, id, place);
    return id;
}
