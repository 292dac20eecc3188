/* usage: the help texts. */
#pragma once

#include "buf.h"
#include "options.h"

/* Appends the help of one command; COMMAND_GREP has the overview of all. */
void usage_add(struct buf *out, enum command command);
