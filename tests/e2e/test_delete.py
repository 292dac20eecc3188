#!/usr/bin/env python3
"""Delete requests: what is refused and how; hidden from every kind of query at once, wherever the entries are; gone from disk
after the cancel period, with a receipt; kept over restarts and kill -9; taken back."""
import json
import os
import shutil
import subprocess
import time

import harness
from harness import Server, check, equal, wait_for

NOW = int(time.time()) * 10**9
MINUTE = 60 * 10**9
BASE = NOW - 60 * MINUTE
S = 10**9


def seconds(ns):
    return str(ns // S)


def delete(s, query, start=BASE - MINUTE, end=NOW, method="POST", headers=None, **more):
    params = dict(query=query, start=seconds(start), end=seconds(end), **more)
    return s.request(method, "/loki/api/v1/delete", {k: v for k, v in params.items() if v is not None}, headers)


def requests(s, headers=None):
    status, h, data = s.get("/loki/api/v1/delete", None, headers)
    equal("list answers", (status, h["Content-Type"]), (200, "application/json"))
    return json.loads(data)


def cancel(s, **params):
    status, _, data = s.request("DELETE", "/loki/api/v1/delete", params)
    return status, data.decode().strip()


def fill(s, app, n=200, base=BASE, headers=None):
    entries = [(base + i * S, "line %d %s" % (i, "secret" if i % 10 == 0 else "plain"),
                {"level": "error" if i % 4 == 0 else "info"}) for i in range(n)]
    status, _, data = s.push([({"app": app}, entries)], headers)
    equal("push", (status, data), (204, b""))


def lines(s, query, headers=None, start=BASE - MINUTE, end=NOW + MINUTE):
    return [v[1] for r in s.query_range(query, start, end, headers=headers) for v in r["values"]]


def count(s, query, at=NOW):
    r = s.instant("sum(count_over_time(%s[2h]))" % query, at)
    return int(r[0]["value"][1]) if r else 0


def stored(s, needle):
    """Entries that chunk files still hold, by the count of the index."""
    total = 0
    for _, _, data in [s.get("/loki/api/v1/index/stats", dict(query=needle, start=BASE - MINUTE, end=NOW + MINUTE))]:
        total += json.loads(data)["entries"]
    return total


def refusals(s):
    t, good = seconds(BASE), '{app="x"}'
    rows = [
        ("no query", dict(start=t), "query not set"),
        ("no start", dict(query=good), "start time not set"),
        ("start in ns", dict(query=good, start=str(BASE)), "invalid start time: require unix seconds or RFC3339 format"),
        ("end in words", dict(query=good, start=t, end="now"), "invalid end time: require unix seconds or RFC3339 format"),
        ("future", dict(query=good, start=t, end=seconds(NOW + 10 * MINUTE)), "deletes in the future are not allowed"),
        ("backwards", dict(query=good, start=t, end=seconds(BASE - S)), "start time can't be greater than end time"),
        ("2286, which nanoseconds cannot say", dict(query=good, start="9999999999"), "start time can't be greater than end time"),
        ("until then", dict(query=good, start=t, end="9999999999"), "deletes in the future are not allowed"),
        ("no LogQL", dict(query="{", start=t), "invalid query expression"),
        ("metric", dict(query='rate({app="x"}[1m])', start=t), "invalid query expression"),
        ("short", dict(query=good + '|="a"', start=t, end=t), "difference between start time and end time must be at least one second"),
        ("interval", dict(query=good + '|="a"', start=t, max_interval="1d"), "invalid max_interval: valid time units are 's', 'm', 'h'"),
        ("long interval", dict(query=good + '|="a"', start=t, max_interval="25h"), "max_interval can't be greater than 24h0m0s"),
        ("interval and range", dict(query=good + '|="a"', start=t, end=str(int(t) + 60), max_interval="2m"),
         "max_interval can't be greater than the interval to be deleted (1m0s)"),
    ]
    for name, params, text in rows:
        for method in ("POST", "PUT"):
            status, _, data = s.request(method, "/loki/api/v1/delete", params)
            equal("refused: " + name, (status, data.decode()), (400, text + "\n"))
    equal("nothing there", requests(s), [])
    equal("unknown", cancel(s, request_id="deadbeef"), (404, "could not find delete request with given id"))


def hidden_at_once(s):
    """Open head, sealed blocks and chunk files; log queries, counts, volumes."""
    fill(s, "hide")
    s.flush()
    fill(s, "hide", base=BASE + 10 * MINUTE)
    equal("before", len(lines(s, '{app="hide"}')), 400)
    status, h, data = delete(s, '{app="hide"} |= "secret"')
    equal("accepted", (status, data, len(h["X-Delete-Request-ID"])), (204, b"", 8))
    equal("lines", len(lines(s, '{app="hide"}')), 360)
    equal("needle", lines(s, '{app="hide"} |= "secret"'), [])
    equal("count", count(s, '{app="hide"}'), 360)
    equal("count by rollup", sum(int(v[1]) for r in s.query_range('sum(count_over_time({app="hide"}[1m]))', BASE, NOW, step="60s") for v in r["values"]), 360)
    r = s.query_range('sum by (level) (count_over_time({app="hide"}[1m]))', BASE, NOW, step="60s")
    equal("by level", {x["metric"]["level"]: sum(int(v[1]) for v in x["values"]) for x in r}, {"error": 80, "info": 280})
    # A reader beside the server hides it, too.
    out = subprocess.run([harness.LOGQ, "query", '{app="hide"}', "--data-dir", s.data, "--since", "2h", "--limit", "0", "-o", "raw"], capture_output=True, text=True)
    check("logq --data-dir", out.returncode == 0 and "plain" in out.stdout and "secret" not in out.stdout, out)
    # What comes later and is meant is hidden, too; what lies outside the range is not.
    fill(s, "hide", n=20, base=BASE - 30 * MINUTE)
    equal("outside", len(lines(s, '{app="hide"}', start=BASE - 40 * MINUTE)), 380)
    status, h, _ = delete(s, '{app="hide"} | level="error"', start=BASE, end=BASE + 5 * MINUTE)
    equal("by metadata", (status, count(s, '{app="hide"}')), (204, 20 + 140 + 180))
    got = requests(s)
    equal("listed", [(r["query"], r["status"], r["user_id"]) for r in got],
          [('{app="hide"} |= "secret"', "received", ""), ('{app="hide"} | level="error"', "received", "")])
    equal("times", (got[1]["start_time"], got[1]["end_time"]), (BASE // S, (BASE + 5 * MINUTE) // S))
    check("created", abs(got[0]["created_at"] - time.time()) < 60)
    equal("taken back", cancel(s, request_id=got[1]["request_id"]), (204, ""))
    equal("shown again", count(s, '{app="hide"}'), 380)
    equal("one is left", len(requests(s)), 1)
    equal("twice", cancel(s, request_id=got[1]["request_id"])[0], 404)


def survives(s):
    fill(s, "keep")
    status, _, _ = delete(s, '{app="keep"} |= "secret"')
    s.kill()
    s.start()
    equal("after kill -9", (status, len(lines(s, '{app="keep"}'))), (204, 180))
    s.stop()
    s.start()
    equal("after a restart", len(lines(s, '{app="keep"}')), 180)
    equal("listed after a restart", [r["status"] for r in requests(s)], ["received"] * 2)


def tenants(s):
    for t in ("a", "b"):
        fill(s, "same", headers={"X-Scope-OrgID": t})
    delete(s, '{app="same"}', headers={"X-Scope-OrgID": "a"})
    equal("own tenant", lines(s, '{app="same"}', {"X-Scope-OrgID": "a"}), [])
    equal("other tenant", len(lines(s, '{app="same"}', {"X-Scope-OrgID": "b"})), 200)
    equal("listed per tenant", (len(requests(s, {"X-Scope-OrgID": "a"})), requests(s, {"X-Scope-OrgID": "b"})), (1, []))


def waiting(s):
    """Requests that can no longer be taken back and are not done, and the age of the oldest."""
    text = s.get("/metrics")[2].decode()
    return tuple(float(text.split("\nloki_compactor_%s " % name)[1].split("\n")[0])
                 for name in ("pending_delete_requests_count", "oldest_pending_delete_request_age_seconds"))


def wait_processed(s, n):
    def processed():
        got = requests(s)
        return len(got) == n and all(r["status"] == "processed" for r in got)
    check("processed in time", wait_for(processed, 30), requests(s))
    return requests(s)


def removed(s):
    """Without a cancel period the next pass removes: some lines, and a whole stream; heads included."""
    fill(s, "disk")
    s.flush()
    fill(s, "disk", base=BASE + 10 * MINUTE)
    fill(s, "gone")
    fill(s, "other")
    delete(s, '{app="disk"} |= "secret"')
    delete(s, '{app="gone"}')
    got = wait_processed(s, 2)
    receipts = [r["receipt"] for r in got]
    equal("lines removed", [r["lines"] for r in receipts], [40, 200])
    equal("chunks", [(r["chunks_removed"], r["chunks_rewritten"]) for r in receipts], [(0, 2), (1, 0)])
    check("bytes", receipts[0]["bytes"] == 578 and 0 < receipts[0]["file_bytes_after"] < receipts[0]["file_bytes_before"], receipts[0])
    check("when", all(r["begun_at"] <= r["finished_at"] <= time.time() + 1 for r in receipts))
    equal("what is left", (len(lines(s, '{app="disk"}')), lines(s, '{app="gone"}'), len(lines(s, '{app="other"}'))), (360, [], 200))
    equal("physically", (stored(s, '{app="disk"}'), stored(s, '{app="gone"}')), (360, 0))
    # A processed request hides nothing: the same line may come again.
    fill(s, "gone", n=10)
    equal("new entries", len(lines(s, '{app="gone"}')), 10)
    equal("too late", cancel(s, request_id=got[0]["request_id"]),
          (400, "deletion of request which is in process or already processed is not allowed"))
    _, _, metrics = s.get("/metrics")
    equal("nothing is due", waiting(s), (0, 0))
    check("metrics", b"logq_delete_lines_total 240\n" in metrics and b'loki_compactor_deleted_lines{user="fake"} 240\n' in metrics and b"logq_delete_requests_pending 0\n" in metrics)
    s.stop()
    s.start()
    equal("after a restart", (len(lines(s, '{app="disk"}')), len(lines(s, '{app="gone"}'))), (360, 10))
    equal("receipt after a restart", [r["receipt"] for r in requests(s)], receipts)
    equal("one request", json.loads(s.get("/loki/api/v1/delete", dict(request_id=got[1]["request_id"]))[2])[0]["receipt"], receipts[1])


def index_lost(s):
    """The WAL has the lines of what was removed; an index made anew from chunk files does not bring them back."""
    want = len(lines(s, '{app="disk"}'))
    s.kill()
    shutil.rmtree(os.path.join(s.data, "index"))
    s.start()
    equal("with a new index", (len(lines(s, '{app="disk"}')), len(lines(s, '{app="gone"}'))), (want, 10))
    delete(s, '{app="gone"}')
    check("processed again", wait_for(lambda: [r["status"] for r in requests(s)] == ["processed"], 30), requests(s))
    s.kill()
    out = subprocess.run([harness.LOGQD, "verify", s.data], capture_output=True, text=True)
    equal("verify", out.returncode, 0)
    out = subprocess.run([harness.LOGQD, "rebuild-index", s.data], capture_output=True, text=True)
    equal("rebuild-index", out.returncode, 0)
    s.start()
    equal("with one more", (len(lines(s, '{app="disk"}')), lines(s, '{app="gone"}')), (want, []))


def killed(s):
    """Killed again and again while it removes: in the end exactly what was asked for is gone."""
    for k in range(20):
        fill(s, "kill-%d" % k)
    s.flush()
    delete(s, '{app=~"kill-.*"} |= "secret"')
    for _ in range(6):
        time.sleep(0.03)
        s.kill()
        s.start()
        equal("hidden or gone", count(s, '{app=~"kill-.*"}'), 20 * 180)
    got = wait_processed(s, 1)
    check("receipt", 0 < got[0]["receipt"]["lines"] <= 400, got)
    equal("physically", stored(s, '{app=~"kill-.*"}'), 20 * 180)


def main():
    with Server() as s:
        refusals(s)
        hidden_at_once(s)
        survives(s)
    with Server("auth_enabled=true") as s:
        tenants(s)
    with Server("compactor.delete_request_cancel_period=0s", "compactor.compaction_interval=200ms") as s:
        removed(s)
        index_lost(s)
    with Server("compactor.delete_request_cancel_period=0s", "compactor.compaction_interval=50ms") as s:
        killed(s)
    with Server("compactor.retention_enabled=false") as s:
        status, _, data = delete(s, '{app="x"}')
        equal("switched off", (status, data), (400, b"Retention is not enabled\n"))
    with Server("compactor.delete_request_cancel_period=1s") as s:
        delete(s, '{app="x"}')
        equal("not due yet", waiting(s)[0], 0)
        time.sleep(1.1)
        count_due, age = waiting(s)
        check("due, as Loki's dashboards see it", count_due == 1 and 0 < age < 60, (count_due, age))
        equal("window over", cancel(s, request_id=requests(s)[0]["request_id"]),
              (400, "deletion of request past the deadline of 1s since its creation is not allowed"))


main()
harness.done()
