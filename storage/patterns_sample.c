#include "patterns_sample.h"

#include <assert.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "hash.h"

enum { SHAPE_SLOTS = 4 * SAMPLE_SHAPES_MAX };

static_assert(SAMPLE_SHAPE_BYTES / 16 < 256, "counts of one lane fit a byte");

#if defined(__SSE2__)
static uint32_t sum_lanes(__m128i counts) {
    __m128i sums = _mm_sad_epu8(counts, _mm_setzero_si128());
    return (uint32_t)_mm_cvtsi128_si32(sums) + (uint32_t)_mm_cvtsi128_si32(_mm_srli_si128(sums, 8));
}

static uint32_t shape_of(struct str line) {
    const __m128i space = _mm_set1_epi8(' ');
    const __m128i quote = _mm_set1_epi8('"'), equals = _mm_set1_epi8('=');
    __m128i spaces = _mm_setzero_si128(), marks = _mm_setzero_si128();
    size_t size = line.size < SAMPLE_SHAPE_BYTES ? line.size : SAMPLE_SHAPE_BYTES, i = 0;
    for (; i + 16 <= size; i += 16) {
        __m128i v = _mm_loadu_si128((const void *)(line.data + i));
        spaces = _mm_sub_epi8(spaces, _mm_cmpeq_epi8(v, space));
        marks =
            _mm_sub_epi8(marks, _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, equals)));
    }
    uint32_t n_spaces = sum_lanes(spaces), n_marks = sum_lanes(marks);
    for (; i < size; i++) {
        n_spaces += line.data[i] == ' ';
        n_marks += line.data[i] == '"' || line.data[i] == '=';
    }
    return n_marks << 16 | n_spaces;
}
#else
static uint32_t shape_of(struct str line) {
    size_t size = line.size < SAMPLE_SHAPE_BYTES ? line.size : SAMPLE_SHAPE_BYTES;
    uint32_t n_spaces = 0, n_marks = 0;
    for (size_t i = 0; i < size; i++) {
        n_spaces += line.data[i] == ' ';
        n_marks += line.data[i] == '"' || line.data[i] == '=';
    }
    return n_marks << 16 | n_spaces;
}
#endif

static uint32_t random_below(uint64_t *state, uint32_t n) {
    *state += 0x9e3779b97f4a7c15u;
    return (uint32_t)((hash_mix(*state, 0) >> 32) * n >> 32);
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

void sample_by_shape(struct sample *s, const struct block_input *in, const uint32_t *order,
                     uint32_t wanted, uint64_t seed) {
    struct shapes all = {0};
    for (uint32_t i = 0; i < in->count; i++) {
        uint32_t shape = find_shape(&all, shape_of(in->lines[order ? order[i] : i]));
        all.list[shape].count++;
        s->run_of[i] = (uint16_t)shape; /* for now */
    }
    uint32_t length = (in->count - 1) / wanted + 1;
    s->n_runs = 0;
    for (uint32_t k = 0; k < all.count; k++) {
        struct shape *shape = &all.list[k];
        uint32_t runs = shape->count / length ? shape->count / length : 1;
        shape->length = shape->count / runs;
        shape->run = s->n_runs;
        s->n_runs += runs;
        shape->last_run = s->n_runs - 1;
        begin_run(shape, &seed);
    }
    assert(s->n_runs <= SAMPLE_RUNS_MAX);
    for (uint32_t i = 0; i < in->count; i++) {
        struct shape *shape = &all.list[s->run_of[i]];
        if (shape->seen == shape->length && shape->run < shape->last_run) {
            shape->run++;
            begin_run(shape, &seed);
        }
        if (shape->seen++ == shape->chosen)
            s->entries[shape->run] = i;
        s->run_of[i] = (uint16_t)shape->run;
    }
}
