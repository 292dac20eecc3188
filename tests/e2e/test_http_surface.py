#!/usr/bin/env python3
"""HTTP beside the endpoints themselves: other origins (CORS), a path prefix, long answers and clients that read them slowly, several
tenants in one read, what a stranger's tools probe."""
import glob
import gzip
import hashlib
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from urllib.parse import urlencode

import harness
from harness import Server, check, equal, run_part
from test_tail import Refused, Tail

NOW = (int(time.time()) - 60) * 10**9
V1 = "/loki/api/v1"


def cors_of(headers):
    return {k.lower()[len("access-control-"):]: v for k, v in headers.items() if k.lower().startswith("access-control-")}


def other_origins():
    ours = "https://grafana.example"
    with Server('server.http_cors_origins=[%s, http://localhost:3000]' % ours) as s:
        preflight = {"Origin": ours, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-scope-orgid, authorization"}
        status, h, data = s.request("OPTIONS", V1 + "/labels", None, preflight)
        equal("a preflight is answered", (status, data, cors_of(h)), (204, b"", {
            "allow-origin": ours, "allow-credentials": "true", "allow-methods": "GET, HEAD, POST, PUT, DELETE", "max-age": "600",
            "allow-headers": "x-scope-orgid, authorization", "expose-headers": "X-Delete-Request-ID"}))
        check("caches tell origins apart", "Origin" in h.get_all("Vary"), h.items())
        for path in (V1 + "/labels", V1 + "/push", "/nope", V1 + "/query_range"):
            for origin, want in ((ours, ours), ("http://localhost:3000", "http://localhost:3000"), ("https://evil.example", None), (None, None)):
                status, h, _ = s.get(path, None, {"Origin": origin} if origin else {})
                equal("GET %s from %s" % (path, origin), (cors_of(h).get("allow-origin"), "Origin" in (h.get_all("Vary") or [])), (want, True))
        for name, headers in (("another origin", dict(preflight, Origin="https://evil.example")), ("no origin", {"Access-Control-Request-Method": "GET"}),
                              ("no method", {"Origin": ours})):
            status, h, _ = s.request("OPTIONS", V1 + "/labels", None, headers)
            equal("a preflight of %s is 405" % name, (status, cors_of(h).get("allow-methods")), (405, None))
        equal("a preflight for an unknown path", s.request("OPTIONS", "/nope", None, preflight)[0], 404)
        status, h, _ = s.push([({"app": "x"}, [(NOW, "x")])], {"Origin": ours})
        equal("a push from a page", (status, cors_of(h)["allow-origin"]), (204, ours))
    with Server("server.http_cors_origins=[*]") as s:
        h = s.get("/ready", None, {"Origin": "https://any.example"})[1]
        equal("any origin, without credentials", (cors_of(h)["allow-origin"], "allow-credentials" in cors_of(h)), ("*", False))
    with Server() as s:
        status, h, _ = s.request("OPTIONS", V1 + "/labels", None, preflight)
        equal("off by default", (status, cors_of(h), h.get("Vary")), (405, {}, None))
        equal("off by default for reads, too", cors_of(s.get(V1 + "/labels", None, {"Origin": ours})[1]), {})


def prefix():
    for setting in (["--server.path-prefix=/logs/a"], ["-server.path-prefix", "/logs/a/"], ["--set", "server.http_path_prefix=/logs/a"]):
        s = Server(args=setting)
        s.start(wait=False)
        try:
            end = time.time() + 20
            while time.time() < end:
                try:
                    if s.get("/logs/a/ready")[0] == 200:
                        break
                except OSError:
                    time.sleep(0.02)
            equal("%s: below the prefix" % setting, s.get("/logs/a/ready")[::2], (200, b"ready\n"))
            equal("%s: outside of it" % setting, [s.get(p)[0] for p in ("/ready", "/logs/ready", "/logs/aready", "/")], [404] * 4)
            body = json.dumps({"streams": [{"stream": {"app": "p"}, "values": [[str(NOW), "x"]]}]}).encode()
            equal("%s: push" % setting, s.request("POST", "/logs/a/loki/api/v1/push", None, {"Content-Type": "application/json"}, body)[0], 204)
            equal("%s: read" % setting, json.loads(s.get("/logs/a/loki/api/v1/label/app/values")[2])["data"], ["p"])
            t = Tail(s, '{app="p"}', "/logs/a/loki/api/v1/tail")
            check("%s: tail" % setting, t.wait_lines(1), t.messages)
            t.drop()
        finally:
            s.close()


def loki_command_line():
    """What the images and charts of Loki pass."""
    def run(*args, **env):
        p = subprocess.run([harness.LOGQD] + list(args) + ["--check-config"], capture_output=True, text=True, timeout=30, env=dict(os.environ, **env))
        return p.returncode, p.stdout + p.stderr
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "local-config.yaml")
        with open(path, "w") as f:
            f.write("auth_enabled: ${AUTH:-false}\nserver:\n  http_listen_port: ${PORT}\ncommon:\n  path_prefix: ${DATA:-%s}/x\n" % folder)
        code, out = run("-config.file=" + path, "-config.expand-env=true", "-target=all", "-log.level=debug", PORT="4711")
        equal("variables are filled in", (code, "http_listen_port: 4711" in out, "auth_enabled: false" in out, folder + "/x" in out, "log_level: debug" in out),
              (0, True, True, True, True))
        code, out = run("-config.file", path, "-config.expand-env", "-server.http-listen-port=5000", "-auth.enabled=true", PORT="4711", DATA="/d")
        equal("options win over the file", (code, "http_listen_port: 5000" in out, "auth_enabled: true" in out, "/d/x" in out), (0, True, True, True))
        code, out = run("-config.file=" + path, PORT="4711")
        equal("only when asked", (code != 0, "local-config.yaml" in out), (True, True))
        code, out = run("-config.file=" + path, "-config.expand-env=true", "-target=querier")
        check("a part of Loki is refused by name", code != 0 and "querier" in out, out)


# ---- several tenants

def tenants():
    window = {"start": NOW - 10**10, "end": NOW + 10**10}
    settings = ("auth_enabled=true", "querier.multi_tenant_queries_enabled=true")
    with Server(*settings) as s:
        for tenant, lines in (("a", 3), ("b", 2), ("c", 1)):
            s.push([({"app": "x", "of": tenant}, [(NOW + i, "%s%d" % (tenant, i), {"m": "1"}) for i in range(lines)]),
                    ({"app": "same"}, [(NOW, "same line")])], {"X-Scope-OrgID": tenant})
        s.push([({"app": "own", "__tenant_id__": "mine"}, [(NOW, "z")])], {"X-Scope-OrgID": "a"})

        def read(path, tenant="a|b", **params):
            status, _, data = s.get(V1 + path, dict(window, **params), {"X-Scope-OrgID": tenant})
            return json.loads(data) if status == 200 else (status, data.decode())

        def streams(query, tenant="a|b", **more):
            return sorted((r["stream"].get("__tenant_id__"), v[1]) for r in read("/query_range", tenant, query=query, **more)["data"]["result"] for v in r["values"])

        def vector(query, tenant="a|b"):
            o = json.loads(s.get(V1 + "/query", {"query": query, "time": NOW + 10**9}, {"X-Scope-OrgID": tenant})[2])
            return sorted((sorted(r["metric"].items()), r["value"][1]) for r in o["data"]["result"])
        both = [("a", "a0"), ("a", "a1"), ("a", "a2"), ("b", "b0"), ("b", "b1")]
        for when in ("memory", "chunks"):
            equal("union from %s" % when, streams('{app="x"}'), both)
            equal("in any order, twice, from %s" % when, streams('{app="x"}', "b|a|b|a"), both)
            equal("one alone has no label, from %s" % when, streams('{app="x"}', "a"), [(None, "a0"), (None, "a1"), (None, "a2")])
            equal("the same tenant twice is one, from %s" % when, streams('{app="x"}', "a|a"), [(None, "a0"), (None, "a1"), (None, "a2")])
            equal("matchers choose tenants, from %s" % when, [streams('{app="x", __tenant_id__%s}' % m) for m in ('="b"', '!="b"', '=~"a|c"', '="c"')],
                  [both[3:], both[:3], both[:3], []])
            equal("equal lines of two tenants are two, from %s" % when, streams('{app="same"}'), [("a", "same line"), ("b", "same line")])
            equal("limit and direction hold over all, from %s" % when, streams('{app="x"}', limit=3, direction="backward"), [("a", "a1"), ("a", "a2"), ("b", "b1")])
            equal("counts, from %s" % when, (vector('sum(count_over_time({app="x"}[1m]))'), vector('sum by (__tenant_id__) (count_over_time({app="x"}[1m]))')),
                  ([([], "5")], [([("__tenant_id__", "a")], "3"), ([("__tenant_id__", "b")], "2")]))
            equal("a tenant that does not exist adds nothing, from %s" % when, streams('{app="x"}', "a|nobody"), both[:3])
            s.flush()
        o = read("/query_range", query='{app="own"}')["data"]["result"]
        equal("a label of that name is kept as another", [(r["stream"]["__tenant_id__"], r["stream"]["original___tenant_id__"]) for r in o], [("a", "mine")])
        equal("and matched by it", streams('{app="own", original___tenant_id__="mine"}'), [("a", "z")])
        equal("labels", read("/labels")["data"], ["__tenant_id__", "app", "of", "original___tenant_id__", "service_name"])
        equal("values of the tenant label", read("/label/__tenant_id__/values", "b|a|nobody")["data"], ["a", "b", "nobody"])
        equal("values", read("/label/of/values")["data"], ["a", "b"])
        equal("series", sorted((x["__tenant_id__"], x["of"]) for x in read("/series", match='{app="x"}')["data"]), [("a", "a"), ("b", "b")])
        equal("index/stats", [read("/index/stats", query='{app="x"}')[k] for k in ("streams", "entries")], [2, 5])
        equal("volume is summed up", [sorted(r["metric"]) for r in read("/index/volume", query='{app="x"}')["data"]["result"]], [["app"]])
        equal("volume of {} does not tell tenants apart", any("__tenant_id__" in r["metric"] for r in read("/index/volume", query="{}")["data"]["result"]), False)
        equal("volume by tenant when asked", sorted(r["metric"]["__tenant_id__"] for r in read("/index/volume", query='{app="x"}', targetLabels="__tenant_id__")["data"]["result"]), ["a", "b"])
        equal("volume_range", "data" in read("/index/volume_range", query='{app="x"}', step="60"), True)
        equal("detected_labels", sorted(x["label"] for x in read("/detected_labels", query='{app="x"}')["detectedLabels"]), ["app", "of", "service_name"])
        equal("detected_fields", sorted(x["label"] for x in read("/detected_fields", query='{app="x"}')["fields"]), ["detected_level", "m"])
        for tenant in "ab":
            s.push([({"app": "pat"}, [(NOW + i, "user %d of %s logged in" % (i, "them")) for i in range(50)])], {"X-Scope-OrgID": tenant})
        counts = {t: sum(n for p in read("/patterns", t, query='{app="pat"}')["data"] for _, n in p["samples"]) for t in ("a", "b", "a|b")}
        equal("patterns are summed up", (counts["a"] > 0, counts["a|b"]), (True, counts["a"] + counts["b"]))
        shape = [r["stream"].get("__tenant_id__") for r in json.loads(s.get(V1 + "/query_range", dict(window, query='{app="x"}'), {
            "X-Scope-OrgID": "a|b", "X-Loki-Response-Encoding-Flags": "categorize-labels"})[2])["data"]["result"]]
        equal("categorized: a label of the stream", shape, ["a", "b"])
        legacy = json.loads(s.get("/api/prom/query", dict(window, query='{app="x"}'), {"X-Scope-OrgID": "a|b"})[2])
        equal("legacy query", sum(len(x["entries"]) for x in legacy["streams"]), 5)
        equal("refused", [read("/labels", t) for t in ("a|", "|a", "a|b/c", "a|..")],
              [(401, "no org id\n"), (401, "no org id\n"), (400, "tenant ID 'b/c' contains unsupported character '/'\n"), (400, "tenant ID is '.' or '..'\n")])
        equal("too many", read("/labels", "|".join("t%d" % i for i in range(101))), (400, "too many tenants, limit is 100\n"))
        equal("a push has one", s.push([({"a": "b"}, [(NOW, "x")])], {"X-Scope-OrgID": "a|b"})[::2], (400, b"multiple org IDs present\n"))
        try:
            Tail(s, '{app="x"}', headers={"X-Scope-OrgID": "a|b"})
            check("a tail has one", False)
        except Refused as e:
            equal("a tail has one", (e.status, e.body), (400, "multiple org IDs present\n"))
    tenants_of_users()
    with Server("auth_enabled=true") as s:
        equal("off by default", s.get(V1 + "/labels", None, {"X-Scope-OrgID": "a|b"})[::2], (400, b"multiple org IDs present\n"))


def tenants_of_users():
    """Who reads several tenants must have each of them; a limit of one of them holds for all."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "access.yaml"), "w") as f:
            f.write("users:\n" + "".join("- name: %s\n  token_sha256: \"%s\"\n  rights: [push, query]\n  tenants: [%s]\n" % (
                name, hashlib.sha256(name.encode()).hexdigest(), tenants) for name, tenants in (("both", "a, b"), ("single", "a"), ("every", "\"*\""))))
        with open(os.path.join(folder, "overrides.yaml"), "w") as f:
            f.write("overrides:\n  b:\n    max_entries_limit_per_query: 7\n")
        os.chmod(os.path.join(folder, "access.yaml"), 0o600)
        with Server("auth_enabled=true", "querier.multi_tenant_queries_enabled=true", "logq.access_file=" + os.path.join(folder, "access.yaml"),
                    "limits_config.per_tenant_override_config=" + os.path.join(folder, "overrides.yaml")) as s:
            def status(user, tenant, limit=5):
                got = s.get(V1 + "/query_range", {"query": '{app="x"}', "limit": limit}, {"X-Scope-OrgID": tenant, "Authorization": "Bearer " + user})
                return got[0], got[2].decode()
            equal("users with all of the tenants", [status(u, "a|b")[0] for u in ("both", "every")], [200, 200])
            equal("a user without one of them", status("single", "a|b"), (403, "user 'single' has no access to tenant 'b'\n"))
            equal("wherever it stands", [status("single", t)[0] for t in ("b|a", "a|c", "a|a", "a")], [403, 403, 200, 200])
            equal("labels and values tell no names either", [s.get(V1 + p, None, {"X-Scope-OrgID": "a|b", "Authorization": "Bearer single"})[0]
                  for p in ("/labels", "/label/__tenant_id__/values", "/series", "/detected_labels")], [403] * 4)
            equal("the tightest limit holds", [status("both", t, 8)[0] for t in ("a", "b", "a|b")], [200, 400, 400])


# ---- long answers

def fill(s, lines, line):
    for at in range(0, lines, 500):
        status, _, data = s.push([({"app": "long"}, [(NOW + at + i, "%06d %s" % (at + i, line)) for i in range(500)])])
        assert status == 204, (status, data)


def slow_readers(s):
    """5,000 lines of 2 KB that need six bytes of JSON for each: 60 MB of answer from 10 MB of lines."""
    fill(s, 5000, "\x01" * 2000)
    s.flush()
    params = urlencode({"query": '{app="long"}', "start": NOW, "end": NOW + 10**9, "limit": 5000, "direction": "forward"})
    request = "GET %s/query_range?%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" % (V1, params)
    before = s.rss_kib()
    readers = []
    for encoding in ("", "Accept-Encoding: gzip\r\n"):
        c = socket.socket()
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        c.connect(("127.0.0.1", s.port))
        c.settimeout(60)
        c.sendall((request + encoding + "\r\n").encode())
        readers.append((c, c.recv(1000)))
    time.sleep(1)
    grown = s.rss_kib() - before
    # Each holds its 10 MB of lines, what decoding took, and two pieces; never its 60 MB of JSON.
    check("readers that wait hold lines, not answers", grown < 60 * 1024, "%d KiB for two" % grown)
    equal("others are served meanwhile", s.get("/ready")[0], 200)
    for c, first in readers:
        data = bytearray(first)
        while True:
            part = c.recv(1 << 20)
            if not part:
                break
            data += part
        c.close()
        head, body = data.split(b"\r\n\r\n", 1)
        check("a long answer comes in chunks", b"Transfer-Encoding: chunked" in head and b"Content-Length" not in head, head)
        plain, at = [], 0
        while True:
            line = body.index(b"\r\n", at)
            size = int(body[at:line], 16)
            if size == 0:
                break
            plain.append(body[line + 2:line + 2 + size])
            at = line + 2 + size + 2
        text = b"".join(plain)
        if b"Content-Encoding: gzip" in head:
            text = gzip.decompress(text)
        values = [v for r in json.loads(text)["data"]["result"] for v in r["values"]]
        equal("and is whole", (len(values), values[0][1][:6], values[-1][1][:6], len(text) > 50 << 20), (5000, "000000", "004999", True))
    c = socket.create_connection(("127.0.0.1", s.port))
    c.sendall((request + "\r\n").encode())
    c.recv(1000)
    c.close()
    equal("one that goes away harms nobody", s.get("/ready")[0], 200)
    equal("HTTP/1.0 gets the same bytes until the end", len(old_version(s, params)), 5000)
    matrix = {"query": 'sum by (n) (count_over_time({app="many"} | logfmt [1m]))', "start": NOW - 3600 * 10**9, "end": NOW + 3600 * 10**9, "step": "1"}
    s.push([({"app": "many"}, [(NOW + i, "n=%d" % i) for i in range(300)])])
    got = json.loads(s.get(V1 + "/query_range", matrix)[2])["data"]["result"]
    equal("a long matrix", (len(got), sum(len(r["values"]) for r in got)), (300, 300 * 60))


def old_version(s, params):
    with socket.create_connection(("127.0.0.1", s.port), 60) as c:
        c.sendall(("GET %s/query_range?%s HTTP/1.0\r\n\r\n" % (V1, params)).encode())
        data = bytearray()
        while True:
            part = c.recv(1 << 20)
            if not part:
                break
            data += part
    head, body = data.split(b"\r\n\r\n", 1)
    assert b"chunked" not in head and b"Connection: close" in head, head
    return [v for r in json.loads(body)["data"]["result"] for v in r["values"]]


def documented(s):
    """Every route stands in docs/http-api.md, or in the page of its own subject."""
    with open(os.path.join(harness.ROOT, "server", "api.c")) as f:
        routes = set(re.findall(r'^    \{[A-Z_ |]+, *"(/[^"]*)"', f.read().replace(",\n     ", ", "), re.M))
    text = ""
    for path in glob.glob(os.path.join(harness.ROOT, "docs", "*.md")):
        with open(path, encoding="utf-8") as f:
            text += f.read()
    check("routes are found", len(routes) > 35, len(routes))
    for route in sorted(routes):
        check("%s is written down" % route, re.search(re.escape(route).replace(r"\{\}", r"\{\w+\}") + r"[^\w/]", text))
        status = s.get(route.replace("{}", "app"))[0]
        check("%s is served" % route, status != 404 or "rules" in route, status)


if __name__ == "__main__":
    for part in (other_origins, prefix, loki_command_line, tenants):
        run_part(part)
    with Server() as server:
        run_part(slow_readers, server)
        documented(server)
        equal("exit status", server.stop(), 0)
    harness.done()
