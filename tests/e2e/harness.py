"""What the end-to-end suites share: a real logqd on a free port and a fresh directory, HTTP, counting results."""
import gzip
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from urllib.parse import urlencode

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("LOGQ_BUILD", os.path.join(ROOT, "build"))
LOGQD = os.path.join(BUILD, "logqd")
LOGQ = os.path.join(BUILD, "logq")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A logqd of its own. Settings are key.path=value texts."""

    def __init__(self, *settings, data=None, args=()):
        self.own_data = data is None
        self.data = data or tempfile.mkdtemp(prefix="logq-e2e-")
        self.settings, self.args = list(settings), list(args)
        self.port = free_port()
        self.process = None
        self.log = open(os.path.join(self.data, "..", os.path.basename(self.data) + ".log"), "ab")

    def start(self, wait=True):
        cmd = [LOGQD, "--data-dir", self.data, "--listen", "127.0.0.1:%d" % self.port] + self.args
        for s in self.settings:
            cmd += ["--set", s]
        self.process = subprocess.Popen(cmd, stderr=self.log, stdout=self.log)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=30):
        end = time.time() + seconds
        while time.time() < end:
            if self.process.poll() is not None:
                raise RuntimeError("logqd ended with %s:\n%s" % (self.process.returncode, self.tail()))
            try:
                if self.get("/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.01)
        raise RuntimeError("logqd is not ready after %d s:\n%s" % (seconds, self.tail()))

    def tail(self):
        self.log.flush()
        with open(self.log.name, "rb") as f:
            return f.read()[-2000:].decode("utf-8", "replace")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Graceful; returns the exit status."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode if self.process else None

    def close(self):
        self.stop()
        self.log.close()
        if self.own_data:
            shutil.rmtree(self.data, ignore_errors=True)
        try:
            os.unlink(self.log.name)
        except OSError:
            pass

    def __enter__(self):
        return self.start()

    def __exit__(self, *unused):
        self.close()

    def connect(self, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, params=None, headers=None, body=None, connection=None):
        """(status, headers, bytes) of one request."""
        c = connection or self.connect()
        if params:
            path += "?" + urlencode(params, doseq=True)
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        data = r.read()
        if r.getheader("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        if connection is None:
            c.close()
        return r.status, r.headers, data

    def talk(self, data, seconds=5, half_close=False):
        """(what comes back for these bytes, has the server closed), until it closes or is silent for so long."""
        out = b""
        with socket.create_connection(("127.0.0.1", self.port), seconds) as c:
            try:
                c.sendall(data)
                if half_close:
                    c.shutdown(socket.SHUT_WR)
                while True:
                    got = c.recv(65536)
                    if not got:
                        return out, True
                    out += got
            except socket.timeout:
                return out, False
            except OSError:  # closed before all had been read
                return out, True

    def get(self, path, params=None, headers=None):
        return self.request("GET", path, params, headers)

    def push(self, streams, headers=None, connection=None):
        """streams: [(labels, [(ns, line) or (ns, line, meta)])]; the status."""
        body = json.dumps({"streams": [
            {"stream": labels, "values": [[str(e[0])] + list(e[1:]) for e in entries]} for labels, entries in streams]})
        h = {"Content-Type": "application/json"}
        h.update(headers or {})
        return self.request("POST", "/loki/api/v1/push", None, h, body.encode(), connection)

    def query_range(self, query, start, end, limit=5000, direction="forward", headers=None, **more):
        status, _, data = self.get("/loki/api/v1/query_range", dict(
            query=query, start=start, end=end, limit=limit, direction=direction, **more), headers)
        if status != 200:
            raise RuntimeError("query answered %d: %s" % (status, data[:300]))
        return json.loads(data)["data"]["result"]

    def instant(self, query, at):
        status, _, data = self.get("/loki/api/v1/query", dict(query=query, time=at))
        if status != 200:
            raise RuntimeError("query answered %d: %s" % (status, data[:300]))
        return json.loads(data)["data"]["result"]

    def flush(self):
        status, _, data = self.request("POST", "/flush")
        assert status == 204, (status, data)

    def metric(self, name):
        """The sum over all series of a metric, or of those whose labels begin as in 'name{label="x"'."""
        starts = (name,) if "{" in name else (name + " ", name + "{")
        lines = self.get("/metrics")[2].decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(starts))

    def rss_kib(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            return next(int(l.split()[1]) for l in f if l.startswith("VmRSS"))


passed = failed = 0


def check(name, ok, detail=""):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print("FAIL %s %s" % (name, detail), flush=True)
    return ok


def equal(name, got, want):
    return check(name, got == want, "got %.300r want %.300r" % (got, want))


def run_part(part, *args):
    """A part of a suite: one that is broken must not hide the others."""
    try:
        part(*args)
    except Exception as e:
        check(part.__name__ + " ran to its end", False, "%s: %s" % (type(e).__name__, e))


def wait_for(what, seconds=15, pause=0.05):
    """What what() says as soon as that is true, or when the time is over."""
    end = time.monotonic() + seconds
    while True:
        got = what()
        if got or time.monotonic() > end:
            return got
        time.sleep(pause)


def done():
    print("%d passed, %d failed" % (passed, failed), flush=True)
    sys.exit(1 if failed else 0)


# ---- protobuf and snappy, as clients write them

def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def snappy_literal(data):
    """A valid snappy block made of literals only."""
    out = bytearray(varint(len(data)))
    for at in range(0, len(data), 65536):
        part = data[at:at + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
    return bytes(out)


def raw_deflate(data):
    c = zlib.compressobj(6, zlib.DEFLATED, -15)
    return c.compress(data) + c.flush()


def zstd_raw(data):
    """A zstd frame of raw blocks."""
    out = b"\x28\xb5\x2f\xfd\xa0" + len(data).to_bytes(4, "little")
    for at in range(0, len(data), 1 << 16):
        part = data[at:at + (1 << 16)]
        out += ((len(part) << 3) | (at + len(part) == len(data))).to_bytes(3, "little") + part
    return out


def status_message(data):
    """The message of a google.rpc.Status whose only field it is."""
    size, shift, at = 0, 0, 1
    while True:
        size |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            break
    if data[0] != 2 << 3 | 2 or len(data) != at + size:
        return "not a Status: %r" % data
    return data[at:].decode()


def proto_timestamp(ns):
    out = b""
    if ns // 10**9:
        out += varint(1 << 3) + varint(ns // 10**9)
    if ns % 10**9:
        out += varint(2 << 3) + varint(ns % 10**9)
    return out


def proto_pair(name, value):
    return (field(1, name.encode()) if name else b"") + (field(2, value.encode()) if value else b"")


def proto_push(streams):
    """streams: [(label text, [(ns, line bytes) or (ns, line bytes, [(name, value)])])]; the message."""
    out = b""
    for text, entries in streams:
        body = field(1, text.encode())
        for e in entries:
            entry = field(1, proto_timestamp(e[0])) + field(2, e[1])
            for pair in e[2] if len(e) > 2 else ():
                entry += field(3, proto_pair(*pair))
            body += field(2, entry)
        out += field(1, body)
    return out
