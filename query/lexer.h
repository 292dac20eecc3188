/* lexer: LogQL text -> tokens, as Loki's lexer cuts them. Private to the parser. A lexer borrows the text; values
 * with escapes live in the arena. Positions count lines from 1 and characters from 1. Loki loses the line (0) of
 * tokens that it reads with look-ahead, and error messages show that, so it is reproduced. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "str.h"

/* In the order in which messages list expected tokens. */
enum token_kind {
    TOK_END,
    TOK_BYTES,
    TOK_IDENTIFIER,
    TOK_STRING,
    TOK_NUMBER,
    TOK_FUNCTION_FLAG,
    TOK_DURATION,
    TOK_RANGE,
    TOK_EQ,
    TOK_RE,
    TOK_NRE,
    TOK_NPA,
    TOK_OPEN_BRACE,
    TOK_CLOSE_BRACE,
    TOK_OPEN_BRACKET,
    TOK_CLOSE_BRACKET,
    TOK_COMMA,
    TOK_DOT,
    TOK_PIPE_MATCH,
    TOK_PIPE_EXACT,
    TOK_PIPE_PATTERN,
    TOK_OPEN_PARENTHESIS,
    TOK_CLOSE_PARENTHESIS,
    TOK_BY,
    TOK_WITHOUT,
    TOK_BOOL,
    TOK_JSON,
    TOK_REGEXP,
    TOK_LOGFMT,
    TOK_PIPE,
    TOK_LINE_FORMAT,
    TOK_LABEL_FORMAT,
    TOK_UNWRAP,
    TOK_BYTES_CONV,
    TOK_DURATION_CONV,
    TOK_DURATION_SECONDS_CONV,
    TOK_VECTOR,
    TOK_LABEL_REPLACE,
    TOK_UNPACK,
    TOK_OFFSET,
    TOK_PATTERN,
    TOK_IP,
    TOK_ON,
    TOK_IGNORING,
    TOK_GROUP_LEFT,
    TOK_GROUP_RIGHT,
    TOK_DECOLORIZE,
    TOK_DROP,
    TOK_KEEP,
    TOK_VARIANTS,
    TOK_OF,
    TOK_RANGE_OP,  /* .op is an enum range_op */
    TOK_VECTOR_OP, /* .op is an enum vector_op */
    /* Binary operators, in the order of enum binary_op. */
    TOK_OR,
    TOK_AND,
    TOK_UNLESS,
    TOK_ADD,
    TOK_SUB,
    TOK_MUL,
    TOK_DIV,
    TOK_MOD,
    TOK_POW,
    TOK_CMP_EQ,
    TOK_NEQ,
    TOK_GT,
    TOK_GTE,
    TOK_LT,
    TOK_LTE,
};

struct token {
    enum token_kind kind;
    int op;              /* TOK_RANGE_OP, TOK_VECTOR_OP */
    struct str text;     /* as written */
    struct str value;    /* TOK_STRING: unescaped */
    int64_t duration_ns; /* TOK_DURATION, TOK_RANGE */
    uint64_t bytes;      /* TOK_BYTES */
    unsigned line, column;
    size_t offset;
};

enum { LEXER_MESSAGE_MAX = 512 };

struct lexer {
    struct str text;
    struct arena *arena;
    size_t at;
    unsigned line, column; /* of the character at `at` */
    bool out_of_memory;
    /* The first thing that was wrong with the text itself; from then on all tokens are TOK_END. */
    bool failed;
    unsigned error_line, error_column;
    char message[LEXER_MESSAGE_MAX];
};

void lexer_init(struct lexer *l, struct str text, struct arena *arena);
void lexer_next(struct lexer *l, struct token *ret);

/* As Loki's messages name it: "IDENTIFIER", "|=", "RATE", ... */
struct str token_name(const struct token *t);
