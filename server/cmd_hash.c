/* logqd hash-password, hash-token: what an access file holds instead of the secret itself, which is
 * read from stdin so that it stands in no history and no process list. */
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "secret.h"

enum { TOKEN_MAX = 4096 };

/* The first line, without its end. -1 when there is none. */
static int read_secret(const struct command *self, char *line, size_t size) {
    if (isatty(STDIN_FILENO))
        (void)fprintf(stderr, "logqd %s: type the secret and Enter (it is shown)\n", self->name);
    if (!fgets(line, (int)size, stdin))
        return -1;
    line[strcspn(line, "\r\n")] = '\0';
    return line[0] != '\0' ? 0 : -1;
}

static int prepare(const struct command *self, int argc, char **argv, char *line, size_t size) {
    const struct command_spec spec = {0};
    int r = command_parse(self, argc, argv, &spec);
    if (r != COMMAND_DONE)
        return r;
    return read_secret(self, line, size) < 0
               ? command_fail(self, "one line with the secret is read from stdin")
               : COMMAND_DONE;
}

int cmd_hash_password(const struct command *self, int argc, char **argv) {
    char line[SECRET_PASSWORD_MAX + 2], hash[SECRET_HASH_MAX + 1];
    int r = prepare(self, argc, argv, line, sizeof(line));
    if (r != COMMAND_DONE)
        return r;
    struct err err;
    if (secret_password_hash(str_from(line), hash, &err) < 0)
        return command_fail(self, "%s", err.text);
    (void)printf("%s\n", hash);
    return COMMAND_DONE;
}

int cmd_hash_token(const struct command *self, int argc, char **argv) {
    char line[TOKEN_MAX];
    uint8_t digest[SECRET_DIGEST];
    int r = prepare(self, argc, argv, line, sizeof(line));
    if (r != COMMAND_DONE)
        return r;
    if (secret_sha256(str_from(line), digest) < 0)
        return command_fail(self, "out of memory");
    for (size_t i = 0; i < sizeof(digest); i++)
        (void)printf("%02x", digest[i]);
    (void)printf("\n");
    return COMMAND_DONE;
}
