#include "ip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

/* Strict, as Go's netip: no leading zeros, no zones. */
static bool address_parse(struct str text, bool *ret_v6, uint8_t out[16]) {
    char copy[INET6_ADDRSTRLEN];
    if (text.size == 0 || text.size >= sizeof(copy) || memchr(text.data, 0, text.size))
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    memset(out, 0, 16);
    *ret_v6 = memchr(text.data, ':', text.size) != NULL;
    return inet_pton(*ret_v6 ? AF_INET6 : AF_INET, copy, out) == 1;
}

static bool prefix_parse(struct str address, struct str bits, struct ip_match *m) {
    if (bits.size == 0 || bits.size > 3 || (bits.size > 1 && bits.data[0] == '0') ||
        !address_parse(address, &m->v6, m->first))
        return false;
    unsigned length = 0;
    for (size_t i = 0; i < bits.size; i++) {
        if (bits.data[i] < '0' || bits.data[i] > '9')
            return false;
        length = length * 10 + (unsigned)(bits.data[i] - '0');
    }
    unsigned size = m->v6 ? 16 : 4;
    if (length > size * 8)
        return false;
    for (unsigned i = 0; i < size; i++) {
        unsigned kept = length > i * 8 ? length - i * 8 : 0;
        uint8_t host = (uint8_t)(kept >= 8 ? 0 : 0xff >> kept);
        m->last[i] = (uint8_t)(m->first[i] | host);
        m->first[i] = (uint8_t)(m->first[i] & ~host);
    }
    return true;
}

static bool match_parse(struct str text, struct ip_match *m) {
    const char *slash = memchr(text.data, '/', text.size);
    const char *dash = memchr(text.data, '-', text.size);
    const char *at = slash ? slash : dash;
    struct str head = str_make(text.data, at ? (size_t)(at - text.data) : text.size);
    struct str tail = at ? str_from_offset(text, head.size + 1) : head;
    if (slash)
        return prefix_parse(head, tail, m);
    bool v6;
    return address_parse(head, &m->v6, m->first) && address_parse(tail, &v6, m->last) &&
           v6 == m->v6 && memcmp(m->first, m->last, 16) <= 0;
}

int ip_compile(struct stage_compiler *c, struct str text, const struct ip_match **ret) {
    struct ip_match *m = arena_array(c->arena, 1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    if (text.size == 0 || !match_parse(text, m)) {
        struct buf quoted = buf_make(ERR_TEXT_MAX);
        go_quote(&quoted, text);
        int r =
            err_set(c->reterr, -ESYNTAX, "ip: invalid pattern: %.*s", STR_ARG(buf_str(&quoted)));
        buf_done(&quoted);
        return r;
    }
    *ret = m;
    return 0;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Could an IPv4 address begin here? A digit, and a dot within the next three bytes. */
static bool v4_hint(const char *p) {
    return is_digit(p[0]) && (p[1] == '.' || p[2] == '.' || p[3] == '.');
}

/* "::x", or a colon behind one to four hexadecimal digits. */
static bool v6_hint(const char *p) {
    if (p[0] == ':')
        return p[1] == ':' && is_hex(p[2]);
    for (int i = 0; i < 4 && is_hex(p[i]); i++)
        if (p[i + 1] == ':')
            return true;
    return false;
}

static bool match_holds(const struct ip_match *m, bool v6, const uint8_t address[16]) {
    return v6 == m->v6 && memcmp(m->first, address, 16) <= 0 && memcmp(address, m->last, 16) <= 0;
}

bool ip_find(const struct ip_match *m, struct str text) {
    const char *p = text.data;
    for (size_t i = 0; i + 3 < text.size; i++) {
        bool v4 = v4_hint(p + i);
        if (!v4 && (i + 4 >= text.size || !v6_hint(p + i)))
            continue;
        size_t n = i;
        while (n < text.size &&
               (v4 ? is_digit(p[n]) || p[n] == '.' : is_hex(p[n]) || p[n] == ':' || p[n] == '.'))
            n++;
        uint8_t address[16];
        bool v6;
        if (address_parse(str_make(p + i, n - i), &v6, address) && match_holds(m, v6, address))
            return true;
        i = n;
    }
    return false;
}

bool ip_matches(const struct ip_match *m, struct str text) {
    uint8_t address[16];
    bool v6;
    if (address_parse(text, &v6, address))
        return match_holds(m, v6, address);
    return ip_find(m, text);
}
