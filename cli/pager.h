/* pager: the output through $LOGQ_PAGER, $PAGER or less, when it goes to a terminal (--pager). */
#pragma once

#include "options.h"

/* Before anything is printed; colours stay as they would be on the terminal. */
void pager_start(struct options *o);
/* Waits until people have read. */
void pager_end(void);
