#!/usr/bin/env python3
"""Builds and tests logq: release, ASan+UBSan, TSan, layout, end to end. Called by ./check.

The last line is "N passed, N failed", summed over the lines of that form that the suites print; a build, a
suite or a step that breaks without such a line counts as one failure. Output of each step goes to
build/check/<step>.log."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build")
LOGS = os.path.join(BUILD, "check")
JOBS = str(os.cpu_count() or 2)
# Suites with threads of their own; the others gain nothing from TSan.
THREADED = re.compile(r"pool|wal|store|http|exec|loop|tail|compactor|server")
COUNT_LINE = re.compile(r"^(\d+) passed, (\d+) failed\s*$", re.M)
TAIL_LINES = 40
# A hanging step must not hang CI.
BUILD_SECONDS, TEST_SECONDS, SUITE_SECONDS = 600, 600, 300

started = time.monotonic()
passed = failed = 0


def say(text):
    print("[%4d s] %s" % (time.monotonic() - started, text), flush=True)


def count(step, good, bad, note=""):
    global passed, failed
    passed += good
    failed += bad
    say("%s: %d passed, %d failed%s" % (step, good, bad, " (%s)" % note if note else ""))


def show_tail(path):
    try:
        with open(path, errors="replace") as f:
            lines = f.read().splitlines()
    except OSError:
        return
    print("---- end of %s" % os.path.relpath(path, ROOT))
    print("\n".join(lines[-TAIL_LINES:]))
    print("----", flush=True)


def run(step, command, seconds, env=None, append=False):
    """True when the command succeeded; its output is in the step's log."""
    path = os.path.join(LOGS, step + ".log")
    with open(path, "ab" if append else "wb") as log:
        log.write(("$ %s\n" % " ".join(command)).encode())
        log.flush()
        try:
            return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                                  stderr=subprocess.STDOUT, timeout=seconds,
                                  env={**os.environ, **(env or {})}).returncode == 0
        except (OSError, subprocess.TimeoutExpired) as e:
            log.write(("%s\n" % e).encode())
            return False


def probe(name, compiler, flags, env):
    """The prefix with which programs of that sanitizer run here: [] or setarch; None when they do not.
    Sanitizers of this age fail on kernels that randomize addresses more than they expect."""
    source = os.path.join(LOGS, name + "-probe.c")
    program = os.path.join(LOGS, name + "-probe")
    with open(source, "w") as f:
        f.write("int main(void) { return 0; }\n")
    if not run(name + "-probe", compiler + [*flags, source, "-o", program], 60):
        return None
    prefixes = [[]]
    if shutil.which("setarch"):
        prefixes.append(["setarch", os.uname().machine, "-R"])
    for prefix in prefixes:
        if run(name + "-probe", [*prefix, program], 60, env, append=True):
            return prefix
    return None


def configure(step, folder, options, env):
    configured = os.path.exists(os.path.join(folder, "meson-private", "coredata.dat"))
    if configured and run(step, ["meson", "setup", "--reconfigure", folder, *options], 300, env):
        return True
    if configured:
        shutil.rmtree(os.path.join(folder, "meson-private"), ignore_errors=True)
        shutil.rmtree(os.path.join(folder, "meson-info"), ignore_errors=True)
    return run(step, ["meson", "setup", folder, *options], 300, env)


def tests_of(folder):
    out = subprocess.run(["meson", "introspect", "--tests", folder], cwd=ROOT, capture_output=True,
                         stdin=subprocess.DEVNULL, check=True).stdout
    return json.loads(out)


def sum_meson_log(step, folder):
    """Adds up what the suites of the last `meson test` printed."""
    good = bad = 0
    broken = []
    try:
        with open(os.path.join(folder, "meson-logs", "testlog.json"), errors="replace") as f:
            results = [json.loads(line) for line in f if line.strip()]
    except (OSError, ValueError) as e:
        count(step, 0, 1, "no test log: %s" % e)
        return
    for result in results:
        counts = COUNT_LINE.findall(result.get("stdout") or "")
        suite_good = int(counts[-1][0]) if counts else 0
        suite_bad = int(counts[-1][1]) if counts else 0
        fine = result["result"] in ("OK", "SKIP", "EXPECTEDFAIL")
        if not counts and fine:
            suite_good = 1
        if not fine:
            suite_bad = max(suite_bad, 1)
            broken.append("%s: %s" % (result["name"], result["result"]))
        good += suite_good
        bad += suite_bad
    count(step, good, bad, ", ".join(broken))


def build_and_test(step, folder, options, env, prefix, pattern):
    """Configures, builds and runs the suites whose name fits."""
    log = os.path.join(LOGS, step + "-build.log")
    say("%s: building" % step)
    if not configure(step + "-setup", folder, options, env):
        show_tail(os.path.join(LOGS, step + "-setup.log"))
        return count(step, 0, 1, "configuring failed")
    tests = [t for t in tests_of(folder) if not pattern or pattern.search(t["name"])]
    targets = sorted({os.path.relpath(t["cmd"][0], folder) for t in tests}) if pattern else []
    if pattern and not targets:
        return say("%s: no suites of that kind" % step)
    if not run(step + "-build", ["ninja", "-C", folder, "-k", "0", "-j", JOBS, *targets],
               BUILD_SECONDS):
        show_tail(log)
        count(step, 0, 1, "building failed; running what was built")
    present = [t["name"] for t in tests if os.path.exists(t["cmd"][0])]
    if not present:
        return None
    say("%s: testing" % step)
    try:
        os.unlink(os.path.join(folder, "meson-logs", "testlog.json"))
    except OSError:
        pass
    if not run(step + "-test", [*prefix, "meson", "test", "-C", folder, "--no-rebuild",
                                "--num-processes", JOBS, "--print-errorlogs", *present],
               TEST_SECONDS, env):
        show_tail(os.path.join(LOGS, step + "-test.log"))
    return sum_meson_log(step, folder)


def sanitized(step, sanitizer, compiler, env):
    flag = "-fsanitize=" + sanitizer
    prefix = probe(step, compiler, [flag], env)
    if prefix is None and "detect_leaks=1" in env.get("ASAN_OPTIONS", ""):
        # Looking for leaks needs ptrace, which some containers forbid.
        env["ASAN_OPTIONS"] = env["ASAN_OPTIONS"].replace("detect_leaks=1", "detect_leaks=0")
        prefix = probe(step, compiler, [flag], env)
    if prefix is None:
        say("%s: %s programs do not run on this machine, skipped" % (step, sanitizer))
        return None
    return prefix


def run_suite(step, path, env, prefix=()):
    fine = run(step, [*prefix, sys.executable, path], SUITE_SECONDS, env)
    log = os.path.join(LOGS, step + ".log")
    with open(log, errors="replace") as f:
        counts = COUNT_LINE.findall(f.read())
    good, bad = (int(counts[-1][0]), int(counts[-1][1])) if counts else (0, 0)
    if not fine or not counts:
        bad = max(bad, 1)
    if bad:
        show_tail(log)
    count(step, good, bad)


def check_asan():
    env = {
        "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    prefix = sanitized("asan", "address,undefined", ["cc"], env)
    if prefix is not None:
        build_and_test("asan", os.path.join(ROOT, "build-asan"),
                       ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=1",
                        "-Dwerror=false"],  # gcc's flow warnings are unreliable in such code
                       env, prefix, None)
        # The two suites that send the most queries, with every mistake of memory looked for.
        for name in ("test_conformance", "test_model"):
            run_suite("asan-" + name, os.path.join(ROOT, "tests", "e2e", name + ".py"),
                      {**env, "LOGQ_BUILD": os.path.join(ROOT, "build-asan")}, prefix)


def check_tsan():
    env = {"TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"}
    # clang where it is there: its warnings are errors as well.
    compilers = [["clang", "clang++"]] if shutil.which("clang") else []
    for cc, cxx in [*compilers, ["cc", "c++"]]:
        prefix = sanitized("tsan", "thread", [cc], env)
        if prefix is not None:
            break
    if prefix is None:
        return
    build_and_test("tsan", os.path.join(ROOT, "build-tsan"),
                   ["-Db_sanitize=thread", "-Db_lundef=false", "-Doptimization=1"],
                   {**env, "CC": cc, "CXX": cxx}, prefix, THREADED)


def check_end_to_end():
    for path in sorted(glob.glob(os.path.join(ROOT, "tests", "e2e", "*.py"))):
        name = os.path.basename(path)[:-3]
        with open(path, errors="replace") as f:
            if "__main__" not in f.read():
                continue  # a module that the suites share
        run_suite("e2e-" + name, path, {"LOGQ_BUILD": BUILD})


def check_layout():
    fine = run("format", [os.path.join(ROOT, "scripts", "format-check")], 120)
    if not fine:
        show_tail(os.path.join(LOGS, "format.log"))
    count("format", int(fine), int(not fine))


def main():
    os.makedirs(LOGS, exist_ok=True)
    check_layout()
    build_and_test("release", BUILD, [], {}, [], None)
    check_end_to_end()
    check_asan()
    check_tsan()
    say("done")
    print("%d passed, %d failed" % (passed, failed), flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
