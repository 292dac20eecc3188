/* ws: a frame on the wire:
 *
 *     byte 0: FIN, three reserved bits, opcode
 *     byte 1: MASK, seven bits: size up to 125, or 126: 16 bits follow, 127: 64 (big-endian)
 *     four bytes of mask (clients must, servers must not)
 *     payload, each byte XOR mask[position & 3]
 */
#include "ws.h"

#include <assert.h>

#include "utf8.h"

/* ---- handshake */

enum { SHA1_SIZE = 20, SHA1_BLOCK = 64 };

static uint32_t rotate(uint32_t x, unsigned by) {
    return x << by | x >> (32 - by);
}

static void sha1_block(uint32_t h[static 5], const uint8_t *p) {
    uint32_t w[80];
    for (unsigned i = 0; i < 16; i++, p += 4)
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    for (unsigned i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (unsigned i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;
        } else if (i < 40) {
            f = b ^ c ^ d;
            k = 0x6ed9eba1;
        } else if (i < 60) {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;
        } else {
            f = b ^ c ^ d;
            k = 0xca62c1d6;
        }
        uint32_t next = rotate(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

/* SHA-1 (FIPS 180-4) of at most 119 bytes, two blocks: the handshake needs 60. It proves that a
 * server means WebSocket and secures nothing. */
static void sha1(struct str text, uint8_t ret[static SHA1_SIZE]) {
    uint8_t blocks[2 * SHA1_BLOCK] = {0};
    assert(text.size <= sizeof(blocks) - 9);
    memcpy(blocks, text.data, text.size);
    blocks[text.size] = 0x80;
    size_t size = text.size + 9 <= SHA1_BLOCK ? SHA1_BLOCK : 2 * SHA1_BLOCK;
    for (unsigned i = 0; i < 8; i++)
        blocks[size - 1 - i] = (uint8_t)((uint64_t)text.size * 8 >> 8 * i);
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    for (size_t at = 0; at < size; at += SHA1_BLOCK)
        sha1_block(h, blocks + at);
    for (unsigned i = 0; i < SHA1_SIZE; i++)
        ret[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void base64(const uint8_t *bytes, size_t size, char *ret) {
    for (size_t i = 0; i < size; i += 3) {
        size_t n = size - i < 3 ? size - i : 3;
        uint32_t v = (uint32_t)bytes[i] << 16 | (n > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                     (n > 2 ? bytes[i + 2] : 0);
        for (unsigned k = 0; k < 4; k++)
            *ret++ = k <= n ? base64_digits[v >> (18 - 6 * k) & 63] : '=';
    }
    *ret = '\0';
}

/* 16 bytes in base64: 22 digits and two signs that fill up. */
static bool is_key(struct str key) {
    if (key.size != 24 || key.data[22] != '=' || key.data[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++)
        if (key.data[i] == '\0' || !strchr(base64_digits, key.data[i]))
            return false;
    return true;
}

bool ws_accept(struct str key, char ret[static WS_ACCEPT_SIZE + 1]) {
    static const struct str guid = STR_INIT("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    if (!is_key(key))
        return false;
    char text[24 + 36];
    assert(key.size + guid.size == sizeof(text));
    memcpy(text, key.data, key.size);
    memcpy(text + key.size, guid.data, guid.size);
    uint8_t digest[SHA1_SIZE];
    sha1(str_make(text, sizeof(text)), digest);
    base64(digest, sizeof(digest), ret);
    return true;
}

/* ---- reading */

static struct ws_event bad(struct ws_reader *r, uint16_t code, struct str reason) {
    r->failed = true;
    return (struct ws_event){.kind = WS_EVENT_BAD, .code = code, .payload = reason};
}

/* Bytes that the header has in all, as far as the first two tell. */
static size_t header_wanted(const struct ws_reader *r) {
    if (r->header_size < 2)
        return 2;
    unsigned size = r->header[1] & 0x7f;
    size_t wanted = 2 + (size == 126 ? 2 : size == 127 ? 8 : 0);
    return wanted + (r->header[1] & 0x80 ? 4 : 0);
}

static uint64_t big_endian(const uint8_t *p, unsigned count) {
    uint64_t v = 0;
    for (unsigned i = 0; i < count; i++)
        v = v << 8 | p[i];
    return v;
}

/* What is wrong with a frame that starts so, or NULL. */
static const char *header_fault(const struct ws_reader *r) {
    uint8_t opcode = r->header[0] & 0x0f;
    bool control = opcode >= 8;
    if (r->header[0] & 0x70)
        return "reserved bits are set";
    if ((opcode > WS_BINARY && opcode < WS_CLOSE) || opcode > WS_PONG)
        return "unknown opcode";
    if (!(r->header[1] & 0x80))
        return "frame is not masked";
    if (control && !(r->header[0] & 0x80))
        return "control frame is fragmented";
    if (control && (r->header[1] & 0x7f) > WS_CONTROL_MAX)
        return "control frame is too long";
    if (opcode == WS_CONTINUATION && !r->in_message)
        return "continuation of nothing";
    if ((opcode == WS_TEXT || opcode == WS_BINARY) && r->in_message)
        return "a message begins inside another";
    return NULL;
}

/* The header is complete. */
static struct ws_event begin_payload(struct ws_reader *r) {
    unsigned size = r->header[1] & 0x7f;
    unsigned extra = size == 126 ? 2 : size == 127 ? 8 : 0;
    uint64_t left = extra ? big_endian(r->header + 2, extra) : size;
    if ((extra == 2 && left < 126) || (extra == 8 && left <= UINT16_MAX) || left > INT64_MAX)
        return bad(r, WS_PROTOCOL_ERROR, STR("bad size of a frame"));
    r->opcode = r->header[0] & 0x0f;
    r->final = r->header[0] & 0x80;
    r->left = left;
    r->seen = 0;
    r->control_size = 0;
    r->in_payload = true;
    memcpy(r->mask, r->header + 2 + extra, sizeof(r->mask));
    if (r->opcode >= WS_CLOSE)
        return (struct ws_event){0};
    if (r->opcode != WS_CONTINUATION)
        r->message_size = 0;
    r->in_message = true;
    if (left > WS_MESSAGE_MAX - r->message_size)
        return bad(r, WS_TOO_BIG, STR("message is too big"));
    r->message_size += left;
    return (struct ws_event){0};
}

static struct ws_event read_header(struct ws_reader *r, struct str *in) {
    while (in->size > 0 && r->header_size < header_wanted(r)) {
        r->header[r->header_size++] = (uint8_t)in->data[0];
        *in = str_from_offset(*in, 1);
        if (r->header_size != 2)
            continue;
        const char *fault = header_fault(r);
        if (fault)
            return bad(r, WS_PROTOCOL_ERROR, str_from(fault));
    }
    if (r->header_size < 2 || r->header_size < header_wanted(r))
        return (struct ws_event){0};
    return begin_payload(r);
}

static void read_payload(struct ws_reader *r, struct str *in) {
    size_t n = in->size < r->left ? in->size : (size_t)r->left;
    for (size_t i = 0; r->opcode >= WS_CLOSE && i < n; i++)
        r->control[r->control_size++] = (uint8_t)in->data[i] ^ r->mask[(r->seen + i) & 3];
    r->seen += n;
    r->left -= n;
    *in = str_from_offset(*in, n);
}

/* Codes that may travel (section 7.4). */
static bool is_close_code(uint16_t code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static struct ws_event close_event(struct ws_reader *r) {
    if (r->control_size == 0)
        return (struct ws_event){.kind = WS_EVENT_CLOSE, .code = WS_NO_STATUS, .payload = STR("")};
    uint16_t code = r->control_size == 1 ? 0 : (uint16_t)big_endian(r->control, 2);
    if (!is_close_code(code))
        return bad(r, WS_PROTOCOL_ERROR, STR("bad close code"));
    struct str reason = str_make((const char *)r->control + 2, (size_t)r->control_size - 2);
    if (!utf8_valid(reason))
        return bad(r, WS_BAD_TEXT, STR("close reason is not UTF-8"));
    return (struct ws_event){.kind = WS_EVENT_CLOSE, .code = code, .payload = reason};
}

/* The frame is complete. */
static struct ws_event end_frame(struct ws_reader *r) {
    r->in_payload = false;
    r->header_size = 0;
    struct str payload = str_make((const char *)r->control, r->control_size);
    switch (r->opcode) {
    case WS_PING:
        return (struct ws_event){.kind = WS_EVENT_PING, .payload = payload};
    case WS_PONG:
        return (struct ws_event){.kind = WS_EVENT_PONG, .payload = payload};
    case WS_CLOSE:
        return close_event(r);
    default:
        r->in_message = !r->final;
        return (struct ws_event){.kind = r->final ? WS_EVENT_MESSAGE : WS_EVENT_NONE};
    }
}

struct ws_event ws_read(struct ws_reader *r, struct str *in) {
    for (;;) {
        if (r->failed) {
            *in = str_from_offset(*in, in->size);
            return (struct ws_event){0};
        }
        struct ws_event event = {0};
        if (!r->in_payload)
            event = read_header(r, in);
        if (event.kind != WS_EVENT_NONE || !r->in_payload)
            return event;
        read_payload(r, in);
        if (r->left > 0)
            return event;
        event = end_frame(r);
        if (event.kind != WS_EVENT_NONE)
            return event;
    }
}

/* ---- writing */

size_t ws_header(uint8_t ret[static WS_HEADER_MAX], enum ws_opcode opcode, uint64_t payload_size) {
    ret[0] = (uint8_t)(0x80 | opcode);
    if (payload_size <= 125) {
        ret[1] = (uint8_t)payload_size;
        return 2;
    }
    unsigned extra = payload_size <= UINT16_MAX ? 2 : 8;
    ret[1] = extra == 2 ? 126 : 127;
    for (unsigned i = 0; i < extra; i++)
        ret[2 + i] = (uint8_t)(payload_size >> 8 * (extra - 1 - i));
    return 2 + extra;
}

void ws_write(struct buf *out, enum ws_opcode opcode, struct str payload) {
    uint8_t header[WS_HEADER_MAX];
    buf_add(out, header, ws_header(header, opcode, payload.size));
    buf_add_str(out, payload);
}

void ws_write_close(struct buf *out, enum ws_code code, struct str reason) {
    char payload[WS_CONTROL_MAX] = {(char)(code >> 8), (char)(code & 0xff)};
    size_t size = reason.size < WS_REASON_MAX ? reason.size : WS_REASON_MAX;
    while (size > 0 && size < reason.size && ((unsigned char)reason.data[size] & 0xc0) == 0x80)
        size--;
    if (size > 0)
        memcpy(payload + 2, reason.data, size);
    ws_write(out, WS_CLOSE, str_make(payload, 2 + size));
}
