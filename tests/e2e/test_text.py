#!/usr/bin/env python3
"""logq --stdin against grep: the same lines, counts, marks and statuses, over plain and compressed text in any block; and
LogQL over text: pipelines and metrics. No server anywhere."""
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time

import harness
from harness import LOGQ, check, equal

FOLDER = tempfile.mkdtemp(prefix="logq-e2e-text-")
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("LOKI_", "LOGQ_", "NO_COLOR", "GREP_"))}
SCRATCH = os.path.join(FOLDER, "scratch")
os.mkdir(SCRATCH)
ENV.update(TMPDIR=SCRATCH, TZ="UTC0", LC_ALL="C.UTF-8", LOGQ_ADDR="http://127.0.0.1:9")


def run(*args, stdin=b""):
    p = subprocess.run([LOGQ] + list(args), input=stdin, capture_output=True, env=ENV, timeout=60, cwd=FOLDER)
    return p.returncode, p.stdout, p.stderr.decode("utf-8", "replace")


def grep(*args, stdin=b""):
    p = subprocess.run(["grep", "-a"] + list(args), input=stdin, capture_output=True, env=ENV, cwd=FOLDER)
    return p.returncode, p.stdout


def write(name, data):
    with open(os.path.join(FOLDER, name), "wb") as f:
        f.write(data)
    return name


def make_text():
    pick = random.Random(7)
    words = "GET POST error Error ERROR timeout refused user session took ms cache miss-hit été naïve 10.0.0.1 $HOME a.b [x]".split()
    out = []
    for i in range(60000):
        out.append("%06d %s %08x" % (i, " ".join(pick.choice(words) for _ in range(pick.randrange(0, 14))), pick.getrandbits(32)))
        if i % 997 == 0:
            out.append("")
        if i % 5003 == 0:
            out.append("x" * 300000)
    raw = "\n".join(out).encode()
    return raw.replace(b"00777", b"\xff\xfe777") + b"\nlast without a break"


ROWS = (
    ("error",), ("-i", "error"), ("-v", "a"), ("-w", "miss"), ("-x", ""), ("-c", ""), ("-c", "error"), ("-vc", "error"), ("-ci", "error"), ("-F", "a.b"),
    ("-F", "$HOME"), ("-F", "[x]"), ("-e", "timeout", "-e", "refused"), ("-ve", "timeout", "-e", "a"), ("-n", "refused user"), ("-nv", "e"), ("-o", "took ms"),
    ("-on", "user"), ("-oE", "[0-9]{3}ab"), ("-E", "^0000[0-9]+"), ("-E", "ab$"), ("-m", "5", "ms"), ("-m5", "-A2", "ms"), ("-c", "-m", "7", "ms"),
    ("-C2", "abab"), ("-A3", "abab"), ("-B3", "abab"), ("-nC1", "abab"), ("-C1", "-v", "[0-9]"), ("-2", "0ffff"), ("nothing of that",), ("-q", "error"),
    ("-q", "nothing of that"), ("été",), ("-i", "ÉTÉ"), ("-w", "été"), ("-F", "x\nabab"), ("-c", "777"), ("last without",), ("-B1", "last without"),
    ("-xF", "last without a break"), ("-f", "patterns"), ("-cf", "patterns"), ("-vf", "patterns"), ("-Hn", "0ffff"), ("-hn", "0ffff"), ("-Fi", "Été"),
)


def like_grep(text):
    write("plain", text)
    write("patterns", b"0ffff\n0eeee\n")
    for row in ROWS:
        want = grep(*row, stdin=text)
        got = run("--stdin", *row, stdin=text)
        equal("grep %s" % " ".join(row), got, (*want, ""))
    write("other", b"error\nabab\n")
    for row in (("-c", "error"), ("-n", "abab"), ("-C1", "abab"), ("-h", "abab"), ("-L", "naïve"), ("-Zc", "abab"), ("-m1", "e")):
        equal("two files, %s" % " ".join(row), run("--stdin", *row, "plain", "other")[:2], grep(*row, "plain", "other"))
    equal("names of files", run("--stdin", "--files-with-matches", "naïve", "plain", "other")[:2], grep("-l", "naïve", "plain", "other"))
    marked = run("--stdin", "--color", "always", "-nH", "-C1", "abab", "plain")[1]
    # grep ends its colours with an erasure of the line, which is of use to nobody.
    equal("colours", marked, grep("--color=always", "-nH", "-C1", "abab", "plain")[1].replace(b"\x1b[K", b"").replace(b"\x1b[01;", b"\x1b[1;").replace(b"\x1b[m", b"\x1b[0m"))
    code, out, err = run("--stdin", "-c", "abab", "nothere", "other")
    check("a file that is not there is trouble, the others are searched", code == 2 and out == b"other:1\n" and "nothere" in err, (code, out, err))
    long_line = b"a" * (3 << 20) + b"needle" + b"b" * (2 << 20)
    equal("a line of many blocks", run("--stdin", "-c", "needle", stdin=b"x\n" + long_line + b"\ny\n")[1], b"1\n")
    equal("it is printed whole", run("--stdin", "-B1", "needle", stdin=b"x\n" + long_line + b"\ny\n")[1], b"x\n" + long_line + b"\n")
    p = subprocess.run("%s --stdin '' plain | head -n 1" % LOGQ, shell=True, capture_output=True, cwd=FOLDER, env=ENV)
    equal("a closed pipe ends it in silence", (p.stdout, p.stderr), (text.split(b"\n")[0] + b"\n", b""))


def compressed(text):
    want = grep("-c", "error", stdin=text)
    packed = {"gz": gzip.compress(text)}
    for tool in ("zstd", "lz4"):
        if shutil.which(tool):
            packed[tool] = subprocess.run([tool, "-c", "-q"], input=text, capture_output=True).stdout
    for name, data in packed.items():
        equal("from %s" % name, run("--stdin", "-c", "error", stdin=data)[:2], want)
        equal("from two of %s" % name, run("--stdin", "-c", "error", stdin=data + data)[1], b"%d\n" % (2 * int(want[1])))
        code, _, err = run("--stdin", "-c", "error", stdin=data[:len(data) // 2])
        check("%s cut off" % name, code == 2 and "cut off" in err, (code, err))
        bad = data[:len(data) // 3] + bytes(range(256)) * 4 + data[len(data) // 3 + 1024:]
        check("%s damaged" % name, run("--stdin", "-c", "error", stdin=bad)[0] == 2)


def logql():
    text = b"".join(b'{"level":"%s","n":%d,"msg":"m%d"}\n' % ((b"error", b"info")[i % 3 > 0], i, i) for i in range(9000))
    equal("json", run("--stdin", '| json | level="error"', stdin=text)[1], b"".join(l + b"\n" for l in text.splitlines() if b"error" in l))
    equal("count", run("--stdin", "-c", '| json | level="error" | n > 100', stdin=text)[:2], (0, b"2966\n"))
    equal("nothing", run("--stdin", "-c", '|= "zzz" | json', stdin=text)[:2], (1, b"0\n"))
    equal("line_format", run("query", "--stdin", '{app="x}"} |= "error" | json | line_format "{{.n}}"', "-o", "raw", "--limit", "2", stdin=text)[1], b"0\n3\n")
    code, out, _ = run("query", "--stdin", '| json', "-o", "jsonl", "--limit", "1", "--include-common-labels", stdin=text)
    check("jsonl with labels", out.startswith(b'{"labels":{"filename":"stdin","level":"error","msg":"m0","n":"0"},"line":"{'), out)
    equal("the line's own time", run("query", "--stdin", '|= "x"', "-q", "-z", "UTC", stdin=b"2026-11-21 03:04:05 x\n")[1], b"2026-11-21T03:04:05Z {} 2026-11-21 03:04:05 x\n")
    check("a query that does not parse", run("--stdin", "| jsn", stdin=text)[0] == 2)


def answer(*args, stdin=b""):
    """What a metric query says: labels as text to values."""
    code, out, err = run(*args, stdin=stdin)
    check("%s answers" % " ".join(args), code in (0, 1), err)
    found = json.loads(out) if out else []
    return {",".join("%s=%s" % p for p in sorted(r["metric"].items())):
            r["value"][1] if "value" in r else {int(t): float(v) for t, v in r["values"]} for r in found}


def metrics():
    """A metric query over text: lines have their own times, and equal lines count each for itself."""
    start, lines = 1795168800, []  # 2026-11-20T10:00:00Z
    for i in range(600):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start + i))
        lines.append("%s level=%s took=%dms" % (at, "error" if i % 5 == 0 else "info", i))
        if i % 100 == 7:
            lines += ["  at stack error", "same", "same"]
    text = "\n".join(lines).encode()
    write("metric.log", text)
    write("metric.log.gz", gzip.compress(text))
    now = ("instant-query", "--stdin")
    equal("all lines", answer(*now, "sum(count_over_time({} [1h]))", stdin=text), {"": "618"})
    equal("a filter, without a selector", answer(*now, 'sum(count_over_time(|= "error" [1h]))', "metric.log"), {"": "126"})
    equal("a selector is one of all streams", answer(*now, 'sum(count_over_time({app="x}"} |~ "same|}" [1h]))', "metric.log"), {"": "12"})
    equal("files are streams", answer(*now, 'sum by (filename) (bytes_over_time({}[1h]))', "metric.log.gz", "metric.log"),
          {"filename=metric.log": str(sum(map(len, lines))), "filename=metric.log.gz": str(sum(map(len, lines)))})
    equal("at another time", answer(*now, "--now", "2026-11-20T10:01:00Z", 'sum(count_over_time({} |= "level" [1m])) # {', "metric.log"), {"": "60"})
    equal("two ranges", answer(*now, 'sum(count_over_time([1h])) - sum(count_over_time(!= "level" [1h]))', "metric.log"), {"": "600"})
    got = answer("query", "--stdin", "--step", "2m", 'max by (level) (max_over_time({} | logfmt | level!="" | unwrap duration(took) [2m]))', "metric.log")
    equal("over the text's range", got, {
        "level=error": {start: 0, start + 120: 0.12, start + 240: 0.24, start + 360: 0.36, start + 480: 0.48, start + 600: 0.595},
        "level=info": {start + 120: 0.119, start + 240: 0.239, start + 360: 0.359, start + 480: 0.479, start + 600: 0.599}})
    got = answer("query", "--stdin", "--from", "2026-11-20T10:02:00Z", "--to", "2026-11-20T10:04:00Z", "--step", "1m", 'sum(count_over_time([1m]))', "metric.log")
    equal("a part of it", sorted(got[""]), [start + 120, start + 180, start + 240])
    equal("lines without times", answer(*now, "sum(count_over_time([1m]))", stdin=b"a\nb\n\nb"), {"": "4"})
    equal("no text", run(*now, "sum(count_over_time([1m]))")[:2], (1, b"[]\n"))
    equal("a number", answer(*now, "vector(2)", stdin=b"a\n"), {"": "2"})
    check("sparklines", "level=" in run("query", "--stdin", "--histogram", "sum by (level) (rate(| logfmt [1m]))", "metric.log")[1].decode())
    for args, want in ((("sum(rate({}[1m]))", "nothere"), "cannot open nothere"), (("rate({}[1m]", "metric.log"), "syntax error"),
                       (("count_over_time({} | unwrap [1m])", "metric.log"), "syntax error"), (("{}", "metric.log"), "log queries are not supported"), ((), "which query?")):
        code, _, err = run(*now, *args)
        check("trouble: %s" % (args,), code == 2 and want in err, (code, err))
    equal("nothing stays behind", [f for f in os.listdir(SCRATCH) if f.startswith("logq-text")], [])


def interrupted():
    """A query that is ended leaves no folder."""
    p = subprocess.Popen([LOGQ, "instant-query", "--stdin", "sum(count_over_time([1m]))"], stdin=subprocess.PIPE, env=ENV)
    p.stdin.write(b"a\n" * 100000)
    p.stdin.flush()
    check("it works in a folder", harness.wait_for(lambda: [f for f in os.listdir(SCRATCH) if f.startswith("logq-text")]))
    p.send_signal(signal.SIGTERM)
    equal("ended by the signal", p.wait(20), -signal.SIGTERM)
    p.stdin.close()
    equal("nothing stays behind", [f for f in os.listdir(SCRATCH) if f.startswith("logq-text")], [])


if __name__ == "__main__":
    try:
        content = make_text()
        like_grep(content)
        compressed(content)
        logql()
        metrics()
        interrupted()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    harness.done()
