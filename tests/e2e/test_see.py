#!/usr/bin/env python3
"""What logq draws: --histogram, --top, sparklines, --pretty, --pager; from a server and its directory, byte for byte the same."""
import json
import os
import pty
import re
import subprocess
import time

import harness
from harness import LOGQ, Server, check, equal

ENV = {k: v for k, v in os.environ.items() if not k.startswith(("LOKI_", "LOGQ_", "NO_COLOR", "PAGER", "LESS"))}
ENV.update(TZ="UTC0", COLUMNS="80", LC_ALL="C")
START = (int(time.time()) - 7200) // 3600 * 3600
RANGE = ("--from", "@%d" % START, "--to", "@%d" % (START + 3600))


def run(where, *args, **env):
    p = subprocess.run([LOGQ, *where, *args], capture_output=True, env={**ENV, **env}, timeout=60)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def fill(s):
    s.push([({"app": app}, [((START + i * 10) * 10**9 + n + 1, json.dumps({"level": ("info", "error")[i % 4 == 0], "path": "/p%d" % (i % 3), "i": i})) for i in range(360)])
            for n, app in enumerate(("api", "web"))])
    s.push([({"app": "trace"}, [(START * 10**9, "Error: x\n  at a\n  at b")])])


def draw(where):
    code, out, err = run(where, "", "--histogram", "-l", "app=~api|web", *RANGE)
    rows = out.splitlines()
    equal("a row for each step, and a legend", (code, err, len(rows)), (0, "", 13))
    stamp = time.strftime("%H:%M", time.gmtime(START))
    check("a row", re.match(stamp + r"  60  E+I+$", rows[0]) is not None, rows[0])
    equal("the legend", rows[-1], "E error 180   I info 540")
    check("inside the terminal", max(map(len, rows)) <= 80 and max(map(len, rows)) > 50, str(max(map(len, rows))))
    wide = run(where, "", "--histogram", "-l", "app=api", *RANGE, COLUMNS="160")[1].splitlines()
    check("as wide as the terminal", 120 < max(map(len, wide)) <= 160, str(max(map(len, wide))))
    code, out, _ = run(where, "", "--histogram", "--color", "always", "-l", "app=api", "--step", "30m", *RANGE, LC_ALL="C.UTF-8")
    check("blocks in colours", code == 0 and out.count("\n") == 3 and "\x1b[31m\u2588" in out, out[:200])
    equal("nothing to draw", run(where, "none of that", "--histogram", *RANGE), (1, "", ""))
    code, out, _ = run(where, "error", "--top", "path", "-l", "app=api", *RANGE)
    equal("--top of a field", [l.split()[0::3] for l in out.splitlines()], [["30", "/p0"], ["30", "/p1"], ["30", "/p2"]])
    code, out, err = run(where, "query", '{app=~".+"}', "--top", "app", "--limit", "1", *RANGE)
    check("--top of a label", code == 0 and re.match(r"360\s+49\.9%  #{20}  (api|web)\n$", out) is not None and "3 values" in err, out + err)
    code, out, _ = run(where, "query", 'sum by (app) (count_over_time({app=~"api|web"}[10m]))', "--histogram", "--step", "10m", *RANGE)
    rows = out.splitlines()
    check("sparklines", code == 0 and len(rows) == 3 and rows[0].split() == ["series", "values", "least", "most", "last"] and rows[1].startswith('{app="api"}') and "@" in rows[1], out)
    code, out, _ = run(where, "--pretty", '"i": 0}', "-l", "app=api", *RANGE)
    equal("--pretty JSON", out, '{\n  "level": "error",\n  "path": "/p0",\n  "i": 0\n}\n')
    code, out, _ = run(where, "--pretty", "-T", "Error", "-l", "app=trace", *RANGE)
    equal("--pretty, several lines", out, time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime(START)) + "Error: x\n    at a\n    at b\n")


def pager(where):
    master, slave = pty.openpty()
    p = subprocess.Popen([LOGQ, *where, "--pager", "Error", "-l", "app=trace", *RANGE], stdout=slave, env=dict(ENV, LOGQ_PAGER="sed s/^/paged:/", TERM="xterm"))
    os.close(slave)
    out = b""
    try:
        while True:
            part = os.read(master, 4096)
            if not part:
                break
            out += part
    except OSError:
        pass
    equal("its status is that of logq", p.wait(10), 0)
    check("through a pager, with colours", b"paged:\x1b[1;31mError\x1b[0m: x" in out, repr(out))
    equal("no pager in a pipe", run(where, "--pager", "Error", "-l", "app=trace", *RANGE, LOGQ_PAGER="false")[0], 0)


if __name__ == "__main__":
    with Server("limits_config.reject_old_samples=false") as s:
        fill(s)
        online, offline = ("--addr", "http://127.0.0.1:%d" % s.port), ("--data-dir", s.data)
        for where in (online, offline):
            draw(where)
        if hasattr(pty, "openpty"):
            pager(online)
    harness.done()
