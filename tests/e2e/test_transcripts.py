#!/usr/bin/env python3
"""Shell transcripts of logq (tests/e2e/transcripts.txt), run against a server and against its directory, compared byte for byte; and
every option of the help stands in one of them. `test_transcripts.py --update` writes what a server answers now.

A transcript is "$ COMMAND" with what it writes to both outputs below, and "? N" for a status that is not 0. Blocks behind
"@ online" run with a server only. In commands logq stands for the program with the source of the run."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import harness
from harness import LOGQ, ROOT, Server, equal

TABLE = os.path.join(ROOT, "tests", "e2e", "transcripts.txt")
FOLDER = tempfile.mkdtemp(prefix="logq-e2e-transcripts-")
START = 1763625600 * 10**9  # 2025-11-20 08:00:00 UTC
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("LOKI_", "LOGQ_", "NO_COLOR", "GREP_", "TERM"))}
ENV.update(TZ="UTC0", LC_ALL="C", COLUMNS="80", TERM="xterm", F="2025-11-20T08:00:00Z", T="2025-11-20T09:00:00Z")
# Options that the runs have no use for: they name servers, credentials, certificates and proxies, or need a terminal.
ELSEWHERE = {"--addr", "--data-dir", "--no-index", "--username", "--password", "--bearer-token", "--bearer-token-file", "--auth-header", "--org-id", "--header",
             "--query-tags", "--nocache", "--ca-cert", "--cert", "--key", "--tls-skip-verify", "--proxy-url", "--envproxy", "--retries", "--min-backoff",
             "--max-backoff", "--follow", "--tail", "--delay-for", "--positions", "--journal", "--force", "--request-id", "--max-interval", "--pager", "--since"}


def fill(s):
    api, web = [], []
    for i in range(60):
        ts = START + i * 60 * 10**9
        level = ("info", "warn", "error")[i % 10 % 3]
        api.append((ts, "%s GET /users/%d took %d ms" % (level, i, i * 37 % 100)))
        web.append((ts + 5 * 10**8, '{"level":"%s","path":"/p%d","code":%d}' % (level, i % 4, 200 + i % 3)))
    s.push([({"app": "api", "env": "prod"}, api), ({"app": "web", "env": "prod"}, web), ({"app": "web", "env": "test"}, web[:10])])
    s.push([({"app": "trace"}, [(START + 10**9, "Error: boom\n  at a.c:1\n  at b.c:2"), (START + 2 * 10**9, "after  "), (START + 2 * 10**9, "same time, later")])])


def read_table():
    blocks, online = [], False
    for line in open(TABLE, encoding="utf-8").read().split("\n"):
        if line.startswith("# ") or line == "#":
            blocks.append(["comment", line, [], False])
        elif line.startswith("@ "):
            online = line == "@ online"
            blocks.append(["comment", line, [], False])
        elif line.startswith("$ "):
            blocks.append(["command", line[2:], [], online])
        elif blocks:
            blocks[-1][2].append(line)
    return blocks


def run(command, where):
    script = "logq() { \"$LOGQ\" %s \"$@\"; }\n%s\n" % (where, command)
    p = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=FOLDER, env=dict(ENV, LOGQ=LOGQ), timeout=60)
    out = p.stdout.decode("utf-8", "replace")
    lines = (out if out.endswith("\n") or not out else out + "%\n").split("\n")[:-1]
    return lines + (["? %d" % p.returncode] if p.returncode else [])


def compare(blocks, where, is_online):
    for kind, command, want, online in blocks:
        if kind != "command" or (online and not is_online):
            continue
        got = run(command, where)
        want = [l for l in want]
        while want and want[-1] == "":
            want.pop()
        equal("%s: %s" % (where.split()[0], command), "\n".join(got), "\n".join(want))


def update(blocks, where):
    out = []
    for kind, text, rest, _ in blocks:
        if kind == "comment":
            out += [text] + [l for l in rest if l]
            continue
        out += ["$ " + text] + run(text, where) + [""]
    with open(TABLE, "w", encoding="utf-8") as f:
        f.write("\n".join(out).rstrip("\n") + "\n")


def all_options(blocks):
    said = set()
    for name in ("grep", "query", "instant-query", "labels", "series", "stats", "volume", "volume-range", "detected-fields", "patterns", "fmt", "delete", "push", "api"):
        text = subprocess.run([LOGQ, "help", name], capture_output=True, text=True).stdout
        said |= set(re.findall(r"(?<![\w-])--[a-zA-Z][a-zA-Z.-]*[a-zA-Z]", text))
    used = set(re.findall(r"(?<![\w-])--[a-zA-Z][a-zA-Z.-]*[a-zA-Z]", "\n".join(b[1] for b in blocks if b[0] == "command")))
    equal("every option of the help stands in a transcript", sorted(said - used - ELSEWHERE), [])


if __name__ == "__main__":
    try:
        with Server("limits_config.reject_old_samples=false", "limits_config.retention_period=0s") as s:
            fill(s)
            with open(os.path.join(FOLDER, "app.log"), "w") as f:
                f.write("one error\ntwo\nthree Error\nfour\nfive error error\n")
            with open(os.path.join(FOLDER, "other.log"), "w") as f:
                f.write("nothing\n")
            with open(os.path.join(FOLDER, "words"), "w") as f:
                f.write("/users/7 \n/users/8 \n")
            blocks = read_table()
            online = "--addr http://127.0.0.1:%d" % s.port
            if "--update" in sys.argv:
                update(blocks, online)
            else:
                compare(blocks, online, True)
                compare(blocks, "--data-dir " + s.data, False)
                all_options(blocks)
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    harness.done()
