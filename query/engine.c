#include "engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "admission.h"
#include "budget.h"
#include "clock.h"
#include "exec.h"
#include "parser.h"
#include "units.h"

enum {
    WAITING_DEFAULT = 256,     /* a burst of dashboards; each waiting query holds a server thread */
    CONCURRENT_PER_THREAD = 2, /* one waits for the disk while the other computes */
};

struct engine {
    struct store *store;
    struct crew *crew;
    struct admission *admission;
};

struct engine *engine_new(struct store *store, const struct engine_options *o) {
    struct engine *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    unsigned threads = o->threads;
    if (threads == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        threads = cores > 0 ? (unsigned)cores : 1;
    }
    e->store = store;
    e->crew = crew_new(threads);
    e->admission =
        admission_new(o->max_concurrent ? o->max_concurrent : threads * CONCURRENT_PER_THREAD,
                      o->max_waiting ? o->max_waiting : WAITING_DEFAULT);
    if (!e->crew || !e->admission) {
        engine_free(e);
        return NULL;
    }
    return e;
}

void engine_free(struct engine *e) {
    if (!e)
        return;
    crew_free(e->crew);
    admission_free(e->admission);
    free(e);
}

void engine_get_figures(struct engine *e, struct engine_figures *ret) {
    *ret = (struct engine_figures){.threads = crew_slots(e->crew)};
    admission_get_figures(e->admission, ret);
}

/* ---- limits */

int exec_no_memory(struct err *reterr) {
    uint64_t limit = budget_limit();
    if (limit == 0)
        return err_set(reterr, -ENOMEM, "not enough memory for this query");
    return err_set(reterr, -ENOMEM,
                   "not enough memory for this query: queries may use %llu of the %llu MiB of "
                   "memory.limit, and other work is going on; ask for less, or again later",
                   (unsigned long long)(budget_share(BUDGET_QUERIES) >> 20),
                   (unsigned long long)(limit >> 20));
}

int exec_check_time(const struct query *q, struct err *reterr) {
    if (q->cancel && atomic_load_explicit(q->cancel, memory_order_relaxed))
        return err_set(reterr, -ECANCELED, "The request was cancelled by the client.");
    if (q->deadline_mono_ns && clock_mono_ns() >= q->deadline_mono_ns)
        return err_set(
            reterr, -EEXPIRED,
            "request timed out, decrease the duration of the request or add more label "
            "matchers (prefer exact match over regex match) to reduce the amount of data "
            "processed");
    return 0;
}

int exec_check(struct exec *x, struct err *reterr) {
    const struct query *q = x->query;
    uint64_t bytes = atomic_load_explicit(&x->bytes_read, memory_order_relaxed);
    if (q->max_bytes_read == 0 || bytes <= q->max_bytes_read)
        return exec_check_time(q, reterr);
    struct buf text = buf_make(64);
    bytes_format(&text, bytes);
    size_t split = text.size;
    bytes_format(&text, q->max_bytes_read);
    int r =
        err_set(reterr, -EREFUSED,
                "the query would read too many bytes (query: %.*s, limit: %.*s); consider adding "
                "more specific stream selectors or reduce the time range of the query",
                (int)split, text.data, (int)(text.size - split), text.data + split);
    buf_done(&text);
    return r;
}

/* ---- helpers of all executors */

int exec_copy_labels(struct arena *arena, struct labels from, struct labels *ret) {
    struct label *items = arena_array(arena, from.count, sizeof(*items));
    if (!items)
        return -ENOMEM;
    for (size_t i = 0; i < from.count; i++) {
        items[i].name = arena_copy(arena, from.items[i].name);
        items[i].value = arena_copy(arena, from.items[i].value);
        if (!items[i].name.data || !items[i].value.data)
            return -ENOMEM;
    }
    *ret = (struct labels){.items = items, .count = from.count};
    return 0;
}

void exec_add_stats(struct query_stats *total, const struct query_stats *part) {
    total->bytes_processed += part->bytes_processed;
    total->lines_processed += part->lines_processed;
    total->lines_matched += part->lines_matched;
    total->meta_bytes_processed += part->meta_bytes_processed;
    total->streams += part->streams;
    total->chunks += part->chunks;
    total->blocks_considered += part->blocks_considered;
    total->blocks_skipped_time += part->blocks_skipped_time;
    total->blocks_skipped_filter += part->blocks_skipped_filter;
    total->blocks_decoded += part->blocks_decoded;
    total->compressed_bytes += part->compressed_bytes;
    total->decompressed_bytes += part->decompressed_bytes;
    total->memory_bytes += part->memory_bytes;
    total->memory_lines += part->memory_lines;
    total->duplicates += part->duplicates;
    if (part->lost > 0)
        exec_note_lost(total, part->lost, part->lost_what);
}

void exec_note_lost(struct query_stats *total, uint64_t count, const char *what) {
    if (total->lost_what[0] == '\0')
        (void)snprintf(total->lost_what, sizeof(total->lost_what), "%s", what);
    total->lost += count;
}

/* ---- queries */

static const char INSTANT_LOG_QUERY[] = "log queries are not supported as an instant query type, "
                                        "please change your query to a range query type";

static int run(struct engine *e, const struct query *q, const struct expr *expr,
               struct query_result *result, struct err *reterr) {
    if (q->instant && expr->kind == EXPR_LOG)
        return err_set(reterr, -ESYNTAX, "%s", INSTANT_LOG_QUERY);
    struct exec x = {
        .store = e->store,
        .crew = e->crew,
        .query = q,
        .arena = arena_make_for(BUDGET_QUERIES, EXEC_BYTES_MAX),
    };
    int r = expr->kind == EXPR_LOG ? exec_log(&x, &expr->log, result, reterr)
                                   : exec_metric(&x, expr, result, reterr);
    result->stats = x.stats;
    result->stats.entries_returned = result->n_entries;
    arena_done(&x.arena);
    return r;
}

/* An instant log query is refused as such before its stages are judged, as Loki does. */
static int parse(const struct query *q, struct parsed_query **ret, struct err *reterr) {
    int r = query_parse(q->text, ret, reterr);
    struct parsed_query *unchecked = NULL;
    if (r != -ESYNTAX || !q->instant || query_parse_unchecked(q->text, &unchecked, NULL) < 0)
        return r;
    if (parsed_query_expr(unchecked)->kind == EXPR_LOG)
        (void)err_set(reterr, r, "%s", INSTANT_LOG_QUERY);
    parsed_query_free(unchecked);
    return r;
}

int engine_query(struct engine *e, const struct query *q, struct query_result **ret,
                 struct err *reterr) {
    int64_t arrived = clock_mono_ns();
    struct parsed_query *parsed = NULL;
    struct query_result *result = NULL;
    int r = parse(q, &parsed, reterr);
    if (r < 0)
        return r;
    result = calloc(1, sizeof(*result));
    if (!result) {
        r = exec_no_memory(reterr);
        goto out;
    }
    result->arena = arena_make_for(BUDGET_QUERIES, EXEC_BYTES_MAX);
    struct admission_place place;
    r = admission_enter(e->admission, &place, q, reterr);
    if (r < 0)
        goto out;
    int64_t started = clock_mono_ns();
    r = run(e, q, parsed_query_expr(parsed), result, reterr);
    admission_leave(e->admission, &place);
    result->stats.queue_seconds = (double)(started - arrived) / 1e9;
    result->stats.exec_seconds = (double)(clock_mono_ns() - started) / 1e9;
out:
    parsed_query_free(parsed);
    if (r < 0)
        query_result_free(result);
    else
        *ret = result;
    return r;
}

void query_result_free(struct query_result *r) {
    if (!r)
        return;
    arena_done(&r->arena);
    free(r);
}
