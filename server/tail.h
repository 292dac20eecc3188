/* tail: the live tails of the server. A tail begins in the thread of its request, which opens a
 * tap, reads the history and hands over to the one tail thread. That thread goes round all tails
 * every TAIL_ROUND_MS: it sends what is left of the history, then takes what the tap has
 * gathered, runs the query over it and sends what passed.
 *
 * Everything is bounded: the tap's queue, what waits for delay_for, what waits for the client.
 * What does not fit is dropped and told to the client as dropped_entries; no append and no event
 * loop ever waits for a tail. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "store.h"
#include "tail_frame.h"
#include "ws_session.h"

struct tails;
struct tail;
struct tail_query;

enum {
    TAIL_ROUND_MS = 50,
    TAILS_MAX = 500, /* of all tenants: bounds their memory */
    /* Of entries between two rounds (at half of it one begins), and of lines that wait for their time or for
     * room. Of a tail among many it is a share of TAILS_BYTES, but room for any one line. */
    TAIL_BYTES_MAX = 4 << 20,
    TAIL_BYTES_MIN = 512 << 10,
    TAILS_BYTES = 64 << 20,
    TAIL_QUEUE_BYTES = 1 << 20, /* handed to the connection and not taken by the client */
};

struct tails *tails_new(struct store *store, struct engine *engine);
/* Says goodbye to all clients and ends the thread; later tails are turned away. Before
 * http_stop. */
void tails_stop(struct tails *t);
/* After http_stop, before the engine and the store go. NULL is fine. */
void tails_free(struct tails *t);
/* Tails that run. */
size_t tails_count(struct tails *t);

struct tail_options {
    struct tail_format format;
    struct str tenant, text; /* text: of the query */
    int64_t start_ns;        /* of the history */
    uint32_t limit;          /* of the history */
    int64_t delay_ns;        /* live entries are held back so that slow senders catch up */
    int64_t duration_ns;
    uint32_t max_per_tenant; /* 0 = TAILS_MAX alone */
    uint64_t max_bytes_read; /* of the history */
    int64_t query_timeout_ns;
};

/* Copies the options' texts and takes the query over. NULL without memory (the query is the
 * caller's then). */
struct tail *tail_new(struct tails *t, struct tail_query *query, const struct tail_options *o);
/* For a tail that has not begun. */
void tail_free(struct tail *t);
/* Takes both over; runs the history's query before it returns. */
void tail_begin(struct tail *t, struct ws_session *ws);
