#!/usr/bin/env python3
"""OpenTelemetry logs, as collectors and SDKs send them: both paths, protobuf and JSON, compressions, the mapping to labels,
lines and metadata as a query shows it, errors as google.rpc.Status, limits, a retried batch."""
import gzip
import json
import struct
import tempfile
import time
import zlib

import harness
from harness import Server, check, equal, field, run_part, status_message, varint, zstd_raw

NOW = int(time.time()) * 10**9
JSON = "application/json"
PROTO = "application/x-protobuf"


# ---- requests

def text(value):
    return {"stringValue": value}


def attributes(pairs):
    return [{"key": k, "value": v if isinstance(v, dict) else text(v)} for k, v in pairs.items()]


def request(resource, records, scope=None):
    """The JSON form of a request with one resource and one scope."""
    logs = {"logRecords": records}
    if scope:
        logs["scope"] = scope
    return json.dumps({"resourceLogs": [{"resource": {"attributes": attributes(resource)}, "scopeLogs": [logs]}]}).encode()


def record(line, ns=NOW, **more):
    return dict({"timeUnixNano": str(ns), "body": text(line)}, **more)


def fixed64(number, value):
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def proto_pair(key, value):
    return field(1, key.encode()) + field(2, field(1, value.encode()))


def proto_request(resource, records):
    """resource: {key: text}; records: [(ns, line)]; protobuf."""
    out = field(1, b"".join(field(1, proto_pair(k, v)) for k, v in resource.items()))
    logs = b"".join(field(2, fixed64(1, ns) + field(5, field(1, line.encode()))) for ns, line in records)
    return field(1, out + field(2, logs))


def lz4_raw(data):
    """An lz4 frame of one raw block."""
    assert len(data) < 1 << 16
    return b"\x04\x22\x4d\x18\x60\x40\x82" + struct.pack("<I", len(data) | 1 << 31) + data + bytes(4)


def post(s, data, ctype=PROTO, encoding=None, path="/otlp/v1/logs"):
    h = {}
    if ctype is not None:
        h["Content-Type"] = ctype
    if encoding:
        h["Content-Encoding"] = encoding
    status, headers, answer = s.request("POST", path, None, h, data)
    if status == 204:
        check("204 has no body", answer == b"" and headers.get("Content-Length") in (None, "0"), repr(answer))
        return status, ""
    equal("type of an error", headers.get("Content-Type"), "application/octet-stream")
    return status, status_message(answer)


def rows(s, service, start=NOW - 10**12, end=NOW + 10**12):
    """[(labels and metadata without service_name, line)] of a service."""
    out = []
    for stream in s.query_range('{service_name="%s"}' % service, start, end):
        labels = {k: v for k, v in stream["stream"].items() if k != "service_name"}
        out += [(labels, v[1]) for v in stream["values"]]
    return sorted(out, key=lambda r: r[1])


def lines(s, service, **range_ns):
    return [line for _, line in rows(s, service, **range_ns)]


# ---- parts

def transport(s):
    def proto(service):
        return proto_request({"service.name": service}, [(NOW, "hello"), (NOW + 1, "again")])

    def as_json(service):
        return request({"service.name": service}, [record("hello"), record("again", NOW + 1)])

    table = [
        ("protobuf", proto, PROTO, None, lambda b: b),
        ("protobuf gzip", proto, PROTO, "gzip", gzip.compress),
        ("protobuf zstd", proto, PROTO, "zstd", zstd_raw),
        ("protobuf lz4", proto, PROTO, "lz4", lz4_raw),
        ("json", as_json, JSON, None, lambda b: b),
        ("json charset", as_json, "application/json; charset=utf-8", None, lambda b: b),
        ("json gzip", as_json, JSON, "gzip", gzip.compress),
        ("json zstd", as_json, JSON, "zstd", zstd_raw),
    ]
    for i, (name, make, ctype, encoding, pack) in enumerate(table):
        for path in ("/otlp/v1/logs", "/v1/logs", "//otlp//v1/logs"):
            equal("%s to %s" % (name, path), post(s, pack(make("t%d" % i)), ctype, encoding, path), (204, ""))
        equal("%s: stored once" % name, lines(s, "t%d" % i), ["again", "hello"])
    equal("GET", s.request("GET", "/otlp/v1/logs")[0], 405)
    c = s.connect()
    statuses = set()
    for i in range(50):
        h = {"Content-Type": PROTO}
        statuses.add(s.request("POST", "/v1/logs", None, h, proto_request({"service.name": "keep"}, [(NOW + i, "l")]), c)[0])
    equal("50 requests on one connection", (statuses, len(lines(s, "keep"))), ({204}, 50))


def errors(s):
    good = proto_request({"service.name": "e"}, [(NOW, "x")])
    table = [
        ("empty protobuf", b"", PROTO, None, 422, "at least one valid stream"),
        ("empty json", b"{}", JSON, None, 422, "at least one valid stream"),
        ("no records", request({"service.name": "e"}, []), JSON, None, 422, "at least one valid stream"),
        ("cut protobuf", good[:-3], PROTO, None, 400, "malformed OTLP protobuf"),
        ("garbage", b"\xff\xff\xff", PROTO, None, 400, "malformed OTLP protobuf"),
        ("cut json", b'{"resourceLogs":[{', JSON, None, 400, "malformed JSON"),
        ("deflate", zlib.compress(good), PROTO, "deflate", 400,
         "unsupported content encoding deflate: only gzip, lz4 and zstd are supported"),
        ("cut gzip", gzip.compress(good)[:-9], PROTO, "gzip", 400, ""),
        ("not gzip", good, PROTO, "gzip", 400, ""),
        ("other type", good, "application/octet-stream", None, 400, "content type: application/octet-stream is not supported"),
        ("no type", good, None, None, 400, "content type: "),
        ("bomb", gzip.compress(bytes(100 << 20)), PROTO, "gzip", 413, "too large"),
        ("deep", b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":' + b'{"arrayValue":{"values":[' * 50000, JSON, None, 400, "nested deeper"),
    ]
    for name, data, ctype, encoding, want, part in table:
        status, message = post(s, data, ctype, encoding)
        check(name, status == want and part in message, "%d %s" % (status, message[:200]))
    equal("nothing of it is stored", lines(s, "e"), [])


def mapping(s):
    everything = record(
        "ignored", body={"kvlistValue": {"values": attributes({"b": {"intValue": "2"}, "a": text("<1>")})}},
        observedTimeUnixNano="77", severityNumber=14, severityText="Warning", flags=1, droppedAttributesCount=2,
        traceId="5B8EFFF798038103D269B633813FC60C", spanId="eee19b7ec3c1b174", eventName="e",
        attributes=attributes({"http.status--code": {"intValue": 200}, "1st": {"doubleValue": 0.1}, "user id": {"boolValue": False},
                               "raw": {"bytesValue": "AP8="}, "list": {"arrayValue": {"values": [text("a"), {"intValue": 1}]}},
                               "map": {"kvlistValue": {"values": attributes({"x.y": text("1")})}}, "empty": "", "\u00fc": "dropped"}))
    resource = {"service.name": "m", "k8s.pod.name": "p", "host.name": "h"}
    scope = {"name": "sc", "version": "1", "attributes": attributes({"lib": "l"}), "droppedAttributesCount": 3}
    equal("mapping", post(s, request(resource, [everything], scope), JSON), (204, ""))
    equal("mapping: as stored", rows(s, "m"), [({
        "k8s_pod_name": "p", "host_name": "h", "scope_name": "sc", "scope_version": "1", "lib": "l", "scope_dropped_attributes_count": "3",
        "observed_timestamp": "77", "severity_number": "14", "severity_text": "Warning", "detected_level": "warn", "flags": "1",
        "dropped_attributes_count": "2", "trace_id": "5b8efff798038103d269b633813fc60c", "span_id": "eee19b7ec3c1b174",
        "event_name": "e", "http_status_code": "200", "key_1st": "0.1", "user_id": "false", "raw": "AP8=", "list": '["a",1]',
        "map_x_y": "1"}, '{"a":"<1>","b":2}')])
    status, _, data = s.get("/loki/api/v1/series", {"match[]": '{service_name="m"}', "start": NOW - 1, "end": NOW + 1})
    equal("mapping: index labels", (status, json.loads(data)["data"]), (200, [{"service_name": "m", "k8s_pod_name": "p"}]))
    equal("a filter by metadata", len(s.query_range('{service_name="m"} | trace_id="5b8efff798038103d269b633813fc60c" | lib="l"',
                                                    NOW - 1, NOW + 1)), 1)
    before = time.time_ns()
    equal("no times at all", post(s, request({"k8s.container.name": "box"}, [{"body": text("now")}, {"observedTimeUnixNano": NOW, "body": text("seen")}]), JSON)[0], 204)
    got = {v[1]: int(v[0]) for r in s.query_range('{service_name="box"}', NOW - 10**12, before + 10**12) for v in r["values"]}
    check("no times at all: now", before <= got.get("now", 0) <= time.time_ns() and got.get("seen") == NOW, got)


INDEX = ("service.namespace service.instance.id deployment.environment deployment.environment.name cloud.region "
         "cloud.availability_zone k8s.cluster.name k8s.namespace.name k8s.pod.name k8s.container.name container.name "
         "k8s.replicaset.name k8s.deployment.name k8s.statefulset.name k8s.daemonset.name k8s.cronjob.name k8s.job.name").split()


def limits(s):
    resource = {"service.name": "all"}
    resource.update({name: "v" for name in INDEX})
    equal("more index labels than allowed", post(s, request(resource, [record("x")]), JSON), (204, ""))
    status, _, data = s.get("/loki/api/v1/series", {"match[]": '{service_name="all"}', "start": NOW - 1, "end": NOW + 1})
    equal("15 stay labels", sorted(json.loads(data)["data"][0]), sorted(["service_name"] + [n.replace(".", "_") for n in INDEX[:15]]))
    got = rows(s, "all")[0][0]
    equal("the rest is metadata", (got.get("k8s_cronjob_name"), got.get("k8s_job_name")), ("v", "v"))
    status, message = post(s, request({"service.name": "age"}, [record("new", NOW + 3600 * 10**9), record("now")]), JSON)
    check("too new", status == 400 and "has timestamp too new" in message, message)
    equal("the good record is stored", lines(s, "age"), ["now"])
    status, message = post(s, request({"service.name": "big"}, [record("x" * 262145), record("fits")]), JSON)
    check("line too long", status == 400 and "max entry size '262144' bytes exceeded" in message, message[:200])
    equal("the other record is stored", lines(s, "big"), ["fits"])


def batches(s):
    records = [record("request %d served" % i, NOW + i, attributes=attributes({"n": {"intValue": i}})) for i in range(8192)]
    data = gzip.compress(request({"service.name": "batch", "host.name": "h"}, records, {"name": "lib"}))
    for _ in range(3):
        equal("a collector's batch", post(s, data, JSON, "gzip"), (204, ""))
    s.flush()
    equal("after a flush", post(s, data, JSON, "gzip"), (204, ""))
    count = s.instant('sum(count_over_time({service_name="batch"} | host_name="h" | scope_name="lib" [1h]))', NOW // 10**9 + 5)
    equal("a retried batch is stored once", [r["value"][1] for r in count], ["8192"])


def tenants():
    with Server("auth_enabled=true") as s:
        data = proto_request({"service.name": "x"}, [(NOW, "l")])
        status, headers, answer = s.request("POST", "/otlp/v1/logs", None, {"Content-Type": PROTO}, data)
        equal("no tenant", (status, headers.get("Content-Type"), answer), (401, "text/plain; charset=utf-8", b"no org id\n"))
        h = {"Content-Type": PROTO, "X-Scope-OrgID": "a"}
        equal("a tenant", s.request("POST", "/otlp/v1/logs", None, h, data)[0], 204)
        equal("its own", [len(s.query_range('{service_name="x"}', NOW - 1, NOW + 1, headers={"X-Scope-OrgID": t})) for t in "ab"], [1, 0])


RULES = """
limits_config:
  otlp_config:
    resource_attributes:
      attributes_config:
      - {action: index_label, attributes: [shop.branch, shop]}
      - {action: drop, regex: 'secret.*'}
    scope_attributes:
    - {action: drop, attributes: [lib.note]}
    log_attributes:
    - {action: structured_metadata, regex: '.*_id'}
    - {action: drop, regex: '.*'}
"""


def rules():
    """limits_config.otlp_config: what becomes of attributes by their names."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        f.write(RULES)
        f.flush()
        with Server(args=["--config", f.name]) as s:
            shop = {"kvlistValue": {"values": attributes({"city": "Ulm", "no": {"intValue": 7}})}}
            data = request({"shop": shop, "service.name": "till", "shop.branch": "north", "secret.key": "k", "host.name": "h"},
                           [record("sold", attributes=attributes({"user_id": "u", "phone": "p"}), severityText="INFO")],
                           {"name": "lib", "attributes": attributes({"lib.note": "n", "lib.kind": "c"})})
            equal("push", post(s, data, JSON), (204, ""))
            got = s.query_range('{shop_branch="north"}', NOW - 1, NOW + 1, headers={"X-Loki-Response-Encoding-Flags": "categorize-labels"})
            equal("labels", [x["stream"] for x in got],
                  [{"service_name": "till", "shop_branch": "north", "shop_city": "Ulm", "shop_no": "7"}])
            equal("metadata", got[0]["values"][0][2].get("structuredMetadata"),
                  {"host_name": "h", "user_id": "u", "severity_text": "INFO", "scope_name": "lib", "lib_kind": "c", "detected_level": "info"})
            told = json.loads(s.get("/loki/api/v1/drilldown-limits")[2])["limits"]["otlp_config"]["resource_attributes"]["attributes_config"]
            equal("told to Drilldown", [len(told), told[0]["attributes"][0], told[1:]],
                  [3, "service.name", [{"action": "index_label", "attributes": ["shop.branch", "shop"]}, {"action": "drop", "regex": "secret.*"}]])
            check("in /config", b"otlp_config:" in s.get("/config")[2])


if __name__ == "__main__":
    with Server() as server:
        for part in (transport, errors, mapping, limits, batches):
            run_part(part, server)
        equal("exit status", server.stop(), 0)
    tenants()
    rules()
    harness.done()
