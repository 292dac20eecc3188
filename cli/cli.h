/* cli: the commands of logq. Each takes the parsed options and gives the exit status of the
 * program: as grep, 0 = found, 1 = nothing found, 2 = trouble (said on stderr). One thread. */
#pragma once

#include "options.h"

enum { CLI_FOUND = 0, CLI_NOTHING = 1, CLI_TROUBLE = 2 };

int cmd_grep(const struct options *o);
int cmd_query(const struct options *o);
int cmd_instant(const struct options *o);
int cmd_labels(const struct options *o);
int cmd_series(const struct options *o);
int cmd_stats(const struct options *o);
int cmd_text(const struct options *o);   /* --stdin PATTERN */
int cmd_textql(const struct options *o); /* --stdin LOGQL */
/* --stdin METRIC; wanted: the query is one, or the command takes no other. */
int cmd_textmetric(const struct options *o);
bool text_metric_wanted(const struct options *o);
int cmd_api(const struct options *o);
int cmd_volume(const struct options *o);
int cmd_detected(const struct options *o);
int cmd_patterns(const struct options *o);
int cmd_fmt(const struct options *o);
int cmd_delete(const struct options *o);
int cmd_push(const struct options *o);

/* All of main() but the process: reads argv, runs the command, closes stdout. */
int cli_main(int argc, char **argv);
