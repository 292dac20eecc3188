/* OTLP requests, protobuf and JSON, as decoded streams, written as text:
 *
 *   {labels} name=value ..        what a resource and a scope give to all lines
 *     seconds line|name=value ..  what the record itself gives
 *
 * Protobuf messages are written in a small language: 2{..} is field 2 holding a message, 1"x" a
 * string, 3=5 a varint, 4:8 eight bytes and 8;1 four bytes little-endian, 9'00ff' bytes in hex. */
#include "otlp.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "bytes.h"
#include "otlp_value.h"
#include "test.h"
#include "trial.h"

#define SECOND INT64_C(1000000000)
#define NOW (1000 * SECOND)

/* ---- protobuf from text */

enum { NESTING_MAX = 8 * OTLP_DEPTH_MAX };

static void add_varint(struct buf *b, uint64_t v) {
    uint8_t bytes[VARINT_MAX_BYTES];
    buf_add(b, bytes, (size_t)(put_varint(bytes, v) - bytes));
}

static const char *message_from(struct buf *out, const char *p, unsigned depth);

/* One field's value behind its number; returns the end. */
static const char *field_from(struct buf *out, uint64_t number, const char *p, unsigned depth) {
    struct buf inner = buf_make(BUF_NO_MAX);
    char kind = *p++, *end = NULL;
    unsigned wire = kind == '=' ? 0 : kind == ':' ? 1 : kind == ';' ? 5 : 2;
    add_varint(out, number << 3 | wire);
    if (kind == '{') {
        p = message_from(&inner, p, depth + 1) + 1;
    } else if (kind == '"') {
        while (*p != '"')
            buf_add_char(&inner, *p++);
        p++;
    } else if (kind == '\'') {
        for (; *p != '\''; p += 2) {
            char two[3] = {p[0], p[1], '\0'};
            buf_add_char(&inner, (char)strtoul(two, NULL, 16));
        }
        p++;
    } else {
        uint64_t v = strtoull(p, &end, 0);
        uint8_t bytes[8];
        put_le64(bytes, v);
        if (wire == 0)
            add_varint(out, v);
        else
            buf_add(out, bytes, wire == 1 ? 8 : 4);
        p = end;
    }
    if (wire == 2) {
        add_varint(out, inner.size);
        buf_add_str(out, buf_str(&inner));
    }
    buf_done(&inner);
    return p;
}

static const char *message_from(struct buf *out, const char *p, unsigned depth) {
    CHECK(depth <= NESTING_MAX);
    while (*p != '\0' && *p != '}') {
        if (*p == ' ') {
            p++;
            continue;
        }
        char *end;
        uint64_t number = strtoull(p, &end, 10);
        p = field_from(out, number, end, depth);
    }
    return p;
}

/* ---- decoding, and what came of it as text */

enum format { PROTO, JSON };

static void trial_decode(struct trial *t, enum format format, struct str body,
                         uint32_t labels_max) {
    struct otlp_options options = {.now_ns = NOW, .labels_max = labels_max};
    body = trial_begin(t, body, 1 << 20);
    t->r = format == PROTO ? otlp_proto_decode(body, &options, &t->d, &t->err)
                           : otlp_json_decode(body, &options, &t->d, &t->err);
    CHECK((t->r == 0) == (t->err.text[0] == '\0'));
}

static void add_pairs(struct buf *out, const struct label *pairs, size_t count, char before) {
    for (size_t i = 0; i < count; i++)
        buf_addf(out, "%c%.*s=%.*s", before, STR_ARG(pairs[i].name), STR_ARG(pairs[i].value));
}

static void dump(const struct decoded_push *d, struct buf *out) {
    for (size_t i = 0; i < d->n_streams; i++) {
        const struct decoded_stream *s = &d->streams[i];
        buf_add_str(out, s->labels_text);
        add_pairs(out, s->shared_meta.items, s->shared_meta.count, ' ');
        buf_add_char(out, '\n');
        for (uint32_t n = 0; n < s->n_entries; n++) {
            const struct entry *e = &d->entries[s->first_entry + n];
            buf_addf(out, "  %" PRId64 " ", e->ts_ns / SECOND);
            buf_add_str(out, e->line);
            add_pairs(out, e->meta, e->meta_count, '|');
            buf_add_char(out, '\n');
        }
    }
}

/* JSON is written with ' for ". */
static struct buf body_from(enum format format, const char *text) {
    struct buf body = buf_make(BUF_NO_MAX);
    if (format == PROTO)
        (void)message_from(&body, text, 0);
    for (const char *p = text; format == JSON && *p != '\0'; p++)
        buf_add_char(&body, *p == '\'' ? '"' : *p);
    return body;
}

static void check_limited(enum format format, const char *text, uint32_t labels_max,
                          const char *want) {
    struct buf body = body_from(format, text), got = buf_make(BUF_NO_MAX);
    struct trial t;
    trial_decode(&t, format, buf_str(&body), labels_max);
    if (t.r < 0)
        buf_add_str(&got, str_from(t.err.text));
    else
        dump(&t.d, &got);
    if (!str_eq(buf_str(&got), str_from(want)))
        printf("  body: %s\n", text);
    CHECK_STR(buf_str(&got), str_from(want));
    trial_done(&t);
    buf_done(&got);
    buf_done(&body);
}

/* Both forms of one request give the same. */
static void check_both(const char *proto, const char *json, const char *want) {
    if (proto)
        check_limited(PROTO, proto, 15, want);
    if (json)
        check_limited(JSON, json, 15, want);
}

/* ---- cases */

#define P_RECORD(fields) "1{2{2{1:1000000000 " fields "}}}"
#define J_RECORD(members)                                                                          \
    "{'resourceLogs':[{'scopeLogs':[{'logRecords':[{'timeUnixNano':'1000000000'" members "}]}]}]}"

static void test_records(void) {
    check_both(P_RECORD("5{1\"line\"}"), J_RECORD(",'body':{'stringValue':'line'}"),
               "{}\n  1 line\n");
    check_both(P_RECORD(""), J_RECORD(",'body':null,'other':[{'x':{}}]"), "{}\n  1 \n");
    /* Without a time of its own the observed one counts, else the present. */
    check_both("1{2{2{11:2000000000} 2{}}}",
               "{'resourceLogs':[{'scopeLogs':[{'logRecords':[{'observedTimeUnixNano':2000000000},"
               "{},null]}]}]}",
               "{}\n  2 \n  1000 \n");
    check_both(
        P_RECORD("11:3 2=17 3\"ERR\" 7=4 8;1 9'5b8efff798038103d269b633813fc60c' "
                 "10'EEE19B7EC3C1B174' 12\"e\" 6{1\"event_name\" 2{1\"not\"}} 6{1\"k\" 2{1\"v\"}}"),
        J_RECORD(
            ",'observedTimeUnixNano':3,'severityNumber':17,'severityText':'ERR',"
            "'droppedAttributesCount':4,'flags':1,'traceId':'5B8EFFF798038103d269b633813fc60c',"
            "'spanId':'eee19b7ec3c1b174','eventName':'e','attributes':[{'key':'event_name',"
            "'value':{'stringValue':'not'}},{'key':'k','value':{'stringValue':'v'}}]"),
        "{}\n  1 |event_name=not|k=v|observed_timestamp=3|severity_number=17|severity_text=ERR"
        "|dropped_attributes_count=4|flags=1|trace_id=5b8efff798038103d269b633813fc60c"
        "|span_id=eee19b7ec3c1b174|event_name=e\n");
    /* Zeros, wrong sizes and other characters are no ids. */
    check_both(P_RECORD("2=0 9'00000000000000000000000000000000' 10'0102'"),
               J_RECORD(",'severityNumber':0,'traceId':'00000000000000000000000000000000',"
                        "'spanId':'eee19b7ec3c1b17x','flags':0"),
               "{}\n  1 \n");
    check_both(NULL, J_RECORD(",'traceId':'0123456789abcdef','spanId':'01234567'"), "{}\n  1 \n");
    /* Beyond int64: too new, as the push will say. */
    check_both("1{2{2{1:0xffffffffffffffff}}}",
               "{'resourceLogs':[{'scopeLogs':[{'logRecords':[{'timeUnixNano':"
               "'18446744073709551615'}]}]}]}",
               "{}\n  9223372036 \n");
}

static void test_values(void) {
    static const struct {
        const char *proto, *json, *want;
    } cases[] = {
        {"1\"\"", "{'stringValue':''}", ""},
        {"", "{}", ""},
        {"2=1", "{'boolValue':true}", "true"},
        {"2=0", "{'bool_value':false}", "false"},
        {"3=0", "{'intValue':0}", "0"},
        {"3=0xffffffffffffffff", "{'intValue':'-1'}", "-1"},
        {"4:0x3fe0000000000000", "{'doubleValue':0.5}", "0.5"},
        {"4:0x444b1ae4d6e2ef50", "{'doubleValue':'1e21'}", "1e+21"},
        {"4:0x7ff8000000000000", "{'doubleValue':'NaN'}", "NaN"},
        {"7'00ff10'", "{'bytesValue':'AP8Q'}", "AP8Q"},
        {"7'00ff'", "{'bytesValue':'AP8='}", "AP8="},
        {"7'00'", "{'bytesValue':'AA=='}", "AA=="},
        {"5{}", "{'arrayValue':{}}", "[]"},
        {"6{}", "{'kvlistValue':{'values':[]}}", "{}"},
        {"5{1{1\"a<b\"} 1{3=2} 1{} 1{4:0x7ff0000000000000} 1{7'00'} 1{5{1{2=1}}}}",
         "{'arrayValue':{'values':[{'stringValue':'a<b'},{'intValue':2},null,"
         "{'doubleValue':'+Inf'},{'bytesValue':'AA=='},{'arrayValue':{'values':"
         "[{'boolValue':true}]}}]}}",
         "[\"a<b\",2,null,\"+Inf\",\"AA==\",[true]]"},
        {"6{1{1\"z\" 2{3=1}} 1{1\"a\" 2{6{1{1\"n\" 2{1\"v\"}}}}} 1{1\"z\" 2{3=2}}}",
         "{'kvlist_value':{'values':[{'value':{'intValue':1},'key':'z'},{'key':'a','value':"
         "{'kvlistValue':{'values':[{'key':'n','value':{'string_value':'v'}}]}}},"
         "{'key':'z','value':{'int_value':2}}]}}",
         "{\"a\":{\"n\":\"v\"},\"z\":2}"},
        /* The last of several counts. */
        {"1\"x\" 3=5", "{'stringValue':'x','intValue':5}", "5"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf proto = buf_make(BUF_NO_MAX), json = buf_make(BUF_NO_MAX),
                   want = buf_make(BUF_NO_MAX);
        buf_addf(&proto, P_RECORD("5{%s}"), cases[i].proto);
        buf_addf(&json, J_RECORD(",'body':%s"), cases[i].json);
        buf_addf(&want, "{}\n  1 %s\n", cases[i].want);
        buf_add_char(&proto, '\0');
        buf_add_char(&json, '\0');
        buf_add_char(&want, '\0');
        check_both(proto.data, json.data, want.data);
        buf_done(&proto);
        buf_done(&json);
        buf_done(&want);
    }
}

static void test_attributes(void) {
    /* Maps become flat, lists text; empty values are dropped. */
    check_both(
        P_RECORD("6{1\"m\" 2{6{1{1\"x.y\" 2{3=1}} 1{1\"in\" 2{6{1{1\"n\" 2{1\"v\"}}}}}}}} "
                 "6{1\"l\" 2{5{1{1\"a\"}}}} 6{1\"e\" 2{1\"\"}} 6{1\"n\"} 6{2{1\"anonymous\"}}"),
        J_RECORD(",'attributes':[{'key':'m','value':{'kvlistValue':{'values':[{'key':'x.y','value':"
                 "{'intValue':'1'}},{'key':'in','value':{'kvlistValue':{'values':[{'key':'n',"
                 "'value':{'stringValue':'v'}}]}}}]}}},{'key':'l','value':{'arrayValue':{'values':"
                 "[{'stringValue':'a'}]}}},{'key':'e','value':{'stringValue':''}},"
                 "{'key':'n','value':null},{'value':{'stringValue':'anonymous'}}]"),
        "{}\n  1 |m_x.y=1|m_in_n=v|l=[\"a\"]|=anonymous\n");
}

static void test_resources(void) {
    /* What comes behind the records applies to them all the same; the scope wins over its
     * resource. */
    check_both(
        "1{2{2{1:1000000000} 1{1\"sc\" 2\"v1\" 3{1\"both\" 2{1\"scope\"}} 4=3}} 2{} "
        "2{2{1:2000000000} 2{1:3000000000}} 1{1{1\"service.name\" 2{1\"s\"}} "
        "1{1\"host.name\" 2{1\"h\"}} 1{1\"both\" 2{1\"resource\"}} 1{1\"k8s.pod.name\" 2{1\"p\"}} "
        "1{1\"cloud.region\" 2{1\"\"}}}} 1{2{2{1:4000000000}}}",
        "{'resourceLogs':[{'scopeLogs':[{'logRecords':[{'timeUnixNano':1000000000}],'scope':"
        "{'name':'sc','version':'v1','attributes':[{'key':'both','value':{'stringValue':'scope'}}],"
        "'droppedAttributesCount':3}},{},{'logRecords':[{'timeUnixNano':2000000000},"
        "{'timeUnixNano':3000000000}]}],'schemaUrl':'u','resource':{'attributes':["
        "{'key':'service.name','value':{'stringValue':'s'}},{'key':'host.name','value':"
        "{'stringValue':'h'}},{'key':'both','value':{'stringValue':'resource'}},"
        "{'key':'k8s.pod.name','value':{'stringValue':'p'}},{'key':'cloud.region','value':"
        "{'stringValue':''}}]}},{'scopeLogs':[{'logRecords':[{'timeUnixNano':4000000000}]}]}]}",
        "{k8s_pod_name=\"p\", service_name=\"s\"} both=scope host_name=h scope_dropped_attributes_"
        "count=3 scope_name=sc scope_version=v1\n  1 \n"
        "{k8s_pod_name=\"p\", service_name=\"s\"} both=resource host_name=h\n  2 \n  3 \n"
        "{}\n  4 \n");
    check_both(NULL,
               "{'resource_logs':[{'scope_logs':[{'log_records':[{'time_unix_nano':1000000000}]"
               "}]}]}",
               "{}\n  1 \n");
}

/* Of a surplus of index labels those at the end of the list become metadata; service_name is
 * free. */
static void test_label_limit(void) {
    const char *proto = "1{1{1{1\"k8s.job.name\" 2{1\"j\"}} 1{1\"cloud.region\" 2{1\"r\"}} "
                        "1{1\"service.name\" 2{1\"s\"}} 1{1\"container.name\" 2{1\"c\"}} "
                        "1{1\"k8s.node\" 2{1\"n\"}}} 2{2{1:1000000000}}}";
    check_limited(PROTO, proto, 3,
                  "{cloud_region=\"r\", container_name=\"c\", k8s_job_name=\"j\", "
                  "service_name=\"s\"} k8s_node=n\n  1 \n");
    check_limited(PROTO, proto, 2,
                  "{cloud_region=\"r\", container_name=\"c\", service_name=\"s\"} k8s_job_name=j "
                  "k8s_node=n\n  1 \n");
    check_limited(PROTO, proto, 1,
                  "{cloud_region=\"r\", service_name=\"s\"} container_name=c k8s_job_name=j "
                  "k8s_node=n\n  1 \n");
    check_limited(PROTO, proto, 0,
                  "{cloud_region=\"r\", container_name=\"c\", k8s_job_name=\"j\", "
                  "service_name=\"s\"} k8s_node=n\n  1 \n");
}

static void test_severity_names(void) {
    static const struct {
        const char *name, *want;
    } cases[] = {
        {"'SEVERITY_NUMBER_TRACE'", "|severity_number=1"},
        {"'SEVERITY_NUMBER_INFO4'", "|severity_number=12"},
        {"'SEVERITY_NUMBER_FATAL2'", "|severity_number=22"},
        {"'SEVERITY_NUMBER_FATAL5'", ""},
        {"'SEVERITY_NUMBER_UNSPECIFIED'", ""},
        {"'SEVERITY_OTHER'", ""},
        {"'13'", "|severity_number=13"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char json[256], want[64];
        (void)snprintf(json, sizeof(json), J_RECORD(",'severityNumber':%s"), cases[i].name);
        (void)snprintf(want, sizeof(want), "{}\n  1 %s\n", cases[i].want);
        check_both(NULL, json, want);
    }
}

/* ---- refusals */

static void test_malformed_json(void) {
    static const char *const bodies[] = {
        "",
        " ",
        "[]",
        "{",
        "nonsense",
        "'x'",
        "{'resourceLogs':'x'}",
        "{'resourceLogs':{}}",
        "{'resourceLogs':[1]}",
        "{'resourceLogs':[{'resource':[]}]}",
        "{'resourceLogs':[{}}",
        J_RECORD(",'flags':-1"),
        J_RECORD(",'flags':1.5"),
        J_RECORD(",'flags':'x'"),
        J_RECORD(",'severityNumber':'WARN'"),
        J_RECORD(",'severityNumber':[]"),
        J_RECORD(",'observedTimeUnixNano':'18446744073709551616'"),
        J_RECORD(",'traceId':5"),
        J_RECORD(",'body':'bare'"),
        J_RECORD(",'body':{'stringValue':1}"),
        J_RECORD(",'body':{'boolValue':'true'}"),
        J_RECORD(",'body':{'intValue':'1.5'}"),
        J_RECORD(",'body':{'intValue':true}"),
        J_RECORD(",'body':{'doubleValue':'x'}"),
        J_RECORD(",'body':{'stringValue':'\\x'}"),
        J_RECORD(",'body':{'arrayValue':[]}"),
        J_RECORD(",'body':{'arrayValue':{'values':[1]}}"),
        J_RECORD(",'attributes':{}"),
        J_RECORD(",'attributes':[{'key':1}]"),
        J_RECORD(",'attributes':[{'key':'k','value':5}]"),
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct buf body = body_from(JSON, bodies[i]);
        struct trial t;
        trial_decode(&t, JSON, buf_str(&body), 15);
        if (t.r != -ESYNTAX)
            printf("  body: %s\n", bodies[i]);
        CHECK_INT(t.r, -ESYNTAX);
        trial_done(&t);
        buf_done(&body);
    }
}

static void test_malformed_proto(void) {
    static const char *const bodies[] = {
        "1=5",
        "1\"x\"",
        "1{1=1}",
        "1{2{1=1}}",
        "1{2{2{1=5}}}",
        "1{2{2{8=5}}}",
        "1{2{2{5=5}}}",
        "1{2{2{5{2\"\"}}}}",
        "1{2{2{6{2=1}}}}",
        "1{2{2{5{5{1=1}}}}}",
        "1{2{2{5{6{1{2=5}}}}}}",
        "1{1{1{2{4=1}}}}",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct buf body = body_from(PROTO, bodies[i]);
        struct trial t;
        trial_decode(&t, PROTO, buf_str(&body), 15);
        if (t.r != -ESYNTAX)
            printf("  body: %s\n", bodies[i]);
        CHECK_INT(t.r, -ESYNTAX);
        trial_done(&t);
        buf_done(&body);
    }
}

/* Every front part of a request, and every request with one byte flipped: refused or decoded. */
static void test_cut(void) {
    const char *proto = "1{1{1{1\"service.name\" 2{1\"s\"}}} 2{1{1\"n\" 3{1\"a\" 2{5{1{1\"b\"}}}}} "
                        "2{1:1000000000 2=9 5{6{1{1\"k\" 2{4:5}}}} 8;7 9'0102'}}}";
    struct buf body = body_from(PROTO, proto);
    for (size_t size = 0; size < body.size; size++) {
        struct trial t;
        trial_decode(&t, PROTO, str_make(body.data, size), 15);
        CHECK(t.r == (size > 0 ? -ESYNTAX : 0));
        trial_done(&t);
    }
    buf_done(&body);
    const char *json = J_RECORD(",'attributes':[{'key':'a','value':{'arrayValue':{'values':"
                                "[{'doubleValue':1.5}]}}}],'traceId':'00\\u0041'");
    body = body_from(JSON, json);
    for (size_t size = 0; size < body.size; size++) {
        struct trial t;
        trial_decode(&t, JSON, str_make(body.data, size), 15);
        CHECK_INT(t.r, -ESYNTAX);
        trial_done(&t);
    }
    buf_done(&body);
}

/* A body of `depth` lists, or maps, in one another around a text. */
static struct buf nested(enum format format, bool maps, unsigned depth) {
    struct buf text = buf_make(BUF_NO_MAX);
    buf_add_str(&text, format == PROTO ? STR("1{2{2{1:1000000000 5{")
                                       : STR("{'resourceLogs':[{'scopeLogs':[{'logRecords':[{'"
                                             "timeUnixNano':'1000000000','body':{"));
    for (unsigned i = 0; i < depth; i++) {
        if (format == PROTO)
            buf_add_str(&text, maps ? STR("6{1{2{") : STR("5{1{"));
        else
            buf_add_str(&text, maps ? STR("'kvlistValue':{'values':[{'value':{")
                                    : STR("'arrayValue':{'values':[{"));
    }
    buf_add_str(&text, format == PROTO ? STR("1\"x\"") : STR("'stringValue':'x'"));
    for (unsigned i = 0; i < depth; i++)
        buf_add_str(&text, format == PROTO ? (maps ? STR("}}}") : STR("}}"))
                                           : (maps ? STR("}}]}") : STR("}]}")));
    buf_add_str(&text, format == PROTO ? STR("}}}}") : STR("}}]}]}]}"));
    buf_add_char(&text, '\0');
    struct buf body = body_from(format, text.data);
    buf_done(&text);
    return body;
}

static void test_depth(void) {
    for (int i = 0; i < 4; i++) {
        enum format format = i & 1 ? JSON : PROTO;
        for (unsigned depth = OTLP_DEPTH_MAX - 1; depth <= OTLP_DEPTH_MAX + 1; depth++) {
            struct buf body = nested(format, i & 2, depth);
            struct trial t;
            trial_decode(&t, format, buf_str(&body), 15);
            CHECK_INT(t.r, depth > OTLP_DEPTH_MAX ? -ESYNTAX : 0);
            if (depth > OTLP_DEPTH_MAX)
                CHECK_STR(str_from(t.err.text),
                          STR("an attribute or body has lists or maps nested deeper than 64 "
                              "levels"));
            trial_done(&t);
            buf_done(&body);
        }
    }
}

/* Few bytes that need much memory: refused as too large, not as a lack of memory that might
 * pass. */
static void test_memory(void) {
    struct buf body = buf_make(BUF_NO_MAX), items = buf_make(BUF_NO_MAX);
    for (int i = 0; i < 20000; i++)
        buf_add_str(&items, STR("\x0a\x00"));
    static const uint8_t numbers[] = {5, 5, 2, 2, 1}; /* a list, a body, a record, .. */
    for (size_t i = 0; i < sizeof(numbers); i++) {
        buf_clear(&body);
        add_varint(&body, (uint64_t)numbers[i] << 3 | 2);
        add_varint(&body, items.size);
        buf_add_str(&body, buf_str(&items));
        struct buf swap = items;
        items = body;
        body = swap;
    }
    struct trial t;
    trial_decode(&t, PROTO, buf_str(&items), 15);
    CHECK_INT(t.r, -E2BIG);
    trial_done(&t);
    buf_done(&items);
    buf_done(&body);
}

int main(void) {
    RUN(test_records);
    RUN(test_values);
    RUN(test_attributes);
    RUN(test_resources);
    RUN(test_label_limit);
    RUN(test_severity_names);
    RUN(test_malformed_json);
    RUN(test_malformed_proto);
    RUN(test_cut);
    RUN(test_depth);
    RUN(test_memory);
    return test_done();
}
