/* parser_private: what the files of the parser share. Functions return 0, or -ESYNTAX, -ENOMEM or -E2BIG (a
 * limit) with the message for the client set. Each leaves the parser at the first token that it does not own. */
#pragma once

#include "lexer.h"
#include "parser.h"
#include "regex.h"

struct parsed_query {
    struct arena arena; /* owns everything below but the regexes */
    struct expr *expr;
    struct regex *regexes[QUERY_REGEX_MAX];
    size_t n_regexes;
};

struct parser {
    struct lexer lex;
    struct token tok; /* the one token of look-ahead */
    struct parsed_query *query;
    struct arena *arena; /* the query's */
    struct err *reterr;
    unsigned depth; /* of the recursion */
};

/* What the parser knows about an expression beside its contents. Loki reports some mistakes only after the whole
 * text was read, from the outside in, and a faulty expression hides the faults within it: `error` keeps them. */
struct checked_expr {
    struct expr expr; /* first: an expr of the parser is always part of one of these */
    const char *error;
    unsigned depth; /* of the tree below */
};

/* ---- parser.c */

/* The token does not belong here. `expected` is NULL or names what does ("IDENTIFIER or }"). */
int parser_unexpected(struct parser *p, const char *expected);
/* "parse error : ..." */
int parser_fail(struct parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
int parser_no_memory(struct parser *p);
int parser_advance(struct parser *p);
/* Takes a token of this kind or fails. `ret` may be NULL. */
int parser_take(struct parser *p, enum token_kind kind, const char *expected, struct token *ret);
bool parser_at(const struct parser *p, enum token_kind kind);
int parser_enter(struct parser *p);
void parser_leave(struct parser *p);
/* Zeroed. NULL without memory (the message is set). */
void *parser_alloc(struct parser *p, size_t size);
/* Compiles and keeps a regex. A bad pattern gives -ESYNTAX and only `cause` is set; with -ENOMEM and -E2BIG (too many
 * regexes) the message is set. */
int parser_regex(struct parser *p, struct str pattern, bool anchored, struct err *cause,
                 const struct regex **ret);
/* An anchored one, as all that compare labels are. */
int parser_label_regex(struct parser *p, struct str pattern, const struct regex **ret);

/* Why Go's ParseFloat refuses a number. */
const char *parser_float_cause(struct str text);

/* A growing array of names. */
struct name_list {
    struct str *items;
    size_t count, capacity;
};
/* "(a, b)" or "()"; the present token is the parenthesis. */
int parser_names(struct parser *p, struct name_list *ret);

/* ---- parser_log.c */

int parse_selector(struct parser *p, struct log_expr *ret);
/* Stages behind a selector. With `ret_unwrap`, `| unwrap` ends them and is taken. */
int parse_pipeline(struct parser *p, struct log_expr *log, struct unwrap **ret_unwrap);
/* `unwrap ...` and its filters; the present token is the word. */
int parse_unwrap(struct parser *p, struct unwrap **ret);

/* ---- parser_stage.c */

/* One stage; the present token stands behind the "|". */
int parse_stage(struct parser *p, struct stage *stage);
int parse_label_filter(struct parser *p, struct label_filter **ret);

/* ---- parser_check.c */

/* What Loki judges when it builds the pipeline: compiles regexes of line filters, checks addresses, patterns and
 * label_format. */
int check_stages(struct parser *p, struct expr *e);
/* The arguments of `pattern` (captures wanted) and of |> (no captures allowed). */
int pattern_check(struct str text, bool line_filter, struct err *reterr);

/* ---- parser_metric.c */

int parse_expr(struct parser *p, struct expr **ret);
/* Mistakes that were kept, and selectors that match everything. */
int validate_expr(struct parser *p, const struct expr *e);
