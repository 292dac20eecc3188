#!/usr/bin/env python3
"""The recorded answers of a real Loki (tests/conformance) against logqd, from memory, after a flush and after a restart: the three
must agree with the recording, and so with each other.

KNOWN lists cases whose recording contradicts a documented superset of logqd; they are run, but not counted."""
import os
import re
import subprocess
import sys

import harness
from harness import ROOT, Server, check

FOLDER = os.path.join(ROOT, "tests", "conformance")
# Accepted where Loki refuses (zlib-wrapped deflate, snappy-packed JSON, no content type, unusable attribute names): the
# lines are stored, so the read-back that follows finds them.
KNOWN = {"push-021", "push-023", "push-108", "otlp-014"}


def run(server, load):
    command = [sys.executable, os.path.join(FOLDER, "run.py"), "--url", "http://127.0.0.1:%d" % server.port, "-v", "--max-diffs", "5000"]
    out = subprocess.run(command + (["--load"] if load else []), capture_output=True, text=True).stdout
    fails = {}
    for m in re.finditer(r"^FAIL (\S+)  (.*\n.*)", out, re.M):
        fails[m.group(1)] = m.group(2)
    total = re.search(r"^(\d+) passed, (\d+) failed$", out, re.M)
    return fails, (int(total.group(1)) + int(total.group(2))) if total else 0


def main():
    with Server("auth_enabled=true", "limits_config.reject_old_samples=false", "limits_config.retention_period=0s") as s:
        for when in ("from memory", "after a flush", "after a restart"):
            fails, total = run(s, when == "from memory")
            check("the run came to its end " + when, total > 1000, "%d cases" % total)
            counted = {k: v for k, v in fails.items() if k not in KNOWN}
            harness.passed += total - len(counted)
            for name in sorted(counted):
                check("%s %s" % (name, when), False, counted[name][:400])
            print("%s: %d cases, %d differ" % (when, total, len(fails)))
            if when == "from memory":
                s.flush()
            elif when == "after a flush":
                s.stop()
                s.start()
    harness.done()


if __name__ == "__main__":
    main()
