#!/usr/bin/env python3
"""Makes a golden data directory with the present build. usage: make.py NAME"""
import json
import os
import shutil
import sys

import golden
import harness
from golden import HERE, SETTINGS, START_NS
from harness import Server


def lines(kind, n, step_ns, offset_ns=0):
    for i in range(n):
        level = ("info", "warn", "error")[i % 7 % 3]
        text = '%s ts=%d request=%08x path=/api/v%d/items/%d duration=%d.%03dms%s' % (
            level, i, i * 2654435761 % 2**32, i % 3, i * 37 % 1000, i * 7 % 300, i * 13 % 1000,
            " needle" if i % 97 == 0 else "")
        yield START_NS + offset_ns + i * step_ns, text, {"level": level, "trace": "%016x" % (i * 40503)}


def push(server, kind, *args, **more):
    """Half as JSON, half as snappy protobuf: the log keeps the latter as it came."""
    entries = list(lines(kind, *args, **more))
    labels = {"kind": kind, "app": "golden", "odd": 'a "quoted" välue'}
    half = len(entries) // 2
    assert server.push([(labels, entries[:half])])[0] == 204
    text = '{app="golden", kind="%s", odd="a \\"quoted\\" välue"}' % kind
    body = harness.snappy_literal(harness.proto_push(
        [(text, [(ns, line.encode(), sorted(meta.items())) for ns, line, meta in entries[half:]])]))
    status, _, answer = server.request("POST", "/loki/api/v1/push", None, {"Content-Type": "application/x-protobuf"}, body)
    assert status == 204, answer


def main():
    target = os.path.join(HERE, sys.argv[1])
    assert not os.path.exists(target), "golden directories are never changed"
    server = Server(*SETTINGS, "compactor.merge_enabled=true", "compactor.compaction_interval=1s")
    server.start()
    for part in range(4):  # small chunk files of a day that is over: merged
        push(server, "merged", 400, 10**7, offset_ns=part * 10**9)
        server.flush()
    deadline = 60
    while len(os.listdir(os.path.join(server.data, "chunks", "fake", "2026-01-02"))) > 1 and deadline > 0:
        deadline -= 1
        harness.time.sleep(1)
    server.stop()
    for kind in ("lz4", "zstd", "table"):
        server.settings = SETTINGS + ["compactor.merge_enabled=false", "ingester.chunk_encoding=" + kind]
        server.start()
        push(server, kind, 1500, 4 * 10**7, offset_ns=86400 * 10**9 - 30 * 10**9)  # over midnight: two files
        server.flush()
        server.stop()
    server.start()
    push(server, "wal", 300, 10**6, offset_ns=7200 * 10**9)
    expected = golden.sum_up(server)
    server.kill()
    shutil.copytree(server.data, target, ignore=shutil.ignore_patterns("LOCK", "lock.mdb", "reserve"))
    with open(os.path.join(target, "expected.json"), "w") as f:
        json.dump(expected, f, indent=1, sort_keys=True)
        f.write("\n")
    for selector, found in expected.items():
        print(found["entries"], selector)
    server.close()


if __name__ == "__main__":
    main()
