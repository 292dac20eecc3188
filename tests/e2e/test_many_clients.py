#!/usr/bin/env python3
"""A thousand idle keep-alive connections and two hundred live tails: what they cost in memory, and that pushes, queries and tails
go on beside them. The time of a push with and without them is printed, not judged; `test_many_clients.py 3000` measures more
pushes."""
import resource
import socket
import sys
import threading
import time

import harness
from harness import Server, check, equal, wait_for
from test_tail import Tail

IDLE, TAILS = 1000, 200
LIMIT_KIB = 64 << 10


def push_times(s, count):
    """Seconds of each of `count` pushes on one connection."""
    c, times = s.connect(), []
    for i in range(count):
        began = time.perf_counter()
        status = s.push([({"app": "tailed"}, [(time.time_ns(), "line %d of a push" % i)])], connection=c)[0]
        times.append(time.perf_counter() - began)
        assert status == 204, status
    c.close()
    return sorted(times)


def figures(times):
    return "median %.2f ms, p99 %.2f ms" % (times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3)


def idle_connection(s):
    """One that has asked something and now waits."""
    c = socket.create_connection(("127.0.0.1", s.port), 30)
    c.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = c.recv(1000)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return c


class Crowd(threading.Thread):
    """Reads all tails, so that none of them is slow."""

    def __init__(self, tails):
        super().__init__(daemon=True)
        self.tails, self.stop, self.lines = tails, threading.Event(), 0

    def run(self):
        while not self.stop.is_set():
            for t in self.tails:
                t.socket.setblocking(False)
                try:
                    data = t.socket.recv(1 << 20)
                    t.got = getattr(t, "got", 0) + data.count(b"line ")
                except BlockingIOError:
                    pass
            time.sleep(0.02)


def main(pushes):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with Server("limits_config.max_concurrent_tail_requests=0", "server.http_server_idle_timeout=10m") as s:
        alone = push_times(s, pushes)
        before = s.rss_kib()
        idle = [idle_connection(s) for _ in range(IDLE)]
        with_idle = s.rss_kib()
        tails = [Tail(s, '{app="tailed"} |= "of a push"', start=time.time_ns()) for _ in range(TAILS)]
        with_tails = s.rss_kib()
        crowd = Crowd(tails)
        crowd.start()
        beside = push_times(s, pushes)
        wait_for(lambda: all(getattr(t, "got", 0) >= pushes for t in tails), 30)
        busy = s.rss_kib()
        equal("each tail got every line once", {getattr(t, "got", 0) for t in tails}, {pushes})
        check("memory: %d idle connections and %d tails under 64 MB" % (IDLE, TAILS), busy - before < LIMIT_KIB, "%d KiB" % (busy - before))
        equal("connections are counted", b"loki_querier_tail_active %d\n" % TAILS in s.get("/metrics")[2], True)
        equal("queries go on", len(s.query_range('{app="tailed"}', time.time_ns() - 600 * 10**9, time.time_ns(), limit=10)) > 0, True)
        for c in idle[::100]:
            c.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
            check("an idle connection still answers", c.recv(1000).startswith(b"HTTP/1.1 200 "))
        crowd.stop.set()
        crowd.join(10)
        for c in idle:
            c.close()
        for t in tails:
            t.drop()
        print("clients: %d idle connections %d KiB, %d tails %d KiB more, busy %d KiB in all; a push alone: %s; beside them: %s" % (
            IDLE, with_idle - before, TAILS, with_tails - with_idle, busy - before, figures(alone), figures(beside)), flush=True)
        equal("exit status", s.stop(), 0)
    harness.done()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
