#!/usr/bin/env python3
"""Retention with the real server: the plan over HTTP and from the command line, periods and byte budgets that are enforced
within an interval, budgets that change with a reload."""
import json
import os
import random
import signal
import subprocess
import tempfile
import time

import harness
from harness import Server, check, equal, wait_for

DAY = 86400 * 10**9
NOW = int(time.time()) * 10**9


def fill(s, app, age_days, kib):
    """Lines of random hex, in a chunk file of about half their size."""
    r = random.Random("%s %s" % (app, age_days))
    base = NOW - int(age_days * DAY)
    lines = [(base + i * 10**6, "%0500x" % r.getrandbits(2000)) for i in range(kib * 2)]
    status, _, data = s.push([({"app": app}, lines)])
    equal("push", (status, data), (204, b""))
    s.flush()


def plan(s, **params):
    status, _, data = s.get("/admin/retention", params)
    equal("plan answers", status, 200)
    return json.loads(data)


def bytes_of(s):
    return plan(s)["bytes"]


def apps(s):
    r = s.query_range('{app=~".+"}', NOW - 20 * DAY, NOW + DAY)
    return {x["stream"]["app"]: len(x["values"]) for x in r}


CONFIG = """
compactor:
  compaction_interval: %s
%s
limits_config:
  reject_old_samples_max_age: 40d
  retention_period: 30d
  retention_stream:
  - selector: '{app="short"}'
    priority: 1
    period: 3d
%s
"""


def write(path, interval, budgets="", rules=""):
    with open(path + ".new", "w") as f:
        f.write(CONFIG % (interval, budgets, rules))
    os.rename(path + ".new", path)


def planned(data):
    """What the command line and the server say is the same."""
    config = os.path.join(data, "config.yaml")
    write(config, "1h")
    with Server(args=["--config", config]) as s:
        fill(s, "short", 2, 10)
        fill(s, "long", 10, 10)
        fill(s, "long", 5, 10)
        p = plan(s)
        equal("nothing is due", (p["going"], p["chunks"], p["going_bytes"]), ([], 3, 0))
        p = plan(s, within="2d")
        got = p["going"]
        equal("due within two days", [(g["stream"], g["cause"], g["chunks"], g["entries"]) for g in got], [('{app="short", service_name="short"}', "period", 1, 20)])
        equal("due when", got[0]["due"][:10], time.strftime("%Y-%m-%d", time.gmtime(NOW / 1e9 + 86400)))
        equal("bad duration", s.get("/admin/retention", dict(within="soon"))[0], 400)
        out = subprocess.run([harness.LOGQD, "retention", "--plan", "--within", "2d", "--config", config, s.data], capture_output=True, text=True)
        check("command line", out.returncode == 0 and 'app="short"' in out.stdout and "1 of 3 chunks" in out.stdout and "long" not in out.stdout, out)
        # A budget: the plan says so before the pass; a reload is enough.
        write(config, "1h", "  retention_bytes: %d" % (p["bytes"] - 1))
        s.process.send_signal(signal.SIGHUP)
        check("budget is planned", wait_for(lambda: plan(s)["going"], 20))
        equal("the oldest goes", [(g["cause"], g["chunks"], g["day"]) for g in plan(s)["going"]],
              [("bytes of the store", 1, time.strftime("%Y-%m-%d", time.gmtime(NOW / 1e9 - 10 * 86400)))])
        equal("nothing has gone yet", plan(s)["chunks"], 3)
        out = subprocess.run([harness.LOGQD, "retention", s.data], capture_output=True, text=True)
        equal("usage", out.returncode, 2)


def enforced(data):
    config = os.path.join(data, "config.yaml")
    write(config, "100ms")
    with Server(args=["--config", config]) as s:
        for age in range(6):
            fill(s, "a", age, 40)
            fill(s, "b", age + 0.5, 40)
        before = bytes_of(s)
        write(config, "100ms", "  retention_bytes: %d" % (before * 2 // 3))
        s.process.send_signal(signal.SIGHUP)
        check("store budget", wait_for(lambda: bytes_of(s) <= before * 2 // 3, 20))
        equal("the newest stay", apps(s), {"a": 320, "b": 320})
        check("not more than needed", bytes_of(s) > before * 2 // 3 - before // 12 - 4096)
        write(config, "100ms", rules="  - selector: '{app=\"a\"}'\n    max_bytes: %d" % (before // 12 * 2 + 4096))
        s.process.send_signal(signal.SIGHUP)
        check("rule budget", wait_for(lambda: apps(s) == {"a": 160, "b": 320}, 20))
        write(config, "100ms", "  keep_free: 1000000GB")
        s.process.send_signal(signal.SIGHUP)
        check("free space that cannot be had", wait_for(lambda: plan(s)["chunks"] == 0, 20))
        equal("all has gone", apps(s), {})
        # Counted when the pass is over; that its chunks have gone is seen before.
        check("metrics", wait_for(lambda: b"logq_retention_budget_chunks_deleted_total 12\n" in s.get("/metrics")[2], 20))
        status, _, _ = s.push([({"app": "a"}, [(NOW, "goes on")])])
        equal("pushes go on", status, 204)


def stopped(data):
    """A server that merges, for a request and by itself, at a rate that would take it an hour, stops when it is told to."""
    import threading
    with Server("compactor.merge_rate=1KB", "compactor.compaction_interval=100ms") as s:
        for _ in range(8):
            fill(s, "a", 0, 200)
        answers = []
        t = threading.Thread(target=lambda: answers.append(s.request("POST", "/admin/merge", {"all": "true"})[0]))
        t.start()
        time.sleep(0.5)
        equal("exit status", s.stop(), 0)
        t.join()
        check("the request was answered", answers and answers[0] != 200, answers)


def main():
    for test in (planned, enforced, stopped):
        with tempfile.TemporaryDirectory(prefix="logq-e2e-") as data:
            test(data)


main()
harness.done()
