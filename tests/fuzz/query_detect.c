/* Field detection over arbitrary lines: the input, cut at zero bytes. */
#include <stdlib.h>

#include "detect.h"

enum { LINES_MAX = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct label stream[] = {{{"app", 3}, {"x", 1}}};
    static const struct result_set set = {.stream = {stream, 1}};
    struct result_entry entries[LINES_MAX] = {0};
    struct str rest = {(const char *)data, size};
    size_t count = 0;
    while (count < LINES_MAX && rest.size > 0) {
        const char *zero = memchr(rest.data, 0, rest.size);
        size_t length = zero ? (size_t)(zero - rest.data) : rest.size;
        entries[count++].line = str_make(rest.data, length);
        rest = str_from_offset(rest, length + 1);
    }
    const struct query_result sample = {
        .type = RESULT_STREAMS, .sets = &set, .n_sets = 1, .entries = entries, .n_entries = count};
    struct detected *fields = NULL, *values = NULL;
    if (detect_fields(&sample, 100, &fields, NULL) < 0 || fields->n_fields > 100)
        abort();
    for (size_t i = 0; i < fields->n_fields; i++) {
        const struct detected_field *f = &fields->fields[i];
        if (f->cardinality == 0 || f->cardinality > count || (f->path && !f->json))
            abort();
    }
    if (fields->n_fields > 0 &&
        (detect_values(&sample, fields->fields[0].name, 3, &values, NULL) < 0 ||
         values->n_values == 0 || values->n_values > 3))
        abort();
    detected_free(values);
    detected_free(fields);
    return 0;
}
