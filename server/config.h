/* config: all settings of logqd, from the YAML file, then --set, in Loki's names where Loki has
 * the setting. A struct config is immutable once loaded; reload makes a new one.
 * docs/configuration.md lists every key. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "merge.h"
#include "net_prefix.h"
#include "retention.h"
#include "str.h"
#include "tls.h"
#include "wal.h"

/* limits_config, and what overrides.h says for single tenants. Zero = unlimited unless said otherwise. */
struct limits {
    /* ingest */
    uint32_t max_label_names_per_series;   /* 15 */
    uint32_t max_label_name_length;        /* 1024 */
    uint32_t max_label_value_length;       /* 2048 */
    bool reject_old_samples;               /* true */
    int64_t reject_old_samples_max_age_ns; /* 168h; never beyond the retention period */
    int64_t creation_grace_period_ns;      /* 10m */
    uint64_t max_line_size;                /* 256KB */
    bool max_line_size_truncate;
    bool allow_structured_metadata;                    /* true */
    uint64_t max_structured_metadata_size;             /* 64KB */
    uint32_t max_structured_metadata_entries_count;    /* 128 */
    double ingestion_rate_mb, ingestion_burst_size_mb; /* 0 = unlimited, unlike Loki */
    uint32_t max_global_streams_per_user;              /* 0 = unlimited, unlike Loki */
    bool discover_log_levels;                          /* true */
    const struct str *discover_service_name;           /* Loki's list; empty list = off */
    size_t n_discover_service_name;
    const struct str *log_level_fields;
    size_t n_log_level_fields;
    const struct str *enforced_labels; /* []; of pushed streams */
    size_t n_enforced_labels;
    const struct otlp_rules *otlp; /* otlp_config; NULL = none */
    /* query */
    uint32_t max_entries_limit_per_query; /* 5000 */
    int64_t max_query_length_ns;          /* 721h = 30d1h */
    int64_t max_query_lookback_ns;        /* 0 */
    int64_t max_query_range_ns;           /* 0; of a [range] */
    uint32_t max_streams_matchers;        /* 1000; max_streams_matchers_per_query */
    const struct str *required_labels;    /* [] */
    size_t n_required_labels;
    uint32_t minimum_labels_number;        /* 0 */
    uint32_t max_query_series;             /* 500 */
    int64_t query_timeout_ns;              /* 1m */
    uint64_t max_query_bytes_read;         /* 0 */
    bool volume_enabled;                   /* true */
    uint32_t volume_max_series;            /* 1000 */
    uint32_t max_concurrent_tail_requests; /* 10 */
    /* retention */
    int64_t retention_period_ns; /* 30d; 0s = for ever */
    bool deletion_allowed;       /* deletion_mode; filter-and-delete */
};

struct config {
    atomic_uint refs;
    bool auth_enabled; /* multi-tenant: X-Scope-OrgID required; default false */
    char *data_dir;    /* logq.data_dir, or Loki's common.path_prefix; default ./data */
    /* server */
    char *listen_address;           /* server.http_listen_address, default 127.0.0.1 */
    uint16_t listen_port;           /* server.http_listen_port, default 3100 */
    char *path_prefix;              /* server.http_path_prefix */
    const struct str *cors_origins; /* server.http_cors_origins */
    size_t n_cors_origins;
    int64_t server_read_timeout_ns, server_write_timeout_ns, server_idle_timeout_ns;
    char *log_level; /* server.log_level */
    /* server.http_tls_config; cert_file "" = plain HTTP */
    char *tls_cert_file, *tls_key_file, *tls_client_auth_type, *tls_client_ca_file;
    char *overrides_file;         /* limits_config.per_tenant_override_config; "" = none */
    int64_t reload_period_ns;     /* how often files are looked at for changes */
    char *access_file;            /* logq.access_file; "" = everybody may do everything */
    const struct str *allow_from; /* logq.allow_from, as written */
    size_t n_allow_from;
    struct net_prefix *allow; /* made from it; none = every address */
    size_t n_allow;
    char *tls_min_version; /* server.tls_min_version */
    unsigned loops, workers;
    uint32_t connections_max;
    uint64_t push_body_max; /* decompressed: 64 MiB */
    /* wal */
    struct wal_options wal;
    uint64_t wal_max_bytes;
    bool wal_compress;
    /* memory */
    uint64_t memory_limit; /* 0 = by the machine: memory_plan.h */
    /* ingester */
    uint64_t head_budget_bytes, chunk_target_bytes;
    enum block_effort effort; /* ingester.chunk_encoding */
    bool patterns_enabled;    /* pattern_ingester.enabled */
    int64_t chunk_idle_ns, chunk_max_age_ns;
    uint64_t chunk_cache_bytes;
    /* compactor */
    int64_t compaction_interval_ns;
    bool retention_enabled; /* compactor.retention_enabled: false = nothing ever expires */
    struct retention_budgets budgets;
    int64_t delete_cancel_period_ns;
    bool merge_enabled;
    struct merge_policy merge;
    /* querier */
    uint32_t query_threads, query_max_concurrent;
    int64_t tail_max_duration_ns;
    int64_t log_queries_longer_ns;     /* frontend.log_queries_longer_than; 0 = never */
    bool multi_tenant_queries_enabled; /* reads of tenants a|b */
    bool per_request_limits_enabled;   /* request_limits.h */
    struct limits limits;
    struct retention_policy
        *retention; /* from limits_config.retention_period and retention_stream */
    const struct config_retention *retention_stream; /* as written, for config_dump */
    size_t n_retention_stream;
    struct otlp_rules *otlp_rules; /* of limits_config.otlp_config; NULL = none */
    /* warnings found while loading, one line each: unused keys */
    char **warnings;
    size_t n_warnings;
    struct arena arena; /* owns all texts and arrays above */
};

struct config_retention {
    struct str selector;
    int32_t priority;
    int64_t period_ns;  /* -1: not given */
    uint64_t max_bytes; /* 0: not given */
};

/* A key of overrides alone, with true or false: ${NAME} in the file stands for an environment variable. */
#define CONFIG_EXPAND_ENV "config.expand-env"

struct config_override {
    const char *key_path; /* "limits_config.retention_period" */
    const char *value;
};

/* `file` NULL = defaults. -ESYNTAX with "FILE:LINE: key: ..." naming what is allowed. */
int config_load(const char *file, const struct config_override *overrides, size_t n_overrides,
                struct config **ret, struct err *reterr);
struct config *config_ref(struct config *c);
void config_unref(struct config *c); /* NULL is fine */

/* What single limits cannot check alone. -ESYNTAX. */
int config_check_limits(const struct limits *l, struct err *reterr);
/* Texts are the configuration's. */
struct tls_options config_tls_options(const struct config *c);

/* The effective settings as YAML, for /config and --check-config. */
void config_dump(const struct config *c, struct buf *out);

/* docs/configuration.md, made from the table of keys. */
void config_document(struct buf *out);

/* For a reload: keys of `next` that cannot change while running are set back to what `now` has
 * (copied); the names of those that differed are appended to `needs_restart`, separated by commas.
 * 0 or -ENOMEM. */
int config_keep_fixed(const struct config *now, struct config *next, struct buf *needs_restart);
