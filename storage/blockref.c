#include "blockref.h"
