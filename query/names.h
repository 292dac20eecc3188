/* names: label names as numbers, and the way from a field's raw name to its label name. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "str.h"

struct name_key {
    uint64_t hash;
    struct str raw;
    uint32_t parent;
    uint32_t id; /* what the field makes; NAME_NONE = no label */
};

struct names {
    struct arena arena;
    struct str *texts; /* by id */
    uint64_t *hashes;  /* by id */
    size_t count, capacity;
    uint32_t *slots; /* hash -> id + 1; 0 = free */
    size_t n_slots;  /* power of two */
    struct name_key *keys;
    size_t n_keys, key_capacity;
    uint32_t *key_slots; /* index into keys + 1 */
    size_t n_key_slots;
    uint32_t
        predicted[64]; /* the key that stood at this place of the line before: most lines repeat */
};

void names_init(struct names *n);
void names_done(struct names *n);

/* The id of a text; UINT32_MAX without memory. */
uint32_t names_add(struct names *n, struct str text);

/* The name that raw field name `key` makes below `parent` (UINT32_MAX at the top); UINT32_MAX when it is empty or
 * memory is used up (then *ret_failed is set). `place` counts the fields of the line, for the prediction. */
uint32_t names_key(struct names *n, uint32_t parent, struct str key, size_t place,
                   bool *ret_failed);

/* A hash that is quick for short texts; for tables in memory only. */
uint64_t names_hash(struct str s);

/* Loki's sanitising: surrounding white space goes, each character outside [a-zA-Z0-9_] becomes '_', and a digit
 * in front gets a '_' before it. Appends to `out` (room for 1 + key.size); returns the size written. */
size_t name_sanitize(struct str key, bool at_start, char *out);
