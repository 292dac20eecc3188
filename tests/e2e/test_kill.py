#!/usr/bin/env python3
"""kill -9 during ingest, many times: every acknowledged entry is there afterwards, exactly once.

Four writers push batches (some again and again, as clients retry after a lost answer) while the server is killed at
random moments, flushes and the compactor included. usage: test_kill.py [KILLS]"""
import http.client
import random
import sys
import threading
import time

import harness
from harness import Server, check, equal

KILLS = int(sys.argv[1]) if len(sys.argv) > 1 else 40
WRITERS, BATCH = 4, 40
random.seed(20261121)


class Writer(threading.Thread):
    """Pushes numbered lines to a stream of its own and to a shared one; remembers what was acknowledged. An answer
    that never came is retried with the same bytes, as every client does."""

    def __init__(self, server, number, base_ns):
        super().__init__(daemon=True)
        self.server, self.number, self.base_ns = server, number, base_ns
        self.acknowledged, self.next, self.stop = 0, 0, False
        self.retries = 0

    def batch(self, first):
        own = [(self.base_ns + (first + i) * 1000, "w%d line %d" % (self.number, first + i)) for i in range(BATCH)]
        shared = [(self.base_ns + (first + i) * 1000, "w%d shared %d" % (self.number, first + i)) for i in range(BATCH)]
        return [({"job": "kill", "writer": str(self.number)}, own), ({"job": "kill", "writer": "all"}, shared)]

    def run(self):
        connection = None
        while not self.stop:
            try:
                if connection is None:
                    connection = self.server.connect(5)
                status, _, _ = self.server.push(self.batch(self.next), connection=connection)
                if status == 204:
                    self.next += BATCH
                    self.acknowledged = self.next
                    continue
                time.sleep(0.01)
            except (OSError, http.client.HTTPException):
                connection = None
                self.retries += 1
                time.sleep(0.005)


def read_all(server, selector, start, end):
    """All lines, paged by time, with how often each stands there."""
    seen = {}
    at = start
    while True:
        page = []
        for stream in server.query_range(selector, at, end):
            page += [(int(ns), line) for ns, line in stream["values"]]
        page.sort()
        for ns, line in page:
            seen[(ns, line)] = seen.get((ns, line), 0) + 1
        if len(page) < 5000:
            return seen
        last = page[-1][0]
        for key in [k for k in seen if k[0] == last]:
            del seen[key]
        at = last


def main():
    base_ns = (int(time.time()) - 3600) * 10**9
    server = Server("logq.head_budget=4MB", "ingester.chunk_target_size=64KB", "compactor.compaction_interval=1s",
                    "wal.segment_size=2MB").start()
    writers = [Writer(server, n, base_ns) for n in range(WRITERS)]
    for w in writers:
        w.start()
    slow_starts = 0
    for k in range(KILLS):
        time.sleep(random.uniform(0.02, 0.25))
        if k % 3 == 0:
            threading.Thread(target=lambda: quiet(server.flush), daemon=True).start()
            time.sleep(random.uniform(0, 0.03))
        server.kill()
        begun = time.time()
        server.start()
        slow_starts += time.time() - begun > 10
    time.sleep(0.2)
    for w in writers:
        w.stop = True
    for w in writers:
        w.join(10)
    check("restarts are quick", slow_starts == 0, "%d took over 10 s" % slow_starts)
    for round_name in ("as it is", "after a flush", "after a restart"):
        for w in writers:
            seen = read_all(server, '{writer="%d"}' % w.number, base_ns, base_ns + 10**13)
            verify("writer %d %s" % (w.number, round_name), seen, w, "line")
        shared = read_all(server, '{writer="all"}', base_ns, base_ns + 10**13)
        for w in writers:
            mine = {k: v for k, v in shared.items() if k[1].startswith("w%d " % w.number)}
            verify("shared stream of writer %d %s" % (w.number, round_name), mine, w, "shared")
        total = sum(w.acknowledged for w in writers)
        counted = server.instant('sum(count_over_time({job="kill"}[2h]))', int(time.time()) + 60)
        counted = int(counted[0]["value"][1]) if counted else 0
        check("count %s" % round_name, 2 * total <= counted <= 2 * total + 2 * WRITERS * BATCH,
              "%d of %d" % (counted, 2 * total))
        if round_name == "as it is":
            server.flush()
        elif round_name == "after a flush":
            equal("exit status", server.stop(), 0)
            server.start()
    print("%d kills, %d acknowledged entries, %d lost answers retried" %
          (KILLS, 2 * sum(w.acknowledged for w in writers), sum(w.retries for w in writers)))
    server.close()
    harness.done()


def verify(name, seen, writer, word):
    missing = [i for i in range(writer.acknowledged)
               if (writer.base_ns + i * 1000, "w%d %s %d" % (writer.number, word, i)) not in seen]
    check(name + ": nothing is missing", not missing, "%d missing, first %s" % (len(missing), missing[:3]))
    twice = [k for k, v in seen.items() if v != 1]
    check(name + ": nothing is doubled", not twice, "%d doubled, first %s" % (len(twice), twice[:3]))


def quiet(fn):
    try:
        fn()
    except Exception:  # the server is being killed meanwhile
        pass


if __name__ == "__main__":
    main()
