/* overrides: limits of single tenants, from the file that limits_config.per_tenant_override_config
 * or runtime_config.file names, in Loki's format:
 *
 *     overrides:
 *       team-a:
 *         ingestion_rate_mb: 10
 *         retention_period: 48h
 *
 * What a tenant does not have there it has from limits_config. Immutable once loaded and reference
 * counted. Any thread. */
#pragma once

#include "config.h"
#include "retention_rules.h"

enum { OVERRIDES_FILE_MAX = 4 << 20, OVERRIDES_TENANTS_MAX = 10000 };

struct overrides;

/* -ESYNTAX with "FILE:LINE: ...", or why the file cannot be read. Keeps a reference of `base`. */
int overrides_load(const char *file, struct config *base, struct overrides **ret,
                   struct err *reterr);
/* The same for bytes at hand. */
int overrides_parse(const char *name, struct str text, struct config *base, struct overrides **ret,
                    struct err *reterr);
struct overrides *overrides_ref(struct overrides *o); /* NULL is fine */
void overrides_unref(struct overrides *o);            /* NULL is fine */

/* NULL: the tenant has nothing of its own. Lives as long as `o`. */
const struct limits *overrides_limits(const struct overrides *o, struct str tenant);

/* Lines about keys that are not used, of all tenants in the order of the file; at most `max` of them, which are the
 * overrides'. */
size_t overrides_warnings(const struct overrides *o, char **ret, size_t max);

/* The retention of `base` with what tenants have of their own. */
int overrides_retention(const struct overrides *o, struct retention_policy **ret,
                        struct err *reterr);

/* The values that differ from limits_config, as YAML, for /runtime_config. NULL is fine. */
void overrides_dump(const struct overrides *o, struct buf *out);
