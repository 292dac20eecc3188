"""A soak in the manner of loki-canary: writers push numbered lines, tails and queries read them back all the while, and every
acknowledged line must be seen exactly once, in order, by each of them. Blocks are cut and flushed meanwhile, pushes are
repeated as clients do after a lost answer.

Nothing here depends on how fast the machine is: only a line that is not there WAIT seconds after its acknowledgement counts as
missing."""
import bisect
import http.client
import random
import threading
import time

from harness import Server, check, equal, field, proto_timestamp, snappy_literal, varint
from test_tail import Tail

WAIT = 60  # seconds, loki-canary's -wait
SECOND = 10**9


class Log:
    """The acknowledged lines of one stream, in order: times (unique, ascending), and when each was acknowledged."""

    def __init__(self, name):
        self.name = name
        self.labels = {"name": "soak", "stream": name}
        self.times, self.acknowledged, self.lock = [], [], threading.Lock()

    def line(self, ts):
        return "%d %s" % (ts, "p" * (100 - 20 + ts % 50))

    def add(self, batch):
        with self.lock:
            self.times += batch
            self.acknowledged += [time.monotonic()] * len(batch)

    def between(self, start, end):
        with self.lock:
            return self.times[bisect.bisect_left(self.times, start):bisect.bisect_left(self.times, end)]

    def snapshot(self):
        with self.lock:
            return list(self.times), list(self.acknowledged)


def canary_body(log, batch):
    """Snappy protobuf as loki-canary -push sends it, with field 3 (hash) set."""
    stream = field(1, ('{name="soak", stream="%s"}' % log.name).encode())
    for ts in batch:
        stream += field(2, field(1, proto_timestamp(ts)) + field(2, log.line(ts).encode()))
    stream += varint(3 << 3) + varint(0x1234567890abcdef)
    return snappy_literal(field(1, stream))


class Writer(threading.Thread):
    """One stream. A batch is sent again until it is acknowledged; some are sent twice although they were."""

    def __init__(self, server, log, interval, stop, trouble):
        super().__init__(daemon=True)
        self.server, self.log, self.interval, self.stop, self.trouble = server, log, interval, stop, trouble
        self.random = random.Random(log.name)
        self.last = 0

    def send(self, connection, body):
        headers = {"Content-Type": "application/x-protobuf", "User-Agent": "canary-push/soak"}
        status, _, text = self.server.request("POST", "/loki/api/v1/push", None, headers, body, connection)
        if status != 204:
            self.trouble.append("push answered %d %r" % (status, text[:200]))
        return status == 204

    def run(self):
        connection = self.server.connect()
        while not self.stop.is_set():
            batch = []
            for _ in range(self.random.choice((1, 1, 2, 5, 20))):
                self.last = max(time.time_ns(), self.last + 1)
                batch.append(self.last)
            body = canary_body(self.log, batch)
            try:
                while not self.send(connection, body) and not self.stop.is_set():
                    time.sleep(0.5)
                self.log.add(batch)
                if self.random.random() < 0.02:
                    self.send(connection, body)
            except (OSError, http.client.HTTPException) as e:
                self.trouble.append("push failed: %r" % e)
                connection.close()
                connection = self.server.connect()
            self.stop.wait(self.interval)


class TailReader(threading.Thread):
    """Follows the streams live: order and doubles are judged as lines come, missing ones at the end."""

    def __init__(self, server, name, query, logs):
        super().__init__(daemon=True)
        self.name, self.tail = name, Tail(server, query, start=time.time_ns())
        self.seen = {log.name: [] for log in logs}
        self.logs = {log.name: log for log in logs}
        self.out_of_order, self.strange, self.dropped, self.delays = 0, [], 0, []
        self.stop = threading.Event()

    def take(self, message):
        now = time.time_ns()
        self.dropped += len(message.get("dropped_entries") or [])
        for stream in message["streams"]:
            name = stream["stream"]["stream"]
            seen = self.seen[name]
            for ts, line in stream["values"]:
                ts = int(ts)
                if line != self.logs[name].line(ts):
                    self.strange.append(line[:50])
                if seen and ts < seen[-1]:
                    self.out_of_order += 1
                seen.append(ts)
                self.delays.append(now - ts)

    def run(self):
        t = self.tail
        while not self.stop.is_set() and t.close is None:
            t.wait(lambda: t.messages, 0.5)
            for _, message in t.messages:
                self.take(message)
            t.messages.clear()

    def complete(self, limit):
        """Waits until all that was acknowledged has come, at most `limit` seconds."""
        end = time.monotonic() + limit
        while time.monotonic() < end and self.is_alive() and any(len(set(self.seen[n])) < len(log.times) for n, log in self.logs.items()):
            time.sleep(0.2)
        self.stop.set()
        self.join(10)

    def judge(self):
        missing = doubles = strange = 0
        for name, log in self.logs.items():
            seen, times = self.seen[name], set(log.times)
            missing += len(times - set(seen))
            doubles += len(seen) - len(set(seen))
            strange += len(set(seen) - times)
        equal("query-api.md §15.11 tail %s: missing, double, out of order, unknown, dropped, ended" % self.name,
              (missing, doubles, self.out_of_order, strange + len(self.strange), self.dropped, self.tail.close), (0, 0, 0, 0, 0, None))


class QueryReader(threading.Thread):
    """What loki-canary asks over HTTP: the last seconds of a stream line by line, a count over them, a line of long ago."""

    def __init__(self, server, logs, stop):
        super().__init__(daemon=True)
        self.server, self.logs, self.stop = server, logs, stop
        self.random = random.Random(1)
        self.trouble, self.queries, self.lines = [], 0, 0

    def lines_of(self, log, start, end):
        got = []
        while True:  # pages of 1,000 as the canary asks for; times are unique
            page = self.server.query_range('{name="soak",stream="%s"}' % log.name, start, end, limit=1000)
            values = [v for r in page for v in r["values"]]
            got += values
            self.queries += 1
            if len(values) < 1000:
                self.lines += len(got)
                return got
            start = int(values[-1][0]) + 1

    def check_window(self, log):
        want = log.between(time.time_ns() - 10 * SECOND, time.time_ns())
        if not want:
            return
        got = self.lines_of(log, want[0], want[-1] + 1)
        times = [int(v[0]) for v in got]
        # What was acknowledged before the question must be there; what came meanwhile may be.
        if times != sorted(times) or len(set(times)) != len(times) or not set(want) <= set(times):
            self.trouble.append("window of %s: %d of %d, %d double, ascending %s" % (
                log.name, len(set(want) & set(times)), len(want), len(times) - len(set(times)), times == sorted(times)))
        if any(v[1] != log.line(int(v[0])) for v in got):
            self.trouble.append("window of %s: a line is another one" % log.name)

    def check_count(self, log):
        want = log.between(time.time_ns() - 20 * SECOND, time.time_ns() - SECOND)
        if len(want) < 2:
            return
        width = (want[-1] - want[0]) // SECOND + 1
        query = 'count_over_time({name="soak",stream="%s"}[%ds])' % (log.name, width)
        result = self.server.instant(query, want[-1])
        expected = len(log.between(want[-1] - width * SECOND + 1, want[-1] + 1))
        self.queries += 1
        if len(result) != 1 or int(result[0]["value"][1]) != expected:
            self.trouble.append("count of %s: %r, want %d" % (log.name, [r["value"] for r in result], expected))

    def check_old(self, log):
        times, _ = log.snapshot()
        if not times:
            return
        ts = self.random.choice(times)
        got = self.server.query_range('{name="soak"} |= "%d"' % ts, times[0], time.time_ns() + SECOND)
        self.queries += 1
        if [v for r in got for v in r["values"]] != [[str(ts), log.line(ts)]]:
            self.trouble.append("line %d of %s: found %d times" % (ts, log.name, sum(len(r["values"]) for r in got)))

    def run(self):
        while not self.stop.is_set():
            for log in self.logs:
                for part in (self.check_window, self.check_count, self.check_old):
                    try:
                        part(log)
                    except (OSError, RuntimeError, http.client.HTTPException) as e:
                        self.trouble.append("query failed: %r" % e)
            self.stop.wait(1)


def read_everything(server, logs, when):
    for log in logs:
        reader = QueryReader(server, [log], None)
        got = reader.lines_of(log, log.times[0], log.times[-1] + 1)
        times = [int(v[0]) for v in got]
        equal("%s, stream %s: missing, double, unknown, in order" % (when, log.name),
              (len(set(log.times) - set(times)), len(times) - len(set(times)), len(set(times) - set(log.times)), times == sorted(times)), (0, 0, 0, True))
        total = server.instant('sum(count_over_time({name="soak",stream="%s"}[24h]))' % log.name, log.times[-1])
        equal("%s, stream %s: counted" % (when, log.name), [r["value"][1] for r in total], [str(len(log.times))])


def soak(seconds, streams=4, interval=0.05):
    trouble, stop = [], threading.Event()
    with Server("ingester.chunk_target_size=64KB") as s:
        logs = [Log("s%d" % i) for i in range(streams)]
        tails = [TailReader(s, "of all", '{name="soak"}', logs), TailReader(s, "with a filter", '{name="soak",stream="s0"} |= "p" | line_format "{{__line__}}"', logs[:1])]
        query = QueryReader(s, logs, stop)
        writers = [Writer(s, log, interval, stop, trouble) for log in logs]
        for thread in tails + writers + [query]:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            stop.wait(min(7, max(0, end - time.monotonic())))
            s.flush()
        stop.set()
        for thread in writers + [query]:
            thread.join(60)
        for t in tails:
            t.complete(WAIT)
            t.judge()
            t.tail.drop()
        equal("every push was acknowledged", trouble[:5], [])
        equal("query-api.md §15.11 every query was right", query.trouble[:5], [])
        read_everything(s, logs, "from memory and chunks")
        s.flush()
        equal("exit status", s.stop(), 0)
        s.start()
        read_everything(s, logs, "after a restart")
        s.stop()
        delays = sorted(tails[0].delays)
        print("soak: %d s, %d lines in %d streams, %d queries that read %d lines; from a line's time to its frame: median %d ms, p99 %d ms, worst %d ms" % (
            seconds, sum(len(log.times) for log in logs), streams, query.queries, query.lines, delays[len(delays) // 2] // 10**6,
            delays[len(delays) * 99 // 100] // 10**6, delays[-1] // 10**6), flush=True)
        check("enough was written to mean something", sum(len(log.times) for log in logs) > seconds * streams)
