/* logqd verify: is everything in a data directory as it was written? One line per finding, a summary at the end. */
#include <inttypes.h>
#include <stdio.h>

#include "buf.h"
#include "command.h"
#include "units.h"
#include "verify.h"

enum { LINE_MAX_BYTES = 1 << 20 };

static void print_finding(void *ctx, const struct verify_finding *f) {
    const bool *quiet = ctx;
    if (*quiet && !f->damage)
        return;
    struct buf line = buf_make(LINE_MAX_BYTES);
    buf_addf(&line, "%s %s", f->damage ? "damage:" : "note:", f->file);
    if (f->has_offset)
        buf_addf(&line, " at %" PRIu64, f->offset);
    buf_addf(&line, ": %s", f->what);
    if (f->has_stream) {
        buf_addf(&line, "; stream ");
        labels_format(&line, f->labels);
        buf_addf(&line, " of tenant %.*s", STR_ARG(f->tenant));
    }
    if (f->has_range) {
        buf_addf(&line, "; from ");
        time_format_rfc3339(&line, f->first_ns, false);
        buf_addf(&line, " to ");
        time_format_rfc3339(&line, f->last_ns, false);
    }
    if (f->lost_entries > 0)
        buf_addf(&line, "; %" PRIu64 " entries are lost", f->lost_entries);
    if (f->saved)
        buf_addf(&line, "; saved: %s", f->saved);
    (void)printf("%.*s\n", (int)line.size, line.data ? line.data : "");
    buf_done(&line);
}

static void print_summary(const struct verify_result *v, bool repair) {
    char bytes[64];
    struct buf size = buf_make(sizeof(bytes));
    bytes_format(&size, v->chunk_bytes);
    (void)printf("chunk files: %" PRIu64 ", %.*s, %" PRIu64 " entries\n", v->chunk_files,
                 (int)size.size, size.data ? size.data : "", v->entries);
    buf_clear(&size);
    bytes_format(&size, v->wal_bytes);
    (void)printf("write-ahead log: %" PRIu64 " segments, %.*s, %" PRIu64 " entries\n",
                 v->wal_segments, (int)size.size, size.data ? size.data : "", v->wal_entries);
    buf_done(&size);
    if (v->server_runs)
        (void)printf(
            "a server is running: its newest files and the index's pages were not judged\n");
    else
        (void)printf("index: %" PRIu64 " pages, %" PRIu64 " rows\n", v->index_pages, v->index_rows);
    if (repair && v->quarantined > 0)
        (void)printf("moved to quarantine: %" PRIu64 "\n", v->quarantined);
    if (v->damages == 0)
        (void)printf("no damage\n");
    else
        (void)printf("damage: %" PRIu64 " findings, %" PRIu64 " entries known to be lost%s\n",
                     v->damages, v->lost_entries,
                     repair ? "; repaired" : "; see logqd verify --help on --repair");
}

int cmd_verify(const struct command *self, int argc, char **argv) {
    const char *data_dir;
    bool repair = false, quiet = false;
    const struct command_option options[] = {{.name = "repair", .flag = &repair},
                                             {.name = "quiet", .flag = &quiet}};
    const struct command_spec spec = {.options = options, .n_options = 2, .operand = &data_dir};
    int status = command_parse(self, argc, argv, &spec);
    if (status != COMMAND_DONE)
        return status;
    struct verify_result result;
    struct err err = {0};
    const struct verify_options o = {
        .data_dir = data_dir, .repair = repair, .report = print_finding, .ctx = &quiet};
    int r = store_verify(&o, &result, &err);
    if (r < 0)
        return command_fail(self, "%s", err.text);
    print_summary(&result, repair);
    return result.damages > 0 ? COMMAND_TROUBLE : COMMAND_DONE;
}
