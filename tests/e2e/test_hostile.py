"""Clients that mean harm, or are too many: bombs, ambiguous requests, slow ones, floods, queries that would take everything.
After each the server answers as before and has not grown."""
import gzip
import http.client
import socket
import subprocess
import threading
import time
import zlib
from urllib.parse import urlencode

from harness import Server, check, done, equal, varint, wait_for

NOW = time.time_ns()
PUSH = "/loki/api/v1/push"


def raw(s, data, half_close=False):
    return s.talk(data, half_close=half_close)[0]


def status_of(reply):
    return int(reply.split(b" ")[1]) if reply.startswith(b"HTTP/1.") else 0


def post(s, body, encoding=None, kind="application/json", path=PUSH):
    headers = {"Content-Type": kind}
    if encoding:
        headers["Content-Encoding"] = encoding
    return s.request("POST", path, None, headers, body)


def compressed(tool, size):
    """`size` zero bytes through a command-line packer, if there is one."""
    try:
        return subprocess.run([tool, "-q", "-c"], input=b"\0" * size, stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def test_bombs(s):
    size = 300 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    gzip_bomb = b"".join(packer.compress(b"\0" * (1 << 20)) for _ in range(size >> 20)) + packer.flush()
    deflate = zlib.compressobj(9)
    deflate_bomb = b"".join(deflate.compress(b"\0" * (1 << 20)) for _ in range(size >> 20)) + deflate.flush()
    # A snappy block that claims 4 GB, and one that copies itself up to 200 MB.
    claim = varint((1 << 32) - 1) + b"\0a"
    copies = varint(200 << 20) + b"\0a" + b"\xfe\x01\x00" * ((200 << 20) // 64)
    bombs = {"gzip": [gzip_bomb, gzip.compress(gzip_bomb)], "deflate": [deflate_bomb], "snappy": [claim, copies]}
    for tool in ("zstd", "lz4"):
        made = compressed(tool, size)
        if made:
            bombs[tool] = [made]
    before = s.rss_kib()
    for encoding, list_ in bombs.items():
        for i, bomb in enumerate(list_):
            for kind in ("application/json", "application/x-protobuf"):
                status, _, text = post(s, bomb, encoding, kind)
                check("%s bomb %d as %s" % (encoding, i, kind), status in (400, 413), (status, text[:100]))
            status, _, text = post(s, bomb, encoding, "application/x-protobuf", "/otlp/v1/logs")
            check("%s bomb %d as OTLP" % (encoding, i), status in (400, 413), (status, text[:100]))
    deep = b'{"streams":' + b"[" * 200000
    check("deep JSON", post(s, deep)[0] == 400)
    check("deep OTLP JSON", post(s, b'{"resourceLogs":' + b'[{"a":' * 100000, path="/otlp/v1/logs")[0] == 400)
    many = b'{"streams":[' + b'{"stream":{},"values":[]},' * 500000 + b'{"stream":{},"values":[]}]}'
    check("half a million empty streams", post(s, many)[0] in (204, 400, 413, 422))
    check("memory after bombs", s.rss_kib() - before < 150 << 10, (before, s.rss_kib()))


def test_smuggling(s):
    """Requests that a proxy in front may read in another way: refused, and nothing behind them is looked at."""
    inner = b"GET /ready HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    head = b"POST /loki/api/v1/push HTTP/1.1\r\nHost: a\r\n"
    cases = {
        "two lengths": head + b"Content-Length: 4\r\nContent-Length: 0\r\n\r\n" + inner,
        "length and chunks": head + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
        "chunks and length": head + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + inner,
        "list of lengths": head + b"Content-Length: 0, 4\r\n\r\n" + inner,
        "blank before the colon": head + b"Content-Length : 4\r\n\r\nabcd" + inner,
        "hexadecimal length": head + b"Content-Length: 0x4\r\n\r\nabcd" + inner,
        "signed length": head + b"Content-Length: +4\r\n\r\nabcd" + inner,
        "length too large for a number": head + b"Content-Length: 18446744073709551620\r\n\r\nabcd" + inner,
        "gzip, chunked": head + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + inner,
        "chunked, chunked": head + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + inner,
        "two transfer encodings": head + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner,
        "xchunked": head + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner,
        "folded header": head + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + inner,
        "vertical tab": head + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + inner,
        "NUL in a value": head + b"Content-Length: 4\x00\r\n\r\nabcd" + inner,
        "bare carriage return": head + b"X: a\rContent-Length: 4\r\n\r\nabcd" + inner,
        "0x chunk": head + b"Transfer-Encoding: chunked\r\n\r\n0x4\r\nabcd\r\n0\r\n\r\n" + inner,
        "negative chunk": head + b"Transfer-Encoding: chunked\r\n\r\n-4\r\nabcd\r\n0\r\n\r\n" + inner,
        "chunk beyond 64 bits": head + b"Transfer-Encoding: chunked\r\n\r\n10000000000000004\r\nabcd\r\n0\r\n\r\n" + inner,
        "chunk with a wrong end": head + b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcdef\r\n0\r\n\r\n" + inner,
        "no host": b"GET /ready HTTP/1.1\r\n\r\n" + inner,
        "two hosts": b"GET /ready HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + inner,
        "HTTP/1.0 with chunks": b"POST /loki/api/v1/push HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "no version": b"GET /ready\r\n\r\n" + inner,
        "blank in the target": b"GET /rea dy HTTP/1.1\r\nHost: a\r\n\r\n" + inner,
        "control in a name": b"GET /ready HTTP/1.1\r\nHost: a\r\nX\x01Y: b\r\n\r\n" + inner,
    }
    for name, data in cases.items():
        reply = raw(s, data, half_close=True)
        check("smuggling: " + name, status_of(reply) in (400, 501, 505) and reply.count(b"HTTP/1.1 ") == 1 and
              b"ready\n" not in reply, reply[:200])
    check("counted", s.metric('logq_refused_requests_total{reason="malformed_request"}') >= len(cases) - 3)


def test_sizes(s):
    get = b"GET /ready HTTP/1.1\r\nHost: a\r\n"
    equal("one large header", status_of(raw(s, get + b"X: " + b"a" * 70000 + b"\r\n\r\n")), 431)
    check("many headers", status_of(raw(s, get + b"".join(b"X%d: a\r\n" % i for i in range(200)) + b"\r\n")) in (400, 431))
    check("a long target", status_of(raw(s, b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")) in (414, 431))
    equal("2,000 parameters", s.get("/loki/api/v1/query?" + "&".join("a=%d" % i for i in range(2000)))[0], 400)
    equal("a body that is announced too large", status_of(raw(
        s, b"POST /loki/api/v1/push HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n")), 413)
    endless = b"POST /loki/api/v1/push HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + \
        b"100000\r\n" + b"a" * 0x100000 + b"\r\n"
    equal("endless chunks", status_of(raw(s, endless + (b"100000\r\n" + b"a" * 0x100000 + b"\r\n") * 80)), 413)
    check("a chunk's endless extension", status_of(raw(
        s, b"POST /loki/api/v1/push HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 100000)) in (400, 413))
    check("endless trailers", status_of(raw(
        s, b"POST /loki/api/v1/push HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"T: a\r\n" * 20000)) in (400, 413))


def test_queries(s):
    """Texts of queries that are small and want much."""
    push = s.push([({"app": "q"}, [(NOW + i, "line %d " % i + "a" * 100) for i in range(1000)])])
    equal("lines to ask for", push[0], 204)

    def ask(text, **more):
        begun = time.time()
        answer = s.get("/loki/api/v1/query_range", dict({"query": text, "start": NOW - 10**9, "end": NOW + 10**10, "limit": 10}, **more))
        check("answered soon: " + text[:60], time.time() - begun < 30, time.time() - begun)
        return answer[0], answer[2][:300]
    for name, text, want in (
            ("regex that backtracks elsewhere", '{app="q"} |~ "(a+)+$"', (200,)),
            ("regex that repeats repeats", '{app="q"} |~ "((a{1,1000}){1,1000}){1,1000}"', (400,)),
            ("large regex", '{app="q"} |~ "%s"' % ("(x|y)*" * 20000), (200, 400)),
            ("many regexes", '{app="q"} ' + '|~ "[a-z]{100}"' * 300, (200, 400)),
            ("large character classes", '{app="q"} |~ "%s"' % ("\\\\pL{900}" * 50), (200, 400)),
            ("parentheses", "(" * 50000 + "1" + ")" * 50000, (400,)),
            ("additions", "1" + "+1" * 60000, (200, 400)),
            ("aggregations", "sum(" * 10000 + "rate({app=\"q\"}[1m])" + ")" * 10000, (400,)),
            ("comments", "#" * 100000, (400,)),
            ("a long text", '{app="q"} |= "' + "a" * 200000 + '"', (400, 413, 431)),
            ("template that repeats", '{app="q"} | line_format `{{ repeat 1000000000 "aaaa" }}`', (200, 400)),
            ("template in a template", '{app="q"} | line_format `{{ range $i := (int 1) }}{{ end }}` ', (200, 400)),
            ("template that pads", '{app="q"} | line_format `{{ printf "%0999999999d" 1 }}`', (200, 400)),
            ("template that grows", '{app="q"} ' + "| line_format `{{ __line__ }}{{ __line__ }}` " * 60, (200, 400)),
            ("template that nests", '{app="q"} | line_format `' + "{{ if true }}" * 5000 + "{{ end }}" * 5000 + '`', (200, 400)),
            ("labels that grow", '{app="q"} | label_format a=`{{ __line__ }}`' + " | label_format a=`{{ .a }}{{ .a }}`" * 40, (200, 400)),
            ("tiny steps", 'rate({app="q"}[1m])', (400,))):
        more = {"step": "0.0001"} if name == "tiny steps" else {}
        if len(text) > 30000 and name != "a long text":
            status, _, body = s.request("POST", "/loki/api/v1/query_range", None,
                                        {"Content-Type": "application/x-www-form-urlencoded"}, form(text))
            body = body[:300]
        else:
            status, body = ask(text, **more)
        check("query: " + name, status in want, (status, body))
    check("memory after queries", wait_for(lambda: s.metric('logq_memory_bytes{kind="queries"}') == s.metric("logq_shelved_bytes")))


def test_tls_to_http(s):
    """A client that takes the port for one of TLS hears so at once, not when its patience ends."""
    begun = time.time()
    reply, closed = s.talk(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    check("a TLS handshake is refused", status_of(reply) == 400 and closed and time.time() - begun < 4, repr(reply))


def form(text):
    return urlencode({"limit": 10, "start": NOW, "end": NOW + 10**9, "query": text}).encode()


def test_slow(s):
    """Timeouts are 2 s here."""
    slow = []
    for i in range(30):
        c = socket.create_connection(("127.0.0.1", s.port), timeout=20)
        c.send(b"POST /loki/api/v1/push HTTP/1.1\r\nHost: a\r\n" + (b"Content-Length: 1000000\r\n\r\n" if i % 2 else b"X: "))
        slow.append(c)
    begun = time.time()
    open_ = list(slow)
    while open_ and time.time() - begun < 15:
        for c in list(open_):
            try:
                c.send(b"a")  # a byte now and then is no progress
                c.setblocking(False)
                if c.recv(1000).startswith(b"HTTP/1.1 408"):
                    open_.remove(c)
                c.setblocking(True)
            except BlockingIOError:
                c.setblocking(True)
            except OSError:
                open_.remove(c)
        time.sleep(0.2)
    equal("slow requests are ended", len(open_), 0)
    for c in slow:
        c.close()
    # Asks for 100 answers of 100 KB and reads none of them.
    c = socket.socket()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c.connect(("127.0.0.1", s.port))
    c.settimeout(1)
    try:
        for _ in range(100):
            c.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: identity\r\n\r\n")
    except OSError:
        pass
    before = s.metric('logq_refused_requests_total{reason="too_slow"}')
    check("who does not read is let go", wait_for(lambda: s.metric('logq_refused_requests_total{reason="too_slow"}') > before))
    c.close()


def test_connections():
    with Server("server.http_listen_conn_limit=50") as s:
        held = [socket.create_connection(("127.0.0.1", s.port), timeout=10) for _ in range(50)]
        time.sleep(0.3)
        reply = raw(s, b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
        check("the 51st", reply.startswith(b"HTTP/1.1 503") and b"too many connections" in reply or reply == b"", reply)
        held[0].send(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
        check("those inside are served", held[0].recv(100).startswith(b"HTTP/1.1 200"))
        for c in held:
            c.close()
        end = time.time() + 10
        while time.time() < end:
            try:
                if s.get("/ready")[0] == 200:
                    break
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
        equal("room again", s.get("/ready")[0], 200)
        check("counted", s.metric('logq_refused_requests_total{reason="too_many_connections"}') >= 1)


def test_fair():
    """Heavy queries take turns with small ones and with pushes."""
    with Server("querier.max_concurrent=8") as s:
        line = "some text of a line that is looked through by everybody %d " + "x" * 150
        for k in range(40):
            s.push([({"app": "big"}, [(NOW + k * 10000 + i, line % i) for i in range(10000)])])
        s.push([({"app": "small"}, [(NOW, "one")])])
        s.flush()
        stop, heavy = threading.Event(), [0]

        def hog():
            while not stop.is_set():
                s.get("/loki/api/v1/query_range", {"query": "sum by (x) (count_over_time({app=\"big\"} |~ \"z.*[0-9]+.*q|line\" | regexp \"(?P<x>.)$\" [1m]))",
                                                   "start": NOW - 10**9, "end": NOW + 10**11, "step": "1s"})
                heavy[0] += 1
        hogs = [threading.Thread(target=hog) for _ in range(6)]
        for h in hogs:
            h.start()
        time.sleep(0.5)
        small, pushes, end = [], [], time.time() + 6
        while time.time() < end:
            begun = time.time()
            result = s.query_range('{app="small"}', NOW - 10**9, NOW + 10**9)
            small.append(time.time() - begun)
            begun = time.time()
            equal("push beside heavy queries", s.push([({"app": "p"}, [(NOW + len(pushes), "p")])])[0], 204)
            pushes.append(time.time() - begun)
            equal("answer beside heavy queries", len(result), 1)
        stop.set()
        for h in hogs:
            h.join()
        small.sort()
        pushes.sort()
        print("beside 6 heavy queries: small query %.0f ms median, %.0f ms worst; push %.0f ms median, %.0f ms worst; %d heavy done" % (
            small[len(small) // 2] * 1000, small[-1] * 1000, pushes[len(pushes) // 2] * 1000, pushes[-1] * 1000, heavy[0]))
        check("small queries go on", len(small) >= 5, len(small))


def test_flood():
    """More queries than there is room for: 429 in Loki's words, and the server goes on."""
    with Server("querier.max_concurrent=1", "limits_config.query_timeout=5s") as s:
        for k in range(10):
            s.push([({"app": "big"}, [(NOW + k * 10000 + i, "line %d %s" % (i, "x" * 150)) for i in range(10000)])])
        codes, lock = {}, threading.Lock()

        def ask():
            try:
                status, _, text = s.get("/loki/api/v1/query_range", {
                    "query": "count_over_time({app=\"big\"} |~ \"z.*q\" [1m])", "start": NOW - 10**9, "end": NOW + 10**9, "step": "1s"})
            except OSError:
                status, text = 0, b""
            with lock:
                codes[status] = codes.get(status, 0) + 1
        threads = [threading.Thread(target=ask) for _ in range(300)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check("a flood of queries", set(codes) <= {200, 429, 504} and codes.get(200, 0) > 0, codes)
        equal("and then", s.get("/ready")[0], 200)


def main():
    with Server("server.http_server_read_timeout=2s", "server.http_server_write_timeout=2s") as s:
        for test in (test_tls_to_http, test_smuggling, test_sizes, test_bombs, test_queries, test_slow):
            test(s)
            equal("after %s the server stands" % test.__name__, s.get("/ready")[0], 200)
            equal("and takes pushes", s.push([({"app": "ok"}, [(time.time_ns(), "x")])])[0], 204)
    test_connections()
    test_fair()
    test_flood()
    done()


if __name__ == "__main__":
    main()
