#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "pager.h"
#include "session.h"
#include "usage.h"

enum { USAGE_MAX = 64 << 10 };

static int help(const struct options *o) {
    enum command wanted = o->command == COMMAND_HELP ? COMMAND_GREP : o->command;
    const char *word =
        o->command == COMMAND_HELP && o->arguments.count > 0 ? o->arguments.items[0] : NULL;
    enum command named = word ? options_command(word) : COMMAND_GREP;
    bool known = named != 0;
    if (word && known)
        wanted = named == COMMAND_HELP ? COMMAND_GREP : named;
    if (!known) {
        (void)fprintf(stderr, "logq: there is no command \"%s\"; see logq help\n", word);
        return CLI_TROUBLE;
    }
    struct buf text = buf_make(USAGE_MAX);
    usage_add(&text, wanted);
    (void)fwrite(text.data, 1, text.size, stdout);
    buf_done(&text);
    return CLI_FOUND;
}

/* A pattern that begins like a LogQL pipeline is none that anybody looks for. */
static bool is_logql(const struct options *o) {
    const char *text = o->arguments.count > 0 ? o->arguments.items[0] : "";
    text += strspn(text, " \t\n");
    if (o->command == COMMAND_QUERY)
        return true;
    return o->patterns.count + o->pattern_files.count == 0 &&
           (text[0] == '|' || (text[0] == '{' && strchr(text, '=') && strchr(text, '}')));
}

static int run(const struct options *o) {
    if (o->help)
        return help(o);
    if (o->from_stdin)
        return text_metric_wanted(o) ? cmd_textmetric(o)
               : is_logql(o)         ? cmd_textql(o)
                                     : cmd_text(o);
    switch (o->command) {
    case COMMAND_GREP:
        return cmd_grep(o);
    case COMMAND_QUERY:
        return cmd_query(o);
    case COMMAND_INSTANT:
        return cmd_instant(o);
    case COMMAND_LABELS:
        return cmd_labels(o);
    case COMMAND_SERIES:
        return cmd_series(o);
    case COMMAND_STATS:
        return cmd_stats(o);
    case COMMAND_PUSH:
        return cmd_push(o);
    case COMMAND_API:
        return cmd_api(o);
    case COMMAND_VOLUME:
    case COMMAND_VOLUME_RANGE:
        return cmd_volume(o);
    case COMMAND_DETECTED:
        return cmd_detected(o);
    case COMMAND_PATTERNS:
        return cmd_patterns(o);
    case COMMAND_FMT:
        return cmd_fmt(o);
    case COMMAND_DELETE:
        return cmd_delete(o);
    case COMMAND_HELP:
        return help(o);
    case COMMAND_VERSION:
        (void)puts("logq " LOGQ_VERSION);
        return CLI_FOUND;
    }
    return CLI_TROUBLE;
}

int cli_main(int argc, char **argv) {
    static struct options options; /* lists of some size: not on the stack */
    struct err err = {0};
    if (options_parse(argc, argv, &options, &err) < 0)
        return session_trouble(&err);
    pager_start(&options);
    int status = run(&options);
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    int cause = errno;
    pager_end();
    /* A full disk behind stdout is trouble, whatever was found. */
    if (failed && status != CLI_TROUBLE) {
        (void)err_set(&err, -EIO, "cannot write the output: %s", strerror(cause));
        return session_trouble(&err);
    }
    return status;
}
