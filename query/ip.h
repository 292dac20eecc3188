/* ip: what ip("...") means: one address, a range a-b or a prefix a/n, IPv4 or IPv6, and finding addresses in
 * text. */
#pragma once

#include "stage.h"

struct ip_match {
    bool v6;
    uint8_t first[16], last[16]; /* IPv4: the first 4 bytes */
};

/* -ESYNTAX: ip: invalid pattern: "..." */
int ip_compile(struct stage_compiler *c, struct str text, const struct ip_match **ret);

/* Is the text such an address, or holds one? */
bool ip_matches(const struct ip_match *m, struct str text);

/* Does the text hold an address that matches? Addresses may stand anywhere in it. */
bool ip_find(const struct ip_match *m, struct str text);
