/* Writing rows: the hot loop of the decoder. Every write may go LINETAB_SLACK bytes past what it counts, so that pieces
 * are copied in whole vectors; the caller has made sure that the longest row and the slack fit. */
#include <errno.h>
#include <stdlib.h>

#include "bytes.h"
#include "linetab_digits.h"
#include "linetab_reader.h"

/* LINETAB_SLACK bytes may be read at the end of any text, too: most pieces are one copy of 32 bytes, and no branch
 * depends on their length. */
static inline char *put_text(char *out, const char *data, size_t size) {
    memcpy(out, data, 32);
    if (size > 32)
        memcpy(out + 32, data + 32, size - 32);
    return out + size;
}

static __attribute__((noinline)) char *put_long(char *out, uint64_t number);

static inline char *put_natural(char *out, uint64_t number) {
    if (number >= 100000000)
        return put_long(out, number);
    uint64_t digits = eight_digits((uint32_t)number);
    unsigned skip = (unsigned)__builtin_ctzll(digits | UINT64_C(1) << 56) & 0x38u;
    put_le64(out, (digits | 0x3030303030303030u) >> skip);
    return out + 8 - skip / 8;
}

static char *put_long(char *out, uint64_t number) {
    uint64_t high = number / 100000000, top = high / 100000000;
    if (top > 0) {
        out = put_natural(out, top);
        put_le64(out, eight_digits((uint32_t)(high - top * 100000000)) | 0x3030303030303030u);
        out += 8;
    } else {
        out = put_natural(out, high);
    }
    put_le64(out, eight_digits((uint32_t)(number - high * 100000000)) | 0x3030303030303030u);
    return out + 8;
}

/* The last `width` digits, zeros in front; width 1 to 19. */
static inline char *put_fixed(char *out, uint64_t number, unsigned width) {
    uint64_t high = 0;
    if (number >= 100000000) {
        high = number / 100000000;
        number -= high * 100000000;
    }
    uint64_t low = eight_digits((uint32_t)number) | 0x3030303030303030u;
    if (width <= 8) {
        put_le64(out, low >> (8 * (8 - width)));
        return out + width;
    }
    uint64_t top = high / 100000000;
    uint64_t middle = eight_digits((uint32_t)(high - top * 100000000)) | 0x3030303030303030u;
    if (width <= 16) {
        put_le64(out, middle >> (8 * (16 - width)));
    } else {
        put_le32(out, (uint32_t)((eight_digits((uint32_t)(top % 1000)) | 0x3030303030303030u) >>
                                 (8 * (24 - width))));
        put_le64(out + width - 16, middle);
    }
    put_le64(out + width - 8, low);
    return out + width;
}

static inline char *put_two(char *out, unsigned number) {
    unsigned tens = number * 103 >> 10;
    put_le16(out, (uint16_t)(('0' + tens) | ('0' + number - tens * 10) << 8));
    return out + 2;
}

static char *put_number(const struct column *c, uint64_t number, char *out) {
    if (c->flags == NUMBER_NATURAL)
        return put_natural(out, number);
    if (c->flags == NUMBER_FIXED)
        return put_fixed(out, number, c->digits);
    /* The digits behind the one that marks their beginning. */
    char digits[32];
    size_t size = (size_t)(put_natural(digits, number) - digits);
    memcpy(out, digits + 1, 24);
    return out + size - 1;
}

static char *put_ip(uint64_t address, char *out) {
    for (int shift = 24; shift >= 0; shift -= 8) {
        unsigned part = address >> shift & 0xff;
        unsigned hundreds = part * 41 >> 12, rest = part - hundreds * 100, tens = rest * 103 >> 10;
        uint32_t text = ('0' + hundreds) | ('0' + tens) << 8 | ('0' + rest - tens * 10) << 16 |
                        (uint32_t)'.' << 24;
        unsigned skip = part < 10 ? 2 : part < 100 ? 1 : 0;
        put_le32(out, text >> (8 * skip));
        out += 4 - skip;
    }
    return out - 1;
}

static char *put_date(const struct column *c, int64_t days, char *out) {
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    unsigned year, month, day;
    linetab_date(days, &year, &month, &day);
    if (c->flags == DATE_NAMED) {
        out = put_fixed(out, day, 2);
        *out++ = '/';
        memcpy(out, names + (month - 1) * 3, 3);
        out[3] = '/';
        return put_fixed(out + 4, year, 4);
    }
    char mark = c->flags == DATE_DASHES ? '-' : '/';
    out = put_fixed(out, year, 4);
    *out++ = mark;
    out = put_fixed(out, month, 2);
    *out++ = mark;
    return put_fixed(out, day, 2);
}

static void set_day(struct column *c, int64_t seconds) {
    int64_t days = seconds / 86400 - (seconds % 86400 < 0);
    c->day_second = days * 86400;
    if (c->flags == DATE_NONE)
        return;
    /* 10000 years, whatever a damaged column says. */
    days = days > 2932896 ? 2932896 : days < -719162 ? -719162 : days;
    char text[64];
    *put_date(c, days, text) = c->between;
    memcpy(c->second_text, text, 12);
}

void column_set_second(struct column *c, uint64_t number) {
    static const uint8_t sizes[DATE_FORMS] = {0, 11, 11, 12};
    int64_t unit = (int64_t)linetab_powers[c->digits], at = (int64_t)number;
    int64_t seconds = at / unit;
    seconds -= at < seconds * unit;
    if ((uint64_t)seconds - (uint64_t)c->day_second >= 86400)
        set_day(c, seconds);
    unsigned of_day = (unsigned)(seconds - c->day_second), minutes = of_day / 60;
    char *out = c->second_text + sizes[c->flags];
    put_two(out, minutes / 60);
    out[2] = ':';
    put_two(out + 3, minutes % 60);
    out[5] = ':';
    put_two(out + 6, of_day % 60);
    out[8] = c->point;
    c->second_number = (uint64_t)seconds * (uint64_t)unit;
}

void column_start_time(struct column *c) {
    c->day_second = INT64_MIN; /* no day */
    column_set_second(c, c->numbers[0]);
}

static char *put_time(struct column *c, uint64_t number, char *out) {
    if (number - c->second_number >= linetab_powers[c->digits])
        column_set_second(c, number);
    static const uint8_t sizes[DATE_FORMS] = {8, 19, 19, 20};
    memcpy(out, c->second_text, sizeof(c->second_text));
    out += sizes[c->flags];
    return c->digits > 0 ? put_fixed(out + 1, number - c->second_number, c->digits) : out;
}

/* Reads 16 bytes at a time: PACKED_PAD bytes follow the last column. */
static char *put_hex(const struct column *c, uint32_t row, char *out) {
    unsigned size = c->digits / 2u;
    const uint8_t *p = c->packed + (size_t)row * size;
    int letter = c->flags & HEX_UPPER ? 'A' : 'a';
    if (!(c->flags & HEX_UUID)) {
        for (unsigned i = 0; i < size; i += 16)
            hex_16(p + i, letter, out + 2 * (size_t)i);
        return out + c->digits;
    }
    char text[32];
    hex_16(p, letter, text);
    memcpy(out, text, 8);
    memcpy(out + 9, text + 8, 4);
    memcpy(out + 14, text + 12, 4);
    memcpy(out + 19, text + 16, 4);
    memcpy(out + 24, text + 20, 12);
    out[8] = out[13] = out[18] = out[23] = '-';
    return out + 36;
}

static char *put_row(const struct table *table, uint32_t row, char *out);

static inline __attribute__((always_inline)) char *put_column(struct column *c, uint32_t row,
                                                              char *out) {
    switch (c->kind) {
    case COLUMN_DICT:
    case COLUMN_SHARED: {
        struct str cell = c->cells[c->ids[row]];
        return put_text(out, cell.data, cell.size);
    }
    case COLUMN_NUMBER:
        return put_number(c, c->numbers[row], out);
    case COLUMN_HEX:
        return put_hex(c, row, out);
    case COLUMN_IP:
        return put_ip(c->numbers[row], out);
    case COLUMN_TIME:
        return put_time(c, c->numbers[row], out);
    case COLUMN_TEXT:
        return put_text(out, c->text + c->numbers[row],
                        (size_t)(c->numbers[row + 1] - c->numbers[row]));
    case COLUMN_TABLE:
        return put_row(c->table, row, out);
    case COLUMN_KINDS:
        break;
    }
    return out;
}

char *column_write(struct column *c, uint32_t row, char *out) {
    return put_column(c, row, out);
}

static char *put_row(const struct table *table, uint32_t row, char *out) {
    uint32_t id = table->ids[row], rank = table->rank[row];
    if (id == 0)
        return put_column(table->odd, rank, out);
    const struct group *g = &table->groups[id - 1];
    const struct slot *slot = g->slots, *end = slot + g->n_slots;
    for (; slot < end; slot++) {
        if (slot->before.size > 0 && !slot->joined)
            out = put_text(out, slot->before.data, slot->before.size);
        out = put_column(slot->column, rank, out);
    }
    return g->after.size > 0 && !g->after_joined ? put_text(out, g->after.data, g->after.size)
                                                 : out;
}

static uint32_t row_max(const struct table *table, uint32_t row) {
    uint32_t id = table->ids[row];
    return id == 0 ? table->odd->value_max : table->groups[id - 1].row_max;
}

/* A row whose longest form and slack would not fit is written aside. */
static int put_aside(struct linetab *t, uint32_t row, char *out, size_t room, size_t *ret_size,
                     struct err *reterr) {
    buf_clear(&t->tools->aside);
    if (buf_reserve(&t->tools->aside, (size_t)row_max(t->root, row) + LINETAB_SLACK) < 0)
        return err_set(reterr, -ENOMEM, "block: no memory for a line of %u bytes",
                       row_max(t->root, row));
    size_t size = (size_t)(put_row(t->root, row, t->tools->aside.data) - t->tools->aside.data);
    if (size >= room)
        return err_set(reterr, -ECORRUPT, "block: table of lines: more bytes than it says");
    memcpy(out, t->tools->aside.data, size);
    *ret_size = size;
    return 0;
}

int linetab_lines(struct linetab *t, char *out, size_t size, struct err *reterr) {
    int status = table_load(t, t->root, reterr);
    if (status < 0)
        return status;
    char *end = out + size, *at = out;
    for (uint32_t i = 0; i < t->count; i++) {
        if ((size_t)(end - at) > (size_t)row_max(t->root, i) + LINETAB_SLACK) {
            at = put_row(t->root, i, at);
            *at++ = '\n';
            continue;
        }
        size_t line_size = 0;
        status = put_aside(t, i, at, (size_t)(end - at), &line_size, reterr);
        if (status < 0)
            return status;
        at[line_size] = '\n';
        at += line_size + 1;
    }
    if (at != end)
        return err_set(reterr, -ECORRUPT, "block: table of lines: fewer bytes than it says");
    return 0;
}

/* What the row needs. */
static int load_for(struct linetab *t, uint32_t row, struct err *reterr) {
    uint32_t id = t->root->ids[row];
    return id == 0 ? column_load(t, t->root->odd, reterr)
                   : group_load(t, &t->root->groups[id - 1], reterr);
}

/* The bytes of row `row` at `out`, which has `room`, and '\n' behind them; *ret_size: without it. */
static int put_checked(struct linetab *t, uint32_t row, char *out, size_t room, size_t *ret_size,
                       struct err *reterr) {
    if (room > (size_t)row_max(t->root, row) + LINETAB_SLACK) {
        *ret_size = (size_t)(put_row(t->root, row, out) - out);
    } else {
        int status = put_aside(t, row, out, room, ret_size, reterr);
        if (status < 0)
            return status;
    }
    out[*ret_size] = '\n';
    return 0;
}

/* Asks for what writing the row reads. Rows that are far from one another lie in other lines of the cache each, one per
 * column: all of them come at the same time then. */
static void prefetch_row(const struct table *table, uint32_t row) {
    uint32_t id = table->ids[row], rank = table->rank[row];
    if (id == 0)
        return;
    const struct group *g = &table->groups[id - 1];
    for (uint32_t i = 0; i < g->n_slots; i++) {
        const struct column *c = g->slots[i].column;
        if (c->ids)
            __builtin_prefetch(c->cells[c->ids[rank]].data);
        else if (c->numbers)
            __builtin_prefetch(&c->numbers[rank]);
        else if (c->kind == COLUMN_HEX)
            __builtin_prefetch(c->packed + (size_t)rank * (c->digits / 2u));
    }
}

enum { PREFETCH_ROWS = 16 }; /* of some ten columns each */

/* Makes all ready that the rows need. */
static int load_rows(struct linetab *t, const uint64_t *wanted, struct err *reterr) {
    uint32_t n = 0;
    int status = table_load_ids(t, t->root, reterr);
    for (uint32_t word = 0; status == 0 && word <= (t->count - 1) / 64; word++) {
        for (uint64_t bits = wanted[word]; status == 0 && bits; bits &= bits - 1) {
            uint32_t row = word * 64 + (uint32_t)__builtin_ctzll(bits);
            status = load_for(t, row, reterr);
            if (status == 0 && n++ < PREFETCH_ROWS)
                prefetch_row(t->root, row);
        }
    }
    return status;
}

int linetab_rows(struct linetab *t, const uint64_t *wanted, char *out, size_t size,
                 uint32_t *ret_offsets, struct err *reterr) {
    size_t at = 0, line_size = 0;
    int status = load_rows(t, wanted, reterr);
    for (uint32_t word = 0; status == 0 && word <= (t->count - 1) / 64; word++) {
        for (uint64_t bits = wanted[word]; status == 0 && bits; bits &= bits - 1) {
            uint32_t row = word * 64 + (uint32_t)__builtin_ctzll(bits);
            status = put_checked(t, row, out + at, size - at, &line_size, reterr);
            if (status < 0)
                break;
            ret_offsets[row] = (uint32_t)at;
            at += line_size + 1;
            ret_offsets[row + 1] = (uint32_t)at;
        }
    }
    return status;
}
