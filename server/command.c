#include "command.h"

#include <stdarg.h>
#include <string.h>

static const struct command commands[] = {
    {
        .name = "verify",
        .arguments = "DATA [--repair] [--quiet]",
        .summary = "read all of a data directory and report what is damaged",
        .help =
            "Checks the index, every record of the write-ahead log and every block of every chunk\n"
            "file. DATA may be read-only, a copy, or in use by a server.\n"
            "  --repair   move what is damaged to DATA/quarantine, put what is sound in its "
            "place,\n"
            "             make the index anew; the server must not run\n"
            "  --quiet    report damage only, no notes\n"
            "Exit status 0: no damage. 1: damage, repaired or not, or DATA cannot be read.\n",
        .run = cmd_verify,
    },
    {
        .name = "rebuild-index",
        .arguments = "DATA",
        .summary = "make the index anew from the chunk files",
        .help =
            "The old index is kept beside the new one, as DATA/index.old-1 and so on. The server\n"
            "must not run. Exit status 1 when a chunk file is damaged.\n",
        .run = cmd_rebuild_index,
    },
    {
        .name = "backup",
        .arguments = "[--data-dir DATA] [--copy] [--prune] DEST | --verify DEST",
        .summary = "copy a data directory while it is in use",
        .help = "DATA (./data unless said otherwise) may belong to a running server; nothing is "
                "stopped. Chunk\n"
                "files are hard links where DEST is on the same file system, else copies (--copy: "
                "always).\n"
                "A further backup into DEST takes new files only. Days that DATA has no more stay "
                "in DEST\n"
                "(--prune drops them). --verify compares every file with the manifest; exit status "
                "1 when\n"
                "one does not check out. See docs/runbook.md.\n",
        .run = cmd_backup,
    },
    {
        .name = "restore",
        .arguments = "[--from DAY] [--to DAY] [--tenant NAME] [--link] --data-dir NEW SRC",
        .summary = "make a data directory from a backup",
        .help =
            "NEW must not be there, or be empty. Days (UTC) are both included. Start a server on "
            "it with\n"
            "--set compactor.retention_enabled=false, or what is older than retention_period is "
            "hidden.\n"
            "Files that do not match the manifest are named and left out; exit status 1 then.\n",
        .run = cmd_restore,
    },
    {
        .name = "retention",
        .arguments = "--plan [--within DURATION] [--config FILE] DATA",
        .summary = "list what retention would remove, when and why",
        .help = "Reads only; a server may be running on DATA. --within 7d lists what is due by "
                "then, too.\n"
                "--config is the server's settings file: periods, rules and byte budgets come from "
                "it.\n"
                "A running server says the same at GET /admin/retention?within=7d.\n",
        .run = cmd_retention,
    },
    {
        .name = "hash-password",
        .arguments = "<SECRET",
        .summary = "make the password_hash of an access file",
        .help = "Reads the password from the first line of stdin. See docs/security.md.\n",
        .run = cmd_hash_password,
    },
    {
        .name = "hash-token",
        .arguments = "<SECRET",
        .summary = "make the token_sha256 of an access file",
        .help = "Reads the token from the first line of stdin. Make tokens at random, for example\n"
                "with: openssl rand -hex 32\n",
        .run = cmd_hash_token,
    },
};

enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

const struct command *command_find(const char *name) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

void command_list(FILE *out) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        (void)fprintf(out, "  %-21s %s\n", commands[i].name, commands[i].summary);
}

static void print_usage(const struct command *c, FILE *out) {
    (void)fprintf(out, "usage: logqd %s %s\n", c->name, c->arguments);
}

int command_main(const struct command *c, int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") != 0 && strcmp(argv[i], "-h") != 0)
            continue;
        print_usage(c, stdout);
        (void)printf("%s\n%s", c->summary, c->help ? c->help : "");
        return COMMAND_DONE;
    }
    return c->run(c, argc - 1, argv + 1);
}

int command_fail(const struct command *self, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "logqd %s: ", self->name);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    return COMMAND_TROUBLE;
}

static int wrong_usage(const struct command *self, const char *what, const char *argument) {
    (void)command_fail(self, "%s%s%s", what, *argument ? ": " : "", argument);
    print_usage(self, stderr);
    return COMMAND_USAGE;
}

static const struct command_option *find_option(const struct command_spec *spec, const char *name,
                                                size_t size) {
    for (size_t i = 0; i < spec->n_options; i++)
        if (strlen(spec->options[i].name) == size && memcmp(spec->options[i].name, name, size) == 0)
            return &spec->options[i];
    return NULL;
}

/* One option at argv[*at]; moves on when its value is the next argument. */
static int take_option(const struct command *self, const struct command_spec *spec, int argc,
                       char **argv, int *at) {
    const char *name = argv[*at] + 2;
    const char *equals = strchr(name, '=');
    size_t size = equals ? (size_t)(equals - name) : strlen(name);
    const struct command_option *o = find_option(spec, name, size);
    if (!o)
        return wrong_usage(self, "unknown option", argv[*at]);
    if (!o->value) {
        if (equals)
            return wrong_usage(self, "this option takes no value", argv[*at]);
        *o->flag = true;
        return COMMAND_DONE;
    }
    if (!equals && *at + 1 == argc)
        return wrong_usage(self, "a value is missing behind", argv[*at]);
    *o->value = equals ? equals + 1 : argv[++*at];
    return COMMAND_DONE;
}

int command_parse(const struct command *self, int argc, char **argv,
                  const struct command_spec *spec) {
    bool options_end = false, found = spec->operand == NULL;
    for (int i = 0; i < argc; i++) {
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else if (!options_end && strncmp(argv[i], "--", 2) == 0) {
            int r = take_option(self, spec, argc, argv, &i);
            if (r != COMMAND_DONE)
                return r;
        } else if (!found) {
            *spec->operand = argv[i];
            found = true;
        } else {
            return wrong_usage(self, "unexpected argument", argv[i]);
        }
    }
    if (!found)
        return wrong_usage(self, "an argument is missing", "");
    return COMMAND_DONE;
}
