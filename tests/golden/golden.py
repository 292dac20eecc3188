"""What a golden data directory holds, and how it is summed up: shared by make.py and tests/e2e/test_golden.py."""
import hashlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

START_NS, END_NS = 1767312000 * 10**9, 1767571200 * 10**9  # 2026-01-02 to 2026-01-05
SELECTORS = ['{kind="lz4"}', '{kind="zstd"}', '{kind="table"}', '{kind="merged"}', '{kind="wal"}', '{kind=~".+"}',
             '{kind=~".+"} |= "needle"', '{kind=~".+"} | level="error"']
# Old entries are taken in and kept.
SETTINGS = ["limits_config.reject_old_samples=false", "limits_config.retention_period=0s", "wal.segment_size=64KB"]


def read(server, selector):
    """Every line with its labels and time, once each, sorted."""
    found, at = set(), START_NS
    while True:
        page = [(int(ns), line, json.dumps(s["stream"], sort_keys=True))
                for s in server.query_range(selector, at, END_NS) for ns, line in s["values"]]
        found.update(page)
        if len(page) < 5000:
            return sorted(found)
        at = max(p[0] for p in page)


def sum_up(server):
    result = {}
    for selector in SELECTORS:
        rows = read(server, selector)
        result[selector] = {"entries": len(rows), "sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest()}
    return result
