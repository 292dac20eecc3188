/* Stages that look at labels: label filters, drop, keep. A value that is not of the filter's type lets the line
 * pass and sets __error__; the texts of the details are those of Go's and go-humanize's parsers. */
#include "stage.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "ip.h"
#include "label_regex.h"
#include "regex.h"
#include "units.h"

int label_filter_compile(struct stage_compiler *c, const struct label_filter *f,
                         const struct filter_node **ret) {
    struct filter_node *n = arena_array(c->arena, 1, sizeof(*n));
    if (!n)
        return -ENOMEM;
    *n = (struct filter_node){
        .kind = f->kind,
        .match = f->match,
        .compare = f->compare,
        .text = f->text,
        .number = f->number,
        .regex = f->regex,
    };
    *ret = n;
    if (f->kind == FILTER_AND || f->kind == FILTER_OR) {
        /* The parser limits how deep expressions nest (QUERY_DEPTH_MAX). */
        int r = label_filter_compile(c, f->left, &n->left);
        return r < 0 ? r : label_filter_compile(c, f->right, &n->right);
    }
    n->is_error = str_eq(f->name, STR("__error__"));
    n->name = compiler_name(c, f->name);
    if (n->name == NAME_NONE)
        return -ENOMEM;
    if (f->kind == FILTER_DURATION)
        n->duration_ns = (int64_t)f->number;
    if (f->kind == FILTER_BYTES)
        n->bytes = (uint64_t)f->number;
    if (f->kind == FILTER_STRING && (f->match == MATCH_RE || f->match == MATCH_NRE)) {
        int r = label_regex_simplify(c->arena, f->text, &n->tests, &n->n_tests);
        if (r < 0)
            return r;
    }
    return f->kind == FILTER_IP ? ip_compile(c, f->text, &n->ip) : 0;
}

static bool text_matches(enum match_op op, struct str want, const struct regex *regex,
                         struct str value) {
    switch (op) {
    case MATCH_EQ:
        return str_eq(want, value);
    case MATCH_NEQ:
        return !str_eq(want, value);
    case MATCH_RE:
        return regex_matches(regex, value);
    case MATCH_NRE:
        return !regex_matches(regex, value);
    }
    return false;
}

static bool string_matches(const struct filter_node *f, struct str value) {
    if (f->n_tests == 0)
        return text_matches(f->match, f->text, f->regex, value);
    for (size_t i = 0; i < f->n_tests; i++) {
        const struct value_test *t = &f->tests[i];
        if (t->inside ? str_find(value, t->text) != NULL : str_eq(value, t->text))
            return f->match == MATCH_RE;
    }
    return f->match == MATCH_NRE;
}

#define COMPARE(op, a, b)                                                                          \
    ((op) == CMP_EQ    ? (a) == (b)                                                                \
     : (op) == CMP_NEQ ? (a) != (b)                                                                \
     : (op) == CMP_GT  ? (a) > (b)                                                                 \
     : (op) == CMP_GTE ? (a) >= (b)                                                                \
     : (op) == CMP_LT  ? (a) < (b)                                                                 \
                       : (a) <= (b))

/* 1 = passes, 0 = does not, negative = the value is not of the type. */
static int typed_matches(const struct filter_node *f, struct str value) {
    if (f->kind == FILTER_NUMBER) {
        double number;
        if (float_parse_go(value, &number) < 0)
            return -ESYNTAX;
        return COMPARE(f->compare, number, f->number);
    }
    if (f->kind == FILTER_DURATION) {
        int64_t ns;
        if (duration_parse_go(value, &ns) < 0)
            return -ESYNTAX;
        return COMPARE(f->compare, ns, f->duration_ns);
    }
    uint64_t bytes;
    if (bytes_parse(value, &bytes) < 0)
        return -ESYNTAX;
    return COMPARE(f->compare, bytes, f->bytes);
}

void put_float_error(struct buf *out, struct str text) {
    buf_add_str(out, STR("strconv.ParseFloat: parsing "));
    go_quote(out, text);
    double value;
    bool range = float_parse_go(text, &value) == -ERANGE;
    buf_add_str(out, range ? STR(": value out of range") : STR(": invalid syntax"));
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Which of its three complaints Go's time.ParseDuration makes. */
void put_duration_error(struct buf *out, struct str text) {
    struct str s = text;
    if (s.size > 0 && (s.data[0] == '-' || s.data[0] == '+'))
        s = str_from_offset(s, 1);
    while (s.size > 0) {
        size_t digits = 0, n = 0;
        for (; n < s.size && (is_digit(s.data[n]) || s.data[n] == '.'); n++) {
            if (s.data[n] == '.' && memchr(s.data, '.', n))
                break;
            digits += is_digit(s.data[n]);
        }
        if (digits == 0)
            break;
        s = str_from_offset(s, n);
        for (n = 0; n < s.size && s.data[n] != '.' && !is_digit(s.data[n]);)
            n++;
        if (n == 0) {
            buf_add_str(out, STR("time: missing unit in duration "));
            go_quote(out, text);
            return;
        }
        struct str unit = str_make(s.data, n);
        static const char *const known[] = {"ns", "us", "\xc2\xb5s", "\xce\xbcs",
                                            "ms", "s",  "m",         "h"};
        bool is_known = false;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            is_known = is_known || str_eq(unit, str_from(known[i]));
        if (!is_known) {
            buf_add_str(out, STR("time: unknown unit "));
            go_quote(out, unit);
            buf_add_str(out, STR(" in duration "));
            go_quote(out, text);
            return;
        }
        s = str_from_offset(s, n);
    }
    buf_add_str(out, STR("time: invalid duration "));
    go_quote(out, text);
}

/* go-humanize's: the number is what stands in front, without commas; then the unit in lower case. */
void put_bytes_error(struct buf *out, struct str text) {
    struct buf number = buf_make(BUF_NO_MAX);
    size_t i = 0;
    for (; i < text.size && (is_digit(text.data[i]) || text.data[i] == '.' || text.data[i] == ',');
         i++)
        if (text.data[i] != ',')
            buf_add_char(&number, text.data[i]);
    double value;
    struct str unit = str_trim(str_from_offset(text, i));
    uint64_t one;
    struct buf probe = buf_make(BUF_NO_MAX);
    buf_add_char(&probe, '1');
    buf_add_str(&probe, unit);
    struct str digits = number.size > 0 ? buf_str(&number) : STR("");
    if (float_parse_go(digits, &value) < 0) {
        put_float_error(out, digits);
    } else if (bytes_parse(buf_str(&probe), &one) == 0) {
        buf_add_str(out, STR("too large: "));
        buf_add_str(out, text);
    } else {
        buf_add_str(out, STR("unhandled size name: "));
        for (size_t k = 0; k < unit.size; k++)
            buf_add_char(out, (char)(unit.data[k] >= 'A' && unit.data[k] <= 'Z' ? unit.data[k] + 32
                                                                                : unit.data[k]));
    }
    buf_done(&number);
    buf_done(&probe);
}

/* An earlier error of the line is not overwritten: it is mostly the cause. */
static void set_error(const struct filter_node *f, struct run *r, struct str value) {
    if (labelset_get_error(r->set).size > 0)
        return;
    struct buf text = buf_make(BUF_NO_MAX);
    if (f->kind == FILTER_NUMBER)
        put_float_error(&text, value);
    else if (f->kind == FILTER_DURATION)
        put_duration_error(&text, value);
    else
        put_bytes_error(&text, value);
    char *own = run_scratch(r, text.size);
    if (own && !text.failed) {
        memcpy(own, text.data, text.size);
        labelset_error(r->set, STR("LabelFilterErr"), str_make(own, text.size));
    } else {
        r->failed = true;
    }
    buf_done(&text);
}

bool label_filter_run(const struct filter_node *f, struct run *r) {
    if (f->kind == FILTER_AND || f->kind == FILTER_OR) {
        /* The right side of "and" is asked even when the left has failed: its error may outlive the failure
         * when an "or" stands around both. */
        bool left = label_filter_run(f->left, r);
        if (left && f->kind == FILTER_OR)
            return true;
        bool right = label_filter_run(f->right, r);
        return right && (left || f->kind == FILTER_OR);
    }
    struct str value = STR("");
    if (f->kind == FILTER_STRING) {
        if (f->is_error)
            value = labelset_get_error(r->set);
        else
            (void)labelset_get(r->set, f->name, &value);
        return string_matches(f, value);
    }
    /* With an error on the line, only text filters may drop it for its address. */
    if (f->kind == FILTER_IP && labelset_get_error(r->set).size > 0)
        return true;
    if (!labelset_get(r->set, f->name, &value))
        return false;
    if (f->kind == FILTER_IP)
        return ip_matches(f->ip, value) == (f->compare == CMP_EQ);
    int passes = typed_matches(f, value);
    if (passes < 0)
        set_error(f, r, value);
    return passes != 0;
}

bool label_filter_refuses(const struct filter_node *f, struct str value, bool has_error) {
    if (f->kind == FILTER_IP)
        return !has_error && ip_matches(f->ip, value) != (f->compare == CMP_EQ);
    if (f->kind == FILTER_STRING)
        return !string_matches(f, value);
    return typed_matches(f, value) == 0;
}

void label_filter_mark(const struct filter_node *f, struct run *r, struct str value) {
    if (typed_matches(f, value) < 0)
        set_error(f, r, value);
}

int choices_compile(struct stage_compiler *c, const struct label_choice *list, struct step *ret) {
    size_t count = 0;
    for (const struct label_choice *l = list; l; l = l->next)
        count++;
    struct choice *choices = arena_array(c->arena, count + 1, sizeof(*choices));
    if (!choices)
        return -ENOMEM;
    ret->choices.list = choices;
    ret->choices.count = count;
    for (const struct label_choice *l = list; l; l = l->next, choices++) {
        *choices = (struct choice){
            .name = compiler_name(c, l->name),
            .has_matcher = l->has_matcher,
            .is_error = str_eq(l->name, STR("__error__")),
            .is_details = str_eq(l->name, STR("__error_details__")),
            .match = l->match,
            .value = l->value,
            .regex = l->regex,
        };
        if (choices->name == NAME_NONE)
            return -ENOMEM;
    }
    return 0;
}

static bool choice_matches(const struct choice *c, struct str value) {
    return !c->has_matcher || text_matches(c->match, c->value, c->regex, value);
}

void drop_run(const struct step *s, struct run *r) {
    struct labelset *set = r->set;
    for (size_t i = 0; i < s->choices.count; i++) {
        const struct choice *c = &s->choices.list[i];
        if (c->is_error) {
            if (choice_matches(c, labelset_get_error(set)))
                labelset_error(set, STR(""), labelset_get_details(set));
        } else if (c->is_details) {
            if (choice_matches(c, labelset_get_details(set)))
                labelset_error(set, labelset_get_error(set), STR(""));
        } else {
            struct str value = STR("");
            bool there = labelset_get(set, c->name, &value);
            /* A matcher that takes no value, too, makes the line's labels its own (labelset_told_details). */
            if ((there || c->has_matcher) && choice_matches(c, value))
                labelset_delete(set, c->name);
        }
    }
}

static void keep_one(struct labelset *set, uint32_t id, struct str value, void *ctx) {
    const struct step *s = ctx;
    struct str name = labelset_name_text(set, id);
    if (str_eq(name, STR("__error__")) || str_eq(name, STR("__error_details__")) ||
        str_eq(name, STR("__preserve_error__")))
        return;
    for (size_t i = 0; i < s->choices.count; i++)
        if (s->choices.list[i].name == id && choice_matches(&s->choices.list[i], value))
            return;
    labelset_delete(set, id);
}

void keep_run(const struct step *s, struct run *r) {
    labelset_each(r->set, keep_one, (void *)(uintptr_t)s);
}
