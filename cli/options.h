/* options: the command line and the environment of logq as one plain value. Texts point into
 * argv and environ. The spelling of every option stands in one table (options.c); the same
 * letter may mean different things in different commands (-o is grep's "only matching" in grep
 * mode and logcli's output form in query mode). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum command {
    COMMAND_GREP = 1 << 0,
    COMMAND_QUERY = 1 << 1,
    COMMAND_INSTANT = 1 << 2,
    COMMAND_LABELS = 1 << 3,
    COMMAND_SERIES = 1 << 4,
    COMMAND_STATS = 1 << 5,
    COMMAND_PUSH = 1 << 6,
    COMMAND_HELP = 1 << 7,
    COMMAND_VERSION = 1 << 8,
    COMMAND_API = 1 << 9,
    COMMAND_VOLUME = 1 << 10,
    COMMAND_VOLUME_RANGE = 1 << 11,
    COMMAND_DETECTED = 1 << 12,
    COMMAND_PATTERNS = 1 << 13,
    COMMAND_FMT = 1 << 14,
    COMMAND_DELETE = 1 << 15,
};

enum {
    OPTION_LIST_MAX = 256,    /* -l, -e, --header, files: more is a mistake of a script */
    OPTION_COUNT_UNSET = -1,  /* a number that was not given */
    QUERY_LIMIT_DEFAULT = 30, /* logcli's, and grep mode's on a terminal */
};

struct option_list {
    const char *items[OPTION_LIST_MAX];
    size_t count;
};

struct options {
    enum command command;
    struct option_list arguments; /* what is neither option nor subcommand */

    /* the server */
    const char *addr;
    const char *username, *password;
    const char *bearer_token, *bearer_token_file;
    const char *auth_header;
    const char *org_id;
    const char *query_tags;
    const char *ca_cert, *cert, *key;
    const char *proxy_url;
    bool nocache, tls_skip_verify, env_proxy;
    bool compress; /* accepted for logcli's sake: answers are always asked for as gzip */
    struct option_list headers;
    int64_t retries, min_backoff_s, max_backoff_s;

    /* a data directory instead */
    const char *data_dir;
    bool no_index;

    /* time */
    const char *since, *from, *to, *now, *timezone;
    const char *step, *interval;

    /* how much, and how it looks */
    int64_t limit, batch;
    bool forward, reverse;
    const char *output;
    const char *timestamp_format;
    const char *color;
    bool histogram, pretty, pager;
    const char *top;
    bool no_labels, quiet, include_common_labels, logcli_exit, colored_output;
    int64_t labels_length;
    const char *log_level, *cpu_profile, *mem_profile; /* accepted for logcli's sake */
    const char *store_config, *schema_store;           /* logcli's; refused, as is this: */
    bool remote_schema;
    struct option_list include_labels, exclude_labels;

    /* grep mode; labels also for push */
    struct option_list labels;
    struct option_list patterns;
    const char *by;
    bool ignore_case, smart_case, invert, word, whole_line, fixed, count, only_matching;
    bool with_labels, with_time, regex; /* regex: -E and -P, which are what a pattern is anyway */
    struct option_list pattern_files;
    bool case_sensitive, line_numbers, no_names, null_names, names_only, names_missing;
    bool line_buffered, no_heading, json, streams, stats;
    int64_t before, after, context; /* lines; OPTION_COUNT_UNSET */

    /* text instead of a server */
    bool from_stdin;

    /* queries in parallel */
    const char *parallel_duration, *part_prefix;
    int64_t parallel_workers;
    bool merge_parts, keep_parts, overwrite_parts;

    /* series, volume, detected-fields, delete, tail */
    bool analyze_labels, aggregate_by_labels, force;
    const char *target_labels, *max_interval, *request_id;
    int64_t line_limit, delay_for_s;

    /* push */
    bool follow;
    const char *timestamp; /* "auto" or "now" */
    const char *positions, *multiline;
    bool journal;

    bool help, version;
};

/* 0, or -ESYNTAX with a text that says what to do. */
int options_parse(int argc, char **argv, struct options *ret, struct err *reterr);

/* The command of that name ("volume_range" or "volume-range"), 0 = none. */
enum command options_command(const char *word);

/* Every long option with the commands that know it, for tests that compare the help with the
 * table; NULL behind the last. */
const char *options_name(size_t index, unsigned *ret_commands);
