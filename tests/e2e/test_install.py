#!/usr/bin/env python3
"""meson install into a scratch root puts every file where a Debian user looks for it; man renders the pages without warnings; the
shell completes commands, options, names and values of labels."""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

import harness
from harness import BUILD, LOGQ, LOGQD, ROOT, Server, check, equal

FOLDER = tempfile.mkdtemp(prefix="logq-e2e-install-")
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("LOKI_", "LOGQ_"))}


def install():
    """The build folder may have any prefix: where files go is asked of a configuration of its own, without building it."""
    build, root = os.path.join(FOLDER, "build"), os.path.join(FOLDER, "root")
    p = subprocess.run(["meson", "setup", build, ROOT, "--prefix=/usr"], capture_output=True, text=True)
    if not check("configure for /usr", p.returncode == 0, p.stdout[-500:] + p.stderr[-500:]):
        return None
    # The programs as they are built already; only the small targets are made here.
    for name in ("logqd", "logq"):
        shutil.copy(os.path.join(BUILD, name), os.path.join(build, name))
    made = subprocess.run(["ninja", "-C", build, "packaging/logqd.yaml.5", "packaging/logqd.service"], capture_output=True, text=True)
    check("pages and service are made", made.returncode == 0, made.stdout[-500:])
    p = subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", root], capture_output=True, text=True, env=dict(ENV, LC_ALL="C.UTF-8"))
    check("install", p.returncode == 0, p.stdout[-500:] + p.stderr[-500:])
    got = sorted(os.path.relpath(os.path.join(f, n), root) for f, _, names in os.walk(root) for n in names)
    want = ["etc/logqd/logqd.yaml", "usr/bin/logq", "usr/bin/logqd", "usr/lib/systemd/system/logqd.service",
            "usr/share/bash-completion/completions/logq", "usr/share/doc/logqd/LICENSE", "usr/share/doc/logqd/README.md",
            "usr/share/doc/logqd/examples/logqd.yaml", "usr/share/fish/vendor_completions.d/logq.fish",
            "usr/share/man/man1/logq.1", "usr/share/man/man5/logqd.yaml.5", "usr/share/man/man8/logqd.8", "usr/share/zsh/vendor-completions/_logq"]
    equal("every file where it is expected", [re.sub(r"\.gz$", "", n) for n in got], want)
    service = open(os.path.join(root, "usr/lib/systemd/system/logqd.service")).read()
    check("the service starts what is installed", "ExecStart=/usr/bin/logqd --config /etc/logqd/logqd.yaml" in service and service.startswith("[Unit]"), service[:200])
    p = subprocess.run([os.path.join(root, "usr/bin/logqd"), "--config", os.path.join(root, "etc/logqd/logqd.yaml"), "--check-config"], capture_output=True, text=True)
    equal("the settings are accepted", (p.returncode, p.stderr), (0, ""))
    with open(os.path.join(root, "etc/logqd/logqd.yaml"), "w") as f:
        f.write("# mine\n")
    subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", root], capture_output=True)
    equal("settings are not overwritten", open(os.path.join(root, "etc/logqd/logqd.yaml")).read(), "# mine\n")
    return root


def pages(root):
    if not shutil.which("man") or not shutil.which("groff"):
        print("man pages: no man here")
        return
    texts = {}
    for page in ("man1/logq.1", "man8/logqd.8", "man5/logqd.yaml.5"):
        path = os.path.join(root, "usr/share/man", page)
        path = path if os.path.exists(path) else path + ".gz"
        p = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path], capture_output=True, text=True,
                           env=dict(ENV, LC_ALL="C.UTF-8", MANROFFSEQ="", MANWIDTH="80"))
        equal("%s renders without warnings" % page, (p.returncode, p.stderr), (0, ""))
        p = subprocess.run(["man", "-l", path], capture_output=True, text=True, env=dict(ENV, LC_ALL="C.UTF-8", MANWIDTH="200", PAGER="cat", MANPAGER="cat"))
        texts[page] = re.sub(".\b", "", p.stdout)
    keys = re.findall(r"^\| `([^`]+)` \|", open(os.path.join(ROOT, "docs/configuration.md")).read(), re.M)
    missing = [k for k in keys if not re.search(r"^\s+%s\s*$" % re.escape(k), texts["man5/logqd.yaml.5"], re.M)]
    check("logqd.yaml.5 names every setting", len(keys) > 40 and not missing, str(missing[:5]))
    text = subprocess.run([LOGQD, "--help"], capture_output=True, text=True).stdout
    names = re.findall(r"^  (--[a-z.-]+|[a-z-]+) {2,}", text, re.M) + re.findall(r"^  (--[a-z.-]+)", text, re.M)
    missing = [n for n in names if n not in texts["man8/logqd.8"].replace("\u2010", "-").replace("\u2212", "-")]
    check("logqd.8 names every option and command of the help", len(names) > 12 and not missing, str(missing))
    for args in (["help"], ["help", "verify"]):
        want = subprocess.run([LOGQD, *args[1:], "--help"], capture_output=True, text=True)
        got = subprocess.run([LOGQD, *args], capture_output=True, text=True)
        equal("logqd %s" % " ".join(args), (got.returncode, got.stdout), (0, want.stdout))
    options = set()
    for command in re.findall(r"^  logq ([a-z-]+)", subprocess.run([LOGQ, "help"], capture_output=True, text=True).stdout, re.M):
        out = subprocess.run([LOGQ, "help", command], capture_output=True, text=True)
        options |= set(re.findall(r"(?<![\w-])--[a-zA-Z][a-zA-Z.-]+", out.stdout)) if out.returncode == 0 else set()
    # groff writes hyphens of options as they are typed only in this locale.
    text = texts["man1/logq.1"].replace("\u2010", "-").replace("\u2212", "-")
    missing = sorted(o for o in options if not re.search(re.escape(o) + r"(?![\w-])", text))
    equal("logq.1 names every option of the help", missing, [])


def shell_env(s):
    return dict(ENV, PATH=os.path.dirname(LOGQ) + ":" + ENV["PATH"], LOGQ_ADDR="http://127.0.0.1:%d" % s.port, HOME=FOLDER)


def bash(s, line):
    """What bash offers for a line."""
    script = """source "$1"; COMP_LINE=$2; COMP_POINT=${#2}; COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=(); _logq
printf '%s\\n' "${COMPREPLY[@]}" """
    p = subprocess.run(["bash", "-c", script, "bash", os.path.join(ROOT, "completions/logq.bash"), line], capture_output=True, text=True,
                       env=shell_env(s))
    check("no noise from %s" % line, p.stderr == "", p.stderr)
    return p.stdout.split()


def fish(s, line):
    p = subprocess.run(["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", os.path.join(ROOT, "completions/logq.fish"),
                        line], capture_output=True, text=True, env=shell_env(s))
    check("no noise from fish: %s" % line, p.stderr == "", p.stderr)
    return [row.split("\t")[0] for row in p.stdout.splitlines()]


# What would be offered is printed instead.
ZSH_SET_UP = """PS1= PS2=; unsetopt zle_bracketed_paste prompt_sp prompt_cr; fpath=(%s $fpath); autoload -Uz compinit; compinit -D -u
compadd() { local -a hits; builtin compadd -A hits "$@"; print -rl -- "hit "$^hits; }
offer() { print; zle complete-word; print -r -- end of offer; zle kill-whole-line; }
zle -N offer; zle -C complete-word complete-word _main_complete; bindkey '^I' offer; print ready$((1 + 1))
"""


def zsh(s, line):
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], dict(shell_env(s), TERM="dumb"))
    out = b""

    def wait_for(what):
        nonlocal out
        deadline = time.monotonic() + 30
        while what not in out and time.monotonic() < deadline:
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    out += os.read(fd, 65536)
                except OSError:
                    break
    os.write(fd, (ZSH_SET_UP % os.path.join(ROOT, "completions")).encode())
    wait_for(b"ready2")
    out = b""
    os.write(fd, line.encode() + b"\t")
    wait_for(b"end of offer")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(fd)
    return [row[4:] for row in out.decode().replace("\r", "").split("\n") if row.startswith("hit ")]


def completions():
    with Server() as s:
        now = time.time_ns()
        s.push([({"app": "api", "env": "prod"}, [(now, "x")]), ({"app": "web", "env": "prod"}, [(now, "y")])])
        there = "logq --addr http://127.0.0.1:9 --data-dir %s error -l app=" % s.data
        # What stands before the cursor is offered again by fish, by the others only what follows the = sign.
        for complete, head in (bash, ""), (fish, "app="), (zsh, ""):
            name = complete.__name__
            if not shutil.which(name):
                print("%s is not installed: not tried" % name)
                continue

            def offers(what, line, want):
                equal("%s: %s" % (name, what), sorted(complete(s, line)), sorted(want))
            offers("commands", "logq inst", ["instant-query"])
            offers("names of labels", "logq error -l ", ["app=", "env=", "service_name="] if name != "zsh" else ["app", "env", "service_name"])
            offers("a name of a label", "logq error -l en", ["env="] if name != "zsh" else ["env"])
            offers("values", "logq error -l app=", [head + "api", head + "web"])
            offers("values behind a beginning", "logq error -l app=~w", [(head and "app=~") + "web"])
            offers("values from a directory", there + "a", [head + "api"])
            offers("labels of logq labels", "logq labels s", ["service_name"])
            offers("forms", "logq query x -o js", ["jsonl", "json"])
            found = set(complete(s, "logq query --"))
            check("%s: options" % name, {"--limit", "--forward", "--from"} <= found, found)
            offers("options of their command alone", "logq query --invert", [])
            offers("options in grep mode", "logq x --inv", ["--invert-match"])


if __name__ == "__main__":
    try:
        root = install()
        if root:
            pages(root)
        completions()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    harness.done()
