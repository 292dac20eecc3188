"""Who gets in: TLS, client certificates and their reload. curl is the client wherever it can say the thing."""
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

from harness import Server, check, done, equal

WORK = tempfile.mkdtemp(prefix="logq-access-")
START_NS = time.time_ns() - 60 * 10**9


def path(name):
    return os.path.join(WORK, name)


def write(name, text):
    with open(path(name), "w") as f:
        f.write(text)
    return path(name)


def openssl(*args):
    subprocess.run(["openssl"] + list(args), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=WORK)


def make_authority(name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
            name + ".key", "-out", name + ".pem", "-days", "2", "-subj", "/CN=" + name)


def make_certificate(name, authority, common_name):
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", name + ".key",
            "-out", name + ".csr", "-subj", "/CN=" + common_name)
    write(name + ".ext", "subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", name + ".csr", "-CA", authority + ".pem", "-CAkey", authority + ".key",
            "-CAcreateserial", "-out", name + ".pem", "-days", "2", "-extfile", name + ".ext")


def curl(server, url, *args, scheme="https", body=None):
    """(status, body); status 0 when there was no answer."""
    out = subprocess.run(["curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}"] + list(args) +
                         ["%s://127.0.0.1:%d%s" % (scheme, server.port, url)],
                         input=body, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    text, _, status = out.stdout.rpartition(b"\n")
    return int(status or 0), text.decode("utf-8", "replace")


class TlsServer(Server):
    ready_args = ()

    def wait_ready(self, seconds=30):
        end = time.time() + seconds
        while time.time() < end:
            if self.process.poll() is not None:
                raise RuntimeError("logqd ended with %s:\n%s" % (self.process.returncode, self.tail()))
            if curl(self, "/ready", "-k", *self.ready_args)[0] == 200:
                return
            time.sleep(0.02)
        raise RuntimeError("logqd is not ready:\n%s" % self.tail())

    def context(self):
        c = ssl.create_default_context(cafile=path("ca.pem"))
        return c

    def open(self, context=None):
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return (context or self.context()).wrap_socket(raw, server_hostname="localhost")

    def served_certificate(self):
        with self.open() as s:
            return s.getpeercert(binary_form=True)


def tls_settings(cert, *more):
    return ["server.http_tls_config.cert_file=" + path(cert + ".pem"),
            "server.http_tls_config.key_file=" + path(cert + ".key")] + list(more)


def push_body(lines, **labels):
    return json.dumps({"streams": [{"stream": labels, "values": [
        [str(START_NS + i), line] for i, line in enumerate(lines)]}]}).encode()


JSON = ("-H", "Content-Type: application/json")


def read_reply(s):
    """One HTTP reply from a socket: (status line, body)."""
    data = b""
    while b"\r\n\r\n" not in data:
        got = s.recv(65536)
        if not got:
            return data.split(b"\r\n")[0], b""
        data += got
    head, _, body = data.partition(b"\r\n\r\n")
    size = next((int(l.split(b":")[1]) for l in head.split(b"\r\n") if l.lower().startswith(b"content-length")), 0)
    while len(body) < size:
        got = s.recv(65536)
        if not got:
            break
        body += got
    return head.split(b"\r\n")[0], body


def test_tls_traffic():
    with TlsServer(*tls_settings("server")) as s:
        ca = ("--cacert", path("ca.pem"))
        equal("https", curl(s, "/ready", *ca), (200, "ready\n"))
        equal("unknown authority is the client's to refuse", curl(s, "/ready")[0], 0)
        status, text = curl(s, "/ready", scheme="http")
        check("plain HTTP on the TLS port", "HTTP request to an HTTPS server" in text, (status, text))
        lines = ["line %06d %s" % (i, "x" * 180) for i in range(20000)]
        equal("a push of 4 MB", curl(s, "/loki/api/v1/push", *ca, *JSON, "--data-binary", "@-",
                                     body=push_body(lines, app="tls"))[0], 204)
        status, text = curl(s, "/loki/api/v1/query_range?query=%%7Bapp%%3D%%22tls%%22%%7D&limit=5000&start=%d&"
                            "direction=forward" % START_NS, *ca)
        got = [v[1] for stream in json.loads(text)["data"]["result"] for v in stream["values"]] if status == 200 else []
        equal("1 MB of answer", (status, sorted(got) == lines[:5000]), (200, True))
        equal("gzip", curl(s, "/metrics", *ca, "--compressed")[0], 200)
        status, text = curl(s, "/ready", *ca, "--tls-max", "1.2")
        equal("TLS 1.2", status, 200)
        equal("TLS 1.1", curl(s, "/ready", *ca, "--tls-max", "1.1")[0], 0)
        with s.open() as c:
            for byte in b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n":
                c.send(bytes([byte]))
            equal("a byte per record", read_reply(c)[1], b"ready\n")
            c.send(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
            answers = [read_one(c) for _ in range(50)]
            equal("50 pipelined requests in one record", answers, [b"ready\n"] * 50)
        # A reader that takes its time: more than the socket holds must wait for it.
        with s.open() as c:
            c.send(("GET /loki/api/v1/query_range?query=%%7Bapp%%3D%%22tls%%22%%7D&limit=5000&start=%d HTTP/1.1\r\n"
                    "Host: a\r\n\r\n" % START_NS).encode())
            time.sleep(1)
            line, body = read_reply(c)
            check("slow reader", b"200" in line and len(json.loads(body)["data"]["result"]) > 0, line)
        test_tail_over_tls(s)
        for bad in (b"\x16\x03\x01\xff\xff" + b"a" * 70000, b"\x00" * 100, b"\x80\x2e\x01\x00\x02"):
            with socket.create_connection(("127.0.0.1", s.port), timeout=20) as c:
                try:
                    c.sendall(bad)
                    c.settimeout(2)
                    while c.recv(4096):
                        pass
                except OSError:
                    pass
        equal("alive after garbage", curl(s, "/ready", *ca)[0], 200)


pending = {}


def read_one(s):
    """Like read_reply, for several replies on one socket."""
    data = pending.pop(s, b"")
    while b"\r\n\r\n" not in data:
        got = s.recv(65536)
        if not got:
            return None
        data += got
    head, _, rest = data.partition(b"\r\n\r\n")
    size = next((int(l.split(b":")[1]) for l in head.split(b"\r\n") if l.lower().startswith(b"content-length")), 0)
    while len(rest) < size:
        rest += s.recv(65536)
    pending[s] = rest[size:]
    return rest[:size]


def test_tail_over_tls(s):
    with s.open() as c:
        c.send(b"GET /loki/api/v1/tail?query=%7Bapp%3D%22live%22%7D HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
               b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        data = c.recv(4096)
        check("tail begins", data.startswith(b"HTTP/1.1 101"), data[:40])
        curl(s, "/loki/api/v1/push", "--cacert", path("ca.pem"), *JSON, "--data-binary", "@-", body=json.dumps(
            {"streams": [{"stream": {"app": "live"}, "values": [[str(time.time_ns()), "over the wire"]]}]}).encode())
        c.settimeout(10)
        while b"over the wire" not in data:
            got = c.recv(4096)
            if not got:
                break
            data += got
        check("tail over TLS", b"over the wire" in data, data[-200:])


def test_client_certificates():
    # The readiness probe of this suite shows its certificate, too.
    TlsServer.ready_args = ("--cert", path("ops.pem"), "--key", path("ops.key"))
    with TlsServer(*tls_settings("server", "server.http_tls_config.client_auth_type=RequireAndVerifyClientCert",
                                 "server.http_tls_config.client_ca_file=" + path("ca.pem"))) as s:
        ca = ("--cacert", path("ca.pem"))
        equal("without", curl(s, "/ready", *ca)[0], 0)
        equal("with", curl(s, "/ready", *ca, "--cert", path("ops.pem"), "--key", path("ops.key"))[0], 200)
        equal("of a stranger", curl(s, "/ready", *ca, "--cert", path("foreign.pem"), "--key",
                                    path("foreign.key"))[0], 0)
    TlsServer.ready_args = ()


def test_certificate_reload():
    shutil.copy(path("server.pem"), path("live.pem"))
    shutil.copy(path("server.key"), path("live.key"))
    with TlsServer(*tls_settings("live")) as s:
        old = s.served_certificate()
        running = s.open()
        shutil.copy(path("second.pem"), path("live.pem"))
        s.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        equal("a pair that does not fit is not taken", s.served_certificate(), old)
        check("and is told", "TLS files kept as they were" in s.tail())
        shutil.copy(path("second.key"), path("live.key"))
        s.process.send_signal(signal.SIGHUP)
        end = time.time() + 10
        while s.served_certificate() == old and time.time() < end:
            time.sleep(0.05)
        check("a new certificate without a restart", s.served_certificate() != old)
        running.send(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
        equal("connections of before go on", read_reply(running)[1], b"ready\n")
        running.close()


def test_bad_files():
    for settings, want in (
            (["server.http_tls_config.cert_file=/nowhere", "server.http_tls_config.key_file=/nowhere"],
             "server.http_tls_config.cert_file /nowhere"),
            (["server.http_tls_config.cert_file=" + path("server.pem"),
              "server.http_tls_config.key_file=" + path("second.key")], "key_file"),
            (["server.http_tls_config.cert_file=" + path("server.pem")], "belong together"),
            (tls_settings("server", "server.http_tls_config.client_auth_type=Maybe"), "Maybe"),
            (tls_settings("server", "server.http_tls_config.client_auth_type=RequireAndVerifyClientCert"),
             "client_ca_file"),
            (tls_settings("server", "server.tls_min_version=VersionTLS10"), "VersionTLS12")):
        s = Server(*settings)
        s.start(wait=False)
        code = s.process.wait(20)
        check("refused: " + want, code != 0 and want in s.tail(), (code, s.tail()))
        s.close()


def main():
    make_authority("ca")
    make_authority("other")
    make_certificate("server", "ca", "localhost")
    make_certificate("second", "ca", "localhost")
    make_certificate("ops", "ca", "ops.example.org")
    make_certificate("foreign", "other", "ops.example.org")
    test_tls_traffic()
    test_client_certificates()
    test_certificate_reload()
    test_bad_files()
    shutil.rmtree(WORK, ignore_errors=True)
    done()


if __name__ == "__main__":
    main()
