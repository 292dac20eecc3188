#include "lines.h"

#include "test_random.h"

void lines_seed(uint64_t seed) {
    random_state = seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
    random_state += (random_state == 0);
}

unsigned below(size_t n) {
    return (unsigned)random_below(n);
}

static const char *const names[] = {
    "level", "status",      "took",  "size", "ip",   "msg", "user", "id",    "x",
    "app",   "x_extracted", "trace", "in",   "in_x", "env", "k",    "ratio", "status_extracted"};
static const char *const words[] = {"served", "failed", "Error", "timeout after",
                                    "ok",     "retry",  "a=b c", "K\xc3\xa9lvin"};
static const char *const numbers[] = {"0",   "1",    "-1",     "200",  "404", "500",
                                      "5e2", "1.50", "007",    "-0.5", "1E3", "1e400",
                                      "NaN", "+Inf", "123456", "0x10"};
static const char *const times[] = {"12ms", "1.5s",  "7",  "3h2m", "soon",
                                    "-2s",  "250us", "0s", "1d"};
static const char *const sizes[] = {"512", "10KB", "1.5MiB", "3kb", "0", "7 GB", "1e3B", "many"};
static const char *const ips[] = {"10.0.0.1",   "10.0.1.17", "192.168.4.5", "::1",
                                  "10.0.0.256", "fe80::1",   "1.2.3",       "10.0.0.1:80"};
static const char *const levels[] = {"info", "info", "info", "warn", "error", "ERROR", ""};

const char *random_name(void) {
    return PICK(names);
}

void random_value(struct buf *out) {
    switch (below(7)) {
    case 0:
        buf_addf(out, "%s", PICK(words));
        break;
    case 1:
        buf_addf(out, "%s", PICK(numbers));
        break;
    case 2:
        buf_addf(out, "%s", PICK(times));
        break;
    case 3:
        buf_addf(out, "%s", PICK(sizes));
        break;
    case 4:
        buf_addf(out, "%s", PICK(ips));
        break;
    case 5:
        buf_addf(out, "%s", PICK(levels));
        break;
    default:
        buf_addf(out, "u%u", below(12));
        break;
    }
}

static void put_json_string(struct buf *b) {
    static const char *const odd[] = {"caf\xc3\xa9",        "bad \xff byte", "say \\\"hi\\\"",
                                      "tab\\tand\\nline",   "\\u00e9",       "\\ud83d\\ude00",
                                      "lone \\ud800",       "\xef\xbf\xbd",  "{\\\"x\\\":1}",
                                      "\\\"status\\\":500", "C:\\\\temp",    "\\/x"};
    buf_add_char(b, '"');
    if (once_in(5))
        buf_addf(b, "%s", PICK(odd));
    else
        random_value(b);
    buf_add_char(b, '"');
}

static void put_json_value(struct buf *b, int depth) {
    static const char *const bare[] = {"true", "false", "null", "17", "-0.5", "1e3", "200", "0"};
    switch (below(depth > 0 ? 8 : 5)) {
    case 5:
        buf_addf(b, "{\"%s\":", random_name());
        put_json_value(b, depth - 1);
        buf_addf(b, once_in(3) ? " , \"in\" : %u }" : ",\"x\":%u}", below(4));
        break;
    case 6:
        buf_addf(b, "[");
        put_json_value(b, depth - 1);
        buf_addf(b, ",{\"%s\":1}]", random_name());
        break;
    case 7:
        buf_addf(b, once_in(2) ? "{}" : "[]");
        break;
    case 0:
    case 1:
        buf_addf(b, "%s", PICK(bare));
        break;
    default:
        put_json_string(b);
        break;
    }
}

static void put_json(struct buf *b) {
    static unsigned n;
    n++;
    buf_addf(b, "{\"level\":\"%s\",\"id\":\"%08x\",\"n\":%u,\"ratio\":%u.%u,", PICK(levels),
             below(0x7fffffff), n, below(9), below(100));
    buf_addf(b, "\"in\":{\"x\":\"u%u\",\"status\":%u},\"status\":", below(30), below(4));
    if (once_in(25))
        put_json_value(b, 1);
    else
        buf_addf(b, "%u", below(4) ? 200 : 400 + below(120));
    buf_addf(b, ",\"took\":\"%ums\",\"x\":\"%s\"", below(900), PICK(words));
    if (once_in(20))
        buf_addf(b, ",\"status\":%u", below(600));
    buf_addf(b, ",\"size\":\"%s\"}", PICK(sizes));
}

static void put_json_nested(struct buf *b) {
    static const char *const odd_names[] = {
        "with-dash", "user.id", "1st",       " x ",          "",
        "@level",    "in x",    "k\\u0065y", "\xeb\xa9\x94", "a\\\"b"};
    unsigned fields = below(6);
    buf_addf(b, once_in(4) ? "{ " : "{");
    for (unsigned i = 0; i <= fields; i++) {
        buf_addf(b, "%s\"%s\"%s", i > 0 ? (once_in(4) ? ", " : ",") : "",
                 once_in(6) ? PICK(odd_names) : random_name(), once_in(4) ? " : " : ":");
        put_json_value(b, 3);
    }
    buf_addf(b, once_in(8) ? "} and more" : "}");
}

static void put_json_broken(struct buf *b) {
    static const char *const ends[] = {"",   "]", "}}", ",",   ":",    "x",
                                       "\"", "{", "\\", "nul", "tru}", "1.2.3}"};
    struct buf whole = buf_make(BUF_NO_MAX);
    if (once_in(2))
        put_json(&whole);
    else
        put_json_nested(&whole);
    struct str text = buf_str(&whole);
    buf_add(b, text.data, below(text.size + 1));
    buf_addf(b, "%s", PICK(ends));
    buf_done(&whole);
}

static void put_logfmt(struct buf *b) {
    static unsigned n;
    n++;
    buf_addf(b, "ts=2026-11-26T10:%02u:%02uZ level=%s n=%u status=%u took=%ums ", below(60),
             below(60), PICK(levels), n, below(600), below(900));
    buf_addf(b, "user=u%u msg=\"%s %u\" ratio=%u.%u", below(12), PICK(words), below(30), below(9),
             below(100));
    if (once_in(12))
        buf_addf(b, " %s=%s", random_name(), PICK(numbers));
}

static void put_logfmt_odd(struct buf *b) {
    static const char *const odd[] = {"=x",
                                      "a\"b",
                                      "word",
                                      "empty=",
                                      "q=\"a\\\"level=error\"",
                                      "u=/x?x=1",
                                      "x=\"\"",
                                      "x=\"1\"y",
                                      "\xc3\xa9=1",
                                      "q=\"open ",
                                      "bad=\xff\xfe",
                                      "x=\"\\u00e9\\t\"",
                                      "x=\"\\q\"",
                                      "in.x=3",
                                      "a-b=c",
                                      "x==1"};
    unsigned fields = 1 + below(7);
    for (unsigned i = 0; i < fields; i++) {
        if (i > 0)
            buf_addf(b, once_in(6) ? "  " : " ");
        if (once_in(4)) {
            buf_addf(b, "%s", PICK(odd));
            continue;
        }
        buf_addf(b, once_in(4) ? "%s=\"" : "%s=", random_name());
        bool quoted = buf_str(b).data[buf_str(b).size - 1] == '"';
        random_value(b);
        buf_addf(b, quoted ? "\"" : "");
    }
}

static void put_text(struct buf *b) {
    buf_addf(b, "%s status %u, timeout after %ums from %s", PICK(words), below(600), below(20000),
             PICK(ips));
}

static void put_odd(struct buf *b) {
    static const char *const odd[] = {"",
                                      " ",
                                      "\r",
                                      "level=error status=500\r",
                                      "{\"status\":500,\"level\":\"error\"}\r",
                                      "\x1b[31mlevel=error\x1b[0m status=500",
                                      "bad \xff\xfe utf8 x=1",
                                      "\xe2\x84\xaa and k, \xc5\xbf and s",
                                      "null",
                                      "[1,2]",
                                      "\"text\"",
                                      "\xef\xbf\xbd",
                                      "a\tb",
                                      "status=500"};
    if (once_in(12)) {
        for (unsigned i = 0; i < 3000; i++)
            buf_addf(b, "x%u=%u ", i, below(10));
        return;
    }
    buf_addf(b, "%s", PICK(odd));
}

void random_line(struct buf *b, enum line_make make) {
    switch (make) {
    case LINE_JSON:
        put_json(b);
        break;
    case LINE_JSON_NESTED:
        put_json_nested(b);
        break;
    case LINE_JSON_BROKEN:
        put_json_broken(b);
        break;
    case LINE_LOGFMT:
        put_logfmt(b);
        break;
    case LINE_LOGFMT_ODD:
        put_logfmt_odd(b);
        break;
    case LINE_ACCESS:
        buf_addf(b, "%s - \"GET /items/%u?status=%u\" %u", PICK(ips), below(9999), below(600),
                 below(600));
        break;
    case LINE_TEXT:
        put_text(b);
        break;
    case LINE_PACKED:
        buf_addf(b, "{\"_entry\":\"%s x=%u\",\"k\":\"u%u\",\"level\":\"%s\"}", PICK(levels),
                 below(5), below(4), PICK(levels));
        break;
    case LINE_ODD:
    case LINE_MAKES:
    default:
        put_odd(b);
        break;
    }
}
