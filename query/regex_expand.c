/* Go's Regexp.Expand: $1, ${1}, $name, ${name}; the longest run of word characters is the name, so $1x is ${1x}. "$$"
 * is a dollar. A group that is unknown or took no part gives nothing. */
#include "buf.h"
#include "regex.h"

enum { GROUP_NUMBER_MAX = 100000 };

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The number that `name` is, or -1. */
static long group_number(struct str name) {
    long number = 0;
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] < '0' || name.data[i] > '9' || number > GROUP_NUMBER_MAX)
            return -1;
        number = number * 10 + (name.data[i] - '0');
    }
    /* A leading zero makes it a name, which no group has. */
    return name.size > 1 && name.data[0] == '0' ? -1 : number;
}

static struct str group_text(const struct regex *re, struct str name, const struct str *groups,
                             size_t n_groups) {
    long number = group_number(name);
    if (number >= 0)
        return (size_t)number < n_groups ? groups[number] : STR("");
    for (size_t i = 1; i < n_groups; i++)
        if (str_eq(regex_group_name(re, i), name) && groups[i].data)
            return groups[i];
    return STR("");
}

/* Behind a "$": the name and what it takes, 0 for none. */
static size_t take_name(struct str text, struct str *ret_name) {
    bool braces = text.size > 0 && text.data[0] == '{';
    size_t start = braces ? 1 : 0, end = start;
    while (end < text.size && is_word(text.data[end]))
        end++;
    if (end == start || (braces && (end == text.size || text.data[end] != '}')))
        return 0;
    *ret_name = str_make(text.data + start, end - start);
    return braces ? end + 1 : end;
}

void regex_expand(const struct regex *re, struct str template_text, const struct str *groups,
                  size_t n_groups, struct buf *out) {
    struct str text = template_text;
    while (text.size > 0) {
        const char *dollar = memchr(text.data, '$', text.size);
        size_t plain = dollar ? (size_t)(dollar - text.data) : text.size;
        buf_add(out, text.data, plain);
        text = str_from_offset(text, plain + 1);
        if (!dollar)
            return;
        struct str name;
        size_t taken = take_name(text, &name);
        if (taken > 0) {
            struct str group = group_text(re, name, groups, n_groups);
            if (group.size > 0)
                buf_add_str(out, group);
        } else {
            buf_add_char(out, '$');
            taken = text.size > 0 && text.data[0] == '$';
        }
        text = str_from_offset(text, taken);
    }
}
