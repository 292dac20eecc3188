#!/usr/bin/env python3
"""What Grafana, logcli and canary ask, row by row: shapes and key order, boundaries, limits, errors, labels and series, POST
forms, gzip, tenants; and the visible side of retention and settings."""
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

import harness
from harness import LOGQD, Server, check, equal, run_part, wait_for

NOW = (int(time.time()) - 120) * 10**9
S = NOW // 10**9


def text(s, path, **params):
    status, headers, data = s.get(path, params)
    return status, headers.get("Content-Type"), data.decode()


def empty_store(s):
    # Grafana's "Save & test"
    status, _, data = s.get("/loki/api/v1/query", dict(direction="backward", query="vector(1)+vector(1)", time="4000000000"))
    answer = json.loads(data)
    equal("health check", (status, answer["data"]["resultType"], [r["value"][1] for r in answer["data"]["result"]]), (200, "vector", ["2"]))
    for path, params, want in (
            ("/loki/api/v1/query_range", {"query": '{a="b"}'}, lambda o: o["data"]["result"] == []),
            ("/loki/api/v1/query_range", {"query": 'rate({a="b"}[1m])'}, lambda o: o["data"]["result"] == []),
            ("/loki/api/v1/query", {"query": 'sum(rate({a="b"}[1m]))'}, lambda o: o["data"]["result"] == []),
            ("/loki/api/v1/labels", {}, lambda o: o["status"] == "success" and o.get("data", []) == []),
            ("/loki/api/v1/label/x/values", {}, lambda o: o["status"] == "success" and o.get("data", []) == []),
            ("/loki/api/v1/series", {}, lambda o: o["data"] == []),
            ("/loki/api/v1/index/stats", {"query": '{a="b"}'}, lambda o: o == {"streams": 0, "chunks": 0, "bytes": 0, "entries": 0})):
        status, ctype, data = text(s, path, **params)
        check("empty store: " + path, status == 200 and ctype.lower() == "application/json; charset=utf-8" and want(json.loads(data)) and data.endswith("\n"), data[:200])


def shapes(s):
    plain = [(NOW + i, "l%d" % i) for i in range(5)]
    s.push([({"app": "api", "env": "prod"}, plain), ({"app": "api", "env": "dev"}, [(NOW + 10, "level=error with", {"trace_id": "t1"})])])
    status, _, data = text(s, "/loki/api/v1/query_range", query='{app="api"}', start=NOW, end=NOW + 100)
    for result in json.loads(data)["data"]["result"]:
        check("two strings per value", all(len(v) == 2 and isinstance(v[0], str) and isinstance(v[1], str) for v in result["values"]))
    status, _, raw = s.get("/loki/api/v1/query_range", dict(query='{app="api"} | logfmt', start=NOW, end=NOW + 100),
                           {"X-Loki-Response-Encoding-Flags": "categorize-labels"})
    order = [raw.find(k) for k in (b'"resultType"', b'"encodingFlags"', b'"result":')]
    check("key order", -1 < order[0] < order[1] < order[2], repr(order))
    data = json.loads(raw)["data"]
    equal("flags echoed", data["encodingFlags"], ["categorize-labels"])
    by_env = {r["stream"]["env"]: r for r in data["result"]}
    equal("only index labels in stream", by_env["dev"]["stream"], {"app": "api", "env": "dev", "service_name": "api"})
    third = by_env["dev"]["values"][0][2]
    equal("structured metadata apart", third.get("structuredMetadata"), {"detected_level": "error", "trace_id": "t1"})
    equal("parsed labels apart", third.get("parsed", {}).get("level"), "error")
    check("three elements everywhere", all(len(v) == 3 and isinstance(v[2], dict) for r in data["result"] for v in r["values"]))
    result = s.query_range('{app="api", env="prod"}', NOW + 1, NOW + 3)
    equal("start inclusive, end exclusive", [v[1] for r in result for v in r["values"]], ["l1", "l2"])
    result = s.query_range('{app="api", env="prod"}', NOW, NOW + 100, limit=2, direction="backward")
    equal("limit, newest first", [v[1] for r in result for v in r["values"]], ["l4", "l3"])
    one = s.instant('sum(count_over_time({app="api"}[10m]))', S + 60)
    equal("one series without labels", [(r["metric"], r["value"][1]) for r in one], [({}, "6")])
    split = s.instant('count_over_time({app="api"}[10m])', S + 60)
    equal("ungrouped counts split by detected_level", sorted(r["metric"].get("detected_level") for r in split), ["error", "unknown"])
    window = s.instant('count_over_time({app="api",env="prod"}[1s])', S)
    equal("a window is closed at its right end", [r["value"][1] for r in window], ["1"])
    matrix = s.query_range('count_over_time({app="api",env="prod"}[10s])', (S - 3) * 10**9, (S + 14) * 10**9, step="10")
    check("aligned to the step", all(t % 10 == 0 for r in matrix for t, _ in r["values"]), repr(matrix))
    status, _, data = text(s, "/loki/api/v1/query_range", query='{app="api"}', start=NOW, end=NOW + 100)
    stats = json.loads(data)["data"]["stats"]
    check("stats", stats["summary"]["totalLinesProcessed"] >= 6 and "querier" in stats and "ingester" in stats, str(stats)[:200])


def paging(s):
    entries = [(NOW + i // 7, "p%03d" % i) for i in range(200)]
    s.push([({"app": "page"}, entries)])
    got, end = [], NOW + 1000
    while True:
        page = [v for r in s.query_range('{app="page"}', NOW, end, limit=25, direction="backward") for v in r["values"]]
        page.sort(key=lambda v: -int(v[0]))
        fresh = [v for v in page if v not in got]
        if not fresh:
            break
        got += fresh
        end = int(page[-1][0]) + 1
    equal("logcli's paging over equal times", len({v[1] for v in got}), 200)


def labels(s):
    def data(path, **p):
        return json.loads(text(s, path, **p)[2]).get("data", [])
    window = dict(start=NOW - 10**9, end=NOW + 10**9)
    equal("labels", data("/loki/api/v1/labels", **window), ["app", "env", "service_name"])
    equal("label", data("/loki/api/v1/label", **window), ["app", "env", "service_name"])
    equal("values", data("/loki/api/v1/label/env/values", **window), ["dev", "prod"])
    equal("values with a selector", data("/loki/api/v1/label/env/values", query='{env="dev"}', **window), ["dev"])
    equal("values outside the range", data("/loki/api/v1/label/env/values", start=NOW - 10**13, end=NOW - 10**12), [])
    equal("metadata is no label", "detected_level" in data("/loki/api/v1/labels", **window), False)
    got = data("/loki/api/v1/series", **{"match[]": ['{env="dev"}', '{env="prod"}'], "start": NOW - 10**9, "end": NOW + 10**9})
    equal("series, two matchers", sorted(x["env"] for x in got), ["dev", "prod"])
    status, _, answer = s.request("POST", "/loki/api/v1/series", None, {"Content-Type": "application/x-www-form-urlencoded"},
                                  "match[]=%%7Benv%%3D%%22dev%%22%%7D&start=%d&end=%d" % (NOW - 10**9, NOW + 10**9))
    equal("series as a form", len(json.loads(answer)["data"]), 1)
    status, _, answer = s.request("POST", "/loki/api/v1/query_range", None, {"Content-Type": "application/x-www-form-urlencoded"},
                                  "query=%%7Bapp%%3D%%22api%%22%%7D&start=%d&end=%d" % (NOW, NOW + 100))
    equal("query_range as a form", len(json.loads(answer)["data"]["result"]) > 0, True)
    status, _, answer = text(s, "/loki/api/v1/labels", query='{app="api"} |= "x"')
    equal("pipelines are refused", (status, answer), (400, "only label matchers are supported"))
    stats = json.loads(text(s, "/loki/api/v1/index/stats", query='{app="api"}', **window)[2])
    check("index/stats counts memory", stats["streams"] == 2 and stats["entries"] == 6 and stats["bytes"] > 0, str(stats))
    status, headers, raw = s.request("GET", "/loki/api/v1/query_range", dict(query='{app="page"}', start=NOW, end=NOW + 1000, limit=200), {"Accept-Encoding": "gzip"})
    equal("gzip answer", (headers.get("Content-Encoding"), len(json.loads(raw)["data"]["result"]) > 0), ("gzip", True))


def errors(s):
    # query, parameters, status, text (a part when it ends with ...)
    rows = [
        ("", {}, 400, "parse error : syntax error: unexpected $end"),
        ("{", {}, 400, "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }"),
        ('{app="x"', {}, 400, "parse error at line 1, col 9: syntax error: unexpected $end, expecting } or ,"),
        ("{}", {}, 400, "parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible value. ..."),
        ('rate({app="api"})', {}, 400, "parse error at line 1, col 17: syntax error: unexpected )"),
        ('{a="b"}', {"limit": 0}, 400, "limit must be a positive value"),
        ('{a="b"}', {"limit": 5001}, 400, "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)"),
        ('{a="b"}', {"limit": "abc"}, 400, 'strconv.Atoi: parsing "abc": invalid syntax'),
        ('{a="b"}', {"start": NOW, "end": NOW - 1}, 400, "end timestamp must not be before or equal to start time"),
        ('{a="b"}', {"direction": "sideways"}, 400, "invalid direction 'sideways'"),
        ('rate({a="b"}[1m])', {"step": 0}, 400, "zero or negative query resolution step widths are not accepted. Try a positive integer"),
        ('rate({a="b"}[1m])', {"start": NOW - 86400 * 10**9, "end": NOW, "step": 1}, 400, "exceeded maximum resolution of 11,000 points per time series. ..."),
        ('{a="b"}', {"start": "yesterday"}, 400, "could not parse 'start' parameter: ..."),
        ('{a="b"}', {"start": NOW - 40 * 86400 * 10**9, "end": NOW}, 400, "the query time range exceeds the limit (query length: ..."),
        ('{a="b"} | json | foo', {}, 400, "parse error ..."),
        ('{a=~"["}', {}, 400, "error parsing regexp..."),
    ]
    for query, params, want, message in rows:
        status, ctype, got = text(s, "/loki/api/v1/query_range", query=query, **params)
        ok = got.startswith(message[:-3].rstrip()) if message.endswith("...") else got == message
        if query.startswith('{a=~"['):
            ok = "error parsing regexp" in got
        check("error %r %s" % (query, params), status == want and ok and ctype.startswith("text/plain"), "%d %r" % (status, got[:300]))
    status, _, got = text(s, "/loki/api/v1/query", query='{app="api"}')
    equal("instant log query", (status, got), (400, "log queries are not supported as an instant query type, please change your query to a range query type"))
    s.push([({"app": "bad"}, [(NOW, '{"a":'), (NOW + 1, '{"a":1}')])])
    status, _, got = text(s, "/loki/api/v1/query", query='sum by (a) (count_over_time({app="bad"} | json [10m]))', time=S + 60)
    check("pipeline error", status == 400 and got.startswith("pipeline error: 'JSONParserErr' for series: '"), got[:200])
    status, _, got = text(s, "/loki/api/v1/query", query='sum(count_over_time({app="bad"} | json [10m]))', time=S + 60)
    equal("no label is needed, no parser, no error", json.loads(got)["data"]["result"][0]["value"][1], "2")
    status, _, got = text(s, "/loki/api/v1/query", query='sum by (x) (count_over_time({app="bad"} | logfmt x [10m]))', time=S + 60)
    equal("an empty label makes a group", json.loads(got)["data"]["result"][0]["metric"], {"x": ""})
    equal("404", s.get("/nope")[2], b"404 page not found\n")
    hostile = ["{a=~\"" + "(" * 5000 + "\"}", '{a="b"} |~ "' + "(a{1,1000}){1,1000}" + '"', "(" * 20000 + "1" + ")" * 20000, "1" + "+1" * 20000,
               '{a="b"}' + ' |= "x"' * 20000, "\x00\xff", '{a="' + "x" * 200000 + '"}', "sum(" * 5000, "-" * 50000 + "1", '{a="b"} | ' + "(" * 9999]
    for query in hostile:
        status, _, _ = s.request("POST", "/loki/api/v1/query_range", None, {"Content-Type": "application/x-www-form-urlencoded"},
                                 "query=" + "".join("%%%02X" % b for b in query.encode("latin-1")))
        check("hostile query %r" % query[:30], status in (200, 400, 413), str(status))
    equal("alive", s.get("/ready")[0], 200)


def probes(s):
    equal("ready", s.get("/ready")[2], b"ready\n")
    info = json.loads(s.get("/loki/api/v1/status/buildinfo")[2])
    check("buildinfo", re.match(r"3\.7", info["version"]) is not None, str(info))
    metrics = s.get("/metrics")[2].decode()
    for name in ("loki_build_info", "loki_request_duration_seconds_bucket", "loki_distributor_lines_received_total", "loki_distributor_bytes_received_total"):
        check("metric " + name, re.search("^" + name + "[{ ]", metrics, re.M) is not None)
    check("config", b"limits_config:" in s.get("/config")[2])


def tenants():
    with Server("auth_enabled=true") as s:
        equal("no tenant", s.get("/loki/api/v1/labels")[::2], (401, b"no org id\n"))
        equal("push without tenant", s.push([({"a": "b"}, [(NOW, "x")])])[::2], (401, b"no org id\n"))
        equal("two tenants on a push", s.push([({"a": "b"}, [(NOW, "x")])], {"X-Scope-OrgID": "a|b"})[0], 400)
        equal("bad tenant", s.push([({"a": "b"}, [(NOW, "x")])], {"X-Scope-OrgID": "a/b"})[0], 400)
        for t in ("one", "two"):
            s.push([({"app": t}, [(NOW, "of " + t)])], {"X-Scope-OrgID": t})
        for t in ("one", "two"):
            got = s.query_range('{app=~".+"}', NOW, NOW + 1, headers={"X-Scope-OrgID": t})
            equal("isolation of " + t, [v[1] for r in got for v in r["values"]], ["of " + t])
        s.stop()


def retention():
    settings = ("limits_config.retention_period=24h", "compactor.compaction_interval=1s", "limits_config.reject_old_samples=false")
    with Server(*settings) as s:
        old = NOW - 25 * 3600 * 10**9
        s.push([({"app": "gone"}, [(old + i, "old %d" % i) for i in range(100)]), ({"app": "half"}, [(old, "old"), (NOW, "new")])])
        equal("expired entries are invisible at once", s.query_range('{app=~".+"} |= "old"', old - 1, NOW + 10**9), [])
        s.flush()
        files = lambda: [f for d, _, names in os.walk(os.path.join(s.data, "chunks")) for f in names]
        wait_for(lambda: len(files()) <= 1)
        equal("expired chunk files are gone", len(files()), 1)
        got = json.loads(s.get("/loki/api/v1/series", dict(start=old - 1, end=NOW + 10**9))[2])["data"]
        equal("expired streams are gone", [x["app"] for x in got], ["half"])
        equal("the rest is there", [v[1] for r in s.query_range('{app="half"}', old - 1, NOW + 10**9) for v in r["values"]], ["new"])


def settings():
    def run(*args):
        p = subprocess.run([LOGQD] + list(args), capture_output=True, text=True, timeout=30)
        return p.returncode, p.stdout + p.stderr
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "loki.yaml")
        with open(path, "w") as f:
            f.write("auth_enabled: false\nserver:\n  http_listen_port: 3100\n  grpc_listen_port: 9096\ncommon:\n  path_prefix: %s\n"
                    "schema_config:\n  configs:\n    - from: 2020-10-24\n      store: tsdb\nlimits_config:\n  retention_period: 336h\n"
                    "ruler:\n  alertmanager_url: http://localhost:9093\n" % folder)
        code, out = run("-config.file=" + path, "--check-config")
        check("a Loki configuration is accepted", code == 0 and out.count("grpc_listen_port") == 1, out[-500:])
        with open(path, "w") as f:
            f.write("limits_config:\n  retention_period: soon\n")
        code, out = run("--config", path, "--check-config")
        check("a wrong value is named", code != 0 and "loki.yaml:2" in out and "retention_period" in out and "soon" in out, out)
        code, out = run("--set", "limits_config.nonsense=1", "--check-config")
        check("an unknown key is named", "nonsense" in out, out)
        for option in ("--help", "--version"):
            code, out = run(option)
            check(option, code == 0 and len(out) > 5)
        code, out = run("--nonsense")
        check("unknown option", code != 0 and "nonsense" in out, out)


def shutdown():
    s = Server().start()
    stop = threading.Event()
    acknowledged = []

    def pusher():
        i = 0
        while not stop.is_set():
            try:
                if s.push([({"app": "stop"}, [(NOW + i, "s%d" % i)])])[0] == 204:
                    acknowledged.append(i)
            except OSError:
                return
            i += 1
    t = threading.Thread(target=pusher)
    t.start()
    time.sleep(0.5)
    s.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    equal("alive after SIGHUP", s.get("/ready")[0], 200)
    begun = time.time()
    equal("exit status of SIGTERM", s.stop(), 0)
    stop.set()
    t.join()
    check("stops within 30 s", time.time() - begun < 30)
    s.start()
    got = {v[1] for r in s.query_range('{app="stop"}', NOW, NOW + 10**9) for v in r["values"]}
    check("nothing acknowledged is lost by a stop", all("s%d" % i in got for i in acknowledged[:5000]), "%d of %d" % (len(got), len(acknowledged)))
    s.close()


if __name__ == "__main__":
    with Server() as server:
        for p in (empty_store, shapes, paging, labels, errors, probes):
            run_part(p, server)
        equal("exit status", server.stop(), 0)
    for p in (tenants, retention, settings, shutdown):
        run_part(p)
    harness.done()
