#include "source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

struct source {
    const struct source_ops *ops;
    void *state;
};

int source_open(const struct options *o, struct source **ret, struct err *reterr) {
    struct source *s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(reterr, -ENOMEM, "out of memory");
    int r = o->data_dir ? source_dir_open(o, &s->ops, &s->state, reterr)
                        : source_http_open(o, &s->ops, &s->state, reterr);
    if (r < 0) {
        free(s);
        return r;
    }
    *ret = s;
    return 0;
}

bool source_close(struct source *s) {
    if (!s)
        return false;
    bool trouble = s->ops->close(s->state);
    free(s);
    return trouble;
}

int source_ask(struct source *s, const char *path, const struct buf *form, struct str *ret_body,
               struct err *reterr) {
    if (form->failed)
        return err_set(reterr, -ENOMEM, "out of memory");
    return s->ops->ask(s->state, path, form, ret_body, reterr);
}

int source_stream(struct source *s, const char *path, const struct buf *form, source_take_fn *take,
                  void *ctx, struct err *reterr) {
    if (form->failed)
        return err_set(reterr, -ENOMEM, "out of memory");
    return s->ops->stream(s->state, path, form, take, ctx, reterr);
}

int source_refresh(struct source *s, struct err *reterr) {
    return s->ops->refresh ? s->ops->refresh(s->state, reterr) : 0;
}

bool source_refused_range(const struct err *err) {
    return strstr(err->text, "the query time range exceeds the limit") != NULL;
}

bool source_refused_limit(const struct err *err) {
    return strstr(err->text, "max entries limit per query exceeded") != NULL;
}

/* ---- a server */

static int http_ask(void *state, const char *path, const struct buf *form, struct str *ret_body,
                    struct err *reterr) {
    return client_ask(state, path, form, ret_body, reterr);
}

static int http_stream(void *state, const char *path, const struct buf *form, source_take_fn *take,
                       void *ctx, struct err *reterr) {
    return client_stream(state, path, form, take, ctx, reterr);
}

static bool http_close(void *state) {
    client_close(state);
    return false;
}

int source_http_open(const struct options *o, const struct source_ops **ret_ops, void **ret_state,
                     struct err *reterr) {
    static const struct source_ops ops = {
        .ask = http_ask, .stream = http_stream, .close = http_close};
    struct client *client;
    int r = client_open(o, &client, reterr);
    if (r < 0)
        return r;
    *ret_ops = &ops;
    *ret_state = client;
    return 0;
}

/* ---- parameters */

void param_add(struct buf *form, const char *name, struct str value) {
    static const char hex[] = "0123456789ABCDEF";
    if (form->size > 0)
        buf_add_char(form, '&');
    buf_add_str(form, str_from(name));
    buf_add_char(form, '=');
    for (size_t i = 0; i < value.size; i++) {
        uint8_t b = (uint8_t)value.data[i];
        bool plain = (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') ||
                     b == '-' || b == '_' || b == '.' || b == '~';
        if (plain) {
            buf_add_char(form, (char)b);
        } else {
            char escaped[3] = {'%', hex[b >> 4], hex[b & 15]};
            buf_add(form, escaped, 3);
        }
    }
}

void param_add_i64(struct buf *form, const char *name, int64_t value) {
    char text[24];
    int n = snprintf(text, sizeof(text), "%lld", (long long)value);
    param_add(form, name, str_make(text, (size_t)n));
}
