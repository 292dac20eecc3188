/* ast: a parsed LogQL expression (all of LogQL as of Loki 3.7). Plain values in an arena; strings are
 * unescaped. The parser (parser.h) makes it and has checked types; nobody changes it afterwards, so any
 * thread may read it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "matcher.h"
#include "str.h"

struct regex;

/* ---- log pipeline */

enum line_op {
    LINE_CONTAINS,    /* |= */
    LINE_EXCLUDES,    /* != */
    LINE_MATCHES,     /* |~ */
    LINE_NOT_MATCHES, /* !~ */
    LINE_PATTERN,     /* |> */
    LINE_NOT_PATTERN, /* !> */
};

/* One operand of a line filter; `or` chains make a list. */
struct line_operand {
    struct str text;
    bool ip;                   /* ip("...") */
    const struct regex *regex; /* LINE_MATCHES, LINE_NOT_MATCHES: compiled, unanchored */
    struct line_operand *next;
};

enum label_filter_kind {
    FILTER_AND,
    FILTER_OR,
    FILTER_STRING, /* =, !=, =~, !~ on the text */
    FILTER_NUMBER,
    FILTER_DURATION,
    FILTER_BYTES,
    FILTER_IP, /* = or != ip("...") */
};

enum compare_op { CMP_EQ, CMP_NEQ, CMP_GT, CMP_GTE, CMP_LT, CMP_LTE };

struct label_filter {
    enum label_filter_kind kind;
    bool comma;                        /* FILTER_AND written as "," (for printing) */
    struct label_filter *left, *right; /* FILTER_AND, FILTER_OR */
    struct str name;
    enum match_op match;     /* FILTER_STRING */
    enum compare_op compare; /* the typed kinds */
    struct str text;         /* FILTER_STRING, FILTER_IP: the value; else the literal as written */
    double number;           /* FILTER_NUMBER; FILTER_DURATION in ns; FILTER_BYTES */
    const struct regex *regex; /* FILTER_STRING with =~ or !~, anchored */
};

/* name="expression" of json and logfmt; `expression` equals name when it stood alone. */
struct extraction {
    struct str name;
    struct str expression;
    struct extraction *next;
};

/* label_format: dst=src or dst=`template` */
struct label_assign {
    struct str name;
    bool is_template;
    struct str value;
    struct label_assign *next;
};

/* drop/keep: name, or name with a matcher */
struct label_choice {
    struct str name;
    bool has_matcher;
    enum match_op match;
    struct str value;
    const struct regex *regex; /* anchored */
    struct label_choice *next;
};

enum stage_kind {
    STAGE_LINE_FILTER,
    STAGE_JSON,
    STAGE_LOGFMT,
    STAGE_REGEXP,
    STAGE_PATTERN,
    STAGE_UNPACK,
    STAGE_LABEL_FILTER,
    STAGE_LINE_FORMAT,
    STAGE_LABEL_FORMAT,
    STAGE_DROP,
    STAGE_KEEP,
    STAGE_DECOLORIZE,
};

struct stage {
    enum stage_kind kind;
    struct stage *next;
    size_t offset; /* of its first byte in the query, for messages */
    union {
        struct {
            enum line_op op;
            struct line_operand *operands;
        } line_filter;
        struct {
            struct extraction *list; /* NULL = extract everything */
            bool strict, keep_empty; /* logfmt */
        } extract;                   /* STAGE_JSON, STAGE_LOGFMT */
        struct {
            struct str text;
            const struct regex *regex; /* STAGE_REGEXP */
        } text;                        /* STAGE_REGEXP, STAGE_PATTERN, STAGE_LINE_FORMAT */
        struct label_filter *filter;   /* STAGE_LABEL_FILTER */
        struct label_assign *assigns;  /* STAGE_LABEL_FORMAT */
        struct label_choice *choices;  /* STAGE_DROP, STAGE_KEEP */
    };
};

struct log_expr {
    struct matcher *matchers;
    size_t n_matchers;
    struct stage *stages; /* NULL = none */
};

/* ---- metrics */

enum range_op {
    RANGE_COUNT,
    RANGE_RATE,
    RANGE_RATE_COUNTER,
    RANGE_BYTES,
    RANGE_BYTES_RATE,
    RANGE_AVG,
    RANGE_SUM,
    RANGE_MIN,
    RANGE_MAX,
    RANGE_STDVAR,
    RANGE_STDDEV,
    RANGE_QUANTILE,
    RANGE_FIRST,
    RANGE_LAST,
    RANGE_ABSENT,
};

enum vector_op {
    AGG_SUM,
    AGG_AVG,
    AGG_COUNT,
    AGG_MAX,
    AGG_MIN,
    AGG_STDDEV,
    AGG_STDVAR,
    AGG_TOPK,
    AGG_BOTTOMK,
    AGG_SORT,
    AGG_SORT_DESC,
    AGG_APPROX_TOPK,
};

enum binary_op {
    BIN_OR,
    BIN_AND,
    BIN_UNLESS,
    BIN_ADD,
    BIN_SUB,
    BIN_MUL,
    BIN_DIV,
    BIN_MOD,
    BIN_POW,
    BIN_EQ,
    BIN_NEQ,
    BIN_GT,
    BIN_GTE,
    BIN_LT,
    BIN_LTE,
};

enum unwrap_conversion { UNWRAP_NUMBER, UNWRAP_DURATION, UNWRAP_DURATION_SECONDS, UNWRAP_BYTES };

struct grouping {
    bool present; /* "by ()" is present with no names, and differs from absent */
    bool without;
    const struct str *names;
    size_t count;
};

struct unwrap {
    struct str label;
    enum unwrap_conversion conversion;
    struct stage *post_filters; /* STAGE_LABEL_FILTER only */
};

struct range_agg {
    enum range_op op;
    double parameter; /* quantile */
    struct log_expr log;
    struct unwrap *unwrap; /* NULL = none */
    int64_t range_ns;
    int64_t offset_ns; /* 0 = none */
    struct grouping grouping;
};

struct vector_agg {
    enum vector_op op;
    int64_t parameter; /* k */
    struct expr *inner;
    struct grouping grouping;
};

enum match_card {
    CARD_ONE_TO_ONE,
    CARD_MANY_TO_ONE /* group_left */,
    CARD_ONE_TO_MANY /* group_right */
};

/* variants(metric, ...) of (log range): several metrics over one read of the same lines. Loki refuses to run it unless
 * it is told otherwise, and so does the engine; it is parsed for /format_query and for Loki's messages. */
struct variant {
    struct expr *metric;
    struct variant *next;
};
struct variants {
    struct variant *list;
    struct range_agg of; /* log, unwrap, range, offset; nothing else */
};

struct binary {
    enum binary_op op;
    struct expr *left, *right;
    bool return_bool;
    bool has_matching; /* on or ignoring stood there */
    bool on;           /* else ignoring */
    const struct str *labels;
    size_t n_labels;
    enum match_card card;
    const struct str *include; /* of group_left/right */
    size_t n_include;
};

enum expr_kind {
    EXPR_LOG,
    EXPR_RANGE,
    EXPR_VECTOR_AGG,
    EXPR_BINARY,
    EXPR_LITERAL,
    EXPR_VECTOR,
    EXPR_LABEL_REPLACE,
    EXPR_VARIANTS
};

struct expr {
    enum expr_kind kind;
    union {
        struct log_expr log;
        struct range_agg range;
        struct vector_agg vector_agg;
        struct binary binary;
        struct variants variants;
        double number; /* EXPR_LITERAL, EXPR_VECTOR */
        struct {
            struct expr *inner;
            struct str dst, replacement, src, pattern;
            const struct regex *regex; /* anchored */
        } label_replace;
    };
};
