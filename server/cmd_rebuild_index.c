/* logqd rebuild-index: the index from chunk files alone. */
#include "command.h"
#include "store.h"

int cmd_rebuild_index(const struct command *self, int argc, char **argv) {
    const char *data_dir;
    const struct command_spec spec = {.operand = &data_dir};
    int status = command_parse(self, argc, argv, &spec);
    if (status != COMMAND_DONE)
        return status;
    struct err err = {0};
    struct store_rebuild done = {0};
    if (store_rebuild_index(data_dir, &done, &err) < 0)
        return command_fail(self, "%s", err.text);
    (void)printf("chunks %llu, streams %llu, entries %llu, damaged files %llu\n",
                 (unsigned long long)done.chunks, (unsigned long long)done.streams,
                 (unsigned long long)done.entries, (unsigned long long)done.damaged);
    return done.damaged > 0 ? COMMAND_TROUBLE : COMMAND_DONE;
}
