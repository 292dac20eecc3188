#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "options.h"
#include "str.h"
#include "units.h"

enum {
    READS = COMMAND_GREP | COMMAND_QUERY | COMMAND_INSTANT | COMMAND_LABELS | COMMAND_SERIES |
            COMMAND_STATS | COMMAND_API | COMMAND_VOLUME | COMMAND_VOLUME_RANGE | COMMAND_DETECTED |
            COMMAND_PATTERNS,
    ALL_SERVER = READS | COMMAND_PUSH | COMMAND_DELETE | COMMAND_FMT,
    RANGED = COMMAND_GREP | COMMAND_QUERY | COMMAND_LABELS | COMMAND_SERIES | COMMAND_STATS |
             COMMAND_VOLUME | COMMAND_VOLUME_RANGE | COMMAND_DETECTED | COMMAND_PATTERNS |
             COMMAND_DELETE,
    LINES = COMMAND_GREP | COMMAND_QUERY,
    RESULTS = LINES | COMMAND_INSTANT,
    VOLUMES = COMMAND_VOLUME | COMMAND_VOLUME_RANGE,
};

enum kind {
    KIND_FLAG,
    KIND_TEXT,
    KIND_LIST,
    KIND_COUNT,
    KIND_COLOR, /* the value may be left out, as in grep */
    /* -f FILE reads patterns from a file, as in grep; without a file behind it -f follows, as in tail and logcli */
    KIND_PATTERN_FILE,
};

struct spec {
    const char *name;
    char letter; /* 0 = none */
    unsigned commands;
    enum kind kind;
    size_t offset; /* into struct options */
    const char *env;
};

#define AT(member) offsetof(struct options, member)

static const struct spec specs[] = {
    {"addr", 0, ALL_SERVER, KIND_TEXT, AT(addr), "LOKI_ADDR"},
    {"username", 0, ALL_SERVER, KIND_TEXT, AT(username), "LOKI_USERNAME"},
    {"password", 0, ALL_SERVER, KIND_TEXT, AT(password), "LOKI_PASSWORD"},
    {"bearer-token", 0, ALL_SERVER, KIND_TEXT, AT(bearer_token), "LOKI_BEARER_TOKEN"},
    {"bearer-token-file", 0, ALL_SERVER, KIND_TEXT, AT(bearer_token_file),
     "LOKI_BEARER_TOKEN_FILE"},
    {"auth-header", 0, ALL_SERVER, KIND_TEXT, AT(auth_header), "LOKI_AUTH_HEADER"},
    {"org-id", 0, ALL_SERVER, KIND_TEXT, AT(org_id), "LOKI_ORG_ID"},
    {"header", 0, ALL_SERVER, KIND_LIST, AT(headers), NULL},
    {"query-tags", 0, ALL_SERVER, KIND_TEXT, AT(query_tags), "LOKI_QUERY_TAGS"},
    {"nocache", 0, ALL_SERVER, KIND_FLAG, AT(nocache), "LOKI_NO_CACHE"},
    {"ca-cert", 0, ALL_SERVER, KIND_TEXT, AT(ca_cert), "LOKI_CA_CERT_PATH"},
    {"cert", 0, ALL_SERVER, KIND_TEXT, AT(cert), "LOKI_CLIENT_CERT_PATH"},
    {"key", 0, ALL_SERVER, KIND_TEXT, AT(key), "LOKI_CLIENT_KEY_PATH"},
    {"tls-skip-verify", 0, ALL_SERVER, KIND_FLAG, AT(tls_skip_verify), "LOKI_TLS_SKIP_VERIFY"},
    {"retries", 0, ALL_SERVER, KIND_COUNT, AT(retries), "LOKI_CLIENT_RETRIES"},
    {"min-backoff", 0, ALL_SERVER, KIND_COUNT, AT(min_backoff_s), "LOKI_CLIENT_MIN_BACKOFF"},
    {"max-backoff", 0, ALL_SERVER, KIND_COUNT, AT(max_backoff_s), "LOKI_CLIENT_MAX_BACKOFF"},
    {"proxy-url", 0, ALL_SERVER, KIND_TEXT, AT(proxy_url), "LOKI_HTTP_PROXY_URL"},
    {"envproxy", 0, ALL_SERVER, KIND_FLAG, AT(env_proxy), "LOKI_ENV_PROXY"},
    {"compress", 0, ALL_SERVER, KIND_FLAG, AT(compress), "LOKI_HTTP_COMPRESSION"},
    {"log.level", 0, ALL_SERVER, KIND_TEXT, AT(log_level), NULL},
    {"cpuprofile", 0, ALL_SERVER, KIND_TEXT, AT(cpu_profile), NULL},
    {"memprofile", 0, ALL_SERVER, KIND_TEXT, AT(mem_profile), NULL},
    {"stats", 0, ALL_SERVER, KIND_FLAG, AT(stats), NULL},

    {"data-dir", 0, READS | COMMAND_FMT | COMMAND_DELETE, KIND_TEXT, AT(data_dir), "LOGQ_DATA_DIR"},
    {"no-index", 0, READS | COMMAND_FMT | COMMAND_DELETE, KIND_FLAG, AT(no_index), NULL},

    {"since", 0, RANGED, KIND_TEXT, AT(since), NULL},
    {"from", 0, RANGED, KIND_TEXT, AT(from), NULL},
    {"to", 0, RANGED, KIND_TEXT, AT(to), NULL},
    {"now", 0, COMMAND_INSTANT, KIND_TEXT, AT(now), NULL},
    {"timezone", 'z', ALL_SERVER, KIND_TEXT, AT(timezone), NULL},
    {"step", 0, LINES | COMMAND_VOLUME_RANGE | COMMAND_DETECTED | COMMAND_PATTERNS, KIND_TEXT,
     AT(step), NULL},
    {"interval", 0, COMMAND_QUERY, KIND_TEXT, AT(interval), NULL},

    {"limit", 'm', COMMAND_GREP, KIND_COUNT, AT(limit), NULL},
    {"max-count", 0, COMMAND_GREP, KIND_COUNT, AT(limit), NULL},
    {"limit", 0, COMMAND_QUERY | COMMAND_INSTANT | VOLUMES | COMMAND_DETECTED | COMMAND_PATTERNS,
     KIND_COUNT, AT(limit), NULL},
    {"line-limit", 0, COMMAND_DETECTED, KIND_COUNT, AT(line_limit), NULL},
    {"targetLabels", 0, VOLUMES, KIND_TEXT, AT(target_labels), NULL},
    {"aggregateByLabels", 0, VOLUMES, KIND_FLAG, AT(aggregate_by_labels), NULL},
    {"analyze-labels", 0, COMMAND_SERIES, KIND_FLAG, AT(analyze_labels), NULL},
    {"max-interval", 0, COMMAND_DELETE, KIND_TEXT, AT(max_interval), NULL},
    {"request-id", 0, COMMAND_DELETE, KIND_TEXT, AT(request_id), NULL},
    {"force", 0, COMMAND_DELETE, KIND_FLAG, AT(force), NULL},
    {"parallel-duration", 0, COMMAND_QUERY, KIND_TEXT, AT(parallel_duration), NULL},
    {"parallel-max-workers", 0, COMMAND_QUERY, KIND_COUNT, AT(parallel_workers), NULL},
    {"part-path-prefix", 0, COMMAND_QUERY, KIND_TEXT, AT(part_prefix), NULL},
    {"merge-parts", 0, COMMAND_QUERY, KIND_FLAG, AT(merge_parts), NULL},
    {"keep-parts", 0, COMMAND_QUERY, KIND_FLAG, AT(keep_parts), NULL},
    {"overwrite-completed-parts", 0, COMMAND_QUERY, KIND_FLAG, AT(overwrite_parts), NULL},
    {"store-config", 0, COMMAND_QUERY, KIND_TEXT, AT(store_config), "LOKI_STORE_CONFIG"},
    {"remote-schema", 0, COMMAND_QUERY, KIND_FLAG, AT(remote_schema), NULL},
    {"schema-store", 0, COMMAND_QUERY, KIND_TEXT, AT(schema_store), NULL},
    {"delay-for", 0, LINES, KIND_COUNT, AT(delay_for_s), NULL},
    {"labels-length", 0, LINES, KIND_COUNT, AT(labels_length), NULL},
    {"colored-output", 0, LINES, KIND_FLAG, AT(colored_output), NULL},
    {"batch", 0, LINES, KIND_COUNT, AT(batch), NULL},
    {"forward", 0, COMMAND_QUERY, KIND_FLAG, AT(forward), NULL},
    {"reverse", 0, COMMAND_GREP, KIND_FLAG, AT(reverse), NULL},
    {"output", 'o', COMMAND_QUERY | COMMAND_INSTANT | VOLUMES, KIND_TEXT, AT(output), NULL},
    {"output", 0, COMMAND_GREP, KIND_TEXT, AT(output), NULL},
    {"output-timestamp-format", 0, LINES, KIND_TEXT, AT(timestamp_format), NULL},
    {"color", 0, RESULTS, KIND_COLOR, AT(color), NULL},
    {"colour", 0, RESULTS, KIND_COLOR, AT(color), NULL},
    {"no-labels", 0, LINES, KIND_FLAG, AT(no_labels), NULL},
    {"include-label", 0, LINES, KIND_LIST, AT(include_labels), NULL},
    {"exclude-label", 0, LINES, KIND_LIST, AT(exclude_labels), NULL},
    {"include-common-labels", 0, LINES, KIND_FLAG, AT(include_common_labels), NULL},
    {"quiet", 'q', ALL_SERVER, KIND_FLAG, AT(quiet), NULL},
    {"logcli-exit", 0, ALL_SERVER, KIND_FLAG, AT(logcli_exit), NULL},

    {"label", 'l', COMMAND_GREP | COMMAND_PUSH, KIND_LIST, AT(labels), NULL},
    {"regexp", 'e', COMMAND_GREP, KIND_LIST, AT(patterns), NULL},
    {"by", 0, COMMAND_GREP, KIND_TEXT, AT(by), NULL},
    {"ignore-case", 'i', COMMAND_GREP, KIND_FLAG, AT(ignore_case), NULL},
    {"smart-case", 'S', COMMAND_GREP, KIND_FLAG, AT(smart_case), NULL},
    {"invert-match", 'v', COMMAND_GREP, KIND_FLAG, AT(invert), NULL},
    {"word-regexp", 'w', COMMAND_GREP, KIND_FLAG, AT(word), NULL},
    {"line-regexp", 'x', COMMAND_GREP, KIND_FLAG, AT(whole_line), NULL},
    {"fixed-strings", 'F', COMMAND_GREP, KIND_FLAG, AT(fixed), NULL},
    {"extended-regexp", 'E', COMMAND_GREP, KIND_FLAG, AT(regex), NULL},
    {"perl-regexp", 'P', COMMAND_GREP, KIND_FLAG, AT(regex), NULL},
    {"count", 'c', COMMAND_GREP, KIND_FLAG, AT(count), NULL},
    {"only-matching", 'o', COMMAND_GREP, KIND_FLAG, AT(only_matching), NULL},
    {"with-labels", 'H', COMMAND_GREP, KIND_FLAG, AT(with_labels), NULL},
    {"with-filename", 0, COMMAND_GREP, KIND_FLAG, AT(with_labels), NULL},
    {"no-filename", 0, COMMAND_GREP, KIND_FLAG, AT(no_names), NULL},
    {"no-heading", 0, COMMAND_GREP, KIND_FLAG, AT(no_heading), NULL},
    {"file", 'f', COMMAND_GREP, KIND_PATTERN_FILE, AT(pattern_files), NULL},
    {"case-sensitive", 's', COMMAND_GREP, KIND_FLAG, AT(case_sensitive), NULL},
    {"line-number", 'n', COMMAND_GREP, KIND_FLAG, AT(line_numbers), NULL},
    {"null", '0', COMMAND_GREP, KIND_FLAG, AT(null_names), NULL},
    {"null", 'Z', COMMAND_GREP, KIND_FLAG, AT(null_names), NULL},
    {"files-with-matches", 0, COMMAND_GREP, KIND_FLAG, AT(names_only), NULL},
    {"files-without-match", 'L', COMMAND_GREP, KIND_FLAG, AT(names_missing), NULL},
    {"line-buffered", 0, LINES, KIND_FLAG, AT(line_buffered), NULL},
    {"json", 0, COMMAND_GREP, KIND_FLAG, AT(json), NULL},
    {"streams", 0, COMMAND_GREP, KIND_FLAG, AT(streams), NULL},
    {"before-context", 'B', LINES, KIND_COUNT, AT(before), NULL},
    {"after-context", 'A', LINES, KIND_COUNT, AT(after), NULL},
    {"context", 'C', LINES, KIND_COUNT, AT(context), NULL},
    {"text", 'a', COMMAND_GREP, KIND_FLAG, AT(regex), NULL},
    {"histogram", 0, LINES, KIND_FLAG, AT(histogram), NULL},
    {"top", 0, LINES, KIND_TEXT, AT(top), NULL},
    {"pretty", 0, LINES, KIND_FLAG, AT(pretty), NULL},
    {"pager", 0, LINES, KIND_FLAG, AT(pager), NULL},
    {"stdin", 0, RESULTS, KIND_FLAG, AT(from_stdin), NULL},
    {"with-time", 'T', COMMAND_GREP, KIND_FLAG, AT(with_time), NULL},

    {"follow", 'f', COMMAND_QUERY | COMMAND_PUSH, KIND_FLAG, AT(follow), NULL},
    {"follow", 0, COMMAND_GREP, KIND_FLAG, AT(follow), NULL},
    {"tail", 't', LINES, KIND_FLAG, AT(follow), NULL},
    {"journal", 0, COMMAND_PUSH, KIND_FLAG, AT(journal), NULL},
    {"positions", 0, COMMAND_PUSH, KIND_TEXT, AT(positions), NULL},
    {"multiline", 0, COMMAND_PUSH, KIND_TEXT, AT(multiline), NULL},
    {"timestamp", 0, COMMAND_PUSH, KIND_TEXT, AT(timestamp), NULL},

    {"help", 'h', ALL_SERVER, KIND_FLAG, AT(help), NULL},
    {"version", 'V', ALL_SERVER, KIND_FLAG, AT(version), NULL},
};
enum { SPECS = sizeof(specs) / sizeof(specs[0]) };

static const struct {
    const char *name;
    enum command command;
} commands[] = {
    {"grep", COMMAND_GREP},
    {"query", COMMAND_QUERY},
    {"instant-query", COMMAND_INSTANT},
    {"labels", COMMAND_LABELS},
    {"series", COMMAND_SERIES},
    {"stats", COMMAND_STATS},
    {"volume", COMMAND_VOLUME},
    {"volume-range", COMMAND_VOLUME_RANGE},
    {"volume_range", COMMAND_VOLUME_RANGE},
    {"detected-fields", COMMAND_DETECTED},
    {"patterns", COMMAND_PATTERNS},
    {"fmt", COMMAND_FMT},
    {"delete", COMMAND_DELETE},
    {"push", COMMAND_PUSH},
    {"api", COMMAND_API},
    {"help", COMMAND_HELP},
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

enum command options_command(const char *word) {
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(word, commands[i].name) == 0)
            return commands[i].command;
    return 0;
}

const char *options_name(size_t index, unsigned *ret_commands) {
    if (index >= SPECS)
        return NULL;
    *ret_commands = specs[index].commands;
    return specs[index].name;
}

static const struct spec *find_long(struct str name, unsigned command) {
    for (size_t i = 0; i < SPECS; i++)
        if ((specs[i].commands & command) && str_eq(name, str_from(specs[i].name)))
            return &specs[i];
    return NULL;
}

static const struct spec *find_letter(char letter, unsigned command) {
    for (size_t i = 0; i < SPECS; i++)
        if ((specs[i].commands & command) && specs[i].letter == letter)
            return &specs[i];
    return NULL;
}

static int add_item(struct option_list *list, const char *value, struct err *reterr) {
    if (list->count == OPTION_LIST_MAX)
        return err_set(reterr, -ESYNTAX, "more than %d values of one kind on the command line",
                       OPTION_LIST_MAX);
    list->items[list->count++] = value;
    return 0;
}

/* `value` is not NULL unless the kind takes none. `origin` is what people wrote, for the
 * message. */
static int set_value(struct options *o, const struct spec *s, const char *value, const char *origin,
                     struct err *reterr) {
    void *at = (char *)o + s->offset;
    switch (s->kind) {
    case KIND_FLAG:
        *(bool *)at = !value || strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
        return 0;
    case KIND_TEXT:
    case KIND_COLOR:
        *(const char **)at = value;
        return 0;
    case KIND_PATTERN_FILE:
        if (!value) {
            o->follow = true;
            return 0;
        }
        return add_item(at, value, reterr);
    case KIND_LIST:
        return add_item(at, value, reterr);
    case KIND_COUNT:
        break;
    }
    int64_t number;
    if (i64_parse(str_from(value), &number) < 0 || number < 0)
        return err_set(reterr, -ESYNTAX, "%s wants a whole number, not \"%s\"", origin, value);
    *(int64_t *)at = number;
    return 0;
}

static int read_environment(struct options *o, struct err *reterr) {
    for (size_t i = 0; i < SPECS; i++) {
        const char *value = specs[i].env ? getenv(specs[i].env) : NULL;
        if (!value || !*value)
            continue;
        int r = set_value(o, &specs[i], value, specs[i].env, reterr);
        if (r < 0)
            return r;
    }
    const char *addr = getenv("LOGQ_ADDR");
    if (addr && *addr)
        o->addr = addr;
    return 0;
}

/* ---- walking over argv */

struct walk {
    char **argv;
    int argc, at;
    unsigned command;
    struct options *options; /* NULL: only look for the first word that is not an option */
};

static bool is_color(const char *word) {
    return word &&
           (strcmp(word, "auto") == 0 || strcmp(word, "always") == 0 || strcmp(word, "never") == 0);
}

static bool is_file(const char *path) {
    struct stat st;
    return path && stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static int apply(struct walk *w, const struct spec *s, const char *value, const char *origin,
                 struct err *reterr) {
    const char *next = w->at + 1 < w->argc ? w->argv[w->at + 1] : NULL;
    if (!value && s->kind == KIND_COLOR) {
        value = is_color(next) ? next : "auto";
        w->at += is_color(next);
    } else if (!value && s->kind == KIND_PATTERN_FILE) {
        if (origin[1] == '-' || is_file(next)) {
            value = next;
            w->at++;
        }
        if (origin[1] == '-' && !value)
            return err_set(reterr, -ESYNTAX, "%s wants a file of patterns", origin);
    } else if (!value && s->kind != KIND_FLAG) {
        if (!next)
            return err_set(reterr, -ESYNTAX, "%s wants a value; see logq --help", origin);
        value = next;
        w->at++;
    }
    return w->options ? set_value(w->options, s, value, origin, reterr) : 0;
}

static const char *command_name(unsigned command) {
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].command == command)
            return commands[i].name;
    return "grep";
}

static int unknown_option(const struct walk *w, const char *word, struct err *reterr) {
    const char *name = command_name(w->command);
    if (w->command == COMMAND_GREP)
        return err_set(reterr, -ESYNTAX,
                       "unknown option %s; see logq --help (a pattern that begins with - goes "
                       "behind -e or --)",
                       word);
    return err_set(reterr, -ESYNTAX, "logq %s has no option %s; see logq help %s", name, word,
                   name);
}

static int long_option(struct walk *w, struct err *reterr) {
    const char *word = w->argv[w->at];
    const char *equals = strchr(word, '=');
    struct str name = equals ? str_make(word + 2, (size_t)(equals - word) - 2) : str_from(word + 2);
    const struct spec *s = find_long(name, w->command);
    if (!s)
        return unknown_option(w, word, reterr);
    return apply(w, s, equals ? equals + 1 : NULL, word, reterr);
}

/* -ic, -m5, -m 5, -lapp=x */
static int letters(struct walk *w, struct err *reterr) {
    const char *word = w->argv[w->at];
    const struct spec *context = find_long(STR("context"), w->command);
    if (context && strspn(word + 1, "0123456789") == strlen(word + 1)) /* -5 is -C 5 */
        return w->options ? set_value(w->options, context, word + 1, word, reterr) : 0;
    for (const char *p = word + 1; *p; p++) {
        char origin[3] = {'-', *p, 0};
        const struct spec *s = find_letter(*p, w->command);
        if (!s)
            return unknown_option(w, origin, reterr);
        bool takes_rest = s->kind != KIND_FLAG && p[1];
        int r = apply(w, s, takes_rest ? p + 1 : NULL, origin, reterr);
        if (r < 0 || s->kind != KIND_FLAG)
            return r;
    }
    return 0;
}

static bool is_option(const char *word) {
    return word[0] == '-' && word[1] != '\0';
}

/* The index of the subcommand in argv, 0 when there is none: the first word that is no option,
 * if it is a subcommand's name and does not stand behind "--" or after a pattern given with -e. */
static int find_command(int argc, char **argv, enum command *ret) {
    struct walk w = {.argv = argv, .argc = argc, .command = COMMAND_GREP};
    for (w.at = 1; w.at < argc; w.at++) {
        const char *word = argv[w.at];
        struct err ignored;
        if (strcmp(word, "--") == 0)
            return 0;
        if (!is_option(word)) {
            enum command found = options_command(word);
            if (found)
                *ret = found;
            return found ? w.at : 0;
        }
        if (strncmp(word, "-e", 2) == 0 || strncmp(word, "--regexp", 8) == 0)
            return 0;
        /* An option of another command (logq --step 5m query ...) is judged when the command is
         * known. */
        (void)(word[1] == '-' ? long_option(&w, &ignored) : letters(&w, &ignored));
    }
    return 0;
}

int options_parse(int argc, char **argv, struct options *ret, struct err *reterr) {
    *ret = (struct options){
        .command = COMMAND_GREP,
        .retries = OPTION_COUNT_UNSET,
        .min_backoff_s = OPTION_COUNT_UNSET,
        .max_backoff_s = OPTION_COUNT_UNSET,
        .limit = OPTION_COUNT_UNSET,
        .batch = OPTION_COUNT_UNSET,
        .before = OPTION_COUNT_UNSET,
        .after = OPTION_COUNT_UNSET,
        .context = OPTION_COUNT_UNSET,
        .line_limit = OPTION_COUNT_UNSET,
        .delay_for_s = OPTION_COUNT_UNSET,
        .labels_length = OPTION_COUNT_UNSET,
        .parallel_workers = OPTION_COUNT_UNSET,
    };
    int r = read_environment(ret, reterr);
    if (r < 0)
        return r;
    const char *env_addr = ret->addr, *env_data_dir = ret->data_dir;
    int command_at = find_command(argc, argv, &ret->command);
    unsigned known = ret->command == COMMAND_HELP ? (unsigned)COMMAND_GREP : ret->command;
    struct walk w = {.argv = argv, .argc = argc, .command = known, .options = ret};
    bool only_arguments = false;
    for (w.at = 1; w.at < argc && r == 0; w.at++) {
        const char *word = argv[w.at];
        if (w.at == command_at)
            continue;
        if (!only_arguments && strcmp(word, "--") == 0)
            only_arguments = true;
        else if (only_arguments || !is_option(word))
            r = add_item(&ret->arguments, word, reterr);
        else
            r = word[1] == '-' ? long_option(&w, reterr) : letters(&w, reterr);
    }
    if (r < 0)
        return r;
    if (ret->addr != env_addr && ret->data_dir == env_data_dir)
        ret->data_dir = NULL; /* who names a server means it */
    if (!ret->addr)
        ret->addr = "http://localhost:3100";
    bool long_help = false;
    for (int i = 1; i < argc; i++)
        long_help = long_help || strcmp(argv[i], "--help") == 0;
    if (ret->help && !long_help && ret->command == COMMAND_GREP &&
        (ret->arguments.count > 0 || ret->patterns.count > 0)) {
        ret->help = false; /* -h is grep's there: no names */
        ret->no_names = true;
    }
    const char *program = strrchr(argv[0], '/');
    if (strcmp(program ? program + 1 : argv[0], "logcli") == 0)
        ret->logcli_exit = true; /* a link of that name behaves as that program */
    if (ret->store_config || ret->schema_store || ret->remote_schema)
        return err_set(reterr, -ESYNTAX,
                       "Loki's own storage cannot be read (--store-config, --remote-schema, "
                       "--schema-store); a directory of logqd can, with --data-dir");
    if (ret->json)
        ret->output = "jsonl";
    if (ret->case_sensitive)
        ret->ignore_case = ret->smart_case = false;
    if (ret->version)
        ret->command = COMMAND_VERSION;
    if (ret->color && !is_color(ret->color))
        return err_set(reterr, -ESYNTAX, "--color is auto, always or never, not \"%s\"",
                       ret->color);
    return 0;
}
