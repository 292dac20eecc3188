#include "push_proto.h"
