/* The json stage: an object's leaves become labels.
 *
 * What counts as an error, and which fields are still found before one, follows the parser that Loki uses: an
 * object or array that is a value is first delimited by counting its own kind of brackets outside strings
 * (block_end), and only then looked into. So a broken end of a nested object loses its fields, a broken end of
 * the outermost one does not; and what stands behind the outermost closing brace is never seen.
 *
 * One pass over the line, plus one over each nested object that is wanted. */
#include "stage.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "json.h"
#include "json_path.h"
#include "utf8.h"

enum { DEPTH_MAX = JSON_DEPTH_MAX };

enum outcome {
    GO_ON,
    STOP,    /* all that is wanted has been found */
    REFUSED, /* an early filter does not let the line pass */
    BROKEN,
};

enum purpose {
    EXTRACT,    /* leaves become labels */
    FIND_ENTRY, /* unpack, first pass: the string _entry */
    UNPACK,     /* second pass: the other strings of the outermost object become labels */
};

struct scanner {
    enum purpose purpose;
    struct run *run;
    struct str error; /* with BROKEN */
    struct str entry; /* FIND_ENTRY; no data = not found */
};

static enum outcome broken(struct scanner *s, struct str error) {
    s->error = error;
    return BROKEN;
}

static struct str error_malformed(void) {
    return STR("Malformed JSON error");
}
static struct str error_object(void) {
    return STR("Value looks like object, but can't find closing '}' symbol");
}
static struct str error_array(void) {
    return STR("Value is array, but can't find closing ']' symbol");
}

static inline const char *skip_blanks(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* The closing quote of the string that begins at p. Most strings of logs are short: sixteen bytes are looked at
 * here before the general search is called. */
static inline const char *string_end(const char *p, const char *end, bool *escaped) {
#if defined(__SSE2__)
    if (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const void *)p);
        unsigned quotes = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
        unsigned slashes = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
        unsigned both = quotes | slashes;
        if (both != 0) {
            unsigned at = (unsigned)__builtin_ctz(both);
            if (quotes >> at & 1) {
                *escaped = false;
                return p + at;
            }
        } else {
            return json_string_end(p + 16, end, escaped);
        }
    }
#endif
    return json_string_end(p, end, escaped);
}

/* The next of the three bytes, or end. */
static inline const char *find_of3(const char *p, const char *end, char a, char b, char c) {
#if defined(__SSE2__)
    const __m128i va = _mm_set1_epi8(a), vb = _mm_set1_epi8(b), vc = _mm_set1_epi8(c);
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const void *)p);
        __m128i m = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, va), _mm_cmpeq_epi8(v, vb)),
                                 _mm_cmpeq_epi8(v, vc));
        unsigned mask = (unsigned)_mm_movemask_epi8(m);
        if (mask != 0)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && *p != a && *p != b && *p != c)
        p++;
    return p;
}

/* Behind the bracket that closes the one at p; NULL when there is none. Other kinds of brackets do not count. */
static const char *block_end(const char *p, const char *end, char open, char close) {
    size_t level = 0;
    for (;;) {
        p = find_of3(p, end, '"', open, close);
        if (p == end)
            return NULL;
        if (*p == '"') {
            bool escaped;
            p = string_end(p + 1, end, &escaped);
            if (!p)
                return NULL;
        } else if (*p == open) {
            level++;
        } else if (--level == 0) {
            return p + 1;
        }
        p++;
    }
}

static char simple_escape(char c) {
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

int64_t json_value_unescape(struct str raw, char *out) {
    const char *p = raw.data, *end = raw.data + raw.size;
    char *at = out;
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((slash ? slash : end) - p);
        memcpy(at, p, plain);
        at += plain;
        if (!slash)
            break;
        p = slash;
        if (end - p < 2)
            return -1;
        char simple = simple_escape(p[1]);
        if (simple) {
            *at++ = simple;
            p += 2;
            continue;
        }
        int32_t rune = json_read_u16(p, end);
        if (rune < 0)
            return -1;
        p += 6;
        if (rune >= 0xd800 && rune <= 0xdfff) {
            int32_t low = json_read_u16(p, end);
            if (low < 0xdc00)
                return -1;
            rune = ((rune - 0xd800) << 10) + (low - 0xdc00) + 0x10000;
            p += 6;
        }
        at += utf8_encode(at, (uint32_t)rune);
    }
    return at - out;
}

struct str run_clean_utf8(struct run *r, struct str value) {
    size_t i = 0;
    while (i < value.size && (unsigned char)value.data[i] < 0x80)
        i++;
    if (i == value.size)
        return value;
    bool bad = !utf8_valid(str_from_offset(value, i));
    if (!bad && !memmem(value.data + i, value.size - i, "\xef\xbf\xbd", 3))
        return value;
    char *out = run_scratch(r, value.size);
    if (!out)
        return STR("");
    size_t size = 0;
    for (i = 0; i < value.size;) {
        uint32_t rune;
        unsigned n = utf8_decode(str_from_offset(value, i), &rune);
        if (rune == 0xfffd) {
            out[size++] = ' ';
        } else {
            memcpy(out + size, value.data + i, n);
            size += n;
        }
        i += n;
    }
    return str_make(out, size);
}

static struct str string_value(struct run *r, struct str raw, bool escaped) {
    if (escaped) {
        char *out = run_scratch(r, raw.size + 4);
        if (!out)
            return STR("");
        int64_t size = json_value_unescape(raw, out);
        raw = size < 0 ? STR("") : str_make(out, (size_t)size);
    }
    return run_clean_utf8(r, raw);
}

/* Unlike a label's value, a line keeps what is not valid UTF-8. */
static enum outcome take_entry(struct scanner *s, struct str raw, bool escaped) {
    s->entry = raw;
    if (escaped) {
        char *out = run_scratch(s->run, raw.size + 4);
        int64_t size = out ? json_value_unescape(raw, out) : -1;
        if (size < 0)
            return broken(s, STR("Encountered an invalid escape sequence in a string"));
        s->entry = str_make(out, (size_t)size);
    }
    return GO_ON;
}

/* The field of label `id` has been read. */
static enum outcome take_field(struct run *r, uint32_t id, struct str raw, bool is_string,
                               bool escaped) {
    struct labelset *set = r->set;
    id = labelset_target(set, id);
    if (id == NAME_NONE || !labelset_wants(set, id) || labelset_extracted(set, id))
        return GO_ON;
    struct str value = is_string ? string_value(r, raw, escaped) : raw;
    labelset_set(set, GROUP_PARSED, id, value);
    if (run_refuses(r, id, value))
        return REFUSED;
    return labelset_all_found(set) ? STOP : GO_ON;
}

/* A string of a packed object. Loki gathers these first and sets them all at the end: of equal names the last is kept; and
 * what it compares with other labels is the key before it is made a name. */
static enum outcome take_packed(struct run *r, uint32_t id, struct str key, struct str raw,
                                bool escaped) {
    struct labelset *set = r->set;
    if (str_eq(labelset_name_text(set, id), key)) {
        id = labelset_target(set, id);
        if (id == NAME_NONE || !labelset_wants(set, id) || labelset_extracted_before(set, id))
            return GO_ON;
    } else if (!labelset_wants_all(set)) {
        return GO_ON;
    }
    struct str value = string_value(r, raw, escaped);
    labelset_set(set, GROUP_PARSED, id, value);
    return run_refuses(r, id, value) ? REFUSED : GO_ON;
}

/* A leaf: key and value have been read. */
static enum outcome leaf(struct scanner *s, uint32_t parent, struct str key, struct str raw,
                         bool is_string, bool escaped) {
    struct labelset *set = s->run->set;
    if (s->purpose != EXTRACT) {
        bool is_entry = is_string && str_eq(key, STR("_entry"));
        if (s->purpose == FIND_ENTRY && is_entry)
            return take_entry(s, raw, escaped);
        if (s->purpose == FIND_ENTRY || is_entry || !is_string)
            return GO_ON;
    }
    uint32_t id = labelset_key(set, parent, key);
    if (id == NAME_NONE)
        return GO_ON;
    return s->purpose == UNPACK ? take_packed(s->run, id, key, raw, escaped)
                                : take_field(s->run, id, raw, is_string, escaped);
}

/* A key with escapes, unescaped; an empty data pointer on a bad escape. */
static struct str unescape_key(struct run *r, struct str raw) {
    char *out = run_scratch(r, raw.size + 4);
    if (!out)
        return (struct str){0};
    int64_t size = json_value_unescape(raw, out);
    return size < 0 ? (struct str){0} : str_make(out, (size_t)size);
}

static enum outcome object(struct scanner *s, const char *p, const char *end, uint32_t parent,
                           unsigned depth);

/* Numbers, true, false, null: up to the next blank, comma or closing bracket. */
static enum outcome bare_value(struct scanner *s, const char *p, const char *end, uint32_t parent,
                               struct str key, bool possible, const char **ret_after) {
    const char *stop = p;
    while (stop < end && *stop != ',' && *stop != '}' && *stop != ']' && *stop != ' ' &&
           *stop != '\n' && *stop != '\r' && *stop != '\t')
        stop++;
    struct str text = str_make(p, (size_t)(stop - p));
    *ret_after = stop;
    switch (*p) {
    case 't':
    case 'f':
        if (!str_eq(text, STR("true")) && !str_eq(text, STR("false")))
            return broken(s, STR("Unknown value type"));
        break;
    case 'n':
    case 'u':
        if (!str_eq(text, STR("null")))
            return broken(s, STR("Unknown value type"));
        return GO_ON;
    default:
        if (*p != '-' && (*p < '0' || *p > '9'))
            return broken(s, STR("Unknown value type"));
        break;
    }
    return possible ? leaf(s, parent, key, text, false, false) : GO_ON;
}

static enum outcome nested(struct scanner *s, const char *p, const char *after, uint32_t parent,
                           struct str key, unsigned depth) {
    if (s->purpose != EXTRACT)
        return GO_ON;
    uint32_t id = labelset_key(s->run->set, parent, key);
    /* A blank key adds nothing to the prefix of what is below it. */
    if (id == NAME_NONE)
        id = parent;
    if (id != NAME_NONE && !labelset_wants_prefix(s->run->set, id))
        return GO_ON;
    if (depth + 1 >= DEPTH_MAX)
        return broken(s, error_object());
    return object(s, p, after, id, depth + 1);
}

/* The value at p (not blank) of the member `key`. */
static enum outcome member(struct scanner *s, const char *p, const char *end, uint32_t parent,
                           struct str key, unsigned depth, const char **ret_after) {
    /* Below the top, names are longer than the key alone, which is all that the quick test knows. */
    bool possible =
        parent != NAME_NONE || s->purpose == FIND_ENTRY || labelset_key_possible(s->run->set, key);
    if (*p == '"') {
        bool escaped;
        const char *close = string_end(p + 1, end, &escaped);
        if (!close)
            return broken(s, STR("Value is string, but can't find closing '\"' symbol"));
        *ret_after = close + 1;
        struct str raw = str_make(p + 1, (size_t)(close - p - 1));
        return possible ? leaf(s, parent, key, raw, true, escaped) : GO_ON;
    }
    if (*p == '[') {
        const char *after = block_end(p, end, '[', ']');
        if (!after)
            return broken(s, error_array());
        *ret_after = after;
        return GO_ON;
    }
    if (*p == '{') {
        const char *after = block_end(p, end, '{', '}');
        if (!after)
            return broken(s, error_object());
        *ret_after = after;
        return nested(s, p, after, parent, key, depth);
    }
    return bare_value(s, p, end, parent, key, possible, ret_after);
}

/* An object at p, blanks before it allowed. */
static enum outcome object(struct scanner *s, const char *p, const char *end, uint32_t parent,
                           unsigned depth) {
    p = skip_blanks(p, end);
    if (p == end || *p != '{')
        return broken(s, error_object());
    p = skip_blanks(p + 1, end);
    if (p == end)
        return broken(s, error_malformed());
    for (;;) {
        if (*p == '}')
            return GO_ON;
        if (*p != '"')
            return broken(s, error_object());
        bool escaped;
        const char *close = string_end(p + 1, end, &escaped);
        if (!close)
            return broken(s, error_malformed());
        struct str key = str_make(p + 1, (size_t)(close - p - 1));
        if (escaped && !(key = unescape_key(s->run, key)).data)
            return broken(s, STR("Encountered an invalid escape sequence in a string"));
        p = skip_blanks(close + 1, end);
        if (p == end || *p != ':')
            return broken(s, error_malformed());
        p = skip_blanks(p + 1, end);
        if (p == end)
            return broken(s, error_malformed());
        enum outcome o = member(s, p, end, parent, key, depth, &p);
        if (o != GO_ON)
            return o;
        p = skip_blanks(p, end);
        if (p == end)
            return broken(s, error_array());
        if (*p == '}')
            return GO_ON;
        if (*p != ',')
            return broken(s, error_object());
        p = skip_blanks(p + 1, end);
        if (p == end)
            return broken(s, error_array());
    }
}

/* ---- expressions */

struct path_search {
    struct scanner scanner;
    const struct json_path *paths;
    size_t count, n_found;
    bool *found;
    uint8_t *matched; /* by path: how many of its parts lead to where the search is */
    json_found_fn *fn;
};

static enum outcome search_object(struct path_search *s, const char *p, const char *end,
                                  size_t depth);
static enum outcome search_array(struct path_search *s, const char *p, const char *end,
                                 size_t depth);

/* Behind the value at p, and what it is; an error's message is left in the scanner. */
static const char *delimit(struct path_search *s, const char *p, const char *end,
                           struct json_found *ret) {
    const char *after;
    bool escaped;
    *ret = (struct json_found){.raw = STR("")};
    switch (*p) {
    case '"':
        after = string_end(p + 1, end, &escaped);
        if (!after) {
            (void)broken(&s->scanner, STR("Value is string, but can't find closing '\"' symbol"));
            return NULL;
        }
        ret->raw = str_make(p + 1, (size_t)(after - p - 1));
        return after + 1;
    case '[':
    case '{':
        after = block_end(p, end, *p, *p == '[' ? ']' : '}');
        if (!after) {
            (void)broken(&s->scanner, *p == '[' ? error_array() : error_object());
            return NULL;
        }
        ret->is_object = *p == '{';
        break;
    default:
        after = p;
        while (after < end && *after != ',' && *after != '}' && *after != ']' && *after != ' ' &&
               *after != '\n' && *after != '\r' && *after != '\t')
            after++;
        ret->is_null = str_eq(str_make(p, (size_t)(after - p)), STR("null"));
        break;
    }
    ret->raw = str_make(p, (size_t)(after - p));
    return after;
}

/* Numbers, true, false and null must look like them to be given out. */
static bool bare_is_known(struct str raw) {
    if (raw.size == 0)
        return false;
    char c = raw.data[0];
    return c == '"' || c == '[' || c == '{' || c == '-' || (c >= '0' && c <= '9') ||
           str_eq(raw, STR("true")) || str_eq(raw, STR("false")) || str_eq(raw, STR("null"));
}

/* The value at p is one that `parts` (key or index) leads to: gives it to the paths that end here and goes into it
 * for those that go on. `applies` has been counted into s->matched already. */
static enum outcome search_value(struct path_search *s, const char *p, const char *end,
                                 size_t depth, const char **ret_after) {
    struct json_found value;
    const char *after = delimit(s, p, end, &value);
    bool deeper = false, wanted = false;
    for (size_t i = 0; i < s->count; i++) {
        if (s->found[i] || s->matched[i] != depth + 1)
            continue;
        if (s->paths[i].count > depth + 1) {
            deeper = true;
            continue;
        }
        wanted = true;
        if (!after)
            return BROKEN;
        if (*p != '"' && !bare_is_known(value.raw))
            return broken(&s->scanner, STR("Unknown value type"));
        s->found[i] = true;
        s->n_found++;
        s->fn(s->scanner.run, &s->paths[i], value);
    }
    if (s->n_found == s->count)
        return STOP;
    *ret_after = after;
    if (!after)
        return wanted ? BROKEN : STOP;
    if (deeper && *p == '{')
        return search_object(s, p, after, depth + 1);
    if (deeper && *p == '[')
        return search_array(s, p, after, depth + 1);
    return GO_ON;
}

/* Counts the paths on which the next part is this key or index up (or, with -1, down again); false for none. */
static bool enter(struct path_search *s, size_t depth, const struct json_part *part, int change) {
    bool any = false;
    for (size_t i = 0; i < s->count; i++) {
        const struct json_path *path = &s->paths[i];
        size_t now = depth + (change < 0);
        if (path->count <= depth || s->matched[i] != now)
            continue;
        const struct json_part *own = &path->parts[depth];
        if (own->is_index != part->is_index ||
            (part->is_index ? own->index != part->index : !str_eq(own->key, part->key)))
            continue;
        s->matched[i] = (uint8_t)(now + (size_t)change);
        any = true;
    }
    return any;
}

static enum outcome search_part(struct path_search *s, const char *p, const char *end, size_t depth,
                                struct json_part part, const char **ret_after) {
    if (!enter(s, depth, &part, 1)) {
        struct json_found value;
        *ret_after = delimit(s, p, end, &value);
        return *ret_after ? GO_ON : STOP; /* what nobody asked for may be broken */
    }
    enum outcome o = search_value(s, p, end, depth, ret_after);
    (void)enter(s, depth, &part, -1);
    return o;
}

static enum outcome search_array(struct path_search *s, const char *p, const char *end,
                                 size_t depth) {
    p = skip_blanks(p + 1, end);
    for (size_t index = 0; p < end && *p != ']'; index++) {
        struct json_part part = {.is_index = true, .index = index};
        enum outcome o = search_part(s, p, end, depth, part, &p);
        if (o != GO_ON)
            return o;
        p = skip_blanks(p, end);
        if (p < end && *p == ',')
            p = skip_blanks(p + 1, end);
        else if (p < end && *p != ']')
            return STOP;
    }
    return GO_ON;
}

static enum outcome search_object(struct path_search *s, const char *p, const char *end,
                                  size_t depth) {
    p = skip_blanks(p + 1, end);
    while (p < end && *p == '"') {
        bool escaped;
        const char *close = string_end(p + 1, end, &escaped);
        if (!close)
            return STOP;
        struct json_part part = {.key = str_make(p + 1, (size_t)(close - p - 1))};
        if (escaped && !(part.key = unescape_key(s->scanner.run, part.key)).data)
            return STOP;
        p = skip_blanks(close + 1, end);
        if (p == end || *p != ':')
            return STOP;
        p = skip_blanks(p + 1, end);
        if (p == end)
            return enter(s, depth, &part, 1) ? broken(&s->scanner, error_malformed()) : STOP;
        enum outcome o = search_part(s, p, end, depth, part, &p);
        if (o != GO_ON)
            return o;
        p = skip_blanks(p, end);
        if (p < end && *p == ',')
            p = skip_blanks(p + 1, end);
    }
    return GO_ON;
}

struct str json_find_paths(struct run *r, const struct json_path *paths, size_t count,
                           struct str line, json_found_fn *fn) {
    struct path_search s = {.scanner.run = r, .paths = paths, .count = count, .fn = fn};
    s.found = (bool *)run_scratch(r, count);
    s.matched = (uint8_t *)run_scratch(r, count);
    if (!s.found || !s.matched || line.size == 0)
        return STR("");
    memset(s.found, 0, count);
    memset(s.matched, 0, count);
    const char *end = line.data + line.size;
    enum outcome o = GO_ON;
    if (line.data[0] == '{')
        o = search_object(&s, line.data, end, 0);
    else if (line.data[0] == '[')
        o = search_array(&s, line.data, end, 0);
    return o == BROKEN ? s.scanner.error : STR("");
}

static void set_found(struct run *r, const struct json_path *path, struct json_found value) {
    struct str text = value.raw;
    if (value.is_null)
        text = STR("");
    else if (!value.is_object)
        text = string_value(r, text, memchr(text.data, '\\', text.size) != NULL);
    uint32_t id = labelset_target(r->set, path->name);
    if (id != NAME_NONE)
        labelset_set(r->set, GROUP_PARSED, id, text);
}

/* An expression without a value makes an empty label, unless the name means something already. */
static void set_missing(const struct extract_step *step, struct run *r) {
    for (size_t i = 0; i < step->count; i++) {
        struct str present;
        if (!labelset_get(r->set, step->paths[i].name, &present))
            labelset_set(r->set, GROUP_PARSED, step->paths[i].name, STR(""));
    }
}

static bool json_run_paths(const struct extract_step *step, struct run *r) {
    struct str line = r->line;
    if (line.size == 0)
        return true;
    if (line.data[0] != '{' && line.data[0] != '[' && line.data[0] != '"') {
        labelset_parser_error(r->set, STR("JSONParserErr"), labelset_get_details(r->set));
        return true;
    }
    struct str error = json_find_paths(r, step->paths, step->count, line, set_found);
    if (error.size > 0)
        labelset_parser_error(r->set, STR("JSONParserErr"), error);
    set_missing(step, r);
    return true;
}

/* ---- trying filters first */

/* A key that is not the same before and after sanitising: what it makes must be worked out. */
static bool is_odd_key(const char *p, const char *end, bool escaped) {
    return escaped || p == end || (unsigned char)*p <= ' ' || (unsigned char)*p >= 0x80 ||
           (unsigned char)end[-1] <= ' ' || (unsigned char)end[-1] >= 0x80;
}

/* Walks the outermost object for the fields of plain filters and does nothing else. True when a filter refuses the
 * line; false leaves everything, errors too, to the full run. */
static bool probe(struct run *r) {
    struct path_search s = {.scanner.run = r};
    const char *p = r->line.data, *end = p + r->line.size;
    p = skip_blanks(p, end);
    if (p == end || *p != '{')
        return false;
    uint64_t seen = 0, all = UINT64_MAX >> (64 - r->early->n_plain);
    for (p = skip_blanks(p + 1, end); p < end && *p == '"' && seen != all;) {
        bool escaped;
        const char *close = string_end(p + 1, end, &escaped);
        if (!close || is_odd_key(p + 1, close, escaped))
            return false;
        struct str key = str_make(p + 1, (size_t)(close - p - 1));
        p = skip_blanks(close + 1, end);
        if (p == end || *p != ':')
            return false;
        p = skip_blanks(p + 1, end);
        struct json_found value;
        const char *at = p, *after = p < end ? delimit(&s, p, end, &value) : NULL;
        if (!after)
            return false;
        bool is_leaf = *at != '{' && *at != '[' && !value.is_null;
        if (is_leaf && (*at != '"' || !memchr(value.raw.data, '\\', value.raw.size))) {
            if (*at != '"' && !bare_is_known(value.raw))
                return false;
            if (run_probe(r, key, *at == '"' ? run_clean_utf8(r, value.raw) : value.raw, &seen) > 0)
                return true;
        } else if (is_leaf && run_probe(r, key, STR(""), &seen) >= 0) {
            return false; /* escapes: the full run takes them out */
        }
        p = skip_blanks(after, end);
        if (p == end || *p != ',')
            return false;
        p = skip_blanks(p + 1, end);
    }
    return false;
}

bool json_run(const struct extract_step *step, struct run *r) {
    if (labelset_nothing_wanted(r->set))
        return true;
    if (step->count > 0)
        return json_run_paths(step, r);
    if (run_probes(r)) {
        bool refused = probe(r);
        run_probed(r, refused);
        if (refused)
            return false;
    }
    struct scanner s = {.run = r};
    enum outcome o = object(&s, r->line.data, r->line.data + r->line.size, NAME_NONE, 0);
    if (o == BROKEN)
        labelset_parser_error(r->set, STR("JSONParserErr"), s.error);
    return o != REFUSED;
}

static void set_path_fields(const struct extract_step *step, struct run *r) {
    for (size_t i = 0; i < r->n_fields; i++) {
        const struct linetab_value *v = &r->fields[i];
        set_found(r, &step->paths[v->number], (struct json_found){.raw = v->text});
    }
    set_missing(step, r);
}

bool json_run_fields(const struct extract_step *step, struct run *r) {
    if (labelset_nothing_wanted(r->set))
        return true;
    if (step->count > 0) {
        set_path_fields(step, r);
        return true;
    }
    for (size_t i = 0; i < r->n_fields; i++) {
        const struct linetab_value *v = &r->fields[i];
        bool escaped = v->quoted && memchr(v->text.data, '\\', v->text.size);
        enum outcome o = take_field(r, r->field_ids[v->number], v->text, v->quoted, escaped);
        if (o != GO_ON)
            return o == STOP;
    }
    return true;
}

bool unpack_run(struct run *r) {
    struct str line = r->line;
    if (line.size == 0 || labelset_nothing_wanted(r->set))
        return true;
    if (line.data[0] != '{') {
        labelset_parser_error(r->set, STR("JSONParserErr"),
                              STR("expecting json object(6), but it is not"));
        return true;
    }
    struct scanner s = {.purpose = FIND_ENTRY, .run = r};
    if (object(&s, line.data, line.data + line.size, NAME_NONE, 0) == BROKEN) {
        labelset_parser_error(r->set, STR("JSONParserErr"), s.error);
        return true;
    }
    if (!s.entry.data)
        return true;
    s.purpose = UNPACK;
    labelset_stage(r->set);
    r->line = s.entry;
    return object(&s, line.data, line.data + line.size, NAME_NONE, 0) != REFUSED;
}
