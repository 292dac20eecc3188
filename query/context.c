/* One pass over each stream: in front of its first match the entries before are asked for (newest first, as many as are
 * wanted); from there on it is read forward in pages, entries that may become context in a ring. Where the matches
 * are far apart the pass jumps to the next one.
 *
 * The engine orders entries of one time by their final labels first, which metadata is part of. "| keep" of a label
 * that nobody has leaves them all equal, and the order is that of arrival. */
#include "context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "exec.h"
#include "map.h"
#include "parser.h"
#include "units.h"

enum {
    PAGE_FIRST = 64,
    PAGE_MAX = 8192,
    SAME_TIME_MAX = 1 << 20, /* entries of one stream and time */
    SELECTOR_MAX = 256 << 10,
    CONTEXT_BYTES_MAX = 256 << 20,
};

/* How far from a match context is looked for, wider and wider. */
static const int64_t reaches_ns[] = {NS_PER_HOUR, 24 * NS_PER_HOUR, 32 * 24 * NS_PER_HOUR};
enum { REACHES = sizeof(reaches_ns) / sizeof(reaches_ns[0]) };

struct match {
    const struct result_entry *entry;
    struct labels stream;
    uint64_t hash; /* of stream */
};

struct waiting {
    int64_t ts_ns;
    struct buf line;
};

struct finder_state {
    struct engine *engine;
    struct store *store;
    const struct query *query;
    size_t before, after;
    struct context *context;
    struct err *reterr;
    /* of the present stream */
    struct labels stream;
    struct buf selector;
    struct waiting *ring; /* the last `before` entries that are not in a group */
    size_t ring_at, ring_count;
    struct context_entry *group;
    size_t n_group, group_capacity;
    size_t after_left;
    /* all */
    struct context_group *groups;
    size_t n_groups, groups_capacity;
    size_t n_entries;
};

static int no_memory(struct finder_state *f) {
    return err_set(f->reterr, -ENOMEM, "not enough memory for the context");
}

/* ---- the stream as a selector that fits no other */

static void add_matcher(struct buf *out, struct str name, struct str value) {
    buf_add_str(out, out->size > 1 ? STR(", ") : STR(""));
    buf_add_str(out, name);
    buf_add_char(out, '=');
    go_quote(out, value);
}

struct others {
    struct labels stream;
    struct map names; /* labels that other streams have besides those of this one */
    struct buf *out;
};

/* Streams that have more labels fit {a="b"}, too: the names of these must be empty. */
static int exclude_others(struct labels labels, void *ctx) {
    struct others *o = ctx;
    for (size_t i = 0; i < labels.count; i++) {
        struct str name = labels.items[i].name;
        if (labels_get(o->stream, name).data || map_get(&o->names, name))
            continue;
        if (map_put(&o->names, name, o) < 0)
            return -ENOMEM;
        add_matcher(o->out, name, STR(""));
    }
    return 0;
}

static int make_selector(struct finder_state *f) {
    struct parsed_query *parsed = NULL;
    buf_clear(&f->selector);
    buf_add_char(&f->selector, '{');
    for (size_t i = 0; i < f->stream.count; i++)
        add_matcher(&f->selector, f->stream.items[i].name, f->stream.items[i].value);
    struct buf closed = buf_make(SELECTOR_MAX);
    buf_add_str(&closed, buf_str(&f->selector));
    buf_add_char(&closed, '}');
    int r = closed.failed ? -ENOMEM : selector_parse(buf_str(&closed), true, &parsed, f->reterr);
    if (r == 0) {
        struct others others = {.stream = f->stream, .names = map_make(), .out = &f->selector};
        const struct select sel = {
            .tenant = f->query->tenant,
            .matchers = parsed_query_expr(parsed)->log.matchers,
            .n_matchers = parsed_query_expr(parsed)->log.n_matchers,
            .start_ns = INT64_MIN,
            .end_ns = INT64_MAX,
        };
        r = store_series(f->store, &sel, exclude_others, &others, f->reterr);
        map_done(&others.names);
    }
    parsed_query_free(parsed);
    buf_done(&closed);
    buf_add_str(&f->selector, STR("} | keep __nobody_has_this__"));
    return r == 0 && f->selector.failed ? no_memory(f) : r;
}

static int ask(struct finder_state *f, int64_t start_ns, int64_t end_ns, size_t limit,
               enum query_direction direction, struct query_result **ret) {
    struct query q = *f->query;
    q.text = buf_str(&f->selector);
    q.start_ns = start_ns;
    q.end_ns = end_ns;
    q.limit = (uint32_t)limit;
    q.direction = direction;
    q.interval_ns = 0;
    q.tap = NULL;
    return engine_query(f->engine, &q, ret, f->reterr);
}

/* ---- groups */

static int keep(struct finder_state *f, int64_t ts_ns, struct str line, bool is_match,
                struct context_entry *ret) {
    struct str copy = arena_copy(&f->context->arena, line);
    if (!copy.data)
        return err_set(f->reterr, -EREFUSED,
                       "the context is larger than %d MiB: ask for fewer lines",
                       CONTEXT_BYTES_MAX >> 20);
    *ret = (struct context_entry){.ts_ns = ts_ns, .line = copy, .is_match = is_match};
    return 0;
}

static int add_to_group(struct finder_state *f, int64_t ts_ns, struct str line, bool is_match) {
    struct context_entry entry = {0};
    int r = keep(f, ts_ns, line, is_match, &entry);
    if (r < 0)
        return r;
    if (f->n_entries++ >= CONTEXT_ENTRIES_MAX)
        return err_set(f->reterr, -EREFUSED, "the context has more than %d lines: ask for fewer",
                       CONTEXT_ENTRIES_MAX);
    if (f->n_group == f->group_capacity) {
        size_t capacity = f->group_capacity ? f->group_capacity * 2 : 64;
        struct context_entry *group = realloc(f->group, capacity * sizeof(*group));
        if (!group)
            return no_memory(f);
        f->group = group;
        f->group_capacity = capacity;
    }
    f->group[f->n_group++] = entry;
    return 0;
}

static int end_group(struct finder_state *f) {
    if (f->n_group == 0)
        return 0;
    struct context_entry *entries = arena_array(&f->context->arena, f->n_group, sizeof(*entries));
    if (f->n_groups == f->groups_capacity) {
        size_t capacity = f->groups_capacity ? f->groups_capacity * 2 : 64;
        struct context_group *groups = realloc(f->groups, capacity * sizeof(*groups));
        if (!groups)
            return no_memory(f);
        f->groups = groups;
        f->groups_capacity = capacity;
    }
    if (!entries)
        return no_memory(f);
    memcpy(entries, f->group, f->n_group * sizeof(*entries));
    f->groups[f->n_groups++] =
        (struct context_group){.stream = f->stream, .entries = entries, .n_entries = f->n_group};
    f->n_group = 0;
    return 0;
}

/* An entry that is neither a match nor behind one: it may come before the next. What falls out of the ring parts two
 * groups. */
static int wait_in_ring(struct finder_state *f, const struct result_entry *e) {
    if (f->ring_count == f->before) {
        int r = end_group(f);
        if (r < 0 || f->before == 0)
            return r;
        f->ring_at = (f->ring_at + 1) % f->before;
        f->ring_count--;
    }
    struct waiting *w = &f->ring[(f->ring_at + f->ring_count++) % f->before];
    w->ts_ns = e->ts_ns;
    buf_clear(&w->line);
    buf_add_str(&w->line, e->line);
    return w->line.failed ? no_memory(f) : 0;
}

static int empty_ring(struct finder_state *f) {
    int r = 0;
    for (; f->ring_count > 0 && r == 0; f->ring_count--) {
        const struct waiting *w = &f->ring[f->ring_at];
        r = add_to_group(f, w->ts_ns, buf_str(&w->line), false);
        f->ring_at = (f->ring_at + 1) % f->before;
    }
    return r;
}

static int take_entry(struct finder_state *f, const struct result_entry *e, bool is_match) {
    int r = is_match ? empty_ring(f) : 0;
    if (r < 0)
        return r;
    if (!is_match && f->after_left == 0)
        return wait_in_ring(f, e);
    f->after_left = is_match ? f->after : f->after_left - 1;
    return add_to_group(f, e->ts_ns, e->line, is_match);
}

/* ---- one stream */

/* Fills the ring with what comes before the time of a match. A range ends before its end. */
static int look_back(struct finder_state *f, int64_t ts_ns) {
    f->ring_at = f->ring_count = 0;
    f->after_left = 0;
    int r = end_group(f);
    for (size_t i = 0; i < REACHES && f->before > 0 && r == 0; i++) {
        struct query_result *found = NULL;
        r = ask(f, time_sub(ts_ns, reaches_ns[i]), ts_ns, f->before, DIR_BACKWARD, &found);
        if (r < 0)
            return r;
        bool enough = found->n_entries == f->before || i + 1 == REACHES;
        for (size_t k = found->n_entries; k > 0 && enough && r == 0; k--)
            r = take_entry(f, &found->entries[k - 1], false);
        query_result_free(found);
        if (enough)
            break;
    }
    return r;
}

struct pass {
    struct match *matches;
    size_t count, next; /* matches */
    int64_t from_ns;    /* the next page begins with this time, */
    size_t skip;        /* of which so many entries have been seen */
    size_t page;
    size_t reach;
};

/* Is it one of the matches that are next? Those of one time stand in the order of their labels, and entries come in
 * that of arrival. Matches that were deleted meanwhile are passed over. */
static bool is_match(struct pass *p, const struct result_entry *e) {
    while (p->next < p->count && p->matches[p->next].entry->ts_ns < e->ts_ns)
        p->next++;
    for (size_t i = p->next; i < p->count && p->matches[i].entry->ts_ns == e->ts_ns; i++) {
        if (!str_eq(p->matches[i].entry->line, e->line))
            continue;
        struct match found = p->matches[i];
        p->matches[i] = p->matches[p->next];
        p->matches[p->next++] = found;
        return true;
    }
    return false;
}

/* Takes the entries of a page. True when it held a match. */
static int take_page(struct finder_state *f, struct pass *p, const struct query_result *page,
                     bool *ret_matched) {
    size_t skipped = 0;
    int r = 0;
    *ret_matched = false;
    for (size_t i = 0; i < page->n_entries && r == 0; i++) {
        const struct result_entry *e = &page->entries[i];
        if (e->ts_ns == p->from_ns && skipped < p->skip) {
            skipped++;
            continue;
        }
        bool match = is_match(p, e);
        *ret_matched = *ret_matched || match;
        r = take_entry(f, e, match);
        if (p->next == p->count && f->after_left == 0)
            break;
    }
    if (page->n_entries > 0) {
        int64_t last_ns = page->entries[page->n_entries - 1].ts_ns;
        size_t at_last = 0;
        while (at_last < page->n_entries &&
               page->entries[page->n_entries - 1 - at_last].ts_ns == last_ns)
            at_last++;
        p->from_ns = last_ns;
        p->skip = at_last;
    }
    return r;
}

/* Reads on. 1 when the pass is over or must jump to the next match. */
static int read_on(struct finder_state *f, struct pass *p) {
    struct query_result *page = NULL;
    size_t limit = p->page + p->skip;
    bool matched = false;
    int r =
        ask(f, p->from_ns, time_add(p->from_ns, reaches_ns[p->reach]), limit, DIR_FORWARD, &page);
    if (r < 0)
        return r;
    bool full = page->n_entries >= limit, fresh = page->n_entries > p->skip;
    r = take_page(f, p, page, &matched);
    query_result_free(page);
    if (r < 0)
        return r;
    if (p->next == p->count && f->after_left == 0)
        return 1;
    if (full) {
        if (limit > SAME_TIME_MAX)
            return err_set(f->reterr, -EREFUSED, "more than %d entries of a stream have one time",
                           SAME_TIME_MAX);
        p->page = p->page * 2 < PAGE_MAX ? p->page * 2 : PAGE_MAX;
        p->reach = 0;
        return !matched && f->after_left == 0; /* far from the next match: jump */
    }
    if (f->after_left > 0 && p->reach + 1 < REACHES) {
        p->reach = fresh ? 0 : p->reach + 1;
        return 0;
    }
    f->after_left = 0;
    return 1;
}

static int walk_stream(struct finder_state *f, struct match *matches, size_t count) {
    struct pass p = {.matches = matches, .count = count};
    f->stream = matches[0].stream;
    f->ring_at = f->ring_count = f->after_left = 0;
    int r = make_selector(f);
    while (r == 0 && p.next < p.count) {
        size_t before = p.next;
        int64_t ts_ns = p.matches[p.next].entry->ts_ns;
        r = look_back(f, ts_ns);
        p.from_ns = ts_ns;
        p.skip = p.reach = 0;
        p.page = PAGE_FIRST + 2 * (f->before + f->after);
        while (r == 0)
            r = read_on(f, &p);
        r = r == 1 ? 0 : r;
        p.next += p.next == before; /* it has been deleted meanwhile */
    }
    return r == 0 ? end_group(f) : r;
}

/* ---- all streams */

static int by_stream(const void *a, const void *b) {
    const struct match *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    if (x->entry->ts_ns != y->entry->ts_ns)
        return x->entry->ts_ns < y->entry->ts_ns ? -1 : 1;
    return 0;
}

static int by_first(const void *a, const void *b) {
    const struct context_group *x = a, *y = b;
    int64_t p = x->entries[0].ts_ns, q = y->entries[0].ts_ns;
    if (p != q)
        return p < q ? -1 : 1;
    uint64_t h = labels_hash(x->stream), k = labels_hash(y->stream);
    return (h > k) - (h < k);
}

static int check_stages(const struct query *q, struct err *reterr) {
    struct parsed_query *parsed = NULL;
    int r = query_parse(q->text, &parsed, reterr);
    if (r < 0)
        return r;
    const struct expr *e = parsed_query_expr(parsed);
    if (e->kind != EXPR_LOG)
        r = err_set(reterr, -ESYNTAX, "context is for log queries");
    for (const struct stage *s = r == 0 ? e->log.stages : NULL; s && r == 0; s = s->next)
        if (s->kind == STAGE_LABEL_FORMAT || s->kind == STAGE_DROP || s->kind == STAGE_KEEP ||
            s->kind == STAGE_LINE_FORMAT || s->kind == STAGE_DECOLORIZE || s->kind == STAGE_UNPACK)
            r = err_set(reterr, -ESYNTAX,
                        "context needs lines and labels as they are stored: leave label_format, "
                        "line_format, decolorize, unpack, drop and keep out of the query");
    parsed_query_free(parsed);
    return r;
}

int context_find(struct engine *e, struct store *store, const struct query *q,
                 const struct query_result *found, size_t before, size_t after,
                 struct context **ret, struct err *reterr) {
    int r = check_stages(q, reterr);
    if (r < 0)
        return r;
    struct context *c = calloc(1, sizeof(*c));
    struct match *matches = calloc(found->n_entries + 1, sizeof(*matches));
    struct finder_state f = {
        .engine = e,
        .store = store,
        .query = q,
        .before = before,
        .after = after,
        .context = c,
        .reterr = reterr,
        .selector = buf_make(SELECTOR_MAX),
        .ring = calloc(before + 1, sizeof(*f.ring)),
    };
    if (!c || !matches || !f.ring) {
        r = no_memory(&f);
        goto out;
    }
    if (memchr(q->tenant.data, '|', q->tenant.size)) {
        r = err_set(reterr, -ESYNTAX, "context is for queries of one tenant");
        goto out;
    }
    c->arena = arena_make(CONTEXT_BYTES_MAX);
    for (size_t i = 0; i <= before; i++)
        f.ring[i].line = buf_make(BUF_NO_MAX);
    for (size_t i = 0; i < found->n_entries; i++) {
        struct labels stream = found->sets[found->entries[i].set].stream;
        matches[i] = (struct match){&found->entries[i], stream, labels_hash(stream)};
    }
    if (found->n_entries > 1)
        qsort(matches, found->n_entries, sizeof(*matches), by_stream);
    for (size_t i = 0; i < found->n_entries && r == 0;) {
        size_t count = 1;
        while (i + count < found->n_entries && matches[i + count].hash == matches[i].hash)
            count++;
        r = walk_stream(&f, &matches[i], count);
        i += count;
    }
    for (size_t i = 0; i < f.n_groups && r == 0; i++)
        if (exec_copy_labels(&c->arena, f.groups[i].stream, &f.groups[i].stream) < 0)
            r = no_memory(&f);
    struct context_group *groups =
        r == 0 ? arena_array(&c->arena, f.n_groups + 1, sizeof(*groups)) : NULL;
    if (r == 0 && !groups)
        r = no_memory(&f);
    if (r == 0) {
        if (f.n_groups > 0)
            memcpy(groups, f.groups, f.n_groups * sizeof(*groups));
        if (f.n_groups > 1)
            qsort(groups, f.n_groups, sizeof(*groups), by_first);
        c->groups = groups;
        c->n_groups = f.n_groups;
    }
out:
    buf_done(&f.selector);
    for (size_t i = 0; f.ring && i <= before; i++)
        buf_done(&f.ring[i].line);
    free(f.ring);
    free(f.group);
    free(f.groups);
    free(matches);
    if (r < 0)
        context_free(c);
    else
        *ret = c;
    return r;
}

void context_free(struct context *c) {
    if (!c)
        return;
    arena_done(&c->arena);
    free(c);
}
