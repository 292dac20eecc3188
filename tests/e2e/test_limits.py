"""Limits of tenants: Loki's statuses and texts, overrides per tenant, their reload without a restart."""
import json
import os
import signal
import tempfile
import threading
import time

from harness import Server, check, done, equal, wait_for

NOW = time.time_ns()
START = NOW - 60 * 10**9
WORK = tempfile.mkdtemp(prefix="logq-limits-")
FILE = os.path.join(WORK, "overrides.yaml")


def write(text):
    with open(FILE + ".new", "w") as f:
        f.write(text)
    os.rename(FILE + ".new", FILE)


def tenant(name):
    return {"X-Scope-OrgID": name}


def push(server, name, lines=("x",), labels=None, size=0):
    status, headers, text = server.push([(labels or {"app": "a"}, [
        (START + i, line + "y" * size) for i, line in enumerate(lines)])], tenant(name))
    return status, text.decode()


def get(server, name, path, **params):
    status, _, text = server.get(path, params, tenant(name))
    return status, text.decode()


def query(server, name, text='{app="a"}', **params):
    return get(server, name, "/loki/api/v1/query_range", **dict(dict(query=text, start=START, end=NOW, limit=10), **params))


def refused(label, answer, status, text):
    check(label, answer[0] == status and text in answer[1], answer)


def test_texts(s):
    """Every limit of a tenant: broken by it, not by its neighbour."""
    equal("the neighbour pushes", push(s, "free", ["x"] * 50)[0], 204)
    equal("a push within the limits", push(s, "tight")[0], 204)
    refused("line size", push(s, "tight", ["z" * 200]), 400,
            "max entry size '100' bytes exceeded for stream '{app=\"a\", service_name=\"a\"}' while adding an entry with length '200' bytes")
    refused("label names", push(s, "tight", labels={"app": "a", "b": "c", "d": "e"}), 400, "has 3 label names; limit 2")
    refused("label value", push(s, "tight", labels={"app": "v" * 30}), 400, "has label value too long")
    refused("label name", push(s, "tight", labels={"n" * 30: "v"}), 400, "has label name too long")
    equal("a second stream", push(s, "tight", labels={"app": "b"})[0], 204)
    refused("a third stream", push(s, "tight", labels={"app": "c"}), 429, "maximum active stream limit exceeded")
    equal("old streams go on", push(s, "tight", ["again"])[0], 204)
    refused("too old", push_at(s, "tight", START - 7200 * 10**9), 400, "has timestamp too old")
    equal("not for the neighbour", push_at(s, "free", START - 7200 * 10**9)[0], 204)
    refused("metadata", push_meta(s, "tight"), 400, "includes structured metadata, but this feature is disallowed")
    refused("rate", push(s, "slow", ["r"] * 30, size=100000), 429,
            "ingestion rate limit exceeded for user slow (limit: 1048576 bytes/sec) while attempting to ingest '30' lines")
    refused("entries", query(s, "tight", limit=11), 400,
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (11 > 10)")
    refused("length", query(s, "tight", start=NOW - 7300 * 10**9), 400,
            "the query time range exceeds the limit (query length: 2h1m40s, limit: 2h)")
    refused("range", query(s, "tight", "rate({app=\"a\"}[10m])"), 400, "[interval] value exceeds limit: [10m] > [5m]")
    refused("range, deeper", query(s, "tight", "sum(rate({app=\"a\"}[1m])) / sum(rate({app=\"a\"}[6m]))"), 400, "[6m] > [5m]")
    refused("matchers", query(s, "tight", "{app=\"a\", b!=\"c\", d!=\"e\"}"), 400,
            "max streams matchers per query exceeded, matchers-count > limit (3 > 2)")
    refused("required labels", query(s, "strict", "{job=\"x\"}"), 400,
            "stream selector is missing required matchers [app, env], labels present in the query were [job]")
    refused("number of labels", query(s, "number", "{job=\"x\"}"), 400,
            "stream selector has less label matchers than required: (present: [job], number_present: 1, required_number_label_matchers: 2)")
    refused("labels of a stream", push(s, "labelled", labels={"app": "a", "zone": "z"}), 400,
            'missing required labels team for user labelled for stream {app="a", service_name="a", zone="z"}')
    refused("all of them", push(s, "labelled"), 400, "missing required labels team,zone for user labelled")
    equal("a stream that has them", push(s, "labelled", labels={"team": "t", "zone": "z"})[0], 204)
    for method in ("GET", "POST", "DELETE"):
        status, _, text = s.request(method, "/loki/api/v1/delete", dict(query='{zone="z"}', start="1500000000", request_id="1"), tenant("labelled"))
        equal("deletes are off: " + method, (status, text), (403, b"deletion is not available for this tenant\n"))
    equal("and on for others", get(s, "free", "/loki/api/v1/delete")[0], 200)
    for i in range(5):
        push(s, "series", labels={"app": "a", "i": str(i)})
    refused("series", query(s, "series", "count_over_time({app=\"a\"}[1m])"), 400, "maximum number of series (3) reached")
    for i in range(20):
        push(s, "bytes", ["b"] * 10, {"app": "a", "i": str(i)}, size=2000)
    refused("bytes", query(s, "bytes", "{app=\"a\"} |= \"nothing\""), 400, "the query would read too many bytes")
    refused("two tenants: the tighter", query(s, "free|tight", limit=11), 400, "(11 > 10)")
    equal("two tenants within both", query(s, "free|tight", limit=10)[0], 200)
    refused("volume", get(s, "tight", "/loki/api/v1/index/volume", query="{}"), 404, "volume")
    refused("a syntax error comes first", query(s, "tight", "{app=", limit=11), 400, "parse error")
    for name in ("free", "nobody"):
        equal("%s has the limits of all" % name, query(s, name, "rate({app=\"a\", b!=\"c\", d!=\"e\"}[10m])")[0], 200)
    text = get(s, "x", "/metrics")[1]
    for reason in ("line_too_long", "missing_enforced_labels", "invalid_labels", "stream_limit", "rate_limited", "greater_than_max_sample_age", "structured_metadata"):
        check("counted: " + reason, 'loki_discarded_samples_total{reason="%s"} 0\n' % reason not in text, reason)
    refused("the page of overrides", get(s, "x", "/runtime_config"), 200, "  slow:\n    ingestion_rate_mb: 1\n")


def push_at(s, name, ns):
    status, _, text = s.push([({"app": "a"}, [(ns, "old")])], tenant(name))
    return status, text.decode()


def push_meta(s, name):
    status, _, text = s.push([({"app": "a"}, [(START, "m", {"trace": "1"})])], tenant(name))
    return status, text.decode()


LIMITS = """overrides:
  tight:
    max_line_size: 100B
    max_label_names_per_series: 2
    max_label_value_length: 20
    max_label_name_length: 20
    max_global_streams_per_user: 2
    reject_old_samples_max_age: 1h
    allow_structured_metadata: false
    max_entries_limit_per_query: 10
    max_query_length: 2h
    max_query_range: 5m
    max_streams_matchers_per_query: 2
    volume_enabled: false
  slow:
    ingestion_rate_mb: 1
    ingestion_burst_size_mb: 2
  strict:
    required_labels: [app, env]
  labelled:
    enforced_labels: [team, zone]
    deletion_mode: disabled
  number:
    minimum_labels_number: 2
  series:
    max_query_series: 3
  bytes:
    max_query_bytes_read: 50KB
"""


def test_reload(s):
    equal("before", push(s, "late", ["x" * 500])[0], 204)
    write(LIMITS + "  late:\n    max_line_size: 100B\n")
    check("a changed file counts by itself", wait_for(lambda: push(s, "late", ["x" * 500])[0] == 400), s.tail())
    write("overrides:\n  late:\n    max_line_size: lots\n")
    check("a broken file is told", wait_for(lambda: "overrides.yaml:3: limits_config.max_line_size" in s.tail()), s.tail())
    equal("and changes nothing", push(s, "late", ["x" * 500])[0], 400)
    write("overrides:\n  late:\n    max_line_size: 1KB\n    no_such_limit: 5\n")
    s.process.send_signal(signal.SIGHUP)
    check("SIGHUP", wait_for(lambda: push(s, "late", ["x" * 500])[0] == 204), s.tail())
    check("unused names are told", "overrides.late.no_such_limit is not used" in s.tail(), s.tail())
    equal("the others are free now", push(s, "tight", ["z" * 200], labels={"app": "new"})[0], 204)
    write("overrides:\n  one:\n    no_such: 1\n  two:\n    neither: 1\n")
    check("also where the file changed by itself, of every tenant", wait_for(lambda: "overrides.two.neither is not used" in s.tail()) and
          "overrides.one.no_such is not used" in s.tail(), s.tail())
    write(LIMITS + "  late:\n    enforced_labels: [team]\n")
    check("a known stream without a label that is now enforced", wait_for(lambda: push(s, "late", ["y"])[0] == 400), s.tail())
    write("overrides:\n  late:\n    max_line_size: 1KB\n")
    check("and later with it not enforced", wait_for(lambda: push(s, "late", ["y"])[0] == 204), s.tail())
    os.unlink(FILE)
    time.sleep(0.6)
    equal("a lost file changes nothing", push(s, "late", ["x" * 1500])[0], 400)
    write("overrides: {}\n")
    check("and its return counts", wait_for(lambda: push(s, "late", ["x" * 1500])[0] == 204), s.tail())


def test_reload_memory(s):
    """Settings that nobody holds any more are freed: a thousand reloads under load take no memory."""
    stop = threading.Event()

    def load():
        while not stop.is_set():
            push(s, "free", ["l"] * 10)
            query(s, "free")
    threads = [threading.Thread(target=load) for _ in range(2)]
    big = "overrides:\n" + "".join("  tenant-%d:\n    max_line_size: %dKB\n    log_level_fields: [%s]\n" % (
        i, i % 200 + 1, ", ".join("field_%d" % k for k in range(20))) for i in range(1000))
    for t in threads:
        t.start()
    before = None
    for i in range(60):
        write(big + "# %d\n" % i)
        s.process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
        if i == 20:
            before = s.rss_kib()
    after = s.rss_kib()
    stop.set()
    for t in threads:
        t.join()
    # 40 sets of settings of 1000 tenants would be more than 100 MB.
    check("memory of reloads", after - before < 30000, (before, after))


def test_figures():
    """What the server tells of itself: slow queries in its log, /debug."""
    with Server("frontend.log_queries_longer_than=1ns") as s:
        push(s, "", ["a line"] * 3)
        equal("a query", query(s, "", '{app="a"} |= "a line"')[0], 200)
        query(s, "", "rate({app=\"a\"}[1m])", step="10s")
        query(s, "", "{app=")
        text = s.tail()
        for want in ('msg="slow query" org_id=fake latency=slow query="{app=\\"a\\"} |= \\"a line\\"" range_type=range length=1m0s',
                     " status=200 returned_lines=3 throughput=", "total_bytes=", "total_lines=3 post_filter_lines=3",
                     "step=10s", " status=400\n"):
            check("slow query line: " + want, want in text, text)
        status, text = get(s, "", "/debug")
        for want in ("connections ", "push workers ", "queries running 0 of ", "memory limit=", "heads streams=1 open_entries=3",
                     "chunk cache ", "wal size="):
            check("/debug: " + want, status == 200 and want in text, text)


def test_retention():
    write("overrides:\n  short:\n    retention_period: 2h\n  long:\n    retention_period: 0s\n"
          "  some:\n    retention_stream:\n    - {selector: '{app=\"a\"}', period: 1h, priority: 1}\n")
    with Server("auth_enabled=true", "limits_config.per_tenant_override_config=" + FILE,
                "limits_config.retention_period=3d", "limits_config.reject_old_samples=false") as s:
        for name in ("short", "long", "some", "usual"):
            for hours in (0.5, 1.5, 2.5, 100):
                for app in ("a", "b"):
                    s.push([({"app": app}, [(NOW - int(hours * 3600) * 10**9, "%.1fh" % hours)])], tenant(name))

        def seen(name, app):
            status, text = query(s, name, '{app="%s"}' % app, start=NOW - 200 * 3600 * 10**9)
            return sorted(v[1] for r in json.loads(text)["data"]["result"] for v in r["values"])
        equal("short", seen("short", "a"), ["0.5h", "1.5h"])
        equal("for ever", seen("long", "a"), ["0.5h", "1.5h", "100.0h", "2.5h"])
        equal("by its own rule", seen("some", "a"), ["0.5h"])
        equal("without a rule", seen("some", "b"), ["0.5h", "1.5h", "2.5h"])
        equal("as all", seen("usual", "a"), ["0.5h", "1.5h", "2.5h"])


def test_of_a_request():
    """X-Loki-Query-Limits tightens what the tenant may do, and loosens nothing."""
    def ask(s, limits, path="/loki/api/v1/query_range", names="free", **params):
        params = params or dict(query='{app="a"}', start=START, end=NOW, limit=10)
        status, _, text = s.get(path, params, {"X-Scope-OrgID": names, "X-Loki-Query-Limits": limits})
        return status, text.decode()
    write(LIMITS)
    settings = ("auth_enabled=true", "runtime_config.file=" + FILE, "querier.multi_tenant_queries_enabled=true")
    with Server(*settings) as s:
        equal("not asked for by default", ask(s, '{"maxQueryLength":"1s"}')[0], 200)
    with Server(*settings, "querier.per_request_limits_enabled=true") as s:
        length = "the query time range exceeds the limit (query length: 1m0s, limit: 1s)"
        refused("length", ask(s, '{"maxQueryLength":"1s"}'), 400, length)
        refused("of two tenants", ask(s, '{"maxQueryLength":"1s"}', names="free|slow"), 400, length)
        refused("labels", ask(s, '{"maxQueryLength":"1s"}', "/loki/api/v1/labels", start=START, end=NOW), 400, length)
        refused("entries", ask(s, '{"maxEntriesLimitPerQuery":9}'), 400, "(10 > 9)")
        refused("range", ask(s, '{"maxQueryInterval":"1m"}', query='rate({app="a"}[2m])', start=START, end=NOW), 400, "[2m] > [1m]")
        refused("required labels", ask(s, '{"requiredLabels":["host","app"]}'), 400, "missing required matchers [host]")
        refused("joined with the tenant's", ask(s, '{"requiredLabels":["host","app"]}', names="strict", query='{job="x"}', start=START, end=NOW), 400,
                "missing required matchers [app, env, host]")
        refused("of several tenants, whoever requires them", ask(s, "{}", names="free|strict", query='{job="x"}', start=START, end=NOW), 400,
                "missing required matchers [app, env]")
        refused("number of labels", ask(s, '{"minimumLabelsNumber":2}'), 400, "required_number_label_matchers: 2")
        equal("a looser one", ask(s, '{"maxEntriesLimitPerQuery":99999,"maxQueryLength":"900d"}', names="tight", query='{app="a"}', start=START, end=NOW, limit=11),
              query(s, "tight", limit=11))
        refused("not understood", ask(s, '{"maxQueryLength":5}'), 400, 'maxQueryLength must be a duration')
        equal("none", query(s, "free")[0], 200)


def main():
    write(LIMITS)
    with Server("auth_enabled=true", "runtime_config.file=" + FILE, "runtime_config.period=200ms",
                "querier.multi_tenant_queries_enabled=true") as s:
        test_texts(s)
        test_reload(s)
        test_reload_memory(s)
    test_retention()
    test_figures()
    test_of_a_request()
    done()


if __name__ == "__main__":
    main()
