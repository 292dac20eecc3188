#!/usr/bin/env python3
"""Speaks to logqd as each client does, down to the bytes: header lines in their order and case, bodies in the client's own
encoding, what it does after an answer (again, dropped, next), the queries it sends and how strictly it reads the answers. Each
check begins with the client it stands for."""
import gzip
import json
import socket
import threading
import time
import zlib
from urllib.parse import urlencode

import harness
from harness import Server, check, equal, field, proto_push, run_part, snappy_literal, varint, zstd_raw

NOW = int(time.time()) * 10**9
PUSH = "/loki/api/v1/push"
PROTO = "application/x-protobuf"
JSON = "application/json"
SHOWN_BY_FLUENT_BIT = 512 * 1024  # an answer above this breaks its buffer


# ---- bytes on a connection

class Connection:
    """A keep-alive connection of a client that reads answers as strictly as hyper or Node's parser."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.rest = b""

    def close(self):
        self.socket.close()

    def _more(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed by the server, %r before it" % self.rest[:200])
        self.rest += data

    def _head(self):
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        return int(first.split(" ")[1]), {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}

    def _take(self, size):
        while len(self.rest) < size:
            self._more()
        out, self.rest = self.rest[:size], self.rest[size:]
        return out

    def _chunks(self):
        out = b""
        while True:
            while b"\r\n" not in self.rest:
                self._more()
            line, self.rest = self.rest.split(b"\r\n", 1)
            size = int(line, 16)
            out += self._take(size)
            if self._take(2) != b"\r\n":
                raise ConnectionError("a chunk does not end where it says")
            if size == 0:
                return out

    def read(self, method="POST"):
        """(status, headers, body) of the next answer. A 204 with a body or a length is an error, as in strict parsers."""
        status, headers = self._head()
        if status == 204:
            if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
                raise ConnectionError("204 announces a body: %r" % headers)
            return status, headers, b""
        if method == "HEAD" or status < 200:
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, self._chunks()
        return status, headers, self._take(int(headers["content-length"]))

    def send(self, method, path, lines, body=b""):
        """Sends exactly these header lines."""
        head = "%s %s HTTP/1.1\r\n%s\r\n" % (method, path, "".join(line + "\r\n" for line in lines))
        self.socket.sendall(head.encode("latin-1") + body)

    def exchange(self, method, path, lines, body=b""):
        self.send(method, path, lines, body)
        return self.read(method)


def ask(s, method, path, lines, body=b""):
    c = Connection(s.port)
    try:
        return c.exchange(method, path, ["Host: 127.0.0.1:%d" % s.port] + lines, body)
    finally:
        c.close()


def push(s, lines, body, path=PUSH):
    """The status of one push on a connection of its own; the length is added."""
    return ask(s, "POST", path, lines + ["Content-Length: %d" % len(body)], body)[0]


def chunked(data, size):
    parts = [data[i:i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def entries(s, selector, start=NOW - 10**12, end=NOW + 10**12):
    """[(ns, line, labels and metadata)] of a selector."""
    out = []
    for stream in s.query_range(selector, start, end):
        out += [(int(ns), line, stream["stream"]) for ns, line in stream["values"]]
    return sorted(out, key=lambda e: e[:2])


def lines_of(s, selector):
    return [e[1] for e in entries(s, selector)]


def json_push(streams):
    """streams: [(labels, [values])]; bytes as compact as most clients write them."""
    return json.dumps({"streams": [{"stream": l, "values": v} for l, v in streams]}, separators=(",", ":")).encode()


def promtail_labels(labels):
    """Label text as Promtail's client writes it: sorted, Go-quoted, no names with two underscores."""
    return "{" + ", ".join('%s=%s' % (k, json.dumps(v)) for k, v in sorted(labels.items()) if not k.startswith("__")) + "}"


# ---- what each client does after an answer, in one table (docs/clients.md)

def go_client(status):
    return "done" if status // 100 == 2 else "again" if status == 429 or status // 100 == 5 else "dropped"


REACTIONS = {
    "Alloy": go_client,
    "Promtail": go_client,
    "Docker driver": go_client,
    "loki-canary": go_client,
    "fluentd": go_client,
    "logstash": go_client,
    "lokiexporter": go_client,
    "Fluent Bit": lambda st: "done" if 200 <= st <= 205 else "dropped" if st == 400 else "again",
    "Vector": lambda st: "done" if st // 100 == 2 else "again" if st == 429 or (st // 100 == 5 and st != 501) else "dropped",
    "OTel Collector": lambda st: "done" if st // 100 == 2 else "again" if st in (429, 502, 503, 504) else "dropped",
    "rsyslog": lambda st: "done" if st // 100 in (1, 2) else "again" if st // 100 == 5 else "dropped",
}


def reactions(s):
    """A mistake that repeating does not mend is answered so that every client drops it: Fluent Bit repeats all but 400."""
    ns = str(NOW)
    good = {"app": "ok"}
    mistakes = [
        ("not JSON", b'{"streams":[', JSON),
        ("time as a number", b'{"streams":[{"stream":{"a":"b"},"values":[[1,"x"]]}]}', JSON),
        ("time in ms", json_push([(good, [[ns[:13], "x"]])]), JSON),
        ("too old", json_push([(good, [[str(NOW - 40 * 86400 * 10**9), "x"]])]), JSON),
        ("too new", json_push([(good, [[str(NOW + 3600 * 10**9), "x"]])]), JSON),
        ("bad label name", json_push([({"bad-name": "x"}, [[ns, "x"]])]), JSON),
        ("16 labels", json_push([({"l%d" % i: "x" for i in range(16)}, [[ns, "x"]])]), JSON),
        ("line of 300 KB", json_push([(good, [[ns, "x" * 300000]])]), JSON),
        ("metadata of 70 KB", json_push([(good, [[ns, "x", {"k": "y" * 70000}]])]), JSON),
        ("no snappy", b"\xff" * 40, PROTO),
        ("cut protobuf", snappy_literal(proto_push([('{a="b"}', [(NOW, b"x")])])[:-2]), PROTO),
        ("label text without braces", snappy_literal(proto_push([('a="b"', [(NOW, b"x")])])), PROTO),
        ("unknown encoding", json_push([(good, [[ns, "x"]])]), JSON + "\r\nContent-Encoding: br"),
    ]
    for name, body, ctype in mistakes:
        status = push(s, ["Content-Type: " + ctype], body)
        for client, react in REACTIONS.items():
            equal("%s, %s: dropped (status %d)" % (client, name, status), react(status), "dropped")
    status = push(s, ["Content-Type: " + PROTO], b"\xff\xff\xff", "/otlp/v1/logs")
    equal("OTel Collector, not OTLP: dropped", REACTIONS["OTel Collector"](status), "dropped")
    status = push(s, ["Content-Type: " + JSON], json_push([(good, [[ns, "kept"]])]))
    equal("all clients: a good push is done", {r(status) for r in REACTIONS.values()}, {"done"})


def overload():
    """429 until there is room, then 204; no client loses a line or has one twice. Each client is a tenant with its own rate."""
    with Server("auth_enabled=true", "limits_config.ingestion_rate_mb=1", "limits_config.ingestion_burst_size_mb=4") as s:
        seen = {client: [] for client in REACTIONS}

        def ship(client, react):
            for b in range(4):
                body = json_push([({"app": "load"}, [[str(NOW + b * 1000 + i), "%d %s" % (i, "x" * 10000)] for i in range(140)])])
                for _ in range(200):
                    status = push(s, ["Content-Type: " + JSON, "X-Scope-OrgID: " + client.replace(" ", "-")], body)
                    seen[client].append(status)
                    if react(status) != "again" and not (client == "rsyslog" and status == 429):  # httpretrycodes of the example
                        break
                    time.sleep(0.05)

        threads = [threading.Thread(target=ship, args=item) for item in REACTIONS.items()]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for client in REACTIONS:
            equal("%s: 429, then 204" % client, set(seen[client]), {429, 204})
            rows = s.query_range('{app="load"}', NOW - 10**9, NOW + 10**9, headers={"X-Scope-OrgID": client.replace(" ", "-")})
            equal("%s: every line once after 429" % client, sum(len(r["values"]) for r in rows), 560)
    equal("no tenant where one is needed: 401", unnamed_tenant(), 401)


def unnamed_tenant():
    with Server("auth_enabled=true") as s:
        return push(s, ["Content-Type: " + JSON], b"{}")


def outage():
    """Alloy, Promtail, Docker driver: the server is killed in the middle; they try again what was not acknowledged."""
    s = Server()
    s.start()
    try:
        lines = ["Content-Type: " + PROTO, "User-Agent: promtail/3.6.0"]
        at = 0
        while at < 60:
            body = snappy_literal(proto_push([('{job="outage"}', [(NOW + at * 1000 + i, b"line %d" % i) for i in range(50)])]))
            try:
                c = Connection(s.port)
                c.send("POST", PUSH, ["Host: x"] + lines + ["Content-Length: %d" % len(body)], body)
                if at in (10, 30, 50) and not getattr(s, "killed", set()) & {at}:
                    s.killed = getattr(s, "killed", set()) | {at}
                    s.kill()
                status = c.read()[0]
                c.close()
            except OSError:
                status = 0
            if status == 0:
                if s.process.poll() is not None:
                    s.start()
                continue
            equal("Promtail: push around a kill -9", status, 204)
            at += 1
        got = entries(s, '{job="outage"}')
        equal("Alloy, Promtail, Docker driver: no line lost over 3 kills, none twice",
              [e[0] for e in got], [NOW + b * 1000 + i for b in range(60) for i in range(50)])
    finally:
        s.close()


# ---- push clients

def go_clients(s):
    meta = [("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"), ("empty", "")]
    text = promtail_labels({"job": "alloy", "filename": '/var/log/a "b".log', "__tenant_id__": "x"})
    body = snappy_literal(proto_push([(text, [(NOW, b"alloy line", meta), (NOW + 1, b"no metadata")])]))
    alloy = ["User-Agent: Alloy/v1.10.0 (linux; docker; amd64)", "Content-Type: " + PROTO, "Content-Encoding: snappy",
             "X-Scope-OrgID: team-a", "Accept-Encoding: gzip"]
    equal("Alloy: Content-Encoding snappy is the block itself, not a second layer", push(s, alloy, body), 204)
    got = entries(s, '{job="alloy"}')
    equal("Alloy: lines, a quoted label, metadata without a value dropped",
          [(e[1], e[2].get("filename"), e[2].get("trace_id"), "empty" in e[2], "__tenant_id__" in e[2]) for e in got],
          [("alloy line", '/var/log/a "b".log', meta[0][1], False, False), ("no metadata", '/var/log/a "b".log', None, False, False)])
    promtail = ["User-Agent: promtail/3.6.0", "Authorization: Basic c2hvcDpzM2NyZXQ=", "Content-Type: " + PROTO, "X-Scope-Orgid: team-a",
                "Accept-Encoding: gzip"]
    equal("Promtail: the same bytes without Content-Encoding", push(s, promtail, body), 204)
    equal("Promtail: sent again, each line is there once", len(lines_of(s, '{job="alloy"}')), 2)
    partial = snappy_literal(proto_push([('{job="partial"}', [(NOW, b"good"), (NOW - 90 * 86400 * 10**9, b"old"), (NOW + 1, b"good too")])]))
    equal("Alloy: one bad entry costs itself (400)", (push(s, alloy, partial), lines_of(s, '{job="partial"}')), (400, ["good", "good too"]))
    status, _, answer = ask(s, "POST", PUSH, alloy + ["Content-Length: %d" % len(partial)], partial)
    first = answer.split(b"\n")[0]
    check("Alloy: the first line of an error, at most 1,024 bytes, says what it is", b"timestamp too old" in first[:1024], first[:300])
    docker = {"host": "web-1", "container_name": "shop-api-1", "filename": "/var/log/docker/f00/json.log", "compose_project": "shop",
              "compose_service": "api", "source": "stderr"}
    equal("Docker driver: push", push(s, promtail[:1] + ["Content-Type: " + PROTO],
                                      snappy_literal(proto_push([(promtail_labels(docker), [(NOW, b"from a container")])]))), 204)
    got = entries(s, '{compose_service="api"}')
    equal("Docker driver: its labels, and service_name from container_name", [{k: e[2].get(k) for k in [*docker, "service_name"]} for e in got],
          [dict(docker, service_name="shop-api-1")])


def fluent_bit(s):
    streams = [({"job": "fluent-bit", "host": "h%d" % (i % 7)}, [[str(NOW + i), '{"n":%d}' % i, {}]]) for i in range(5000)]
    body = gzip.compress(json_push(streams))
    lines = ["Content-Length: %d" % len(body), "User-Agent: Fluent-Bit", "Content-Type: application/json", "Content-Encoding: gzip",
             "X-Scope-OrgID: team-a", "Connection: keep-alive"]
    c = Connection(s.port)
    host = ["Host: 127.0.0.1:%d" % s.port]
    began = time.monotonic()
    status, _, answer = c.exchange("POST", PUSH, host + lines, body)
    equal("Fluent Bit: 5,000 one-entry streams in one gzip JSON body, {} as metadata", status, 204)
    check("Fluent Bit: within its patience", time.monotonic() - began < 10)
    equal("Fluent Bit: each record once, order kept", lines_of(s, '{job="fluent-bit"}'), ['{"n":%d}' % i for i in range(5000)])
    equal("Fluent Bit: the same labels are one stream",
          len(json.loads(s.get("/loki/api/v1/series", {"match[]": '{job="fluent-bit"}'})[2])["data"]), 7)
    time.sleep(1.0)  # idle keep-alive, then the connection goes on
    equal("Fluent Bit: the connection lives after a pause", c.exchange("POST", PUSH, host + lines, body)[0], 204)
    bad = json_push([({"job": "fb-bad", "n": str(i)}, [["1", "x"]]) for i in range(3000)])
    status, _, answer = c.exchange("POST", PUSH, host + ["Content-Length: %d" % len(bad), "Content-Type: application/json"], bad)
    check("Fluent Bit: 3,000 refused streams are 400 in an answer that it can hold", status == 400 and len(answer) < SHOWN_BY_FLUENT_BIT,
          "%d, %d bytes" % (status, len(answer)))
    c.close()


def ruby_clients(s):
    # fluentd: quotes of label values come with a backslash of their own; a new connection for each chunk.
    body = b'{"streams":[{"stream":{"job":"fluentd","path":"a\\\\\\"b","fluentd_thread":"flush_thread_0"},"values":[["%d","msg=\\"x\\""]]}]}' % NOW
    for i in range(20):
        equal("fluentd: connection %d of its own" % i, push(s, ["Content-Type: application/json", "Connection: close", "Accept: */*",
                                                                "User-Agent: Ruby"], body), 204)
    got = entries(s, '{job="fluentd"}')
    equal("fluentd: one line, the backslash kept", [(e[1], e[2]["path"]) for e in got], [('msg="x"', 'a\\"b')])
    body = json_push([({"job": "logstash"}, [[str(NOW), "line", {"a": "1", "b": "2"}], [str(NOW + 1), "bare"]])])
    equal("logstash: two and three elements in one stream", push(s, ["Content-Type: application/json", "X-Scope-OrgID: t"], body), 204)
    equal("logstash: metadata", [(e[1], e[2].get("b")) for e in entries(s, '{job="logstash"}')], [("line", "2"), ("bare", None)])


def vector(s):
    for agent in ("Vector/0.49.0 (x86_64-unknown-linux-gnu)",):
        status, _, body = ask(s, "GET", "/ready", ["User-Agent: " + agent, "Accept: */*"])
        equal("Vector: health check GET /ready", (status, body), (200, b"ready\n"))
        ua = ["user-agent: " + agent, "accept-encoding: identity"]
        streams = [({"agent": "vector", "host": "h"}, [[str(NOW + i), "vector %d" % i, {}] for i in range(100)])]
        body = json_push(streams)
        table = [
            ("none", body, JSON, None), ("gzip", gzip.compress(body), JSON, "gzip"), ("zlib, that is deflate", zlib.compress(body), JSON, "deflate"),
            ("zstd", zstd_raw(body), JSON, "zstd"),
            ("snappy protobuf", snappy_literal(proto_push([('{agent="vector", host="h"}', [(NOW + i, b"vector %d" % i) for i in range(100)])])),
             PROTO, "snappy"),
        ]
        for name, data, ctype, encoding in table:
            lines = ["content-type: " + ctype] + (["content-encoding: " + encoding] if encoding else []) + ua
            equal("Vector: %s is exactly 204" % name, push(s, lines, data), 204)
        equal("Vector: five encodings, the same 100 lines", len(lines_of(s, '{agent="vector"}')), 100)


def attribute(key, value):
    return field(1, key.encode()) + field(2, field(1, value.encode()))


def otlp_resource(service, records):
    resource = field(1, attribute("service.name", service)) + field(1, attribute("host.name", "h-" + service))
    logs = b"".join(field(2, varint(1 << 3 | 1) + ns.to_bytes(8, "little") + varint(2 << 3) + varint(17) +
                          field(5, field(1, line.encode())) + field(9, bytes(range(16))) + field(10, bytes(range(8))))
                    for ns, line in records)
    return field(1, field(1, resource) + field(2, field(1, field(1, b"scope")) + logs))


def opentelemetry(s):
    message = b"".join(otlp_resource("otel-%d" % r, [(NOW + i, "r%d l%d" % (r, i)) for i in range(10)]) for r in range(3))
    data = gzip.compress(message)
    collector = ["User-Agent: OpenTelemetry Collector Contrib/0.130.0 (linux/amd64)", "Content-Type: application/x-protobuf",
                 "Content-Encoding: gzip", "Accept-Encoding: gzip"]
    equal("OTel Collector: gzip protobuf with 3 resources", push(s, collector, data, "/otlp/v1/logs"), 204)
    for r in range(3):
        got = entries(s, '{service_name="otel-%d"}' % r)
        equal("OTel Collector: resource %d" % r, [(e[1], e[2]["host_name"], e[2]["detected_level"], e[2]["trace_id"]) for e in got],
              [("r%d l%d" % (r, i), "h-otel-%d" % r, "error", bytes(range(16)).hex()) for i in range(10)])
    # SDKs of Java and Node send chunks.
    c = Connection(s.port)
    for sdk in ("OTel-OTLP-Exporter-Java/1.52.0", "OTel-OTLP-Exporter-JavaScript/0.203.0", "OTel-OTLP-Exporter-Python/1.36.0"):
        status = c.exchange("POST", "/otlp/v1/logs", ["host: x", "User-Agent: " + sdk, "Content-Type: application/x-protobuf",
                                                      "Content-Encoding: gzip", "Transfer-Encoding: chunked"], chunked(data, 100))[0]
        equal("OTel SDK: chunked, %s" % sdk, status, 204)
    c.close()
    document = json.dumps({"resourceLogs": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "otel-js"}}]},
                                             "scopeLogs": [{"scope": {"name": "js"}, "logRecords": [{
                                                 "timeUnixNano": str(NOW), "observedTimeUnixNano": str(NOW), "severityNumber": 9,
                                                 "severityText": "INFO", "body": {"stringValue": "from js"}, "attributes": [
                                                     {"key": "http.status", "value": {"intValue": 200}}], "droppedAttributesCount": 0}]}]}]}).encode()
    equal("OTel SDK, JS: JSON", push(s, ["Content-Type: application/json", "User-Agent: OTel-OTLP-Exporter-JavaScript/0.203.0"], document,
                                     "/otlp/v1/logs"), 204)
    got = entries(s, '{service_name="otel-js"}')
    equal("OTel SDK, JS: line and attributes", [(e[1], e[2].get("http_status"), e[2].get("detected_level")) for e in got], [("from js", "200", "info")])
    status, headers, answer = ask(s, "POST", "/otlp/v1/logs", collector[:2] + ["Content-Length: 3"], b"\xff\xff\xff")
    size = answer[1]
    equal("OTel Collector: an error is a google.rpc.Status with its message in field 2",
          (status, headers["content-type"], answer[0], len(answer) == 2 + size, b"OTLP" in answer), (400, "application/octet-stream", 0x12, True, True))
    # The Loki exporter that the Collector once had.
    line = json.dumps({"body": "hello", "severity": "Info", "attributes": {"a": 1}})
    body = snappy_literal(proto_push([('{exporter="OTLP", job="ns/svc", level="INFO"}', [(NOW, line.encode())])]))
    equal("lokiexporter: push", push(s, ["User-Agent: OpenTelemetry Collector Contrib/0.90.0 (linux/amd64)", "Content-Type: application/x-protobuf"],
                                     body), 204)
    r = s.query_range('{exporter="OTLP"} | json | attributes_a="1"', NOW - 10**9, NOW + 10**9)
    equal("lokiexporter: its JSON is searched", [x["stream"].get("severity") for x in r], ["Info"])


def syslog_daemons(s):
    status = ask(s, "GET", "/ready", ["Accept: */*"])[0]
    equal("rsyslog: checkpath", status, 200)
    one = '{"stream":{"job":"rsyslog","host":"web-1"},"values":[["%d","line %d"]]}'
    body = ('{"streams":[' + ",".join(one % (NOW + i, i) for i in range(50)) + "]}").encode()
    lines = ["Accept: */*", "Content-Type: application/json; charset=utf-8", "Content-Encoding: gzip"]
    data = gzip.compress(body)
    equal("rsyslog: charset and gzip", push(s, lines, data), 204)
    equal("rsyslog: its whole seconds: equal lines of one second become one, others stay", len(lines_of(s, '{job="rsyslog"}')), 50)
    equal("rsyslog: uncompressed", push(s, lines[:2], body), 204)
    # What examples/syslog-ng/logqd.conf makes; libcurl asks before a large body.
    one = '{"stream":{"facility":"auth","host":"localhost","job":"syslog-ng","level":"err","program":"sshd"},' \
          '"values":[["%d","say \\"hi\\" \\\\ %d",{"pid":"4711"}]]}'
    body = ('{"streams":[' + ",".join(one % (NOW + i * 1000, i) for i in range(1000)) + "]}").encode()
    lines = ["User-Agent: syslog-ng 3.38.1/libcurl 7.88.1", "Accept: */*", "X-Syslog-Host: web-1", "X-Syslog-Program: ", "X-Syslog-Facility: auth",
             "X-Syslog-Level: err", "Content-Type: application/json", "Content-Length: %d" % len(body), "Expect: 100-continue"]
    c = Connection(s.port)
    c.send("POST", PUSH, ["Host: x"] + lines)
    equal("syslog-ng: 100 before the body", c.read()[0], 100)
    c.socket.sendall(body)
    equal("syslog-ng: 204 after it", c.read()[0], 204)
    c.close()
    got = entries(s, '{job="syslog-ng"}')
    equal("syslog-ng: lines and pid", (len(got), got[7][1], got[7][2]["pid"]), (1000, 'say "hi" \\ 7', "4711"))


def libraries(s):
    body = json_push([({"app": "dotnet"}, [[str(NOW), "chunked"]])])
    c = Connection(s.port)
    for _ in range(3):
        equal(".NET (Serilog): chunked with charset", c.exchange("POST", PUSH, [
            "Host: x", "Transfer-Encoding: chunked", "Content-Type: application/json; charset=utf-8"], chunked(body, 7))[0], 204)
    c.close()
    equal("loki4j: snappy protobuf", push(s, ["Content-Type: application/x-protobuf", "User-Agent: Java-http-client/21"],
                                          snappy_literal(proto_push([('{app="loki4j",host="h"}', [(NOW, b"java")])]))), 204)
    legacy = json.dumps({"streams": [{"labels": '{app="legacy"}', "entries": [{
        "ts": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(NOW // 10**9)) + ".123456789Z", "line": "old shape"}]}]}).encode()
    equal("old scripts: /api/prom/push with labels and entries", push(s, ["Content-Type: application/json"], legacy, "/api/prom/push"), 204)
    equal("old scripts: its time to the nanosecond", [e[:2] for e in entries(s, '{app="legacy"}')], [(NOW + 123456789, "old shape")])
    equal("scripts: \"streams\":null is refused, not a crash", push(s, ["Content-Type: application/json"], b'{"streams":null}'), 422)
    body = json_push([({"app": "untyped"}, [[str(NOW), "sniffed"]])])
    equal("curl without a type: JSON is seen", push(s, ["User-Agent: curl/7.88.1", "Accept: */*"], body), 204)
    equal("scripts with two slashes: no redirect that turns POST into GET",
          push(s, ["Content-Type: application/json"], body, "//loki/api/v1/push"), 204)
    equal("all: POST elsewhere is 404, GET on push is 405", (push(s, ["Content-Type: application/json"], body, "/loki/api/v1/pusch"),
                                                           ask(s, "GET", PUSH, [])[0]), (404, 405))


# ---- query clients

class Obj(list):
    """A JSON object with the order of its keys: [(key, value)]."""

    def keys(self):
        return [k for k, _ in self]

    def __getitem__(self, key):
        if isinstance(key, int):
            return list.__getitem__(self, key)
        return next(v for k, v in self if k == key)


class Number(str):
    """A JSON number as it was written."""


def refuse(text):
    raise ValueError("%s is not JSON" % text)


def strict(data):
    def pairs(items):
        keys = [k for k, _ in items]
        if len(set(keys)) != len(keys):
            raise ValueError("a key twice: %r" % keys)
        return Obj(items)
    return json.loads(data.decode("utf-8", "strict"), object_pairs_hook=pairs, parse_int=Number, parse_float=Number, parse_constant=refuse)


def is_ns(text):
    return type(text) is str and text.isdigit() and len(text) == 19


def all_strings(obj):
    return isinstance(obj, Obj) and all(type(v) is str for _, v in obj)


def log_value_trouble(value, categorized):
    if not isinstance(value, list) or len(value) != (3 if categorized else 2):
        return "%r has not %d elements" % (value, 3 if categorized else 2)
    if not is_ns(value[0]) or type(value[1]) is not str:
        return "%r: time and line must be texts" % value[:2]
    if categorized:
        if not isinstance(value[2], Obj) or not set(value[2].keys()) <= {"structuredMetadata", "parsed"}:
            return "%r is not an object of structuredMetadata and parsed" % (value[2],)
        if any(not all_strings(v) or not v for _, v in value[2]):
            return "%r: empty or not texts" % (value[2],)
    return None


def streams_trouble(result, categorized):
    for row in result:
        if row.keys() != ["stream", "values"] or not all_strings(row["stream"]) or not row["values"]:
            return "row of %r" % row.keys()
        for value in row["values"]:
            trouble = log_value_trouble(value, categorized)
            if trouble:
                return trouble
    return None


def sample_trouble(sample):
    if not isinstance(sample, list) or len(sample) != 2 or not isinstance(sample[0], Number) or type(sample[1]) is not str:
        return "sample %r" % (sample,)
    return None if float(sample[0]) < 1e11 else "%s are not seconds" % sample[0]


def series_trouble(result, key):
    for row in result:
        if row.keys() != ["metric", key] or not all_strings(row["metric"]):
            return "row of %r" % row.keys()
        for sample in row[key] if key == "values" else [row[key]]:
            trouble = sample_trouble(sample)
            if trouble:
                return trouble
    return None


def answer_trouble(data, flags, want_type=None):
    """What Grafana's streaming reader, or a reader with fixed shapes, would trip over; None when nothing."""
    if not data.endswith(b"\n"):
        return "no newline at the end"
    top = strict(data)
    if [k for k in top.keys() if k != "warnings"] != ["status", "data"] or top.keys()[-1] != "data" or top["status"] != "success":
        return "top level of %r" % top.keys()
    body = top["data"]
    kind = body["resultType"]
    echoed = flags and kind == "streams"
    if body.keys() != ["resultType"] + (["encodingFlags"] if echoed else []) + ["result", "stats"]:
        return "data of %r" % body.keys()
    if want_type and kind != want_type:
        return "%s instead of %s" % (kind, want_type)
    if echoed and body["encodingFlags"] != [flags]:
        return "flags %r" % body["encodingFlags"]
    if kind == "scalar":
        return sample_trouble(body["result"])
    if not isinstance(body["result"], list) or isinstance(body["result"], Obj):
        return "result is %r" % (body["result"],)
    if not all(isinstance(v, Number) for _, v in body["stats"]["summary"]):
        return "summary %r" % body["stats"]["summary"]
    if kind == "streams":
        return streams_trouble(body["result"], echoed)
    return series_trouble(body["result"], "values" if kind == "matrix" else "value")


FLAGS = "categorize-labels"


def grafana_get(s, path, params, flags=FLAGS, tags=None):
    """As the data source's backend asks: its headers, Go's order of parameters (sorted)."""
    lines = ["User-Agent: Grafana/13.1.0", "X-Query-Group-Id: 9f", "Accept-Encoding: gzip"]
    if flags:
        lines.append("X-Loki-Response-Encoding-Flags: " + flags)
    if tags:
        lines.append("X-Query-Tags: " + tags)
    query = "?" + urlencode(sorted(params.items())) if params else ""
    status, headers, data = ask(s, "GET", path + query, lines)
    if headers.get("content-encoding") == "gzip":
        check("Grafana: Vary says that gzip was a choice", "accept-encoding" in headers.get("vary", "").lower())
        data = gzip.decompress(data)
    if status == 200:
        equal("Grafana: type of %s" % path, headers["content-type"].lower(), "application/json; charset=utf-8")
    return status, data


def fill_for_grafana(s):
    rows = []
    for i in range(200):
        level = ("info", "error", "warn")[i % 3]
        line = json.dumps({"level": level, "msg": "<a href='x'>&", "took": "%dms" % i, "size": "%dKB" % i, "status": 200 + i, "nested": {"a": str(i)}})
        rows.append((NOW - 10**9 * (200 - i), line if i % 2 else "level=%s msg=plain took=%dms n=%d" % (level, i, i),
                     {"trace_id": "t%d" % (i % 5)} if i % 4 else {}))
    s.push([({"app": "shop", "env": "prod"}, rows), ({"app": "shop", "env": "dev"}, rows[:20])])


def grafana(s):
    """What the data source sends: its health check, Explore, alerting."""
    status, data = grafana_get(s, "/loki/api/v1/query", {"direction": "backward", "query": "vector(1)+vector(1)", "time": "4000000000"})
    top = strict(data)
    equal("Grafana, Save & test: on an empty store one sample 2",
          (status, answer_trouble(data, FLAGS, "vector"), [(r["metric"], r["value"][1]) for r in top["data"]["result"]]), (200, None, [(Obj(), "2")]))
    for query, kind in (('{app="none"}', "streams"), ('rate({app="none"}[1m])', "matrix")):
        status, data = grafana_get(s, "/loki/api/v1/query_range", {"query": query, "start": NOW - 10**10, "end": NOW, "step": "1000ms"})
        equal("Grafana, empty %s: [] and never null" % kind, (status, answer_trouble(data, FLAGS, kind), strict(data)["data"]["result"]), (200, None, []))
    fill_for_grafana(s)
    start, end = NOW - 300 * 10**9, NOW + 10**9
    base = {"start": start, "end": end, "direction": "backward", "step": "1000ms"}
    selector = '{app="shop"}'
    table = [
        ("Explore", dict(base, query=selector, limit=1000), "streams", None),
        ("Explore, JSON", dict(base, query=selector + " | json", limit=1000), "streams", None),
        ("Explore, logfmt and line_format", dict(base, query=selector + ' | logfmt | line_format "{{.msg}}"', limit=1000), "streams", None),
        ("log volume", dict(base, query="sum by (level, detected_level) (count_over_time(%s | drop __error__[5s]))" % selector, step="5000ms"),
         "matrix", "Source=logvolhist"),
        ("logs sample", dict(base, query=selector, limit=100), "streams", "Source=logsample"),
        ("data sample", dict(base, query=selector, limit=10), "streams", "Source=datasample"),
        ("infinite scroll", dict(base, query=selector, limit=30, end=NOW - 10**11), "streams", "Source=infinitescroll"),
        ("context, before", dict(base, query='{app="shop",env="prod"}', limit=50, end=NOW - 10**11), "streams", None),
        ("context, after", dict(base, query='{app="shop",env="prod"}', limit=50, start=NOW - 10**11, direction="forward"), "streams", None),
        ("metric panel", dict(base, query="sum by (app) (rate(%s[1m]))" % selector, step="15000ms"), "matrix", None),
        ("metric panel, ungrouped", dict(base, query="count_over_time(%s | json | status>250 [1m0s])" % selector, step="15s"), "matrix", None),
        ("Drilldown, fields", dict(base, query='sum by (status) (count_over_time(%s | json | logfmt | drop __error__, __error_details__ | status!="" [15s]))'
                                   % selector, step="15s"), "matrix", "Source=grafana-lokiexplore-app"),
        ("Drilldown, lines", dict(base, query="%s | detected_level=`error` |~ `(?i)PLAIN|href` | json | logfmt | drop __error__, __error_details__" % selector,
                                  limit=1000), "streams", "Source=grafana-lokiexplore-app"),
    ]
    for name, params, kind, tags in table:
        for flags in (FLAGS, None):
            status, data = grafana_get(s, "/loki/api/v1/query_range", params, flags, tags)
            if not equal("Grafana, %s%s: answered" % (name, "" if flags else ", without the header"), status, 200):
                print(data[:300])
                continue
            equal("Grafana, %s%s: read strictly" % (name, "" if flags else ", without the header"),
                  (answer_trouble(data, flags, kind), strict(data)["data"]["result"] != []), (None, True))
            if flags:
                again = grafana_get(s, "/loki/api/v1/query_range", params, flags, tags)[1]
                equal("Grafana, %s: the same order each time" % name, strict(again)["data"]["result"], strict(data)["data"]["result"])
    grafana_details(s, base, selector)
    grafana_resources(s, selector)


def grafana_details(s, base, selector):
    data = grafana_get(s, "/loki/api/v1/query_range", dict(base, query=selector, limit=1000))[1]
    rows = strict(data)["data"]["result"]
    equal("Grafana: with the header a stream has its own labels alone", sorted(sorted(r["stream"].keys()) for r in rows),
          [["app", "env", "service_name"]] * 2)
    third = [v[2] for r in rows for v in r["values"]]
    check("Grafana: detected_level is structured metadata of every line",
          all("detected_level" in t["structuredMetadata"].keys() for t in third), repr(third[:2]))
    # Context: start inclusive, end exclusive, to the nanosecond; ms would lose or double the row itself.
    at = NOW - 10**9 * 100
    query = '{app="shop",env="prod"}'
    before = strict(grafana_get(s, "/loki/api/v1/query_range", dict(base, query=query, limit=50, end=at))[1])["data"]["result"]
    after = strict(grafana_get(s, "/loki/api/v1/query_range", dict(base, query=query, limit=50, start=at, direction="forward"))[1])["data"]["result"]
    equal("Grafana, context: the row itself once", [max(v[0] for r in before for v in r["values"]) < str(at),
                                                   min(v[0] for r in after for v in r["values"])], [True, str(at)])
    # Splitting over days: chunks joined are the whole.
    count = "sum(count_over_time(%s[10s]))" % selector
    step = 10 * 10**9
    lo, hi, mid = (NOW - 300 * 10**9) // step * step, (NOW + 20 * 10**9) // step * step, (NOW - 100 * 10**9) // step * step

    def points(a, b):
        r = strict(grafana_get(s, "/loki/api/v1/query_range", {"query": count, "start": a, "end": b, "step": "10000ms"})[1])["data"]["result"]
        return {p[0]: p[1] for row in r for p in row["values"]}
    whole, parts = points(lo, hi), dict(points(lo, mid), **points(mid, hi))
    equal("Grafana, query splitting: chunks joined are the whole", parts, whole)
    r = strict(grafana_get(s, "/loki/api/v1/query", {"query": "sum(count_over_time(%s[1h]))" % selector, "time": NOW + 10**9})[1])
    equal("Grafana Alerting, instant: one series without labels", [(x["metric"], x["value"][1]) for x in r["data"]["result"]], [(Obj(), "220")])
    status, data = grafana_get(s, "/loki/api/v1/query", {"query": "1+1", "time": NOW})
    equal("Grafana: a scalar", (status, answer_trouble(data, FLAGS, "scalar"), strict(data)["data"]["result"][1]), (200, None, "2"))
    status, data = grafana_get(s, "/loki/api/v1/query", {"query": selector, "time": NOW})
    check("Grafana: a log query as instant is 400 with a text to show", status == 400 and b"instant" in data and not data.startswith(b"{"), data[:200])
    for query, part in (('{app="shop"', b"parse error at line 1, col 12"), ("{}", b"parse error"), ('rate({app="shop"})', b"parse error")):
        status, headers, data = ask(s, "GET", "/loki/api/v1/query_range?" + urlencode({"query": query}), [])
        check("Grafana: error of %s is plain text" % query,
              status == 400 and data.startswith(part) and headers["content-type"].startswith("text/plain"), data[:200])


def grafana_resources(s, selector):
    # Resource calls: ms times 10^6, printed as an integer; Drilldown sends ISO times.
    ms = {"start": (NOW // 10**6 - 300000) * 10**6, "end": (NOW // 10**6 + 1000) * 10**6}
    iso = {k: time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(v // 10**9)) for k, v in ms.items()}
    for name, window in (("ns", ms), ("ISO", iso)):
        def get(path, expect=200, **params):
            status, data = grafana_get(s, path, dict(window, **params), None, "Source=grafana-lokiexplore-app")
            equal("Grafana, %s with %s times" % (path, name), status, expect)
            return strict(data)
        data = get("/loki/api/v1/labels")
        equal("Grafana, labels", [k for k in data["data"] if k in ("app", "env", "detected_level", "trace_id")], ["app", "env"])
        equal("Grafana, values of a label", get("/loki/api/v1/label/env/values", query=selector)["data"], ["dev", "prod"])
        equal("Grafana, values of a label nobody has", get("/loki/api/v1/label/__stream_shard__/values", query=selector)["data"], [])
        equal("Grafana, series", sorted(r["env"] for r in get("/loki/api/v1/series", **{"match[]": selector})["data"]), ["dev", "prod"])
        stats = get("/loki/api/v1/index/stats", query=selector)
        equal("Grafana, editor hint: numbers without a wrapper", (stats.keys(), stats["streams"], stats["entries"], int(stats["bytes"]) > 0),
              (["streams", "chunks", "bytes", "entries"], "2", "220", True))
        volume = get("/loki/api/v1/index/volume", query='{service_name=~".+"}', limit="5000", targetLabels="service_name")["data"]
        check("Drilldown, volume: the label asked for is in metric, largest first",
              ("shop" in [r["metric"]["service_name"] for r in volume["result"]]
               and [int(r["value"][1]) for r in volume["result"]] == sorted((int(r["value"][1]) for r in volume["result"]), reverse=True)))
        equal("Drilldown, volume_range", series_trouble(get("/loki/api/v1/index/volume_range", query=selector, step="15s")["data"]["result"], "values"), None)
        labels = get("/loki/api/v1/detected_labels", query=selector)
        equal("Drilldown, detected_labels", {r["label"]: r["cardinality"] for r in labels["detectedLabels"]}, {"app": "1", "env": "2", "service_name": "1"})
        equal("Drilldown, detected_labels of nothing", get("/loki/api/v1/detected_labels", query='{app="none"}'), Obj())
        fields = {f["label"]: f for f in get("/loki/api/v1/detected_fields", query=selector, line_limit="1000")["fields"]}
        equal("Drilldown, detected_fields: null, not [], for structured metadata",
              (fields["trace_id"]["parsers"], fields["took"]["type"], fields["nested_a"]["jsonPath"], "app" in fields),
              (None, "duration", ["nested", "a"], False))
        equal("Drilldown, values of a field", get("/loki/api/v1/detected_field/detected_level/values", query=selector, line_limit="1000")["values"] != [], True)
        patterns = get("/loki/api/v1/patterns", query=selector, step="15s")
        equal("Drilldown, patterns: data is there", (patterns["status"], isinstance(patterns["data"], list)), ("success", True))
    status, data = grafana_get(s, "/loki/api/v1/drilldown-limits", {}, None)
    limits = strict(data)
    check("Drilldown, limits without a tenant header",
          status == 200 and {"limits", "pattern_ingester_enabled", "version"} <= set(limits.keys())
          and isinstance(limits["limits"]["max_entries_limit_per_query"], Number), data[:200])
    status, data = grafana_get(s, "/prometheus/api/v1/rules", {}, None)
    equal("Grafana Alerting: no rules is a list", (status, strict(data)["data"]["groups"]), (200, []))
    status, data = grafana_get(s, "/api/prom/rules/test/test", {}, None)
    check("Grafana Alerting: rules cannot be written", status == 404 and b"page not found" in data, data)
    equal("Prometheus, VictoriaMetrics: /metrics and both probes", [ask(s, "GET", p, [])[0] for p in ("/metrics", "/ready", "/loki/ready")], [200] * 3)


def state_history(s):
    """Grafana's alert-state history: ping, push once, read two-element values without the header."""
    basic = ["Authorization: Basic Zzpw", "X-Scope-OrgID: 1", "User-Agent: Grafana/13.1.0"]
    equal("alert-state history: ping", ask(s, "GET", "/loki/api/v1/labels", basic)[0], 200)
    line = json.dumps({"schemaVersion": 1, "previous": "Normal", "current": "Alerting", "values": {"A": 1}, "ruleUID": "u"}).encode()
    body = snappy_literal(proto_push([('{folderUID="f", from="state-history", group="g", orgID="1"}', [(NOW, line)])]))
    equal("alert-state history: push", push(s, basic + ["Content-Type: " + PROTO, "Content-Encoding: snappy"], body), 204)
    query = urlencode({"query": '{orgID="1",from="state-history"} | json', "start": NOW - 10**9, "end": NOW + 10**9, "limit": 5000})
    status, _, data = ask(s, "GET", "/loki/api/v1/query_range?" + query, basic)
    equal("alert-state history: two-element values", (status, answer_trouble(data, None, "streams"),
                                                     [len(v) for r in strict(data)["data"]["result"] for v in r["values"]]), (200, None, [2]))


def logcli_pages(s):
    """logcli --limit 0 --batch 25: the next page ends one past the last time, what overlaps is dropped."""
    rows = [(NOW + i // 3, "paged %d" % i) for i in range(60)]  # three of each time
    s.push([({"app": "paged"}, rows[:31]), ({"app": "paged", "x": "y"}, rows[31:])])
    for direction in ("backward", "forward"):
        start, end, got, last = NOW - 10**9, NOW + 10**9, [], set()
        for _ in range(20):
            params = {"query": '{app="paged"}', "start": start, "end": end, "limit": 25, "direction": direction.upper()}
            status, _, data = ask(s, "GET", "/loki/api/v1/query_range?" + urlencode(params), ["User-Agent: loki-logcli/3.6"])
            page = [(int(v[0]), v[1]) for r in strict(data)["data"]["result"] for v in r["values"]]
            new = sorted((e for e in page if e not in last), reverse=direction == "backward")
            got += new
            if len(page) < 25 or not new:
                break
            edge = new[-1][0]
            last = {e for e in page if e[0] == edge}
            if direction == "backward":
                end = edge + 1
            else:
                start = edge
        equal("logcli: pages of 25, %s: 60 lines, each once" % direction, sorted(got), sorted(rows))


if __name__ == "__main__":
    for alone in (outage, overload):
        run_part(alone)
    with Server() as server:
        for part in (grafana, go_clients, fluent_bit, ruby_clients, vector, opentelemetry, syslog_daemons, libraries, state_history, logcli_pages, reactions):
            run_part(part, server)
        equal("alive at the end", server.get("/ready")[0], 200)
        equal("exit status", server.stop(), 0)
    harness.done()
