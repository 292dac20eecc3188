/* erasure: delete requests in a simulated history, without LogQL: a query is a label value of `app` and perhaps a needle. */
#pragma once

#include "deletes.h"

extern const struct delete_language erasure_language;
