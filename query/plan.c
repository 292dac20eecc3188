#include "plan.h"

#include <errno.h>
#include <stdlib.h>

#include "byteseq.h"
#include "crew.h"
#include "regex.h"

enum {
    CHOICE_MAX = 64, /* more alternatives would hardly exclude a block, and each costs a look */
    SEARCH_MAX = 8, /* alternatives searched for one by one: more, and RE2 on each line is faster */
    SHARED_TASKS_MAX = 512, /* blocks; who asks more of them is not going to ask again soon */
    SEARCH_SIZE_MIN = 3,    /* shorter ones stand in most lines */
};

static int plan_needles(struct plan *p, struct err *reterr) {
    const struct needle *needles;
    size_t count = pipeline_needles(p->pipeline, &needles);
    if (count == 0)
        return 0;
    p->needles = arena_array(&p->exec->arena, count, sizeof(*p->needles));
    if (!p->needles)
        return exec_no_memory(reterr);
    for (size_t i = 0; i < count; i++) {
        struct gram_query grams;
        gram_query_init(&grams, needles[i].text, needles[i].fold);
        gram_query_add(&p->grams, &grams);
        bool fold = needles[i].fold;
        struct str text = fold ? finder_foldable(needles[i].text) : needles[i].text;
        struct finder *finder = &p->needles[p->n_needles++];
        *finder = finder_make(text, fold);
        /* The longest is most likely the rarest; an exact one beats a folded one of its size. */
        const struct finder *best = p->search;
        if (text.size > 0 && (!best || text.size > best->needle.size ||
                              (text.size == best->needle.size && best->fold && !fold)))
            p->search = finder;
        p->n_search = p->search != NULL;
    }
    return 0;
}

/* The line reaches a filter as it was stored as long as no stage before it makes another line. */
static bool makes_line(const struct stage *s) {
    return s->kind == STAGE_LINE_FORMAT || s->kind == STAGE_UNPACK || s->kind == STAGE_DECOLORIZE;
}

/* The alternatives of a line filter; 0 when it is no choice, or they are too many. */
static size_t alternatives(struct arena *arena, const struct stage *s, struct needle *ret) {
    const struct line_operand *first = s->line_filter.operands;
    size_t count = 0;
    if (s->line_filter.op == LINE_CONTAINS && first && first->next) {
        for (const struct line_operand *o = first; o; o = o->next) {
            if (o->ip || count == CHOICE_MAX)
                return 0;
            ret[count++] = (struct needle){.text = o->text};
        }
    }
    if (s->line_filter.op == LINE_MATCHES && first && !first->next && !first->ip) {
        struct regex_facts facts = {0};
        regex_analyze(first->text, false, arena, &facts);
        if (facts.n_any_of > CHOICE_MAX)
            return 0;
        for (; count < facts.n_any_of; count++)
            ret[count] = (struct needle){.text = facts.any_of[count], .fold = facts.fold_case};
    }
    return count;
}

static int choice_make(struct plan *p, const struct needle *needles, size_t count,
                       struct plan_choice *ret) {
    struct arena *arena = &p->exec->arena;
    *ret = (struct plan_choice){
        .grams = arena_array(arena, count, sizeof(*ret->grams)),
        .finders = arena_array(arena, count, sizeof(*ret->finders)),
        .count = count,
    };
    if (!ret->grams || !ret->finders)
        return -ENOMEM;
    bool has_grams = true, has_finders = count <= SEARCH_MAX;
    for (size_t i = 0; i < count; i++) {
        bool fold = needles[i].fold;
        struct str text = fold ? finder_foldable(needles[i].text) : needles[i].text;
        gram_query_init(&ret->grams[i], needles[i].text, fold);
        ret->finders[i] = finder_make(text, fold);
        has_grams = has_grams && ret->grams[i].count > 0;
        has_finders = has_finders && text.size >= SEARCH_SIZE_MIN;
    }
    if (!has_grams)
        ret->grams = NULL;
    if (!has_finders)
        ret->finders = NULL;
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
        struct needle needles[CHOICE_MAX];
        size_t count = s->kind == STAGE_LINE_FILTER ? alternatives(&p->exec->arena, s, needles) : 0;
        if (count == 0)
            continue;
        struct plan_choice *choice = &p->choices[p->n_choices++];
        if (choice_make(p, needles, count, choice) < 0)
            return exec_no_memory(reterr);
        /* One literal that all lines have is searched for rather than several. */
        if (!p->search && choice->finders) {
            p->search = choice->finders;
            p->n_search = count;
        }
    }
    return 0;
}

/* Is what the plan searches for no more than what one of the clauses asks? */
static bool search_is_clause(const struct plan *p) {
    for (size_t i = 0; i < p->n_clauses; i++) {
        const struct plan_clause *c = &p->clauses[i];
        if (c->negated)
            continue;
        if (c->is_row && p->n_search == 1 && str_eq(p->search->needle, c->row.fixed))
            return true;
        bool same = !c->is_row && c->count == p->n_search;
        for (size_t k = 0; same && k < c->count; k++)
            same =
                c->any[k].fold == p->search[k].fold && str_eq(c->any[k].text, p->search[k].needle);
        if (same)
            return true;
    }
    return false;
}

/* What leaves the fewest lines is asked first: one literal, the longest of them, then a row, then several. */
static size_t worth(const struct plan_clause *c) {
    if (c->negated)
        return 0;
    if (c->is_row)
        return 2 + c->row.fixed.size;
    return c->count > 1 ? 1 : 2 + c->any[0].text.size;
}

static int compare_worth(const void *a, const void *b) {
    size_t x = worth(a), y = worth(b);
    return (x < y) - (x > y);
}

static int plan_clauses(struct plan *p, const struct plan_options *o, struct err *reterr) {
    const struct line_clause *clauses;
    size_t count = pipeline_clauses(p->pipeline, &clauses);
    p->clauses = arena_array(&p->exec->arena, count + 1, sizeof(*p->clauses));
    if (!p->clauses)
        return exec_no_memory(reterr);
    for (; p->n_clauses < count; clauses++) {
        struct plan_clause *c = &p->clauses[p->n_clauses++];
        *c = (struct plan_clause){
            .negated = clauses->negated, .any = clauses->any, .count = clauses->count};
        if (!clauses->row)
            continue;
        struct byteseq_view v = byteseq_view(clauses->row);
        c->is_row = true;
        c->row = (struct linetab_row){.size = (uint32_t)v.size,
                                      .allowed = v.allowed,
                                      .fixed = v.fixed,
                                      .fixed_at = (uint32_t)v.fixed_at};
    }
    if (count > 1)
        qsort(p->clauses, count, sizeof(*p->clauses), compare_worth);
    p->also_search = p->search && !search_is_clause(p);
    p->clauses_tell = pipeline_clauses_tell(p->pipeline);
    p->labels_tell = !p->clauses_tell && pipeline_labels_tell(p->pipeline);
    if (o->shows_lines || !o->pipeline.line_unseen)
        return 0;
    p->clauses_decide = pipeline_only_clauses(p->pipeline);
    p->takes_fields = pipeline_fields(p->pipeline, &p->fields);
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
    if (value_needles_make(o->log->stages, &x->arena, &ret->values) < 0) {
        r = exec_no_memory(reterr);
        goto out;
    }
    r = plan_clauses(ret, o, reterr);
    if (r < 0)
        goto out;
    ret->n_field_filters = pipeline_field_filters(ret->pipeline, &ret->field_filters);
    r = plan_columns(ret, o->shows_lines, reterr);
    if (r < 0 || o->start_ns > o->end_ns)
        goto out;
    struct share share = crew_share(x->crew);
    struct select select = {
        .tenant = x->query->tenant,
        .matchers = o->log->matchers,
        .n_matchers = o->log->n_matchers,
        .start_ns = o->start_ns,
        .end_ns = o->end_ns,
        .tap = x->query->tap,
        .grams = ret->grams.count > 0 ? &ret->grams : NULL,
        .later = value_needles_first(&ret->values),
        .share = &share,
    };
    r = store_select(x->store, &select, &ret->snapshot, reterr);
    if (r == -ENOMEM)
        r = exec_no_memory(reterr);
    if (r < 0)
        goto out;
    ret->n_streams = snapshot_streams(ret->snapshot, &ret->streams);
    x->stats.streams += ret->n_streams;
    if (snapshot_lost(ret->snapshot) > 0)
        exec_note_lost(&x->stats, snapshot_lost(ret->snapshot), "a chunk file cannot be opened");
    x->stats.blocks_considered += snapshot_excluded(ret->snapshot);
    x->stats.blocks_skipped_filter += snapshot_excluded(ret->snapshot);
    r = plan_tasks(ret, o->order, reterr);
    ret->shares_blocks =
        ret->needs_lines && (o->order != PLAN_BY_STREAM || ret->n_tasks <= SHARED_TASKS_MAX);
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

bool plan_may_contain(const struct plan *p, const struct plan_task *task) {
    for (size_t i = 0; i < p->n_choices; i++) {
        bool any = !p->choices[i].grams;
        for (size_t j = 0; j < p->choices[i].count && !any; j++)
            any = block_ref_may_contain(task->block, &p->choices[i].grams[j]);
        if (!any)
            return false;
    }
    return value_needles_may_be_in(&p->values, p->streams[task->stream].labels, task->block);
}
