#include "value_needle.h"

#include <errno.h>

/* Writers of JSON and logfmt put these bytes down as they are, or as \u00XX; anything else may have other escapes
 * (\/ and \n), or stand for bytes that were no UTF-8 (a space). */
static bool is_plain(char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '/';
}

/* What the stages before a filter make of a line. */
struct origin {
    bool parsed;    /* labels of lines */
    bool unescaped; /* by a parser that undoes escapes */
};

/* False: labels behind this stage may come from elsewhere than stream, metadata and the line as stored. */
static bool follow(const struct stage *s, struct origin *origin) {
    switch (s->kind) {
    case STAGE_JSON:
    case STAGE_LOGFMT:
        origin->parsed = origin->unescaped = true;
        return true;
    case STAGE_REGEXP:
    case STAGE_PATTERN:
        origin->parsed = true;
        return true;
    case STAGE_LINE_FILTER:
    case STAGE_LABEL_FILTER:
    case STAGE_DROP:
    case STAGE_KEEP:
        return true;
    case STAGE_UNPACK:
    case STAGE_LINE_FORMAT:
    case STAGE_LABEL_FORMAT:
    case STAGE_DECOLORIZE:
        break;
    }
    return false;
}

static void look_for(struct value_needle *v, struct str value, const struct origin *origin) {
    unsigned nibbles = 0;
    for (size_t i = 0; i < value.size;) {
        size_t from = i;
        while (i < value.size && is_plain(value.data[i]))
            i++;
        struct gram_query part;
        gram_query_init(&part, str_make(value.data + from, i - from), false);
        gram_query_add(&v->grams, &part);
        for (size_t k = from; k < i && part.count > 0; k++)
            nibbles |= 1u << (value.data[k] >> 4);
        i += i == from; /* the byte that is not plain */
    }
    v->escapes = origin->unescaped ? (uint8_t)nibbles : 0;
}

/* A label whose name stands in the stream, too, is given out as NAME_extracted. */
static void name_meta(struct value_needle *v, struct str value) {
    struct str end = STR("_extracted");
    gram_query_add_value(&v->meta, block_meta_hash(v->name, value));
    if (!str_ends(v->name, end))
        return;
    v->plain_name = str_make(v->name.data, v->name.size - end.size);
    gram_query_add_value(&v->plain_meta, block_meta_hash(v->plain_name, value));
}

/* Room for the filters of a stage. */
static size_t count_filters(const struct label_filter *f) {
    return f->kind == FILTER_AND ? count_filters(f->left) + count_filters(f->right) : 1;
}

static void add_filter(struct value_needles *n, const struct label_filter *f,
                       const struct origin *origin) {
    if (f->kind == FILTER_AND) {
        add_filter(n, f->left, origin);
        add_filter(n, f->right, origin);
        return;
    }
    /* An empty value is also that of a label that is not there; __error__ is made by stages. */
    if (f->kind != FILTER_STRING || f->match != MATCH_EQ || f->text.size == 0 ||
        str_starts(f->name, STR("__")))
        return;
    struct value_needle *v = &n->items[n->count];
    *v = (struct value_needle){.name = f->name, .in_lines = origin->parsed};
    name_meta(v, f->text);
    if (v->in_lines)
        look_for(v, f->text, origin);
    if (v->in_lines && v->grams.count == 0)
        return;
    gram_query_add(&v->all, &v->grams);
    gram_query_add(&v->all, &v->meta);
    n->count++;
}

int value_needles_make(const struct stage *stages, struct arena *arena, struct value_needles *ret) {
    *ret = (struct value_needles){0};
    size_t room = 0;
    for (const struct stage *s = stages; s; s = s->next)
        room += s->kind == STAGE_LABEL_FILTER ? count_filters(s->filter) : 0;
    if (room == 0)
        return 0;
    ret->items = arena_array(arena, room, sizeof(*ret->items));
    if (!ret->items)
        return -ENOMEM;
    struct origin origin = {0};
    for (const struct stage *s = stages; s && follow(s, &origin); s = s->next)
        if (s->kind == STAGE_LABEL_FILTER)
            add_filter(ret, s->filter, &origin);
    return 0;
}

const struct gram_query *value_needles_first(const struct value_needles *n) {
    return n->count > 0 ? &n->items[0].all : NULL;
}

static bool may_stand_in_line(const struct value_needle *v, const struct block_ref *block) {
    return block_ref_may_contain(block, &v->grams) || (block_ref_escapes(block) & v->escapes);
}

static bool may_be_meta(const struct value_needle *v, const struct block_ref *block) {
    return block_ref_may_have_meta(block, v->name, &v->meta) ||
           (v->plain_name.size > 0 &&
            block_ref_may_have_meta(block, v->plain_name, &v->plain_meta));
}

bool value_needles_may_be_in(const struct value_needles *n, struct labels labels,
                             const struct block_ref *block) {
    for (size_t i = 0; i < n->count; i++) {
        const struct value_needle *v = &n->items[i];
        if (v->in_lines && may_stand_in_line(v, block))
            continue;
        if (labels_get(labels, v->name).data || may_be_meta(v, block))
            continue;
        return false;
    }
    return true;
}
