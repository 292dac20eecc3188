/* template_private: what the modules of the template language share; nobody else includes it.
 *
 * A template is parsed once into a tree of nodes (template_lex.c, template_parse.c) and walked for each line
 * (template_exec.c). Functions are found at parse time; each lives in a template_funcs_*.c with the types of its
 * parameters, which the walker checks the way Go's reflection does. Everything that a walk makes lives in the
 * work's arena, which is emptied before the next. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "go_time.h"
#include "stage.h"
#include "str.h"
#include "template.h"

struct exec;
struct function;

enum {
    TEMPLATE_DEPTH_MAX =
        100, /* parentheses and blocks within each other; the walk recurses along them */
    TEMPLATE_STEPS_MAX =
        1 << 20, /* nodes walked for one line: nested loops over a large JSON value end */
    TEMPLATE_BYTES_MAX = 32 << 20, /* values made for one line */
    TEMPLATE_ARGS_MAX = 64,        /* arguments of one call */
    TEMPLATE_JSON_DEPTH = 100,     /* of values that fromJson makes: printing recurses along them */
};

/* ---- values */

enum value_type {
    VALUE_NONE, /* no value at all: "<no value>" */
    VALUE_NIL,  /* an interface{} without content: "<nil>" */
    VALUE_BOOL,
    VALUE_INT,
    VALUE_INT64,
    VALUE_UINT8,
    VALUE_FLOAT,
    VALUE_STRING,
    VALUE_TIME,
    VALUE_DURATION,
    VALUE_MONTH,
    VALUE_WEEKDAY,
    VALUE_LIST, /* []interface {} */
    VALUE_MAP,  /* map[string]interface {} */
    VALUE_LABELS, /* map[string]string: the line's labels; made into a map only when looked at whole */
};

struct value {
    enum value_type type;
    union {
        bool boolean;
        int64_t integer; /* INT, INT64, UINT8, DURATION, MONTH, WEEKDAY */
        double number;
        struct str text;
        struct go_time time;
        const struct value_list *list;
        const struct value_map *map;
    };
};

struct value_list {
    size_t count;
    const struct value *items;
};

struct value_map {
    size_t count;
    const struct str *keys; /* sorted, distinct */
    const struct value *values;
};

static inline struct value value_none(void) {
    return (struct value){.type = VALUE_NONE};
}
static inline struct value value_bool(bool b) {
    return (struct value){.type = VALUE_BOOL, .boolean = b};
}
static inline struct value value_int(int64_t i) {
    return (struct value){.type = VALUE_INT, .integer = i};
}
static inline struct value value_int64(int64_t i) {
    return (struct value){.type = VALUE_INT64, .integer = i};
}
static inline struct value value_float(double d) {
    return (struct value){.type = VALUE_FLOAT, .number = d};
}
static inline struct value value_string(struct str s) {
    return (struct value){.type = VALUE_STRING, .text = s};
}
static inline struct value value_time(struct go_time t) {
    return (struct value){.type = VALUE_TIME, .time = t};
}

/* Go's name of the type. */
const char *value_type_name(enum value_type type);
static inline bool value_is_integer(const struct value *v) {
    return v->type == VALUE_INT || v->type == VALUE_INT64 || v->type == VALUE_UINT8 ||
           v->type == VALUE_DURATION || v->type == VALUE_MONTH || v->type == VALUE_WEEKDAY;
}
static inline bool value_is_map(const struct value *v) {
    return v->type == VALUE_MAP || v->type == VALUE_LABELS;
}
bool value_truth(struct exec *x, const struct value *v);
/* The map behind VALUE_MAP and VALUE_LABELS; NULL without memory (the walk has failed). */
const struct value_map *value_map(struct exec *x, const struct value *v);
/* The element of a map; NULL when there is none. */
const struct value *map_find(const struct value_map *m, struct str key);

/* ---- the tree */

enum node_kind {
    NODE_TEXT,
    NODE_ACTION,
    NODE_IF,
    NODE_RANGE,
    NODE_WITH,
    NODE_BREAK,
    NODE_CONTINUE,
    NODE_END,  /* while parsing only */
    NODE_ELSE, /* while parsing only */
    NODE_PIPE,
    NODE_COMMAND,
    NODE_FIELD,
    NODE_VARIABLE,
    NODE_CHAIN,
    NODE_IDENTIFIER,
    NODE_DOT,
    NODE_NIL,
    NODE_BOOL,
    NODE_NUMBER,
    NODE_STRING,
};

/* One name of .a.b; `label` is the label of that name. */
struct path_name {
    struct str name;
    uint32_t label;
    bool is_error, is_details;
    struct path_name *next;
};

struct node {
    enum node_kind kind;
    uint32_t pos;      /* in the template's text */
    struct node *next; /* in the list, pipeline or command that it is part of */
    union {
        struct str text; /* TEXT; IDENTIFIER's is its name */
        struct {
            struct node *pipe, *list, *else_list;
        } branch; /* ACTION, IF, RANGE, WITH */
        struct {
            struct node *commands, *decls; /* decls: VARIABLE nodes */
            bool is_assign;
        } pipe;
        struct {
            struct node *args;
            size_t count;
        } command;
        struct {
            struct node *base;   /* CHAIN */
            struct str variable; /* VARIABLE: "$x" */
            struct path_name *names;
        } path;
        struct {
            struct str name;
            const struct function *function;
        } call; /* IDENTIFIER */
        bool is_true;
        struct {
            struct str text;
            bool is_int, is_uint, is_float;
            int64_t i;
            double f;
        } number;
        struct {
            struct str quoted, text;
        } string;
    };
};

struct template {
    const char *name;
    struct str text;
    struct node *root;
    struct path_name *simple; /* a line's template that is one label: it does not see errors */
    size_t n_decls;
};

/* As Go's parser prints it again, for errors. */
void node_print(struct buf *out, const struct node *n);

int template_parse(struct stage_compiler *c, struct template *t);
/* strconv.ParseInt(text, 0, 64): -ESYNTAX or -ERANGE. */
int template_integer(struct str text, int64_t *ret);

/* ---- lexing */

enum item_kind {
    ITEM_ERROR,
    ITEM_BOOL,
    ITEM_CHAR,
    ITEM_CHAR_CONSTANT,
    ITEM_ASSIGN,
    ITEM_DECLARE,
    ITEM_EOF,
    ITEM_FIELD,
    ITEM_IDENTIFIER,
    ITEM_LEFT_DELIM,
    ITEM_LEFT_PAREN,
    ITEM_NUMBER,
    ITEM_COMPLEX,
    ITEM_PIPE,
    ITEM_RAW_STRING,
    ITEM_RIGHT_DELIM,
    ITEM_RIGHT_PAREN,
    ITEM_SPACE,
    ITEM_STRING,
    ITEM_TEXT,
    ITEM_VARIABLE,
    ITEM_KEYWORD, /* those below are words of the language */
    ITEM_BLOCK,
    ITEM_BREAK,
    ITEM_CONTINUE,
    ITEM_DOT,
    ITEM_DEFINE,
    ITEM_ELSE,
    ITEM_END,
    ITEM_IF,
    ITEM_NIL,
    ITEM_RANGE,
    ITEM_TEMPLATE,
    ITEM_WITH,
};

struct item {
    enum item_kind kind;
    uint32_t pos, line;
    struct str text; /* an error's message */
};

struct template_lexer {
    struct arena *arena;
    struct str text;
    size_t start, at;
    bool inside; /* an action */
    bool ended;  /* an error was given */
    int paren_depth;
    uint32_t line; /* of `counted` */
    size_t counted;
};

struct item template_lex(struct template_lexer *l);

/* ---- functions */

enum param {
    PARAM_ANY,   /* interface {} */
    PARAM_VALUE, /* reflect.Value: may be no value */
    PARAM_STRING,
    PARAM_INT,
    PARAM_FLOAT,
    PARAM_TIME,
    PARAM_DURATION,
};
const char *param_name(enum param p);

enum { FUNCTION_PARAMS_MAX = 4 };

/* False after exec_call_error(). */
typedef bool function_run(struct exec *x, const struct value *args, size_t count,
                          struct value *ret);

struct function {
    struct str name;
    function_run *run;
    unsigned n_params; /* with the variadic one */
    bool variadic;     /* the last may come any number of times */
    enum param params[FUNCTION_PARAMS_MAX];
    enum {
        CALL_PLAIN,
        CALL_AND,
        CALL_OR
    } special; /* do not look at arguments behind the deciding one */
};

/* NULL when there is none of the name. */
const struct function *function_find(struct str name);
const struct function *text_function_find(struct str name);
const struct function *math_function_find(struct str name);
const struct function *time_function_find(struct str name);
const struct function *builtin_function_find(struct str name);
/* A method of a time, duration, month or weekday: its first parameter is the receiver. */
const struct function *method_find(enum value_type type, struct str name);

#define FUNCTION_FIND(table, name) function_in(table, sizeof(table) / sizeof((table)[0]), name)
const struct function *function_in(const struct function *table, size_t count, struct str name);

/* ---- walking */

struct regex_cache;
struct zone_cache;

struct exec {
    const struct template *template;
    struct run *run;
    struct template_work *work;
    struct arena *arena;
    const struct node *node; /* where errors are */
    struct buf *out;
    struct buf *message;            /* of the error */
    const struct value_map *labels; /* VALUE_LABELS' map, once asked for */
    struct variable *vars;
    size_t n_vars;
    size_t steps;
    bool failed;
};

/* Bytes that live until the walk is over; NULL has failed the walk. */
void *exec_alloc(struct exec *x, size_t size);
/* A text to be written to: buf in the work, emptied; exec_text_take copies it into the arena. Not nested. */
struct buf *exec_text(struct exec *x);
bool exec_text_take(struct exec *x, struct value *ret);
/* The cause why a function failed; false. */
bool exec_call_error(struct exec *x, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Or written there by hand: the buf, emptied. */
struct buf *exec_cause(struct exec *x);
/* Any other error, at x->node; false. */
bool exec_error(struct exec *x, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A regex from the run's cache; NULL after exec_call_error. */
const struct regex *exec_regex(struct exec *x, struct str pattern);
/* A time zone of the system by name; false when there is none. UTC is NULL. */
bool exec_zone(struct exec *x, struct str name, const struct go_zone **ret);

/* ---- printing (template_fmt.c) */

/* fmt.Sprint, Sprintln and Sprintf. */
void fmt_print(struct exec *x, struct buf *out, const struct value *args, size_t count);
void fmt_println(struct exec *x, struct buf *out, const struct value *args, size_t count);
void fmt_printf(struct exec *x, struct buf *out, struct str format, const struct value *args,
                size_t count);
/* %v */
void fmt_value(struct exec *x, struct buf *out, const struct value *v);

/* ---- for the functions */

void put_query_escape(struct buf *out, struct str s);
/* {type of values made of JSON text}; false when it is none. */
bool json_to_value(struct exec *x, struct str text, struct value *ret);
