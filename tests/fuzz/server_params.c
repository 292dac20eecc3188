/* Query parameters: the first byte picks the reader. */
#include "params.h"

#include <stdint.h>

#include "http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    struct str text = str_make((const char *)data + 1, size - 1);
    struct err err;
    int64_t ns;
    uint32_t limit;
    enum query_direction direction;
    struct buf out = buf_make(1 << 20);
    switch (data[0] % 5) {
    case 0:
        (void)params_parse_time(text, &ns, &err);
        break;
    case 1:
        (void)params_parse_step(text, &ns, &err);
        break;
    case 2:
        (void)params_parse_limit(text, &limit, &err);
        break;
    case 3:
        (void)params_parse_direction(text, &direction, &err);
        break;
    default:
        http_unescape(&out, text, true);
        (void)http_accepts_gzip(text);
        break;
    }
    buf_done(&out);
    return 0;
}
