#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client.h"
#include "curl_lib.h"

enum {
    URL_PARAMS_MAX = 4000, /* longer forms are POSTed: proxies cut URLs at 8 KiB */
    ADDR_MAX = 4096,
    HEADER_MAX = 8 << 10,
    CONNECT_TIMEOUT_S = 10,
    TIMEOUT_S = 600,    /* a long query; servers give up earlier and say so */
    MESSAGE_MAX = 1000, /* of a server's words */
    STREAM_BUFFER = 512 << 10,
    BACKOFF_MAX_DEFAULT_S = 10,
};

struct client {
    const struct options *options;
    const struct curl_lib *lib;
    CURL *curl;
    struct curl_slist *headers; /* of every request */
    char *base;                 /* address without trailing slash */
    struct buf body;
    struct buf url;
    char curl_error[CURL_ERROR_SIZE];
};

/* ---- headers and credentials */

static int add_header(struct client *c, const char *line, struct err *reterr) {
    struct curl_slist *list = c->lib->slist_append(c->headers, line);
    if (!list)
        return err_set(reterr, -ENOMEM, "out of memory");
    c->headers = list;
    return 0;
}

static int add_header_pair(struct client *c, const char *name, const char *value,
                           struct err *reterr) {
    char line[HEADER_MAX];
    int n = snprintf(line, sizeof(line), "%s: %s", name, value);
    if (n >= (int)sizeof(line))
        return err_set(reterr, -ESYNTAX, "the value of header %.100s is longer than %d bytes", name,
                       HEADER_MAX);
    if (strpbrk(line, "\r\n"))
        return err_set(reterr, -ESYNTAX, "the value of header %.100s holds a line break", name);
    return add_header(c, line, reterr);
}

static int read_token_file(const char *path, char *token, size_t size, struct err *reterr) {
    FILE *f = fopen(path, "r");
    if (!f)
        return err_set(reterr, -errno, "cannot read --bearer-token-file %s: %s", path,
                       strerror(errno));
    size_t n = fread(token, 1, size - 1, f);
    (void)fclose(f);
    while (n > 0 && (token[n - 1] == '\n' || token[n - 1] == '\r' || token[n - 1] == ' '))
        n--;
    token[n] = '\0';
    return 0;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void add_base64(struct buf *out, struct str bytes) {
    for (size_t i = 0; i < bytes.size; i += 3) {
        uint32_t group = 0;
        for (size_t k = 0; k < 3; k++)
            group = group << 8 | (i + k < bytes.size ? (uint8_t)bytes.data[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            buf_add_char(out,
                         i + k <= bytes.size ? base64_digits[group >> (18 - 6 * k) & 63] : '=');
    }
}

static int add_authorization(struct client *c, struct err *reterr) {
    const struct options *o = c->options;
    const char *name = o->auth_header && *o->auth_header ? o->auth_header : "Authorization";
    bool basic = o->username && *o->username && o->password && *o->password;
    bool bearer =
        (o->bearer_token && *o->bearer_token) || (o->bearer_token_file && *o->bearer_token_file);
    if (basic && bearer)
        return err_set(reterr, -ESYNTAX,
                       "--username and --bearer-token exclude each other: give one of them");
    struct buf value = buf_make(HEADER_MAX);
    char token[HEADER_MAX];
    int r = 0;
    if (basic) {
        struct buf pair = buf_make(HEADER_MAX);
        buf_addf(&pair, "%s:%s", o->username, o->password);
        buf_add_str(&value, STR("Basic "));
        add_base64(&value, buf_str(&pair));
        if (pair.failed)
            value.failed = true;
        buf_done(&pair);
    } else if (bearer && o->bearer_token && *o->bearer_token) {
        buf_addf(&value, "Bearer %s", o->bearer_token);
    } else if (bearer) {
        r = read_token_file(o->bearer_token_file, token, sizeof(token), reterr);
        if (r == 0)
            buf_addf(&value, "Bearer %s", token);
    }
    if (r == 0 && value.failed)
        r = err_set(reterr, -ESYNTAX, "the credentials are longer than %d bytes", HEADER_MAX);
    if (r == 0 && value.size > 0) {
        buf_add_char(&value, '\0');
        r = value.failed ? err_set(reterr, -ENOMEM, "out of memory")
                         : add_header_pair(c, name, value.data, reterr);
    }
    buf_done(&value);
    return r;
}

static int add_headers(struct client *c, struct err *reterr) {
    const struct options *o = c->options;
    int r = add_authorization(c, reterr);
    if (r == 0 && o->org_id && *o->org_id)
        r = add_header_pair(c, "X-Scope-OrgID", o->org_id, reterr);
    if (r == 0 && o->query_tags && *o->query_tags)
        r = add_header_pair(c, "X-Query-Tags", o->query_tags, reterr);
    if (r == 0 && o->nocache)
        r = add_header(c, "Cache-Control: no-cache", reterr);
    for (size_t i = 0; i < o->headers.count && r == 0; i++) {
        if (!strchr(o->headers.items[i], ':') || strpbrk(o->headers.items[i], "\r\n"))
            r = err_set(reterr, -ESYNTAX, "--header wants 'Name: value', not \"%s\"",
                        o->headers.items[i]);
        else
            r = add_header(c, o->headers.items[i], reterr);
    }
    /* libcurl would wait for a "100 Continue" before a large body. */
    return r == 0 ? add_header(c, "Expect:", reterr) : r;
}

/* ---- opening */

static size_t take_body(char *data, size_t size, size_t count, void *ctx) {
    struct buf *body = ctx;
    buf_add(body, data, size * count);
    return body->failed ? 0 : size * count;
}

static void set_transport(struct client *c) {
    const struct options *o = c->options;
    c->lib->easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->curl_error);
    c->lib->easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take_body);
    c->lib->easy_setopt(c->curl, CURLOPT_WRITEDATA, &c->body);
    c->lib->easy_setopt(c->curl, CURLOPT_USERAGENT, "logq/" LOGQ_VERSION);
    c->lib->easy_setopt(c->curl, CURLOPT_ACCEPT_ENCODING, "gzip");
    c->lib->easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    c->lib->easy_setopt(c->curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    c->lib->easy_setopt(c->curl, CURLOPT_TCP_NODELAY, 1L);
    c->lib->easy_setopt(c->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    c->lib->easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (o->ca_cert && *o->ca_cert)
        c->lib->easy_setopt(c->curl, CURLOPT_CAINFO, o->ca_cert);
    if (o->cert && *o->cert)
        c->lib->easy_setopt(c->curl, CURLOPT_SSLCERT, o->cert);
    if (o->key && *o->key)
        c->lib->easy_setopt(c->curl, CURLOPT_SSLKEY, o->key);
    if (o->tls_skip_verify) {
        c->lib->easy_setopt(c->curl, CURLOPT_SSL_VERIFYPEER, 0L);
        c->lib->easy_setopt(c->curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (o->proxy_url && *o->proxy_url)
        c->lib->easy_setopt(c->curl, CURLOPT_PROXY, o->proxy_url);
    else if (!o->env_proxy)
        c->lib->easy_setopt(c->curl, CURLOPT_PROXY, "");
}

static int set_base(struct client *c, struct err *reterr) {
    struct str addr = str_trim(str_from(c->options->addr));
    while (addr.size > 0 && addr.data[addr.size - 1] == '/')
        addr.size--;
    if (addr.size == 0 || addr.size > ADDR_MAX)
        return err_set(reterr, -ESYNTAX,
                       "--addr is empty or longer than %d bytes: write http://HOST:3100", ADDR_MAX);
    bool has_scheme = str_starts(addr, STR("http://")) || str_starts(addr, STR("https://"));
    if (!has_scheme && str_find(addr, STR("://")))
        return err_set(reterr, -ESYNTAX, "--addr %s is not an http:// or https:// address",
                       c->options->addr);
    int n = asprintf(&c->base, "%s%.*s", has_scheme ? "" : "http://", STR_ARG(addr));
    if (n < 0) {
        c->base = NULL;
        return err_set(reterr, -ENOMEM, "out of memory");
    }
    return 0;
}

int client_open(const struct options *o, struct client **ret, struct err *reterr) {
    struct client *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(reterr, -ENOMEM, "out of memory");
    c->options = o;
    c->body = buf_make(CLIENT_BODY_MAX);
    c->url = buf_make(ADDR_MAX * 4);
    c->lib = curl_lib_load(reterr);
    if (!c->lib) {
        client_close(c);
        return -EIO;
    }
    c->curl = c->lib->easy_init();
    int r = c->curl ? set_base(c, reterr) : err_set(reterr, -ENOMEM, "libcurl does not start");
    if (r == 0)
        r = add_headers(c, reterr);
    if (r < 0) {
        client_close(c);
        return r;
    }
    set_transport(c);
    *ret = c;
    return 0;
}

void client_close(struct client *c) {
    if (!c)
        return;
    if (c->lib) {
        c->lib->easy_cleanup(c->curl);
        c->lib->slist_free_all(c->headers);
    }
    buf_done(&c->body);
    buf_done(&c->url);
    free(c->base);
    free(c);
}

/* ---- requests */

static int connection_error(struct client *c, CURLcode code, struct err *reterr) {
    const char *detail = c->curl_error[0] ? c->curl_error : c->lib->easy_strerror(code);
    if (c->body.failed)
        return err_set(reterr, -EFBIG, "%s answered more than %d MiB: ask for less with --batch",
                       c->base, CLIENT_BODY_MAX >> 20);
    long os_errno = 0;
    c->lib->easy_getinfo(c->curl, CURLINFO_OS_ERRNO, &os_errno);
    if (code == CURLE_COULDNT_CONNECT && os_errno == ECONNREFUSED)
        return err_set(reterr, -ECONNREFUSED,
                       "cannot reach %s: connection refused; is logqd running? set --addr or "
                       "LOGQ_ADDR",
                       c->base);
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        return err_set(reterr, -EHOSTUNREACH, "cannot reach %s: %s; check --addr or LOGQ_ADDR",
                       c->base, os_errno ? strerror((int)os_errno) : detail);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_set(reterr, -ETIMEDOUT, "%s does not answer: %s", c->base, detail);
    if (code == CURLE_URL_MALFORMAT)
        return err_set(reterr, -EINVAL, "%s is not an address: write http://HOST:3100", c->base);
    const char *hint = "";
    if (code == CURLE_SSL_CONNECT_ERROR)
        hint = "; does it speak TLS, or is it http://?";
    else if (code == CURLE_PEER_FAILED_VERIFICATION)
        hint = "; --ca-cert FILE names whom to trust";
    return err_set(reterr, -EIO, "request to %s failed: %s%s", c->base, detail, hint);
}

static int perform(struct client *c, const char *path, const struct buf *query,
                   struct client_answer *ret, struct err *reterr) {
    buf_clear(&c->url);
    buf_addf(&c->url, "%s%s", c->base, path);
    if (query && query->size > 0) {
        buf_add_char(&c->url, '?');
        buf_add_str(&c->url, buf_str(query));
    }
    buf_add_char(&c->url, '\0');
    buf_clear(&c->body);
    if (c->url.failed)
        return err_set(reterr, -ENOMEM, "the address is too long");
    c->curl_error[0] = '\0';
    c->lib->easy_setopt(c->curl, CURLOPT_URL, c->url.data);
    CURLcode code = c->lib->easy_perform(c->curl);
    if (code != CURLE_OK)
        return connection_error(c, code, reterr);
    c->lib->easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &ret->status);
    size_t size = c->body.size;
    buf_add_char(&c->body, '\0');
    if (c->body.failed)
        return err_set(reterr, -ENOMEM, "out of memory");
    ret->body = str_make(c->body.data, size);
    return 0;
}

int client_post(struct client *c, const char *path, const char *content_type, struct str body,
                struct client_answer *ret, struct err *reterr) {
    char line[128];
    *ret = (struct client_answer){0};
    (void)snprintf(line, sizeof(line), "Content-Type: %s", content_type);
    /* The type heads the list of this one request. */
    struct curl_slist *type = c->lib->slist_append(NULL, line);
    if (!type)
        return err_set(reterr, -ENOMEM, "out of memory");
    type->next = c->headers;
    c->lib->easy_setopt(c->curl, CURLOPT_POST, 1L);
    c->lib->easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.size);
    c->lib->easy_setopt(c->curl, CURLOPT_POSTFIELDS, body.data);
    c->lib->easy_setopt(c->curl, CURLOPT_HTTPHEADER, type);
    int r = perform(c, path, NULL, ret, reterr);
    c->lib->easy_setopt(c->curl, CURLOPT_HTTPHEADER, NULL);
    type->next = NULL;
    c->lib->slist_free_all(type);
    return r;
}

static int ask_once(struct client *c, const char *path, const struct buf *form,
                    struct client_answer *ret, struct err *reterr) {
    if (form->size > URL_PARAMS_MAX)
        return client_post(c, path, "application/x-www-form-urlencoded", buf_str(form), ret,
                           reterr);
    *ret = (struct client_answer){0};
    c->lib->easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
    c->lib->easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    return perform(c, path, form, ret, reterr);
}

struct stream_sink {
    struct client *client;
    bool (*take)(struct str piece, void *ctx);
    void *ctx;
    bool enough;
};

/* A refusal's words gather like any other body. */
static size_t on_piece(char *data, size_t size, size_t count, void *ctx) {
    struct stream_sink *sink = ctx;
    long status = 0;
    sink->client->lib->easy_getinfo(sink->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status / 100 != 2) {
        buf_add(&sink->client->body, data, size * count);
        return size * count;
    }
    sink->enough = !sink->take(str_make(data, size * count), sink->ctx);
    return sink->enough ? 0 : size * count;
}

/* Packing costs more than it saves on the way through the same machine. */
static bool is_near(const char *base) {
    return strncmp(base, "http://localhost", 16) == 0 || strncmp(base, "http://127.", 11) == 0 ||
           strncmp(base, "http://[::1]", 12) == 0;
}

int client_stream(struct client *c, const char *path, const struct buf *form,
                  bool (*take)(struct str piece, void *ctx), void *ctx, struct err *reterr) {
    struct stream_sink sink = {.client = c, .take = take, .ctx = ctx};
    struct client_answer answer = {0};
    c->lib->easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_piece);
    c->lib->easy_setopt(c->curl, CURLOPT_WRITEDATA, &sink);
    c->lib->easy_setopt(c->curl, CURLOPT_TIMEOUT, 0L);
    c->lib->easy_setopt(c->curl, CURLOPT_BUFFERSIZE, (long)STREAM_BUFFER);
    c->lib->easy_setopt(c->curl, CURLOPT_ACCEPT_ENCODING, is_near(c->base) ? NULL : "gzip");
    int r = ask_once(c, path, form, &answer, reterr);
    c->lib->easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take_body);
    c->lib->easy_setopt(c->curl, CURLOPT_WRITEDATA, &c->body);
    c->lib->easy_setopt(c->curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    c->lib->easy_setopt(c->curl, CURLOPT_ACCEPT_ENCODING, "gzip");
    if (sink.enough)
        return 0;
    if (r == 0 && answer.status == 404)
        return err_set(reterr, -ENOENT, "%s has no %s", c->base, path);
    return r == 0 && answer.status / 100 != 2 ? client_status_error(c, &answer, reterr) : r;
}

int client_send(struct client *c, const char *method, const char *path, const struct buf *form,
                struct client_answer *ret, struct err *reterr) {
    *ret = (struct client_answer){0};
    c->lib->easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
    c->lib->easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    c->lib->easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    int r = perform(c, path, form, ret, reterr);
    c->lib->easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, NULL);
    return r;
}

int client_ask(struct client *c, const char *path, const struct buf *form, struct str *ret_body,
               struct err *reterr) {
    const struct options *o = c->options;
    int64_t tries = 1 + (o->retries > 0 ? o->retries : 0);
    int64_t wait_s = o->min_backoff_s > 0 ? o->min_backoff_s : 1;
    int64_t wait_max_s = o->max_backoff_s > 0 ? o->max_backoff_s : BACKOFF_MAX_DEFAULT_S;
    if (form->failed)
        return err_set(reterr, -ENOMEM, "out of memory");
    for (int64_t attempt = 1;; attempt++) {
        struct client_answer answer;
        int r = ask_once(c, path, form, &answer, reterr);
        if (r == 0 && answer.status / 100 == 2) {
            *ret_body = answer.body;
            return 0;
        }
        if (r == 0)
            r = client_status_error(c, &answer, reterr);
        if (attempt >= tries)
            return r;
        struct timespec pause = {.tv_sec = (time_t)(wait_s < wait_max_s ? wait_s : wait_max_s)};
        (void)nanosleep(&pause, NULL);
        wait_s = wait_s < wait_max_s ? wait_s * 2 : wait_max_s;
    }
}

/* ---- what answers mean */

int client_status_error(const struct client *c, const struct client_answer *answer,
                        struct err *reterr) {
    struct str words = str_trim(answer->body);
    if (words.size > MESSAGE_MAX)
        words.size = MESSAGE_MAX;
    long status = answer->status;
    if (status == 401 || status == 403)
        return err_set(reterr, -EREFUSED,
                       "%s refuses the credentials (%ld: %.*s): set --username and --password, "
                       "--bearer-token or --org-id",
                       c->base, status, STR_ARG(words));
    if (status == 404)
        return err_set(
            reterr, -EREFUSED,
            "%s does not know the request (404): is --addr the address of logqd or Loki?", c->base);
    if (status / 100 == 3)
        return err_set(reterr, -EREFUSED, "%s redirects (%ld): set --addr to where it leads to",
                       c->base, status);
    if (status == 400 || status == 422)
        return err_set(reterr, -EREFUSED, "%.*s", STR_ARG(words));
    int code = status == 429 || status >= 500 ? -EBUSYNOW : -EREFUSED;
    return err_set(reterr, code, "%s answered %ld: %.*s", c->base, status, STR_ARG(words));
}
