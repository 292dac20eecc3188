/* config_env: environment variables in a settings file, as Loki's -config.expand-env has them: ${NAME}, and
 * ${NAME:-text} with a text for a variable that is not set or empty. */
#pragma once

#include "buf.h"
#include "err.h"
#include "str.h"

/* Appends `text` with every variable replaced. -ESYNTAX names the line of one that does not end. */
int config_env_expand(struct str text, struct buf *out, struct err *reterr);
