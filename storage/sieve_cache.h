/* sieve_cache (private to storage): opened sieves of a store, and what is known of days without one. Any thread. */
#pragma once

#include "sieve.h"
#include "store_private.h"

struct known_sieve;

/* `max_bytes`: of the tables of open ones, 50 KB per GB of lines; what queries hold may be more. */
struct sieve_cache *sieve_cache_new(size_t max_bytes);
void sieve_cache_free(struct sieve_cache *c); /* NULL is fine */

/* The day's sieve, held until sieve_put; NULL: there is none that can be used. One that is damaged is logged and counted
 * when it is found so. */
struct known_sieve *sieve_get(struct store *s, struct str tenant, int32_t day);
void sieve_put(struct store *s, struct known_sieve *held);
const struct sieve *sieve_of(const struct known_sieve *held);
/* It will be wanted soon: unless it is open, the disk begins to read what opening it reads. */
void sieve_expect(struct store *s, struct str tenant, int32_t day);
/* A stripe of it was found to be damaged. */
void sieve_note_damage(struct store *s, struct known_sieve *held);
