"""Who gets in and may do what: TLS, client certificates, users, rights, tenants, addresses, reloads. curl is the client wherever it can say the thing."""
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

from harness import LOGQD, Server, check, done, equal, wait_for

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
            answer = http.client.HTTPResponse(c)
            answer.begin()
            body = answer.read()
            check("slow reader", answer.status == 200 and len(json.loads(body)["data"]["result"]) > 0, body[:100])
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
        check("a new certificate without a restart", wait_for(lambda: s.served_certificate() != old))
        running.send(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
        equal("connections of before go on", read_reply(running)[1], b"ready\n")
        running.close()


def test_changed_files():
    """Without any signal: certificates and users of changed files."""
    for end in (".pem", ".key"):
        shutil.copy(path("server" + end), path("watched" + end))
    users = write("watched.yaml", "users:\n" + user("a", "query", token_sha256=hashed("token", "first")))
    with TlsServer(*tls_settings("watched", "logq.access_file=" + users, "runtime_config.period=100ms")) as s:
        old, ca = s.served_certificate(), ("--cacert", path("ca.pem"))

        def labels(token):
            return curl(s, "/loki/api/v1/labels", *ca, *header("Authorization", "Bearer " + token))[0]
        equal("the first token", labels("first"), 200)
        write("watched.yaml", "users:\n" + user("a", "query", token_sha256=hashed("token", "second")))
        for name in (".key", ".pem"):
            shutil.copy(path("second" + name), path("watched" + name + ".new"))
            os.rename(path("watched" + name + ".new"), path("watched" + name))
        wait_for(lambda: labels("second") == 200 and s.served_certificate() != old)
        equal("the second token", labels("second"), 200)
        equal("the first no longer", labels("first"), 401)
        check("the second certificate", s.served_certificate() != old)


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


def hashed(kind, secret):
    return subprocess.run([LOGQD, "hash-" + kind], input=secret.encode() + b"\n", check=True,
                          stdout=subprocess.PIPE).stdout.decode().strip()


def user(name, rights, tenants=None, **credentials):
    text = "- name: %s\n  rights: [%s]\n" % (name, rights)
    for key, value in credentials.items():
        text += "  %s: '%s'\n" % (key, value)
    if tenants:
        text += "  tenants: [%s]\n" % tenants
    return text


PUSH, QUERY = "/loki/api/v1/push", "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&limit=5000&start=" + str(START_NS)


def ask(server, url, *args, body=None):
    return curl(server, url, *args, scheme="http", body=body)


def push(server, *args, line="x"):
    return ask(server, PUSH, *args, *JSON, "--data-binary", "@-", body=push_body([line], a="b"))[0]


def lines(server, *args):
    status, text = ask(server, QUERY, *args)
    if status != 200:
        return status
    return sorted(v[1] for stream in json.loads(text)["data"]["result"] for v in stream["values"])


def header(name, value):
    return ("-H", "%s: %s" % (name, value))


def test_users():
    """One tenant: credentials and rights."""
    users = ("users:\n" + user("pusher", "push", password_hash=hashed("password", "p:w ü")) +
             user("reader", "query", token_sha256=hashed("token", "read-token")) +
             user("root", "push, query, delete, admin", password_hash=hashed("password", "root-pw")) +
             user("elsewhere", "push, query", tenants="other", token_sha256=hashed("token", "other-token")) +
             "- name: anonymous\n  rights: [metrics]\n")
    with Server("logq.access_file=" + write("access.yaml", users)) as s:
        pusher, root = ("-u", "pusher:p:w ü"), ("-u", "root:root-pw")
        reader = header("Authorization", "Bearer read-token")
        equal("probes need nobody", ask(s, "/ready"), (200, "ready\n"))
        equal("push as pusher", push(s, *pusher), 204)
        equal("query as pusher", lines(s, *pusher), 403)
        equal("query as reader", lines(s, *reader), ["x"])
        equal("push as reader", push(s, *reader), 403)
        equal("anonymous may read metrics", ask(s, "/metrics")[0], 200)
        for url in (QUERY, "/config", "/loki/api/v1/labels", "/nowhere", "/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D",
                    "//loki//api/v1/labels", "/loki/api/v1/%6cabels"):
            check("anonymous: " + url, ask(s, url)[0] in (401, 403, 404), ask(s, url))
        equal("no right to delete", ask(s, "/loki/api/v1/delete?query=%7Ba%3D%22b%22%7D&start=1500000000", "-X", "POST", *reader)[0], 403)
        check("the right to delete", ask(s, "/loki/api/v1/delete?query=%7Ba%3D%22b%22%7D&start=1500000000", "-X", "POST", *root)[0] < 400)
        for url, method in (("/admin/merge", "POST"), ("/debug", "GET"), ("/runtime_config", "GET"), ("/flush", "POST"), ("/config", "GET"), ("/log_level", "POST"), ("/log_level", "GET")):
            equal("not the administrator: " + url, ask(s, url, "-X", method, *reader)[0], 403)
            check("the administrator: " + url, ask(s, url, "-X", method, *root)[0] in (200, 204, 400))
        for wrong in (("-u", "pusher:no"), ("-u", "nobody:p:w ü"), ("-u", "pusher:"), ("-u", "reader:read-token"),
                      header("Authorization", "Bearer read-tokem"), header("Authorization", "Bearer "),
                      header("Authorization", "Basic ????"), header("Authorization", "Negotiate abc")):
            equal("wrong: %s" % (wrong,), push(s, *wrong), 401)
        equal("one tenant, and not theirs", push(s, *header("Authorization", "Bearer other-token")), 403)
        status = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-D", "-", "-u", "a:b",
                                 "http://127.0.0.1:%d/config" % s.port], stdout=subprocess.PIPE).stdout.decode()
        check("a challenge", 'WWW-Authenticate: Basic realm="logqd"' in status, status)
        # Two refusals on one connection, the second with a body: the first keeps it, the second ends it.
        with socket.create_connection(("127.0.0.1", s.port), timeout=20) as c:
            c.send(b"GET /config HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer read-token\r\n\r\n")
            equal("403 keeps the connection", read_reply(c)[0], b"HTTP/1.1 403 Forbidden")
            c.send(b"POST /loki/api/v1/push HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n"
                   b"Authorization: Bearer no\r\nExpect: 100-continue\r\n\r\n")
            equal("401 comes before the body", read_reply(c)[0], b"HTTP/1.1 401 Unauthorized")
            equal("and ends the connection", c.recv(1), b"")
        # A flood of guesses takes turns on one thread; who is known goes on meanwhile.
        guesses = [subprocess.Popen(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} ", "--parallel", "-u",
                                     "pusher:guess%d-#" % i] + ["http://127.0.0.1:%d/config?[1-4]" % s.port],
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for i in range(8)]
        for i in range(20):
            equal("push during guesses", push(s, *pusher, line="y%d" % i), 204)
        for g in guesses:
            codes = g.communicate()[0].decode().split()
            check("guesses are refused", set(codes) <= {"401", "503"}, codes)
        text = ask(s, "/metrics")[1]
        for reason in ("wrong_credentials", "right_missing", "tenant_not_allowed"):
            check("counted: " + reason, 'logq_refused_requests_total{reason="%s"} 0\n' % reason not in text and
                  'reason="%s"' % reason in text)
        check("logged", "access refused" in s.tail())
        test_reload(s, users)


def test_reload(s, users):
    """A changed file counts after SIGHUP; a broken one changes nothing."""
    write("access.yaml", users.replace("read-token", "").replace(hashed("token", "read-token"),
                                                                 hashed("token", "next-token")))
    s.process.send_signal(signal.SIGHUP)
    new = header("Authorization", "Bearer next-token")
    check("the new token", wait_for(lambda: lines(s, *new) != 401))
    equal("the old token", lines(s, *header("Authorization", "Bearer read-token")), 401)
    write("access.yaml", "users:\n- name: broken\n")
    s.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    check("a broken file is told", "access.yaml:" in s.tail(), s.tail())
    check("and changes nothing", lines(s, *new) != 401)


def test_tenants():
    users = ("users:\n" + user("a", "push, query", tenants="team-a", token_sha256=hashed("token", "ta")) +
             user("ab", "push, query", tenants="team-a, team-b", token_sha256=hashed("token", "tab")) +
             user("all", "query", tenants="'*'", token_sha256=hashed("token", "tall")))
    with Server("auth_enabled=true", "logq.access_file=" + write("tenants.yaml", users)) as s:
        a, ab, everyone = (header("Authorization", "Bearer " + t) for t in ("ta", "tab", "tall"))
        team_a, team_b = header("X-Scope-OrgID", "team-a"), header("X-Scope-OrgID", "team-b")
        equal("the only tenant need not be named", push(s, *a, line="of a"), 204)
        equal("two tenants: one must be named", push(s, *ab), 401)
        equal("named", push(s, *ab, *team_b, line="of b"), 204)
        equal("not theirs", push(s, *a, *team_b), 403)
        equal("nor to read", lines(s, *a, *team_b), 403)
        equal("nor among others", lines(s, *a, *header("X-Scope-OrgID", "team-a|team-b")) in (400, 403), True)
        equal("a sees a", lines(s, *a), ["of a"])
        equal("ab sees b as b", lines(s, *ab, *team_b), ["of b"])
        equal("* sees a", lines(s, *everyone, *team_a), ["of a"])
        equal("* sees b", lines(s, *everyone, *team_b), ["of b"])
        equal("tail of another's tenant", ask(s, "/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D", *a, *team_b)[0], 403)
        for url in ("/loki/api/v1/labels", "/loki/api/v1/label/a/values", "/loki/api/v1/series?match[]=%7Ba%3D%22b%22%7D",
                    "/loki/api/v1/index/stats?query=%7Ba%3D%22b%22%7D", "/loki/api/v1/index/volume?query=%7B%7D",
                    "/loki/api/v1/detected_labels", "/loki/api/v1/patterns?query=%7Ba%3D%22b%22%7D",
                    "/loki/api/v1/query?query=1"):
            equal("another's tenant: " + url, ask(s, url, "-g", *a, *team_b)[0], 403)
        # Tenants become directories: no name leads out of the data directory.
        for name in ("..", ".", "../x", "a/b", "%2e%2e", "a\\b", "x" * 151, "a|..", "\xff"):
            status = push(s, *everyone, *header("X-Scope-OrgID", name))
            check("tenant name %r" % name, status in (400, 401, 403), status)
        before = set(os.listdir(os.path.dirname(s.data)))
        status, _, _ = s.push([({"a": "b"}, [(START_NS, "z")])], {"Authorization": "Bearer tab",
                                                                  "X-Scope-OrgID": "team-a"})
        equal("push with a name", status, 204)
        s.stop()
        found = sorted(os.listdir(os.path.join(s.data, "chunks")))
        equal("one directory per tenant", found, ["team-a", "team-b"])


def test_example():
    example = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "access.yaml")
    with Server("logq.access_file=" + example) as s:
        equal("the example's pusher", push(s, "-u", "promtail:push-secret"), 204)
        equal("the example's reader", lines(s, *header("Authorization", "Bearer read-secret")), ["x"])


def test_addresses():
    with Server("logq.allow_from=127.0.0.0/30, ::1") as s:
        equal("an address on the list", ask(s, "/ready", "--interface", "127.0.0.1")[0], 200)
        equal("its neighbour", ask(s, "/ready", "--interface", "127.0.0.2")[0], 200)
        equal("one that is not", ask(s, "/ready", "--interface", "127.0.0.9")[0], 403)
        equal("nor for a push", ask(s, PUSH, "--interface", "127.0.0.9", *JSON, "--data-binary", "@-",
                                    body=push_body(["x" * 100000], a="b"))[0], 403)
        check("counted", 'reason="address_not_allowed"} 2' in ask(s, "/metrics")[1])
    s = Server("logq.allow_from=127.0.0.0/33")
    s.start(wait=False)
    check("a wrong prefix", s.process.wait(20) != 0 and "127.0.0.0/33" in s.tail())
    s.close()


def test_certificate_users():
    users = "users:\n" + user("ops", "query, admin", certificate="ops.example.org")
    TlsServer.ready_args = ("--cert", path("ops.pem"), "--key", path("ops.key"))
    with TlsServer(*tls_settings("server", "server.http_tls_config.client_auth_type=VerifyClientCertIfGiven",
                                 "server.http_tls_config.client_ca_file=" + path("ca.pem"),
                                 "logq.access_file=" + write("certificates.yaml", users))) as s:
        ca = ("--cacert", path("ca.pem"))
        equal("nobody", curl(s, "/config", *ca)[0], 401)
        equal("ops", curl(s, "/config", *ca, *TlsServer.ready_args)[0], 200)
        equal("ops may not push", curl(s, PUSH, *ca, *TlsServer.ready_args, *JSON, "--data-binary", "@-",
                                       body=push_body(["x"], a="b"))[0], 403)
        equal("another's certificate", curl(s, "/config", *ca, "--cert", path("second.pem"), "--key",
                                            path("second.key"))[0], 401)
    TlsServer.ready_args = ()
    # A certificate that nobody verifies proves nothing.
    TlsServer.ready_args = ("--cert", path("foreign.pem"), "--key", path("foreign.key"))
    with TlsServer(*tls_settings("server", "server.http_tls_config.client_auth_type=RequireAnyClientCert",
                                 "logq.access_file=" + path("certificates.yaml"))) as s:
        equal("unverified", curl(s, "/config", *ca, *TlsServer.ready_args)[0], 401)
    TlsServer.ready_args = ()


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
    test_changed_files()
    test_bad_files()
    test_users()
    test_tenants()
    test_example()
    test_addresses()
    test_certificate_users()
    shutil.rmtree(WORK, ignore_errors=True)
    done()


if __name__ == "__main__":
    main()
