/* api_status: probes and metadata. None needs a tenant. */
#include <errno.h>

#include "api.h"

static const char json_type[] = "application/json; charset=UTF-8";
static const char text_type[] = "text/plain; charset=utf-8";

static void reply_text(struct http_request *r, const char *type, struct str text) {
    struct buf body = buf_make(text.size + 1);
    buf_add_str(&body, text);
    http_reply(r, 200, type, &body);
    buf_done(&body);
}

void api_ready(struct http_request *r, void *ctx) {
    struct api *api = ctx;
    struct err err = {0};
    if (atomic_load(&api->stopping)) {
        http_reply_error(r, 503, STR("shutting down\n"));
    } else if (!atomic_load(&api->ready)) {
        http_reply_error(r, 503, STR("starting\n"));
    } else if (store_writable(api->store, &err) < 0) {
        struct buf text = buf_make(ERR_TEXT_MAX + 32);
        buf_addf(&text, "not writable: %s\n", err.text);
        http_reply_error(r, 503, buf_str(&text));
        buf_done(&text);
    } else {
        reply_text(r, text_type, STR("ready\n"));
    }
}

void api_metrics(struct http_request *r, void *ctx) {
    struct api *api = ctx;
    struct buf body = buf_make(BUF_NO_MAX);
    metrics_write(api->metrics, api, &body);
    http_reply(r, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
    buf_done(&body);
}

/* Clients that look at the version want a recent Loki; ours follows as the revision. */
void api_buildinfo(struct http_request *r, void *ctx) {
    (void)ctx;
    reply_text(
        r, json_type,
        STR("{\"version\":\"3.7.0\",\"revision\":\"logq-" LOGQ_VERSION
            "\",\"branch\":\"\",\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\"}\n"));
}

void api_config(struct http_request *r, void *ctx) {
    struct buf body = buf_make(BUF_NO_MAX);
    (void)ctx;
    config_dump(api_config_of(r), &body);
    http_reply(r, 200, text_type, &body);
    buf_done(&body);
}

/* Loki's page of what tenants have of their own. */
void api_runtime_config(struct http_request *r, void *ctx) {
    (void)ctx;
    struct buf body = buf_make(BUF_NO_MAX);
    overrides_dump(api_overrides_of(r), &body);
    http_reply(r, 200, text_type, &body);
    buf_done(&body);
}

void api_services(struct http_request *r, void *ctx) {
    struct api *api = ctx;
    bool running = atomic_load(&api->ready) && !atomic_load(&api->stopping);
    reply_text(r, text_type,
               running ? STR("server => Running\nstore => Running\nquerier => Running\n"
                             "compactor => Running\n")
                       : STR("server => Running\nstore => Starting\n"));
}

void api_flush(struct http_request *r, void *ctx) {
    struct api *api = ctx;
    struct err err = {0};
    int e = store_flush(api->store, &err);
    if (e < 0)
        api_fail(r, e, &err);
    else
        http_reply(r, 204, NULL, NULL);
}

void api_log_level(struct http_request *r, void *ctx) {
    struct api *api = ctx;
    struct buf body = buf_make(256);
    int status = 200;
    if (http_request_method(r) != HTTP_POST) {
        buf_addf(&body, "{\"message\":\"Current log level is %s\"}\n",
                 atomic_load(&api->log_level));
    } else if (api_set_log_level(api, http_param(r, "log_level")) < 0) {
        status = 400;
        buf_add_str(&body, STR("{\"status\":\"failed\",\"message\":\"unrecognized log level, "
                               "allowed: debug, info, warn, error\"}\n"));
    } else {
        buf_addf(&body, "{\"status\":\"success\",\"message\":\"Log level set to %s\"}\n",
                 atomic_load(&api->log_level));
    }
    http_reply(r, status, json_type, &body);
}

void api_rules(struct http_request *r, void *ctx) {
    (void)ctx;
    reply_text(r, json_type,
               STR("{\"status\":\"success\",\"data\":{\"groups\":[]},\"errorType\":\"\",\"error\":"
                   "\"\"}\n"));
}

void api_alerts(struct http_request *r, void *ctx) {
    (void)ctx;
    reply_text(r, json_type,
               STR("{\"status\":\"success\",\"data\":{\"alerts\":[]},\"errorType\":\"\",\"error\":"
                   "\"\"}\n"));
}
