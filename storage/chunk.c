#include "chunk.h"
