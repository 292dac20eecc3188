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
    const char *operand;
} got;

/* The words of `line` as arguments. */
static int parse_words(const char *line, bool with_operand) {
    static char text[200];
    char *argv[16];
    int argc = 0;
    (void)snprintf(text, sizeof(text), "%s", line);
    for (char *save, *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    memset(&got, 0, sizeof(got));
    const struct command_option options[] = {{.name = "repair", .flag = &got.repair},
                                             {.name = "to", .value = &got.to}};
    const struct command_spec spec = {
        .options = options, .n_options = 2, .operand = with_operand ? &got.operand : NULL};
    return command_parse(&command, argc, argv, &spec);
}

static int parse(const char *line) {
    return parse_words(line, true);
}

static void test_right(void) {
    CHECK_INT(parse("data"), COMMAND_DONE);
    CHECK(strcmp(got.operand, "data") == 0 && !got.repair && !got.to);
    CHECK_INT(parse("--repair data --to x"), COMMAND_DONE);
    CHECK(got.repair && strcmp(got.operand, "data") == 0 && strcmp(got.to, "x") == 0);
    CHECK_INT(parse("data --to=a=b"), COMMAND_DONE);
    CHECK(strcmp(got.to, "a=b") == 0);
    CHECK_INT(parse("-- --repair"), COMMAND_DONE);
    CHECK(!got.repair && strcmp(got.operand, "--repair") == 0);
    CHECK_INT(parse_words("--repair", false), COMMAND_DONE);
    CHECK(got.repair && !got.operand);
}

static void test_wrong(void) {
    static const char *const lines[] = {
        "",       "--repair",    "a b",        "-- a b", "a --rep", "a --repair=1",
        "a --to", "a --unknown", "a --tool=1",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        CHECK_INT(parse(lines[i]), COMMAND_USAGE);
    CHECK_INT(parse_words("a", false), COMMAND_USAGE);
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
