#include <errno.h>
#include <stdlib.h>

#include <zstd.h>

#include "linetab_encoder.h"

/* An encoded block is read back before it is handed out: the lines exist nowhere else afterwards, and a table has many
 * more ways to be wrong than a general compressor (linetab_check.c). */

enum {
    GROUP_ROWS_MIN = 6,  /* a smaller group costs more than its lines as text */
    SPLIT_ROWS_MIN = 24, /* lines that share all words have a group of their own from so many on */
    ZSTD_LEVEL = 1,
    ENCODE_MAX =
        1
        << 20, /* bytes of lines: a block with more has huge lines, and scratch is a multiple of them */
    KEEP_MAX = 16 << 20, /* scratch that grew larger is given back */
    KIND_SLOTS_MIN = 64,
    PROBES_MAX =
        256, /* places of a hash table looked at for one key: more, and someone has made it so */
    SCRATCH_PER_BYTE = 28,
    SCRATCH_PER_LINE = 192,
    SCRATCH_MIN = 1 << 20,
    PATHS_PER_ROW = 8, /* that the splitter may note */
    PAYS_SHARE = 2,    /* lines that fit no group: at most this share of the bytes */
};

/* A make of rows, by its hash. */
struct kind {
    uint64_t key;
    uint32_t rows, group;
};

struct row {
    struct shape shape;
    uint32_t first, count; /* tokens */
    uint32_t group;        /* 0: none */
    struct kind *kind;
};

/* As they came, and a hash table of them: slots hold their number + 1, or 0. It begins small, as most tables have few. */
struct kinds {
    struct kind *list;
    uint32_t *slots;
    uint32_t n, n_slots, n_slots_max;
};

struct group {
    uint32_t rows, first_row, filled;
    bool same_words;
};

struct table_builder {
    struct linetab_encoder *e;
    const struct piece *values;
    uint32_t n;
    struct piece *tokens;
    struct row *rows;
    struct group groups[LINETAB_GROUPS_MAX + 1];
    uint32_t n_groups;
    uint32_t *members; /* rows by group */
    enum split split;
    uint32_t distance;
    uint32_t tail, tail_end; /* bytes that all rows end with, and where they end in one */
    bool in_dictionary;
};

static int kinds_init(struct linetab_encoder *e, struct kinds *k, uint32_t n) {
    *k = (struct kinds){.n_slots = KIND_SLOTS_MIN, .n_slots_max = KIND_SLOTS_MIN};
    while (k->n_slots_max < 2 * n)
        k->n_slots_max *= 2;
    k->list = SCRATCH(e, n, struct kind);
    k->slots = SCRATCH(e, k->n_slots_max, uint32_t);
    if (!k->list || !k->slots)
        return -ENOMEM;
    memset(k->slots, 0, k->n_slots * sizeof(*k->slots));
    return 0;
}

/* The slot of the key, or the free one where it would be. NULL: many keys want this place. */
static inline uint32_t *find_kind_slot(const struct kinds *k, uint64_t key) {
    uint32_t at = (uint32_t)(key >> 24) & (k->n_slots - 1);
    for (uint32_t probes = 0; k->slots[at] && k->list[k->slots[at] - 1].key != key; probes++) {
        at = (at + 1) & (k->n_slots - 1);
        if (probes > PROBES_MAX)
            return NULL;
    }
    return &k->slots[at];
}

static void grow_kind_slots(struct kinds *k) {
    k->n_slots = k->n_slots * 4 < k->n_slots_max ? k->n_slots * 4 : k->n_slots_max;
    memset(k->slots, 0, k->n_slots * sizeof(*k->slots));
    for (uint32_t i = 0; i < k->n; i++) {
        uint32_t *slot = find_kind_slot(k, k->list[i].key);
        if (slot)
            *slot = i + 1;
    }
}

/* NULL: many keys want this place. */
static inline struct kind *kinds_at(struct kinds *k, uint64_t key) {
    uint32_t *slot = find_kind_slot(k, key);
    if (slot && *slot == 0) {
        k->list[k->n++] = (struct kind){.key = key};
        *slot = k->n;
        if (k->n > k->n_slots / 2 && k->n_slots < k->n_slots_max)
            grow_kind_slots(k);
        return &k->list[k->n - 1];
    }
    return slot ? &k->list[*slot - 1] : NULL;
}

static int split_rows(struct table_builder *b) {
    struct linetab_encoder *e = b->e;
    size_t most = b->n;
    for (uint32_t i = 0; i < b->n; i++)
        most += b->values[i].size / 2;
    b->tokens = SCRATCH(e, most, struct piece);
    b->rows = SCRATCH(e, b->n, struct row);
    b->members = SCRATCH(e, b->n, uint32_t);
    if (!b->tokens || !b->rows || !b->members)
        return -ENOMEM;
    size_t mark = e->scratch_used;
    uint32_t at = 0, paths = b->n < SPLITTER_PATHS_MAX / PATHS_PER_ROW ? (b->n + 1) * PATHS_PER_ROW
                                                                       : SPLITTER_PATHS_MAX;
    void *memory = scratch_alloc(e, paths, SPLITTER_PATH_SIZE);
    if (!memory)
        return -ENOMEM;
    struct splitter splitter;
    splitter_init(&splitter, &e->marks, b->split, memory, paths);
    for (uint32_t i = 0; i < b->n; i++) {
        struct row *row = &b->rows[i];
        row->first = at;
        row->group = 0;
        row->count =
            split_piece(&splitter, b->values[i], b->tokens + at, LINETAB_SLOTS_MAX, &row->shape);
        at += row->count == UINT32_MAX ? 0 : row->count;
    }
    e->scratch_used = mark;
    return 0;
}

/* That equal hashes mean equal gaps is not looked at: it is as good as certain, and a block in which it does not hold
 * does not read back. */
static void join_group(struct table_builder *b, uint32_t i, struct kind *kind, bool same_words) {
    struct row *row = &b->rows[i];
    if (kind->group == 0) {
        if (b->n_groups == LINETAB_GROUPS_MAX)
            return;
        kind->group = ++b->n_groups;
        b->groups[kind->group] = (struct group){.first_row = i, .same_words = same_words};
    } else if (row->count != b->rows[b->groups[kind->group].first_row].count) {
        return;
    }
    row->group = kind->group;
    b->groups[kind->group].rows++;
}

static int group_rows(struct table_builder *b) {
    struct kinds words, gaps;
    uint64_t mask = b->e->shape_mask;
    int r = kinds_init(b->e, &words, b->n);
    if (r == 0)
        r = kinds_init(b->e, &gaps, b->n);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < b->n; i++) {
        struct row *row = &b->rows[i];
        row->kind = row->count == UINT32_MAX ? NULL : kinds_at(&words, row->shape.words & mask);
        if (row->kind)
            row->kind->rows++;
    }
    for (uint32_t i = 0; i < b->n; i++) {
        struct row *row = &b->rows[i];
        if (!row->kind || row->kind->rows >= SPLIT_ROWS_MIN)
            continue;
        row->kind = kinds_at(&gaps, row->shape.gaps & mask);
        if (row->kind)
            row->kind->rows++;
    }
    for (uint32_t i = 0; i < b->n; i++) {
        struct kind *kind = b->rows[i].kind;
        if (kind && kind->rows >= GROUP_ROWS_MIN)
            join_group(b, i, kind, kind >= words.list && kind < words.list + words.n);
    }
    return 0;
}

/* Rows of a group stand together in `members`, those of none first. */
static void gather_members(struct table_builder *b) {
    uint32_t none = b->n, at;
    for (uint32_t g = 1; g <= b->n_groups; g++)
        none -= b->groups[g].rows;
    b->groups[0] = (struct group){.rows = none};
    at = 0;
    for (uint32_t g = 0; g <= b->n_groups; g++) {
        b->groups[g].filled = at;
        at += b->groups[g].rows;
    }
    for (uint32_t i = 0; i < b->n; i++)
        b->members[b->groups[b->rows[i].group].filled++] = i;
}

struct group_writer {
    struct table_builder *b;
    uint32_t rows;
    uint32_t column; /* of those written */
    uint32_t
        fixed; /* where in the first row the fixed bytes begin that nothing was written of yet */
    uint32_t varied; /* where in it the last column ended */
    size_t fresh;    /* what is noted of its rows */
    /* dictionaries of this group, for columns that follow them */
    struct {
        const uint32_t *ids;
        uint32_t n_distinct, column;
    } dictionaries[16];
    uint32_t n_dictionaries;
};

/* Is the column a function of an earlier dictionary's ids? Then its values are stored by those. */
static void try_shared(struct group_writer *w, struct column_plan *plan) {
    struct linetab_encoder *e = w->b->e;
    for (uint32_t d = w->n_dictionaries; d > 0; d--) {
        uint32_t n_other = w->dictionaries[d - 1].n_distinct;
        const uint32_t *ids = w->dictionaries[d - 1].ids;
        if (n_other < plan->n_distinct || n_other > plan->n_distinct * 4 || n_other > w->rows / 2)
            continue;
        uint32_t *map = SCRATCH(e, n_other, uint32_t);
        struct piece *distinct = SCRATCH(e, n_other, struct piece);
        if (!map || !distinct)
            return;
        memset(map, 0xff, n_other * sizeof(*map));
        uint32_t i = 0;
        for (; i < w->rows; i++) {
            uint32_t *to = &map[ids[i]];
            if (*to == UINT32_MAX)
                *to = plan->ids[i];
            else if (*to != plan->ids[i])
                break;
        }
        if (i < w->rows)
            continue;
        for (uint32_t k = 0; k < n_other; k++)
            distinct[k] = plan->distinct[map[k]];
        plan->kind = COLUMN_SHARED;
        plan->shared = w->dictionaries[d - 1].column;
        plan->distinct = distinct;
        plan->n_distinct = n_other;
        return;
    }
}

static void note_dictionary(struct group_writer *w, const struct column_plan *plan) {
    if (plan->kind != COLUMN_DICT || w->n_dictionaries == 16)
        return;
    w->dictionaries[w->n_dictionaries].ids = plan->ids;
    w->dictionaries[w->n_dictionaries].n_distinct = plan->n_distinct;
    w->dictionaries[w->n_dictionaries++].column = w->column;
}

/* A word without digits is the same in all rows that have the same words, and need not be looked at. One next to a quote
 * may be a string, which is none. */
static bool is_word(const struct table_builder *b, struct piece token) {
    const char *p = piece_data(b->e, token);
    return token.size > 0 && *p != ' ' && (token.offset == 0 || p[-1] != '"') &&
           !marks_any(b->e->marks.digit, token);
}

/* The slots of the group that may differ from row to row. */
static uint32_t find_slots(const struct table_builder *b, const struct group *g,
                           const struct row *first, uint16_t *ret_slots) {
    uint32_t n = 0;
    for (uint32_t slot = 0; slot < first->count; slot++)
        if (!g->same_words || !is_word(b, b->tokens[first->first + slot]))
            ret_slots[n++] = (uint16_t)slot;
    return n;
}

/* The tokens of the group's rows, slot by slot, each slot `stride` behind the one before. */
static struct piece *turn_columns(struct table_builder *b, const uint32_t *members, uint32_t rows,
                                  const uint16_t *slots, uint32_t n_slots, uint32_t stride) {
    struct piece *columns = SCRATCH(b->e, (size_t)n_slots * stride, struct piece);
    if (!columns)
        return NULL;
    for (uint32_t i = 0; i < rows; i++) {
        const struct piece *token = b->tokens + b->rows[members[i]].first;
        for (uint32_t k = 0; k < n_slots; k++)
            columns[(size_t)k * stride + i] = token[slots[k]];
    }
    return columns;
}

/* The fixed bytes up to `end`, which stand in the first row as they are. */
static void put_fixed(struct group_writer *w, uint32_t end) {
    struct linetab_encoder *e = w->b->e;
    plan_put_bytes(e, e->marks.text + w->fixed, end - w->fixed);
}

/* One slot of all rows: its text joins the fixed bytes when it is the same everywhere. */
static int put_slot(struct group_writer *w, const struct piece *values) {
    struct table_builder *b = w->b;
    struct linetab_encoder *e = b->e;
    struct column_plan plan;
    size_t mark = e->scratch_used;
    int r = column_analyse(e, values, w->rows, b->split, b->in_dictionary, &plan);
    if (r < 0)
        return r;
    if (plan.constant) {
        e->scratch_used = mark;
        return 0;
    }
    if (plan.kind == COLUMN_DICT)
        try_shared(w, &plan);
    uint32_t from = values[0].offset, end = from + values[0].size;
    put_fixed(w, from + plan.prefix);
    w->fixed = end - plan.suffix;
    note_dictionary(w, &plan);
    w->column++;
    plan.distance = from - w->varied;
    if (!b->in_dictionary)
        w->fresh = fresh_column(e, &plan, w->fresh);
    r = column_put(e, &plan, b->in_dictionary);
    w->varied = end - (plan.kind == COLUMN_TABLE ? e->tail : 0);
    if (plan.kind != COLUMN_DICT) /* whose ids others may follow */
        e->scratch_used = mark;
    return r;
}

/* The table's tail is what the tails of all its groups have in common, as far as it matters. `size`: of the fixed bytes
 * that this one's rows end with. */
static void shorten_tail(struct table_builder *b, struct piece row, uint32_t size) {
    const char *text = b->e->marks.text;
    uint32_t n = 0, most = size < row.size ? size : row.size;
    while (n < most && n < b->tail &&
           text[row.offset + row.size - 1 - n] == text[b->tail_end - 1 - n])
        n++;
    b->tail = n;
}

/* A group is varint rows, then fixed bytes and a column by turns; the last fixed bytes are followed by kind 0. */
static int put_group(struct table_builder *b, const uint32_t *members, const struct group *g) {
    struct linetab_encoder *e = b->e;
    struct piece whole = b->values[members[0]];
    struct group_writer w = {.b = b,
                             .rows = g->rows,
                             .fixed = whole.offset,
                             .varied = whole.offset - b->distance,
                             .fresh = FRESH_NONE};
    size_t mark = e->scratch_used;
    uint32_t stride = g->rows | 1; /* odd: columns do not crowd one cache set */
    uint16_t slots[LINETAB_SLOTS_MAX];
    uint32_t n_slots = find_slots(b, g, &b->rows[members[0]], slots);
    const struct piece *columns = turn_columns(b, members, g->rows, slots, n_slots, stride);
    int r = columns ? 0 : -ENOMEM;
    if (!b->in_dictionary)
        fresh_piece(e, whole);
    plan_put_varint(e, g->rows);
    for (uint32_t k = 0; r == 0 && k < n_slots; k++)
        r = put_slot(&w, columns + (size_t)k * stride);
    put_fixed(&w, whole.offset + whole.size);
    buf_add_char(&e->plan, 0);
    shorten_tail(b, whole, whole.offset + whole.size - w.varied);
    e->scratch_used = mark;
    return r;
}

static int put_odd(struct table_builder *b) {
    struct linetab_encoder *e = b->e;
    uint32_t n = b->groups[0].rows;
    struct piece *values = SCRATCH(e, n, struct piece);
    if (!values)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        values[i] = b->values[b->members[i]];
        if (b->split == SPLIT_LINE)
            e->odd_bytes += values[i].size;
        if (!b->in_dictionary)
            fresh_piece(e, values[i]);
    }
    struct column_plan plan = {.kind = COLUMN_TEXT, .n = n, .values = values};
    return column_put(e, &plan, b->in_dictionary);
}

static int put_table_ids(struct table_builder *b) {
    uint32_t *ids = SCRATCH(b->e, b->n, uint32_t);
    if (!ids)
        return -ENOMEM;
    for (uint32_t i = 0; i < b->n; i++)
        ids[i] = b->rows[i].group;
    plan_put_varint(b->e, b->n_groups);
    return ids_put(b->e, ids, b->n, b->n_groups + 1);
}

int table_put(struct linetab_encoder *e, const struct piece *values, uint32_t n, enum split split,
              uint32_t distance, bool in_dictionary) {
    size_t mark = e->scratch_used;
    struct table_builder *b = SCRATCH(e, 1, struct table_builder);
    if (!b)
        return -ENOMEM;
    *b = (struct table_builder){.e = e,
                                .values = values,
                                .n = n,
                                .split = split,
                                .distance = distance,
                                .in_dictionary = in_dictionary};
    int r = split_rows(b);
    if (r == 0)
        r = group_rows(b);
    if (r < 0)
        return r;
    gather_members(b);
    r = put_table_ids(b);
    plan_put_varint(e, b->groups[0].rows);
    if (r == 0 && b->groups[0].rows > 0)
        r = put_odd(b);
    uint32_t at = b->groups[0].rows;
    b->tail = at > 0 ? 0 : values[0].size < LINETAB_RUN ? values[0].size : LINETAB_RUN;
    b->tail_end = values[0].offset + values[0].size;
    for (uint32_t g = 1; r == 0 && g <= b->n_groups; g++) {
        r = put_group(b, b->members + at, &b->groups[g]);
        at += b->groups[g].rows;
    }
    e->tail = b->tail;
    e->scratch_used = mark;
    return r;
}

/* ---- assembly */

/* Appends `raw`, compressed when that saves something; tells the flag. */
static int add_stream(struct linetab_encoder *e, const struct buf *raw, struct buf *out,
                      uint32_t *ret_stored, bool *ret_zstd) {
    int r = buf_reserve(out, ZSTD_compressBound(raw->size));
    if (r < 0)
        return r;
    char *to = out->data + out->size;
    size_t size = raw->size < 32 ? 0
                                 : ZSTD_compressCCtx(e->zstd, to, out->capacity - out->size,
                                                     raw->data, raw->size, ZSTD_LEVEL);
    *ret_zstd = size > 0 && !ZSTD_isError(size) && size < raw->size - raw->size / 32;
    if (!*ret_zstd) {
        size = raw->size;
        if (size > 0)
            memcpy(to, raw->data, size);
    }
    *ret_stored = (uint32_t)size;
    out->size += size;
    return 0;
}

static int assemble(struct linetab_encoder *e, struct buf *out) {
    static const char zeros[LINETAB_PACKED_PAD];
    size_t at = out->size;
    uint32_t plan_size = 0, text_size = 0;
    bool plan_zstd = false, text_zstd = false;
    buf_add(&e->packed, zeros, sizeof(zeros));
    int r = e->plan.failed || e->text.failed || e->packed.failed ? -ENOMEM : 0;
    if (r == 0)
        r = buf_reserve(out, LINETAB_HEADER + e->packed.size);
    if (r < 0)
        return r;
    memset(out->data + at, 0, LINETAB_HEADER);
    out->size += LINETAB_HEADER;
    r = add_stream(e, &e->plan, out, &plan_size, &plan_zstd);
    if (r == 0)
        r = add_stream(e, &e->text, out, &text_size, &text_zstd);
    buf_add(out, e->packed.data, e->packed.size);
    if (r < 0 || out->failed) {
        out->size = at;
        return -ENOMEM;
    }
    char *head = out->data + at;
    head[0] = LINETAB_VERSION;
    head[1] = (char)((plan_zstd ? LINETAB_PLAN_ZSTD : 0) | (text_zstd ? LINETAB_TEXT_ZSTD : 0));
    put_le32(head + 4, (uint32_t)e->plan.size);
    put_le32(head + 8, plan_size);
    put_le32(head + 12, (uint32_t)e->text.size);
    put_le32(head + 16, text_size);
    put_le32(head + 20, (uint32_t)e->packed.size);
    return 1;
}

static bool reads_back(struct linetab_encoder *e, struct str text, const uint32_t *offsets,
                       uint32_t count, struct str encoded) {
    struct err err;
    return linetab_open(e->reader, encoded, count, &err) == 0 &&
           linetab_equals(e->reader, text, offsets, &err) == 1;
}

static int prepare(struct linetab_encoder *e, struct str text, uint32_t count) {
    size_t wanted = text.size * SCRATCH_PER_BYTE + (size_t)count * SCRATCH_PER_LINE + SCRATCH_MIN;
    if (wanted > e->scratch_capacity) {
        free(e->scratch);
        e->scratch = malloc(wanted);
        e->scratch_capacity = e->scratch ? wanted : 0;
    }
    e->scratch_used = 0;
    e->odd_bytes = 0;
    buf_clear(&e->plan);
    buf_clear(&e->text);
    buf_clear(&e->packed);
    buf_clear(&e->fresh);
    return e->scratch ? text_marks_load(&e->marks, text) : -ENOMEM;
}

/* The lines into the three streams: 1, or 0 when that is not worth it. */
static int put_lines(struct linetab_encoder *e, struct str text, const uint32_t *offsets,
                     uint32_t count) {
    struct piece *lines = SCRATCH(e, count, struct piece);
    if (!lines)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        lines[i] = (struct piece){offsets[i], offsets[i + 1] - 1 - offsets[i]};
    int r = table_put(e, lines, count, SPLIT_LINE, LINETAB_RUN, false);
    if (r == -ENOMEM && !e->plan.failed && !e->text.failed && !e->packed.failed)
        return 0; /* the scratch was too small for these lines */
    return r < 0 ? r : e->odd_bytes <= text.size / PAYS_SHARE;
}

int encode_lines(struct linetab_encoder *e, struct str text, const uint32_t *offsets,
                 uint32_t count, struct buf *out) {
    if (text.size > ENCODE_MAX || count < GROUP_ROWS_MIN)
        return 0;
    size_t at = out->size;
    int r = prepare(e, text, count);
    if (r == 0)
        r = put_lines(e, text, offsets, count);
    if (r == 1)
        r = assemble(e, out);
    if (r == 1 && !reads_back(e, text, offsets, count, str_make(out->data + at, out->size - at))) {
        out->size = at;
        e->mismatches++;
        r = 0;
    }
    if (e->scratch_capacity > KEEP_MAX) {
        free(e->scratch);
        e->scratch = NULL;
        e->scratch_capacity = 0;
    }
    return r;
}
