/* logqd retention --plan: what retention would remove from a data directory, when and why. Reads only; a logqd may be
 * running on the directory. */
#include <inttypes.h>

#include "clock.h"
#include "command.h"
#include "config.h"
#include "retention.h"
#include "units.h"

static int print_item(const struct retention_item *item, void *ctx) {
    struct buf text = buf_make(BUF_NO_MAX);
    char day[11];
    (void)ctx;
    day_format(day, item->day);
    time_format_rfc3339(&text, item->at_ns, true);
    buf_addf(&text, "  %s  %-19s  %6" PRIu64 "  %13" PRIu64 "  %11" PRIu64 "  %.*s ", day,
             retention_cause_text(item->cause), item->chunks, item->bytes, item->entries,
             STR_ARG(item->tenant));
    labels_format(&text, item->labels);
    (void)printf("%.*s\n", (int)text.size, text.data);
    buf_done(&text);
    return 0;
}

static int show(const struct command *self, struct store *store, const struct config *config,
                int64_t within_ns) {
    struct err err = {0};
    struct retention_usage usage = {0};
    (void)printf("%-20s  %-10s  %-19s  %6s  %13s  %11s  %s\n", "due", "day", "cause", "chunks",
                 "bytes", "entries", "stream");
    if (retention_plan(store, config->retention, clock_now_ns(), within_ns, print_item, NULL,
                       &usage, &err) < 0)
        return command_fail(self, "%s", err.text);
    (void)printf("%" PRIu64 " of %" PRIu64 " chunks, %" PRIu64 " of %" PRIu64 " bytes; %" PRIu64
                 " bytes of the disk are free\n",
                 usage.going_chunks, usage.chunks, usage.going_bytes, usage.bytes,
                 usage.disk_free_bytes);
    return COMMAND_DONE;
}

int cmd_retention(const struct command *self, int argc, char **argv) {
    bool plan = false;
    const char *within = NULL, *file = NULL, *data_dir;
    const struct command_option options[] = {
        {.name = "plan", .flag = &plan},
        {.name = "within", .value = &within},
        {.name = "config", .value = &file},
    };
    const struct command_spec spec = {.options = options, .n_options = 3, .operand = &data_dir};
    int status = command_parse(self, argc, argv, &spec);
    if (status != COMMAND_DONE)
        return status;
    struct err err = {0};
    int64_t within_ns = 0;
    if (!plan) {
        (void)command_fail(self, "only --plan is there: removing is the server's work");
        return COMMAND_USAGE;
    }
    if (within && (duration_parse_setting(str_from(within), &within_ns) < 0 || within_ns < 0)) {
        (void)command_fail(self, "--within must be a duration like 7d or 24h");
        return COMMAND_USAGE;
    }
    struct config *config;
    if (config_load(file, NULL, 0, &config, &err) < 0)
        return command_fail(self, "%s", err.text);
    const struct store_options o = {.data_dir = data_dir, .read_only = true};
    struct store *store;
    if (store_open(&o, &store, &err) < 0) {
        status = command_fail(self, "%s", err.text);
    } else {
        status = show(self, store, config, within_ns);
        store_close(store);
    }
    config_unref(config);
    return status;
}
