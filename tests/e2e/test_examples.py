#!/usr/bin/env python3
"""The files in examples/ against a running logqd: every metric of the rules and the dashboard is one that /metrics prints, every
LogQL query of the README parses, logqd takes its settings, JSON and YAML files are well-formed."""
import glob
import json
import os
import re
import subprocess
import time

import harness
from harness import LOGQD, ROOT, Server, check, equal, run_part

EXAMPLES = os.path.join(ROOT, "examples")
# What PromQL has besides metric names: functions, aggregations, words.
PROMQL_WORDS = set("""sum min max avg count topk by on and or unless without ignoring offset bool rate increase irate
    histogram_quantile predict_linear label_values up le""".split())


def read(*path):
    with open(os.path.join(EXAMPLES, *path), encoding="utf-8") as f:
        return f.read()


def metric_names(promql):
    """The metric names in an expression: its words outside of strings, selectors, groupings and ranges."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", promql)
    bare = re.sub(r"\{[^{}]*\}", "", bare)
    bare = re.sub(r"\[[^\[\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^()]*\)", "", bare)
    bare = re.sub(r"\boffset\s+\w+", "", bare)
    return {w for w in re.findall(r"[A-Za-z_:][A-Za-z0-9_:]*", bare) if w not in PROMQL_WORDS}


def label_names(promql):
    """The labels that an expression's selectors and groupings name."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', promql)
    out = set(re.findall(r"([A-Za-z_]\w*)\s*(?:=~|!~|!=|=)\s*\"\"", bare))
    for group in re.findall(r"\bby\s*\(([^()]*)\)", bare):
        out |= {w.strip() for w in group.split(",") if w.strip()}
    return out


def printed(s):
    """{metric name as a query may use it: its label names} of /metrics."""
    out = {}
    for line in s.get("/metrics")[2].decode().splitlines():
        m = re.match(r"([A-Za-z_:][A-Za-z0-9_:]*)(\{.*\})? ", line)
        if m and not line.startswith("#"):
            out.setdefault(m.group(1), set()).update(re.findall(r"(\w+)=\"", m.group(2) or ""))
    return out


def rule_expressions():
    """[(alert, expression)]; the file keeps to `expr: text` and `expr: >-` with deeper lines below."""
    out, alert, folded = [], None, None
    for line in read("prometheus", "logqd-rules.yml").splitlines():
        if folded is not None and line.startswith(" " * 10):
            folded.append(line.strip())
            continue
        if folded is not None:
            out.append((alert, " ".join(folded)))
            folded = None
        m = re.match(r"\s*- alert: (\w+)", line)
        if m:
            alert = m.group(1)
        m = re.match(r"\s*expr: (.*)", line)
        if m and m.group(1) == ">-":
            folded = []
        elif m:
            out.append((alert, m.group(1)))
    return out


def dashboard_expressions(board):
    out = [(p["title"], t["expr"]) for p in board["panels"] for t in p.get("targets", [])]
    out += [(v["name"], v["definition"]) for v in board["templating"]["list"] if v["type"] == "query"]
    return out


def metrics(s):
    # Requests of each kind, so that their series exist.
    now = time.time_ns()
    s.push([({"app": "x"}, [(now, "hello")])])
    s.query_range('{app="x"}', now - 10**9, now + 10**9)
    known = printed(s)
    check("enough metrics are printed", len(known) > 40, str(len(known)))
    board = json.loads(read("grafana", "logqd-dashboard.json"))
    rules = rule_expressions()
    check("rules are read", len(rules) > 10, str(len(rules)))
    # job and instance come from the scrape.
    all_labels = set().union(*known.values()) | {"job", "instance", "le"}
    for name, expression in rules + dashboard_expressions(board):
        found = metric_names(expression.replace("label_values(", "(").replace(", job)", ")").replace(", instance)", ")"))
        check("%s names a metric" % name, found or expression.startswith("up{"), expression)
        for metric in sorted(found):
            check("%s: %s is printed" % (name, metric), metric in known, expression)
        for label in sorted(label_names(expression)):
            check("%s: label %s is printed" % (name, label), label in all_labels, expression)
        equal("%s: brackets" % name, [expression.count(c) for c in "({["], [expression.count(c) for c in ")}]"])
    ids = [p["id"] for p in board["panels"]]
    equal("panels have ids of their own", len(set(ids)), len(ids))
    places = set()
    for p in board["panels"]:
        g = p["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        check("%s does not lie on another panel" % p["title"], not places & cells and g["x"] + g["w"] <= 24)
        places |= cells


def queries(s):
    text = read("README.md")
    found = [q for block in re.findall(r"```logql\n(.*?)```", text, re.S) for q in block.splitlines() if q.strip()]
    found += re.findall(r"^    logq (?:instant-)?query '([^']+)'", text, re.M)
    check("queries are found", len(found) > 20, str(len(found)))
    now = time.time_ns()
    for q in found:
        status, _, data = s.get("/loki/api/v1/format_query", {"query": q})
        check("parses: %s" % q, status == 200 and json.loads(data).get("status") == "success", data[:200])
        status, _, data = s.get("/loki/api/v1/query_range", {"query": q, "start": now - 10**12, "end": now, "step": "60"})
        check("runs: %s" % q, status == 200, data[:200])
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in link:
            check("%s exists" % link, os.path.exists(os.path.join(EXAMPLES, link)))


def settings():
    for path in ("logqd.yaml", "compose/logqd.yaml"):
        r = subprocess.run([LOGQD, "--config", os.path.join(EXAMPLES, path), "--check-config"], capture_output=True, text=True)
        equal("logqd takes %s" % path, (r.returncode, r.stderr), (0, ""))
    default = subprocess.run([LOGQD, "--check-config"], capture_output=True, text=True).stdout
    shown = subprocess.run([LOGQD, "--config", os.path.join(EXAMPLES, "logqd.yaml"), "--check-config"], capture_output=True,
                           text=True).stdout
    # "with their defaults": only where the data lies may differ. It becomes /etc/logqd/logqd.yaml: nothing in it may delete lines.
    differ = [l for l in shown.splitlines() if l not in default.splitlines()]
    differ = [l for l in differ if not re.search(r"data_dir|path_prefix", l)]
    equal("logqd.yaml shows defaults", differ, [])


def yaml_trouble(text):
    """What is wrong with the layout of a YAML file of ours, or None. Not a parser: tabs, odd indentation, unbalanced brackets and
    quotes, lines that are neither key, item, comment nor text of a block."""
    block = None  # indentation of a `|` or `>` text
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip(" "))
        if "\t" in line:
            return "line %d: tab" % number
        if block is not None and indent > block:
            continue
        block = None
        body = line.strip()
        if body.startswith("#"):
            continue
        if indent % 2:
            return "line %d: odd indentation" % number
        bare = re.sub(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'", '""', body)
        bare = re.sub(r"(^|\s)#.*", "", bare)
        if any(bare.count(a) != bare.count(b) for a, b in ("[]", "{}")) or bare.count('"') % 2:
            return "line %d: brackets or quotes do not match" % number
        if not re.match(r"(- )*([\w.$@/-]+|\"\"):( |$)|- ", bare):
            return "line %d: neither key nor item" % number
        if re.search(r"[|>]-?$", bare):
            block = indent
    return None


def files():
    for path in glob.glob(os.path.join(EXAMPLES, "**", "*.json"), recursive=True):
        with open(path, encoding="utf-8") as f:
            text = f.read()
        try:
            json.loads(text)
            trouble = None
        except ValueError as e:
            trouble = str(e)
        equal("%s is JSON" % os.path.relpath(path, EXAMPLES), trouble, None)
    found = [p for ext in ("yml", "yaml") for p in glob.glob(os.path.join(EXAMPLES, "**", "*." + ext), recursive=True)]
    check("YAML files are found", len(found) >= 9, str(len(found)))
    try:
        import yaml
    except ImportError:
        yaml = None  # the check of the layout has to do
    for path in found:
        with open(path, encoding="utf-8") as f:
            text = f.read()
        name = os.path.relpath(path, EXAMPLES)
        equal("%s: layout" % name, yaml_trouble(text), None)
        if yaml:
            try:
                trouble = None if isinstance(yaml.safe_load(text), dict) else "not a mapping"
            except yaml.YAMLError as e:
                trouble = str(e)
            equal("%s is YAML" % name, trouble, None)
    for text, want in (("a: [1\n", True), ("a:\n\tb: 1\n", True), ("just text\n", True), ("a: {b: '}'}\n- c\n", False)):
        equal("the check of the layout: %r" % text, yaml_trouble(text) is not None, want)
    # Braces of the other formats, outside of strings and comments.
    for path in glob.glob(os.path.join(EXAMPLES, "alloy", "*")) + [os.path.join(EXAMPLES, p) for p in
                                                                   ("nginx/logqd.conf", "syslog-ng/logqd.conf", "compose/config.alloy",
                                                                    "rsyslog/60-logqd.conf", "rsyslog/60-logqd-omprog.conf")]:
        with open(path, encoding="utf-8") as f:
            bare = re.sub(r"\"(?:[^\"\\]|\\.)*\"|'[^'\n]*'", "", f.read())
        bare = re.sub(r"(^|\s)(//|#).*", "", bare)
        equal("%s: brackets" % os.path.relpath(path, EXAMPLES), [bare.count(c) for c in "({["], [bare.count(c) for c in ")}]"])


def one_meaning():
    """What stands in two places says the same."""
    plain = read("alloy", "docker.alloy").replace("http://127.0.0.1:3100", "http://logqd:3100").split("\n\n", 1)[1]
    equal("compose/config.alloy is alloy/docker.alloy with another address", read("compose", "config.alloy").split("\n\n", 1)[1], plain)
    daemon = json.loads(read("docker", "daemon.json"))["log-opts"]
    compose = dict(re.findall(r"^    ([a-z-]+): \"?([^\"\n]+)\"?$", read("docker", "compose-logging.yml").split("services:")[0], re.M))
    for key, value in compose.items():
        equal("the Docker driver's %s" % key, value, daemon.get(key))
    unit = read("systemd", "logqd.service")
    for line in ("Type=notify", "NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes", "SystemCallFilter=@system-service",
                 "StateDirectory=logqd"):
        check("logqd.service has %s" % line, line in unit.splitlines())


if __name__ == "__main__":
    files()
    one_meaning()
    settings()
    with Server() as server:
        for part in (metrics, queries):
            run_part(part, server)
    harness.done()
