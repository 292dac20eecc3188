#include "pipeline.h"

#include <errno.h>
#include <stdlib.h>

#include "json_path.h"
#include "names.h"
#include "parser.h"
#include "regex.h"
#include "stage.h"
#include "template.h"

enum {
    /* Compiled form of one query; the query's text is at most QUERY_TEXT_MAX. */
    PIPELINE_BYTES_MAX = 64 << 20,
    /* Values of one line that are not bytes of the line: unescaped strings, templates. A 256 KiB line with some
     * formatting steps stays far below. */
    SCRATCH_BYTES_MAX = 64 << 20,
    FIELD_NAME_MAX = 1024, /* lines with longer ones are read as lines */
};

struct pipeline {
    struct arena arena;
    struct step *steps;
    size_t n_steps;
    struct str *names; /* fixed label names, by id */
    size_t n_names;
    struct label_hints hints;
    struct needle *needles;
    size_t n_needles;
    struct line_clause *clauses;
    size_t n_clauses;
    struct field_filter *field_filters;
    size_t n_field_filters;
    struct str *meta_names; /* with hints: the metadata that can matter */
    size_t n_meta_names;
    bool meta_limited;
    bool has_unwrap;
    enum unwrap_conversion conversion;
    uint32_t unwrap_name;
    struct step *post;
    size_t n_post;
};

struct pipeline_run {
    const struct pipeline *pipeline;
    struct run run;
    struct buf lines[2];
};

/* ---- compiling */

uint32_t compiler_name(struct stage_compiler *c, struct str name) {
    for (size_t i = 0; i < c->n_names; i++)
        if (str_eq(c->names[i], name))
            return (uint32_t)i;
    if (c->n_names == c->name_capacity) {
        size_t capacity = c->name_capacity ? c->name_capacity * 2 : 16;
        struct str *names = arena_array(c->arena, capacity, sizeof(*names));
        if (!names)
            return NAME_NONE;
        if (c->n_names > 0)
            memcpy(names, c->names, c->n_names * sizeof(*names));
        c->names = names;
        c->name_capacity = capacity;
    }
    c->names[c->n_names] = name;
    return (uint32_t)c->n_names++;
}

/* An expression of logfmt whose name another one has behind it is never asked. */
static void drop_repeated(struct extract_step *step, uint32_t *names, struct str *sources) {
    size_t n = 0;
    for (size_t i = 0; i < step->count; i++) {
        bool again = false;
        for (size_t j = i + 1; j < step->count; j++)
            again = again || names[j] == names[i];
        names[n] = names[i];
        sources[n] = sources[i];
        n += !again;
    }
    step->count = n;
}

static int compile_extract(struct stage_compiler *c, const struct stage *s,
                           struct extract_step *ret) {
    *ret = (struct extract_step){.strict = s->extract.strict, .keep_empty = s->extract.keep_empty};
    for (const struct extraction *e = s->extract.list; e; e = e->next)
        ret->count++;
    struct json_path *paths = arena_array(c->arena, ret->count + 1, sizeof(*paths));
    uint32_t *names = arena_array(c->arena, ret->count + 1, sizeof(*names));
    struct str *sources = arena_array(c->arena, ret->count + 1, sizeof(*sources));
    if (!paths || !names || !sources)
        return -ENOMEM;
    size_t i = 0;
    for (const struct extraction *e = s->extract.list; e; e = e->next, i++) {
        int r = s->kind == STAGE_JSON ? json_path_compile(c, e->expression, &paths[i])
                                      : logfmt_path_compile(c, e->expression, &sources[i]);
        if (r < 0)
            return r;
        names[i] = paths[i].name = compiler_name(c, e->name);
        if (names[i] == NAME_NONE)
            return -ENOMEM;
    }
    if (s->kind != STAGE_JSON)
        drop_repeated(ret, names, sources);
    ret->paths = paths;
    ret->names = names;
    ret->sources = sources;
    return 0;
}

static bool may_show_line(struct str template) {
    return str_find(template, STR("__line__")) != NULL;
}

static int compile_assigns(struct stage_compiler *c, const struct label_assign *list,
                           struct step *ret) {
    size_t count = 0;
    for (const struct label_assign *l = list; l; l = l->next)
        count++;
    struct assign *assigns = arena_array(c->arena, count + 1, sizeof(*assigns));
    if (!assigns)
        return -ENOMEM;
    ret->assigns.list = assigns;
    ret->assigns.count = count;
    for (const struct label_assign *l = list; l; l = l->next, assigns++) {
        assigns->target = compiler_name(c, l->name);
        assigns->source = l->is_template ? NAME_NONE : compiler_name(c, l->value);
        if (assigns->target == NAME_NONE || (!l->is_template && assigns->source == NAME_NONE))
            return -ENOMEM;
        int r = l->is_template ? template_compile(c, l->value, "label", &assigns->template) : 0;
        if (r == -ESYNTAX)
            return err_prefix(c->reterr, r, "invalid template for label '%.*s'", STR_ARG(l->name));
        if (r < 0)
            return r;
        ret->shows_line = ret->shows_line || (l->is_template && may_show_line(l->value));
    }
    return 0;
}

static int compile_line_format(struct stage_compiler *c, struct str text, struct step *ret) {
    ret->shows_line = may_show_line(text);
    int r = template_compile(c, text, "line", &ret->template);
    return r == -ESYNTAX ? err_prefix(c->reterr, r, "invalid line template") : r;
}

static int compile_step(struct stage_compiler *c, const struct stage *s, struct step *ret) {
    *ret = (struct step){.kind = s->kind};
    switch (s->kind) {
    case STAGE_LINE_FILTER:
        return line_filter_compile(c, s, &ret->line_filter);
    case STAGE_LABEL_FILTER:
        return label_filter_compile(c, s->filter, &ret->filter);
    case STAGE_JSON:
    case STAGE_LOGFMT:
        return compile_extract(c, s, &ret->extract);
    case STAGE_LINE_FORMAT:
        return compile_line_format(c, s->text.text, ret);
    case STAGE_DROP:
    case STAGE_KEEP:
        return choices_compile(c, s->choices, ret);
    case STAGE_LABEL_FORMAT:
        return compile_assigns(c, s->assigns, ret);
    case STAGE_REGEXP:
        return regexp_compile(c, s->text.regex, ret);
    case STAGE_PATTERN:
        return pattern_stage_compile(c, s->text.text, ret);
    case STAGE_UNPACK:
    case STAGE_DECOLORIZE:
        return 0;
    }
    return -EINVAL;
}

/* Says which stage it was, the way Loki does. */
static int stage_error(struct err *reterr, const struct stage *s, int r) {
    if (r != -ESYNTAX)
        return r;
    if (s->kind == STAGE_PATTERN)
        return err_prefix(reterr, r, "parse error : invalid pattern parser");
    struct buf text = buf_make(ERR_TEXT_MAX);
    stage_format(&text, s);
    r = err_prefix(reterr, r, "parse error : stage '%.*s' ", STR_ARG(buf_str(&text)));
    buf_done(&text);
    return r;
}

/* Does a stage behind this one look at the line? Templates with __line__ do not count, as Loki has it. */
static bool line_is_read(const struct stage *s) {
    for (s = s->next; s; s = s->next)
        if (s->kind == STAGE_LINE_FILTER || s->kind == STAGE_JSON || s->kind == STAGE_LOGFMT ||
            s->kind == STAGE_REGEXP || s->kind == STAGE_PATTERN || s->kind == STAGE_UNPACK)
            return true;
    return false;
}

static int compile_steps(struct stage_compiler *c, const struct stage *stages, bool line_unseen,
                         struct step **ret, size_t *ret_count) {
    size_t count = 0;
    for (const struct stage *s = stages; s; s = s->next)
        count++;
    struct step *steps = arena_array(c->arena, count + 1, sizeof(*steps));
    if (!steps)
        return -ENOMEM;
    size_t i = 0;
    for (const struct stage *s = stages; s; s = s->next) {
        int r = compile_step(c, s, &steps[i]);
        if (r < 0)
            return stage_error(c->reterr, s, r);
        if (!line_unseen || s->kind != STAGE_LINE_FORMAT || line_is_read(s))
            i++;
    }
    *ret = steps;
    *ret_count = i;
    return 0;
}

/* ---- hints */

static size_t put_name(uint32_t *ids, size_t count, uint32_t id) {
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id)
            return count;
    ids[count] = id;
    return count + 1;
}

/* A label may be asked for as name_extracted while the field is `name`: both are wanted then. */
static int put_hint(struct stage_compiler *c, uint32_t *ids, size_t *count, uint32_t id) {
    struct str name = c->names[id], end = STR("_extracted");
    *count = put_name(ids, *count, id);
    if (!str_ends(name, end))
        return 0;
    uint32_t stripped = compiler_name(c, str_make(name.data, name.size - end.size));
    if (stripped == NAME_NONE)
        return -ENOMEM;
    *count = put_name(ids, *count, stripped);
    return 0;
}

struct collector {
    struct stage_compiler *c;
    uint32_t *ids;
    size_t count;
    int result;
};

static void collect(struct collector *k, uint32_t id) {
    int r = put_hint(k->c, k->ids, &k->count, id);
    if (r < 0)
        k->result = r;
}

static void collect_filter(struct collector *k, const struct filter_node *f) {
    if (f->kind == FILTER_AND || f->kind == FILTER_OR) {
        collect_filter(k, f->left);
        collect_filter(k, f->right);
        return;
    }
    collect(k, f->name);
}

static void collect_name(uint32_t id, void *ctx) {
    collect(ctx, id);
}

static void collect_steps(struct collector *k, const struct step *steps, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (steps[i].kind == STAGE_LABEL_FILTER)
            collect_filter(k, steps[i].filter);
        for (size_t j = 0; steps[i].kind == STAGE_LABEL_FORMAT && j < steps[i].assigns.count; j++) {
            const struct assign *a = &steps[i].assigns.list[j];
            if (!a->template)
                collect(k, a->source);
            else
                template_names(a->template, collect_name, k);
        }
    }
}

static bool formats_lines(const struct pipeline *p) {
    for (size_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].kind == STAGE_LINE_FORMAT)
            return true;
    return false;
}

static bool asks_for_errors(const struct stage_compiler *c, const struct collector *k) {
    for (size_t i = 0; i < k->count; i++)
        if (str_eq(c->names[k->ids[i]], STR("__error__")))
            return true;
    return false;
}

/* Loki's rules: without(...), no grouping at all and log queries want everything; so does line_format. */
static int make_hints(struct stage_compiler *c, struct pipeline *p, const struct label_needs *n) {
    if (n->all || (!n->none && n->count == 0) || formats_lines(p))
        return 0;
    for (size_t i = 0; i < n->count; i++)
        if (compiler_name(c, n->names[i]) == NAME_NONE)
            return -ENOMEM;
    struct collector k = {.c = c};
    k.ids = arena_array(c->arena, 2 * c->n_names + 2, sizeof(*k.ids));
    if (!k.ids)
        return -ENOMEM;
    collect_steps(&k, p->steps, p->n_steps);
    collect_steps(&k, p->post, p->n_post);
    for (size_t i = 0; i < n->count; i++)
        collect(&k, compiler_name(c, n->names[i]));
    if (p->has_unwrap)
        collect(&k, p->unwrap_name);
    p->hints = (struct label_hints){
        .no_labels = k.count == 0,
        .required = k.ids,
        .n_required = k.count,
        .keeps_errors = asks_for_errors(c, &k),
    };
    return k.result;
}

static int make_meta_names(struct pipeline *p) {
    p->meta_limited = p->hints.no_labels || p->hints.n_required > 0;
    p->n_meta_names = p->hints.n_required;
    p->meta_names = arena_array(&p->arena, p->n_meta_names + 1, sizeof(*p->meta_names));
    if (!p->meta_names)
        return -ENOMEM;
    for (size_t i = 0; i < p->n_meta_names; i++)
        p->meta_names[i] = p->names[p->hints.required[i]];
    return 0;
}

/* ---- filters of fields, for whoever has only these */

static bool is_wanted(const struct pipeline *p, uint32_t name) {
    for (size_t i = 0; i < p->hints.n_required; i++)
        if (p->hints.required[i] == name)
            return true;
    return p->hints.n_required == 0 && !p->hints.no_labels;
}

static int find_field_filters(struct pipeline *p) {
    size_t i = 0;
    while (i < p->n_steps && p->steps[i].kind == STAGE_LINE_FILTER)
        i++;
    if (i == p->n_steps || (p->steps[i].kind != STAGE_JSON && p->steps[i].kind != STAGE_LOGFMT) ||
        p->steps[i].extract.count > 0 || p->steps[i].extract.strict)
        return 0;
    enum linetab_form form = p->steps[i].kind == STAGE_JSON ? FORM_JSON : FORM_LOGFMT;
    const struct early_filters *e = &p->steps[i].early;
    p->field_filters = arena_array(&p->arena, e->count + 1, sizeof(*p->field_filters));
    if (!p->field_filters)
        return -ENOMEM;
    for (size_t k = 0; k < e->count; k++) {
        const struct filter_node *f = e->list[k];
        if (early_is_plain(p->names[f->name]) && f->kind != FILTER_IP && is_wanted(p, f->name))
            p->field_filters[p->n_field_filters++] =
                (struct field_filter){.form = form, .name = p->names[f->name], .node = f};
    }
    return 0;
}

size_t pipeline_field_filters(const struct pipeline *p, const struct field_filter **ret) {
    *ret = p->field_filters;
    return p->n_field_filters;
}

bool field_filter_refuses(const struct field_filter *f, struct str value, bool quoted) {
    bool number = value.size > 0;
    if (value.size == 0)
        return false;
    for (size_t i = 0; i < value.size; i++) {
        char c = value.data[i];
        if ((unsigned char)c >= 0x80 || (unsigned char)c < ' ' || c == '\\')
            return false; /* what is cleaned up first is left to the stage */
        number = number && ((c >= '0' && c <= '9') || c == '-' || c == '.');
    }
    if (f->form == FORM_JSON && !quoted && !number && !str_eq(value, STR("true")) &&
        !str_eq(value, STR("false")))
        return false;
    return label_filter_refuses(f->node, value, false);
}

/* ---- needles */

static int needles_of(struct pipeline *p, const struct stage *s, struct needle *out, size_t max,
                      size_t *count) {
    const struct line_operand *o = s->line_filter.operands;
    if (!o || o->next || o->ip)
        return 0;
    if (s->line_filter.op == LINE_CONTAINS && o->text.size > 0 && *count < max)
        out[(*count)++] = (struct needle){.text = o->text};
    if (s->line_filter.op != LINE_MATCHES)
        return 0;
    struct regex_facts facts = {0};
    regex_analyze(o->text, false, &p->arena, &facts);
    if (facts.is_literal && facts.literal.size > 0 && *count < max)
        out[(*count)++] = (struct needle){.text = facts.literal, .fold = facts.fold_case};
    else
        for (size_t i = 0; i < facts.n_required && *count < max; i++)
            out[(*count)++] = (struct needle){.text = facts.required[i], .fold = facts.fold_case};
    return 0;
}

enum { NEEDLES_MAX = 64 }; /* more would make a block no less likely to be skipped */

static int find_needles(struct pipeline *p, const struct stage *stages) {
    p->needles = arena_array(&p->arena, NEEDLES_MAX, sizeof(*p->needles));
    if (!p->needles)
        return -ENOMEM;
    for (const struct stage *s = stages; s; s = s->next) {
        if (s->kind == STAGE_LINE_FORMAT || s->kind == STAGE_UNPACK || s->kind == STAGE_DECOLORIZE)
            break;
        if (s->kind != STAGE_LINE_FILTER)
            continue;
        int r = needles_of(p, s, p->needles, NEEDLES_MAX, &p->n_needles);
        if (r < 0)
            return r;
    }
    return 0;
}

static int compile_unwrap(struct stage_compiler *c, struct pipeline *p, const struct unwrap *u) {
    p->has_unwrap = true;
    p->conversion = u->conversion;
    p->unwrap_name = compiler_name(c, u->label);
    if (p->unwrap_name == NAME_NONE)
        return -ENOMEM;
    return compile_steps(c, u->post_filters, false, &p->post, &p->n_post);
}

int pipeline_compile(const struct stage *stages, const struct pipeline_options *o,
                     struct pipeline **ret, struct err *reterr) {
    struct pipeline *p = calloc(1, sizeof(*p));
    if (!p)
        return err_set(reterr, -ENOMEM, "out of memory");
    p->arena = arena_make(PIPELINE_BYTES_MAX);
    struct stage_compiler c = {.arena = &p->arena, .reterr = reterr};
    int r = compile_steps(&c, stages, o->line_unseen, &p->steps, &p->n_steps);
    if (r == 0 && o->unwrap)
        r = compile_unwrap(&c, p, o->unwrap);
    if (r == 0)
        r = make_hints(&c, p, &o->needs);
    p->names = c.names;
    p->n_names = c.n_names;
    if (r == 0)
        r = make_meta_names(p);
    if (r == 0)
        r = early_attach(&c, p->steps, p->n_steps, !o->needs.all && o->needs.count > 0,
                         p->hints.n_required > 0);
    if (r == 0)
        r = find_field_filters(p);
    if (r == 0)
        r = find_needles(p, stages);
    if (r == 0)
        r = line_clauses_find(&p->arena, p->steps, p->n_steps, &p->clauses, &p->n_clauses);
    if (r < 0) {
        pipeline_free(p);
        return r == -ENOMEM ? err_set(reterr, r, "out of memory") : r;
    }
    *ret = p;
    return 0;
}

void pipeline_free(struct pipeline *p) {
    if (!p)
        return;
    arena_done(&p->arena);
    free(p);
}

/* ---- facts */

static bool step_reads_line(const struct pipeline *p, const struct step *s) {
    switch (s->kind) {
    case STAGE_LINE_FILTER:
    case STAGE_UNPACK:
    case STAGE_DECOLORIZE:
        return true;
    case STAGE_JSON:
    case STAGE_LOGFMT:
    case STAGE_REGEXP:
    case STAGE_PATTERN:
        return !p->hints.no_labels;
    case STAGE_LINE_FORMAT:
    case STAGE_LABEL_FORMAT:
        return s->shows_line;
    case STAGE_LABEL_FILTER:
    case STAGE_DROP:
    case STAGE_KEEP:
        return false;
    }
    return true;
}

bool pipeline_needs_line(const struct pipeline *p) {
    for (size_t i = 0; i < p->n_steps; i++)
        if (step_reads_line(p, &p->steps[i]))
            return true;
    return false;
}

size_t pipeline_clauses(const struct pipeline *p, const struct line_clause **ret) {
    *ret = p->clauses;
    return p->n_clauses;
}

bool pipeline_only_clauses(const struct pipeline *p) {
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        if (step_reads_line(p, s) && (s->kind != STAGE_LINE_FILTER || !s->line_filter.is_clause))
            return false;
    }
    return p->n_clauses > 0;
}

bool pipeline_clauses_tell(const struct pipeline *p) {
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        if (s->kind == STAGE_LABEL_FILTER ||
            (s->kind == STAGE_LINE_FILTER && !s->line_filter.is_clause))
            return false;
    }
    return !p->has_unwrap;
}

bool pipeline_labels_tell(const struct pipeline *p) {
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        bool is_clause = s->kind == STAGE_LINE_FILTER && s->line_filter.is_clause;
        bool is_of_labels = s->kind == STAGE_LABEL_FILTER || s->kind == STAGE_DROP ||
                            s->kind == STAGE_KEEP ||
                            (s->kind == STAGE_LABEL_FORMAT && !s->shows_line);
        if (!is_clause && !is_of_labels)
            return false;
    }
    return !p->has_unwrap;
}

static bool any_reads_line(const struct pipeline *p, const struct step *steps, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (step_reads_line(p, &steps[i]))
            return true;
    return false;
}

bool pipeline_fields(const struct pipeline *p, struct pipeline_fields *ret) {
    const struct step *s = p->steps, *end = s + p->n_steps;
    if (p->hints.n_required == 0 || p->hints.n_required > LINETAB_FIELDS_MAX)
        return false;
    *ret = (struct pipeline_fields){.names = p->meta_names, .count = p->hints.n_required};
    for (; s < end && s->kind == STAGE_LINE_FILTER; s++) {
        if (!s->line_filter.is_clause)
            return false;
        ret->has_filter = true;
    }
    while (s < end && s->kind == STAGE_LABEL_FILTER)
        s++;
    if (s == end || (s->kind != STAGE_JSON && s->kind != STAGE_LOGFMT) || s->extract.strict ||
        s->extract.keep_empty)
        return false;
    ret->form = s->kind == STAGE_JSON ? FORM_JSON : FORM_LOGFMT;
    if (s->extract.count > 0) {
        if (s->kind != STAGE_JSON || s->extract.count > LINETAB_FIELDS_MAX)
            return false;
        ret->paths = s->extract.paths;
        ret->count = s->extract.count;
    }
    return !any_reads_line(p, s + 1, (size_t)(end - s - 1)) &&
           !any_reads_line(p, p->post, p->n_post);
}

static bool is_path(const struct json_path *p, const struct str *keys, size_t depth) {
    bool same = p->count == depth;
    for (size_t i = 0; same && i < depth; i++)
        same = !p->parts[i].is_index && str_eq(p->parts[i].key, keys[i]);
    return same;
}

/* Two that ask for the same: nothing is known then. */
static uint32_t path_number(const struct pipeline_fields *f, const struct str *keys, size_t depth) {
    uint32_t found = LINETAB_UNWANTED;
    for (size_t i = 0; i < f->count; i++)
        if (is_path(&f->paths[i], keys, depth))
            found = found == LINETAB_UNWANTED ? (uint32_t)i : LINETAB_UNSURE;
    return found;
}

/* As labelset_key makes names, one below the other. */
uint32_t pipeline_field_number(void *ctx, const struct str *path, size_t depth) {
    const struct pipeline_fields *f = ctx;
    if (f->paths)
        return path_number(f, path, depth);
    char name[FIELD_NAME_MAX];
    size_t size = 0;
    for (size_t i = 0; i < depth; i++) {
        if (size + path[i].size + 2 > sizeof(name))
            return LINETAB_UNSURE;
        if (size > 0)
            name[size++] = '_';
        size += name_sanitize(path[i], size == 0, name + size);
    }
    for (size_t i = 0; i < f->count && size > 0; i++)
        if (str_eq(f->names[i], str_make(name, size)))
            return (uint32_t)i;
    return LINETAB_UNWANTED;
}

bool pipeline_needs_meta(const struct pipeline *p) {
    return !p->meta_limited || p->n_meta_names > 0;
}

bool pipeline_meta_names(const struct pipeline *p, const struct str **ret, size_t *ret_count) {
    if (!p->meta_limited)
        return false;
    *ret = p->meta_names;
    *ret_count = p->n_meta_names;
    return true;
}

size_t pipeline_needles(const struct pipeline *p, const struct needle **ret) {
    *ret = p->needles;
    return p->n_needles;
}

/* ---- running */

struct pipeline_run *pipeline_run_new(const struct pipeline *p) {
    struct pipeline_run *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->pipeline = p;
    r->run.scratch = arena_make(SCRATCH_BYTES_MAX);
    r->lines[0] = r->lines[1] = buf_make(TEMPLATE_OUTPUT_MAX);
    r->run.lines = r->lines;
    r->run.field_ids = p->hints.required;
    r->run.set = labelset_new(p->names, p->n_names, &p->hints);
    if (!r->run.set) {
        pipeline_run_free(r);
        return NULL;
    }
    if (p->has_unwrap)
        labelset_hide(r->run.set, p->unwrap_name);
    return r;
}

void pipeline_run_free(struct pipeline_run *r) {
    if (!r)
        return;
    labelset_free(r->run.set);
    buf_done(&r->lines[0]);
    buf_done(&r->lines[1]);
    arena_done(&r->run.scratch);
    template_work_free(r->run.templates);
    free(r);
}

void pipeline_run_stream(struct pipeline_run *r, struct labels stream_labels) {
    labelset_stream(r->run.set, stream_labels);
}

char *run_scratch(struct run *r, size_t size) {
    char *p = arena_alloc(&r->scratch, size > 0 ? size : 1);
    if (!p)
        r->failed = true;
    return p;
}

/* The step before may have left its line in the other buffer. */
static void format_line(const struct template *t, struct run *r) {
    struct buf *out = &r->lines[r->line_turn ^= 1];
    buf_clear(out);
    if (template_run(t, r, out))
        r->line = out->size > 0 ? buf_str(out) : STR("");
}

/* The text that a template makes of the labels as they are; without data when it fails. */
static struct str run_template(const struct template *t, struct run *r) {
    struct buf *out = &r->lines[r->line_turn ^ 1]; /* the one that the line is not in */
    buf_clear(out);
    if (!template_run(t, r, out))
        return (struct str){0};
    char *own = run_scratch(r, out->size);
    if (own && out->size > 0)
        memcpy(own, out->data, out->size);
    return str_make(own, out->size);
}

/* Runs the templates from `first` up to `end` over the labels as they are now, without each other's errors; the last one's
 * stays. */
static void run_templates(const struct step *s, size_t first, size_t end, struct run *r,
                          struct str *values) {
    const struct str error = labelset_get_error(r->set), details = labelset_get_details(r->set);
    struct str last_error = error, last_details = details;
    for (size_t i = first; i < end; i++) {
        const struct template *t = s->assigns.list[i].template;
        values[i] = t ? run_template(t, r) : (struct str){0};
        if (!t || values[i].data)
            continue;
        last_error = labelset_get_error(r->set);
        last_details = labelset_get_details(r->set);
        labelset_error(r->set, error, details);
    }
    labelset_error(r->set, last_error, last_details);
}

/* In the order written. All templates see the labels as the first of them finds them: with the renames before it
 * done, without each other's results. Who finds none leaves it to the next one to look. */
static void format_labels(const struct step *s, struct run *r) {
    size_t count = s->assigns.count;
    struct str *values = (struct str *)(void *)run_scratch(r, (count + 1) * sizeof(*values));
    if (!values)
        return;
    size_t n_known = 0;
    for (size_t i = 0; i < count; i++) {
        const struct assign *a = &s->assigns.list[i];
        if (a->template) {
            if (i >= n_known) {
                n_known = labelset_is_empty(r->set) ? i + 1 : count;
                run_templates(s, i, n_known, r, values);
            }
            if (values[i].data)
                labelset_set(r->set, GROUP_PARSED, a->target, values[i]);
            continue;
        }
        struct str value;
        if (!labelset_get(r->set, a->source, &value))
            continue;
        labelset_set(r->set, GROUP_PARSED, a->target, value);
        labelset_delete(r->set, a->source);
    }
}

static bool run_step(const struct step *s, struct run *r) {
    r->early = &s->early;
    if (s->early.n_before > 0 && early_refuses_before(&s->early, r))
        return false;
    switch (s->kind) {
    case STAGE_LINE_FILTER:
        return r->decided || line_filter_run(&s->line_filter, r->line);
    case STAGE_JSON:
        return r->fields ? json_run_fields(&s->extract, r) : json_run(&s->extract, r);
    case STAGE_LOGFMT:
        return r->fields ? logfmt_run_fields(r) : logfmt_run(&s->extract, r);
    case STAGE_LABEL_FILTER:
        return label_filter_run(s->filter, r);
    case STAGE_LINE_FORMAT:
        format_line(s->template, r);
        return true;
    case STAGE_DROP:
        drop_run(s, r);
        return true;
    case STAGE_KEEP:
        keep_run(s, r);
        return true;
    case STAGE_LABEL_FORMAT:
        format_labels(s, r);
        return true;
    case STAGE_REGEXP:
        return regexp_run(s, r);
    case STAGE_PATTERN:
        return pattern_run(s, r);
    case STAGE_UNPACK:
        return unpack_run(r);
    case STAGE_DECOLORIZE:
        decolorize_run(r);
        return true;
    }
    return true;
}

bool pipeline_run_line(struct pipeline_run *r, const struct pipeline_line *in,
                       struct pipeline_output *ret) {
    const struct pipeline *p = r->pipeline;
    struct run *run = &r->run;
    run->line = in->line;
    run->ts_ns = in->ts_ns;
    run->fields = in->fields;
    run->n_fields = in->n_fields;
    run->decided = in->decided;
    /* Most lines end at the line filters in front: their labels are not even looked at. */
    size_t i = 0;
    for (; i < p->n_steps && p->steps[i].kind == STAGE_LINE_FILTER; i++)
        if (!in->fields && !in->decided && !line_filter_run(&p->steps[i].line_filter, run->line))
            return false;
    if (run->scratch.head)
        arena_reset(&run->scratch);
    labelset_line(run->set, in->meta, in->meta_count);
    for (; i < p->n_steps; i++)
        if (!run_step(&p->steps[i], run))
            return false;
    ret->value = 0;
    if (p->has_unwrap) {
        if (!unwrap_run(p->conversion, p->unwrap_name, run, &ret->value))
            return false;
        for (size_t k = 0; k < p->n_post; k++)
            if (!run_step(&p->post[k], run))
                return false;
    }
    ret->line = run->line;
    return true;
}

bool pipeline_run_fails(const struct pipeline_run *r) {
    return labelset_fails(r->run.set);
}

const struct line_labels *pipeline_run_labels(struct pipeline_run *r) {
    return r->run.failed ? NULL : labelset_intern(r->run.set);
}

const struct line_labels *pipeline_run_group(struct pipeline_run *r, const struct grouping *g) {
    return r->run.failed ? NULL : labelset_intern_group(r->run.set, g);
}
