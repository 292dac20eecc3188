#include "config_keys.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>

#include "log.h"
#include "units.h"

#define AT(field) offsetof(struct config, field)
#define LIMIT(field) offsetof(struct config, limits.field)
#define KEY(path_, type_, offset_, fallback_, doc_)                                                \
    { .path = path_, .type = type_, .offset = offset_, .fallback = fallback_, .doc = doc_ }
#define RELOADED_KEY(path_, type_, offset_, fallback_, doc_)                                       \
    {                                                                                              \
        .path = path_, .type = type_, .offset = offset_, .fallback = fallback_, .reloads = true,   \
        .doc = doc_                                                                                \
    }
#define LIMIT_KEY(name, type_, field, fallback_, doc_)                                             \
    {                                                                                              \
        .path = "limits_config." name, .type = type_, .offset = LIMIT(field),                      \
        .fallback = fallback_, .reloads = true, .doc = doc_                                        \
    }

/* Loki's lists, in Loki's order: the first that exists wins. */
#define SERVICE_NAMES                                                                              \
    "service,app,application,app_name,name,app_kubernetes_io_name,container,container_name,"       \
    "k8s_container_name,component,workload,job,k8s_job_name"
#define LEVEL_FIELDS                                                                               \
    "level,LEVEL,Level,log.level,severity,SEVERITY,Severity,SeverityText,lvl,LVL,Lvl,"             \
    "severity_text,Severity_Text,SEVERITY_TEXT"

/* Grouped by section: config_dump and the documentation keep this order. */
const struct config_key config_keys[] = {
    KEY("auth_enabled", KEY_BOOL, AT(auth_enabled), "false",
        "Tenants: each request must name its tenant in X-Scope-OrgID. Without it everything "
        "belongs to tenant "
        "\"fake\"."),

    KEY("common.path_prefix", KEY_TEXT, AT(data_dir), "./data",
        "Data directory (Loki's spelling of logq.data_dir)."),
    KEY("logq.data_dir", KEY_TEXT, AT(data_dir), "./data",
        "Data directory. The last one set of this and common.path_prefix counts."),
    RELOADED_KEY("logq.access_file", KEY_TEXT, AT(access_file), "\"\"",
                 "YAML file of users, their credentials, rights and tenants (docs/security.md). "
                 "Without it everybody may do everything. It is read again when it changes."),
    {.path = "logq.allow_from",
     .type = KEY_LIST,
     .offset = AT(allow_from),
     .count_offset = AT(n_allow_from),
     .fallback = "[]",
     .reloads = true,
     .doc = "Addresses that may connect, like [127.0.0.1, 10.0.0.0/8, fd00::/8]; [] = all."},
    KEY("logq.loops", KEY_U32, AT(loops), "0", "Network threads; 0 = one per core."),
    KEY("logq.workers", KEY_U32, AT(workers), "0",
        "Threads that decompress and decode large pushes; 0 = two per core."),
    KEY("logq.query_threads", KEY_U32, AT(query_threads), "0",
        "Threads that scan for queries; 0 = one per core."),
    KEY("logq.head_budget", KEY_BYTES, AT(head_budget_bytes), "128MB",
        "Memory for entries that are not in chunk files yet. Flushing for its sake begins at four "
        "fifths of it."),
    KEY("logq.chunk_cache", KEY_BYTES, AT(chunk_cache_bytes), "256MB",
        "Open chunk files: headers of their blocks, and of their mapped filters the sixteenth that "
        "searches touch, which is page cache. About 0.5 % of raw; a search over more than fits "
        "opens files again. What one query holds beyond it counts as memory of queries. Besides, "
        "an eighth as much is for blocks that were read twice, kept open for the next query, and "
        "an "
        "eighth for tables of sieves. At most a quarter of memory.limit."),
    KEY("logq.push_body_max", KEY_BYTES, AT(push_body_max), "64MB",
        "Largest push after decompression; larger ones get 413."),

    KEY("memory.limit", KEY_BYTES, AT(memory_limit), "0B",
        "Memory for entries, bodies, queries and their results together (docs/limits.md); 0 = half "
        "of what "
        "the machine or the container has, at most 4 GB. It makes logq.head_budget, "
        "logq.push_body_max and wal.buffer_size smaller where they do not fit."),

    KEY("server.http_listen_address", KEY_TEXT, AT(listen_address), "127.0.0.1",
        "Address to listen on. 0.0.0.0 or \"\" = all: then set logq.access_file, too."),
    KEY("server.http_listen_port", KEY_U16, AT(listen_port), "3100", "Port to listen on."),
    KEY("server.http_path_prefix", KEY_TEXT, AT(path_prefix), "\"\"",
        "Path below which all endpoints live, for example /loki-a."),
    {.path = "server.http_cors_origins",
     .type = KEY_LIST,
     .offset = AT(cors_origins),
     .count_offset = AT(n_cors_origins),
     .fallback = "[]",
     .doc = "Origins whose web pages may read answers, for example [https://grafana.example]; "
            "[\"*\"] = all, [] = none."},
    KEY("server.http_listen_conn_limit", KEY_U32, AT(connections_max), "10000",
        "Connections at once; further ones get 503 and are closed."),
    KEY("server.http_server_read_timeout", KEY_DURATION, AT(server_read_timeout_ns), "30s",
        "A request must make progress within this."),
    KEY("server.http_server_write_timeout", KEY_DURATION, AT(server_write_timeout_ns), "30s",
        "A client must take some of its reply within this."),
    KEY("server.http_server_idle_timeout", KEY_DURATION, AT(server_idle_timeout_ns), "2m",
        "An unused connection is closed after this."),
    RELOADED_KEY(
        "server.http_tls_config.cert_file", KEY_TEXT, AT(tls_cert_file), "\"\"",
        "Certificate in PEM, the chain behind it. With it the port speaks HTTPS alone. The "
        "files of http_tls_config are looked at again when they change."),
    RELOADED_KEY("server.http_tls_config.key_file", KEY_TEXT, AT(tls_key_file), "\"\"",
                 "Its private key in PEM, without a passphrase."),
    RELOADED_KEY("server.http_tls_config.client_auth_type", KEY_TEXT, AT(tls_client_auth_type),
                 "\"\"",
                 "Client certificates: NoClientCert, RequestClientCert, RequireAnyClientCert, "
                 "VerifyClientCertIfGiven or RequireAndVerifyClientCert."),
    RELOADED_KEY("server.http_tls_config.client_ca_file", KEY_TEXT, AT(tls_client_ca_file), "\"\"",
                 "Authorities that client certificates are verified against, in PEM."),
    RELOADED_KEY("server.tls_min_version", KEY_TEXT, AT(tls_min_version), "VersionTLS12",
                 "Oldest protocol: VersionTLS12 or VersionTLS13."),
    {.path = "server.log_level",
     .type = KEY_LEVEL,
     .offset = AT(log_level),
     .fallback = "info",
     .reloads = true,
     .doc = "Least level of logqd's own log on stderr."},

    RELOADED_KEY("runtime_config.file", KEY_TEXT, AT(overrides_file), "\"\"",
                 "Limits of single tenants (Loki's other spelling of "
                 "limits_config.per_tenant_override_config)."),
    RELOADED_KEY("runtime_config.period", KEY_DURATION, AT(reload_period_ns), "10s",
                 "How often the files of tenants' limits, users and certificates are looked at for "
                 "changes; 0 = on SIGHUP alone."),

    KEY("wal.sync", KEY_SYNC, AT(wal.sync), "always",
        "When a push is acknowledged: always = after fsync; interval = after write, with an fsync "
        "each "
        "wal.sync_interval; off = after write."),
    KEY("wal.sync_interval", KEY_DURATION, AT(wal.sync_interval_ns), "100ms",
        "Time between fsyncs with wal.sync: interval; at most this much is lost at a power cut."),
    KEY("wal.segment_size", KEY_BYTES, AT(wal.segment_bytes), "64MB", "Size of a WAL file."),
    KEY("wal.buffer_size", KEY_BYTES, AT(wal.buffer_max_bytes), "64MB",
        "Pushes that may wait for the disk; further ones get 503."),
    KEY("wal.max_size", KEY_BYTES, AT(wal_max_bytes), "512MB",
        "The oldest entries in memory are flushed when the WAL is larger than this."),

    KEY("wal.compress", KEY_BOOL, AT(wal_compress), "false",
        "Compress pushes that come uncompressed (JSON) before they are written to the WAL, always. "
        "false = only while the disk does not keep up or the WAL is a quarter larger "
        "than wal.max_size: a third of the bytes written, for about one more second of processor "
        "time "
        "per GB of lines."),

    KEY("ingester.chunk_target_size", KEY_BYTES, AT(chunk_target_bytes), "1536KB",
        "A stream is flushed when its compressed blocks reach this."),
    KEY("ingester.chunk_encoding", KEY_CODEC, AT(effort), "table",
        "Compression of lines: table (columns of what varies) takes half the bytes of zstd and is "
        "searched fastest, zstd a third less than lz4, lz4 costs least to write. Of Loki's other "
        "names gzip, flate and snappy mean table, none and those with lz4 in them mean lz4."),
    KEY("ingester.chunk_idle_period", KEY_DURATION, AT(chunk_idle_ns), "30m",
        "A stream that got nothing for this long is flushed."),
    KEY("ingester.max_chunk_age", KEY_DURATION, AT(chunk_max_age_ns), "2h",
        "Entries are flushed at the latest after this."),

    KEY("pattern_ingester.enabled", KEY_BOOL, AT(patterns_enabled), "true",
        "Find the patterns of log lines while they are stored, for /loki/api/v1/patterns. (Loki's "
        "default is false.) false: none are found, none are shown."),

    KEY("compactor.compaction_interval", KEY_DURATION, AT(compaction_interval_ns), "10m",
        "Time between two passes of the compactor."),
    KEY("compactor.retention_enabled", KEY_BOOL, AT(retention_enabled), "true",
        "false: nothing ever expires, whatever limits_config says. (Loki's default is false.)"),
    RELOADED_KEY(
        "compactor.retention_bytes", KEY_BYTES, AT(budgets.store_bytes), "0",
        "Chunk files of the whole store take at most this: the oldest go first. 0 = no limit."),
    RELOADED_KEY(
        "compactor.retention_bytes_per_tenant", KEY_BYTES, AT(budgets.tenant_bytes), "0",
        "The same for each tenant by itself. A retention_stream rule may have max_bytes of its "
        "own."),
    RELOADED_KEY(
        "compactor.keep_free", KEY_BYTES, AT(budgets.keep_free_bytes), "0",
        "Free space that the disk of the data directory keeps: the oldest chunk files go while "
        "there is less. 0 = not looked at."),
    RELOADED_KEY(
        "compactor.delete_request_cancel_period", KEY_DURATION, AT(delete_cancel_period_ns), "24h",
        "A delete request can be taken back for this long; then its entries, hidden from the "
        "first moment, are removed for good."),
    RELOADED_KEY("compactor.merge_enabled", KEY_BOOL, AT(merge_enabled), "true",
                 "Small chunk files become few large ones, better compressed, a round per "
                 "compaction_interval."),
    RELOADED_KEY("compactor.merge_after", KEY_DURATION, AT(merge.settle_ns), "2h",
                 "A day is over so long after its end (UTC): then its files are merged for good. "
                 "Before, only "
                 "many small ones are joined."),
    RELOADED_KEY("compactor.merge_target_size", KEY_BYTES, AT(merge.target_bytes), "32MB",
                 "Size of a merged file, as stored."),
    RELOADED_KEY("compactor.merge_rate", KEY_BYTES, AT(merge.rate_bytes), "32MB",
                 "Bytes that merging reads and writes per second; 0 = as fast as it can."),
    RELOADED_KEY("compactor.merge_disk_percent", KEY_U32, AT(merge.disk_percent), "10",
                 "Share of the free space that one merge may take until the files it replaces are "
                 "gone."),

    RELOADED_KEY("frontend.log_queries_longer_than", KEY_DURATION, AT(log_queries_longer_ns), "5s",
                 "Queries that take this long are logged with their text and figures; 0 = never."),

    KEY("querier.max_concurrent", KEY_U32, AT(query_max_concurrent), "0",
        "Queries that run at once, others wait; 0 = two per query thread."),
    KEY("querier.multi_tenant_queries_enabled", KEY_BOOL, AT(multi_tenant_queries_enabled), "false",
        "Reads may name several tenants, X-Scope-OrgID: a|b; each stream then has the label "
        "__tenant_id__. Live tails and pushes still have one."),
    RELOADED_KEY("querier.per_request_limits_enabled", KEY_BOOL, AT(per_request_limits_enabled),
                 "false",
                 "Reads may bring tighter limits in the header X-Loki-Query-Limits "
                 "(docs/limits.md)."),
    KEY("querier.tail_max_duration", KEY_DURATION, AT(tail_max_duration_ns), "1h",
        "A live tail ends after this; clients open another one."),

    LIMIT_KEY("max_label_names_per_series", KEY_U32, max_label_names_per_series, "15",
              "Labels of a stream."),
    LIMIT_KEY("max_label_name_length", KEY_U32, max_label_name_length, "1024",
              "Bytes of a label's name."),
    LIMIT_KEY("max_label_value_length", KEY_U32, max_label_value_length, "2048",
              "Bytes of a label's value."),
    LIMIT_KEY("reject_old_samples", KEY_BOOL, reject_old_samples, "true",
              "Refuse entries older than reject_old_samples_max_age."),
    LIMIT_KEY("reject_old_samples_max_age", KEY_DURATION, reject_old_samples_max_age_ns, "7d",
              "Age above which entries are refused; never more than the retention period."),
    LIMIT_KEY("creation_grace_period", KEY_DURATION, creation_grace_period_ns, "10m",
              "How far ahead of the clock an entry may be."),
    LIMIT_KEY("max_line_size", KEY_BYTES, max_line_size, "256KB", "Bytes of a line."),
    LIMIT_KEY("max_line_size_truncate", KEY_BOOL, max_line_size_truncate, "false",
              "Cut longer lines instead of refusing them."),
    LIMIT_KEY("allow_structured_metadata", KEY_BOOL, allow_structured_metadata, "true",
              "Accept structured metadata."),
    LIMIT_KEY("max_structured_metadata_size", KEY_BYTES, max_structured_metadata_size, "64KB",
              "Bytes of an entry's structured metadata."),
    LIMIT_KEY("max_structured_metadata_entries_count", KEY_U32,
              max_structured_metadata_entries_count, "128",
              "Pairs of an entry's structured metadata."),
    LIMIT_KEY("ingestion_rate_mb", KEY_DOUBLE, ingestion_rate_mb, "0",
              "MB per second and tenant; 0 = unlimited (Loki: 4)."),
    LIMIT_KEY("ingestion_burst_size_mb", KEY_DOUBLE, ingestion_burst_size_mb, "0",
              "MB that may come at once; 0 = as ingestion_rate_mb."),
    LIMIT_KEY("max_global_streams_per_user", KEY_U32, max_global_streams_per_user, "0",
              "Active streams of a tenant; 0 = unlimited (Loki: 5000)."),
    LIMIT_KEY("discover_log_levels", KEY_BOOL, discover_log_levels, "true",
              "Add the structured metadata detected_level."),
    {.path = "limits_config.discover_service_name",
     .type = KEY_LIST,
     .offset = LIMIT(discover_service_name),
     .count_offset = LIMIT(n_discover_service_name),
     .fallback = SERVICE_NAMES,
     .reloads = true,
     .doc = "Labels whose value becomes service_name, the first that exists; [] = off."},
    {.path = "limits_config.log_level_fields",
     .type = KEY_LIST,
     .offset = LIMIT(log_level_fields),
     .count_offset = LIMIT(n_log_level_fields),
     .fallback = LEVEL_FIELDS,
     .reloads = true,
     .doc = "Fields of JSON and logfmt lines that hold the level."},
    {.path = "limits_config.enforced_labels",
     .type = KEY_LIST,
     .offset = LIMIT(enforced_labels),
     .count_offset = LIMIT(n_enforced_labels),
     .fallback = "[]",
     .reloads = true,
     .doc = "Labels that every pushed stream must have."},
    LIMIT_KEY("max_entries_limit_per_query", KEY_U32, max_entries_limit_per_query, "5000",
              "Largest `limit` of a log query; 0 = unlimited."),
    LIMIT_KEY("max_query_length", KEY_DURATION, max_query_length_ns, "30d1h",
              "Longest time range of a query; 0 = unlimited."),
    LIMIT_KEY("max_query_lookback", KEY_DURATION, max_query_lookback_ns, "0s",
              "Queries see nothing older than this; 0 = everything."),
    LIMIT_KEY("max_query_range", KEY_DURATION, max_query_range_ns, "0s",
              "Longest [range] in a metric query; 0 = unlimited."),
    LIMIT_KEY("max_streams_matchers_per_query", KEY_U32, max_streams_matchers, "1000",
              "Matchers of a stream selector; 0 = unlimited."),
    {.path = "limits_config.required_labels",
     .type = KEY_LIST,
     .offset = LIMIT(required_labels),
     .count_offset = LIMIT(n_required_labels),
     .fallback = "[]",
     .reloads = true,
     .doc = "Labels that every stream selector must have a matcher for."},
    LIMIT_KEY("minimum_labels_number", KEY_U32, minimum_labels_number, "0",
              "Matchers that every stream selector must have at least."),
    LIMIT_KEY("max_query_series", KEY_U32, max_query_series, "500",
              "Series of a metric query; 0 = unlimited."),
    LIMIT_KEY("query_timeout", KEY_DURATION, query_timeout_ns, "1m",
              "A query is stopped after this; 0 = never."),
    LIMIT_KEY("max_query_bytes_read", KEY_BYTES, max_query_bytes_read, "0B",
              "Bytes that one query may look at; 0 = unlimited."),
    LIMIT_KEY("max_concurrent_tail_requests", KEY_U32, max_concurrent_tail_requests, "10",
              "Live tails of a tenant at once; 0 = as many as the server has room for."),
    LIMIT_KEY("volume_enabled", KEY_BOOL, volume_enabled, "true",
              "Serve index/volume and index/volume_range."),
    LIMIT_KEY("volume_max_series", KEY_U32, volume_max_series, "1000",
              "Series of a volume answer."),
    RELOADED_KEY("limits_config.per_tenant_override_config", KEY_TEXT, AT(overrides_file), "\"\"",
                 "YAML file of limits of single tenants (docs/limits.md). It is read again when it "
                 "changes. The last one set of this and runtime_config.file counts."),
    RELOADED_KEY("limits_config.per_tenant_override_period", KEY_DURATION, AT(reload_period_ns),
                 "10s", "Loki's other spelling of runtime_config.period."),
    LIMIT_KEY("retention_period", KEY_DURATION, retention_period_ns, "30d",
              "Entries older than this vanish; 0s = never. See also retention_stream."),
    LIMIT_KEY("deletion_mode", KEY_DELETION, deletion_allowed, "filter-and-delete",
              "disabled: no request to delete lines is taken, listed or cancelled. Those taken "
              "before are done all the same."),
};
const size_t config_keys_count = sizeof(config_keys) / sizeof(config_keys[0]);

const struct config_key *config_key_find(struct str path) {
    for (size_t i = 0; i < config_keys_count; i++)
        if (str_eq(str_from(config_keys[i].path), path))
            return &config_keys[i];
    return NULL;
}

bool config_key_is_section(struct str path) {
    for (size_t i = 0; i < config_keys_count; i++) {
        struct str key = str_from(config_keys[i].path);
        if (key.size > path.size && str_starts(key, path) && key.data[path.size] == '.')
            return true;
    }
    return false;
}

const char *config_type_allowed(enum config_type type) {
    switch (type) {
    case KEY_BOOL:
        return "true or false";
    case KEY_U16:
        return "a whole number from 0 to 65535";
    case KEY_U32:
        return "a whole number from 0 to 4294967295";
    case KEY_DOUBLE:
        return "a number that is not negative, like 4 or 1.5";
    case KEY_DURATION:
        return "a duration like 30d, 1h30m, 500ms or 0s";
    case KEY_BYTES:
        return "a size like 262144, 256KB, 64MB or 1GB";
    case KEY_TEXT:
        return "text";
    case KEY_LEVEL:
        return "debug, info, warn or error";
    case KEY_SYNC:
        return "always, interval or off";
    case KEY_CODEC:
        return "table, zstd or lz4";
    case KEY_DELETION:
        return "disabled or filter-and-delete";
    case KEY_LIST:
        return "a list like [a, b]";
    }
    return "";
}

static int parse_bool(struct str text, bool *ret) {
    static const struct {
        struct str text;
        bool value;
    } known[] = {
        {STR_INIT("true"), true},   {STR_INIT("yes"), true}, {STR_INIT("on"), true},
        {STR_INIT("false"), false}, {STR_INIT("no"), false}, {STR_INIT("off"), false},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (str_eq_nocase(known[i].text, text)) {
            *ret = known[i].value;
            return 0;
        }
    }
    return -ESYNTAX;
}

static const struct str sync_names[] = {
    [WAL_SYNC_ALWAYS] = STR_INIT("always"),
    [WAL_SYNC_INTERVAL] = STR_INIT("interval"),
    [WAL_SYNC_OFF] = STR_INIT("off"),
};

static int parse_sync(struct str text, enum wal_sync *ret) {
    for (size_t i = 0; i < sizeof(sync_names) / sizeof(sync_names[0]); i++) {
        if (str_eq_nocase(sync_names[i], text)) {
            *ret = (enum wal_sync)i;
            return 0;
        }
    }
    return -ESYNTAX;
}

static const struct str deletion_names[] = {
    [false] = STR_INIT("disabled"),
    [true] = STR_INIT("filter-and-delete"),
};

static int parse_deletion(struct str text, bool *ret) {
    *ret = str_eq(deletion_names[true], text);
    return *ret || str_eq(deletion_names[false], text) ? 0 : -ESYNTAX;
}

static const struct {
    struct str name;
    enum block_effort effort;
} codec_names[] = {
    {STR_INIT("table"), EFFORT_TABLE},   {STR_INIT("zstd"), EFFORT_ZSTD_FAST},
    {STR_INIT("lz4"), EFFORT_FAST},      {STR_INIT("gzip"), EFFORT_TABLE},
    {STR_INIT("flate"), EFFORT_TABLE},   {STR_INIT("snappy"), EFFORT_TABLE},
    {STR_INIT("none"), EFFORT_FAST},     {STR_INIT("lz4-64k"), EFFORT_FAST},
    {STR_INIT("lz4-256k"), EFFORT_FAST}, {STR_INIT("lz4-1M"), EFFORT_FAST},
};

static const char *codec_name(enum block_effort effort) {
    return effort == EFFORT_TABLE ? "table" : effort == EFFORT_FAST ? "lz4" : "zstd";
}

static int parse_codec(struct str text, enum block_effort *ret) {
    for (size_t i = 0; i < sizeof(codec_names) / sizeof(codec_names[0]); i++) {
        if (str_eq_nocase(codec_names[i].name, text)) {
            *ret = codec_names[i].effort;
            return 0;
        }
    }
    return -ESYNTAX;
}

/* NUL-terminated: these go to getaddrinfo, open and the like. */
static int set_text(struct config *c, char **place, struct str text) {
    char *copy = arena_alloc(&c->arena, text.size + 1);
    if (!copy)
        return -ENOMEM;
    if (text.size > 0 && memchr(text.data, '\0', text.size))
        return -ESYNTAX;
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    *place = copy;
    return 0;
}

static int set_unsigned(struct str text, uint64_t max, uint64_t *ret) {
    uint64_t value;
    int r = u64_parse(text, &value);
    if (r < 0 || value > max)
        return -ESYNTAX;
    *ret = value;
    return 0;
}

static int set_double(struct str text, double *place) {
    double value;
    if (float_parse_go(text, &value) < 0 || !isfinite(value) || value < 0)
        return -ESYNTAX;
    *place = value;
    return 0;
}

static int set_duration(struct str text, int64_t *place) {
    int64_t value;
    if (duration_parse_setting(text, &value) < 0 || value < 0)
        return -ESYNTAX;
    *place = value;
    return 0;
}

int config_key_set_list(struct config *c, const struct config_key *key, const struct str *items,
                        size_t count, struct err *reterr) {
    struct str *copy = arena_array(&c->arena, count ? count : 1, sizeof(*copy));
    for (size_t i = 0; copy && i < count; i++) {
        copy[i] = arena_copy(&c->arena, items[i]);
        if (!copy[i].data && items[i].size > 0)
            copy = NULL;
    }
    if (!copy)
        return err_set(reterr, -ENOMEM, "%s: out of memory", key->path);
    *(const struct str **)(void *)((char *)c + key->offset) = copy;
    *(size_t *)(void *)((char *)c + key->count_offset) = count;
    return 0;
}

enum { LIST_ITEMS_MAX = 100 };

static int set_list_text(struct config *c, const struct config_key *key, struct str text,
                         struct err *reterr) {
    struct str items[LIST_ITEMS_MAX];
    size_t count = 0;
    if (text.size >= 2 && text.data[0] == '[' && text.data[text.size - 1] == ']')
        text = str_make(text.data + 1, text.size - 2);
    while (text.size > 0 && count < LIST_ITEMS_MAX) {
        const char *comma = memchr(text.data, ',', text.size);
        size_t size = comma ? (size_t)(comma - text.data) : text.size;
        struct str item = str_trim(str_make(text.data, size));
        if (item.size > 0)
            items[count++] = item;
        text = str_from_offset(text, size + 1);
    }
    return config_key_set_list(c, key, items, count, reterr);
}

static int set_value(struct config *c, const struct config_key *key, struct str text) {
    char *place = (char *)c + key->offset;
    uint64_t number;
    enum log_level level;
    int r;
    switch (key->type) {
    case KEY_BOOL:
        return parse_bool(text, (bool *)place);
    case KEY_U16:
        r = set_unsigned(text, UINT16_MAX, &number);
        if (r == 0)
            *(uint16_t *)(void *)place = (uint16_t)number;
        return r;
    case KEY_U32:
        r = set_unsigned(text, UINT32_MAX, &number);
        if (r == 0)
            *(uint32_t *)(void *)place = (uint32_t)number;
        return r;
    case KEY_DOUBLE:
        return set_double(text, (double *)(void *)place);
    case KEY_DURATION:
        return set_duration(text, (int64_t *)(void *)place);
    case KEY_BYTES:
        return bytes_parse_setting(text, (uint64_t *)(void *)place);
    case KEY_LEVEL:
        r = log_level_parse(text, &level);
        return r < 0 ? r : set_text(c, (char **)(void *)place, text);
    case KEY_TEXT:
        return set_text(c, (char **)(void *)place, text);
    case KEY_SYNC:
        return parse_sync(text, (enum wal_sync *)(void *)place);
    case KEY_CODEC:
        return parse_codec(text, (enum block_effort *)(void *)place);
    case KEY_DELETION:
        return parse_deletion(text, (bool *)(void *)place);
    case KEY_LIST:
        break;
    }
    return set_list_text(c, key, text, NULL);
}

static const char *type_noun(enum config_type type) {
    switch (type) {
    case KEY_DURATION:
        return "a duration";
    case KEY_BYTES:
        return "a size";
    case KEY_U16:
    case KEY_U32:
    case KEY_DOUBLE:
        return "a number in range";
    case KEY_BOOL:
    case KEY_TEXT:
    case KEY_LEVEL:
    case KEY_SYNC:
    case KEY_CODEC:
    case KEY_DELETION:
    case KEY_LIST:
        break;
    }
    return "a possible value";
}

int config_key_set(struct config *c, const struct config_key *key, struct str text,
                   struct err *reterr) {
    int r = set_value(c, key, text);
    if (r == -ENOMEM)
        return err_set(reterr, r, "%s: out of memory", key->path);
    if (r < 0)
        return err_set(reterr, -ESYNTAX, "%s: \"%.*s\" is not %s; allowed: %s", key->path,
                       STR_ARG(text), type_noun(key->type), config_type_allowed(key->type));
    return 0;
}

static void format_bytes(struct buf *out, uint64_t bytes) {
    static const struct {
        uint64_t size;
        const char *unit;
    } units[] = {{UINT64_C(1) << 30, "GB"}, {UINT64_C(1) << 20, "MB"}, {UINT64_C(1) << 10, "KB"}};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (bytes >= units[i].size && bytes % units[i].size == 0) {
            buf_addf(out, "%llu%s", (unsigned long long)(bytes / units[i].size), units[i].unit);
            return;
        }
    }
    buf_addf(out, "%lluB", (unsigned long long)bytes);
}

static void format_list(const struct config *c, const struct config_key *key, struct buf *out) {
    const struct str *items =
        *(const struct str *const *)(const void *)((const char *)c + key->offset);
    size_t count = *(const size_t *)(const void *)((const char *)c + key->count_offset);
    buf_add_char(out, '[');
    for (size_t i = 0; i < count; i++)
        buf_addf(out, "%s%.*s", i ? ", " : "", STR_ARG(items[i]));
    buf_add_char(out, ']');
}

void config_key_format(const struct config *c, const struct config_key *key, struct buf *out) {
    const void *place = (const char *)c + key->offset;
    switch (key->type) {
    case KEY_BOOL:
        buf_addf(out, "%s", *(const bool *)place ? "true" : "false");
        break;
    case KEY_U16:
        buf_add_u64(out, *(const uint16_t *)place);
        break;
    case KEY_U32:
        buf_add_u64(out, *(const uint32_t *)place);
        break;
    case KEY_DOUBLE:
        float_format(out, *(const double *)place);
        break;
    case KEY_DURATION:
        duration_format_prometheus(out, *(const int64_t *)place);
        break;
    case KEY_BYTES:
        format_bytes(out, *(const uint64_t *)place);
        break;
    case KEY_TEXT:
        go_quote(out, str_from(*(char *const *)place));
        break;
    case KEY_LEVEL:
        buf_addf(out, "%s", *(char *const *)place);
        break;
    case KEY_SYNC:
        /* "off" alone would be a boolean in YAML. */
        buf_addf(out, "\"%.*s\"", STR_ARG(sync_names[*(const enum wal_sync *)place]));
        break;
    case KEY_CODEC:
        buf_addf(out, "%s", codec_name(*(const enum block_effort *)place));
        break;
    case KEY_DELETION:
        buf_add_str(out, deletion_names[*(const bool *)place]);
        break;
    case KEY_LIST:
        format_list(c, key, out);
        break;
    }
}

static size_t value_size(enum config_type type) {
    switch (type) {
    case KEY_BOOL:
    case KEY_DELETION:
        return sizeof(bool);
    case KEY_U16:
        return sizeof(uint16_t);
    case KEY_U32:
        return sizeof(uint32_t);
    case KEY_DOUBLE:
        return sizeof(double);
    case KEY_DURATION:
    case KEY_BYTES:
        return sizeof(int64_t);
    case KEY_TEXT:
    case KEY_LEVEL:
    case KEY_LIST:
        return sizeof(void *);
    case KEY_SYNC:
        return sizeof(enum wal_sync);
    case KEY_CODEC:
        return sizeof(enum block_effort);
    }
    return 0;
}

int config_key_copy(const struct config *from, struct config *to, const struct config_key *key) {
    const void *place = (const char *)from + key->offset;
    if (key->type == KEY_LIST) {
        const struct str *items = *(const struct str *const *)place;
        size_t count = *(const size_t *)(const void *)((const char *)from + key->count_offset);
        return config_key_set_list(to, key, items, count, NULL);
    }
    if (key->type == KEY_TEXT || key->type == KEY_LEVEL)
        return set_text(to, (char **)(void *)((char *)to + key->offset),
                        str_from(*(char *const *)place));
    memcpy((char *)to + key->offset, place, value_size(key->type));
    return 0;
}
