/* gen: makes the bench's logs, always the same for the same options: ready push bodies (snappy protobuf, or JSON), the
 * same lines as plain files for rg, and truth.json with the exact answers of the bench's queries.
 *
 *   kind     share of bytes  lines
 *   json     40 %            API logs with a 32-digit trace id, status, nested objects
 *   logfmt   15 %            service logs
 *   access   20 %            web server access logs
 *   system   15 %            free text with and without level words
 *   java     10 %            stack traces, one line per entry
 *
 * Streams are spread over agents of STREAMS_PER_AGENT; each body is what one agent gathers: about BODY_TARGET bytes of
 * lines of its streams, its times following on those of its last body.
 *
 * DIR/bodies: for each body u32 size, u32 bytes of lines, u32 lines (little-endian), then the body itself. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include <snappy-c.h>

#include "buf.h"
#include "bytes.h"
#include "json.h"
#include "str.h"
#include "units.h"

enum { STREAMS_MAX = 100000, STREAMS_PER_AGENT = 8, BODY_TARGET = 1 << 20, NEWEST = 1000 };
enum { MINUTES_MAX = 60 * 24 * 31 };
#define NEEDLE_AT 0.5 /* of all bytes: which JSON line's trace id is the needle */

enum kind { KIND_JSON, KIND_LOGFMT, KIND_ACCESS, KIND_SYSTEM, KIND_JAVA, KINDS };
static const char *const kind_names[KINDS] = {"json", "logfmt", "access", "system", "java"};

enum level { LEVEL_INFO, LEVEL_WARN, LEVEL_ERROR, LEVEL_DEBUG, LEVEL_UNKNOWN, LEVELS };
static const char *const level_names[LEVELS] = {"info", "warn", "error", "debug", "unknown"};

/* What is known of a line when it is made. */
struct line {
    char text[2048];
    size_t size;
    enum level level; /* what the server must detect */
    int status;       /* JSON only, else 0 */
};

struct stream {
    enum kind kind;
    char labels[256];
    struct buf entries; /* of the body that is being gathered, encoded */
    int trace_left;     /* java: lines of the present stack trace */
};

struct truth {
    uint64_t lines, bytes, errors, exceptions, rare, by_level[LEVELS], by_status[600],
        by_kind[KINDS];
    uint32_t *errors_per_minute, *exceptions_per_5_minutes; /* by window, from start */
    int64_t newest[NEWEST]; /* times of lines with "error", a min-heap */
    size_t n_newest;
    char needle[33];
    int64_t needle_ns;
};

struct options {
    uint64_t bytes;
    uint64_t streams;
    uint64_t hours;
    uint64_t seed;
    int64_t end_ns;
    const char *dir;
    bool json;
};

struct gen {
    struct options o;
    uint64_t random;
    struct stream *streams;
    uint64_t *agent_bytes; /* made so far */
    size_t n_agents;
    uint64_t agent_total; /* what each agent is to make */
    int64_t start_ns;
    struct truth truth;
    FILE *bodies;
    FILE **plain; /* one file per agent */
    struct buf body, packed;
    uint64_t body_bytes;
    uint32_t body_lines;
};

static _Noreturn void die(const char *what) {
    (void)fprintf(stderr, "gen: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* ---- randomness: xorshift64*, fast and the same everywhere */

static uint64_t random_next(struct gen *g) {
    g->random ^= g->random >> 12;
    g->random ^= g->random << 25;
    g->random ^= g->random >> 27;
    return g->random * 0x2545f4914f6cdd1du;
}

static uint32_t random_below(struct gen *g, uint32_t n) {
    return (uint32_t)((random_next(g) >> 32) * n >> 32);
}

/* ---- writing lines: small appenders, as printf would be most of the running time */

static void put(struct line *l, const char *text) {
    size_t size = strlen(text);
    if (size > sizeof(l->text) - l->size)
        size = sizeof(l->text) - l->size;
    memcpy(l->text + l->size, text, size);
    l->size += size;
}

static void put_number(struct line *l, uint64_t n) {
    char digits[24];
    size_t at = sizeof(digits);
    digits[--at] = '\0';
    do
        digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    put(l, digits + at);
}

static void put_padded(struct line *l, uint64_t n, unsigned width) {
    for (uint64_t limit = 10; width > 1; width--, limit *= 10) {
        if (n < limit && width > 1)
            put(l, "0");
    }
    put_number(l, n);
}

static void put_hex(struct line *l, uint64_t n) {
    char digits[17];
    for (int i = 15; i >= 0; i--, n >>= 4)
        digits[i] = "0123456789abcdef"[n & 15];
    digits[16] = '\0';
    put(l, digits);
}

static void put_time(struct line *l, int64_t ns) {
    time_t seconds = (time_t)(ns / NS_PER_S);
    static _Thread_local time_t last;
    static _Thread_local char text[32];
    if (seconds != last) {
        struct tm tm;
        (void)gmtime_r(&seconds, &tm);
        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
        last = seconds;
    }
    put(l, text);
    put(l, ".");
    put_padded(l, (uint64_t)(ns / 1000000 % 1000), 3);
    put(l, "Z");
}

static const char *pick(struct gen *g, const char *const *list, uint32_t n) {
    return list[random_below(g, n)];
}
#define PICK(g, list) pick(g, list, sizeof(list) / sizeof((list)[0]))

static const char *const paths[] = {"/api/v1/items/",  "/api/v1/users/", "/api/v1/orders/",
                                    "/api/v2/search/", "/static/img/",   "/login/",
                                    "/health/",        "/api/v1/cart/"};
static const char *const methods[] = {"GET", "GET", "GET", "POST", "PUT", "DELETE"};
static const char *const hosts[] = {"web-1", "web-2", "db-1", "cache-1", "worker-3"};
static const char *const verbs[] = {"accepted", "processed", "queued",    "retried",
                                    "stored",   "expired",   "forwarded", "compacted"};
static const char *const nouns[] = {"session", "request",  "segment", "message",
                                    "record",  "snapshot", "replica", "lease"};

/* 2 % of requests fail: a few statuses from 500 on. */
static int pick_status(struct gen *g) {
    static const int bad[] = {500, 502, 503, 504};
    uint32_t n = random_below(g, 1000);
    if (n < 20)
        return bad[random_below(g, 4)];
    return n < 100 ? 404 : n < 160 ? 302 : 200;
}

static enum level level_of_status(struct gen *g, int status) {
    if (status >= 500)
        return LEVEL_ERROR;
    return status == 404 ? LEVEL_WARN : random_below(g, 10) == 0 ? LEVEL_DEBUG : LEVEL_INFO;
}

/* ---- the kinds */

static void make_json(struct gen *g, struct line *l, int64_t ns, char *ret_trace) {
    l->status = pick_status(g);
    l->level = level_of_status(g, l->status);
    put(l, "{\"time\":\"");
    put_time(l, ns);
    put(l, "\",\"level\":\"");
    put(l, level_names[l->level]);
    put(l, "\",\"caller\":\"http/handler.go:");
    put_number(l, 20 + random_below(g, 400));
    put(l, "\",\"trace_id\":\"");
    size_t at = l->size;
    put_hex(l, random_next(g));
    put_hex(l, random_next(g));
    memcpy(ret_trace, l->text + at, 32);
    put(l, "\",\"span_id\":\"");
    put_hex(l, random_next(g));
    put(l, "\",\"method\":\"");
    put(l, PICK(g, methods));
    put(l, "\",\"path\":\"");
    put(l, PICK(g, paths));
    put_number(l, random_below(g, 1000000));
    put(l, "\",\"status\":");
    put_number(l, (uint64_t)l->status);
    put(l, ",\"duration_ms\":");
    put_number(l, random_below(g, 900));
    put(l, ",\"bytes\":");
    put_number(l, random_below(g, 60000));
    put(l, ",\"user\":{\"id\":\"u");
    put_number(l, random_below(g, 200000));
    put(l, "\",\"tenant\":\"t");
    put_number(l, random_below(g, 40));
    put(l, "\"},\"msg\":\"");
    put(l, l->level == LEVEL_ERROR ? "request failed: upstream error" : "request served");
    put(l, "\"}");
}

static void make_logfmt(struct gen *g, struct line *l, int64_t ns) {
    l->level = level_of_status(g, pick_status(g));
    put(l, "ts=");
    put_time(l, ns);
    put(l, " level=");
    put(l, level_names[l->level]);
    put(l, " caller=worker.go:");
    put_number(l, 20 + random_below(g, 400));
    put(l, " component=");
    put(l, PICK(g, nouns));
    put(l, " msg=\"");
    put(l, PICK(g, nouns));
    put(l, " ");
    put(l, PICK(g, verbs));
    put(l, "\" id=");
    put_number(l, random_below(g, 100000000));
    put(l, " duration=");
    put_number(l, random_below(g, 2000));
    put(l, "ms");
    if (l->level == LEVEL_ERROR)
        put(l, " err=\"context deadline exceeded\"");
}

static void make_access(struct gen *g, struct line *l, int64_t ns) {
    static const char *const agents[] = {
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
         "Safari/537.36"),
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
        "curl/8.5.0",
        "Prometheus/2.53.0",
    };
    l->level = LEVEL_UNKNOWN;
    put(l, "10.");
    put_number(l, random_below(g, 4));
    put(l, ".");
    put_number(l, random_below(g, 256));
    put(l, ".");
    put_number(l, random_below(g, 256));
    put(l, " - - [");
    put_time(l, ns);
    put(l, "] \"");
    put(l, PICK(g, methods));
    put(l, " ");
    put(l, PICK(g, paths));
    put_number(l, random_below(g, 1000000));
    put(l, "?page=");
    put_number(l, random_below(g, 50));
    put(l, " HTTP/1.1\" ");
    put_number(l, (uint64_t)pick_status(g));
    put(l, " ");
    put_number(l, random_below(g, 90000));
    put(l, " \"-\" \"");
    put(l, PICK(g, agents));
    put(l, "\"");
}

/* One line in a hundred thousand has a timeout of five digits: the rare regular expression. */
static void make_system(struct gen *g, struct line *l, int64_t ns, bool *ret_rare) {
    static const char *const words[] = {"INFO", "INFO", "INFO", "WARN", "ERROR", NULL, NULL, NULL};
    static const enum level levels[] = {LEVEL_INFO,  LEVEL_INFO,    LEVEL_INFO,    LEVEL_WARN,
                                        LEVEL_ERROR, LEVEL_UNKNOWN, LEVEL_UNKNOWN, LEVEL_UNKNOWN};
    uint32_t n = random_below(g, 8);
    l->level = levels[n];
    *ret_rare = random_below(g, 100000) == 0;
    put_time(l, ns);
    put(l, " ");
    put(l, PICK(g, hosts));
    put(l, " daemon[");
    put_number(l, 100 + random_below(g, 30000));
    put(l, "]: ");
    if (words[n]) {
        put(l, words[n]);
        put(l, " ");
    }
    put(l, PICK(g, nouns));
    put(l, " ");
    put_number(l, random_below(g, 1000000));
    put(l, " ");
    put(l, PICK(g, verbs));
    put(l, " from ");
    put(l, PICK(g, hosts));
    put(l, *ret_rare ? ", timeout after 1" : ", timeout after ");
    put_padded(l, random_below(g, 9000), *ret_rare ? 4 : 1);
    put(l, "ms");
}

static void make_java(struct gen *g, struct stream *s, struct line *l, int64_t ns) {
    static const char *const exceptions[] = {
        "java.lang.IllegalStateException", "java.io.IOException",
        "java.sql.SQLTransientConnectionException", "java.util.concurrent.TimeoutException"};
    static const char *const classes[] = {
        "com.example.shop.OrderService", "com.example.shop.CartController",
        "org.apache.tomcat.util.net.NioEndpoint", "com.zaxxer.hikari.pool.HikariPool"};
    static const char *const calls[] = {"process",  "handle", "invoke",
                                        "doFilter", "run",    "execute"};
    l->level = LEVEL_UNKNOWN;
    if (s->trace_left > 0) {
        s->trace_left--;
        put(l, "\tat ");
        put(l, PICK(g, classes));
        put(l, ".");
        put(l, PICK(g, calls));
        put(l, "(Source.java:");
        put_number(l, random_below(g, 900));
        put(l, ")");
        return;
    }
    bool failed = random_below(g, 5) == 0;
    l->level = failed ? LEVEL_ERROR : LEVEL_INFO;
    put_time(l, ns);
    put(l, failed ? " ERROR [exec-" : " INFO [exec-");
    put_number(l, random_below(g, 64));
    put(l, "] ");
    put(l, PICK(g, classes));
    put(l, failed ? " - cannot finish order " : " - finished order ");
    put_number(l, random_below(g, 10000000));
    if (failed) {
        put(l, ": ");
        put(l, PICK(g, exceptions));
        s->trace_left = 5 + (int)random_below(g, 20);
    }
}

/* ---- the truth */

static void count_newest(struct truth *t, int64_t ns) {
    int64_t *heap = t->newest;
    size_t at = t->n_newest;
    if (t->n_newest == NEWEST) {
        if (ns <= heap[0])
            return;
        for (at = 0; 2 * at + 1 < NEWEST;) {
            size_t child = 2 * at + 1;
            if (child + 1 < NEWEST && heap[child + 1] < heap[child])
                child++;
            if (heap[child] >= ns)
                break;
            heap[at] = heap[child];
            at = child;
        }
    } else {
        t->n_newest++;
        for (; at > 0 && heap[(at - 1) / 2] > ns; at = (at - 1) / 2)
            heap[at] = heap[(at - 1) / 2];
    }
    heap[at] = ns;
}

/* Windows are open at the left and closed at the right, as metric queries have them. */
static size_t window_of(const struct gen *g, int64_t ns, int64_t width_ns) {
    return (size_t)((ns - g->start_ns - 1) / width_ns);
}

static bool contains_nocase(const struct line *l, const char *word) {
    size_t size = strlen(word);
    for (size_t i = 0; i + size <= l->size; i++) {
        size_t n = 0;
        while (n < size && (l->text[i + n] | 0x20) == word[n])
            n++;
        if (n == size)
            return true;
    }
    return false;
}

static void count_line(struct gen *g, enum kind kind, const struct line *l, int64_t ns) {
    struct truth *t = &g->truth;
    struct str text = str_make(l->text, l->size);
    t->lines++;
    t->bytes += l->size;
    t->by_level[l->level]++;
    t->by_kind[kind]++;
    if (l->status >= 500)
        t->by_status[l->status]++;
    if (str_find(text, STR("error"))) {
        t->errors++;
        t->errors_per_minute[window_of(g, ns, NS_PER_MIN)]++;
        count_newest(t, ns);
    }
    if (contains_nocase(l, "exception")) {
        t->exceptions++;
        t->exceptions_per_5_minutes[window_of(g, ns, 5 * NS_PER_MIN)]++;
    }
}

static void write_windows(FILE *f, const char *name, const struct gen *g, const uint32_t *counts,
                          int64_t width_ns) {
    (void)fprintf(f, ",\n \"%s\": {", name);
    const char *comma = "";
    for (size_t i = 0; i <= window_of(g, g->o.end_ns, width_ns); i++) {
        if (counts[i] == 0)
            continue;
        (void)fprintf(f, "%s\"%lld\": %u", comma,
                      (long long)((g->start_ns + (int64_t)(i + 1) * width_ns) / NS_PER_S),
                      counts[i]);
        comma = ", ";
    }
    (void)fprintf(f, "}");
}

static void write_truth(const struct gen *g) {
    const struct truth *t = &g->truth;
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/truth.json", g->o.dir);
    FILE *f = fopen(path, "w");
    if (!f)
        die(path);
    (void)fprintf(f,
                  "{\"start_ns\": %lld, \"end_ns\": %lld, \"streams\": %llu, \"lines\": %llu, "
                  "\"bytes\": %llu,\n",
                  (long long)g->start_ns, (long long)g->o.end_ns, (unsigned long long)g->o.streams,
                  (unsigned long long)t->lines, (unsigned long long)t->bytes);
    (void)fprintf(f,
                  " \"needle\": \"%s\", \"needle_ns\": %lld, \"errors\": %llu, \"exceptions\": "
                  "%llu, \"rare\": %llu,\n \"newest_error_ns\": %lld",
                  t->needle, (long long)t->needle_ns, (unsigned long long)t->errors,
                  (unsigned long long)t->exceptions, (unsigned long long)t->rare,
                  (long long)(t->n_newest > 0 ? t->newest[0] : 0));
    (void)fprintf(f, ",\n \"newest_errors\": %zu,\n \"levels\": {", t->n_newest);
    for (int i = 0; i < LEVELS; i++)
        (void)fprintf(f, "%s\"%s\": %llu", i > 0 ? ", " : "", level_names[i],
                      (unsigned long long)t->by_level[i]);
    (void)fprintf(f, "},\n \"kinds\": {");
    for (int i = 0; i < KINDS; i++)
        (void)fprintf(f, "%s\"%s\": %llu", i > 0 ? ", " : "", kind_names[i],
                      (unsigned long long)t->by_kind[i]);
    (void)fprintf(f, "},\n \"statuses\": {");
    const char *comma = "";
    for (int i = 500; i < 600; i++) {
        if (t->by_status[i] == 0)
            continue;
        (void)fprintf(f, "%s\"%d\": %llu", comma, i, (unsigned long long)t->by_status[i]);
        comma = ", ";
    }
    (void)fprintf(f, "}");
    write_windows(f, "errors_per_minute", g, t->errors_per_minute, NS_PER_MIN);
    write_windows(f, "exceptions_per_5_minutes", g, t->exceptions_per_5_minutes, 5 * NS_PER_MIN);
    (void)fprintf(f, "}\n");
    if (fclose(f) != 0)
        die(path);
}

/* ---- bodies */

static void add_varint(struct buf *b, uint64_t v) {
    uint8_t bytes[VARINT_MAX_BYTES];
    buf_add(b, bytes, (size_t)(put_varint(bytes, v) - bytes));
}

static size_t varint_size(uint64_t v) {
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static void add_entry_proto(struct buf *b, const struct line *l, int64_t ns) {
    uint64_t seconds = (uint64_t)(ns / NS_PER_S), nanos = (uint64_t)(ns % NS_PER_S);
    size_t ts_size = 2 + varint_size(seconds) + varint_size(nanos);
    size_t size = 1 + varint_size(ts_size) + ts_size + 1 + varint_size(l->size) + l->size;
    buf_add_char(b, 0x12);
    add_varint(b, size);
    buf_add_char(b, 0x0a);
    add_varint(b, ts_size);
    buf_add_char(b, 0x08);
    add_varint(b, seconds);
    buf_add_char(b, 0x10);
    add_varint(b, nanos);
    buf_add_char(b, 0x12);
    add_varint(b, l->size);
    buf_add(b, l->text, l->size);
}

static void add_entry_json(struct buf *b, const struct line *l, int64_t ns) {
    buf_add_str(b, b->size > 0 ? STR(",[\"") : STR("[\""));
    buf_add_i64(b, ns);
    buf_add_str(b, STR("\","));
    json_write_string(b, str_make(l->text, l->size));
    buf_add_char(b, ']');
}

static void add_stream_proto(struct buf *body, const struct stream *s) {
    size_t labels_size = strlen(s->labels);
    add_varint(body, 1 << 3 | 2);
    add_varint(body, 1 + varint_size(labels_size) + labels_size + s->entries.size);
    buf_add_char(body, 0x0a);
    add_varint(body, labels_size);
    buf_add(body, s->labels, labels_size);
    buf_add_str(body, buf_str(&s->entries));
}

/* {a="b", c="d"} -> {"a":"b","c":"d"}: our values hold nothing to escape. */
static void add_stream_json(struct buf *body, const struct stream *s, bool first) {
    buf_add_str(body, first ? STR("{\"streams\":[{\"stream\":{\"") : STR(",{\"stream\":{\""));
    for (const char *p = s->labels + 1; *p != '}'; p++) {
        if (*p == '=')
            buf_add_str(body, STR("\":"));
        else if (*p == ' ')
            buf_add_char(body, '"');
        else
            buf_add_char(body, *p);
    }
    buf_add_str(body, STR("},\"values\":["));
    buf_add_str(body, buf_str(&s->entries));
    buf_add_str(body, STR("]}"));
}

/* Ends the body of one agent and writes it. */
static void write_body(struct gen *g, size_t agent) {
    size_t first = agent * STREAMS_PER_AGENT, end = first + STREAMS_PER_AGENT;
    if (end > g->o.streams)
        end = g->o.streams;
    buf_clear(&g->body);
    for (size_t i = first; i < end; i++) {
        struct stream *s = &g->streams[i];
        if (s->entries.size > 0 && g->o.json)
            add_stream_json(&g->body, s, g->body.size == 0);
        else if (s->entries.size > 0)
            add_stream_proto(&g->body, s);
        buf_clear(&s->entries);
    }
    if (g->o.json)
        buf_add_str(&g->body, STR("]}"));
    struct str out = buf_str(&g->body);
    if (!g->o.json) {
        size_t size = snappy_max_compressed_length(g->body.size);
        buf_clear(&g->packed);
        if (buf_reserve(&g->packed, size) < 0 ||
            snappy_compress(g->body.data, g->body.size, g->packed.data, &size) != SNAPPY_OK)
            die("compressing a body");
        out = str_make(g->packed.data, size);
    }
    uint8_t head[12];
    put_le32(head, (uint32_t)out.size);
    put_le32(head + 4, (uint32_t)g->body_bytes);
    put_le32(head + 8, g->body_lines);
    if (g->body.failed || fwrite(head, sizeof(head), 1, g->bodies) != 1 ||
        fwrite(out.data, out.size, 1, g->bodies) != 1)
        die("writing a body");
}

static void make_line(struct gen *g, struct stream *s, FILE *plain, int64_t ns) {
    struct line l;
    l.size = 0;
    l.status = 0;
    l.level = LEVEL_UNKNOWN;
    bool rare = false;
    char trace[33] = "";
    switch (s->kind) {
    case KIND_JSON:
        make_json(g, &l, ns, trace);
        break;
    case KIND_LOGFMT:
        make_logfmt(g, &l, ns);
        break;
    case KIND_ACCESS:
        make_access(g, &l, ns);
        break;
    case KIND_SYSTEM:
        make_system(g, &l, ns, &rare);
        break;
    case KIND_JAVA:
    case KINDS:
        make_java(g, s, &l, ns);
        break;
    }
    if (s->kind == KIND_JSON && g->truth.needle_ns == 0 &&
        (double)g->truth.bytes >= NEEDLE_AT * (double)g->o.bytes) {
        memcpy(g->truth.needle, trace, 32);
        g->truth.needle_ns = ns;
    }
    g->truth.rare += rare;
    count_line(g, s->kind, &l, ns);
    g->body_bytes += l.size;
    g->body_lines++;
    if (g->o.json)
        add_entry_json(&s->entries, &l, ns);
    else
        add_entry_proto(&s->entries, &l, ns);
    l.text[l.size] = '\n';
    if (fwrite(l.text, l.size + 1, 1, plain) != 1)
        die("writing plain lines");
}

/* One body of an agent: its streams take turns, some lines each. A stream gets the bytes of its kind's share because
 * streams are given kinds by share. */
static void make_body(struct gen *g, size_t agent) {
    size_t first = agent * STREAMS_PER_AGENT;
    size_t count =
        g->o.streams - first < STREAMS_PER_AGENT ? g->o.streams - first : STREAMS_PER_AGENT;
    uint64_t done = g->agent_bytes[agent], target = BODY_TARGET;
    if (target > g->agent_total - done)
        target = g->agent_total - done;
    g->body_bytes = 0;
    g->body_lines = 0;
    double span = (double)(g->o.end_ns - g->start_ns - NS_PER_S);
    for (size_t turn = 0; g->body_bytes < target; turn++) {
        struct stream *s = &g->streams[first + turn % count];
        uint64_t quota = g->body_bytes + 2000;
        while (g->body_bytes < quota && g->body_bytes < target) {
            double progress = (double)(done + g->body_bytes) / (double)g->agent_total;
            if (progress > 1)
                progress = 1;
            make_line(g, s, g->plain[agent],
                      g->start_ns + 1 + (int64_t)(span * progress) + g->body_lines % 1000);
        }
    }
    g->agent_bytes[agent] += g->body_bytes;
    write_body(g, agent);
}

/* ---- set-up */

/* Kinds in the shares above, over 20 streams. */
static enum kind kind_of(size_t stream) {
    static const enum kind order[20] = {
        KIND_JSON,   KIND_ACCESS, KIND_JSON,   KIND_LOGFMT, KIND_SYSTEM, KIND_JSON,   KIND_JAVA,
        KIND_ACCESS, KIND_JSON,   KIND_LOGFMT, KIND_JSON,   KIND_SYSTEM, KIND_JSON,   KIND_ACCESS,
        KIND_LOGFMT, KIND_JSON,   KIND_JAVA,   KIND_SYSTEM, KIND_JSON,   KIND_ACCESS,
    };
    return order[stream % 20];
}

static void open_files(struct gen *g) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/plain", g->o.dir);
    if (mkdir(g->o.dir, 0777) < 0 && errno != EEXIST)
        die(g->o.dir);
    if (mkdir(path, 0777) < 0 && errno != EEXIST)
        die(path);
    for (size_t i = 0; i < g->o.streams; i++) {
        struct stream *s = &g->streams[i];
        s->kind = kind_of(i);
        s->entries = buf_make(BUF_NO_MAX);
        (void)snprintf(s->labels, sizeof(s->labels),
                       "{app=\"%s-%zu\", env=\"prod\", host=\"node-%zu\", kind=\"%s\", "
                       "namespace=\"ns-%zu\", pod=\"%s-%zu-%08x\"}",
                       kind_names[s->kind], i / 4, i / STREAMS_PER_AGENT, kind_names[s->kind],
                       i % 12, kind_names[s->kind], i, (unsigned)random_next(g));
    }
    for (size_t i = 0; i < g->n_agents; i++) {
        (void)snprintf(path, sizeof(path), "%s/plain/node-%zu.log", g->o.dir, i);
        g->plain[i] = fopen(path, "w");
        if (!g->plain[i])
            die(path);
    }
    (void)snprintf(path, sizeof(path), "%s/bodies", g->o.dir);
    g->bodies = fopen(path, "w");
    if (!g->bodies)
        die(path);
}

static int parse_options(int argc, char **argv, struct options *o) {
    *o = (struct options){.bytes = 256 << 20, .streams = 206, .hours = 6, .seed = 1};
    for (int i = 1; i < argc; i++) {
        struct str name = str_from(argv[i]);
        if (str_eq(name, STR("--json"))) {
            o->json = true;
            continue;
        }
        if (++i == argc)
            return -1;
        struct str value = str_from(argv[i]);
        int r = 0;
        if (str_eq(name, STR("--bytes")))
            r = bytes_parse_setting(value, &o->bytes);
        else if (str_eq(name, STR("--streams")))
            r = u64_parse(value, &o->streams);
        else if (str_eq(name, STR("--hours")))
            r = u64_parse(value, &o->hours);
        else if (str_eq(name, STR("--seed")))
            r = u64_parse(value, &o->seed);
        else if (str_eq(name, STR("--end")))
            r = time_parse_rfc3339(value, &o->end_ns);
        else if (str_eq(name, STR("--out")))
            o->dir = argv[i];
        else
            r = -1;
        if (r < 0)
            return r;
    }
    bool ok = o->dir && o->end_ns > 0 && o->streams > 0 && o->streams <= STREAMS_MAX &&
              o->hours > 0 && o->hours * 60 < MINUTES_MAX;
    return ok ? 0 : -1;
}

static void allocate(struct gen *g) {
    g->streams = calloc(g->o.streams, sizeof(*g->streams));
    g->agent_bytes = calloc(g->n_agents, sizeof(*g->agent_bytes));
    g->plain = calloc(g->n_agents, sizeof(*g->plain));
    g->truth.errors_per_minute = calloc(MINUTES_MAX, sizeof(uint32_t));
    g->truth.exceptions_per_5_minutes = calloc(MINUTES_MAX, sizeof(uint32_t));
    g->body = buf_make(BUF_NO_MAX);
    g->packed = buf_make(BUF_NO_MAX);
    if (!g->streams || !g->agent_bytes || !g->plain || !g->truth.errors_per_minute ||
        !g->truth.exceptions_per_5_minutes)
        die("memory");
}

static void close_files(struct gen *g) {
    for (size_t i = 0; i < g->n_agents; i++) {
        if (fclose(g->plain[i]) != 0)
            die("closing plain lines");
    }
    if (fclose(g->bodies) != 0)
        die("closing bodies");
}

int main(int argc, char **argv) {
    static struct gen g;
    if (parse_options(argc, argv, &g.o) < 0) {
        (void)fprintf(
            stderr,
            "usage: gen --out DIR --end RFC3339 [--bytes 256MB] [--streams 206] [--hours 6] "
            "[--seed 1] [--json]\nat most %d streams and %d hours\n",
            STREAMS_MAX, MINUTES_MAX / 60);
        return 2;
    }
    /* Whole five minutes, so that windows of the queries and of the truth are the same. */
    g.o.end_ns -= g.o.end_ns % (5 * NS_PER_MIN);
    g.start_ns = g.o.end_ns - (int64_t)g.o.hours * NS_PER_HOUR;
    g.random = g.o.seed * 0x9e3779b97f4a7c15u + 1;
    g.n_agents = (g.o.streams + STREAMS_PER_AGENT - 1) / STREAMS_PER_AGENT;
    g.agent_total = g.o.bytes / g.n_agents;
    allocate(&g);
    open_files(&g);
    for (bool more = true; more;) {
        more = false;
        for (size_t agent = 0; agent < g.n_agents; agent++) {
            if (g.agent_bytes[agent] >= g.agent_total)
                continue;
            make_body(&g, agent);
            more = true;
        }
    }
    close_files(&g);
    write_truth(&g);
    return 0;
}
