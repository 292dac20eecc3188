/* net_prefix: parts of the address space as allow-lists name them: "10.0.0.0/8", "192.0.2.7",
 * "fd00::/8". Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "str.h"

struct net_prefix {
    uint8_t bytes[16];
    unsigned bits; /* of 128 */
};

/* 0 or -ESYNTAX. Bits behind the prefix do not count. */
int net_prefix_parse(struct str text, struct net_prefix *ret);
bool net_prefix_has(const struct net_prefix *p, const uint8_t address[static 16]);
