/* metrics_process: the figures that Prometheus' own client libraries print about their process, so
 * that dashboards and alerts made for them work. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "metrics_internal.h"

static double cpu_seconds(void) {
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) < 0)
        return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* The n-th number of a file of numbers; 0 when there is none. */
static double number_of(const char *path, int n) {
    char text[1024];
    FILE *f = fopen(path, "re");
    size_t size = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    if (f)
        (void)fclose(f);
    text[size] = '\0';
    /* /proc/self/stat: the name in parentheses may hold blanks. */
    char *at = strrchr(text, ')');
    at = at ? at + 1 : text;
    for (int i = 0; i < n; i++) {
        at += strspn(at, " ");
        at += strcspn(at, " ");
    }
    return strtod(at, NULL);
}

static double boot_seconds(void) {
    FILE *f = fopen("/proc/stat", "re");
    char line[256];
    double seconds = 0;
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, "btime ", 6) == 0)
            seconds = strtod(line + 6, NULL);
    if (f)
        (void)fclose(f);
    return seconds;
}

static double start_seconds(void) {
    enum { STARTTIME = 19 }; /* field 22, counted from the one behind the name */
    return boot_seconds() + number_of("/proc/self/stat", STARTTIME) / (double)sysconf(_SC_CLK_TCK);
}

static double open_files(void) {
    DIR *d = opendir("/proc/self/fd");
    double n = -3; /* ".", ".." and this one */
    while (d && readdir(d))
        n++;
    if (d)
        (void)closedir(d);
    return n > 0 ? n : 0;
}

void metrics_write_process(struct buf *out) {
    struct rlimit files = {0};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    double page = (double)sysconf(_SC_PAGESIZE);
    const struct figure figures[] = {
        {"process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
         cpu_seconds()},
        {"process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
         number_of("/proc/self/statm", 1) * page},
        {"process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.",
         number_of("/proc/self/statm", 0) * page},
        {"process_open_fds", "gauge", "Number of open file descriptors.", open_files()},
        {"process_max_fds", "gauge", "Maximum number of open file descriptors.",
         (double)files.rlim_cur},
        {"process_start_time_seconds", "gauge",
         "Start time of the process since unix epoch in seconds.", start_seconds()},
    };
    metrics_write_figures(out, figures, sizeof(figures) / sizeof(figures[0]));
}
