/* render: answers are appended byte by byte to a buffer; no tree is built, and a long answer can be
 * had in parts. Streams are grouped
 * first: entries come sorted by time over all streams, each naming its label set, and leave as
 * one list per distinct set (plain) or per stored stream (categorized). */
#include "render.h"

#include <errno.h>
#include <stdlib.h>

#include "json.h"
#include "labels.h"
#include "units.h"

static const struct str categorize_flag = STR_INIT("categorize-labels");

void render_labels(struct buf *out, struct labels labels) {
    buf_add_char(out, '{');
    for (size_t i = 0; i < labels.count; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        json_write_string(out, labels.items[i].name);
        buf_add_char(out, ':');
        json_write_string(out, labels.items[i].value);
    }
    buf_add_char(out, '}');
}

/* ---- grouping */

struct group {
    struct labels labels;
    uint64_t hash;
    uint32_t first; /* index into order of its first entry */
    uint32_t count;
};

struct grouping_result {
    struct group *groups; /* sorted by labels */
    size_t n_groups;
    uint32_t *order; /* entry indexes, by group, in the order of the result */
};

static void grouping_done(struct grouping_result *g) {
    free(g->groups);
    free(g->order);
}

static int compare_groups(const void *a, const void *b) {
    return labels_order(((const struct group *)a)->labels, ((const struct group *)b)->labels);
}

/* Gives each set its group (group_of[set]); the groups are in order of first appearance. */
static int find_groups(const struct query_result *r, bool by_stream, struct group *groups,
                       uint32_t *group_of, size_t *ret_count) {
    size_t slots = 16, n_groups = 0;
    while (slots < r->n_sets * 2)
        slots *= 2;
    uint32_t *table = calloc(slots, sizeof(*table)); /* group + 1 */
    if (!table)
        return -ENOMEM;
    for (size_t i = 0; i < r->n_sets; i++) {
        struct labels labels = by_stream ? r->sets[i].stream : r->sets[i].merged;
        uint64_t hash = labels_hash(labels);
        size_t at = hash & (slots - 1);
        while (table[at] && !(groups[table[at] - 1].hash == hash &&
                              labels_eq(groups[table[at] - 1].labels, labels)))
            at = (at + 1) & (slots - 1);
        if (!table[at]) {
            groups[n_groups++] = (struct group){.labels = labels, .hash = hash};
            table[at] = (uint32_t)n_groups;
        }
        group_of[i] = table[at] - 1;
    }
    free(table);
    *ret_count = n_groups;
    return 0;
}

static int group_entries(const struct query_result *r, bool by_stream,
                         struct grouping_result *ret) {
    size_t n_sets = r->n_sets ? r->n_sets : 1, n_entries = r->n_entries ? r->n_entries : 1;
    *ret = (struct grouping_result){
        .groups = calloc(n_sets, sizeof(*ret->groups)),
        .order = calloc(n_entries, sizeof(*ret->order)),
    };
    uint32_t *group_of = calloc(n_sets, sizeof(*group_of));
    int e = -ENOMEM;
    if (ret->groups && ret->order && group_of)
        e = find_groups(r, by_stream, ret->groups, group_of, &ret->n_groups);
    if (e < 0)
        goto out;
    for (size_t i = 0; i < r->n_entries; i++)
        ret->groups[group_of[r->entries[i].set]].count++;
    uint32_t first = 0;
    for (size_t i = 0; i < ret->n_groups; i++) {
        ret->groups[i].first = first;
        first += ret->groups[i].count;
        ret->groups[i].count = 0;
    }
    for (size_t i = 0; i < r->n_entries; i++) {
        struct group *g = &ret->groups[group_of[r->entries[i].set]];
        ret->order[g->first + g->count++] = (uint32_t)i;
    }
    qsort(ret->groups, ret->n_groups, sizeof(*ret->groups), compare_groups);
out:
    free(group_of);
    return e;
}

/* ---- streams */

enum { PART_BYTES = 64 << 10 };

/* How far an answer has been written. */
struct render_state {
    const struct query_result *result;
    struct render_options options;
    size_t enough; /* bytes of the buffer at which a part ends */
    bool started, grouped, any;
    struct grouping_result grouping; /* streams */
    size_t item;                     /* group or series */
    bool open;                       /* its beginning has been written */
    size_t value;                    /* of it */
};

static void next_item(struct render_state *s) {
    s->item++;
    s->open = false;
    s->value = 0;
}

void render_value(struct buf *out, int64_t ts_ns, struct str line, bool categorize,
                  struct labels metadata, struct labels parsed) {
    buf_add_str(out, STR("[\""));
    buf_add_i64(out, ts_ns);
    buf_add_str(out, STR("\","));
    json_write_string(out, line);
    if (categorize) {
        buf_add_str(out, STR(",{"));
        if (metadata.count > 0) {
            buf_add_str(out, STR("\"structuredMetadata\":"));
            render_labels(out, metadata);
        }
        if (parsed.count > 0) {
            if (metadata.count > 0)
                buf_add_char(out, ',');
            buf_add_str(out, STR("\"parsed\":"));
            render_labels(out, parsed);
        }
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
}

/* One stream from s->value on, until `out` has a part's size. */
static void render_stream(struct buf *out, struct render_state *s, const struct group *g) {
    const struct query_result *r = s->result;
    bool categorize = s->options.categorize;
    if (!s->open) {
        buf_add_str(out, s->any ? STR(",{\"stream\":") : STR("{\"stream\":"));
        s->any = s->open = true;
        render_labels(out, g->labels);
        buf_add_str(out, STR(",\"values\":["));
    }
    while (s->value < g->count && out->size < s->enough) {
        if (s->value > 0)
            buf_add_char(out, ',');
        const struct result_entry *e = &r->entries[s->grouping.order[g->first + s->value++]];
        const struct result_set *set = &r->sets[e->set];
        render_value(out, e->ts_ns, e->line, categorize, set->metadata, set->parsed);
    }
    if (s->value == g->count) {
        buf_add_str(out, STR("]}"));
        next_item(s);
    }
}

/* True when all streams have been written. */
static bool render_streams(struct buf *out, struct render_state *s) {
    if (!s->grouped && group_entries(s->result, s->options.categorize, &s->grouping) < 0)
        out->failed = true;
    s->grouped = true;
    while (s->item < s->grouping.n_groups && out->size < s->enough && !out->failed) {
        const struct group *g = &s->grouping.groups[s->item];
        if (g->count == 0)
            s->item++;
        else
            render_stream(out, s, g);
    }
    return s->item == s->grouping.n_groups;
}

void render_legacy_streams(struct buf *out, const struct query_result *r) {
    struct grouping_result grouping;
    if (group_entries(r, false, &grouping) < 0)
        out->failed = true;
    buf_add_str(out, STR("{\"streams\":["));
    for (size_t i = 0; i < grouping.n_groups && !out->failed; i++) {
        const struct group *g = &grouping.groups[i];
        struct buf text = buf_make(BUF_NO_MAX);
        labels_format(&text, g->labels);
        buf_add_str(out, i > 0 ? STR(",{\"labels\":") : STR("{\"labels\":"));
        json_write_string(out, buf_str(&text));
        buf_done(&text);
        buf_add_str(out, STR(",\"entries\":["));
        for (uint32_t n = 0; n < g->count; n++) {
            const struct result_entry *e = &r->entries[grouping.order[g->first + n]];
            buf_add_str(out, n > 0 ? STR(",{\"ts\":\"") : STR("{\"ts\":\""));
            time_format_rfc3339(out, e->ts_ns, false);
            buf_add_str(out, STR("\",\"line\":"));
            json_write_string(out, e->line);
            buf_add_char(out, '}');
        }
        buf_add_str(out, STR("]}"));
    }
    buf_add_str(out, STR("],\"stats\":"));
    render_stats(out, &r->stats);
    buf_add_str(out, STR("}\n"));
    grouping_done(&grouping);
}

/* ---- samples */

/* Seconds, with three decimals when they are not whole. */
static void render_seconds(struct buf *out, int64_t ts_ns) {
    int64_t ms = ts_ns / NS_PER_MS - (ts_ns % NS_PER_MS < 0);
    if (ms < 0) {
        buf_add_char(out, '-');
        ms = -ms;
    }
    buf_add_i64(out, ms / 1000);
    if (ms % 1000 != 0)
        buf_addf(out, ".%03d", (int)(ms % 1000));
}

static void render_point(struct buf *out, const struct result_point *p) {
    buf_add_char(out, '[');
    render_seconds(out, p->ts_ns);
    buf_add_str(out, STR(",\""));
    float_format(out, p->value);
    buf_add_str(out, STR("\"]"));
}

static void render_row(struct buf *out, struct render_state *s, const struct result_series *row) {
    bool vector = s->result->type == RESULT_VECTOR;
    if (!s->open) {
        s->open = true;
        buf_add_str(out, s->item > 0 ? STR(",{\"metric\":") : STR("{\"metric\":"));
        render_labels(out, row->labels);
        buf_add_str(out, vector ? STR(",\"value\":") : STR(",\"values\":["));
    }
    while (s->value < row->n_points && out->size < s->enough) {
        if (s->value > 0)
            buf_add_char(out, ',');
        render_point(out, &row->points[s->value++]);
    }
    if (s->value == row->n_points) {
        buf_add_str(out, vector ? STR("}") : STR("]}"));
        next_item(s);
    }
}

/* True when all series have been written. */
static bool render_series(struct buf *out, struct render_state *s) {
    while (s->item < s->result->n_series && out->size < s->enough && !out->failed)
        render_row(out, s, &s->result->series[s->item]);
    return s->item == s->result->n_series;
}

/* ---- stats: Loki's tree; Grafana shows the summary, logcli the rest */

static void render_summary(struct buf *out, const struct query_stats *s) {
    double seconds = s->exec_seconds > 1e-9 ? s->exec_seconds : 1e-9;
    buf_addf(out,
             "\"summary\":{\"bytesProcessedPerSecond\":%llu,\"linesProcessedPerSecond\":%llu,"
             "\"totalBytesProcessed\":%llu,\"totalLinesProcessed\":%llu,\"execTime\":%.9f,"
             "\"queueTime\":%.9f,\"subqueries\":0,\"totalEntriesReturned\":%llu,\"splits\":0,"
             "\"shards\":0,\"totalPostFilterLines\":%llu,"
             "\"totalStructuredMetadataBytesProcessed\":%llu}",
             (unsigned long long)((double)s->bytes_processed / seconds),
             (unsigned long long)((double)s->lines_processed / seconds),
             (unsigned long long)s->bytes_processed, (unsigned long long)s->lines_processed,
             s->exec_seconds, s->queue_seconds, (unsigned long long)s->entries_returned,
             (unsigned long long)s->lines_matched, (unsigned long long)s->meta_bytes_processed);
}

static void render_store(struct buf *out, const struct query_stats *s, bool memory) {
    static const struct query_stats none;
    const struct query_stats *disk = memory ? &none : s;
    buf_addf(out,
             "\"store\":{\"totalChunksRef\":%llu,\"totalChunksDownloaded\":%llu,"
             "\"chunksDownloadTime\":0,\"queryReferencedStructuredMetadata\":false,"
             "\"chunk\":{\"headChunkBytes\":%llu,\"headChunkLines\":%llu,"
             "\"decompressedBytes\":%llu,\"decompressedLines\":%llu,\"compressedBytes\":%llu,"
             "\"totalDuplicates\":%llu,\"postFilterLines\":%llu,"
             "\"headChunkStructuredMetadataBytes\":0,\"decompressedStructuredMetadataBytes\":%llu},"
             "\"chunkRefsFetchTime\":0,\"congestionControlLatency\":0,"
             "\"pipelineWrapperFilteredLines\":0}",
             (unsigned long long)disk->chunks, (unsigned long long)disk->chunks,
             (unsigned long long)(memory ? s->memory_bytes : 0),
             (unsigned long long)(memory ? s->memory_lines : 0),
             (unsigned long long)disk->decompressed_bytes,
             (unsigned long long)(disk->lines_processed - disk->memory_lines),
             (unsigned long long)disk->compressed_bytes, (unsigned long long)disk->duplicates,
             (unsigned long long)disk->lines_matched,
             (unsigned long long)disk->meta_bytes_processed);
}

static void render_cache(struct buf *out) {
    static const char *const names[] = {
        "chunk",        "index",        "result",      "statsResult",
        "volumeResult", "seriesResult", "labelResult", "instantMetricResult",
    };
    buf_add_str(out, STR("\"cache\":{"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        buf_addf(out,
                 "%s\"%s\":{\"entriesFound\":0,\"entriesRequested\":0,\"entriesStored\":0,"
                 "\"bytesReceived\":0,\"bytesSent\":0,\"requests\":0,\"downloadTime\":0,"
                 "\"queryLengthServed\":0}",
                 i ? "," : "", names[i]);
    buf_add_char(out, '}');
}

/* What Loki does not have, and clients pass over: how the query was answered. */
static void render_plan(struct buf *out, const struct query_stats *s) {
    buf_addf(out,
             ",\"plan\":{\"blocksConsidered\":%llu,\"blocksSkippedByTime\":%llu,"
             "\"blocksSkippedByFilter\":%llu,\"blocksDecoded\":%llu,\"linesExamined\":%llu,"
             "\"linesMatched\":%llu}",
             (unsigned long long)s->blocks_considered, (unsigned long long)s->blocks_skipped_time,
             (unsigned long long)s->blocks_skipped_filter, (unsigned long long)s->blocks_decoded,
             (unsigned long long)s->lines_processed, (unsigned long long)s->lines_matched);
}

void render_stats(struct buf *out, const struct query_stats *s) {
    bool memory = s->memory_lines > 0;
    buf_add_char(out, '{');
    render_summary(out, s);
    buf_add_str(out, STR(",\"querier\":{"));
    render_store(out, s, false);
    buf_addf(out,
             ",\"querierExecTime\":0},\"ingester\":{\"totalReached\":%d,\"totalChunksMatched\":0,"
             "\"totalBatches\":%d,\"totalLinesSent\":%llu,",
             memory, memory, (unsigned long long)s->memory_lines);
    render_store(out, s, true);
    buf_add_str(out, STR(",\"recvWaitTime\":0},"));
    render_cache(out);
    buf_addf(out,
             ",\"index\":{\"totalChunks\":%llu,\"postFilterChunks\":%llu,\"shardsDuration\":0,"
             "\"usedBloomFilters\":false,\"totalStreams\":%llu,\"chunkRefsLookupTime\":0,"
             "\"bloomFilterTime\":0}",
             (unsigned long long)s->blocks_considered,
             (unsigned long long)(s->blocks_considered - s->blocks_skipped_filter),
             (unsigned long long)s->streams);
    render_plan(out, s);
    buf_add_char(out, '}');
}

/* ---- whole answers */

/* The next flag of a comma-separated list, without blanks around it. */
static struct str next_flag(struct str *flags) {
    const char *comma = memchr(flags->data, ',', flags->size);
    size_t size = comma ? (size_t)(comma - flags->data) : flags->size;
    struct str flag = str_trim(str_make(flags->data, size));
    *flags = str_from_offset(*flags, size + 1);
    return flag;
}

bool render_wants_categories(struct str flags) {
    while (flags.size > 0)
        if (str_eq(next_flag(&flags), categorize_flag))
            return true;
    return false;
}

void render_flags(struct buf *out, struct str flags) {
    buf_add_str(out, STR("\"encodingFlags\":["));
    for (bool first = true; flags.size > 0; first = false) {
        if (!first)
            buf_add_char(out, ',');
        json_write_string(out, next_flag(&flags));
    }
    buf_add_char(out, ']');
}

/* Where Loki puts them, and Grafana and logcli look for them. */
static void render_warning(struct buf *out, const struct query_stats *s) {
    struct err text;
    (void)err_set(
        &text, 0,
        "the answer is without %llu damaged parts of the stored data (first: %s); see the "
        "log of the server, and logqd verify",
        (unsigned long long)s->lost, s->lost_what);
    buf_add_str(out, STR("\"warnings\":["));
    json_write_string(out, str_from(text.text));
    buf_add_str(out, STR("],"));
}

static void render_start(struct buf *out, const struct query_result *r,
                         const struct render_options *o) {
    static const char *const types[] = {
        [RESULT_STREAMS] = "streams",
        [RESULT_MATRIX] = "matrix",
        [RESULT_VECTOR] = "vector",
        [RESULT_SCALAR] = "scalar",
    };
    buf_add_str(out, STR("{\"status\":\"success\","));
    if (r->stats.lost > 0)
        render_warning(out, &r->stats);
    buf_addf(out, "\"data\":{\"resultType\":\"%s\",", types[r->type]);
    if (r->type == RESULT_STREAMS && o->encoding_flags.size > 0) {
        render_flags(out, o->encoding_flags);
        buf_add_char(out, ',');
    }
    buf_add_str(out, STR("\"result\":"));
    if (r->type != RESULT_SCALAR)
        buf_add_char(out, '[');
}

/* The next part of an answer, until `out` has s->enough bytes; false behind the last one. */
static bool render_part(struct buf *out, struct render_state *s) {
    const struct query_result *r = s->result;
    if (!s->started)
        render_start(out, r, &s->options);
    s->started = true;
    bool all = true;
    if (r->type == RESULT_SCALAR)
        render_point(out, &r->scalar);
    else
        all = r->type == RESULT_STREAMS ? render_streams(out, s) : render_series(out, s);
    if (!all)
        return !out->failed;
    buf_add_str(out, r->type == RESULT_SCALAR ? STR(",\"stats\":") : STR("],\"stats\":"));
    render_stats(out, &r->stats);
    buf_add_str(out, STR("}}\n"));
    return false;
}

void render_query_result(struct buf *out, const struct query_result *r,
                         const struct render_options *o) {
    struct render_state s = {.result = r, .options = *o, .enough = SIZE_MAX};
    (void)render_part(out, &s);
    grouping_done(&s.grouping);
}

/* ---- answers in parts */

struct renderer {
    struct query_result *result;
    struct render_state state;
};

struct renderer *renderer_new(struct query_result *r, const struct render_options *o) {
    struct renderer *n = calloc(1, sizeof(*n));
    struct str flags = arena_copy(&r->arena, o->encoding_flags);
    if (!n || (o->encoding_flags.size > 0 && !flags.data)) {
        free(n);
        return NULL;
    }
    n->result = r;
    n->state = (struct render_state){.result = r, .options = *o};
    n->state.options.encoding_flags = flags;
    return n;
}

bool renderer_next(void *renderer, struct buf *out) {
    struct renderer *n = renderer;
    n->state.enough = out->size + PART_BYTES;
    return render_part(out, &n->state);
}

void renderer_free(void *renderer) {
    struct renderer *n = renderer;
    if (!n)
        return;
    grouping_done(&n->state.grouping);
    query_result_free(n->result);
    free(n);
}

size_t renderer_held_bytes(const struct renderer *r) {
    return r->result->arena.total_bytes;
}
