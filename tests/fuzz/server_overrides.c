/* The file of tenants' limits, and what follows from it. */
#include "overrides.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct config *base;
    struct err err;
    if (!base && config_load(NULL, NULL, 0, &base, &err) < 0)
        abort();
    struct overrides *o;
    if (overrides_parse("fuzz", str_make((const char *)data, size), base, &o, &err) < 0)
        return 0;
    struct retention_policy *p;
    if (overrides_retention(o, &p, &err) == 0)
        retention_policy_unref(p);
    struct buf out = buf_make(1 << 20);
    overrides_dump(o, &out);
    buf_done(&out);
    overrides_unref(o);
    return 0;
}
