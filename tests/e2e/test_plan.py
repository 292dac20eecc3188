#!/usr/bin/env python3
"""How queries are answered, by the figures in `stats.plan`: what is skipped, what is decoded; and how much memory metric queries
take over many lines.

    test_plan.py [LINES]      # of the memory part; 150000 by default"""
import json
import sys
import time

from harness import Server, check, done, equal

SECOND = 10**9
NOW = int(time.time()) // 3600 * 3600 * SECOND - 7200 * SECOND
LINES = 12000


def answer(s, query, start=NOW, end=NOW + 3600 * SECOND, **more):
    status, _, body = s.get("/loki/api/v1/query_range", dict(query=query, start=start, end=end, step=60, limit=100, **more))
    if not check("%s is answered" % query, status == 200, body[:200]):
        return None, {}
    data = json.loads(body)["data"]
    return data["result"], data["stats"]["plan"]


def fill(s):
    """Two streams of about 1.5 MB each; in `a`, one line has a needle."""
    for app in ("a", "b"):
        entries = []
        for i in range(LINES):
            line = json.dumps({"level": ("info", "warn", "error")[i % 3], "status": 200 + i % 7, "id": "%032x" % (i * 2654435761 * (1 + (app == "b"))),
                               "path": "/api/v1/things/%d" % (i % 50), "msg": "needle-in-here" if app == "a" and i == 7000 else "nothing of note"})
            entries.append((NOW + i * 250000000, line, {"detected_level": ("info", "warn", "error")[i % 3]}))
        for i in range(0, LINES, 4000):
            check("push", s.push([({"app": app}, entries[i:i + 4000])])[0] == 204)
    s.flush()


def counts_decode_no_lines(s):
    for query, matched in (('sum(count_over_time({app="a"}[1m]))', LINES), ('count_over_time({app=~"a|b"}[1m])', 2 * LINES),
                           ('sum by (detected_level) (count_over_time({app="a"} | detected_level != "" [1m]))', LINES),
                           ('sum(rate({app="a"} | detected_level="error" [1m]))', LINES // 3), ('bytes_over_time({app="a"}[1m])', LINES),
                           ('sum(bytes_rate({app="b"}[1m]))', LINES), ('sum(count_over_time({app="a"} | json [1m]))', LINES),
                           ('sum(count_over_time({app="a"} | json | detected_level=~"warn|error" [1m]))', None)):
        result, plan = answer(s, query)
        if matched is None:             # the parser could make the label, where the metadata has none
            check("something is decoded for " + query, plan["blocksDecoded"] > 0)
            continue
        equal("%s: blocks decoded" % query, plan["blocksDecoded"], 0)
        check("%s: blocks considered" % query, plan["blocksConsidered"] >= 4, repr(plan))
        equal("%s: lines matched" % query, plan["linesMatched"], matched)
        if "bytes" not in query:
            total = sum(float(v) for r in result for _, v in r["values"])
            equal("%s: total" % query, round(total * (60 if "rate" in query else 1)), matched)


def filters_skip_blocks(s):
    needle = '{app=~"a|b"} %s'
    for stages in ('|= "needle-in-here"', '|~ "needle-(in|out)-here"', '|~ "(?i)NEEDLE-IN-HERE"', '| json |= "needle-in-here"', '| detected_level="warn" |= "needle-in-here"',
                   '|= "needle-in-here" or "needle-out-there"', '| json | msg =~ ".+" |= "needle-in-here" | line_format "{{.msg}}"'):
        result, plan = answer(s, needle % stages)
        equal("%s: entries" % stages, sum(len(r["values"]) for r in result), 1)
        check("%s: most blocks are skipped by their filters" % stages,
              plan["blocksDecoded"] <= 2 and plan["blocksSkippedByFilter"] >= plan["blocksConsidered"] - 2 >= 4, repr(plan))
        equal("%s: lines matched" % stages, plan["linesMatched"], 1)
    _, plan = answer(s, needle % '| line_format "needle-in-here" |= "needle-in-here"')
    check("a line that is made is not looked for in blocks", plan["blocksSkippedByFilter"] == 0 and plan["blocksDecoded"] > 0, repr(plan))


def times_skip_blocks(s):
    _, all_blocks = answer(s, '{app="a"} |= "nothing"', direction="forward")
    _, plan = answer(s, 'count_over_time({app="a"} |= "nothing" [10s])', NOW + 60 * SECOND, NOW + 120 * SECOND)
    check("a short range decodes one block", plan["blocksDecoded"] == 1, repr(plan))
    check("a log query stops at its limit", all_blocks["blocksDecoded"] < 4, repr(all_blocks))
    check("it examines less than all", plan["linesExamined"] < LINES, repr(plan))


def peak_kib(s):
    with open("/proc/%d/status" % s.process.pid) as f:
        return next(int(l.split()[1]) for l in f if l.startswith("VmHWM"))


def memory_grows_with_series_and_steps(lines):
    """Never with lines: a query over all of them may not take more than a few blocks' worth and its series."""
    with Server("logq.chunk_cache=1MB", "ingester.chunk_encoding=zstd") as s:
        for n in range(0, lines, 5000):
            entries = [(NOW + i * 3000 * SECOND // lines, "level=info n=%d status=%d took=%dms path=/api/%d and some more text to make it a line of usual length" %
                        (i, 200 + i % 5, i % 977, i % 20)) for i in range(n, n + 5000)]
            check("push", s.push([({"app": "big", "shard": "%d" % (n // 5000 % 4)}, entries)])[0] == 204)
        s.flush()
        s.stop()                # what pushing has left in the heap would hide what queries take
        s.start()
        for query in ('sum(count_over_time({app="big"}[5m]))', 'sum by (path) (rate({app="big"} | logfmt [5m]))',
                      'avg_over_time({app="big"} | logfmt | unwrap duration(took) [5m]) by (status)', 'max_over_time({app="big"} | logfmt | unwrap n [10s]) by (path)',
                      'topk(3, sum by (path) (bytes_over_time({app="big"} |= "status" | logfmt [1m])))', 'stddev_over_time({app="big"} | logfmt | unwrap status [1m]) by ()'):
            with open("/proc/%d/clear_refs" % s.process.pid, "w") as f:
                f.write("5")
            before = peak_kib(s)
            result, plan = answer(s, query)
            grown = peak_kib(s) - before
            equal("%s: lines examined" % query, plan["linesExamined"], lines)
            check("%s: answer" % query, len(result) >= 1)
            check("%s over %d lines takes less than 24 MiB" % (query, lines), grown < 24 << 10, "%d KiB" % grown)


def main():
    with Server("limits_config.discover_log_levels=false") as s:
        fill(s)
        counts_decode_no_lines(s)
        filters_skip_blocks(s)
        times_skip_blocks(s)
    memory_grows_with_series_and_steps(int(sys.argv[1]) if len(sys.argv) > 1 else 150000)
    done()


if __name__ == "__main__":
    main()
