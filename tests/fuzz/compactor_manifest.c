/* The manifest of a backup: whatever its bytes, no path of it leaves the backup, and what is taken can be found. */
#include <stdlib.h>
#include <string.h>

#include "manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct manifest m;
    struct err err;
    if (manifest_parse(str_make((const char *)data, size), &m, &err) < 0)
        return 0;
    for (size_t i = 0; i < m.count; i++) {
        const char *path = m.files[i].path;
        if (path[0] == '/' || path[0] == '\0' || strncmp(path, "../", 3) == 0 ||
            strstr(path, "/../") || !manifest_find(&m, path))
            abort();
    }
    manifest_done(&m);
    return 0;
}
