/* api_debug: /debug, what the server does at this moment, for people. For machines there is
 * /metrics. */
#include "api.h"
#include "budget.h"
#include "tail.h"
#include "units.h"

static void add_bytes(struct buf *out, const char *name, uint64_t bytes) {
    buf_addf(out, " %s=", name);
    bytes_format(out, bytes);
}

static void write_workers(struct api *api, struct buf *out) {
    struct http_figures h = {0};
    struct engine_figures e = {0};
    http_get_figures(api->http, &h);
    engine_get_figures(api->engine, &e);
    buf_addf(out, "connections %u, requests running %u\n", h.connections, h.running);
    buf_addf(out, "push workers %u, waiting %zu\n", h.workers, h.waiting);
    buf_addf(out, "query callers %u, waiting %zu\n", h.query_workers, h.query_waiting);
    buf_addf(out, "login workers %u, waiting %zu\n", h.guard_workers, h.guard_waiting);
    buf_addf(out, "queries running %u of %u, waiting %u of %u, threads %u\n", e.running,
             e.max_concurrent, e.waiting, e.max_waiting, e.threads);
    buf_addf(out, "live tails %zu\n", tails_count(api->tails));
}

static void write_memory(struct buf *out) {
    buf_addf(out, "memory");
    add_bytes(out, "limit", budget_limit());
    for (int i = BUDGET_NONE; i < BUDGET_KINDS; i++)
        add_bytes(out, budget_name((enum budget_kind)i), budget_used((enum budget_kind)i));
    buf_addf(out, "\n");
}

static void write_store(struct api *api, struct buf *out) {
    struct store_stats s = {0};
    store_get_stats(api->store, &s);
    buf_addf(out, "heads streams=%llu open_entries=%llu sealed_blocks=%llu",
             (unsigned long long)s.streams_in_memory, (unsigned long long)s.open_entries,
             (unsigned long long)s.sealed_blocks);
    add_bytes(out, "bytes", s.head_bytes);
    add_bytes(out, "budget", s.head_budget_bytes);
    add_bytes(out, "sealed", s.sealed_bytes);
    buf_addf(out, "\nchunk cache chunks=%llu", (unsigned long long)s.chunk_cache_count);
    add_bytes(out, "bytes", s.chunk_cache_bytes);
    buf_addf(out, "\nwal");
    add_bytes(out, "size", s.wal.bytes);
    buf_addf(out, " records=%llu fsyncs=%llu failed=%d\n", (unsigned long long)s.wal.records,
             (unsigned long long)s.wal.fsyncs, s.wal.failed);
    buf_addf(out, "index streams=%llu chunks=%llu", (unsigned long long)s.index.streams,
             (unsigned long long)s.index.chunks);
    add_bytes(out, "file", s.index.file_bytes);
    buf_addf(out, "\ndisk");
    add_bytes(out, "free", s.disk_free_bytes);
    add_bytes(out, "size", s.disk_total_bytes);
    buf_addf(out, "\n");
}

void api_debug(struct http_request *r, void *ctx) {
    struct api *api = ctx;
    struct buf body = buf_make(64 << 10);
    write_workers(api, &body);
    write_memory(&body);
    write_store(api, &body);
    http_reply(r, 200, "text/plain; charset=utf-8", &body);
    buf_done(&body);
}
