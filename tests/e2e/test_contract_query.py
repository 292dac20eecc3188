#!/usr/bin/env python3
"""The contract of the read side, row by row: each check is named after the section and the row of query-api.md it stands for:
notes on what Loki and its clients do that these checks were made from; they are no part of the tree, and each name says what is meant.
The rows of section 11 (deletes) are test_delete.py's; pages of patterns test_patterns.py's."""
import gzip
import json
import re
import time
from urllib.parse import quote, urlencode

import harness
from harness import Server, check, equal, run_part
from test_tail import CATEGORIZE, PING, Refused, Tail

NOW = (int(time.time()) - 120) // 60 * 60 * 10**9
S = NOW // 10**9
HOUR = 3600 * 10**9
V1 = "/loki/api/v1"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON_TYPE, TEXT_TYPE = "application/json; charset=utf-8", "text/plain; charset=utf-8"


def get(s, path, params=None, headers=None):
    """(status, headers, text)"""
    status, h, data = s.get(path, params, headers)
    return status, h, data.decode("utf-8", "replace")


def ask(s, path, params=None, headers=None):
    """The JSON of a successful answer."""
    status, h, text = get(s, path, params, headers)
    if status != 200:
        raise RuntimeError("%s answered %d: %s" % (path, status, text[:200]))
    return json.loads(text)


def result(s, query, start=NOW - HOUR, end=NOW + 60 * 10**9, **more):
    return s.query_range(query, start, end, **more)


def texts(s, query, *args, **more):
    return [v[1] for r in result(s, query, *args, **more) for v in r["values"]]


QUERY_PATHS = [(V1 + "/query_range", {"query": '{app="api"}'}), (V1 + "/query", {"query": 'rate({app="api"}[1m])'}), (V1 + "/labels", {}),
               (V1 + "/label", {}), (V1 + "/label/app/values", {}), (V1 + "/series", {}), (V1 + "/index/stats", {"query": '{app="api"}'}),
               (V1 + "/index/volume", {"query": '{app="api"}'}), (V1 + "/index/volume_range", {"query": '{app="api"}'}),
               (V1 + "/detected_labels", {}), (V1 + "/detected_fields", {"query": '{app="api"}'}),
               (V1 + "/detected_field/a/values", {"query": '{app="api"}'}), (V1 + "/patterns", {"query": '{app="api"}'}),
               (V1 + "/format_query", {"query": '{app="api"}'}), ("/api/prom/query", {"query": '{app="api"}'}), ("/api/prom/label", {}),
               ("/api/prom/label/app/values", {}), ("/api/prom/series", {})]


# ---- 15.1, 15.3 and 4: an empty store

def empty_store(s):
    for when in ("4000000000", "0", str(NOW), "2030-01-01T00:00:00Z"):
        o = ask(s, V1 + "/query", {"direction": "backward", "query": "vector(1)+vector(1)", "time": when})
        equal("query-api.md §15.1 Save & test at %s" % when, (o["data"]["resultType"], [(r["metric"], r["value"][1]) for r in o["data"]["result"]]),
              ("vector", [({}, "2")]))
    want = {"/labels": [], "/label": [], "/label/app/values": [], "/series": []}
    for path, params in QUERY_PATHS:
        status, h, text = get(s, path, params)
        check("query-api.md §15.3 %s of nothing: 200, no null" % path, status == 200 and "null" not in text, (status, text[:200]))
        check("query-api.md §1 %s: type and last newline" % path, h["Content-Type"].lower() == JSON_TYPE and text.endswith("\n"), h["Content-Type"])
        if path[len(V1):] in want:
            equal("query-api.md §15.3 %s: an empty list" % path, json.loads(text).get("data", []), [])
    for query, kind in (('{app="api"}', "streams"), ('rate({app="api"}[1m])', "matrix")):
        text = get(s, V1 + "/query_range", {"query": query})[2]
        check("query-api.md §15.3 empty %s" % kind, '"resultType":"%s"' % kind in text and '"result":[]' in text, text[:200])
    equal("query-api.md §15.3 volume", ask(s, V1 + "/index/volume", {"query": "{}"})["data"]["result"], [])
    equal("query-api.md §15.3 stats", ask(s, V1 + "/index/stats", {"query": '{a="b"}'}), {"streams": 0, "chunks": 0, "bytes": 0, "entries": 0})
    equal("query-api.md §15.3 detected_labels", ask(s, V1 + "/detected_labels"), {})
    equal("query-api.md §15.3 detected_fields", ask(s, V1 + "/detected_fields", {"query": '{a="b"}'}), {})
    equal("query-api.md §15.3 detected values", ask(s, V1 + "/detected_field/x/values", {"query": '{a="b"}'}), {})
    equal("query-api.md §15.3 patterns", ask(s, V1 + "/patterns", {"query": '{a="b"}'}), {"status": "success", "data": []})


def fill(s):
    plain = [(NOW + i, "line %d" % i) for i in range(5)]
    meta = [(NOW + 10 + i, 'level=error msg="<a&b>" n=%d' % i, {"trace_id": "t%d" % (i % 2)}) for i in range(4)]
    odd = [(NOW + i, line) for i, line in enumerate(('{"a":1,"nested":{"a":"x"}}', '{"a":', "n=1 took=3ms size=2KB"))]
    equal("the data is in", s.push([({"app": "api", "env": "prod"}, plain), ({"app": "api", "env": "dev"}, meta), ({"app": "odd"}, odd),
                                    ({"app": "ties"}, [(NOW + i // 6, "t%02d" % i) for i in range(60)])])[0], 204)


# ---- 1, general rules

def general(s):
    for path, params in QUERY_PATHS:
        a = get(s, path, params)
        b = s.request("POST", path, None, FORM, urlencode(params))
        c = s.request("POST", path, params, FORM, "")
        check("query-api.md §1 %s by GET, POST form and POST with a query string" % path, a[0] == b[0] == c[0] == 200
              and b[1]["Content-Type"] == a[1]["Content-Type"], (a[0], b[0], c[0]))
        equal("query-api.md §1 %s: unknown parameters are ignored" % path, get(s, path, dict(params, foo="bar", step2="x"))[0], 200)
        equal("query-api.md §1 %s: HEAD" % path, s.request("HEAD", path, params)[::2], (200, b""))
        for method in ("PUT", "DELETE", "PATCH"):
            equal("query-api.md §1 %s %s" % (method, path), s.request(method, path, params)[::2], (405, b""))
    merged = s.request("POST", V1 + "/query_range", {"start": NOW, "end": NOW + 1}, FORM, urlencode({"query": '{app="api"}'}))[2]
    equal("query-api.md §1 form and query string are merged", [len(r["values"]) for r in json.loads(merged)["data"]["result"]], [1])
    for path in ("/nope", "/", V1, V1 + "/nope", V1 + "/query_range/", V1 + "/query/x", "/loki", "/loki/api/v2alpha/tail", V1 + "/index/shards"):
        status, h, text = get(s, path)
        equal("query-api.md §1 404 of " + path, (status, text, h["Content-Type"], h["X-Content-Type-Options"]),
              (404, "404 page not found\n", TEXT_TYPE, "nosniff"))
    big = {"query": '{app="ties"}', "start": NOW - 1, "end": NOW + 1000, "limit": 100}
    rows = (("gzip", True), ("deflate, gzip;q=1.0, *;q=0.5", True), ("GZIP", True), ("gzip;q=0", False), ("identity", False), ("", False), ("zstd, snappy", False))
    for accept, want in rows:
        c = s.connect()
        c.request("GET", V1 + "/query_range?" + urlencode(big), headers={"Accept-Encoding": accept})
        r = c.getresponse()
        data = r.read()
        c.close()
        packed = r.getheader("Content-Encoding")
        equal("query-api.md §1 Accept-Encoding: %s" % accept, (packed, r.getheader("Vary")), ("gzip" if want else None, "Accept-Encoding"))
        equal("query-api.md §1 and it can be read", json.loads(gzip.decompress(data) if packed else data)["status"], "success")
    equal("query-api.md §1 Accept: protobuf gets JSON", get(s, V1 + "/labels", {}, {"Accept": "application/vnd.google.protobuf"})[1]["Content-Type"].lower(), JSON_TYPE)
    ignored = {"X-Query-Tags": "Source=grafana", "X-Loki-Query-Limits-Context": "x", "X-Loki-Query-Limits": "{bad", "Cache-Control": "no-cache",
               "X-Grafana-Id": "x", "X-Query-Group-Id": "g", "traceparent": "00-0-0-01", "X-Scope-OrgID": "a|b"}
    equal("query-api.md §1 headers that change nothing", get(s, V1 + "/labels", {}, ignored)[0], 200)
    equal("query-api.md §1 lines are JSON whatever they hold", texts(s, '{app="api", env="dev"}')[0], 'level=error msg="<a&b>" n=0')


def parameters(s):
    q = '{app="api", env="prod"}'

    def count(**p):
        return sum(len(r["values"]) for r in ask(s, V1 + "/query_range", dict(p, query=q))["data"]["result"])
    rfc = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(S))
    east = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(S + 2 * 3600))
    rows = [("seconds", S), ("nanoseconds", NOW), ("float seconds", "%d.000" % S), ("RFC3339", rfc + "Z"), ("RFC3339Nano", rfc + ".000000000Z"), ("a zone", east + "+02:00")]
    for name, start in rows:
        equal("query-api.md §1 start as %s" % name, count(start=start, end=NOW + 5), 5)
    equal("query-api.md §1 milliseconds are nanoseconds to us", get(s, V1 + "/query_range", {"query": q, "start": NOW // 10**6, "end": NOW})[0], 400)
    equal("query-api.md §1 start defaults to end - since", [count(since=x) for x in ("1h", "1h30m", "5d", "")], [5] * 4)
    equal("query-api.md §1 start defaults to an hour before", count(), 5)
    equal("query-api.md §1 since before the data", count(since="1s"), 0)
    for step in ("60", "0.5", "300000ms", "1m", "1h30m", ""):
        equal("query-api.md §1 step %s" % step, get(s, V1 + "/query_range", {"query": "rate(%s[1m])" % q, "step": step})[0], 200)
    equal("query-api.md §1 step 1.5s", get(s, V1 + "/query_range", {"query": q, "step": "1.5s"})[::2], (400, 'cannot parse "1.5s" to a valid duration'))
    o = ask(s, V1 + "/query_range", {"query": "vector(1)", "start": NOW - 1000 * 10**9, "end": NOW})
    points = o["data"]["result"][0]["values"]
    equal("query-api.md §1 the default step is a 250th of the range", points[1][0] - points[0][0], 4)
    equal("query-api.md §1 interval", [v[1] for r in result(s, '{app="ties"}', NOW, NOW + 10**9, limit=100, interval="1s") for v in r["values"]][1:], [])
    equal("query-api.md §1 limit defaults to 100, direction to backward", texts(s, q, NOW, NOW + 5, direction="backward"), ["line %d" % i for i in (4, 3, 2, 1, 0)])
    for direction in ("FORWARD", "forward", "Forward"):
        equal("query-api.md §1 direction %s" % direction, texts(s, q, NOW, NOW + 5, direction=direction)[0], "line 0")
    equal("query-api.md §1, §15.4 start inclusive, end exclusive", texts(s, q, NOW + 1, NOW + 3), ["line 1", "line 2"])
    equal("query-api.md §1 start == end is empty", texts(s, q, NOW, NOW), [])
    window = [[r["value"][1] for r in s.instant("count_over_time(%s[1s])" % q, t)] for t in (S, S + 1, S + 2)]
    equal("query-api.md §1 windows are open on the left, closed on the right", window, [["1"], ["4"], []])
    for step in (10, 7):
        t = [p[0] for p in ask(s, V1 + "/query_range", {"query": "vector(1)", "start": (S + 3) * 10**9, "end": (S + 24) * 10**9, "step": step})["data"]["result"][0]["values"]]
        check("query-api.md §1 points are multiples of step %d" % step, all(x % step == 0 for x in t) and t[0] <= S + 3 and t[-1] >= S + 24 - step + 1, t)


# ---- 3, query_range

def streams(s):
    q, window = '{app="api"}', dict(start=NOW, end=NOW + 100, limit=100)
    for flags in (None, "categorize-labels", "foo,categorize-labels", "foo, categorize-labels"):
        status, h, text = get(s, V1 + "/query_range", dict(window, query=q + " | logfmt"), {"X-Loki-Response-Encoding-Flags": flags} if flags else {})
        o = json.loads(text)
        values = [v for r in o["data"]["result"] for v in r["values"]]
        equal("query-api.md §15.2 elements of a value, flags %s" % flags, {len(v) for v in values}, {3 if flags else 2})
        check("query-api.md §15.2 values are texts, flags %s" % flags, all(isinstance(x, str) for v in values for x in v[:2]))
        at = [text.find(k) for k in ('"status":"success","data":{"resultType":"streams"', '"encodingFlags"', '"result":', '"stats":')]
        check("query-api.md §15.2 order of keys, flags %s" % flags, at[0] >= 0 and at[0] < at[2] < at[3] and (at[0] < at[1] < at[2] if flags else at[1] < 0), at)
        equal("query-api.md §3 flags are echoed", o["data"].get("encodingFlags"), [x.strip() for x in flags.split(",")] if flags else None)
    data = ask(s, V1 + "/query_range", dict(window, query=q + " | logfmt"), CATEGORIZE)["data"]["result"]
    dev = next(r for r in data if r["stream"]["env"] == "dev")
    equal("query-api.md §3 index labels alone", dev["stream"], {"app": "api", "env": "dev", "service_name": "api"})
    equal("query-api.md §3 groups of the third element", dev["values"][-1][2],
          {"structuredMetadata": {"detected_level": "error", "trace_id": "t0"}, "parsed": {"level": "error", "msg": "<a&b>", "n": "0"}})
    gone = ask(s, V1 + "/query_range", dict(window, query='{app="api",env="prod"} | drop detected_level'), CATEGORIZE)["data"]["result"]
    equal("query-api.md §3 {} when both groups are empty", gone[0]["values"][0][2], {})
    renamed = ask(s, V1 + "/query_range", dict(window, query='{app="api",env="dev"} | label_format x="1" | logfmt trace_id="n", env="level"'), CATEGORIZE)["data"]["result"]
    parsed = renamed[0]["values"][0][2]["parsed"]
    equal("query-api.md §3 label_format and _extracted are parsed", sorted(parsed), ["env_extracted", "trace_id_extracted", "x"])
    broken = ask(s, V1 + "/query_range", dict(window, query='{app="odd"} | json'), CATEGORIZE)["data"]["result"]
    errors = [v[2]["parsed"].get("__error__") for r in broken for v in r["values"]]
    equal("query-api.md §3 __error__ is parsed", sorted(e or "" for e in errors), ["", "JSONParserErr", "JSONParserErr"])
    equal("query-api.md §3 no flags on a matrix", "encodingFlags" in ask(s, V1 + "/query_range", {"query": "vector(1)"}, CATEGORIZE)["data"], False)
    equal("query-api.md §3 one object for each merged set", len(result(s, '{app="api"} | logfmt', NOW, NOW + 100)), 5)
    equal("query-api.md §3 the newest `limit` entries, newest first in each stream",
          [(r["stream"]["trace_id"], [v[1][-3:] for v in r["values"]]) for r in result(s, q, NOW, NOW + 100, limit=3, direction="backward")],
          [("t0", ["n=2"]), ("t1", ["n=3", "n=1"])])
    a = texts(s, '{app="ties"}', NOW, NOW + 100, limit=30)
    check("query-api.md §3 ties are stable", all(a == texts(s, '{app="ties"}', NOW, NOW + 100, limit=30) for _ in range(5)) and len(a) == 30)


def samples(s):
    o = ask(s, V1 + "/query_range", {"query": "sum by (env) (count_over_time({app=\"api\"}[1m]))", "start": NOW - 60 * 10**9, "end": NOW + 120 * 10**9, "step": "60"})
    equal("query-api.md §3 matrix, sorted by labels", [r["metric"] for r in o["data"]["result"]], [{"env": "dev"}, {"env": "prod"}])
    check("query-api.md §3 sec is a number, the value a text", all(isinstance(t, (int, float)) and isinstance(v, str) for r in o["data"]["result"] for t, v in r["values"]))
    at = ask(s, V1 + "/query", {"query": "vector(1)", "time": "%d.146" % S})["data"]["result"][0]["value"]
    equal("query-api.md §3 milliseconds of a time", at, [S + 0.146, "1"])
    for expression, want in (("vector(0)/vector(0)", "NaN"), ("vector(1e308)*10", "+Inf"), ("vector(1e308)*-10", "-Inf"), ("vector(1000000)", "1000000"),
                             ("vector(0.5)", "0.5")):
        equal("query-api.md §3 " + expression, [r["value"][1] for r in s.instant(expression, S)], [want])
    o = ask(s, V1 + "/query", {"query": "1+1", "time": S})
    equal("query-api.md §3 a scalar, in seconds", (o["data"]["resultType"], o["data"]["result"]), ("scalar", [S, "2"]))
    equal("query-api.md §3, §15.9 one series without labels", [(r["metric"], r["value"][1]) for r in s.instant('sum(count_over_time({app="api"}[10m]))', S + 60)], [({}, "9")])
    split = s.instant('count_over_time({app="api"}[10m])', S + 60)
    equal("query-api.md §3, §15.9 ungrouped: merged labels", sorted((r["metric"]["detected_level"], r["metric"].get("trace_id", "")) for r in split),
          [("error", "t0"), ("error", "t1"), ("unknown", "")])
    equal("query-api.md §4 the canary's count is one series", len(s.instant('count_over_time({app="ties"}[1h])', S + 60)), 1)


def stats(s):
    o = ask(s, V1 + "/query_range", {"query": '{app="api"}', "start": NOW, "end": NOW + 100})["data"]["stats"]

    def numbers(x):
        return all(numbers(v) for v in x.values()) if isinstance(x, dict) else isinstance(x, (int, float))
    summary = ("bytesProcessedPerSecond linesProcessedPerSecond totalBytesProcessed totalLinesProcessed execTime queueTime subqueries totalEntriesReturned splits "
               "shards totalPostFilterLines totalStructuredMetadataBytesProcessed").split()
    equal("query-api.md §3 stats: summary in full", [k for k in summary if k not in o["summary"]], [])
    check("query-api.md §3 stats: querier, ingester, cache, index", {"querier", "ingester", "cache", "index"} <= set(o) and numbers(o), o)
    check("query-api.md §3 stats: real figures", o["summary"]["totalLinesProcessed"] >= 9 and o["summary"]["totalBytesProcessed"] > 0 and o["summary"]["execTime"] > 0
          and o["summary"]["totalEntriesReturned"] == 9, o["summary"])
    equal("query-api.md §3 stats: no top-level store", "store" in o, False)


ERRORS = [  # query, parameters, text (a part when it ends with ...)
    ("", {}, "parse error : syntax error: unexpected $end"),
    ("{", {}, "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }"),
    ('{app="x"', {}, "parse error at line 1, col 9: syntax error: unexpected $end, expecting } or ,"),
    ("{}", {}, "parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" "
               "does not meet this requirement, but app=~\".+\" will"),
    ('{app=~".*"}', {}, "parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible value. ..."),
    ('rate({app="api"})', {}, "parse error at line 1, col 17: syntax error: unexpected )"),
    ('{app="api"} |= "x', {}, "parse error at line 1, col 16: literal not terminated"),
    ('count_over_time({app="api"}[5m', {}, "parse error at line 0, col 28: missing closing ']' in duration"),
    ('{a="b"}', {"limit": 0}, "limit must be a positive value"),
    ('{a="b"}', {"limit": 5001}, "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)"),
    ('{a="b"}', {"limit": "abc"}, 'strconv.Atoi: parsing "abc": invalid syntax'),
    ('{a="b"}', {"start": NOW, "end": NOW - 1}, "end timestamp must not be before or equal to start time"),
    ('{a="b"}', {"direction": "sideways"}, "invalid direction 'sideways'"),
    ('rate({a="b"}[1m])', {"step": 0}, "zero or negative query resolution step widths are not accepted. Try a positive integer"),
    ('rate({a="b"}[1m])', {"start": NOW - 86400 * 10**9, "end": NOW, "step": 1},
     "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter"),
    ('{a="b"}', {"start": "yesterday"}, "could not parse 'start' parameter: ..."),
    ('{a="b"}', {"end": "x"}, "could not parse 'end' parameter: ..."),
    ('{a="b"}', {"start": NOW - 960 * HOUR - 10**9, "end": NOW}, "the query time range exceeds the limit (query length: 960h0m1s, limit: 30d1h)"),
]


def errors(s):
    for query, params, want in ERRORS:
        status, h, text = get(s, V1 + "/query_range", dict(params, query=query))
        ok = text.startswith(want[:-3]) if want.endswith("...") else text == want
        check("query-api.md §15.8 %s %s" % (query, params), status == 400 and ok and h["Content-Type"] == TEXT_TYPE and h["X-Content-Type-Options"] == "nosniff",
              (status, text))
    status, h, text = get(s, V1 + "/query", {"query": 'sum by (a) (count_over_time({app="odd"} | json [10m]))', "time": S + 60})
    check("query-api.md §15.8 pipeline error", status == 400 and text.startswith("pipeline error: 'JSONParserErr' for series: '{__error__=\"JSONParserErr\"")
          and "\nUse a label filter to intentionally skip this error. (e.g | __error__!=\"JSONParserErr\").\n" in text, text)
    equal("query-api.md §3 a plain sum needs no labels, no parser, no error",
          [r["value"][1] for r in s.instant('sum(count_over_time({app="odd"} | json [10m]))', S + 60)], ["3"])
    equal("query-api.md §4 a log query as instant", get(s, V1 + "/query", {"query": '{app="api"}'})[::2],
          (400, "log queries are not supported as an instant query type, please change your query to a range query type"))
    many = [(NOW + i, "n=%d" % i) for i in range(501)]
    s.push([({"app": "wide"}, many)])
    want = ("maximum number of series (500) reached for a single query; consider reducing query cardinality by adding more specific stream selectors, reducing "
            "the time range, or aggregating results with functions like sum(), count() or topk()")
    for query in ('count_over_time({app="wide"} | logfmt [10m])', 'topk(3, count_over_time({app="wide"} | logfmt [10m]))'):
        equal("query-api.md §3 series limit of " + query, get(s, V1 + "/query", {"query": query, "time": S + 60})[::2], (400, want))


def timeouts():
    with Server("limits_config.query_timeout=1ms") as s:
        for k in range(10):
            s.push([({"app": "slow", "k": str(k)}, [(NOW + i, '{"a":"%s","n":%d}' % ("x" * 200, i)) for i in range(10000)])])
        status, h, text = get(s, V1 + "/query_range", {"query": 'sum by (a) (count_over_time({app="slow"} | json | line_format "{{.a}}{{.n}}" | regexp `(?P<z>.*x.*)` [1m]))',
                                                       "start": NOW - HOUR, "end": NOW + HOUR, "step": "1"})
        equal("query-api.md §3 timeout", (status, text, h["Content-Type"]), (504, "request timed out, decrease the duration of the request or add more label matchers "
              "(prefer exact match over regex match) to reduce the amount of data processed", TEXT_TYPE))


# ---- 5, tail: what test_tail.py has no row for

def tail(s):
    for name, params, status, text in (("no query", {}, 400, "parse error"), ("bad query", {"query": "{"}, 400, "parse error at line 1"),
                                       ("limit 0", {"query": '{a="b"}', "limit": 0}, 400, "limit must be a positive value"),
                                       ("delay_for 6", {"query": '{a="b"}', "delay_for": 6}, 400, "delay_for can't be greater than 5")):
        try:
            Tail(s, **params)
            check("query-api.md §15.6 %s" % name, False, "101")
        except Refused as e:
            check("query-api.md §15.6 %s: plain HTTP before the upgrade" % name, e.status == status and e.body.startswith(text)
                  and e.headers["content-type"] == TEXT_TYPE, str(e))
    equal("query-api.md §5 a plain GET", get(s, V1 + "/tail", {"query": '{a="b"}'})[::2], (400, "Bad Request\n"))
    t = Tail(s, "rate({a=\"b\"}[1m])", headers={"Origin": "http://grafana.example"})
    equal("query-api.md §15.6 a metric query", t.wait_close(), (1011, "only log selector is supported"))
    t = Tail(s, '{app="api"}', start=NOW, headers={"Origin": "https://other.example", "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"})
    check("query-api.md §15.6 101, no extension echoed", t.status == 101 and "sec-websocket-extensions" not in t.headers, t.headers)
    began = time.monotonic()
    check("query-api.md §15.6 ping within a second", t.wait(lambda: t.pings, 3) and t.pings[0][0] - began < 1.5 and t.pings[0][1] == b"", t.pings)
    times = [int(v[0]) for _, v in t.entries()]
    check("query-api.md §15.6 history ascends", len(times) == 9 and times == sorted(times), times)
    check("query-api.md §5 no dropped_entries when there are none", all("dropped_entries" not in m for _, m in t.messages))
    began = time.monotonic()
    s.push([({"app": "api", "env": "live"}, [(time.time_ns(), "fresh")])])
    check("query-api.md §5 delivered", t.wait(lambda: "fresh" in t.lines(), 5))
    check("query-api.md §5 delivered soon: far under a second, but for a loaded machine", time.monotonic() - began < 3)
    equal("query-api.md §15.6 closing handshake", t.bye(), (1000, ""))


# ---- 6, labels, values, series

def labels(s):
    window = {"start": NOW - HOUR, "end": NOW + HOUR}

    def data(path, **p):
        return ask(s, V1 + path, dict(window, **p)).get("data", [])
    s.push([({"app": "int", "__aggregated_metric__": "x", "__pattern__": "y"}, [(NOW, "x")]), ({"app": "o d/d", "k": 'v"\\'}, [(NOW, "x")])])
    for path in ("/labels", "/label"):
        equal("query-api.md §6 %s: sorted, no metadata, none of Loki's own" % path, data(path), ["app", "env", "k", "service_name"])
    equal("query-api.md §6 values", data("/label/env/values"), ["dev", "live", "prod"])
    equal("query-api.md §6 values below a selector", data("/label/env/values", query='{env=~"d.*|p.*"}'), ["dev", "prod"])
    equal("query-api.md §6 a name is percent-decoded", data("/label/%65nv/values"), ["dev", "live", "prod"])
    equal("query-api.md §6 unknown and hidden names: empty success", [data("/label/%s/values" % quote(n, safe="")) for n in (
        "nope", "__stream_shard__", "detected_level", "__aggregated_metric__", "a/b", "ü")], [[]] * 6)
    equal("query-api.md §6 query={} is no restriction (superset)", data("/labels", query="{}"), ["app", "env", "k", "service_name"])
    for path in ("/labels", "/label/app/values"):
        equal("query-api.md §6 a pipeline at %s" % path, get(s, V1 + path, dict(window, query='{app="api"} |= "x"'))[::2], (400, "only label matchers are supported"))
    equal("query-api.md §6 series: match", [sorted(x) for x in data("/series", match='{env="dev"}')], [["app", "env", "service_name"]])
    for name, p in (("match[] twice", {"match[]": ['{env="dev"}', '{env="prod"}']}), ("match and match[]", {"match[]": '{env="dev"}', "match": '{env="prod"}'})):
        equal("query-api.md §6 series: " + name, sorted(x["env"] for x in data("/series", **p)), ["dev", "prod"])
    form = s.request("POST", V1 + "/series", None, FORM, urlencode(dict(window, **{"match[]": ['{env="dev"}', '{env="prod"}']}), doseq=True))
    equal("query-api.md §15.7 series as a form, match[] twice", sorted(x["env"] for x in json.loads(form[2])["data"]), ["dev", "prod"])
    equal("query-api.md §6 series: all, by none and by {}", len(data("/series")) == len(data("/series", match="{}")) > 5, True)
    equal("query-api.md §6 series: none", data("/series", match='{app="nope"}'), [])
    s.push([({"app": "early"}, [(NOW - 2 * HOUR, "x")])])
    equal("query-api.md §6 the default window is one hour", "early" in ask(s, V1 + "/label/app/values")["data"], False)
    equal("query-api.md §6 since widens it", "early" in ask(s, V1 + "/label/app/values", {"since": "5h"})["data"], True)


# ---- 7 and 8: stats, volume, Drilldown

def drilldown(s):
    window = {"start": NOW - HOUR, "end": NOW + HOUR}
    iso = {k: time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(v // 10**9)) for k, v in window.items()}

    def at(path, **p):
        return ask(s, V1 + path, dict(iso, **p), {"X-Query-Tags": "Source=grafana-lokiexplore-app"})
    st = at("/index/stats", query='{app="api", env=~"dev|prod"}')
    check("query-api.md §7 stats: real numbers without a wrapper", sorted(st) == ["bytes", "chunks", "entries", "streams"] and st["streams"] == 2 and st["entries"] == 9
          and st["bytes"] > 50, st)
    for query in ("", None, '{app="api"} |= "x"'):
        equal("query-api.md §7 stats without a selector: %s" % query, get(s, V1 + "/index/stats", {} if query is None else {"query": query})[0], 400)
    v = at("/index/volume", query='{env=~".+"}', limit=5000)
    equal("query-api.md §7 volume is a vector of the labels in the matchers", (v["data"]["resultType"], [sorted(r["metric"]) for r in v["data"]["result"]]), ("vector", [["env"]] * 3))
    sizes = [int(r["value"][1]) for r in v["data"]["result"]]
    check("query-api.md §7 volume: largest first", sizes == sorted(sizes, reverse=True) and "stats" in v["data"], v)
    equal("query-api.md §7 volume of {}", len(at("/index/volume", query="{}")["data"]["result"]) > 3, True)
    equal("query-api.md §7 volume by labels", all(r["metric"][k] == "" for r in at("/index/volume", query='{app="api"}', aggregateBy="labels")["data"]["result"]
                                                for k in r["metric"]), True)
    equal("query-api.md §7 volume of targets", sorted(r["metric"]["service_name"] for r in at("/index/volume", query='{env=~".+"}', targetLabels="service_name")["data"]["result"]), ["api"])
    equal("query-api.md §7 aggregateBy", get(s, V1 + "/index/volume", {"query": "{}", "aggregateBy": "x"})[::2], (400, "invalid aggregation option"))
    s.push([({"app": "vol"}, [(NOW - 600 * 10**9, "x" * 50), (NOW, "y" * 50)])])
    r = at("/index/volume_range", query='{app="vol"}', step="60s")["data"]
    check("query-api.md §7 volume_range: a matrix, points end a step less 1 ms, the last at the end", r["resultType"] == "matrix" and
          all(round(p[0] % 1, 3) == 0.999 or p[0] == (NOW + HOUR) // 10**9 for x in r["result"] for p in x["values"]), r)
    limits = at("/drilldown-limits")
    used = ("discover_log_levels discover_service_name log_level_fields max_entries_limit_per_query max_line_size_truncate max_query_bytes_read max_query_length "
            "max_query_lookback max_query_range max_query_series metric_aggregation_enabled otlp_config pattern_persistence_enabled query_timeout retention_period "
            "volume_enabled volume_max_series").split()
    equal("query-api.md §15.10 drilldown-limits", (sorted(limits), [k for k in used if k not in limits["limits"]]), (["limits", "pattern_ingester_enabled", "version"], []))
    equal("query-api.md §15.10 volume of the landing page", "api" in [x["metric"]["service_name"] for x in at("/index/volume", query='{service_name=~".+"}', limit=5000)["data"]["result"]], True)
    equal("query-api.md §15.10 detected_labels", {x["label"]: x["cardinality"] for x in at("/detected_labels", query='{app="api"}')["detectedLabels"]},
          {"app": 1, "env": 3, "service_name": 1})
    f = {x["label"]: x for x in at("/detected_fields", query='{app=~"api|odd"}', line_limit=1000)["fields"]}
    equal("query-api.md §15.10 detected_fields: parsers", [f[k]["parsers"] for k in ("trace_id", "detected_level", "nested_a", "took")], [None, None, ["json"], ["logfmt"]])
    equal("query-api.md §15.10 detected_fields: types, paths", (f["took"]["type"], f["size"]["type"], f["nested_a"]["jsonPath"], f["n"]["type"], "app" in f),
          ("duration", "bytes", ["nested", "a"], "int", False))
    equal("query-api.md §15.10 values of a field", at("/detected_field/trace_id/values", query='{app="api"}'), {"values": ["t0", "t1"], "limit": 1000})
    equal("query-api.md §8 unknown field", at("/detected_field/nope/values", query='{app="api"}'), {})
    p = at("/patterns", query='{app="api"}', step="15s")
    check("query-api.md §15.10 patterns: data is there", p["status"] == "success" and isinstance(p["data"], list), p)
    equal("query-api.md §8 patterns of a pipeline", get(s, V1 + "/patterns", {"query": '{app="api"} |= "x"'})[::2], (400, "only label matchers are supported"))
    base = '{app=~"api|odd"}'
    for query in (base + ' | detected_level="error" | trace_id=`t0` |= `msg` |~ `(?i)LEVEL` | json | logfmt | drop __error__, __error_details__ | n!=""',
                  base + ' | json a="nested[\\"a\\"]" | line_format "{{.a}}"', base + ' | n="" | json | logfmt | took > 1ms', base + ' | logfmt | size >= 1KB and n =~ "1|2"',
                  base + ' |> `<_>msg<_>`', base + ' !> `<_>msg<_>`', 'sum by (detected_level) (count_over_time(%s | detected_level != "" [15s]))' % base,
                  'sum(count_over_time(%s | json | logfmt | drop __error__, __error_details__ [1m])) by (n)' % base,
                  'avg_over_time(%s | logfmt | unwrap duration(took) | __error__="" [1m]) by ()' % base, 'sum_over_time(%s | logfmt | unwrap bytes(size) | __error__="" [1m])' % base,
                  'sum(sum_over_time({__aggregated_metric__="none"} | logfmt | unwrap count [1m]))'):
        equal("query-api.md §8 Drilldown's LogQL: " + query, get(s, V1 + "/query_range", dict(iso, query=query, step="15s"))[0], 200)
    equal("query-api.md §8 instant with keep", get(s, V1 + "/query", {"query": "sum by (n) (count_over_time(%s | logfmt | keep n [3600s]))" % base, "time": NOW})[0], 200)
    equal("query-api.md §8 counts are one series", [x["metric"] for x in s.instant("sum(count_over_time(%s[1h]))" % base, S + 60)], [{}])


# ---- 9, 10, 12, 13

def others(s):
    equal("query-api.md §9 format_query", ask(s, V1 + "/format_query", {"query": 'sum(rate({app="api"}|="x"[5m])) by (app)'}),
          {"status": "success", "data": 'sum by (app)(rate({app="api"} |= "x"[5m]))'})
    status, h, text = get(s, V1 + "/format_query", {"query": "{"})
    o = json.loads(text)
    equal("query-api.md §9 errors are JSON", (status, o["status"], o["error"][:19]), (400, "invalid-query", "parse error at line"))
    equal("query-api.md §10 rules", ask(s, "/prometheus/api/v1/rules"), {"status": "success", "data": {"groups": []}, "errorType": "", "error": ""})
    equal("query-api.md §10 alerts", ask(s, "/prometheus/api/v1/alerts"), {"status": "success", "data": {"alerts": []}, "errorType": "", "error": ""})
    equal("query-api.md §10 no ruler to write to", get(s, "/api/prom/rules/test/test")[::2], (404, "404 page not found\n"))
    for path in ("/api/prom/rules", V1 + "/rules"):
        check("query-api.md §10 %s: no groups" % path, get(s, path)[::2] in ((404, "no rule groups found\n"), (200, "{}\n")), get(s, path)[::2])
    for path in ("/ready", "/loki/ready"):
        status, h, text = get(s, path)
        equal("query-api.md §12 " + path, (status, text, h["Content-Type"]), (200, "ready\n", TEXT_TYPE))
        equal("query-api.md §12 HEAD %s (superset)" % path, s.request("HEAD", path)[::2], (200, b""))
    equal("query-api.md §12 /", get(s, "/")[0], 404)
    status, h, text = get(s, "/metrics")
    check("query-api.md §12 /metrics: Prometheus text", status == 200 and h["Content-Type"].startswith("text/plain; version=0.0.4"), h["Content-Type"])
    for name in ("loki_build_info", "loki_request_duration_seconds_bucket", "loki_distributor_bytes_received_total", "loki_distributor_lines_received_total"):
        check("query-api.md §12 " + name, re.search("^%s[{ ]" % name, text, re.M))
    check("query-api.md §12 loki_discarded_samples_total by reason", re.search(r'^loki_discarded_samples_total\{.*reason="\w+".*\} ', text, re.M))
    status, h, text = get(s, "/config")
    check("query-api.md §12 /config: YAML", status == 200 and h["Content-Type"] == TEXT_TYPE and "\nlimits_config:\n" in text, text[:100])
    status, h, text = get(s, "/services")
    check("query-api.md §12 /services", status == 200 and all(re.fullmatch(r"[\w-]+ => Running", x) for x in text.splitlines()) and text, text)
    o = ask(s, "/ring", None, {"Accept": "application/json"})
    equal("a ring of one", [(x["id"], x["state"]) for x in o["shards"]], [("logqd", "ACTIVE")])
    equal("the ring as a page", (get(s, "/ring")[0], get(s, "/ring")[1]["Content-Type"], "ACTIVE" in get(s, "/distributor/ring")[2]),
          (200, "text/html; charset=utf-8", True))
    o = ask(s, V1 + "/status/buildinfo")
    check("query-api.md §12 buildinfo", o["version"].startswith("3.7.") and {"revision", "branch", "buildUser", "buildDate", "goVersion"} <= set(o), o)
    check("query-api.md §12 /log_level", "message" in ask(s, "/log_level"))
    o = ask(s, "/api/prom/query", {"query": '{app="api", env="prod"}', "start": NOW, "end": NOW + 100, "regexp": "line [12]"})
    equal("query-api.md §13 /api/prom/query", ([x["labels"] for x in o["streams"]], sorted(e["line"] for x in o["streams"] for e in x["entries"]), "stats" in o),
          (['{app="api", detected_level="unknown", env="prod", service_name="api"}'], ["line 1", "line 2"], True))
    check("query-api.md §13 its times", re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", o["streams"][0]["entries"][0]["ts"]), o["streams"][0])
    equal("query-api.md §13 a metric query", get(s, "/api/prom/query", {"query": 'rate({app="api"}[1m])'})[::2],
          (400, "rpc error: code = Code(400) desc = legacy endpoints only support streams result type"))
    equal("query-api.md §13 /api/prom/label", ask(s, "/api/prom/label")["data"][:2], ["app", "env"])
    equal("query-api.md §13 its values", ask(s, "/api/prom/label/env/values", {"start": NOW - HOUR, "end": NOW + HOUR})["data"][0], "dev")
    t = Tail(s, '{app="api", env="prod"}', "/api/prom/tail", start=NOW, limit=1)
    check("query-api.md §13 /api/prom/tail: dropped_entries is null", legacy_frame(t))
    t.drop()


def legacy_frame(t):
    """The first message of a legacy tail; Tail.entries() knows the new shape alone."""
    end = time.monotonic() + 5
    while not t.messages and time.monotonic() < end:
        t.step()
    m = t.messages[0][1]
    return m["dropped_entries"] is None and m["streams"][0]["labels"].startswith('{app="api"') and m["streams"][0]["entries"][0]["line"] == "line 4"


# ---- 15.5, 14

def paging(s):
    for direction in ("backward", "forward"):
        got, start, end, last = [], NOW - HOUR, NOW + HOUR, set()
        while True:
            page = [(int(v[0]), v[1]) for r in result(s, '{app="ties"}', start, end, limit=25, direction=direction) for v in r["values"]]
            fresh = [e for e in page if e not in last]
            got += fresh
            if len(page) < 25 or not fresh:
                break
            edge = min(page)[0] if direction == "backward" else max(page)[0]
            last = {e for e in page if e[0] == edge}
            start, end = (start, edge + 1) if direction == "backward" else (edge, end)
        equal("query-api.md §15.5 logcli's pages of 25, %s" % direction, (len(got), len(set(got))), (60, 60))


if __name__ == "__main__":
    run_part(timeouts)
    with Server() as server:
        for part in (empty_store, fill, general, parameters, streams, samples, stats, errors, tail, labels, drilldown, others, paging):
            run_part(part, server)
        equal("exit status", server.stop(), 0)
    harness.done()
