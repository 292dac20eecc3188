/* config_near: the setting that was meant where the name of one is misspelled or lacks its section. */
#include "config_keys.h"

enum {
    NAME_MAX_BYTES = 128, /* longer than every key */
    EDITS_MAX = 2,        /* more of them and Loki's other settings look like ours */
};

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Letters put in, left out or changed that make `b` of `a`. */
static size_t edits(struct str a, struct str b) {
    size_t row[NAME_MAX_BYTES + 1];
    for (size_t k = 0; k <= b.size; k++)
        row[k] = k;
    for (size_t i = 0; i < a.size; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t k = 0; k < b.size; k++) {
            size_t changed = diagonal + (a.data[i] != b.data[k]);
            diagonal = row[k + 1];
            row[k + 1] = least(changed, least(row[k], diagonal) + 1);
        }
    }
    return row[b.size];
}

/* "limits_config" of "limits_config.retention_period", in turn all that `path` may stand for. */
static struct str prefix_of(struct str key, size_t depth) {
    for (size_t i = 0; i < key.size; i++)
        if (key.data[i] == '.' && depth-- == 0)
            return str_make(key.data, i);
    return depth == 0 ? key : (struct str){0};
}

static size_t depth_of(struct str path) {
    size_t dots = 0;
    for (size_t i = 0; i < path.size; i++)
        dots += path.data[i] == '.';
    return dots;
}

static bool is_last_part(struct str key, struct str name) {
    return str_ends(key, name) && key.size > name.size && key.data[key.size - name.size - 1] == '.';
}

struct str config_key_near(struct str path) {
    struct str best = {0};
    size_t fewest = EDITS_MAX + 1, depth = depth_of(path);
    if (path.size <= EDITS_MAX * 2 || path.size > NAME_MAX_BYTES)
        return best;
    for (size_t i = 0; i < config_keys_count; i++) {
        struct str key = str_from(config_keys[i].path);
        if (depth == 0 && is_last_part(key, path))
            return key;
        struct str same_depth = prefix_of(key, depth);
        if (!same_depth.data || same_depth.size > NAME_MAX_BYTES)
            continue;
        size_t n = edits(path, same_depth);
        if (n < fewest) {
            fewest = n;
            best = same_depth;
        }
    }
    return best;
}
