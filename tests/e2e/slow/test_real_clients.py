#!/usr/bin/env python3
"""Real client programs against a real logqd. Slow, and it needs the network: Debian's packages and npm's are fetched into a
directory of their own (nothing is installed on the machine); what cannot be had is skipped with a note.

LOGQ_REAL_CLIENTS names a directory to keep the downloads in from run to run."""
import glob
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import harness  # noqa: E402
from harness import LOGQ, ROOT, Server, check, equal, free_port, wait_for  # noqa: E402

HERE = os.path.join(ROOT, "tests", "e2e", "clients-real")
KEEP = os.environ.get("LOGQ_REAL_CLIENTS")
WORK = KEEP or tempfile.mkdtemp(prefix="logq-clients-")
os.makedirs(WORK, exist_ok=True)
LINES = 500


class Skip(Exception):
    pass


def run(command, seconds=120, **more):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, text=True, errors="replace", **more)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Skip("%s: %s" % (command[0], e))


def debian(packages):
    """The root of a tree that holds the packages; the version of the first."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Skip("no apt-get here")
    root = os.path.join(WORK, "debian")
    os.makedirs(root, exist_ok=True)
    version = ""
    for package in packages:
        if not glob.glob(os.path.join(root, package + "_*.deb")):
            r = run(["apt-get", "download", "-qq", package], cwd=root)
            if r.returncode:
                raise Skip("%s cannot be fetched: %s" % (package, r.stdout.strip().split("\n")[-1]))
        file = glob.glob(os.path.join(root, package + "_*.deb"))[0]
        if run(["dpkg-deb", "-x", file, os.path.join(root, "root")]).returncode:
            raise Skip("%s cannot be unpacked" % package)
        version = version or run(["dpkg-deb", "-f", file, "Version"]).stdout.strip()
    return os.path.join(root, "root"), version


def with_libraries(*folders):
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)}


def count(s, selector):
    r = s.instant("sum(count_over_time(%s[1h]))" % selector, int(time.time()) + 60)
    return int(r[0]["value"][1]) if r else 0


def wait_for_lines(s, selector, want, seconds=30):
    wait_for(lambda: count(s, selector) >= want, seconds, 0.2)
    return count(s, selector)


def rows(s, selector):
    """[(line, labels and metadata)], oldest first."""
    now = time.time_ns()
    out = [(int(v[0]), v[1], st["stream"]) for st in s.query_range(selector, now - 3600 * 10**9, now + 60 * 10**9) for v in st["values"]]
    return [e[1:] for e in sorted(out, key=lambda e: e[0])]


def read_example(*path):
    with open(os.path.join(ROOT, "examples", *path)) as f:
        return f.read()


TEXT = 'line %d "quoted" \\ back <tag> \u00e9'


def send_syslog(port, first, last):
    """Lines as a program's syslog over TCP; every second one an error."""
    for _ in range(100):
        try:
            c = socket.create_connection(("127.0.0.1", port))
            break
        except OSError:
            time.sleep(0.1)
    else:
        raise RuntimeError("the daemon does not listen on port %d" % port)
    for i in range(first, last):
        c.sendall(("<%d>%s web-1 sshd[4711]: %s\n" % (11 if i % 2 else 30, time.strftime("%b %d %H:%M:%S"), TEXT % i)).encode())
    c.close()


def with_outage(s, port, selector):
    """Half of the lines, then the server is killed, a quarter, the server is back, the rest."""
    send_syslog(port, 0, LINES // 2)
    wait_for_lines(s, selector, LINES // 2)
    s.kill()
    send_syslog(port, LINES // 2, LINES * 3 // 4)
    time.sleep(2)
    s.start()
    send_syslog(port, LINES * 3 // 4, LINES)
    return wait_for_lines(s, selector, LINES, 60)


def rsyslog(s):
    """examples/rsyslog: the omprog way with logq push, and the omhttp template rendered by rsyslogd and posted."""
    root, version = debian(["rsyslog", "libestr0", "libfastjson4", "liblognorm5"])
    lib = os.path.join(root, "usr/lib/x86_64-linux-gnu")
    folder, port = tempfile.mkdtemp(dir=WORK), free_port()
    omprog = read_example("rsyslog", "60-logqd-omprog.conf").replace("/usr/bin/logq", LOGQ).replace("127.0.0.1:3100", "127.0.0.1:%d" % s.port)
    template = re.search(r"^template\(.*?^}", read_example("rsyslog", "60-logqd.conf"), re.S | re.M).group(0).replace('name="logqd"', 'name="http"')
    with open(os.path.join(folder, "rsyslog.conf"), "w") as f:
        f.write('global(workDirectory="%s")\nmodule(load="imptcp")\ninput(type="imptcp" address="127.0.0.1" port="%d")\n%s\n%s\n'
                'action(type="omfile" file="%s/http.json" template="http")\n' % (folder, port, omprog, template, folder))
    daemon = subprocess.Popen([os.path.join(root, "usr/sbin/rsyslogd"), "-n", "-iNONE", "-f", os.path.join(folder, "rsyslog.conf"), "-M",
                               os.path.join(lib, "rsyslog")], env=with_libraries(lib), stderr=subprocess.DEVNULL)
    try:
        equal("rsyslog %s, omprog with logq push: every line over a kill -9 of logqd" % version, with_outage(s, port, '{job="rsyslog"}'), LINES)
    finally:
        daemon.terminate()
        daemon.wait()
    got = rows(s, '{job="rsyslog"}')
    equal("rsyslog %s: lines in order" % version, [l.split("sshd[4711]: ")[1] for l, _ in got], [TEXT % i for i in range(LINES)])
    with open(os.path.join(folder, "http.json"), encoding="utf-8") as f:
        text = f.read().replace("}{", "},{").replace('"job":"rsyslog"', '"job":"rsyslog-http"')
    status, _, answer = s.request("POST", "/loki/api/v1/push", None, {"Content-Type": "application/json; charset=utf-8", "Content-Encoding": "gzip"},
                                  gzip.compress(('{"streams":[' + text + "]}").encode()))
    equal("rsyslog %s, the omhttp template: pushed" % version, (status, answer), (204, b""))
    got = rows(s, '{job="rsyslog-http"}')
    equal("rsyslog %s, the omhttp template: lines and labels" % version,
          (len(got), sorted(l for l, _ in got) == sorted(TEXT % i for i in range(LINES)), got[0][1]["program"], got[0][1]["procid"]),
          (LINES, True, "sshd", "4711"))


def syslog_ng(s):
    root, version = debian(["syslog-ng-core", "syslog-ng-mod-http", "libivykis0", "libnet1", "libwrap0"])
    lib = os.path.join(root, "usr/lib/syslog-ng")
    modules = glob.glob(os.path.join(lib, "[0-9]*"))[0]
    folder, port = tempfile.mkdtemp(dir=WORK), free_port()
    example = read_example("syslog-ng", "logqd.conf").replace("127.0.0.1:3100", "127.0.0.1:%d" % s.port).replace("/var/lib/syslog-ng", folder)
    config = os.path.join(folder, "syslog-ng.conf")
    with open(config, "w") as f:
        f.write('@version: %s\nsource s_src { network(ip("127.0.0.1") port(%d) transport("tcp")); };\n%s'
                % (os.path.basename(modules), port, example.replace("timeout(10)", "timeout(10) time-reopen(1)")))
    env = with_libraries(lib, os.path.join(root, "usr/lib/x86_64-linux-gnu"))
    paths = ["--module-path=" + modules, "-f", config, "-p", folder + "/pid", "-R", folder + "/persist", "-c", folder + "/control"]
    daemon = subprocess.Popen([os.path.join(root, "usr/sbin/syslog-ng"), "-F", "--no-caps", *paths], env=env, stderr=subprocess.DEVNULL)
    try:
        equal("syslog-ng %s, http(): every line over a kill -9 of logqd" % version, with_outage(s, port, '{job="syslog-ng"}'), LINES)
    finally:
        daemon.terminate()
        daemon.wait()
    got = rows(s, '{job="syslog-ng"}')
    equal("syslog-ng %s: lines and labels" % version,
          (sorted(l for l, _ in got) == sorted(TEXT % i for i in range(LINES)), {r["level"] for _, r in got}, got[0][1]["program"], got[0][1]["pid"],
           {r["detected_level"] for _, r in got}), (True, {"err", "info"}, "sshd", "4711", {"error", "info"}))


def nginx(s):
    """examples/nginx: passwords, a push, a query and a live tail through a real nginx, without its TLS."""
    root, version = debian(["nginx", "nginx-common"])
    folder, port = tempfile.mkdtemp(dir=WORK), free_port()
    example = re.sub(r"\n    ssl_.*", "", read_example("nginx", "logqd.conf")).replace("listen 443 ssl", "listen 127.0.0.1:%d" % port)
    example = example.replace("127.0.0.1:3100", "127.0.0.1:%d" % s.port).replace("/etc/nginx/logqd.htpasswd", folder + "/htpasswd")
    with open(os.path.join(folder, "htpasswd"), "w") as f:
        f.write("shipper:{PLAIN}secret\n")
    with open(os.path.join(folder, "nginx.conf"), "w") as f:
        f.write("daemon off;\nmaster_process off;\npid %s/pid;\nerror_log %s/error.log;\nevents {}\nhttp {\naccess_log off;\n" % (folder, folder))
        f.write("".join("%s_temp_path %s/%s;\n" % (n, folder, n) for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")))
        f.write(example + "}\n")
    command = [os.path.join(root, "usr/sbin/nginx"), "-p", folder, "-e", folder + "/error.log", "-c", folder + "/nginx.conf"]
    r = run(command + ["-t"])
    if not equal("nginx %s: takes the file" % version, r.returncode, 0):
        return print(r.stdout)
    daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        url, show = "http://127.0.0.1:%d" % port, ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--retry", "20", "--retry-connrefused"]
        body = json.dumps({"streams": [{"stream": {"app": "nginx"}, "values": [[str(time.time_ns()), "x" * 1000]] * 1}]})
        send = ["-H", "Content-Type: application/json", "-d", body, url + "/loki/api/v1/push"]
        password = ["-u", "shipper:secret"]
        for name, args, want in (("/ready needs no password", [url + "/ready"], "200"), ("a push without one", send, "401"),
                                 ("with a wrong one", ["-u", "shipper:x"] + send, "401"), ("with it", password + send, "204"),
                                 ("a query", password + ["-G", url + "/loki/api/v1/labels"], "200"),
                                 ("/metrics from here", password + [url + "/metrics"], "200")):
            equal("nginx %s: %s" % (version, name), run(show + args).stdout, want)
        equal("nginx %s: the line is there" % version, count(s, '{app="nginx"}'), 1)
        if shutil.which("node"):
            tail(s, "nginx %s and " % version, node("tail.mjs", s, "100", "tail-nginx", at="http://shipper:secret@127.0.0.1:%d" % port))
    finally:
        daemon.terminate()
        daemon.wait()


def curl(s):
    version = run(["curl", "--version"]).stdout.split(" ")[1]
    url = "http://127.0.0.1:%d" % s.port
    now = time.time_ns()

    def body(app, size):
        return json.dumps({"streams": [{"stream": {"app": app}, "values": [[str(now), "x" * size]]}]})
    folder = tempfile.mkdtemp(dir=WORK)
    small, large = os.path.join(folder, "small"), os.path.join(folder, "large")
    with open(small, "w") as f:
        f.write(body("curl-small", 10))
    with open(large, "w") as f:
        f.write(json.dumps({"streams": [{"stream": {"app": "curl-large"}, "values": [[str(now + i), "y" * 100000] for i in range(30)]}]}))
    show = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code} %{http_version}", url + "/loki/api/v1/push"]
    table = [
        ("form type by default: JSON is seen", ["--data-binary", "@" + small], "204 1.1"),
        ("JSON", ["-H", "Content-Type: application/json", "--data-binary", "@" + small], "204 1.1"),
        ("3 MB, Expect: 100-continue", ["-H", "Content-Type: application/json", "--data-binary", "@" + large], "204 1.1"),
        ("chunked", ["-H", "Content-Type: application/json", "-H", "Transfer-Encoding: chunked", "--data-binary", "@" + large], "204 1.1"),
        ("HTTP/1.0", ["-0", "-H", "Content-Type: application/json", "--data-binary", "@" + small], "204 1."),
        ("upgrade to HTTP/2 offered", ["--http2", "-H", "Content-Type: application/json", "--data-binary", "@" + small], "204 1.1"),
    ]
    for name, args, want in table:
        r = run(show + args).stdout
        check("curl %s: %s" % (version, name), r.startswith(want), r)
    r = run(["curl", "-s", "--compressed", "-G", url + "/loki/api/v1/query_range", "--data-urlencode", 'query={app="curl-large"}', "-d", "limit=3"])
    equal("curl %s: a compressed answer" % version, len(json.loads(r.stdout)["data"]["result"][0]["values"]), 3)


def node(program, s, *args, at=None):
    folder = os.path.join(WORK, "node")
    if not shutil.which("node") or not shutil.which("npm"):
        raise Skip("no node and npm here")
    os.makedirs(folder, exist_ok=True)
    for file in glob.glob(os.path.join(HERE, "*")):
        shutil.copy(file, folder)
    if not os.path.isdir(os.path.join(folder, "node_modules")):
        r = run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"], 300, cwd=folder)
        if r.returncode:
            shutil.rmtree(os.path.join(folder, "node_modules"), ignore_errors=True)
            raise Skip("npm: " + r.stdout[-300:])
    return ["node", os.path.join(folder, program), at or "http://127.0.0.1:%d" % s.port, *args]


def version_of(package):
    with open(os.path.join(HERE, "package.json")) as f:
        return "%s %s" % (package, json.load(f)["dependencies"][package])


def opentelemetry_js(s):
    r = run(node("otel.mjs", s, str(LINES)))
    for service in ("js-json", "js-gzip", "js-proto"):
        package = version_of("@opentelemetry/exporter-logs-otlp-" + ("proto" if service == "js-proto" else "http"))
        got = rows(s, '{service_name="%s"}' % service)
        equal("%s, %s: lines" % (package, service), sorted(l for l, _ in got), sorted("line %d" % i for i in range(LINES)))
        check("%s, %s: attributes" % (package, service), got and all(
            (m["detected_level"], m["host_name"], m["scope_name"], l) == ("warn", "h", "scope", "line " + m["user_id"]) for l, m in got), repr(got[:1]))
        check("%s: ends well" % package, r.returncode == 0, r.stdout[-300:])


def winston(s):
    r = run(node("winston.mjs", s, str(LINES)))
    equal("%s: ends well" % version_of("winston-loki"), (r.returncode, r.stdout), (0, ""))
    for app in ("winston-json", "winston-proto"):
        got = rows(s, '{app="%s"}' % app)
        equal("%s, %s: lines" % (version_of("winston-loki"), app), sorted(json.loads(l)["n"] for l, _ in got), list(range(LINES)))


def pino(s):
    r = run(node("pino.mjs", s, str(LINES)))
    equal("%s: ends well" % version_of("pino-loki"), (r.returncode, r.stdout), (0, ""))
    got = rows(s, '{app="pino"}')
    equal("%s: lines with their metadata" % version_of("pino-loki"), sorted((json.loads(l)["n"], m["trace_id"]) for l, m in got),
          [(i, "t%d" % i) for i in range(LINES)])


def prometheus(s):
    """Prometheus itself: what it thinks of /metrics, the rules and its configuration; then it scrapes logqd and evaluates the rules."""
    root, version = debian(["prometheus"])
    s.push([({"app": "scraped"}, [(time.time_ns(), "x")])])
    promtool, program = (os.path.join(root, "usr/bin", n) for n in ("promtool", "prometheus"))
    r = subprocess.run([promtool, "check", "metrics"], input=s.get("/metrics")[2].decode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # A gauge that Loki calls so.
    said = [l for l in r.stdout.splitlines() if not l.startswith("loki_compactor_pending_delete_requests_count ")]
    equal("promtool %s: /metrics, nothing to complain about" % version, (r.returncode in (0, 3), said), (True, []))
    rules = os.path.join(ROOT, "examples", "prometheus", "logqd-rules.yml")
    r = run([promtool, "check", "rules", rules])
    check("promtool: the rules", r.returncode == 0 and "SUCCESS" in r.stdout, r.stdout)
    r = run([promtool, "check", "config", "--syntax-only", os.path.join(ROOT, "examples", "prometheus", "prometheus.yml")])
    check("promtool: the scrape job", r.returncode == 0 and "SUCCESS" in r.stdout, r.stdout)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        config, port = os.path.join(folder, "prometheus.yml"), free_port()
        with open(config, "w") as f:
            f.write("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%s]\nscrape_configs:\n- job_name: logqd\n  static_configs:\n"
                    "  - targets: ['127.0.0.1:%d']\n" % (rules, s.port))
        process = subprocess.Popen([program, "--config.file=" + config, "--storage.tsdb.path=" + folder, "--web.listen-address=127.0.0.1:%d" % port],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def ask(path, **params):
            with urllib.request.urlopen("http://127.0.0.1:%d%s?%s" % (port, path, urllib.parse.urlencode(params)), timeout=10) as answer:
                return json.load(answer)["data"]
        try:
            up, end = [], time.time() + 30
            while not up and time.time() < end:
                time.sleep(0.5)
                try:
                    up = [r["value"][1] for r in ask("/api/v1/query", query='up{job="logqd"} == 1')["result"]]
                except OSError:
                    pass
            equal("Prometheus: the target is up", up, ["1"])
            time.sleep(3)
            got = ask("/api/v1/query", query="sum by (tenant) (loki_distributor_lines_received_total)")["result"]
            check("Prometheus: lines by tenant", [r["metric"] for r in got] == [{"tenant": "fake"}] and float(got[0]["value"][1]) > 0, got)
            groups = ask("/api/v1/rules")["groups"]
            equal("Prometheus: every rule can be evaluated", sorted({r["health"] for g in groups for r in g["rules"]}), ["ok"])
        finally:
            process.kill()
            process.wait()


def websocket(s):
    if s.get("/loki/api/v1/tail", {"query": '{app="tail"}'})[0] == 404:
        raise Skip("this logqd has no tail")
    tail(s, "", node("tail.mjs", s, "100", "tail"))


def tail(s, through, command):
    """100 lines pushed while a reader tails them."""
    name = through + version_of("ws")
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        equal("%s: opens" % name, reader.stderr.readline(), "open\n")
        for b in range(10):
            now = time.time_ns()
            s.push([({"app": command[-1]}, [(now + i, "line %d" % (b * 10 + i)) for i in range(10)] + [(now + 50, "other")])])
            time.sleep(0.1)
        out, err = reader.communicate(timeout=40)
    finally:
        if reader.poll() is None:
            reader.kill()
            reader.wait()
    seen = json.loads(out) if out else {}
    values = seen.get("values", [])
    equal("%s: lines in order, as texts, closed with 1000, no extension" % name,
          ([v[1] for v in values], {len(v) for v in values}, seen.get("binary"), seen.get("closed"), seen.get("extensions")),
          (["line %d" % i for i in range(100)], {2}, 0, 1000, ""))
    check("%s: pings" % name, seen.get("pings", 0) >= 1, err)


if __name__ == "__main__":
    try:
        with Server() as server:
            for part in (curl, rsyslog, syslog_ng, opentelemetry_js, winston, pino, prometheus, websocket, nginx):
                try:
                    part(server)
                except Skip as e:
                    print("SKIP %s: %s" % (part.__name__, e), flush=True)
                except Exception as e:  # one broken part must not hide the others
                    check(part.__name__ + " ran to its end", False, "%s: %s" % (type(e).__name__, e))
            equal("exit status", server.stop(), 0)
    finally:
        if not KEEP:
            shutil.rmtree(WORK, ignore_errors=True)
    harness.done()
