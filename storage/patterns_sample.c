#include "patterns_sample.h"

#include <assert.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "hash.h"

enum { SHAPE_SLOTS = 4 * SAMPLE_SHAPES_MAX };

static_assert(SAMPLE_SHAPE_BYTES / 16 < 256, "counts of one lane fit a byte");

static uint32_t shape_of_short(struct str line) {
    size_t size = line.size < SAMPLE_SHAPE_BYTES ? line.size : SAMPLE_SHAPE_BYTES;
    uint32_t n_spaces = 0, n_marks = 0;
    for (size_t i = 0; i < size; i++) {
        n_spaces += line.data[i] == ' ';
        n_marks += line.data[i] == '"' || line.data[i] == '=';
    }
    return n_marks << 16 | n_spaces << 4;
}

#if defined(__SSE2__)
static uint32_t sum_lanes(__m128i counts) {
    __m128i sums = _mm_sad_epu8(counts, _mm_setzero_si128());
    return (uint32_t)_mm_cvtsi128_si32(sums) + (uint32_t)_mm_cvtsi128_si32(_mm_srli_si128(sums, 8));
}

static uint32_t shape_of(struct str line) {
    static const uint8_t tails[32] = {[16] = 255, 255, 255, 255, 255, 255, 255, 255,
                                      255,        255, 255, 255, 255, 255, 255, 255};
    const __m128i space = _mm_set1_epi8(' ');
    const __m128i quote = _mm_set1_epi8('"'), equals = _mm_set1_epi8('=');
    __m128i spaces = _mm_setzero_si128(), marks = _mm_setzero_si128();
    size_t size = line.size < SAMPLE_SHAPE_BYTES ? line.size : SAMPLE_SHAPE_BYTES;
    if (size < 16)
        return shape_of_short(line);
    for (size_t i = 0; i + 16 <= size; i += 16) {
        __m128i v = _mm_loadu_si128((const void *)(line.data + i));
        spaces = _mm_sub_epi8(spaces, _mm_cmpeq_epi8(v, space));
        marks =
            _mm_sub_epi8(marks, _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, equals)));
    }
    if (size % 16 > 0) { /* the last ones: with what is before them, masked */
        __m128i v = _mm_loadu_si128((const void *)(line.data + size - 16));
        __m128i mask = _mm_loadu_si128((const void *)(tails + size % 16));
        __m128i either = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, equals));
        spaces = _mm_sub_epi8(spaces, _mm_and_si128(_mm_cmpeq_epi8(v, space), mask));
        marks = _mm_sub_epi8(marks, _mm_and_si128(either, mask));
    }
    return sum_lanes(marks) << 16 | sum_lanes(spaces) << 4;
}
#else
static uint32_t shape_of(struct str line) {
    return shape_of_short(line);
}
#endif

static uint32_t random_below(uint64_t *state, uint32_t n) {
    *state += 0x9e3779b97f4a7c15u;
    uint64_t x = hash_mix(hash_mix(*state, 0), *state >> 32);
    return (uint32_t)((x >> 32) * n >> 32);
}

void sample_evenly(struct sample *s, uint32_t count, uint32_t length, uint64_t seed) {
    uint32_t run = 0;
    for (uint32_t from = 0, to; from < count; from = to, run++) {
        to = count - from < length ? count : from + length;
        assert(run < SAMPLE_RUNS_MAX);
        s->entries[run] = from + random_below(&seed, to - from);
        for (uint32_t i = from; i < to; i++)
            s->run_of[i] = (uint16_t)run;
    }
    s->n_runs = run;
}

/* One shape, while its lines are dealt to runs. */
struct shape {
    uint32_t count;  /* of its lines */
    uint32_t length; /* of its runs; the last one may be longer */
    uint32_t seen;   /* lines met so far, in the run at hand */
    uint32_t chosen; /* which line of the run at hand is looked at */
    uint32_t run, last_run;
};

struct shapes {
    struct shape list[SAMPLE_SHAPES_MAX];
    uint32_t count;
    struct {
        uint32_t shape;
        uint32_t number; /* + 1; 0 = free */
    } slots[SHAPE_SLOTS];
};

static uint32_t find_shape(struct shapes *all, uint32_t shape) {
    uint32_t at = (shape * 0x9e3779b1u >> 16) % SHAPE_SLOTS;
    while (all->slots[at].number && all->slots[at].shape != shape)
        at = (at + 1) % SHAPE_SLOTS;
    if (!all->slots[at].number) {
        if (all->count == SAMPLE_SHAPES_MAX)
            return SAMPLE_SHAPES_MAX - 1;
        all->slots[at].shape = shape;
        all->slots[at].number = ++all->count;
    }
    return all->slots[at].number - 1;
}

static void begin_run(struct shape *shape, uint64_t *seed) {
    shape->seen = 0;
    shape->chosen = random_below(seed, shape->length);
}

/* The entries are taken in spans of a few; one of each tells the shape of all. */
struct spans {
    uint32_t count, length, n_entries;
    uint64_t seed;
};

static uint32_t span_end(const struct spans *s, uint32_t i) {
    return (i + 1) * s->length < s->n_entries ? (i + 1) * s->length : s->n_entries;
}

static uint32_t span_entry(const struct spans *s, uint32_t i) {
    uint64_t state = s->seed ^ i;
    uint32_t from = i * s->length;
    return s->length == 1 ? from : from + random_below(&state, span_end(s, i) - from);
}

/* Deals the spans of each shape to runs. */
static void plan_runs(struct sample *s, struct shapes *all, uint32_t length, uint64_t seed) {
    s->n_runs = 0;
    for (uint32_t k = 0; k < all->count; k++) {
        struct shape *shape = &all->list[k];
        uint32_t runs = shape->count / length ? shape->count / length : 1;
        shape->length = shape->count / runs;
        shape->run = s->n_runs;
        s->n_runs += runs;
        shape->last_run = s->n_runs - 1;
        begin_run(shape, &seed);
    }
    assert(s->n_runs <= SAMPLE_RUNS_MAX);
}

void sample_by_shape(struct sample *s, const struct block_input *in, const uint32_t *order,
                     sample_level *level_of, void *ctx, uint32_t wanted, uint64_t seed) {
    struct shapes all = {0};
    struct spans spans = {.n_entries = in->count, .seed = seed, .length = in->count / SAMPLE_LOOKS};
    spans.length += spans.length == 0;
    spans.count = (in->count - 1) / spans.length + 1;
    for (uint32_t i = 0; i < spans.count; i++) {
        uint32_t at = span_entry(&spans, i), entry = order ? order[at] : at;
        uint32_t level = level_of(ctx, in, entry);
        uint32_t number = find_shape(&all, shape_of(in->lines[entry]) | level);
        all.list[number].count++;
        s->run_of[i * spans.length] = (uint16_t)number; /* for now */
    }
    plan_runs(s, &all, (spans.count - 1) / wanted + 1, seed);
    for (uint32_t i = 0; i < spans.count; i++) {
        uint32_t from = i * spans.length, to = span_end(&spans, i);
        struct shape *shape = &all.list[s->run_of[from]];
        if (shape->seen == shape->length && shape->run < shape->last_run) {
            shape->run++;
            begin_run(shape, &seed);
        }
        if (shape->seen++ == shape->chosen)
            s->entries[shape->run] = span_entry(&spans, i);
        for (uint32_t k = from; k < to; k++)
            s->run_of[k] = (uint16_t)shape->run;
    }
}
