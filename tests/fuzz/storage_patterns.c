/* The decoder of a block's patterns on arbitrary bytes, and the miner on arbitrary lines: what it writes must be read
 * again, and its texts must go through another drain. */
#include <stdlib.h>

#include "patterns.h"

enum { LINES_MAX = 2000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct pattern_list *list, struct drain *drain) {
    struct buf text = buf_make(3 * DRAIN_LINE_MAX + 6);
    drain_reset(drain);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct pattern_entry *e = &list->entries[i];
        volatile int64_t last = 0;
        for (uint32_t k = 0; k < e->n_cells; k++)
            last = e->cells[k].start_ns;
        (void)last;
        (void)drain_add_template(drain, pattern_kind(e->level, e->is_part), e->text);
        buf_clear(&text);
        pattern_text(e->text, e->is_part, &text);
        if (text.failed)
            abort();
    }
    for (uint32_t i = 0; i < drain_groups(drain); i++) {
        buf_clear(&text);
        drain_template(drain, (int)i, (enum drain_mask)(i % 3), &text);
    }
    buf_done(&text);
}

/* Lines of the input; the first byte of each makes its time and level. */
static void mine(const char *text, size_t size, struct arena *arena, struct drain *drain) {
    static int64_t times[LINES_MAX];
    static struct str lines[LINES_MAX];
    static uint32_t meta_ids[LINES_MAX];
    struct label level = {STR("detected_level"), STR("error")};
    struct labels sets[2] = {{0}, {.items = &level, .count = 1}};
    uint32_t n = 0;
    int64_t time = -1000000000;
    for (size_t from = 0; from < size && n < LINES_MAX; n++) {
        const char *newline = memchr(text + from, '\n', size - from);
        size_t to = newline ? (size_t)(newline - text) : size;
        time += (int64_t)(uint8_t)text[from] * 100000000;
        times[n] = time;
        lines[n] = str_make(text + from, to - from);
        meta_ids[n] = (uint8_t)text[from] & 1;
        from = to + 1;
    }
    if (n == 0)
        return;
    struct block_input in = {.count = n,
                             .times = times,
                             .lines = lines,
                             .meta_ids = meta_ids,
                             .meta_sets = sets,
                             .n_meta_sets = 2};
    struct pattern_miner *miner = pattern_miner_new();
    struct buf out = buf_make(1 << 20);
    struct pattern_list list;
    for (int thorough = 0; miner && thorough < 2; thorough++) {
        buf_clear(&out);
        if (patterns_mine(miner, &in, NULL, thorough, &out) < 0)
            abort();
        if (out.size == 0)
            continue;
        if (patterns_decode(buf_str(&out), arena, &list, NULL) < 0)
            abort();
        use(&list, drain);
    }
    buf_done(&out);
    pattern_miner_free(miner);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct drain *drain;
    if (!drain && !(drain = drain_new()))
        return 0;
    if (size == 0)
        return 0;
    struct arena arena = arena_make(16 << 20);
    struct pattern_list list;
    const char *bytes = (const char *)data + 1;
    if (data[0] & 1)
        mine(bytes, size - 1, &arena, drain);
    else if (patterns_decode(str_make(bytes, size - 1), &arena, &list, NULL) == 0)
        use(&list, drain);
    arena_done(&arena);
    return 0;
}
