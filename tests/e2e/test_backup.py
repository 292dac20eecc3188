#!/usr/bin/env python3
"""Backup of a live server under ingest; incremental, pruned, damaged; restored by period and tenant into directories that a
second server serves at once, with the same answers."""
import os
import shutil
import subprocess
import tempfile
import threading
import time

import harness
from harness import Server, check, equal, wait_for

DAY = 86400 * 10**9
TODAY = int(time.time()) // 86400 * DAY
NOW = int(time.time()) * 10**9


def day_name(age):
    return time.strftime("%Y-%m-%d", time.gmtime((TODAY - age * DAY) / 1e9))


def run(*args, status=0):
    p = subprocess.run([harness.LOGQD] + list(args), capture_output=True, text=True, timeout=120)
    check("%s ends with %d" % (" ".join(args[:2]), status), p.returncode == status, p)
    return p


def figures(p):
    return {k: int(v) for k, v in (part.rsplit(" ", 1) for part in p.stdout.strip().split(", "))} if p.stdout else {}


def fill(s, tenant, app, age, n=100):
    at = TODAY - age * DAY + 3600 * 10**9 if age else TODAY
    status, _, data = s.push([({"app": app}, [(at + i * 10**6, "%s %s line %d of day %d" % (tenant, app, i, age)) for i in range(n)])],
                             {"X-Scope-OrgID": tenant})
    equal("push", (status, data), (204, b""))


def lines(s, tenant, start=TODAY - 20 * DAY, end=NOW + DAY, query='{app=~".+"}'):
    r = s.query_range(query, start, end, headers={"X-Scope-OrgID": tenant})
    return sorted(v[1] for x in r for v in x["values"])


def restored(backup, base, name, *options, settings=("compactor.retention_enabled=false",)):
    data = os.path.join(base, name)
    got = figures(run("restore", "--data-dir", data, *options, backup))
    s = Server("auth_enabled=true", *settings, data=data)
    return got, s


def files(path):
    return sorted(os.path.relpath(os.path.join(d, f), path) for d, _, names in os.walk(path) for f in names)


def live(base):
    backup = os.path.join(base, "backup")
    stop, pushed = threading.Event(), []
    with Server("auth_enabled=true", "ingester.chunk_target_size=20KB") as s:
        for age in (6, 5, 1, 0):
            for tenant in ("a", "b"):
                fill(s, tenant, "x", age)
                fill(s, tenant, "y", age)
            s.flush()
        fill(s, "a", "head", 0)  # in memory and the WAL alone

        def ingest():
            c = s.connect()
            while not stop.is_set():
                n = len(pushed)
                status, _, _ = s.push([({"app": "live"}, [(TODAY + (n * 50 + i) * 1000, "live %d %s" % (n * 50 + i, "x" * 200)) for i in range(50)])],
                                      {"X-Scope-OrgID": "a"}, connection=c)
                if status == 204:
                    pushed.append(n)
                if n % 40 == 39:
                    s.flush()
                    s.request("POST", "/admin/merge", {"all": "true"})

        t = threading.Thread(target=ingest)
        t.start()
        time.sleep(0.5)
        for _ in range(5):  # again and again while chunks are flushed and merged away
            before = len(pushed)
            got = figures(run("backup", "--data-dir", s.data, backup))
            time.sleep(0.2)
        stop.set()
        t.join()
        check("backup has files", got["files"] > 12 and got["new files"] < got["files"], got)
        found = figures(run("backup", "--verify", backup))
        equal("verified", (found["files"], found["bytes"], found["bad"]), (got["files"], got["bytes"], 0))
        want_b = lines(s, "b")
        want_a = lines(s, "a", query='{app!="live",app=~".+"}')
    got, r = restored(backup, base, "all")
    with r:
        equal("tenant b", lines(r, "b"), want_b)
        equal("tenant a", lines(r, "a", query='{app!="live",app=~".+"}'), want_a)
        there = lines(r, "a", query='{app="live"}', end=TODAY + DAY)
        check("each live line once", len(set(there)) == len(there) or len(there) == 5000)
        n = int(r.get("/loki/api/v1/query", dict(query='sum(count_over_time({app="live"}[48h]))', time=TODAY + DAY), {"X-Scope-OrgID": "a"})[2].split(b'"value":[')[1].split(b'"')[1])
        check("all that was acknowledged before", n >= before * 50 and n % 50 == 0, (n, before))
        fill(r, "a", "new", 0, 10)
        equal("takes pushes", len(lines(r, "a", query='{app="new"}')), 10)
    got, r = restored(backup, base, "period", "--from", day_name(5), "--to", day_name(1))
    with r:
        want = [l for l in want_b if l.endswith("day 5") or l.endswith("day 1")]
        equal("period", lines(r, "b"), want)
        equal("nothing of today", lines(r, "a", query='{app=~"live|head"}'), [])
    got, r = restored(backup, base, "tenant", "--tenant", "b", "--link", "--from", day_name(5), "--to", day_name(5))
    with r:
        equal("one tenant", (lines(r, "b"), lines(r, "a")), ([l for l in want_b if l.endswith("day 5")], []))
    equal("entries told", got["entries"], 200)


def incremental(base):
    backup = os.path.join(base, "backup")
    with Server("auth_enabled=true") as s:
        fill(s, "a", "x", 3)
        fill(s, "a", "x", 2)
        s.flush()
        first = figures(run("backup", "--data-dir", s.data, backup))
        chunk = [f for f in files(backup) if f.endswith(".chunk")]
        equal("two chunks", len(chunk), 2)
        equal("hard links", {os.stat(os.path.join(backup, f)).st_nlink for f in chunk}, {2})
        again = figures(run("backup", "--data-dir", s.data, backup))
        equal("nothing new but WAL, requests and positions", (again["files"], again["new files"]), (first["files"], 3))
        fill(s, "a", "x", 2, 50)
        fill(s, "a", "y", 2, 30)
        s.request("POST", "/loki/api/v1/delete", dict(query='{app="y"}', start=str((TODAY - 3 * DAY) // 10**9)), {"X-Scope-OrgID": "a"})
        s.flush()
        s.request("POST", "/admin/merge")
        got = figures(run("backup", "--data-dir", s.data, "--copy", backup))
        check("merged files replace theirs", got["removed files"] >= 2, got)
        want = lines(s, "a")
    got, r = restored(backup, base, "hidden")
    with r:
        equal("what is deleted is not shown", lines(r, "a"), want)
    with tempfile.TemporaryDirectory(prefix="logq-e2e-") as empty:
        with Server(data=empty) as s:
            pass
        kept = figures(run("backup", "--data-dir", empty, backup))
        got, r = restored(backup, base, "one")
        with r:
            equal("days that the source lost are kept", lines(r, "a", query='{app="x"}'), want)
        run("backup", "--data-dir", empty, "--prune", backup)
        equal("pruned", [f for f in files(backup) if f.endswith(".chunk")], [])
    check("nothing else is left", len({f.split("/")[0] for f in files(backup)}) <= 5, files(backup))


def deleted(base):
    """What a request has taken stays away though the backup's WAL has it: from a whole stream, from the newest part of one."""
    backup = os.path.join(base, "backup")
    with Server("auth_enabled=true", "compactor.delete_request_cancel_period=0s", "compactor.compaction_interval=200ms") as s:
        fill(s, "a", "whole", 1)
        fill(s, "a", "part", 1)
        s.flush()
        fill(s, "a", "part", 0)
        fill(s, "b", "whole", 1)
        for query in ('{app="whole"}', '{app="part"}'):
            start = TODAY - (2 * DAY if "whole" in query else 0)
            status, _, data = s.request("POST", "/loki/api/v1/delete", dict(query=query, start=str(start // 10**9)), {"X-Scope-OrgID": "a"})
            equal("accepted", (status, data), (204, b""))
        check("processed", wait_for(lambda: s.get("/loki/api/v1/delete", None, {"X-Scope-OrgID": "a"})[2].count(b'"processed"') == 2, 30))
        fill(s, "a", "later", 0, 10)
        want = lines(s, "a")
        equal("what is left", len(want), 110)
        run("backup", "--data-dir", s.data, backup)
        run("backup", "--verify", backup)
    for name, options in (("all", ()), ("one", ("--tenant", "a", "--link"))):
        got, r = restored(backup, base, name, *options)
        with r:
            equal("restored: " + name, lines(r, "a"), want)
            equal("other tenant: " + name, len(lines(r, "b")), 0 if options else 100)
            check("nothing else: " + name, "positions" not in os.listdir(r.data), os.listdir(r.data))
    chunk = next(f for f in files(backup) if f.endswith((".chunk", ".pack")))
    with open(os.path.join(backup, chunk), "r+b") as f:
        f.write(b"damage")
    run("restore", "--data-dir", os.path.join(base, "filled"), backup, status=1)
    with Server("auth_enabled=true", "compactor.retention_enabled=false", data=os.path.join(base, "filled")) as r:
        check("what a damaged file had comes from the WAL", set(want) <= set(lines(r, "a")))


def damaged(base):
    backup = os.path.join(base, "backup")
    with Server() as s:
        for app in ("x", "y"):
            status, _, _ = s.push([({"app": app}, [(TODAY - DAY + i, "line %d" % i) for i in range(500)])])
            s.flush()
        run("backup", "--copy", "--data-dir", s.data, backup)
    chunks = [os.path.join(backup, f) for f in files(backup) if f.endswith(".chunk")]
    with open(chunks[0], "r+b") as f:
        f.seek(300)
        f.write(b"damage")
    p = run("backup", "--verify", backup, status=1)
    check("verify names it", os.path.basename(chunks[0]) in p.stderr and figures(p)["bad"] == 1, p)
    data = os.path.join(base, "new")
    p = run("restore", "--data-dir", data, backup, status=1)
    check("restore names it", os.path.basename(chunks[0]) in p.stderr and figures(p)["entries"] == 1000, p)  # the WAL has them, too
    p = run("restore", "--data-dir", data, backup, status=1)
    check("not into a directory that is in use", "cannot use" in p.stderr, p)
    with open(os.path.join(backup, "manifest"), "r+b") as f:
        f.seek(30)
        f.write(b"0")
    check("damaged manifest", "manifest" in run("backup", "--verify", backup, status=1).stderr)
    run("restore", backup, status=2)
    run("restore", "--data-dir", data, "--from", "yesterday", backup, status=2)
    run("backup", "--data-dir", os.path.join(base, "nowhere"), os.path.join(base, "b2"), status=1)


def rehearsal(base):
    """The script that the runbook has people run each month."""
    script = os.path.join(harness.ROOT, "examples", "backup", "rehearse")
    with Server("auth_enabled=true") as s:
        fill(s, "a", "x", 1)
        fill(s, "a", "y", 1, 30)
        fill(s, "a", "y", 0)
        s.flush()
        fill(s, "a", "x", 1, 120)

        def rehearse():
            return subprocess.run([script, "--logqd", harness.LOGQD, "--data-dir", s.data, "--backup", os.path.join(base, "b"), "--tenant", "a",
                                   "--url", "http://127.0.0.1:%d" % s.port, "--scratch", base], capture_output=True, text=True, timeout=120)

        p = rehearse()
        check("rehearsal", p.returncode == 0 and ", 0 differ" in p.stdout, p)
        equal("nothing is left of it", sorted(os.listdir(base)), ["b"])
        chunk = next(f for f in files(os.path.join(base, "b")) if f.endswith(".chunk"))
        path = os.path.join(base, "b", chunk)
        os.rename(path, path + ".lost")
        shutil.copy(path + ".lost", path)
        with open(path, "r+b") as f:
            f.seek(200)
            f.write(b"damage")
        p = rehearse()
        check("a damaged backup fails it", p.returncode != 0 and "rehearsal failed" in p.stderr, p)


def main():
    for test in (live, incremental, deleted, damaged, rehearsal):
        with tempfile.TemporaryDirectory(prefix="logq-e2e-") as base:
            test(base)


main()
harness.done()
