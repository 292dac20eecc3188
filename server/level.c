#include "level.h"
