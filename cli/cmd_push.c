/* logq push: lines of files or standard input to a server, in batches of about a MiB or a
 * second, each acknowledged before the next one is sent. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "batch.h"
#include "cli.h"
#include "clock.h"
#include "io.h"
#include "journal.h"
#include "logql.h"
#include "positions.h"
#include "reader.h"
#include "regex.h"
#include "sender.h"
#include "session.h"
#include "units.h"

enum {
    BATCH_BYTES = 1 << 20,
    BATCH_LINES_MAX = 50000, /* a MiB of empty lines would be a large message */
    BATCH_AGE_MS = 1000,
    LABELS_MAX = 64 << 10,
    HELD_MAX_MS = 1000, /* an entry of several lines is complete when nothing comes for so long */
    SCAN_MS = 1000,     /* how often new files are looked for */
    FILES_MAX = 10000,
    PENDING_MAX = 128 << 20,
    CURSOR_MAX = 4 << 10,
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
}

struct push {
    const struct options *options;
    struct sender sender;
    struct positions *positions;
    struct regex *entry_start; /* --multiline; NULL = each line is an entry */
    struct feed **feeds;
    size_t n_feeds;
    int64_t scanned_mono_ns; /* when patterns of file names were last looked at */
    uint64_t cut;            /* lines that were too long */
};

struct feed {
    char *path;
    struct reader *reader;
    struct batch batch;
    struct buf labels;
    int64_t oldest_ns; /* monotonic: when the first line entered the batch */
    bool done;
    /* --multiline: the entry that may go on */
    struct buf held;
    bool holds;
    int64_t held_ns, held_since_ns;
    uint64_t held_offset;
};

/* ---- sending */

static int send_batch(struct push *p, struct feed *f, struct err *reterr) {
    struct str body;
    if (f->batch.n_lines == 0)
        return 0;
    if (batch_encode(&f->batch, buf_str(&f->labels), &body) < 0)
        return err_set(reterr, -ENOMEM, "out of memory");
    struct place place;
    bool placed = f->reader && reader_is_file(f->reader);
    if (placed) {
        reader_get_place(f->reader, &place);
        if (f->holds)
            place.offset = f->held_offset;
        int r = positions_begin(p->positions, f->path, &place, body, reterr);
        if (r < 0)
            return r;
    }
    int r = sender_send(&p->sender, &f->batch, body, reterr);
    if (r == 0 && placed)
        r = positions_commit(p->positions, f->path, &place, reterr);
    batch_clear(&f->batch);
    return r;
}

/* ---- reading */

static int add_entry(struct push *p, struct feed *f, int64_t ns, struct str line,
                     struct err *reterr) {
    if (f->batch.n_lines == 0)
        f->oldest_ns = clock_mono_ns();
    batch_add(&f->batch, ns, line);
    bool full = f->batch.line_bytes >= BATCH_BYTES || f->batch.n_lines >= BATCH_LINES_MAX;
    return full ? send_batch(p, f, reterr) : 0;
}

/* The held entry is complete. */
static int let_go(struct push *p, struct feed *f, struct err *reterr) {
    if (!f->holds)
        return 0;
    f->holds = false;
    int r = f->held.failed ? err_set(reterr, -ENOMEM, "out of memory")
                           : add_entry(p, f, f->held_ns, buf_str(&f->held), reterr);
    buf_clear(&f->held);
    return r;
}

/* A line that begins an entry ends the one before; any other goes on with it. */
static int join_line(struct push *p, struct feed *f, int64_t ns, struct str line,
                     struct err *reterr) {
    bool starts = regex_matches(p->entry_start, line);
    bool too_long = f->held.size + line.size + 1 > READER_LINE_MAX;
    int r = starts || too_long ? let_go(p, f, reterr) : 0;
    if (r < 0)
        return r;
    if (!f->holds) {
        f->held_ns = ns;
        f->held_offset = reader_line_offset(f->reader);
        f->held_since_ns = clock_mono_ns();
    } else {
        buf_add_char(&f->held, '\n');
    }
    f->holds = true;
    buf_add_str(&f->held, line);
    return 0;
}

/* All lines that have been read, into batches; 1 at the end of the file. */
static int take_lines(struct push *p, struct feed *f, struct err *reterr) {
    struct str line;
    int64_t ns;
    for (;;) {
        enum reader_state state = reader_next(f->reader, &line, &ns);
        bool waited = f->holds && clock_mono_ns() - f->held_since_ns > HELD_MAX_MS * NS_PER_MS;
        if (state != READER_LINE && f->holds && (state == READER_END || waited)) {
            int r = let_go(p, f, reterr);
            if (r < 0)
                return r;
        }
        if (state != READER_LINE)
            return state == READER_END;
        int r =
            p->entry_start ? join_line(p, f, ns, line, reterr) : add_entry(p, f, ns, line, reterr);
        if (r < 0)
            return r;
    }
}

static int time_left_ms(const struct feed *f) {
    if (f->batch.n_lines == 0)
        return BATCH_AGE_MS;
    int64_t left_ms = BATCH_AGE_MS - (clock_mono_ns() - f->oldest_ns) / NS_PER_MS;
    return left_ms > 0 ? (int)left_ms : 0;
}

/* One step: read what is there or comes within `wait_ms`, send what is due. 1 at the end of the
 * file. */
static int pump(struct push *p, struct feed *f, int wait_ms, struct err *reterr) {
    int left_ms = time_left_ms(f);
    int r = reader_fill(f->reader, wait_ms < left_ms ? wait_ms : left_ms, reterr);
    if (r < 0)
        return r;
    int ended = take_lines(p, f, reterr);
    if (ended < 0)
        return ended;
    if (ended || (f->batch.n_lines > 0 && time_left_ms(f) == 0)) {
        r = send_batch(p, f, reterr);
        if (r < 0)
            return r;
    }
    return ended;
}

static int open_feed(struct push *p, struct feed *f, struct err *reterr) {
    const struct options *o = p->options;
    const struct reader_options reader = {
        .follow = o->follow,
        .forced_now = o->timestamp && strcmp(o->timestamp, "now") == 0,
        .positions = p->positions,
    };
    int r = reader_open(f->path, &reader, &f->reader, reterr);
    if (r < 0 || !reader_is_file(f->reader) || positions_get(p->positions, f->path))
        return r;
    /* From here on the file is known, whatever it is called when the first batch is sent. */
    struct place place;
    reader_get_place(f->reader, &place);
    return positions_commit(p->positions, f->path, &place, reterr);
}

static void close_feed(struct push *p, struct feed *f) {
    if (f->reader)
        p->cut += reader_cut_lines(f->reader);
    reader_close(f->reader);
    f->reader = NULL;
}

/* What has been read and waits, before the end. */
static int send_rest(struct push *p, struct feed *f, struct err *reterr) {
    int r = let_go(p, f, reterr);
    return r < 0 ? r : send_batch(p, f, reterr);
}

/* File after file. */
static int push_all(struct push *p, struct err *reterr) {
    for (size_t i = 0; i < p->n_feeds; i++) {
        struct feed *f = p->feeds[i];
        int r = open_feed(p, f, reterr);
        while (r == 0 && !interrupted)
            r = pump(p, f, BATCH_AGE_MS, reterr);
        if (r >= 0 && interrupted)
            r = send_rest(p, f, reterr);
        close_feed(p, f);
        if (r < 0)
            return r;
        if (interrupted && f->path[0] != '-')
            return err_set(reterr, -EINTR, "interrupted");
    }
    return 0;
}

static int find_files(struct push *p, struct err *reterr);

/* One round over all files. The number of those that are open. */
static int follow_round(struct push *p, int wait_ms, size_t *ret_open, struct err *reterr) {
    *ret_open = 0;
    for (size_t i = 0; i < p->n_feeds && !interrupted; i++) {
        struct feed *f = p->feeds[i];
        int r = 0;
        if (f->done)
            continue;
        if (!f->reader)
            r = open_feed(p, f, reterr);
        if (r == -ENOENT) /* not yet, or not any more: it may come */
            continue;
        if (r == 0)
            r = pump(p, f, wait_ms, reterr);
        if (r < 0)
            return r;
        f->done = r == 1;
        if (f->done)
            close_feed(p, f);
        *ret_open += !f->done;
    }
    return 0;
}

/* All files at once, until a signal comes. */
static int follow_all(struct push *p, struct err *reterr) {
    size_t open = 1;
    int r = 0;
    bool waits_for_files = false;
    for (size_t i = 0; i < p->options->arguments.count; i++)
        waits_for_files = waits_for_files || strcmp(p->options->arguments.items[i], "-") != 0;
    while (r >= 0 && !interrupted && (open > 0 || waits_for_files)) {
        int wait_ms = p->n_feeds > 1 ? (int)(BATCH_AGE_MS / (5 * p->n_feeds)) + 1 : BATCH_AGE_MS;
        if (open == 0)
            (void)poll(NULL, 0, SCAN_MS / 4);
        r = follow_round(p, wait_ms, &open, reterr);
        if (r >= 0 && clock_mono_ns() - p->scanned_mono_ns > SCAN_MS * NS_PER_MS)
            r = find_files(p, reterr);
    }
    for (size_t i = 0; i < p->n_feeds && r >= 0; i++)
        r = p->feeds[i]->reader ? send_rest(p, p->feeds[i], reterr) : 0;
    for (size_t i = 0; i < p->n_feeds; i++)
        close_feed(p, p->feeds[i]);
    return r < 0 ? r : 0;
}

/* The batch that was on its way when the last run was killed. */
static int resend(struct push *p, struct err *reterr) {
    struct buf body = buf_make(PENDING_MAX);
    struct place place;
    char *name = NULL;
    int r = positions_pending(p->positions, &body, &name, &place, reterr);
    if (r == 1) {
        r = sender_resend(&p->sender, buf_str(&body), reterr);
        if (r == 0)
            r = positions_commit(p->positions, name, &place, reterr);
    }
    free(name);
    buf_done(&body);
    return r;
}

/* ---- labels */

static void add_label(struct buf *out, struct str name, struct str value) {
    buf_add_str(out, out->size > 1 ? STR(", ") : STR(""));
    buf_add_str(out, name);
    buf_add_char(out, '=');
    logql_quote_go(out, value);
}

/* Without -l the job is "logq"; a file's name is a label when nothing else tells the files
 * apart. */
static int make_labels(const struct options *o, struct feed *f, struct err *reterr) {
    bool has_filename = false;
    f->labels = buf_make(LABELS_MAX);
    buf_add_char(&f->labels, '{');
    for (size_t i = 0; i < o->labels.count; i++) {
        const char *text = o->labels.items[i];
        const char *equals = strchr(text, '=');
        if (!equals || equals == text || equals[-1] == '!' || equals[1] == '~')
            return err_set(reterr, -ESYNTAX, "-l wants NAME=VALUE, not \"%s\"", text);
        struct str name = str_make(text, (size_t)(equals - text));
        has_filename = has_filename || str_eq(name, STR("filename"));
        add_label(&f->labels, name, str_from(equals + 1));
    }
    if (o->labels.count == 0)
        add_label(&f->labels, STR("job"), o->journal ? STR("journal") : STR("logq"));
    bool several = o->arguments.count > 1 ||
                   (o->arguments.count == 1 && strpbrk(o->arguments.items[0], "*?["));
    bool ambiguous = o->labels.count == 0 || several;
    if (ambiguous && !o->journal && !has_filename && strcmp(f->path, "-") != 0) {
        char *full = realpath(f->path, NULL);
        add_label(&f->labels, STR("filename"), str_from(full ? full : f->path));
        free(full);
    }
    buf_add_char(&f->labels, '}');
    return f->labels.failed
               ? err_set(reterr, -ESYNTAX, "the labels are longer than %d bytes", LABELS_MAX)
               : 0;
}

/* ---- files */

static int add_feed(struct push *p, const char *path, struct err *reterr) {
    struct feed **feeds = realloc(p->feeds, (p->n_feeds + 1) * sizeof(*feeds));
    struct feed *f = feeds ? calloc(1, sizeof(*f)) : NULL;
    if (feeds)
        p->feeds = feeds;
    if (!f)
        return err_set(reterr, -ENOMEM, "out of memory");
    feeds[p->n_feeds++] = f;
    f->batch = batch_make();
    f->held = buf_make(2 * READER_LINE_MAX);
    f->path = strdup(path);
    return f->path ? make_labels(p->options, f, reterr) : err_set(reterr, -ENOMEM, "out of memory");
}

static void free_feeds(struct push *p) {
    for (size_t i = 0; i < p->n_feeds; i++) {
        struct feed *f = p->feeds[i];
        batch_done(&f->batch);
        buf_done(&f->labels);
        buf_done(&f->held);
        free(f->path);
        free(f);
    }
    free(p->feeds);
}

/* Is the file another name of one that is read, or was read to its end? */
static bool is_known(const struct push *p, const char *path) {
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return true;
    bool known = positions_is_finished(p->positions, st.st_dev, st.st_ino, (uint64_t)st.st_size);
    for (size_t i = 0; i < p->n_feeds && !known; i++)
        known = strcmp(p->feeds[i]->path, path) == 0 ||
                (p->feeds[i]->reader && reader_has(p->feeds[i]->reader, st.st_dev, st.st_ino));
    return known;
}

static int add_matching(struct push *p, const char *pattern, struct err *reterr) {
    glob_t found;
    int rc = glob(pattern, 0, NULL, &found), r = 0;
    if (rc == GLOB_NOMATCH)
        return 0;
    if (rc != 0)
        return err_set(reterr, -EIO, "cannot look for %s", pattern);
    for (size_t i = 0; i < found.gl_pathc && r == 0; i++)
        if (!is_known(p, found.gl_pathv[i]))
            r = p->n_feeds < FILES_MAX ? add_feed(p, found.gl_pathv[i], reterr)
                                       : err_set(reterr, -E2BIG, "more than %d files", FILES_MAX);
    globfree(&found);
    return r;
}

/* Files that match the arguments and are not read yet. Names without * ? [ are taken as they are, the first time. */
static int find_files(struct push *p, struct err *reterr) {
    const struct options *o = p->options;
    bool first = p->scanned_mono_ns == 0;
    int r = 0;
    for (size_t i = 0; i < o->arguments.count && r == 0; i++) {
        const char *argument = o->arguments.items[i];
        struct stat st;
        bool pattern = strpbrk(argument, "*?[") && stat(argument, &st) < 0;
        if (pattern)
            r = add_matching(p, argument, reterr);
        else if (first)
            r = add_feed(p, argument, reterr);
    }
    if (r == 0 && first && o->arguments.count == 0)
        r = add_feed(p, "-", reterr);
    if (r == 0 && first && p->n_feeds == 0 && !o->follow)
        r = err_set(reterr, -ENOENT, "no file matches %s", o->arguments.items[0]);
    p->scanned_mono_ns = clock_mono_ns();
    return r;
}

/* ---- the journal */

/* The stream of an entry: the labels of the command line, unit and level. */
static int feed_of_entry(struct push *p, const struct journal_entry *e, struct feed **ret,
                         struct err *reterr) {
    struct buf key = buf_make(LABELS_MAX);
    buf_addf(&key, "%s\n%s", e->unit, e->level);
    buf_add_char(&key, '\0');
    *ret = NULL;
    for (size_t i = 0; i < p->n_feeds && !key.failed; i++)
        if (strcmp(p->feeds[i]->path, key.data) == 0)
            *ret = p->feeds[i];
    int r = key.failed ? err_set(reterr, -ENOMEM, "out of memory") : 0;
    if (r == 0 && !*ret && p->n_feeds == FILES_MAX)
        r = err_set(reterr, -E2BIG, "more than %d units", FILES_MAX);
    if (r == 0 && !*ret) {
        r = add_feed(p, key.data, reterr);
        *ret = r == 0 ? p->feeds[p->n_feeds - 1] : NULL;
        struct buf *labels = r == 0 ? &(*ret)->labels : NULL;
        if (r == 0) {
            labels->size--; /* the brace */
            if (*e->unit)
                add_label(labels, STR("unit"), str_from(e->unit));
            if (*e->level)
                add_label(labels, STR("level"), str_from(e->level));
            buf_add_char(labels, '}');
        }
    }
    buf_done(&key);
    return r;
}

static int send_all(struct push *p, struct err *reterr) {
    int r = 0;
    for (size_t i = 0; i < p->n_feeds && r == 0; i++)
        r = send_batch(p, p->feeds[i], reterr);
    return r;
}

/* The cursor goes down when all before it is stored. After a kill the entries behind it come again, with the same
 * times and lines: the store recognises them. */
static int keep_cursor(const struct push *p, const char *cursor, struct err *reterr) {
    if (!p->options->positions || !*cursor)
        return 0;
    int r = io_write_file_durable(AT_FDCWD, p->options->positions, str_from(cursor));
    return r < 0 ? err_set(reterr, r, "cannot write %s: %s", p->options->positions, err_name(r))
                 : 0;
}

static int push_entries(struct push *p, struct journal *j, struct err *reterr) {
    struct buf cursor = buf_make(CURSOR_MAX);
    int64_t sent_ns = clock_mono_ns();
    size_t waiting = 0;
    int r = 0;
    while (r >= 0 && !interrupted) {
        struct journal_entry e;
        struct feed *f;
        r = journal_next(j, BATCH_AGE_MS / 4, &e, reterr);
        bool ended = r == -ENODATA;
        if (r == 1) {
            r = feed_of_entry(p, &e, &f, reterr);
            if (r == 0)
                r = add_entry(p, f, e.ns, e.line, reterr);
            buf_clear(&cursor);
            buf_add_str(&cursor, str_from(e.cursor));
            buf_add_char(&cursor, '\0');
            waiting++;
        }
        bool due = clock_mono_ns() - sent_ns > BATCH_AGE_MS * NS_PER_MS;
        if ((r >= 0 && due && waiting > 0) || ended) {
            r = send_all(p, reterr);
            if (r == 0 && waiting > 0)
                r = keep_cursor(p, cursor.data, reterr);
            sent_ns = clock_mono_ns();
            waiting = 0;
        }
        if (ended)
            break;
    }
    if (r >= 0 && interrupted && waiting > 0) {
        r = send_all(p, reterr);
        r = r == 0 ? keep_cursor(p, cursor.data, reterr) : r;
    }
    buf_done(&cursor);
    return r < 0 ? r : 0;
}

static int push_journal(struct push *p, struct err *reterr) {
    struct buf cursor = buf_make(CURSOR_MAX);
    struct journal *j = NULL;
    int r =
        p->options->positions ? io_read_file(AT_FDCWD, p->options->positions, &cursor) : -ENOENT;
    buf_add_char(&cursor, '\0');
    if (r < 0 && r != -ENOENT)
        r = err_set(reterr, r, "cannot read %s: %s", p->options->positions, err_name(r));
    else
        r = journal_open(cursor.size > 1 ? cursor.data : NULL, p->options->follow, &j, reterr);
    if (r == 0)
        r = push_entries(p, j, reterr);
    journal_close(j);
    buf_done(&cursor);
    return r;
}

static void report(struct push *p) {
    sender_report(&p->sender);
    if (p->cut > 0 && !p->options->quiet)
        (void)fprintf(stderr, "logq: %llu lines longer than %d bytes were cut into pieces\n",
                      (unsigned long long)p->cut, READER_LINE_MAX);
}

static int check_arguments(const struct options *o, struct err *reterr) {
    if (o->timestamp && strcmp(o->timestamp, "now") != 0 && strcmp(o->timestamp, "auto") != 0)
        return err_set(reterr, -ESYNTAX, "--timestamp is auto or now, not \"%s\"", o->timestamp);
    if (o->journal && o->arguments.count > 0)
        return err_set(reterr, -ESYNTAX, "--journal takes no files");
    if (o->arguments.count == 0 && !o->journal && isatty(STDIN_FILENO))
        return err_set(reterr, -ESYNTAX,
                       "what to push? logq push -l job=NAME FILE..., or - for standard input");
    return 0;
}

static int run_push(struct push *p, struct session *s, struct err *reterr) {
    const struct options *o = p->options;
    int r = check_arguments(o, reterr);
    if (r == 0 && o->multiline)
        r = regex_compile(str_from(o->multiline), false, &p->entry_start, reterr);
    if (r == 0)
        r = positions_open(o->journal ? NULL : o->positions, &p->positions, reterr);
    if (r == 0 && !o->journal)
        r = find_files(p, reterr);
    if (r == 0)
        r = session_open(s, o, reterr);
    if (r == 0)
        r = sender_open(&p->sender, reterr);
    if (r == 0)
        r = resend(p, reterr);
    if (r < 0)
        return r;
    r = o->journal  ? push_journal(p, reterr)
        : o->follow ? follow_all(p, reterr)
                    : push_all(p, reterr);
    if (r == 0 || p->sender.lines > 0 || p->sender.refused > 0)
        report(p);
    return r;
}

int cmd_push(const struct options *o) {
    struct err err = {0};
    struct session s = {0};
    struct push p = {.options = o, .sender = sender_make(o, &interrupted)};
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    int r = run_push(&p, &s, &err);
    free_feeds(&p);
    positions_close(p.positions);
    regex_free(p.entry_start);
    sender_close(&p.sender);
    session_close(&s);
    if (r < 0)
        return session_trouble(&err);
    return p.sender.refused > 0 ? CLI_NOTHING : CLI_FOUND;
}
