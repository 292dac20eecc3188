/* logq --stdin PATTERN [FILE]...: grep over plain or compressed text, without any server. The text is searched block by
 * block (textsearch.h); only lines that are printed are looked at singly. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "infile.h"
#include "output.h"
#include "patterns.h"
#include "session.h"
#include "textsearch.h"

enum {
    BLOCK_SIZE = 1 << 20,   /* read at once: stays in the processor's cache */
    LINE_LIMIT = 256 << 20, /* a longer line is searched in pieces */
    OUT_FLUSH_SIZE = 64 << 10,
};

static const char color_name[] = "\033[35m", color_number[] = "\033[32m",
                  color_separator[] = "\033[36m", color_match[] = "\033[1;31m",
                  color_off[] = "\033[0m";

struct text_job {
    const struct options *options;
    struct textsearch *search;
    bool color, names, prints_lines;
    uint64_t before, after, limit;
    struct buf out;
    /* of the present file */
    const char *name;
    char *block; /* [0, filled); lines up to `printed` have been printed or can no more be */
    size_t filled, capacity, printed, numbered;
    uint64_t line_number; /* of the line at `numbered` */
    uint64_t matches, after_left;
    bool any_printed; /* in any file: decides about "--" */
    bool gap;         /* lines were left out since the last printed one */
};

/* ---- printing */

static void add_colored(struct text_job *j, const char *color, struct str text) {
    if (j->color)
        buf_add_str(&j->out, str_from(color));
    buf_add_str(&j->out, text);
    if (j->color)
        buf_add_str(&j->out, str_from(color_off));
}

static uint64_t number_at(struct text_job *j, size_t at) {
    j->line_number += count_line_breaks(str_make(j->block + j->numbered, at - j->numbered));
    j->numbered = at;
    return j->line_number;
}

static void add_prefix(struct text_job *j, size_t at, char separator) {
    struct str mark = str_make(&separator, 1);
    if (j->names) {
        add_colored(j, color_name, str_from(j->name));
        add_colored(j, color_separator, j->options->null_names ? str_make("", 1) : mark);
    }
    if (j->options->line_numbers) {
        struct buf number = buf_make(32);
        buf_add_u64(&number, number_at(j, at));
        add_colored(j, color_number, buf_str(&number));
        add_colored(j, color_separator, mark);
        buf_done(&number);
    }
}

static void add_marked(struct text_job *j, struct str line) {
    size_t from = 0, shown = 0;
    struct str match;
    while (j->color && textsearch_match(j->search, line, from, &match)) {
        size_t at = (size_t)(match.data - line.data);
        from = at + (match.size > 0 ? match.size : 1);
        if (match.size == 0)
            continue;
        buf_add(&j->out, line.data + shown, at - shown);
        add_colored(j, color_match, match);
        shown = from;
    }
    buf_add_str(&j->out, str_from_offset(line, shown));
}

static void print_matches(struct text_job *j, struct str line, size_t line_at) {
    size_t from = 0;
    struct str match;
    while (textsearch_match(j->search, line, from, &match)) {
        from = (size_t)(match.data - line.data) + (match.size > 0 ? match.size : 1);
        if (match.size == 0)
            continue;
        add_prefix(j, line_at, ':');
        add_colored(j, color_match, match);
        buf_add_char(&j->out, '\n');
    }
}

static int flush_out(struct text_job *j) {
    if (j->out.failed)
        return -ENOMEM;
    if (j->out.size == 0)
        return 0;
    bool written = fwrite(j->out.data, 1, j->out.size, stdout) == j->out.size &&
                   (!j->options->line_buffered || fflush(stdout) == 0);
    buf_clear(&j->out);
    return written ? 0 : -EIO;
}

static size_t line_size(const struct text_job *j, size_t at, size_t end) {
    const char *p = memchr(j->block + at, '\n', end - at);
    return p ? (size_t)(p - (j->block + at)) : end - at;
}

/* Lines of context in [at, end); false when no more are wanted. */
static void print_context(struct text_job *j, size_t at, size_t end) {
    while (at < end) {
        size_t size = line_size(j, at, end);
        if (!j->options->only_matching) {
            add_prefix(j, at, '-');
            buf_add(&j->out, j->block + at, size);
            buf_add_char(&j->out, '\n');
        }
        at += size + 1;
    }
}

/* The lines behind the last match, as far as they are context of it. */
static void print_after(struct text_job *j, size_t at, size_t end) {
    while (j->after_left > 0 && at < end) {
        size_t size = line_size(j, at, end);
        print_context(j, at, at + size + (at + size < end));
        at += size + 1;
        j->after_left--;
        j->printed = at < end ? at : end;
    }
}

/* Where `count` lines before `at` begin, not before `from`. */
static size_t lines_before(const struct text_job *j, size_t at, size_t from, uint64_t count) {
    while (count-- > 0 && at > from) {
        const char *p = at - 1 > from ? memrchr(j->block + from, '\n', at - 1 - from) : NULL;
        at = p ? (size_t)(p - j->block) + 1 : from;
    }
    return at;
}

static void print_match(struct text_job *j, struct str line, size_t at, size_t next) {
    const struct options *o = j->options;
    size_t context = lines_before(j, at, j->printed, j->before);
    bool has_context = o->before > 0 || o->after > 0 || o->context > 0;
    if (has_context && j->any_printed && (context > j->printed || j->gap))
        add_colored(j, color_separator, STR("--")), buf_add_char(&j->out, '\n');
    print_context(j, context, at);
    if (o->only_matching) {
        print_matches(j, line, at);
    } else {
        add_prefix(j, at, ':');
        add_marked(j, line);
        buf_add_char(&j->out, '\n');
    }
    j->printed = next;
    j->gap = false;
    j->any_printed = true;
    j->after_left = j->after;
}

/* ---- searching */

static bool has_enough(const struct text_job *j) {
    return (j->limit > 0 && j->matches >= j->limit) ||
           (!j->prints_lines && !j->options->count && j->matches > 0);
}

/* Whole lines in [from, end). */
static int search_block(struct text_job *j, size_t from, size_t end) {
    struct str line, text = str_make(j->block, end);
    if (!j->prints_lines && j->limit == 0 && j->options->count) {
        j->matches += textsearch_count(j->search, str_from_offset(text, from));
        return 0;
    }
    int r = 0;
    textsearch_begin(j->search, text);
    for (size_t next; !has_enough(j) && textsearch_next(j->search, from, &line, &next);
         from = next) {
        size_t at = (size_t)(line.data - j->block);
        j->matches++;
        if (!j->prints_lines)
            continue;
        print_after(j, from, at);
        print_match(j, line, at, next);
        if (j->out.size >= OUT_FLUSH_SIZE || j->options->line_buffered)
            r = flush_out(j);
        if (r < 0)
            return r;
    }
    print_after(j, from, end);
    return r;
}

/* Throws away what has been searched, but for the lines that may become context and the unfinished one. */
static void make_room(struct text_job *j, size_t end) {
    size_t keep =
        j->before > 0 ? lines_before(j, end, j->printed < end ? j->printed : end, j->before) : end;
    if (j->options->line_numbers)
        (void)number_at(j, keep);
    if (j->printed < keep)
        j->gap = true;
    memmove(j->block, j->block + keep, j->filled - keep);
    j->filled -= keep;
    j->numbered = 0;
    j->printed = j->printed > keep ? j->printed - keep : 0;
}

static int grow_block(struct text_job *j, struct err *reterr) {
    size_t capacity = j->capacity ? j->capacity * 2 : 2 * BLOCK_SIZE;
    char *block = realloc(j->block, capacity);
    if (!block)
        return err_set(reterr, -ENOMEM, "out of memory for a line of %zu bytes", j->filled);
    j->block = block;
    j->capacity = capacity;
    return 0;
}

static int search_file(struct text_job *j, struct infile *in, struct err *reterr) {
    size_t searched = 0; /* lines before it have been looked at */
    for (;;) {
        if (j->capacity - j->filled < BLOCK_SIZE && j->filled <= LINE_LIMIT) {
            int r = grow_block(j, reterr);
            if (r < 0)
                return r;
        }
        size_t want = j->capacity - j->filled;
        ssize_t n =
            infile_read(in, j->block + j->filled, want < BLOCK_SIZE ? want : BLOCK_SIZE, reterr);
        if (n < 0)
            return (int)n;
        size_t before = j->filled;
        j->filled += (size_t)n;
        const char *last = n > 0 ? memrchr(j->block + before, '\n', (size_t)n) : NULL;
        size_t end = last ? (size_t)(last - j->block) + 1 : searched;
        if (n == 0 || (!last && j->filled > LINE_LIMIT))
            end = j->filled;
        int r = end > searched ? search_block(j, searched, end) : 0;
        if (r < 0)
            return r;
        if (n == 0 || (has_enough(j) && j->after_left == 0))
            return 0;
        if (end > searched) {
            size_t filled = j->filled;
            make_room(j, end);
            searched = end - (filled - j->filled);
        }
    }
}

static void print_result(struct text_job *j) {
    const struct options *o = j->options;
    bool lists = o->names_only && j->matches > 0, missing = o->names_missing && j->matches == 0;
    if (o->quiet)
        return;
    if (lists || missing) {
        buf_add_str(&j->out, str_from(j->name));
        buf_add_char(&j->out, o->null_names ? '\0' : '\n');
    } else if (o->count && !o->names_only && !o->names_missing) {
        if (j->names) {
            buf_add_str(&j->out, str_from(j->name));
            buf_add_char(&j->out, o->null_names ? '\0' : ':');
        }
        buf_add_u64(&j->out, j->matches);
        buf_add_char(&j->out, '\n');
    }
}

static int search_one(struct text_job *j, const char *path, struct err *reterr) {
    struct infile *in = NULL;
    j->name = strcmp(path, "-") == 0 ? "(standard input)" : path;
    j->filled = j->printed = j->numbered = 0;
    j->line_number = 1;
    j->matches = j->after_left = 0;
    j->gap = j->any_printed;
    int r = infile_open(path, &in, reterr);
    if (r == 0)
        r = search_file(j, in, reterr);
    infile_close(in);
    if (r == 0)
        print_result(j);
    int flushed = flush_out(j);
    return r < 0 ? r : flushed;
}

static void set_up(struct text_job *j, const struct options *o, size_t n_files) {
    bool listing = o->count || o->names_only || o->names_missing;
    *j = (struct text_job){
        .options = o,
        .search = j->search,
        .color = output_use_color(o),
        .names = !o->no_names && (o->with_labels || n_files > 1),
        .prints_lines = !o->quiet && !listing,
        .before = (uint64_t)(o->before >= 0   ? o->before
                             : o->context > 0 ? o->context
                                              : 0),
        .after = (uint64_t)(o->after >= 0    ? o->after
                            : o->context > 0 ? o->context
                                             : 0),
        .limit = o->limit > 0 ? (uint64_t)o->limit : 0,
        .out = buf_make(BUF_NO_MAX),
    };
}

/* A file that cannot be read does not keep the others from being searched. */
int cmd_text(const struct options *o) {
    struct err err = {0};
    struct patterns patterns = {0};
    struct text_job job = {0};
    bool found = false, trouble = false;
    int r = patterns_collect(o, &patterns, &err);
    if (r == 0)
        r = textsearch_new(o, patterns.items, patterns.count, &job.search, &err);
    size_t first = patterns.used_argument, n_files = o->arguments.count - first;
    set_up(&job, o, n_files);
    for (size_t i = 0; r == 0 && i < (n_files ? n_files : 1); i++) {
        int one = search_one(&job, n_files ? o->arguments.items[first + i] : "-", &err);
        if (one == -EIO && ferror(stdout))
            r = err_set(&err, one, "cannot write the output");
        else if (one < 0)
            trouble = session_trouble(&err) != 0;
        found = found || (o->names_missing ? job.matches == 0 : job.matches > 0);
        if (o->quiet && found)
            break;
    }
    textsearch_free(job.search);
    buf_done(&job.out);
    free(job.block);
    patterns_done(&patterns);
    if (r < 0)
        return session_trouble(&err);
    return trouble && !(o->quiet && found) ? CLI_TROUBLE : session_status(o, found);
}
