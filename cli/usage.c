#include "usage.h"

const char *usage_text(enum command command) {
    (void)command;
    return "logq\n";
}
