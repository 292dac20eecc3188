#include "net_prefix.h"

#include <arpa/inet.h>
#include <string.h>

#include "err.h"
#include "units.h"

enum { V4_OFFSET_BITS = 96, TEXT_MAX = INET6_ADDRSTRLEN };

int net_prefix_parse(struct str text, struct net_prefix *ret) {
    const char *slash = text.size > 0 ? memchr(text.data, '/', text.size) : NULL;
    size_t size = slash ? (size_t)(slash - text.data) : text.size;
    char address[TEXT_MAX + 1];
    if (size == 0 || size > TEXT_MAX || memchr(text.data, '\0', size))
        return -ESYNTAX;
    memcpy(address, text.data, size);
    address[size] = '\0';
    struct net_prefix p = {.bits = 128};
    bool v4 = inet_pton(AF_INET, address, p.bytes + 12) == 1;
    if (v4)
        memset(p.bytes + 10, 0xff, 2);
    else if (inet_pton(AF_INET6, address, p.bytes) != 1)
        return -ESYNTAX;
    if (slash) {
        uint64_t bits;
        if (u64_parse(str_from_offset(text, size + 1), &bits) < 0 || bits > (v4 ? 32 : 128))
            return -ESYNTAX;
        p.bits = (unsigned)bits + (v4 ? V4_OFFSET_BITS : 0);
    }
    *ret = p;
    return 0;
}

bool net_prefix_has(const struct net_prefix *p, const uint8_t address[static 16]) {
    unsigned whole = p->bits / 8, rest = p->bits % 8;
    if (memcmp(p->bytes, address, whole) != 0)
        return false;
    return rest == 0 || (p->bytes[whole] ^ address[whole]) >> (8 - rest) == 0;
}
