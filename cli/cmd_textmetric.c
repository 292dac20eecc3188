/* logq query --stdin METRIC [FILE]..., logq instant-query --stdin METRIC [FILE]...: a metric query over text. The text
 * becomes a data directory in TMPDIR, the query runs over that as with --data-dir, and the directory goes. A child does
 * the work, so that it goes however the child ends. */
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "parser.h"
#include "session.h"
#include "textstore.h"
#include "when.h"

enum { QUERY_MAX = 128 << 10, PATH_SIZE = 512, TIME_SIZE = 64, FOLDERS_OPEN = 16 };

/* ---- the query */

/* The place behind the quoted text or the comment that begins at `at`; `at` itself when none does. */
static size_t skip_quoted(struct str text, size_t at) {
    char quote = text.data[at];
    if (quote != '"' && quote != '`' && quote != '#')
        return at;
    for (size_t i = at + 1; i < text.size; i++) {
        if (quote == '"' && text.data[i] == '\\')
            i++;
        else if (text.data[i] == (quote == '#' ? '\n' : quote))
            return i + 1;
    }
    return text.size;
}

static size_t skip_selector(struct str text, size_t at) {
    while (at < text.size && text.data[at] != '}') {
        size_t behind = skip_quoted(text, at);
        at = behind > at ? behind : at + 1;
    }
    return at < text.size ? at + 1 : at;
}

/* Each selector becomes one of all streams, as it does in log queries over text; where none stands before a filter or a
 * range, it is put there. */
static void select_all(struct str text, struct buf *out) {
    static const struct str all = STR_INIT("{filename=~\".+\"}");
    char before = 0; /* the last character that is no blank */
    for (size_t at = 0; at < text.size;) {
        char c = text.data[at];
        size_t behind = skip_quoted(text, at);
        if (c == '{' || (before == '(' && strchr("|![", c)))
            buf_add_str(out, all);
        if (c == '{') {
            at = skip_selector(text, at);
            before = '}';
            continue;
        }
        if (behind == at)
            behind++;
        buf_add_str(out, str_make(text.data + at, behind - at));
        if (!strchr(" \t\r\n#", c))
            before = c;
        at = behind;
    }
    buf_add_char(out, '\0');
}

bool text_metric_wanted(const struct options *o) {
    if (o->command == COMMAND_INSTANT)
        return true;
    if (o->command != COMMAND_QUERY || o->arguments.count == 0)
        return false;
    struct buf text = buf_make(QUERY_MAX);
    struct parsed_query *parsed = NULL;
    select_all(str_from(o->arguments.items[0]), &text);
    bool metric = !text.failed &&
                  query_parse_unchecked(str_make(text.data, text.size - 1), &parsed, NULL) == 0 &&
                  parsed_query_expr(parsed)->kind != EXPR_LOG;
    parsed_query_free(parsed);
    buf_done(&text);
    return metric;
}

/* ---- the child */

static int store_text(const struct options *o, const char *dir, struct range *ret_range,
                      struct err *reterr) {
    struct textstore *store = NULL;
    int r = textstore_open(dir, &store, reterr);
    size_t n_files = o->arguments.count - 1;
    for (size_t i = 0; r == 0 && i < (n_files > 0 ? n_files : 1); i++)
        r = textstore_add(store, n_files > 0 ? o->arguments.items[1 + i] : "-", reterr);
    if (r == 0 && !textstore_times(store, &ret_range->start_ns, &ret_range->end_ns))
        *ret_range = (struct range){0};
    struct err later = {0};
    int closed = textstore_close(store, r == 0 ? reterr : &later);
    return r < 0 ? r : closed;
}

static const char *time_text(struct buf *text, int64_t ns) {
    when_format(text, ns, "rfc3339nano");
    buf_add_char(text, '\0');
    return text->failed ? "now" : text->data;
}

static int answer(const struct options *o, const char *dir) {
    static struct options all; /* as it is elsewhere: not for the stack */
    struct err err = {0};
    struct range range = {0};
    if (o->arguments.count == 0) {
        (void)err_set(&err, -ESYNTAX,
                      "which query? logq query --stdin 'rate({} |= \"text\" [1m])' <FILE");
        return session_trouble(&err);
    }
    struct buf query = buf_make(QUERY_MAX), first = buf_make(TIME_SIZE), last = buf_make(TIME_SIZE);
    select_all(str_from(o->arguments.items[0]), &query);
    int r = query.failed ? err_set(&err, -ESYNTAX, "the query is longer than %d bytes", QUERY_MAX)
                         : when_use_zone(o->timezone, &err);
    if (r == 0)
        r = store_text(o, dir, &range, &err);
    if (r < 0)
        return session_trouble(&err);
    all = *o;
    all.from_stdin = false;
    all.data_dir = dir;
    all.org_id = NULL;
    all.arguments.count = 1;
    all.arguments.items[0] = query.data;
    if (!all.since && !all.from && !all.to && range.end_ns > 0) {
        all.from = time_text(&first, range.start_ns);
        all.to = time_text(&last, range.end_ns + 1);
    }
    if (!all.now && range.end_ns > 0 && all.command == COMMAND_INSTANT)
        all.now = all.to ? all.to : "now";
    int status = all.command == COMMAND_INSTANT ? cmd_instant(&all) : cmd_query(&all);
    buf_done(&query);
    buf_done(&first);
    buf_done(&last);
    return status;
}

/* ---- the parent */

static volatile sig_atomic_t child;

static void pass_on(int number) {
    if (child > 0)
        (void)kill(child, number);
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *at) {
    (void)stat, (void)type, (void)at;
    return remove(path);
}

static int wait_for(pid_t pid, const char *dir) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction action = {.sa_handler = pass_on};
    (void)sigemptyset(&action.sa_mask);
    child = pid;
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaction(signals[i], &action, NULL);
    int how;
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR) {
    }
    child = 0;
    (void)nftw(dir, remove_one, FOLDERS_OPEN, FTW_DEPTH | FTW_PHYS);
    if (!WIFSIGNALED(how))
        return WEXITSTATUS(how);
    (void)signal(WTERMSIG(how), SIG_DFL);
    (void)raise(WTERMSIG(how));
    return CLI_TROUBLE;
}

int cmd_textmetric(const struct options *o) {
    char dir[PATH_SIZE];
    struct err err = {0};
    const char *where = getenv("TMPDIR");
    int n = snprintf(dir, sizeof(dir), "%s/logq-text-XXXXXX", where && *where ? where : "/tmp");
    if (n < 0 || (size_t)n >= sizeof(dir) || !mkdtemp(dir)) {
        (void)err_set(&err, -errno, "cannot make a folder in TMPDIR: %s", strerror(errno));
        return session_trouble(&err);
    }
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int status = answer(o, dir);
        _exit(fflush(stdout) == 0 && !ferror(stdout) ? status : CLI_TROUBLE);
    }
    if (pid < 0) {
        (void)err_set(&err, -errno, "cannot start a process: %s", strerror(errno));
        (void)rmdir(dir);
        return session_trouble(&err);
    }
    return wait_for(pid, dir);
}
