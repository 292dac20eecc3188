#include "hash.h"
#include "stamp.h"
#include "stamper.h"

static struct stamper_slot *slot_of(struct stamper *s, int64_t stamp_ns) {
    return &s->slots[hash_mix((uint64_t)stamp_ns, 0) % STAMPER_SLOTS];
}

/* Makes `stamp_ns` the current stamp; its lines go on where the last one with it stopped. */
static struct stamper_slot *enter(struct stamper *s, int64_t stamp_ns) {
    struct stamper_slot *slot = slot_of(s, stamp_ns);
    if (!slot->used || slot->stamp_ns != stamp_ns)
        *slot = (struct stamper_slot){.stamp_ns = stamp_ns, .next_ns = stamp_ns, .used = true};
    s->current = slot;
    s->current_index = (size_t)(slot - s->slots);
    return slot;
}

void stamper_init_stream(struct stamper *s, bool forced_now) {
    *s = (struct stamper){.forced_now = forced_now};
}

void stamper_init_file(struct stamper *s, bool forced_now, int64_t modified_ns, uint64_t size_bytes,
                       struct str beginning) {
    *s = (struct stamper){
        .forced_now = forced_now,
        .is_file = true,
        .modified_ns = modified_ns,
        .size_bytes = size_bytes,
    };
    int64_t lines = 0, stamp_ns;
    for (size_t at = 0; at < beginning.size; lines++) {
        struct str rest = str_from_offset(beginning, at);
        const char *newline = memchr(rest.data, '\n', rest.size);
        struct str line = newline ? str_make(rest.data, (size_t)(newline - rest.data)) : rest;
        if (stamp_parse(line, modified_ns, &stamp_ns)) {
            if (lines > 0)
                (void)enter(s, stamp_ns - lines);
            return;
        }
        at += line.size + 1;
    }
}

static int64_t present(struct stamper *s, int64_t now_ns) {
    s->last_now_ns = now_ns > s->last_now_ns ? now_ns : s->last_now_ns + 1;
    return s->last_now_ns;
}

int64_t stamper_next(struct stamper *s, struct str line, uint64_t end_offset, int64_t now_ns) {
    /* What was there when the file was opened is judged by the file's age, what comes later by
     * the clock. */
    bool old = s->is_file && end_offset <= s->size_bytes;
    int64_t stamp_ns;
    if (s->forced_now)
        return present(s, now_ns);
    if (stamp_parse(line, old ? s->modified_ns : now_ns, &stamp_ns))
        return enter(s, stamp_ns)->next_ns++;
    if (s->current)
        return s->current->next_ns++;
    if (old)
        return s->modified_ns - (int64_t)(s->size_bytes - end_offset);
    return present(s, now_ns);
}

void stamper_restore(struct stamper *s, int64_t stamp_ns, int64_t next_ns, bool is_current) {
    struct stamper_slot *before = s->current;
    enter(s, stamp_ns)->next_ns = next_ns;
    if (!is_current)
        s->current = before;
}

void stamper_moved(struct stamper *s) {
    if (s->current)
        s->current = &s->slots[s->current_index];
}
