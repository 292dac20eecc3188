#!/usr/bin/env python3
"""logq --data-dir: a directory answers what a server on it answers. The conformance cases with every reading request
answered from the directory (offline_api), beside a running logqd whose newest entries are in the WAL alone, and without
an index; then the commands with a directory that is live, dead, read-only, cut off, copied, another user's."""
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import urlsplit

import harness
from harness import BUILD, LOGQ, Server, check, equal
from test_conformance import FOLDER, KNOWN

READS = re.compile(r"^(/loki/api/v1/(query|query_range|labels?|series|index/\w+|detected_\w+|patterns|format_query|drilldown-limits)|"
                   r"/api/prom/(query|label|series))(/.*)?$")
LIMITS = ("auth_enabled=true", "limits_config.reject_old_samples=false", "limits_config.retention_period=0s")


class Offline:
    """One offline_api."""

    def __init__(self, folder):
        self.process = subprocess.Popen([os.path.join(BUILD, "tests", "offline_api"), folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lock = threading.Lock()

    def reopen(self):
        with self.lock:
            self.process.stdin.write(b"reopen\n")
            self.process.stdin.flush()

    def ask(self, tenant, flags, path, form):
        with self.lock:
            self.process.stdin.write(("%s|%s|%s|%d\n" % (tenant, flags, path, len(form))).encode() + form)
            self.process.stdin.flush()
            status, size = map(int, self.process.stdout.readline().split())
            return status, self.process.stdout.read(size)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Adapter(http.server.BaseHTTPRequestHandler):
    """Reading requests go to the directory, all others to the server beside it."""
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    offline = logqd = None
    asked = 0

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        tenant, kind = self.headers.get("X-Scope-OrgID") or "", self.headers.get("Content-Type") or ""
        form = self.command == "POST" and kind.startswith("application/x-www-form-urlencoded")
        plain = re.match(r"^[-\w.]+$", tenant) and self.command in ("GET", "POST") and (form or not body) and "|" not in self.path
        if plain and READS.match(urlsplit(self.path).path):
            Adapter.asked += 1
            status, data = self.offline.ask(tenant, self.headers.get("X-Loki-Response-Encoding-Flags") or "", self.path, body if form else b"")
        if not plain or not READS.match(urlsplit(self.path).path) or status >= 598:  # not a request of a directory's
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length", "accept-encoding", "connection")}
            status, _, data = self.logqd.request(self.command, self.path, None, headers, body or None)
            self.offline.reopen()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

    def log_message(self, *args):
        pass


def run_cases(port, load):
    command = [sys.executable, os.path.join(FOLDER, "run.py"), "--url", "http://127.0.0.1:%d" % port, "-v", "--max-diffs", "5000"]
    out = subprocess.run(command + (["--load"] if load else []), capture_output=True, text=True).stdout
    fails = dict(re.findall(r"^FAIL (\S+)  (.*\n.*)", out, re.M))
    total = re.search(r"^(\d+) passed, (\d+) failed$", out, re.M)
    return fails, (int(total.group(1)) + int(total.group(2))) if total else 0


def conformance():
    with Server(*LIMITS) as s:
        Adapter.logqd, Adapter.offline = s, Offline(s.data)
        front = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Adapter)
        threading.Thread(target=front.serve_forever, daemon=True).start()
        for when in ("beside a server", "without an index"):
            online = run_cases(s.port, when == "beside a server")[0]
            Adapter.asked = 0
            fails, total = run_cases(front.server_address[1], False)
            check("the directory was asked " + when, Adapter.asked > 1000, "%d requests" % Adapter.asked)
            counted = {k: v for k, v in fails.items() if k not in KNOWN}
            harness.passed += total - len(counted)
            for name in sorted(counted):
                check("%s %s" % (name, when), False, counted[name][:400])
            equal("online and offline fail alike " + when, sorted(fails), sorted(online))
            print("%s: %d cases, %d differ" % (when, total, len(fails)))
            if when == "beside a server":
                # The server keeps its index open; a reader that comes now finds none.
                s.flush()
                os.rename(os.path.join(s.data, "index"), os.path.join(s.data, "index.away"))
                Adapter.offline.reopen()
        os.rename(os.path.join(s.data, "index.away"), os.path.join(s.data, "index"))
        Adapter.offline.close()
        front.shutdown()


# ---- the commands

START = (int(time.time()) - 1800) * 10**9
COMMANDS = (
    ("-c", ""), ("-c", "--by", "app", "7"), ("7$",), ("-TH", "-m", "20", "3", "-l", "app=b"), ("--reverse", "-m5", ""), ("none of that",),
    ("query", '{app="a"} |= "5"', "--limit", "50"), ("query", 'sum by (app) (count_over_time({app=~".+"}[5m]))', "--step", "5m", "-o", "json"),
    ("instant-query", 'sum(count_over_time({app=~".+"}[1h]))', "--now", "@%d" % (START // 10**9 + 1800)), ("labels",), ("labels", "app"), ("series",), ("stats",),
    ("api", "/loki/api/v1/detected_labels", 'query={app=~".+"}', "start=%d" % START, "end=%d" % (START + 1800 * 10**9)), ("api", "/loki/api/v1/nothing"), ("query", "{app="), ("query", '{app="a"} | json', "-o", "jsonl"),
)


def entries(n, text):
    return [(START + i * 10**8, "%s line %d" % (text, i)) for i in range(n)]


def logq(*args, user=None):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LOKI_", "LOGQ_"))}
    p = subprocess.run([LOGQ] + list(args), capture_output=True, env=dict(env, TZ="UTC0"), timeout=60, user=user, cwd="/")
    return p.returncode, p.stdout, p.stderr.decode("utf-8", "replace")


def answers(*where, user=None):
    fixed = ("--from", "@%d" % (START // 10**9), "--to", "@%d" % (START // 10**9 + 1800))
    out = []
    for command in COMMANDS:
        timed = () if command[0] in ("api", "instant-query") else fixed
        code, text, err = logq(*where, *command, *timed, user=user)
        out.append((command, code, text, "" if command[0] == "api" else err))
    return out


def same(name, got, want):
    for g, w in zip(got, want):
        equal("%s: %s" % (name, " ".join(g[0])), (g[1], g[2]), (w[1], w[2]))


def commands():
    s = Server("limits_config.reject_old_samples=false").start()
    copy = tempfile.mkdtemp(prefix="logq-e2e-copy-")
    here = ("--data-dir", s.data)
    try:
        s.push([({"app": "a"}, entries(3000, "first")), ({"app": "b"}, entries(200, "first"))])
        s.flush()
        s.push([({"app": "a"}, entries(3000, "second")), ({"app": "c"}, entries(100, '{"level":"error"}'))])
        want = answers("--addr", "http://127.0.0.1:%d" % s.port)
        check("there is something to compare", want[0][2] == b"6300\n", want[0])
        got = answers(*here)
        same("live", got, want)
        equal("live, on stderr", [g[3] for g in got], [w[3] for w in want])
        same("live, no index asked", answers(*here, "--no-index"), want)
        equal("what is pushed is seen at once", (s.push([({"app": "late"}, [(START - 3600 * 10**9, "late")])])[0], logq(*here, "late", "--since", "1d")[1]), (204, b"late\n"))
        s.kill()
        same("dead", answers(*here), want)
        shutil.copytree(s.data, copy, dirs_exist_ok=True)
        same("a copy", answers("--data-dir", copy), want)
        index = os.path.join(copy, "index")
        for name, change in (("cut index", lambda: os.truncate(os.path.join(index, "data.mdb"), 8192)),
                             ("garbage for an index", lambda: open(os.path.join(index, "data.mdb"), "wb").write(b"x" * 40000)),
                             ("empty index", lambda: os.truncate(os.path.join(index, "data.mdb"), 0)),
                             ("no index", lambda: shutil.rmtree(index)),
                             ("no format", lambda: os.unlink(os.path.join(copy, "format")))):
            change()
            got = answers("--data-dir", copy)
            same(name, got, want)
            check(name + " is said", "index cannot be used" in got[0][3], got[0][3])
            equal("-q says nothing", logq("--data-dir", copy, "-q", "line", "--since", "1d")[2], "")
        as_others(s.data, want)
        chunk = next(os.path.join(f, n) for f, _, names in os.walk(os.path.join(copy, "chunks")) for n in names if n.endswith(".chunk"))
        with open(chunk, "r+b") as f:
            f.write(b"\0" * 4096)
        code, _, err = logq("--data-dir", copy, "-c", "", "--since", "1d")
        check("a damaged file is trouble", code == 2 and "chunk" in err, (code, err))
        equal("nothing is left of an index in memory", [n for n in os.listdir("/dev/shm") if re.match(r"logq-\w{6}$", n)], [])
        check("the directory was not written to", not os.path.exists(os.path.join(copy, "index")))
        trouble(s.data)
    finally:
        s.close()
        shutil.rmtree(copy, ignore_errors=True)


def as_others(folder, want):
    """Readable for all, writable for none of them."""
    if os.geteuid() != 0:
        return
    for path, folders, files in os.walk(folder):
        os.chmod(path, 0o755)
        for name in files:
            os.chmod(os.path.join(path, name), 0o644)
    same("another user", answers("--data-dir", folder, user=65534), want)
    for wal in os.listdir(os.path.join(folder, "wal")):
        os.chmod(os.path.join(folder, "wal", wal), 0o600)
    code, out, err = logq("--data-dir", folder, "-c", "first", "--since", "1d", user=65534)
    check("an unreadable WAL is said", code == 2 and out == b"3200\n" and "newest lines" in err, (code, out, err))
    # A mount of its own that allows no writing, where the system lets us make one.
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" --data-dir "$1" -c line --since 1d'
    p = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", folder, LOGQ], capture_output=True, text=True)
    if "mount" not in p.stderr and "unshare" not in p.stderr:
        equal("a read-only mount", (p.returncode, p.stdout, p.stderr), (0, "6300\n", ""))


def trouble(folder):
    code, out, err = logq("--data-dir", "/nonexistent/dir", "-c", "")
    check("no such directory", code == 2 and "/nonexistent/dir" in err, err)
    empty = tempfile.mkdtemp(prefix="logq-e2e-empty-")
    code, out, err = logq("--data-dir", empty, "-c", "")
    check("a directory of something else", code == 2 and "not a data directory" in err, err)
    os.rmdir(empty)
    env = dict(os.environ, LOGQ_DATA_DIR=folder, TZ="UTC0")
    p = subprocess.run([LOGQ, "-c", "line", "--since", "1d"], capture_output=True, text=True, env=env)
    equal("$LOGQ_DATA_DIR", (p.returncode, p.stdout), (0, "6300\n"))
    p = subprocess.run([LOGQ, "-c", "line", "--addr", "http://127.0.0.1:9"], capture_output=True, text=True, env=env)
    check("--addr wins over it", p.returncode == 2 and "cannot reach" in p.stderr, p.stderr)


def tenants():
    with Server("auth_enabled=true") as s:
        for tenant, count in (("t1", 1), ("t2", 2)):
            s.push([({"app": "a"}, [(time.time_ns() + i, "x") for i in range(count)])], {"X-Scope-OrgID": tenant})
            if tenant == "t1":
                equal("the only tenant needs no name", logq("--data-dir", s.data, "-c", "x")[:2], (0, b"1\n"))
        code, _, err = logq("--data-dir", s.data, "-c", "x")
        check("one of several must be named", code == 2 and "t1" in err and "t2" in err, err)
        equal("--org-id", logq("--data-dir", s.data, "--org-id", "t2", "-c", "x")[:2], (0, b"2\n"))
        equal("an unknown tenant has nothing", logq("--data-dir", s.data, "--org-id", "t3", "-c", "x")[:2], (1, b"0\n"))


def libraries():
    """What logq does not need for a directory is not loaded: it would take longer than the search."""
    listed = subprocess.run([LOGQ], capture_output=True, text=True, env=dict(os.environ, LD_TRACE_LOADED_OBJECTS="1")).stdout
    if "libc.so" not in listed:  # not glibc
        return
    check("neither OpenSSL nor libcurl is loaded", not re.search(r"libssl|libcrypto|libcurl", listed), listed)


if __name__ == "__main__":
    libraries()
    conformance()
    commands()
    tenants()
    harness.done()
