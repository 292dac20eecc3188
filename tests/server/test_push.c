/* Pushes through the whole path into a real store; what is stored is read back as text. Every
 * case has a tenant of its own. */
#include "push.h"

#include <pthread.h>
#include <stdlib.h>

#include <snappy-c.h>
#include <zstd.h>

#include "arena.h"
#include "rate_limit.h"
#include "rejects.h"
#include "store_world.h"

#define NOW INT64_C(1767607200000000000) /* 2026-01-05T10:00:00Z */

static const struct str default_services[] = {
    {"service", 7}, {"app", 3}, {"container", 9}, {"job", 3}};
static const struct str default_fields[] = {{"level", 5}, {"severity", 8}, {"lvl", 3}};

static const struct limits default_limits = {
    .max_label_names_per_series = 15,
    .max_label_name_length = 1024,
    .max_label_value_length = 2048,
    .reject_old_samples = true,
    .reject_old_samples_max_age_ns = INT64_C(168) * 3600 * 1000000000,
    .creation_grace_period_ns = INT64_C(600) * 1000000000,
    .max_line_size = 64,
    .allow_structured_metadata = true,
    .max_structured_metadata_size = 100,
    .max_structured_metadata_entries_count = 4,
    .discover_log_levels = true,
    .discover_service_name = default_services,
    .n_discover_service_name = 4,
    .log_level_fields = default_fields,
    .n_log_level_fields = 3,
};

static struct store_world world;
static struct push_metrics metrics;

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int calls;
    int status;
    struct buf text;
};

static void on_done(void *ctx, int status, struct str text) {
    struct answer *a = ctx;
    pthread_mutex_lock(&a->lock);
    a->calls++;
    a->status = status;
    buf_clear(&a->text);
    buf_add_str(&a->text, text);
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
}

static struct answer push_wait(const struct limits *limits, const struct push_request *request) {
    struct answer a = {.lock = PTHREAD_MUTEX_INITIALIZER,
                       .cond = PTHREAD_COND_INITIALIZER,
                       .text = buf_make(BUF_NO_MAX)};
    /* A copy that is gone afterwards: the body must not be needed then. */
    char *copy = malloc(request->body.size + 1);
    if (request->body.size > 0)
        memcpy(copy, request->body.data, request->body.size);
    struct push_request q = *request;
    q.body.data = copy;
    push_handle(world.store, limits, &metrics, &q, on_done, &a);
    memset(copy, 'X', request->body.size);
    free(copy);
    pthread_mutex_lock(&a.lock);
    while (a.calls == 0)
        pthread_cond_wait(&a.cond, &a.lock);
    CHECK_INT(a.calls, 1);
    pthread_mutex_unlock(&a.lock);
    return a;
}

/* ---- what a tenant has: "{labels}\n" and "  seconds line|k=v|..\n" for each entry */

struct dump {
    struct buf out;
    const struct snap_stream *stream; /* the last one; its labels are above its entries */
};

static void dump_entry(const struct snap_stream *stream, const struct entry *e, void *ctx) {
    struct dump *d = ctx;
    if (d->stream != stream) {
        labels_format(&d->out, stream->labels);
        buf_add_char(&d->out, '\n');
        d->stream = stream;
    }
    buf_addf(&d->out, "  %lld ", (long long)((e->ts_ns - NOW) / 1000000000));
    buf_add_str(&d->out, e->line);
    for (uint32_t i = 0; i < e->meta_count; i++)
        buf_addf(&d->out, "|%.*s=%.*s", STR_ARG(e->meta[i].name), STR_ARG(e->meta[i].value));
    buf_add_char(&d->out, '\n');
}

static struct buf dump(struct str tenant) {
    struct dump d = {.out = buf_make(BUF_NO_MAX)};
    world_walk_tenant(world.store, tenant, dump_entry, &d);
    return d.out;
}

/* ---- JSON in, everything checked */

static unsigned next_tenant;

/* `body`: JSON with ' for ". Streams whose order does not matter to a case must be alone. */
static void check_kind(enum push_kind kind, const struct limits *limits, const char *body,
                       int status, const char *text, const char *want) {
    char tenant[32];
    (void)snprintf(tenant, sizeof(tenant), "tenant-%u", next_tenant++);
    struct buf json = buf_make(BUF_NO_MAX);
    for (const char *p = body; *p != '\0'; p++)
        buf_add_char(&json, *p == '\'' ? '"' : *p);
    struct push_request request = {
        .kind = kind,
        .tenant = str_from(tenant),
        .content_type = STR("application/json"),
        .body = buf_str(&json),
        .now_ns = NOW,
    };
    struct answer a = push_wait(limits, &request);
    if (a.status != status)
        printf("  body: %s\n", body);
    CHECK_INT(a.status, status);
    CHECK_STR(buf_str(&a.text), str_from(text));
    struct buf got = dump(request.tenant);
    CHECK_STR(buf_str(&got), str_from(want));
    buf_done(&got);
    buf_done(&a.text);
    buf_done(&json);
}

static void check_json(const struct limits *limits, const char *body, int status, const char *text,
                       const char *want) {
    check_kind(PUSH_LOKI, limits, body, status, text, want);
}

#define AT "'17676072" /* two digits of seconds and nine of nanoseconds follow */
#define T0 AT "00000000000'"
#define T1 AT "01000000000'"
#define T2 AT "02000000000'"

static void test_accepted(void) {
    const struct limits *l = &default_limits;
    check_json(l,
               "{'streams':[{'stream':{'a':'b'},'values':[[" T1 ",'one'],[" T2 ",'two error']]}]}",
               204, "",
               "{a=\"b\", service_name=\"unknown_service\"}\n  1 one|detected_level=unknown\n"
               "  2 two error|detected_level=error\n");
    check_json(l, "{'streams':[{'stream':{'job':'j','container':'c'},'values':[[" T1 "]]}]}", 204,
               "",
               "{container=\"c\", job=\"j\", service_name=\"c\"}\n  1 |detected_level=unknown\n");
    check_json(l, "{'streams':[{'stream':{'app':'x','service_name':''},'values':[[" T1 ",'l']]}]}",
               204, "", "{app=\"x\", service_name=\"x\"}\n  1 l|detected_level=unknown\n");
    check_json(l,
               "{'streams':[{'stream':{'app':'x','service_name':'mine'},'values':[[" T1 ",'l']]}]}",
               204, "", "{app=\"x\", service_name=\"mine\"}\n  1 l|detected_level=unknown\n");
    check_json(l, "{'streams':[{'stream':{'__pattern__':'x'},'values':[[" T1 ",'l']]}]}", 204, "",
               "{__pattern__=\"x\"}\n  1 l|detected_level=unknown\n");
    check_json(l, "{'streams':[{'values':[[" T1 ",'l']]}]}", 204, "",
               "{service_name=\"unknown_service\"}\n  1 l|detected_level=unknown\n");
    /* The last of equal keys counts, an empty one removes the label. */
    check_json(
        l, "{'streams':[{'stream':{'a':'1','b':'x','a':'2','b':''},'values':[[" T1 ",'l']]}]}", 204,
        "", "{a=\"2\", service_name=\"unknown_service\"}\n  1 l|detected_level=unknown\n");
    check_json(
        l, "{'streams':[{'stream':{'n':5,'z':null}, 'values':[[" T1 ",'l']]}]}", 204, "",
        "{n=\"5\", service_name=\"unknown_service\", z=\"null\"}\n  1 l|detected_level=unknown\n");
    /* A level label decides for all entries, known or not. */
    check_json(
        l,
        "{'streams':[{'stream':{'level':'WARNING'},'values':[[" T1 ",'error'],[" T2
        ",'l',{'k':'v'}]]}]}",
        204, "",
        "{level=\"WARNING\", service_name=\"unknown_service\"}\n  1 error|detected_level=warn\n"
        "  2 l|detected_level=warn|k=v\n");
    check_json(l, "{'streams':[{'stream':{'lvl':'odd'},'values':[[" T1 ",'error'],[" T2 ",'x']]}]}",
               204, "",
               "{lvl=\"odd\", service_name=\"unknown_service\"}\n  1 error|detected_level=odd\n  2 "
               "x|detected_level=odd\n");
}

static void test_nothing_to_store(void) {
    const struct limits *l = &default_limits;
    const char *required = "error at least one valid stream is required for ingestion";
    check_json(l, "{}", 422, required, "");
    check_json(l, "null", 422, required, "");
    check_json(l, "{'streams':[]}", 422, required, "");
    check_json(l, "{'streams':[{}]}", 204, "", "");
    check_json(l, "{'streams':[{'stream':{'a':'b'},'values':[]}]}", 204, "", "");
    check_json(l, "", 400, "EOF", "");
    check_json(
        l, "{'streams':[{'stream':{'a':'b'},'values':[[" T1 ",'l'],[1,'l']]}]}", 400,
        "malformed JSON push: ',' at offset 72, expected a string of nanoseconds before here", "");
}

static void test_metadata(void) {
    const struct limits *l = &default_limits;
    check_json(l, "{'streams':[{'values':[[" T1 ",'l',{'b.c':'1','a':'2','1st':'3','__x':'4'}]]}]}",
               204, "",
               "{service_name=\"unknown_service\"}\n  1 "
               "l|_x=4|a=2|b_c=1|detected_level=unknown|key_1st=3\n");
    /* Empty values and names without a letter or digit are dropped; the later of two equal names
     * stays. */
    check_json(l, "{'streams':[{'values':[[" T1 ",'l',{'a.b':'1','a_b':'2','e':'','.':'x'}]]}]}",
               204, "", "{service_name=\"unknown_service\"}\n  1 l|a_b=2|detected_level=unknown\n");
    check_json(l, "{'streams':[{'values':[[" T1 ",'warn',{'':'x','\xc3\xbc':'y'}]]}]}", 204, "",
               "{service_name=\"unknown_service\"}\n  1 warn|detected_level=warn\n");
    check_json(l, "{'streams':[{'values':[[" T1 ",'l',{'a':'x\xef\xbf\xbdy\xff\xc3\xa9'}]]}]}", 204,
               "",
               "{service_name=\"unknown_service\"}\n  1 l|a=xy\xc3\xa9|detected_level=unknown\n");
    check_json(l,
               "{'streams':[{'values':[[" T1 ",'warn',{'detected_level':'ERR'}],[" T2
               ",'warn',{'severity':'dbg'}]]}]}",
               204, "",
               "{service_name=\"unknown_service\"}\n  1 warn|detected_level=error\n"
               "  2 warn|detected_level=debug|severity=dbg\n");
    /* Same time and line with other metadata is another entry; a repeated one is not. */
    check_json(l,
               "{'streams':[{'values':[[" T1 ",'l',{'a':'1'}],[" T1 ",'l',{'a':'2'}],[" T1
               ",'l',{'a':'1'}]]}]}",
               204, "",
               "{service_name=\"unknown_service\"}\n  1 l|a=1|detected_level=unknown\n  1 "
               "l|a=2|detected_level=unknown\n");
    struct limits off = default_limits;
    off.discover_log_levels = false;
    check_json(&off, "{'streams':[{'values':[[" T1 ",'warn',{'a':'1'}],[" T2 ",'warn']]}]}", 204,
               "", "{service_name=\"unknown_service\"}\n  1 warn|a=1\n  2 warn\n");
    off.allow_structured_metadata = false;
    check_json(&off, "{'streams':[{'values':[[" T1 ",'warn',{'a':'1'}],[" T2 ",'warn']]}]}", 400,
               "stream '{service_name=\"unknown_service\"}' includes structured metadata, but this "
               "feature is disallowed. "
               "Please see `limits_config.allow_structured_metadata` or contact your Loki "
               "administrator to enable it",
               "{service_name=\"unknown_service\"}\n  2 warn\n");
}

static void test_partial(void) {
    const struct limits *l = &default_limits;
    /* 2025-12-29T09:59:59Z is one second too old, 2026-01-05T10:10:00.000000001Z one nanosecond
     * too new. */
    check_json(
        l,
        "{'streams':[{'stream':{'a':'b'},'values':[['1767002399000000000','old'],[" T0 ",'now'],"
        "['1767607800000000001','new'],['1767002400000000000','just'],['1767607800000000000','in']]"
        "}]}",
        400,
        "1 errors like: entry for stream '{a=\"b\", service_name=\"unknown_service\"}' has "
        "timestamp too old: "
        "2025-12-29T09:59:59Z, oldest acceptable timestamp is: 2025-12-29T10:00:00Z; "
        "1 errors like: entry for stream '{a=\"b\", service_name=\"unknown_service\"}' has "
        "timestamp too new: "
        "2026-01-05T10:10:00Z",
        "{a=\"b\", service_name=\"unknown_service\"}\n  -604800 just|detected_level=unknown\n"
        "  0 now|detected_level=unknown\n  600 in|detected_level=unknown\n");
    /* The same text twice is one group; a single error stands alone. */
    check_json(l, "{'streams':[{'values':[['1000','old'],['2000','old too'],[" T0 ",'now']]}]}",
               400,
               "2 errors like: entry for stream '{service_name=\"unknown_service\"}' has timestamp "
               "too old: "
               "1970-01-01T00:00:00Z, oldest acceptable timestamp is: 2025-12-29T10:00:00Z",
               "{service_name=\"unknown_service\"}\n  0 now|detected_level=unknown\n");
    check_json(l, "{'streams':[{'values':[['1000','old']]}]}", 400,
               "entry for stream '{service_name=\"unknown_service\"}' has timestamp too old: "
               "1970-01-01T00:00:00Z, oldest acceptable timestamp is: 2025-12-29T10:00:00Z",
               "");
#define LINE_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    check_json(l, "{'streams':[{'values':[[" T0 ",'" LINE_64 "'],[" T1 ",'" LINE_64 "x']]}]}", 400,
               "max entry size '64' bytes exceeded for stream '{service_name=\"unknown_service\"}' "
               "while adding an entry "
               "with length '65' bytes",
               "{service_name=\"unknown_service\"}\n  0 " LINE_64 "|detected_level=unknown\n");
    struct limits cut = default_limits;
    cut.max_line_size_truncate = true;
    check_json(&cut, "{'streams':[{'values':[[" T1 ",'" LINE_64 "x']]}]}", 204, "",
               "{service_name=\"unknown_service\"}\n  1 " LINE_64 "|detected_level=unknown\n");
    check_json(l,
               "{'streams':[{'values':[[" T0 ",'l',{'a':'" LINE_64
               "','b':'0123456789012345678901234567890123'}],[" T1 ",'l',{'a':'" LINE_64
               "','b':'01234567890123456789012345678901234'}]]}]}",
               400,
               "stream '{service_name=\"unknown_service\"}' has structured metadata too large: "
               "'101' bytes, limit: '100' "
               "bytes. Please see `limits_config.max_structured_metadata_size` or contact your "
               "Loki administrator to "
               "increase it",
               "{service_name=\"unknown_service\"}\n  0 l|a=" LINE_64
               "|b=0123456789012345678901234567890123|detected_level=unknown\n");
    check_json(
        l, "{'streams':[{'values':[[" T0 ",'l',{'a':'1','b':'1','c':'1','d':'1','e':'1'}]]}]}", 400,
        "stream '{service_name=\"unknown_service\"}' has too many structured metadata labels: '5', "
        "limit: '4'. Please "
        "see `limits_config.max_structured_metadata_entries_count` or contact your Loki "
        "administrator to increase it",
        "");
}

static void test_labels(void) {
    struct limits l = default_limits;
    l.max_label_names_per_series = 2;
    l.max_label_name_length = 14; /* service_name must fit */
    l.max_label_value_length = 16;
    check_json(
        &l,
        "{'streams':[{'stream':{'a':'1','b':'2'},'values':[[" T1 ",'kept']]},"
        "{'stream':{'a':'1','b':'2','c':'3'},'values':[[" T1 ",'lost'],[" T2 ",'lost']]}]}",
        400,
        "entry for stream '{a=\"1\", b=\"2\", c=\"3\", service_name=\"unknown_service\"}' has 3 "
        "label names; limit 2",
        "{a=\"1\", b=\"2\", service_name=\"unknown_service\"}\n  1 kept|detected_level=unknown\n");
    check_json(&l, "{'streams':[{'stream':{'a23456789012345':'1'},'values':[[" T1 ",'lost']]}]}",
               400,
               "stream '{a23456789012345=\"1\", service_name=\"unknown_service\"}' has label name "
               "too long: 'a23456789012345'",
               "");
    check_json(&l, "{'streams':[{'stream':{'a':'12345678901234567'},'values':[[" T1 ",'lost']]}]}",
               400,
               "stream '{a=\"12345678901234567\", service_name=\"unknown_service\"}' has label "
               "value too long: "
               "'12345678901234567'",
               "");
    check_json(&l,
               "{'streams':[{'labels':'{a=\\'1\\', "
               "a=\\'2\\'}','entries':[{'ts':'2026-01-05T10:00:00Z','line':'l'}]}]}",
               400,
               "stream '{a=\"1\", a=\"2\", service_name=\"unknown_service\"}' has duplicate label "
               "name: 'a'",
               "");
    /* A label set that does not parse costs the whole request. */
    check_json(&l,
               "{'streams':[{'stream':{'a':'1'},'values':[[" T1 ",'lost']]},"
               "{'stream':{'bad-name':'x','push':'y'},'values':[[" T1 ",'lost']]}]}",
               400,
               "couldn't parse labels: 1:5: parse error: unexpected character inside braces: '-'",
               "");
    check_json(&l, "{'streams':[{'stream':{'1bad':'x'}}]}", 400,
               "couldn't parse labels: 1:2: parse error: unexpected character inside braces: '1'",
               "");
}

/* Spellings of one stream, and one-entry parts of it, come together in the order in which they
 * were sent. */
static void test_grouping(void) {
    check_json(
        &default_limits,
        "{'streams':[{'stream':{'a':'1','b':'2'},'values':[[" T1 ",'first']]},"
        "{'labels':'{b=\\'2\\',a=\\'1\\'}','entries':[{'ts':'2026-01-05T10:00:01Z','line':'second'}"
        "]},"
        "{'stream':{'a':'1','b':'2'},'values':[[" T1 ",'third'],['1000','refused']]},"
        "{'stream':{'b':'2','a':'1'},'values':[[" T1 ",'fourth']]}]}",
        400,
        "entry for stream '{a=\"1\", b=\"2\", service_name=\"unknown_service\"}' has timestamp too "
        "old: "
        "1970-01-01T00:00:00Z, oldest acceptable timestamp is: 2025-12-29T10:00:00Z",
        "{a=\"1\", b=\"2\", service_name=\"unknown_service\"}\n  1 first|detected_level=unknown\n"
        "  1 second|detected_level=unknown\n  1 third|detected_level=unknown\n  1 "
        "fourth|detected_level=unknown\n");
}

/* Thousands of one-entry streams over a few label sets: every entry is there once, in order. */
static void test_fluent_bit(void) {
    enum { ENTRIES = 5000, STREAMS = 7 };
    struct buf b = buf_make(BUF_NO_MAX), want = buf_make(BUF_NO_MAX);
    buf_add_str(&b, STR("{\"streams\":["));
    for (int i = 0; i < ENTRIES; i++)
        buf_addf(&b, "%s{\"stream\":{\"s\":\"%d\"},\"values\":[[\"%lld\",\"line %d\"]]}",
                 i > 0 ? "," : "", i % STREAMS, (long long)NOW, i);
    buf_add_str(&b, STR("]}"));
    struct push_request request = {.tenant = STR("fluent"),
                                   .content_type = STR("application/json"),
                                   .body = buf_str(&b),
                                   .now_ns = NOW};
    struct answer a = push_wait(&default_limits, &request);
    CHECK_INT(a.status, 204);
    struct buf got = dump(request.tenant);
    for (int s = 0; s < STREAMS; s++) {
        buf_clear(&want);
        buf_addf(&want, "{s=\"%d\", service_name=\"unknown_service\"}\n", s);
        for (int i = s; i < ENTRIES; i += STREAMS)
            buf_addf(&want, "  0 line %d|detected_level=unknown\n", i);
        CHECK(str_find(buf_str(&got), buf_str(&want)) != NULL);
    }
    buf_done(&got);
    buf_done(&want);
    buf_done(&a.text);
    buf_done(&b);
}

/* ---- content negotiation */

static const char plain_json[] = "{\"streams\":[{\"values\":[[\"1767607201000000000\",\"l\"]]}]}";
/* {a="b"} with one entry "x" at NOW. */
static const char plain_proto[] =
    "\x0a\x16\x0a\x07{a=\"b\"}\x12\x0b\x0a\x06\x08\xa0\x97\xee\xca\x06\x12\x01x";

static void test_content(void) {
    char snappy_json[200], snappy_proto[200];
    size_t snappy_json_size = sizeof(snappy_json), snappy_proto_size = sizeof(snappy_proto);
    CHECK(snappy_compress(plain_json, sizeof(plain_json) - 1, snappy_json, &snappy_json_size) ==
          SNAPPY_OK);
    CHECK(snappy_compress(plain_proto, sizeof(plain_proto) - 1, snappy_proto, &snappy_proto_size) ==
          SNAPPY_OK);
    char zstd_json[200];
    size_t zstd_json_size =
        ZSTD_compress(zstd_json, sizeof(zstd_json), plain_json, sizeof(plain_json) - 1, 1);
    CHECK(!ZSTD_isError(zstd_json_size));
    const struct str json = str_make(plain_json, sizeof(plain_json) - 1);
    const struct str packed = str_make(snappy_proto, snappy_proto_size);
    const struct {
        const char *type, *encoding;
        struct str body;
        int status;
        const char *text;
    } cases[] = {
        {"application/json", NULL, json, 204, ""},
        {"Application/JSON ; charset=utf-8", NULL, json, 204, ""},
        {"application/json; charset", NULL, json, 204, ""},
        {"application/json", "identity", json, 204, ""},
        {"application/json", "snappy", json, 204, ""},
        {"application/json", "snappy", str_make(snappy_json, snappy_json_size), 204, ""},
        {"application/json", "zstd", str_make(zstd_json, zstd_json_size), 204, ""},
        {"application/json", "zstd", str_make(zstd_json, zstd_json_size - 6), 400, NULL},
        {"application/json", "zstd", json, 400, NULL},
        {"application/json", "lz4", json, 400, NULL},
        {"application/json", "br", json, 400, "Content-Encoding \"br\" not supported"},
        {"application/json", "gzip", json, 400, "gzip: invalid header"},
        {"application/json", "GZIP", json, 400, "gzip: invalid header"},
        /* gzip of "{}" and of "{" without their trailers: the first holds a whole document. */
        {"application/json",
         "gzip",
         {"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\x43\xbf", 16},
         422,
         NULL},
        {"application/json",
         "gzip",
         {"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\x06\0", 13},
         400,
         "unexpected EOF"},
        {"application/json", NULL, packed, 400, NULL},
        {"application/x-protobuf", NULL, packed, 204, ""},
        {"application/x-protobuf", "snappy", packed, 204, ""},
        {"text/plain", "whatever", packed, 204, ""},
        {NULL, NULL, packed, 204, ""},
        {"", NULL, packed, 204, ""},
        {";;", NULL, json, 204, ""},
        {NULL, NULL, json, 204, ""},
        {"text/plain", NULL, json, 204, ""},
        {"application/x-protobuf", NULL, json, 204, ""},
        {NULL, NULL, STR("nonsense"), 400, "mime: no media type"},
        {"text/plain", NULL, STR("nonsense"), 400, "snappy: corrupt input"},
        {"application/x-protobuf", NULL, STR(""), 400, "snappy: corrupt input"},
        {"application/x-protobuf",
         NULL,
         {"\x00", 1},
         422,
         "error at least one valid stream is required for ingestion"},
        {"application/x-protobuf", "gzip", packed, 400, "gzip: invalid header"},
        {"application/x-protobuf", NULL, STR("\xff\xff\xff\xff\x0f"), 413,
         "request body too large: more than 1048576 bytes after decompression"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct push_request request = {
            .tenant = STR("content"),
            .content_type = str_from(cases[i].type),
            .content_encoding = str_from(cases[i].encoding),
            .body = cases[i].body,
            .now_ns = NOW,
            .body_max = 1 << 20,
        };
        struct answer a = push_wait(&default_limits, &request);
        if (a.status != cases[i].status)
            printf("  case %zu\n", i);
        CHECK_INT(a.status, cases[i].status);
        if (cases[i].text)
            CHECK_STR(buf_str(&a.text), str_from(cases[i].text));
        CHECK(push_is_small(&request) || cases[i].status == 413);
        buf_done(&a.text);
    }
    struct buf got = dump(STR("content"));
    CHECK_STR(buf_str(&got),
              STR("{service_name=\"unknown_service\"}\n  1 l|detected_level=unknown\n"
                  "{a=\"b\", service_name=\"unknown_service\"}\n  0 x|detected_level=unknown\n"));
    buf_done(&got);
}

static void test_rate_limit(void) {
    struct limits l = default_limits;
    l.ingestion_rate_mb = 1.0 / 1048576 * 10; /* 10 bytes a second */
    l.ingestion_burst_size_mb = 1.0 / 1048576 * 20;
    rate_limit_reset();
    struct push_request request = {
        .tenant = STR("rate"),
        .content_type = STR("application/json"),
        .now_ns = NOW,
        .body = STR("{\"streams\":[{\"values\":[[\"1767607201000000000\",\"0123456789\"],["
                    "\"1767607201000000000\",\"01234\"]]}]}")};
    struct answer a = push_wait(&l, &request);
    CHECK_INT(a.status, 204);
    buf_done(&a.text);
    a = push_wait(&l, &request);
    CHECK_INT(a.status, 429);
    CHECK_STR(buf_str(&a.text), STR("ingestion rate limit exceeded for user rate (limit: 10 "
                                    "bytes/sec) while attempting to ingest '2' lines "
                                    "totaling '15' bytes, reduce log volume or contact your Loki "
                                    "administrator to see if the limit can be "
                                    "increased"));
    buf_done(&a.text);
    /* The bucket itself, with a clock of ours. */
    rate_limit_reset();
    struct rate rate = {.bytes_per_second = 10, .burst_bytes = 20};
    CHECK(rate_limit_take(STR("t"), rate, 20, 0));
    CHECK(!rate_limit_take(STR("t"), rate, 1, 50000000));
    CHECK(rate_limit_take(STR("t"), rate, 1, 150000000));
    CHECK(rate_limit_take(STR("other"), rate, 20, 150000000));
    CHECK(!rate_limit_take(STR("other"), rate, 21, INT64_C(100000000000)));
    CHECK(rate_limit_take(STR("other"), (struct rate){0}, 1 << 30, 0));
    /* A full table forgets tenants that have not sent for long, never one that is in debt. */
    for (int i = 0; i < RATE_TENANTS_MAX + 10; i++) {
        char tenant[16];
        (void)snprintf(tenant, sizeof(tenant), "t%d", i);
        CHECK(rate_limit_take(str_from(tenant), rate, 20, INT64_C(200000000000)));
    }
    CHECK(!rate_limit_take(STR("t0"), rate, 20, INT64_C(200000000000)));
    rate_limit_reset();
}

static void test_rejects(void) {
    struct arena arena = arena_make(1 << 20);
    struct rejects r = rejects_make(&arena);
    struct buf out = buf_make(BUF_NO_MAX);
    rejects_add(&r, STR("a"));
    rejects_format(&r, &out);
    CHECK_STR(buf_str(&out), STR("a"));
    rejects_add(&r, STR("b"));
    rejects_add(&r, STR("a"));
    buf_clear(&out);
    rejects_format(&r, &out);
    CHECK_STR(buf_str(&out), STR("2 errors like: a; 1 errors like: b"));
    for (int i = 0; i < REJECT_TEXTS_MAX; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "text %d", i);
        rejects_add(&r, str_from(text));
    }
    buf_clear(&out);
    rejects_format(&r, &out);
    CHECK(str_ends(buf_str(&out), STR("; 1 errors like: text 97; 2 more errors")));
    buf_done(&out);
    rejects_done(&r);
    arena_done(&arena);
}

/* A resource that is a service, with `resource` (attributes that begin with a comma) and
 * `scopes`. */
#define OTLP(resource, scopes)                                                                     \
    "{'resourceLogs':[{'resource':{'attributes':[{'key':'service.name','value':{'stringValue':'s'" \
    "}}" resource "]},'scopeLogs':[" scopes "]}]}"
#define OTLP_ATTRIBUTE(key, value) "{'key':'" key "','value':{'stringValue':'" value "'}}"
#define OTLP_LINE(ns, line) "{'timeUnixNano':" ns ",'body':{'stringValue':'" line "'}}"

static void check_otlp(const struct limits *limits, const char *body, int status, const char *text,
                       const char *want) {
    check_kind(PUSH_OTLP, limits, body, status, text, want);
}

static void test_otlp(void) {
    const struct limits *l = &default_limits;
    /* What is shared goes to each line, beside the level of the line; it wins over the line's
     * own. */
    check_otlp(
        l,
        OTLP("," OTLP_ATTRIBUTE("host", "h"),
             "{'logRecords':[" OTLP_LINE(T0, "an error") "," OTLP_LINE(T1, "plain") "," OTLP_LINE(
                 T2, "error again") ",{'timeUnixNano':" AT "03000000000','severityNumber"
                                    "':9,'attributes':[" OTLP_ATTRIBUTE(
                                        "host", "own") "," OTLP_ATTRIBUTE("a b", "c") "]}]}"),
        204, "",
        "{service_name=\"s\"}\n  0 an error|detected_level=error|host=h\n"
        "  1 plain|detected_level=unknown|host=h\n"
        "  2 error again|detected_level=error|host=h\n"
        "  3 |a_b=c|detected_level=info|host=h|severity_number=9\n");
    /* A level in what is shared decides for all. */
    check_otlp(l,
               OTLP("," OTLP_ATTRIBUTE("level", "WARN"),
                    "{'logRecords':[" OTLP_LINE(T0, "an error") "," OTLP_LINE(T1, "x") "]}"),
               204, "",
               "{service_name=\"s\"}\n  0 an error|detected_level=warn|level=WARN\n"
               "  1 x|detected_level=warn|level=WARN\n");
    /* Shared metadata counts for the limits: four pairs, 100 bytes. */
    check_otlp(
        l,
        OTLP("," OTLP_ATTRIBUTE("a", "1") "," OTLP_ATTRIBUTE("b", "2") "," OTLP_ATTRIBUTE("c", "3"),
             "{'logRecords':[" OTLP_LINE(T0, "four") ",{'timeUnixNano':" T1
                                                     ",'severityNumber':1,'flags':2}],"
                                                     "'scope':{'name':'n'}}"),
        400,
        "stream '{service_name=\"s\"}' has too many structured metadata labels: '6', limit: "
        "'4'. Please see `limits_config.max_structured_metadata_entries_count` or contact "
        "your Loki administrator to increase it",
        "{service_name=\"s\"}\n  0 four|a=1|b=2|c=3|detected_level=unknown|scope_name=n\n");
    struct limits off = default_limits;
    off.discover_log_levels = false;
    check_otlp(&off,
               OTLP("," OTLP_ATTRIBUTE("host", "h"), "{'logRecords':[" OTLP_LINE(T0, "x") "]}"),
               204, "", "{service_name=\"s\"}\n  0 x|host=h\n");
    /* A record without any time is of now; a service without a name has the container's. */
    check_otlp(l,
               "{'resourceLogs':[{'scopeLogs':[{'logRecords':[{'body':{'intValue':'5'}}]}],"
               "'resource':{'attributes':[" OTLP_ATTRIBUTE("k8s.pod.name", "p") "," OTLP_ATTRIBUTE(
                   "service.name", "") "]}}]}",
               204, "",
               "{k8s_pod_name=\"p\", service_name=\"unknown_service\"}\n"
               "  0 5|detected_level=unknown\n");
    check_otlp(l, "{}", 422, "error at least one valid stream is required for ingestion", "");
    check_otlp(l, OTLP("", "{'logRecords':[]}"), 422,
               "error at least one valid stream is required for ingestion", "");
}

static void check_otlp_content(const char *type, const char *encoding, struct str body, int status,
                               const char *text) {
    struct push_request request = {
        .kind = PUSH_OTLP,
        .tenant = STR("otlp-content"),
        .content_type = str_from(type),
        .content_encoding = str_from(encoding),
        .body = body,
        .now_ns = NOW,
    };
    struct answer a = push_wait(&default_limits, &request);
    CHECK_INT(a.status, status);
    CHECK_STR(buf_str(&a.text), str_from(text));
    buf_done(&a.text);
}

static void test_otlp_content(void) {
    const char *json = "application/json", *proto = "application/x-protobuf";
    struct str document = STR("{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{}]}]}]}");
    struct str message = STR("\x0a\x04\x12\x02\x12\x00");
    check_otlp_content(json, NULL, document, 204, "");
    check_otlp_content("Application/JSON; charset=utf-8", "identity", document, 204, "");
    check_otlp_content(proto, NULL, message, 204, "");
    check_otlp_content(proto, NULL, STR(""), 422,
                       "error at least one valid stream is required for ingestion");
    check_otlp_content(json, NULL, STR(" "), 400, "EOF");
    check_otlp_content(NULL, NULL, document, 400, "content type:  is not supported");
    check_otlp_content("text/plain", NULL, document, 400,
                       "content type: text/plain is not supported");
    check_otlp_content(
        proto, "snappy", message, 400,
        "unsupported content encoding snappy: only gzip, lz4 and zstd are supported");
    check_otlp_content(json, "gzip", document, 400, "gzip: invalid header");
}

static void test_metrics(void) {
    CHECK(atomic_load(&metrics.requests) > 0);
    CHECK(atomic_load(&metrics.discarded_lines[DISCARD_TOO_OLD]) > 0);
    CHECK_INT(atomic_load(&metrics.discarded_lines[DISCARD_RATE]), 2);
    CHECK_INT(atomic_load(&metrics.discarded_bytes[DISCARD_RATE]), 15);
    CHECK_INT(atomic_load(&metrics.discarded_lines[DISCARD_STORAGE]), 0);
    for (int i = 0; i < DISCARD_REASONS; i++)
        CHECK(discard_reason_name((enum discard_reason)i).size > 0);
}

int main(void) {
    world_begin(&world);
    world_open(&world, (struct store_options){.wal = {.sync = WAL_SYNC_ALWAYS}});
    RUN(test_accepted);
    RUN(test_nothing_to_store);
    RUN(test_metadata);
    RUN(test_partial);
    RUN(test_labels);
    RUN(test_grouping);
    RUN(test_fluent_bit);
    RUN(test_content);
    RUN(test_otlp);
    RUN(test_otlp_content);
    RUN(test_rate_limit);
    RUN(test_rejects);
    RUN(test_metrics);
    world_end(&world);
    return test_done();
}
