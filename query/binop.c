/* Binary operations on vectors and scalars. Rules that differ from Prometheus: dividing by zero is NaN, and a
 * comparison of two numbers is 0 or 1 with or without bool. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "vector.h"

static bool is_comparison(enum binary_op op) {
    return op >= BIN_EQ && op <= BIN_LTE;
}

static double apply(enum binary_op op, double l, double r) {
    switch (op) {
    case BIN_ADD:
        return l + r;
    case BIN_SUB:
        return l - r;
    case BIN_MUL:
        return l * r;
    case BIN_DIV:
        return r == 0 ? NAN : l / r;
    case BIN_MOD:
        return r == 0 ? NAN : fmod(l, r);
    case BIN_POW:
        return pow(l, r);
    case BIN_EQ:
        return l == r;
    case BIN_NEQ:
        return l != r;
    case BIN_GT:
        return l > r;
    case BIN_GTE:
        return l >= r;
    case BIN_LT:
        return l < r;
    case BIN_LTE:
        return l <= r;
    case BIN_AND:
    case BIN_OR:
    case BIN_UNLESS:
        break;
    }
    return NAN;
}

/* A vector with one number: labels stay; a comparison without bool keeps the vector's own value. */
static int with_scalar(struct exec *x, const struct binary *b, const struct vec *in, double scalar,
                       bool scalar_is_left, struct vec *ret) {
    struct vec_series *out = arena_array(&x->arena, in->count, sizeof(*out));
    if (!out)
        return -ENOMEM;
    bool filters = is_comparison(b->op) && !b->return_bool;
    for (size_t i = 0; i < in->count; i++) {
        const struct vec_series *s = &in->series[i];
        int r = vec_series_make(x, s->labels, &out[i]);
        if (r < 0)
            return r;
        for (uint32_t step = 0; step < x->steps.count; step++) {
            if (!s->present[step])
                continue;
            double v = scalar_is_left ? apply(b->op, scalar, s->values[step])
                                      : apply(b->op, s->values[step], scalar);
            out[i].present[step] = !filters || v != 0;
            out[i].values[step] = filters ? s->values[step] : v;
        }
    }
    *ret = (struct vec){.series = out, .count = in->count, .ordered = in->ordered};
    return 0;
}

/* ---- two vectors */

/* The matching labels of both sides, numbered alike. */
struct signatures {
    uint32_t *left, *right; /* per series */
    size_t count;
};

static int sign(struct exec *x, const struct binary *b, const struct vec *in,
                struct label_index *index, uint32_t **ret) {
    uint32_t *signature = arena_array(&x->arena, in->count, sizeof(*signature));
    if (!signature)
        return -ENOMEM;
    for (size_t i = 0; i < in->count; i++) {
        struct labels key;
        int r = labels_reduce(&x->arena, in->series[i].labels, b->labels,
                              b->has_matching ? b->n_labels : 0, b->has_matching && b->on, &key);
        if (r == 0)
            r = label_index_find(index, key, &signature[i], NULL);
        if (r < 0)
            return r;
    }
    *ret = signature;
    return 0;
}

static int sign_both(struct exec *x, const struct binary *b, const struct vec *left,
                     const struct vec *right, struct signatures *ret) {
    struct label_index index;
    int r = label_index_make(&x->arena, left->count + right->count, &index);
    if (r == 0)
        r = sign(x, b, left, &index, &ret->left);
    if (r == 0)
        r = sign(x, b, right, &index, &ret->right);
    ret->count = index.count;
    return r;
}

/* and, unless: the left side where the right has, or has not, the same signature. or: both, the right side
 * where the left has not. */
static int set_operation(struct exec *x, const struct binary *b, const struct vec *left,
                         const struct vec *right, struct vec *ret) {
    struct signatures sig;
    int r = sign_both(x, b, left, right, &sig);
    if (r < 0)
        return r;
    bool *seen = arena_array(&x->arena, sig.count, sizeof(*seen));
    size_t room = left->count + (b->op == BIN_OR ? right->count : 0);
    struct vec_series *out = arena_array(&x->arena, room, sizeof(*out));
    if (!seen || !out)
        return -ENOMEM;
    for (size_t i = 0; i < room; i++) {
        const struct vec_series *from =
            i < left->count ? &left->series[i] : &right->series[i - left->count];
        r = vec_series_make(x, from->labels, &out[i]);
        if (r < 0)
            return r;
        memcpy(out[i].values, from->values, x->steps.count * sizeof(*from->values));
    }
    const struct vec *decides = b->op == BIN_OR ? left : right;
    const uint32_t *decides_sig = b->op == BIN_OR ? sig.left : sig.right;
    for (uint32_t step = 0; step < x->steps.count; step++) {
        memset(seen, 0, sig.count * sizeof(*seen));
        for (size_t i = 0; i < decides->count; i++)
            if (decides->series[i].present[step])
                seen[decides_sig[i]] = true;
        for (size_t i = 0; i < left->count; i++)
            out[i].present[step] = left->series[i].present[step] &&
                                   (b->op == BIN_OR || seen[sig.left[i]] == (b->op == BIN_AND));
        for (size_t i = left->count; i < room; i++) {
            size_t j = i - left->count;
            out[i].present[step] = right->series[j].present[step] && !seen[sig.right[j]];
        }
    }
    *ret = (struct vec){.series = out, .count = room, .ordered = left->ordered};
    return 0;
}

/* Arithmetic and comparison. The "many" side gives the result's labels; for group_right it is the right. */
struct match {
    struct exec *exec;
    const struct binary *b;
    bool swapped;
    const struct vec *many, *one;
    const uint32_t *many_sig, *one_sig;
    uint32_t *one_of_sig; /* per signature: series of the one side present at this step, plus one */
    bool *matched;        /* per signature, one to one: has a partner at this step */
    uint32_t *last_one;   /* per many series: the partner that out_of was found for, plus one */
    uint32_t *out_of;     /* per many series: its result series for that partner */
    struct label_index index;
    struct vec_series *out;
    size_t out_capacity;
};

static int result_labels(struct match *m, const struct vec_series *many,
                         const struct vec_series *one, struct labels *ret) {
    const struct binary *b = m->b;
    struct arena *arena = &m->exec->arena;
    struct labels labels = many->labels;
    int r = 0;
    if (b->card == CARD_ONE_TO_ONE && b->has_matching)
        r = labels_reduce(arena, labels, b->labels, b->n_labels, b->on, &labels);
    if (r < 0 || b->n_include == 0) {
        *ret = labels;
        return r;
    }
    /* group_left(x): x is taken from the one side, or removed when that has none. */
    r = labels_reduce(arena, labels, b->include, b->n_include, false, &labels);
    struct label *items = arena_array(arena, labels.count + b->n_include, sizeof(*items));
    if (r < 0 || !items)
        return -ENOMEM;
    size_t count = labels.count;
    memcpy(items, labels.items, count * sizeof(*items));
    for (size_t i = 0; i < b->n_include; i++) {
        struct str value = labels_get(one->labels, b->include[i]);
        if (value.size > 0)
            items[count++] = (struct label){.name = b->include[i], .value = value};
    }
    *ret = (struct labels){.items = items, .count = labels_normalize(items, count)};
    return 0;
}

/* The result series of a pair; found once per pair, pairs hardly change from step to step. */
static int result_series(struct match *m, size_t many, uint32_t one, uint32_t *ret) {
    if (m->last_one[many] == one + 1) {
        *ret = m->out_of[many];
        return 0;
    }
    struct labels labels;
    bool is_new;
    int r = result_labels(m, &m->many->series[many], &m->one->series[one], &labels);
    if (r == 0)
        r = label_index_find(&m->index, labels, ret, &is_new);
    if (r < 0)
        return r;
    if (is_new && m->index.count > m->out_capacity) {
        size_t capacity = m->out_capacity * 2;
        struct vec_series *out = arena_array(&m->exec->arena, capacity, sizeof(*out));
        if (!out)
            return -ENOMEM;
        memcpy(out, m->out, m->out_capacity * sizeof(*out));
        m->out = out;
        m->out_capacity = capacity;
    }
    if (is_new) {
        r = vec_series_make(m->exec, labels, &m->out[*ret]);
        if (r < 0)
            return r;
    }
    m->last_one[many] = one + 1;
    m->out_of[many] = *ret;
    return 0;
}

static int index_one_side(struct match *m, size_t n_signatures, uint32_t step, struct err *reterr) {
    memset(m->one_of_sig, 0, n_signatures * sizeof(*m->one_of_sig));
    memset(m->matched, 0, n_signatures * sizeof(*m->matched));
    for (size_t i = 0; i < m->one->count; i++) {
        if (!m->one->series[i].present[step])
            continue;
        uint32_t sig = m->one_sig[i];
        if (m->one_of_sig[sig])
            return err_set(reterr, -EREFUSED,
                           "found duplicate series on the %s hand-side;many-to-many matching not "
                           "allowed: matching labels must be unique on one side",
                           m->swapped ? "left" : "right");
        m->one_of_sig[sig] = (uint32_t)i + 1;
    }
    return 0;
}

static int match_step(struct match *m, size_t n_signatures, uint32_t step, struct err *reterr) {
    const struct binary *b = m->b;
    int r = index_one_side(m, n_signatures, step, reterr);
    for (size_t i = 0; r == 0 && i < m->many->count; i++) {
        const struct vec_series *many = &m->many->series[i];
        uint32_t sig = m->many_sig[i];
        if (!many->present[step] || !m->one_of_sig[sig])
            continue;
        uint32_t one = m->one_of_sig[sig] - 1;
        if (b->card == CARD_ONE_TO_ONE && m->matched[sig])
            return err_set(reterr, -EREFUSED,
                           "multiple matches for labels: many-to-one matching must be explicit "
                           "(group_left/group_right)");
        m->matched[sig] = true;
        uint32_t at;
        r = result_series(m, i, one, &at);
        if (r < 0)
            return exec_no_memory(reterr);
        if (m->out[at].present[step])
            return err_set(
                reterr, -EREFUSED,
                "multiple matches for labels: grouping labels must ensure unique matches");
        double left = many->values[step], right = m->one->series[one].values[step];
        if (m->swapped) {
            double swap = left;
            left = right;
            right = swap;
        }
        double v = apply(b->op, left, right);
        bool filters = is_comparison(b->op) && !b->return_bool;
        m->out[at].present[step] = !filters || v != 0;
        m->out[at].values[step] = filters ? left : v;
    }
    return r;
}

static int match_vectors(struct exec *x, const struct binary *b, const struct vec *left,
                         const struct vec *right, struct vec *ret, struct err *reterr) {
    struct signatures sig;
    if (sign_both(x, b, left, right, &sig) < 0)
        return exec_no_memory(reterr);
    bool swapped = b->card == CARD_ONE_TO_MANY;
    struct match m = {
        .exec = x,
        .b = b,
        .swapped = swapped,
        .many = swapped ? right : left,
        .one = swapped ? left : right,
        .many_sig = swapped ? sig.right : sig.left,
        .one_sig = swapped ? sig.left : sig.right,
        .one_of_sig = arena_array(&x->arena, sig.count, sizeof(uint32_t)),
        .matched = arena_array(&x->arena, sig.count, sizeof(bool)),
        .out_capacity = 16,
        .out = arena_array(&x->arena, 16, sizeof(struct vec_series)),
    };
    m.last_one = arena_array(&x->arena, m.many->count, sizeof(uint32_t));
    m.out_of = arena_array(&x->arena, m.many->count, sizeof(uint32_t));
    if (!m.one_of_sig || !m.matched || !m.out || !m.last_one || !m.out_of ||
        label_index_make(&x->arena, m.many->count, &m.index) < 0)
        return exec_no_memory(reterr);
    for (uint32_t step = 0; step < x->steps.count; step++) {
        int r = match_step(&m, sig.count, step, reterr);
        if (r < 0)
            return r;
    }
    *ret = (struct vec){.series = m.out, .count = m.index.count, .ordered = m.many->ordered};
    return 0;
}

int vec_binary(struct exec *x, const struct binary *b, const struct vec *left,
               const struct vec *right, struct vec *ret, struct err *reterr) {
    if (left->is_scalar && right->is_scalar) {
        *ret = (struct vec){.is_scalar = true, .scalar = apply(b->op, left->scalar, right->scalar)};
        return 0;
    }
    bool is_set = b->op == BIN_AND || b->op == BIN_OR || b->op == BIN_UNLESS;
    if (is_set && (left->is_scalar || right->is_scalar))
        return err_set(reterr, -ESYNTAX, "unexpected literal for a side of a logical operation");
    int r;
    if (is_set)
        r = set_operation(x, b, left, right, ret);
    else if (left->is_scalar)
        r = with_scalar(x, b, right, left->scalar, true, ret);
    else if (right->is_scalar)
        r = with_scalar(x, b, left, right->scalar, false, ret);
    else
        return match_vectors(x, b, left, right, ret, reterr);
    return r < 0 ? exec_no_memory(reterr) : 0;
}
