/* request_limits: what the header X-Loki-Query-Limits asks for, as a proxy in front of the server sends it: a JSON
 * object of limits that can only be tighter than those of the tenant. Any thread. */
#pragma once

#include "arena.h"
#include "config.h"

/* Reads the header's text: a limit that it does not name is 0, lists are views of it or of the arena. -ESYNTAX naming
 * what is wrong, -ENOMEM. */
int request_limits_parse(struct str text, struct arena *arena, struct limits *ret,
                         struct err *reterr);
