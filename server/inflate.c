#include "inflate.h"
