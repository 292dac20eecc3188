#!/usr/bin/env python3
"""-A, -B and -C against a model: exact by time and arrival within the stream, across heads, chunks and days, at equal times with
different metadata, outside of the asked range, for few and for many matches; from a server, a directory, over HTTP."""
import json
import os
import random
import subprocess
import time

import harness
from harness import LOGQ, Server, check, equal

ENV = {k: v for k, v in os.environ.items() if not k.startswith(("LOKI_", "LOGQ_"))}
ENV.update(TZ="UTC0")
BASE = (int(time.time()) - 3 * 86400) * 10**9


def logq(where, *args):
    p = subprocess.run([LOGQ, *where, *args], capture_output=True, text=True, env=ENV, timeout=120)
    return p.returncode, p.stdout, p.stderr


def fill(s):
    """Three streams; the second has the labels of the first and one more. Returns label -> entries in order."""
    pick, streams = random.Random(11), {}
    for labels in ({"job": "ctx"}, {"job": "ctx", "host": "b"}, {"job": "ctx", "host": "c"}):
        entries, ts = [], BASE
        for i in range(6000):
            ts += pick.choice((0, 0, 1, 10**6, 10**9, 30 * 10**9))
            level = pick.choice(("info", "error", "debug"))
            text = "%s %s line %d" % (level, labels.get("host", "-"), i)
            if pick.random() < 0.03:
                text += " needle"
            if pick.random() < 0.001:
                text += " rare"
            entries.append((ts, text))
        streams[labels.get("host", "-")] = entries
        for at in range(0, len(entries), 500):
            s.push([(labels, entries[at:at + 500])])
            if at % 1500 == 0:
                s.flush()
    return streams


def model(streams, word, before, after, first_ns, last_ns):
    """The groups, ordered by the time of their first line, each [(ns, text, is match)]."""
    groups = []
    for host, entries in streams.items():
        entries = sorted(entries, key=lambda e: e[0])
        hits = [i for i, e in enumerate(entries) if word in e[1] and first_ns <= e[0] < last_ns]
        wanted = sorted({k for i in hits for k in range(max(0, i - before), min(len(entries), i + after + 1))})
        for k, i in enumerate(wanted):
            if k == 0 or wanted[k - 1] != i - 1:
                groups.append([])
            groups[-1].append((*entries[i], i in set(hits)) if len(hits) < 50 else (*entries[i], word in entries[i][1] and first_ns <= entries[i][0] < last_ns))
    return groups


def parse(out):
    return [tuple(g.strip("\n").split("\n")) for g in out.split("--\n")] if out else []


def against_model(s, where, streams):
    end = BASE + 3 * 86400 * 10**9
    whole = ("--from", "@%d" % (BASE // 10**9), "--to", "@%d" % (end // 10**9), "-l", "job=ctx")
    for word, before, after in (("rare", 2, 3), ("rare", 0, 1), ("rare", 5, 0), ("needle", 1, 1), ("needle", 0, 5), ("needle", 30, 2), ("line 4", 2, 2), ("line 59", 4, 4)):
        want = model(streams, word, before, after, BASE, end)
        code, out, err = logq(where, word, "-B", str(before), "-A", str(after), *whole)
        got = parse(out)
        equal("%s -B%d -A%d: groups" % (word, before, after), sorted(got), sorted(tuple(t for _, t, _ in g) for g in want))
        equal("%s -B%d -A%d: status" % (word, before, after), (code, err), (0, ""))
    # A range that cuts matches off, with context from outside of it.
    entries = streams["b"]
    middle = entries[3000][0] // 10**9
    narrow = ("--from", "@%d" % middle, "--to", "@%d" % (middle + 600), "-l", "host=b")
    want = model({"b": entries}, "line", 3, 3, middle * 10**9, (middle + 600) * 10**9)
    equal("context from outside of the range", parse(logq(where, "line", "-C3", *narrow)[1]), [tuple(t for _, t, _ in g) for g in want])
    code, out, _ = logq(where, "needle", "-C1", "-m", "2", "--output", "jsonl", *whole[:4], "-l", "host=b")
    rows = [json.loads(l) for l in out.splitlines()]
    equal("jsonl marks context", [bool("context" in r) == ("needle" not in r["line"]) for r in rows], [True] * len(rows))
    equal("-m counts matches", sum("context" not in r for r in rows), 2)
    equal("-n", [l[:2] for l in logq(where, "-n", "rare", "-B1", "-m1", *whole[:4], "-l", "host=c")[1].splitlines()], ["1-", "2:"])


def over_http(s, streams):
    end = BASE + 3 * 86400 * 10**9
    params = dict(query='{job="ctx"} |= "rare"', start=BASE, end=end, limit=5000, direction="forward", context_before=2, context_after=1)
    status, _, body = s.get("/loki/api/v1/query_range", params)
    data = json.loads(body)["data"]
    want = model(streams, "rare", 2, 1, BASE, end)
    got = [[(int(l[0]), l[1], l[2]) for l in g["lines"]] for g in data["context"]]
    equal("groups over HTTP, ordered by time", [sorted(got), [g[0][0] for g in got]], [sorted(want), sorted(g[0][0] for g in want)])
    equal("streams of groups", sorted({json.dumps(g["stream"], sort_keys=True) for g in data["context"]}),
          sorted({json.dumps(g["stream"], sort_keys=True) for g in data["context"] if g["stream"]["job"] == "ctx"}))
    plain = json.loads(s.get("/loki/api/v1/query_range", {k: v for k, v in params.items() if not k.startswith("context")})[2])["data"]
    check("the result itself is as without", plain["result"] == data["result"] and "context" not in plain)
    for bad in (dict(context_before=-1), dict(context_after=1001), dict(context_before="x")):
        equal("%s" % bad, s.get("/loki/api/v1/query_range", {**params, **bad})[0], 400)
    for query in ('{job="ctx"} | label_format a=job', '{job="ctx"} | line_format "x"', 'count_over_time({job="ctx"}[1m])', '{job="ctx"} | drop host'):
        equal("refused: %s" % query, s.get("/loki/api/v1/query_range", {**params, "query": query, "step": "1h"})[0], 400)


if __name__ == "__main__":
    with Server("limits_config.reject_old_samples=false") as s:
        streams = fill(s)
        for where in (("--addr", "http://127.0.0.1:%d" % s.port), ("--data-dir", s.data)):
            begun = time.time()
            against_model(s, where, streams)
            print("%s: %.1f s" % (where[0], time.time() - begun))
        over_http(s, streams)
    harness.done()
