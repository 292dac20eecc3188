#!/usr/bin/env python3
"""What log shippers send, row by row: content types and encodings, JSON shapes, protobuf, labels, limits, partial acceptance,
duplicates, HTTP features; and bad input of every kind: the stated status, the server alive, its memory back."""
import gzip
import json
import socket
import time
import zlib

import harness
from harness import Server, check, equal, field, proto_pair, proto_push, proto_timestamp, raw_deflate, run_part, snappy_literal, varint

NOW = int(time.time()) * 10**9
JSON = "application/json"
PROTO = "application/x-protobuf"


def body(app, line="hello", ns=NOW):
    return json.dumps({"streams": [{"stream": {"app": app}, "values": [[str(ns), line]]}]}).encode()


def proto(app, line=b"hello", ns=NOW):
    return snappy_literal(proto_push([('{app="%s"}' % app, [(ns, line)])]))


def post(s, data, ctype=JSON, encoding=None, path="/loki/api/v1/push", **headers):
    h = {k.replace("_", "-"): v for k, v in headers.items()}
    if ctype is not None:
        h["Content-Type"] = ctype
    if encoding:
        h["Content-Encoding"] = encoding
    status, _, text = s.request("POST", path, None, h, data)
    return status, text.decode("utf-8", "replace")


def lines(s, selector, start=NOW - 10**12, end=NOW + 10**12):
    out = []
    for stream in s.query_range(selector, start, end):
        out += [v[1] for v in stream["values"]]
    return out


def content_types(s):
    rows = [
        ("json", body("ct1"), JSON, None, 204, "ct1"),
        ("json with charset, any case", body("ct2"), "Application/JSON; charset=utf-8", None, 204, "ct2"),
        ("json gzip", gzip.compress(body("ct3")), JSON, "gzip", 204, "ct3"),
        ("json raw deflate", raw_deflate(body("ct4")), JSON, "deflate", 204, "ct4"),
        ("json zlib deflate", zlib.compress(body("ct5")), JSON, "deflate", 204, "ct5"),
        ("json snappy header, plain body", body("ct6"), JSON, "snappy", 204, "ct6"),
        ("json identity", body("ct7"), JSON, "identity", 204, "ct7"),
        ("json br", body("ct8"), JSON, "br", 400, None),
        ("protobuf", proto("ct9"), PROTO, None, 204, "ct9"),
        ("protobuf snappy", proto("ct10"), PROTO, "snappy", 204, "ct10"),
        ("protobuf, odd type", proto("ct11"), "application/octet-stream", None, 204, "ct11"),
        ("protobuf gzip of snappy", gzip.compress(proto("ct12")), PROTO, "gzip", 204, "ct12"),
        ("protobuf gzip without snappy", gzip.compress(b"\x0a\x02xx"), PROTO, "gzip", 400, None),
        ("no type, json body", body("ct13"), None, None, 204, "ct13"),
        ("garbage as protobuf", b"\xff\xfe\xfd garbage", PROTO, None, 400, None),
        ("empty protobuf body", b"", PROTO, None, 400, None),
        ("empty protobuf message", snappy_literal(b""), PROTO, None, 422, None),
        ("empty json object", b"{}", JSON, None, 422, None),
        ("no streams", b'{"streams":[]}', JSON, None, 422, None),
        ("null streams", b'{"streams":null}', JSON, None, 422, None),
        ("cut json", body("ct14")[:-4], JSON, None, 400, None),
        ("byte order mark", b"\xef\xbb\xbf" + body("ct15"), JSON, None, 400, None),
        ("cut gzip", gzip.compress(body("ct16"))[:-12], JSON, "gzip", 400, None),
        ("snappy that lies about its size", varint(1 << 40) + b"\x00", PROTO, None, 400, None),
        ("protobuf cut in the middle", snappy_literal(proto_push([('{a="b"}', [(NOW, b"x" * 50)])])[:-20]), PROTO, None, 400, None),
    ]
    for name, data, ctype, encoding, want, app in rows:
        status, text = post(s, data, ctype, encoding)
        ok = status in (400, 413) if "lies" in name or "garbage" in name else status == want
        check("content type: " + name, ok, "%d %s" % (status, text[:200]))
        if app:
            equal("content type: %s is stored" % name, lines(s, '{app="%s"}' % app), ["hello"])
        if want == 204:
            equal("content type: %s has no body" % name, text, "")


def json_shapes(s):
    def one(values, stream='{"app":"js"}'):
        return ('{"streams":[{"stream":%s,"values":%s}]}' % (stream, values)).encode()
    ts = '"%d"' % NOW
    rows = [
        ("numeric time", one('[[%d,"x"]]' % NOW), 400), ("float time", one('[["1.5","x"]]'), 400),
        ("time with letters", one('[["12ab","x"]]'), 400), ("milliseconds", one('[["%d","x"]]' % (NOW // 10**6)), 400),
        ("line is a number", one('[[%s,5]]' % ts), 400), ("no line", one('[[%s]]' % ts), 204),
        ("empty third element", one('[[%s,"m1",{}]]' % ts), 204), ("metadata", one('[[%s,"m2",{"k":"v"}]]' % ts), 204),
        ("four elements", one('[[%s,"m3",{},7,[1]]]' % ts), 204), ("null values", one("null"), 204),
        ("no values", one("[]"), 204), ("no labels", one('[[%s,"nolabels"]]' % ts, "{}"), 204),
        ("label is a number", one('[[%s,"numlabel"]]' % ts, '{"app":"js","n":5}'), 204),
        ("unknown keys", b'{"a":[1,{"b":null}],"streams":[{"x":1,"values":[[%s,"unk"]],"stream":{"app":"js"}}]}' % ts.encode(), 204),
        ("garbage behind", one('[[%s,"behind"]]' % ts) + b" trailing", 204),
        ("escapes", one(r'[[%s,"a\u0000\ud83d\ude00\/\n"]]' % ts), 204),
        ("legacy shape", json.dumps({"streams": [{"labels": '{app="js"}', "entries": [
            {"ts": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW // 10**9)), "line": "legacy"}]}]}).encode(), 204),
        ("values before labels", b'{"streams":[{"values":[[%s,"before"]],"stream":{"app":"js"}}]}' % ts.encode(), 204),
    ]
    for name, data, want in rows:
        status, text = post(s, data)
        check("json: " + name, status == want, "%d %s" % (status, text[:200]))
    got = set(lines(s, '{app="js"}'))
    for line in ("m1", "m2", "m3", "unk", "behind", "a\x00\U0001f600/\n", "legacy", "before", "numlabel"):
        check("json: %r is stored" % line, line in got)
    equal("json: no labels", lines(s, '{service_name="unknown_service"} |= "nolabels"'), ["nolabels"])
    status, text = post(s, b'{"streams":[{"stream":{"app":"js2"},"values":[[%s,"good"]]},{"stream":{"app":"js2"},"values":[[5]]}]}' % ts.encode())
    equal("json: malformed anywhere stores nothing", (status, lines(s, '{app="js2"}')), (400, []))


def protobuf_rows(s):
    entry = field(1, proto_timestamp(NOW)) + field(2, b"meta") + field(3, field(1, b"empty")) + field(3, field(2, b"noname")) + \
        field(3, proto_pair("k", "v"))
    stream = field(1, b'{app="pb"}') + field(2, entry) + varint(3 << 3) + varint(12345) + field(15, b"unknown") + varint(16 << 3) + varint(7)
    equal("protobuf: pair without value, without name, hash, unknown fields", post(s, snappy_literal(field(1, stream) + field(9, b"?")), PROTO)[0], 204)
    result = s.query_range('{app="pb"}', NOW - 1, NOW + 1)
    equal("protobuf: metadata", [(r["stream"].get("k"), "empty" in r["stream"], r["values"][0][1]) for r in result], [("v", False, "meta")])
    for text, want in (('{a="1", b=`x`,}', 204), ("{}", 204), ("{a=~\"x\"}", 400), ("a=\"1\"", 400), ("{a=\"1\", a=\"2\"}", 400),
                       ('{a="\\u00e9\\x41\\n"}', 204), ('{a="\xff"}', 400), ('{"a.b"="1"}', 400), ("", 400), ("{a=\"x\"", 400)):
        data = snappy_literal(field(1, field(1, text.encode("latin-1")) + field(2, field(1, proto_timestamp(NOW)) + field(2, b"l"))))
        status, answer = post(s, data, PROTO)
        check("labels %s" % text, status == want, "%d %s" % (status, answer[:200]))


def limits(s):
    old, new = NOW - 8 * 86400 * 10**9, NOW + 11 * 60 * 10**9
    status, text = post(s, json.dumps({"streams": [{"stream": {"app": "age"}, "values": [
        [str(old), "old"], [str(NOW), "now"], [str(new), "new"]]}]}).encode())
    check("too old, now, too new", status == 400 and text.count("1 errors like: ") == 2 and "timestamp too old" in text
          and "timestamp too new" in text and text.endswith("\n"), text)
    equal("the good entry is stored", lines(s, '{app="age"}', old - 1, new + 1), ["now"])
    many = {"l%02d" % i: "v" for i in range(16)}
    status, text = post(s, json.dumps({"streams": [{"stream": many, "values": [[str(NOW), "x"]]},
                                                    {"stream": {"app": "many"}, "values": [[str(NOW), "stored"]]}]}).encode())
    check("16 labels", status == 400 and "has 16 label names; limit 15" in text, text)
    equal("the other stream is stored", lines(s, '{app="many"}'), ["stored"])
    del many["l15"]
    equal("15 labels", post(s, json.dumps({"streams": [{"stream": many, "values": [[str(NOW), "x"]]}]}).encode())[0], 204)
    bad = snappy_literal(proto_push([('{app="half"}', [(NOW, b"x")]), ("{app=", [(NOW, b"x")])]))
    equal("one bad label set stores nothing", (post(s, bad, PROTO)[0], lines(s, '{app="half"}')), (400, []))
    status, text = post(s, body("big", "x" * 262145))
    check("line over 256 KB", status == 400 and "max entry size '262144' bytes exceeded" in text, text[:200])
    equal("line of 256 KB", post(s, body("big", "y" * 262144))[0], 204)
    status, text = post(s, json.dumps({"streams": [{"stream": {"app": "m"}, "values": [[str(NOW), "x", {"k": "v" * 65536}]]}]}).encode())
    check("metadata too large", status == 400 and "structured metadata too large" in text, text[:200])
    status, text = post(s, json.dumps({"streams": [{"stream": {"app": "m"}, "values": [[str(NOW), "x", {"k%d" % i: "v" for i in range(129)}]]}]}).encode())
    check("metadata too many", status == 400 and "too many structured metadata labels: '129', limit: '128'" in text, text[:200])
    for labels, part in (({"n" * 1025: "v"}, "label name too long"), ({"a": "v" * 2049}, "label value too long")):
        status, text = post(s, json.dumps({"streams": [{"stream": labels, "values": [[str(NOW), "x"]]}]}).encode())
        check(part, status == 400 and part in text, text[:200])


def stream_limit():
    with Server("limits_config.max_global_streams_per_user=3") as s:
        streams = [({"app": "n%d" % i}, [(NOW, "x")]) for i in range(5)]
        status, _, text = s.push(streams)
        check("streams beyond the limit", status == 429 and text.decode().count("maximum active stream limit exceeded when trying to create stream") == 2
              and "user: 'fake'" in text.decode(), "%d %s" % (status, text[:300]))
        equal("streams within the limit are stored", len(s.query_range('{app=~"n.*"}', NOW, NOW + 1)), 3)
        equal("known streams go on", s.push(streams[:3])[0], 204)
        s.stop()


def duplicates(s):
    one = json.dumps({"streams": [{"stream": {"app": "dup"}, "values": [[str(NOW + i), "l%d" % i] for i in range(50)]}]}).encode()
    for _ in range(3):
        equal("retry", post(s, one)[0], 204)
    s.flush()
    equal("retry after a flush", post(s, one)[0], 204)
    equal("stored once", len(lines(s, '{app="dup"}')), 50)
    count = s.instant('count_over_time({app="dup"}[1h])', NOW // 10**9 + 5)
    equal("counted once", [r["value"][1] for r in count], ["50"])
    meta = [[str(NOW), "same", {"k": "1"}], [str(NOW), "same", {"k": "2"}], [str(NOW), "same", {"k": "1"}]]
    post(s, json.dumps({"streams": [{"stream": {"app": "dupm"}, "values": meta}]}).encode())
    equal("other metadata is another entry", len(lines(s, '{app="dupm"}')), 2)
    late = [[str(NOW - 59 * 60 * 10**9), "late"], [str(NOW), "newest"], [str(NOW - 30 * 60 * 10**9), "middle"]]
    for v in late[1:] + late[:1]:
        post(s, json.dumps({"streams": [{"stream": {"app": "late"}, "values": [v]}]}).encode())
    equal("late entries stand in order", lines(s, '{app="late"}', NOW - 2 * 3600 * 10**9), ["late", "middle", "newest"])


def http_features(s):
    c = s.connect()
    statuses = {s.push([({"app": "keep"}, [(NOW + i, "k%d" % i)])], connection=c)[0] for i in range(100)}
    equal("100 requests on one connection", (statuses, len(lines(s, '{app="keep"}'))), ({204}, 100))
    data = body("chunk")
    c.putrequest("POST", "/loki/api/v1/push")
    for h in (("Content-Type", JSON), ("Transfer-Encoding", "chunked")):
        c.putheader(*h)
    c.endheaders()
    for at in range(0, len(data), 7):
        part = data[at:at + 7]
        c.send(b"%x\r\n%s\r\n" % (len(part), part))
    c.send(b"0\r\n\r\n")
    r = c.getresponse()
    equal("chunked body", (r.status, r.read(), lines(s, '{app="chunk"}')), (204, b"", ["hello"]))
    equal("doubled slash", post(s, body("slash"), path="//loki/api/v1/push")[0], 204)
    data = body("expect")
    head = b"POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(data)
    with socket.create_connection(("127.0.0.1", s.port), 5) as k:
        k.sendall(head)
        first = k.recv(1000)
        k.sendall(data)
        second = k.recv(1000)
    check("Expect: 100-continue", first.startswith(b"HTTP/1.1 100") and b"204" in second.split(b"\r\n")[0], "%r %r" % (first, second))
    answer = s.talk(b"POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n", 2)[0]
    check("no body", b" 400 " in answer.split(b"\r\n")[0] or b" 422 " in answer.split(b"\r\n")[0], repr(answer[:200]))
    answer = s.talk(b"POST /loki/api/v1/push HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body("h10")), body("h10")), 2)[0]
    check("HTTP/1.0", b" 204 " in answer.split(b"\r\n")[0], repr(answer[:200]))
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        check("method " + method, s.request(method, "/loki/api/v1/push")[0] in (404, 405))
    equal("unknown path", s.request("POST", "/loki/api/v1/push/", None, None, b"")[0], 404)
    alloy = {"User-Agent": "Alloy/v1.10.0 (linux; x86)"}
    equal("Alloy", post(s, proto("alloy"), PROTO, "snappy", **alloy)[0], 204)
    equal("rsyslog", post(s, gzip.compress(body("rsyslog")), "application/json; charset=utf-8", "gzip")[0], 204)
    many = json.dumps({"streams": [{"stream": {"app": "fb"}, "values": [[str(NOW + i), "r%d" % i, {}]]} for i in range(5000)]}).encode()
    equal("5,000 one-entry streams, gzip", (post(s, gzip.compress(many), JSON, "gzip")[0], len(lines(s, '{app="fb"}'))), (204, 5000))


def hostile(s):
    before = s.rss_kib()
    bomb = gzip.compress(b"\x00" * (300 << 20))
    status, text = post(s, bomb, JSON, "gzip")
    check("gzip bomb", status in (400, 413), "%d %s" % (status, text[:200]))
    status, _ = post(s, varint(1 << 31) + b"\x00" * 100, PROTO)
    check("snappy bomb", status in (400, 413))
    status, _ = post(s, b'{"streams":' + b"[" * 200000, JSON)
    equal("deep JSON", status, 400)
    for _ in range(50):
        post(s, gzip.compress(b'{"streams":[{"stream":{"a":"' + b"x" * 200000 + b'"},"values":[["1","x"]]}]}'), JSON, "gzip")
    for junk in (b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
                 b"POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhellox",
                 b"POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
                 b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /ready HTTP/1.1\r\nHost: x\r\nX: " + b"b" * 200000 + b"\r\n\r\n"):
        try:
            answer = s.talk(junk, 2)[0]
            first = answer.split(b"\r\n")[0]
            check("junk %r" % junk[:60], b" 200" not in first and b" 204" not in first, repr(first))
        except OSError:
            pass
    equal("alive", s.get("/ready")[0], 200)
    time.sleep(0.5)
    grown = s.rss_kib() - before
    check("memory is back", grown < 120 * 1024, "%d KiB more" % grown)


if __name__ == "__main__":
    with Server() as server:
        for part in (content_types, json_shapes, protobuf_rows, limits, duplicates, http_features, hostile):
            run_part(part, server)
        equal("exit status", server.stop(), 0)
    stream_limit()
    harness.done()
