#include "json.h"
#include "jsontext.h"

void json_text(struct buf *out, struct str s) {
    json_write_string(out, s);
}
