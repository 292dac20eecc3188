/* A head is
 *
 *     GET /path?query HTTP/1.1 CRLF
 *     name: value CRLF ...
 *     CRLF
 *
 * http_head_end also stops at an empty line that ends in a bare LF, so that a client that sends
 * such lines gets its 400 at once instead of waiting for its time-out. */
#include "http_parse.h"

#include <errno.h>
#include <string.h>

size_t http_head_end(struct str bytes, size_t *scanned) {
    /* An end may begin in what has been seen: step back by its length. */
    size_t at = *scanned > 3 ? *scanned - 3 : 0;
    while (at < bytes.size) {
        const char *lf = memchr(bytes.data + at, '\n', bytes.size - at);
        if (!lf)
            break;
        at = (size_t)(lf - bytes.data) + 1;
        if (at < bytes.size && bytes.data[at] == '\n')
            return at + 1;
        if (at + 1 < bytes.size && bytes.data[at] == '\r' && bytes.data[at + 1] == '\n')
            return at + 2;
    }
    *scanned = bytes.size;
    return 0;
}

static bool token_char(char c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(struct str s) {
    for (size_t i = 0; i < s.size; i++)
        if (!token_char(s.data[i]))
            return false;
    return s.size > 0;
}

/* Cuts the next line off *rest; false when it does not end in CRLF or holds a bare CR. */
static bool next_line(struct str *rest, struct str *ret) {
    const char *lf = rest->size ? memchr(rest->data, '\n', rest->size) : NULL;
    if (!lf || lf == rest->data || lf[-1] != '\r')
        return false;
    *ret = str_make(rest->data, (size_t)(lf - rest->data) - 1);
    *rest = str_from_offset(*rest, ret->size + 2);
    return ret->size == 0 || !memchr(ret->data, '\r', ret->size);
}

static enum http_method method_of(struct str name) {
    static const struct {
        struct str name;
        enum http_method method;
    } known[] = {
        {STR_INIT("GET"), HTTP_GET},         {STR_INIT("POST"), HTTP_POST},
        {STR_INIT("PUT"), HTTP_PUT},         {STR_INIT("HEAD"), HTTP_HEAD},
        {STR_INIT("OPTIONS"), HTTP_OPTIONS}, {STR_INIT("DELETE"), HTTP_DELETE},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (str_eq(known[i].name, name))
            return known[i].method;
    return HTTP_OTHER;
}

/* "http://host/path" -> "/path". Proxies and some old clients send the absolute form. */
static bool origin_form(struct str *target) {
    if (target->size > 0 && target->data[0] == '/')
        return true;
    if (str_eq(*target, STR("*")))
        return true;
    size_t scheme = 0;
    if (target->size >= 7 && str_eq_nocase(str_make(target->data, 7), STR("http://")))
        scheme = 7;
    else if (target->size >= 8 && str_eq_nocase(str_make(target->data, 8), STR("https://")))
        scheme = 8;
    if (scheme == 0)
        return false;
    struct str rest = str_from_offset(*target, scheme);
    const char *slash = rest.size ? memchr(rest.data, '/', rest.size) : NULL;
    *target = slash ? str_from_offset(rest, (size_t)(slash - rest.data)) : STR("/");
    return true;
}

static int parse_request_line(struct str line, struct http_head *h, struct err *reterr) {
    const char *first = line.size ? memchr(line.data, ' ', line.size) : NULL;
    if (!first)
        return err_set(reterr, 400, "malformed request line");
    struct str method = str_make(line.data, (size_t)(first - line.data));
    struct str rest = str_from_offset(line, method.size + 1);
    const char *second = rest.size ? memchr(rest.data, ' ', rest.size) : NULL;
    if (!is_token(method) || !second)
        return err_set(reterr, 400, "malformed request line");
    h->method = method_of(method);
    h->target = str_make(rest.data, (size_t)(second - rest.data));
    struct str version = str_from_offset(rest, h->target.size + 1);
    for (size_t i = 0; i < h->target.size; i++)
        if ((unsigned char)h->target.data[i] <= ' ' || h->target.data[i] == 0x7f)
            return err_set(reterr, 400, "control character in the request target");
    if (!origin_form(&h->target))
        return err_set(reterr, 400, "malformed request target");
    if (version.size != 8 || !str_starts(version, STR("HTTP/")) || version.data[6] != '.' ||
        version.data[7] < '0' || version.data[7] > '9')
        return err_set(reterr, 400, "malformed HTTP version");
    if (version.data[5] != '1')
        return err_set(reterr, 505, "HTTP/1.x only");
    h->minor = version.data[7] > '0';
    return 0;
}

static int parse_field(struct str line, struct http_head *h, struct err *reterr) {
    const char *colon = memchr(line.data, ':', line.size);
    if (!colon)
        return err_set(reterr, 400, "header line without a colon");
    struct str name = str_make(line.data, (size_t)(colon - line.data));
    struct str value = str_trim(str_from_offset(line, name.size + 1));
    /* Covers folded lines and blanks before the colon, too: neither is a token. */
    if (!is_token(name))
        return err_set(reterr, 400, "malformed header name");
    for (size_t i = 0; i < value.size; i++)
        if (((unsigned char)value.data[i] < ' ' && value.data[i] != '\t') || value.data[i] == 0x7f)
            return err_set(reterr, 400, "control character in header %.*s", STR_ARG(name));
    if (h->n_fields >= HTTP_FIELDS_MAX)
        return err_set(reterr, 400, "more than %d header lines", HTTP_FIELDS_MAX);
    h->fields[h->n_fields++] = (struct http_field){.name = name, .value = value};
    return 0;
}

static int read_content_length(struct str value, bool seen, struct http_head *h,
                               struct err *reterr) {
    uint64_t length = 0;
    if (value.size == 0 || value.size > 18)
        return err_set(reterr, 400, "malformed Content-Length");
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return err_set(reterr, 400, "malformed Content-Length");
        length = length * 10 + (uint64_t)(value.data[i] - '0');
    }
    if (seen && length != h->content_length)
        return err_set(reterr, 400, "two different Content-Length headers");
    h->content_length = length;
    return 0;
}

bool http_list_has(struct str list, struct str token) {
    while (list.size > 0) {
        const char *comma = memchr(list.data, ',', list.size);
        size_t size = comma ? (size_t)(comma - list.data) : list.size;
        if (str_eq_nocase(str_trim(str_make(list.data, size)), token))
            return true;
        list = str_from_offset(list, size + 1);
    }
    return false;
}

/* What the fields say about the message as a whole. */
static int read_framing(struct http_head *h, struct err *reterr) {
    bool length_seen = false, coding_seen = false, close = false, keep = false;
    unsigned hosts = 0;
    for (size_t i = 0; i < h->n_fields; i++) {
        struct str name = h->fields[i].name, value = h->fields[i].value;
        if (str_eq_nocase(name, STR("content-length"))) {
            int r = read_content_length(value, length_seen, h, reterr);
            if (r != 0)
                return r;
            length_seen = true;
        } else if (str_eq_nocase(name, STR("transfer-encoding"))) {
            if (coding_seen || !str_eq_nocase(value, STR("chunked")))
                return err_set(reterr, 501, "Transfer-Encoding must be chunked, once");
            coding_seen = h->chunked = true;
        } else if (str_eq_nocase(name, STR("host"))) {
            hosts++;
        } else if (str_eq_nocase(name, STR("connection"))) {
            close |= http_list_has(value, STR("close"));
            keep |= http_list_has(value, STR("keep-alive"));
        } else if (str_eq_nocase(name, STR("expect"))) {
            if (!str_eq_nocase(value, STR("100-continue")))
                return err_set(reterr, 417, "unknown expectation");
            h->expect_continue = h->minor >= 1;
        }
    }
    if (h->chunked && (length_seen || h->minor == 0))
        return err_set(reterr, 400, "Transfer-Encoding with Content-Length or HTTP/1.0");
    if (hosts > 1 || (hosts == 0 && h->minor >= 1))
        return err_set(reterr, 400, hosts ? "two Host headers" : "missing Host header");
    h->keep_alive = !close && (h->minor >= 1 || keep);
    return 0;
}

int http_head_parse(struct str bytes, struct http_head *ret, struct err *reterr) {
    ret->n_fields = 0;
    ret->chunked = ret->expect_continue = ret->keep_alive = false;
    ret->content_length = 0;
    struct str line;
    if (!next_line(&bytes, &line))
        return err_set(reterr, 400, "request line does not end in CRLF");
    int r = parse_request_line(line, ret, reterr);
    while (r == 0) {
        if (!next_line(&bytes, &line))
            return err_set(reterr, 400, "header line does not end in CRLF");
        if (line.size == 0)
            return read_framing(ret, reterr);
        r = parse_field(line, ret, reterr);
    }
    return r;
}

struct str http_head_field(const struct http_head *head, const char *name) {
    struct str wanted = str_from(name);
    for (size_t i = 0; i < head->n_fields; i++)
        if (str_eq_nocase(head->fields[i].name, wanted))
            return head->fields[i].value;
    return (struct str){0};
}

/* "gzip;q=0.0" -> true */
static bool weight_is_zero(struct str parameters) {
    const char *q = str_find(parameters, STR("q="));
    if (!q)
        return false;
    struct str number = str_trim(str_from_offset(parameters, (size_t)(q - parameters.data) + 2));
    for (size_t i = 0; i < number.size; i++)
        if (number.data[i] != '0' && number.data[i] != '.')
            return false;
    return number.size > 0;
}

bool http_accepts_gzip(struct str value) {
    bool any = false, any_refused = false;
    while (value.size > 0) {
        const char *comma = memchr(value.data, ',', value.size);
        size_t size = comma ? (size_t)(comma - value.data) : value.size;
        struct str item = str_make(value.data, size);
        value = str_from_offset(value, size + 1);
        const char *semicolon = memchr(item.data, ';', item.size);
        size_t name_size = semicolon ? (size_t)(semicolon - item.data) : item.size;
        struct str name = str_trim(str_make(item.data, name_size));
        bool refused = weight_is_zero(str_from_offset(item, name_size));
        if (str_eq_nocase(name, STR("gzip")))
            return !refused;
        if (str_eq(name, STR("*"))) {
            any = true;
            any_refused = refused;
        }
    }
    return any && !any_refused;
}

/* "1a2b;extension" */
static int parse_chunk_size(struct str line, uint64_t *ret) {
    uint64_t size = 0;
    size_t digits = 0;
    while (digits < line.size && hex_digit_value(line.data[digits]) >= 0) {
        if (digits >= 15)
            return -ESYNTAX;
        size = size * 16 + (uint64_t)hex_digit_value(line.data[digits]);
        digits++;
    }
    if (digits == 0 || (digits < line.size && line.data[digits] != ';'))
        return -ESYNTAX;
    *ret = size;
    return 0;
}

/* A whole line of `in`, at most `max` bytes: 1, 0 when more input is needed, -ESYNTAX. */
static int chunk_line(struct str in, size_t max, struct str *ret) {
    const char *lf = in.size ? memchr(in.data, '\n', in.size) : NULL;
    if (!lf)
        return in.size > max ? -ESYNTAX : 0;
    size_t size = (size_t)(lf - in.data);
    if (size > max || size == 0 || lf[-1] != '\r' || memchr(in.data, '\r', size - 1))
        return -ESYNTAX;
    *ret = str_make(in.data, size - 1);
    return 1;
}

static int feed_line(struct http_chunked *c, struct str rest, size_t *used) {
    struct str line;
    size_t max = c->state == CHUNK_TRAILER ? (size_t)HTTP_TRAILER_BYTES_MAX : HTTP_CHUNK_LINE_MAX;
    int r = chunk_line(rest, max, &line);
    if (r <= 0)
        return r;
    *used += line.size + 2;
    if (c->state == CHUNK_SIZE) {
        r = parse_chunk_size(line, &c->left);
        if (r < 0)
            return r;
        c->state = c->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
    } else if (c->state == CHUNK_DATA_END) {
        if (line.size > 0)
            return -ESYNTAX;
        c->state = CHUNK_SIZE;
    } else {
        c->trailer_bytes += line.size;
        if (c->trailer_bytes > HTTP_TRAILER_BYTES_MAX)
            return -ESYNTAX;
        if (line.size == 0)
            c->state = CHUNK_DONE;
    }
    return 1;
}

int http_chunked_feed(struct http_chunked *c, struct str in, struct buf *body, size_t *ret_used) {
    *ret_used = 0;
    while (c->state != CHUNK_DONE) {
        struct str rest = str_from_offset(in, *ret_used);
        if (c->state != CHUNK_DATA) {
            int r = feed_line(c, rest, ret_used);
            if (r <= 0)
                return r;
            continue;
        }
        if (c->left > body->max - body->size)
            return -E2BIG;
        size_t n = rest.size < c->left ? rest.size : (size_t)c->left;
        if (n == 0)
            return 0;
        buf_add(body, rest.data, n);
        if (body->failed)
            return -ENOMEM;
        *ret_used += n;
        c->left -= n;
        if (c->left == 0)
            c->state = CHUNK_DATA_END;
    }
    return 0;
}

void http_unescape(struct buf *out, struct str text, bool plus) {
    if (buf_reserve(out, text.size) < 0)
        return;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '+' && plus) {
            c = ' ';
        } else if (c == '%' && i + 2 < text.size) {
            int high = hex_digit_value(text.data[i + 1]), low = hex_digit_value(text.data[i + 2]);
            if (high >= 0 && low >= 0) {
                c = (char)(high * 16 + low);
                i += 2;
            }
        }
        buf_add_char(out, c);
    }
}
