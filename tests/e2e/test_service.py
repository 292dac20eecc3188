"""examples/systemd/logqd.service, as far as a machine without systemd as its first process permits: the unit is right and its
sandbox tight; logqd uses no system call that the filter forbids and no memory that is writable and executable; it runs as
nobody without any privilege; it tells systemd when it is ready. What needs a tool that is not there is left out."""
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from harness import LOGQD, ROOT, Server, check, done, equal, free_port

UNIT = os.path.join(ROOT, "examples", "systemd", "logqd.service")


def run(*args, **more):
    return subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more).stdout.decode("utf-8", "replace")


def test_unit():
    if not shutil.which("systemd-analyze"):
        print("no systemd-analyze: the unit is not checked")
        return
    work = tempfile.mkdtemp(prefix="logq-unit-")
    with open(UNIT) as f:
        text = f.read()
    with open(os.path.join(work, "logqd.service"), "w") as f:
        f.write(text.replace("/usr/bin/logqd", LOGQD))
    out = run("systemd-analyze", "verify", "--man=no", os.path.join(work, "logqd.service"))
    check("systemd-analyze verify", "logqd.service:" not in out, out)
    out = run("systemd-analyze", "security", "--offline=true", os.path.join(work, "logqd.service"))
    level = re.search(r"exposure level for logqd.service: ([0-9.]+)", out)
    if level:
        check("exposure", float(level.group(1)) <= 1.5, level.group(0))
    shutil.rmtree(work)


def allowed_calls():
    """What SystemCallFilter= of the unit leaves."""
    groups = {}
    name = None
    for line in run("systemd-analyze", "syscall-filter").splitlines():
        if line.startswith("@"):
            name = line.strip()
            groups[name] = set()
        elif name and line.startswith("    ") and not line.strip().startswith("#"):
            groups[name].add(line.strip())

    def expand(n, seen=()):
        out = set()
        for item in groups.get(n, ()):
            out |= expand(item, seen + (n,)) if item.startswith("@") and item not in seen else {item}
        return out
    return expand("@default") | (expand("@system-service") - expand("@privileged")) if groups else None


def test_system_calls():
    if not shutil.which("strace") or not shutil.which("systemd-analyze"):
        print("no strace or no systemd-analyze: the filter is not checked")
        return
    allowed = allowed_calls()
    if not allowed:
        return
    trace = tempfile.mktemp(prefix="logq-trace-")
    s = Server()
    s.process = subprocess.Popen(["strace", "-f", "-qq", "-o", trace, LOGQD, "--data-dir", s.data, "--listen",
                                  "127.0.0.1:%d" % s.port], stderr=s.log, stdout=s.log)
    try:
        time.sleep(1)
        if s.process.poll() is not None:
            print("strace does not work here: the filter is not checked")
            return
        s.wait_ready()
        now = time.time_ns()
        equal("push", s.push([({"app": "a"}, [(now + i, "line %d" % i) for i in range(1000)])])[0], 204)
        s.flush()
        s.query_range('{app="a"} |~ "l.ne 7"', now - 10**9, now + 10**9)
        s.instant('sum(rate({app="a"} | logfmt [1m]))', now)
        s.get("/metrics")
        pid = int(run("pgrep", "-P", str(s.process.pid)).split()[0])
        os.kill(pid, signal.SIGHUP)
        time.sleep(0.5)
        os.kill(pid, signal.SIGTERM)
        s.process.wait(60)
        with open(trace, errors="replace") as f:
            text = f.read()
        used = set(re.findall(r"^\d+ +([a-z_0-9]+)\(", text, re.M)) - {"execve"}
        check("system calls inside the filter", used <= allowed, sorted(used - allowed))
        wx = [l for l in text.splitlines() if ("mmap(" in l or "mprotect(" in l) and "PROT_WRITE" in l and "PROT_EXEC" in l]
        equal("no memory that is writable and executable", wx[:3], [])
    finally:
        s.close()
        if os.path.exists(trace):
            os.unlink(trace)


def test_notify():
    """Type=notify: READY when the port is open, RELOADING around SIGHUP, STOPPING at the end."""
    path = tempfile.mktemp(prefix="logq-notify-")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as box:
        box.bind(path)
        box.settimeout(20)
        os.environ["NOTIFY_SOCKET"] = path
        s = Server()
        try:
            s.start(wait=False)
            equal("ready", box.recv(200), b"READY=1")
            equal("the port is open then", s.get("/ready")[0], 200)
            s.process.send_signal(signal.SIGHUP)
            check("reloading", box.recv(200).startswith(b"RELOADING=1\nMONOTONIC_USEC="))
            equal("ready again", box.recv(200), b"READY=1")
            s.process.send_signal(signal.SIGTERM)
            equal("stopping", box.recv(200), b"STOPPING=1")
            equal("ends by itself", s.process.wait(40), 0)
        finally:
            del os.environ["NOTIFY_SOCKET"]
            s.close()
            os.unlink(path)


def test_nobody():
    """No privileges, no way to new ones, nothing writable but the data directory."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        print("not root or no setpriv: not run as nobody")
        return
    data, port, uid = tempfile.mkdtemp(prefix="logq-nobody-"), free_port(), pwd.getpwnam("nobody").pw_uid
    program = os.path.join(data, "logqd")
    shutil.copy(LOGQD, program)
    os.chmod(data, 0o755)
    os.mkdir(os.path.join(data, "data"))
    os.chown(os.path.join(data, "data"), uid, -1)
    p = subprocess.Popen(["setpriv", "--reuid", str(uid), "--clear-groups", "--no-new-privs", "--bounding-set=-all",
                          "--inh-caps=-all", program, "--data-dir", os.path.join(data, "data"), "--listen", "127.0.0.1:%d" % port],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, umask=0o077)
    try:
        s = Server(data=data)
        s.port, s.process = port, p
        s.wait_ready()
        equal("push as nobody", s.push([({"app": "a"}, [(time.time_ns(), "x")])])[0], 204)
        s.flush()
        with open("/proc/%d/status" % p.pid) as f:
            status = f.read()
        check("no new privileges", re.search(r"^NoNewPrivs:\s+1$", status, re.M) is not None)
        check("no capabilities", re.search(r"^CapEff:\s+0+$", status, re.M) is not None)
        modes = {oct(os.stat(os.path.join(d, f)).st_mode & 0o077) for d, _, fs in os.walk(os.path.join(data, "data")) for f in fs}
        equal("no file for others", modes, {"0o0"})
    finally:
        p.terminate()
        p.wait(40)
        shutil.rmtree(data, ignore_errors=True)


def main():
    test_unit()
    test_system_calls()
    test_notify()
    test_nobody()
    done()


if __name__ == "__main__":
    main()
