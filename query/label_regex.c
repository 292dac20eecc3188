#include "label_regex.h"

#include <errno.h>

enum { LEGS_MAX = 64 };

struct leg {
    struct str text;
    bool star; /* a ".*" stood at one of its ends */
    bool star_before;
};

static bool is_literal(struct str s) {
    for (size_t i = 0; i < s.size; i++)
        if (memchr("\\.+*?()|[]{}^$", s.data[i], 14) || (unsigned char)s.data[i] >= 0x80)
            return false;
    return true;
}

static bool leg_parse(struct str s, struct leg *ret) {
    struct str any = STR(".*");
    *ret = (struct leg){.text = s};
    if (str_starts(ret->text, any)) {
        ret->text = str_from_offset(ret->text, 2);
        ret->star = ret->star_before = true;
    }
    if (str_ends(ret->text, any)) {
        ret->text.size -= 2;
        ret->star = true;
    }
    return is_literal(ret->text) && (ret->text.size > 0 || ret->star);
}

/* The alternatives of `s`; 0 when there are too many or one is not a literal with ".*" around it. */
static size_t legs_parse(struct str s, struct leg *legs) {
    size_t count = 0;
    for (;;) {
        const char *bar = memchr(s.data, '|', s.size);
        struct str one = str_make(s.data, bar ? (size_t)(bar - s.data) : s.size);
        if (count == LEGS_MAX || !leg_parse(one, &legs[count]))
            return 0;
        count++;
        if (!bar)
            return count;
        s = str_from_offset(s, one.size + 1);
    }
}

static size_t common_prefix(struct str a, struct str b) {
    size_t n = 0;
    while (n < a.size && n < b.size && a.data[n] == b.data[n])
        n++;
    return n;
}

/* Behind a common prefix of `size` bytes: do the rests stay literals? Adjacent single characters become a character
 * class, an empty rest an option, and rests that share a beginning are factored again. */
static bool rests_are_literals(const struct leg *legs, size_t count, size_t size) {
    for (size_t i = 0; i < count; i++) {
        struct str rest = str_from_offset(legs[i].text, size);
        if (rest.size == 0)
            return false;
        if (i == 0)
            continue;
        struct str before = str_from_offset(legs[i - 1].text, size);
        if (common_prefix(before, rest) > 0 ||
            (before.size == 1 && rest.size == 1 && !legs[i].star && !legs[i - 1].star))
            return false;
    }
    return true;
}

/* Marks the legs of one run of alternatives; false when they do not simplify. */
static bool run_simplify(const struct leg *legs, size_t count, struct value_test *tests) {
    size_t shared = legs[0].text.size;
    for (size_t i = 1; i < count; i++) {
        size_t n = common_prefix(legs[0].text, legs[i].text);
        shared = n < shared ? n : shared;
    }
    if (count > 1 && !rests_are_literals(legs, count, shared))
        return false;
    for (size_t i = 0; i < count; i++)
        tests[i] = (struct value_test){.text = legs[i].text, .inside = count > 1 || legs[i].star};
    return true;
}

static bool simplify_legs(const struct leg *legs, size_t count, struct value_test *tests) {
    for (size_t i = 0; i < count;) {
        size_t end = i + 1;
        while (end < count && !legs[i].star_before && !legs[end].star_before &&
               common_prefix(legs[i].text, legs[end].text) > 0)
            end++;
        if (!run_simplify(legs + i, end - i, tests + i))
            return false;
        i = end;
    }
    /* Adjacent single characters, here too, are a class. */
    for (size_t i = 1; i < count; i++)
        if (legs[i].text.size == 1 && legs[i - 1].text.size == 1 && !legs[i].star &&
            !legs[i - 1].star)
            return false;
    return true;
}

/* `text(a|b)`: every alternative behind the text, anywhere in the value. */
static size_t simplify_group(struct arena *arena, struct str head, struct str inner,
                             struct value_test *tests) {
    struct leg legs[LEGS_MAX];
    size_t count = legs_parse(inner, legs);
    if (count < 2 || !rests_are_literals(legs, count, 0))
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (legs[i].star)
            return 0;
        char *text = arena_alloc(arena, head.size + legs[i].text.size);
        if (!text)
            return 0;
        memcpy(text, head.data, head.size);
        memcpy(text + head.size, legs[i].text.data, legs[i].text.size);
        tests[i] = (struct value_test){
            .text = str_make(text, head.size + legs[i].text.size),
            .inside = true,
        };
    }
    return count;
}

int label_regex_simplify(struct arena *arena, struct str pattern, const struct value_test **ret,
                         size_t *ret_count) {
    struct leg legs[LEGS_MAX];
    struct value_test *tests = arena_array(arena, LEGS_MAX, sizeof(*tests));
    if (!tests)
        return -ENOMEM;
    *ret = tests;
    *ret_count = 0;
    const char *open = memchr(pattern.data, '(', pattern.size);
    if (open && str_ends(pattern, STR(")"))) {
        struct str head = str_make(pattern.data, (size_t)(open - pattern.data));
        struct str inner = str_from_offset(pattern, head.size + 1);
        inner.size--;
        if (head.size > 0) {
            if (is_literal(head))
                *ret_count = simplify_group(arena, head, inner, tests);
            return 0;
        }
        pattern = inner;
    }
    size_t count = legs_parse(pattern, legs);
    if (count > 0 && simplify_legs(legs, count, tests))
        *ret_count = count;
    return 0;
}
