/* pages: all lines that a log query selects in a range of any length, fetched page by page in
 * order: the range is cut into windows that the server accepts, a window into pages. Lines that
 * share a timestamp with the end of a page come once, however the page was cut. One thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "source.h"
#include "str.h"
#include "when.h"

enum {
    PAGE_LINES_MAX = 5000, /* Loki's max_entries_limit_per_query */
    PAGE_LINES_MIN = 10,   /* a server that allows less is not asked */
};

struct page_line {
    int64_t ns;
    struct str text;
    uint32_t stream; /* index into the page's streams */
    uint32_t order;  /* as it came: keeps the server's order among equal times */
    bool is_context; /* not a match, but near one */
};

struct page_stream {
    json_t *labels; /* object of strings, borrowed */
};

/* Everything lives until the callback returns. */
struct page {
    const struct page_line *lines;
    size_t n_lines;
    const struct page_stream *streams;
    size_t n_streams;
};

/* 0 = go on, 1 = enough, negative = give up. */
typedef int page_fn(const struct page *page, void *ctx);

struct page_request {
    struct str query;
    struct range range;
    bool forward;
    uint64_t limit;       /* 0 = all */
    size_t lines_max;     /* of one page; 0 = PAGE_LINES_MAX */
    const char *interval; /* NULL = none */
    bool quiet;           /* no warnings of the server on stderr */
    page_fn *fn;
    void *ctx;
};

int pages_fetch(struct source *s, const struct page_request *q, uint64_t *ret_lines,
                struct err *reterr);

/* Parses an answer, checks that it is {"status":"success","data":...}, prints its warnings to
 * stderr unless quiet. The caller releases *ret_root with json_decref; *ret_data is borrowed
 * from it. */
int answer_parse(struct str body, bool quiet, json_t **ret_root, json_t **ret_data,
                 struct err *reterr);

/* The statistics of all answers so far, as logcli prints them, on stderr. */
void answer_print_stats(void);
