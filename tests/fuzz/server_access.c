/* The access file, then an Authorization header against a fixed one: the input up to the first NUL
 * is the file, the rest the header. Password hashes are never computed: they only take time. */
#include "access.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char fixed[] =
    "users:\n- name: a\n  password_hash: "
    "'$2b$04$abcdefghijklmnopqrstuuI8bO3kOwSx7UOiB.RQpAGQXVXtQ0'\n"
    "- name: b\n  token_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    size_t file_size = nul ? (size_t)(nul - data) : size;
    struct access *a;
    struct err err;
    if (access_parse("fuzz", str_make((const char *)data, file_size), &a, &err) == 0)
        access_unref(a);
    if (!nul || access_parse("fixed", str_make(fixed, sizeof(fixed) - 1), &a, &err) < 0)
        return 0;
    const struct access_claim claim = {.authorization =
                                           str_make((const char *)nul + 1, size - file_size - 1)};
    const struct access_user *u;
    (void)access_identify(a, &claim, false, &u);
    access_unref(a);
    return 0;
}
