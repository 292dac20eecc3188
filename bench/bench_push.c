/* bench_push: what a push costs on one core outside of sealing, network and disk: the bodies that bench_gen made go through the
 * decoders, the search for levels, the encoder of WAL records and heads, whose blocks are thrown away when they are cut.
 * Processor time in ms per GB of lines, by parts; least of the rounds.
 *
 *     bench_push BODIES [--json] [rounds] */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "bytes.h"
#include "config.h"
#include "inflate.h"
#include "level.h"
#include "measure.h"
#include "push_json.h"
#include "push_proto.h"
#include "stream.h"
#include "units.h"
#include "walrec.h"

enum { STREAMS_MAX = 1 << 14, BODY_BYTES_MAX = 64 << 20, BODY_HEAD = 12 };

enum part { UNPACK, DECODE, LEVELS, RECORD, HEADS, PARTS };
static const char *const part_names[PARTS] = {"unpack", "decode", "levels", "wal record", "heads"};

struct bench {
    struct str bodies;
    bool json;
    struct level_fields fields;
    struct registry registry;
    struct map streams;
    struct buf plain;
    struct walrec_writer writer;
    struct batch_stream targets[STREAMS_MAX];
    uint64_t lsn;
    double seconds[PARTS];
    uint64_t bytes, lines;
};

/* The stream of a spelling; its labels do not matter here. */
static struct stream *stream_of(struct bench *b, struct str spelling) {
    struct stream *s = map_get(&b->streams, spelling);
    if (s)
        return s;
    struct label label = {.name = STR("spelling"), .value = spelling};
    struct stream_identity identity = {.first_ns = INT64_MAX, .last_ns = INT64_MIN};
    if (registry_add(&b->registry, STR("bench"), (struct labels){.items = &label, .count = 1},
                     &identity, &s) < 0 ||
        map_put(&b->streams, spelling, s) < 0)
        return NULL;
    return s;
}

static void drop_sealed(struct bench *b, struct stream *s) {
    for (size_t i = 0; i < s->n_sealed; i++)
        mem_block_unref(s->sealed[i]);
    registry_release(&b->registry, s->sealed_bytes);
    s->n_sealed = 0;
    s->sealed_bytes = 0;
}

static int decode(struct bench *b, struct str body, struct decoded_push *d, double *at) {
    struct err err = {0};
    double before = cpu_s();
    if (!b->json && inflate_body(ENC_SNAPPY, body, &b->plain, &err) < 0)
        return -1;
    double middle = cpu_s();
    int r =
        b->json ? push_json_decode(body, d, &err) : push_proto_decode(buf_str(&b->plain), d, &err);
    *at = cpu_s();
    b->seconds[UNPACK] += middle - before;
    b->seconds[DECODE] += *at - middle;
    return r;
}

static int push_body(struct bench *b, struct str body, struct arena *arena) {
    struct decoded_push d;
    decoded_push_init(&d, arena);
    double at;
    if (decode(b, body, &d, &at) < 0 || d.n_streams > STREAMS_MAX)
        return -1;
    for (size_t i = 0; i < d.n_entries; i++) {
        struct entry *e = &d.entries[i];
        b->bytes += e->line.size;
        if (e->meta_count == 0) {
            e->meta = level_of_line(&b->fields, e->line);
            e->meta_count = 1;
        }
    }
    double now = cpu_s();
    b->seconds[LEVELS] += now - at;
    b->lines += d.n_entries;
    for (size_t i = 0; i < d.n_streams; i++) {
        const struct decoded_stream *s = &d.streams[i];
        b->targets[i].stream = stream_of(b, b->json ? s->labels_key : s->labels_text);
        b->targets[i].entries = d.entries + s->first_entry;
        b->targets[i].count = s->n_entries;
        if (!b->targets[i].stream)
            return -1;
    }
    struct batch batch = {.streams = b->targets, .n_streams = d.n_streams};
    if (!b->json)
        batch.source = (struct batch_source){.packed = body, .plain = buf_str(&b->plain)};
    at = cpu_s();
    if (walrec_write_data(&b->writer, &batch, batch_line_bytes(&batch), false) < 0)
        return -1;
    now = cpu_s();
    b->seconds[RECORD] += now - at;
    b->lsn++;
    for (size_t i = 0; i < d.n_streams; i++) {
        bool sealable;
        if (head_append(&b->registry, b->targets[i].stream, b->targets[i].entries,
                        b->targets[i].count, b->lsn, NULL, &sealable) < 0)
            return -1;
        drop_sealed(b, b->targets[i].stream);
    }
    b->seconds[HEADS] += cpu_s() - now;
    return 0;
}

/* All bodies once. */
static int run_round(struct bench *b, struct arena *arena) {
    for (size_t at = 0; at + BODY_HEAD <= b->bodies.size;) {
        uint32_t size = get_le32(b->bodies.data + at);
        if (size > b->bodies.size - at - BODY_HEAD ||
            push_body(b, str_make(b->bodies.data + at + BODY_HEAD, size), arena) < 0)
            return -1;
        arena_reset(arena);
        at += BODY_HEAD + (size_t)size;
    }
    /* The next round's times are older than those that are open now. */
    for (size_t i = 0; i < b->registry.n_all; i++) {
        if (head_cut(&b->registry, b->registry.all[i]) < 0)
            return -1;
        drop_sealed(b, b->registry.all[i]);
    }
    return 0;
}

static bool map_bodies(struct bench *b, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return false;
    size_t size = (size_t)st.st_size;
    const char *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    b->bodies = str_make(p, size);
    return p != MAP_FAILED;
}

int main(int argc, char **argv) {
    static struct bench b;
    struct err err = {0};
    struct config *config = NULL;
    uint64_t rounds = 5;
    b.json = argc > 2 && str_eq(str_from(argv[2]), STR("--json"));
    b.plain = buf_make(BODY_BYTES_MAX);
    if (argc < 2 || (argc > 2 + b.json && u64_parse(str_from(argv[2 + b.json]), &rounds) < 0) ||
        !map_bodies(&b, argv[1]) || config_load(NULL, NULL, 0, &config, &err) < 0 ||
        registry_init(&b.registry) < 0) {
        (void)fprintf(stderr, "usage: bench_push BODIES [--json] [rounds] %s\n", err.text);
        return 2;
    }
    b.fields = level_fields_make(&config->limits);
    struct arena arena = arena_make((size_t)1 << 30);
    double least[PARTS];
    for (uint64_t i = 0; i < rounds; i++) {
        for (int k = 0; k < PARTS; k++)
            b.seconds[k] = 0;
        b.bytes = b.lines = 0;
        if (run_round(&b, &arena) < 0)
            return 1;
        for (int k = 0; k < PARTS; k++)
            if (i == 0 || b.seconds[k] < least[k])
                least[k] = b.seconds[k];
    }
    double all = 0, bytes = (double)b.bytes, lines = (double)b.lines;
    for (int k = 0; k < PARTS; k++) {
        double ms = least[k] * 1e12 / bytes;
        all += ms;
        (void)printf("%s %.0f, ", part_names[k], ms);
    }
    (void)printf("all %.0f ms per GB; %.1f ns per line, %.0f bytes each\n", all,
                 all * bytes / lines / 1e3, bytes / lines);
    return 0;
}
