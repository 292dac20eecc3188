#include "settings.h"

#include <errno.h>
#include <stdlib.h>

int settings_new(struct config *config, struct settings **ret, struct err *reterr) {
    struct settings *s = calloc(1, sizeof(*s));
    if (!s) {
        config_unref(config);
        return err_set(reterr, -ENOMEM, "out of memory");
    }
    atomic_init(&s->refs, 1);
    s->config = config;
    int r = 0;
    if (config->access_file[0] != '\0')
        r = access_load(config->access_file, &s->access, reterr);
    if (r < 0) {
        settings_unref(s);
        return r;
    }
    *ret = s;
    return 0;
}

struct settings *settings_ref(struct settings *s) {
    (void)atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void settings_unref(struct settings *s) {
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    access_unref(s->access);
    config_unref(s->config);
    free(s);
}
