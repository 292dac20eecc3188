#include "scan.h"

#include <assert.h>
#include <stdlib.h>

#include "bytes.h"
#include "finder.h"
#include "linetab.h"
#include "sift.h"

int scanner_init(struct scanner *s, const struct plan *plan, struct err *reterr) {
    *s = (struct scanner){.plan = plan};
    s->reader = block_reader_new();
    s->run = pipeline_run_new(plan->pipeline);
    return s->reader && s->run ? 0 : exec_no_memory(reterr);
}

void scanner_done(struct scanner *s) {
    free(s->levels);
    free(s->other_levels);
    free(s->wanted);
    free(s->meta);
    free(s->columns);
    pipeline_run_free(s->run);
    block_reader_free(s->reader);
}

/* First entry whose time is >= t. */
static uint32_t lower_bound(const int64_t *times, uint32_t count, int64_t t) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (times[middle] < t)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int scan_begin(struct scanner *s, const struct plan_task *task, struct err *reterr) {
    const struct plan *p = s->plan;
    const struct snap_stream *stream = &p->streams[task->stream];
    int64_t low = stream->visible_from_ns > p->start_ns ? stream->visible_from_ns : p->start_ns;
    int64_t high = p->end_ns;
    s->stats.blocks_considered++;
    if (task->last_ns < low || task->first_ns > high) {
        s->stats.blocks_skipped_time++;
        return 0;
    }
    if (!plan_may_contain(p, task)) {
        s->stats.blocks_skipped_filter++;
        return 0;
    }
    if (p->shares_blocks && s->n_shared++ <= SCAN_SHARED_MAX)
        block_reader_share(s->reader, s->n_shared > SCAN_SHARED_MAX ? SHARE_NOT
                                      : s->twice                    ? SHARE_TWICE
                                                                    : SHARE);
    int r = block_reader_open(s->reader, task->block, reterr);
    if (r < 0)
        return r;
    if (p->needs_lines)
        block_reader_expect_lines(s->reader);
    s->task = task;
    block_ref_get(task->block, &s->info);
    s->from = 0;
    s->to = s->info.count;
    s->times = NULL;
    s->offsets = NULL;
    s->n_columns = 0;
    s->asked = s->loaded = false;
    s->dead = block_reader_dead(s->reader);
    if (task->first_ns < low || task->last_ns > high) {
        r = scan_narrow(s, low, high, reterr);
        if (r < 0)
            return r;
    }
    if (s->from >= s->to)
        return 0;
    s->stats.lines_processed += s->to - s->from;
    if (s->info.in_memory)
        s->stats.memory_lines += s->to - s->from;
    for (uint32_t w = s->from / 64; s->dead && w <= (s->to - 1) / 64; w++) {
        uint64_t bits = s->dead[w];
        if (w == s->from / 64)
            bits &= UINT64_MAX << (s->from & 63);
        if (w == (s->to - 1) / 64)
            bits &= UINT64_MAX >> (63 - ((s->to - 1) & 63));
        s->stats.duplicates += (uint64_t)__builtin_popcountll(bits);
    }
    return 1;
}

int scan_times(struct scanner *s, struct err *reterr) {
    return s->times ? 0 : block_reader_times(s->reader, &s->times, reterr);
}

int scan_narrow(struct scanner *s, int64_t low_ns, int64_t high_ns, struct err *reterr) {
    int r = scan_times(s, reterr);
    if (r < 0)
        return r;
    uint32_t from = lower_bound(s->times, s->info.count, low_ns);
    uint32_t to =
        high_ns == INT64_MAX ? s->info.count : lower_bound(s->times, s->info.count, high_ns + 1);
    s->from = from > s->from ? from : s->from;
    s->to = to < s->to ? to : s->to;
    return 0;
}

int scan_offsets(struct scanner *s, struct err *reterr) {
    return s->offsets ? 0 : block_reader_offsets(s->reader, &s->offsets, reterr);
}

static int reserve_columns(struct scanner *s, size_t count, struct err *reterr) {
    if (count <= s->columns_capacity)
        return 0;
    struct meta_column *columns = realloc(s->columns, count * sizeof(*columns));
    if (!columns)
        return exec_no_memory(reterr);
    s->columns = columns;
    struct label *meta = realloc(s->meta, count * sizeof(*meta));
    if (!meta)
        return exec_no_memory(reterr);
    s->meta = meta;
    s->columns_capacity = count;
    return 0;
}

int scan_columns(struct scanner *s, struct err *reterr) {
    const struct plan *p = s->plan;
    s->n_columns = 0;
    if (!p->needs_meta)
        return 0;
    s->stats.meta_bytes_processed += s->info.meta_bytes;
    if (!p->meta_limited) {
        const struct meta_column *columns;
        size_t count;
        int r = block_reader_meta(s->reader, &columns, &count, reterr);
        if (r == 0)
            r = reserve_columns(s, count, reterr);
        if (r < 0)
            return r;
        for (size_t i = 0; i < count; i++)
            s->columns[i] = columns[i];
        s->n_columns = count;
        return 0;
    }
    int r = reserve_columns(s, p->n_meta_names, reterr);
    for (size_t i = 0; r == 0 && i < p->n_meta_names; i++) {
        const struct meta_column *column;
        r = block_reader_meta_column(s->reader, p->meta_names[i], &column, reterr);
        if (r == 0 && column)
            s->columns[s->n_columns++] = *column;
    }
    return r;
}

size_t scan_meta(struct scanner *s, uint32_t entry) {
    size_t count = 0;
    for (size_t i = 0; i < s->n_columns; i++) {
        const struct meta_column *c = &s->columns[i];
        uint32_t id = c->ids[entry];
        if (id > 0)
            s->meta[count++] = (struct label){.name = c->name, .value = c->values[id - 1]};
    }
    return count;
}

void scan_enter_stream(struct scanner *s) {
    const struct snap_stream *stream = &s->plan->streams[s->task->stream];
    if (s->stream == stream)
        return;
    s->stream = stream;
    pipeline_run_stream(s->run, stream->labels);
}

/* The entry in [from, to) whose line holds byte `at`: galloping, because the next hit is mostly near. */
static uint32_t entry_at(const uint32_t *offsets, uint32_t from, uint32_t to, uint32_t at) {
    uint32_t reach = 1;
    uint32_t low = from;
    while (low + reach < to && offsets[low + reach] <= at) {
        low += reach;
        reach *= 2;
    }
    uint32_t high = low + reach < to ? low + reach : to;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (offsets[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Marks the entries in [from, to) whose line contains the needle, counted from `from`. */
static void mark_hits(const struct finder *finder, const uint32_t *offsets, struct str lines,
                      uint32_t from, uint32_t to, uint64_t *marks) {
    uint32_t base = from;
    uint32_t end = offsets[to];
    uint32_t at = offsets[from];
    while (from < to && at < end) {
        const char *hit = finder_find(finder, str_make(lines.data + at, end - at));
        if (!hit)
            return;
        uint32_t place = (uint32_t)(hit - lines.data);
        uint32_t entry = entry_at(offsets, from, to, place);
        if (place + finder->needle.size > offsets[entry + 1] - 1) {
            /* Across the separator: no line has it here. */
            from = entry;
            at = place + 1;
            continue;
        }
        marks[(entry - base) / 64] |= UINT64_C(1) << ((entry - base) % 64);
        from = entry + 1;
        at = offsets[from];
    }
}

/* Living entries in [from, to) whose line contains what the plan searches for, into s->hits. */
static uint32_t find_hits(struct scanner *s, uint32_t from, uint32_t to) {
    uint64_t marks[SCAN_SEGMENT / 64] = {0};
    for (size_t i = 0; i < s->plan->n_search; i++)
        mark_hits(&s->plan->search[i], s->places, s->lines, from, to, marks);
    uint32_t count = 0;
    for (uint32_t w = 0; w < SCAN_SEGMENT / 64; w++) {
        for (uint64_t bits = marks[w]; bits; bits &= bits - 1) {
            uint32_t entry = from + w * 64 + (uint32_t)__builtin_ctzll(bits);
            if (!dead_test(s->dead, entry))
                s->hits[count++] = entry;
        }
    }
    return count;
}

/* As find_hits, for a block that was sifted. */
static uint32_t sifted_hits(struct scanner *s, uint32_t from, uint32_t to) {
    uint32_t count = 0;
    for (uint32_t i = from; i < to; i++) {
        while (to - i >= 8 && get_le64(s->levels + i) == 0)
            i += 8;
        if (i < to && s->levels[i] != LINETAB_NO && !dead_test(s->dead, i))
            s->hits[count++] = i;
    }
    return count;
}

static uint32_t all_living(struct scanner *s, uint32_t from, uint32_t to) {
    uint32_t count = 0;
    for (uint32_t i = from; i < to; i++)
        if (!dead_test(s->dead, i))
            s->hits[count++] = i;
    return count;
}

/* The line's fields. Sets s->combination when a line with the same has had or will have the same answer. */
static void read_fields(struct scanner *s, uint32_t entry, struct linetab_value *fields,
                        struct pipeline_line *ret) {
    if (s->plan->same_for_same_fields && s->n_columns == 0)
        s->combination = block_reader_fields_combination(s->reader, entry);
    if (s->combination != LINETAB_UNWANTED && s->answers[s->combination] != SCAN_UNKNOWN)
        return; /* nobody looks at them */
    ret->fields = fields;
    ret->n_fields = block_reader_fields(s->reader, entry, fields);
}

/* What the pipeline says of the line. */
static bool line_passes(struct scanner *s, const struct pipeline_line *in,
                        struct pipeline_output *ret) {
    bool remembers = s->combination != LINETAB_UNWANTED;
    if (remembers && s->answers[s->combination] != SCAN_UNKNOWN) {
        *ret = (struct pipeline_output){0};
        return s->answers[s->combination] == SCAN_PASSES;
    }
    bool passes = pipeline_run_line(s->run, in, ret);
    if (remembers && !passes)
        s->answers[s->combination] = SCAN_DROPPED;
    return passes;
}

static int run_hits(struct scanner *s, uint32_t count, scan_fn *fn, void *ctx, struct err *reterr) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t entry = s->hits[s->plan->backward ? count - 1 - i : i];
        struct pipeline_line in = {.ts_ns = s->times[entry], .meta = s->meta};
        struct linetab_value fields[LINETAB_FIELDS_MAX];
        s->combination = LINETAB_UNWANTED;
        if (sift_takes_fields(s, entry)) {
            read_fields(s, entry, fields, &in);
        } else if (s->sifted && s->plan->clauses_decide && s->levels[entry] == LINETAB_YES) {
            in.decided = true;
        } else if (s->plan->needs_lines && s->lines.data) {
            in.line = str_make(s->lines.data + s->places[entry],
                               s->places[entry + 1] - 1 - s->places[entry]);
        }
        in.meta_count = scan_meta(s, entry);
        struct pipeline_output out;
        if (!line_passes(s, &in, &out))
            continue;
        s->stats.lines_matched++;
        int r = fn(ctx, s, entry, in.ts_ns, &out, reterr);
        if (r != 0)
            return r;
    }
    return 0;
}

/* Line bytes that are decoded or searched count against the query's budget. */
static void account_lines(struct scanner *s) {
    s->stats.blocks_decoded++;
    s->stats.bytes_processed += s->info.line_bytes;
    if (s->info.in_memory)
        s->stats.memory_bytes += s->info.line_bytes;
    s->stats.compressed_bytes += s->info.stored_bytes;
    s->stats.decompressed_bytes += s->info.line_bytes;
    atomic_fetch_add_explicit(&s->plan->exec->bytes_read, s->info.line_bytes, memory_order_relaxed);
}

static int load_lines(struct scanner *s, struct err *reterr) {
    if (s->loaded)
        return 0;
    s->loaded = true;
    s->sifted = s->has_fields = false;
    s->lines = (struct str){0};
    account_lines(s);
    if (sift_is_worth(s)) {
        int r = sift_block(s, &s->lines, reterr);
        s->sifted = r > 0;
        s->n_sifts++;
        s->n_sifted += r > 0;
        if (r != 0)
            return r < 0 ? r : 0;
    }
    if (sift_takes_part(s))
        return sift_part(s, &s->lines, reterr);
    int r = scan_offsets(s, reterr);
    s->places = s->offsets;
    return r < 0 ? r : block_reader_lines(s->reader, &s->lines, reterr);
}

static_assert(LINETAB_NO == 0 && LINETAB_MAYBE == 1 && LINETAB_YES == 2, "levels are bits");

/* Is no level between yes and no? Dead entries do not matter, but are few. */
static bool all_certain(const struct scanner *s) {
    uint64_t all = 0;
    uint32_t i = s->from;
    for (; s->to - i >= 8; i += 8)
        all |= get_le64(s->levels + i);
    for (; i < s->to; i++)
        all |= s->levels[i];
    return (all & UINT64_C(0x0101010101010101)) == 0;
}

int scan_tell(struct scanner *s, const uint8_t **ret, struct err *reterr) {
    const struct plan *p = s->plan;
    if ((!p->clauses_tell && !p->labels_tell) || !block_reader_keeps(s->reader))
        return 0;
    int r = 0;
    if (p->n_clauses == 0 && !p->search) {
        r = block_reader_is_table(s->reader, reterr);
        *ret = NULL;
    } else if (sift_is_worth(s)) {
        r = sift_ask(s, reterr);
        if (r > 0)
            r = all_certain(s);
        s->n_sifts += r > 0;
        s->n_sifted += r > 0;
        *ret = s->levels;
    }
    if (r > 0)
        account_lines(s);
    return r;
}

bool scan_labels_pass(struct scanner *s, uint32_t entry) {
    struct pipeline_line in = {.ts_ns = s->times[entry], .meta = s->meta, .decided = true};
    struct pipeline_output out;
    in.meta_count = scan_meta(s, entry);
    scan_enter_stream(s);
    return pipeline_run_line(s->run, &in, &out);
}

void scan_leave(struct scanner *s) {
    block_reader_leave(s->reader);
}

int scan_chosen(struct scanner *s, const struct plan_task *task, const struct scan_chosen *chosen,
                scan_fn *fn, void *ctx, struct err *reterr) {
    block_reader_share(s->reader, SHARE);
    int r = block_reader_open(s->reader, task->block, reterr);
    if (r < 0)
        return r;
    block_reader_expect_lines(s->reader);
    s->task = task;
    block_ref_get(task->block, &s->info);
    s->times = NULL;
    s->n_columns = 0;
    scan_enter_stream(s);
    r = sift_chosen(s, chosen->entries, chosen->count, &s->lines, reterr);
    uint64_t meta_bytes = s->stats.meta_bytes_processed;
    if (r == 0)
        r = scan_columns(s, reterr);
    s->stats.meta_bytes_processed = meta_bytes;
    for (uint32_t i = 0; r == 0 && i < chosen->count; i++) {
        uint32_t entry = chosen->entries[i];
        struct pipeline_line in = {.ts_ns = chosen->times[i], .meta = s->meta};
        in.line =
            str_make(s->lines.data + s->places[entry], s->places[entry + 1] - 1 - s->places[entry]);
        in.meta_count = scan_meta(s, entry);
        struct pipeline_output out;
        if (!pipeline_run_line(s->run, &in, &out))
            continue;
        s->stats.lines_matched++;
        r = fn(ctx, s, entry, in.ts_ns, &out, reterr);
    }
    return r < 0 ? r : 0;
}

int scan_decide(struct scanner *s, struct err *reterr) {
    int r = load_lines(s, reterr);
    if (r < 0 || !s->sifted)
        return r;
    for (uint32_t i = s->from; i < s->to; i++)
        if (s->levels[i] == LINETAB_MAYBE)
            return 0;
    /* No line is wanted, so that the bits for wanted ones are free. */
    for (uint32_t i = s->from; i < s->to; i++) {
        bool gone = s->levels[i] == LINETAB_NO || dead_test(s->dead, i);
        s->wanted[i / 64] |= (uint64_t)gone << (i % 64);
    }
    s->dead = s->wanted;
    return 1;
}

int scan_entries(struct scanner *s, scan_fn *fn, void *ctx, struct err *reterr) {
    const struct plan *p = s->plan;
    bool columns_loaded = false;
    int loaded = p->needs_lines ? load_lines(s, reterr) : 0;
    if (loaded < 0)
        return loaded;
    scan_enter_stream(s);
    uint32_t total = s->to > s->from ? s->to - s->from : 0;
    for (uint32_t done = 0; done < total;) {
        uint32_t size = total - done < SCAN_SEGMENT ? total - done : SCAN_SEGMENT;
        uint32_t from = p->backward ? s->to - done - size : s->from + done;
        done += size;
        uint32_t count;
        if (s->sifted)
            count = sifted_hits(s, from, from + size);
        else if (p->needs_lines && p->search)
            count = find_hits(s, from, from + size);
        else
            count = all_living(s, from, from + size);
        if (count == 0)
            continue;
        /* Times and metadata wait for the first line that can pass. */
        int r = scan_times(s, reterr);
        if (r == 0 && !columns_loaded)
            r = scan_columns(s, reterr);
        if (r < 0)
            return r;
        columns_loaded = true;
        r = run_hits(s, count, fn, ctx, reterr);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    return 0;
}
