/* The format is LMDB 0.9's, for 64-bit little-endian machines; names in brackets are those of its source.
 *
 *   page     u64 own number, u16 pad (LEAF2: size of an item), u16 flags, u16 lower, u16 upper (an overflow run: u32
 *            pages instead), then u16 offsets of nodes up to lower; nodes stand at the end, from upper on
 *   node     u16 lo, u16 hi, u16 flags, u16 key size, key, data. Leaf: lo | hi << 16 is the size of the data.
 *            Branch: lo | hi << 16 | flags << 32 is the child's page, its first key does not count
 *   database u32 pad, u16 flags, u16 depth, u64 branch pages, leaf pages, overflow pages, entries, root [MDB_db]
 *   root     pages 0 and 1, of which transaction n writes page n % 2: u32 magic, u32 version, u64 address, u64 map size,
 *            the databases of free pages and of names, u64 last page, u64 transaction [MDB_meta]
 *
 * Values of one key (DUPSORT) are a page within the node, or a database of their own whose keys they are; of ours
 * (DUPFIXED) they are all 8 bytes long. A tree is walked with the bounds that the branches above set, so that each key
 * is where a search looks for it. */
#include "index_check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "bytes.h"
#include "io.h"

enum {
    PAGE_BRANCH = 0x01,
    PAGE_LEAF = 0x02,
    PAGE_OVERFLOW = 0x04,
    PAGE_META = 0x08,
    PAGE_DIRTY = 0x10,
    PAGE_LEAF2 = 0x20,
    PAGE_SUB = 0x40,

    NODE_BIG = 0x01,
    NODE_DATABASE = 0x02,
    NODE_DUPS = 0x04,

    DB_INTEGER_KEYS = 0x08,
    DB_DUP_FIXED = 0x10,
    DB_DUPS_OF_IDS = 0x04 | 0x10 | 0x20, /* DUPSORT, DUPFIXED, INTEGERDUP */

    PAGE_AT_PAD = 8,
    PAGE_AT_FLAGS = 10,
    PAGE_AT_LOWER = 12,
    PAGE_AT_UPPER = 14,
    PAGE_AT_RUN = 12,
    PAGE_HEADER = 16,
    NODE_HEADER = 8,
    DATABASE_SIZE = 48,

    META_MAGIC = PAGE_HEADER,
    META_VERSION = META_MAGIC + 4,
    META_FREE = META_VERSION + 4 + 8 + 8,
    META_MAIN = META_FREE + DATABASE_SIZE,
    META_LAST_PAGE = META_MAIN + DATABASE_SIZE,
    META_TXN = META_LAST_PAGE + 8,
    META_END = META_TXN + 8,

    PAGE_SIZE_MIN = 512,
    PAGE_SIZE_MAX = 32768,
    DEPTH_MAX = 32,         /* LMDB's own limit */
    LEVELS = 3 * DEPTH_MAX, /* names, rows, values */
    KEY_MAX = 511,
    ID_SIZE = 8,
};
#define MAGIC 0xBEEFC0DEu
#define NO_PAGE UINT64_MAX
/* How far behind the file's end the last page may be: pages that were given and freed again are never written. */
#define BEYOND_END_BYTES (UINT64_C(1) << 30)

enum tree_kind { TREE_FREE, TREE_NAMES, TREE_ROWS, TREE_IDS };

struct database {
    uint16_t flags, depth;
    uint64_t branches, leaves, overflows, entries, root;
};

struct tree {
    enum tree_kind kind;
    uint64_t name_hash; /* TREE_ROWS, TREE_IDS */
    bool is_meta;       /* the database of that name */
    bool has_ids;       /* its values are lists of ids */
    struct str key;     /* TREE_IDS: whose ids these are */
    struct database found;
};

struct checker {
    int fd;
    uint32_t page_size;
    uint64_t file_size, last_page;
    uint8_t *used;           /* a bit per page */
    uint8_t *levels[LEVELS]; /* a page each, as the walk goes down */
    struct buf big;          /* a value in overflow pages */
    bool has_sum;
    uint64_t stored_sum, stored_txn;
    struct str salvaged; /* the only database that is looked at; empty: all are */
    index_salvage_fn *fn;
    void *ctx;
    int fn_code; /* the first that is not 0 */
    struct index_check *ret;
    struct err *reterr;
};

static int wrong(struct checker *c, uint64_t page, const char *what) {
    return err_set(c->reterr, -ECORRUPT, "index page %" PRIu64 " (offset %" PRIu64 "): %s", page,
                   page * c->page_size, what);
}

/* ---- pages */

static int use_page(struct checker *c, uint64_t page) {
    if (page < 2 || page > c->last_page)
        return wrong(c, page, "there is no such page");
    uint8_t bit = (uint8_t)(1u << (page & 7));
    if (c->used[page >> 3] & bit)
        return wrong(c, page, "it is used twice");
    c->used[page >> 3] |= bit;
    return 0;
}

static int read_bytes(struct checker *c, uint64_t page, void *out, size_t size) {
    ssize_t n = io_pread_all(c->fd, out, size, page * c->page_size);
    if (n < 0)
        return err_set(c->reterr, (int)n, "cannot read the index: %s", err_name((int)n));
    return (size_t)n == size ? 0 : wrong(c, page, "it lies behind the end of the file");
}

static int load_page(struct checker *c, uint64_t page, unsigned level, const uint8_t **ret) {
    if (level >= LEVELS)
        return wrong(c, page, "the tree is too deep");
    int r = use_page(c, page);
    if (r == 0 && !c->levels[level]) {
        c->levels[level] = malloc(c->page_size);
        r = c->levels[level] ? 0 : err_set(c->reterr, -ENOMEM, "no memory to check the index");
    }
    if (r == 0)
        r = read_bytes(c, page, c->levels[level], c->page_size);
    if (r < 0)
        return r;
    if (get_le64(c->levels[level]) != page)
        return wrong(c, page, "it has the number of another one");
    c->ret->pages++;
    *ret = c->levels[level];
    return 0;
}

/* The value of a node that says where its overflow pages are. */
static int load_big(struct checker *c, uint64_t page, size_t size, struct tree *t,
                    struct str *ret) {
    uint64_t pages = (PAGE_HEADER + (uint64_t)size + c->page_size - 1) / c->page_size;
    if (page > c->last_page || pages > c->last_page - page + 1)
        return wrong(c, page, "a long value reaches behind the last page");
    buf_clear(&c->big);
    if (buf_reserve(&c->big, PAGE_HEADER + size) < 0)
        return err_set(c->reterr, -ENOMEM, "no memory to check the index");
    int r = read_bytes(c, page, c->big.data, PAGE_HEADER + size);
    for (uint64_t i = 0; r == 0 && i < pages; i++)
        r = use_page(c, page + i);
    if (r < 0)
        return r;
    if (get_le64(c->big.data) != page || get_le16(c->big.data + PAGE_AT_FLAGS) != PAGE_OVERFLOW ||
        get_le32(c->big.data + PAGE_AT_RUN) != pages)
        return wrong(c, page, "it does not hold a long value");
    t->found.overflows += pages;
    c->ret->pages += pages;
    *ret = str_make(c->big.data + PAGE_HEADER, size);
    return 0;
}

/* ---- nodes */

struct node {
    uint16_t flags;
    struct str key;
    const uint8_t *data;
    uint32_t data_size; /* as the node says; a long value is elsewhere */
    uint64_t child;
    uint32_t own_size;
};

static size_t node_count(const uint8_t *p) {
    return (size_t)(get_le16(p + PAGE_AT_LOWER) - PAGE_HEADER) / 2;
}

/* Sizes of the header; the nodes are looked at one by one. */
static bool page_header_fits(const uint8_t *p, uint32_t page_size) {
    uint32_t lower = get_le16(p + PAGE_AT_LOWER), upper = get_le16(p + PAGE_AT_UPPER);
    return lower > PAGE_HEADER && lower % 2 == 0 && lower <= upper && upper <= page_size;
}

static bool node_get(const uint8_t *p, uint32_t page_size, size_t i, bool leaf, struct node *ret) {
    uint32_t offset = get_le16(p + PAGE_HEADER + 2 * i), upper = get_le16(p + PAGE_AT_UPPER);
    if (offset < upper || offset % 2 != 0 || offset > page_size - NODE_HEADER)
        return false;
    const uint8_t *n = p + offset;
    uint32_t low = get_le16(n), high = get_le16(n + 2), key_size = get_le16(n + 6);
    *ret = (struct node){.flags = leaf ? get_le16(n + 4) : 0};
    uint32_t room = page_size - offset - NODE_HEADER;
    if (key_size > room)
        return false;
    ret->key = str_make((const char *)n + NODE_HEADER, key_size);
    ret->own_size = NODE_HEADER + key_size;
    if (!leaf) {
        ret->child = low | (uint64_t)high << 16 | (uint64_t)get_le16(n + 4) << 32;
    } else {
        ret->data = n + NODE_HEADER + key_size;
        ret->data_size = low | high << 16;
        uint32_t here = ret->flags & NODE_BIG ? ID_SIZE : ret->data_size;
        if (here > room - key_size)
            return false;
        ret->own_size += here;
    }
    ret->own_size += ret->own_size & 1;
    return true;
}

static uint64_t key_number(struct str key) {
    return get_le64(key.data);
}

static bool has_number_keys(const struct tree *t) {
    return t->kind == TREE_FREE || t->kind == TREE_IDS;
}

static bool key_fits(const struct tree *t, struct str key) {
    return has_number_keys(t) ? key.size == ID_SIZE : key.size > 0 && key.size <= KEY_MAX;
}

static int compare_keys(const struct tree *t, struct str a, struct str b) {
    if (has_number_keys(t)) {
        uint64_t x = key_number(a), y = key_number(b);
        return (x > y) - (x < y);
    }
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* ---- rows */

static void add_row(struct checker *c, const struct tree *t, struct str key, struct str value) {
    c->ret->rows++;
    if (c->fn && c->fn_code == 0)
        c->fn_code = c->fn(key, value, c->ctx);
    if (t->is_meta && str_eq(key, INDEX_SUM_KEY)) {
        c->has_sum = value.size == INDEX_SUM_SIZE;
        if (c->has_sum) {
            c->stored_sum = get_le64(value.data);
            c->stored_txn = get_le64(value.data + 8);
        }
        return;
    }
    c->ret->sum += index_row_hash(t->name_hash, key, value);
}

static void parse_database(const uint8_t *p, struct database *ret) {
    *ret = (struct database){
        .flags = get_le16(p + 4),
        .depth = get_le16(p + 6),
        .branches = get_le64(p + 8),
        .leaves = get_le64(p + 16),
        .overflows = get_le64(p + 24),
        .entries = get_le64(p + 32),
        .root = get_le64(p + 40),
    };
}

static int check_tree(struct checker *c, const struct database *d, struct tree *t, uint64_t page,
                      unsigned level);

/* The ids of a key, in a page within the node. */
static int check_ids_inside(struct checker *c, const struct node *n, struct tree *t,
                            uint64_t page) {
    const uint8_t *p = n->data;
    if (n->data_size < PAGE_HEADER || !page_header_fits(p, n->data_size) ||
        get_le16(p + PAGE_AT_PAD) != ID_SIZE ||
        (get_le16(p + PAGE_AT_FLAGS) & ~PAGE_DIRTY) != (PAGE_LEAF | PAGE_LEAF2 | PAGE_SUB))
        return wrong(c, page, "a list of ids has a wrong header");
    size_t count = node_count(p);
    if (PAGE_HEADER + count * ID_SIZE > n->data_size)
        return wrong(c, page, "a list of ids is longer than its room");
    for (size_t i = 0; i < count; i++) {
        const char *id = (const char *)p + PAGE_HEADER + i * ID_SIZE;
        if (i > 0 && get_le64(id) <= get_le64(id - ID_SIZE))
            return wrong(c, page, "a list of ids is not in order");
        add_row(c, t, n->key, str_make(id, ID_SIZE));
    }
    t->found.entries += count;
    return 0;
}

static int check_ids(struct checker *c, const struct node *n, struct tree *t, uint64_t page,
                     unsigned level) {
    if (!(n->flags & NODE_DUPS)) { /* one id */
        if (n->flags != 0 || n->data_size != ID_SIZE)
            return wrong(c, page, "an id has a wrong size");
        add_row(c, t, n->key, str_make((const char *)n->data, ID_SIZE));
        t->found.entries++;
        return 0;
    }
    if (n->flags == NODE_DUPS)
        return check_ids_inside(c, n, t, page);
    if (n->flags != (NODE_DUPS | NODE_DATABASE) || n->data_size != DATABASE_SIZE)
        return wrong(c, page, "a list of ids has wrong flags");
    struct database d;
    parse_database(n->data, &d);
    struct tree ids = {.kind = TREE_IDS, .name_hash = t->name_hash, .key = n->key};
    if (d.flags != (DB_DUP_FIXED | DB_INTEGER_KEYS) || get_le32(n->data) != ID_SIZE)
        return wrong(c, page, "a list of ids has wrong flags");
    t->found.entries += d.entries;
    return check_tree(c, &d, &ids, page, level + 1);
}

static int check_named(struct checker *c, const struct node *n, uint64_t page, unsigned level) {
    struct database d;
    if (n->flags != NODE_DATABASE || n->data_size != DATABASE_SIZE)
        return wrong(c, page, "a database has a wrong record");
    parse_database(n->data, &d);
    if (c->salvaged.size > 0 && !str_eq(n->key, c->salvaged))
        return 0;
    struct tree t = {.kind = TREE_ROWS,
                     .name_hash = hash_str(n->key),
                     .is_meta = str_eq(n->key, STR("meta")),
                     .has_ids = str_eq(n->key, STR("postings"))};
    if (d.flags != (t.has_ids ? DB_DUPS_OF_IDS : 0) || get_le32(n->data) != 0)
        return wrong(c, page, "a database has wrong flags");
    return check_tree(c, &d, &t, page, level + 1);
}

/* Pages that transaction `key` has freed: their number, then the pages, falling. */
static int check_free_pages(struct checker *c, struct str value, uint64_t page) {
    if (value.size < ID_SIZE || value.size % ID_SIZE != 0)
        return wrong(c, page, "a list of free pages has a wrong size");
    uint64_t count = get_le64(value.data);
    if (count > value.size / ID_SIZE - 1)
        return wrong(c, page, "a list of free pages is longer than its room");
    int r = 0;
    for (uint64_t i = 0; r == 0 && i < count; i++)
        r = use_page(c, get_le64(value.data + (i + 1) * ID_SIZE));
    return r;
}

static int check_leaf_node(struct checker *c, const struct node *n, struct tree *t, uint64_t page,
                           unsigned level) {
    if (t->kind == TREE_ROWS && t->has_ids)
        return check_ids(c, n, t, page, level);
    t->found.entries++;
    if (t->kind == TREE_NAMES)
        return check_named(c, n, page, level);
    struct str value = str_make((const char *)n->data, n->data_size);
    int r = 0;
    if (n->flags == NODE_BIG)
        r = load_big(c, get_le64(n->data), n->data_size, t, &value);
    else if (n->flags != 0)
        r = wrong(c, page, "a row has wrong flags");
    if (r < 0)
        return r;
    if (t->kind == TREE_FREE)
        return check_free_pages(c, value, page);
    add_row(c, t, n->key, value);
    return 0;
}

/* ---- trees */

/* Keys that a page may hold: from `low` on and below `high`, where they are set. */
struct bounds {
    struct str low, high;
};

static int check_key(struct checker *c, const struct tree *t, struct str key, struct str before,
                     const struct bounds *b, uint64_t page) {
    if (!key_fits(t, key))
        return wrong(c, page, "a key has a wrong size");
    if ((before.data && compare_keys(t, before, key) >= 0) ||
        (b->low.data && compare_keys(t, key, b->low) < 0) ||
        (b->high.data && compare_keys(t, key, b->high) >= 0))
        return wrong(c, page, "a key is not in order");
    return 0;
}

/* A leaf of ids without nodes: only numbers. */
static int check_leaf2(struct checker *c, const uint8_t *p, struct tree *t, const struct bounds *b,
                       uint64_t page) {
    size_t count = node_count(p);
    if (t->kind != TREE_IDS || get_le16(p + PAGE_AT_PAD) != ID_SIZE ||
        PAGE_HEADER + count * ID_SIZE > c->page_size)
        return wrong(c, page, "a page of ids has a wrong header");
    struct str before = {0};
    for (size_t i = 0; i < count; i++) {
        struct str id = str_make((const char *)p + PAGE_HEADER + i * ID_SIZE, ID_SIZE);
        int r = check_key(c, t, id, before, b, page);
        if (r < 0)
            return r;
        add_row(c, t, t->key, id);
        before = id;
    }
    t->found.entries += count;
    return 0;
}

static int check_leaf(struct checker *c, const uint8_t *p, struct tree *t, const struct bounds *b,
                      uint64_t page, unsigned level) {
    uint32_t nodes_bytes = 0;
    struct str before = {0};
    for (size_t i = 0; i < node_count(p); i++) {
        struct node n;
        if (t->kind == TREE_IDS || !node_get(p, c->page_size, i, true, &n))
            return wrong(c, page, "a row lies outside its page");
        int r = check_key(c, t, n.key, before, b, page);
        if (r == 0)
            r = check_leaf_node(c, &n, t, page, level);
        if (r < 0)
            return r;
        nodes_bytes += n.own_size;
        before = n.key;
    }
    return nodes_bytes == c->page_size - get_le16(p + PAGE_AT_UPPER)
               ? 0
               : wrong(c, page, "its rows do not fill their room");
}

static int check_page(struct checker *c, uint64_t page, unsigned depth, struct tree *t,
                      const struct bounds *b, unsigned level);

static int check_branch(struct checker *c, const uint8_t *p, unsigned depth, struct tree *t,
                        const struct bounds *b, uint64_t page, unsigned level) {
    uint32_t nodes_bytes = 0;
    size_t count = node_count(p);
    struct node n, next = {0};
    if (!node_get(p, c->page_size, 0, false, &next))
        return wrong(c, page, "a branch lies outside its page");
    for (size_t i = 0; i < count; i++) {
        n = next;
        if (i + 1 < count && !node_get(p, c->page_size, i + 1, false, &next))
            return wrong(c, page, "a branch lies outside its page");
        int r =
            i + 1 < count ? check_key(c, t, next.key, i > 0 ? n.key : (struct str){0}, b, page) : 0;
        struct bounds below = {.low = i > 0 ? n.key : b->low,
                               .high = i + 1 < count ? next.key : b->high};
        if (r == 0)
            r = check_page(c, n.child, depth - 1, t, &below, level + 1);
        if (r < 0)
            return r;
        nodes_bytes += n.own_size;
    }
    return nodes_bytes == c->page_size - get_le16(p + PAGE_AT_UPPER)
               ? 0
               : wrong(c, page, "its branches do not fill their room");
}

static int check_page(struct checker *c, uint64_t page, unsigned depth, struct tree *t,
                      const struct bounds *b, unsigned level) {
    const uint8_t *p = NULL;
    int r = load_page(c, page, level, &p);
    if (r < 0)
        return r;
    if (!page_header_fits(p, c->page_size))
        return wrong(c, page, "its header has wrong sizes");
    switch (get_le16(p + PAGE_AT_FLAGS)) {
    case PAGE_BRANCH:
        t->found.branches++;
        return depth > 1 ? check_branch(c, p, depth, t, b, page, level)
                         : wrong(c, page, "a branch where rows are due");
    case PAGE_LEAF:
        t->found.leaves++;
        return depth == 1 ? check_leaf(c, p, t, b, page, level)
                          : wrong(c, page, "rows where a branch is due");
    case PAGE_LEAF | PAGE_LEAF2:
        t->found.leaves++;
        return depth == 1 ? check_leaf2(c, p, t, b, page)
                          : wrong(c, page, "ids where a branch is due");
    default:
        return wrong(c, page, "it has wrong flags");
    }
}

/* `page` is where the database's record stands. */
static int check_tree(struct checker *c, const struct database *d, struct tree *t, uint64_t page,
                      unsigned level) {
    if (d->depth > DEPTH_MAX || (d->root == NO_PAGE) != (d->depth == 0))
        return wrong(c, page, "a database has a wrong depth");
    if (d->root != NO_PAGE) {
        const struct bounds all = {0};
        int r = check_page(c, d->root, d->depth, t, &all, level);
        if (r < 0)
            return r;
    }
    const struct database *f = &t->found;
    return f->branches == d->branches && f->leaves == d->leaves && f->overflows == d->overflows &&
                   f->entries == d->entries
               ? 0
               : wrong(c, page, "a database does not have as many pages and rows as it says");
}

/* ---- roots */

static bool root_is_sound(const uint8_t *p, uint64_t number, uint32_t page_size) {
    uint64_t txn = get_le64(p + META_TXN);
    return get_le64(p) == number && get_le16(p + PAGE_AT_FLAGS) == PAGE_META &&
           get_le32(p + META_MAGIC) == MAGIC && get_le32(p + META_VERSION) == 1 &&
           get_le32(p + META_FREE) == page_size && get_le32(p + META_MAIN) == 0 &&
           get_le16(p + META_FREE + 4) == DB_INTEGER_KEYS && get_le16(p + META_MAIN + 4) == 0 &&
           (txn == 0 || txn % 2 == number);
}

static int read_roots(struct checker *c, uint8_t pages[2][META_END]) {
    ssize_t n = io_pread_all(c->fd, pages[0], META_END, 0);
    if (n == META_END) {
        c->page_size = get_le32(pages[0] + META_FREE);
        if (c->page_size < PAGE_SIZE_MIN || c->page_size > PAGE_SIZE_MAX ||
            (c->page_size & (c->page_size - 1)) != 0)
            return err_set(c->reterr, -ECORRUPT, "index: the first page is damaged");
        n = io_pread_all(c->fd, pages[1], META_END, c->page_size);
    }
    if (n < 0)
        return err_set(c->reterr, (int)n, "cannot read the index: %s", err_name((int)n));
    return n == META_END ? 0 : err_set(c->reterr, -ECORRUPT, "index: the file is cut off");
}

/* Without a writer both root pages are sound and neighbours, or LMDB might take the older one for the newer. */
static int choose_root(struct checker *c, uint64_t txn, uint8_t root[static META_END]) {
    uint8_t pages[2][META_END];
    int r = read_roots(c, pages);
    if (r < 0)
        return r;
    uint64_t txns[2] = {get_le64(pages[0] + META_TXN), get_le64(pages[1] + META_TXN)};
    unsigned newest = txns[1] > txns[0];
    unsigned wanted = txn == 0 ? newest : txn % 2;
    for (unsigned i = 0; i < 2; i++)
        if ((txn == 0 || i == wanted) && !root_is_sound(pages[i], i, c->page_size))
            return wrong(c, i, "it is not a root");
    if (txn == 0 && txns[newest] != 0 && txns[newest] - txns[!newest] != 1)
        return wrong(c, newest, "the roots do not follow one another");
    if (txn != 0 && txns[wanted] != txn)
        return err_set(c->reterr, -EAGAIN, "index: the root has been overwritten meanwhile");
    memcpy(root, pages[wanted], META_END);
    return 0;
}

static int begin_root(struct checker *c, const uint8_t *root) {
    c->last_page = get_le64(root + META_LAST_PAGE);
    c->ret->is_new = get_le64(root + META_TXN) == 0;
    if (c->last_page < 1 || c->last_page > (c->file_size + BEYOND_END_BYTES) / c->page_size)
        return wrong(c, get_le64(root), "the last page is far behind the end of the file");
    c->used = calloc(c->last_page / 8 + 1, 1);
    return c->used ? 0 : err_set(c->reterr, -ENOMEM, "no memory to check the index");
}

static int check_root(struct checker *c, const uint8_t *root) {
    struct database free_pages, names;
    struct tree free_tree = {.kind = TREE_FREE}, names_tree = {.kind = TREE_NAMES};
    parse_database(root + META_FREE, &free_pages);
    parse_database(root + META_MAIN, &names);
    int r = begin_root(c, root);
    if (r == 0)
        r = check_tree(c, &free_pages, &free_tree, get_le64(root), 0);
    if (r == 0)
        r = check_tree(c, &names, &names_tree, get_le64(root), 0);
    if (r < 0 || c->ret->is_new)
        return r;
    if (!c->has_sum)
        return err_set(c->reterr, -ECORRUPT, "index: it has no sum over its rows");
    if (c->ret->sum != c->stored_sum)
        return err_set(c->reterr, -ECORRUPT,
                       "index: the sum over all rows is wrong: a key or value has changed");
    return get_le64(root + META_TXN) == c->stored_txn
               ? 0
               : wrong(c, get_le64(root), "it is the root of another transaction");
}

static void checker_done(struct checker *c) {
    for (size_t i = 0; i < LEVELS; i++)
        free(c->levels[i]);
    free(c->used);
    buf_done(&c->big);
}

int index_check_file(int fd, uint64_t txn, struct index_check *ret, struct err *reterr) {
    uint8_t root[META_END] = {0};
    struct checker c = {.fd = fd, .big = buf_make(BUF_NO_MAX), .ret = ret, .reterr = reterr};
    *ret = (struct index_check){0};
    int r = io_file_size(fd, &c.file_size);
    if (r < 0)
        return err_set(reterr, r, "cannot read the index: %s", err_name(r));
    ret->is_new = c.file_size == 0;
    if (ret->is_new)
        return 0;
    r = choose_root(&c, txn, root);
    if (r == 0)
        r = check_root(&c, root);
    checker_done(&c);
    return r;
}

int index_salvage(int fd, struct str database, index_salvage_fn *fn, void *ctx,
                  struct err *reterr) {
    uint8_t root[META_END] = {0};
    struct index_check ignored = {0};
    struct tree names_tree = {.kind = TREE_NAMES};
    struct database names;
    struct checker c = {.fd = fd,
                        .big = buf_make(BUF_NO_MAX),
                        .ret = &ignored,
                        .reterr = reterr,
                        .salvaged = database,
                        .fn = fn,
                        .ctx = ctx};
    int r = io_file_size(fd, &c.file_size);
    if (r < 0)
        return err_set(reterr, r, "cannot read the index: %s", err_name(r));
    r = choose_root(&c, 0, root);
    if (r == 0)
        r = begin_root(&c, root);
    parse_database(root + META_MAIN, &names);
    if (r == 0)
        r = check_tree(&c, &names, &names_tree, get_le64(root), 0);
    checker_done(&c);
    return c.fn_code != 0 ? c.fn_code : r;
}
