/* metrics: the HTTP histogram is a small table of series found under one lock, held for some
 * tens of nanoseconds per request; all else is read from the rooms when /metrics is asked. */
#include "metrics.h"

#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

#include "api.h"
#include "budget.h"
#include "clock.h"
#include "metrics_internal.h"
#include "tail.h"

enum {
    SERIES_MAX =
        512, /* routes x methods x statuses that occur; further ones are counted together */
    BUCKETS = 14,
};

/* Loki's bounds. */
static const double bounds[BUCKETS] = {.005, .01, .025, .05, .1, .25, .5,
                                       1,    2.5, 5,    10,  25, 50,  100};

struct observed {
    enum http_method method;
    const char *route;
    int status;
    uint64_t buckets[BUCKETS + 1];
    double sum;
};

struct metrics {
    pthread_mutex_t lock; /* guards everything below */
    size_t n_series;
    struct observed series[SERIES_MAX];
};

struct metrics *metrics_new(void) {
    struct metrics *m = calloc(1, sizeof(*m));
    if (m)
        pthread_mutex_init(&m->lock, NULL);
    return m;
}

void metrics_free(struct metrics *m) {
    if (!m)
        return;
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static struct observed *find_series(struct metrics *m, enum http_method method, const char *route,
                                    int status) {
    for (size_t i = 0; i < m->n_series; i++) {
        struct observed *o = &m->series[i];
        if (o->status == status && o->method == method && strcmp(o->route, route) == 0)
            return o;
    }
    if (m->n_series == SERIES_MAX)
        return &m->series[SERIES_MAX - 1];
    struct observed *o = &m->series[m->n_series++];
    *o = (struct observed){.method = method, .route = route, .status = status};
    return o;
}

void metrics_observe(void *metrics, enum http_method method, const char *route, int status,
                     double seconds) {
    struct metrics *m = metrics;
    size_t bucket = 0;
    while (bucket < BUCKETS && seconds > bounds[bucket])
        bucket++;
    pthread_mutex_lock(&m->lock);
    struct observed *o = find_series(m, method, route, status);
    o->buckets[bucket]++;
    o->sum += seconds;
    pthread_mutex_unlock(&m->lock);
}

static const char *method_name(enum http_method m) {
    switch (m) {
    case HTTP_GET:
        return "GET";
    case HTTP_POST:
        return "POST";
    case HTTP_PUT:
        return "PUT";
    case HTTP_DELETE:
        return "DELETE";
    case HTTP_HEAD:
        return "HEAD";
    case HTTP_OPTIONS:
        return "OPTIONS";
    case HTTP_OTHER:
        break;
    }
    return "other";
}

void metrics_write_help(struct buf *out, const char *name, const char *type, const char *help) {
    buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_histogram(struct buf *out, const struct observed *o) {
    const char *method = method_name(o->method);
    const char *ws = o->status == 101 ? "true" : "false";
    uint64_t total = 0;
    for (size_t i = 0; i <= BUCKETS; i++) {
        total += o->buckets[i];
        buf_addf(
            out,
            "loki_request_duration_seconds_bucket{method=\"%s\",route=\"%s\",status_code=\"%d\","
            "ws=\"%s\",le=\"",
            method, o->route, o->status, ws);
        if (i < BUCKETS)
            buf_addf(out, "%g", bounds[i]);
        else
            buf_add_str(out, STR("+Inf"));
        buf_addf(out, "\"} %llu\n", (unsigned long long)total);
    }
    buf_addf(out,
             "loki_request_duration_seconds_sum{method=\"%s\",route=\"%s\",status_code=\"%d\","
             "ws=\"%s\"} %.9f\n",
             method, o->route, o->status, ws, o->sum);
    buf_addf(out,
             "loki_request_duration_seconds_count{method=\"%s\",route=\"%s\",status_code=\"%d\","
             "ws=\"%s\"} %llu\n",
             method, o->route, o->status, ws, (unsigned long long)total);
}

static void write_requests(struct metrics *m, struct buf *out) {
    struct metrics *copy = malloc(sizeof(*copy));
    if (!copy)
        return;
    pthread_mutex_lock(&m->lock);
    copy->n_series = m->n_series;
    memcpy(copy->series, m->series, m->n_series * sizeof(m->series[0]));
    pthread_mutex_unlock(&m->lock);
    metrics_write_help(out, "loki_request_duration_seconds", "histogram",
                       "Time (in seconds) spent serving HTTP requests.");
    for (size_t i = 0; i < copy->n_series; i++)
        write_histogram(out, &copy->series[i]);
    free(copy);
}

void metrics_write_figures(struct buf *out, const struct figure *figures, size_t count) {
    for (size_t i = 0; i < count; i++) {
        metrics_write_help(out, figures[i].name, figures[i].type, figures[i].help);
        /* Counts are whole; a double holds them exactly up to 2^53. */
        bool whole = figures[i].value < 9e15 && figures[i].value == floor(figures[i].value);
        buf_addf(out, whole ? "%s %.0f\n" : "%s %.15g\n", figures[i].name, figures[i].value);
    }
}

/* ---- pushes, by tenant */

static void write_received(struct push_figures *f, struct buf *out) {
    static const struct {
        const char *name, *help;
        size_t offset;
    } counters[] = {
        {"loki_distributor_bytes_received_total", "Bytes of lines and metadata received.",
         offsetof(struct push_metrics, line_bytes_received)},
        {"loki_distributor_lines_received_total", "Lines received.",
         offsetof(struct push_metrics, lines_received)},
        {"logq_push_requests_total", "Push requests.", offsetof(struct push_metrics, requests)},
        {"logq_push_body_bytes_total", "Bytes of push bodies as sent.",
         offsetof(struct push_metrics, bytes_received)},
    };
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        metrics_write_help(out, counters[i].name, "counter", counters[i].help);
        struct str tenant;
        struct push_metrics *p;
        for (size_t n = 0; (p = push_figures_at(f, n, &tenant)) != NULL; n++) {
            if (atomic_load(&p->requests) == 0 && n > 0)
                continue;
            const void *at = (const char *)p + counters[i].offset;
            buf_addf(out, "%s{tenant=\"%.*s\"} %llu\n", counters[i].name, STR_ARG(tenant),
                     (unsigned long long)atomic_load((const atomic_uint_fast64_t *)at));
        }
    }
}

static void write_discarded(struct push_figures *f, struct buf *out, const char *name,
                            const char *help, bool bytes) {
    metrics_write_help(out, name, "counter", help);
    struct str tenant;
    struct push_metrics *p;
    for (size_t n = 0; (p = push_figures_at(f, n, &tenant)) != NULL; n++)
        for (int i = 0; i < DISCARD_REASONS; i++) {
            unsigned long long value =
                atomic_load(bytes ? &p->discarded_bytes[i] : &p->discarded_lines[i]);
            struct str reason = discard_reason_name((enum discard_reason)i);
            /* The first one shows which reasons there are. */
            if (value > 0 || n == 0)
                buf_addf(out, "%s{tenant=\"%.*s\",reason=\"%.*s\"} %llu\n", name, STR_ARG(tenant),
                         STR_ARG(reason), value);
        }
}

static void write_push(struct push_figures *f, struct buf *out) {
    write_received(f, out);
    write_discarded(f, out, "loki_discarded_samples_total", "Lines discarded, by reason.", false);
    write_discarded(f, out, "loki_discarded_bytes_total", "Bytes of lines discarded, by reason.",
                    true);
}

/* ---- the store */

static void write_streams(struct api *api, struct buf *out) {
    metrics_write_help(out, "loki_ingester_memory_streams", "gauge",
                       "Streams in memory, by tenant.");
    struct str tenant;
    for (size_t n = 0; push_figures_at(api->pushes, n, &tenant) != NULL; n++) {
        uint64_t streams = store_active_streams(api->store, tenant);
        if (streams > 0 || n == 0)
            buf_addf(out, "loki_ingester_memory_streams{tenant=\"%.*s\"} %llu\n", STR_ARG(tenant),
                     (unsigned long long)streams);
    }
}

static void write_fsyncs(const struct wal_stats *w, struct buf *out) {
    const char *name = "logq_wal_fsync_duration_seconds";
    metrics_write_help(out, name, "histogram", "Time of a group commit's fsync.");
    uint64_t total = 0;
    for (size_t i = 0; i < WAL_FSYNC_BUCKETS; i++) {
        total += w->fsync_buckets[i];
        buf_addf(out, "%s_bucket{le=\"%g\"} %llu\n", name, wal_fsync_bounds[i],
                 (unsigned long long)total);
    }
    buf_addf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9f\n%s_count %llu\n", name,
             (unsigned long long)w->fsyncs, name, (double)w->fsync_ns_total / 1e9, name,
             (unsigned long long)w->fsyncs);
}

/* Under the names that dashboards and alerts made for Loki ask for. */
static void write_as_loki(const struct store_stats *s, const struct compactor_stats *c,
                          struct buf *out) {
    const struct figure figures[] = {
        {"loki_ingester_memory_chunks", "gauge", "Blocks in memory, open ones included.",
         (double)(s->sealed_blocks + s->streams_in_memory)},
        {"loki_ingester_chunks_flushed_total", "counter", "Chunk files written.",
         (double)s->flushed_chunks},
        {"loki_ingester_chunks_flush_failures_total", "counter",
         "Flushes that failed and are tried again.", (double)s->flush_failures},
        {"loki_ingester_wal_records_logged_total", "counter", "WAL records logged.",
         (double)s->wal.records},
        {"loki_ingester_wal_logged_bytes_total", "counter", "Bytes written for WAL records.",
         (double)s->wal.appended_bytes},
        {"loki_ingester_wal_replay_duration_seconds", "gauge", "Time taken to replay the WAL.",
         (double)s->replay_ns / 1e9},
        {"loki_ingester_wal_recovered_entries_total", "counter", "Entries recovered from the WAL.",
         (double)s->replayed_entries},
        {"loki_compactor_apply_retention_last_successful_run_timestamp_seconds", "gauge",
         "Start of the last pass of retention.", (double)c->last_run_ns / 1e9},
    };
    metrics_write_figures(out, figures, sizeof(figures) / sizeof(figures[0]));
}

/* ---- queries */

void query_figures_add(struct query_figures *f, const struct query_stats *s) {
    const uint64_t values[QUERY_FIGURES] = {
        [QUERY_COUNT] = 1,
        [QUERY_BYTES] = s->bytes_processed,
        [QUERY_LINES] = s->lines_processed,
        [QUERY_LINES_MATCHED] = s->lines_matched,
        [QUERY_BLOCKS] = s->blocks_considered,
        [QUERY_SKIPPED_TIME] = s->blocks_skipped_time,
        [QUERY_SKIPPED_FILTER] = s->blocks_skipped_filter,
        [QUERY_DECODED] = s->blocks_decoded,
    };
    for (int i = 0; i < QUERY_FIGURES; i++)
        (void)atomic_fetch_add_explicit(&f->values[i], values[i], memory_order_relaxed);
}

static void write_queries(struct query_figures *f, struct buf *out) {
    static const char *const names[QUERY_FIGURES][2] = {
        [QUERY_COUNT] = {"logq_queries_total", "Queries answered."},
        [QUERY_BYTES] = {"logq_query_bytes_total", "Bytes of lines that queries went through."},
        [QUERY_LINES] = {"logq_query_lines_total", "Lines that queries went through."},
        [QUERY_LINES_MATCHED] = {"logq_query_lines_matched_total", "Of these, left by filters."},
        [QUERY_BLOCKS] = {"logq_query_blocks_total", "Blocks in the range of queries."},
        [QUERY_SKIPPED_TIME] = {"logq_query_blocks_skipped_by_time_total",
                                "Of these, outside of the time asked for."},
        [QUERY_SKIPPED_FILTER] = {"logq_query_blocks_skipped_by_filter_total",
                                  "Of these, left out by their gram filter."},
        [QUERY_DECODED] = {"logq_query_blocks_decoded_total", "Of these, decompressed."},
    };
    struct figure figures[QUERY_FIGURES];
    for (int i = 0; i < QUERY_FIGURES; i++)
        figures[i] = (struct figure){names[i][0], "counter", names[i][1],
                                     (double)atomic_load(&f->values[i])};
    metrics_write_figures(out, figures, QUERY_FIGURES);
}

static void write_wal(const struct store_stats *s, struct buf *out) {
    const struct wal_stats *w = &s->wal;
    const struct figure figures[] = {
        {"logq_wal_bytes", "gauge", "Bytes in WAL segments.", (double)w->bytes},
        {"logq_wal_records_total", "counter", "Records appended.", (double)w->records},
        {"logq_wal_appended_bytes_total", "counter", "Bytes appended.", (double)w->appended_bytes},
        {"logq_wal_fsyncs_total", "counter", "Group commits.", (double)w->fsyncs},
        {"logq_wal_fsync_seconds_total", "counter", "Time in fsync.",
         (double)w->fsync_ns_total / 1e9},
        {"logq_wal_fsync_seconds_max", "gauge", "Longest fsync.", (double)w->fsync_ns_max / 1e9},
        {"logq_wal_failed", "gauge", "1 when the WAL takes no records.", w->failed != 0},
        {"logq_wal_lost_bytes", "gauge", "Bytes that the last replay could not read.",
         (double)s->lost_wal_bytes},
        {"logq_replay_entries", "gauge", "Entries replayed at the last start.",
         (double)s->replayed_entries},
        {"logq_replay_seconds", "gauge", "Duration of that replay.", (double)s->replay_ns / 1e9},
    };
    metrics_write_figures(out, figures, sizeof(figures) / sizeof(figures[0]));
}

static void write_store(const struct store_stats *s, struct buf *out) {
    const struct figure figures[] = {
        {"logq_streams_in_memory", "gauge", "Streams with a head.", (double)s->streams_in_memory},
        {"logq_head_bytes", "gauge", "Memory of all heads.", (double)s->head_bytes},
        {"logq_head_budget_bytes", "gauge", "Its limit.", (double)s->head_budget_bytes},
        {"logq_head_open_entries", "gauge", "Entries in open heads.", (double)s->open_entries},
        {"logq_head_sealed_blocks", "gauge", "Compressed blocks in memory.",
         (double)s->sealed_blocks},
        {"logq_head_sealed_bytes", "gauge", "Their bytes.", (double)s->sealed_bytes},
        {"logq_entries_appended_total", "counter", "Entries stored.", (double)s->appended_entries},
        {"logq_bytes_appended_total", "counter", "Their bytes.", (double)s->appended_bytes},
        {"logq_entries_duplicate_total", "counter", "Entries that were there already.",
         (double)s->duplicate_entries},
        {"logq_flushes_total", "counter", "Flushes.", (double)s->flushes},
        {"logq_flushed_chunks_total", "counter", "Chunk files written.", (double)s->flushed_chunks},
        {"logq_flushed_bytes_total", "counter", "Their bytes.", (double)s->flushed_bytes},
        {"logq_flush_seconds_total", "counter", "Time in flushes.",
         (double)s->flush_ns_total / 1e9},
        {"logq_flush_failures_total", "counter", "Flushes that failed and are tried again.",
         (double)s->flush_failures},
        {"logq_chunk_cache_bytes", "gauge", "Memory of open chunks.", (double)s->chunk_cache_bytes},
        {"logq_sieve_queries_total", "counter", "Selections that could ask sieves of days.",
         (double)s->sieve_queries},
        {"logq_sieve_chunks_skipped_total", "counter",
         "Chunks that queries left alone because a sieve said so.",
         (double)s->sieve_chunks_skipped},
        {"logq_sieve_damaged_total", "counter", "Sieves that could not be used.",
         (double)s->sieves_damaged},
        {"logq_chunk_cache_chunks", "gauge", "Open chunks.", (double)s->chunk_cache_count},
        {"logq_shelved_bytes", "gauge", "Memory of blocks that are kept open for the next query.",
         (double)s->shelved_bytes},
        {"logq_shelved_blocks", "gauge", "Their number.", (double)s->shelved_blocks},
        {"logq_index_streams", "gauge", "Streams in the index.", (double)s->index.streams},
        {"logq_index_chunks", "gauge", "Chunks in the index.", (double)s->index.chunks},
        {"logq_index_file_bytes", "gauge", "Size of the index file.", (double)s->index.file_bytes},
        {"logq_disk_free_bytes", "gauge", "Free bytes of the data file system.",
         (double)s->disk_free_bytes},
        {"logq_disk_size_bytes", "gauge", "Its size.", (double)s->disk_total_bytes},
    };
    metrics_write_figures(out, figures, sizeof(figures) / sizeof(figures[0]));
}

static void write_erased(struct str tenant, uint64_t lines, void *ctx) {
    buf_addf(ctx, "loki_compactor_deleted_lines{user=\"%.*s\"} %llu\n", STR_ARG(tenant),
             (unsigned long long)lines);
}

static void write_merges(const struct compactor_stats *c, struct buf *out) {
    const struct figure figures[] = {
        {"logq_sieves_written_total", "counter", "Sieves of days written.",
         (double)c->sieves.written},
        {"logq_sieves_written_bytes_total", "counter", "Their bytes.",
         (double)c->sieves.written_bytes},
        {"logq_sieves_removed_total", "counter", "Sieves of days that have gone, removed.",
         (double)c->sieves.removed},
        {"logq_sieve_failures_total", "counter", "Sieves that could not be written or removed.",
         (double)c->sieves.failures},
        {"logq_sieve_file_bytes", "gauge", "Size of all sieves after the last round.",
         (double)c->sieves.file_bytes},
        {"logq_merge_rounds_total", "counter", "Rounds of merges.", (double)c->merge_rounds},
        {"logq_merge_round_failures_total", "counter", "Rounds that failed.",
         (double)c->merge_failures},
        {"logq_merge_last_duration_seconds", "gauge", "Duration of the last round.",
         (double)c->last_merge_duration_ns / 1e9},
        {"logq_merge_rewrites_total", "counter", "Merges.", (double)c->merges.rewrites},
        {"logq_merge_unmergeable_total", "counter", "Chunks left alone, damaged mostly.",
         (double)c->merges.failures},
        {"logq_merge_files_replaced_total", "counter", "Chunk files that merges have replaced.",
         (double)c->merges.sums.sources},
        {"logq_merge_files_written_total", "counter", "Chunk files written in their place.",
         (double)c->merges.sums.outputs},
        {"logq_merge_bytes_replaced_total", "counter", "Bytes of the replaced files.",
         (double)c->merges.sums.source_bytes},
        {"logq_merge_bytes_written_total", "counter", "Bytes of the written files.",
         (double)c->merges.sums.output_bytes},
        {"logq_merge_duplicates_dropped_total", "counter",
         "Entries that stood there twice and were written once.",
         (double)c->merges.sums.duplicates},
    };
    metrics_write_figures(out, figures, sizeof(figures) / sizeof(figures[0]));
}

static void write_compactor(struct compactor *compactor, const struct compactor_stats *c,
                            struct buf *out) {
    struct deletes_stats deletes = {0};
    if (compactor_deletes(compactor))
        deletes_get_stats(compactor_deletes(compactor), clock_now_ns(), &deletes);
    const struct figure figures[] = {
        {"logq_compactor_runs_total", "counter", "Passes.", (double)c->runs},
        {"logq_compactor_failures_total", "counter", "Passes that failed.", (double)c->failures},
        {"logq_compactor_last_run_timestamp_seconds", "gauge", "Start of the last pass.",
         (double)c->last_run_ns / 1e9},
        {"logq_compactor_last_duration_seconds", "gauge", "Its duration.",
         (double)c->last_duration_ns / 1e9},
        {"logq_retention_chunks_deleted_total", "counter", "Expired chunks.",
         (double)c->totals.chunks},
        {"logq_retention_bytes_deleted_total", "counter", "Their bytes.", (double)c->totals.bytes},
        {"logq_retention_entries_deleted_total", "counter", "Their entries.",
         (double)c->totals.entries},
        {"logq_retention_streams_deleted_total", "counter", "Streams left without data.",
         (double)c->totals.streams},
        {"logq_retention_budget_chunks_deleted_total", "counter",
         "Of the expired chunks, those that went for space.", (double)c->totals.budget_chunks},
        {"logq_retention_budget_bytes_deleted_total", "counter", "Their bytes.",
         (double)c->totals.budget_bytes},
        {"logq_delete_requests_pending", "gauge", "Delete requests that hide entries.",
         (double)deletes.pending},
        {"loki_compactor_pending_delete_requests_count", "gauge",
         "Delete requests that can no longer be taken back and are not done.", (double)deletes.due},
        {"loki_compactor_oldest_pending_delete_request_age_seconds", "gauge",
         "How long the oldest of these has waited.", (double)deletes.longest_due_ns / 1e9},
        {"logq_delete_requests_processed_total", "counter", "Delete requests done with.",
         (double)c->deletes.processed},
        {"logq_delete_chunks_removed_total", "counter", "Chunks removed whole by delete requests.",
         (double)c->deletes.sums.chunks_removed},
        {"logq_delete_chunks_rewritten_total", "counter", "Chunks rewritten by delete requests.",
         (double)c->deletes.sums.chunks_rewritten},
        {"logq_delete_lines_total", "counter", "Entries removed by delete requests.",
         (double)c->deletes.sums.lines},
        {"logq_delete_chunk_failures_total", "counter",
         "Chunks that could not be rewritten, once per attempt.", (double)c->deletes.failures},
    };
    metrics_write_figures(out, figures, sizeof(figures) / sizeof(figures[0]));
    write_merges(c, out);
    metrics_write_help(out, "loki_compactor_deleted_lines", "counter",
                       "Entries removed by delete requests, by tenant.");
    if (compactor_deletes(compactor))
        deletes_walk_erased(compactor_deletes(compactor), write_erased, out);
}

static void write_memory(struct buf *out) {
    metrics_write_help(out, "logq_memory_bytes", "gauge",
                       "Memory that counts in memory.limit, by kind.");
    for (int i = BUDGET_NONE + 1; i < BUDGET_KINDS; i++)
        buf_addf(out, "logq_memory_bytes{kind=\"%s\"} %llu\n", budget_name((enum budget_kind)i),
                 (unsigned long long)budget_used((enum budget_kind)i));
    metrics_write_help(out, "logq_memory_refused_total", "counter",
                       "Times that memory.limit refused more, by kind.");
    for (int i = BUDGET_NONE + 1; i < BUDGET_KINDS; i++)
        buf_addf(out, "logq_memory_refused_total{kind=\"%s\"} %llu\n",
                 budget_name((enum budget_kind)i),
                 (unsigned long long)budget_refused((enum budget_kind)i));
    const struct figure limit[] = {
        {"logq_memory_limit_bytes", "gauge", "memory.limit.", (double)budget_limit()}};
    metrics_write_figures(out, limit, 1);
}

/* One counter for whatever is turned away before a handler sees it. */
static void write_refusals(struct api *api, struct buf *out) {
    const char *name = "logq_refused_requests_total";
    metrics_write_help(out, name, "counter", "Connections and requests turned away, by reason.");
    for (int i = 0; i < HTTP_REFUSALS && api->http; i++)
        buf_addf(out, "%s{reason=\"%s\"} %llu\n", name, http_refusal_name((enum http_refusal)i),
                 (unsigned long long)http_refusals(api->http, (enum http_refusal)i));
    for (int i = 0; i < API_REFUSALS; i++)
        buf_addf(out, "%s{reason=\"%s\"} %llu\n", name, api_refusal_name((enum api_refusal)i),
                 (unsigned long long)atomic_load(&api->refusals[i]));
}

void metrics_write(struct metrics *m, struct api *api, struct buf *out) {
    metrics_write_help(out, "loki_build_info", "gauge",
                       "Version of logq, under the name dashboards look for.");
    buf_addf(out, "loki_build_info{version=\"%s\",revision=\"\",branch=\"\",goversion=\"\"} 1\n",
             LOGQ_VERSION);
    const struct figure server[] = {
        {"loki_querier_tail_active", "gauge", "Live tails.",
         api->tails ? (double)tails_count(api->tails) : 0},
        {"loki_tcp_connections", "gauge", "Open connections.",
         api->http ? http_connections(api->http) : 0},
        {"logq_http_connections", "gauge", "Open connections.",
         api->http ? http_connections(api->http) : 0},
        {"logq_ready", "gauge", "1 when /ready says so.", atomic_load(&api->ready)},
    };
    metrics_write_figures(out, server, sizeof(server) / sizeof(server[0]));
    write_requests(m, out);
    write_refusals(api, out);
    write_memory(out);
    write_push(api->pushes, out);
    write_queries(&api->queries, out);
    struct store_stats s = {0};
    store_get_stats(api->store, &s);
    struct compactor_stats c = {0};
    compactor_get_stats(api->compactor, &c);
    write_wal(&s, out);
    write_fsyncs(&s.wal, out);
    write_store(&s, out);
    write_streams(api, out);
    write_compactor(api->compactor, &c, out);
    write_as_loki(&s, &c, out);
    metrics_write_process(out);
}
