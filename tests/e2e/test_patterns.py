#!/usr/bin/env python3
"""Patterns of log lines: found in memory, in blocks and in chunk files, after kill -9 and after a rebuilt index; their
times, steps, levels; that each finds its lines as a pattern filter; the setting; wrong parameters."""
import json
import subprocess
import time

import harness
from harness import LOGQD, Server, check, equal

S = 10**9
BASE = (int(time.time()) - 3600) // 600 * 600


def ask(s, query='{app="shop"}', start=BASE, end=BASE + 1200, headers=None, **params):
    status, h, data = s.get("/loki/api/v1/patterns", dict(query=query, start=start, end=end, **params), headers)
    if status != 200:
        return status, data.decode().strip()
    check("JSON", h["Content-Type"].lower() == "application/json; charset=utf-8" and data.endswith(b"\n"), h["Content-Type"])
    o = json.loads(data)
    equal("keys of the answer", list(o), ["status", "data"])
    return o["data"]


def totals(answer):
    return {(p["level"], p["pattern"]): sum(n for _, n in p["samples"]) for p in answer}


EXPECTED = {
    ("info", 'ts=<_> level=info msg="order <_> placed" took=<_>'): 60,
    ("error", "<_>payment <_> refused by <_>"): 12,
    ("unknown", "GET <_> HTTP/1.1 200 <_>"): 40,
    ("unknown", "POST /cart HTTP/1.1 201 <_>"): 40,
}


def fill(s):
    """Three streams of an app, one entry a second in each, and one of another app."""
    logfmt = [((BASE + i) * S, 'ts=2026-01-01T00:%02d:%02dZ level=info msg="order %d placed" took=%dms' % (i // 60, i % 60, i, i * 3))
              for i in range(60)]
    jsonl = [((BASE + 5 * i) * S, json.dumps({"level": "error", "msg": "payment %d refused by bank%d" % (i, i % 3), "n": i})) for i in range(12)]
    access = [((BASE + i) * S, ("GET /item/%d HTTP/1.1 200 %d" if i % 2 else "POST /cart HTTP/1.1 201 %d%d") % (i, i * 7)) for i in range(80)]
    other = [((BASE + i) * S, "nothing to do with it %d" % i) for i in range(10)]
    equal("push", s.push([({"app": "shop", "part": "a"}, logfmt), ({"app": "shop", "part": "b"}, jsonl),
                          ({"app": "shop", "part": "c"}, access), ({"app": "other"}, other)])[0], 204)


def found(s, where):
    answer = ask(s, step="10s")
    equal("patterns " + where, totals(answer), EXPECTED)
    equal("most lines first " + where, [sum(n for _, n in p["samples"]) for p in answer], [60, 40, 40, 12])
    for p in answer:
        equal("keys of a pattern", list(p), ["pattern", "level", "samples"])
        times = [t for t, _ in p["samples"]]
        check("ascending whole seconds at steps", times == sorted(set(times)) and all(type(t) is int and t % 10 == 0 for t in times), times)
        check("numbers", all(type(n) is int and n > 0 for _, n in p["samples"]), p["samples"])
        query = '{app="shop"} |> ' + json.dumps(p["pattern"])
        lines = sum(len(r["values"]) for r in s.query_range(query, BASE * S, (BASE + 1200) * S))
        check("|> finds the lines of " + p["pattern"], lines >= sum(n for _, n in p["samples"]), lines)
        rest = sum(len(r["values"]) for r in s.query_range(query.replace("|>", "!>"), BASE * S, (BASE + 1200) * S))
        equal("!> leaves the others", lines + rest, 152)
    orders = [p["samples"] for p in answer if "order" in p["pattern"]][0]
    equal("counts in time " + where, orders, [[BASE + 10 * i, 10] for i in range(6)])
    orders = [p["samples"] for p in ask(s, step="30s") if "order" in p["pattern"]][0]
    equal("wider steps " + where, orders, [[BASE, 30], [BASE + 30, 30]])
    part = ask(s, start=BASE + 20, end=BASE + 40, step="10")
    equal("a part of the time " + where, [p["samples"] for p in part if "order" in p["pattern"]], [[[BASE + 20, 10], [BASE + 30, 10]]])
    equal("a selector " + where, list(totals(ask(s, '{app="shop",part="b"}'))), [k for k in EXPECTED if k[0] == "error"])
    equal("another time " + where, ask(s, start=BASE - 7200, end=BASE - 3600), [])
    equal("no such stream " + where, ask(s, '{app="none"}'), [])


def parameters(s):
    for params, want in ((dict(query='{app="shop"} |= "x"'), "only label matchers are supported"),
                         (dict(query="{"), "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }"),
                         (dict(step="0"), "zero or negative query resolution step widths are not accepted. Try a positive integer"),
                         (dict(step="x"), 'cannot parse "x" to a valid duration'),
                         (dict(start="x"), 'could not parse \'start\' parameter: strconv.ParseInt: parsing "x": invalid syntax'),
                         (dict(start=0, end=10**6, step="1s"), "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter")):
        equal("refused: " + want[:30], ask(s, **params), (400, want))
    equal("steps below 10 s are 10 s", totals(ask(s, step="1s")), EXPECTED)
    check("a step of its own", len(ask(s)) == 4)
    status, _, data = s.request("POST", "/loki/api/v1/patterns", None, {"Content-Type": "application/x-www-form-urlencoded"},
                                b"query=%7Bapp%3D%22other%22%7D&start=" + str(BASE).encode())
    equal("by POST", (status, [p["pattern"] for p in json.loads(data)["data"]]), (200, ["nothing to do with it <_>"]))
    equal("told to Drilldown", json.loads(s.get("/loki/api/v1/drilldown-limits")[2])["pattern_ingester_enabled"], True)


def life():
    s = Server()
    with s:
        fill(s)
        found(s, "in memory")
        parameters(s)
        s.kill()
        s.start()
        found(s, "after kill -9")
        s.flush()
        found(s, "in chunk files")
        equal("exit status", s.stop(), 0)
        done = subprocess.run([LOGQD, "rebuild-index", s.data], capture_output=True)
        equal("rebuild", done.returncode, 0)
        s.start()
        found(s, "after a rebuilt index")


def many_lines(s):
    """More than is looked at: sums stay right, as counts of a sample are near the truth."""
    lines = [((BASE + i // 50) * S + i, ("user %d logged in from 10.0.0.%d" if i % 4 else "disk sd%d at %d percent") % (i, i % 100)) for i in range(20000)]
    for i in range(0, 20000, 5000):
        equal("push", s.push([({"app": "many"}, lines[i:i + 5000])])[0], 204)
    for flushed in (False, True):
        got = totals(ask(s, '{app="many"}'))
        equal("two patterns", sorted(p for _, p in got), ["disk <_> at <_> percent", "user <_> logged in from <_>"])
        equal("all lines", sum(got.values()), 20000)
        users = [n for (_, p), n in got.items() if p.startswith("user")][0]
        check("near 15000", 12000 < users < 18000, users)
        s.flush()


def old_days(s):
    """Patterns are kept with the lines: those of days ago answer, too."""
    day = BASE - 5 * 86400
    equal("push", s.push([({"app": "old"}, [((day + i) * S, "backup %d of 7 done" % i) for i in range(30)])])[0], 204)
    s.flush()
    equal("days ago", totals(ask(s, '{app="old"}', start=day, end=day + 60)), {("unknown", "backup <_> of 7 done"): 30})


def settings():
    with Server("pattern_ingester.enabled=false") as s:
        fill(s)
        equal("switched off", ask(s), [])
        s.flush()
        equal("switched off", ask(s), [])
        equal("told to Drilldown", json.loads(s.get("/loki/api/v1/drilldown-limits")[2])["pattern_ingester_enabled"], False)
    with Server("auth_enabled=true") as s:
        s.push([({"app": "shop"}, [((BASE + i) * S, "only for a %d" % i) for i in range(5)])], {"X-Scope-OrgID": "a"})
        equal("tenant", totals(ask(s, headers={"X-Scope-OrgID": "a"})), {("unknown", "only for a <_>"): 5})
        equal("other tenant", ask(s, headers={"X-Scope-OrgID": "b"}), [])
        equal("no tenant", ask(s)[0], 401)
    with Server("auth_enabled=true", "querier.multi_tenant_queries_enabled=true") as s:
        for tenant in ("a", "b"):
            s.push([({"app": "shop"}, [((BASE + i) * S, "line %d of a tenant" % i) for i in range(5)])], {"X-Scope-OrgID": tenant})
        equal("two tenants", totals(ask(s, headers={"X-Scope-OrgID": "a|b"})), {("unknown", "line <_> of a tenant"): 10})


if __name__ == "__main__":
    life()
    with Server() as server:
        many_lines(server)
        old_days(server)
    settings()
    harness.done()
