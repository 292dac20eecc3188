#include "parallel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "units.h"

enum {
    JOBS_MAX = 100000, /* an hour each: eleven years */
    WORKERS_MAX = 128,
    PART_NAME_MAX = 4096,
    COPY_BYTES = 256 << 10,
};

struct job {
    struct range range;
    char part[PART_NAME_MAX]; /* empty: standard output */
    pid_t pid;
};

static void add_time(char *out, size_t size, int64_t ns) {
    time_t seconds = (time_t)(ns / NS_PER_S);
    struct tm tm;
    size_t used = strlen(out);
    if (gmtime_r(&seconds, &tm))
        (void)strftime(out + used, size - used, "%Y%m%dT%H%M%S", &tm);
}

static int name_part(const struct options *o, struct job *j, struct err *reterr) {
    if (!o->part_prefix)
        return 0;
    int n = snprintf(j->part, sizeof(j->part), "%s_", o->part_prefix);
    if (n < 0 || n > PART_NAME_MAX - 64)
        return err_set(reterr, -ENAMETOOLONG, "--part-path-prefix is too long");
    add_time(j->part, sizeof(j->part), j->range.start_ns);
    size_t used = strlen(j->part);
    (void)snprintf(j->part + used, sizeof(j->part) - used, "_");
    add_time(j->part, sizeof(j->part), j->range.end_ns);
    used = strlen(j->part);
    (void)snprintf(j->part + used, sizeof(j->part) - used, ".part");
    return 0;
}

/* The jobs in the order of the output. */
static int make_jobs(const struct options *o, struct range range, struct job **ret,
                     size_t *ret_count, struct err *reterr) {
    int64_t size_ns = NS_PER_HOUR;
    int r = o->parallel_duration ? when_parse_duration(o->parallel_duration, &size_ns, reterr) : 0;
    if (r < 0)
        return r;
    int64_t count = size_ns > 0 ? (range.end_ns - range.start_ns + size_ns - 1) / size_ns : 0;
    if (count < 1 || count > JOBS_MAX)
        return err_set(reterr, -ESYNTAX,
                       "--parallel-duration makes %lld jobs of the range, 1 to %d are possible",
                       (long long)count, JOBS_MAX);
    struct job *jobs = calloc((size_t)count, sizeof(*jobs));
    if (!jobs)
        return err_set(reterr, -ENOMEM, "out of memory");
    size_t n = 0;
    struct range rest = range;
    while (r == 0 && n < (size_t)count &&
           when_next_window(&rest, o->forward, size_ns, &jobs[n].range)) {
        r = name_part(o, &jobs[n], reterr);
        n++;
    }
    *ret = jobs;
    *ret_count = n;
    return r;
}

static bool exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

/* In the child. */
static int run_job(const struct options *o, const struct job *j, parallel_fn *fn, void *ctx) {
    char temporary[PART_NAME_MAX + 8];
    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", j->part);
    if (j->part[0] && !freopen(temporary, "w", stdout)) {
        (void)fprintf(stderr, "logq: cannot write %s: %s\n", temporary, strerror(errno));
        return CLI_TROUBLE;
    }
    int status = fn(o, j->range, ctx);
    bool written = fflush(stdout) == 0 && !ferror(stdout);
    if (status != CLI_TROUBLE && j->part[0])
        written = written && fsync(fileno(stdout)) == 0 && rename(temporary, j->part) == 0;
    if (!written)
        (void)fprintf(stderr, "logq: cannot write %s: %s\n", j->part[0] ? j->part : "the output",
                      strerror(errno));
    return written ? status : CLI_TROUBLE;
}

static int start_job(const struct options *o, struct job *j, parallel_fn *fn, void *ctx,
                     struct err *reterr) {
    if (j->part[0] && !o->overwrite_parts && exists(j->part)) {
        if (!o->quiet)
            (void)fprintf(stderr, "logq: %s is complete\n", j->part);
        return 0;
    }
    (void)fflush(stdout);
    j->pid = fork();
    if (j->pid < 0)
        return err_set(reterr, -errno, "cannot start a process: %s", strerror(errno));
    if (j->pid == 0)
        _exit(run_job(o, j, fn, ctx));
    return 1;
}

/* Waits for one child; its status counts. */
static int reap(bool *ret_found, bool *trouble) {
    int status;
    pid_t pid;
    do {
        pid = wait(&status);
    } while (pid < 0 && errno == EINTR);
    if (pid < 0)
        return -errno;
    if (!WIFEXITED(status) || WEXITSTATUS(status) == CLI_TROUBLE)
        *trouble = true;
    else if (WEXITSTATUS(status) == CLI_FOUND)
        *ret_found = true;
    return 0;
}

static int run_all(const struct options *o, struct job *jobs, size_t count, parallel_fn *fn,
                   void *ctx, bool *ret_found, struct err *reterr) {
    int64_t workers = o->parallel_workers < WORKERS_MAX ? o->parallel_workers : WORKERS_MAX;
    int64_t running = 0;
    bool trouble = false;
    int r = 0;
    for (size_t i = 0; i < count && r >= 0 && !trouble; i++) {
        if (running == workers) {
            (void)reap(ret_found, &trouble);
            running--;
        }
        r = trouble ? 0 : start_job(o, &jobs[i], fn, ctx, reterr);
        running += r == 1;
    }
    while (running-- > 0)
        (void)reap(ret_found, &trouble);
    if (r >= 0 && trouble)
        r = err_set(reterr, -EIO,
                    "not all of the range has been downloaded; run it again to go on");
    return r < 0 ? r : 0;
}

static int print_part(const struct options *o, const struct job *j, bool *ret_found,
                      struct err *reterr) {
    char part[COPY_BYTES];
    size_t n;
    FILE *f = fopen(j->part, "r");
    if (!f)
        return err_set(reterr, -errno, "cannot read %s: %s", j->part, strerror(errno));
    while ((n = fread(part, 1, sizeof(part), f)) > 0) {
        *ret_found = true;
        if (fwrite(part, 1, n, stdout) != n)
            break;
    }
    bool failed = ferror(f) || ferror(stdout) || fflush(stdout) != 0;
    (void)fclose(f);
    if (failed)
        return err_set(reterr, -EIO, "cannot copy %s: %s", j->part, strerror(errno));
    if (!o->keep_parts)
        (void)unlink(j->part);
    return 0;
}

int parallel_run(const struct options *o, struct range range, parallel_fn *fn, void *ctx,
                 bool *ret_found, struct err *reterr) {
    struct job *jobs = NULL;
    size_t count = 0;
    if (o->merge_parts && !o->part_prefix)
        return err_set(reterr, -ESYNTAX, "--merge-parts needs --part-path-prefix");
    int r = make_jobs(o, range, &jobs, &count, reterr);
    if (r == 0)
        r = run_all(o, jobs, count, fn, ctx, ret_found, reterr);
    for (size_t i = 0; i < count && r == 0 && o->merge_parts; i++)
        r = print_part(o, &jobs[i], ret_found, reterr);
    free(jobs);
    return r;
}
