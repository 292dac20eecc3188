/* Arguments of commands: options in both spellings, operands, and each way of getting them wrong. */
#include <unistd.h>

#include "command.h"
#include "str.h"
#include "test.h"

static int ran;

static int run(const struct command *self, int argc, char **argv) {
    (void)self, (void)argv;
    ran++;
    return argc;
}

static const struct command command = {
    .name = "try", .arguments = "DATA", .summary = "tries", .run = run};

static struct {
    bool repair;
    const char *to;
    const char *operands[2];
    int n;
} got;

/* The words of `line` as arguments. */
static int parse(const char *line) {
    static char text[200];
    char *argv[16];
    int argc = 0;
    (void)snprintf(text, sizeof(text), "%s", line);
    for (char *save, *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    memset(&got, 0, sizeof(got));
    const struct command_option options[] = {{.name = "repair", .flag = &got.repair},
                                             {.name = "to", .value = &got.to}};
    const struct command_spec spec = {.options = options,
                                      .n_options = 2,
                                      .operands = got.operands,
                                      .operands_min = 1,
                                      .operands_max = 2};
    return command_parse(&command, argc, argv, &spec, &got.n);
}

static void test_right(void) {
    CHECK_INT(parse("data"), COMMAND_DONE);
    CHECK(got.n == 1 && strcmp(got.operands[0], "data") == 0 && !got.repair && !got.to);
    CHECK_INT(parse("--repair data --to x other"), COMMAND_DONE);
    CHECK(got.n == 2 && got.repair && strcmp(got.to, "x") == 0);
    CHECK_INT(parse("data --to=a=b"), COMMAND_DONE);
    CHECK(strcmp(got.to, "a=b") == 0);
    CHECK_INT(parse("-- --repair"), COMMAND_DONE);
    CHECK(!got.repair && strcmp(got.operands[0], "--repair") == 0);
}

static void test_wrong(void) {
    static const char *const lines[] = {
        "", "--repair", "a b c", "a --rep", "a --repair=1", "a --to", "a --unknown", "a --tool=1",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        CHECK_INT(parse(lines[i]), COMMAND_USAGE);
}

static void test_table(void) {
    CHECK(command_find("rebuild-index") != NULL);
    CHECK(command_find("rebuild") == NULL);
    CHECK(command_find("") == NULL);
    char *argv[] = {"try", "--help"};
    CHECK_INT(command_main(&command, 2, argv), COMMAND_DONE);
    CHECK_INT(ran, 0);
    char *behind[] = {"try", "--", "--help"};
    CHECK_INT(command_main(&command, 3, behind), 2);
    CHECK_INT(ran, 1);
    CHECK_INT(command_fail(&command, "%d", 1), COMMAND_TROUBLE);
}

int main(void) {
    (void)dup2(STDOUT_FILENO, STDERR_FILENO);
    RUN(test_right);
    RUN(test_wrong);
    RUN(test_table);
    return test_done();
}
