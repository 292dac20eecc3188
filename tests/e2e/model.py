"""A slow, obvious LogQL: what a query must answer over a list of entries, for test_model.py to hold against the real server.

Queries are not parsed: they are built from the classes below, each of which knows its text and its meaning. Nothing is
clever here; where Loki does something odd, a comment says so. It knows only what the generator makes: well-formed JSON and
logfmt beside plain text, names of ASCII letters, no escapes."""
import ipaddress
import json
import math
import re


class PipelineError(Exception):
    """A metric query met a line with __error__: the server answers 400."""


# ------------------------------------------------------------------ lines
class Entry:
    def __init__(self, ts, line, stream, meta):
        self.ts, self.line, self.stream, self.meta = ts, line, stream, meta


class Line:
    """An entry on its way through a pipeline. `own` holds what is not a stream label: metadata and parsed labels."""

    def __init__(self, entry, pipeline):
        self.ts, self.line, self.base = entry.ts, entry.line, entry.stream
        self.own, self.deleted, self.extracted, self.error, self.details = {}, set(), set(), "", ""
        self.pipeline = pipeline
        for name, value in entry.meta.items():
            self.own[name + "_extracted" if name in self.base else name] = ("meta", value)

    def get(self, name):
        if name in self.own:
            return self.own[name][1]
        return None if name in self.deleted else self.base.get(name)

    def put(self, name, value):
        self.own[name] = ("parsed", value)
        self.extracted.add(name)

    def delete(self, name):
        self.own.pop(name, None)
        self.deleted.add(name)

    def target(self, name):
        taken = name in self.base or (name in self.own and self.own[name][0] == "meta")
        return name + "_extracted" if taken else name

    def extract(self, name, value):
        """A parser has found a field; False when a filter further down will not have it. (Loki asks the first filter of a
        label as soon as the label is made, wherever in the pipeline the filter stands, unless a grouping limits the labels.
        What asking it does, like setting an error, happens then.)"""
        name = self.target(name)
        if not self.pipeline.wants(name) or name in self.extracted:
            return True
        self.put(name, value)
        early = self.pipeline.early.get(name)
        return early is None or early.passes(self)

    def labels(self):
        out = {k: v for k, v in self.base.items() if k not in self.own and k not in self.deleted}
        out.update({k: v for k, (_, v) in self.own.items()})
        if self.error:
            out["__error__"] = self.error
            out["__error_details__"] = self.details
        return out


# ------------------------------------------------------------------ stages
def quoted(text):
    return json.dumps(text, ensure_ascii=False)


OPS = {"=": lambda a, b: a == b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
       "<": lambda a, b: a < b, "<=": lambda a, b: a <= b}


def ip_in(pattern, address):
    try:
        a = ipaddress.ip_address(address)
    except ValueError:
        return False
    if "-" in pattern:
        low, high = pattern.split("-")
        return ipaddress.ip_address(low) <= a <= ipaddress.ip_address(high)
    return a in ipaddress.ip_network(pattern)


class LineFilter:
    """op: |= != |~ !~ |> !>; operands: texts, or ("ip", pattern)."""
    needs = ()

    def __init__(self, op, operands):
        self.op, self.operands = op, operands

    def text(self):
        return "%s %s" % (self.op, " or ".join("ip(%s)" % quoted(o[1]) if isinstance(o, tuple) else quoted(o) for o in self.operands))

    def matches(self, line, operand):
        if isinstance(operand, tuple):
            return any(ip_in(operand[1], a) for a in re.findall(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9.])", line))
        if self.op in ("|=", "!="):
            return operand in line
        if self.op in ("|~", "!~"):
            return re.search(operand, line) is not None
        return self.fits(line, operand.split("<_>"))

    @staticmethod
    def fits(line, literals):
        """Each literal where it first stands behind the one before; what lies between is not empty."""
        at = 0
        for i, literal in enumerate(literals):
            if i == len(literals) - 1 and not literal and i > 0:
                return at < len(line)
            found = line.find(literal, at)
            if found < 0 or (i > 0 and found == at):      # the first may stand anywhere
                return False
            at = found + len(literal)
        return at == len(line)

    def run(self, l):
        return any(self.matches(l.line, o) for o in self.operands) == (self.op[0] == "|")


def first_wins(pairs):
    out = {}
    for name, value in pairs:
        out.setdefault(name, value)
    return out


class Json:
    def __init__(self, expressions=()):
        self.expressions = expressions          # (name, path as text, path as list)
    needs = ()

    def text(self):
        return "| json" + (" " + ", ".join("%s=%s" % (n, quoted(t)) for n, t, _ in self.expressions) if self.expressions else "")

    def run(self, l):
        if l.pipeline.skips_parsers():
            return True
        try:
            value = json.loads(l.line, parse_float=str, parse_int=str, object_pairs_hook=first_wins)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            l.error, l.details = "JSONParserErr", "?"
            return True
        return self.find(value, l) if self.expressions else self.fields(value, "", l)

    def fields(self, value, prefix, l):
        for key, v in value.items():
            name = prefix + key.replace("-", "_")
            if isinstance(v, dict):
                if not self.fields(v, name + "_", l):
                    return False
            elif isinstance(v, (str, bool)):
                if not l.extract(name, v if isinstance(v, str) else str(v).lower()):
                    return False
        return True

    def find(self, value, l):
        for name, _, path in self.expressions:
            at = value
            for part in path:
                at = at.get(part) if isinstance(at, dict) else at[part] if isinstance(at, list) and part < len(at) else None
            if at is not None:
                l.put(l.target(name), at if isinstance(at, str) else str(at).lower())
        for name, _, _ in self.expressions:
            if l.get(name) is None:
                l.put(name, "")
        return True


class Logfmt:
    needs = ()

    def text(self):
        return "| logfmt"

    def run(self, l):
        if l.pipeline.skips_parsers():
            return True
        for key, bare, inside in re.findall(r'(?:^|(?<= ))([A-Za-z_]+)=(?:([^ "=]+)(?= |$)|"([^"]*)")', l.line):
            if (bare or inside) and not l.extract(key, bare or inside):
                return False
        return True


class Regexp:
    needs = ()

    def __init__(self, expression):
        self.expression = expression

    def text(self):
        return "| regexp %s" % quoted(self.expression)

    def run(self, l):
        m = None if l.pipeline.skips_parsers() else re.search(self.expression, l.line)
        return all(l.extract(name, value or "") for name, value in m.groupdict().items()) if m else True


class Pattern:
    """Literals and captures in turn, as in "<a> [<b>] <_>"."""
    needs = ()

    def __init__(self, pattern):
        self.pattern = pattern

    def text(self):
        return "| pattern %s" % quoted(self.pattern)

    def run(self, l):
        if l.pipeline.skips_parsers():
            return True
        parts, rest = re.split(r"<([A-Za-z_]+)>", self.pattern), l.line
        if parts[0]:
            if parts[0] not in rest:
                return True
            rest = rest[rest.index(parts[0]) + len(parts[0]):]
        for name, literal in zip(parts[1::2], parts[2::2]):
            at = rest.find(literal) if literal else len(rest)
            value = rest if at < 0 else rest[:at]
            if name != "_" and not l.extract(name, value):
                return False
            if at < 0:
                return True
            rest = rest[at + len(literal):]
        return True


class Unpack:
    needs = ()

    def text(self):
        return "| unpack"

    def run(self, l):
        if l.pipeline.skips_parsers():
            return True
        try:
            value = json.loads(l.line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            l.error, l.details = "JSONParserErr", "?"
            return True
        if "_entry" not in value:
            return True
        l.line = value.pop("_entry")
        return all(l.extract(k, v) for k, v in value.items() if isinstance(v, str))


class TextFilter:
    """label op "text" """

    def __init__(self, name, op, value):
        self.name, self.op, self.value, self.needs = name, op, value, (name,)

    def condition(self):
        return "%s%s%s" % (self.name, self.op, quoted(self.value))

    def passes_value(self, value):
        if self.op in ("=", "!="):
            return (value == self.value) == (self.op == "=")
        return (re.fullmatch(self.value, value, re.DOTALL) is not None) == (self.op == "=~")

    def passes(self, l):
        return self.passes_value(l.error if self.name == "__error__" else l.get(self.name) or "")


def number_of(text):
    return float(text)


UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "kib": 2**10, "mib": 2**20}


def duration_of(text):
    parts = re.findall(r"([0-9.]+)(ns|us|ms|s|m|h)", text)
    if not parts or "".join(a + b for a, b in parts) != text:
        raise ValueError(text)
    return sum(int(float(a) * UNITS[b]) for a, b in parts)


def bytes_of(text):
    m = re.fullmatch(r"([0-9.]+) ?([A-Za-z]*)", text)
    if not m or m.group(2).lower() not in SIZES:
        raise ValueError(text)
    return int(float(m.group(1)) * SIZES[m.group(2).lower()])


class TypedFilter:
    """label op literal, of a number, a duration or a size."""

    def __init__(self, name, op, literal, convert):
        self.name, self.op, self.literal, self.convert, self.needs = name, op, literal, convert, (name,)
        self.wanted = convert(literal)

    def condition(self):
        return "%s %s %s" % (self.name, self.op, self.literal)

    def passes_value(self, value):
        """None = not of the type: passes, with an error."""
        try:
            return OPS[self.op](self.convert(value), self.wanted)
        except ValueError:
            return None

    def passes(self, l):
        value = l.get(self.name)
        if value is None:
            return False
        result = self.passes_value(value)
        if result is None and not l.error:
            l.error, l.details = "LabelFilterErr", "?"
        return result is not False


class IpFilter:
    def __init__(self, name, op, pattern):
        self.name, self.op, self.pattern, self.needs = name, op, pattern, (name,)

    def condition(self):
        return "%s%sip(%s)" % (self.name, self.op, quoted(self.pattern))

    def passes_value(self, value):
        return ip_in(self.pattern, value) == (self.op == "=")

    def passes(self, l):
        return True if l.error else l.get(self.name) is not None and self.passes_value(l.get(self.name))


class BothFilter:
    """left and/or right, in parentheses."""

    def __init__(self, left, word, right):
        self.left, self.word, self.right, self.needs = left, word, right, left.needs + right.needs

    def condition(self):
        return "(%s %s %s)" % (self.left.condition(), self.word, self.right.condition())

    def passes(self, l):
        left = self.left.passes(l)
        if left and self.word == "or":
            return True
        right = self.right.passes(l)        # asked even when the left has failed: its error may stay
        return right and (left or self.word == "or")


class LabelFilter:
    def __init__(self, condition):
        self.filter, self.needs = condition, condition.needs

    def text(self):
        return "| " + self.filter.condition()

    def run(self, l):
        return self.filter.passes(l)


class LineFormat:
    """parts: texts, and (label or "__line__", function or None)."""

    def __init__(self, parts):
        self.parts = parts
        self.needs = tuple(p[0] for p in parts if isinstance(p, tuple) and p[0] != "__line__")

    def template(self):
        return "".join(p if isinstance(p, str) else "{{%s%s%s}}" % ("" if p[0] == "__line__" else ".", p[0], " | " + p[1] if p[1] else "")
                       for p in self.parts)

    def value(self, l):
        functions = {None: lambda s: s, "ToUpper": str.upper, "len": lambda s: str(len(s.encode())), "trunc 3": lambda s: s[:3]}
        return "".join(p if isinstance(p, str) else functions[p[1]](l.line if p[0] == "__line__" else l.get(p[0]) or "") for p in self.parts)

    def text(self):
        return "| line_format %s" % quoted(self.template())

    def run(self, l):
        l.line = self.value(l)
        return True


class LabelFormat:
    """name=source, or name=`template` when source is a LineFormat."""

    def __init__(self, name, source):
        self.name, self.source = name, source
        self.needs = source.needs if isinstance(source, LineFormat) else (source,)

    def text(self):
        return "| label_format %s=%s" % (self.name, quoted(self.source.template()) if isinstance(self.source, LineFormat) else self.source)

    def run(self, l):
        if isinstance(self.source, LineFormat):
            l.put(self.name, self.source.value(l))
        elif l.get(self.source) is not None:
            l.put(self.name, l.get(self.source))
            l.delete(self.source)
        return True


class Choose:
    """drop or keep, of names and of text filters."""
    needs = ()

    def __init__(self, word, choices):
        self.word, self.choices = word, choices

    def text(self):
        return "| %s %s" % (self.word, ", ".join(c if isinstance(c, str) else c.condition() for c in self.choices))

    def chosen(self, name, value):
        return any(c == name if isinstance(c, str) else c.name == name and c.passes_value(value) for c in self.choices)

    def run(self, l):
        error = l.error
        if self.word == "drop" and error and self.chosen("__error__", error):
            l.error = l.details = ""
        for name, value in l.labels().items():
            if not name.startswith("__error") and self.chosen(name, value) == (self.word == "drop"):
                l.delete(name)
        return True


class Unwrap:
    def __init__(self, label, conversion=None, post=None):
        self.label, self.conversion, self.post = label, conversion, post
        self.needs = (label,) + (post.needs if post else ())

    def text(self):
        return "| unwrap %s%s" % ("%s(%s)" % (self.conversion, self.label) if self.conversion else self.label,
                                  " | " + self.post.condition() if self.post else "")

    def run(self, l):
        """The value, or None for a line without one."""
        text, value = l.get(self.label), 0.0
        if not text:
            return None
        try:
            value = {None: number_of, "duration": lambda t: duration_of(t) / 1e9, "bytes": bytes_of}[self.conversion](text)
        except ValueError:
            l.error, l.details = "SampleExtractionErr", "?"
        return None if self.post and not self.post.passes(l) else float(value)


class Pipeline:
    def __init__(self, stages, unwrap=None, grouping=None, line_counts=True):
        """grouping: what limits the labels: None, or (without, names). Where the line does not count in the end, a line_format that no later stage
        reads is as good as not written, and asks for no labels."""
        if not line_counts:
            readers = (LineFilter, Json, Logfmt, Regexp, Pattern, Unpack)
            stages = [s for i, s in enumerate(stages) if not isinstance(s, LineFormat) or any(isinstance(t, readers) for t in stages[i:])]
        self.stages, self.unwrap = stages, unwrap
        everything = list(stages) + ([unwrap] if unwrap else [])
        self.limited = grouping is not None and not grouping[0] and not any(isinstance(s, LineFormat) for s in stages)
        self.required = set(n for s in everything for n in s.needs) | set(grouping[1] if grouping else ())
        self.required |= {n[:-10] for n in self.required if n.endswith("_extracted")}
        self.early = {}
        for s in stages if grouping is None or grouping[0] or not grouping[1] else ():
            if isinstance(s, LabelFilter) and not isinstance(s.filter, BothFilter) and s.filter.name != "__error__":
                self.early.setdefault(s.filter.name, s.filter)

    def wants(self, name):
        return not self.limited or name in self.required

    def skips_parsers(self):
        return self.limited and not self.required

    def run(self, entry):
        """The Line that is left, or None."""
        l = Line(entry, self)
        return l if all(s.run(l) for s in self.stages) else None


# ------------------------------------------------------------------ selectors and log queries
class Selector:
    def __init__(self, matchers):
        self.matchers = matchers                 # TextFilter

    def text(self):
        return "{%s}" % ", ".join(m.condition() for m in self.matchers)

    def selects(self, stream):
        return all(m.passes_value(stream.get(m.name, "")) for m in self.matchers)


class LogQuery:
    def __init__(self, selector, stages):
        self.selector, self.stages = selector, stages

    def text(self):
        return " ".join([self.selector.text()] + [s.text() for s in self.stages])

    def answer(self, entries, start, end, backward):
        """All [(ts, line, labels)]; entries are in order of time and arrival."""
        pipeline, out = Pipeline(self.stages), []
        for e in reversed(entries) if backward else entries:
            if start <= e.ts < end and self.selector.selects(e.stream):
                l = pipeline.run(e)
                if l:
                    out.append((e.ts, l.line, l.labels()))
        return out


# ------------------------------------------------------------------ metrics
def key(labels):
    return tuple(sorted(labels.items()))


def reduce_labels(labels, grouping):
    """grouping: (without, names); None keeps all. Only `without` leaves out what is empty."""
    if grouping is None:
        return dict(labels)
    without, names = grouping
    return {k: v for k, v in labels.items() if (v or not without) and (k in names) != without}


def grouping_text(grouping):
    return "" if grouping is None else " %s (%s)" % ("without" if grouping[0] else "by", ", ".join(grouping[1]))


def quantile(q, values):
    values = sorted(values)
    rank = q * (len(values) - 1)
    low = math.floor(rank)
    return values[low] * (1 - (rank - low)) + values[min(low + 1, len(values) - 1)] * (rank - low)


def variance(values):
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / len(values)


def rate_counter(samples, start, end):
    """Prometheus' rate, of samples (seconds, value) in the window (start, end]."""
    if len(samples) < 2:
        return 0.0
    increase = samples[-1][1] - samples[0][1] + sum(a[1] for a, b in zip(samples, samples[1:]) if b[1] < a[1])
    interval = samples[-1][0] - samples[0][0]
    average = interval / (len(samples) - 1)
    before, after = samples[0][0] - start, end - samples[-1][0]
    if before >= average * 1.1:
        before = average / 2
    if increase > 0 and samples[0][1] >= 0:
        before = min(before, interval * samples[0][1] / increase)
    if after >= average * 1.1:
        after = average / 2
    return increase * (interval + before + after) / interval / (end - start)


RANGES = {
    "count_over_time": lambda v, s: len(v), "rate": lambda v, s: sum(v) / s, "bytes_over_time": lambda v, s: sum(v), "bytes_rate": lambda v, s: sum(v) / s,
    "sum_over_time": lambda v, s: sum(v), "avg_over_time": lambda v, s: sum(v) / len(v), "min_over_time": lambda v, s: min(v),
    "max_over_time": lambda v, s: max(v), "first_over_time": lambda v, s: v[0], "last_over_time": lambda v, s: v[-1],
    "stdvar_over_time": lambda v, s: variance(v), "stddev_over_time": lambda v, s: math.sqrt(variance(v)),
}


class Range:
    """operation([parameter,] selector stages unwrap [range] offset) grouping"""

    def __init__(self, operation, selector, stages, seconds, unwrap=None, offset=0, grouping=None, parameter=None):
        self.operation, self.selector, self.stages, self.seconds = operation, selector, stages, seconds
        self.unwrap, self.offset, self.grouping, self.parameter = unwrap, offset, grouping, parameter

    def text(self):
        inner = " ".join([self.selector.text()] + [s.text() for s in self.stages] + ([self.unwrap.text()] if self.unwrap else []))
        return "%s(%s%s [%ds]%s)%s" % (self.operation, "%s, " % self.parameter if self.parameter is not None else "", inner, self.seconds,
                                       " offset %ds" % self.offset if self.offset else "", grouping_text(self.grouping))

    def samples(self, entries, grouping):
        """{series key: [(ts, value)]}"""
        pipeline, out = Pipeline(self.stages, self.unwrap, grouping, self.operation.startswith("bytes")), {}
        for e in entries:
            l = pipeline.run(e) if self.selector.selects(e.stream) else None
            if l is None:
                continue
            value = self.unwrap.run(l) if self.unwrap else len(l.line.encode()) if self.operation.startswith("bytes") else 1
            if value is None:
                continue
            labels = l.labels()
            if l.error:
                out.setdefault("error", []).append((e.ts, value))
                continue
            if self.unwrap and (grouping is None or grouping[0] or not grouping[1]):
                labels.pop(self.unwrap.label, None)
            if grouping is not None and not grouping[0]:     # by() does not see a label that was deleted, even if it was made again
                labels = {k: v for k, v in labels.items() if k not in l.deleted}
            out.setdefault(key(reduce_labels(labels, self.grouping)), []).append((e.ts, value))
        return out

    def at_steps(self, entries, steps, pushed=None):
        """{series key: {step: value}}; `pushed`: the grouping of a sum around it."""
        # absent needs no labels: a parser runs only if something names one.
        series, out = self.samples(entries, (False, ()) if self.operation == "absent_over_time" else self.grouping if self.grouping is not None else pushed), {}
        for t in steps:
            end = t - self.offset * 10**9
            start = end - self.seconds * 10**9
            for name, samples in series.items():
                window = [(ts, v) for ts, v in samples if start < ts <= end]
                if window and name == "error":
                    raise PipelineError()
                if window:
                    out.setdefault(name, {})[t] = self.value(window, start, end)
        if self.operation != "absent_over_time":
            return out
        present = {t for values in out.values() for t in values}
        matchers = self.selector.matchers
        equal = {m.name: m.value for m in matchers if m.op == "=" and m.value and [x.name for x in matchers].count(m.name) == 1}
        missing = {t: 1.0 for t in steps if t not in present}
        return {key(equal): missing} if missing else {}

    def value(self, window, start, end):
        if self.operation == "rate_counter":
            return rate_counter([(ts / 1e9 - start / 1e9, v) for ts, v in window], 0.0, (end - start) / 1e9)
        values = [v for _, v in window]
        if self.operation == "quantile_over_time":
            return quantile(self.parameter, values)
        return 1.0 if self.operation == "absent_over_time" else float(RANGES[self.operation](values, self.seconds))


AGGREGATIONS = {"sum": sum, "avg": lambda v: sum(v) / len(v), "min": min, "max": max, "count": len, "stdvar": variance,
                "stddev": lambda v: math.sqrt(variance(v))}
PUSHED = ("count_over_time", "rate", "bytes_over_time", "bytes_rate", "sum_over_time")


class Aggregation:
    def __init__(self, operation, inner, grouping=None, k=None):
        self.operation, self.inner, self.grouping, self.k = operation, inner, grouping, k

    def text(self):
        return "%s%s(%s%s)" % (self.operation, grouping_text(self.grouping), "%d, " % self.k if self.k else "", self.inner.text())

    def at_steps(self, entries, steps):
        grouping = self.grouping or (False, ())
        takes = self.operation == "sum" and isinstance(self.inner, Range) and self.inner.grouping is None and self.inner.operation in PUSHED
        inner = self.inner.at_steps(entries, steps, grouping) if takes else self.inner.at_steps(entries, steps)
        groups, out = {}, {}
        for name, values in inner.items():
            group = groups.setdefault(key(reduce_labels(dict(name), grouping)), {})
            for t, v in values.items():
                group.setdefault(t, []).append((v, name))
        for group, by_step in groups.items():
            for t, members in by_step.items():
                if self.k:
                    for v, name in sorted(members, key=lambda m: m[0], reverse=self.operation != "bottomk")[:self.k]:
                        out.setdefault(name, {})[t] = v
                else:
                    out.setdefault(group, {})[t] = float(AGGREGATIONS[self.operation]([v for v, _ in members]))
        return out


def arithmetic(op, a, b):
    if op == "/":
        return math.nan if b == 0 else a / b
    return {"+": a + b, "-": a - b, "*": a * b}[op]


class Binary:
    """vector op vector or number; matching: None or (on, names)."""

    def __init__(self, left, op, right, matching=None, is_bool=False):
        self.left, self.op, self.right, self.matching, self.is_bool = left, op, right, matching, is_bool

    def text(self):
        def side(x):
            return repr(x) if isinstance(x, (int, float)) else "(%s)" % x.text()
        matching = "" if self.matching is None else " %s (%s)" % ("on" if self.matching[0] else "ignoring", ", ".join(self.matching[1]))
        return "%s %s%s%s %s" % (side(self.left), self.op, " bool" if self.is_bool else "", matching, side(self.right))

    def match_key(self, name):
        if self.matching is None:
            return name
        on, names = self.matching
        return tuple((k, v) for k, v in name if (k in names) == on)

    def combine(self, a, b, kept):
        """The value, None for nothing. kept: what a comparison that holds leaves."""
        if self.op not in OPS:
            return arithmetic(self.op, a, b)
        holds = OPS[self.op](a, b)
        return float(holds) if self.is_bool else kept if holds else None

    def at_steps(self, entries, steps):
        left = self.left if isinstance(self.left, (int, float)) else self.left.at_steps(entries, steps)
        right = self.right if isinstance(self.right, (int, float)) else self.right.at_steps(entries, steps)
        out = {}
        if not isinstance(left, dict) or not isinstance(right, dict):
            vector = left if isinstance(left, dict) else right
            for name, values in vector.items():
                for t, v in values.items():
                    a, b = (v, right) if vector is left else (left, v)
                    result = self.combine(a, b, v)
                    if result is not None:
                        out.setdefault(name, {})[t] = result
            return out
        if self.op in ("and", "or", "unless"):
            return self.sets(left, right)
        by_key = {self.match_key(name): values for name, values in right.items()}
        for name, values in left.items():
            match = self.match_key(name)
            for t, v in values.items():
                other = by_key.get(match, {}).get(t)
                result = None if other is None else self.combine(v, other, v)
                if result is not None:
                    out.setdefault(match, {})[t] = result
        return out

    def sets(self, left, right):
        present = {}
        for name, values in (left if self.op == "or" else right).items():
            present.setdefault(self.match_key(name), set()).update(values)
        out = {n: dict(v) for n, v in left.items()} if self.op == "or" else {}
        for name, values in (right if self.op == "or" else left).items():
            for t, v in values.items():
                if (t in present.get(self.match_key(name), ())) == (self.op == "and"):
                    out.setdefault(name, {})[t] = v
        return out


def steps_of(start, end, step):
    """The aligned times of a range query, all in nanoseconds."""
    first, last = start // step * step, -(-end // step) * step
    return list(range(first, last + 1, step))
