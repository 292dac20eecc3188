/* Lines per second through pipelines, on made lines: the stages alone, without storage. One thread.
 * Usage: bench_pipeline [seconds per case] */
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "clock.h"
#include "pipeline.h"

enum { LINES = 20000 };

#define TEXT(literal)                                                                              \
    { .data = "" literal, .size = sizeof(literal) - 1 }

static struct str json_lines[LINES], logfmt_lines[LINES];
static struct buf json_text, logfmt_text;

static void make_lines(void) {
    static const char *const levels[] = {"info", "info", "info", "warn", "debug", "error"};
    static const int statuses[] = {200, 200, 200, 201, 204, 301, 404, 404, 500, 503};
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE"};
    size_t json_at[LINES + 1], logfmt_at[LINES + 1];
    json_text = logfmt_text = buf_make(BUF_NO_MAX);
    for (int i = 0; i < LINES; i++) {
        unsigned h = (unsigned)i * 2654435761u >> 7;
        json_at[i] = json_text.size;
        logfmt_at[i] = logfmt_text.size;
        buf_addf(
            &json_text,
            "{\"ts\":\"2026-01-05T10:%02d:%02dZ\",\"level\":\"%s\",\"msg\":\"request completed\","
            "\"method\":\"%s\",\"path\":\"/api/v1/orders/%u\",\"status\":%d,\"duration\":\"%ums\","
            "\"latency_ms\":%u.%03u,\"request\":{\"id\":\"req-%06u\",\"remote\":{\"ip\":"
            "\"10.1.%u.%u\",\"port\":%u}},\"user\":{\"name\":\"bob\",\"admin\":false},"
            "\"tags\":[\"a\",\"b\"],\"cached\":false}",
            i / 60 % 60, i % 60, levels[h % 6], methods[h % 4], h % 1000, statuses[h / 7 % 10],
            h % 900, h % 1000, h % 997, h % 1000000, h % 250, h / 3 % 250, h % 65536);
        buf_addf(&logfmt_text,
                 "ts=2026-01-05T10:%02d:%02dZ level=%s caller=pay.go:%u msg=\"payment accepted\" "
                 "amount=%u.%02u currency=EUR took=%ums bytes=%uKB client=10.16.%u.%u attempt=%u",
                 i / 60 % 60, i % 60, levels[h % 6], h % 400, h % 500, h % 100, h % 900, h % 700,
                 h % 250, h / 3 % 250, h % 5);
    }
    json_at[LINES] = json_text.size;
    logfmt_at[LINES] = logfmt_text.size;
    for (int i = 0; i < LINES; i++) {
        json_lines[i] = str_make(json_text.data + json_at[i], json_at[i + 1] - json_at[i]);
        logfmt_lines[i] =
            str_make(logfmt_text.data + logfmt_at[i], logfmt_at[i + 1] - logfmt_at[i]);
    }
}

static const struct label stream_items[] = {
    {TEXT("app"), TEXT("api")}, {TEXT("env"), TEXT("prod")}, {TEXT("host"), TEXT("api-1")}};
static const struct label meta_items[] = {{TEXT("detected_level"), TEXT("info")}};

struct bench_case {
    const char *name;
    const struct stage *stages;
    const struct str *lines;
    struct label_needs needs;
    bool labels; /* ask for the label set of each line that passes */
    const struct grouping *group;
};

static void run_case(const struct bench_case *c, double seconds) {
    struct err err = {0};
    struct pipeline *p;
    struct pipeline_options o = {.needs = c->needs};
    if (pipeline_compile(c->stages, &o, &p, &err) < 0) {
        (void)fprintf(stderr, "%s: %s\n", c->name, err.text);
        exit(1);
    }
    struct pipeline_run *r = pipeline_run_new(p);
    pipeline_run_stream(r, (struct labels){.items = stream_items, .count = 3});
    size_t lines = 0, bytes = 0, passed = 0;
    int64_t start = clock_mono_ns(), now = start;
    while ((double)(now - start) < seconds * 1e9) {
        for (size_t i = 0; i < LINES; i++) {
            struct pipeline_line in = {.line = c->lines[i], .meta = meta_items, .meta_count = 1};
            struct pipeline_output out;
            bytes += in.line.size;
            if (!pipeline_run_line(r, &in, &out))
                continue;
            passed++;
            if (c->labels && !(c->group ? pipeline_run_group(r, c->group) : pipeline_run_labels(r)))
                exit(1);
        }
        lines += LINES;
        now = clock_mono_ns();
    }
    double took = (double)(now - start) / 1e9;
    printf("%-34s %8.2f M lines/s %8.0f MB/s %7.1f ns/line  %4.1f %% pass\n", c->name,
           (double)lines / took / 1e6, (double)bytes / took / 1e6, took * 1e9 / (double)lines,
           100.0 * (double)passed / (double)lines);
    pipeline_run_free(r);
    pipeline_free(p);
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.5;
    make_lines();
    static struct line_operand needle = {.text = TEXT("req-000042")};
    static struct stage contains = {.kind = STAGE_LINE_FILTER,
                                    .line_filter = {.op = LINE_CONTAINS, .operands = &needle}};
    static struct label_filter status = {
        .kind = FILTER_NUMBER, .name = TEXT("status"), .compare = CMP_GTE, .number = 500};
    static struct label_filter level = {
        .kind = FILTER_STRING, .name = TEXT("level"), .match = MATCH_EQ, .text = TEXT("error")};
    static struct stage by_status = {.kind = STAGE_LABEL_FILTER, .filter = &status};
    static struct stage by_level = {.kind = STAGE_LABEL_FILTER, .filter = &level};
    static struct stage json = {.kind = STAGE_JSON},
                        json_status = {.kind = STAGE_JSON, .next = &by_status};
    static struct stage logfmt = {.kind = STAGE_LOGFMT};
    static struct stage logfmt_level = {.kind = STAGE_LOGFMT, .next = &by_level};
    static struct stage format = {.kind = STAGE_LINE_FORMAT,
                                  .text.text = TEXT("{{.method}} {{.path}} {{.status}}")};
    static struct stage json_format = {.kind = STAGE_JSON, .next = &format};
    static const struct str names[] = {TEXT("method"), TEXT("status")};
    static const struct grouping group = {.present = true, .names = names, .count = 2};
    struct label_needs all = {.all = true}, some = {.names = names, .count = 2},
                       none = {.none = true};
    const struct bench_case cases[] = {
        {"|= \"req-000042\"", &contains, json_lines, all, false, NULL},
        {"json | status>=500", &json_status, json_lines, all, true, NULL},
        {"json | status>=500, no label sets", &json_status, json_lines, all, false, NULL},
        {"json | status>=500, counted", &json_status, json_lines, none, false, NULL},
        {"json, no label sets", &json, json_lines, all, false, NULL},
        {"json, by (method, status)", &json, json_lines, some, true, &group},
        {"json | line_format", &json_format, json_lines, all, false, NULL},
        {"logfmt | level=\"error\"", &logfmt_level, logfmt_lines, all, true, NULL},
        {"logfmt | level=\"error\", counted", &logfmt_level, logfmt_lines, none, false, NULL},
        {"logfmt, no label sets", &logfmt, logfmt_lines, all, false, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        run_case(&cases[i], seconds);
    buf_done(&json_text);
    buf_done(&logfmt_text);
    return 0;
}
