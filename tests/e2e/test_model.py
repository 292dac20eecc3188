#!/usr/bin/env python3
"""Random queries over random data, answered by logqd from memory, from memory and chunks mixed, and after a flush; all must be
what the slow evaluator of model.py says.

    test_model.py [--seed N] [--queries N] [--lines N] [--rounds N]

Without arguments a short run with a fixed seed. A difference prints the query and the seed of its round."""
import argparse
import json
import math
import random
import sys
import time

import model
from harness import Server, check, done
from model import (Aggregation, Binary, BothFilter, Choose, Entry, IpFilter, Json, LabelFilter, LabelFormat, LineFilter, LineFormat, Logfmt, LogQuery,
                   Pattern, Range, Regexp, Selector, TextFilter, TypedFilter, Unpack, Unwrap, bytes_of, duration_of, number_of)

SECOND = 10**9
SHOWN = 1200            # characters of a difference
HOUR = 3600 * SECOND
WORDS = ["error", "timeout", "user login", "cache miss", "GET /api/v1", "retry=3", "ok"]
LEVELS = ["debug", "info", "warn", "error"]


# ------------------------------------------------------------------ data
class Data:
    """Streams of five kinds of lines. Times are distinct but for some entries that share one within a stream."""

    def __init__(self, rng, lines, start):
        self.rng, self.start, self.times, self.count = rng, start, set(), 0
        self.batches = [self.batch(lines // 3) for _ in range(3)]

    def time(self):
        while True:
            t = self.start + self.rng.randrange(HOUR // 10**6) * 10**6 + self.rng.choice((0, 0, 1, 999))
            if t not in self.times:
                self.times.add(t)
                return t

    def fields(self):
        r = self.rng
        f = {"level": r.choice(LEVELS), "status": str(r.choice((200, 200, 201, 302, 404, 500, 503))), "user": "u%d" % r.randrange(6),
             "dur": r.choice(("12ms", "1.5s", "250us", "3m", "%dms" % r.randrange(900))), "size": r.choice(("512", "10KB", "1.5MiB", "3kb")),
             "ip": "10.0.%d.%d" % (r.randrange(2), r.randrange(40)), "msg": r.choice(WORDS)}
        if r.random() < 0.3:
            f["trace"] = "t%d" % r.randrange(4)        # also a name of metadata
        if r.random() < 0.2:
            f["env"] = "inner"                         # also a stream label
        if r.random() < 0.1:
            f["odd"] = r.choice(("12", "5s", "none", "7KB"))
        return f

    def json_line(self, regular):
        """regular: like those of a program, fields in one order and hardly any missing; else in any order."""
        f, r = self.fields(), self.rng
        self.count += 1
        f["status"], f["n"] = int(f["status"]), self.count if r.random() < 0.9 else r.choice((-1, 0.5, "n/a", True))
        if r.random() < 0.1:
            f["msg"] = r.choice(('say "hi"', "C:\\temp", "na\u00efve \u2603", "tab\tand\nline", "error \\\"quoted\\\" u1"))
        f["latency"] = r.choice((0.25, 1.5, 12.75, 3.0))
        if r.random() < 0.5:
            f["req"] = {"method": r.choice(("GET", "POST")), "path-id": "p%d" % r.randrange(3), "deep": {"flag": r.random() < 0.5}}
        if r.random() < 0.2:
            f["list"], f["nothing"] = ["a", {"b": "c"}], None
        items = list(f.items())
        if not regular:
            r.shuffle(items)
        line = json.dumps(dict(items), ensure_ascii=r.random() < 0.5, separators=(",", ":") if regular else (", ", ": "))
        return line[:-1] + ',"user":"again","late":"x"}' if r.random() < 0.03 else line        # the first of two wins

    def logfmt_line(self, regular):
        self.count += 1
        f = dict(self.fields(), n=str(self.count))
        items = list(f.items())
        if not regular:
            self.rng.shuffle(items)
        return " ".join("%s=%s" % (k, '"%s"' % v if " " in v or "=" in v else v) for k, v in items)

    def text_line(self, regular=True):
        f, r = self.fields(), self.rng
        return "%s [%s] %s from %s took %s" % (f["level"].upper(), r.choice(("db", "net", "io")), f["msg"], f["ip"], f["dur"])

    def packed_line(self, regular=True):
        return json.dumps({"_entry": self.text_line(), "pod": "pod%d" % self.rng.randrange(3), "level": self.rng.choice(LEVELS)})

    def line(self, app, regular):
        kinds = {"api": self.json_line, "web": self.logfmt_line, "db": self.text_line, "packed": self.packed_line}
        return (kinds[app] if app in kinds else self.rng.choice(list(kinds.values())))(regular)

    def batch(self, count):
        out, r = [], self.rng
        for _ in range(count):
            app = r.choice(("api", "api", "web", "web", "db", "packed", "mixed"))
            stream = {"app": app, "env": r.choice(("prod", "dev")), "service_name": "s"}
            meta = {}
            if r.random() < 0.4:
                meta["trace"] = "m%d" % r.randrange(4)
            if r.random() < 0.3:
                meta["pod"] = "pod%d" % r.randrange(3)
            if r.random() < 0.05:
                meta["env"] = "meta"
            again = [e for e in out[-20:] if e.stream == stream]
            t = r.choice(again).ts if again and r.random() < 0.05 else self.time()
            out.append(Entry(t, self.line(app, stream["env"] == "prod"), stream, meta))
        return out


def stored(batches):
    """What is left of pushed batches, in order of time and arrival: an entry that is there already is dropped."""
    seen, out = set(), []
    for e in (e for b in batches for e in b):
        identity = (model.key(e.stream), e.ts, e.line, model.key(e.meta))
        if identity not in seen:
            seen.add(identity)
            out.append(e)
    return sorted(out, key=lambda e: e.ts)


def push(s, batch):
    streams = {}
    for e in batch:
        streams.setdefault(model.key(e.stream), []).append((e.ts, e.line, e.meta) if e.meta else (e.ts, e.line))
    return s.push([(dict(k), entries) for k, entries in streams.items()])[0]


# ------------------------------------------------------------------ queries
FIELDS = ("level", "status", "user", "dur", "size", "ip", "msg", "trace", "pod", "env", "odd", "req_method", "req_path_id", "req_deep_flag", "latency",
          "env_extracted", "trace_extracted", "lvl", "comp", "app", "n", "late")
CONVERSIONS = {"dur": "duration", "size": "bytes", "status": None, "latency": None, "odd": None, "n": None}


class Maker:
    def __init__(self, rng):
        self.rng = rng

    def one(self, *makers):
        return self.rng.choice(makers)()

    def selector(self, app=None):
        r = self.rng
        m = [TextFilter("app", "=", app)] if app else [r.choice((TextFilter("app", "=~", "api|web|mixed"), TextFilter("app", "!=", "db"),
                                                                 TextFilter("service_name", "=", "s"), TextFilter("app", "=~", ".*b")))]
        if m[0].op == "!=":
            m.append(TextFilter("env", "=~", "prod|dev"))
        if r.random() < 0.3:
            m.append(r.choice((TextFilter("env", "=", "prod"), TextFilter("env", "!~", "d.*"), TextFilter("nope", "=", ""))))
        return Selector(m)

    def line_filter(self):
        r = self.rng
        op = r.choice(("|=", "|=", "!=", "|~", "!~", "|>", "!>"))
        if op in ("|=", "!="):
            texts = ["error", "u1", "hi", "naïve", "status\":5", "user\":\"u2", "user=u3 ", "temp", "timeout", "GET /api", '"status"', "level=", "10.0.1", "INFO", "nowhere", "50", "took"]
            operands = [r.choice(texts) for _ in range(r.choice((1, 1, 1, 2, 3)))]
            if r.random() < 0.15:
                operands = [("ip", r.choice(("10.0.0.0/28", "10.0.1.0-10.0.1.20", "10.0.0.7")))]
        elif op in ("|~", "!~"):
            operands = [r.choice(("err(or)?", "[0-9]+ms", "time.*out|login", "^INFO", "(?i)ERROR", "user|cache", "u[0-3]\\b", "took [0-9.]+s$"))
                        for _ in range(r.choice((1, 1, 2)))]
        else:
            operands = [r.choice(("<_>error<_>", "INFO<_>", "<_>took <_>", "<_>u2<_>", "nothing")) for _ in range(r.choice((1, 1, 2)))]
        return LineFilter(op, operands)

    def condition(self, depth=0):
        r = self.rng
        if depth < 2 and r.random() < 0.25:
            return BothFilter(self.condition(depth + 1), r.choice(("and", "or")), self.condition(depth + 1))
        kind = r.randrange(7)
        if kind == 0:
            return TypedFilter(r.choice(("status", "latency", "odd", "user", "n")), r.choice((">", ">=", "<", "<=", "==", "!=")), r.choice(("200", "404", "1.5", "0")),
                               number_of)
        if kind == 1:
            return TypedFilter(r.choice(("dur", "odd")), r.choice((">", "<=", "==")), r.choice(("1s", "100ms", "1m30s")), duration_of)
        if kind == 2:
            return TypedFilter(r.choice(("size", "odd")), r.choice((">", "<=", "!=")), r.choice(("1KB", "10kB", "1MiB")), bytes_of)
        if kind == 3:
            return IpFilter("ip", r.choice(("=", "!=")), r.choice(("10.0.0.0/28", "10.0.1.3-10.0.1.30")))
        name = r.choice(FIELDS)
        if r.random() < 0.5:
            return TextFilter(name, r.choice(("=", "!=")), r.choice(("error", "200", "u1", "m1", "t1", "prod", "GET", "true", "", "info")))
        return TextFilter(name, r.choice(("=~", "!~")), r.choice(("err[a-z]+|warn", "[45]..", "u[0-2]", "t1|m2|x", ".+", "", "p[a-z0-9]+", "INFO|ERROR")))

    def label_filter(self):
        return LabelFilter(self.condition())

    def template(self, shows_line=False):
        r = self.rng
        parts = []
        for _ in range(r.randrange(1, 4)):
            parts.append((r.choice(FIELDS + ("__line__",) * 3 if shows_line else FIELDS), r.choice((None, None, "ToUpper", "len", "trunc 3"))))
            parts.append(r.choice((" ", "-", " error ", "/")))
        return LineFormat(parts)

    def label_format(self):
        r = self.rng
        name = r.choice(("level", "fresh", "user", "pod", "env"))
        return LabelFormat(name, self.template(True) if r.random() < 0.5 else r.choice([f for f in FIELDS if f != name]))

    def choose(self):
        r = self.rng
        choices = [r.choice((r.choice(FIELDS), TextFilter(r.choice(FIELDS), r.choice(("=", "=~")), r.choice(("error", "u[0-9]", "prod", "200")))))
                   for _ in range(r.randrange(1, 4))]
        return Choose(r.choice(("drop", "drop", "keep")), choices)

    def parser(self, app):
        r = self.rng
        expressions = [("p", "req.method", ["req", "method"]), ("status", "status", ["status"]), ("env", 'req["path-id"]', ["req", "path-id"]),
                       ("first", "list[0]", ["list", 0]), ("trace", "trace", ["trace"]), ("b", "list[1].b", ["list", 1, "b"])]
        by_app = {"api": [Json, Json, lambda: Json(r.sample(expressions, r.randrange(1, 4)))], "web": [Logfmt],
                  "db": [lambda: Regexp("(?P<lvl>[A-Z]+) \\[(?P<comp>[a-z]+)\\]"), lambda: Pattern("<lvl> [<comp>] <_> took <dur>"),
                         lambda: Pattern("<lvl> [<comp>] <rest>")], "packed": [Unpack, Json]}
        return r.choice(by_app[app] if app in by_app else [f for fs in by_app.values() for f in fs])()

    def stages(self, app, changes_lines=True):
        r, out = self.rng, []
        for _ in range(r.choice((0, 0, 1, 1, 2))):
            out.append(self.line_filter())
        for _ in range(r.choice((0, 1, 1, 1, 2))):
            out.append(self.parser(app))
            for _ in range(r.choice((0, 0, 1, 1, 2, 3))):
                stage = self.one(self.label_filter, self.label_filter, self.label_filter, self.label_format, self.choose, self.line_filter,
                                 lambda: self.template() if changes_lines else self.label_filter())
                out.append(stage)
        return out

    def log_query(self):
        app = self.rng.choice((None, None, "api", "web", "db", "packed", "mixed"))
        return LogQuery(self.selector(app), unambiguous(self.stages(app or "mixed")))

    # metrics: clean lines for the parsers that a grouping lets stop early, so that it does not matter where they stop
    def grouping(self, chance=0.6):
        r = self.rng
        if r.random() > chance:
            return None
        return (r.random() < 0.25, tuple(r.sample(("app", "env", "level", "status", "user", "pod", "lvl", "req_method", "trace_extracted"), r.randrange(0, 3))))

    def range(self):
        r = self.rng
        app = r.choice(("api", "web", "db", "packed"))
        seconds, offset = r.choice((30, 60, 300, 600, 1800)), r.choice((0, 0, 0, 60, -120, 600))
        stages = [s for s in self.stages(app) if not (app == "packed" and isinstance(s, (Json, Unpack)) and r.random() < 0.3)]
        if app == "packed" or app == "api":       # no second parser over a line that is no longer what it parses
            parsers = [i for i, s in enumerate(stages) if isinstance(s, (Json, Unpack, LineFormat))]
            for i in reversed(parsers[1:]):
                if not isinstance(stages[i], LineFormat):
                    del stages[i]
        stages = unambiguous(stages)
        if r.random() < 0.45:
            return Range(r.choice(("count_over_time", "rate", "bytes_over_time", "bytes_rate", "absent_over_time")), self.selector(app), stages, seconds,
                         offset=offset)
        label = r.choice(list(CONVERSIONS))
        post = r.choice((TextFilter("__error__", "=", ""), TextFilter("__error__", "=", ""), None))
        unwrap = Unwrap(label, CONVERSIONS[label], post)
        operation = r.choice(("sum_over_time", "avg_over_time", "min_over_time", "max_over_time", "first_over_time", "last_over_time", "stddev_over_time",
                              "stdvar_over_time", "quantile_over_time", "rate", "rate_counter"))
        groups = operation not in ("sum_over_time", "rate", "rate_counter")
        return Range(operation, self.selector(app), stages, seconds, unwrap, offset, self.grouping() if groups else None,
                     r.choice((0.5, 0.9, 0, 1)) if operation == "quantile_over_time" else None)

    def mixed_range(self):
        """Over lines that the parsers do not fit, so that errors remain or are dropped; nothing around it limits the labels."""
        r = self.rng
        stages = self.stages("mixed")
        if r.random() < 0.5:
            stages.append(r.choice((LabelFilter(TextFilter("__error__", "=", "")), Choose("drop", ["__error__", "__error_details__"]))))
        inner = Range(r.choice(("count_over_time", "bytes_rate")), self.selector(r.choice((None, "mixed"))), unambiguous(stages),
                      r.choice((60, 600)))
        return inner if r.random() < 0.5 else Aggregation(r.choice(("max", "avg", "count")), inner, self.grouping())

    def aggregation(self):
        r = self.rng
        inner = self.range() if r.random() < 0.85 else self.aggregation()
        if r.random() < 0.12:
            return Aggregation(r.choice(("topk", "bottomk")), inner, self.grouping(0.3), r.randrange(1, 4))
        return Aggregation(r.choice(("sum", "sum", "sum", "avg", "min", "max", "count", "stddev", "stdvar")), inner, self.grouping())

    def metric(self):
        r = self.rng
        kind = r.random()
        if kind < 0.1:
            return self.mixed_range()
        if kind < 0.3:
            return self.range()
        if kind < 0.75:
            return self.aggregation()
        if kind < 0.9:
            op = r.choice(("+", "-", "*", "/", ">", "<=", "==", "!="))
            sides = [self.aggregation(), r.choice((0, 1, 2.5, 10))]
            while op not in "+-*" and "std" in sides[0].text():      # what is almost nothing in one way of adding up is nothing in another
                sides[0] = self.aggregation()
            if op != "/":
                r.shuffle(sides)
            return Binary(sides[0], op, sides[1], is_bool=op in model.OPS and r.random() < 0.4)
        names = r.choice((("level",), ("app",), ("env", "app"), ()))
        sides = [Aggregation("sum", self.range(), (False, names)) for _ in range(2)]
        op = r.choice(("+", "-", "/", "*", ">", "and", "or", "unless"))
        return Binary(sides[0], op, sides[1], r.choice((None, (True, names), (False, ("nope",)))), op == ">" and r.random() < 0.3)


def unambiguous(stages):
    """`drop a !~ "b"` is a drop with a matcher."""
    out = []
    for s in stages:
        if not (out and isinstance(s, LineFilter) and s.op[0] == "!" and isinstance(out[-1], Choose)):
            out.append(s)
    return out


# ------------------------------------------------------------------ comparing
def close(a, b):
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= max(1e-7 * max(abs(a), abs(b)), 1e-7)


def without_details(labels):
    return {k: v for k, v in labels.items() if k != "__error_details__"}


def has_topk(q):
    return isinstance(q, Aggregation) and (q.k is not None or has_topk(q.inner)) or isinstance(q, Binary) and any(
        has_topk(x) for x in (q.left, q.right) if not isinstance(x, (int, float)))


def log_difference(s, q, entries, rng, start):
    a, b = sorted(start + rng.randrange(HOUR) for _ in range(2)) if rng.random() < 0.5 else (start, start + HOUR)
    limit, backward = rng.choice((1, 7, 50, 5000)), rng.random() < 0.5
    want = [(ts, line, model.key(without_details(labels))) for ts, line, labels in q.answer(entries, a, b, backward)]
    status, _, body = s.get("/loki/api/v1/query_range", {"query": q.text(), "start": a, "end": b, "limit": limit,
                                                         "direction": "backward" if backward else "forward"})
    if status != 200:
        return "answered %d: %s" % (status, body[:300])
    got = [(int(t), line, model.key(without_details(stream["stream"]))) for stream in json.loads(body)["data"]["result"] for t, line in stream["values"]]
    # Which of the entries of one time are the last that fit is Loki's secret; their order within a label set is not.
    last = want[limit - 1][0] if len(want) > limit else None
    wanted, gotten = by_labels(e for e in want[:limit] if e[0] != last), by_labels(e for e in got if e[0] != last)
    where = "[%d, %d) limit %d %s: " % (a, b, limit, "backward" if backward else "forward")
    if len(got) != min(limit, len(want)):
        return where + "%d entries, want %d of %d" % (len(got), min(limit, len(want)), len(want))
    for e in got:
        if e not in want:
            return where + "unexpected %s" % (e,)
    for labels in list(wanted) + list(gotten):
        if wanted.get(labels) != gotten.get(labels):
            return where + "%s\n  want %s\n  got  %s" % (labels, wanted.get(labels), gotten.get(labels))
    return None


def by_labels(entries):
    out = {}
    for ts, line, labels in entries:
        out.setdefault(labels, []).append((ts, line))
    return {labels: sorted(lines) if "__error__" in dict(labels) else lines for labels, lines in out.items()}


def metric_difference(s, q, entries, rng, start):
    instant = rng.random() < 0.3
    step = rng.choice((60, 300, 420, 3600)) * SECOND
    a, b = sorted(start + rng.randrange(HOUR) // SECOND * SECOND for _ in range(2))
    steps = [b] if instant else model.steps_of(a, b, step)
    try:
        want = q.at_steps(entries, steps)
    except model.PipelineError:
        want = None
    params = {"query": q.text(), "time": b} if instant else {"query": q.text(), "start": a, "end": b, "step": step // SECOND}
    status, _, body = s.get("/loki/api/v1/query" if instant else "/loki/api/v1/query_range", params)
    where = "%s [%d, %d] step %d: " % ("instant" if instant else "range", a, b, step // SECOND)
    if want is None:
        return None if status == 400 and b"pipeline error" in body else where + "want a pipeline error, answered %d: %s" % (status, body[:300])
    if status != 200:
        return where + "answered %d: %s" % (status, body[:300])
    got = {}
    for series in json.loads(body)["data"]["result"]:
        got[model.key(series["metric"])] = {int(round(t * 1000)) * 10**6: float(v) for t, v in series.get("values") or [series["value"]]}
    want = {name: values for name, values in want.items() if values}
    if has_topk(q):        # which of equal ones is taken is free, and so is what is made of it
        return None
    for name in sorted(set(want) | set(got)):
        w, g = want.get(name, {}), got.get(name, {})
        if set(w) != set(g) or any(not close(w[t], g[t]) for t in w):
            return where + "%s\n  want %s\n  got  %s" % (name, {t: w[t] for t in sorted(w)}, {t: g[t] for t in sorted(g)})
    return None


def run_round(seed, n_queries, n_lines):
    rng = random.Random(seed)
    start = (int(time.time()) // 3600 - 4) * HOUR
    data, maker = Data(rng, n_lines, start), Maker(rng)
    queries = [maker.log_query() if rng.random() < 0.4 else maker.metric() for _ in range(n_queries)]
    settings = ("limits_config.discover_log_levels=false", "limits_config.max_query_series=100000", "limits_config.retention_period=0s")
    with Server(*settings) as s:
        pushed = []
        again = [rng.choice(data.batches[0]) for _ in range(40)]       # a retry that comes after the first copy was flushed
        plan = (("from memory", [data.batches[0]], True), ("from chunks", [], False), ("from both", [data.batches[1], again], True),
                ("from chunks that overlap", [data.batches[2]], False))
        for when, batches, in_memory in plan:
            for b in batches:
                check("push", push(s, b) == 204)
                pushed.append(b)
            if not in_memory:
                s.flush()
            entries = stored(pushed)
            for i, q in enumerate(queries):
                choice = random.Random(seed * 1000003 + i)
                try:
                    found = (log_difference if isinstance(q, LogQuery) else metric_difference)(s, q, entries, choice, start)
                except OSError as e:
                    raise SystemExit("%s, seed %d, query %d: %s\n%s\n%s" % (when, seed, i, q.text(), e, s.tail()))
                check("%s, seed %d, query %d: %s" % (when, seed, i, q.text()), found is None, (found or "")[:SHOWN])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--queries", type=int, default=120)
    p.add_argument("--lines", type=int, default=900)
    p.add_argument("--rounds", type=int, default=1)
    a = p.parse_args()
    for seed in range(a.seed, a.seed + a.rounds):
        run_round(seed, a.queries, a.lines)
    done()


if __name__ == "__main__":
    sys.exit(main())
