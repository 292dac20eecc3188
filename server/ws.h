/* ws: the WebSocket protocol (RFC 6455), server side, as pure functions over bytes: the
 * handshake's answer, frames in, frames out. No extension is ever negotiated, so the reserved
 * bits are always zero. What clients send as data is not looked at by anybody here: it is
 * counted and forgotten, only control frames keep their payload. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "str.h"

enum {
    WS_ACCEPT_SIZE = 28,
    WS_CONTROL_MAX = 125, /* payload of a control frame (section 5.5) */
    WS_REASON_MAX = WS_CONTROL_MAX - 2,
    WS_MESSAGE_MAX = 64 << 10, /* clients of a tail have nothing to say: far above any real one */
    WS_HEADER_MAX = 10,
};

enum ws_opcode {
    WS_CONTINUATION = 0,
    WS_TEXT = 1,
    WS_BINARY = 2,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10,
};

enum ws_code {
    WS_NORMAL = 1000,
    WS_GOING_AWAY = 1001,
    WS_PROTOCOL_ERROR = 1002,
    WS_NO_STATUS = 1005, /* never sent: a close frame without a code */
    WS_BAD_TEXT = 1007,
    WS_TOO_BIG = 1009,
    WS_INTERNAL_ERROR = 1011,
};

/* Sec-WebSocket-Accept for a key, NUL-terminated; false when the key is not the base64 of 16
 * bytes. */
bool ws_accept(struct str key, char ret[static WS_ACCEPT_SIZE + 1]);

/* Reader of a client's frames, fed piece by piece. Zero-initialise. */
struct ws_reader {
    uint8_t header[14];
    uint8_t header_size; /* bytes of it that have come */
    bool in_payload;
    uint8_t opcode;
    bool final;
    uint8_t mask[4];
    uint64_t left; /* of the payload */
    uint64_t seen;
    bool in_message; /* between the fragments of one */
    uint64_t message_size;
    uint8_t control[WS_CONTROL_MAX];
    uint8_t control_size;
    bool failed;
};

enum ws_event_kind {
    WS_EVENT_NONE,    /* everything has been read: more bytes are needed */
    WS_EVENT_MESSAGE, /* a whole text or binary message has come and is forgotten */
    WS_EVENT_PING,    /* payload */
    WS_EVENT_PONG,    /* payload */
    WS_EVENT_CLOSE,   /* code (WS_NO_STATUS when none was sent), payload = reason */
    WS_EVENT_BAD,     /* close with `code` and the reason `payload`; nothing can be read any more */
};

struct ws_event {
    enum ws_event_kind kind;
    struct str payload; /* until the next call */
    uint16_t code;
};

/* Takes bytes off the front of *in up to the next event. */
struct ws_event ws_read(struct ws_reader *r, struct str *in);

/* Appends one unfragmented, unmasked frame. */
void ws_write(struct buf *out, enum ws_opcode opcode, struct str payload);
/* The header of such a frame alone; its size. */
size_t ws_header(uint8_t ret[static WS_HEADER_MAX], enum ws_opcode opcode, uint64_t payload_size);
/* A close frame; a reason that is too long is cut between characters. */
void ws_write_close(struct buf *out, enum ws_code code, struct str reason);
