#!/usr/bin/env python3
"""Data directories of every on-disk version, opened by this build: they check out, everything is read from them, also with
the index made anew, merged again, and by logq without a server. usage: test_golden.py"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import harness
from harness import Server, check, equal

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "golden"))
import golden  # noqa: E402


def verify(data):
    p = subprocess.run([harness.LOGQD, "verify", data], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return p.returncode, p.stdout


def try_directory(name):
    source = os.path.join(golden.HERE, name)
    with open(os.path.join(source, "expected.json")) as f:
        expected = json.load(f)
    check(name + ": something is expected", all(e["entries"] > 0 for e in expected.values()), str(expected))
    data = tempfile.mkdtemp(prefix="logq-golden-")
    shutil.copytree(source, data, dirs_exist_ok=True)
    os.unlink(os.path.join(data, "expected.json"))
    status, text = verify(data)
    equal(name + ": verify (%s)" % text, status, 0)
    p = subprocess.run([harness.LOGQ, "query", "--data-dir", data, "--from", "2026-01-02T00:00:00Z", "--to",
                        "2026-01-05T00:00:00Z", "--limit", "100000", "--quiet", "--output", "raw", '{kind="zstd"}'],
                       capture_output=True, text=True)
    equal(name + ": logq without a server", len(p.stdout.splitlines()), expected['{kind="zstd"}']["entries"])
    server = Server(*golden.SETTINGS, "compactor.merge_enabled=false", data=data).start()
    equal(name + ": all is read", golden.sum_up(server), expected)
    server.flush()
    equal(name + ": after a flush", golden.sum_up(server), expected)
    equal(name + ": stop", server.stop(), 0)
    equal(name + ": rebuild", subprocess.run([harness.LOGQD, "rebuild-index", data], stdout=subprocess.DEVNULL).returncode, 0)
    server.settings = golden.SETTINGS + ["compactor.compaction_interval=1s"]
    server.start()
    equal(name + ": with a new index, while it is merged", golden.sum_up(server), expected)
    equal(name + ": stop", server.stop(), 0)
    equal(name + ": verify in the end", verify(data)[0], 0)
    server.close()
    shutil.rmtree(data, ignore_errors=True)


def main():
    names = sorted(n for n in os.listdir(golden.HERE) if os.path.isdir(os.path.join(golden.HERE, n, "chunks")))
    check("there are golden directories", names)
    for name in names:
        try_directory(name)
    harness.done()


if __name__ == "__main__":
    main()
