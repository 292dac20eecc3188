#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buf.h"
#include "units.h"

enum {
    ENTRY_MAX = 16 << 20, /* journald's fields are smaller */
    READ_SIZE = 256 << 10,
};

struct journal {
    pid_t child;
    int fd;
    struct buf in;
    size_t at; /* what is before it was given */
    bool ended;
    json_t *entry;   /* of the last call */
    struct buf line; /* of a message that is an array of bytes */
};

int journal_open(const char *cursor, bool follow, struct journal **ret, struct err *reterr) {
    int fds[2];
    struct journal *j = calloc(1, sizeof(*j));
    if (!j || pipe2(fds, O_CLOEXEC) < 0) {
        free(j);
        return err_set(reterr, -ENOMEM, "cannot start journalctl: %s", strerror(errno));
    }
    char *after = NULL;
    if (cursor && asprintf(&after, "--after-cursor=%s", cursor) < 0)
        after = NULL;
    const char *argv[] = {"journalctl",
                          "--output=json",
                          "--all",
                          "--no-pager",
                          "--quiet",
                          after ? after : "--boot",
                          follow ? "--follow" : NULL,
                          follow ? "--no-tail" : NULL,
                          NULL};
    j->child = fork();
    if (j->child == 0) {
        (void)dup2(fds[1], STDOUT_FILENO);
        (void)execvp("journalctl", (char *const *)argv);
        _exit(127);
    }
    (void)close(fds[1]);
    free(after);
    j->fd = fds[0];
    j->in = buf_make(2 * ENTRY_MAX);
    j->line = buf_make(ENTRY_MAX);
    *ret = j;
    return j->child < 0 ? err_set(reterr, -errno, "cannot start journalctl: %s", strerror(errno))
                        : 0;
}

void journal_close(struct journal *j) {
    if (!j)
        return;
    (void)close(j->fd);
    if (j->child > 0) {
        (void)kill(j->child, SIGTERM);
        (void)waitpid(j->child, NULL, 0);
    }
    json_decref(j->entry);
    buf_done(&j->in);
    buf_done(&j->line);
    free(j);
}

static const char *text_of(json_t *entry, const char *name) {
    const char *text = json_string_value(json_object_get(entry, name));
    return text ? text : "";
}

/* A message that is no UTF-8 comes as an array of bytes; one that is repeated as an array of texts. */
static struct str message_of(struct journal *j) {
    json_t *message = json_object_get(j->entry, "MESSAGE");
    if (json_is_string(message))
        return str_make(json_string_value(message), json_string_length(message));
    buf_clear(&j->line);
    for (size_t i = 0; i < json_array_size(message); i++) {
        json_t *item = json_array_get(message, i);
        if (json_is_integer(item))
            buf_add_char(&j->line, (char)json_integer_value(item));
        else if (json_is_string(item))
            buf_add_str(&j->line, str_from(json_string_value(item)));
    }
    return buf_str(&j->line);
}

static const char *level_of(json_t *entry) {
    static const char *const levels[] = {"fatal", "fatal", "critical", "error",
                                         "warn",  "info",  "info",     "debug"};
    const char *priority = text_of(entry, "PRIORITY");
    return priority[0] >= '0' && priority[0] <= '7' && !priority[1] ? levels[priority[0] - '0']
                                                                    : "";
}

/* False when the line is no entry with a time. */
static bool read_entry(struct journal *j, struct str text, struct journal_entry *ret) {
    int64_t us;
    json_decref(j->entry);
    j->entry = json_loadb(text.data, text.size, JSON_ALLOW_NUL, NULL);
    if (i64_parse(str_from(text_of(j->entry, "__REALTIME_TIMESTAMP")), &us) < 0 || us < 0 ||
        us > INT64_MAX / 1000)
        return false;
    const char *unit = text_of(j->entry, "_SYSTEMD_UNIT");
    *ret = (struct journal_entry){
        .ns = us * 1000,
        .line = message_of(j),
        .unit = *unit ? unit : text_of(j->entry, "SYSLOG_IDENTIFIER"),
        .level = level_of(j->entry),
        .cursor = text_of(j->entry, "__CURSOR"),
    };
    return true;
}

static int end_of(struct journal *j, struct err *reterr) {
    int status = 0;
    if (j->child > 0 && waitpid(j->child, &status, 0) == j->child)
        j->child = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return err_set(reterr, -ENOENT, "there is no journalctl on this machine");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? -ENODATA
               : err_set(reterr, -EIO, "journalctl has ended (status %d)", status);
}

int journal_next(struct journal *j, int timeout_ms, struct journal_entry *ret, struct err *reterr) {
    for (;;) {
        const char *from = j->in.data + j->at;
        size_t left = j->in.size - j->at;
        const char *end = left > 0 ? memchr(from, '\n', left) : NULL;
        if (end) {
            j->at += (size_t)(end - from) + 1;
            if (read_entry(j, str_make(from, (size_t)(end - from)), ret))
                return 1;
            continue;
        }
        if (j->at > 0) {
            memmove(j->in.data, from, left);
            j->in.size = left;
            j->at = 0;
        }
        struct pollfd p = {.fd = j->fd, .events = POLLIN};
        if (poll(&p, 1, timeout_ms) <= 0)
            return 0;
        if (left > ENTRY_MAX || buf_reserve(&j->in, READ_SIZE) < 0)
            return err_set(reterr, -ENOMEM, "an entry of the journal is longer than %d bytes",
                           ENTRY_MAX);
        ssize_t n = read(j->fd, j->in.data + j->in.size, READ_SIZE);
        if (n < 0 && errno == EINTR)
            return 0;
        if (n <= 0)
            return end_of(j, reterr);
        j->in.size += (size_t)n;
    }
}
