#include "decoded.h"
