#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct tls_context {
    pthread_mutex_t lock; /* guards: ctx */
    SSL_CTX *ctx;         /* counts its own references: each connection has one */
};

enum { PEER_NAME_MAX = 256 };

struct tls {
    SSL *ssl;
    bool wants_write;
    bool broken; /* a fatal error: OpenSSL forbids SSL_shutdown after one */
    size_t peer_size;
    char peer[PEER_NAME_MAX];
};

/* ---- contexts */

/* The innermost reason, and an empty error queue. */
static int fail(struct err *reterr, const char *what, const char *file) {
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return err_set(reterr, -EINVAL, "%s %s: %s", what, file, reason ? reason : "unusable");
}

static int take_any(int ok, X509_STORE_CTX *store) {
    (void)ok;
    (void)store;
    return 1;
}

/* Of what a client offers we speak HTTP/1.1; one that offers only other things may go on. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                           const unsigned char *in, unsigned in_size, void *arg) {
    (void)ssl;
    (void)arg;
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_size, ours, sizeof(ours) - 1, in, in_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int load_client_auth(SSL_CTX *ctx, const struct tls_options *o, struct err *reterr) {
    const char *ca = o->client_ca_file;
    bool verifies = o->client_auth == TLS_CLIENT_VERIFY_IF_GIVEN ||
                    o->client_auth == TLS_CLIENT_REQUIRE_AND_VERIFY;
    bool required =
        o->client_auth == TLS_CLIENT_REQUIRE_ANY || o->client_auth == TLS_CLIENT_REQUIRE_AND_VERIFY;
    if (o->client_auth == TLS_CLIENT_NONE)
        return 0;
    if (verifies && (!ca || !*ca))
        return err_set(reterr, -EINVAL,
                       "server.http_tls_config: client_auth_type needs client_ca_file");
    int mode = SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    SSL_CTX_set_verify(ctx, mode, verifies ? NULL : take_any);
    if (!verifies)
        return 0;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca);
    if (!names || SSL_CTX_load_verify_locations(ctx, ca, NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return fail(reterr, "server.http_tls_config.client_ca_file", ca);
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    return 0;
}

static int load(const struct tls_options *o, SSL_CTX **ret, struct err *reterr) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return err_set(reterr, -ENOMEM, "out of memory for TLS");
    int r = 0;
    static const unsigned char session_context[] = "logqd";
    (void)SSL_CTX_set_min_proto_version(
        ctx, o->min_version && strcmp(o->min_version, "VersionTLS13") == 0 ? TLS1_3_VERSION
                                                                           : TLS1_2_VERSION);
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                       SSL_OP_CIPHER_SERVER_PREFERENCE |
                                       SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_id_context(ctx, session_context, sizeof(session_context) - 1);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, o->cert_file) != 1)
        r = fail(reterr, "server.http_tls_config.cert_file", o->cert_file);
    else if (SSL_CTX_use_PrivateKey_file(ctx, o->key_file, SSL_FILETYPE_PEM) != 1 ||
             SSL_CTX_check_private_key(ctx) != 1)
        r = fail(reterr, "server.http_tls_config.key_file", o->key_file);
    if (r == 0)
        r = load_client_auth(ctx, o, reterr);
    if (r < 0) {
        SSL_CTX_free(ctx);
        return r;
    }
    *ret = ctx;
    return 0;
}

int tls_context_new(const struct tls_options *o, struct tls_context **ret, struct err *reterr) {
    struct tls_context *t = calloc(1, sizeof(*t));
    if (!t)
        return err_set(reterr, -ENOMEM, "out of memory for TLS");
    int r = load(o, &t->ctx, reterr);
    if (r < 0) {
        free(t);
        return r;
    }
    pthread_mutex_init(&t->lock, NULL);
    *ret = t;
    return 0;
}

int tls_context_reload(struct tls_context *t, const struct tls_options *o, struct err *reterr) {
    SSL_CTX *next;
    int r = load(o, &next, reterr);
    if (r < 0)
        return r;
    pthread_mutex_lock(&t->lock);
    SSL_CTX *before = t->ctx;
    t->ctx = next;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(before);
    return 0;
}

void tls_context_free(struct tls_context *t) {
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- connections */

struct tls *tls_new(struct tls_context *t, int fd) {
    struct tls *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    pthread_mutex_lock(&t->lock);
    c->ssl = SSL_new(t->ctx);
    pthread_mutex_unlock(&t->lock);
    if (!c->ssl || SSL_set_fd(c->ssl, fd) != 1) {
        tls_free(c);
        return NULL;
    }
    SSL_set_accept_state(c->ssl);
    return c;
}

void tls_free(struct tls *t) {
    if (!t)
        return;
    SSL_free(t->ssl);
    ERR_clear_error();
    free(t);
}

/* The verified name is taken once: it cannot change without renegotiation. A name with a NUL
 * inside would be read differently by whoever prints it: no name. */
static void take_peer_name(struct tls *t) {
    bool verifying = (SSL_get_verify_mode(t->ssl) & SSL_VERIFY_PEER) != 0 &&
                     SSL_get_verify_callback(t->ssl) != take_any;
    X509 *cert = SSL_get0_peer_certificate(t->ssl);
    if (!verifying || !cert || SSL_get_verify_result(t->ssl) != X509_V_OK)
        return;
    const X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0)
        return;
    unsigned char *text = NULL;
    int size =
        ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (size > 0 && size <= PEER_NAME_MAX && !memchr(text, '\0', (size_t)size)) {
        memcpy(t->peer, text, (size_t)size);
        t->peer_size = (size_t)size;
    }
    OPENSSL_free(text);
}

int tls_handshake(struct tls *t, struct err *reterr) {
    ERR_clear_error();
    int r = SSL_do_handshake(t->ssl);
    if (r == 1) {
        t->wants_write = false;
        take_peer_name(t);
        return 1;
    }
    int why = SSL_get_error(t->ssl, r);
    t->wants_write = why == SSL_ERROR_WANT_WRITE;
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return 0;
    t->broken = true;
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    bool plain = ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST;
    (void)err_set(reterr, -EPROTO, "%s", reason ? reason : "the connection ended");
    ERR_clear_error();
    return plain ? -EPROTONOSUPPORT : -EPROTO;
}

/* What read(2) or write(2) would say. */
static ssize_t explain(struct tls *t, int result) {
    int why = SSL_get_error(t->ssl, result);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    t->broken = true;
    ERR_clear_error();
    errno = why == SSL_ERROR_SYSCALL && errno != 0 ? errno : EPROTO;
    if (errno == EAGAIN)
        errno = EPROTO;
    return -1;
}

ssize_t tls_read(struct tls *t, void *data, size_t size) {
    ERR_clear_error();
    errno = 0;
    size_t n = 0;
    int r = SSL_read_ex(t->ssl, data, size, &n);
    t->wants_write = r != 1 && SSL_get_error(t->ssl, r) == SSL_ERROR_WANT_WRITE;
    return r == 1 ? (ssize_t)n : explain(t, r);
}

ssize_t tls_write(struct tls *t, const void *data, size_t size) {
    if (size == 0)
        return 0;
    ERR_clear_error();
    errno = 0;
    size_t n = 0;
    int r = SSL_write_ex(t->ssl, data, size, &n);
    if (r == 1)
        return (ssize_t)n;
    ssize_t said = explain(t, r);
    if (said == 0) {
        errno = EPIPE;
        return -1;
    }
    return said;
}

size_t tls_pending(const struct tls *t) {
    return (size_t)SSL_pending(t->ssl);
}

bool tls_wants_write(const struct tls *t) {
    return t->wants_write;
}

void tls_say_goodbye(struct tls *t) {
    if (t->broken || !SSL_is_init_finished(t->ssl))
        return;
    ERR_clear_error();
    (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}

struct str tls_peer_name(const struct tls *t) {
    return t->peer_size > 0 ? str_make(t->peer, t->peer_size) : (struct str){0};
}
