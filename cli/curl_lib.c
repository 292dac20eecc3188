#include "curl_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* The name of its interface, which has not changed since 2006; with GnuTLS it has a name of its own. */
static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

static int find(void *handle, const char *name, void *ret, struct err *reterr) {
    void *function = dlsym(handle, name);
    if (!function)
        return err_set(reterr, -EIO, "libcurl is too old: it has no %s", name);
    memcpy(ret, &function, sizeof(function)); /* C knows no cast from one to the other */
    return 0;
}

static int find_all(void *handle, struct curl_lib *lib, struct err *reterr) {
    const struct {
        const char *name;
        void *function;
    } all[] = {
        {"curl_easy_init", &lib->easy_init},       {"curl_easy_cleanup", &lib->easy_cleanup},
        {"curl_easy_setopt", &lib->easy_setopt},   {"curl_easy_getinfo", &lib->easy_getinfo},
        {"curl_easy_perform", &lib->easy_perform}, {"curl_easy_strerror", &lib->easy_strerror},
        {"curl_slist_append", &lib->slist_append}, {"curl_slist_free_all", &lib->slist_free_all},
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(all) / sizeof(all[0]); i++)
        r = find(handle, all[i].name, all[i].function, reterr);
    return r;
}

const struct curl_lib *curl_lib_load(struct err *reterr) {
    static struct curl_lib lib;
    static bool loaded;
    CURLcode (*global_init)(long) = NULL;
    if (loaded)
        return &lib;
    void *handle = NULL;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !handle; i++)
        handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        (void)err_set(reterr, -ENOENT,
                      "asking a server needs libcurl, which cannot be loaded: %s; to read a data "
                      "directory without one: --data-dir",
                      dlerror());
        return NULL;
    }
    if (find_all(handle, &lib, reterr) < 0 ||
        find(handle, "curl_global_init", &global_init, reterr) < 0)
        return NULL;
    if (global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void)err_set(reterr, -EIO, "libcurl does not start");
        return NULL;
    }
    loaded = true;
    return &lib;
}
