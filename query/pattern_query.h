/* pattern_query: which patterns have the lines of some streams, and how often in time? Joins what blocks know of their
 * own lines (patterns.h): within a stream by the same rules that found them, among streams when they differ in words with
 * digits only. Any thread; the work is done in the calling one. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "err.h"
#include "patterns.h"
#include "store.h"
#include "str.h"

enum {
    PATTERN_SERIES_MAX = 300,     /* of an answer, as in Loki: those of most lines */
    PATTERN_HITS_MIN = 2,         /* one line is no pattern, */
    PATTERN_LINES_MIN = 30,       /* unless it stands for as many as Loki wants to see */
    PATTERN_FOUND_MAX = 64 << 10, /* different ones that a query keeps; further ones are left out */
    PATTERN_SAMPLES_MAX = 4 << 20, /* of all of them: 64 MiB */
    PATTERN_STEP_MIN_S = PATTERNS_BUCKET_S,
};

struct pattern_query {
    struct str tenant;
    const struct matcher *matchers;
    size_t n_matchers;
    int64_t start_ns;          /* inclusive */
    int64_t end_ns;            /* exclusive */
    int64_t step_ns;           /* at least PATTERN_STEP_MIN_S; samples stand at multiples of it */
    int64_t deadline_mono_ns;  /* 0 = none */
    const atomic_bool *cancel; /* may be NULL */
};

struct pattern_sample {
    int64_t ts_ns;
    uint64_t count; /* not 0 */
};

struct pattern_series {
    struct str text; /* for |> */
    enum pattern_level level;
    uint64_t total;
    const struct pattern_sample *samples; /* ascending */
    size_t n_samples;
};

struct pattern_result {
    const struct pattern_series *series; /* largest total first */
    size_t n_series;
    struct arena arena; /* owns all of the above */
};

/* -EREFUSED, -EEXPIRED, -ECANCELED, -ENOMEM, -EIO, -ECORRUPT. */
int pattern_query(struct store *store, const struct pattern_query *q, struct pattern_result **ret,
                  struct err *reterr);
void pattern_result_free(struct pattern_result *r);
