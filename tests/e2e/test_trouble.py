#!/usr/bin/env python3
"""A real server in trouble: a failing fsync, a clock that jumps, a directory that is in use, of another format, not to be
written, with files missing or with files of somebody else's. It says what is wrong, loses nothing that was
acknowledged, and goes on where that is possible.

usage: test_trouble.py"""
import glob
import os
import shutil
import subprocess
import tempfile
import time

import harness
from harness import Server, check, equal

FAULTIO = os.path.join(harness.BUILD, "tests", "libfaultio.so")


class FaultyServer(Server):
    """With tests/e2e/faultio.c under it."""

    def __init__(self, *settings, **options):
        super().__init__(*settings, **options)
        self.faults = tempfile.mkdtemp(prefix="logq-faults-")

    def start(self, wait=True):
        os.environ["LD_PRELOAD"], os.environ["FAULTIO_DIR"] = FAULTIO, self.faults
        try:
            return super().start(wait)
        finally:
            del os.environ["LD_PRELOAD"], os.environ["FAULTIO_DIR"]

    def fault(self, name, content):
        path = os.path.join(self.faults, name)
        if content is None:
            os.unlink(path)
            return
        with open(path + ".new", "w") as f:
            f.write(content)
        os.rename(path + ".new", path)

    def count(self, name):
        path = os.path.join(self.faults, name + ".count")
        return os.path.getsize(path) if os.path.exists(path) else 0

    def close(self):
        super().close()
        shutil.rmtree(self.faults, ignore_errors=True)


def push(server, text, seconds=0):
    return server.push([({"job": "trouble"}, [(int((time.time() + seconds) * 1e9), text)])])


def lines(server):
    end = int((time.time() + 7200) * 1e9)
    found = server.query_range('{job="trouble"}', end - 10**9 * 14400, end)
    return sorted(line for s in found for _, line in s["values"])


def start_refused(data, *args):
    """(exit status, all output) of a server that should not start."""
    p = subprocess.run([harness.LOGQD, "--data-dir", data, "--listen", "127.0.0.1:%d" % harness.free_port(), *args],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    return p.returncode, p.stdout


def failed_fsync():
    server = FaultyServer().start()
    equal("a push", push(server, "one")[0], 204)
    server.fault("fdatasync", "/wal/")
    status, _, body = push(server, "two")
    equal("a push whose fsync fails", status, 503)
    check("says so", b"fsync" in body or b"sync" in body, repr(body))
    server.fault("fdatasync", None)
    for n in range(3):
        status, _, body = push(server, "later %d" % n)
        equal("after it", status, 503)
        check("with the reason", b"fsync" in body, repr(body))
    equal("no fsync is tried again", server.count("fdatasync"), 1)
    status, _, body = server.get("/ready")
    equal("/ready", status, 503)
    check("/ready says why", b"fsync" in body, repr(body))
    check("queries go on", "one" in lines(server))
    server.kill()
    server.start()
    equal("after a restart", push(server, "three")[0], 204)
    found = lines(server)
    check("what was acknowledged is there", found.count("one") == 1 and found.count("three") == 1, str(found))
    server.close()


def failed_fsync_of_chunks():
    server = FaultyServer().start()
    equal("a push", push(server, "one")[0], 204)
    server.fault("fsync", "/chunks/")
    try:
        server.flush()
    except Exception as e:  # the harness may insist on success
        print("flush: %s" % e)
    check("the fsync failed", server.count("fsync") > 0)
    equal("pushes go on", push(server, "two")[0], 204)
    equal("nothing is missing", lines(server), ["one", "two"])
    server.fault("fsync", None)
    server.flush()
    equal("flushed", lines(server), ["one", "two"])
    server.kill()
    server.start()
    equal("after a restart", lines(server), ["one", "two"])
    server.close()


def jumping_clock():
    server = FaultyServer("compactor.compaction_interval=1s").start()
    equal("a push", push(server, "now")[0], 204)
    for jump in (3600, -3600, 300, 0):
        server.fault("clock", str(jump))
        equal("a push with the clock at %+d s" % jump, push(server, "at %d" % jump, jump)[0], 204)
        server.flush()
        check("ready", server.get("/ready")[0] == 200)
    time.sleep(1.5)  # a pass of the compactor
    equal("all are there", lines(server), sorted(["now", "at 3600", "at -3600", "at 300", "at 0"]))
    equal("stop", server.stop(), 0)
    server.start()
    equal("after a restart", len(lines(server)), 5)
    server.close()


def two_servers():
    server = Server().start()
    status, text = start_refused(server.data)
    equal("a second server on the directory", status, 1)
    check("says why and what to do", "in use by another logqd" in text and "--data-dir" in text, text)
    other = tempfile.mkdtemp(prefix="logq-trouble-")
    status, text = start_refused(other, "--listen", "127.0.0.1:%d" % server.port)
    equal("a second server on the port", status, 1)
    check("says why and what to do", "already in use" in text and "--listen" in text, text)
    shutil.rmtree(other)
    equal("the first goes on", push(server, "one")[0], 204)
    server.close()


def other_formats():
    server = Server().start()
    equal("a push", push(server, "one")[0], 204)
    equal("stop", server.stop(), 0)
    path = os.path.join(server.data, "format")
    with open(path) as f:
        own = f.read()
    for content, word in (("logq 2\ncompatible 0\nincompatible 0\n", "version 2"),
                          ("logq 0\ncompatible 0\nincompatible 0\n", "version 0"),
                          ("logq 1\ncompatible 0\nincompatible 4096\n", "0x1000"),
                          ("schema: v13\n", "is this a data directory?")):
        with open(path, "w") as f:
            f.write(content)
        status, text = start_refused(server.data)
        equal("format %r" % content[:8], status, 1)
        check("is named", word in text, text)
        status = subprocess.run([harness.LOGQD, "verify", server.data], capture_output=True).returncode
        equal("verify refuses it, too", status, 1)
    with open(path, "w") as f:
        f.write(own.replace("compatible 0", "compatible 7", 1))
    server.start()
    equal("compatible flags are ignored", lines(server), ["one"])
    server.close()


def read_only_directory():
    mount = tempfile.mkdtemp(prefix="logq-readonly-")
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", mount], stderr=subprocess.DEVNULL).returncode == 0
    if not mounted:
        print("skipped: a read-only directory needs root to mount it")
        os.rmdir(mount)
        return
    try:
        server = Server(data=mount).start()
        equal("a push", push(server, "one")[0], 204)
        server.flush()
        equal("stop", server.stop(), 0)
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        status, text = start_refused(mount)
        equal("a server on a read-only directory", status, 1)
        check("says why", "Read-only file system" in text, text)
        p = subprocess.run([harness.LOGQD, "verify", mount], capture_output=True, text=True)
        equal("verify works there", p.returncode, 0)
        p = subprocess.run([harness.LOGQ, "query", "--data-dir", mount, '{job="trouble"}'], capture_output=True, text=True)
        check("so does logq", "one" in p.stdout, p.stdout + p.stderr)
        subprocess.run(["mount", "-o", "remount,rw", mount], check=True)
        server.start()
        equal("written again", push(server, "two")[0], 204)
        server.close()
    finally:
        subprocess.run(["umount", "-l", mount])
        os.rmdir(mount)


def missing_files():
    """Whatever is taken away: the server starts and serves the rest."""
    server = Server().start()
    equal("a push", push(server, "one")[0], 204)
    server.flush()
    equal("stop", server.stop(), 0)
    for name in ("LOCK", "format", "wal", "index", "index/lock.mdb", "index/data.mdb"):
        path = os.path.join(server.data, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        server.start()
        equal("without " + name, lines(server), ["one"])
        equal("stop", server.stop(), 0)
    shutil.rmtree(os.path.join(server.data, "chunks"))
    for path in glob.glob(os.path.join(server.data, "wal", "*")):
        os.unlink(path)
    server.start()
    equal("without chunks", lines(server), [])
    equal("pushes are taken", push(server, "two")[0], 204)
    server.flush()
    equal("and kept", lines(server), ["two"])
    server.close()


def foreign_files():
    server = Server("compactor.compaction_interval=1s").start()
    equal("a push", push(server, "one")[0], 204)
    server.flush()
    day = glob.glob(os.path.join(server.data, "chunks", "*", "*"))[0]
    names = ["notes.txt", "wal/notes.txt", "wal/0.wal", "wal/00000000000000zz.wal", "index/notes.txt", "chunks/notes.txt",
             "chunks/someone/else/x.chunk", os.path.relpath(day, server.data) + "/notes.txt",
             os.path.relpath(day, server.data) + "/copy of a.chunk", "lost+found/x"]
    for name in names:
        path = os.path.join(server.data, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write("not logqd's")
    for _ in range(2):
        equal("stop", server.stop(), 0)
        server.start()
        equal("served beside foreign files", lines(server), ["one"])
        time.sleep(1.5)  # sweeps orphans
    missing = [n for n in names if not os.path.exists(os.path.join(server.data, n))]
    check("they are left alone", not missing, str(missing))
    server.close()


def main():
    failed_fsync()
    failed_fsync_of_chunks()
    jumping_clock()
    two_servers()
    other_formats()
    read_only_directory()
    missing_files()
    foreign_files()
    harness.done()


if __name__ == "__main__":
    main()
