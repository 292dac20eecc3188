/* settings: all that a reload replaces, as one immutable whole: the configuration and what it names
 * files for. Reference counted: a request holds the settings that it began with until it ends,
 * and what nobody holds any more is freed. Any thread. */
#pragma once

#include "access.h"
#include "config.h"
#include "overrides.h"

struct settings {
    atomic_uint refs;
    struct config *config;
    struct access *access;       /* NULL: no access file, everybody may do everything */
    struct overrides *overrides; /* NULL: all tenants have the same limits */
    struct retention_policy *retention;
};

/* Reads the files that the configuration names. Takes one reference of the configuration, also
 * when it fails. */
int settings_new(struct config *config, struct settings **ret, struct err *reterr);

/* The configuration of `now` with the files that are named here read again. */
struct settings_stale {
    bool access, overrides;
};
int settings_renew(const struct settings *now, struct settings_stale stale, struct settings **ret,
                   struct err *reterr);
struct settings *settings_ref(struct settings *s);
void settings_unref(struct settings *s); /* NULL is fine */

/* Of the tenant: its own, or those of limits_config. Live as long as `s`. */
const struct limits *settings_limits(const struct settings *s, struct str tenant);
/* Of each limit of queries the tighter one; lists stay. */
void settings_tighten(struct limits *l, const struct limits *other);
/* Of a read of several tenants: of each limit the tightest. Lists are the first tenant's. */
void settings_tightest(const struct settings *s, const struct str *tenants, size_t count,
                       struct limits *ret);
