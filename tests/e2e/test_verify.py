#!/usr/bin/env python3
"""logqd verify: a sound directory passes, beside a running server and as a copy that cannot be written; each kind of damage is
named, with file, place, stream and times; --repair moves it to quarantine, and a server then serves all that is left.

usage: test_verify.py"""
import glob
import json
import os
import random
import shutil
import subprocess
import tempfile
import time

import harness
from harness import Server, check, equal

STREAMS, LINES = 4, 3000


def verify(data, *options):
    p = subprocess.run([harness.LOGQD, "verify", data, *options], capture_output=True, text=True, timeout=120)
    return p.returncode, p.stdout, p.stderr


def fill(server, base_ns):
    for n in range(STREAMS):
        for first in range(0, LINES, 500):
            lines = [(base_ns + i * 10**6, "stream %d line %06d %s" % (n, i, random.randbytes(120).hex()))
                     for i in range(first, first + 500)]
            equal("push", server.push([({"job": "verify", "n": str(n)}, lines)])[0], 204)


def count(server, n, base_ns):
    seconds = base_ns // 10**9 + 600
    found = server.instant('sum(count_over_time({job="verify",n="%d"}[30m]))' % n, seconds)
    return int(found[0]["value"][1]) if found else 0


def flip(path, offset, value=0x10):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ value]))


def chunks(data):
    return sorted(glob.glob(os.path.join(data, "chunks", "*", "*", "*.chunk")))


def check_sound(server):
    status, out, err = verify(server.data)
    equal("beside a running server", (status, err), (0, ""))
    check("it says that a server runs", "server is running" in out, out)
    status, _, err = verify(server.data, "--repair")
    equal("no repair beside a server", status, 1)
    check("with the reason", "in use" in err, err)
    equal("stop", server.stop(), 0)
    status, out, _ = verify(server.data)
    equal("a sound directory", status, 0)
    check("all entries are read", "%d entries" % (STREAMS * LINES) in out and "no damage" in out, out)
    copy = tempfile.mkdtemp(prefix="logq-verify-")
    shutil.copytree(os.path.join(server.data, "chunks"), os.path.join(copy, "chunks"))
    status, out, _ = verify(copy)
    equal("a copy of the chunk files alone", status, 1)  # there is no index
    check("names the index alone", out.count("damage: ") == 2 and "damage: index" in out, out)  # and the summary
    shutil.rmtree(copy)
    equal("no directory", verify(server.data + "/none")[0], 1)
    equal("wrong usage", verify(server.data, "--repai")[0], 2)


def ask(server, query, base_ns):
    status, _, body = server.get("/loki/api/v1/query_range", {"query": query, "start": base_ns, "end": base_ns + 10**12,
                                                             "limit": 5000, "direction": "forward"})
    equal("status of " + query, status, 200)
    answer = json.loads(body)
    return answer, sum(len(s["values"]) for s in answer["data"]["result"])


def check_answers(server, base_ns):
    """A damaged block costs its own entries, and the answer says so."""
    path = chunks(server.data)[0]
    offset = os.path.getsize(path) // 3
    server.start()
    answer, whole = ask(server, '{job="verify",n="0"}', base_ns)
    equal("all lines, no warning", (whole, answer.get("warnings")), (LINES, None))
    equal("stop", server.stop(), 0)
    flip(path, offset)
    server.start()
    found = [ask(server, '{job="verify",n="%d"}' % n, base_ns) for n in range(STREAMS)]
    counts = sorted(count for _, count in found)
    check("one stream lacks a block, the others are whole", 0 < counts[0] < LINES and counts[1:] == [LINES] * (STREAMS - 1),
          str(counts))
    warnings = [a["warnings"] for a, _ in found if "warnings" in a]
    check("the answer says so", len(warnings) == 1 and os.path.basename(path) in warnings[0][0], str(warnings))
    answer, _ = ask(server, 'sum by (n) (count_over_time({job="verify"} |= "line" [10s]))', base_ns)
    check("metric queries, too", len(answer["data"]["result"]) == STREAMS and "warnings" in answer, str(answer)[:300])
    equal("stop", server.stop(), 0)
    flip(path, offset)
    equal("mended", verify(server.data)[0], 0)


def damage_all(data):
    """A block of one chunk, the header of another, the trailer of a third, one that is gone; the index."""
    files = chunks(data)
    equal("a file per stream", len(files), STREAMS)
    flip(files[0], os.path.getsize(files[0]) // 3)
    flip(files[1], 30)
    flip(files[2], os.path.getsize(files[2]) - 20)
    os.unlink(files[3])
    flip(os.path.join(data, "index", "data.mdb"), 4096 * 3 + 12)
    return files


def main():
    base_ns = (int(time.time()) - 1200) * 10**9
    random.seed(20261127)
    server = Server().start()
    fill(server, base_ns)
    server.flush()
    check_sound(server)
    whole = tempfile.mkdtemp(prefix="logq-verify-")
    shutil.copytree(server.data, whole, dirs_exist_ok=True)

    files = chunks(server.data)
    os.unlink(files[3])
    status, out, _ = verify(server.data)
    equal("a missing file", status, 1)
    name = os.path.relpath(files[3], server.data)
    check("is named with what is lost", name + ": the file is missing; from 20" in out and
          "%d entries are lost" % LINES in out, out)
    shutil.copy(os.path.join(whole, name), files[3])
    equal("back again", verify(server.data)[0], 0)

    for segment in glob.glob(os.path.join(server.data, "wal", "*")):  # it would bring back what it still holds
        os.unlink(segment)
    check_answers(server, base_ns)
    files = damage_all(server.data)
    names = [os.path.relpath(f, server.data) for f in files]
    status, out, _ = verify(server.data)
    equal("damage", status, 1)
    check("a block, with its stream and times", "damage: %s at " % names[0] in out and
          '{job="verify", n="' in out and "; from 20" in out and "entries are lost" in out, out)
    check("a header", "damage: %s at 0: the header is damaged" % names[1] in out, out)
    check("a trailer", names[2] in out and "the trailer is damaged" in out, out)
    check("the index, with its page", "damage: index/data.mdb: index page 3" in out, out)
    status, out, err = verify(server.data, "--repair")
    equal("repair", (status, err), (1, ""))
    check("says what was moved", "moved to quarantine: 3" in out, out)
    for moved in (names[0], names[1], names[2]):
        check("in quarantine: " + moved, os.path.exists(os.path.join(server.data, "quarantine", moved)))
    status, out, _ = verify(server.data)
    equal("after the repair", status, 0)
    server.start()
    counts = sorted(count(server, n, base_ns) for n in range(STREAMS))
    equal("two streams are gone, one lacks a block, one is whole", (counts[:2], counts[3]), ([0, 0], LINES))
    check("the other blocks are there", 0 < counts[2] < LINES, str(counts))
    equal("new lines are taken", server.push([({"job": "verify", "n": "9"}, [(base_ns, "new")])])[0], 204)
    equal("stop", server.stop(), 0)
    equal("all well in the end", verify(server.data)[0], 0)

    print(subprocess.run([harness.LOGQD, "verify", "--help"], capture_output=True, text=True).stdout.split("\n")[0])
    shutil.rmtree(whole)
    server.close()
    harness.done()


if __name__ == "__main__":
    main()
