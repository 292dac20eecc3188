#!/usr/bin/env python3
"""The contract of the push side, row by row: each check is named after the section and the row of push.md it stands for:
notes on what Loki and its clients do that these checks were made from; they are no part of the tree, and each name says what
is meant. Rows with a mark "superset" are promises, too."""
import gzip
import json
import re
import socket
import time
import zlib

import harness
from harness import Server, check, equal, field, proto_pair, proto_push, proto_timestamp, raw_deflate, run_part, snappy_literal, status_message, varint

NOW = int(time.time()) * 10**9
HOUR = 3600 * 10**9
JSON = "application/json"
PROTO = "application/x-protobuf"
PUSH, LEGACY, OTLP = "/loki/api/v1/push", "/api/prom/push", "/otlp/v1/logs"


def post(s, data, ctype=JSON, encoding=None, path=PUSH, headers=None, connection=None):
    """(status, headers, text)"""
    h = dict(headers or {})
    if ctype is not None:
        h["Content-Type"] = ctype
    if encoding is not None:
        h["Content-Encoding"] = encoding
    status, got, text = s.request("POST", path, None, h, data, connection)
    return status, got, text.decode("utf-8", "replace")


def document(labels, *values):
    return json.dumps({"streams": [{"stream": labels, "values": list(values)}]}).encode()


def one(app, line="hello"):
    return document({"app": app}, [str(NOW), line])


def proto(app, line=b"hello"):
    return snappy_literal(proto_push([('{app="%s"}' % app, [(NOW, line)])]))


def found(s, selector, start=NOW - 10**12, end=NOW + 10**12):
    return [v[1] for r in s.query_range(selector, start, end) for v in r["values"]]


def labels_of(s, selector, start=NOW - 10**12, end=NOW + 10**12):
    return [r["stream"] for r in s.query_range(selector, start, end)]


def stored(name, s, app, status, want=204, lines=("hello",)):
    equal(name, (status, found(s, '{app="%s"}' % app)), (want, list(lines)))


# ---- 1, endpoints

def endpoints(s):
    rows = ((PUSH, PROTO, proto("e1"), "e1"), (PUSH, JSON, one("e2"), "e2"), (LEGACY, PROTO, proto("e3"), "e3"),
            (LEGACY, JSON, json.dumps({"streams": [{"labels": '{app="e4"}', "entries": [{"ts": "%sZ" % time.strftime(
                "%Y-%m-%dT%H:%M:%S.000000001", time.gmtime(NOW // 10**9)), "line": "hello"}]}]}).encode(), "e4"))
    for path, ctype, data, app in rows:
        status, headers, text = post(s, data, ctype, path=path)
        stored("push.md §1 %s takes %s" % (path, ctype), s, app, status)
        equal("push.md §1 %s: 204 is empty, without a type or length" % path,
              (text, headers.get("Content-Type"), headers.get("Content-Length"), headers.get("Transfer-Encoding")), ("", None, None, None))
    for path in (PUSH, LEGACY, OTLP, "/v1/logs"):
        for method in ("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"):
            status, headers, data = s.request(method, path)
            equal("push.md §1 %s %s: 405, empty, no CORS" % (method, path),
                  (status, data, headers.get("Access-Control-Allow-Origin")), (405, b"", None))
        equal("push.md §1 %s/: a trailing slash is unknown" % path, post(s, one("e5"), path=path + "/")[::2], (404, "404 page not found\n"))
    for app, path in (("e6", "//loki/api/v1/push"), ("e7", "/loki//api/v1//push"), ("e8", "/loki/api/v1/push?x=1&stream=y")):
        stored("push.md §1 %s is the push path" % path, s, app, post(s, one(app), path=path)[0])
    equal("push.md §1 nothing came of the trailing slash", found(s, '{app="e5"}'), [])


# ---- 2, content types and encodings

def content_types(s):
    snappy_json = snappy_literal(one("t12"))
    rows = [  # name, type, encoding, body, status, app
        ("JSON", JSON, None, one("t1"), 204, "t1"),
        ("JSON with charset", "application/json; charset=utf-8", None, one("t2"), 204, "t2"),
        ("JSON in any case", "APPLICATION/Json ;charset=UTF-8", None, one("t3"), 204, "t3"),
        ("JSON gzip", JSON, "gzip", gzip.compress(one("t4")), 204, "t4"),
        ("JSON raw deflate", JSON, "deflate", raw_deflate(one("t5")), 204, "t5"),
        ("JSON zlib deflate (superset)", JSON, "deflate", zlib.compress(one("t6")), 204, "t6"),
        ("JSON, header snappy, plain body", JSON, "snappy", one("t7"), 204, "t7"),
        ("JSON, header snappy, snappy body (superset)", JSON, "snappy", snappy_json, 204, "t12"),
        ("JSON identity (superset)", JSON, "identity", one("t8"), 204, "t8"),
        ("JSON GZIP in capitals (superset)", JSON, "GZIP", gzip.compress(one("t9")), 204, "t9"),
        ("JSON br", JSON, "br", one("t10"), 400, None),
        ("protobuf", PROTO, None, proto("t13"), 204, "t13"),
        ("protobuf snappy", PROTO, "snappy", proto("t14"), 204, "t14"),
        ("any other type is protobuf", "application/x-www-form-urlencoded", None, proto("t15"), 204, "t15"),
        ("protobuf gzip around snappy", PROTO, "gzip", gzip.compress(proto("t16")), 204, "t16"),
        ("protobuf gzip without snappy", PROTO, "gzip", gzip.compress(proto_push([('{app="t17"}', [(NOW, b"x")])])), 400, None),
        ("text/plain with JSON", "text/plain", None, one("t18"), None, None),
        ("no type, JSON (superset)", None, None, one("t19"), 204, "t19"),
        ("no type, protobuf (superset)", None, None, proto("t20"), 204, "t20"),
        ("type ;;, JSON (superset)", ";;", None, one("t21"), 204, "t21"),
        ("empty type, protobuf (superset)", "", None, proto("t22"), 204, "t22"),
        ("framed snappy", PROTO, None, b"\xff\x06\x00\x00sNaPpY" + proto("t23"), 400, None),
    ]
    for name, ctype, encoding, data, want, app in rows:
        status, headers, text = post(s, data, ctype, encoding)
        if want is None:
            check("push.md §2, §12.1 %s: refused or understood, never a server's failure" % name, status in (204, 400), (status, text))
        else:
            equal("push.md §2, §12.1 " + name, status, want)
        if app:
            equal("push.md §2, §12.1 %s: stored" % name, found(s, '{app="%s"}' % app), ["hello"])
        elif status == 400:
            check("push.md §2, §12.1 %s: the text ends with a newline, as plain text" % name, text.endswith("\n")
                  and headers["Content-Type"] == "text/plain; charset=utf-8" and headers["X-Content-Type-Options"] == "nosniff", text)
    status, _, text = post(s, one("t10"), JSON, "br")
    check("push.md §2, §12.1 the text names the encoding", "Content-Encoding" in text and "br" in text and "not supported" in text, text)
    equal("push.md §2, §12.1 protobuf without snappy", post(s, gzip.compress(b"\x0a\x02xx"), PROTO, "gzip")[2], "snappy: corrupt input\n")
    with Server("logq.push_body_max=1MB") as small:
        status, _, text = post(small, gzip.compress(one("big", "x" * (2 << 20))), JSON, "gzip")
        equal("push.md §2, §12.1 decompressed body over the limit", status, 413)
        check("push.md §2, §12.1 413 is a text", text.endswith("\n") and "large" in text, text)
        equal("push.md §2, §12.1 declared snappy length over the limit", post(small, varint(1 << 31) + b"\x00", PROTO)[0] in (400, 413), True)
        equal("push.md §2, §12.1 the same connection's server goes on", post(small, one("ok"))[0], 204)


# ---- 3, protobuf

def protobuf(s):
    def entry(line, *pairs, ts=NOW):
        return field(2, field(1, proto_timestamp(ts)) + field(2, line) + b"".join(field(3, p) for p in pairs))

    def send(stream):
        return post(s, snappy_literal(field(1, stream)), PROTO)
    got = send(field(1, b'{app="p1"}') + entry(b"l", field(1, b"k"), proto_pair("a", "1")))
    equal("push.md §3, §12.7 a pair without a value is accepted and dropped", (got[0], ["k" in x for x in labels_of(s, '{app="p1"}')],
                                                                       [x.get("a") for x in labels_of(s, '{app="p1"}')]), (204, [False], ["1"]))
    got = send(field(1, b'{app="p2"}') + entry(b"l", field(2, b"v"), proto_pair("a", "1")))
    equal("push.md §3, §12.7 a pair without a name is dropped, not 500", (got[0], [x.get("a") for x in labels_of(s, '{app="p2"}')]), (204, ["1"]))
    got = send(field(9, b"?") + entry(b"l") + varint(3 << 3) + varint(1 << 63) + field(1, b'{app="p3"}') + varint(77 << 3 | 5) + b"abcd" +
               varint(78 << 3 | 1) + b"abcdefgh")
    equal("push.md §3, §12.7 unknown fields, hash and any order are skipped", (got[0], found(s, '{app="p3"}')), (204, ["l"]))
    got = post(s, snappy_literal(field(1, field(1, b'{app="p4"}') + entry(b"l")) + field(2, b"logql")), PROTO)
    equal("push.md §3, §12.7 format is ignored", (got[0], found(s, '{app="p4"}')), (204, ["l"]))
    got = send(field(1, b'{app="p5"}') + field(2, field(2, b"no time")))
    check("push.md §3, §12.7 no timestamp is year 1: too old", got[0] == 400 and "timestamp too old: 0001-01-01T00:00:00Z" in got[2], got)
    got = send(field(1, b'{app="p6"}') + field(2, field(1, proto_timestamp(NOW))))
    equal("push.md §3, §12.7 a line may be absent", (got[0], found(s, '{app="p6"}')), (204, [""]))
    got = send(field(1, b'{app="p7"}') + entry(b"a\xff\xfe\x00b"))
    equal("push.md §3, §12.7 any bytes are a line", (got[0], found(s, '{app="p7"}')), (204, ["a\ufffd\ufffd\x00b"]))
    got = send(field(1, b'{app="p8"}') + field(2, field(1, proto_timestamp(NOW)) + field(2, b"l") + field(4, proto_pair("parsed", "x"))))
    equal("push.md §3, §12.7 parsed is ignored", (got[0], ["parsed" in x for x in labels_of(s, '{app="p8"}')]), (204, [False]))


# ---- 4, JSON

def json_v1(s):
    ts = '"%d"' % NOW

    def doc(app, values, stream=None):
        return ('{"streams":[{"stream":%s,"values":%s}]}' % (stream or '{"app":"%s"}' % app, values)).encode()
    rows = [  # row, app, body, status, lines
        ("ts: string of ns", "j1", doc("j1", '[[%s,"l"]]' % ts), 204, ["l"]),
        ("ts: JSON number", "j2", doc("j2", '[[%d,"l"]]' % NOW), 400, []),
        ("ts: float string", "j3", doc("j3", '[["1.5","l"]]'), 400, []),
        ("ts: not digits", "j4", doc("j4", '[["now","l"]]'), 400, []),
        ("ts in seconds", "j5", doc("j5", '[["%d","l"]]' % (NOW // 10**9)), 400, []),
        ("ts in milliseconds", "j6", doc("j6", '[["%d","l"]]' % (NOW // 10**6)), 400, []),
        ("line not a string", "j7", doc("j7", '[[%s,7]]' % ts), 400, []),
        ("[ts] only", "j8", doc("j8", '[[%s]]' % ts), 204, [""]),
        ("third element", "j9", doc("j9", '[[%s,"l",{"k":"v"}]]' % ts), 204, ["l"]),
        ("third element {}", "j10", doc("j10", '[[%s,"l",{}]]' % ts), 204, ["l"]),
        ("third element null (superset)", "j11", doc("j11", '[[%s,"l",null]]' % ts), 204, ["l"]),
        ("metadata scalars (superset)", "j12", doc("j12", '[[%s,"l",{"n":5,"b":true,"f":1.5}]]' % ts), 204, ["l"]),
        ("fourth and later elements", "j13", doc("j13", '[[%s,"l",{},[1,{"a":2}],"x"]]' % ts), 204, ["l"]),
        ("values: null", "j14", doc("j14", "null"), 204, []),
        ("values: []", "j15", doc("j15", "[]"), 204, []),
        ("label value not a string", "j16", doc("j16", '[[%s,"l"]]' % ts, '{"app":"j16","n":5,"t":true}'), 204, ["l"]),
        ("empty label value", "j17", doc("j17", '[[%s,"l"]]' % ts, '{"app":"j17","e":""}'), 204, ["l"]),
        ("duplicate keys: the last wins", "j18", doc("j18", '[[%s,"l"]]' % ts, '{"app":"other","app":"j18"}'), 204, ["l"]),
        ("unknown keys, values before stream", "j19",
         b'{"z":[{}],"streams":[{"values":[[%s,"l"]],"q":null,"stream":{"app":"j19"}}],"y":1}' % ts.encode(), 204, ["l"]),
        ("a second document behind", "j20", doc("j20", '[[%s,"l"]]' % ts) + doc("j20", '[[%s,"second"]]' % ts), 204, ["l"]),
        ("garbage behind", "j21", doc("j21", '[[%s,"l"]]' % ts) + b"]]}garbage", 204, ["l"]),
        ("byte order mark", "j22", b"\xef\xbb\xbf" + doc("j22", '[[%s,"l"]]' % ts), 400, []),
        ("invalid UTF-8 inside a line", "j23", doc("j23", '[[%s,"a?b"]]' % ts).replace(b"?", b"\xff"), 204, ["a\ufffdb"]),
        ("NUL and control characters", "j24", doc("j24", r'[[%s,"\u0000\u0001\u001f"]]' % ts), 204, ["\x00\x01\x1f"]),
        ("surrogates, \\/ and \\uXXXX", "j25", doc("j25", r'[[%s,"\ud83d\ude00\/\u00e9"]]' % ts), 204, ["\U0001f600/\u00e9"]),
        ("malformed behind a good stream", "j26", doc("j26", '[[%s,"l"]]' % ts)[:-2] + b',{"stream":{"app":"j26"},"values":[[5]]}]}', 400, []),
    ]
    for row, app, data, want, lines in rows:
        status, _, text = post(s, data)
        stored("push.md §4, §12.1 " + row, s, app, status, want, lines)
        if row.startswith("ts in"):
            check("push.md §4, §12.1 %s: too old" % row, "has timestamp too old" in text, text)
    equal("push.md §4, §12.1 third element is metadata", [x.get("k") for x in labels_of(s, '{app="j9"}')], ["v"])
    equal("push.md §4, §12.1 scalars become texts", [[x.get(k) for k in "nbf"] for x in labels_of(s, '{app="j12"}')], [["5", "true", "1.5"]])
    equal("push.md §4, §12.1 label values become texts", [[x.get(k) for k in "nt"] for x in labels_of(s, '{app="j16"}')], [["5", "true"]])
    equal("push.md §4, §12.1 an empty label is dropped", ["e" in x for x in labels_of(s, '{app="j17"}')], [False])
    for name, data in (("stream {}", doc("", '[[%s,"bare1"]]' % ts, "{}")), ("no stream", b'{"streams":[{"values":[[%s,"bare2"]]}]}' % ts.encode())):
        equal("push.md §4, §12.1 %s is accepted" % name, post(s, data)[0], 204)
    equal("push.md §4, §12.1 both have service_name alone", sorted((r["stream"].get("service_name"), "app" in r["stream"], v[1]) for r in s.query_range(
        '{service_name="unknown_service"} |= "bare"', NOW - 1, NOW + 1) for v in r["values"]),
        [("unknown_service", False, "bare1"), ("unknown_service", False, "bare2")])
    rfc = time.strftime("%Y-%m-%dT%H:%M:%S.5+00:00", time.gmtime(NOW // 10**9))
    v0 = json.dumps({"streams": [{"labels": '{app="APP"}', "entries": [{"ts": rfc, "line": "legacy"}]}]})
    for app, path in (("j30", LEGACY), ("j31", PUSH)):
        stored("push.md §4, §12.1 legacy shape at %s" % path, s, app, post(s, v0.replace("APP", app).encode(), path=path)[0], 204, ["legacy"])
    stored("push.md §4, §12.1 v1 shape at the legacy path (superset)", s, "j32", post(s, one("j32"), path=LEGACY)[0])
    equal("push.md §4, §12.1 a legacy time keeps its fraction", [v[0] for r in s.query_range('{app="j30"}', NOW, NOW + 10**9) for v in r["values"]],
          [str(NOW + 5 * 10**8)])
    for name, data, ctype in (("{}", b"{}", JSON), ("no streams", b'{"streams":[]}', JSON), ("null", b'{"streams":null}', JSON),
                              ("protobuf", snappy_literal(b""), PROTO)):
        equal("push.md §4, §12.1 empty request, %s" % name, post(s, data, ctype)[::2], (422, "error at least one valid stream is required for ingestion\n"))
    equal("push.md §4, §12.1 zero bytes of protobuf", post(s, b"", PROTO)[::2], (400, "snappy: corrupt input\n"))


# ---- 5, label sets

def label_sets(s):
    def send(text, line=b"l"):
        data = snappy_literal(field(1, field(1, text) + field(2, field(1, proto_timestamp(NOW)) + field(2, line))))
        return post(s, data, PROTO)
    good = [("spaces and a trailing comma", b' { app = "g1" , b = "2" , } ', "g1", {"b": "2"}),
            ("backquotes", b'{app="g2", b=`a\\n"`}', "g2", {"b": 'a\\n"'}),
            ("escapes", b'{app="g3", b="\\a\\b\\f\\n\\r\\t\\v\\\\\\"\\101\\x42\\u00e9\\U0001F600"}', "g3", {"b": "\a\b\f\n\r\t\v\\\"AB\u00e9\U0001f600"}),
            ("an empty value", b'{app="g4", b=""}', "g4", {"b": None}),
            ("any order", b'{z="1", app="g5", b="2"}', "g5", {"z": "1", "b": "2"})]
    for name, text, app, want in good:
        status = send(text)[0]
        got = labels_of(s, '{app="%s"}' % app)
        equal("push.md §5 " + name, (status, [{k: x.get(k) for k in want} for x in got]), (204, [want]))
    equal("push.md §5 {} is accepted", send(b"{}", b"braces")[0], 204)
    bad = [("=~", b'{app=~"x"}'), ("no braces", b'app="x"'), ("a duplicate", b'{a="1", a="2"}'), ("invalid UTF-8", b'{a="\xff"}'),
           ("a quoted name", b'{"a.b"="1"}'), ("no value", b"{a=}"), ("an unclosed brace", b'{a="1"'), ("a name with a digit first", b'{1a="1"}'),
           ("text behind", b'{a="1"} x'), ("nothing", b""), ("a bad escape", b'{a="\\q"}')]
    for name, text in bad:
        app = "whole" if name == "a duplicate" else "half"  # a duplicate is no parse error: section 7, its stream alone is refused
        data = snappy_literal(proto_push([('{app="%s"}' % app, [(NOW, b"x")])]) + field(1, field(1, text) + field(2, field(1, proto_timestamp(NOW)))))
        status, _, answer = post(s, data, PROTO)
        check("push.md §5 %s is refused" % name, status == 400 and (name == "a duplicate" or answer.startswith("couldn't parse labels: ")), (status, answer))
    equal("push.md §5 a bad label set refuses the whole request", [found(s, '{app="%s"}' % x) for x in ("half", "whole")], [[], ["x"]])


# ---- 6, service_name and detected_level

DISCOVER = ("service", "app", "application", "app_name", "name", "app_kubernetes_io_name", "container", "container_name",
            "k8s_container_name", "component", "workload", "job", "k8s_job_name")


def service_names(s):
    for i, name in enumerate(DISCOVER):
        labels = {"sn": str(i)}
        labels.update({n: "v-" + n for n in DISCOVER[i:][:10]})
        post(s, document(labels, [str(NOW), "x"]))
        equal("push.md §6 service_name from " + name, [x["service_name"] for x in labels_of(s, '{sn="%d"}' % i)], ["v-" + name])
    for sn, labels, want in (("a", {"service_name": "", "app": "x"}, "x"), ("b", {"service_name": "own", "app": "x"}, "own"),
                             ("c", {"service": "", "app": "y"}, "y"), ("d", {}, "unknown_service")):
        post(s, document(dict(labels, sn=sn), [str(NOW), "x"]))
        equal("push.md §6 service_name of %s" % labels, [x["service_name"] for x in labels_of(s, '{sn="%s"}' % sn)], [want])
    for internal in ("__aggregated_metric__", "__pattern__"):
        post(s, document({internal: "x", "sn": internal}, [str(NOW), "x"]))
        equal("push.md §6 no service_name beside " + internal, ["service_name" in x for x in labels_of(s, '{sn="%s"}' % internal)], [False])
    fifteen = {"l%02d" % i: "v" for i in range(15)}
    equal("push.md §6 15 labels and service_name pass", post(s, document(fifteen, [str(NOW), "x"]))[0], 204)


LEVEL_FIELDS = ("level", "LEVEL", "Level", "log.level", "severity", "SEVERITY", "Severity", "SeverityText", "lvl", "LVL", "Lvl",
                "severity_text", "Severity_Text", "SEVERITY_TEXT")


def levels(s):
    rows = []  # name, labels, line, metadata, level
    for text, want in (("trace", "trace"), ("TRC", "trace"), ("debug", "debug"), ("Dbg", "debug"), ("info", "info"), ("inf", "info"),
                       ("INFORMATION", "info"), ("warn", "warn"), ("wrn", "warn"), ("Warning", "warn"), ("ERROR", "error"), ("err", "error"),
                       ("critical", "critical"), ("Fatal", "fatal"), ("x", "x")):
        rows.append(("step 1, detected_level=%s" % text, {}, "error here", {"detected_level": text}, want))
        rows.append(("step 2, label level=%s" % text, {"level": text}, "l", {}, want))
        rows.append(("step 3, metadata severity=%s" % text, {}, "l", {"severity": text, "severity_number": "1"}, want))
    for name in LEVEL_FIELDS:
        if "." not in name:
            rows.append(("step 2, label %s" % name, {name: "ERR"}, "l", {}, "error"))
            rows.append(("step 3, metadata %s" % name, {}, "l", {name: "wrn"}, "warn"))
        rows.append(("JSON key %s" % name, {}, json.dumps({"msg": "info", name: "ERR"}), {}, "error"))
    for n, want in ((0, "unknown"), (1, "trace"), (4, "trace"), (5, "debug"), (8, "debug"), (9, "info"), (12, "info"), (13, "warn"), (16, "warn"),
                    (17, "error"), (20, "error"), (21, "fatal"), (24, "fatal"), (25, "unknown"), ("x", "info")):
        rows.append(("step 4, severity_number %s" % n, {}, "error", {"severity_number": str(n)}, want))
    for line, want in (('{"a":{"b":{"level":"error"}}}', "error"), ('{"level":30}', "unknown"), ('  {"level":"warn"}  ', "warn"),
                       ('msg="an error" LEVEL=debug', "debug"), ("lvl=warn level=info", "info"), ("level=loud a warning", "warn"),
                       ("misc:error", "unknown"), ("terror", "unknown"), ("[ERROR] x", "error"), ("info: x", "info"), ("err=1", "error"),
                       ("debug|trace", "debug"), ("panic", "unknown"), ("notice", "unknown"), ("a critical fatal", "critical"),
                       ("(warning)", "warn"), ("plain", "unknown"), ("", "unknown"), ('said "fatal"', "fatal"), ("x\terr\ty", "error")):
        rows.append(("line %r" % line, {}, line, {}, want))
    streams = []
    for i, (_, labels, line, meta, _) in enumerate(rows):
        streams.append((dict(labels, n=str(i), lv="y"), [(NOW, line, meta)]))
    equal("push.md §6 all rows are accepted", s.push(streams)[0], 204)
    got = {x["n"]: x.get("detected_level") for x in labels_of(s, '{lv="y"}')}
    for i, (name, _, _, _, want) in enumerate(rows):
        equal("push.md §6 " + name, got.get(str(i)), want)


# ---- 7, validation

def rfc3339(ns):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ns // 10**9))


def validation(s):
    def text_of(labels, *values):
        return post(s, document(labels, *values))
    sixteen = {"l%02d" % i: "v" for i in range(16)}
    name = "{" + ", ".join('%s="v"' % k for k in sorted(sixteen)) + ', service_name="unknown_service"}'
    got = text_of(sixteen, [str(NOW), "x"])
    equal("push.md §7 label names", (got[0], got[2]), (400, "entry for stream '%s' has 16 label names; limit 15\n" % name))
    equal("push.md §7 the error's headers", (got[1]["Content-Type"], got[1]["X-Content-Type-Options"]), ("text/plain; charset=utf-8", "nosniff"))
    long_name, long_value = "n" * 1025, "v" * 2049
    got = text_of({long_name: "v"}, [str(NOW), "x"])
    equal("push.md §7 label name length", (got[0], got[2]),
          (400, "stream '{%s=\"v\", service_name=\"unknown_service\"}' has label name too long: '%s'\n" % (long_name, long_name)))
    got = text_of({"a": long_value}, [str(NOW), "x"])
    equal("push.md §7 label value length", (got[0], got[2]),
          (400, "stream '{a=\"%s\", service_name=\"unknown_service\"}' has label value too long: '%s'\n" % (long_value, long_value)))
    got = post(s, snappy_literal(proto_push([('{a="1", a="2"}', [(NOW, b"x")])])), PROTO)
    check("push.md §7 duplicate label", got[0] == 400 and re.fullmatch(r"stream '\{a=.*\}' has duplicate label name: 'a'\n", got[2]), got)
    old = NOW - 8 * 24 * HOUR
    before = int(time.time())
    got = text_of({"app": "v1"}, [str(old), "x"])
    m = re.fullmatch(r"""entry for stream '\{app="v1", service_name="v1"\}' has timestamp too old: (\S+), oldest acceptable timestamp is: (\S+)\n""", got[2])
    check("push.md §7 too old", got[0] == 400 and m and m.group(1) == rfc3339(old)
          and m.group(2) in [rfc3339((before + d - 7 * 86400) * 10**9) for d in range(5)], got)
    new = NOW + 12 * 60 * 10**9
    got = text_of({"app": "v2"}, [str(new), "x"])
    equal("push.md §7 too new", got[::2], (400, "entry for stream '{app=\"v2\", service_name=\"v2\"}' has timestamp too new: %s\n" % rfc3339(new)))
    got = text_of({"app": "v3"}, [str(NOW), "x" * 262145])
    equal("push.md §7 line size", got[::2], (400, "max entry size '262144' bytes exceeded for stream '{app=\"v3\", service_name=\"v3\"}' "
                                                "while adding an entry with length '262145' bytes\n"))
    equal("push.md §7 a line of the limit", text_of({"app": "v3"}, [str(NOW), "x" * 262144])[0], 204)
    got = text_of({"app": "v4"}, [str(NOW), "x", {"k": "v" * 65536}])
    equal("push.md §7 metadata size", got[::2], (400, "stream '{app=\"v4\", service_name=\"v4\"}' has structured metadata too large: '65537' bytes, "
          "limit: '65536' bytes. Please see `limits_config.max_structured_metadata_size` or contact your Loki administrator to increase it\n"))
    got = text_of({"app": "v5"}, [str(NOW), "x", {"k%d" % i: "v" for i in range(129)}])
    check("push.md §7 metadata count", got[0] == 400 and got[2].startswith("stream '{app=\"v5\", service_name=\"v5\"}' has too many structured metadata "
          "labels: '129', limit: '128'. Please see `limits_config.max_structured_metadata_entries_count`"), got)
    equal("push.md §7 metadata of the limits", text_of({"app": "v5"}, [str(NOW), "x", {"k%d" % i: "v" for i in range(128)}],
                                                       [str(NOW), "y", {"k": "v" * 65535}])[0], 204)
    streams = [{"stream": {"app": "v6"}, "values": [[str(old), "a"], [str(old), "b"], [str(new), "c"], [str(NOW), "d"]]}, {"stream": sixteen,
               "values": [[str(NOW), "x"]]}, {"stream": {"app": "v7"}, "values": [[str(NOW), "e"]]}]
    got = post(s, json.dumps({"streams": streams}).encode())
    check("push.md §7 errors are grouped in order", got[0] == 400 and re.fullmatch(
        r"2 errors like: entry for stream .* too old.*; 1 errors like: entry .* too new.*; 1 errors like: .*16 label names; limit 15\n", got[2]), got)
    equal("push.md §7 the rest is stored", found(s, '{app=~"v[67]"}'), ["d", "e"])
    same = document({"app": "v8"}, [str(NOW), "x"], [str(NOW), "y"], [str(NOW), "x"], [str(NOW), "x", {"m": "1"}], [str(NOW), "x", {"m": "2"}])
    for _ in range(3):
        equal("push.md §7 duplicates are no error", post(s, same)[0], 204)
    equal("push.md §7 stored once", sorted(found(s, '{app="v8"}')), ["x", "x", "x", "y"])
    far = [[str(NOW - 3 * HOUR), "far"], [str(NOW), "new"], [str(NOW - 59 * 60 * 10**9), "59m"]]
    for v in (far[1], far[2], far[0]):
        equal("push.md §7 any order inside the window", text_of({"app": "v9"}, v)[0], 204)
    equal("push.md §7 in order when asked", found(s, '{app="v9"}', NOW - 4 * HOUR), ["far", "59m", "new"])


def settings():
    with Server("limits_config.ingestion_rate_mb=1", "limits_config.ingestion_burst_size_mb=1", "limits_config.allow_structured_metadata=false") as s:
        got = post(s, document({"app": "r"}, *[[str(NOW + i), "x" * 250000] for i in range(26)]))
        equal("push.md §7 ingestion rate", got[::2], (429, "ingestion rate limit exceeded for user fake (limit: 1048576 bytes/sec) while attempting to "
              "ingest '26' lines totaling '6500000' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased\n"))
        equal("push.md §7 no Retry-After", got[1].get("Retry-After"), None)
        equal("push.md §7 nothing of it is stored", found(s, '{app="r"}'), [])
        got = post(s, document({"app": "m"}, [str(NOW), "x", {"a": "b"}]))
        check("push.md §7 metadata disallowed", got[0] == 400 and got[2].startswith("stream '{app=\"m\", service_name=\"m\"}' includes structured metadata, "
              "but this feature is disallowed."), got)
        equal("push.md §7 without metadata it goes", post(s, one("m"))[0], 204)
        equal("push.md §7 parse errors come before the rate", post(s, b'{"streams":[{"stream":{},"values":[["x"]]}]}')[0], 400)
    with Server("limits_config.max_global_streams_per_user=1", "limits_config.max_line_size=10", "limits_config.max_line_size_truncate=true",
                "limits_config.discover_log_levels=false", "limits_config.discover_service_name=[]") as s:
        equal("push.md §7 first stream", post(s, one("one", "0123456789abcdef"))[0], 204)
        got = post(s, one("two"))
        equal("push.md §7 streams of a tenant", got[::2], (429, "maximum active stream limit exceeded when trying to create stream {app=\"two\"}, reduce "
              "the number of active streams (reduce labels or reduce label values), or contact your Loki administrator to see if the limit can be "
              "increased, user: 'fake'\n"))
        check("push.md §7 a long line is cut", found(s, '{app="one"}')[0][:8] == "01234567" and len(found(s, '{app="one"}')[0]) <= 10, found(s, '{app="one"}'))
        equal("push.md §6 both discoveries can be off", labels_of(s, '{app="one"}'), [{"app": "one"}])


# ---- 8, OTLP (the mapping table is test_otlp.py's)

def otlp(s):
    def doc(app, attributes=(), resource=(), line="hello"):
        def pairs(p):
            return [{"key": k, "value": v if isinstance(v, dict) else {"stringValue": v}} for k, v in p]
        return json.dumps({"resourceLogs": [{"resource": {"attributes": pairs((("service.name", app),) + tuple(resource))}, "scopeLogs": [
            {"logRecords": [{"timeUnixNano": str(NOW), "body": {"stringValue": line}, "attributes": pairs(attributes)}]}]}]}).encode()

    def send(data, ctype=JSON, encoding=None, path=OTLP):
        h = {k: v for k, v in (("Content-Type", ctype), ("Content-Encoding", encoding)) if v is not None}
        return s.request("POST", path, None, h, data)
    for i, (ctype, encoding, pack) in enumerate(((JSON, None, bytes), (JSON + "; charset=utf-8", None, bytes), (JSON, "gzip", gzip.compress))):
        for k, path in enumerate((OTLP, "/v1/logs")):
            app = "o%d%d" % (i, k)
            status, headers, data = send(pack(doc(app)), ctype, encoding, path)
            equal("push.md §8, §12.6 %s %s to %s" % (ctype, encoding, path), (status, data, headers.get("Content-Type"), found(s, '{service_name="%s"}' % app)),
                  (204, b"", None, ["hello"]))
    status, headers, data = send(doc("odef"), JSON, "deflate")
    equal("push.md §8, §12.6 deflate is refused", (status, headers["Content-Type"], status_message(data)),
          (400, "application/octet-stream", "unsupported content encoding deflate: only gzip, lz4 and zstd are supported"))
    for name, data, ctype in (("JSON", b"{", JSON), ("protobuf", b"\xff\xff", PROTO), ("type", b"{}", "text/plain")):
        status, headers, answer = send(data, ctype)
        check("push.md §8, §12.6 errors are a google.rpc.Status: " + name, status == 400 and headers["Content-Type"] == "application/octet-stream"
              and status_message(answer) != "", (status, answer))
    status, _, answer = send(b"{}")
    check("push.md §8, §12.6 no records", status in (200, 204) or status_message(answer) == "error at least one valid stream is required for ingestion",
          (status, answer))
    names = (("a.b", "1"), ("a--c", "2"), ("a__d", "3"), ("__x", "4"), ("user id", "5"), ("1a", "6"), ("\u00fc", "7"), ("", "8"), ("empty", ""))
    equal("push.md §8, §12.6 odd names are no failure", send(doc("onames", names))[0], 204)
    got = labels_of(s, '{service_name="onames"}')
    equal("push.md §8, §12.6 names are normalised", [{k: v for k, v in x.items() if k not in ("service_name", "detected_level")} for x in got],
          [{"a_b": "1", "a_c": "2", "a_d": "3", "_x": "4", "user_id": "5", "key_1a": "6"}])
    post(s, document({"app": "jnames"}, [str(NOW), "x", dict(names)]))
    equal("push.md §8, §12.6 and on every push path", [{k: v for k, v in x.items() if k not in ("app", "service_name", "detected_level")}
          for x in labels_of(s, '{app="jnames"}')], [{"a_b": "1", "a_c": "2", "a_d": "3", "_x": "4", "user_id": "5", "key_1a": "6"}])
    index = ("service.namespace service.instance.id deployment.environment deployment.environment.name cloud.region cloud.availability_zone k8s.cluster.name "
             "k8s.namespace.name k8s.pod.name k8s.container.name container.name k8s.replicaset.name k8s.deployment.name k8s.statefulset.name "
             "k8s.daemonset.name k8s.cronjob.name k8s.job.name").split()
    equal("push.md §8, §12.6 more index labels than allowed (superset)", send(doc("oindex", (), [(n, "v") for n in index]))[0], 204)
    equal("push.md §8, §12.6 a missing body is an empty line", (send(doc("onobody").replace(b'"body": {"stringValue": "hello"}, ', b""))[0],
                                                        found(s, '{service_name="onobody"}')), (204, [""]))


# ---- 9, tenants

def tenants():
    with Server("auth_enabled=true") as s:
        for path, data, ctype in ((PUSH, one("x"), JSON), (LEGACY, one("x"), JSON), (OTLP, b"{}", JSON)):
            for name, headers in (("absent", {}), ("empty", {"X-Scope-OrgID": ""})):
                status, h, text = post(s, data, ctype, path=path, headers=headers)
                equal("push.md §9 %s tenant at %s" % (name, path), (status, text, h["Content-Type"]), (401, "no org id\n", "text/plain; charset=utf-8"))
        rows = (("a|b", 400, "multiple org IDs present\n"), ("a/b", 400, "tenant ID 'a/b' contains unsupported character '/'\n"), ("..", 400, None),
                (".", 400, None), ("x" * 151, 400, None), ("x" * 150, 204, ""), ("Az09!-_.*'()", 204, ""), ("a|a", 204, ""))
        for tenant, want, text in rows:
            got = post(s, one("x"), headers={"X-Scope-OrgID": tenant})
            check("push.md §9 tenant %.20r" % tenant, got[0] == want and (text is None or got[2] == text), got[::2])
    with Server() as s:
        equal("push.md §9 single tenant: no header, any header", [post(s, one("t%d" % i), headers=h)[0] for i, h in enumerate(
            ({}, {"X-Scope-OrgID": "a|b/c"}, {"Authorization": "Basic Zm9vOmJhcg=="}, {"Authorization": "Bearer x", "X-Loki-Backfill-Shard": "1"}))], [204] * 4)
        equal("push.md §9 all of it is tenant fake's", len(found(s, '{app=~"t."}')), 4)


# ---- 10, HTTP

def http(s):
    c = s.connect()
    equal("push.md §10, §12.8 keep-alive: 100 requests on one connection",
          {post(s, one("keep", "l%d" % i), connection=c)[0] for i in range(100)}, {204})
    port = c.sock.getsockname()[1]
    post(s, b"nonsense", connection=c)
    equal("push.md §10, §12.8 an error keeps the connection", c.sock.getsockname()[1], port)
    for ctype, data, app in ((JSON, one("chunk1"), "chunk1"), (PROTO, proto("chunk2"), "chunk2")):
        body = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(data[i:i + 9]), data[i:i + 9]) for i in range(0, len(data), 9))
        out, _ = s.talk(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n%s0\r\nTrailer: x\r\n\r\n"
                      % (PUSH.encode(), ctype.encode(), body))
        stored("push.md §10, §12.8 chunked " + ctype, s, app, 204 if out.startswith(b"HTTP/1.1 204 ") else out)
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % PUSH.encode()
    data = one("expect")
    with socket.create_connection(("127.0.0.1", s.port), 5) as k:
        k.sendall(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(data))
        first = k.recv(1000)
        k.sendall(data)
        second = k.recv(1000)
    check("push.md §10, §12.8 Expect: 100-continue", first == b"HTTP/1.1 100 Continue\r\n\r\n" and second.startswith(b"HTTP/1.1 204 "), (first, second))
    for name, more in (("Content-Length: 0", b"Content-Length: 0\r\n"), ("no length", b"")):
        out, closed = s.talk(head + more + b"Connection: close\r\n\r\n")
        check("push.md §10, §12.8 %s: 4xx, no hang" % name, out[9:10] == b"4" and closed, out)
    out, closed = s.talk(head.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: %d\r\n\r\n" % len(one("h10")) + one("h10"))
    check("push.md §10, §12.8 HTTP/1.0 is answered and closed", b" 204 " in out.split(b"\r\n")[0] and closed, out)
    out, _ = s.talk(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(one("close")) + one("close"))
    check("push.md §10, §12.8 Connection: close is said", b"\r\nConnection: close\r\n" in out and out.endswith(b"\r\n\r\n"), out)
    check("push.md §10, §12.8 204 has no body, length or chunks", b"ontent-Length" not in out and b"ransfer-Encoding" not in out, out)
    out, _ = s.talk(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    check("push.md §10, §12.8 HTTP/2 is refused, not hung on", out.startswith(b"HTTP/1.1 505 ") or out[9:10] == b"4", out)
    two = (head + b"Content-Length: %d\r\n\r\n" % len(one("pipe")) + one("pipe")) * 2
    out, _ = s.talk(two, 1)
    equal("push.md §10, §12.8 pipelined requests are answered in order", out.count(b"HTTP/1.1 204 "), 2)


# ---- 12, the checklist

def checklist(s):
    old, new = NOW - 8 * 24 * HOUR, NOW + 11 * 60 * 10**9 + 30 * 10**9
    status, _, text = post(s, document({"app": "c2"}, [str(old), "old"], [str(NOW), "now"], [str(new), "new"]))
    check("push.md §12.2 three entries", status == 400 and re.fullmatch("1 errors like: .*too old.*; 1 errors like: .*too new.*\n", text), text)
    equal("push.md §12.2 the middle one is there", found(s, '{app="c2"}', old - 1, new + 1), ["now"])
    many = {"l%02d" % i: "v" for i in range(16)}
    status, _, _ = post(s, json.dumps({"streams": [{"stream": many, "values": [[str(NOW), "x"]]}, {"stream": {"app": "c3"}, "values": [[str(NOW), "y"]]}]}).encode())
    stored("push.md §12.3 16 labels: the other stream is stored", s, "c3", status, 400, ["y"])
    status, _, _ = post(s, snappy_literal(proto_push([('{app="c3b"}', [(NOW, b"x")]), ('{app=}', [(NOW, b"x")])])), PROTO)
    stored("push.md §12.3 a bad label: nothing is stored", s, "c3b", status, 400, [])
    batch = document({"app": "c4"}, *[[str(NOW + i), "l", {"m": "1"}] for i in range(10)])
    equal("push.md §12.4 twice", [post(s, batch)[0] for _ in range(2)], [204, 204])
    post(s, document({"app": "c4"}, [str(NOW), "l", {"m": "2"}]))
    equal("push.md §12.4 counted once, other metadata apart", [r["value"][1] for r in s.instant('sum(count_over_time({app="c4"}[1h]))', NOW + HOUR // 2)], ["11"])
    for i in (0, 59, 30, 1):
        post(s, document({"app": "c5"}, [str(NOW - i * 60 * 10**9), str(i)]))
    equal("push.md §12.5 59 min late", found(s, '{app="c5"}', NOW - 2 * HOUR), ["59", "30", "1", "0"])
    alloy = {"User-Agent": "Alloy/v1.10.0 (linux; static)"}
    stored("push.md §12.9 Alloy", s, "c9", post(s, proto("c9"), PROTO, "snappy", headers=alloy)[0])
    stored("push.md §12.10 rsyslog", s, "c10", post(s, gzip.compress(one("c10")), "application/json; charset=utf-8", "gzip")[0])


if __name__ == "__main__":
    for alone in (settings, tenants):
        run_part(alone)
    with Server() as server:
        for part in (endpoints, content_types, protobuf, json_v1, label_sets, service_names, levels, validation, otlp, http, checklist):
            run_part(part, server)
        equal("exit status", server.stop(), 0)
    harness.done()
