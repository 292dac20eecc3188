/* api_tenants: reads of several tenants at once, with querier.multi_tenant_queries_enabled. The store
 * is asked for the union by the names joined with '|'. */
#include <stdlib.h>

#include "api.h"

enum { TENANTS_MAX = 100 }; /* of one read; each costs a snapshot */

static int compare(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Checked, sorted, each once. 0 or the HTTP status. */
static int split(struct str header, struct str list[static TENANTS_MAX], size_t *ret_count,
                 struct err *reterr) {
    size_t count = 0;
    for (bool more = true; more;) {
        const char *bar = memchr(header.data, '|', header.size);
        size_t size = bar ? (size_t)(bar - header.data) : header.size;
        if (count == TENANTS_MAX)
            return err_set(reterr, 400, "too many tenants, limit is %d", TENANTS_MAX);
        int status = api_tenant_check(str_make(header.data, size), &list[count], reterr);
        if (status != 0)
            return status;
        count++;
        more = bar != NULL;
        header = str_from_offset(header, size + 1);
    }
    qsort(list, count, sizeof(*list), compare);
    size_t kept = 1;
    for (size_t i = 1; i < count; i++)
        if (!str_eq(list[i], list[kept - 1]))
            list[kept++] = list[i];
    *ret_count = kept;
    return 0;
}

static struct str join(struct arena *arena, const struct str *list, size_t count) {
    struct buf text = buf_make(BUF_NO_MAX);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_add_char(&text, '|');
        buf_add_str(&text, list[i]);
    }
    struct str copy = text.failed ? (struct str){0} : arena_copy(arena, buf_str(&text));
    buf_done(&text);
    return copy;
}

/* False: the sender lacks one, and has been told. */
static bool has_all(struct api *api, struct http_request *r, const struct str *list, size_t count) {
    const struct access_user *user = api_user_of(r);
    for (size_t i = 0; user && i < count; i++)
        if (!access_has_tenant(user, list[i])) {
            api_refuse_tenant(api, r, list[i]);
            return false;
        }
    return true;
}

bool api_tenants(struct api *api, struct http_request *r, struct str *ret) {
    const struct config *config = api_config_of(r);
    struct str header = http_request_header(r, "X-Scope-OrgID");
    if (!config->auth_enabled || !config->multi_tenant_queries_enabled || header.size == 0 ||
        !memchr(header.data, '|', header.size))
        return api_tenant(api, r, ret);
    struct err err = {0};
    struct str list[TENANTS_MAX];
    size_t count = 0;
    int status = split(header, list, &count, &err);
    if (status == 0) {
        if (!has_all(api, r, list, count))
            return false;
        *ret = join(http_request_arena(r), list, count);
        if (ret->data)
            return api_take_limits_of(r, list, count);
        status = err_set(&err, 503, "out of memory");
    }
    struct buf text = buf_make(ERR_TEXT_MAX + 1);
    buf_addf(&text, "%s\n", err.text);
    http_reply_error(r, status, buf_str(&text));
    buf_done(&text);
    return false;
}

bool api_next_tenant(struct str *rest, struct str *ret) {
    if (rest->size == 0)
        return false;
    const char *bar = memchr(rest->data, '|', rest->size);
    size_t size = bar ? (size_t)(bar - rest->data) : rest->size;
    *ret = str_make(rest->data, size);
    *rest = str_from_offset(*rest, size + 1);
    return true;
}
