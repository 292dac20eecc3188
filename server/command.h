/* command: `logqd NAME ...`: what logqd does besides serving. Each command has a row in the table of command.c and a
 * file of its own, cmd_<name>.c, which reads its arguments with command_parse. Runs on the main thread, before any
 * other is started. Exit status: 0 done and nothing wrong, 1 trouble found or failed, 2 wrong usage. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { COMMAND_DONE = 0, COMMAND_TROUBLE = 1, COMMAND_USAGE = 2 };

struct command {
    const char *name;
    const char *arguments; /* for the usage line: "DATA [--repair]" */
    const char *summary;   /* one line of the list */
    const char *help;      /* what --help prints behind the usage line; may be NULL */
    /* argv[0] is the first argument behind the name; returns the exit status. */
    int (*run)(const struct command *self, int argc, char **argv);
};

/* NULL when there is none of that name. */
const struct command *command_find(const char *name);
/* The commands and their summaries, one a line. */
void command_list(FILE *out);
/* Runs `argv[0]`, or prints its help when --help is among the arguments. */
int command_main(const struct command *c, int argc, char **argv);

/* An option "--name", or "--name VALUE" and "--name=VALUE" when `value` is set. */
struct command_option {
    const char *name; /* without dashes */
    bool *flag;
    const char **value;
};

struct command_spec {
    const struct command_option *options;
    size_t n_options;
    const char **operand; /* the one argument that is no option must be there; NULL: none may */
};

/* COMMAND_DONE with the options and the operand filled in, or COMMAND_USAGE after saying on stderr what is wrong. */
int command_parse(const struct command *self, int argc, char **argv,
                  const struct command_spec *spec);

/* "logqd NAME: text" on stderr; returns COMMAND_TROUBLE. */
int command_fail(const struct command *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- the commands, each in cmd_<name>.c */
int cmd_hash_password(const struct command *self, int argc, char **argv); /* cmd_hash.c */
int cmd_hash_token(const struct command *self, int argc, char **argv);    /* cmd_hash.c */
int cmd_verify(const struct command *self, int argc, char **argv);
int cmd_rebuild_index(const struct command *self, int argc, char **argv);
int cmd_backup(const struct command *self, int argc, char **argv);
int cmd_restore(const struct command *self, int argc, char **argv);
int cmd_retention(const struct command *self, int argc, char **argv);
