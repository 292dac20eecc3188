#!/usr/bin/env python3
"""What Grafana Logs Drilldown, Grafana's alert pages and logcli ask besides queries: volumes, detected labels and fields,
limits, formatted queries, rule probes; before and after a flush, on an empty store, with tenants and wrong parameters."""
import json
import time

import harness
from harness import Server, check, equal, run_part

STEP = 60 * 10**9
END = (int(time.time()) - 120) // 120 * 2 * STEP
START = END - 10 * STEP


def ask(s, path, headers=None, **params):
    params.setdefault("start", START)
    params.setdefault("end", END)
    status, h, data = s.get(path, params, headers)
    if status == 200:
        check("JSON of " + path, h["Content-Type"].lower() == "application/json; charset=utf-8" and data.endswith(b"\n"), h["Content-Type"])
        return json.loads(data)
    return status, data.decode().strip()


def volume(s, query, path="volume", **params):
    o = ask(s, "/loki/api/v1/index/" + path, query=query, **params)
    if isinstance(o, tuple):
        return o
    check("volume has stats", "stats" in o["data"] and o["status"] == "success")
    return [(r["metric"], r.get("value") or r["values"]) for r in o["data"]["result"]]


def empty_store(s):
    equal("no volume", volume(s, "{}"), [])
    equal("no volume over time", volume(s, "{}", "volume_range", step="60"), [])
    equal("no labels", ask(s, "/loki/api/v1/detected_labels"), {})
    equal("no fields", ask(s, "/loki/api/v1/detected_fields", query='{a="b"}'), {})
    equal("no values", ask(s, "/loki/api/v1/detected_field/x/values", query='{a="b"}'), {})
    equal("no patterns", ask(s, "/loki/api/v1/patterns", query='{a="b"}'), {"status": "success", "data": []})


def fill(s):
    """api: 10 JSON lines of 100 bytes, one a minute; web: 5 logfmt lines of 50 bytes with metadata in the first minute."""
    api = [(START + i * STEP, json.dumps({"n": i, "took": "%dms" % i, "user": {"id": "u%d" % (i % 3)}}).ljust(100)) for i in range(10)]
    web = [(START + i, ("size=%dKB ok=true k=v " % (i + 1)).ljust(50, "."), {"trace_id": "t%d" % i}) for i in range(5)]
    equal("push", s.push([({"app": "api", "host": "h1"}, api), ({"app": "web", "host": "h2", "build": "17"}, web)])[0], 204)


def volumes(s):
    got = volume(s, '{app=~".+"}')
    equal("largest first", [m for m, _ in got], [{"app": "api"}, {"app": "web"}])
    bytes_of = {m["app"]: int(v[1]) for m, v in got}
    check("bytes of lines, and some for metadata", 1000 <= bytes_of["api"] <= 1300 and 250 <= bytes_of["web"] <= 450, bytes_of)
    check("stamped at the end", all(v[0] == END // 10**9 for _, v in got), got)
    equal("targets", [m for m, _ in volume(s, '{app=~".+"}', targetLabels="host,service_name")],
          [{"host": "h1", "service_name": "api"}, {"host": "h2", "service_name": "web"}])
    equal("by label names", sorted(m.popitem() for m, _ in volume(s, "{}", aggregateBy="labels")),
          [("app", ""), ("build", ""), ("host", ""), ("service_name", "")])
    equal("all labels of {}", volume(s, "{}", limit=1)[0][0], {"app": "api", "host": "h1", "service_name": "api"})
    equal("limit 0 is the default", len(volume(s, "{}", limit=0)), 2)
    (_, points), = volume(s, '{app="api"}', "volume_range", step="120")
    equal("stamps of steps", [p[0] for p in points], [(START + (i + 1) * 2 * STEP) / 1e9 - 0.001 for i in range(4)] + [END // 10**9])
    # What each stream has once (names and values of metadata) falls into its first step.
    equal("each step has its lines", len({p[1] for p in points[1:]}), 1)
    equal("sum of steps", sum(int(p[1]) for p in points), bytes_of["api"])
    equal("over time by the first point, as Loki has it", [m["app"] for m, _ in volume(s, '{app=~".+"}', "volume_range", step="120")], ["web", "api"])
    (_, value), = volume(s, '{app="api"}', start=START + STEP, end=START + 2 * STEP)
    check("end is exclusive", 100 <= int(value[1]) < 200, value)
    for params, want in ((dict(query='{app="api"}', aggregateBy="x"), "invalid aggregation option"),
                         (dict(query=""), "parse error : syntax error: unexpected $end"),
                         (dict(query='{app="api"} |= "x"'), "only label matchers are supported"),
                         (dict(query='{app="api"}', limit=-1), "limit must be a positive value"),
                         (dict(query='{app="api"}', end=START - 1), "end timestamp must not be before or equal to start time")):
        equal("refused: " + want, ask(s, "/loki/api/v1/index/volume", **params), (400, want))
    equal("refused step", ask(s, "/loki/api/v1/index/volume_range", query="{}", step="0")[0], 400)


def detected(s):
    labels = ask(s, "/loki/api/v1/detected_labels")["detectedLabels"]
    equal("labels without numbers", labels, [{"label": n, "cardinality": 2} for n in ("app", "host", "service_name")])
    equal("labels of a selector", [l["cardinality"] for l in ask(s, "/loki/api/v1/detected_labels", query='{app="api"}')["detectedLabels"]], [1, 1, 1])
    o = ask(s, "/loki/api/v1/detected_fields", query='{app="api"}')
    fields = {f.pop("label"): f for f in o["fields"]}
    equal("limit is echoed", o["limit"], 1000)
    equal("JSON fields", {n: fields[n] for n in ("n", "took", "user_id")}, {
        "n": {"type": "int", "cardinality": 10, "parsers": ["json"], "jsonPath": ["n"]},
        "took": {"type": "duration", "cardinality": 10, "parsers": ["json"], "jsonPath": ["took"]},
        "user_id": {"type": "string", "cardinality": 3, "parsers": ["json"], "jsonPath": ["user", "id"]}})
    equal("metadata has parsers null", fields["detected_level"], {"type": "string", "cardinality": 1, "parsers": None})
    fields = {f["label"]: f for f in ask(s, "/loki/api/v1/detected_fields", query='{app="web"}')["fields"]}
    equal("logfmt fields", [(fields[n]["type"], fields[n]["parsers"]) for n in ("size", "ok", "trace_id")],
          [("bytes", ["logfmt"]), ("boolean", ["logfmt"]), ("string", None)])
    equal("field limit", len(ask(s, "/loki/api/v1/detected_fields", query='{app="web"}', limit=2)["fields"]), 2)
    equal("newest lines", ask(s, "/loki/api/v1/detected_field/n/values", query='{app="api"}', line_limit=2)["values"], ["8", "9"])
    equal("values", ask(s, "/loki/api/v1/detected_field/user_id/values", query='{app="api"}'), {"values": ["u0", "u1", "u2"], "limit": 1000})
    equal("values of metadata", ask(s, "/loki/api/v1/detected_field/trace_id/values", query='{app="web"}', limit=2)["values"], ["t3", "t4"])
    equal("values through a pipeline", ask(s, "/loki/api/v1/detected_field/id/values", query='{app="api"} | json id="user.id", n="n" | n > 7')["values"], ["u0", "u2"])
    for params, want in ((dict(query='rate({app="api"}[1m])'), "only log selector is supported"),
                         (dict(query="{"), "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }"),
                         (dict(query='{app="api"}', line_limit=5001), "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)"),
                         (dict(query='{app="api"}', line_limit="x"), 'strconv.Atoi: parsing "x": invalid syntax'),
                         (dict(query='{app="api"}', step="0"), "zero or negative query resolution step widths are not accepted. Try a positive integer")):
        equal("refused: " + want, ask(s, "/loki/api/v1/detected_fields", **params), (400, want))


def limits_and_format(s):
    o = ask(s, "/loki/api/v1/drilldown-limits")
    equal("keys of limits", sorted(o), ["limits", "pattern_ingester_enabled", "version"])
    equal("used limits", [o["limits"][k] for k in ("max_entries_limit_per_query", "max_query_length", "volume_enabled", "volume_max_series")],
          [5000, "30d1h", True, 1000])
    equal("format", ask(s, "/loki/api/v1/format_query", query='sum(rate({a="b"}|="x"[5m])) by (c)'),
          {"status": "success", "data": 'sum by (c)(rate({a="b"} |= "x"[5m]))'})
    status, body = ask(s, "/loki/api/v1/format_query", query='{a="b"')
    equal("format error is JSON", (status, json.loads(body)["status"]), (400, "invalid-query"))
    status, _, data = s.request("POST", "/loki/api/v1/format_query", None, {"Content-Type": "application/x-www-form-urlencoded"}, b"query=%7Ba%3D%22b%22%7D")
    equal("format by POST", (status, json.loads(data)["data"]), (200, '{a="b"}'))


def rules(s):
    for path, key in (("rules", "groups"), ("alerts", "alerts")):
        equal("probe " + path, ask(s, "/prometheus/api/v1/" + path), {"status": "success", "data": {key: []}, "errorType": "", "error": ""})
    for path, want in (("/api/prom/rules", "no rule groups found"), ("/loki/api/v1/rules", "no rule groups found"),
                       ("/api/prom/rules/test/test", "404 page not found"), ("/loki/api/v1/rules/ns", "404 page not found")):
        equal("no ruler: " + path, ask(s, path), (404, want))


def legacy(s):
    equal("legacy labels", ask(s, "/api/prom/label")["data"], ["app", "build", "host", "service_name"])
    equal("legacy values", ask(s, "/api/prom/label/app/values")["data"], ["api", "web"])
    equal("legacy series", len(ask(s, "/api/prom/series")["data"]), 2)
    o = ask(s, "/api/prom/query", query='{app="api"}', limit=3)
    equal("legacy entries", [sorted(o), sum(len(x["entries"]) for x in o["streams"]), sorted(o["streams"][0]["entries"][0])],
          [["stats", "streams"], 3, ["line", "ts"]])
    equal("legacy regexp", sorted(e["line"][:6] for x in ask(s, "/api/prom/query", query='{app="api"} # all', regexp='"n": [12]')["streams"] for e in x["entries"]),
          ['{"n": ', '{"n": '])
    equal("legacy metric query", ask(s, "/api/prom/query", query='rate({app="api"}[1m])')[0], 400)


def settings():
    with Server("auth_enabled=true", "limits_config.volume_max_series=1") as s:
        a, b = {"X-Scope-OrgID": "a"}, {"X-Scope-OrgID": "b"}
        s.push([({"app": "x"}, [(START, "k=1")]), ({"app": "y"}, [(START, "k=2")])], a)
        for path, params in (("index/volume", {"query": "{}"}), ("detected_labels", {}), ("detected_fields", {"query": '{app="x"}'}), ("patterns", {"query": '{app="x"}'})):
            equal("tenant needed: " + path, ask(s, "/loki/api/v1/" + path, **params)[0], 401)
            check("other tenant sees nothing: " + path, '"app"' not in json.dumps(ask(s, "/loki/api/v1/" + path, b, **params)))
        for path in ("drilldown-limits", "format_query"):
            check("no tenant needed: " + path, isinstance(ask(s, "/loki/api/v1/" + path, query='{a="b"}'), dict))
        equal("series limit", ask(s, "/loki/api/v1/index/volume", a, query="{}"), (400, "the query hit the max number of series limit (limit: 1 series)"))
        equal("within the series limit", len(ask(s, "/loki/api/v1/index/volume", a, query='{app="x"}')["data"]["result"]), 1)
    with Server("limits_config.volume_enabled=false") as s:
        equal("volume off", ask(s, "/loki/api/v1/index/volume", query="{}")[0], 404)
        equal("volume off is told", ask(s, "/loki/api/v1/drilldown-limits")["limits"]["volume_enabled"], False)


if __name__ == "__main__":
    with Server() as server:
        run_part(empty_store, server)
        fill(server)
        for flushed in (False, True):
            for p in (volumes, detected, limits_and_format, rules, legacy):
                run_part(p, server)
            server.flush()
        equal("exit status", server.stop(), 0)
    run_part(settings)
    harness.done()
