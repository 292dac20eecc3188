#include "stage.h"

#include "units.h"

static int convert(enum unwrap_conversion conversion, struct str text, double *ret) {
    if (conversion == UNWRAP_NUMBER)
        return float_parse_go(text, ret);
    if (conversion == UNWRAP_BYTES) {
        uint64_t bytes;
        int r = bytes_parse(text, &bytes);
        if (r == 0)
            *ret = (double)bytes;
        return r;
    }
    int64_t ns;
    int r = duration_parse_go(text, &ns);
    /* Whole seconds and the rest apart, as Go's Duration.Seconds() does: the sum rounds the same way. */
    if (r == 0)
        *ret = (double)(ns / NS_PER_S) + (double)(ns % NS_PER_S) / 1e9;
    return r;
}

bool unwrap_run(enum unwrap_conversion conversion, uint32_t name, struct run *r, double *ret) {
    struct str text;
    if (!labelset_get(r->set, name, &text) || text.size == 0)
        return false;
    if (convert(conversion, text, ret) == 0)
        return true;
    *ret = 0;
    struct buf details = buf_make(BUF_NO_MAX);
    if (conversion == UNWRAP_NUMBER)
        put_float_error(&details, text);
    else if (conversion == UNWRAP_BYTES)
        put_bytes_error(&details, text);
    else
        put_duration_error(&details, text);
    char *own = details.failed ? NULL : run_scratch(r, details.size);
    if (own) {
        memcpy(own, details.data, details.size);
        labelset_error(r->set, STR("SampleExtractionErr"), str_make(own, details.size));
    } else {
        r->failed = true;
    }
    buf_done(&details);
    return true;
}
