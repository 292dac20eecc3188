/* Any text as a query: it parses or is refused with a message; what parses is printed, and what was printed parses
 * again. (Not to the same text always: sizes are rounded when printed.) */
#include <stdio.h>
#include <stdlib.h>

#include "parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has_odd_constant(struct str text) {
    /* Folding may give what no literal can spell; "-0" reads as a duration. */
    return str_find(text, STR("NaN")) || str_find(text, STR("Inf")) || str_find(text, STR("-0"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = str_make((const char *)data, size);
    struct parsed_query *q, *again;
    struct err err = {.text = ""};
    if (selector_parse(text, true, &q, &err) == 0)
        parsed_query_free(q);
    int r = query_parse(text, &q, &err);
    if (r < 0) {
        if (err.text[0] == '\0')
            abort();
        return 0;
    }
    struct buf first = buf_make(16 << 20), second = buf_make(16 << 20);
    expr_format(&first, parsed_query_expr(q));
    expr_pretty(&second, parsed_query_expr(q));
    parsed_query_free(q);
    buf_clear(&second);
    r = first.size < QUERY_TEXT_MAX ? query_parse_unchecked(buf_str(&first), &again, &err) : -1;
    if (r == 0) {
        parsed_query_free(again);
    } else if (first.size < QUERY_TEXT_MAX && !has_odd_constant(buf_str(&first)) &&
               !strstr(err.text, "nested")) {
        printf("%.*s\n%.*s\n%s\n", STR_ARG(text), STR_ARG(buf_str(&first)), err.text);
        abort();
    }
    buf_done(&first);
    buf_done(&second);
    return 0;
}
