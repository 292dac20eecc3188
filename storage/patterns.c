#include "patterns.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "bytes.h"
#include "patterns_sample.h"
#include "units.h"

enum {
    PATTERNS_VERSION = 1,
    BUCKETS_MAX = PATTERNS_SPAN_BUCKETS + 1, /* the first and the last one are not full */
    ENTRY_HEAD_MAX = 1 + 3 * VARINT_MAX_BYTES,
    WIDTH_MAX_S = 1 << 30,
};

static_assert(PATTERN_LEVELS <= 16, "a level is a part of a shape");
static_assert((int)PATTERNS_ALL_LINES <= (int)DRAIN_GROUPS_MAX, "each line may be its own group");

/* ---- levels */

static const struct str level_names[PATTERN_LEVELS] = {
    [PATTERN_UNKNOWN] = STR_INIT("unknown"), [PATTERN_TRACE] = STR_INIT("trace"),
    [PATTERN_DEBUG] = STR_INIT("debug"),     [PATTERN_INFO] = STR_INIT("info"),
    [PATTERN_WARN] = STR_INIT("warn"),       [PATTERN_ERROR] = STR_INIT("error"),
    [PATTERN_FATAL] = STR_INIT("fatal"),     [PATTERN_CRITICAL] = STR_INIT("critical"),
};

struct str pattern_level_name(enum pattern_level level) {
    return level_names[level];
}

/* The only set that a block without metadata may lack is the empty one. */
static enum pattern_level level_of(const struct block_input *in, uint32_t entry) {
    if (in->n_meta_sets <= 1)
        return PATTERN_UNKNOWN;
    struct str name = labels_get(in->meta_sets[in->meta_ids[entry]], STR("detected_level"));
    for (unsigned i = 0; i < PATTERN_LEVELS && name.size > 0; i++) {
        char first = level_names[i].data[0];
        if ((name.data[0] | 0x20) == first && str_eq_nocase(level_names[i], name))
            return (enum pattern_level)i;
    }
    return PATTERN_UNKNOWN;
}

/* ---- mining */

enum { LEVELS_KNOWN = 64 };

struct pattern_miner {
    /* Of some sets of metadata, their level: few sets stand behind most lines. */
    struct {
        uint32_t set; /* + 1; 0: free */
        uint32_t level;
    } levels[LEVELS_KNOWN];
    struct drain *drain;
    struct sample sample;
    int group_of[SAMPLE_RUNS_MAX]; /* per run, or DRAIN_NONE */
    uint32_t hits[DRAIN_GROUPS_MAX];
    uint32_t counts[DRAIN_GROUPS_MAX][BUCKETS_MAX];
    uint32_t by_hits[DRAIN_GROUPS_MAX];
    struct buf text, body;
};

struct pattern_miner *pattern_miner_new(void) {
    struct pattern_miner *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->text = buf_make(DRAIN_LINE_MAX);
    m->body = buf_make(2 * PATTERNS_RAW_MAX);
    m->drain = drain_new();
    if (!m->drain) {
        free(m);
        return NULL;
    }
    return m;
}

void pattern_miner_free(struct pattern_miner *m) {
    if (!m)
        return;
    drain_free(m->drain);
    buf_done(&m->text);
    buf_done(&m->body);
    free(m);
}

static uint32_t known_level(void *ctx, const struct block_input *in, uint32_t entry) {
    struct pattern_miner *m = ctx;
    uint32_t set = in->n_meta_sets <= 1 ? 0 : in->meta_ids[entry], at = set % LEVELS_KNOWN;
    if (m->levels[at].set != set + 1) {
        m->levels[at].set = set + 1;
        m->levels[at].level = (uint32_t)level_of(in, entry);
    }
    return m->levels[at].level;
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

/* The narrowest width with few enough buckets between two times. */
static int64_t choose_width(int64_t first_ns, int64_t last_ns) {
    static const int64_t widths_s[] = {30, 60, 300, 600, 1800, 3600, 21600, 86400};
    uint64_t span_s = ((uint64_t)last_ns - (uint64_t)first_ns) / NS_PER_S;
    int64_t width_s = PATTERNS_BUCKET_S;
    for (unsigned i = 0; span_s / (uint64_t)width_s >= PATTERNS_SPAN_BUCKETS; i++)
        width_s = i < sizeof(widths_s) / sizeof(widths_s[0]) ? widths_s[i] : width_s * 2;
    return width_s * NS_PER_S;
}

static int mine_line(struct pattern_miner *m, const struct block_input *in, uint32_t entry) {
    struct str line = in->lines[entry], part;
    enum pattern_level level = (enum pattern_level)known_level(m, in, entry);
    if (line.size > DRAIN_LINE_MAX)
        return DRAIN_NONE;
    if (drain_json_message(line, &part))
        return drain_add(m->drain, pattern_kind(level, true), part);
    return drain_add(m->drain, pattern_kind(level, false), line);
}

/* Groups with most hits first; equal ones as they appeared. Few: insertion will do. */
static void sort_groups(struct pattern_miner *m) {
    for (uint32_t i = 0; i < drain_groups(m->drain); i++) {
        uint32_t k = i;
        for (; k > 0 && m->hits[m->by_hits[k - 1]] < m->hits[i]; k--)
            m->by_hits[k] = m->by_hits[k - 1];
        m->by_hits[k] = i;
    }
}

static void add_varint(struct buf *out, uint64_t v) {
    uint8_t bytes[VARINT_MAX_BYTES];
    buf_add(out, bytes, (size_t)(put_varint(bytes, v) - bytes));
}

static void write_cells(const uint32_t counts[BUCKETS_MAX], struct buf *out) {
    uint32_t n = 0, before = 0;
    for (uint32_t i = 0; i < BUCKETS_MAX; i++)
        n += counts[i] > 0;
    add_varint(out, n);
    for (uint32_t i = 0; i < BUCKETS_MAX; i++) {
        if (counts[i] == 0)
            continue;
        add_varint(out, i - before);
        add_varint(out, counts[i]);
        before = i;
    }
}

/* Patterns until the room is used up; how many. */
static uint32_t write_groups(struct pattern_miner *m, size_t room) {
    struct buf *out = &m->body;
    uint32_t n = 0;
    for (uint32_t i = 0; i < drain_groups(m->drain); i++) {
        uint32_t group = m->by_hits[i];
        size_t before = out->size;
        buf_clear(&m->text);
        drain_template(m->drain, (int)group, m->hits[group] == 1 ? DRAIN_MASK_VALUES : DRAIN_AS_IS,
                       &m->text);
        if (m->text.failed || m->text.size + ENTRY_HEAD_MAX + before > room)
            continue;
        buf_add_char(out, (char)drain_kind(m->drain, (int)group));
        add_varint(out, m->hits[group]);
        add_varint(out, m->text.size);
        buf_add_str(out, buf_str(&m->text));
        write_cells(m->counts[group], out);
        if (out->size > room)
            out->size = before;
        else
            n++;
    }
    return n;
}

/* Looks at one line of each run. Returns the bytes that all lines have, about. */
static uint64_t mine_runs(struct pattern_miner *m, const struct block_input *in,
                          const uint32_t *order) {
    const struct sample *s = &m->sample;
    uint64_t bytes = 0;
    for (uint32_t run = 0; run < s->n_runs; run++) {
        uint32_t entry = order ? order[s->entries[run]] : s->entries[run];
        uint32_t before = drain_groups(m->drain);
        int group = mine_line(m, in, entry);
        m->group_of[run] = group;
        bytes += in->lines[entry].size;
        if (group < 0)
            continue;
        if ((uint32_t)group == before) {
            m->hits[group] = 0;
            memset(m->counts[group], 0, sizeof(m->counts[group]));
        }
        m->hits[group]++;
    }
    return bytes * in->count / s->n_runs;
}

/* Every line counts where it is in time, for the pattern of its run. */
static void count_lines(struct pattern_miner *m, const struct block_input *in,
                        const uint32_t *order, int64_t first_bucket, int64_t width_ns) {
    uint64_t start_ns = (uint64_t)first_bucket * (uint64_t)width_ns;
    uint32_t bucket = 0;
    for (uint32_t i = 0; i < in->count; i++) {
        uint64_t time_ns = (uint64_t)in->times[order ? order[i] : i];
        if (time_ns - start_ns >= (uint64_t)width_ns) {
            bucket += (uint32_t)((time_ns - start_ns) / (uint64_t)width_ns);
            start_ns = ((uint64_t)first_bucket + bucket) * (uint64_t)width_ns;
        }
        assert(bucket < BUCKETS_MAX);
        int group = m->group_of[m->sample.run_of[i]];
        if (group >= 0)
            m->counts[group][bucket]++;
    }
}

static void choose_sample(struct pattern_miner *m, const struct block_input *in,
                          const uint32_t *order, bool thorough, uint64_t seed) {
    uint32_t most = thorough ? SAMPLE_RUNS_MAX : PATTERNS_ALL_LINES;
    if (in->hurried && !thorough && in->count > PATTERNS_HURRIED_LINES)
        sample_by_shape(&m->sample, in, order, known_level, m,
                        in->count <= most ? PATTERNS_HURRIED_LINES : PATTERNS_SAMPLE_LINES, seed);
    else if (in->count <= most || thorough)
        sample_evenly(&m->sample, in->count, (in->count - 1) / most + 1, seed);
    else
        sample_by_shape(&m->sample, in, order, known_level, m, PATTERNS_SAMPLE_LINES, seed);
}

int patterns_mine(struct pattern_miner *m, const struct block_input *in, const uint32_t *order,
                  bool thorough, struct buf *out) {
    int64_t first_ns = in->times[order ? order[0] : 0];
    int64_t last_ns = in->times[order ? order[in->count - 1] : in->count - 1];
    int64_t width_ns = choose_width(first_ns, last_ns);
    int64_t first_bucket = floor_div(first_ns, width_ns);
    drain_reset(m->drain);
    memset(m->levels, 0, sizeof(m->levels));
    /* The same block is mined the same way. */
    choose_sample(m, in, order, thorough, (uint64_t)first_ns ^ in->count);
    uint64_t line_bytes = mine_runs(m, in, order);
    count_lines(m, in, order, first_bucket, width_ns);
    sort_groups(m);
    buf_clear(&m->body);
    uint32_t n = write_groups(m, thorough ? PATTERNS_RAW_MAX
                                          : PATTERNS_BYTES_MIN + line_bytes / PATTERNS_BYTES_SHARE);
    if (n > 0) {
        buf_add_char(out, PATTERNS_VERSION);
        add_varint(out, (uint64_t)(width_ns / NS_PER_S));
        add_varint(out, zigzag(first_bucket));
        add_varint(out, n);
        buf_add_str(out, buf_str(&m->body));
    }
    return m->text.failed || m->body.failed || out->failed ? -ENOMEM : 0;
}

/* ---- reading */

struct source {
    const uint8_t *at, *end;
    bool bad; /* cut off, or a value that cannot be */
};

static uint64_t take(struct source *s, uint64_t max) {
    uint64_t v = 0;
    const uint8_t *next = s->bad ? NULL : get_varint(s->at, s->end, &v);
    if (!next || v > max) {
        s->bad = true;
        return 0;
    }
    s->at = next;
    return v;
}

static const struct pattern_cell *take_cells(struct source *s, struct arena *arena, uint32_t count,
                                             int64_t first_bucket, int64_t width_ns) {
    struct pattern_cell *cells = arena_alloc(arena, (count ? count : 1) * sizeof(*cells));
    uint64_t bucket = 0;
    for (uint32_t i = 0; i < count && cells && !s->bad; i++) {
        bucket += take(s, UINT32_MAX);
        int64_t start_ns, number;
        s->bad |=
            bucket > UINT32_MAX || __builtin_add_overflow(first_bucket, (int64_t)bucket, &number);
        if (s->bad)
            break;
        if (__builtin_mul_overflow(number, width_ns, &start_ns)) {
            start_ns = INT64_MIN; /* the bucket that begins before all time */
            s->bad |= number > 0;
        }
        cells[i].start_ns = start_ns;
        cells[i].count = (uint32_t)take(s, BLOCK_ENTRIES_MAX);
    }
    return cells;
}

static int take_entry(struct source *s, struct arena *arena, int64_t first_bucket, int64_t width_ns,
                      struct pattern_entry *ret) {
    uint64_t kind = take(s, PATTERN_LEVELS * 2 - 1);
    *ret = (struct pattern_entry){.level = (enum pattern_level)(kind / 2), .is_part = kind % 2};
    ret->hits = (uint32_t)take(s, BLOCK_ENTRIES_MAX);
    size_t size = take(s, DRAIN_LINE_MAX);
    if (s->bad || size > (size_t)(s->end - s->at))
        s->bad = true;
    else
        ret->text = str_make((const char *)s->at, size);
    s->at += s->bad ? 0 : size;
    ret->n_cells = (uint32_t)take(s, BLOCK_ENTRIES_MAX);
    if ((size_t)(s->end - s->at) < (size_t)ret->n_cells * 2) /* each takes two bytes at least */
        s->bad = true;
    if (s->bad)
        return 0;
    ret->cells = take_cells(s, arena, ret->n_cells, first_bucket, width_ns);
    return ret->cells ? 0 : -ENOMEM;
}

int patterns_decode(struct str raw, struct arena *arena, struct pattern_list *ret,
                    struct err *reterr) {
    struct source s = {.at = (const uint8_t *)raw.data,
                       .end = (const uint8_t *)raw.data + raw.size};
    uint64_t version = take(&s, 0x7f);
    if (!s.bad && version != PATTERNS_VERSION)
        return err_set(reterr, -EFORMAT, "patterns: version %llu is unknown",
                       (unsigned long long)version);
    int64_t width_ns = (int64_t)take(&s, WIDTH_MAX_S) * NS_PER_S;
    int64_t first_bucket = unzigzag(take(&s, UINT64_MAX));
    uint32_t count = (uint32_t)take(&s, DRAIN_GROUPS_MAX);
    struct pattern_entry *entries = arena_array(arena, count ? count : 1, sizeof(*entries));
    int r = entries ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < count && r == 0 && !s.bad; i++)
        r = take_entry(&s, arena, first_bucket, width_ns, &entries[i]);
    if (r < 0)
        return err_set(reterr, r, "no memory for the patterns of a block");
    if (s.bad || s.at != s.end || width_ns == 0)
        return err_set(reterr, -ECORRUPT, "patterns: damaged or cut off");
    *ret = (struct pattern_list){.width_ns = width_ns, .entries = entries, .count = count};
    return 0;
}

void pattern_text(struct str template_text, bool is_part, struct buf *out) {
    static const char any[] = "<_>";
    bool after_any = is_part; /* two in a row would not be valid */
    if (is_part)
        buf_add(out, any, sizeof(any) - 1);
    for (size_t i = 0; i < template_text.size; i++) {
        bool wild = template_text.data[i] == DRAIN_WILD;
        if (!wild)
            buf_add_char(out, template_text.data[i]);
        else if (!after_any)
            buf_add(out, any, sizeof(any) - 1);
        after_any = wild;
    }
    if (is_part && !after_any)
        buf_add(out, any, sizeof(any) - 1);
}
