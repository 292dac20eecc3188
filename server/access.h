/* access: who may do what: the users of the file that logq.access_file names. Immutable once
 * loaded and reference counted; a changed file makes a new one. docs/security.md describes the
 * file.
 *
 * A user is known by a password (HTTP Basic), a token (Bearer) or a verified client certificate; the
 * user "anonymous" stands for requests that bring nothing. Checked passwords are remembered, so
 * that an agent's every push does not cost a bcrypt. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "err.h"
#include "str.h"

enum access_right {
    RIGHT_PUSH = 1,
    RIGHT_QUERY = 2,
    RIGHT_DELETE = 4,   /* delete requests */
    RIGHT_ADMIN = 8,    /* flush, settings, log level, debugging, backups; implies RIGHT_METRICS */
    RIGHT_METRICS = 16, /* /metrics */
};

enum {
    ACCESS_FILE_MAX = 1 << 20,
    ACCESS_USERS_MAX = 1000,
    ACCESS_TENANTS_MAX = 1000, /* of one user */
    ACCESS_NAME_MAX = 256,
    ACCESS_LOGINS_MAX = 1024, /* remembered passwords, right and wrong ones */
};

struct access;
struct access_user;

/* -ESYNTAX with "FILE:LINE: ...", or why the file cannot be read. */
int access_load(const char *file, struct access **ret, struct err *reterr);
/* The same for bytes at hand. */
int access_parse(const char *name, struct str text, struct access **ret, struct err *reterr);
struct access *access_ref(struct access *a);
void access_unref(struct access *a); /* NULL is fine */
size_t access_users(const struct access *a);

struct access_claim {
    struct str authorization; /* header; .data NULL = absent */
    struct str certificate;   /* common name of a verified certificate; .data NULL = none */
};

enum access_verdict {
    ACCESS_KNOWN,
    ACCESS_NOTHING, /* no credentials, and nobody anonymous */
    ACCESS_WRONG,
    ACCESS_SLOW, /* a password hash has to be computed: ask again with may_block */
};
/* The user lives as long as `a`. */
enum access_verdict access_identify(struct access *a, const struct access_claim *claim,
                                    bool may_block, const struct access_user **ret);

struct str access_name(const struct access_user *u);
/* Any of the rights is enough; 0 = nothing but being known. */
bool access_may(const struct access_user *u, unsigned rights);
bool access_has_tenant(const struct access_user *u, struct str tenant);
/* The user's tenant when there is exactly one; else .data NULL. */
struct str access_only_tenant(const struct access_user *u);
