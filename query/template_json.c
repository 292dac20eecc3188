/* fromJson: text into values as encoding/json makes them of an interface{}: numbers are float64, the last of equal
 * keys counts, bad UTF-8 is U+FFFD. The whole text must be JSON and nothing else. */
#include <stdlib.h>

#include "json.h"
#include "template_private.h"
#include "units.h"
#include "utf8.h"

struct item_link {
    struct str key;
    struct value value;
    struct item_link *next;
    size_t order;
};

static bool read_value(struct exec *x, struct json_reader *r, struct json_value v, unsigned depth,
                       struct value *ret);

static bool has_control(struct str s) {
    for (size_t i = 0; i < s.size; i++)
        if ((unsigned char)s.data[i] < 0x20)
            return true;
    return false;
}

static bool read_string(struct exec *x, struct json_value v, struct str *ret) {
    if (has_control(v.raw))
        return false;
    struct str s = v.raw.size > 0 ? v.raw : STR("");
    if (v.escaped) {
        char *own = exec_alloc(x, s.size);
        int64_t size = own ? json_unescape(s, own) : -1;
        if (size < 0)
            return false;
        s = str_make(own, (size_t)size);
    }
    if (!utf8_valid(s)) {
        struct buf *out = exec_text(x);
        struct value text;
        utf8_add_valid(out, s);
        if (!exec_text_take(x, &text))
            return false;
        s = text.text;
    }
    *ret = s;
    return true;
}

static struct item_link *add_link(struct exec *x, struct item_link ***tail, size_t order) {
    struct item_link *l = exec_alloc(x, sizeof(*l));
    if (!l)
        return NULL;
    *l = (struct item_link){.order = order};
    **tail = l;
    *tail = &l->next;
    return l;
}

static bool read_list(struct exec *x, struct json_reader *r, unsigned depth, struct value *ret) {
    struct item_link *links = NULL, **tail = &links;
    size_t count = 0;
    bool first = true;
    struct json_value item;
    while (json_next_item(r, &first, &item)) {
        struct item_link *l = add_link(x, &tail, count++);
        if (!l || !read_value(x, r, item, depth + 1, &l->value))
            return false;
    }
    struct value_list *list = exec_alloc(x, sizeof(*list));
    struct value *items = exec_alloc(x, (count + 1) * sizeof(*items));
    if (item.type != JSON_END || !list || !items)
        return false;
    size_t i = 0;
    for (struct item_link *l = links; l; l = l->next)
        items[i++] = l->value;
    *list = (struct value_list){count, items};
    *ret = (struct value){.type = VALUE_LIST, .list = list};
    return true;
}

static int by_key(const void *a, const void *b) {
    const struct item_link *p = *(const struct item_link *const *)a;
    const struct item_link *q = *(const struct item_link *const *)b;
    int c = str_cmp(p->key, q->key);
    return c != 0 ? c : (p->order > q->order) - (p->order < q->order);
}

static bool make_map(struct exec *x, struct item_link *links, size_t count, struct value *ret) {
    struct item_link **sorted = exec_alloc(x, (count + 1) * sizeof(struct item_link *));
    struct value_map *map = exec_alloc(x, sizeof(*map));
    struct str *keys = exec_alloc(x, (count + 1) * sizeof(*keys));
    struct value *values = exec_alloc(x, (count + 1) * sizeof(*values));
    if (!sorted || !map || !keys || !values)
        return false;
    size_t n = 0, distinct = 0;
    for (struct item_link *l = links; l; l = l->next)
        sorted[n++] = l;
    qsort(sorted, n, sizeof(*sorted), by_key);
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && str_eq(sorted[i]->key, sorted[i + 1]->key))
            continue;
        keys[distinct] = sorted[i]->key;
        values[distinct++] = sorted[i]->value;
    }
    *map = (struct value_map){distinct, keys, values};
    *ret = (struct value){.type = VALUE_MAP, .map = map};
    return true;
}

static bool read_object(struct exec *x, struct json_reader *r, unsigned depth, struct value *ret) {
    struct item_link *links = NULL, **tail = &links;
    size_t count = 0;
    bool first = true;
    struct json_value key, v;
    while (json_next_member(r, &first, &key, &v)) {
        struct item_link *l = add_link(x, &tail, count++);
        if (!l || !read_string(x, key, &l->key) || !read_value(x, r, v, depth + 1, &l->value))
            return false;
    }
    return v.type == JSON_END && make_map(x, links, count, ret);
}

/* Recursion is bounded by TEMPLATE_JSON_DEPTH. */
static bool read_value(struct exec *x, struct json_reader *r, struct json_value v, unsigned depth,
                       struct value *ret) {
    if (depth > TEMPLATE_JSON_DEPTH)
        return false;
    switch (v.type) {
    case JSON_OBJECT:
        return read_object(x, r, depth, ret);
    case JSON_ARRAY:
        return read_list(x, r, depth, ret);
    case JSON_STRING:
        *ret = value_string(STR(""));
        return read_string(x, v, &ret->text);
    case JSON_NUMBER:
        *ret = value_float(0);
        return float_parse_go(v.raw, &ret->number) == 0;
    case JSON_TRUE:
    case JSON_FALSE:
        *ret = value_bool(v.type == JSON_TRUE);
        return true;
    case JSON_NULL:
        *ret = (struct value){.type = VALUE_NIL};
        return true;
    case JSON_ERROR:
    case JSON_END:
        break;
    }
    return false;
}

bool json_to_value(struct exec *x, struct str text, struct value *ret) {
    struct json_reader r = json_reader_make(text);
    if (!read_value(x, &r, json_next(&r), 0, ret))
        return false;
    return json_next(&r).type == JSON_END;
}
