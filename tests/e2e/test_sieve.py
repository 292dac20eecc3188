#!/usr/bin/env python3
"""Sieves of days: made when the compactor merges, asked by needles, by the server and by logq on its directory; chunks that
come, go and are rewritten, a damaged one, backups, verify; kill -9 while they are written again and again."""
import json
import os
import random
import subprocess
import tempfile
import time

import harness
from harness import LOGQ, LOGQD, Server, check, equal, wait_for

KILLS = int(os.environ.get("KILLS", "8"))
DAY = 86400 * 10**9
TODAY = int(time.time()) // 86400 * DAY
R = random.Random(11)
APPS = 24


class Model:
    def __init__(self):
        self.lines = {}  # key -> (app, ts)

    def push(self, s, days=(1, 2)):
        streams = []
        for app in range(APPS):
            entries = []
            for day in days:
                key = "%032x" % R.getrandbits(128)
                ts = TODAY - day * DAY + R.randrange(80000) * 10**9
                entries.append((ts, "a line with %s in it and %0300x" % (key, R.getrandbits(1200))))
                self.lines[key] = (app, ts)
            streams.append(({"app": str(app)}, entries))
        status, _, data = s.push(streams)
        equal("push", (status, data), (204, b""))

    def ask(self, s, key):
        return [(int(r["stream"]["app"]), int(ts)) for r in s.query_range('{app=~".+"} |= "%s"' % key, TODAY - 9 * DAY, TODAY + DAY)
                for ts, _ in r["values"]]

    def check(self, s, name, n=12):
        for key in R.sample(list(self.lines), min(n, len(self.lines))):
            if not equal(name, self.ask(s, key), [self.lines[key]] if self.lines[key] else []):
                return
        equal(name + ": nothing", self.ask(s, "%032x" % R.getrandbits(128)), [])


def sieves(data):
    return sorted(os.path.join(f, n) for f, _, names in os.walk(os.path.join(data, "chunks")) for n in names if n == "day.sieve")


def merge(s):
    equal("merge", s.request("POST", "/admin/merge", {"all": "true"})[0], 200)


def skipped(s):
    return s.metric("logq_sieve_chunks_skipped_total")


def verify(data, *args):
    p = subprocess.run([LOGQD, "verify", data] + list(args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return p.returncode, p.stdout


def made_and_asked(s, m):
    m.push(s)
    s.flush()
    m.check(s, "without sieves")
    equal("none yet", (sieves(s.data), skipped(s)), ([], 0))
    merge(s)
    equal("one per day", (len(sieves(s.data)), s.metric("logq_sieves_written_total")), (2, 2))
    equal("their size", s.metric("logq_sieve_file_bytes"), sum(os.path.getsize(f) for f in sieves(s.data)))
    m.check(s, "with sieves")
    check("chunks are left alone", skipped(s) > 12 * APPS, skipped(s))
    merge(s)
    equal("nothing to do", s.metric("logq_sieves_written_total"), 2)
    key, (app, ts) = next(iter(m.lines.items()))
    p = subprocess.run([LOGQ, "--data-dir", s.data, "-F", key, "--from", str(TODAY - 9 * DAY), "--to", str(TODAY + DAY), "--output", "raw"],
                       stdout=subprocess.PIPE, text=True)
    check("logq --data-dir", p.returncode == 0 and p.stdout.count(key) == 1 and p.stdout.count("\n") == 1, p.stdout[:300])


def chunks_come_and_go(s, m):
    m.push(s)  # in memory
    m.check(s, "newer lines in memory")
    s.flush()
    m.check(s, "newer chunks")
    gone = [k for k, v in m.lines.items() if v[0] == 3]
    status, _, data = s.request("POST", "/loki/api/v1/delete", dict(query='{app="3"}', start=str((TODAY - 9 * DAY) // 10**9)))
    equal("delete", (status, data), (204, b""))
    check("deleted", wait_for(lambda: all(r["status"] == "processed" for r in json.loads(s.get("/loki/api/v1/delete")[2])), 30))
    for k in gone:
        m.lines[k] = None
    m.check(s, "after a delete", 40)
    merge(s)
    m.check(s, "written anew", 40)
    equal("still one per day", len(sieves(s.data)), 2)


def damaged(s, m):
    before = s.metric("logq_sieve_damaged_total")
    s.stop()
    for part, path in enumerate(sieves(s.data)):
        with open(path, "r+b") as f:
            if part == 0:
                f.seek(100)
                f.write(b"\xff\xff\xff\xff")
            else:
                f.truncate(os.path.getsize(path) - 10)
    code, text = verify(s.data)
    check("verify names them", code != 0 and text.count("damage: chunks") == 2, text)
    s.start()
    m.check(s, "damaged", 20)
    equal("counted", s.metric("logq_sieve_damaged_total") - before, before + 2)
    equal("taken away", sieves(s.data), [])
    merge(s)
    equal("made anew", len(sieves(s.data)), 2)
    m.check(s, "made anew", 20)
    s.stop()
    equal("verify is content", verify(s.data)[0], 0)
    s.start()


def backup(s, m, base):
    m.lines = {k: v for k, v in m.lines.items() if v}
    dest, copy = os.path.join(base, "backup"), os.path.join(base, "restored")
    equal("backup", subprocess.run([LOGQD, "backup", "--data-dir", s.data, dest], stdout=subprocess.DEVNULL).returncode, 0)
    equal("restore", subprocess.run([LOGQD, "restore", "--data-dir", copy, dest], stdout=subprocess.DEVNULL).returncode, 0)
    equal("a backup has none", sieves(copy), [])
    with Server(data=copy) as other:
        m.check(other, "restored")
        merge(other)
        equal("made there", len(sieves(copy)), 2)
        m.check(other, "restored, with sieves")


def index_lost(s, m):
    s.stop()
    equal("rebuild", subprocess.run([LOGQD, "rebuild-index", s.data], stdout=subprocess.DEVNULL).returncode, 0)
    s.start()
    before = skipped(s)
    m.check(s, "with a rebuilt index")
    check("and the old sieves", skipped(s) > before, skipped(s))


def killed(m):
    with Server("compactor.compaction_interval=20ms", "compactor.merge_after=1ms") as s:
        for _ in range(KILLS):
            m.push(s)
            s.flush()
            time.sleep(0.03 + R.random() * 0.1)
            s.kill()
            s.start()
            m.check(s, "after a kill", 5)
        check("sieves again", wait_for(lambda: len(sieves(s.data)) == 2, 30))
        m.check(s, "in the end", 30)
        names = lambda: [n for f, _, names in os.walk(os.path.join(s.data, "chunks")) for n in names if n.endswith(".tmp")]
        check("nothing is left over", wait_for(lambda: not names(), 30), names())
        s.stop()
        equal("verify", verify(s.data)[0], 0)


def days_go(m):
    with Server("limits_config.retention_period=0s") as s:
        m.push(s, (2,))
        s.flush()
        merge(s)
        equal("one", len(sieves(s.data)), 1)
        path = sieves(s.data)[0]
        s.stop()
        s.settings = ["limits_config.retention_period=24h", "compactor.retention_enabled=true", "compactor.compaction_interval=50ms"]
        s.start()
        check("the day goes with its sieve", wait_for(lambda: not os.path.exists(os.path.dirname(path)), 20), os.listdir(os.path.dirname(os.path.dirname(path))))


def main():
    m = Model()
    with tempfile.TemporaryDirectory(prefix="logq-e2e-") as base:
        with Server("compactor.delete_request_cancel_period=0s", "compactor.compaction_interval=1h") as s:
            made_and_asked(s, m)
            s.stop()
            s.settings[1] = "compactor.compaction_interval=200ms"
            s.start()
            chunks_come_and_go(s, m)
            damaged(s, m)
            backup(s, m, base)
            index_lost(s, m)
    killed(Model())
    days_go(Model())


main()
harness.done()
