#!/usr/bin/env python3
"""Live tails: the WebSocket handshake and its refusals, history and its seam to live entries, the pipeline, frames in all
three shapes, pings, the closing handshake, slow clients, limits. The client speaks RFC 6455 by itself."""
import base64
import hashlib
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from urllib.parse import urlencode

import harness
from harness import Server, check, equal, run_part

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
CATEGORIZE = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}


def now():
    return time.time_ns()


class Refused(Exception):
    def __init__(self, status, headers, body):
        super().__init__("%d %s" % (status, body))
        self.status, self.headers, self.body = status, headers, body


class Tail:
    """One WebSocket. `messages` gathers decoded frames with their times."""

    def __init__(self, server, query=None, path="/loki/api/v1/tail", headers=None, receive_buffer=None, upgrade=True, **params):
        if query is not None:
            params["query"] = query
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", server.port))
        self.key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET %s?%s HTTP/1.1" % (path, urlencode(params)), "Host: x"]
        if upgrade:
            lines += ["Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + self.key]
        lines += ["%s: %s" % h for h in (headers or {}).items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.buffer = b""
        self.pings, self.close, self.messages, self.ended = [], None, [], False
        head = self.until(b"\r\n\r\n").decode()
        self.status = int(head.split(" ")[1])
        self.headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in head.split("\r\n")[1:] if line)}
        if self.status != 101:
            body = self.exactly(int(self.headers.get("content-length", 0))).decode()
            self.socket.close()
            raise Refused(self.status, self.headers, body)

    def more(self):
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        self.buffer += data

    def until(self, mark):
        while mark not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(mark, 1)
        return head

    def exactly(self, n):
        while len(self.buffer) < n:
            self.more()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def frame(self):
        """(opcode, payload) of the next frame; servers neither mask nor fragment nor set reserved bits here."""
        first, second = self.exactly(2)
        assert first & 0xf0 == 0x80 and second < 0x80, (first, second)
        size = second
        if size == 126:
            size = struct.unpack(">H", self.exactly(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.exactly(8))[0]
        return first & 15, self.exactly(size)

    def raw(self, data):
        self.socket.sendall(data)

    def send(self, opcode, payload=b"", final=True, masked=True, size=None):
        mask = os.urandom(4)
        n = len(payload) if size is None else size
        head = bytes([opcode | (0x80 if final else 0)])
        bit = 0x80 if masked else 0
        head += bytes([bit | n]) if n < 126 else bytes([bit | 126]) + struct.pack(">H", n) if n < 65536 else bytes([bit | 127]) + struct.pack(">Q", n)
        body = bytes(b ^ mask[i & 3] for i, b in enumerate(payload)) if masked else payload
        self.raw(head + (mask if masked else b"") + body)

    def step(self):
        """Takes one frame; returns its opcode."""
        opcode, payload = self.frame()
        if opcode == TEXT:
            self.messages.append((time.monotonic(), json.loads(payload)))
        elif opcode == PING:
            self.pings.append((time.monotonic(), payload))
            self.send(PONG, payload)
        elif opcode == CLOSE:
            self.close = (struct.unpack(">H", payload[:2])[0] if payload else None, payload[2:].decode())
        return opcode

    def entries(self):
        """[(stream, [ns, line, ...])] of all messages."""
        return [(s["stream"], v) for _, m in self.messages for s in m["streams"] for v in s["values"]]

    def lines(self):
        return [v[1] for _, v in self.entries()]

    def wait(self, done, seconds=10):
        """Takes frames until done() or the time is over."""
        end = time.monotonic() + seconds
        while not done() and self.close is None:
            left = end - time.monotonic()
            if left <= 0:
                return False
            if not self.buffer and not select.select([self.socket], [], [], min(left, 0.2))[0]:
                continue
            self.step()
        return bool(done())

    def wait_lines(self, n, seconds=10):
        return self.wait(lambda: sum(len(s["values"]) for _, m in self.messages for s in m["streams"]) >= n, seconds)

    def wait_close(self, seconds=10):
        try:
            self.wait(lambda: self.close is not None, seconds)
        except (EOFError, ConnectionResetError):
            pass
        return self.close

    def bye(self, code=1000):
        self.send(CLOSE, struct.pack(">H", code))
        answer = self.wait_close()
        self.socket.close()
        return answer

    def drop(self):
        self.socket.close()


def push(server, labels, lines, start=None, meta=None):
    start = start or now()
    entries = [(start + i, line) + ((meta,) if meta else ()) for i, line in enumerate(lines)]
    status, _, data = server.push([(labels, entries)])
    assert status == 204, (status, data)
    return start


def handshake(s):
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits", "Origin": "https://elsewhere.example",
             "Sec-WebSocket-Protocol": "graphql"}
    t = Tail(s, '{app="hs"}', headers=offer)
    want = base64.b64encode(hashlib.sha1((t.key + GUID).encode()).digest()).decode()
    equal("101", (t.status, t.headers.get("sec-websocket-accept"), t.headers.get("upgrade"), t.headers.get("connection")),
          (101, want, "websocket", "Upgrade"))
    check("no extension, no protocol, no length", not {"sec-websocket-extensions", "sec-websocket-protocol", "content-length"} & set(t.headers), t.headers)
    began = time.monotonic()
    t.wait(lambda: len(t.pings) >= 3, 5)
    times = [began] + [p[0] for p in t.pings]
    gaps = [b - a for a, b in zip(times, times[1:])]
    check("a ping each second", len(gaps) >= 3 and max(gaps) < 1.2 and gaps[1] > 0.8, gaps)
    check("pings are empty", all(p[1] == b"" for p in t.pings))
    t.send(PING, b"are you there")
    opcode, payload = t.frame()
    while opcode == PING:
        opcode, payload = t.frame()
    equal("pong", (opcode, payload), (PONG, b"are you there"))
    t.send(TEXT, b"what clients say is ", final=False)
    t.send(PING, b"between")
    t.send(0, b"ignored")
    while True:
        opcode, payload = t.frame()
        if opcode == PONG:
            break
    equal("control frame between fragments", payload, b"between")
    equal("closing handshake", t.bye(), (1000, ""))
    t = Tail(s, '{app="hs"}')
    t.send(CLOSE)
    equal("close without a code", t.wait_close(), (None, ""))
    try:
        t.more()
        check("the server hangs up behind its close", False)
    except EOFError:
        check("the server hangs up behind its close", True)


def refusals(s):
    rows = [
        ("no query", {}, 400, "parse error : syntax error: unexpected $end"),
        ("bad query", {"query": '{app="x"'}, 400, "parse error"),
        ("bad stage", {"query": '{app="x"} |~ "("'}, 400, "parse error"),
        ("limit 0", {"query": '{app="x"}', "limit": "0"}, 400, "limit must be a positive value"),
        ("limit text", {"query": '{app="x"}', "limit": "ten"}, 400, 'strconv.Atoi: parsing "ten": invalid syntax'),
        ("large limit", {"query": '{app="x"}', "limit": "5001"}, 400, "max entries limit"),
        ("delay_for 6", {"query": '{app="x"}', "delay_for": "6"}, 400, "delay_for can't be greater than 5"),
        ("delay_for text", {"query": '{app="x"}', "delay_for": "1s"}, 400, 'strconv.Atoi: parsing "1s": invalid syntax'),
        ("start", {"query": '{app="x"}', "start": "yesterday"}, 400, "could not parse 'start' parameter"),
    ]
    for name, params, status, text in rows:
        try:
            Tail(s, **params).drop()
            check("refused: " + name, False, "101")
        except Refused as e:
            check("refused: " + name, e.status == status and e.body.startswith(text) and e.headers["content-type"] == "text/plain; charset=utf-8", str(e))
    try:
        Tail(s, '{app="x"}', upgrade=False)
        check("plain GET", False)
    except Refused as e:
        equal("plain GET", (e.status, e.body.strip()), (400, "Bad Request"))
    for name, headers in (("old version", {"Sec-WebSocket-Version": "8"}), ("bad key", {"Sec-WebSocket-Key": "short"}), ("no key", {})):
        h = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        h.update(headers)
        try:
            Tail(s, '{app="x"}', upgrade=False, headers=h)
            check(name, False)
        except Refused as e:
            equal(name, (e.status, e.headers.get("sec-websocket-version")), (400, "13"))
    t = Tail(s, 'count_over_time({app="x"}[1m])')
    equal("metric query", t.wait_close(), (1011, "only log selector is supported"))


def bad_frames(s):
    mask = b"\0\0\0\0"
    rows = [
        ("unmasked", b"\x81\x02hi", 1002), ("reserved bit", b"\xc1\x80" + mask, 1002), ("reserved opcode", b"\x83\x80" + mask, 1002),
        ("fragmented ping", b"\x09\x80" + mask, 1002), ("long ping", b"\x89\xfe\x00\x7e" + mask, 1002), ("lone continuation", b"\x80\x80" + mask, 1002),
        ("message in message", b"\x01\x81" + mask + b"a" + b"\x81\x81" + mask, 1002), ("size not shortest", b"\x81\xfe\x00\x05" + mask, 1002),
        ("close with one byte", b"\x88\x81" + mask + b"\x03", 1002), ("close with a reserved code", b"\x88\x82" + mask + b"\x03\xed", 1002),
        ("close with bad UTF-8", b"\x88\x83" + mask + b"\x03\xe8\xff", 1007),
        ("oversized frame", b"\x82\xff" + struct.pack(">Q", 1 << 40) + mask, 1009),
    ]
    for name, data, code in rows:
        t = Tail(s, '{app="bad"}')
        t.raw(data)
        close = t.wait_close()
        check("bad frame: " + name, close is not None and close[0] == code, str(close))
        t.drop()
    t = Tail(s, '{app="bad"}')
    for _ in range(5):
        t.send(TEXT if _ == 0 else 0, b"x" * 15000, final=False)
    close = t.wait_close()
    check("oversized message in fragments", close is not None and close[0] == 1009, str(close))
    t = Tail(s, '{app="bad"}')
    data = b"\x89\x85" + mask + b"piece"
    for i in range(len(data)):
        t.raw(data[i:i + 1])
        time.sleep(0.002)
    opcode, payload = t.frame()
    equal("a frame byte by byte", (opcode, payload), (PONG, b"piece"))
    t.drop()


def history(s):
    t0 = now() - 60 * 10**9
    push(s, {"app": "hist", "n": "1"}, ["a%03d" % i for i in range(200)], t0)
    push(s, {"app": "hist", "n": "2"}, ["b%03d" % i for i in range(200)], t0 + 50)
    push(s, {"app": "hist", "n": "1"}, ["old"], now() - 7200 * 10**9)
    t = Tail(s, '{app="hist"}', limit=300)
    check("history comes", t.wait_lines(300, 5))
    t.wait(lambda: False, 0.2)
    times = [int(v[0]) for _, v in t.entries()]
    check("history ascends", times == sorted(times))
    want = sorted([(t0 + i, "a%03d" % i) for i in range(200)] + [(t0 + 50 + i, "b%03d" % i) for i in range(200)])[-300:]
    equal("the newest `limit` entries", sorted((int(v[0]), v[1]) for _, v in t.entries()), want)
    check("at most 100 entries in a frame", all(sum(len(x["values"]) for x in m["streams"]) <= 100 for _, m in t.messages))
    check("strings, nothing dropped, no flags", all(isinstance(v[0], str) and len(v) == 2 for _, v in t.entries())
          and all(set(m) == {"streams"} for _, m in t.messages))
    equal("merged labels", {k: t.entries()[0][0].get(k) for k in ("app", "service_name", "detected_level")},
          {"app": "hist", "service_name": "hist", "detected_level": "unknown"})
    push(s, {"app": "hist", "n": "1"}, ["late"], t0 - 10**9)
    check("a late entry is sent", t.wait_lines(301, 5) and t.lines()[-1] == "late")
    t.bye()
    t = Tail(s, '{app="hist"}')
    t.wait_lines(100, 5)
    t.wait(lambda: False, 0.2)
    equal("default limit", len(t.lines()), 100)
    t.bye()
    t = Tail(s, '{app="hist"}', start=str(t0 + 190), limit=1000)
    t.wait_lines(60, 1)
    equal("start is inclusive", (len(t.lines()), t.lines()[0]), (10 + 60, "a190") if t.lines()[0][0] == "a" else (10 + 60, "b140"))
    t.bye()


def live(s):
    t = Tail(s, '{app="live"}')
    delays = []
    for i in range(40):
        before = time.monotonic()
        push(s, {"app": "live"}, ["line %d" % i])
        acknowledged = time.monotonic()
        if not t.wait_lines(i + 1, 5):
            break
        delays.append((t.messages[-1][0] - before, t.messages[-1][0] - acknowledged))
        time.sleep(0.013)
    equal("live lines in order", t.lines(), ["line %d" % i for i in range(40)])
    if delays:
        from_push = sorted(d[0] for d in delays)
        print("live: from push to frame median %.0f ms, worst %.0f ms" % (from_push[len(from_push) // 2] * 1000, from_push[-1] * 1000))
        check("live lines come soon", from_push[-1] < 2.0, from_push[-1])
    t.bye()


def categories(s):
    t = Tail(s, '{app="cat"} | logfmt', headers=CATEGORIZE)
    push(s, {"app": "cat"}, ["level=warn msg=one trace=fromline"], meta={"trace": "t1"})
    check("categorized entry", t.wait_lines(1))
    message = t.messages[-1][1]
    equal("flags at the end", (list(message), message["encodingFlags"]), (["streams", "encodingFlags"], ["categorize-labels"]))
    stream, value = t.entries()[0]
    equal("stream labels alone", stream, {"app": "cat", "service_name": "cat"})
    equal("metadata and parsed", value[2], {"structuredMetadata": {"detected_level": "warn", "trace": "t1"},
                                            "parsed": {"level": "warn", "msg": "one", "trace_extracted": "fromline"}})
    h = Tail(s, '{app="cat"} | logfmt', headers=CATEGORIZE)
    check("history has the same shape", h.wait_lines(1) and h.entries()[0] == (stream, value), str(h.messages))
    p = Tail(s, '{app="cat"}')
    p.wait_lines(1)
    push(s, {"app": "cat"}, ["plain"])
    check("third element is there when empty but for the level", t.wait_lines(2) and set(t.entries()[1][1][2]) == {"structuredMetadata"})
    check("plain live entries are merged as history is", p.wait_lines(2) and all("detected_level" in e[0] for e in p.entries()), str(p.entries()))
    for x in (t, h, p):
        x.bye()


def pipeline(s):
    t = Tail(s, '{app="pipe", env=~"p.*"} |= "GET" != "health" | json | status >= 400 | line_format "{{.status}} {{.path}}" | keep app, status')
    lines = ['{"m":"GET","path":"/a","status":200}', '{"m":"GET","path":"/b","status":404}', '{"m":"POST","path":"/c","status":500}',
             '{"m":"GET","path":"/health","status":500}', '{"m":"GET","path":"/d","status":503}']
    push(s, {"app": "pipe", "env": "prod"}, lines)
    push(s, {"app": "pipe", "env": "dev"}, lines)
    check("live entries pass the whole pipeline", t.wait_lines(2))
    t.wait(lambda: False, 0.3)
    equal("lines", t.lines(), ["404 /b", "503 /d"])
    equal("labels", [e[0] for e in t.entries()], [{"app": "pipe", "status": "404"}, {"app": "pipe", "status": "503"}])
    t.bye()
    wide = Tail(s, '{app="wide"} | json')
    for part in range(30):
        push(s, {"app": "wide"}, ['{"id":"%s%d"}' % ("x" * 900, part * 1000 + i) for i in range(1000)])
        check("many distinct label sets", wide.wait_lines(part * 1000 + 1000, 20), str(len(wide.lines())))
    push(s, {"app": "wide"}, ['{"id":"after"}'])
    check("and on", wide.wait_lines(30001) and wide.entries()[-1][0]["id"] == "after")
    wide.bye()


def legacy(s):
    t = Tail(s, '{app="leg"}', path="/api/prom/tail", regexp="k..p")
    push(s, {"app": "leg"}, ["throw", "keep"], 1 * 10**9 + (now() // 10**9 - 5) * 10**9)
    t.wait(lambda: t.messages)
    message = t.messages[0][1]
    equal("legacy frame", (message["streams"][0]["entries"][0]["line"], message["dropped_entries"], len(message["streams"][0]["entries"])), ("keep", None, 1))
    check("legacy labels and time", message["streams"][0]["labels"].startswith('{app="leg"') and message["streams"][0]["entries"][0]["ts"].endswith("Z"), message)
    t.bye()


def delayed(s):
    t = Tail(s, '{app="delay"}', delay_for=4)
    base, began = now(), time.monotonic()
    push(s, {"app": "delay"}, ["second"], base)
    push(s, {"app": "delay"}, ["first"], base - 10**8)  # within the delay even on a machine whose disk is busy
    check("delay_for: entries come", t.wait_lines(2))
    took = t.messages[0][0] - began
    equal("delay_for: late ones find their place", t.lines(), ["first", "second"])
    check("delay_for: held back", took > 3, took)
    t.bye()


def seam(s):
    """Tails open while pushes run and blocks are cut and flushed: each line once, whether by history or live."""
    stop, counts = threading.Event(), [0] * 4
    pushed = [[] for _ in counts]

    def pusher(k):
        c = s.connect()
        n = 0
        while not stop.is_set():
            ts = now()
            lines = ["%d-%06d %s" % (k, n + i, "x" * 60) for i in range(20)]
            status, _, data = s.push([({"app": "seam", "k": str(k)}, [(ts + i, line) for i, line in enumerate(lines)])], connection=c)
            if status != 204:
                check("push during tails", False, "%d %r" % (status, data))
                return
            n += 20
            pushed[k] += lines
            time.sleep(0.015)

    def flusher():
        while not stop.is_set():
            s.flush()

    # What is there before a tail must fit into its history.
    threads = [threading.Thread(target=pusher, args=(k,)) for k in range(len(counts))] + [threading.Thread(target=flusher)]
    begun = now()
    for th in threads:
        th.start()
    tails, readers = [], []
    for _ in range(8):
        time.sleep(0.05)
        t = Tail(s, '{app="seam"}', start=str(begun), limit=5000)
        tails.append(t)
        r = threading.Thread(target=lambda t=t: t.wait(lambda: False, 6))
        r.start()
        readers.append(r)
    time.sleep(2.0)
    stop.set()
    for th in threads:
        th.join()
    for r in readers:
        r.join()
    want = sorted(line for lines in pushed for line in lines)
    for i, t in enumerate(tails):
        got = t.lines()
        seen = set(got)
        missing = len(set(want) - seen)
        doubles = len(got) - len(seen)
        dropped = sum(len(m.get("dropped_entries", ())) for _, m in t.messages)
        check("seam of tail %d: %d lines, 0 missing, 0 double" % (i, len(want)), missing == 0 and doubles == 0 and seen <= set(want),
              "missing %d double %d dropped %d" % (missing, doubles, dropped))
        t.bye()
    print("seam: %d tails, %d lines each" % (len(tails), len(want)))


def retries(s):
    t = Tail(s, '{app="retry"}')
    at = now()
    for _ in range(3):
        push(s, {"app": "retry"}, ["once"], at)
    push(s, {"app": "retry"}, ["end"])
    t.wait(lambda: "end" in t.lines())
    equal("a retried push is shown once", t.lines(), ["once", "end"])
    push(s, {"app": "retry"}, ["cut", "cut"], at + 10, {"m": "1"})
    t.wait(lambda: t.lines().count("cut") == 2)
    s.flush()
    push(s, {"app": "retry"}, ["once"], at)
    push(s, {"app": "retry"}, ["cut", "cut"], at + 10, {"m": "1"})
    push(s, {"app": "retry"}, ["cut"], at + 10, {"m": "2"})
    push(s, {"app": "retry"}, ["end"])
    t.wait(lambda: t.lines().count("end") == 2)
    equal("a push retried after its first copy was flushed is shown once, its like with other metadata again",
          t.lines(), ["once", "end", "cut", "cut", "cut", "end"])
    t.bye()


def slow_client(s):
    slow = Tail(s, '{app="slow"}', receive_buffer=4096)
    quick = Tail(s, '{app="slow"} |= "number 0 "')
    began, pushes, size = time.monotonic(), 0, 0
    before = s.rss_kib()
    c = s.connect()
    while size < 30 << 20:
        ts = now()
        entries = [(ts + i, "number %d %s" % (i, "y" * 900)) for i in range(200)]
        status, _, data = s.push([({"app": "slow"}, entries)], connection=c)
        if status != 204:
            check("push beside a slow client", False, "%d %r" % (status, data))
            break
        pushes += 1
        size += 200 * 900
        time.sleep(0.005)  # some 25 MB a second: what the tail thread keeps up with beside all others here
    took = time.monotonic() - began
    print("slow client: %d MB pushed in %.1f s, memory grew by %d KiB" % (size >> 20, took, s.rss_kib() - before))
    check("a quick client beside it gets all", quick.wait_lines(pushes, 10), "%d of %d" % (len(quick.lines()), pushes))
    slow.wait(lambda: any("dropped_entries" in m for _, m in slow.messages), 20)
    drops = [d for _, m in slow.messages for d in m.get("dropped_entries", ())]
    check("the slow client is told what it missed", drops and all(isinstance(d["timestamp"], str) and d["labels"]["app"] == "slow" for d in drops)
          and max(len(m.get("dropped_entries", ())) for _, m in slow.messages) <= 1000, str(drops[:2]))
    got = len(slow.lines())
    check("and got some, not all", 0 < got < pushes * 200, "%d of %d" % (got, pushes * 200))
    slow.wait(lambda: False, 1.5)
    push(s, {"app": "slow"}, ["after"])
    check("having caught up it goes on", slow.wait(lambda: "after" in slow.lines()[-1:], 10))
    slow.bye()
    quick.bye()


def concurrency(s):
    open_tails = [Tail(s, '{app="many"}') for _ in range(10)]
    time.sleep(0.2)
    more = Tail(s, '{app="many"}')
    equal("the 11th is refused", more.wait_close(), (1011, "max concurrent tail requests limit exceeded, count > limit (11 > 10)"))
    push(s, {"app": "many"}, ["to all"])
    check("the ten go on", all(t.wait_lines(1) for t in open_tails))
    check("they are counted", b"loki_querier_tail_active 10\n" in s.get("/metrics")[2])
    open_tails.pop().bye()
    open_tails.pop().drop()
    time.sleep(0.3)
    again = [Tail(s, '{app="many"}') for _ in range(2)]
    push(s, {"app": "many"}, ["again"])
    check("places are free again", all(t.wait(lambda t=t: "again" in t.lines()) for t in again))
    for t in open_tails + again:
        t.bye()
    time.sleep(0.2)


def tenants():
    with Server("auth_enabled=true") as s:
        try:
            Tail(s, '{app="t"}')
            check("no tenant", False)
        except Refused as e:
            equal("no tenant", (e.status, e.body), (401, "no org id\n"))
        a = Tail(s, '{app="t"}', headers={"X-Scope-OrgID": "a"})
        for tenant in ("b", "a"):
            s.push([({"app": "t"}, [(now(), "of " + tenant)])], headers={"X-Scope-OrgID": tenant})
        check("a tenant sees its own lines", a.wait_lines(1) and a.lines() == ["of a"], a.lines())
        a.bye()


def endings():
    s = Server("querier.tail_max_duration=1s").start()
    t = Tail(s, '{app="end"}')
    began = time.monotonic()
    close = t.wait_close()
    equal("longest duration", close, (1011, "reached tail max duration limit"))
    check("longest duration: in time", 0.8 < time.monotonic() - began < 3)
    t.send(CLOSE, struct.pack(">H", 1011))
    for _ in range(3):
        Tail(s, '{app="end"}').drop()
    t = Tail(s, '{app="end"}')
    began = time.monotonic()
    s.process.terminate()
    close = t.wait_close()
    check("shutdown says goodbye", close is not None and close[0] == 1001, str(close))
    equal("exit status", s.stop(), 0)
    check("shutdown does not wait for tails", time.monotonic() - began < 8)
    s.close()


if __name__ == "__main__":
    with Server() as server:
        parts = (handshake, refusals, bad_frames, history, live, categories, pipeline, legacy, delayed, seam, retries, slow_client, concurrency)
        for part in parts:
            if len(sys.argv) > 1 and part.__name__ not in sys.argv[1:]:
                continue
            run_part(part, server)
        equal("exit status", server.stop(), 0)
    for part in (tenants, endings):
        run_part(part)
    harness.done()
