/* ws_session: one WebSocket connection: the handshake, pings, the closing handshake. It speaks
 * for the server only: what clients send as messages is dropped. Any thread may send; the hook
 * is called on the connection's loop. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "buf.h"
#include "http.h"
#include "ws.h"

struct ws_session;

/* Does the request ask for WebSocket as RFC 6455 has it? `ret_accept` is for ws_open. */
bool ws_wanted(const struct http_request *r, char ret_accept[static WS_ACCEPT_SIZE + 1]);

/* Answers the request with 101; it must not be used any more. The caller owns the session
 * (ws_free). NULL without memory: nothing has been answered. */
struct ws_session *ws_open(struct http_request *r, const char *accept);

/* Becomes true when the session is over: the client has gone, or said goodbye, or has been told
 * to go. */
const atomic_bool *ws_over(const struct ws_session *s);

/* One text message; takes the memory. Dropped when the session is over. */
void ws_send(struct ws_session *s, struct buf *text);
/* Bytes that wait for the client. */
size_t ws_queued(const struct ws_session *s);

/* Says goodbye behind what has been sent; the first call counts. */
void ws_close(struct ws_session *s, enum ws_code code, struct str reason);
/* The same, without waiting for the client's answer. */
void ws_leave(struct ws_session *s, enum ws_code code, struct str reason);

/* Lets go; closes with WS_NORMAL when nobody has yet. NULL is fine. */
void ws_free(struct ws_session *s);
