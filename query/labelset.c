#include "labelset.h"

#include <assert.h>
#include <stdlib.h>

#include "bytes.h"
#include "hash.h"
#include "names.h"
#include "setintern.h"

/* What is known of one name. A field counts only while its stamp equals the labelset's. */
struct name_state {
    uint64_t line_stamp;
    uint64_t stream_stamp;
    struct str value;
    int32_t base_index; /* among the stream's labels, -1 = not there */
    uint32_t stage;     /* labelset.stage when the name was extracted */
    uint32_t suffixed;  /* id of name + "_extracted", NAME_NONE until first needed */
    uint8_t group;      /* enum label_group of the line's own value; GROUP_NONE = none */
    bool deleted;       /* hides the stream's label; stays when the label is set again */
    bool extracted;     /* a parser stage or a formatter has made it on this line */
    bool required;      /* constant: named by the hints */
    bool prefix_of_required;
    bool prefix_known;
};

struct labelset {
    struct names names;
    struct name_state *states;
    size_t n_states;
    uint64_t line_stamp, stream_stamp;
    uint64_t epoch; /* of the numbering of names */

    const struct str *fixed;
    size_t n_fixed;
    struct label_hints hints;
    bool first_ok[256],
        last_ok[256]; /* bytes that a wanted field's raw name may begin and end with */

    struct labels base;
    uint32_t *base_ids;
    uint64_t *base_hashes;
    size_t base_capacity;
    const struct line_labels *base_result; /* of a line that adds nothing, once asked for */

    uint32_t *touched; /* ids that the line has said something about */
    size_t n_touched, touched_capacity;
    uint32_t meta_ids[16]; /* names of the line before, by position: blocks repeat them */
    size_t n_found;        /* of the required */
    size_t place;          /* fields seen on this line */
    uint32_t stage;        /* stages that have begun (labelset_stage), ever */
    struct str error, details;
    bool preserved;  /* the error does not fail the query */
    uint32_t hidden; /* NAME_NONE = none */
    bool failed;

    struct set_table sets;
    struct group_table {
        const struct grouping *grouping;
        uint32_t *ids;
        uint64_t epoch;
        struct set_table sets;
    } * groups;
    size_t n_groups;
    struct set_item *items; /* scratch */
    size_t item_capacity;
};

static const char suffix[] = "_extracted";

static struct str strip_suffix(struct str s) {
    struct str end = STR("_extracted");
    return str_ends(s, end) ? str_make(s.data, s.size - end.size) : s;
}

/* Grows the array of states with the names. */
static bool states_grow(struct labelset *s) {
    if (s->names.count <= s->n_states)
        return true;
    size_t size = s->n_states ? s->n_states : 64;
    while (size < s->names.count)
        size *= 2;
    struct name_state *states = realloc(s->states, size * sizeof(*states));
    if (!states)
        return false;
    for (size_t i = s->n_states; i < size; i++)
        states[i] = (struct name_state){.suffixed = NAME_NONE};
    s->states = states;
    s->n_states = size;
    return true;
}

/* The id of a name, NAME_NONE without memory (then the set has failed: no result can be given). */
static uint32_t name_id(struct labelset *s, struct str name) {
    uint32_t id = names_add(&s->names, name);
    if (id == NAME_NONE || !states_grow(s)) {
        s->failed = true;
        return NAME_NONE;
    }
    return id;
}

struct str labelset_name_text(const struct labelset *s, uint32_t id) {
    return s->names.texts[id];
}

uint32_t labelset_key(struct labelset *s, uint32_t parent, struct str key) {
    bool failed = false;
    uint32_t id = names_key(&s->names, parent, key, s->place++, &failed);
    if (failed || !states_grow(s)) {
        s->failed = true;
        return NAME_NONE;
    }
    return id;
}

static void possible_bytes(struct labelset *s) {
    for (size_t c = 0; c < 256; c++) /* white space is trimmed, other characters become '_' */
        s->first_ok[c] = s->last_ok[c] = c <= ' ' || c >= 0x80 || c == '\\';
    for (size_t i = 0; i < s->hints.n_required; i++) {
        struct str name = s->fixed[s->hints.required[i]];
        struct str forms[2] = {name, strip_suffix(name)};
        for (size_t f = 0; f < 2; f++) {
            struct str form = forms[f];
            if (form.size == 0)
                continue;
            uint8_t first = (uint8_t)form.data[0], last = (uint8_t)form.data[form.size - 1];
            for (size_t c = 0; c < 256; c++) {
                s->first_ok[c] = s->first_ok[c] || c == first || first == '_';
                s->last_ok[c] = s->last_ok[c] || c == last || last == '_';
            }
        }
    }
}

bool labelset_key_possible(const struct labelset *s, struct str key) {
    if (s->hints.n_required == 0)
        return true;
    if (key.size == 0)
        return false;
    return s->first_ok[(uint8_t)key.data[0]] && s->last_ok[(uint8_t)key.data[key.size - 1]];
}

/* Numbers the fixed names again, from nothing. */
static bool names_restart(struct labelset *s) {
    names_done(&s->names);
    free(s->states);
    s->states = NULL;
    s->n_states = 0;
    s->epoch++;
    memset(s->meta_ids, 0xff, sizeof(s->meta_ids));
    for (size_t i = 0; i < s->n_fixed; i++) {
        uint32_t id = name_id(s, s->fixed[i]);
        if (id == NAME_NONE)
            return false;
        assert(id == i);
    }
    for (size_t i = 0; i < s->hints.n_required; i++)
        s->states[s->hints.required[i]].required = true;
    return true;
}

struct labelset *labelset_new(const struct str *names, size_t n_names,
                              const struct label_hints *h) {
    struct labelset *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    names_init(&s->names);
    s->fixed = names;
    s->n_fixed = n_names;
    s->hints = *h;
    s->line_stamp = s->stream_stamp = 1;
    s->hidden = NAME_NONE;
    set_table_init(&s->sets);
    possible_bytes(s);
    if (!names_restart(s)) {
        labelset_free(s);
        return NULL;
    }
    return s;
}

void labelset_free(struct labelset *s) {
    if (!s)
        return;
    set_table_done(&s->sets);
    for (size_t i = 0; i < s->n_groups; i++) {
        set_table_done(&s->groups[i].sets);
        free(s->groups[i].ids);
    }
    free(s->groups);
    free(s->items);
    free(s->touched);
    free(s->base_ids);
    free(s->base_hashes);
    free(s->states);
    names_done(&s->names);
    free(s);
}

static uint64_t label_hash(uint64_t name_hash, struct str value, enum label_group group) {
    return hash_mix(hash_mix(name_hash, (uint64_t)group + 1), names_hash(value));
}

static bool base_reserve(struct labelset *s, size_t count) {
    if (count <= s->base_capacity)
        return true;
    uint32_t *ids = realloc(s->base_ids, count * sizeof(*ids));
    if (!ids)
        return false;
    s->base_ids = ids;
    uint64_t *hashes = realloc(s->base_hashes, count * sizeof(*hashes));
    if (!hashes)
        return false;
    s->base_hashes = hashes;
    s->base_capacity = count;
    return true;
}

static void base_index(struct labelset *s) {
    s->stream_stamp++;
    s->base_result = NULL;
    if (!base_reserve(s, s->base.count)) {
        s->failed = true;
        s->base.count = 0;
        return;
    }
    for (size_t i = 0; i < s->base.count; i++) {
        const struct label *l = &s->base.items[i];
        uint32_t id = name_id(s, l->name);
        if (id == NAME_NONE) {
            s->base.count = i;
            return;
        }
        s->base_ids[i] = id;
        s->base_hashes[i] = label_hash(s->names.hashes[id], l->value, GROUP_STREAM);
        s->states[id].stream_stamp = s->stream_stamp;
        s->states[id].base_index = (int32_t)i;
    }
}

void labelset_stream(struct labelset *s, struct labels stream_labels) {
    s->base = stream_labels;
    base_index(s);
}

static bool state_is_live(const struct labelset *s, const struct name_state *n) {
    return n->line_stamp == s->line_stamp;
}

static int32_t state_base(const struct labelset *s, const struct name_state *n) {
    return n->stream_stamp == s->stream_stamp ? n->base_index : -1;
}

/* The state of a name, made ready to be written on this line. NULL when there are too many. */
static struct name_state *state_touch(struct labelset *s, uint32_t id) {
    struct name_state *n = &s->states[id];
    if (state_is_live(s, n))
        return n;
    if (s->n_touched == s->touched_capacity) {
        size_t capacity = s->touched_capacity ? s->touched_capacity * 2 : 64;
        uint32_t *touched = realloc(s->touched, capacity * sizeof(*touched));
        if (!touched) {
            s->failed = true;
            return NULL;
        }
        s->touched = touched;
        s->touched_capacity = capacity;
    }
    s->touched[s->n_touched++] = id;
    n->line_stamp = s->line_stamp;
    n->group = GROUP_NONE;
    n->deleted = n->extracted = false;
    return n;
}

static uint32_t name_suffixed(struct labelset *s, uint32_t id) {
    if (s->states[id].suffixed != NAME_NONE)
        return s->states[id].suffixed;
    struct str text = s->names.texts[id];
    struct buf name = buf_make(BUF_NO_MAX);
    buf_add_str(&name, text);
    buf_add(&name, suffix, sizeof(suffix) - 1);
    uint32_t other = name.failed ? NAME_NONE : name_id(s, buf_str(&name));
    buf_done(&name);
    if (other == NAME_NONE)
        s->failed = true;
    else
        s->states[id].suffixed = other;
    return other;
}

static void add_meta(struct labelset *s, const struct label *meta, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t id = i < 16 ? s->meta_ids[i] : NAME_NONE;
        if (id == NAME_NONE || !str_eq(s->names.texts[id], meta[i].name)) {
            id = name_id(s, meta[i].name);
            if (id == NAME_NONE)
                return;
            if (i < 16)
                s->meta_ids[i] = id;
        }
        if (state_base(s, &s->states[id]) >= 0)
            id = name_suffixed(s, id);
        if (id == NAME_NONE)
            return;
        if (str_eq(meta[i].name, STR("__error__")))
            s->error = meta[i].value;
        else if (str_eq(meta[i].name, STR("__error_details__")))
            s->details = meta[i].value;
        else
            labelset_set(s, GROUP_META, id, meta[i].value);
    }
}

void labelset_line(struct labelset *s, const struct label *meta, size_t meta_count) {
    if (s->names.count > NAMES_MAX + s->n_fixed || s->names.arena.total_bytes > 64u << 20) {
        if (!names_restart(s)) {
            s->failed = true;
            return;
        }
        base_index(s);
    }
    s->line_stamp++;
    s->n_touched = 0;
    s->n_found = 0;
    s->place = 0;
    s->error = s->details = STR("");
    s->preserved = false;
    add_meta(s, meta, meta_count);
}

bool labelset_get(const struct labelset *s, uint32_t id, struct str *ret) {
    const struct name_state *n = &s->states[id];
    if (state_is_live(s, n)) {
        if (n->group != GROUP_NONE) {
            *ret = n->value;
            return true;
        }
        if (n->deleted)
            return false;
    }
    int32_t base = state_base(s, n);
    if (base < 0)
        return false;
    *ret = s->base.items[base].value;
    return true;
}

enum label_group labelset_group(const struct labelset *s, uint32_t id) {
    const struct name_state *n = &s->states[id];
    if (state_is_live(s, n)) {
        if (n->group != GROUP_NONE)
            return (enum label_group)n->group;
        if (n->deleted)
            return GROUP_NONE;
    }
    return state_base(s, n) >= 0 ? GROUP_STREAM : GROUP_NONE;
}

void labelset_set(struct labelset *s, enum label_group group, uint32_t id, struct str value) {
    struct name_state *n = state_touch(s, id);
    if (!n)
        return;
    if (n->group == GROUP_PARSED && group != GROUP_PARSED)
        return;
    if (group == GROUP_PARSED && !n->extracted) {
        n->extracted = true;
        n->stage = s->stage;
        s->n_found += n->required;
    }
    n->group = (uint8_t)group;
    n->value = value;
}

void labelset_delete(struct labelset *s, uint32_t id) {
    struct name_state *n = state_touch(s, id);
    if (!n)
        return;
    n->group = GROUP_NONE;
    n->deleted = true;
}

uint32_t labelset_target(struct labelset *s, uint32_t id) {
    const struct name_state *n = &s->states[id];
    bool collides = state_base(s, n) >= 0 || (state_is_live(s, n) && n->group == GROUP_META);
    return collides ? name_suffixed(s, id) : id;
}

bool labelset_wants(const struct labelset *s, uint32_t id) {
    return s->hints.n_required == 0 || s->states[id].required;
}

bool labelset_wants_all(const struct labelset *s) {
    return s->hints.n_required == 0;
}

bool labelset_wants_prefix(const struct labelset *s, uint32_t id) {
    if (s->hints.n_required == 0)
        return true;
    struct name_state *n = &s->states[id];
    if (!n->prefix_known) {
        for (size_t i = 0; i < s->hints.n_required && !n->prefix_of_required; i++)
            n->prefix_of_required = str_starts(s->fixed[s->hints.required[i]], s->names.texts[id]);
        n->prefix_known = true;
    }
    return n->prefix_of_required;
}

bool labelset_extracted(const struct labelset *s, uint32_t id) {
    return state_is_live(s, &s->states[id]) && s->states[id].extracted;
}

void labelset_stage(struct labelset *s) {
    s->stage++;
}

bool labelset_extracted_before(const struct labelset *s, uint32_t id) {
    return labelset_extracted(s, id) && s->states[id].stage != s->stage;
}

bool labelset_all_found(const struct labelset *s) {
    return s->hints.n_required > 0 && s->n_found == s->hints.n_required;
}

bool labelset_nothing_wanted(const struct labelset *s) {
    return s->hints.no_labels || labelset_all_found(s);
}

void labelset_error(struct labelset *s, struct str error, struct str details) {
    s->preserved = s->preserved && str_eq(error, s->error);
    s->error = error;
    s->details = details;
}

void labelset_parser_error(struct labelset *s, struct str error, struct str details) {
    labelset_error(s, error, details);
    s->preserved = s->hints.keeps_errors;
}

bool labelset_fails(const struct labelset *s) {
    return s->error.size > 0 && !s->preserved;
}

struct str labelset_get_error(const struct labelset *s) {
    return s->error;
}

struct str labelset_get_details(const struct labelset *s) {
    return s->details;
}

void labelset_hide(struct labelset *s, uint32_t id) {
    assert(id < s->n_fixed);
    s->hidden = id;
}

/* Is the stream's label i still what its name means? */
static bool base_is_visible(const struct labelset *s, size_t i) {
    const struct name_state *n = &s->states[s->base_ids[i]];
    return !state_is_live(s, n) || (n->group == GROUP_NONE && !n->deleted);
}

void labelset_each(struct labelset *s, labelset_fn *fn, void *ctx) {
    for (size_t i = 0; i < s->base.count; i++)
        if (base_is_visible(s, i))
            fn(s, s->base_ids[i], s->base.items[i].value, ctx);
    for (size_t i = 0; i < s->n_touched; i++) {
        const struct name_state *n = &s->states[s->touched[i]];
        if (n->group != GROUP_NONE)
            fn(s, s->touched[i], n->value, ctx);
    }
}

static bool is_as_it_came(const struct labelset *s) {
    return s->n_touched == 0 && s->error.size == 0;
}

struct str labelset_told_details(const struct labelset *s) {
    return is_as_it_came(s) ? STR("") : s->details;
}

bool labelset_is_empty(const struct labelset *s) {
    bool empty = s->error.size == 0 && labelset_told_details(s).size == 0;
    for (size_t i = 0; i < s->base.count && empty; i++)
        empty = !base_is_visible(s, i);
    for (size_t i = 0; i < s->n_touched && empty; i++)
        empty = s->states[s->touched[i]].group == GROUP_NONE;
    return empty;
}

/* ---- distinct sets */

static bool items_reserve(struct labelset *s, size_t count) {
    if (count <= s->item_capacity)
        return true;
    size_t capacity = count * 2;
    struct set_item *items = realloc(s->items, capacity * sizeof(*items));
    if (!items) {
        s->failed = true;
        return false;
    }
    s->items = items;
    s->item_capacity = capacity;
    return true;
}

static void item_put(struct labelset *s, size_t *count, uint32_t id, struct str value,
                     enum label_group group) {
    s->items[(*count)++] = (struct set_item){
        .label = {.name = s->names.texts[id], .value = value},
        .hash = label_hash(s->names.hashes[id], value, group),
        .group = (uint8_t)group,
    };
}

static void item_put_base(struct labelset *s, size_t *count, size_t i) {
    s->items[(*count)++] = (struct set_item){
        .label = s->base.items[i],
        .hash = s->base_hashes[i],
        .group = GROUP_STREAM,
    };
}

/* All labels of the line into s->items; the errors are not among them. */
static size_t gather(struct labelset *s) {
    size_t count = 0;
    uint32_t hidden = s->error.size > 0 ? NAME_NONE : s->hidden;
    for (size_t i = 0; i < s->base.count; i++)
        if (base_is_visible(s, i) && s->base_ids[i] != hidden)
            item_put_base(s, &count, i);
    for (size_t i = 0; i < s->n_touched; i++) {
        uint32_t id = s->touched[i];
        const struct name_state *n = &s->states[id];
        if (n->group != GROUP_NONE && id != hidden)
            item_put(s, &count, id, n->value, (enum label_group)n->group);
    }
    return count;
}

const struct line_labels *labelset_intern(struct labelset *s) {
    bool plain = is_as_it_came(s);
    if (plain && s->base_result)
        return s->base_result;
    if (s->failed || !items_reserve(s, s->base.count + s->n_touched))
        return NULL;
    size_t count = gather(s);
    const struct line_labels *l =
        set_table_intern(&s->sets, s->items, count, s->error, labelset_told_details(s));
    if (plain)
        s->base_result = l;
    return l;
}

static struct group_table *group_find(struct labelset *s, const struct grouping *g) {
    struct group_table *t = NULL;
    for (size_t i = 0; i < s->n_groups && !t; i++)
        if (s->groups[i].grouping == g)
            t = &s->groups[i];
    if (!t) {
        struct group_table *groups = realloc(s->groups, (s->n_groups + 1) * sizeof(*groups));
        if (!groups)
            return NULL;
        s->groups = groups;
        uint32_t *ids = calloc(g->count + 1, sizeof(*ids));
        if (!ids)
            return NULL;
        t = &s->groups[s->n_groups++];
        *t = (struct group_table){.grouping = g, .ids = ids};
        set_table_init(&t->sets);
    }
    if (t->epoch != s->epoch) {
        for (size_t i = 0; i < g->count; i++) {
            t->ids[i] = name_id(s, g->names[i]);
            if (t->ids[i] == NAME_NONE)
                return NULL;
        }
        t->epoch = s->epoch;
    }
    return t;
}

static size_t gather_by(struct labelset *s, const struct group_table *t) {
    size_t count = 0;
    for (size_t i = 0; i < t->grouping->count; i++) {
        uint32_t id = t->ids[i];
        struct str value;
        bool twice = false;
        for (size_t j = 0; j < i; j++)
            twice = twice || t->ids[j] == id;
        if (twice || (state_is_live(s, &s->states[id]) && s->states[id].deleted))
            continue;
        if (labelset_get(s, id, &value))
            item_put(s, &count, id, value, GROUP_STREAM);
    }
    return count;
}

static size_t gather_without(struct labelset *s, const struct grouping *g) {
    size_t all = gather(s), count = 0;
    for (size_t i = 0; i < all; i++) {
        bool leave_out = false;
        for (size_t j = 0; j < g->count && !leave_out; j++)
            leave_out = str_eq(g->names[j], s->items[i].label.name);
        if (!leave_out)
            s->items[count++] = s->items[i];
    }
    return count;
}

static bool names_error(const struct grouping *g) {
    bool named = false;
    for (size_t i = 0; i < g->count; i++)
        named = named || str_eq(g->names[i], STR("__error__"));
    return named != g->without;
}

const struct line_labels *labelset_intern_group(struct labelset *s, const struct grouping *g) {
    struct group_table *t = group_find(s, g);
    if (!t || s->failed || !items_reserve(s, s->base.count + s->n_touched + g->count)) {
        s->failed = true;
        return NULL;
    }
    /* A line with an error keeps its whole set, so that the error is not lost in a group. */
    bool whole = !g->present || labelset_fails(s);
    size_t count;
    if (whole)
        count = gather(s);
    else
        count = g->without ? gather_without(s, g) : gather_by(s, t);
    struct str error = whole || names_error(g) ? s->error : STR("");
    return set_table_intern(&t->sets, s->items, count, error,
                            whole ? labelset_told_details(s) : STR(""));
}
