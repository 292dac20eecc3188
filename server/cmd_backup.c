/* logqd backup, logqd restore: see compactor/backup.h. They read and write directories; no server is asked. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "backup.h"
#include "clock.h"
#include "command.h"
#include "str.h"
#include "units.h"

/* ---- how far */

enum { REDRAW_MS = 200, LINE_EACH_S = 10 };

/* A line that is drawn over again on a terminal, else one every ten seconds. */
struct progress {
    const char *what;
    bool terminal, drawn;
    int64_t last_mono_ns;
};

static struct progress progress_begin(const char *what) {
    return (struct progress){
        .what = what, .terminal = isatty(STDERR_FILENO) == 1, .last_mono_ns = clock_mono_ns()};
}

static void on_progress(void *ctx, uint64_t files, uint64_t n_files, uint64_t bytes,
                        uint64_t n_bytes) {
    struct progress *p = ctx;
    int64_t now = clock_mono_ns();
    int64_t each_ns = p->terminal ? (int64_t)REDRAW_MS * NS_PER_MS : LINE_EACH_S * NS_PER_S;
    if (now - p->last_mono_ns < each_ns)
        return;
    p->last_mono_ns = now;
    p->drawn = p->terminal;
    (void)fprintf(stderr, "%s%s %3.0f %%  %" PRIu64 " of %" PRIu64 " files, %.1f of %.1f MB%s",
                  p->terminal ? "\r" : "", p->what,
                  n_bytes > 0 ? 100.0 * (double)bytes / (double)n_bytes : 100.0, files, n_files,
                  (double)bytes / 1e6, (double)n_bytes / 1e6, p->terminal ? "  " : "\n");
}

static void progress_end(const struct progress *p) {
    if (p->drawn)
        (void)fputc('\n', stderr);
}

static void on_bad(void *ctx, const char *path, const char *why) {
    progress_end(ctx);
    (void)fprintf(stderr, "%s: %s\n", path, why);
}

/* ---- backup */

static int verify(const struct command *self, const char *dest) {
    struct err err = {0};
    struct backup_check found;
    struct progress p = progress_begin("verifying");
    int r = backup_verify(dest, on_bad, on_progress, &p, &found, &err);
    progress_end(&p);
    if (r < 0)
        return command_fail(self, "%s", err.text);
    (void)printf("files %" PRIu64 ", bytes %" PRIu64 ", chunks %" PRIu64 ", entries %" PRIu64
                 ", bad %" PRIu64 "\n",
                 found.files, found.bytes, found.chunks, found.entries, found.bad);
    return found.bad > 0 ? COMMAND_TROUBLE : COMMAND_DONE;
}

int cmd_backup(const struct command *self, int argc, char **argv) {
    bool copy = false, prune = false, check = false;
    const char *data_dir = "./data", *dest;
    const struct command_option options[] = {
        {.name = "data-dir", .value = &data_dir},
        {.name = "copy", .flag = &copy},
        {.name = "prune", .flag = &prune},
        {.name = "verify", .flag = &check},
    };
    const struct command_spec spec = {.options = options, .n_options = 4, .operand = &dest};
    int status = command_parse(self, argc, argv, &spec);
    if (status != COMMAND_DONE)
        return status;
    if (check)
        return verify(self, dest);
    struct err err = {0};
    struct progress p = progress_begin("copying");
    struct backup_result done = {0};
    const struct backup_options o = {.data_dir = data_dir,
                                     .dest = dest,
                                     .copy = copy,
                                     .prune = prune,
                                     .progress = on_progress,
                                     .ctx = &p};
    int r = backup_run(&o, &done, &err);
    progress_end(&p);
    if (r < 0)
        return command_fail(self, "%s", err.text);
    (void)printf("files %" PRIu64 ", bytes %" PRIu64 ", new files %" PRIu64 ", new bytes %" PRIu64
                 ", removed files %" PRIu64 "\n",
                 done.files, done.bytes, done.new_files, done.new_bytes, done.removed_files);
    return COMMAND_DONE;
}

/* ---- restore */

/* "2026-11-21", or a time of that day. */
static bool parse_day(const char *text, int32_t *ret) {
    int64_t ns;
    if (day_parse(str_from(text), ret) == 0)
        return true;
    if (time_parse_rfc3339(str_from(text), &ns) < 0)
        return false;
    *ret = time_day(ns);
    return true;
}

int cmd_restore(const struct command *self, int argc, char **argv) {
    const char *from = NULL, *to = NULL, *tenant = NULL, *data_dir = NULL, *src;
    struct progress p = progress_begin("restoring");
    struct restore_options o = {.from_day = INT32_MIN,
                                .to_day = INT32_MAX,
                                .bad = on_bad,
                                .progress = on_progress,
                                .ctx = &p};
    const struct command_option options[] = {
        {.name = "from", .value = &from},         {.name = "to", .value = &to},
        {.name = "tenant", .value = &tenant},     {.name = "link", .flag = &o.link},
        {.name = "data-dir", .value = &data_dir},
    };
    const struct command_spec spec = {.options = options, .n_options = 5, .operand = &src};
    int status = command_parse(self, argc, argv, &spec);
    if (status != COMMAND_DONE)
        return status;
    if (!data_dir) {
        (void)command_fail(self, "--data-dir NEW says where to");
        return COMMAND_USAGE;
    }
    if ((from && !parse_day(from, &o.from_day)) || (to && !parse_day(to, &o.to_day)) ||
        o.from_day > o.to_day) {
        (void)command_fail(self, "--from and --to are days like 2026-11-21, both included");
        return COMMAND_USAGE;
    }
    o.src = src;
    o.data_dir = data_dir;
    o.tenant = tenant;
    struct err err = {0};
    struct restore_result done = {0};
    int r = restore_run(&o, &done, &err);
    progress_end(&p);
    if (r < 0)
        return command_fail(self, "%s", err.text);
    (void)printf("files %" PRIu64 ", bytes %" PRIu64 ", chunks %" PRIu64 ", streams %" PRIu64
                 ", entries %" PRIu64 ", bad files %" PRIu64 "\n",
                 done.files, done.bytes, done.chunks, done.streams, done.entries, done.bad);
    return done.bad > 0 ? COMMAND_TROUBLE : COMMAND_DONE;
}
