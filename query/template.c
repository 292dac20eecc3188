#include "template.h"

#include <errno.h>
#include <stdlib.h>

#include "regex.h"
#include "template_private.h"
#include "template_work.h"

int template_compile(struct stage_compiler *c, struct str text, const char *name,
                     const struct template **ret) {
    struct template *t = arena_array(c->arena, 1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->name = name;
    t->text = text;
    int r = template_parse(c, t);
    if (r == 0)
        *ret = t;
    return r;
}

/* ---- names: the fields of labels; what is behind variables and parentheses is not looked for, as Loki has it */

struct visitor {
    void (*fn)(uint32_t id, void *ctx);
    void *ctx;
};

/* Recursion is bounded by TEMPLATE_DEPTH_MAX. */
static void visit(const struct visitor *v, const struct node *list) {
    for (const struct node *n = list; n; n = n->next) {
        switch ((int)n->kind) {
        case NODE_ACTION:
        case NODE_IF:
        case NODE_WITH:
        case NODE_RANGE:
            for (const struct node *c = n->branch.pipe->pipe.commands; c; c = c->next)
                visit(v, c->command.args);
            visit(v, n->branch.list);
            visit(v, n->branch.else_list);
            break;
        case NODE_PIPE:
            for (const struct node *c = n->pipe.commands; c; c = c->next)
                visit(v, c->command.args);
            break;
        case NODE_FIELD:
            for (const struct path_name *name = n->path.names; name; name = name->next)
                v->fn(name->label, v->ctx);
            break;
        default:
            break;
        }
    }
}

void template_names(const struct template *t, void (*fn)(uint32_t id, void *ctx), void *ctx) {
    struct visitor v = {fn, ctx};
    visit(&v, t->root);
}

/* ---- work */

static struct template_work *work_of(struct run *r) {
    if (r->templates)
        return r->templates;
    struct template_work *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->arena = arena_make(TEMPLATE_BYTES_MAX);
    w->text = buf_make(TEMPLATE_OUTPUT_MAX);
    w->cause = buf_make(TEMPLATE_OUTPUT_MAX);
    w->message = buf_make(TEMPLATE_OUTPUT_MAX);
    r->templates = w;
    return w;
}

static void cached_regex_done(struct cached_regex *c) {
    regex_free(c->regex);
    free(c->error);
    free((void *)(uintptr_t)c->pattern.data);
    *c = (struct cached_regex){0};
}

void template_work_free(struct template_work *w) {
    if (!w)
        return;
    arena_done(&w->arena);
    buf_done(&w->text);
    buf_done(&w->cause);
    buf_done(&w->message);
    for (size_t i = 0; i < w->n_regexes; i++)
        cached_regex_done(&w->regexes[i]);
    for (size_t i = 0; i < w->n_zones; i++)
        go_zone_free(w->zones[i].zone);
    free(w);
}

static struct cached_regex *regex_slot(struct template_work *w) {
    if (w->n_regexes < WORK_REGEXES_MAX)
        return &w->regexes[w->n_regexes++];
    struct cached_regex *oldest = &w->regexes[0];
    for (size_t i = 1; i < WORK_REGEXES_MAX; i++)
        if (w->regexes[i].used < oldest->used)
            oldest = &w->regexes[i];
    cached_regex_done(oldest);
    return oldest;
}

static const struct regex *regex_result(struct exec *x, struct cached_regex *c) {
    c->used = ++x->work->clock;
    if (!c->regex)
        exec_call_error(x, "%s", c->error ? c->error : "out of memory");
    return c->regex;
}

const struct regex *exec_regex(struct exec *x, struct str pattern) {
    struct template_work *w = x->work;
    for (size_t i = 0; i < w->n_regexes; i++)
        if (str_eq(w->regexes[i].pattern, pattern))
            return regex_result(x, &w->regexes[i]);
    struct cached_regex *c = regex_slot(w);
    struct err err = {0};
    char *copy = malloc(pattern.size + 1);
    if (!copy)
        return regex_result(x, c);
    if (pattern.size > 0)
        memcpy(copy, pattern.data, pattern.size);
    c->pattern = str_make(copy, pattern.size);
    if (regex_compile(pattern, false, &c->regex, &err) < 0) {
        c->regex = NULL;
        c->error = strdup(err.text);
    }
    return regex_result(x, c);
}

bool exec_zone(struct exec *x, struct str name, const struct go_zone **ret) {
    struct template_work *w = x->work;
    *ret = NULL;
    if (name.size == 0 || str_eq(name, STR("UTC")) || str_eq(name, STR("Local")))
        return true;
    if (name.size >= GO_ZONE_NAME_MAX || memchr(name.data, '\0', name.size))
        return false;
    for (size_t i = 0; i < w->n_zones; i++) {
        if (str_eq(str_from(w->zones[i].name), name)) {
            *ret = w->zones[i].zone;
            return *ret != NULL;
        }
    }
    /* Values of this line may point to any of the zones, so none is thrown out. */
    if (w->n_zones == WORK_ZONES_MAX)
        return false;
    struct cached_zone *z = &w->zones[w->n_zones++];
    memcpy(z->name, name.data, name.size);
    z->name[name.size] = '\0';
    z->zone = go_zone_load(name);
    *ret = z->zone;
    return z->zone != NULL;
}

/* ---- running */

static void set_error(struct run *r, const struct buf *message) {
    char *own = run_scratch(r, message->size);
    if (!own || message->failed) {
        r->failed = true;
        return;
    }
    memcpy(own, message->data, message->size);
    labelset_error(r->set, STR("TemplateFormatErr"), str_make(own, message->size));
}

bool template_run(const struct template *t, struct run *r, struct buf *out) {
    if (t->simple) {
        struct str value = STR("");
        (void)labelset_get(r->set, t->simple->label, &value);
        buf_add_str(out, value);
        if (out->failed)
            r->failed = true;
        return true;
    }
    struct template_work *w = work_of(r);
    if (!w) {
        r->failed = true;
        return false;
    }
    arena_reset(&w->arena);
    struct exec x = {
        .template = t,
        .run = r,
        .work = w,
        .arena = &w->arena,
        .out = out,
        .message = &w->message,
    };
    if (template_walk(&x))
        return true;
    set_error(r, &w->message);
    return false;
}
