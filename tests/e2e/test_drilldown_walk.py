#!/usr/bin/env python3
"""The requests of Grafana Logs Drilldown in the order in which its pages send them, as Grafana's Loki data source passes them
on: the landing page, a service's logs, labels, fields and patterns, and what a click on each adds to the query."""
import json
import time

import harness
from harness import Server, check, equal, run_part

S = 10**9
NOW = int(time.time())
START, END = (NOW - 3600) // 60 * 60, NOW + 60
TAGS = {"X-Query-Tags": "Source=grafana-lokiexplore-app"}
PARSERS = "| json | logfmt | drop __error__, __error_details__"


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def resource(s, path, **params):
    """Resource calls carry ISO times and ask the data source for JSON."""
    params.setdefault("start", iso(START))
    params.setdefault("end", iso(END))
    status, h, data = s.get("/loki/api/v1/" + path, params, TAGS)
    equal("status of " + path, status, 200)
    check("JSON of " + path, h["Content-Type"].lower().startswith("application/json"), h["Content-Type"])
    return json.loads(data)


def query(s, text, kind="query_range", **params):
    """Queries carry nanoseconds, a step in ms, a direction, and the header for categorized labels."""
    params = dict(query=text, direction="backward", **params)
    if kind == "query_range":
        params = dict(dict(start=START * S, end=END * S, step="15000ms"), **params)
    status, _, data = s.get("/loki/api/v1/" + kind, params, dict(TAGS, **{"X-Loki-Response-Encoding-Flags": "categorize-labels"}))
    if status != 200:
        check("answered: " + text, False, (status, data[:200]))
        return []
    return json.loads(data)["data"]["result"]


def total(series):
    return sum(float(v) for s in series for _, v in s["values"])


def fill(s):
    shop = [((START + 10 * i) * S, json.dumps({"level": "error" if i % 10 == 0 else "info", "msg": "order %d of user%d placed" % (i, i % 7),
                                               "status": 500 if i % 10 == 0 else 200, "took": "%dms" % (i % 50), "size": "%d KB" % (1 + i % 9)}),
             {"trace_id": "t%d" % i}) for i in range(300)]
    proxy = [((START + 10 * i) * S, 'level=warn method=GET path="/a b/%d" bytes=%dKB duration=0.%ds' % (i, i % 20 + 1, i % 9 + 1)) for i in range(200)]
    text = [((START + 10 * i) * S, "plain line %d without any field" % i) for i in range(100)]
    equal("push", s.push([({"app": "shop", "pod": "shop-a1", "region": "eu"}, shop[::2]), ({"app": "shop", "pod": "shop-b2", "region": "us"}, shop[1::2]),
                          ({"app": "proxy", "pod": "proxy-1"}, proxy), ({"app": "plain"}, text)])[0], 204)


def landing(s):
    o = resource(s, "drilldown-limits")
    equal("patterns, volumes", (o["pattern_ingester_enabled"], o["limits"]["volume_enabled"]), (True, True))
    result = resource(s, "index/volume", query="{service_name=~`.+`}", limit=5000)["data"]["result"]
    equal("services by volume", [r["metric"]["service_name"] for r in result], ["shop", "proxy", "plain"])
    equal("tab of another label", sorted(r["metric"]["region"] for r in resource(s, "index/volume", query="{region=~`.+`}", limit=5000)["data"]["result"]), ["eu", "us"])
    found = resource(s, "index/volume", query="{service_name=~`(?i).*ro.*`}", limit=5000)["data"]["result"]
    equal("search of services", [r["metric"]["service_name"] for r in found], ["proxy"])
    levels = query(s, 'sum by (detected_level) (count_over_time({service_name="shop"} | detected_level != "" [15s]))')
    equal("levels", sorted(r["metric"]["detected_level"] for r in levels), ["error", "info"])
    equal("lines of all levels", total(levels), 300)
    equal("preview of logs", sum(len(r["values"]) for r in query(s, '{service_name="shop"}', limit=100)), 100)
    labels = {l["label"] for l in resource(s, "detected_labels", query="")["detectedLabels"]}
    check("labels for tabs", {"app", "pod", "region", "service_name"} <= labels, labels)


def logs(s):
    equal("count of lines", [r["metric"] for r in query(s, 'sum(count_over_time({service_name="shop"} [$__auto]))'.replace("$__auto", "15s"))], [{}])
    logs = query(s, '{service_name="shop"} | detected_level="error" ' + PARSERS, limit=1000)
    lines = [v for r in logs for v in r["values"]]
    equal("logs of a level", len(lines), 30)
    check("categories", all("parsed" in v[2] and v[2]["structuredMetadata"]["trace_id"] for v in lines), lines[0])
    for text, want in (('|= `order 7 `', 1), ('|~ `(?i)ORDER 7 `', 1), ('!= `user0`', 257), ("!~ `user[0-5]`", 42)):
        equal("line filter " + text, sum(len(r["values"]) for r in query(s, '{service_name="shop"} ' + text, limit=1000)), want)
    equal("another tick", query(s, 'sum by (detected_level) (count_over_time({service_name="none"} | detected_level != "" [15s]))'), [])


def labels(s):
    found = {l["label"]: l["cardinality"] for l in resource(s, "detected_labels", query='{service_name="shop"}')["detectedLabels"]}
    equal("labels", found, {"app": 1, "pod": 2, "region": 2, "service_name": 1})
    for name in ("pod", "region"):
        series = query(s, 'sum(count_over_time({service_name="shop", %s!=""} [15s])) by (%s)' % (name, name))
        equal("volume by " + name, (len(series), total(series)), (2, 300))
    equal("values of a label", resource(s, "label/pod/values", query='{service_name="shop"}')["data"], ["shop-a1", "shop-b2"])
    equal("include", total(query(s, 'sum by (detected_level) (count_over_time({service_name="shop", pod="shop-a1"} | detected_level != "" [15s]))')), 150)
    equal("exclude", total(query(s, 'sum(count_over_time({service_name="shop", pod!="shop-a1"} [15s]))')), 150)


def fields(s):
    o = resource(s, "detected_fields", query='{service_name="shop"} ' + PARSERS, line_limit=1000, limit=1000)
    found = {f["label"]: (f["type"], f["parsers"]) for f in o["fields"]}
    equal("fields", {n: found.get(n) for n in ("status", "took", "size", "level", "trace_id", "detected_level")},
          {"status": ("int", ["json"]), "took": ("duration", ["json"]), "size": ("bytes", ["json"]), "level": ("string", ["json"]),
           "trace_id": ("string", None), "detected_level": ("string", None)})
    equal("values of a field", resource(s, "detected_field/status/values", query='{service_name="shop"} ' + PARSERS, line_limit=1000)["values"], ["200", "500"])
    series = query(s, 'sum by (status) (count_over_time({service_name="shop"} %s | status!="" [15s]))' % PARSERS)
    equal("volume by a field", {r["metric"]["status"]: sum(float(v) for _, v in r["values"]) for r in series}, {"200": 270, "500": 30})
    for unwrap, want in (("duration(took)", 0.0245), ("bytes(size)", 5000), ("status", 230)):
        name = unwrap.strip(")").split("(")[-1]
        series = query(s, 'avg_over_time({service_name="shop"} %s | %s!="" | unwrap %s | __error__="" [60m]) by ()' % (PARSERS, name, unwrap), "query", time=(START + 3000) * S)
        check("average of " + name, len(series) == 1 and abs(float(series[0]["value"][1]) / want - 1) < 0.1, series)
    for text, want in (('status="500"', 30), ('status!="500"', 270), ("took>45ms", 24), ("size<=2KB", 68), ('nothing=""', 300), ('user_id!=""', 0), ("status=~`5..`", 30)):
        equal("filter " + text, sum(len(r["values"]) for r in query(s, '{service_name="shop"} %s | %s' % (PARSERS, text), limit=1000)), want)
    equal("metadata needs no parser", sum(len(r["values"]) for r in query(s, '{service_name="shop"} | trace_id="t7"', limit=10)), 1)
    found = {f["label"]: (f["type"], f["parsers"]) for f in resource(s, "detected_fields", query='{service_name="proxy"}')["fields"]}
    equal("fields of logfmt", {n: found.get(n) for n in ("method", "path", "bytes", "duration")},
          {"method": ("string", ["logfmt"]), "path": ("string", ["logfmt"]), "bytes": ("bytes", ["logfmt"]), "duration": ("duration", ["logfmt"])})


def patterns(s):
    for service, want, lines in (("shop", {("info", "<_>order <_> of <_> placed<_>"): 270, ("error", "<_>order <_> of <_> placed<_>"): 30}, 300),
                                 ("proxy", {("warn", 'level=warn method=GET path="/a <_>" bytes=<_> duration=<_>'): 200}, 200),
                                 ("plain", {("unknown", "plain line <_> without any field"): 100}, 100)):
        found = resource(s, "patterns", query='{service_name="%s"}' % service, step="15s")["data"]
        equal("patterns of " + service, {(p["level"], p["pattern"]): sum(n for _, n in p["samples"]) for p in found}, want)
        for text in {p["pattern"] for p in found}:
            for op, n in (("|>", lines), ("!>", 0)):
                equal("%s %s" % (op, text), total(query(s, 'sum(count_over_time({service_name="%s"} %s %s [15s]))' % (service, op, json.dumps(text)))), n)
                equal("in backquotes", total(query(s, 'sum(count_over_time({service_name="%s"} %s `%s` [15s]))' % (service, op, text))), n)
    none = resource(s, "patterns", query='{service_name="shop"}', start=iso(START - 7200), end=iso(START - 3600))
    equal("no patterns", none, {"status": "success", "data": []})


if __name__ == "__main__":
    with Server() as server:
        fill(server)
        for _ in range(2):
            for part in (landing, logs, labels, fields, patterns):
                run_part(part, server)
            server.flush()
    harness.done()
