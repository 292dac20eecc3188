/* In logq, what stands in the place of tls.c and secret.c. Answering from a data directory (local.h) needs the server's
 * handlers but neither connections nor passwords, and loading OpenSSL takes 2 ms, as long as half a search. No code of
 * logq gets here: it makes no tls_context and loads no users. */
#include <assert.h>
#include <stdlib.h>

#include "secret.h"
#include "tls.h"

/* ---- tls.h */

struct tls *tls_new(struct tls_context *t, int fd) {
    (void)t;
    (void)fd;
    abort();
}

void tls_free(struct tls *t) {
    assert(!t);
}

int tls_handshake(struct tls *t, struct err *reterr) {
    (void)t;
    (void)reterr;
    abort();
}

ssize_t tls_read(struct tls *t, void *data, size_t size) {
    (void)t;
    (void)data;
    (void)size;
    abort();
}

ssize_t tls_write(struct tls *t, const void *data, size_t size) {
    (void)t;
    (void)data;
    (void)size;
    abort();
}

size_t tls_pending(const struct tls *t) {
    (void)t;
    abort();
}

bool tls_wants_write(const struct tls *t) {
    (void)t;
    abort();
}

void tls_say_goodbye(struct tls *t) {
    (void)t;
    abort();
}

struct str tls_peer_name(const struct tls *t) {
    (void)t;
    abort();
}

/* ---- secret.h */

int secret_digest(const struct str *parts, size_t count, uint8_t ret[static SECRET_DIGEST]) {
    (void)parts;
    (void)count;
    (void)ret;
    abort();
}

int secret_sha256(struct str bytes, uint8_t ret[static SECRET_DIGEST]) {
    (void)bytes;
    (void)ret;
    abort();
}

bool secret_equal(const uint8_t *a, const uint8_t *b, size_t size) {
    (void)a;
    (void)b;
    (void)size;
    abort();
}

int secret_random(uint8_t *ret, size_t size) {
    (void)ret;
    (void)size;
    abort();
}

void secret_wipe(void *data, size_t size) {
    (void)data;
    (void)size;
    abort();
}

bool secret_hash_known(struct str hash) {
    (void)hash;
    abort();
}

bool secret_password_fits(struct str password, const char *hash) {
    (void)password;
    (void)hash;
    abort();
}
