/* sender: batches of lines to a server, one after the other: tried again while that may help, what the server refuses counted
 * and told, progress on a terminal. One thread. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "batch.h"
#include "err.h"

struct client;
struct options;

struct sender {
    const struct options *options;
    const volatile sig_atomic_t *interrupted; /* then nothing is tried again */
    struct client *client;
    uint64_t lines, bytes, refused; /* so far; refused lines are none of `lines` */
    char first_refusal[ERR_TEXT_MAX];
    int64_t started_ns, shown_ns;
    bool shows_progress, progress_shown;
};

struct sender sender_make(const struct options *o, const volatile sig_atomic_t *interrupted);
int sender_open(struct sender *s, struct err *reterr);
void sender_close(struct sender *s);

/* Sends the batch, encoded as `body`, and waits for the answer. 0: what the server has not refused is durable. -EIO: it did
 * not take it however often it was tried. */
int sender_send(struct sender *s, const struct batch *b, struct str body, struct err *reterr);
/* The same for a body of an earlier run, whose lines are not counted, until it is taken. -EINTR. */
int sender_resend(struct sender *s, struct str body, struct err *reterr);

/* Tells on stderr what has been pushed and refused. */
void sender_report(struct sender *s);
