#include "rejects.h"

void rejects_done(struct rejects *r) {
    map_done(&r->by_text);
}

static struct reject *add_text(struct rejects *r, struct str text) {
    if (!r->items)
        r->items = arena_array(r->arena, REJECT_TEXTS_MAX, sizeof(*r->items));
    if (!r->items || r->count == REJECT_TEXTS_MAX)
        return NULL;
    struct str copy = arena_copy(r->arena, text);
    struct reject *item = &r->items[r->count];
    if (!copy.data || map_put(&r->by_text, copy, item) < 0)
        return NULL;
    *item = (struct reject){.text = copy};
    r->count++;
    return item;
}

void rejects_add(struct rejects *r, struct str text) {
    r->total++;
    struct reject *item = map_get(&r->by_text, text);
    if (!item)
        item = add_text(r, text);
    if (item)
        item->count++;
    else
        r->unlisted++;
}

void rejects_format(const struct rejects *r, struct buf *out) {
    if (r->total == 1 && r->count == 1) {
        buf_add_str(out, r->items[0].text);
        return;
    }
    for (size_t i = 0; i < r->count; i++) {
        if (i > 0)
            buf_add_str(out, STR("; "));
        buf_add_u64(out, r->items[i].count);
        buf_add_str(out, STR(" errors like: "));
        buf_add_str(out, r->items[i].text);
    }
    if (r->unlisted > 0) {
        if (r->count > 0)
            buf_add_str(out, STR("; "));
        buf_add_u64(out, r->unlisted);
        buf_add_str(out, STR(" more errors"));
    }
}
