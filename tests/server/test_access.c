/* The access file, and who is recognised by it. */
#include "test.h"

#include <stdlib.h>

#include "access.h"
#include "net_prefix.h"
#include "secret.h"

/* SHA-256 of "token-of-a" and "token-of-b"; the hash is of "correct horse", bcrypt at cost 4. */
#define TOKEN_A "dee44b7c0e73f5f30c9b1a3c31ad6e0c0b6ed5c3cd47c0e83f3ac3eb2dd5a001"

static struct access *parse(const char *text, struct err *err) {
    struct access *a = NULL;
    err->text[0] = '\0';
    return access_parse("f", str_from(text), &a, err) == 0 ? a : NULL;
}

static void test_refused_files(void) {
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "nobody could do anything"},
        {"users: 5\n", "f:1: users: a list of users belongs here"},
        {"people: []\n", "only one list called \"users\""},
        {"users: []\nusers: []\n", "only one list called \"users\""},
        {"users:\n- 5\n", "each a mapping"},
        {"users:\n- rights: [push]\n  token_sha256: " TOKEN_A "\n", "a user needs a name"},
        {"users:\n- name: a\n", "user \"a\" needs password_hash, token_sha256 or certificate"},
        {"users:\n- name: a\n  password: x\n", "\"password\" is not known here"},
        {"users:\n- name: a\n  password_hash: secret\n", "bcrypt, yescrypt or SHA-512"},
        {"users:\n- name: a\n  password_hash: '$apr1$abcdefgh$abcdefghijklmnop'\n", "bcrypt"},
        {"users:\n- name: a\n  token_sha256: abc\n", "64 hexadecimal digits"},
        {"users:\n- name: a\n  token_sha256: " TOKEN_A "\n  rights: [all]\n",
         "f:4: \"all\" is not a right"},
        {"users:\n- name: a\n  token_sha256: " TOKEN_A "\n- name: a\n  certificate: x\n",
         "user \"a\" is there twice"},
        {"users:\n- name: a\n  token_sha256: " TOKEN_A "\n- name: b\n  token_sha256: " TOKEN_A "\n",
         "share a credential"},
        {"users:\n- name: a\n  certificate: x\n- name: b\n  certificate: x\n",
         "share a credential"},
        {"users:\n- name: anonymous\n  certificate: x\n", "without credentials and has none"},
        {"users:\n- name: a:b\n  certificate: x\n", "colon"},
        {"users:\n- name: a\n  certificate:\n", "must not be empty"},
        {"users:\n- name: &x a\n  certificate: *x\n", "anchors"},
        {"users:\n- name: a\n  certificate: x\n  tenants: t\n", "a list of at most 1000"},
        {"users: []\n---\nusers: []\n", "only one document"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err;
        struct access *a = parse(cases[i].text, &err);
        bool right = !a && strstr(err.text, cases[i].want);
        CHECK(right);
        if (!right)
            printf("  case %zu: %s\n", i, err.text);
        access_unref(a);
    }
}

static enum access_verdict ask(struct access *a, const char *header, const char *certificate,
                               bool may_block, const struct access_user **u) {
    *u = NULL;
    const struct access_claim claim = {
        .authorization = header ? str_from(header) : (struct str){0},
        .certificate = certificate ? str_from(certificate) : (struct str){0},
    };
    return access_identify(a, &claim, may_block, u);
}

static struct access *make(bool anonymous) {
    char hash[SECRET_HASH_MAX + 1], text[2000];
    uint8_t digest[SECRET_DIGEST];
    char hex[2 * SECRET_DIGEST + 1];
    struct err err;
    CHECK_INT(secret_password_hash(STR("correct: horse"), hash, &err), 0);
    CHECK_INT(secret_sha256(STR("token-of-b"), digest), 0);
    for (size_t i = 0; i < SECRET_DIGEST; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    (void)snprintf(text, sizeof(text),
                   "users:\n"
                   "- name: a\n  password_hash: '%s'\n  rights: [push]\n  tenants: [one]\n"
                   "- name: b\n  token_sha256: %s\n  rights: [query, delete]\n"
                   "  tenants: [one, two]\n"
                   "- name: c\n  certificate: c.example.org\n  rights: [admin]\n"
                   "  tenants: ['*']\n%s",
                   hash, hex, anonymous ? "- name: anonymous\n  rights: [metrics]\n" : "");
    struct access *a = parse(text, &err);
    CHECK(a != NULL);
    return a;
}

static void test_identify(void) {
    struct access *a = make(false);
    const struct access_user *u;
    if (!a)
        return;
    CHECK_INT(access_users(a), 3);
    CHECK_INT(ask(a, NULL, NULL, true, &u), ACCESS_NOTHING);
    /* "a:correct: horse" */
    const char *good = "Basic YTpjb3JyZWN0OiBob3JzZQ==";
    CHECK_INT(ask(a, good, NULL, false, &u), ACCESS_SLOW);
    CHECK_INT(ask(a, good, NULL, true, &u), ACCESS_KNOWN);
    CHECK_STR(access_name(u), STR("a"));
    CHECK_INT(ask(a, "basic  YTpjb3JyZWN0OiBob3JzZQ", NULL, false, &u), ACCESS_KNOWN);
    CHECK_INT(ask(a, "Bearer token-of-b", NULL, false, &u), ACCESS_KNOWN);
    CHECK_STR(access_name(u), STR("b"));
    CHECK_INT(ask(a, NULL, "c.example.org", false, &u), ACCESS_KNOWN);
    CHECK_STR(access_name(u), STR("c"));
    CHECK_INT(ask(a, NULL, "d.example.org", false, &u), ACCESS_NOTHING);
    static const char *const wrong[] = {
        "Basic",
        "Basic ",
        "Basic !",
        "Basic YQ==",     /* "a" */
        "Basic YTpub3Q=", /* "a:not" */
        "Basic YjpjOg==", /* a user without a password */
        "Basic bm9ib2R5OnNlY3JldA==",
        "Bearer",
        "Bearer ",
        "Bearer token-of-c",
        "Digest x",
        "",
        "token-of-b",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CHECK_INT(ask(a, wrong[i], NULL, true, &u), ACCESS_WRONG);
        /* A certificate does not make a wrong password right. */
        CHECK_INT(ask(a, wrong[i], "c.example.org", false, &u), ACCESS_WRONG);
    }
    access_unref(a);
}

static void test_rights(void) {
    struct access *a = make(true);
    const struct access_user *u;
    if (!a)
        return;
    CHECK_INT(ask(a, NULL, NULL, false, &u), ACCESS_KNOWN);
    CHECK_STR(access_name(u), STR("anonymous"));
    CHECK(access_may(u, RIGHT_METRICS) && !access_may(u, RIGHT_PUSH) && access_may(u, 0));
    CHECK(access_has_tenant(u, STR("fake")) && !access_has_tenant(u, STR("one")));
    CHECK_INT(ask(a, "Bearer token-of-b", NULL, false, &u), ACCESS_KNOWN);
    CHECK(access_may(u, RIGHT_QUERY) && access_may(u, RIGHT_DELETE) && !access_may(u, RIGHT_PUSH));
    CHECK(!access_may(u, RIGHT_ADMIN) && !access_may(u, RIGHT_METRICS));
    CHECK(access_has_tenant(u, STR("one")) && access_has_tenant(u, STR("two")));
    CHECK(!access_has_tenant(u, STR("fake")) && !access_only_tenant(u).data);
    CHECK_INT(ask(a, NULL, "c.example.org", false, &u), ACCESS_KNOWN);
    CHECK(access_may(u, RIGHT_ADMIN) && access_may(u, RIGHT_METRICS) && !access_may(u, RIGHT_PUSH));
    CHECK(access_has_tenant(u, STR("anything")) && !access_only_tenant(u).data);
    access_unref(a);
}

/* More wrong passwords than are remembered do not make the right one slow again. */
static void test_guessing(void) {
    static const char text[] =
        "users:\n- name: a\n"
        "  password_hash: "
        "'$2b$04$3/E61aeBERcMQCxWfBj9UOEKgbnlzX2ixjbo0vB1IX.a8tcpwVnTu'\n"; /* of "right" */
    struct err err;
    struct access *a = parse(text, &err);
    CHECK(a != NULL);
    const struct access_user *u;
    if (!a)
        return;
    CHECK_INT(ask(a, "Basic YTpyaWdodA==", NULL, true, &u), ACCESS_KNOWN);
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
    for (unsigned i = 0; i < 1500; i++) {
        char header[] = "Basic YTpAAA";
        header[10] = digits[i % 32];
        header[11] = digits[i / 32 % 32];
        CHECK_INT(ask(a, header, NULL, true, &u), ACCESS_WRONG);
    }
    CHECK_INT(ask(a, "Basic YTpyaWdodA==", NULL, false, &u), ACCESS_KNOWN);
    access_unref(a);
}

static void test_prefixes(void) {
    static const struct {
        const char *prefix, *address;
        bool has;
    } cases[] = {
        {"127.0.0.1", "127.0.0.1", true},
        {"127.0.0.1", "127.0.0.2", false},
        {"10.0.0.0/8", "10.255.1.2", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/9", "10.128.0.1", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "203.0.113.9", true},
        {"fd00::/8", "fdab::1", true},
        {"fd00::/8", "fe80::1", false},
        {"192.0.2.7/32", "192.0.2.7", true},
        {"192.0.2.77/31", "192.0.2.76", true},
        {"::ffff:10.0.0.0/104", "10.1.1.1", true},
    };
    static const char *const wrong[] = {
        "",       "/8",      "10.0.0.0/",   "10.0.0.0/33",  "::/129",
        "10.0.0", "a.b.c.d", "10.0.0.0/-1", "10.0.0.0/8/8", " 10.0.0.1"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct net_prefix p, a;
        CHECK_INT(net_prefix_parse(str_from(cases[i].prefix), &p), 0);
        CHECK_INT(net_prefix_parse(str_from(cases[i].address), &a), 0);
        CHECK_INT(net_prefix_has(&p, a.bytes), cases[i].has);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct net_prefix p;
        CHECK(net_prefix_parse(str_from(wrong[i]), &p) < 0);
    }
}

int main(void) {
    RUN(test_refused_files);
    RUN(test_identify);
    RUN(test_rights);
    RUN(test_guessing);
    RUN(test_prefixes);
    return test_done();
}
