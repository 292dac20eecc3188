/* Label text and the binary form: whatever parses must survive format and parse again. */
#include <stdlib.h>

#include "labels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena = arena_make(16 << 20);
    struct str text = str_make((const char *)data, size);
    struct labels labels, again;
    if (labels_parse(text, &arena, &labels, NULL) == 0) {
        struct buf out = buf_make(BUF_NO_MAX);
        labels_format(&out, labels);
        if (labels_parse(buf_str(&out), &arena, &again, NULL) < 0 || !labels_eq(labels, again))
            abort();
        buf_clear(&out);
        labels_encode(&out, labels);
        if (labels_decode(buf_str(&out), &arena, &again) < 0 || !labels_eq(labels, again))
            abort();
        buf_done(&out);
    }
    (void)labels_decode(text, &arena, &labels);
    arena_done(&arena);
    return 0;
}
