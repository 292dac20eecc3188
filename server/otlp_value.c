#include "otlp_value.h"

#include <assert.h>
#include <errno.h>
#include <math.h>

#include "json.h"
#include "metadata.h"
#include "units.h"

int otlp_value_add(struct arena *arena, struct otlp_value *container, struct str key,
                   const struct otlp_value *value) {
    assert(container->type == OTLP_LIST || container->type == OTLP_MAP);
    struct otlp_item *item = arena_alloc(arena, sizeof(*item));
    if (!item)
        return -ENOMEM;
    *item = (struct otlp_item){.key = key, .value = *value};
    if (container->items.last)
        container->items.last->next = item;
    else
        container->items.first = item;
    container->items.last = item;
    return 0;
}

static void add_base64(struct buf *out, struct str s) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = (const uint8_t *)s.data;
    for (size_t i = 0; i < s.size; i += 3) {
        size_t left = s.size - i;
        uint32_t bits = (uint32_t)p[i] << 16;
        bits |= left > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        bits |= left > 2 ? (uint32_t)p[i + 2] : 0;
        char four[4] = {
            digits[bits >> 18],
            digits[bits >> 12 & 63],
            left > 1 ? digits[bits >> 6 & 63] : '=',
            left > 2 ? digits[bits & 63] : '=',
        };
        buf_add(out, four, sizeof(four));
    }
}

static int add_json(struct buf *out, struct arena *arena, const struct otlp_value *v,
                    unsigned depth);

/* Sorted, the last of equal keys: the items travel as the values of labels, which have a sort. */
static int add_json_map(struct buf *out, struct arena *arena, const struct otlp_value *v,
                        unsigned depth) {
    size_t count = 0;
    for (const struct otlp_item *i = v->items.first; i; i = i->next)
        count++;
    struct label *sorted = arena_array(arena, count, sizeof(*sorted));
    if (!sorted)
        return -ENOMEM;
    size_t at = 0;
    for (const struct otlp_item *i = v->items.first; i; i = i->next)
        sorted[at++] =
            (struct label){.name = i->key, .value = str_make((const char *)i, sizeof(*i))};
    int64_t kept = pairs_sort_last_wins(arena, sorted, count);
    if (kept < 0)
        return -ENOMEM;
    buf_add_char(out, '{');
    for (int64_t i = 0; i < kept; i++) {
        const struct otlp_item *item = (const void *)sorted[i].value.data;
        if (i > 0)
            buf_add_char(out, ',');
        json_write_string_plain(out, item->key);
        buf_add_char(out, ':');
        if (add_json(out, arena, &item->value, depth + 1) < 0)
            return -ENOMEM;
    }
    buf_add_char(out, '}');
    return 0;
}

static int add_json_list(struct buf *out, struct arena *arena, const struct otlp_value *v,
                         unsigned depth) {
    buf_add_char(out, '[');
    for (const struct otlp_item *i = v->items.first; i; i = i->next) {
        if (i != v->items.first)
            buf_add_char(out, ',');
        if (add_json(out, arena, &i->value, depth + 1) < 0)
            return -ENOMEM;
    }
    buf_add_char(out, ']');
    return 0;
}

/* What a value is on its own, JSON or not; false for texts and containers. */
static bool add_scalar(struct buf *out, const struct otlp_value *v) {
    switch (v->type) {
    case OTLP_BOOL:
        buf_add_str(out, v->boolean ? STR("true") : STR("false"));
        return true;
    case OTLP_INT:
        buf_add_i64(out, v->integer);
        return true;
    case OTLP_DOUBLE:
        float_format_json(out, v->real);
        return true;
    case OTLP_BYTES:
        add_base64(out, v->text);
        return true;
    case OTLP_EMPTY:
    case OTLP_TEXT:
    case OTLP_LIST:
    case OTLP_MAP:
        break;
    }
    return false;
}

static int add_json(struct buf *out, struct arena *arena, const struct otlp_value *v,
                    unsigned depth) {
    assert(depth <= OTLP_DEPTH_MAX);
    /* Base64 and the doubles that JSON has no number for are strings in it. */
    bool quoted = v->type == OTLP_BYTES || (v->type == OTLP_DOUBLE && !isfinite(v->real));
    if (v->type == OTLP_MAP)
        return add_json_map(out, arena, v, depth);
    if (v->type == OTLP_LIST)
        return add_json_list(out, arena, v, depth);
    if (v->type == OTLP_EMPTY)
        buf_add_str(out, STR("null"));
    if (v->type == OTLP_TEXT)
        json_write_string_plain(out, v->text);
    if (quoted)
        buf_add_char(out, '"');
    (void)add_scalar(out, v);
    if (quoted)
        buf_add_char(out, '"');
    return 0;
}

int otlp_value_text(const struct otlp_value *v, struct arena *arena, struct buf *scratch,
                    struct str *ret) {
    if (v->type == OTLP_EMPTY || v->type == OTLP_TEXT) {
        *ret = v->type == OTLP_TEXT ? v->text : STR("");
        return 0;
    }
    buf_clear(scratch);
    if (!add_scalar(scratch, v) && add_json(scratch, arena, v, 0) < 0)
        return -ENOMEM;
    struct str text = arena_copy(arena, buf_str(scratch));
    if (scratch->failed || !text.data)
        return -ENOMEM;
    *ret = text;
    return 0;
}
