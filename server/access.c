#include "access.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "arena.h"
#include "buf.h"
#include "io.h"
#include "secret.h"
#include "yaml_walk.h"

struct access_user {
    struct str name;
    const char *password_hash; /* NULL = none */
    bool has_token;
    uint8_t token[SECRET_DIGEST];
    struct str certificate; /* .data NULL = none */
    unsigned rights;
    struct str *tenants;
    size_t n_tenants;
    bool all_tenants;
};

/* A password that has been checked. The key holds no password: it is a digest with a salt that
 * exists in this process alone. */
struct login {
    uint8_t key[SECRET_DIGEST];
    enum { LOGIN_NONE, LOGIN_RIGHT, LOGIN_WRONG } state;
};

enum { LOGIN_WAYS = 4 };

struct access {
    atomic_uint refs;
    struct arena arena; /* owns all texts below */
    struct access_user *users;
    size_t n_users;
    const struct access_user *anonymous; /* NULL = none */
    uint8_t salt[SECRET_DIGEST];
    pthread_mutex_t lock; /* guards: logins, turn */
    struct login logins[ACCESS_LOGINS_MAX];
    unsigned turn;
};

static const struct {
    struct str name;
    enum access_right right;
} right_names[] = {
    {STR_INIT("push"), RIGHT_PUSH},       {STR_INIT("query"), RIGHT_QUERY},
    {STR_INIT("delete"), RIGHT_DELETE},   {STR_INIT("admin"), RIGHT_ADMIN},
    {STR_INIT("metrics"), RIGHT_METRICS},
};

/* ---- reading the file */

static int take_rights(struct yaml_walk *w, struct access_user *u, const struct str *names,
                       size_t count) {
    for (size_t i = 0; i < count; i++) {
        unsigned right = 0;
        for (size_t k = 0; k < sizeof(right_names) / sizeof(right_names[0]); k++)
            if (str_eq(right_names[k].name, names[i]))
                right = right_names[k].right;
        if (right == 0)
            return yaml_walk_fail(
                w, "\"%.*s\" is not a right; allowed: push, query, delete, admin, metrics",
                STR_ARG(names[i]));
        u->rights |= right;
    }
    return 0;
}

static int take_token(struct yaml_walk *w, struct access_user *u, struct str hex) {
    bool ok = hex.size == 2 * (size_t)SECRET_DIGEST;
    for (size_t i = 0; i < SECRET_DIGEST && ok; i++) {
        int high = hex_digit_value(hex.data[2 * i]), low = hex_digit_value(hex.data[2 * i + 1]);
        ok = high >= 0 && low >= 0;
        u->token[i] = (uint8_t)(high << 4 | low);
    }
    if (!ok)
        return yaml_walk_fail(w, "token_sha256 must be the 64 hexadecimal digits of a SHA-256");
    u->has_token = true;
    return 0;
}

static int take_hash(struct yaml_walk *w, struct access *a, struct access_user *u,
                     struct str hash) {
    if (!secret_hash_known(hash))
        return yaml_walk_fail(w, "password_hash must be a bcrypt, yescrypt or SHA-512 hash, as "
                                 "\"logqd hash-password\" makes one");
    char *text = arena_alloc(&a->arena, hash.size + 1);
    if (!text)
        return yaml_walk_fail(w, "out of memory");
    memcpy(text, hash.data, hash.size);
    text[hash.size] = '\0';
    u->password_hash = text;
    return 0;
}

static int read_texts(struct yaml_walk *w, struct access *a, size_t max, struct str **ret,
                      size_t *ret_count) {
    int r = yaml_walk_next(w);
    return r < 0 ? r : yaml_walk_texts(w, &a->arena, max, ret, ret_count);
}

static int read_lists(struct yaml_walk *w, struct access *a, struct access_user *u,
                      struct str name) {
    struct str *items;
    size_t count;
    if (str_eq(name, STR("rights"))) {
        int r = read_texts(w, a, 16, &items, &count);
        return r < 0 ? r : take_rights(w, u, items, count);
    }
    if (!str_eq(name, STR("tenants")))
        return yaml_walk_fail(w,
                              "\"%.*s\" is not known here; allowed: name, password_hash, "
                              "token_sha256, certificate, rights, tenants",
                              STR_ARG(name));
    int r = read_texts(w, a, ACCESS_TENANTS_MAX, &u->tenants, &u->n_tenants);
    for (size_t i = 0; i < u->n_tenants && r == 0; i++)
        u->all_tenants = u->all_tenants || str_eq(u->tenants[i], STR("*"));
    return r;
}

static int read_user_field(struct yaml_walk *w, struct access *a, struct access_user *u,
                           struct str name) {
    bool hash = str_eq(name, STR("password_hash")), token = str_eq(name, STR("token_sha256"));
    bool own = str_eq(name, STR("name")), certificate = str_eq(name, STR("certificate"));
    if (!hash && !token && !own && !certificate)
        return read_lists(w, a, u, name);
    struct str value;
    int r = yaml_walk_value(w, &a->arena, &value);
    if (r < 0)
        return r;
    if (value.size == 0 || ((own || certificate) && value.size > ACCESS_NAME_MAX))
        return yaml_walk_fail(w, "%.*s must not be empty or longer than %d bytes", STR_ARG(name),
                              ACCESS_NAME_MAX);
    if (hash)
        return take_hash(w, a, u, value);
    if (token)
        return take_token(w, u, value);
    *(own ? &u->name : &u->certificate) = value;
    return 0;
}

/* What a user must have and must not share with another. */
static int check_user(struct yaml_walk *w, const struct access *a, const struct access_user *u) {
    bool anonymous = str_eq(u->name, STR("anonymous"));
    bool shows = u->password_hash || u->has_token || u->certificate.data;
    if (!u->name.data)
        return yaml_walk_fail(w, "a user needs a name");
    if (memchr(u->name.data, ':', u->name.size))
        return yaml_walk_fail(w, "a name must not hold a colon, it could not log in");
    if (anonymous == shows)
        return yaml_walk_fail(
            w,
            anonymous ? "\"anonymous\" stands for requests without credentials and has none"
                      : "user \"%.*s\" needs password_hash, token_sha256 or certificate",
            STR_ARG(u->name));
    for (const struct access_user *o = a->users; o < u; o++) {
        if (str_eq(o->name, u->name))
            return yaml_walk_fail(w, "user \"%.*s\" is there twice", STR_ARG(u->name));
        if ((u->certificate.data && str_eq(o->certificate, u->certificate)) ||
            (u->has_token && o->has_token && secret_equal(o->token, u->token, SECRET_DIGEST)))
            return yaml_walk_fail(w, "users \"%.*s\" and \"%.*s\" share a credential",
                                  STR_ARG(o->name), STR_ARG(u->name));
    }
    return 0;
}

static int read_user(struct yaml_walk *w, struct access *a) {
    struct access_user *u = &a->users[a->n_users];
    if (w->event.type != YAML_MAPPING_START_EVENT || a->n_users >= ACCESS_USERS_MAX)
        return yaml_walk_fail(w, "users: at most %d users belong here, each a mapping",
                              ACCESS_USERS_MAX);
    struct str name;
    int r;
    while ((r = yaml_walk_member(w, &a->arena, &name)) > 0) {
        r = read_user_field(w, a, u, name);
        if (r < 0)
            return r;
    }
    if (r == 0)
        r = check_user(w, a, u);
    if (r < 0)
        return r;
    if (!u->tenants) {
        /* Everybody's tenant as long as there are no tenants. */
        static struct str fake = STR_INIT("fake");
        u->tenants = &fake;
        u->n_tenants = 1;
    }
    if (str_eq(u->name, STR("anonymous")))
        a->anonymous = u;
    a->n_users++;
    return 0;
}

static int read_users(struct yaml_walk *w, struct access *a) {
    int r = yaml_walk_next(w);
    if (r == 0 && w->event.type != YAML_SEQUENCE_START_EVENT)
        return yaml_walk_fail(w, "users: a list of users belongs here");
    while (r == 0) {
        r = yaml_walk_next(w);
        if (r < 0 || w->event.type == YAML_SEQUENCE_END_EVENT)
            return r;
        r = read_user(w, a);
    }
    return r;
}

static int read_file(struct yaml_walk *w, struct access *a) {
    bool seen = false;
    struct str name;
    int r = yaml_walk_open(w);
    if (r == 0)
        return yaml_walk_fail(w, "no users: nobody could do anything");
    while (r > 0 && (r = yaml_walk_member(w, &a->arena, &name)) > 0) {
        if (seen || !str_eq(name, STR("users")))
            return yaml_walk_fail(w, "only one list called \"users\" belongs here");
        seen = true;
        r = read_users(w, a);
        if (r < 0)
            return r;
        r = 1;
    }
    return r < 0 ? r : yaml_walk_close(w);
}

int access_parse(const char *name, struct str text, struct access **ret, struct err *reterr) {
    struct access *a = calloc(1, sizeof(*a));
    if (!a)
        return err_set(reterr, -ENOMEM, "out of memory");
    atomic_init(&a->refs, 1);
    pthread_mutex_init(&a->lock, NULL);
    /* Lists are read into arrays of their largest size. */
    a->arena = arena_make((size_t)64 << 20);
    a->users = arena_array(&a->arena, ACCESS_USERS_MAX, sizeof(*a->users));
    struct yaml_walk w;
    int r = yaml_walk_begin(&w, name, text, reterr);
    if (r == 0 && (!a->users || secret_random(a->salt, sizeof(a->salt)) < 0))
        r = err_set(reterr, -ENOMEM, "out of memory or of random numbers");
    if (r == 0)
        r = read_file(&w, a);
    yaml_walk_end(&w);
    if (r < 0) {
        access_unref(a);
        return r;
    }
    *ret = a;
    return 0;
}

int access_load(const char *file, struct access **ret, struct err *reterr) {
    struct buf text = buf_make(ACCESS_FILE_MAX);
    int r = io_read_file(AT_FDCWD, file, &text);
    if (r < 0)
        (void)err_set(reterr, r, "logq.access_file %s: %s", file, err_name(r));
    else
        r = access_parse(file, buf_str(&text), ret, reterr);
    buf_done(&text);
    return r < 0 ? r : 0;
}

struct access *access_ref(struct access *a) {
    if (a)
        (void)atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
    return a;
}

void access_unref(struct access *a) {
    if (!a || atomic_fetch_sub(&a->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&a->lock);
    arena_done(&a->arena);
    free(a);
}

size_t access_users(const struct access *a) {
    return a->n_users;
}

/* ---- remembered passwords: four places per key, the turn decides which is given up */

static int login_find(struct access *a, const uint8_t key[static SECRET_DIGEST]) {
    size_t set = (size_t)(key[0] | key[1] << 8) % (ACCESS_LOGINS_MAX / LOGIN_WAYS) * LOGIN_WAYS;
    int state = LOGIN_NONE;
    pthread_mutex_lock(&a->lock);
    for (size_t i = set; i < set + LOGIN_WAYS; i++)
        if (a->logins[i].state != LOGIN_NONE && secret_equal(a->logins[i].key, key, SECRET_DIGEST))
            state = (int)a->logins[i].state;
    pthread_mutex_unlock(&a->lock);
    return state;
}

/* A wrong password never drives out a right one: whoever guesses would slow everybody down. */
static void login_remember(struct access *a, const uint8_t key[static SECRET_DIGEST], bool right) {
    size_t set = (size_t)(key[0] | key[1] << 8) % (ACCESS_LOGINS_MAX / LOGIN_WAYS) * LOGIN_WAYS;
    pthread_mutex_lock(&a->lock);
    size_t at = set + a->turn++ % LOGIN_WAYS;
    for (size_t i = set; i < set + LOGIN_WAYS && a->logins[at].state == LOGIN_RIGHT; i++)
        if (a->logins[i].state != LOGIN_RIGHT)
            at = i;
    if (right || a->logins[at].state != LOGIN_RIGHT) {
        memcpy(a->logins[at].key, key, SECRET_DIGEST);
        a->logins[at].state = right ? LOGIN_RIGHT : LOGIN_WRONG;
    }
    pthread_mutex_unlock(&a->lock);
}

/* ---- identifying */

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Standard base64, filled up or not. Size of the bytes, or -ESYNTAX. */
static int base64_decode(struct str text, uint8_t *out, size_t room) {
    while (text.size > 0 && text.data[text.size - 1] == '=')
        text.size--;
    size_t n = 0;
    uint32_t bits = 0;
    unsigned n_bits = 0;
    for (size_t i = 0; i < text.size; i++) {
        int digit = base64_digit(text.data[i]);
        if (digit < 0)
            return -ESYNTAX;
        bits = bits << 6 | (uint32_t)digit;
        n_bits += 6;
        if (n_bits < 8)
            continue;
        n_bits -= 8;
        if (n >= room)
            return -ESYNTAX;
        out[n++] = (uint8_t)(bits >> n_bits);
    }
    return (int)n;
}

static const struct access_user *user_named(const struct access *a, struct str name) {
    for (size_t i = 0; i < a->n_users; i++)
        if (str_eq(a->users[i].name, name))
            return &a->users[i];
    return NULL;
}

/* Somebody's hash, so that a name that does not exist takes as long as one that does. */
static const char *any_hash(const struct access *a) {
    for (size_t i = 0; i < a->n_users; i++)
        if (a->users[i].password_hash)
            return a->users[i].password_hash;
    return NULL;
}

static enum access_verdict check_password(struct access *a, struct str name, struct str password,
                                          bool may_block, const struct access_user **ret) {
    const struct access_user *u = user_named(a, name);
    const char *hash = u && u->password_hash ? u->password_hash : any_hash(a);
    const struct str parts[] = {str_make((const char *)a->salt, sizeof(a->salt)), name, password};
    uint8_t key[SECRET_DIGEST];
    if (!hash || secret_digest(parts, sizeof(parts) / sizeof(parts[0]), key) < 0)
        return ACCESS_WRONG;
    int known = login_find(a, key);
    if (known == LOGIN_NONE && !may_block)
        return ACCESS_SLOW;
    if (known == LOGIN_NONE) {
        bool fits = secret_password_fits(password, hash) && u && u->password_hash;
        login_remember(a, key, fits);
        known = fits ? LOGIN_RIGHT : LOGIN_WRONG;
    }
    if (known != LOGIN_RIGHT || !u)
        return ACCESS_WRONG;
    *ret = u;
    return ACCESS_KNOWN;
}

static enum access_verdict identify_basic(struct access *a, struct str text, bool may_block,
                                          const struct access_user **ret) {
    uint8_t pair[ACCESS_NAME_MAX + 1 + SECRET_PASSWORD_MAX];
    int size = base64_decode(text, pair, sizeof(pair));
    const uint8_t *colon = size > 0 ? memchr(pair, ':', (size_t)size) : NULL;
    enum access_verdict verdict = ACCESS_WRONG;
    if (colon) {
        struct str name = str_make((const char *)pair, (size_t)(colon - pair));
        struct str password = str_make((const char *)colon + 1, (size_t)size - name.size - 1);
        verdict = check_password(a, name, password, may_block, ret);
    }
    secret_wipe(pair, sizeof(pair));
    return verdict;
}

/* Every user's token is compared, so that the time does not tell how far the search went. */
static enum access_verdict identify_token(const struct access *a, struct str token,
                                          const struct access_user **ret) {
    uint8_t digest[SECRET_DIGEST];
    const struct access_user *found = NULL;
    if (secret_sha256(token, digest) < 0)
        return ACCESS_WRONG;
    for (size_t i = 0; i < a->n_users; i++) {
        const struct access_user *u = &a->users[i];
        bool same = secret_equal(u->token, digest, SECRET_DIGEST);
        if (u->has_token && same)
            found = u;
    }
    if (!found)
        return ACCESS_WRONG;
    *ret = found;
    return ACCESS_KNOWN;
}

/* Takes "Basic " in any case off the front. */
static bool take_scheme(struct str *header, struct str scheme) {
    if (header->size <= scheme.size || header->data[scheme.size] != ' ' ||
        !str_eq_nocase(str_make(header->data, scheme.size), scheme))
        return false;
    *header = str_trim(str_from_offset(*header, scheme.size + 1));
    return true;
}

enum access_verdict access_identify(struct access *a, const struct access_claim *claim,
                                    bool may_block, const struct access_user **ret) {
    struct str header = claim->authorization;
    if (header.data && take_scheme(&header, STR("Basic")))
        return identify_basic(a, header, may_block, ret);
    if (header.data && take_scheme(&header, STR("Bearer")))
        return identify_token(a, header, ret);
    if (header.data)
        return ACCESS_WRONG;
    for (size_t i = 0; i < a->n_users && claim->certificate.data; i++) {
        if (a->users[i].certificate.data && str_eq(a->users[i].certificate, claim->certificate)) {
            *ret = &a->users[i];
            return ACCESS_KNOWN;
        }
    }
    *ret = a->anonymous;
    return a->anonymous ? ACCESS_KNOWN : ACCESS_NOTHING;
}

/* ---- rights */

struct str access_name(const struct access_user *u) {
    return u->name;
}

bool access_may(const struct access_user *u, unsigned rights) {
    unsigned has = u->rights | (u->rights & RIGHT_ADMIN ? RIGHT_METRICS : 0);
    return rights == 0 || (has & rights) != 0;
}

bool access_has_tenant(const struct access_user *u, struct str tenant) {
    if (u->all_tenants)
        return true;
    for (size_t i = 0; i < u->n_tenants; i++)
        if (str_eq(u->tenants[i], tenant))
            return true;
    return false;
}

struct str access_only_tenant(const struct access_user *u) {
    return u->n_tenants == 1 && !u->all_tenants ? u->tenants[0] : (struct str){0};
}
