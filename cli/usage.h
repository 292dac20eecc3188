/* usage: the help texts. */
#pragma once

#include "options.h"

/* The help of a command; COMMAND_GREP has the overview. */
const char *usage_text(enum command command);
