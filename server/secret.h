/* secret: what passwords and tokens need: hashes, comparisons that take the same time wherever two
 * values differ, random bytes. Any thread. Only secret.c and tls.c know OpenSSL, only secret.c
 * libcrypt. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "str.h"

enum {
    SECRET_DIGEST = 32,
    SECRET_PASSWORD_MAX = 511, /* libcrypt takes no longer ones */
    SECRET_HASH_MAX = 383,     /* nor gives longer hashes */
};

/* SHA-256 of the parts, each preceded by its size, so that no two lists give the same bytes. */
int secret_digest(const struct str *parts, size_t count, uint8_t ret[static SECRET_DIGEST]);
/* SHA-256 of the bytes alone. */
int secret_sha256(struct str bytes, uint8_t ret[static SECRET_DIGEST]);
bool secret_equal(const uint8_t *a, const uint8_t *b, size_t size);
int secret_random(uint8_t *ret, size_t size);
void secret_wipe(void *data, size_t size);

/* Is this a hash that secret_password_fits understands (bcrypt, yescrypt, scrypt, SHA-512 or
 * SHA-256 crypt)? */
bool secret_hash_known(struct str hash);
/* Takes tens to hundreds of milliseconds, as the hash was made to. `hash` ends with a NUL. */
bool secret_password_fits(struct str password, const char *hash);
/* A new hash of a password: bcrypt, cost 10. `ret` has room for SECRET_HASH_MAX + 1. */
int secret_password_hash(struct str password, char *ret, struct err *reterr);
