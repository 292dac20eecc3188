/* What the settings of TLS may say: apart from tls.c, for who checks them without OpenSSL (no_crypto.c). */
#include "tls.h"

static const struct {
    struct str name;
    enum tls_client_auth value;
} client_auths[] = {
    {STR_INIT("NoClientCert"), TLS_CLIENT_NONE},
    {STR_INIT("RequestClientCert"), TLS_CLIENT_REQUEST},
    {STR_INIT("RequireAnyClientCert"), TLS_CLIENT_REQUIRE_ANY},
    {STR_INIT("VerifyClientCertIfGiven"), TLS_CLIENT_VERIFY_IF_GIVEN},
    {STR_INIT("RequireAndVerifyClientCert"), TLS_CLIENT_REQUIRE_AND_VERIFY},
};

int tls_client_auth_parse(struct str text, enum tls_client_auth *ret) {
    if (text.size == 0) {
        *ret = TLS_CLIENT_NONE;
        return 0;
    }
    for (size_t i = 0; i < sizeof(client_auths) / sizeof(client_auths[0]); i++) {
        if (str_eq(client_auths[i].name, text)) {
            *ret = client_auths[i].value;
            return 0;
        }
    }
    return -ESYNTAX;
}

int tls_min_version_check(struct str text) {
    bool known =
        text.size == 0 || str_eq(text, STR("VersionTLS12")) || str_eq(text, STR("VersionTLS13"));
    return known ? 0 : -ESYNTAX;
}
