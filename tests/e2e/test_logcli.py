#!/usr/bin/env python3
"""What scripts written for logcli rely on: commands, flags, environment, output, statuses, against a server and against its directory;
exports in parts; following."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import harness
from harness import LOGQ, Server, check, equal, wait_for

FOLDER = tempfile.mkdtemp(prefix="logq-e2e-logcli-")
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("LOKI_", "LOGQ_", "NO_COLOR"))}
ENV.update(TZ="UTC0", LC_ALL="C.UTF-8")
START = (int(time.time()) - 7200) // 60 * 60
RANGE = ("--from", "@%d" % START, "--to", "@%d" % (START + 3600))


def run(*args, stdin=b"", env=None, program=LOGQ):
    p = subprocess.run([program] + list(args), input=stdin, capture_output=True, env=dict(ENV, **(env or {})), timeout=60, cwd=FOLDER)
    return p.returncode, p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")


def fill(s):
    for app, host in (("api", "a"), ("api", "b"), ("web", "a")):
        s.push([({"app": app, "host": host, "service_name": app},
                 [((START + i * 6) * 10**9, '{"level":"%s","n":%d}' % (("info", "error")[i % 10 == 0], i)) for i in range(600)])])


def transcripts(where):
    """The same bytes from a server and from its directory."""
    here = where + ("-q",)
    equal("series --analyze-labels", run("series", "--analyze-labels", *RANGE, *where),
          (0, "Total Streams:  3\nUnique Labels:  3\n\nLabel Name    Unique Values  Found In Streams\napp           2              3\n"
              "host          2              3\nservice_name  2              3\n", ""))
    code, out, _ = run("detected-fields", '{app="api"}', *RANGE, *here)
    check("detected-fields", code == 0 and "label: level\t\ttype: string\t\tcardinality: 2\nlabel: n\t\ttype: int\t\tcardinality: 500\n" in out, out)
    equal("detected-fields FIELD", run("detected-fields", '{app="api"}', "level", *RANGE, *here)[:2], (0, "error\ninfo\n"))
    code, out, _ = run("volume", '{app=~".+"}', "--targetLabels", "app", *RANGE, *here)
    got = {v["metric"]["app"]: int(v["value"][1]) for v in json.loads(out)}
    check("volume", code == 0 and got["api"] == 2 * got["web"] > 20000, out)
    for name in ("volume_range", "volume-range"):
        code, out, _ = run(name, '{app="web"}', "--step", "30m", *RANGE, *here)
        check(name, code == 0 and len(json.loads(out)[0]["values"]) >= 2, out)
    code, out, _ = run("query", 'sum by (app) (count_over_time({app=~".+"} | json | level="error" [1h]))', "--step", "1h", *RANGE, *here)
    check("metrics are an indented array in a pipe", code == 0 and out.startswith('[\n  {\n') and len(json.loads(out)) == 2, out[:200])
    equal("default output", run("query", '{app="api"} |= `"n":30}`', *RANGE, *where),
          (0, "%s {host=\"%s\"} {\"level\":\"error\",\"n\":30}\n" % (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START + 180)), "a")
           + "%s {host=\"%s\"} {\"level\":\"error\",\"n\":30}\n" % (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START + 180)), "b"),
           'Common labels: {app="api", detected_level="error", service_name="api"}\n'))
    code, out, _ = run("query", '{app="web"}', "--limit", "1", "--labels-length", "20", "--no-labels", *RANGE, *here)
    check("no labels", code == 0 and re.match(r"^\S+ \{\"level\"", out) is not None, out)
    code, out, _ = run("query", '{app="api"}', "--limit", "2", "--colored-output", "--color", "always", *RANGE, *here)
    check("coloured output", code == 0 and re.search("\x1b\\[(9|3)[1-6]m\\{", out) is not None, repr(out))
    code, out, err = run("query", '{app="web"} |= "error"', "--stats", "-q", "-o", "raw", *RANGE, *where)
    check("--stats", code == 0 and "Summary.TotalLinesProcessed      : 6" in err and "Summary.ExecTime" in err, err)
    equal("nothing", run("query", '{app="none"}', *RANGE, *here), (1, "", ""))
    equal("grep: streams", run("error", "--streams", "-l", "app=api", "--exclude-label", "detected_level", *RANGE, *where)[:2],
          (0, '{app="api", host="a", service_name="api"}\n{app="api", host="b", service_name="api"}\n'))
    equal("grep: numbered", run("-n", "error", "-l", "app=web", "-m", "2", *RANGE, *where)[1], '1:{"level":"error","n":0}\n2:{"level":"error","n":10}\n')
    open(os.path.join(FOLDER, "patterns"), "w").write('"n":7}\n"n":8}\n')
    equal("grep: patterns of a file", run("-c", "-F", "-f", "patterns", "-l", "app=web", *RANGE, *where)[1], "2\n")


def environment(s):
    env = {"LOKI_ADDR": "http://127.0.0.1:%d/" % s.port, "LOKI_ORG_ID": "x", "LOKI_HTTP_COMPRESSION": "true", "LOKI_CLIENT_RETRIES": "1"}
    equal("LOKI_ADDR", run("labels", env=env, *RANGE)[:2], (0, "app\nhost\nservice_name\n"))
    link = os.path.join(FOLDER, "logcli")
    os.symlink(LOGQ, link)
    equal("called logcli, nothing found is no failure", run("query", '{app="none"}', env=env, program=link)[0], 0)
    script = """set -e
alias logcli=logq
shopt -s expand_aliases
logcli query '{app="web"}' --limit=3 --since=3h --output=jsonl --timezone=UTC --quiet | wc -l
logcli --quiet --output=raw query --forward --limit 1 --from="$FROM" '{app="web"}'
logcli labels app --since=3h
logcli instant-query 'sum(count_over_time({app="web"}[3h]))' | grep -c '"600"'
logcli stats '{app="web"}' --since=3h | grep entries
echo '{app="web"}|="x"' | logcli fmt
"""
    p = subprocess.run(["bash", "-c", "alias logq=%s\nshopt -s expand_aliases\n" % LOGQ + script.replace("alias logcli=logq", "alias logcli=%s" % LOGQ)], capture_output=True, text=True,
                       env=dict(ENV, FROM=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START)), **env))
    equal("a script for logcli", (p.returncode, p.stdout, p.stderr),
          (0, '3\n{"level":"info","n":599}\n'.replace('{"level":"info","n":599}', '{"level":"error","n":0}') + 'api\nlive\nweb\n1\n  entries: 600\n{app="web"} |= "x"\n', ""))
    equal("fmt: parse error", run("fmt", stdin=b"{app=")[0], 1)
    code, _, err = run("query", "--store-config", "x", "{}")
    check("Loki's own storage", code == 2 and "--data-dir" in err, err)


def parts(where):
    prefix = os.path.join(FOLDER, "export")
    base = ("query", '{app=~".+"}', "-o", "raw", "-q", "--parallel-duration", "10m", "--parallel-max-workers", "3", "--part-path-prefix", prefix, *RANGE, *where)
    equal("an export in parts", run(*base, "--forward")[:2], (0, ""))
    names = sorted(n for n in os.listdir(FOLDER) if n.startswith("export"))
    stamp = [time.strftime("%Y%m%dT%H%M%S", time.gmtime(START + i * 600)) for i in range(7)]
    equal("names of parts", names, ["export_%s_%s.part" % (stamp[i], stamp[i + 1]) for i in range(6)])
    sizes = [open(os.path.join(FOLDER, n)).read().count("\n") for n in names]
    equal("lines of parts", sizes, [300] * 6)
    os.unlink(os.path.join(FOLDER, names[2]))
    with open(os.path.join(FOLDER, names[3]), "a") as f:
        f.write("kept\n")
    code, out, _ = run(*base, "--forward", "--merge-parts")
    equal("what is complete is not downloaded again", (code, out.count("\n"), out.count("kept")), (0, 1801, 1))
    equal("merged parts are removed", [n for n in os.listdir(FOLDER) if n.startswith("export")], [])
    numbers = [json.loads(l)["n"] for l in out.splitlines() if l != "kept"]
    equal("in order", numbers, sorted(numbers))
    code, out, _ = run(*base[:6], *base[6:9], *RANGE, *where)
    equal("without parts", (code, out.count("\n")), (0, 1800))


def follow(s, where):
    def push(texts):
        s.push([({"app": "live"}, [(time.time_ns() + i, t) for i, t in enumerate(texts)])])
    push(["old %d" % i for i in range(20)])
    out = open(os.path.join(FOLDER, "follow"), "wb")
    p = subprocess.Popen([LOGQ, "-f", "", "-l", "app=live", *where], stdout=out, stderr=subprocess.PIPE, env=ENV)
    path = os.path.join(FOLDER, "follow")

    def wait_for_text(text):
        wait_for(lambda: text in open(path).read())
    wait_for_text("old 19")
    for i in range(5):
        push(["new %d.%d" % (i, k) for k in range(100)])
        time.sleep(0.15)
    wait_for_text("new 4.99")
    if where[0] == "--addr":
        s.stop()
        time.sleep(0.5)
        s.start()
    s.push([({"app": "live"}, [(time.time_ns() - 5 * 10**9, "late")])])
    push(["after"])
    wait_for_text("after")
    wait_for_text("late")
    p.send_signal(signal.SIGINT)
    err = p.stderr.read().decode()
    equal("following ends with 0", p.wait(10), 0)
    want = ["old %d" % i for i in range(10, 20)] + ["new %d.%d" % (i, k) for i in range(5) for k in range(100)]
    got = open(path).read().splitlines()
    equal("every line once, in order", [l for l in got if l not in ("late", "after")], want)
    equal("lines that come late are shown", sorted(l for l in got if l in ("late", "after")), ["after", "late"])
    if where[0] == "--addr":
        check("a lost connection is said", "trying again" in err and "goes on" in err, err)
    equal("-q ends at the first match", run("-q", "-f", "after", "--since", "1m", *where)[0], 0)


if __name__ == "__main__":
    try:
        with Server("limits_config.reject_old_samples=false") as s:
            fill(s)
            for where in (("--addr", "http://127.0.0.1:%d" % s.port), ("--data-dir", s.data)):
                transcripts(where)
                parts(where)
                follow(s, where)
            environment(s)
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    harness.done()
