/* Times at the start of pushed lines, and times and durations as people type them: any bytes
 * give a time or a refusal. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stamp.h"
#include "stamper.h"
#include "units.h"
#include "when.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TYPED_MAX = 100 };

static void read_typed(const uint8_t *data, size_t size) {
    char text[TYPED_MAX + 1];
    struct err err;
    int64_t ns;
    size_t n = size < TYPED_MAX ? size : TYPED_MAX;
    memcpy(text, data, n);
    text[n] = '\0';
    (void)when_parse(text, INT64_C(1795262400) * NS_PER_S, &ns, &err);
    if (when_parse_duration(text, &ns, &err) == 0)
        assert(ns >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool zone_set;
    if (!zone_set) {
        setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
        tzset();
        zone_set = true;
    }
    struct str text = str_make((const char *)data, size);
    struct stamper stamper;
    int64_t last = INT64_MIN;
    stamper_init_file(&stamper, false, INT64_C(1795262400) * NS_PER_S, size, text);
    for (size_t at = 0; at < size;) {
        const char *newline = memchr(text.data + at, '\n', size - at);
        size_t end = newline ? (size_t)(newline - text.data) : size;
        int64_t ns = stamper_next(&stamper, str_make(text.data + at, end - at), end + 1, 0);
        assert(ns != last);
        last = ns;
        at = end + 1;
    }
    if (size > 0)
        read_typed(data, size);
    return 0;
}
