#include "compactor.h"
