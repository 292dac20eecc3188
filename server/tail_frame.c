#include "tail_frame.h"

#include "json.h"
#include "render.h"
#include "units.h"

static void write_labels_text(struct buf *out, struct labels labels) {
    struct buf text = buf_make(BUF_NO_MAX);
    labels_format(&text, labels);
    json_write_string(out, buf_str(&text));
    buf_done(&text);
}

void tail_drops_add(struct tail_drops *d, const struct tail_format *f, int64_t ts_ns,
                    struct labels labels) {
    size_t before = d->json.size;
    if (d->count < TAIL_DROPS_MAX) {
        if (d->count > 0)
            buf_add_char(&d->json, ',');
        buf_add_str(&d->json, STR("{\"timestamp\":\""));
        if (f->legacy)
            time_format_rfc3339(&d->json, ts_ns, false);
        else
            buf_add_i64(&d->json, ts_ns);
        buf_add_str(&d->json, STR("\",\"labels\":"));
        if (f->legacy)
            write_labels_text(&d->json, labels);
        else
            render_labels(&d->json, labels);
        buf_add_char(&d->json, '}');
    }
    if (d->count < TAIL_DROPS_MAX && !d->json.failed) {
        d->count++;
        return;
    }
    d->untold++;
    d->json.size = before;
    d->json.failed = false;
}

void tail_drops_clear(struct tail_drops *d) {
    buf_clear(&d->json);
    d->count = 0;
    d->untold = 0;
}

/* Entries [0, n) that share a stream object with the first. */
static size_t same_stream(const struct tail_format *f, const struct tail_item *items,
                          size_t count) {
    size_t n = 1;
    while (n < count && (f->categorize ? labels_eq(items[n].stream, items[0].stream)
                                       : labels_eq(items[n].merged, items[0].merged)))
        n++;
    return n;
}

static void write_stream(struct buf *out, const struct tail_format *f,
                         const struct tail_item *items, size_t count) {
    buf_add_str(out, STR("{\"stream\":"));
    render_labels(out, f->categorize ? items[0].stream : items[0].merged);
    buf_add_str(out, STR(",\"values\":["));
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        render_value(out, items[i].ts_ns, items[i].line, f->categorize, items[i].metadata,
                     items[i].parsed);
    }
    buf_add_str(out, STR("]}"));
}

static void write_legacy_stream(struct buf *out, const struct tail_item *items, size_t count) {
    buf_add_str(out, STR("{\"labels\":"));
    write_labels_text(out, items[0].merged);
    buf_add_str(out, STR(",\"entries\":["));
    for (size_t i = 0; i < count; i++) {
        buf_add_str(out, i > 0 ? STR(",{\"ts\":\"") : STR("{\"ts\":\""));
        time_format_rfc3339(out, items[i].ts_ns, false);
        buf_add_str(out, STR("\",\"line\":"));
        json_write_string(out, items[i].line);
        buf_add_char(out, '}');
    }
    buf_add_str(out, STR("]}"));
}

void tail_frame_write(struct buf *out, const struct tail_format *f, const struct tail_item *items,
                      size_t count, const struct tail_drops *drops) {
    buf_add_str(out, STR("{\"streams\":["));
    for (size_t i = 0; i < count;) {
        size_t n = same_stream(f, items + i, count - i);
        if (i > 0)
            buf_add_char(out, ',');
        if (f->legacy)
            write_legacy_stream(out, items + i, n);
        else
            write_stream(out, f, items + i, n);
        i += n;
    }
    buf_add_char(out, ']');
    if (drops->count > 0) {
        buf_add_str(out, STR(",\"dropped_entries\":["));
        buf_add_str(out, buf_str(&drops->json));
        buf_add_char(out, ']');
    } else if (f->legacy) {
        buf_add_str(out, STR(",\"dropped_entries\":null"));
    }
    if (f->encoding_flags.size > 0 && !f->legacy) {
        buf_add_char(out, ',');
        render_flags(out, f->encoding_flags);
    }
    buf_add_char(out, '}');
}
