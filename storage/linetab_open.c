/* Reading the plan of an encoded table, and unpacking its columns. Nothing is trusted: sizes are compared with what
 * holds them, ids with what they count, and what a column says of its values is what the writer of rows relies on. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include <zstd.h>

#include "bytes.h"
#include "linetab_reader.h"

enum {
    ARENA_MAX = 256 << 20, /* far above what the columns of LINETAB_TEXT_MAX bytes take */
    ROW_MAX = 64 << 20,
    CELL_AFTER_MAX = 64, /* fixed bytes that are kept behind each value of a dictionary */
    CELLS_CHUNK = 4096,
};

struct linetab_tools *linetab_tools_new(void) {
    struct linetab_tools *tools = calloc(1, sizeof(*tools));
    if (!tools)
        return NULL;
    tools->scratch = arena_make(ARENA_MAX);
    tools->aside = buf_make(ROW_MAX + (size_t)LINETAB_SLACK);
    tools->zstd = ZSTD_createDCtx();
    if (!tools->zstd) {
        linetab_tools_free(tools);
        return NULL;
    }
    return tools;
}

void linetab_tools_free(struct linetab_tools *tools) {
    if (!tools)
        return;
    arena_done(&tools->scratch);
    buf_done(&tools->aside);
    ZSTD_freeDCtx(tools->zstd);
    free(tools);
}

struct linetab *linetab_new_in(struct linetab_tools *tools, struct arena *arena) {
    struct linetab *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->own_arena = arena_make(ARENA_MAX);
    t->arena = arena ? arena : &t->own_arena;
    t->tools = tools;
    return t;
}

struct linetab *linetab_new_with(struct linetab_tools *tools) {
    return linetab_new_in(tools, NULL);
}

struct linetab *linetab_new(void) {
    struct linetab_tools *tools = linetab_tools_new();
    struct linetab *t = tools ? linetab_new_with(tools) : NULL;
    if (!t) {
        linetab_tools_free(tools);
        return NULL;
    }
    t->owns_tools = true;
    return t;
}

void linetab_free(struct linetab *t) {
    if (!t)
        return;
    arena_done(&t->own_arena);
    if (t->owns_tools)
        linetab_tools_free(t->tools);
    free(t);
}

void linetab_resume(struct linetab *t, struct linetab_tools *tools) {
    assert(!t->owns_tools);
    t->tools = tools;
    t->fields = NULL;
    arena_reset(&tools->scratch);
}

size_t linetab_cost_bytes(const struct linetab *t) {
    return sizeof(*t) + t->own_arena.total_bytes;
}

static int corrupt(struct err *reterr, const char *what) {
    return err_set(reterr, -ECORRUPT, "block: table of lines: %s", what);
}

static int no_memory(struct err *reterr) {
    return err_set(reterr, -ENOMEM, "block: no memory for a table of lines");
}

/* ---- the plan */

struct reader {
    struct linetab *t;
    const uint8_t *at, *end;            /* plan */
    const uint8_t *packed, *packed_end; /* what no column has taken yet */
    uint32_t text_at;
    unsigned depth;
    struct err *err;
};

static bool read_byte(struct reader *r, uint8_t *ret) {
    if (r->at >= r->end)
        return false;
    *ret = *r->at++;
    return true;
}

static bool read_count(struct reader *r, uint64_t most, uint32_t *ret) {
    uint64_t number;
    const uint8_t *p = get_varint(r->at, r->end, &number);
    if (!p || number > most)
        return false;
    r->at = p;
    *ret = (uint32_t)number;
    return true;
}

static bool read_bytes(struct reader *r, struct str *ret) {
    uint32_t size;
    if (!read_count(r, (uint64_t)(r->end - r->at), &size) || size > (size_t)(r->end - r->at))
        return false;
    *ret = str_make((const char *)r->at, size);
    r->at += size;
    return true;
}

static bool take_packed(struct reader *r, uint64_t size, const uint8_t **ret) {
    if (size > (uint64_t)(r->packed_end - r->packed))
        return false;
    *ret = r->packed;
    r->packed += size;
    return true;
}

static bool read_numbers(struct reader *r, struct column *c) {
    uint8_t mode;
    uint32_t size;
    if (!read_byte(r, &mode) || mode > NUMBERS_DELTA)
        return false;
    c->delta = mode == NUMBERS_DELTA;
    if (c->delta && !(r->at = get_varint(r->at, r->end, &c->base)))
        return false;
    if (!read_count(r, UINT32_MAX, &size) || !take_packed(r, size, &c->packed))
        return false;
    c->packed_end = c->packed + size;
    return true;
}

static bool read_ids(struct reader *r, uint32_t n, uint32_t n_values, uint8_t *ret_width,
                     const uint8_t **ret_at) {
    if (!read_byte(r, ret_width))
        return false;
    if (*ret_width == IDS_IN_PLAN) {
        *ret_at = r->at;
        if (n > (size_t)(r->end - r->at))
            return false;
        r->at += n;
        return true;
    }
    return *ret_width == linetab_id_width(n_values) &&
           take_packed(r, ((uint64_t)n * *ret_width + 7) / 8, ret_at);
}

static int read_column(struct reader *r, uint32_t n, struct group *g, uint32_t slot,
                       struct column **ret);
static int read_table(struct reader *r, uint32_t n, struct table **ret);

static bool read_text(struct reader *r, struct column *c) {
    uint8_t where;
    if (!read_byte(r, &where) || where > TEXT_IN_PLAN ||
        !read_count(r, UINT32_MAX, &c->text_size) || !read_numbers(r, c))
        return false;
    c->flags = where;
    if (where == TEXT_IN_PLAN) {
        if (c->text_size > (size_t)(r->end - r->at))
            return false;
        c->text = (const char *)r->at;
        r->at += c->text_size;
        return true;
    }
    if (c->text_size > r->t->text_size - r->text_at)
        return false;
    c->base = r->text_at; /* where it begins, once the text is there */
    r->text_at += c->text_size;
    return !c->delta;
}

static bool read_dictionary(struct reader *r, struct column *c, const struct group *g,
                            uint32_t slot) {
    uint32_t of;
    if (!read_count(r, c->n, &c->n_distinct) || c->n_distinct == 0)
        return false;
    if (c->kind == COLUMN_DICT)
        return read_ids(r, c->n, c->n_distinct, &c->id_width, &c->packed);
    if (!read_count(r, UINT32_MAX, &of) || !g || of >= slot)
        return false;
    c->owner = g->slots[of].column;
    return c->owner->kind == COLUMN_DICT && c->owner->n_distinct == c->n_distinct;
}

static bool read_typed(struct reader *r, struct column *c) {
    switch (c->kind) {
    case COLUMN_NUMBER:
        return read_byte(r, &c->flags) && read_byte(r, &c->digits) && c->flags <= NUMBER_MARKED &&
               c->digits >= 1 && c->digits <= NUMBER_DIGITS_MAX && read_numbers(r, c);
    case COLUMN_HEX:
        return read_byte(r, &c->flags) && read_byte(r, &c->digits) &&
               c->flags <= (HEX_UPPER | HEX_UUID) && c->digits % 2 == 0 && c->digits > 0 &&
               c->digits <= HEX_DIGITS_MAX && (!(c->flags & HEX_UUID) || c->digits == 32) &&
               take_packed(r, (uint64_t)c->n * c->digits / 2, &c->packed);
    case COLUMN_IP:
        return read_numbers(r, c);
    case COLUMN_TIME:
        return read_byte(r, &c->flags) && read_byte(r, &c->digits) &&
               read_byte(r, (uint8_t *)&c->between) && read_byte(r, (uint8_t *)&c->point) &&
               c->flags < DATE_FORMS && c->digits <= FRACTION_DIGITS_MAX && read_numbers(r, c);
    case COLUMN_TEXT:
        return read_text(r, c);
    case COLUMN_DICT:
    case COLUMN_SHARED:
    case COLUMN_TABLE:
    case COLUMN_KINDS:
        break;
    }
    return false;
}

static int read_column(struct reader *r, uint32_t n, struct group *g, uint32_t slot,
                       struct column **ret) {
    uint8_t kind;
    struct column *c = arena_array(r->t->arena, 1, sizeof(*c));
    if (!c)
        return no_memory(r->err);
    if (!read_byte(r, &kind) || kind == 0 || kind >= COLUMN_KINDS || r->depth >= LINETAB_DEPTH_MAX)
        return corrupt(r->err, "unknown kind of column, or too deep");
    c->kind = kind;
    c->n = n;
    int status = 0;
    r->depth++;
    if (kind == COLUMN_TABLE) {
        status = read_table(r, n, &c->table);
    } else if (kind == COLUMN_DICT || kind == COLUMN_SHARED) {
        if (!read_dictionary(r, c, g, slot))
            return corrupt(r->err, "a dictionary is damaged");
        status = read_column(r, c->n_distinct, NULL, 0, &c->values);
        if (status == 0 && (c->values->kind == COLUMN_DICT || c->values->kind == COLUMN_SHARED))
            return corrupt(r->err, "a dictionary of dictionaries");
    } else if (!read_typed(r, c)) {
        return corrupt(r->err, "a column is damaged");
    }
    r->depth--;
    *ret = c;
    return status;
}

/* Appends `b` to `a`. */
static int join(struct linetab *t, struct str *a, struct str b) {
    if (a->size == 0) {
        *a = b;
        return 0;
    }
    if (b.size == 0)
        return 0;
    char *p = arena_alloc(t->arena, a->size + b.size + LINETAB_PACKED_PAD);
    if (!p)
        return -ENOMEM;
    memcpy(p, a->data, a->size);
    memcpy(p + a->size, b.data, b.size);
    *a = str_make(p, a->size + b.size);
    return 0;
}

/* Slots that are split again into one group only, as most are, take that group's slots in their place. */
static int flatten(struct linetab *t, struct group *g) {
    uint32_t total = 0;
    for (uint32_t i = 0; i < g->n_slots; i++) {
        const struct table *inner = g->slots[i].column->table;
        total += inner && inner->n_groups == 1 && !inner->odd ? inner->groups[0].n_slots : 1;
    }
    struct slot *slots = arena_array(t->arena, total, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    struct str before = {0};
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_slots; i++) {
        const struct slot *slot = &g->slots[i];
        const struct table *inner = slot->column->table;
        bool flat = inner && inner->n_groups == 1 && !inner->odd;
        if (join(t, &before, slot->before) < 0)
            return -ENOMEM;
        for (uint32_t k = 0; flat && k < inner->groups[0].n_slots; k++) {
            const struct slot *in = &inner->groups[0].slots[k];
            if (join(t, &before, in->before) < 0)
                return -ENOMEM;
            slots[n++] = (struct slot){.before = before, .column = in->column};
            before = (struct str){0};
        }
        if (flat) {
            before = inner->groups[0].after;
            continue;
        }
        slots[n++] = (struct slot){.before = before, .column = slot->column};
        before = (struct str){0};
    }
    if (join(t, &before, g->after) < 0)
        return -ENOMEM;
    g->after = before;
    g->slots = slots;
    g->n_slots = n;
    for (uint32_t i = 0; i < n; i++)
        slots[i].column->after = i + 1 < n ? slots[i + 1].before : g->after;
    return 0;
}

static int read_group(struct reader *r, struct group *g) {
    struct linetab *t = r->t;
    struct slot slots[LINETAB_SLOTS_MAX];
    uint32_t n = 0;
    for (;; n++) {
        struct str fixed;
        if (!read_bytes(r, &fixed) || r->at >= r->end)
            return corrupt(r->err, "a template is cut off");
        if (*r->at == 0) {
            r->at++;
            g->after = fixed;
            break;
        }
        if (n == LINETAB_SLOTS_MAX)
            return corrupt(r->err, "a template has too many columns");
        slots[n].before = fixed;
        g->slots = slots; /* for columns that refer to earlier ones */
        int status = read_column(r, g->rows, g, n, &slots[n].column);
        if (status < 0)
            return status;
    }
    g->n_slots = n;
    return flatten(t, g) < 0 ? no_memory(r->err) : 0;
}

static int read_groups(struct reader *r, struct table *table) {
    uint32_t left = table->n, odd = 0;
    if (!read_count(r, table->n, &odd))
        return corrupt(r->err, "a table has no odd rows");
    left -= odd;
    if (odd > 0) {
        int status = read_column(r, odd, NULL, 0, &table->odd);
        if (status < 0)
            return status;
        if (table->odd->kind != COLUMN_TEXT)
            return corrupt(r->err, "odd rows are no text");
    }
    for (uint32_t i = 0; i < table->n_groups; i++) {
        struct group *g = &table->groups[i];
        if (!read_count(r, left, &g->rows) || g->rows == 0)
            return corrupt(r->err, "groups have more rows than the table");
        left -= g->rows;
        int status = read_group(r, g);
        if (status < 0)
            return status;
    }
    return left == 0 ? 0 : corrupt(r->err, "groups have fewer rows than the table");
}

static int read_table(struct reader *r, uint32_t n, struct table **ret) {
    struct table *table = arena_array(r->t->arena, 1, sizeof(*table));
    if (!table)
        return no_memory(r->err);
    table->n = n;
    if (!read_count(r, LINETAB_GROUPS_MAX, &table->n_groups) ||
        !read_ids(r, n, table->n_groups + 1, &table->id_width, &table->packed))
        return corrupt(r->err, "a table is cut off");
    table->groups = arena_array(r->t->arena, table->n_groups, sizeof(*table->groups));
    if (!table->groups)
        return no_memory(r->err);
    *ret = table;
    return read_groups(r, table);
}

/* ---- streams */

static int unpack(struct linetab *t, struct str stored, uint32_t size, bool zstd, struct str *ret,
                  struct err *reterr) {
    if (!zstd) {
        if (stored.size != size)
            return corrupt(reterr, "a stream has a wrong size");
        *ret = stored;
        return 0;
    }
    char *out = arena_alloc(t->arena, size + (size_t)LINETAB_PACKED_PAD);
    if (!out)
        return no_memory(reterr);
    if (ZSTD_decompressDCtx(t->tools->zstd, out, size, stored.data, stored.size) != size)
        return corrupt(reterr, "a stream does not decompress");
    *ret = str_make(out, size);
    return 0;
}

int linetab_open(struct linetab *t, struct str encoded, uint32_t count, struct err *reterr) {
    const uint8_t *p = (const uint8_t *)encoded.data;
    if (encoded.size < LINETAB_HEADER || p[0] != LINETAB_VERSION)
        return corrupt(reterr, "no header");
    uint32_t plan_raw = get_le32(p + 4), plan_size = get_le32(p + 8);
    uint32_t text_raw = get_le32(p + 12), text_size = get_le32(p + 16);
    uint32_t packed_size = get_le32(p + 20);
    if ((uint64_t)LINETAB_HEADER + plan_size + text_size + packed_size != encoded.size ||
        packed_size < LINETAB_PACKED_PAD || plan_raw > 4 * LINETAB_TEXT_MAX ||
        text_raw > LINETAB_TEXT_MAX)
        return corrupt(reterr, "sizes of its streams do not add up");
    if (t->arena == &t->own_arena)
        arena_reset(t->arena);
    arena_reset(&t->tools->scratch);
    t->text = (struct str){0};
    t->stored_text = str_make(encoded.data + LINETAB_HEADER + plan_size, text_size);
    t->text_size = text_raw;
    t->text_zstd = p[1] & LINETAB_TEXT_ZSTD;
    t->packed = str_make(t->stored_text.data + text_size, packed_size - LINETAB_PACKED_PAD);
    t->count = count;
    t->fields = NULL;
    int status = unpack(t, str_make(encoded.data + LINETAB_HEADER, plan_size), plan_raw,
                        p[1] & LINETAB_PLAN_ZSTD, &t->plan, reterr);
    if (status < 0)
        return status;
    const uint8_t *plan = (const uint8_t *)t->plan.data, *packed = (const uint8_t *)t->packed.data;
    struct reader r = {.t = t,
                       .at = plan,
                       .end = plan + t->plan.size,
                       .packed = packed,
                       .packed_end = packed + t->packed.size,
                       .err = reterr};
    return read_table(&r, count, &t->root);
}

/* ---- values */

static uint64_t bits_at(const uint8_t *p, size_t bit, unsigned width) {
    const uint8_t *at = p + (bit >> 3);
    unsigned shift = (unsigned)(bit & 7);
    uint64_t number = get_le64(at) >> shift;
    if (width > 56 && shift > 0)
        number |= (uint64_t)at[8] << (64 - shift);
    return width < 64 ? number & ((UINT64_C(1) << width) - 1) : number;
}

/* PACKED_PAD bytes stand behind all packed columns, so eight (nine) may be read at any place of one. */
static bool load_numbers(const struct column *c, uint64_t *numbers) {
    const uint8_t *p = c->packed, *end = c->packed_end;
    uint64_t sum = c->base;
    for (uint32_t at = 0; at < c->n; at += LINETAB_FRAME) {
        uint32_t n = c->n - at < LINETAB_FRAME ? c->n - at : LINETAB_FRAME;
        uint64_t low;
        if (p >= end || *p > 64)
            return false;
        unsigned width = *p++;
        p = get_varint(p, end, &low);
        size_t size = ((size_t)n * width + 7) / 8;
        if (!p || size > (size_t)(end - p))
            return false;
        uint64_t *to = numbers + at;
        if (c->delta)
            low = (uint64_t)unzigzag(low);
        if (width == 0)
            for (uint32_t i = 0; i < n; i++)
                to[i] = low;
        else if (width <= 56)
            for (uint32_t i = 0, bit = 0; i < n; i++, bit += width)
                to[i] =
                    low + (get_le64(p + (bit >> 3)) >> (bit & 7) & ((UINT64_C(1) << width) - 1));
        else
            for (uint32_t i = 0; i < n; i++)
                to[i] = low + bits_at(p, (size_t)i * width, width);
        for (uint32_t i = 0; c->delta && i < n; i++)
            to[i] = sum += to[i];
        p += size;
    }
    return p == end;
}

static bool load_ids(const uint8_t *p, uint8_t width, uint32_t n, uint32_t n_values,
                     uint32_t *ids) {
    uint32_t largest = 0, mask = width < 32 ? (1u << width) - 1 : UINT32_MAX;
    size_t bit = 0;
    if (width == 0) {
        memset(ids, 0, n * sizeof(*ids));
        return n_values > 0;
    }
    if (width == IDS_IN_PLAN) {
        for (uint32_t i = 0; i < n; i++) {
            ids[i] = p[i];
            largest = ids[i] > largest ? ids[i] : largest;
        }
        return largest < n_values;
    }
    for (uint32_t i = 0; i < n; i++, bit += width) {
        uint32_t id = (uint32_t)(get_le64(p + (bit >> 3)) >> (bit & 7)) & mask;
        largest = id > largest ? id : largest;
        ids[i] = id;
    }
    return largest < n_values;
}

static int load_text(struct linetab *t, struct column *c, struct err *reterr) {
    if (c->flags != TEXT_IN_PLAN) {
        if (!t->text.data) {
            int status = unpack(t, t->stored_text, t->text_size, t->text_zstd, &t->text, reterr);
            if (status < 0)
                return status;
        }
        c->text = t->text.data + c->base;
        c->base = 0;
    }
    c->numbers = arena_alloc(t->arena, ((size_t)c->n + 1) * sizeof(uint64_t));
    if (!c->numbers)
        return no_memory(reterr);
    if (!load_numbers(c, c->numbers))
        return corrupt(reterr, "sizes of texts are damaged");
    uint64_t at = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        uint64_t size = c->numbers[i];
        c->numbers[i] = at;
        if (size > c->text_size - at)
            return corrupt(reterr, "texts are longer than their bytes");
        at += size;
        c->value_max = size > c->value_max ? (uint32_t)size : c->value_max;
    }
    c->numbers[c->n] = at;
    return 0;
}

/* The values of a dictionary as text. */
int column_load_cells(struct linetab *t, struct column *c, struct err *reterr) {
    if (c->cells)
        return 0;
    struct column *values = c->values;
    int status = column_load(t, values, reterr);
    if (status < 0)
        return status;
    struct str *cells = arena_alloc(t->arena, c->n_distinct * sizeof(*cells));
    if (!cells)
        return no_memory(reterr);
    struct str after = c->after;
    if (after.size > CELL_AFTER_MAX || after.size * c->n_distinct > c->n)
        c->after = after = (struct str){0};
    c->value_max = values->value_max + (uint32_t)after.size;
    size_t left = 0, chunk = (size_t)c->n_distinct * c->value_max;
    char *out = NULL;
    for (uint32_t i = 0; i < c->n_distinct; i++) {
        if (left < c->value_max + (size_t)LINETAB_SLACK) {
            left = c->value_max + (size_t)LINETAB_SLACK;
            left += chunk < CELLS_CHUNK ? chunk : CELLS_CHUNK;
            out = arena_alloc(t->arena, left);
            if (!out)
                return no_memory(reterr);
        }
        char *end = column_write(values, i, out);
        if (after.size > 0)
            memcpy(end, after.data, after.size);
        end += after.size;
        cells[i] = str_make(out, (size_t)(end - out));
        left -= cells[i].size;
        out = end;
    }
    c->cells = cells;
    return 0;
}

int column_load_ids(struct linetab *t, struct column *c, struct err *reterr) {
    if (c->ids)
        return 0;
    if (c->kind == COLUMN_SHARED) {
        int status = column_load_ids(t, c->owner, reterr);
        if (status == 0)
            c->ids = c->owner->ids;
        return status;
    }
    uint32_t *ids = arena_alloc(t->arena, c->n * sizeof(*ids));
    if (!ids)
        return no_memory(reterr);
    if (!load_ids(c->packed, c->id_width, c->n, c->n_distinct, ids))
        return corrupt(reterr, "ids of a dictionary are out of bounds");
    c->ids = ids;
    return 0;
}

static int load_number_column(struct linetab *t, struct column *c, struct err *reterr) {
    c->numbers = arena_alloc(t->arena, (c->n + 1) * sizeof(uint64_t));
    if (!c->numbers)
        return no_memory(reterr);
    if (!load_numbers(c, c->numbers))
        return corrupt(reterr, "numbers of a column are damaged");
    if (c->kind == COLUMN_IP) {
        c->value_max = 16;
    } else if (c->kind == COLUMN_TIME) {
        c->value_max = TIME_TEXT_MAX;
        column_start_time(c);
    } else {
        c->value_max = 24;
    }
    return 0;
}

int column_load(struct linetab *t, struct column *c, struct err *reterr) {
    if (c->loaded)
        return 0;
    int status = 0;
    switch (c->kind) {
    case COLUMN_TEXT:
        status = load_text(t, c, reterr);
        break;
    case COLUMN_DICT:
    case COLUMN_SHARED:
        status = column_load_ids(t, c, reterr);
        if (status == 0)
            status = column_load_cells(t, c, reterr);
        break;
    case COLUMN_NUMBER:
    case COLUMN_IP:
    case COLUMN_TIME:
        status = load_number_column(t, c, reterr);
        break;
    case COLUMN_HEX:
        c->value_max = c->digits + 4u;
        break;
    case COLUMN_TABLE:
        status = table_load(t, c->table, reterr);
        if (status < 0)
            return status;
        c->value_max = c->table->odd ? c->table->odd->value_max : 0;
        for (uint32_t g = 0; g < c->table->n_groups; g++)
            if (c->table->groups[g].row_max > c->value_max)
                c->value_max = c->table->groups[g].row_max;
        break;
    case COLUMN_KINDS:
        break;
    }
    c->loaded = status == 0;
    return status;
}

int group_load(struct linetab *t, struct group *g, struct err *reterr) {
    if (g->loaded)
        return 0;
    uint64_t most = g->after.size;
    for (uint32_t i = 0; i < g->n_slots; i++) {
        struct column *c = g->slots[i].column;
        int status = column_load(t, c, reterr);
        if (status < 0)
            return status;
        most += g->slots[i].before.size + c->value_max;
        /* The fixed bytes behind a dictionary's values are copied together with them. */
        bool joined = c->cells && c->after.size > 0;
        if (i + 1 < g->n_slots)
            g->slots[i + 1].joined = joined;
        else
            g->after_joined = joined;
    }
    if (most > ROW_MAX)
        return corrupt(reterr, "a row is longer than any block");
    g->row_max = (uint32_t)most;
    g->loaded = true;
    return 0;
}

int table_load_ids(struct linetab *t, struct table *table, struct err *reterr) {
    if (table->rank)
        return 0;
    uint32_t n = table->n, filled[LINETAB_GROUPS_MAX + 1] = {0};
    uint32_t *ids = arena_alloc(&t->tools->scratch, n * sizeof(*ids));
    uint32_t *rank = arena_alloc(t->arena, n * sizeof(*rank));
    table->ids = arena_alloc(t->arena, n);
    if (!ids || !table->ids || !rank)
        return no_memory(reterr);
    if (!load_ids(table->packed, table->id_width, n, table->n_groups + 1, ids))
        return corrupt(reterr, "a row belongs to no group");
    for (uint32_t i = 0; i < n; i++) {
        table->ids[i] = (uint8_t)ids[i];
        rank[i] = filled[ids[i]]++;
    }
    if (filled[0] != (table->odd ? table->odd->n : 0))
        return corrupt(reterr, "the odd rows are miscounted");
    for (uint32_t g = 0; g < table->n_groups; g++)
        if (filled[g + 1] != table->groups[g].rows)
            return corrupt(reterr, "the rows of a group are miscounted");
    table->rank = rank;
    return 0;
}

int table_load(struct linetab *t, struct table *table, struct err *reterr) {
    if (table->loaded)
        return 0;
    int status = table_load_ids(t, table, reterr);
    if (status == 0 && table->odd)
        status = column_load(t, table->odd, reterr);
    for (uint32_t g = 0; status == 0 && g < table->n_groups; g++)
        status = group_load(t, &table->groups[g], reterr);
    table->loaded = status == 0;
    return status;
}
