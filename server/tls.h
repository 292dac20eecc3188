/* tls: TLS of the HTTP server. Only tls.c and secret.c know OpenSSL.
 *
 * A tls_context holds certificate, key and rules for all connections; loading the files again
 * changes new connections alone, running ones keep what they began with. A struct tls is one
 * connection over a socket that does not block; its calls mean what read(2) and write(2) mean,
 * errno included, except that tls_wants_write may say that a read waits for the socket to take
 * bytes. Contexts: any thread. Connections: their loop's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "err.h"
#include "str.h"

/* Go's names, as Loki's files have them. */
enum tls_client_auth {
    TLS_CLIENT_NONE,               /* NoClientCert */
    TLS_CLIENT_REQUEST,            /* RequestClientCert: taken as it comes, proves nothing */
    TLS_CLIENT_REQUIRE_ANY,        /* RequireAnyClientCert: likewise */
    TLS_CLIENT_VERIFY_IF_GIVEN,    /* VerifyClientCertIfGiven */
    TLS_CLIENT_REQUIRE_AND_VERIFY, /* RequireAndVerifyClientCert */
};

struct tls_options {
    const char *cert_file;      /* PEM: the certificate, then those between it and the root */
    const char *key_file;       /* PEM, without a passphrase */
    const char *client_ca_file; /* NULL or "": none */
    enum tls_client_auth client_auth;
    const char *min_version; /* "VersionTLS12" or "VersionTLS13"; NULL or "": 1.2 */
};

/* 0 or -ESYNTAX. */
int tls_client_auth_parse(struct str text, enum tls_client_auth *ret);
int tls_min_version_check(struct str text);

struct tls_context;

/* -EINVAL and the text when a file cannot be used; the text names the file. */
int tls_context_new(const struct tls_options *o, struct tls_context **ret, struct err *reterr);
/* On an error everything stays as it was. */
int tls_context_reload(struct tls_context *t, const struct tls_options *o, struct err *reterr);
/* After the last connection has gone. NULL is fine. */
void tls_context_free(struct tls_context *t);

struct tls;

struct tls *tls_new(struct tls_context *t, int fd); /* NULL without memory */
void tls_free(struct tls *t);                       /* does not close fd; NULL is fine */
/* 1 done, 0 not yet, -EPROTONOSUPPORT the client speaks plain HTTP, -EPROTO with OpenSSL's reason
 * in reterr. */
int tls_handshake(struct tls *t, struct err *reterr);
ssize_t tls_read(struct tls *t, void *data, size_t size);
ssize_t tls_write(struct tls *t, const void *data, size_t size);
/* Bytes that a read would give although the socket has none. */
size_t tls_pending(const struct tls *t);
/* What the last handshake or read waits for. */
bool tls_wants_write(const struct tls *t);
/* Says goodbye, if the socket takes it. */
void tls_say_goodbye(struct tls *t);
/* Common name of a client certificate that client_ca_file vouches for; .data NULL = none. */
struct str tls_peer_name(const struct tls *t);
