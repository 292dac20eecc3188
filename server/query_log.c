#include "query_log.h"

#include <errno.h>

#include "err.h"
#include "log.h"
#include "units.h"

static int status_of(int code) {
    switch (-code) {
    case 0:
        return 200;
    case ESYNTAX:
    case EREFUSED:
        return 400;
    case ECANCELED:
        return 499;
    case EEXPIRED:
        return 504;
    case EBUSYNOW:
        return 429;
    case ENOMEM:
        return 503;
    default:
        return 500;
    }
}

static double seconds_of(int64_t ns) {
    return (double)ns / 1e9;
}

/* The stats that a line has when the query was answered. */
static void add_stats(struct buf *out, const struct query_stats *s, int64_t took_ns) {
    double seconds = took_ns > 0 ? seconds_of(took_ns) : 1e-9;
    buf_addf(out, " returned_lines=%llu throughput=", (unsigned long long)s->entries_returned);
    bytes_format(out, (uint64_t)((double)s->bytes_processed / seconds));
    buf_addf(out, " total_bytes=");
    bytes_format(out, s->bytes_processed);
    buf_addf(out,
             " lines_per_second=%.0f total_lines=%llu post_filter_lines=%llu streams=%llu "
             "chunks=%llu blocks=%llu blocks_skipped=%llu queue_time=%.6fs exec_time=%.6fs",
             (double)s->lines_processed / seconds, (unsigned long long)s->lines_processed,
             (unsigned long long)s->lines_matched, (unsigned long long)s->streams,
             (unsigned long long)s->chunks, (unsigned long long)s->blocks_considered,
             (unsigned long long)(s->blocks_skipped_time + s->blocks_skipped_filter),
             s->queue_seconds, s->exec_seconds);
}

void query_log_write(const struct query_log *l) {
    const struct query *q = l->query;
    struct buf rest = buf_make(2048);
    buf_addf(&rest, "org_id=%.*s latency=slow query=%s range_type=%s length=", STR_ARG(q->tenant),
             log_quote(q->text), q->instant ? "instant" : "range");
    duration_format_go(&rest, q->end_ns > q->start_ns ? q->end_ns - q->start_ns : 0);
    buf_addf(&rest, " start_delta=");
    duration_format_go(&rest, l->now_ns - q->start_ns);
    buf_addf(&rest, " end_delta=");
    duration_format_go(&rest, l->now_ns - q->end_ns);
    buf_addf(&rest, " step=");
    duration_format_go(&rest, q->step_ns);
    buf_addf(&rest, " limit=%u duration=", q->limit);
    duration_format_go(&rest, l->took_ns);
    buf_addf(&rest, " status=%d", status_of(l->code));
    if (l->stats)
        add_stats(&rest, l->stats, l->took_ns);
    log_line(LOG_INFO, "slow query", "%.*s", STR_ARG(buf_str(&rest)));
    buf_done(&rest);
}
