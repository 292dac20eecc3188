#!/usr/bin/env python3
"""/loki/api/v1/lines: every line once and in order, in any form and both directions, over pages that end inside of a nanosecond,
with cursors that resume, while blocks are cut and flushed; logq takes it up after a lost connection and pages where it is missing."""
import http.client
import http.server
import json
import os
import socket
import subprocess
import threading
import time
from urllib.parse import urlencode

import harness
from harness import LOGQ, Server, check, equal

ENV = {k: v for k, v in os.environ.items() if not k.startswith(("LOKI_", "LOGQ_"))}
ENV.update(TZ="UTC0")
BASE = (int(time.time()) - 3600) * 10**9
N = 60000


def fill(s):
    """Bursts of equal times, larger than a page of the beginning; two streams; odd bytes."""
    rows = []
    for i in range(N):
        ts = BASE + i // 1700 * 10**6 + (0 if i % 1700 < 1500 else i)
        rows.append((ts, "line %d \u00e4 \"quoted\" %s" % (i, "x" * (i % 200))))
    for at in range(0, N, 3000):
        s.push([({"app": "a"}, rows[at:at + 3000:2]), ({"app": "b"}, rows[at + 1:at + 3000:2])])
        if at % 12000 == 0:
            s.flush()
    return rows


def lines(s, **params):
    status, headers, body = s.get("/loki/api/v1/lines", dict(dict(query='{app=~"a|b"}', start=BASE, end=BASE + 3600 * 10**9), **params))
    return status, body


def forms(s, rows):
    status, body = lines(s)
    records = [json.loads(l) for l in body.splitlines()]
    got = [r for r in records if "line" in r]
    equal("the answer has all lines", (status, len(got), sorted(r["line"] for r in got) == sorted(r[1] for r in rows)), (200, N, True))
    equal("in order", [r["timestamp"] for r in got] == sorted((r["timestamp"] for r in got), key=lambda t: (t[:19], t[20:-1].ljust(9, "0"))), True)
    equal("labels", sorted({json.dumps(r["labels"], sort_keys=True) for r in got}), ['{"app": "a", "detected_level": "unknown", "service_name": "a"}', '{"app": "b", "detected_level": "unknown", "service_name": "b"}'])
    check("it says that this is all", records[-1].get("end") is True, str(records[-1])[:200])
    cursors = [(i, r["cursor"]) for i, r in enumerate(records) if "cursor" in r]
    raw = lines(s, format="raw")[1].decode().splitlines()
    equal("raw", raw, [r["line"] for r in got])
    back = lines(s, format="raw", direction="backward")[1].decode().splitlines()
    equal("backward", sorted(back) == sorted(raw) and back[0] != raw[0], True)
    equal("limit", len(lines(s, format="raw", limit=2345)[1].splitlines()), 2345)
    for i, cursor in cursors[:4] + cursors[-1:]:
        rest = [json.loads(l) for l in lines(s, cursor=cursor)[1].splitlines()]
        equal("resumed at %d" % i, [r["line"] for r in rest if "line" in r] == [r["line"] for r in records[i:] if "line" in r], True)
    s.flush()
    equal("after a flush", lines(s, format="raw")[1].decode().splitlines() == raw, True)
    for params in (dict(query="{"), dict(query='rate({app="a"}[1m])'), dict(cursor="nonsense"), dict(cursor="1.b.5.0.0.0"), dict(format="xml"), dict(limit=-1), dict(start=9, end=3)):
        equal("refused: %s" % params, lines(s, **params)[0], 400)
    equal("nothing", lines(s, query='{app="none"}')[1], b'{"end":true}\n')
    return raw


class Proxy(threading.Thread):
    """Passes connections on and cuts each off after some bytes."""

    def __init__(self, port, cut):
        super().__init__(daemon=True)
        self.port, self.cut, self.count = port, cut, 0
        self.listener = socket.create_server(("127.0.0.1", 0))

    def serve(self, client):
        self.count += 1
        with client, socket.create_connection(("127.0.0.1", self.port)) as server:
            server.sendall(client.recv(65536))
            left = self.cut
            try:
                while left > 0:
                    data = server.recv(65536)
                    if not data:
                        return
                    client.sendall(data[:left])
                    left -= len(data)
                client.shutdown(socket.SHUT_WR)
                client.settimeout(5)
                while client.recv(65536):
                    pass
            except OSError:
                pass

    def run(self):
        while True:
            self.serve(self.listener.accept()[0])


class Old(http.server.BaseHTTPRequestHandler):
    """A server that does not have the endpoint, such as Loki."""
    port = 0
    asked = []

    def do_GET(self):
        Old.asked.append(self.path.split("?")[0])
        if "/lines" in self.path:
            self.send_error(404)
            return
        c = http.client.HTTPConnection("127.0.0.1", Old.port)
        c.request("GET", self.path)
        data = c.getresponse().read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def logq(where, *args):
    p = subprocess.run([LOGQ, *where, "", "-l", "app=~a|b", "--since", "2h", *args], capture_output=True, env=ENV, timeout=120)
    return p.returncode, p.stdout.decode().splitlines(), p.stderr.decode()


def with_logq(s, raw):
    for where in (("--addr", "http://127.0.0.1:%d" % s.port), ("--data-dir", s.data)):
        equal("logq %s" % where[0], logq(where)[:2] == (0, raw), True)
        code, out, _ = logq(where, "--reverse")
        equal("logq --reverse %s" % where[0], (code, sorted(out) == sorted(raw)), (0, True))
        equal("logq -m %s" % where[0], logq(where, "-m", "7000")[1] == raw[:7000], True)
    proxy = Proxy(s.port, 5 << 20)
    proxy.start()
    code, out, err = logq(("--addr", "http://127.0.0.1:%d" % proxy.listener.getsockname()[1]))
    check("connections were cut off", proxy.count > 1 and "going on" in err, (proxy.count, err))
    equal("taken up without loss or repeat", (code, out == raw), (0, True))
    Old.port = s.port
    old = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Old)
    threading.Thread(target=old.serve_forever, daemon=True).start()
    code, out, _ = logq(("--addr", "http://127.0.0.1:%d" % old.server_address[1]))
    check("pages where the endpoint is missing", code == 0 and sorted(out) == sorted(raw) and "/loki/api/v1/query_range" in Old.asked, (code, len(out)))


def memory(s):
    big = [(BASE + 10**12 + i, "%08d %s" % (i, "y" * 1000)) for i in range(2000)]
    for k in range(40):
        s.push([({"app": "big"}, [(ts + k * 10**7, t) for ts, t in big])])
    s.flush()
    before = s.rss_kib()
    c = s.connect()
    c.request("GET", "/loki/api/v1/lines?" + urlencode(dict(query='{app="big"}', start=BASE, end=BASE + 3600 * 10**9, format="raw")))
    r = c.getresponse()
    r.read(1000)
    time.sleep(1)  # a client that does not take it
    grown = s.rss_kib() - before
    count = r.read().count(b"\n") + 0
    c.close()
    check("80 MB to a slow client: memory stays", grown < 60 << 10, "%d KiB" % grown)
    check("and all of it comes", 79990 <= count <= 80000, str(count))


if __name__ == "__main__":
    with Server("limits_config.reject_old_samples=false") as s:
        rows = fill(s)
        raw = forms(s, rows)
        with_logq(s, raw)
        memory(s)
    harness.done()
