#include "usage.h"

/* Ends the help of every command. */
static const char server_text[] =
    "\n"
    "Server:\n"
    "  --addr URL                default $LOGQ_ADDR, $LOKI_ADDR, http://localhost:3100\n"
    "  --username U --password P basic authentication ($LOKI_USERNAME, $LOKI_PASSWORD)\n"
    "  --bearer-token T          or --bearer-token-file FILE\n"
    "  --auth-header NAME        where the credentials go (Authorization)\n"
    "  --org-id ID               tenant, X-Scope-OrgID ($LOKI_ORG_ID)\n"
    "  --header 'NAME: VALUE'    any other header; repeatable\n"
    "  --query-tags TEXT         X-Query-Tags\n"
    "  --nocache                 ask proxies not to answer from their caches\n"
    "  --ca-cert FILE --cert FILE --key FILE --tls-skip-verify\n"
    "  --proxy-url URL           or --envproxy to use $http_proxy and $https_proxy\n"
    "  --retries N --min-backoff S --max-backoff S\n"
    "  --compress                accepted for logcli's sake: answers come as gzip anyway; so are\n"
    "                            --log.level, --cpuprofile and --memprofile, which do nothing\n"
    "\n"
    "No server (all commands but push):\n"
    "  --data-dir DIR            read the directory of a logqd, running or not, or a copy of it\n"
    "                            ($LOGQ_DATA_DIR, unless --addr is given)\n"
    "  --no-index                look at all chunk files: for a damaged DIR/index\n"
    "\n"
    "Everywhere:\n"
    "  -z, --timezone ZONE       Local, UTC, Europe/Berlin: of times that are read and shown\n"
    "  -q, --quiet               less on stderr; in grep mode no output at all, the status says\n"
    "                            whether there is a match\n"
    "  --stats                   what the query cost, on stderr\n"
    "  --logcli-exit             status 0 even when nothing is found, as logcli has it (also\n"
    "                            when the program is called by a link named logcli)\n"
    "  -h, --help\n"
    "  -V, --version             \n";

static const char time_text[] =
    "\n"
    "Time (the last hour unless told otherwise):\n"
    "  --since DURATION          15m, 2h, 1h30m, 7d, 20y\n"
    "  --from TIME --to TIME     2026-11-21T15:04:05Z, '2026-11-21 15:04', 15:04, today,\n"
    "                            yesterday+6h, now-2h, unix seconds, milliseconds or "
    "nanoseconds\n";

static const char line_text[] =
    "  --color WHEN              auto, always, never (also --colour; $NO_COLOR is obeyed)\n"
    "  --no-labels               hide labels\n"
    "  --include-label NAME      show only these labels; repeatable\n"
    "  --exclude-label NAME      hide this label; repeatable\n"
    "  --include-common-labels   show labels that all lines have in common, too\n"
    "  --output-timestamp-format rfc3339, rfc3339nano, rfc822z, rfc1123z, stampmilli,\n"
    "                            stampmicro, stampnano, unixdate\n"
    "  --batch N                 lines per request (5000)\n"
    "  -A N, -B N, -C N          N lines of context behind, before, around each match, in its\n"
    "                            stream (also --after-context, --before-context, --context)\n"
    "  --follow                  (also -t, --tail, -f) what comes in, until Ctrl-C; reconnects\n"
    "  --delay-for S             with --follow: show lines that much later, in better order\n"
    "  --histogram               lines over time, by level; of a metric query: sparklines\n"
    "                            (--step DURATION: the width of a row or point)\n"
    "  --top NAME                the commonest values of a label or field, -m or --limit N of "
    "them\n"
    "  --pretty                  JSON over several lines, entries of several lines indented\n"
    "  --pager                   through $LOGQ_PAGER, $PAGER or less, on a terminal\n"
    "  --stdin                   search standard input, or the files that follow the pattern or\n"
    "                            query, instead of a server; .gz, .zst and .lz4 are read, too;\n"
    "                            query and instant-query: also metrics, over the text's times\n"
    "  --line-buffered           write each line at once\n"
    "  --colored-output          each stream's labels in a colour of their own\n"
    "  --labels-length N         width of the column of labels\n";

static const char grep_text[] =
    "logq: grep for a log store (logqd or Grafana Loki)\n"
    "\n"
    "  logq PATTERN [-l NAME=VALUE]... [SELECTOR] [option]...    search lines, oldest first\n"
    "  logq query LOGQL             log or metric query, newest first\n"
    "  logq instant-query LOGQL     metric query at one moment\n"
    "  logq labels [NAME]           names of labels, or values of one\n"
    "  logq series [SELECTOR]       streams\n"
    "  logq stats [SELECTOR]        how much there is\n"
    "  logq volume [SELECTOR]       bytes of streams; volume-range: over time\n"
    "  logq detected-fields [SELECTOR [FIELD]]    fields in lines, or values of one\n"
    "  logq patterns [SELECTOR]     kinds of lines, commonest first\n"
    "  logq fmt                     LogQL of standard input, in its canonical form\n"
    "  logq delete create|list|cancel\n"
    "  logq api PATH [NAME=VALUE]... an endpoint's own answer\n"
    "  logq push [FILE]...          send files or standard input\n"
    "  logq help COMMAND            more about one of them\n"
    "\n"
    "  logq 'connection refused' -l app=api --since 2h\n"
    "  logq -i 'timeout|refused' -l 'env=~prod.*' -TH     # with time and labels\n"
    "  logq -c error -l job=varlog --since 1d             # how many lines\n"
    "  logq -c error --by host --since 1d                 # how many in each host\n"
    "  logq error --histogram --since 1d                  # when\n"
    "  logq error --top path -m 20                        # which, by a label or a field of JSON "
    "or logfmt\n"
    "  logq panic -C 5 -T                                 # with five lines around\n"
    "  logq -oE 'id=[0-9a-f]+' --from yesterday --to today | sort | uniq -c\n"
    "  logq -q panic --since 5m && echo alarm             # status 0 found, 1 nothing, 2 trouble\n"
    "  logq grep labels; logq -e labels; logq -- -1       # patterns that look like something "
    "else\n"
    "\n"
    "Pattern (RE2, as in Go and ripgrep):\n"
    "  -e, --regexp PATTERN      several are alternatives; needed before one that begins with -\n"
    "  -F, --fixed-strings       patterns are texts\n"
    "  -i, --ignore-case\n"
    "  -S, --smart-case          -i unless a pattern has a capital letter\n"
    "  -v, --invert-match        lines that do not match\n"
    "  -w, --word-regexp         whole words\n"
    "  -x, --line-regexp         whole lines\n"
    "  -s, --case-sensitive      takes -i and -S back\n"
    "  -f, --file FILE           patterns of a file, one a line (-f without a file follows)\n"
    "  -E, -P, -a                accepted: --extended-regexp, --perl-regexp and --text change\n"
    "                            nothing\n"
    "\n"
    "Streams (all unless told otherwise):\n"
    "  -l, --label NAME=VALUE    also NAME!=VALUE, NAME=~REGEX, NAME!~REGEX; repeatable\n"
    "  SELECTOR                  LogQL: '{app=\"api\", env=~\"prod.*\"}'\n"
    "\n"
    "Output:\n"
    "  -c, --count               the number of lines; --by NAME: for each value of a label\n"
    "  -o, --only-matching       only what matches, one a line\n"
    "  -m, --limit N             at most N lines, 0 = all (also --max-count); 30 on a terminal,\n"
    "                            all in a pipe\n"
    "  -n, --line-number         number each line (with --stdin: its place in the file)\n"
    "  -H, --with-labels         labels before each line (files: --with-filename, the name)\n"
    "  -h, --no-filename         no names of files; --no-heading is accepted\n"
    "  --streams                 only the label sets of streams with a match\n"
    "                            (files: --files-with-matches; -L, --files-without-match)\n"
    "  -0, -Z, --null            a NUL behind names of files\n"
    "  -T, --with-time           time before each line\n"
    "  --reverse                 newest first\n"
    "  --output FORM             raw (as described), default (as logq query), jsonl (also "
    "--json)\n";

static const char query_text[] =
    "logq query LOGQL: lines, newest first, or the values of a metric query over a range\n"
    "\n"
    "  logq query '{app=\"api\"} | json | status >= 500' --limit 50\n"
    "  logq query '{app=\"api\"} |= \"refused\"' --since 2h -o jsonl | jq .line\n"
    "  logq query '{app=\"api\"}' --limit 0 --forward -o raw --from yesterday --to today >api.log\n"
    "  logq query 'sum by (app) (rate({app=~\".+\"} |= \"error\" [5m]))' --since 6h --step 15m\n"
    "\n"
    "  --limit N                 lines in all, 0 = all (30)\n"
    "  --forward                 oldest first\n"
    "  -o, --output FORM         default: time, labels that differ, line; raw: the line;\n"
    "                            jsonl: an object a line. Metrics: table (on a terminal), json\n"
    "                            (elsewhere), raw, jsonl\n"
    "  --step DURATION           distance of a metric's points (a 250th of the range)\n"
    "  --interval DURATION       at most one line per interval\n"
    "\n"
    "Much at once:\n"
    "  --parallel-max-workers N  download with N processes: all lines, in no order\n"
    "  --parallel-duration D     the range of one job (1h)\n"
    "  --part-path-prefix P      each job writes P_<start>_<end>.part; complete ones are not\n"
    "                            downloaded again unless --overwrite-completed-parts\n"
    "  --merge-parts             print the parts in order and remove them (--keep-parts: keep)\n"
    "  --store-config, --remote-schema, --schema-store    refused: see --data-dir\n"
    "\n";

static const char instant_text[] =
    "logq instant-query LOGQL: the value of a metric query at one moment\n"
    "\n"
    "  logq instant-query 'sum by (app) (rate({app=~\".+\"} |= \"error\" [5m]))'\n"
    "  logq instant-query --stdin 'sum(count_over_time(|= \"error\" [1h]))' app.log\n"
    "  logq instant-query 'topk(5, sum by (host) (count_over_time({job=\"varlog\"}[1h])))' -o "
    "json\n"
    "\n"
    "  --now TIME                the moment (now); written as --from is, see logq help query\n"
    "  --limit N                 passed on to the server\n"
    "  -o, --output FORM         table (on a terminal), json (elsewhere), raw (tab-separated), "
    "jsonl\n"
    "  --color WHEN              accepted, also as --colour: tables have no "
    "colours\n";

static const char labels_text[] =
    "logq labels [NAME]: the names of all labels, or the values of one\n"
    "\n"
    "  logq labels\n"
    "  logq labels app --since 7d\n";

static const char series_text[] = "logq series [SELECTOR]: the label sets of streams, one a line\n"
                                  "\n"
                                  "  logq series '{app=\"api\"}' --since 1d\n"
                                  "  logq series --analyze-labels      how many values "
                                  "each label has, and in how many streams\n";

static const char stats_text[] = "logq stats [SELECTOR]: bytes, chunks, streams and entries\n"
                                 "\n"
                                 "  logq stats '{app=\"api\"}' --since 7d\n";

static const char api_text[] =
    "logq api PATH [NAME=VALUE]...: the answer of a reading endpoint, as it is\n"
    "\n"
    "  logq api /loki/api/v1/labels\n"
    "  logq api /loki/api/v1/index/volume query='{app=~\".+\"}' limit=5 | jq .data.result\n"
    "  logq --data-dir /var/lib/logq api /loki/api/v1/query "
    "query='count_over_time({app=\"api\"}[1h])'\n";

static const char volume_text[] =
    "logq volume [SELECTOR], logq volume-range [SELECTOR]: bytes of streams, in all or over time\n"
    "\n"
    "  logq volume '{app=~\".+\"}' --since 1d -o table\n"
    "  logq volume-range '{job=\"varlog\"}' --targetLabels host --step 1h\n"
    "\n"
    "  --limit N                 streams or labels, most bytes first (30)\n"
    "  --targetLabels A,B        sums by these labels\n"
    "  --aggregateByLabels       sums by label names instead of label sets\n"
    "  --step DURATION           volume-range: distance of the points (1h)\n"
    "  -o, --output FORM         json, table, raw (tab-separated), jsonl\n";

static const char detected_text[] =
    "logq detected-fields [SELECTOR [FIELD]]: fields found in lines, or the values of one\n"
    "\n"
    "  logq detected-fields '{app=\"api\"}' --since 1d\n"
    "  logq detected-fields '{app=\"api\"}' status\n"
    "\n"
    "  --limit N                 fields or values (100)\n"
    "  --line-limit N            lines that are looked at (1000)\n"
    "  --step DURATION           passed on to the server (10s)\n";

static const char patterns_text[] =
    "logq patterns [SELECTOR]: kinds of lines with their numbers, commonest first\n"
    "\n"
    "  logq patterns '{app=\"api\"}' --since 6h --limit 20\n"
    "\n"
    "  --limit N                 at most N patterns\n"
    "  --step DURATION           passed on to the server\n";

static const char fmt_text[] =
    "logq fmt [QUERY]: LogQL in its canonical form; status 1 when it does not parse\n"
    "\n"
    "  logq fmt <query.logql\n";

static const char delete_text[] =
    "logq delete create QUERY, logq delete list, logq delete cancel: requests to delete lines\n"
    "\n"
    "  logq delete create '{app=\"api\"} |= \"password\"' --from 2026-11-01 --to today\n"
    "  logq delete list\n"
    "  logq delete cancel --request-id ID\n"
    "\n"
    "  --max-interval DURATION   the server splits the request into such ranges\n"
    "  --request-id ID --force   cancel: also one that is under way\n";

static const char push_text[] =
    "logq push [FILE]...: send lines; no FILE or - is standard input\n"
    "\n"
    "  logq push -l job=app -l host=$(hostname) app.log\n"
    "  logq push -l job=app -f app.log                   # and what is appended, like tail -F\n"
    "  logq push --journal -f -l host=$(hostname) --positions /var/lib/logq/journal\n"
    "  make 2>&1 | tee /dev/tty | logq push -l job=build --timestamp now\n"
    "  logq push -l job=varlog -f --positions /var/lib/logq/positions '/var/log/*.log'\n"
    "  logq push -l job=java --multiline '^[0-9]{4}-' app.log      # stack traces in one piece\n"
    "\n"
    "  -l, --label NAME=VALUE    label of the stream; repeatable. Without any: job=\"logq\". "
    "Several\n"
    "                            files, or none of these: filename=PATH is added\n"
    "  -f, --follow              go on when a file ends, until a signal; survives rotation, waits\n"
    "                            for files that are not there yet\n"
    "  --positions FILE          remember there how far each file was sent, and go on from there:\n"
    "                            each line is stored once, whatever is killed or renamed "
    "meanwhile\n"
    "  --journal                 systemd's journal of this boot instead of files, with labels "
    "unit\n"
    "                            and level; --positions FILE keeps its cursor\n"
    "  --multiline REGEX         a line that matches begins an entry, others go on with it\n"
    "  --timestamp auto|now      auto: the time at the start of a line (ISO 8601, syslog, ctime);\n"
    "                            a line without one has the time of the line before; a file\n"
    "                            without any has times counted back from its last change, so that\n"
    "                            pushing it again stores nothing twice; a stream has the clock's\n"
    "\n"
    "Batches of 1 MiB or 1 s. 429, 5xx and lost connections are retried (8 tries, with -f for "
    "ever;\n"
    "--retries N). Status 0: all lines are stored; 1: the server refused some; 2: "
    "trouble.\n";

void usage_add(struct buf *out, enum command command) {
    static const struct {
        enum command command;
        const char *text;
        bool lines, time; /* which of the shared parts follow */
    } texts[] = {
        {COMMAND_GREP, grep_text, true, true},
        {COMMAND_QUERY, query_text, true, true},
        {COMMAND_INSTANT, instant_text, false, false},
        {COMMAND_LABELS, labels_text, false, true},
        {COMMAND_SERIES, series_text, false, true},
        {COMMAND_STATS, stats_text, false, true},
        {COMMAND_VOLUME, volume_text, false, true},
        {COMMAND_VOLUME_RANGE, volume_text, false, true},
        {COMMAND_DETECTED, detected_text, false, true},
        {COMMAND_PATTERNS, patterns_text, false, true},
        {COMMAND_FMT, fmt_text, false, false},
        {COMMAND_DELETE, delete_text, false, true},
        {COMMAND_API, api_text, false, false},
        {COMMAND_PUSH, push_text, false, false},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].command != command)
            continue;
        buf_add_str(out, str_from(texts[i].text));
        if (texts[i].lines)
            buf_add_str(out, str_from(line_text));
        if (texts[i].time)
            buf_add_str(out, str_from(time_text));
        buf_add_str(out, str_from(server_text));
    }
}
