/* query_limits: limits on what a query says: its ranges, its matchers. Loki's texts. Any thread. */
#pragma once

#include "ast.h"
#include "config.h"

/* Could a query of this text break one of them? Tells without parsing; true may be a false alarm. */
bool query_limits_concern(const struct limits *limits, struct str text);
/* 0 or -EREFUSED. */
int query_limits_check(const struct limits *limits, const struct expr *e, struct err *reterr);
