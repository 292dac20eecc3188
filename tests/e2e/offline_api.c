/* offline_api DIR: answers requests on standard input from a data directory, for the suites that compare what
 * logq --data-dir says with what a server says. A request is a line "TENANT|FLAGS|PATH|SIZE" and SIZE bytes of form;
 * the answer a line "STATUS SIZE" and the body. The line "reopen" makes the next request see the directory anew. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "local.h"

enum { FIELD_MAX = 32 << 10 };

static struct local *local;
static char tenant[FIELD_MAX], flags[FIELD_MAX], path[FIELD_MAX], opened_for[FIELD_MAX];

static void say(int status, struct str body) {
    (void)printf("%d %zu\n", status, body.size);
    (void)fwrite(body.data, 1, body.size, stdout);
    (void)fflush(stdout);
}

static int open_for(const char *dir) {
    struct err err = {0};
    if (local && strcmp(opened_for, tenant) == 0)
        return 0;
    local_close(local);
    local = NULL;
    const struct local_options o = {.data_dir = dir, .tenant = tenant};
    int r = local_open(&o, &local, &err);
    if (r < 0)
        say(599, str_from(err.text));
    memcpy(opened_for, tenant, sizeof(tenant));
    return r;
}

static void answer(const char *dir, struct str form) {
    struct err err = {0};
    struct local_answer a;
    if (open_for(dir) < 0)
        return;
    if (local_ask(local, str_from(path), form, str_from(flags), &a, &err) < 0)
        say(598, str_from(err.text));
    else
        say(a.status, a.body);
}

int main(int argc, char **argv) {
    static char line[4 * FIELD_MAX];
    if (argc != 2)
        return 2;
    while (fgets(line, sizeof(line), stdin)) {
        size_t size;
        if (strcmp(line, "reopen\n") == 0) {
            local_close(local);
            local = NULL;
            continue;
        }
        tenant[0] = flags[0] = path[0] = '\0';
        char *part = line, *fields[] = {tenant, flags, path};
        for (size_t i = 0; i < 3; i++) {
            char *bar = strchr(part, '|');
            if (!bar || bar - part >= FIELD_MAX)
                return 2;
            memcpy(fields[i], part, (size_t)(bar - part));
            fields[i][bar - part] = '\0';
            part = bar + 1;
        }
        size = strtoul(part, NULL, 10);
        char *form = malloc(size + 1);
        if (!form || fread(form, 1, size, stdin) != size)
            return 2;
        answer(argv[1], str_make(form, size));
        free(form);
    }
    local_close(local);
    return 0;
}
