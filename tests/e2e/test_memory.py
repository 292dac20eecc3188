"""memory.limit: many streams, large pushes, heavy queries and slow clients against a limit of 256 MB. The server's own memory
(RssAnon; mapped files are the system's to take back) must stay near it, every refusal must be a clear 429 or 503, what was
acknowledged must be there. LOGQ_STREAMS=100000 is the long version."""
import json
import os
import socket
import threading
import time

from harness import Server, check, done, equal, wait_for

STREAMS = int(os.environ.get("LOGQ_STREAMS", "20000"))
LIMIT_MB = 256
# malloc's own overhead, stacks, tables and what each thread keeps for itself.
# Plans and open chunk files of queries over very many streams are not in the account.
ALLOWED_MB = LIMIT_MB + 64 + STREAMS // 500
NOW = time.time_ns()


class Watch(threading.Thread):
    """The largest RssAnon that was seen."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = server.process.pid, 0, False

    def run(self):
        while not self.over:
            try:
                with open("/proc/%d/status" % self.pid) as f:
                    kib = next(int(l.split()[1]) for l in f if l.startswith("RssAnon"))
            except (OSError, StopIteration):
                return
            self.peak = max(self.peak, kib // 1024)
            time.sleep(0.01)

    def stop(self):
        self.over = True
        self.join()
        return self.peak


def push_until_taken(server, streams, statuses, texts):
    body = json.dumps({"streams": [{"stream": l, "values": v} for l, v in streams]}).encode()
    while True:
        status, _, text = server.request("POST", "/loki/api/v1/push", None, {"Content-Type": "application/json"}, body)
        statuses[status] = statuses.get(status, 0) + 1
        if status == 204:
            return
        texts.add(text.decode())
        if status not in (429, 503):
            return
        time.sleep(0.1)


def test_streams(s):
    watch = Watch(s)
    watch.start()
    statuses, texts = {}, set()
    for at in range(0, STREAMS, 500):
        push_until_taken(s, [({"app": "svc%d" % (i % 50), "pod": "pod-%06d" % i}, [
            [str(NOW + k), "line %d of %d, something happened in here" % (k, i)] for k in range(3)])
            for i in range(at, at + 500)], statuses, texts)
    check("only 204, 429 and 503", set(statuses) <= {204, 429, 503}, (statuses, texts))
    check("clear texts", all("memory" in t or "try again" in t for t in texts), texts)
    # So many heads leave little room at first: a client comes again after a 503.
    end = time.time() + 120
    while True:
        status, _, text = s.get("/loki/api/v1/query", {"query": "sum(count_over_time({app=~\"svc.+\"}[1h]))", "time": NOW + 10**9})
        if status != 503 or time.time() > end:
            break
        time.sleep(1)
    check("a query over all streams", status == 200, (status, text[:200]))
    total = json.loads(text)["data"]["result"]
    equal("every line of every stream", float(total[0]["value"][1]), 3.0 * STREAMS)
    print("%d streams: statuses %s, peak %d MB" % (STREAMS, statuses, watch.stop()))
    check("memory with many streams", watch.peak < ALLOWED_MB, watch.peak)


def wait_for_room(s):
    wait_for(lambda: s.metric("logq_head_bytes") <= s.metric("logq_head_budget_bytes"), 180, 0.5)


def test_heavy(s):
    """Large pushes, queries that would like to hold everything, clients that do not read: all at once."""
    watch = Watch(s)
    watch.start()
    end = time.time() + float(os.environ.get("LOGQ_SECONDS", "8"))
    statuses, texts, lock = {}, set(), threading.Lock()
    acknowledged = [0]

    def note(kind, status, text):
        with lock:
            statuses[(kind, status)] = statuses.get((kind, status), 0) + 1
            if status >= 400:
                texts.add(text[:200].decode("utf-8", "replace"))

    def pusher(n):
        i = 0
        line = ("%d " % n) + "z" * 900
        while time.time() < end:
            values = [[str(NOW + (i * 8000 + k) * 1000 + n), "%d %s" % (k, line)] for k in range(8000)]
            body = json.dumps({"streams": [{"stream": {"app": "heavy", "n": str(n)}, "values": values}]}).encode()
            try:
                status, _, text = s.request("POST", "/loki/api/v1/push", None, {"Content-Type": "application/json"}, body)
            except OSError:
                continue
            note("push", status, text)
            if status == 204:
                i += 1
                with lock:
                    acknowledged[0] += 8000

    def asker(n):
        queries = ("sum by (f) (count_over_time({app=\"heavy\"} | pattern \"<f> <_>\" [1m]))",
                   "quantile_over_time(0.5, {app=\"heavy\"} | pattern \"<f> <_>\" | unwrap f [1h]) by (n)",
                   "{app=\"heavy\"}", "count_over_time({app=\"heavy\"} | pattern \"<f> <_>\" [1m])")
        while time.time() < end:
            try:
                status, _, text = s.get("/loki/api/v1/query_range", {
                    "query": queries[n % len(queries)], "start": NOW - 10**9, "end": NOW + 3600 * 10**9, "step": "10s",
                    "limit": 5000})
            except OSError:
                continue
            note("query", status, text)

    def sleeper():
        # Asks for much and takes nothing of it.
        while time.time() < end:
            try:
                c = socket.create_connection(("127.0.0.1", s.port), timeout=5)
                c.send(b"GET /loki/api/v1/query_range?query=%%7Bapp%%3D%%22heavy%%22%%7D&limit=5000&start=%d HTTP/1.1\r\nHost: a\r\n\r\n" % NOW)
                time.sleep(1)
                c.close()
            except OSError:
                pass

    threads = [threading.Thread(target=pusher, args=(n,)) for n in range(3)] + \
        [threading.Thread(target=asker, args=(n,)) for n in range(4)] + [threading.Thread(target=sleeper) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print("heavy: %s, peak %d MB" % (statuses, watch.stop()))
    check("only known statuses", {k[1] for k in statuses} <= {200, 204, 400, 429, 503, 504}, (statuses, texts))
    check("pushes went through", acknowledged[0] > 0 and statuses.get(("push", 204), 0) > 0, statuses)
    check("queries were answered", statuses.get(("query", 200), 0) > 0, statuses)
    check("memory under load", watch.peak < ALLOWED_MB, watch.peak)
    total = s.instant("sum(count_over_time({app=\"heavy\"}[2h]))", NOW + 3600 * 10**9)
    equal("what was acknowledged is there", float(total[0]["value"][1]), float(acknowledged[0]))


def test_bodies(s):
    """Bodies that are announced and never sent, or come slowly: they hold what they have sent, no more."""
    idle = []
    for _ in range(40):
        c = socket.create_connection(("127.0.0.1", s.port), timeout=5)
        c.send(b"POST /loki/api/v1/push HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 30000000\r\n\r\n" + b"x" * 1000)
        idle.append(c)
    equal("a push beside forty that only announce", s.push([({"app": "b"}, [(NOW, "x")])])[0], 204)
    for c in idle:
        c.close()
    full, answers = [], []

    def send(c):
        try:
            c.sendall(b"y" * 20000000)
        except OSError:
            pass
    threads = []
    for _ in range(8):
        c = socket.create_connection(("127.0.0.1", s.port), timeout=10)
        c.send(b"POST /loki/api/v1/push HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 30000000\r\n\r\n")
        full.append(c)
        threads.append(threading.Thread(target=send, args=(c,)))
        threads[-1].start()
    for t in threads:
        t.join(20)
    for c in full:
        c.settimeout(1)
        try:
            answers.append(c.recv(200)[:12])
        except OSError:
            answers.append(b"")
        c.close()
    check("bodies beyond the share are refused", b"HTTP/1.1 503" in answers, answers)
    time.sleep(0.3)
    equal("and their room comes back", s.push([({"app": "b"}, [(NOW + 1, "x")])])[0], 204)
    check("counted", s.metric('logq_refused_requests_total{reason="bodies_memory"}') > 0)
    equal("no body is held", s.metric('logq_memory_bytes{kind="bodies"}'), 0.0)


def main():
    s = Server("memory.limit=%dMB" % LIMIT_MB, "limits_config.max_query_series=100000").start()
    test_streams(s)
    wait_for_room(s)
    test_heavy(s)
    test_bodies(s)
    equal("nothing is left of queries but blocks kept open for the next", s.metric('logq_memory_bytes{kind="queries"}'), s.metric("logq_shelved_bytes"))
    equal("nothing is left of pushes", s.metric('logq_memory_bytes{kind="pushes"}'), 0.0)
    equal("it still stands", s.get("/ready")[0], 200)
    s.kill()  # to flush so many streams in order takes longer than the test
    s.close()
    done()


if __name__ == "__main__":
    main()
