#!/usr/bin/env python3
"""A full disk: pushes are refused with 503, queries go on, and when space is back pushes resume by themselves; what was
acknowledged is there throughout, and after a kill on the full disk, too. Needs root to mount a small tmpfs; says so
and passes when it may not.

usage: test_disk_full.py"""
import os
import random
import shutil
import subprocess
import tempfile
import time

import harness
from harness import Server, check, equal, wait_for

SIZE_MB, FILLER_MB = 64, 12
BATCH = 200
random.seed(20261122)


class Pusher:
    def __init__(self, server, base_ns):
        self.server, self.base_ns = server, base_ns
        self.next, self.statuses = 0, {}
        self.acknowledged = set()
        self.reason = b""

    def push(self):
        """One batch of random lines (they do not compress away); a refused batch is given up."""
        first, self.next = self.next, self.next + BATCH
        lines = [(self.base_ns + i * 1000, "%08d %s" % (i, random.randbytes(300).hex()))
                 for i in range(first, first + BATCH)]
        status, _, self.reason = self.server.push([({"job": "full", "n": str(first // BATCH % 7)}, lines)])
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 204:
            self.acknowledged.update(range(first, first + BATCH))
        return status

    def until(self, wanted, seconds):
        end = time.time() + seconds
        while time.time() < end:
            if self.push() == wanted:
                return True
            time.sleep(0.05 if wanted == 204 else 0)
        return False


def verify(name, server, pusher):
    """Every acknowledged line, once; refused ones may be there, too."""
    seen, at, end = {}, pusher.base_ns, pusher.base_ns + 10**13
    while True:
        page = sorted((int(ns), line[:8]) for s in server.query_range('{job="full"}', at, end) for ns, line in s["values"])
        for key in page:
            seen[key] = seen.get(key, 0) + 1
        if len(page) < 5000:
            break
        at = page[-1][0]
        for key in [k for k in seen if k[0] == at]:
            del seen[key]
    numbers = {int(k[1]) for k in seen}
    missing = pusher.acknowledged - numbers
    check(name + ": nothing is missing", not missing, "%d of %d" % (len(missing), len(pusher.acknowledged)))
    check(name + ": nothing is doubled", all(v == 1 for v in seen.values()))


def wait_ready(server, wanted, seconds):
    end = time.time() + seconds
    while time.time() < end:
        try:
            status, _, text = server.get("/ready")
            if status == wanted:
                return text
        except OSError:  # not listening yet
            pass
        time.sleep(0.1)
    return None


def fill_up(server, pusher, name):
    check(name + ": pushes are refused at last", pusher.until(503, 120), str(pusher.statuses))
    check(name + ": with a reason", b"space" in pusher.reason or b"memory" in pusher.reason, repr(pusher.reason))
    for _ in range(20):
        pusher.push()
    verify(name + ": on the full disk", server, pusher)


def run(mount):
    filler = os.path.join(mount, "filler")
    second_filler = os.path.join(mount, "filler-2")
    for path in (filler, second_filler):
        with open(path, "wb") as f:
            f.write(bytes(FILLER_MB << 20))
    server = Server(data=mount).start()
    pusher = Pusher(server, (int(time.time()) - 3600) * 10**9)

    fill_up(server, pusher, "first")
    text = wait_ready(server, 503, 20)
    check("/ready tells", text is not None and b"space" in text, repr(text))
    os.unlink(filler)
    check("/ready finds out without a push", wait_ready(server, 200, 20) is not None)
    before = len(pusher.acknowledged)
    check("pushes resume by themselves", pusher.until(204, 20), str(pusher.statuses))
    check("more is acknowledged", len(pusher.acknowledged) > before)

    fill_up(server, pusher, "again")
    server.kill()
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)  # not even the reserve is left
    try:
        while os.write(fd, bytes(4096)) > 0:
            pass
    except OSError:
        os.close(fd)
    server.start(wait=False)
    check("it starts on the full disk", wait_ready(server, 503, 30) is not None or server.get("/ready")[0] == 200)
    verify("after a kill on the full disk", server, pusher)
    equal("exit status on the full disk", server.stop(), 0)
    os.unlink(filler)
    os.unlink(second_filler)
    server.start(wait=False)
    check("ready again", wait_ready(server, 200, 30) is not None)
    check("pushes go on", pusher.until(204, 20), str(pusher.statuses))
    verify("at the end", server, pusher)
    equal("exit status", server.stop(), 0)
    check("never 4xx", not [s for s in pusher.statuses if 400 <= s < 500], str(pusher.statuses))
    print("%d entries acknowledged, answers %s" % (len(pusher.acknowledged), pusher.statuses))
    server.close()


def free_bytes(mount):
    st = os.statvfs(mount)
    return st.f_bavail * st.f_frsize


def expire_on_full_disk(mount):
    """Somebody else has filled the disk to the last byte: retention still makes room, and pushes resume."""
    data = os.path.join(mount, "expire")
    os.mkdir(data)
    old = ["limits_config.reject_old_samples=false"]
    server = Server(*old, data=data).start()
    check("a reserve is held", os.path.getsize(os.path.join(data, "reserve")) > 500000)
    base_ns = (int(time.time()) - 3 * 86400) * 10**9
    for n in range(50):
        lines = [(base_ns + i * 1000, "%08d %s" % (i, random.randbytes(500).hex())) for i in range(n * 500, n * 500 + 500)]
        equal("an old push", server.push([({"job": "old", "n": str(n)}, lines)])[0], 204)
    server.flush()
    equal("exit status", server.stop(), 0)
    filler = os.path.join(mount, "filler")
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(fd, bytes(4096)) > 0:
            pass
    except OSError:
        os.close(fd)
    equal("no byte is left", free_bytes(mount), 0)
    server.settings = old + ["limits_config.retention_period=24h", "compactor.retention_enabled=true",
                             "compactor.compaction_interval=1s"]
    server.start(wait=False)
    check("retention makes room", wait_for(lambda: free_bytes(mount) >= 10 << 20, 60), "%d bytes free\n%s" % (free_bytes(mount), server.tail()))
    check("ready", wait_ready(server, 200, 20) is not None)
    equal("a push", server.push([({"job": "new"}, [(int(time.time() * 1e9), "new")])])[0], 204)
    equal("exit status", server.stop(), 0)
    os.unlink(filler)
    server.close()


def main():
    mount = tempfile.mkdtemp(prefix="logq-full-")
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=%dm" % SIZE_MB, "tmpfs", mount], stderr=subprocess.DEVNULL).returncode == 0
    try:
        if mounted:
            run(mount)
            for name in os.listdir(mount):
                path = os.path.join(mount, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
            expire_on_full_disk(mount)
        else:
            print("skipped: mounting a tmpfs needs root")
    finally:
        if mounted:
            subprocess.run(["umount", "-l", mount])
        os.rmdir(mount)
    harness.done()


if __name__ == "__main__":
    main()
