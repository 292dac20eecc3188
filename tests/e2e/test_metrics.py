#!/usr/bin/env python3
"""/metrics: every line is what Prometheus reads, histograms add up, counters count what was done, tenants and reasons are told
apart, and Loki's names are there for dashboards made for it."""
import re
import time

import harness
from harness import Server, check, equal, run_part
from test_tail import Tail

NOW = int(time.time()) * 10**9
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')


def read(s, headers=None):
    """({(name, labels): value}, {name: type}) of an exposition; what is malformed is a failure."""
    status, h, data = s.get("/metrics", None, headers)
    samples, types, order, bad = {}, {}, [], []
    for line in data.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            bad += [line] if name in types else []
            types[name] = kind
        elif line.startswith("# HELP "):
            bad += [line] if len(line.split(" ", 3)) != 4 else []
        else:
            m = SAMPLE.fullmatch(line)
            if not m:
                bad.append(line)
                continue
            key = (m.group(1), tuple(sorted(LABEL.findall(m.group(2) or ""))))
            bad += [line] if key in samples else []
            samples[key] = float(m.group(3))
            order.append(m.group(1))
    equal("every line is well-formed, every series stands once", bad, [])
    families = [n for i, n in enumerate(order) if i == 0 or order[i - 1] != n]
    base = {n: re.sub("_(bucket|sum|count)$", "", n) if re.sub("_(bucket|sum|count)$", "", n) in types else n for n in order}
    check("every sample has a TYPE", all(base[n] in types for n in order), [n for n in order if base[n] not in types])
    grouped = [base[n] for n in families]
    check("families are not torn apart", len({b for i, b in enumerate(grouped) if i == 0 or grouped[i - 1] != b}) ==
          len([b for i, b in enumerate(grouped) if i == 0 or grouped[i - 1] != b]))
    return samples, types


def histograms(samples, types):
    for name, kind in types.items():
        if kind != "histogram":
            continue
        series = {}
        for (n, labels), value in samples.items():
            if n == name + "_bucket":
                rest = tuple(x for x in labels if x[0] != "le")
                series.setdefault(rest, []).append((float(dict(labels)["le"]), value))
        for rest, buckets in series.items():
            buckets.sort()
            values = [v for _, v in buckets]
            check("%s %s: buckets ascend to +Inf, which is the count" % (name, rest),
                  values == sorted(values) and buckets[-1][0] == float("inf") and samples[(name + "_count", rest)] == values[-1]
                  and (name + "_sum", rest) in samples, buckets)


def value(samples, name, **labels):
    return sum(v for (n, l), v in samples.items() if n == name and all(dict(l).get(k) == x for k, x in labels.items()))


LOKI = ("loki_build_info loki_request_duration_seconds_bucket loki_request_duration_seconds_sum loki_request_duration_seconds_count loki_tcp_connections "
        "loki_distributor_bytes_received_total loki_distributor_lines_received_total loki_discarded_samples_total loki_discarded_bytes_total "
        "loki_ingester_memory_streams loki_ingester_memory_chunks loki_ingester_chunks_flushed_total loki_ingester_wal_records_logged_total "
        "loki_ingester_wal_logged_bytes_total loki_ingester_wal_replay_duration_seconds loki_ingester_wal_recovered_entries_total loki_querier_tail_active "
        "loki_compactor_pending_delete_requests_count loki_compactor_oldest_pending_delete_request_age_seconds "
        "loki_compactor_apply_retention_last_successful_run_timestamp_seconds process_resident_memory_bytes process_cpu_seconds_total process_open_fds "
        "process_max_fds process_start_time_seconds process_virtual_memory_bytes").split()
REASONS = ("line_too_long greater_than_max_sample_age too_far_in_future max_label_names_per_series label_name_too_long label_value_too_long "
           "duplicate_label_names structured_metadata_too_large structured_metadata_too_many disallowed_structured_metadata rate_limited stream_limit").split()


def figures(s):
    samples, types = read(s)
    names = {n for n, _ in samples}
    for name in LOKI:
        check("from the start: " + name, name in names or name.startswith("loki_request_duration_seconds"), sorted(names))
    equal("all reasons from the start", [r for r in REASONS if not any(n == "loki_discarded_samples_total" and dict(l)["reason"] == r for n, l in samples)], [])
    s.push([({"app": "m"}, [(NOW + i, "line %d" % i) for i in range(100)]), ({"app": "n"}, [(NOW, "x" * 50)])])
    s.push([({"app": "m"}, [(NOW - 9 * 86400 * 10**9, "old"), (NOW + 3600 * 10**9, "new"), (NOW, "y" * 262145)])])
    s.push([({"a%d" % i: "b" for i in range(16)}, [(NOW, "x")]), ({"n" * 1025: "b"}, [(NOW, "x")]), ({"a": "v" * 2049}, [(NOW, "x")])])
    s.push([({"app": "m"}, [(NOW, "x", {"k": "v" * 65536}), (NOW, "x", {"k%d" % i: "v" for i in range(129)})])])
    s.request("POST", "/loki/api/v1/push", None, {"Content-Type": "application/json"}, b"{nonsense")
    s.flush()
    s.query_range('{app="m"} |= "nowhere to be found"', NOW - 10**9, NOW + 10**9)
    s.query_range('{app="m"} |= "line"', NOW - 10**9, NOW + 10**9)
    t = Tail(s, '{app="m"}')
    samples, types = read(s)
    histograms(samples, types)
    equal("lines and bytes received", (value(samples, "loki_distributor_lines_received_total", tenant="fake") >= 101,
                                      value(samples, "loki_distributor_bytes_received_total", tenant="fake") > 1000), (True, True))
    for reason in REASONS[:6] + ["structured_metadata_too_large", "structured_metadata_too_many"]:
        equal("discarded: " + reason, value(samples, "loki_discarded_samples_total", reason=reason, tenant="fake"), 1)
    equal("streams in memory or flushed", value(samples, "loki_ingester_chunks_flushed_total") >= 2, True)
    equal("requests", (value(samples, "loki_request_duration_seconds_count", route="loki_api_v1_push", status_code="204") >= 1,
                       value(samples, "loki_request_duration_seconds_count", route="loki_api_v1_push", status_code="400") >= 4,
                       value(samples, "loki_request_duration_seconds_count", route="loki_api_v1_query_range", status_code="200")), (True, True, 2))
    equal("a tail is a web socket", (value(samples, "loki_querier_tail_active"), value(samples, "loki_request_duration_seconds_count", ws="true")), (1, 1))
    equal("queries", [value(samples, n) for n in ("logq_queries_total", "logq_query_blocks_total", "logq_query_blocks_skipped_by_filter_total",
                                                 "logq_query_blocks_decoded_total")], [2, 2, 1, 1])
    equal("fsyncs", value(samples, "logq_wal_fsync_duration_seconds_count"), value(samples, "logq_wal_fsyncs_total"))
    now = time.time()
    check("start time is a time", now - 600 < value(samples, "process_start_time_seconds") < now + 5, value(samples, "process_start_time_seconds"))
    check("memory", 10**6 < value(samples, "process_resident_memory_bytes") < 10**9)
    t.drop()
    more, _ = read(s)
    went_back = [k for k, v in samples.items() if types.get(k[0]) == "counter" and more.get(k, 0) < v]
    equal("counters never go back", went_back, [])


def tenants():
    with Server("auth_enabled=true", "wal.sync=off") as s:
        names = {n for n, _ in read(s)[0]}
        check("names are there before anybody has pushed", {"loki_distributor_lines_received_total", "loki_discarded_samples_total"} <= names)
        for tenant, n in (("a", 3), ("b", 2)):
            s.push([({"app": "x"}, [(NOW + i, "12345") for i in range(n)])], {"X-Scope-OrgID": tenant})
        s.push([({"app": "x"}, [(NOW, "y" * 262145)])], {"X-Scope-OrgID": "b"})
        samples, _ = read(s)
        equal("tenants apart", [value(samples, "loki_distributor_lines_received_total", tenant=t) for t in "ab"], [3, 3])
        equal("discarded by tenant", [value(samples, "loki_discarded_samples_total", tenant=t, reason="line_too_long") for t in "ab"], [0, 1])
        equal("streams by tenant", [value(samples, "loki_ingester_memory_streams", tenant=t) for t in "ab"], [1, 1])
        for i in range(1010):
            s.push([({"app": "x"}, [(NOW, "1")])], {"X-Scope-OrgID": "made-up-%d" % i})
        samples, _ = read(s)
        own = {dict(l)["tenant"] for n, l in samples if n == "loki_distributor_lines_received_total"}
        equal("made-up tenants share what is left", (len(own), value(samples, "loki_distributor_lines_received_total", tenant="other")), (1001, 12))


if __name__ == "__main__":
    for part in (tenants,):
        run_part(part)
    with Server() as server:
        run_part(figures, server)
        equal("exit status", server.stop(), 0)
    harness.done()
