/* The same lines in blocks of tables and in blocks of plain lines must give the same answers: two stores, random lines of
 * many makes, queries of all kinds that tables have ways of their own for. */
#include "engine.h"

#include "same_answers.h"
#include "store_world.h"
#include "units.h"

enum { STORES = 2, LINES = 4800, STREAMS = 6, BATCH = 400 };
#define BASE_NS (INT64_C(1790000000) * NS_PER_S)
#define STEP_NS (INT64_C(250) * NS_PER_MS)

static const enum block_effort efforts[STORES] = {EFFORT_FAST, EFFORT_TABLE};
static struct store_world worlds[STORES];
static struct engine *engines[STORES];
static uint64_t random_state = 7;

static uint32_t below(uint32_t n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

/* ---- lines */

static const char *const words[] = {"served", "failed", "Error", "timeout", "retry later", "ok"};

static void put_status(struct buf *b) {
    static const char *const odd[] = {"\"500\"",     "null",  "true",         "5e2",
                                      "-1",          "500.5", "\"5\\u0030\"", "[500]",
                                      "{\"x\":500}", "\"\"",  "abc",          "0500"};
    if (below(30) == 0)
        buf_addf(b, "%s", odd[below(12)]);
    else
        buf_addf(b, "%u", below(5) ? 200 : 400 + below(120));
}

static void put_json(struct buf *b) {
    uint32_t make = below(9);
    if (make == 8) /* a key that is there twice, and one inside */
        buf_addf(b, "{\"status\":%u,\"in\":{\"status\":1},\"status\":%u}", 200 + below(400),
                 200 + below(400));
    else if (make == 7)
        buf_addf(b, "{\"a\":[1,{\"status\":%u}],\"status\":%u, \"level\" : \"%s\"}", below(600),
                 below(600), words[below(6)]);
    else if (make == 6)
        buf_addf(b, "{\"msg\":\"\\\"status\\\":%u %s\",\"status\":%u}", below(600), words[below(6)],
                 below(600));
    else if (make == 5)
        buf_addf(b, "{\"broken\":%s,\"status\":%u", below(4) ? "{]" : "x", below(600));
    if (make >= 5)
        return;
    buf_addf(
        b,
        "{\"level\":\"%s\",\"id\":\"%08x\",\"ratio\":%u.%u,\"user\":{\"id\":\"u%u\"},\"status\":",
        below(9) ? "info" : "error", below(0x7fffffff), below(9), below(100), below(400));
    put_status(b);
    buf_addf(b, ",\"took\":\"%ums\",\"msg\":\"request %s\"", below(900), words[below(6)]);
    buf_addf(b, "%s", make == 4 ? "" : "}");
}

static void put_logfmt(struct buf *b) {
    static const char *const odd[] = {"=x ",
                                      "a\"b ",
                                      "word ",
                                      "empty= ",
                                      "q=\"a\\\"level=error\" ",
                                      "u=/x?level=error ",
                                      "level=\"info\"",
                                      "k=v1 k=v2 ",
                                      "é=1 ",
                                      "q=\"open "};
    if (below(3) == 0)
        buf_addf(b, "%s", odd[below(10)]);
    buf_addf(b, "ts=2026-11-26T10:%02u:%02uZ level=%s ", below(60), below(60),
             below(3) ? "info" : "error");
    if (below(6) == 0)
        buf_addf(b, "%s", odd[below(10)]);
    buf_addf(b, "k=v%u took=%ums status=%u msg=\"%s %u\"", below(4), below(900), below(600),
             words[below(6)], below(9));
}

/* Lines that columns tell all of: whatever stands in them is well-formed. */
static void put_tame(struct buf *b) {
    static const char *const texts[] = {"done",
                                        "",
                                        "caf\xc3\xa9",
                                        "bad \xff byte",
                                        "say \\\"hi\\\"",
                                        "tab\\t",
                                        "\\u00e9\\ud83d\\ude00",
                                        "lone \\ud800",
                                        "a=b {c} [d]",
                                        "\xef\xbf\xbd"};
    static const char *const bare[] = {"true", "false", "null", "17", "-0.5", "1e3"};
    static const char *const takes[] = {"12ms", "1.5s", "7", "3h2m", "soon"};
    switch (below(6)) {
    case 0: /* no odd text */
        buf_addf(b,
                 "{\"level\":\"%s\",\"status\":%u,\"ratio\":%u.%02u,\"took\":\"%ums\",\"user\":{"
                 "\"id\":\"u%u\"}}",
                 below(9) ? "info" : "error", 200 + below(400), below(9), below(100), below(900),
                 below(9));
        break;
    case 1:
        buf_addf(
            b,
            "{\"msg\":\"%s\", \"status\": %u, \"@level\":\"x\", \"level\":\"%s\",\"tail\":\"%s\"}",
            texts[below(10)], below(600), below(9) ? "info" : texts[below(10)], texts[below(10)]);
        break;
    case 2:
        buf_addf(b,
                 "{\"nested\":{\"a\":[1,{\"status\":%u}],\"b\":{}},\"in\":{\"status\":%u,\"x\":[]},"
                 "\"status\":%s,"
                 "\"took\":\"%s\",\"ratio\":%s} and more",
                 below(600), below(6), bare[below(6)], takes[below(5)], bare[below(6)]);
        break;
    case 3:
        buf_addf(
            b,
            "{\"in "
            "status\":%u,\"in\":{\"status\":%u},\"status\":%u,\"status\":\"%u\",\"ratio\":\"%s\"}",
            below(5), below(5), below(5), below(5), bare[below(6)]);
        break;
    case 4:
        buf_addf(b, "level=%s status=%u ratio=%s took=%s empty= k=%s msg=\"%s\"",
                 below(5) ? "info" : "error", below(600), bare[below(6)], takes[below(5)],
                 below(3) ? "v1" : "", texts[below(10)]);
        break;
    default:
        buf_addf(
            b,
            "word level= level=%s status.code=%u in.status=%u in_status=4 msg=\"%s\" status=%u.5",
            below(5) ? "info" : "", below(600), below(6), texts[below(10)], below(600));
        break;
    }
}

static void put_line(struct buf *b, bool tame) {
    if (tame) {
        put_tame(b);
        return;
    }
    switch (below(6)) {
    case 0:
        buf_addf(b, "level=%s status=%u took=%ums msg=\"%s %u\"", below(3) ? "info" : "error",
                 below(600), below(900), words[below(6)], below(30));
        break;
    case 4:
        put_logfmt(b);
        break;
    case 1:
        buf_addf(b, "10.0.%u.%u - \"GET /items/%u?status=%u\" %u", below(4), below(256),
                 below(9999), below(600), below(600));
        break;
    case 2:
        buf_addf(b, "%s status %u, timeout after %ums", words[below(6)], below(600), below(20000));
        break;
    default:
        put_json(b);
        break;
    }
}

/* ---- stores */

static void open_all(void) {
    for (int i = 0; i < STORES; i++) {
        world_begin(&worlds[i]);
        world_open(&worlds[i],
                   (struct store_options){.wal = {.sync = WAL_SYNC_OFF}, .effort = efforts[i]});
        engines[i] = engine_new(worlds[i].store, &(struct engine_options){.threads = 2});
    }
}

static void close_all(void) {
    for (int i = 0; i < STORES; i++) {
        engine_free(engines[i]);
        world_end(&worlds[i]);
    }
}

static void append(int which, uint32_t stream_number, const struct entry *entries, uint32_t count) {
    char name[16];
    (void)snprintf(name, sizeof(name), "s%u", stream_number);
    /* One stream has a label of the field's name: the label is what filters ask for. */
    struct label items[] = {{STR("app"), str_from(name)}, {STR("status"), STR("503")}};
    bool has_status = stream_number == 2 || stream_number == 5;
    struct labels labels = {.items = items, .count = has_status ? 2 : 1};
    CHECK_INT(world_append(worlds[which].store, STR("t"), labels, entries, count), 0);
}

static void fill(void) {
    static struct entry entries[BATCH];
    static struct buf lines[BATCH];
    struct label meta = {STR("took"), STR("7s")};
    int64_t at = BASE_NS;
    for (uint32_t done = 0; done < LINES; done += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) {
            lines[i] = buf_make(BUF_NO_MAX);
            put_line(&lines[i], done / BATCH % STREAMS >= 3);
            entries[i] =
                (struct entry){.ts_ns = at += STEP_NS, .line = buf_str(&lines[i]), .meta = &meta};
            entries[i].meta_count = done / BATCH % 4 == 0 && i % 50 == 0;
        }
        for (int which = 0; which < STORES; which++)
            append(which, done / BATCH % STREAMS, entries, BATCH);
        for (uint32_t i = 0; i < BATCH; i++)
            buf_done(&lines[i]);
    }
    for (int which = 0; which < STORES; which++)
        CHECK_INT(store_flush(worlds[which].store, NULL), 0);
}

/* ---- answers */

static void ask(struct query q) {
    struct query_result *results[STORES] = {NULL};
    struct err errors[STORES] = {0};
    int status[STORES];
    q.tenant = STR("t");
    for (int i = 0; i < STORES; i++)
        status[i] = engine_query(engines[i], &q, &results[i], &errors[i]);
    bool same = status[0] == status[1];
    if (same && status[0] == 0)
        same = same_answers(results[0], results[1], 0);
    /* Which of several bad lines an error names is not said. */
    CHECK(same);
    if (!same)
        printf("  %.*s: %d %s | %d %s\n", STR_ARG(q.text), status[0], errors[0].text, status[1],
               errors[1].text);
    for (int i = 0; i < STORES; i++)
        query_result_free(results[i]);
}

static const char *const stages[] = {
    "|= `error`",
    "|= `timeout`",
    "|~ `(?i)error`",
    "|= `status\":500`",
    "|= `\"level\":\"error\"`",
    "|= `status=50`",
    "|= `10.0.1`",
    "|= `timeout after`",
    "|~ `after [0-9]{5}ms`",
    "|= `Error` or `retry later`",
    "|~ `status.{2}`",
    "|~ `status=[45][0-9]{2}`",
    "|~ `status\":5[0-9][0-9],`",
    "|~ `after [0-9]{4}ms`",
    "|~ `[0-9]{3}ms`",
    "|~ `0\\.[0-9]`",
    "|~ `10\\.0\\.[0-3]\\.[0-9]{2} `",
    "|~ `[0-9a-f]{8}`",
    "|~ `[a-f][0-9]{2}[a-f]`",
    "|~ `[eE]rror [0-9]`",
    "|~ `after [0-9]+`",
    "|~ `[0-9]+ms`",
    "!~ `status=[0-9]{3,}`",
    "|~ `request [a-z]+` != `info`",
    "|~ `u1[0-9]\"`",
    "|~ `T1[0-9]:[0-5]\\d`",
    "|~ `status=5[0-9]{2}` |= `error`",
    "|= `error` |~ `took\":\"[0-9]{3}ms` |~ `request [a-z]`",
    "|~ `status\":5[0-9][0-9]` | json | level = `error`",
    "|~ `status=[0-9]{3}` | logfmt | status > 300",
    "|= `=5` | logfmt",
    "|= `12`",
    "|= `request failed\"}`",
    "!= `info`",
    "!= `info` != `Error`",
    "!= `info` or `Error`",
    "!~ `info|Error|retry later`",
    "!~ `(?i)error`",
    "!~ `(?i)INFO|failed`", /* no k and no s: these have other cases */
    "!~ `(?i)ok|served`",
    "|~ `error|timeout`",
    "|~ `(?i)error|timeout`",
    "|~ `error|(?i)timeout`",
    "|~ `(Error|ok) status`",
    "|~ `error|` != `info`",
    "|= `` != `info`",
    "|= `info` != `info`",
    "|= `error` |= `request`",
    "|= `error` != `request` != `k=v1`",
    "|= `status` != `error` |= `took` |~ `Error|failed`",
    "|~ `after [0-9]{5}ms` != `Error`",
    "!~ `after [0-9]{5}ms`",
    "!= `status=50`",
    "!= `0ms`",
    "!= `12`",
    "!= `u12` != `10.0.1`",
    "!= `after 1`",
    "!= `request failed\"}`",
    "!~ `status=50|after 1`",
    "|~ `0ms|status=50|u1` != `9`",
    "!~ `after [0-9]{5}ms` |~ `[0-9]{3}ms`",
    "|~ `status.{2}` != `error` !~ `ok|failed`",
    "!= `info` | json",
    "|= `` | json",
    "|= `error` != `request` | json | status >= 300",
    "!~ `info|ok` | logfmt | level = `error`",
    "| json != `error`",
    "| logfmt | level = `error` != `ok`",
    "| took = `7s` != `error`",
    "!= `error` | line_format `{{.app}}` != `s1`",
    "|= `u12`",
    "|= `0ms`",
    "| json",
    "| json | status >= 500",
    "| json | status = `500`",
    "| json | status != `200`",
    "| json | status =~ `5..`",
    "| json | status >= 500 and level = `error`",
    "| json | status >= 500 | level = `error`",
    "| json | __error__ = `` | status < 300",
    "| json | status >= 500 or level = `error`",
    "| json | took > 100ms",
    "| json | id = `x`",
    "| json | user_id = `u12`",
    "| json | level = `error` | line_format `{{.msg}}`",
    "|= `error` | json | status = 200",
    "| json status=`status` | status >= 500",
    "| json status=`status`",
    "| json s=`status`, level=`level`",
    "| json s=`status` | s = ``",
    "| json in_status=`in.status`, user_id=`user.id`, none=`no.such`",
    "| json in_status=`in`, level=`level`",
    "| json level=`nested`, s=`status`",
    "| json level=`nested.a`, s=`nested.a[0]`",
    "| json level=`nested.b`, s=`in.x`",
    "| json level=`status`, s=`status`",
    "| json level=`user.id.x`, s=`[\"in status\"]`",
    "| json app=`level`, took=`took`, s=`ratio`",
    "| json msg=`msg`, empty=`tail`",
    "!= `Error` | json msg=`msg` | msg != ``",
    "| logfmt | status >= 500",
    "| logfmt | level = `error`",
    "| logfmt | level != `error` | took > 500ms",
    "| logfmt --strict | level = `error`",
    "| logfmt | msg =~ `.*Error.*`",
    "| logfmt --keep-empty | empty = `` | level = `info`",
    "| logfmt | k = `v1`",
    "| logfmt level | level = `error`",
    "| json | logfmt | status >= 500",
    "| json | ratio < 2",
    "| json | drop status | status = ``",
    "| json | msg = `request Error`",
};

/* What whole minutes hold is read once and then kept with the file: the same each time, and every line counted. */
static void check_volume(int which) {
    int64_t first = BASE_NS - BASE_NS % (60 * NS_PER_S), end = BASE_NS + (LINES + 1) * STEP_NS;
    for (int round = 0; round < 3; round++) {
        struct query q = {
            .tenant = STR("t"),
            .text = STR("sum by (app, took) (count_over_time({app=~`.+`} | took != `7s` [1m])) or "
                        "sum by (app, took) (count_over_time({app=~`.+`} | took = `7s` [1m]))"),
            .start_ns = first,
            .end_ns = end + 60 * NS_PER_S,
            .step_ns = 60 * NS_PER_S,
            .limit = 100};
        struct query_result *result = NULL;
        struct err err;
        double lines = 0, marked = 0;
        CHECK_INT(engine_query(engines[which], &q, &result, &err), 0);
        for (size_t i = 0; i < result->n_series; i++)
            for (size_t k = 0; k < result->series[i].n_points; k++) {
                lines += result->series[i].points[k].value;
                if (labels_get(result->series[i].labels, STR("took")).data)
                    marked += result->series[i].points[k].value;
            }
        CHECK(lines == LINES);
        CHECK(marked == LINES / BATCH / 4 * (BATCH / 50));
        query_result_free(result);
    }
}

/* Of a long range a part is searched first. The limit is reached in it, in the rest, or not at all: the answer is that of the
 * hour that has all lines, which is searched at once. */
static void check_long_range(int which, const char *text, uint32_t limit,
                             enum query_direction direction) {
    int64_t end = BASE_NS + (LINES + 1) * STEP_NS, reach = 32 * (LINES / 2) * STEP_NS;
    struct query hour = {.tenant = STR("t"),
                         .text = str_from(text),
                         .start_ns = BASE_NS,
                         .end_ns = end,
                         .limit = limit,
                         .direction = direction};
    struct query longer = hour;
    if (direction == DIR_BACKWARD)
        longer.start_ns = end - reach;
    else
        longer.end_ns = BASE_NS + reach;
    struct query_result *results[2] = {NULL};
    struct err err;
    CHECK_INT(engine_query(engines[which], &hour, &results[0], &err), 0);
    CHECK_INT(engine_query(engines[which], &longer, &results[1], &err), 0);
    CHECK(same_answers(results[0], results[1], 0));
    CHECK(results[0]->stats.streams == results[1]->stats.streams || limit < LINES);
    query_result_free(results[0]);
    query_result_free(results[1]);
}

static void check_long_ranges(int which) {
    static const char *const queries[] = {
        "{app=~`.+`}", "{app=~`.+`} |= `Error`", "{app=~`.+`} |= `request failed`",
        "{app=`s4`} | json | status > 300", "{app=~`.+`} |= `nowhere`"};
    static const uint32_t limits[] = {1, 30, 3000, 5000};
    for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++)
        for (size_t k = 0; k < sizeof(limits) / sizeof(*limits); k++) {
            check_long_range(which, queries[i], limits[k], DIR_BACKWARD);
            check_long_range(which, queries[i], limits[k], DIR_FORWARD);
        }
}

static void answers_are_the_same(void) {
    open_all();
    fill();
    for (int which = 0; which < STORES; which++)
        check_volume(which);
    for (int which = 0; which < STORES; which++)
        check_long_ranges(which);
    int64_t end = BASE_NS + (LINES + 1) * STEP_NS;
    for (size_t i = 0; i < sizeof(stages) / sizeof(*stages); i++) {
        char text[300];
        for (int narrow = 0; narrow < 2; narrow++) {
            (void)snprintf(text, sizeof(text), "{app=~`.+`} %s", stages[i]);
            ask((struct query){.text = str_from(text),
                               .start_ns = BASE_NS + narrow * 77 * STEP_NS,
                               .end_ns = narrow ? BASE_NS + 700 * STEP_NS : end,
                               .limit = narrow ? 20 : 5000,
                               .direction = narrow ? DIR_BACKWARD : DIR_FORWARD});
        }
        static const char *const forms[] = {
            "sum(count_over_time({app=~`.+`} %s [1m]))",
            "sum by (status) (count_over_time({app=~`.+`} %s | __error__=`` [1m]))",
            "count_over_time({app=~`.+`} %s | __error__=`` [5m])",
            "sum(bytes_over_time({app=~`.+`} %s [1m]))",
            "sum by (level) (sum_over_time({app=~`.+`} %s | unwrap status | __error__=`` [1m]))",
            "sum by (status) (count_over_time({app=~`.+`} %s [1m]))",
            "sum by (status, level, k) (count_over_time({app=~`.+`} %s | __error__=`` [1m]))",
            "sum by (took, app) (count_over_time({app=~`.+`} %s [1m]))",
            "sum(count_over_time({app=~`.+`} %s [7s]))",
            "sum by (s, level) (count_over_time({app=~`.+`} %s [2m]))",
            "sum by (s, none, took, took_extracted, app_extracted) (count_over_time({app=~`.+`} %s "
            "[5m]))",
            "sum by (in_status) (count_over_time({app=~`.+`} %s | level!=`error` [1m]))",
            "sum by (__error__, status) (count_over_time({app=~`.+`} %s [1m]))",
            "sum by (level, user_id) (count_over_time({app=~`.+`} %s [5m]))",
            "sum by (status_extracted, in_status) (count_over_time({app=~`.+`} %s [5m]))",
            "sum by (msg, empty) (count_over_time({app=~`.+`} %s [5m]))",
            "max by (took) (max_over_time({app=~`.+`} %s | unwrap ratio | __error__=`` [5m]))",
            "quantile_over_time(0.9, {app=~`.+`} %s | unwrap duration(took) [5m]) by (level)",
            "sum by (level) (count_over_time({app=~`.+`} %s | label_format level=`{{.k}}` [1m]))",
        };
        for (size_t f = 0; f < sizeof(forms) / sizeof(*forms); f++) {
            (void)snprintf(text, sizeof(text), forms[f], stages[i]);
            ask((struct query){.text = str_from(text),
                               .start_ns = BASE_NS + 60 * NS_PER_S,
                               .end_ns = end,
                               .step_ns = 60 * NS_PER_S,
                               .limit = 100});
        }
    }
    close_all();
}

int main(void) {
    RUN(answers_are_the_same);
    return test_done();
}
