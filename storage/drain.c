/* The tree is a hash table from (node, word) to node. Most lines are of a shape seen before, so a second table leads
 * from a hash of the shape - the first DRAIN_DEPTH tokens, words with digits and <_> being equal - to the leaf, without
 * the walk. Entries of both tables carry the number of the run that wrote them: drain_reset is an increment.
 *
 * At a node without a child for the word, the child for "any" is taken; when a line is to be added, a child is
 * made for a word without digit while there are fewer than DRAIN_CHILDREN_MAX, else the line goes to "any". */
#include "drain.h"

#include <assert.h>
#include <stdlib.h>

#include "drain_tokens.h"
#include "hash.h"

enum {
    EDGE_SLOTS_FIRST = 1024, /* most lines need no more, and these stay in the nearer caches */
    EDGE_SLOTS_GROW = 4,
    EDGE_SLOTS_LAST = 2 * DRAIN_NODES_MAX,
    EDGE_SLOTS_ALL = EDGE_SLOTS_FIRST * (1 + EDGE_SLOTS_GROW) + EDGE_SLOTS_LAST,
    SHAPE_SLOTS = 1024, /* one entry each: an older shape gives way */
    POOL_TOKENS_MAX = DRAIN_GROUPS_MAX * DRAIN_TOKENS_MAX,
    POOL_TEXT_MAX = DRAIN_GROUPS_MAX * (DRAIN_LINE_MAX + 1),
};

/* At least this share of the tokens must be equal, in tenths. */
enum { SIMILAR_TENTHS = 3 };

static_assert(EDGE_SLOTS_FIRST * EDGE_SLOTS_GROW * EDGE_SLOTS_GROW == EDGE_SLOTS_LAST,
              "tables of edges, one behind the other");

struct edge {
    uint64_t key;
    uint32_t child;
    uint32_t run;
};

struct node {
    uint32_t children;
    int32_t first_group; /* of a leaf, or DRAIN_NONE */
};

struct group {
    uint32_t kind;
    uint32_t first_token, n_tokens;
    uint32_t text_at;
    int32_t next; /* of the same leaf */
};

struct drain {
    uint32_t run;
    uint32_t n_nodes, n_groups, n_pooled;
    struct token *pool; /* tokens of all groups */
    uint32_t pool_capacity;
    struct buf text; /* of all groups */
    struct node nodes[DRAIN_NODES_MAX];
    struct group groups[DRAIN_GROUPS_MAX];
    struct edge *edges; /* the table in use, of n_slots */
    uint32_t n_slots;
    struct edge tables[EDGE_SLOTS_ALL];
    struct edge shapes[SHAPE_SLOTS];
};

struct drain *drain_new(void) {
    struct drain *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    d->text = buf_make(POOL_TEXT_MAX);
    drain_reset(d);
    return d;
}

void drain_free(struct drain *d) {
    if (!d)
        return;
    free(d->pool);
    buf_done(&d->text);
    free(d);
}

void drain_reset(struct drain *d) {
    d->n_groups = d->n_pooled = 0;
    d->nodes[0] = (struct node){.first_group = DRAIN_NONE};
    d->n_nodes = 1;
    d->edges = d->tables;
    d->n_slots = EDGE_SLOTS_FIRST;
    buf_clear(&d->text);
    if (++d->run == 0) { /* the numbers have gone round: nothing old may look new */
        memset(d->tables, 0, sizeof(d->tables));
        memset(d->shapes, 0, sizeof(d->shapes));
        d->run = 1;
    }
}

uint32_t drain_groups(const struct drain *d) {
    return d->n_groups;
}

uint32_t drain_kind(const struct drain *d, int group) {
    return d->groups[group].kind;
}

/* ---- the tree */

/* The slot of an edge, or the free one where it belongs. The table never gets more than half full. */
static struct edge *edge_slot(struct drain *d, uint32_t node, uint32_t word) {
    uint64_t key = (uint64_t)node << 32 | word;
    uint64_t mixed = key * 0x9e3779b97f4a7c15u;
    uint32_t mask = d->n_slots - 1;
    for (uint32_t at = (uint32_t)(mixed >> 40) & mask;; at = (at + 1) & mask) {
        struct edge *e = &d->edges[at];
        if (e->run != d->run || e->key == key)
            return e;
    }
}

static int32_t find_child(struct drain *d, uint32_t node, uint32_t word) {
    const struct edge *e = edge_slot(d, node, word);
    return e->run == d->run ? (int32_t)e->child : DRAIN_NONE;
}

/* Goes on in the next table. */
static void grow_edges(struct drain *d) {
    const struct edge *before = d->edges, *end = d->edges + d->n_slots;
    d->edges += d->n_slots;
    d->n_slots *= EDGE_SLOTS_GROW;
    for (const struct edge *e = before; e < end; e++)
        if (e->run == d->run)
            *edge_slot(d, (uint32_t)(e->key >> 32), (uint32_t)e->key) = *e;
}

static int32_t add_child(struct drain *d, uint32_t node, uint32_t word) {
    struct edge *e = edge_slot(d, node, word);
    if (e->run == d->run)
        return (int32_t)e->child;
    if (d->n_nodes == DRAIN_NODES_MAX)
        return DRAIN_NONE;
    uint32_t child = d->n_nodes++;
    d->nodes[child] = (struct node){.first_group = DRAIN_NONE};
    d->nodes[node].children++;
    *e = (struct edge){.key = (uint64_t)node << 32 | word, .child = child, .run = d->run};
    if (d->n_nodes > d->n_slots / 2 && d->n_slots < EDGE_SLOTS_LAST)
        grow_edges(d);
    return (int32_t)child;
}

static uint32_t root_word(uint32_t kind, uint32_t n) {
    return kind * DRAIN_TOKENS_MAX + n;
}

static uint32_t steps_of(uint32_t n) {
    return n - 1 < DRAIN_DEPTH ? n - 1 : DRAIN_DEPTH;
}

static int32_t find_leaf(struct drain *d, uint32_t kind, const struct token *tokens, uint32_t n) {
    int32_t node = find_child(d, 0, root_word(kind, n));
    for (uint32_t i = 0; i < steps_of(n) && node >= 0; i++) {
        int32_t next = tokens[i].flags & (TOKEN_DIGIT | TOKEN_WILD)
                           ? DRAIN_NONE
                           : find_child(d, (uint32_t)node, tokens[i].hash);
        node = next >= 0 ? next : find_child(d, (uint32_t)node, TOKEN_WILD_HASH);
    }
    return node;
}

static int32_t add_leaf(struct drain *d, uint32_t kind, const struct token *tokens, uint32_t n) {
    int32_t node = add_child(d, 0, root_word(kind, n));
    for (uint32_t i = 0; i < steps_of(n) && node >= 0; i++) {
        uint32_t at = (uint32_t)node, word = tokens[i].hash;
        if (tokens[i].flags & (TOKEN_DIGIT | TOKEN_WILD)) {
            node = add_child(d, at, TOKEN_WILD_HASH);
            continue;
        }
        node = find_child(d, at, word);
        if (node >= 0)
            continue;
        /* A delimiter is the same in all lines of a group: "any" would help nobody. */
        bool room =
            (tokens[i].flags & TOKEN_EXACT) ||
            d->nodes[at].children + (find_child(d, at, TOKEN_WILD_HASH) < 0) < DRAIN_CHILDREN_MAX;
        node = add_child(d, at, room ? word : TOKEN_WILD_HASH);
    }
    return node;
}

static uint64_t shape_of(uint32_t kind, const struct token *tokens, uint32_t n) {
    uint64_t h = root_word(kind, n);
    for (uint32_t i = 0; i < steps_of(n); i++) {
        uint64_t word =
            tokens[i].flags & (TOKEN_DIGIT | TOKEN_WILD) ? TOKEN_WILD_HASH : tokens[i].hash;
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    return h;
}

/* ---- groups */

static bool same_word(const char *a_text, const struct token *a, const char *b_text,
                      const struct token *b) {
    return a->hash == b->hash && a->size == b->size &&
           memcmp(a_text + a->at, b_text + b->at, a->size) == 0;
}

/* How many tokens are equal (<_> counts in a template), or -1 when the line cannot join. */
static int similarity(const struct drain *d, const struct group *g, const char *text,
                      const struct token *tokens, uint32_t n, bool is_template) {
    const struct token *mine = d->pool + g->first_token;
    const char *my_text = d->text.data + g->text_at;
    int equal = 0;
    if (g->n_tokens != n)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        if (mine[i].spaces != tokens[i].spaces)
            return -1;
        if ((mine[i].flags ^ tokens[i].flags) & TOKEN_EXACT)
            return -1;
        if (mine[i].flags & TOKEN_WILD)
            equal += is_template;
        else if (!(tokens[i].flags & TOKEN_WILD) && same_word(my_text, &mine[i], text, &tokens[i]))
            equal++;
        else if (mine[i].flags & TOKEN_EXACT)
            return -1;
    }
    return equal;
}

static int32_t best_group(const struct drain *d, int32_t leaf, const char *text,
                          const struct token *tokens, uint32_t n, bool is_template) {
    int32_t best = DRAIN_NONE;
    int most = (int)(n * SIMILAR_TENTHS + 9) / 10 - 1;
    for (int32_t g = d->nodes[leaf].first_group; g >= 0; g = d->groups[g].next) {
        int equal = similarity(d, &d->groups[g], text, tokens, n, is_template);
        if (equal > most) {
            most = equal;
            best = g;
        }
    }
    return best;
}

static void generalise(struct drain *d, const struct group *g, const char *text,
                       const struct token *tokens) {
    struct token *mine = d->pool + g->first_token;
    const char *my_text = d->text.data + g->text_at;
    for (uint32_t i = 0; i < g->n_tokens; i++) {
        if (mine[i].flags & (TOKEN_WILD | TOKEN_EXACT))
            continue;
        if ((tokens[i].flags & TOKEN_WILD) || !same_word(my_text, &mine[i], text, &tokens[i])) {
            mine[i].flags = TOKEN_WILD;
            mine[i].hash = TOKEN_WILD_HASH;
        }
    }
}

static bool reserve_pool(struct drain *d, uint32_t n) {
    if (n <= d->pool_capacity - d->n_pooled)
        return true;
    uint32_t capacity = d->pool_capacity ? d->pool_capacity * 2 : 1024;
    struct token *pool = realloc(d->pool, capacity * sizeof(*pool));
    if (!pool)
        return false;
    d->pool = pool;
    d->pool_capacity = capacity;
    return true;
}

static int32_t add_group(struct drain *d, uint32_t kind, int32_t leaf, struct str text,
                         const struct token *tokens, uint32_t n) {
    if (d->n_groups == DRAIN_GROUPS_MAX || !reserve_pool(d, n) ||
        buf_reserve(&d->text, text.size) < 0)
        return DRAIN_NONE;
    struct node *node = &d->nodes[leaf];
    int32_t at = (int32_t)d->n_groups++;
    d->groups[at] = (struct group){
        .kind = kind,
        .first_token = d->n_pooled,
        .n_tokens = n,
        .text_at = (uint32_t)d->text.size,
        .next = node->first_group,
    };
    node->first_group = at;
    memcpy(d->pool + d->n_pooled, tokens, n * sizeof(*tokens));
    d->n_pooled += n;
    buf_add_str(&d->text, text);
    return at;
}

static int add(struct drain *d, uint32_t kind, struct str text, bool is_template) {
    struct token tokens[DRAIN_TOKENS_MAX];
    uint32_t n = drain_tokenize(text, is_template, tokens);
    if (n == 0)
        return DRAIN_NONE;
    uint64_t shape = shape_of(kind, tokens, n);
    struct edge *known = &d->shapes[shape % SHAPE_SLOTS];
    bool is_known = known->run == d->run && known->key == shape;
    int32_t leaf = is_known ? (int32_t)known->child : find_leaf(d, kind, tokens, n);
    int32_t group = leaf >= 0 ? best_group(d, leaf, text.data, tokens, n, is_template) : DRAIN_NONE;
    if (group >= 0) {
        generalise(d, &d->groups[group], text.data, tokens);
    } else {
        leaf = add_leaf(d, kind, tokens, n);
        group = leaf >= 0 ? add_group(d, kind, leaf, text, tokens, n) : DRAIN_NONE;
    }
    if (group >= 0)
        *known = (struct edge){.key = shape, .child = (uint32_t)leaf, .run = d->run};
    return group;
}

int drain_add(struct drain *d, uint32_t kind, struct str line) {
    return add(d, kind, line, false);
}

int drain_add_template(struct drain *d, uint32_t kind, struct str text) {
    return add(d, kind, text, true);
}

static bool is_masked(const struct token *t, struct str word, enum drain_mask mask) {
    if (mask == DRAIN_AS_IS || !(t->flags & TOKEN_DIGIT))
        return false;
    return mask == DRAIN_MASK_DIGITS || drain_word_varies(word);
}

void drain_template(const struct drain *d, int group, enum drain_mask mask, struct buf *out) {
    static const char blanks[] = "                ";
    const struct group *g = &d->groups[group];
    const char *text = d->text.data + g->text_at;
    for (uint32_t i = 0; i < g->n_tokens; i++) {
        const struct token *t = &d->pool[g->first_token + i];
        struct str word = str_make(text + t->at, t->size);
        if ((t->flags & TOKEN_WILD) || is_masked(t, word, mask))
            buf_add_char(out, DRAIN_WILD);
        else
            buf_add_str(out, word);
        for (uint32_t left = t->spaces; left > 0;) {
            uint32_t some = left < sizeof(blanks) - 1 ? left : (uint32_t)sizeof(blanks) - 1;
            buf_add(out, blanks, some);
            left -= some;
        }
    }
}
