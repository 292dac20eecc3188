#include "secret.h"

#include <crypt.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

enum { BCRYPT_COST = 10 };

static int add_part(EVP_MD_CTX *ctx, struct str part) {
    uint8_t size[8];
    put_le64(size, part.size);
    return EVP_DigestUpdate(ctx, size, sizeof(size)) == 1 &&
           EVP_DigestUpdate(ctx, part.data, part.size) == 1;
}

int secret_digest(const struct str *parts, size_t count, uint8_t ret[static SECRET_DIGEST]) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; i < count && ok; i++)
        ok = add_part(ctx, parts[i]);
    ok = ok && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok ? 0 : -ENOMEM;
}

int secret_sha256(struct str bytes, uint8_t ret[static SECRET_DIGEST]) {
    return EVP_Digest(bytes.data, bytes.size, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

bool secret_equal(const uint8_t *a, const uint8_t *b, size_t size) {
    return CRYPTO_memcmp(a, b, size) == 0;
}

int secret_random(uint8_t *ret, size_t size) {
    return RAND_bytes(ret, (int)size) == 1 ? 0 : -EIO;
}

void secret_wipe(void *data, size_t size) {
    OPENSSL_cleanse(data, size);
}

bool secret_hash_known(struct str hash) {
    static const struct str prefixes[] = {
        STR_INIT("$2b$"), STR_INIT("$2y$"), STR_INIT("$2a$"), STR_INIT("$y$"),
        STR_INIT("$gy$"), STR_INIT("$7$"),  STR_INIT("$6$"),  STR_INIT("$5$"),
    };
    if (hash.size > SECRET_HASH_MAX)
        return false;
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (hash.size > prefixes[i].size + 8 && str_starts(hash, prefixes[i]))
            return true;
    return false;
}

/* NULL: no memory, or a setting that libcrypt refuses ("*0" and "*1" are its ways to say so). */
static char *run_crypt(struct str password, const char *setting, struct crypt_data *data) {
    char text[SECRET_PASSWORD_MAX + 1];
    if (password.size > SECRET_PASSWORD_MAX ||
        (password.size > 0 && memchr(password.data, '\0', password.size)))
        return NULL;
    if (password.size > 0)
        memcpy(text, password.data, password.size);
    text[password.size] = '\0';
    char *made = crypt_r(text, setting, data);
    secret_wipe(text, sizeof(text));
    return made && made[0] != '*' ? made : NULL;
}

bool secret_password_fits(struct str password, const char *hash) {
    struct crypt_data *data = calloc(1, sizeof(*data));
    if (!data)
        return false;
    const char *made = run_crypt(password, hash, data);
    size_t size = strlen(hash);
    bool fits = made && strlen(made) == size &&
                secret_equal((const uint8_t *)made, (const uint8_t *)hash, size);
    secret_wipe(data, sizeof(*data));
    free(data);
    return fits;
}

int secret_password_hash(struct str password, char *ret, struct err *reterr) {
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    uint8_t random[16];
    struct crypt_data *data = calloc(1, sizeof(*data));
    const char *made = NULL;
    if (data && secret_random(random, sizeof(random)) == 0 &&
        crypt_gensalt_rn("$2b$", BCRYPT_COST, (const char *)random, sizeof(random), setting,
                         sizeof(setting)))
        made = run_crypt(password, setting, data);
    int r = 0;
    if (made && strlen(made) <= SECRET_HASH_MAX)
        memcpy(ret, made, strlen(made) + 1);
    else
        r = err_set(reterr, -EINVAL,
                    "cannot hash this password: at most %d bytes and no NUL belong in one",
                    SECRET_PASSWORD_MAX);
    if (data)
        secret_wipe(data, sizeof(*data));
    free(data);
    return r;
}
