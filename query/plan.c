#include "plan.h"

#include <errno.h>
#include <stdlib.h>

#include "regex.h"

enum {
    CHOICE_MAX = 64
}; /* more alternatives would hardly exclude a block, and each costs a look */

/* With Go's (?i), k and s also match U+212A and U+017F, and letters above ASCII have cases of their own: such
 * bytes of a needle cannot be searched for byte by byte. The longest stretch without them can. */
static struct str foldable_part(struct str needle) {
    struct str best = {0};
    size_t from = 0;
    for (size_t i = 0; i <= needle.size; i++) {
        bool breaks = i == needle.size;
        if (!breaks) {
            unsigned char c = (unsigned char)needle.data[i];
            unsigned char low = (unsigned char)(c | 0x20);
            breaks = c >= 0x80 || low == 'k' || low == 's';
        }
        if (!breaks)
            continue;
        if (i - from > best.size)
            best = str_make(needle.data + from, i - from);
        from = i + 1;
    }
    return best;
}

static int plan_needles(struct plan *p, struct err *reterr) {
    const struct needle *needles;
    size_t count = pipeline_needles(p->pipeline, &needles);
    if (count == 0)
        return 0;
    p->needles = arena_array(&p->exec->arena, count, sizeof(*p->needles));
    if (!p->needles)
        return exec_no_memory(reterr);
    for (size_t i = 0; i < count; i++) {
        struct plan_needle *n = &p->needles[p->n_needles++];
        gram_query_init(&n->grams, needles[i].text, needles[i].fold);
        bool fold = needles[i].fold;
        struct str text = fold ? foldable_part(needles[i].text) : needles[i].text;
        n->finder = finder_make(text, fold);
        /* The longest is most likely the rarest; an exact one beats a folded one of its size. */
        const struct finder *best = p->search ? &p->search->finder : NULL;
        if (text.size > 0 && (!best || text.size > best->needle.size ||
                              (text.size == best->needle.size && best->fold && !fold)))
            p->search = n;
    }
    return 0;
}

/* The line reaches a filter as it was stored as long as no stage before it makes another line. */
static bool makes_line(const struct stage *s) {
    return s->kind == STAGE_LINE_FORMAT || s->kind == STAGE_UNPACK || s->kind == STAGE_DECOLORIZE;
}

/* The alternatives of one line filter as gram queries; an alternative that the filter cannot judge spoils the
 * whole choice. */
static int choice_of(struct plan *p, const struct stage *s, struct plan_choice *ret) {
    struct arena *arena = &p->exec->arena;
    const struct line_operand *first = s->line_filter.operands;
    size_t max = 0;
    *ret = (struct plan_choice){0};
    for (const struct line_operand *o = first; o; o = o->next)
        max += o->ip ? CHOICE_MAX + 1 : 1;
    struct regex_facts facts = {0};
    if (s->line_filter.op == LINE_MATCHES && first && !first->next) {
        regex_analyze(first->text, false, arena, &facts);
        max = facts.n_any_of;
    } else if (s->line_filter.op != LINE_CONTAINS || max < 2) {
        return 0; /* one literal is a needle already */
    }
    if (max == 0 || max > CHOICE_MAX)
        return 0;
    struct gram_query *grams = arena_array(arena, max, sizeof(*grams));
    if (!grams)
        return -ENOMEM;
    const struct line_operand *o = first;
    for (size_t i = 0; i < max; i++, o = o->next ? o->next : o) {
        struct str text = facts.n_any_of ? facts.any_of[i] : o->text;
        gram_query_init(&grams[i], text, facts.n_any_of && facts.fold_case);
        if (grams[i].count == 0)
            return 0;
    }
    *ret = (struct plan_choice){.grams = grams, .count = max};
    return 0;
}

static int plan_choices(struct plan *p, const struct stage *stages, struct err *reterr) {
    size_t n_stages = 0;
    for (const struct stage *s = stages; s; s = s->next)
        n_stages++;
    p->choices = arena_array(&p->exec->arena, n_stages, sizeof(*p->choices));
    if (!p->choices)
        return exec_no_memory(reterr);
    for (const struct stage *s = stages; s && !makes_line(s); s = s->next) {
        struct plan_choice choice = {0};
        if (s->kind == STAGE_LINE_FILTER && choice_of(p, s, &choice) < 0)
            return exec_no_memory(reterr);
        if (choice.count > 0)
            p->choices[p->n_choices++] = choice;
    }
    return 0;
}

static int compare_str(const void *a, const void *b) {
    const struct str *x = a, *y = b;
    return str_cmp(*x, *y);
}

static int plan_columns(struct plan *p, bool shows_lines, struct err *reterr) {
    p->needs_lines = shows_lines || pipeline_needs_line(p->pipeline);
    p->needs_meta = pipeline_needs_meta(p->pipeline);
    const struct str *names;
    size_t count;
    p->meta_limited = pipeline_meta_names(p->pipeline, &names, &count);
    if (!p->meta_limited || count == 0)
        return 0;
    p->meta_names = arena_array(&p->exec->arena, count, sizeof(*p->meta_names));
    if (!p->meta_names)
        return exec_no_memory(reterr);
    for (size_t i = 0; i < count; i++)
        p->meta_names[i] = names[i];
    qsort(p->meta_names, count, sizeof(*p->meta_names), compare_str);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || !str_eq(p->meta_names[i], p->meta_names[p->n_meta_names - 1]))
            p->meta_names[p->n_meta_names++] = p->meta_names[i];
    return 0;
}

/* Places do not matter for the answer, only for which blocks are read first. */
static int compare_oldest(const void *a, const void *b) {
    const struct plan_task *x = a, *y = b;
    if (x->first_ns != y->first_ns)
        return x->first_ns < y->first_ns ? -1 : 1;
    if (x->stream != y->stream)
        return x->stream < y->stream ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static int compare_newest(const void *a, const void *b) {
    const struct plan_task *x = a, *y = b;
    if (x->last_ns != y->last_ns)
        return x->last_ns > y->last_ns ? -1 : 1;
    if (x->stream != y->stream)
        return x->stream < y->stream ? -1 : 1;
    return (x->order < y->order) - (x->order > y->order);
}

static int plan_tasks(struct plan *p, enum plan_order order, struct err *reterr) {
    size_t n_blocks = 0;
    for (size_t i = 0; i < p->n_streams; i++)
        n_blocks += p->streams[i].n_blocks;
    if (n_blocks == 0)
        return 0;
    p->tasks = arena_array(&p->exec->arena, n_blocks, sizeof(*p->tasks));
    if (!p->tasks)
        return exec_no_memory(reterr);
    for (size_t i = 0; i < p->n_streams; i++) {
        const struct snap_stream *s = &p->streams[i];
        for (size_t j = 0; j < s->n_blocks; j++) {
            struct block_ref_info info;
            block_ref_get(s->blocks[j], &info);
            p->tasks[p->n_tasks++] = (struct plan_task){
                .block = s->blocks[j],
                .stream = (uint32_t)i,
                .order = info.order,
                .first_ns = info.first_ns,
                .last_ns = info.last_ns,
            };
        }
    }
    if (order != PLAN_BY_STREAM)
        qsort(p->tasks, p->n_tasks, sizeof(*p->tasks),
              order == PLAN_NEWEST_FIRST ? compare_newest : compare_oldest);
    return 0;
}

int plan_make(struct exec *x, const struct plan_options *o, struct plan *ret, struct err *reterr) {
    *ret = (struct plan){
        .exec = x,
        .start_ns = o->start_ns,
        .end_ns = o->end_ns,
        .backward = o->order == PLAN_NEWEST_FIRST,
    };
    int r = pipeline_compile(o->log->stages, &o->pipeline, &ret->pipeline, reterr);
    if (r < 0)
        goto out;
    r = plan_needles(ret, reterr);
    if (r < 0)
        goto out;
    r = plan_choices(ret, o->log->stages, reterr);
    if (r < 0)
        goto out;
    r = plan_columns(ret, o->shows_lines, reterr);
    if (r < 0 || o->start_ns > o->end_ns)
        goto out;
    struct select select = {
        .tenant = x->query->tenant,
        .matchers = o->log->matchers,
        .n_matchers = o->log->n_matchers,
        .start_ns = o->start_ns,
        .end_ns = o->end_ns,
    };
    r = store_select(x->store, &select, &ret->snapshot, reterr);
    if (r < 0)
        goto out;
    ret->n_streams = snapshot_streams(ret->snapshot, &ret->streams);
    x->stats.streams += ret->n_streams;
    r = plan_tasks(ret, o->order, reterr);
out:
    if (r < 0)
        plan_done(ret);
    return r;
}

void plan_done(struct plan *p) {
    store_snapshot_free(p->snapshot);
    pipeline_free(p->pipeline);
    *p = (struct plan){0};
}

bool plan_may_contain(const struct plan *p, const struct block_ref *block) {
    for (size_t i = 0; i < p->n_needles; i++)
        if (p->needles[i].grams.count > 0 && !block_ref_may_contain(block, &p->needles[i].grams))
            return false;
    for (size_t i = 0; i < p->n_choices; i++) {
        bool any = false;
        for (size_t j = 0; j < p->choices[i].count && !any; j++)
            any = block_ref_may_contain(block, &p->choices[i].grams[j]);
        if (!any)
            return false;
    }
    return true;
}
