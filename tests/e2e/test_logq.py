#!/usr/bin/env python3
"""logq against a real logqd: what it pushes is what grep finds in the file, in every mode, over any range; exit statuses; trouble."""
import gzip
import http.server
import json
import os
import pty
import re
import signal
import subprocess
import tempfile
import threading
import time

import harness
from harness import LOGQ, Server, check, equal, free_port, run_part, wait_for

OLD = ("limits_config.reject_old_samples=false", "limits_config.retention_period=0s")
FOLDER = tempfile.mkdtemp(prefix="logq-e2e-cli-")


class Shell:
    """Runs logq against one server."""

    def __init__(self, url):
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("LOKI_", "LOGQ_ADDR", "NO_COLOR"))}
        self.env.update(LOGQ_ADDR=url, TZ="UTC0", LC_ALL="C.UTF-8")

    def run(self, *args, stdin=b"", env=None):
        p = subprocess.run([LOGQ] + list(args), input=stdin, capture_output=True, env=dict(self.env, **(env or {})), timeout=60)
        return p.returncode, p.stdout, p.stderr.decode("utf-8", "replace")

    def out(self, *args, **more):
        return self.run(*args, **more)[1].decode("utf-8", "replace")


def write(name, content, mtime=None):
    path = os.path.join(FOLDER, name)
    with open(path, "wb") as f:
        f.write(content)
    if mtime:
        os.utime(path, (mtime, mtime))
    return path


def stamped_log():
    """A log with stamps, equal lines at equal times, continuation lines, odd bytes."""
    out = []
    begin = int(time.time()) - 3000
    for i in range(3000):
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(begin + i // 3))
        level = ("INFO", "WARN", "ERROR")[i % 7 % 3]
        out.append("%s %s request id=%04x took %d ms from 10.0.%d.%d" % (stamp, level, i * 7919 % 65536, i % 97, i % 5, i % 251))
        if i % 50 == 0:
            out += ["  at handler.c:%d" % i, out[-1]]
        if i % 500 == 0:
            out.append("%s WARN odd `bytes` \"quoted\" \\d+ 100%% $HOME \u00e4\u00f6\u00fc <b>&amp;</b> \t tab" % stamp)
    return ("\n".join(out) + "\n").encode()


def like_grep(sh, s):
    content = stamped_log()
    path = write("app.log", content)
    code, out, err = sh.run("push", "-l", "job=app", "-l", "host=h1", path)
    equal("push", (code, out), (0, b""))
    check("push says what it did", re.search(r"pushed %d lines" % content.count(b"\n"), err) is not None, err)
    rows = [
        ("ERROR",), ("-i", "error"), ("-v", "INFO"), ("-w", "at"), ("-w", "10"), ("-F", "10.0.1.1"), ("-F", "`bytes`"), ("-F", '"quoted" \\d+'),
        ("-E", "id=0[0-9a-f]{3}"), ("-oE", "id=[0-9a-f]+"), ("-oE", "[0-9]+ ms|at"), ("-e", "WARN", "-e", "ERROR"), ("-v", "-e", "WARN", "-e", "INFO"),
        ("-iw", "error"), ("-x", "  at handler.c:50"), ("-vx", "  at handler.c:50"), ("-Fx", "  at handler.c:100"), ("-c", "ERROR"), ("-ci", "error"),
        ("-c", "-e", "WARN", "-e", "ERROR"), ("-vc", "INFO"), ("-c", "nothing of that"), ("nothing of that",), ("-m", "7", "WARN"), ("-m7", "-o", "id"),
        ("-F", "ä"), ("-c", ""), ("",), ("-Fi", "HANDLER.C"), ("-F", "$HOME"), ("-P", r"took 9\d ms"), ("--", "WARN"), ("-e", "-1"),
    ]
    for row in rows:
        want = subprocess.run(["grep", "-a"] + list(row) + [path], capture_output=True, env=sh.env)
        code, out, err = sh.run(*row, "-l", "job=app") if row[0] != "--" else sh.run("-l", "job=app", *row)
        equal("grep %s" % (row,), (code, out), (want.returncode, want.stdout))
    lines = content.decode().splitlines()
    equal("newest first", sh.out("", "--reverse", "-l", "job=app").splitlines(), lines[::-1])
    equal("small pages", sh.out("", "--batch", "10", "-l", "job=app").splitlines(), lines)
    equal("smart case", sh.out("-cS", "error", "-l", "job=app"), sh.out("-ci", "error", "-l", "job=app"))
    equal("smart case with a capital", sh.out("-cS", "Error", "-l", "job=app"), "0\n")
    equal("quiet, found", sh.run("-q", "ERROR"), (0, b"", ""))
    equal("quiet, nothing", sh.run("-q", "nothing of that"), (1, b"", ""))
    code, out, _ = sh.run("-c", "--by", "host", "WARN")
    equal("count by label", (code, out), (0, b"h1:%d\n" % sum("WARN" in l for l in lines)))
    code, out, _ = sh.run("-TH", "-m1", "ERROR", '{job="app"}')
    check("time and labels", re.match(rb'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \{.*host="h1", job="app".*\} \d{4}', out) is not None, out)
    code, out, _ = sh.run("--color", "always", "-m1", "-w", "ERROR", "-l", "job=app")
    check("matches are marked", b"\x1b[1;31mERROR\x1b[0m" in out, out)
    equal("pushing again stores nothing twice", (sh.run("push", "-l", "job=app", "-l", "host=h1", path)[0], sh.out("-c", "", "-l", "job=app")),
          (0, "%d\n" % len(lines)))


def sources(sh, s):
    mtime = int(time.time()) - 600
    plain = b"".join(b"line %d\n" % i for i in range(500)) + b"\nsame\nsame\nno line break"
    path = write("plain.txt", plain, mtime)
    for _ in range(2):
        equal("push a file without times", sh.run("push", "-q", "-l", "job=plain", path), (0, b"", ""))
    equal("its lines", sh.out("", "-l", "job=plain"), plain.decode() + "\n")
    equal("its last line has the file's time", sh.out("line break", "-T", "-l", "job=plain").split()[0],
          time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(mtime)))
    before = time.time()
    equal("standard input", sh.run("push", "-q", "-l", "job=pipe", "-", stdin=plain)[0], 0)
    equal("its lines in order", sh.out("", "-l", "job=pipe"), plain.decode() + "\n")
    equal("at the present time", sh.out("-c", "", "-l", "job=pipe", "--from", "%.3f" % (before - 0.01)), "504\n")
    equal("no argument is standard input", sh.run("push", "-q", "-l", "job=pipe2", stdin=b"x\n")[0], 0)
    old = write("old.log", b"2001-01-01 00:00:00 a\n2001-01-01 00:00:00 b\n")
    equal("--timestamp now", (sh.run("push", "-q", "--timestamp", "now", "-l", "job=now", old)[0], sh.out("-c", "", "-l", "job=now")), (0, "2\n"))
    two = write("two.log", b"2 two\n")
    equal("several files", sh.run("push", "-q", "-l", "job=several", old, two)[0], 0)
    equal("their names", sorted(sh.out("labels", "filename", "--since", "30y").split()), sorted([os.path.realpath(old), os.path.realpath(two)]))
    equal("no labels", (sh.run("push", "-q", two)[0], sh.out("series", '{job="logq"}')), (0, '{filename="%s", job="logq", service_name="logq"}\n' % os.path.realpath(two)))
    equal("label values as they are", (sh.run("push", "-q", "-l", 'job=a"b\\c \u00e4', "-", stdin=b"odd\n")[0], sh.out("-c", "odd", "-l", 'job=a"b\\c \u00e4')), (0, "1\n"))
    big = b"".join(b"%07d %s\n" % (i, b"x" * 100) for i in range(60000))
    equal("six batches", (sh.run("push", "-q", "-l", "job=big", "-", stdin=big)[0], sh.run("", "-l", "job=big")[1] == big), (0, True))
    long_line = b"y" * (600 << 10)
    code, _, err = sh.run("push", "-l", "job=long", "-", stdin=long_line + b"\nshort\n")
    check("a long line is cut", code == 0 and "1 lines longer than" in err, err)
    equal("nothing of it is lost", sh.run("", "-l", "job=long")[1].replace(b"\n", b""), long_line + b"short")
    equal("empty input", sh.run("push", "-q", "-l", "job=none", "-")[0], 0)


def follow(sh, s):
    path = write("follow.log", b"one\n")
    p = subprocess.Popen([LOGQ, "push", "-q", "-f", "-l", "job=follow", path], env=sh.env)

    def followed(count):
        wait_for(lambda: sh.out("-c", "", "-l", "job=follow") == "%d\n" % count)
        return sh.out("", "-l", "job=follow").split()
    equal("what is there", followed(1), ["one"])
    with open(path, "ab") as f:
        f.write(b"two\nthree\n")
    equal("what is appended", followed(3), ["one", "two", "three"])
    os.rename(path, path + ".1")
    write("follow.log", b"four\n")
    check("what comes after rotation", "four" in followed(4))
    p.send_signal(signal.SIGTERM)
    equal("a signal ends it", p.wait(10), 0)


def long_ranges(sh, s):
    month = 30 * 86400
    now = int(time.time())
    entries = [((now - i * month // 3) * 10**9 + i, "age %03d" % i) for i in range(240)]
    s.push([({"job": "ages"}, sorted(entries))])
    want = [e[1] for e in sorted(entries)]
    equal("twenty years", sh.out("age", "-l", "job=ages", "--since", "20y").split("\n")[:-1], want)
    equal("newest first", sh.out("query", '{job="ages"}', "-o", "raw", "--limit", "0", "--since", "20y").split("\n")[:-1], want[::-1])
    equal("limit over windows", sh.out("query", '{job="ages"}', "-o", "raw", "--limit", "50", "--since", "20y").split("\n")[:-1], want[::-1][:50])
    equal("count", sh.out("-c", "age", "-l", "job=ages", "--since", "20y"), "240\n")
    equal("labels", "job" in sh.out("labels", "--since", "20y").split(), True)
    equal("series", sh.out("series", '{job="ages"}', "--since", "20y"), '{job="ages", service_name="ages"}\n')
    stats = sh.out("stats", '{job="ages"}', "--since", "20y")
    entries = int(re.search(r"entries: (\d+)", stats).group(1))  # an estimate, by blocks
    check("stats", "streams: 1\n" in stats and 220 <= entries <= 260, stats)
    got = json.loads(sh.out("query", 'sum(count_over_time({job="ages"}[10d]))', "--since", "19y", "--step", "10d", "-o", "json"))
    points = [p for series in got for p in series["values"]]
    equal("a metric over nineteen years: one series, rising times", (len(got), sorted(points) == points, len({p[0] for p in points}) == len(points)), (1, True, True))
    equal("every line in one of its points", sum(int(p[1]) for p in points), 240)


def ties(sh, s):
    now = (int(time.time()) - 100) * 10**9
    entries = [(now + i // 700, "tie %05d" % i) for i in range(6000)]
    s.push([({"job": "ties", "half": str(h)}, entries[h::2]) for h in range(2)])
    for args in ((), ("--batch", "1000"), ("--batch", "701"), ("--reverse",), ("--reverse", "--batch", "999")):
        got = sh.out("tie", "-l", "job=ties", *args).splitlines()
        equal("equal times %s" % (args,), (len(got), len(set(got))), (6000, 6000))
    for limit in (1, 699, 700, 701, 2500, 5999):
        got = sh.out("tie", "-l", "job=ties", "-m", str(limit), "--batch", "750").splitlines()
        equal("limit %d" % limit, (len(got), len(set(got))), (limit, limit))
    code, _, err = sh.run("tie", "-l", "job=ties", "--batch", "100")
    check("more equal times than a page is an error, not a loss", code == 2 and "same time" in err, err)
    first = now + 3
    equal("exact ends", sh.out("-c", "tie", "-l", "job=ties", "--from", str(first), "--to", str(first + 1)), "700\n")
    equal("an odd range", sh.out("-c", "tie", "-l", "job=ties", "--from", str(now - 1234567), "--to", str(now + 2)), "1400\n")


def query_mode(sh, s):
    now = int(time.time())
    s.push([({"app": "q", "env": e}, [((now - 60 + i) * 10**9 + i, '{"n":%d,"msg":"m%d"}' % (i, i)) for i in range(10)]) for e in ("a", "b")])
    code, out, err = sh.run("query", '{app="q"}', "--limit", "3")
    lines = out.decode().splitlines()
    check("default form", code == 0 and len(lines) == 3 and all(re.match(r'\S+Z \{env="."\} \{"n":[89]', l) for l in lines), out)
    check("common labels on stderr", 'Common labels: {app="q"' in err, err)
    equal("quiet", sh.run("query", "-q", '{app="q"}')[2], "")
    check("no labels", all(re.match(r'\S+Z \{"n"', l) for l in sh.out("query", '{app="q"}', "--no-labels").splitlines()))
    got = [json.loads(l) for l in sh.out("query", '{app="q",env="a"} | json | n > 7', "-o", "jsonl", "--forward", "--include-common-labels").splitlines()]
    equal("jsonl", [(g["line"], g["labels"]["env"], g["labels"]["n"]) for g in got], [('{"n":8,"msg":"m8"}', "a", "8"), ('{"n":9,"msg":"m9"}', "a", "9")])
    check("jsonl times have nanoseconds", got[0]["timestamp"].endswith(".000000008Z"), got[0]["timestamp"])
    equal("raw", sh.out("query", '{app="q",env="a"} | json | line_format "{{.msg}}"', "-o", "raw", "--limit", "2"), "m9\nm8\n")
    equal("include label", sh.out("query", '{app="q",env="a"}', "--include-label", "env", "--limit", "1").split()[1], '{env="a"}')
    equal("nothing", sh.run("query", '{app="nobody"}'), (1, b"", ""))
    equal("nothing, as logcli", sh.run("query", "--logcli-exit", '{app="nobody"}')[0], 0)
    code, out, err = sh.run("query", '{app="q"')
    equal("parse error", (code, out, "parse error" in err), (2, b"", True))
    code, out, _ = sh.run("instant-query", "-o", "table", 'sum by (env) (count_over_time({app="q"}[1h]))')
    equal("vector", (code, out.decode()), (0, "env  value\na       10\nb       10\n"))
    equal("one value", sh.out("instant-query", "-o", "table", 'sum(count_over_time({app="q"}[1h]))'), "20\n")
    equal("in a pipe, as logcli", json.loads(sh.out("instant-query", 'sum(count_over_time({app="q"}[1h]))'))[0]["value"][1], "20")
    out = sh.out("instant-query", "vector(1)", "--now", "2026-11-21T00:00:00.123Z")
    check("milliseconds as they are", "1795219200.123," in out, out)
    equal("scalar", sh.out("instant-query", "-o", "raw", "1+1"), "2\n")
    for args, words in ((("query", "boom"), "logq TEXT"), (("instant-query", '{app="q"}'), "logq query"), (("query", '{app="q"} | jsn'), "parse error")):
        code, _, err = sh.run(*args)
        check("%s: what was meant" % " ".join(args), code == 2 and words in err and len(err.splitlines()) == (1 if words == "parse error" else 2), err)
    equal("empty vector", sh.run("instant-query", 'count_over_time({app="nobody"}[1h])')[0], 1)
    got = json.loads(sh.out("instant-query", "-o", "json", 'sum by (env) (count_over_time({app="q"}[1h]))'))
    equal("vector as json", sorted((g["metric"]["env"], g["value"][1]) for g in got), [("a", "10"), ("b", "10")])
    out = sh.out("query", 'sum by (env) (count_over_time({app="q"}[1h]))', "--from", str(now - 60), "--to", str(now), "--step", "1m", "-o", "table").splitlines()
    check("matrix", out[0].split() == ["time", "env", "value"] and out[-1].split()[1:] == ["b", "10"], str(out))
    code, out, err = sh.run("instant-query", '{app="q"}')
    check("log query as instant query", code == 2 and "not supported" in err, err)
    equal("values", sh.out("labels", "env"), "a\nb\n")
    equal("unknown label", sh.run("labels", "nobody"), (1, b"", ""))
    long_query = '{app="q"} |~ "' + "|".join("x%05d" % i for i in range(1000)) + '|m9"'
    equal("a query too long for a URL", sh.out("query", long_query, "-o", "raw").count("m9"), 2)


def terminal(sh, s):
    """A pseudo terminal: default limit, colours, and their absence with NO_COLOR."""
    try:
        for fd in pty.openpty():
            os.close(fd)
    except OSError as e:  # a chroot without devpts
        print("terminal: left out, %s" % e)
        return

    def on_terminal(*args, **env):
        master, slave = pty.openpty()
        p = subprocess.Popen([LOGQ] + list(args), stdout=slave, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=dict(sh.env, TERM="xterm", **env))
        os.close(slave)
        out = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:
                part = b""
            if not part:
                break
            out += part
        os.close(master)
        err = p.stderr.read().decode()
        return p.wait(), out, err
    code, out, err = on_terminal("line", "-l", "job=plain")
    equal("thirty lines on a terminal", (code, out.count(b"\n")), (0, 30))
    check("and a hint", "-m 0" in err, err)
    check("in colours", b"\x1b[1;31mline\x1b[0m" in out)
    check("NO_COLOR", b"\x1b" not in on_terminal("line", "-l", "job=plain", NO_COLOR="1")[1])
    equal("-m 0", on_terminal("line", "-m", "0", "-l", "job=plain")[1].count(b"\n"), 501)
    check("marks in query mode", b"\x1b[1;31mline 7\x1b[0m" in on_terminal("query", '{job="plain"} |= "line 7"')[1])


class Odd(http.server.BaseHTTPRequestHandler):
    """A server with a plan: the list of statuses to answer with, then 204."""
    plan, seen = [], []
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(body)

    def do_GET(self):
        self.answer(b"")

    def answer(self, body):
        if "/loki/api/v1/lines?" in self.path:  # what is not Loki's: answers come by pages
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        Odd.seen.append((self.command, self.path, dict(self.headers), body))
        status, text = Odd.plan.pop(0) if Odd.plan else (204, "")
        if status == 0:
            self.close_connection = True
            return
        data = text.encode()
        self.send_response(status)
        if status != 204:
            if len(data) > 1000 and "gzip" in self.headers.get("Accept-Encoding", ""):
                data = gzip.compress(data)
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if status != 204:
            self.wfile.write(data)

    def log_message(self, *args):
        pass


def odd_servers():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = "http://127.0.0.1:%d" % server.server_port
    sh = Shell(url)

    def ask(plan, *args, stdin=b"a\nb\nc\n", env=None):
        Odd.plan[:], Odd.seen[:] = plan, []
        return sh.run(*args, stdin=stdin, env=env)
    push = ("push", "-l", "job=x", "-")
    code, _, err = ask([(503, "full"), (429, "slow down"), (0, ""), (204, "")], *push)
    equal("push retries 503, 429 and lost connections with the same bytes", (code, len(Odd.seen), len({x[3] for x in Odd.seen})), (0, 4, 1))
    check("and says so", "trying again" in err and "full" in err, err)
    code, _, err = ask([(500, "broken")] * 3, "--retries", "1", *push)
    equal("push gives up", (code, len(Odd.seen)), (2, 2))
    code, _, err = ask([(400, "2 errors like: entry has timestamp too old; 1 errors like: x\n")], *push)
    check("partial acceptance", code == 1 and "refused 3 lines" in err and "reject_old_samples" in err and len(Odd.seen) == 1, err)
    code, _, err = ask([(400, "1 errors like: entry; of; a has timestamp too old; 1 errors like: x; 1 more errors")], *push)
    check("all are refused", code == 1 and "refused 3 lines: entry; of; a has timestamp too old\n" in err and "pushed 0 lines" in err, err)
    code, _, err = ask([(400, "entry for stream '{}' has timestamp too new: 2026\n")], *push)
    check("one refused line", code == 1 and "refused 1 lines" in err and "pushed 2 lines" in err and "--timezone" in err, err)
    code, _, err = ask([(400, "couldn't parse labels: x")], *push)
    check("bad labels are trouble", code == 2 and "couldn't parse labels" in err, err)
    for status, words in ((401, "--org-id"), (404, "address"), (413, "413")):
        code, _, err = ask([(status, "no")], *push)
        check("push, %d" % status, code == 2 and words in err and len(Odd.seen) == 1, err)
    code, out, err = ask([(401, "no org id\n")], "foo")
    check("query, 401", code == 2 and "no org id" in err and "--org-id" in err, err)
    for name, text in (("html", "<html>hello</html>"), ("empty", ""), ("array", "[]"), ("cut", '{"status":"success","data":{"resul')):
        code, out, err = ask([(200, text)], "foo")
        check("not an answer: " + name, code == 2 and out == b"" and err.startswith("logq: "), err)
    def streams(result):
        return (200, json.dumps({"status": "success", "data": {"resultType": "streams", "result": result}}))
    odd = [[{"stream": [], "values": []}], [{"stream": {}, "values": {}}], [{"stream": {}, "values": [[]]}], [{"stream": {}, "values": [[1, "x"]]}],
           [{"stream": {}, "values": [["1e3", "x"]]}], [{"stream": {}, "values": [["1"]]}], [7], [None], ["x"]]
    for result in odd:
        code, out, err = ask([streams(result)], "foo")
        check("odd result %s" % result, code == 2 and out == b"" and "cannot be read" in err, err)
    code, out, _ = ask([streams([{"stream": {"a": 1, "b": None}, "values": [["1", "x\u0000y"]]}])], "-H", "foo")
    equal("odd labels and a NUL", (code, out), (0, b'{a="", b=""} x\0y\n'))
    for form in ("default", "raw", "jsonl", "json"):
        for data in ({"resultType": "vector", "result": [{"metric": {"a": 1}, "value": []}, {"value": 3}, 5]}, {"resultType": "matrix", "result": [{"values": [1]}]},
                     {"resultType": "scalar", "result": {}}, {"resultType": "new"}, {"result": 7}, None, []):
            code, _, err = ask([(200, json.dumps({"status": "success", "data": data}))], "instant-query", "-o", form, "1")
            check("odd metric %s" % data, code in (0, 1, 2), "%d %s" % (code, err))
            code, _, err = ask([(200, json.dumps({"status": "success", "data": data}))] * 9, "query", "-o", form, "--since", "1m", "vector(1)")
            check("odd metric range %s" % data, code in (0, 1, 2), "%d %s" % (code, err))
    wide = {"status": "success", "warnings": ["careful"], "data": {"resultType": "streams", "result": [
        {"stream": {"a": "b"}, "values": [["1", "foo " + "x" * 2000]]}]}}
    code, out, err = ask([(200, json.dumps(wide))], "foo")
    equal("a gzip answer with a warning", (code, len(out), err), (0, 2005, "logq: warning: careful\n"))
    empty = (200, json.dumps({"status": "success", "data": {"resultType": "streams", "result": []}}))
    refused = (400, "the query time range exceeds the limit (query length: 720h, limit: 1d)")
    code, _, _ = ask([refused] * 5 + [empty] * 40, "foo", "--since", "30d")
    equal("shorter windows for a stricter server", (code, len(Odd.seen)), (1, 37))
    few = (400, "max entries limit per query exceeded, limit > max_entries_limit_per_query (5000 > 1000)")
    ask([few, few, few, empty], "foo")
    check("smaller pages for a stricter server", "limit=625&" in Odd.seen[3][1], Odd.seen[3][1])
    ask([empty], "foo", "--username", "u", "--password", "p:w", "--org-id", "t1", "--header", "X-A: b", "--query-tags", "s=1", "--nocache")
    h = Odd.seen[0][2]
    equal("headers", [h.get(k) for k in ("Authorization", "X-Scope-OrgID", "X-A", "X-Query-Tags", "Cache-Control")],
          ["Basic dTpwOnc=", "t1", "b", "s=1", "no-cache"])
    ask([empty], "foo", env={"LOKI_BEARER_TOKEN": "tok", "LOKI_ORG_ID": "t2", "LOKI_AUTH_HEADER": "X-Auth"})
    equal("headers from the environment", [Odd.seen[0][2].get(k) for k in ("X-Auth", "X-Scope-OrgID")], ["Bearer tok", "t2"])
    code, _, err = sh.run("foo", "--username", "u", "--password", "p", "--bearer-token", "x")
    check("two kinds of credentials", code == 2 and "exclude" in err, err)
    ask([empty], "foo", "--addr", url + "/prefix/")
    check("path prefix", Odd.seen[0][1].startswith("/prefix/loki/api/v1/query_range?"), Odd.seen[0][1])
    server.shutdown()


def trouble(sh, s):
    code, out, err = sh.run("foo", "--addr", "http://127.0.0.1:%d" % free_port())
    check("no server", code == 2 and "cannot reach" in err and "is logqd running" in err, err)
    rows = [
        ((), "what to look for"), (("(",), "no regular expression"), (("a", "b"), "quotes"), (("a", "{b=\"c\"}", "d"), "one word too many"),
        (("a", "-l", "nonsense"), "NAME=VALUE"), (("a", "--since", "soon"), "not a duration"), (("a", "--from", "someday"), "not a time"),
        (("a", "--from", "now", "--to", "now-1h"), "empty"), (("a", "--output", "xml"), "--output"), (("query",), "one LogQL query"),
        (("query", "a", "b"), "one LogQL query"), (("push", "/nonexistent"), "/nonexistent"), (("push", "/"), "folder"), (("help", "nobody"), "nobody"),
        (("a", "--timezone", "Mars"), "--timezone"), (("a", "--addr", "ftp://x"), "http"), (("a", "--nonsense"), "--nonsense"),
        (("a", "--output-timestamp-format", "x"), "rfc3339"), (("push", "--timestamp", "later", "-"), "auto or now"), (("labels", "a", "b"), "one word too many"),
        (("a", "--bearer-token-file", "/nonexistent"), "/nonexistent"), (("push", "-l", "bad name=x", "-"), "couldn't parse labels"),
    ]
    for args, words in rows:
        code, out, err = sh.run(*args, stdin=b"x\n")
        check("trouble %s" % (args,), code == 2 and out == b"" and words in err and err.startswith("logq: "), "%d %r %r" % (code, out, err))
    for args in (("--help",), ("help",), ("help", "push"), ("query", "--help"), ("--version",), ("-h",)):
        code, out, err = sh.run(*args)
        check("%s" % (args,), code == 0 and len(out) > 5 and err == "", err)
    p = subprocess.Popen([LOGQ, "", "-l", "job=big"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=sh.env)
    p.stdout.read(10)
    p.stdout.close()
    p.wait(30)
    equal("a closed pipe is quiet", (p.stderr.read(), p.returncode), (b"", -signal.SIGPIPE))
    with open("/dev/full", "wb") as full:
        p = subprocess.run([LOGQ, "", "-l", "job=big"], stdout=full, stderr=subprocess.PIPE, env=sh.env)
    check("a full disk is trouble", p.returncode == 2 and b"cannot write" in p.stderr, str(p))


if __name__ == "__main__":
    with Server(*OLD) as server:
        shell = Shell("http://127.0.0.1:%d" % server.port)
        for p in (like_grep, sources, follow, long_ranges, ties, query_mode, terminal, trouble):
            run_part(p, shell, server)
    run_part(odd_servers)
    harness.shutil.rmtree(FOLDER, ignore_errors=True)
    harness.done()
