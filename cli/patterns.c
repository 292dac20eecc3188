#include "patterns.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "io.h"

enum { FILE_MAX = 16 << 20 };

static int add_pattern(struct patterns *p, const char *text, struct err *reterr) {
    if (p->count == PATTERNS_MAX)
        return err_set(reterr, -ESYNTAX, "more than %d patterns", PATTERNS_MAX);
    if ((p->count & (p->count - 1)) == 0) {
        const char **items = realloc(p->items, (p->count ? p->count * 2 : 1) * sizeof(*items));
        if (!items)
            return err_set(reterr, -ENOMEM, "out of memory");
        p->items = items;
    }
    p->items[p->count++] = text;
    return 0;
}

/* Takes the text, which is NUL-terminated. */
static int add_text(struct patterns *p, char *text, struct err *reterr) {
    char **texts = text ? realloc(p->texts, (p->n_texts + 1) * sizeof(*texts)) : NULL;
    if (!texts) {
        free(text);
        return err_set(reterr, -ENOMEM, "out of memory");
    }
    p->texts = texts;
    p->texts[p->n_texts++] = text;
    int r = 0;
    for (char *line = text; line && r == 0;) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        r = add_pattern(p, line, reterr);
        line = end ? end + 1 : NULL;
    }
    return r;
}

static int add_file(struct patterns *p, const char *path, struct err *reterr) {
    struct buf text = buf_make(FILE_MAX);
    int r = io_read_file(AT_FDCWD, path, &text);
    if (r < 0) {
        r = err_set(reterr, r, "cannot read the patterns of %s: %s", path, err_name(r));
    } else if (text.size > 0) {
        if (text.data[text.size - 1] == '\n')
            text.size--; /* ends the last pattern and begins none */
        buf_add_char(&text, '\0');
        size_t size;
        r = text.failed ? err_set(reterr, -ENOMEM, "out of memory")
                        : add_text(p, buf_take(&text, &size), reterr);
    }
    buf_done(&text);
    return r;
}

int patterns_collect(const struct options *o, struct patterns *ret, struct err *reterr) {
    struct patterns p = {0};
    int r = 0;
    bool given = o->patterns.count + o->pattern_files.count > 0;
    for (size_t i = 0; i < o->patterns.count && r == 0; i++)
        r = add_text(&p, strdup(o->patterns.items[i]), reterr);
    for (size_t i = 0; i < o->pattern_files.count && r == 0; i++)
        r = add_file(&p, o->pattern_files.items[i], reterr);
    if (r == 0 && !given && o->arguments.count > 0) {
        p.used_argument = true;
        r = add_text(&p, strdup(o->arguments.items[0]), reterr);
    } else if (r == 0 && !given) {
        r = err_set(reterr, -ESYNTAX,
                    "what to look for? logq PATTERN [-l NAME=VALUE]...; see logq --help");
    }
    if (r < 0)
        patterns_done(&p);
    else
        *ret = p;
    return r;
}

void patterns_done(struct patterns *p) {
    for (size_t i = 0; i < p->n_texts; i++)
        free(p->texts[i]);
    free(p->texts);
    free(p->items);
    *p = (struct patterns){0};
}
