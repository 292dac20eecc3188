#include "push_json.h"
