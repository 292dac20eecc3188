#!/usr/bin/env python3
"""logq push as a shipper: killed at random while the log grows and is rotated, with and without times in its lines, it stores every
line exactly once. Long version: KILLS=100 ROTATIONS=20 (tests/e2e/slow/test_ship_long.py)."""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import harness
from harness import LOGQ, Server, check, equal, wait_for

KILLS, ROTATIONS = int(os.environ.get("KILLS", 8)), int(os.environ.get("ROTATIONS", 3))
FOLDER = tempfile.mkdtemp(prefix="logq-e2e-ship-")
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("LOKI_", "LOGQ_"))}
ENV.update(TZ="UTC0")


class Writer(threading.Thread):
    """Writes numbered lines, rotates by renaming (path, path.1, path.2, ...), goes on in the old file for a moment."""

    def __init__(self, path, seconds, stamped):
        super().__init__()
        self.path, self.seconds, self.stamped, self.count, self.seed = path, seconds, stamped, 0, random.Random(3)

    def line(self):
        self.count += 1
        stamp = time.strftime("%Y-%m-%d %H:%M:%S ", time.gmtime()) if self.stamped else ""
        # Pairs of equal lines in one second are two lines.
        return "%s%s %07d\n" % (stamp, "x" * self.seed.randrange(0, 60), self.count // 2 if self.stamped else self.count)

    def rotate(self):
        names = sorted((n for n in os.listdir(FOLDER) if n.startswith(os.path.basename(self.path) + ".")), key=lambda n: -int(n.rsplit(".", 1)[1]))
        for n in names:
            base, number = n.rsplit(".", 1)
            os.rename(os.path.join(FOLDER, n), os.path.join(FOLDER, "%s.%d" % (base, int(number) + 1)))
        os.rename(self.path, self.path + ".1")

    def run(self):
        begun, rotations = time.time(), 0
        f = open(self.path, "a")
        while time.time() < begun + self.seconds:
            for _ in range(self.seed.randrange(1, 200)):
                f.write(self.line())
            f.flush()
            time.sleep(self.seed.random() * 0.05)
            if rotations < ROTATIONS and time.time() - begun > self.seconds * (rotations + 1) / (ROTATIONS + 1):
                rotations += 1
                self.rotate()
                f.write(self.line())
                f.close()
                f = open(self.path, "a")
        f.close()


def push(s, *args):
    return subprocess.Popen([LOGQ, "--addr", "http://127.0.0.1:%d" % s.port, "push", "-q", "-f", *args], env=ENV, stderr=subprocess.DEVNULL)


def stored(s, job):
    p = subprocess.run([LOGQ, "--addr", "http://127.0.0.1:%d" % s.port, "", "-l", "job=" + job, "--since", "1d"], env=ENV, capture_output=True, text=True, errors="replace")
    return p.stdout.splitlines()


def kills(s, job, stamped):
    path = os.path.join(FOLDER, job + ".log")
    args = ("-l", "job=" + job, "--positions", os.path.join(FOLDER, job + ".positions"), path)
    writer = Writer(path, max(4, KILLS * 0.8), stamped)
    writer.start()
    time.sleep(0.05)
    pick = random.Random(5)
    for i in range(KILLS):
        p = push(s, *args)
        time.sleep(pick.random() * 1.6)
        p.send_signal(signal.SIGKILL)
        p.wait()
        if i == KILLS // 2:  # the server, too
            s.kill()
            s.start()
    writer.join()
    p = push(s, *args)
    wait_for(lambda: len(stored(s, job)) >= writer.count, 60, 0.3)
    time.sleep(1.5)
    p.send_signal(signal.SIGTERM)
    equal("%s: a signal ends it" % job, p.wait(10), 0)
    lines = stored(s, job)
    numbers = [int(l.rsplit(" ", 1)[1]) for l in lines]
    print("%s: %d lines written, %d kills, %d rotations, %d lines stored" % (job, writer.count, KILLS, ROTATIONS, len(lines)))
    equal("%s: every line once" % job, len(lines), writer.count)
    want = sorted(i // 2 for i in range(1, writer.count + 1)) if stamped else list(range(1, writer.count + 1))
    equal("%s: no line is missing, none twice" % job, sorted(numbers) == want, True)


def globs(s):
    folder = os.path.join(FOLDER, "many")
    os.mkdir(folder)
    for name in ("a.log", "b.log"):
        with open(os.path.join(folder, name), "w") as f:
            f.write("in %s\n" % name)
    p = push(s, "-l", "job=many", "--positions", os.path.join(FOLDER, "many.positions"), os.path.join(folder, "*.log"), os.path.join(folder, "late"))
    time.sleep(0.3)
    for name in ("c.log", "late", "other"):
        with open(os.path.join(folder, name), "w") as f:
            f.write("in %s\n" % name)
    wait_for(lambda: len(stored(s, "many")) >= 4)
    equal("files that come later are found", sorted(stored(s, "many")), ["in a.log", "in b.log", "in c.log", "in late"])
    with open(os.path.join(folder, "a.log"), "w") as f:
        f.write("cut\n")
    check("a file that was cut begins anew", wait_for(lambda: "cut" in stored(s, "many")))
    second = subprocess.run([LOGQ, "push", "--positions", os.path.join(FOLDER, "many.positions"), "/dev/null"], env=ENV, capture_output=True, text=True)
    check("one process per file of positions", second.returncode == 2 and "in use" in second.stderr, second.stderr)
    p.send_signal(signal.SIGTERM)
    p.wait(10)


def multiline(s):
    text = "2026-01-01 java.lang.Error: x\n  at a\n  at b\n2026-01-01 next\n"
    code = subprocess.run([LOGQ, "--addr", "http://127.0.0.1:%d" % s.port, "push", "-q", "-l", "job=multi", "--timestamp", "now", "--multiline", r"^\d{4}-", "-"], input=text.encode(), env=ENV).returncode
    out = subprocess.run([LOGQ, "--addr", "http://127.0.0.1:%d" % s.port, "", "-c", "-l", "job=multi"], env=ENV, capture_output=True, text=True).stdout
    equal("entries of several lines", (code, out), (0, "2\n"))
    equal("nothing of them is lost", "\n".join(stored(s, "multi")) + "\n", text)


def once(s):
    """Without -f: from cron, each time what is new."""
    path, positions = os.path.join(FOLDER, "cron.log"), os.path.join(FOLDER, "cron.positions")
    for i in range(3):
        with open(path, "a") as f:
            f.write("run %d\nsame\n" % i)
        code = subprocess.run([LOGQ, "--addr", "http://127.0.0.1:%d" % s.port, "push", "-q", "-l", "job=cron", "--positions", positions, path], env=ENV).returncode
        equal("run %d" % i, code, 0)
    equal("each run sends what is new", sorted(stored(s, "cron")), ["run 0", "run 1", "run 2", "same", "same", "same"])


JOURNALCTL = r'''#!/usr/bin/env python3
import json, sys, time
after = [a.split("=", 1)[1] for a in sys.argv if a.startswith("--after-cursor=")]
first = int(after[0][1:]) + 1 if after else 0
base = int(open(sys.argv[0] + ".base").read())
for i in range(first, 400):
    e = {"__CURSOR": "c%d" % i, "__REALTIME_TIMESTAMP": str(base + i), "MESSAGE": "entry %d" % i, "PRIORITY": str(i % 8)}
    e.update({"_SYSTEMD_UNIT": "a.service"} if i % 3 else {"SYSLOG_IDENTIFIER": "kernel"})
    if i == 7:
        e["MESSAGE"] = [104, 105, 255]
    if i == 8:
        e["MESSAGE"] = None
    print(json.dumps(e), flush=True)
    if "--follow" in sys.argv:
        time.sleep(0.01)
while "--follow" in sys.argv:
    time.sleep(1)
'''


def journal(s):
    folder = os.path.join(FOLDER, "bin")
    os.mkdir(folder)
    with open(os.path.join(folder, "journalctl"), "w") as f:
        f.write(JOURNALCTL)
    with open(os.path.join(folder, "journalctl.base"), "w") as f:
        f.write(str(time.time_ns() // 1000 - 10**6))
    os.chmod(os.path.join(folder, "journalctl"), 0o755)
    env = dict(ENV, PATH=folder + ":" + ENV["PATH"])
    command = [LOGQ, "--addr", "http://127.0.0.1:%d" % s.port, "push", "-q", "--journal", "-f", "-l", "job=j", "--positions", os.path.join(FOLDER, "journal")]
    for _ in range(3):
        p = subprocess.Popen(command, env=env)
        time.sleep(1.6)
        p.kill()
        p.wait()
    p = subprocess.Popen(command, env=env)
    wait_for(lambda: len(stored(s, "j")) >= 400, 20)
    p.send_signal(signal.SIGTERM)
    equal("the journal: a signal ends it", p.wait(10), 0)
    lines = stored(s, "j")
    equal("entries of the journal, each once", (len(lines), len(set(lines))), (400, 400))
    out = subprocess.run([LOGQ, "--addr", "http://127.0.0.1:%d" % s.port, "labels", "unit"], env=ENV, capture_output=True, text=True).stdout
    equal("units", out.split(), ["a.service", "kernel"])
    p = subprocess.run(command[:6] + ["--addr", "http://127.0.0.1:%d" % s.port], env=dict(ENV, PATH="/nonexistent"), capture_output=True, text=True)
    check("no journalctl", p.returncode == 2 and "no journalctl" in p.stderr, p.stderr)


if __name__ == "__main__":
    try:
        with Server("limits_config.reject_old_samples=false") as s:
            journal(s)
            kills(s, "plain", False)
            kills(s, "stamped", True)
            globs(s)
            multiline(s)
            once(s)
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    harness.done()
