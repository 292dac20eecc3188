/* What every match of a regular expression must contain, worked out from its text.
 *
 * A recursive reading of Go's syntax tells what is known of each part (regex_part.h). What is not understood ends the analysis
 * with nothing known, which is always right.
 *
 * Facts also hold for text that is no UTF-8, which is matched byte-wise (see regex.cc): characters beyond
 * ASCII count only where they stand as they are, outside of classes. Without case, "k" and "s" match two odd
 * characters beyond ASCII (U+212A, U+017F) in RE2, which are left out of account here, as Loki does. */
#include "regex.h"

#include "regex_part.h"

enum {
    DEPTH_MAX = 64,    /* of nested groups */
    CLASS_MAX = 8,     /* members of a class that counts as alternatives */
    REPEAT_MAX = 1000, /* as Go and RE2 have it */
    REPEAT_UNROLLED_MAX = 8,
};

struct analyzer {
    struct str text;
    size_t at;
    struct part_memory memory;
    bool anchored;
    bool fold;                  /* the flag i is in force */
    bool saw_folded, saw_plain; /* letters read with and without (?i) */
};

static void give_up(struct analyzer *a) {
    a->memory.given_up = true;
}

static const struct part unknown_part = {.may_be_empty = false};

/* ---- reading */

static int peek(const struct analyzer *a, size_t ahead) {
    return a->at + ahead < a->text.size ? (unsigned char)a->text.data[a->at + ahead] : -1;
}

static bool take(struct analyzer *a, char c) {
    if (peek(a, 0) != (unsigned char)c)
        return false;
    a->at++;
    return true;
}

static bool take_text(struct analyzer *a, struct str s) {
    if (!str_starts(str_from_offset(a->text, a->at), s))
        return false;
    a->at += s.size;
    return true;
}

static bool is_letter(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Notes with which case rule a letter was read; returns it as literals hold it. */
static char note_case(struct analyzer *a, char c) {
    if (!is_letter((unsigned char)c))
        return c;
    if (!a->fold) {
        a->saw_plain = true;
        return c;
    }
    a->saw_folded = true;
    return (char)(c | 0x20);
}

/* A repetition "{n,m}" at the present place; false if it is none, and the brace stands for itself. */
static bool read_counts(struct analyzer *a, size_t *ret_end, int *ret_min, int *ret_max) {
    size_t at = a->at + 1;
    int values[2] = {-1, -1};
    for (int i = 0; i < 2; i++) {
        while (at < a->text.size && a->text.data[at] >= '0' && a->text.data[at] <= '9') {
            values[i] = (values[i] < 0 ? 0 : values[i]) * 10 + (a->text.data[at++] - '0');
            if (values[i] > REPEAT_MAX)
                return false;
        }
        if (i == 0 && at < a->text.size && a->text.data[at] == ',') {
            at++;
            continue;
        }
        if (i == 0)
            values[1] = values[0];
        break;
    }
    if (values[0] < 0 || at >= a->text.size || a->text.data[at] != '}')
        return false;
    *ret_end = at + 1;
    *ret_min = values[0];
    *ret_max = values[1];
    return true;
}

static bool quantifier_ahead(struct analyzer *a) {
    size_t end;
    int min, max;
    int c = peek(a, 0);
    return c == '*' || c == '+' || c == '?' || (c == '{' && read_counts(a, &end, &min, &max));
}

static struct part repeat(struct analyzer *a, struct part p, int min, int max) {
    bool anything = p.is_anything;
    p.is_anything = false;
    if (min == 0 && max == 0)
        return part_exact(&a->memory, STR(""));
    if (min == 1 && max == 1)
        return p;
    if (min == 0) {
        if (p.exact && max == 1)
            return part_either(&a->memory, p, part_exact(&a->memory, STR("")));
        struct part any = {.may_be_empty = true, .is_anything = anything && max < 0};
        return any;
    }
    if (p.exact && min == max && min <= REPEAT_UNROLLED_MAX) {
        struct part_concat c = part_concat_begin(&a->memory);
        for (int i = 0; i < min && !a->memory.given_up; i++)
            part_concat_add(&a->memory, &c, p);
        return part_concat_end(&a->memory, &c);
    }
    return part_facts(p);
}

static struct part read_quantifiers(struct analyzer *a, struct part p) {
    while (!a->memory.given_up && quantifier_ahead(a)) {
        int min = 0, max = -1;
        size_t end = a->at + 1;
        int c = peek(a, 0);
        if (c == '+')
            min = 1;
        else if (c == '?')
            max = 1;
        else if (c == '{')
            (void)read_counts(a, &end, &min, &max);
        a->at = end;
        (void)take(a, '?');
        if (p.is_anchor) {
            give_up(a);
            return unknown_part;
        }
        p = repeat(a, p, min, max);
    }
    return p;
}

/* One character that stands for itself. */
static struct part literal_part(struct analyzer *a, char c) {
    char *data = part_alloc(&a->memory, 1);
    if (!data)
        return unknown_part;
    data[0] = note_case(a, c);
    return part_exact(&a->memory, str_make(data, 1));
}

static bool is_meta(int c) {
    return c >= 0 && c < 0x80 && c != 0 && strchr("\\.+*?()|[]{}^$", c);
}

static size_t rune_size(int c) {
    return c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
}

/* A run of plain characters. A quantifier behind it belongs to the last one, which is left for its own part then. */
static struct part read_run(struct analyzer *a) {
    size_t start = a->at, last = a->at;
    while (a->at < a->text.size && !is_meta(peek(a, 0)) && !(a->fold && peek(a, 0) >= 0x80)) {
        last = a->at;
        a->at += rune_size(peek(a, 0));
    }
    if (a->at > a->text.size)
        a->at = a->text.size;
    if (a->at == start) {
        /* Beyond ASCII, without case: what its other cases are is not known here. */
        a->at += rune_size(peek(a, 0));
        return unknown_part;
    }
    if (last > start && quantifier_ahead(a))
        a->at = last;
    size_t size = a->at - start;
    char *data = part_alloc(&a->memory, size);
    if (!data)
        return unknown_part;
    for (size_t i = 0; i < size; i++)
        data[i] = note_case(a, a->text.data[start + i]);
    return part_exact(&a->memory, str_make(data, size));
}

/* ---- escapes and classes */

/* \x41 or \x{41}; the "x" has been read. -1 for a bad one. */
static int read_hex(struct analyzer *a) {
    bool braces = take(a, '{');
    int value = 0, digits = 0;
    while (hex_digit_value((char)peek(a, 0)) >= 0 && (braces ? digits < 8 : digits < 2)) {
        int d = hex_digit_value((char)peek(a, 0));
        value = value > 0x10ffff ? value : value * 16 + d;
        digits++;
        a->at++;
    }
    if (digits == 0 || (!braces && digits != 2) || (braces && !take(a, '}')))
        return -1;
    return value;
}

/* What an escape stands for: a character, or one of these. */
enum {
    ESCAPE_BAD = -1,
    ESCAPE_CLASS = -2,
    ESCAPE_ANCHOR = -3,
    ESCAPE_OTHER = -4,
    ESCAPE_BEGIN = -5,
    ESCAPE_END = -6
};

static int read_property(struct analyzer *a) {
    if (take(a, '{')) {
        while (peek(a, 0) >= 0 && peek(a, 0) != '}')
            a->at++;
        return take(a, '}') ? ESCAPE_CLASS : ESCAPE_BAD;
    }
    if (peek(a, 0) < 0 || peek(a, 0) >= 0x80)
        return ESCAPE_BAD;
    a->at++;
    return ESCAPE_CLASS;
}

/* Behind a backslash. */
static int read_escape(struct analyzer *a) {
    static const char names[] = "abfnrtv", values[] = "\a\b\f\n\r\t\v";
    int c = peek(a, 0);
    if (c <= 0 || c >= 0x80)
        return ESCAPE_BAD;
    a->at++;
    if (strchr("dDwWsS", c))
        return ESCAPE_CLASS;
    if (c == 'p' || c == 'P')
        return read_property(a);
    if (c == 'b' || c == 'B')
        return ESCAPE_ANCHOR;
    if (c == 'A' || c == 'z')
        return c == 'A' ? ESCAPE_BEGIN : ESCAPE_END;
    if (c == 'x') {
        int value = read_hex(a);
        return value < 0 ? ESCAPE_BAD : value < 0x80 ? value : ESCAPE_OTHER;
    }
    const char *name = strchr(names, c);
    if (name)
        return (unsigned char)values[name - names];
    bool word = is_letter(c) || (c >= '0' && c <= '9') || c == '_';
    return word ? ESCAPE_BAD : c;
}

struct class_members {
    char items[CLASS_MAX];
    size_t count;
    bool too_many; /* or not to be listed */
};

static void class_add(struct class_members *m, int first, int last) {
    if (first < 0 || last < first || last - first >= CLASS_MAX || last >= 0x80) {
        m->too_many = true;
        return;
    }
    for (int c = first; c <= last; c++) {
        if (m->count == CLASS_MAX) {
            m->too_many = true;
            return;
        }
        m->items[m->count++] = (char)c;
    }
}

/* One member of a class: a character below 0x80, or an ESCAPE_ value for all else. */
static int read_member(struct analyzer *a) {
    int c = peek(a, 0);
    if (c == '\\') {
        a->at++;
        int value = read_escape(a);
        if (value == ESCAPE_ANCHOR || value == ESCAPE_BEGIN || value == ESCAPE_END) {
            give_up(a);
            return ESCAPE_BAD;
        }
        return value;
    }
    if (c >= 0x80) {
        a->at += rune_size(c);
        return ESCAPE_OTHER;
    }
    a->at++;
    return c;
}

/* Skips "[:name:]". */
static bool skip_posix(struct analyzer *a) {
    if (!take_text(a, STR("[:")))
        return false;
    while (a->at < a->text.size && !take_text(a, STR(":]")))
        a->at++;
    return true;
}

static void read_members(struct analyzer *a, struct class_members *m) {
    bool first = true;
    while (!a->memory.given_up) {
        if (peek(a, 0) < 0) {
            give_up(a);
            return;
        }
        if (!first && take(a, ']'))
            return;
        first = false;
        if (skip_posix(a)) {
            m->too_many = true;
            continue;
        }
        int low = read_member(a), high = low;
        if (peek(a, 0) == '-' && peek(a, 1) >= 0 && peek(a, 1) != ']') {
            a->at++;
            high = read_member(a);
        }
        if (low == ESCAPE_BAD || high == ESCAPE_BAD)
            give_up(a);
        class_add(m, low, high);
    }
}

/* Behind "[". */
static struct part read_class(struct analyzer *a) {
    struct class_members m = {0};
    m.too_many = take(a, '^');
    read_members(a, &m);
    if (a->memory.given_up || m.too_many || m.count == 0)
        return unknown_part;
    struct part p = literal_part(a, m.items[0]);
    for (size_t i = 1; i < m.count && !a->memory.given_up; i++)
        p = part_either(&a->memory, p, literal_part(a, m.items[i]));
    return p;
}

/* \Q...\E, behind "\Q". A quantifier behind it belongs to its last character. */
static struct part read_quoted(struct analyzer *a) {
    struct str rest = str_from_offset(a->text, a->at);
    const char *end = str_find(rest, STR("\\E"));
    size_t size = end ? (size_t)(end - rest.data) : rest.size;
    a->at += size + (end ? 2 : 0);
    if (quantifier_ahead(a) || a->fold) {
        give_up(a);
        return unknown_part;
    }
    char *data = part_alloc(&a->memory, size);
    if (!data)
        return unknown_part;
    for (size_t i = 0; i < size; i++)
        data[i] = note_case(a, rest.data[i]);
    return part_exact(&a->memory, str_make(data, size));
}

/* ---- groups */

static struct part read_alternatives(struct analyzer *a, unsigned depth, bool top);

/* Flags behind "(?": returns false when they end with ")" and hold for the rest of the enclosing group. */
static bool read_flags(struct analyzer *a) {
    bool value = true;
    for (;;) {
        int c = peek(a, 0);
        a->at++;
        if (c == 'i') {
            a->fold = value;
        } else if (c == '-') {
            value = false;
        } else if (c == ':') {
            return true;
        } else if (c == ')') {
            return false;
        } else if (c != 's' && c != 'm' && c != 'U') {
            give_up(a);
            return true;
        }
    }
}

/* Behind "(". */
static struct part read_group(struct analyzer *a, unsigned depth, bool top) {
    bool fold = a->fold;
    if (take_text(a, STR("?P<")) || take_text(a, STR("?<"))) {
        while (peek(a, 0) >= 0 && peek(a, 0) != '>')
            a->at++;
        if (!take(a, '>'))
            give_up(a);
    } else if (take(a, '?') && !read_flags(a)) {
        /* To RE2 a quantifier behind flags belongs to what stands before them. */
        if (quantifier_ahead(a))
            give_up(a);
        return part_exact(&a->memory, STR(""));
    }
    if (depth == 0 || a->memory.given_up) {
        give_up(a);
        return unknown_part;
    }
    struct part p = read_alternatives(a, depth - 1, top);
    if (!take(a, ')'))
        give_up(a);
    a->fold = fold;
    return p;
}

static struct part anchor_part(bool is_begin, bool is_end) {
    return (struct part){
        .is_anchor = true, .may_be_empty = true, .is_begin = is_begin, .is_end = is_end};
}

static struct part read_backslash(struct analyzer *a) {
    a->at++;
    if (take(a, 'Q'))
        return read_quoted(a);
    int value = read_escape(a);
    if (value == ESCAPE_BAD)
        give_up(a);
    if (value == ESCAPE_ANCHOR || value == ESCAPE_BEGIN || value == ESCAPE_END)
        return anchor_part(value == ESCAPE_BEGIN, value == ESCAPE_END);
    return value >= 0 ? literal_part(a, (char)value) : unknown_part;
}

static struct part read_atom(struct analyzer *a, unsigned depth, bool top) {
    switch (peek(a, 0)) {
    case '\\':
        return read_backslash(a);
    case '.':
        a->at++;
        return (struct part){.is_anything = true};
    case '^':
        a->at++;
        return anchor_part(true, false);
    case '$':
        a->at++;
        return anchor_part(false, true);
    case '[':
        a->at++;
        return read_class(a);
    case '(':
        a->at++;
        return read_group(a, depth, top);
    case '{':
    case '}':
    case ']':
        a->at++;
        return literal_part(a, a->text.data[a->at - 1]);
    case '*':
    case '+':
    case '?':
        give_up(a);
        return unknown_part;
    default:
        return read_run(a);
    }
}

/* Offset behind the group that starts at `at`, or behind the text. */
static size_t group_end(struct str text, size_t at) {
    unsigned open = 0;
    bool in_class = false;
    for (; at < text.size; at++) {
        char c = text.data[at];
        if (c == '\\' && at + 1 < text.size && text.data[at + 1] == 'Q' && !in_class) {
            const char *end = str_find(str_from_offset(text, at), STR("\\E"));
            if (!end)
                return text.size;
            at = (size_t)(end - text.data) + 1;
        } else if (c == '\\') {
            at++;
        } else if (in_class) {
            in_class = c != ']';
        } else if (c == '[') {
            in_class = true;
            if (at + 1 < text.size && text.data[at + 1] == '^')
                at++;
            if (at + 1 < text.size && text.data[at + 1] == ']')
                at++;
        } else if (c == '(') {
            open++;
        } else if (c == ')' && --open == 0) {
            return at + 1;
        }
    }
    return text.size;
}

/* Does this alternative end at `at`? */
static bool ends_at(const struct analyzer *a, size_t at) {
    return at >= a->text.size || a->text.data[at] == '|' || a->text.data[at] == ')';
}

/* Where a match may start and end anywhere, `.*` at either end of the whole expression says nothing. Where it may not,
 * the same goes for anchors. `top`: this is the whole expression, or an alternative of it. */
static struct part read_concat(struct analyzer *a, unsigned depth, bool top) {
    struct part_concat c = part_concat_begin(&a->memory);
    struct part pending = {0}; /* `.*` or an anchor that may turn out to be the last */
    bool first = true, has_pending = false;
    while (!a->memory.given_up && !ends_at(a, a->at)) {
        bool whole = top && first && peek(a, 0) == '(' && ends_at(a, group_end(a->text, a->at));
        struct part p = read_quantifiers(a, read_atom(a, depth, whole));
        p.is_anything = p.is_anything && p.may_be_empty;
        if (top && first && (a->anchored ? p.is_begin : p.is_anything))
            continue;
        if (has_pending)
            part_concat_add(&a->memory, &c, pending);
        has_pending = top && (a->anchored ? p.is_end : p.is_anything);
        pending = p;
        if (!has_pending)
            part_concat_add(&a->memory, &c, p);
        /* A group of flags alone takes no place. */
        first = first && p.exact && p.may_be_empty && p.set.count == 1;
    }
    return part_concat_end(&a->memory, &c);
}

static struct part read_alternatives(struct analyzer *a, unsigned depth, bool top) {
    struct part p = read_concat(a, depth, top);
    while (!a->memory.given_up && take(a, '|'))
        part_add_alternative(&a->memory, &p, read_concat(a, depth, top));
    return p;
}

/* ---- result */

/* Drops duplicates and empty strings; brings the case rule about. */
static struct string_list finish_list(struct analyzer *a, struct string_list list) {
    struct str *items = part_alloc(&a->memory, (list.count + 1) * sizeof(*items));
    size_t count = 0;
    if (!items)
        return (struct string_list){0};
    for (size_t i = 0; i < list.count; i++) {
        struct str s = list.items[i];
        char *data = a->saw_folded && a->saw_plain ? part_alloc(&a->memory, s.size) : NULL;
        for (size_t k = 0; data && k < s.size; k++)
            data[k] = s.data[k] >= 'A' && s.data[k] <= 'Z' ? (char)(s.data[k] | 0x20) : s.data[k];
        if (data)
            s.data = data;
        bool known = s.size == 0;
        for (size_t k = 0; k < count && !known; k++)
            known = str_eq(items[k], s);
        if (!known)
            items[count++] = s;
    }
    return (struct string_list){.items = items, .count = count};
}

static void sort_longest_first(struct string_list list) {
    struct str *items = (struct str *)list.items;
    for (size_t i = 1; i < list.count; i++) {
        struct str s = items[i];
        size_t at = i;
        for (; at > 0 && items[at - 1].size < s.size; at--)
            items[at] = items[at - 1];
        items[at] = s;
    }
}

void regex_analyze(struct str pattern, bool anchored, struct arena *arena,
                   struct regex_facts *ret) {
    struct analyzer a = {.text = pattern, .memory = {.arena = arena}, .anchored = anchored};
    *ret = (struct regex_facts){.matches_empty = true};
    if (pattern.size > REGEX_PATTERN_MAX)
        return;
    struct part p = read_alternatives(&a, DEPTH_MAX, true);
    if (a.memory.given_up || a.at != pattern.size)
        return;
    bool exact = p.exact && !(a.saw_folded && a.saw_plain);
    bool has_empty = p.exact && string_list_shortest(p.set) == 0;
    struct part facts = part_facts(p);
    struct string_list required = finish_list(&a, facts.required);
    struct string_list any_of = finish_list(&a, facts.any_of);
    if (a.memory.given_up)
        return;
    ret->matches_empty = p.may_be_empty;
    ret->fold_case = a.saw_folded;
    sort_longest_first(required);
    ret->required = required.items;
    ret->n_required = required.count;
    ret->any_of = any_of.items;
    ret->n_any_of = any_of.count;
    ret->is_set_exact = exact && !has_empty && any_of.count > 0;
    if (exact && p.set.count == 1) {
        ret->is_literal = true;
        ret->literal = any_of.count > 0 ? any_of.items[0] : STR("");
    }
}
