#!/usr/bin/env python3
"""kill -9 while chunks are merged, entries deleted, backups taken: no loss, no double, no orphan file after the next run.
KILLS says how often; tests/e2e/slow/test_kill_compactor_full.py has 200."""
import json
import os
import random
import subprocess
import tempfile
import time

import harness
from harness import Server, check, equal, wait_for

KILLS = int(os.environ.get("KILLS", "12"))
DAY = 86400 * 10**9
TODAY = int(time.time()) // 86400 * DAY
R = random.Random(7)
SETTINGS = ["compactor.compaction_interval=40ms", "compactor.delete_request_cancel_period=0s", "compactor.merge_after=1ms",
            "ingester.chunk_target_size=16KB", "limits_config.max_entries_limit_per_query=1000000"]


class Model:
    def __init__(self):
        self.lines = {}  # (stream, ts) -> line
        self.n = self.round = 0

    def push(self, s):
        self.round += 1
        streams = []
        for app in R.sample(range(6), 3):
            entries = []
            for _ in range(40):
                ts = TODAY - R.randint(1, 3) * DAY + R.randint(0, 80000) * 10**9
                while (app, ts) in self.lines:
                    ts += 1
                line = "%d %s %s" % (self.n, "secret-%d-%d" % (self.round, self.n % 5), "%0200x" % R.getrandbits(800))
                self.n += 1
                self.lines[app, ts] = line
                entries.append((ts, line))
            streams.append(({"app": str(app)}, entries))
        status, _, data = s.push(streams)
        equal("push", (status, data), (204, b""))
        if R.random() < 0.5:  # a retry of all of it
            s.flush()
            equal("retry", s.push(streams)[0], 204)

    def delete(self, s):
        # Of a round that is over: what comes while a request is pending would vanish, too.
        app, what = R.randrange(6), "secret-%d-%d" % (R.randint(max(1, self.round - 3), self.round), R.randrange(5))
        status, _, data = s.request("POST", "/loki/api/v1/delete", dict(
            query='{app="%d"} |= "%s "' % (app, what), start=str((TODAY - 4 * DAY) // 10**9)))
        equal("delete", (status, data), (204, b""))
        self.lines = {k: l for k, l in self.lines.items() if k[0] != app or what + " " not in l}

    def check(self, s, name):
        got = {}
        double = 0
        for r in s.query_range('{app=~".+"}', TODAY - 4 * DAY, TODAY + DAY, limit=1000000):
            for ts, line in r["values"]:
                key = (int(r["stream"]["app"]), int(ts))
                double += key in got
                got[key] = line
        return check(name, got == self.lines and double == 0, "%d lines, want %d, %d twice, lost %r" % (
            len(got), len(self.lines), double, list(self.lines.keys() - got.keys())[:3]))


def processed(s):
    return all(r["status"] == "processed" for r in json.loads(s.get("/loki/api/v1/delete")[2]))


def files_of(path):
    return [f for _, _, names in os.walk(path) for f in names]


def clean(s):
    """Nothing is left but what the index knows."""
    check("passes", wait_for(lambda: processed(s), 60))
    chunks = os.path.join(s.data, "chunks")

    def settled():  # no merge is running
        names = [n for n in files_of(chunks) if n != "day.sieve"]
        return all(n.endswith(".chunk") for n in names) and len(names) == s.metric("logq_index_chunks")

    check("no orphan files", wait_for(settled, 20))


def backup(data, dest, kill):
    p = subprocess.Popen([harness.LOGQD, "backup", "--data-dir", data] + R.choice([[], ["--copy"]]) + [dest],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if kill:
        time.sleep(R.random() * 0.03)
        p.kill()
    return p.wait()


def main():
    model = Model()
    kinds = [0, 0]
    with tempfile.TemporaryDirectory(prefix="logq-e2e-") as base, Server(*SETTINGS) as s:
        dest = os.path.join(base, "backup")
        for k in range(KILLS):
            model.push(s)
            if R.random() < 0.7:
                s.flush()
            if R.random() < 0.4:
                model.delete(s)
            if R.random() < 0.3:
                backup(s.data, dest, True)
                kinds[1] += 1
            time.sleep(R.random() * 0.08)
            s.kill()
            s.start()
            kinds[0] += 1
            if k % 4 == 3 and not model.check(s, "after kill %d" % k):
                break
        model.check(s, "in the end")
        clean(s)
        model.check(s, "when all is clean")
        # Each stream and day may keep a file per size, each four times the other.
        check("merged", wait_for(lambda: s.metric("logq_index_chunks") <= 6 * 3 * 6, 60))
        equal("backup", backup(s.data, dest, False), 0)
        p = subprocess.run([harness.LOGQD, "backup", "--verify", dest], capture_output=True, text=True)
        equal("backup verifies", p.returncode, 0)
        listed = open(os.path.join(dest, "manifest")).read().count("\n") - 2
        equal("nothing unlisted", len(files_of(dest)), listed + 2)  # and LOCK and the manifest
        new = os.path.join(base, "new")
        p = subprocess.run([harness.LOGQD, "restore", "--data-dir", new, dest], capture_output=True, text=True)
        equal("restore", (p.returncode, p.stderr), (0, ""))
        with Server(*SETTINGS, data=new) as r:
            model.check(r, "restored")
    print("%d kills of the server, %d of a backup, %d lines" % (kinds[0], kinds[1], len(model.lines)))


main()
harness.done()
