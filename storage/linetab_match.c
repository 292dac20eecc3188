/* Which rows of a table hold a literal, or a row of bytes from sets, told from the table's parts.
 *
 * A row of a group is fixed bytes and values by turns. The literal stands in it either inside one value, or it overlaps
 * at least one stretch of fixed bytes (an empty stretch, too: then it begins before and ends behind). For each stretch
 * every placement is tried: where the overlapping bytes agree, what is left of the literal must be the end of the value
 * before and the beginning of the value behind. Dictionaries decide that for each of their values, typed columns for each
 * row where their characters fit at all; where neither can tell, the row may match. Nothing is assumed of where an
 * encoder puts the borders. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "linetab_reader.h"

/* What a value of typed columns can be made of. */
enum letters { DIGITS, HEX_DIGITS, IP_LETTERS, UUID_LETTERS, TIME_LETTERS, LETTER_KINDS };

struct literal {
    size_t size;
    struct str text; /* a row of sets: what of it is fixed */
    bool fold;
    char lower[LINETAB_LITERAL_MAX];
    const struct linetab_row *row; /* NULL: a literal */
    uint64_t places[LETTER_KINDS]; /* of a row: where any of the letters may stand */
};

/* What is known of the rows of a group or table. */
struct verdict {
    uint8_t all;   /* of every row, at least */
    uint8_t *rows; /* NULL: nothing but `all` */
    uint32_t n;
};

struct matcher {
    struct linetab *t;
    const struct literal *literal;
    struct err *err;
    bool by_rows; /* typed columns are to be asked for each row */
};

static inline char fold_byte(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool row_stands(const struct linetab_row *row, size_t at, const char *p, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!(row->allowed[(unsigned char)p[i]] >> (at + i) & 1))
            return false;
    return true;
}

/* Do the literal's bytes from `at` on stand at p? Mostly the first one differs. */
static inline bool stands(const struct literal *l, size_t at, const char *p, size_t size) {
    if (l->row)
        return row_stands(l->row, at, p, size);
    if (size > 0 && fold_byte(*p) != l->lower[at])
        return false;
    if (!l->fold)
        return size == 0 || memcmp(l->text.data + at, p, size) == 0;
    for (size_t i = 0; i < size; i++)
        if (fold_byte(p[i]) != l->lower[at + i])
            return false;
    return true;
}

static const char *find_row(const struct linetab_row *row, struct str text) {
    if (text.size < row->size)
        return NULL;
    size_t places = text.size - row->size + 1;
    for (size_t i = 0; i < places; i++) {
        if (row->fixed.size >
            1) { /* the fixed bytes leave room for what stands before and behind them */
            struct str rest =
                str_make(text.data + i + row->fixed_at, places - i + row->fixed.size - 1);
            const char *hit = str_find(rest, row->fixed);
            if (!hit)
                return NULL;
            i = (size_t)(hit - text.data) - row->fixed_at;
        }
        if (row_stands(row, 0, text.data + i, row->size))
            return text.data + i;
    }
    return NULL;
}

/* The first place of the literal in the text, or NULL. */
static const char *find(const struct literal *l, struct str text) {
    if (l->row)
        return find_row(l->row, text);
    if (!l->fold)
        return str_find(text, l->text);
    const char *last = text.data + text.size - l->text.size;
    if (text.size < l->text.size)
        return NULL;
    for (const char *p = text.data; p <= last; p++)
        if (fold_byte(*p) == l->lower[0] && stands(l, 0, p, l->text.size))
            return p;
    return NULL;
}

static int no_memory(struct err *reterr) {
    return err_set(reterr, -ENOMEM, "block: no memory to search a table of lines");
}

static void raise_all(struct verdict *v, uint8_t level) {
    if (level > v->all)
        v->all = level;
}

/* Per-row levels, zeroed at first use. */
static uint8_t *verdict_rows(struct matcher *m, struct verdict *v) {
    if (!v->rows)
        v->rows = arena_array(&m->t->tools->scratch, v->n, 1);
    return v->rows;
}

static inline bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_hex(char c) {
    c |= 0x20;
    return is_digit(c) || (c >= 'a' && c <= 'f');
}

/* Can the byte stand in a value of the column? */
static bool can_hold(const struct column *c, char byte) {
    switch (c->kind) {
    case COLUMN_NUMBER:
        return is_digit(byte);
    case COLUMN_HEX:
        return is_hex(byte) || (byte == '-' && c->flags & HEX_UUID);
    case COLUMN_IP:
        return is_digit(byte) || byte == '.';
    case COLUMN_TIME:
        return is_digit(byte) || memchr("-/:", byte, 3) || byte == c->point ||
               fold_byte(byte) == fold_byte(c->between) ||
               (c->flags == DATE_NAMED && fold_byte(byte) >= 'a' && fold_byte(byte) <= 'z');
    case COLUMN_TEXT:
    case COLUMN_DICT:
    case COLUMN_SHARED:
    case COLUMN_TABLE:
    case COLUMN_KINDS:
        break;
    }
    return true;
}

/* Which letters values of the column are made of; LETTER_KINDS: others, too. */
static enum letters letters_of(const struct column *c) {
    switch (c->kind) {
    case COLUMN_NUMBER:
        return DIGITS;
    case COLUMN_HEX:
        return c->flags & HEX_UUID ? UUID_LETTERS : HEX_DIGITS;
    case COLUMN_IP:
        return IP_LETTERS;
    case COLUMN_TIME:
        return c->flags == DATE_NAMED ? LETTER_KINDS : TIME_LETTERS;
    case COLUMN_TEXT:
    case COLUMN_DICT:
    case COLUMN_SHARED:
    case COLUMN_TABLE:
    case COLUMN_KINDS:
        break;
    }
    return LETTER_KINDS;
}

/* Can what the literal has at place `at` stand in a value of the column? */
static bool fits(const struct literal *l, size_t at, const struct column *c) {
    if (!l->row)
        return can_hold(c, l->text.data[at]);
    enum letters letters = letters_of(c);
    uint64_t places = letters == LETTER_KINDS ? UINT64_MAX : l->places[letters];
    if (letters == TIME_LETTERS)
        places |=
            l->row->allowed[(unsigned char)c->between] | l->row->allowed[(unsigned char)c->point];
    return places >> at & 1;
}

static bool is_typed(const struct column *c) {
    return c->kind == COLUMN_NUMBER || c->kind == COLUMN_HEX || c->kind == COLUMN_IP ||
           c->kind == COLUMN_TIME;
}

static bool is_dictionary(const struct column *c) {
    return c->kind == COLUMN_DICT || c->kind == COLUMN_SHARED;
}

static struct str cell_value(const struct column *c, uint32_t i) {
    return str_make(c->cells[i].data, c->cells[i].size - c->after.size);
}

/* ---- inside a value */

/* Marks rows of a dictionary by what its values are. */
static int mark_by_cells(struct matcher *m, struct column *c, const uint8_t *levels,
                         struct verdict *v) {
    int r = column_load_ids(m->t, c, m->err);
    if (r < 0)
        return r;
    uint8_t *rows = verdict_rows(m, v);
    if (!rows)
        return no_memory(m->err);
    for (uint32_t i = 0; i < c->n; i++) {
        uint8_t level = levels[c->ids[i]];
        rows[i] = level > rows[i] ? level : rows[i];
    }
    return 0;
}

/* Could any value of the dictionary hold the literal? Told without loading it, where that is quick. */
static bool dictionary_may_hold(const struct matcher *m, const struct column *values) {
    if (values->kind == COLUMN_TEXT && values->flags == TEXT_IN_PLAN)
        return find(m->literal, str_make(values->text, values->text_size)) != NULL;
    for (size_t i = 0; i < m->literal->size; i++)
        if (!fits(m->literal, i, values))
            return false;
    return true;
}

static int match_dictionary(struct matcher *m, struct column *c, struct verdict *v) {
    if (!dictionary_may_hold(m, c->values))
        return 0;
    int r = column_load_cells(m->t, c, m->err);
    if (r < 0)
        return r;
    uint8_t *levels = arena_array(&m->t->tools->scratch, c->n_distinct, 1);
    if (!levels)
        return no_memory(m->err);
    bool any = false;
    for (uint32_t i = 0; i < c->n_distinct; i++) {
        bool found = find(m->literal, cell_value(c, i)) != NULL;
        levels[i] = found ? LINETAB_YES : LINETAB_NO;
        any |= found;
    }
    return any ? mark_by_cells(m, c, levels, v) : 0;
}

/* Strings one behind the other: a place that reaches from one into the next is none. */
static int match_text(struct matcher *m, struct column *c, struct verdict *v) {
    int r = column_load(m->t, c, m->err);
    if (r < 0)
        return r;
    struct str rest = str_make(c->text, (size_t)c->numbers[c->n]);
    const char *at;
    for (uint32_t row = 0; (at = find(m->literal, rest)) != NULL;) {
        size_t place = (size_t)(at - c->text);
        while (c->numbers[row + 1] <= place)
            row++;
        if (place + m->literal->size > c->numbers[row + 1]) {
            rest = str_make(at + 1, (size_t)(rest.data + rest.size - at - 1));
            continue;
        }
        uint8_t *rows = verdict_rows(m, v);
        if (!rows)
            return no_memory(m->err);
        rows[row] = LINETAB_YES;
        size_t end = (size_t)c->numbers[row + 1];
        rest = str_make(c->text + end, (size_t)(c->numbers[c->n] - end));
    }
    return 0;
}

/* Does the row stand in a short text? */
static bool row_is_in(const struct linetab_row *row, const char *text, size_t size) {
    for (size_t i = 0; i + row->size <= size; i++)
        if (row_stands(row, 0, text + i, row->size))
            return true;
    return false;
}

/* Each value of a typed column, as text. */
static int match_values(struct matcher *m, struct column *c, struct verdict *v) {
    char text[HEX_DIGITS_MAX + 2 * LINETAB_SLACK];
    int r = column_load(m->t, c, m->err);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < c->n; i++) {
        char *end = column_write(c, i, text);
        if (!row_is_in(m->literal->row, text, (size_t)(end - text)))
            continue;
        uint8_t *rows = verdict_rows(m, v);
        if (!rows)
            return no_memory(m->err);
        rows[i] = LINETAB_YES;
    }
    return 0;
}

static int match_table(struct matcher *m, struct table *table, struct verdict *v);

static int match_inside(struct matcher *m, struct column *c, struct verdict *v) {
    switch (c->kind) {
    case COLUMN_DICT:
    case COLUMN_SHARED:
        return match_dictionary(m, c, v);
    case COLUMN_TEXT:
        return match_text(m, c, v);
    case COLUMN_TABLE:
        return match_table(m, c->table, v);
    case COLUMN_NUMBER:
    case COLUMN_HEX:
    case COLUMN_IP:
    case COLUMN_TIME:
    case COLUMN_KINDS:
        break;
    }
    size_t most = c->kind == COLUMN_HEX      ? c->digits + 4u
                  : c->kind == COLUMN_IP     ? 15
                  : c->kind == COLUMN_NUMBER ? NUMBER_DIGITS_MAX
                                             : TIME_TEXT_MAX;
    if (m->literal->size > most)
        return 0;
    for (size_t i = 0; i < m->literal->size; i++)
        if (!fits(m->literal, i, c))
            return 0;
    /* Looking into each number for some digits takes longer than writing the lines; a row is told quickly. */
    if (m->literal->row)
        return match_values(m, c, v);
    raise_all(v, LINETAB_MAYBE);
    return 0;
}

/* ---- across borders */

/* What a value must be for a placement: nothing (the literal does not reach it), of a dictionary by its values, of a typed
 * column by its rows, or as far as can be told. */
struct side {
    uint8_t level;
    struct column *column; /* of `cells`; NULL: they are rows */
    uint8_t *cells;
};

static inline uint8_t side_level(const struct side *s, uint32_t row) {
    return !s->cells ? s->level : s->cells[s->column ? s->column->ids[row] : row];
}

/* A column as the literal meets it, coming over its border. */
struct border {
    struct column *column; /* NULL: the row ends at this border */
    bool left;             /* of the fixed bytes that the literal comes from */
    struct str beyond;     /* fixed bytes on the column's other side */
    bool ends;             /* behind which the row ends */
};

/* Is the part [from, from + size) of the literal that reaches over the border the end (`left`) or the beginning of the
 * value? When the value is shorter, what is beyond it must go on with the literal. */
static uint8_t cell_level(const struct literal *l, size_t from, size_t size, struct str value,
                          const struct border *b) {
    if (value.size >= size) {
        const char *p = b->left ? value.data + value.size - size : value.data;
        return stands(l, from, p, size) ? LINETAB_YES : LINETAB_NO;
    }
    size_t rest = size - value.size, fixed = rest < b->beyond.size ? rest : b->beyond.size;
    bool fits =
        b->left ? stands(l, from + rest, value.data, value.size) &&
                      stands(l, from + rest - fixed, b->beyond.data + b->beyond.size - fixed, fixed)
                : stands(l, from, value.data, value.size) &&
                      stands(l, from + value.size, b->beyond.data, fixed);
    if (!fits)
        return LINETAB_NO;
    return fixed == rest ? LINETAB_YES : b->ends ? LINETAB_NO : LINETAB_MAYBE;
}

static int side_of_values(struct matcher *m, const struct border *b, size_t from, size_t size,
                          struct side *ret) {
    struct column *c = b->column;
    char text[HEX_DIGITS_MAX + 2 * LINETAB_SLACK];
    int r = column_load(m->t, c, m->err);
    if (r < 0)
        return r;
    uint8_t *rows = arena_array(&m->t->tools->scratch, c->n, 1);
    if (!rows)
        return no_memory(m->err);
    bool any = false;
    for (uint32_t i = 0; i < c->n; i++) {
        char *end = column_write(c, i, text);
        rows[i] = cell_level(m->literal, from, size, str_make(text, (size_t)(end - text)), b);
        any |= rows[i] != LINETAB_NO;
    }
    if (any)
        *ret = (struct side){.level = LINETAB_YES, .cells = rows};
    return 0;
}

/* The part of the literal [from, from + size) must meet the border's column. */
static int side_of(struct matcher *m, const struct border *b, size_t from, size_t size,
                   struct side *ret) {
    struct column *c = b->column;
    *ret = (struct side){.level = LINETAB_YES};
    if (size == 0)
        return 0;
    ret->level = LINETAB_NO;
    if (!c)
        return 0;
    if (!is_dictionary(c)) {
        if (!fits(m->literal, b->left ? from + size - 1 : from, c))
            return 0;
        if (is_typed(c) && m->by_rows)
            return side_of_values(m, b, from, size, ret);
        ret->level = LINETAB_MAYBE;
        return 0;
    }
    int r = column_load_cells(m->t, c, m->err);
    if (r < 0)
        return r;
    uint8_t *cells = arena_array(&m->t->tools->scratch, c->n_distinct, 1);
    if (!cells)
        return no_memory(m->err);
    bool any = false;
    for (uint32_t i = 0; i < c->n_distinct; i++) {
        cells[i] = cell_level(m->literal, from, size, cell_value(c, i), b);
        any |= cells[i] != LINETAB_NO;
    }
    if (any)
        *ret = (struct side){.level = LINETAB_YES, .column = c, .cells = cells};
    return any ? column_load_ids(m->t, c, m->err) : 0;
}

static int apply_sides(struct matcher *m, const struct side *left, const struct side *right,
                       struct verdict *v) {
    uint8_t level = left->level < right->level ? left->level : right->level;
    if (level == LINETAB_NO)
        return 0;
    if (!left->cells && !right->cells) {
        raise_all(v, level);
        return 0;
    }
    uint8_t *rows = verdict_rows(m, v);
    if (!rows)
        return no_memory(m->err);
    for (uint32_t i = 0; i < v->n; i++) {
        uint8_t x = side_level(left, i), y = side_level(right, i);
        x = y < x ? y : x;
        x = level < x ? level : x;
        rows[i] = x > rows[i] ? x : rows[i];
    }
    return 0;
}

/* The literal from its byte `shift` on stands at byte `skip` of the fixed bytes. */
static int try_placement(struct matcher *m, size_t shift, struct str fixed, size_t skip,
                         const struct border borders[2], struct verdict *v) {
    const struct literal *l = m->literal;
    size_t n = l->size - shift;
    size_t overlap = n < fixed.size - skip ? n : fixed.size - skip;
    size_t rest = n - overlap;
    if ((overlap == 0 && (shift == 0 || rest == 0)) || (shift > 0 && !borders[0].column) ||
        (rest > 0 && !borders[1].column))
        return 0;
    if (!stands(l, shift, fixed.data + skip, overlap))
        return 0;
    struct side left, right;
    m->by_rows =
        overlap > 0; /* between columns without fixed bytes every placement would ask all rows */
    int r = side_of(m, &borders[0], 0, shift, &left);
    if (r < 0 || left.level == LINETAB_NO)
        return r;
    r = side_of(m, &borders[1], l->size - rest, rest, &right);
    return r < 0 ? r : apply_sides(m, &left, &right, v);
}

/* May the literal have, from its byte `shift` on, what stands at p? A quick look: mostly not. */
static inline bool may_begin(const struct literal *l, size_t shift, const char *p) {
    return l->row ? l->row->allowed[(unsigned char)*p] >> shift & 1
                  : fold_byte(*p) == l->lower[shift];
}

/* Does the literal stand within fixed bytes? These are short, and more may be read behind them. */
static bool is_within(const struct literal *l, struct str fixed) {
#ifdef __SSE2__
    if (!l->row && !l->fold && l->size >= 2) {
        __m128i first = _mm_set1_epi8(l->text.data[0]), second = _mm_set1_epi8(l->text.data[1]);
        for (size_t at = 0; at + l->size <= fixed.size; at += 16) {
            const char *p = fixed.data + at;
            __m128i here = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), first);
            __m128i next =
                _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 1)), second);
            unsigned hits = (unsigned)_mm_movemask_epi8(_mm_and_si128(here, next));
            for (; hits != 0; hits &= hits - 1) {
                size_t place = at + (size_t)__builtin_ctz(hits);
                if (place + l->size <= fixed.size &&
                    memcmp(fixed.data + place, l->text.data, l->size) == 0)
                    return true;
            }
        }
        return false;
    }
#endif
    for (size_t at = 0; at + l->size <= fixed.size; at++)
        if (may_begin(l, 0, fixed.data + at) && stands(l, 0, fixed.data + at, l->size))
            return true;
    return false;
}

/* All placements that overlap fixed bytes between two columns: within them, over their end, over their beginning. */
static int match_fixed(struct matcher *m, struct str fixed, const struct border borders[2],
                       struct verdict *v) {
    const struct literal *l = m->literal;
    if (is_within(l, fixed)) {
        raise_all(v, LINETAB_YES);
        return 0;
    }
    int r = 0;
    size_t skip = fixed.size >= l->size ? fixed.size - l->size + 1 : 0;
    for (; r == 0 && skip < fixed.size && v->all != LINETAB_YES; skip++)
        if (may_begin(l, 0, fixed.data + skip))
            r = try_placement(m, 0, fixed, skip, borders, v);
    for (size_t shift = 1; r == 0 && shift < l->size && v->all != LINETAB_YES; shift++)
        if (fixed.size == 0 || may_begin(l, shift, fixed.data))
            r = try_placement(m, shift, fixed, 0, borders, v);
    return r;
}

/* The fixed bytes before slot i; those behind the last one when i is the number of slots. */
static struct str fixed_before(const struct group *g, uint32_t i) {
    return i < g->n_slots ? g->slots[i].before : g->after;
}

static int match_group(struct matcher *m, struct group *g, struct verdict *v) {
    for (uint32_t i = 0; i <= g->n_slots && v->all != LINETAB_YES; i++) {
        struct border borders[2] = {{.left = true, .ends = i == 1}, {.ends = i + 1 >= g->n_slots}};
        if (i > 0) {
            borders[0].column = g->slots[i - 1].column;
            borders[0].beyond = fixed_before(g, i - 1);
        }
        if (i < g->n_slots) {
            borders[1].column = g->slots[i].column;
            borders[1].beyond = fixed_before(g, i + 1);
        }
        int r = match_fixed(m, fixed_before(g, i), borders, v);
        if (r == 0 && i < g->n_slots && v->all != LINETAB_YES)
            r = match_inside(m, g->slots[i].column, v);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The rows of a table by the verdicts on its groups (0: the odd rows). */
static int spread(struct matcher *m, struct table *table, const struct verdict *groups,
                  struct verdict *v) {
    int r = table_load_ids(m->t, table, m->err);
    if (r < 0)
        return r;
    uint8_t *rows = verdict_rows(m, v);
    if (!rows)
        return no_memory(m->err);
    for (uint32_t i = 0; i < table->n; i++) {
        const struct verdict *g = &groups[table->ids[i]];
        uint8_t level = g->all;
        if (g->rows && g->rows[table->rank[i]] > level)
            level = g->rows[table->rank[i]];
        rows[i] = level > rows[i] ? level : rows[i];
    }
    return 0;
}

static int match_table(struct matcher *m, struct table *table, struct verdict *v) {
    struct verdict *groups =
        arena_array(&m->t->tools->scratch, table->n_groups + 1, sizeof(*groups));
    if (!groups)
        return no_memory(m->err);
    int r = 0;
    if (table->odd) {
        groups[0].n = table->odd->n;
        r = match_text(m, table->odd, &groups[0]);
    }
    bool any = groups[0].rows != NULL;
    uint8_t least = table->odd ? LINETAB_NO : LINETAB_YES;
    for (uint32_t i = 0; r == 0 && i < table->n_groups; i++) {
        struct verdict *g = &groups[i + 1];
        g->n = table->groups[i].rows;
        r = match_group(m, &table->groups[i], g);
        any |= g->all != LINETAB_NO || g->rows;
        least = g->all < least ? g->all : least;
    }
    if (r < 0 || !any)
        return r;
    raise_all(v, least);
    return spread(m, table, groups, v);
}

int linetab_match(struct linetab *t, struct str text, bool fold, uint8_t *levels,
                  struct err *reterr) {
    struct literal literal = {.size = text.size, .text = text, .fold = fold};
    struct verdict verdict = {.rows = levels, .n = t->count};
    struct matcher m = {.t = t, .literal = &literal, .err = reterr};
    if (text.size == 0 || text.size > LINETAB_LITERAL_MAX) {
        for (uint32_t i = 0; i < t->count; i++)
            levels[i] = levels[i] > LINETAB_MAYBE ? levels[i] : LINETAB_MAYBE;
        return 0;
    }
    for (size_t i = 0; i < text.size; i++)
        literal.lower[i] = fold_byte(text.data[i]);
    return match_table(&m, t->root, &verdict);
}

int linetab_match_row(struct linetab *t, const struct linetab_row *row, uint8_t *levels,
                      struct err *reterr) {
    static const char digits[] = "0123456789", letters[] = "abcdefABCDEF";
    struct literal literal = {.size = row->size, .row = row};
    struct verdict verdict = {.rows = levels, .n = t->count};
    struct matcher m = {.t = t, .literal = &literal, .err = reterr};
    assert(row->size >= 2 && row->size <= LINETAB_ROW_MAX);
    for (const char *p = digits; *p; p++)
        literal.places[DIGITS] |= row->allowed[(unsigned char)*p];
    literal.places[HEX_DIGITS] = literal.places[DIGITS];
    for (const char *p = letters; *p; p++)
        literal.places[HEX_DIGITS] |= row->allowed[(unsigned char)*p];
    literal.places[IP_LETTERS] = literal.places[DIGITS] | row->allowed['.'];
    literal.places[TIME_LETTERS] =
        literal.places[DIGITS] | row->allowed['-'] | row->allowed['/'] | row->allowed[':'];
    literal.places[UUID_LETTERS] = literal.places[HEX_DIGITS] | row->allowed['-'];
    return match_table(&m, t->root, &verdict);
}
