#include "template.h"

#include <errno.h>

enum instruction_kind { PUT_TEXT, PUT_LABEL };

struct instruction {
    enum instruction_kind kind;
    struct str text; /* PUT_TEXT */
    uint32_t name;   /* PUT_LABEL */
    bool is_error, is_details;
};

struct template {
    struct instruction *list;
    size_t count;
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct str trim_left(struct str s) {
    while (s.size > 0 && is_blank(s.data[0]))
        s = str_from_offset(s, 1);
    return s;
}

static struct str trim_right(struct str s) {
    while (s.size > 0 && is_blank(s.data[s.size - 1]))
        s.size--;
    return s;
}

/* "{{- " and " -}}" trim the text beside them; the blank between is part of the marker. */
static bool take_left_marker(struct str *action) {
    if (action->size < 2 || action->data[0] != '-' || !is_blank(action->data[1]))
        return false;
    *action = str_from_offset(*action, 1);
    return true;
}

static bool take_right_marker(struct str *action) {
    size_t n = action->size;
    if (n < 2 || action->data[n - 1] != '-' || !is_blank(action->data[n - 2]))
        return false;
    action->size--;
    return true;
}

static int compile_action(struct stage_compiler *c, struct str action, struct instruction *ret) {
    struct str name = str_trim(action);
    if (name.size < 2 || name.data[0] != '.' || !label_name_valid(str_from_offset(name, 1)))
        return err_set(c->reterr, -ESYNTAX,
                       "template: {{%.*s}} is not understood: only {{.label}} is", STR_ARG(action));
    name = str_from_offset(name, 1);
    *ret = (struct instruction){
        .kind = PUT_LABEL,
        .name = compiler_name(c, name),
        .is_error = str_eq(name, STR("__error__")),
        .is_details = str_eq(name, STR("__error_details__")),
    };
    return ret->name == NAME_NONE ? -ENOMEM : 0;
}

int template_compile(struct stage_compiler *c, struct str text, const char *name,
                     const struct template **ret) {
    struct template *t = arena_array(c->arena, 1, sizeof(*t));
    size_t actions = 0;
    for (size_t i = 0; i + 1 < text.size; i++)
        actions += text.data[i] == '{' && text.data[i + 1] == '{';
    if (!t || !(t->list = arena_array(c->arena, 2 * actions + 1, sizeof(*t->list))))
        return -ENOMEM;
    bool trim = false;
    for (;;) {
        const char *open = str_find(text, STR("{{"));
        struct str before = str_make(text.data, open ? (size_t)(open - text.data) : text.size);
        struct str action = STR("");
        bool trim_before = false, trim_after = false;
        if (open) {
            struct str rest = str_from_offset(text, before.size + 2);
            const char *close = str_find(rest, STR("}}"));
            if (!close)
                return err_set(c->reterr, -ESYNTAX, "template: %s:1: unclosed action", name);
            action = str_make(rest.data, (size_t)(close - rest.data));
            text = str_from_offset(rest, action.size + 2);
            trim_before = take_left_marker(&action);
            trim_after = take_right_marker(&action);
        }
        if (trim)
            before = trim_left(before);
        if (trim_before)
            before = trim_right(before);
        trim = trim_after;
        if (before.size > 0)
            t->list[t->count++] = (struct instruction){.kind = PUT_TEXT, .text = before};
        if (!open)
            break;
        int r = compile_action(c, action, &t->list[t->count]);
        if (r < 0)
            return r;
        t->count++;
    }
    if (t->count == 1 && strcmp(name, "line") == 0)
        t->list[0].is_error = t->list[0].is_details = false;
    *ret = t;
    return 0;
}

void template_names(const struct template *t, void (*fn)(uint32_t id, void *ctx), void *ctx) {
    for (size_t i = 0; i < t->count; i++)
        if (t->list[i].kind == PUT_LABEL)
            fn(t->list[i].name, ctx);
}

static struct str label_value(const struct instruction *i, const struct labelset *set) {
    struct str value = STR("");
    if (i->is_error && labelset_get_error(set).size > 0)
        return labelset_get_error(set);
    if (i->is_details && labelset_get_details(set).size > 0)
        return labelset_get_details(set);
    (void)labelset_get(set, i->name, &value);
    return value;
}

bool template_run(const struct template *t, struct run *r, struct buf *out) {
    for (size_t i = 0; i < t->count; i++) {
        const struct instruction *in = &t->list[i];
        buf_add_str(out, in->kind == PUT_TEXT ? in->text : label_value(in, r->set));
    }
    if (out->failed)
        r->failed = true;
    return true;
}
