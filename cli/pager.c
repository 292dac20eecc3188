#include "pager.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "output.h"

static pid_t pager = -1;

static const char *command(void) {
    const char *own = getenv("LOGQ_PAGER"), *usual = getenv("PAGER");
    return own && *own ? own : usual && *usual ? usual : "less";
}

void pager_start(struct options *o) {
    int fds[2];
    if (!o->pager || !isatty(STDOUT_FILENO) || pipe(fds) < 0)
        return;
    o->color = output_use_color(o) ? "always" : "never";
    (void)fflush(stdout);
    pager = fork();
    if (pager == 0) {
        (void)dup2(fds[0], STDIN_FILENO);
        (void)close(fds[0]);
        (void)close(fds[1]);
        /* Colours pass, what fits on the screen is not held up. */
        (void)setenv("LESS", "-RFX", 0);
        (void)execl("/bin/sh", "sh", "-c", command(), (char *)NULL);
        _exit(127);
    }
    (void)close(fds[0]);
    if (pager > 0)
        (void)dup2(fds[1], STDOUT_FILENO);
    (void)close(fds[1]);
}

void pager_end(void) {
    if (pager <= 0)
        return;
    (void)fflush(stdout);
    (void)fclose(stdout);
    (void)signal(SIGINT, SIG_IGN); /* the pager's business now */
    while (waitpid(pager, NULL, 0) < 0 && errno == EINTR)
        continue;
}
