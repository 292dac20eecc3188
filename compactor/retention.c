#include "retention.h"
