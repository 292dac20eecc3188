#include "chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "gram.h"
#include "hash.h"
#include "io.h"
#include "test.h"

enum { BLOCKS = 5, LINES = 200 };

static char folder[] = "/tmp/logq-test-chunk-XXXXXX";
static int dir_fd;
static struct buf encoded[BLOCKS], filters[BLOCKS];
static struct chunk_block blocks[BLOCKS];

static const struct label pairs[] = {{{"app", 3}, {"api", 3}}, {{"job", 3}, {"x\n\"", 3}}};
static const struct chunk_head head = {
    .tenant = {"fake", 4},
    .labels = {.items = pairs, .count = 2},
    .stream_id = 77,
    .chunk_seq = 12345678901,
    .wal_lsn = 5ull << 32 | 99,
    .wal_index = 3,
    .day = 20778,
};

static void make_blocks(void) {
    struct block_encoder *e = block_encoder_new();
    for (unsigned b = 0; b < BLOCKS; b++) {
        int64_t times[LINES];
        struct str lines[LINES];
        char text[LINES][80];
        for (unsigned i = 0; i < LINES; i++) {
            times[i] = (int64_t)(b * LINES + i) * 1000000;
            lines[i].data = text[i];
            lines[i].size = (size_t)snprintf(text[i], sizeof(text[i]), "block%u line %u id %08x", b,
                                             i, (b * LINES + i) * 2654435761u);
        }
        struct block_input in = {.count = LINES, .times = times, .lines = lines};
        encoded[b] = buf_make(BUF_NO_MAX);
        filters[b] = buf_make(BUF_NO_MAX);
        CHECK_INT(block_encode(e, &in, EFFORT_FAST, &encoded[b], &filters[b]), 0);
        blocks[b] = (struct chunk_block){buf_str(&encoded[b]), buf_str(&filters[b])};
    }
    block_encoder_free(e);
}

static void write_chunk(const char *name, size_t n_blocks, struct chunk_sums *sums) {
    struct err err = {0};
    int fd = -1;
    CHECK_INT(chunk_write(dir_fd, name, &head, blocks, n_blocks, &fd, sums, &err), 0);
    struct stat st = {0};
    CHECK_INT(fstat(fd, &st), 0);
    CHECK_INT(st.st_size, sums->file_bytes);
    (void)close(fd);
}

static void check_block(int fd, const struct chunk *c, uint32_t i, uint32_t number) {
    const struct block_info *info = chunk_block_info(c, i);
    CHECK_INT(info->stored_size, encoded[number].size);
    char *bytes = malloc(encoded[number].size);
    CHECK_INT(pread(fd, bytes, encoded[number].size, (off_t)chunk_block_offset(c, i)),
              encoded[number].size);
    CHECK(memcmp(bytes, encoded[number].data, encoded[number].size) == 0);
    CHECK_INT(info->first_ns, (int64_t)number * LINES * 1000000);
    free(bytes);
}

static void check_sums(const struct chunk_sums *got, const struct chunk_sums *want) {
    CHECK_INT(got->first_ns, want->first_ns);
    CHECK_INT(got->last_ns, want->last_ns);
    CHECK_INT(got->file_bytes, want->file_bytes);
    CHECK_INT(got->line_bytes, want->line_bytes);
    CHECK_INT(got->meta_bytes, want->meta_bytes);
    CHECK_INT(got->entries, want->entries);
    CHECK_INT(got->blocks, want->blocks);
}

static void check_filter(const struct chunk *c, uint32_t i, struct str want) {
    struct buf got = buf_make(BUF_NO_MAX);
    CHECK(filters_take(chunk_filters(c), i, &got));
    CHECK_STR(buf_str(&got), want);
    buf_done(&got);
}

static void written_is_read(void) {
    struct chunk_sums sums = {0};
    struct chunk *c = NULL;
    struct err err;
    write_chunk("a", BLOCKS, &sums);
    CHECK_INT(sums.entries, BLOCKS * LINES);
    CHECK_INT(sums.first_ns, 0);
    CHECK_INT(sums.last_ns, (BLOCKS * LINES - 1) * 1000000);
    CHECK_INT(chunk_open(dir_fd, "a", &c, &err), 0);
    const struct chunk_head *h = chunk_get_head(c);
    CHECK_STR(h->tenant, head.tenant);
    CHECK(labels_eq(h->labels, head.labels));
    CHECK(h->stream_id == head.stream_id && h->chunk_seq == head.chunk_seq && h->day == head.day);
    CHECK(h->wal_lsn == head.wal_lsn && h->wal_index == head.wal_index);
    CHECK(!chunk_is_damaged(c));
    CHECK(chunk_cost_bytes(c) > 1000);
    check_sums(chunk_get_sums(c), &sums);
    int fd = openat(dir_fd, "a", O_RDONLY);
    CHECK_INT(chunk_block_count(c), BLOCKS);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        check_block(fd, c, i, i);
        check_filter(c, i, buf_str(&filters[i]));
    }
    (void)close(fd);
    chunk_close(c);
}

static void large_header(void) {
    struct chunk_head big = head;
    struct label many[500];
    char *text = calloc(1, 500);
    memset(text, 'v', 500);
    for (unsigned i = 0; i < 500; i++)
        many[i] = (struct label){str_make(text, i + 1), str_make(text, 500)};
    big.labels = (struct labels){.items = many, .count = 500};
    big.tenant = str_make(text, 499);
    struct chunk_sums sums;
    struct chunk *c = NULL;
    struct err err;
    int fd = -1;
    CHECK_INT(chunk_write(dir_fd, "big", &big, blocks, 1, &fd, &sums, &err), 0);
    (void)close(fd);
    CHECK_INT(chunk_open(dir_fd, "big", &c, &err), 0);
    CHECK_STR(chunk_get_head(c)->tenant, big.tenant);
    CHECK(labels_eq(chunk_get_head(c)->labels, big.labels));
    chunk_close(c);
    free(text);
}

/* Needles of all kinds are answered as the blocks' own filters answer; of a damaged file: at least as much passes. */
static void ask_many(const char *name, const struct chunk_block *all, uint32_t n, bool exact) {
    struct chunk *c = NULL, *fresh = NULL; /* the second is never mapped */
    struct err err;
    uint64_t excluded = 0;
    struct buf scratch = buf_make(BUF_NO_MAX);
    CHECK_INT(chunk_open(dir_fd, name, &c, &err), 0);
    CHECK_INT(chunk_open(dir_fd, name, &fresh, &err), 0);
    int fd = openat(dir_fd, name, O_RDONLY);
    for (unsigned line = 0; line < 300; line++) {
        char needle[40];
        uint64_t alive[CHUNK_BLOCKS_MAX / 64], tried[CHUNK_BLOCKS_MAX / 64];
        struct gram_query q;
        (void)snprintf(needle, sizeof(needle), line % 2 ? "id %08x" : "line %u id", line * 77777u);
        gram_query_init(&q, str_from(needle), false);
        memset(alive, 0, sizeof(alive));
        for (uint32_t i = 0; i < n; i++)
            alive[i / 64] |= (uint64_t)1 << i % 64;
        memcpy(tried, alive, sizeof(tried));
        (void)filters_expect(chunk_filters(c), &q);
        (void)filters_narrow(chunk_filters(c), &q, alive);
        CHECK_INT(filters_try(chunk_filters(fresh), fd, &q, true, &scratch, tried), 0);
        CHECK(memcmp(tried, alive, sizeof(tried)) == 0);
        for (uint32_t i = 0; i < n; i++) {
            bool passes = alive[i / 64] >> i % 64 & 1;
            bool may =
                gram_may_contain((const uint8_t *)all[i].filter.data, all[i].filter.size, &q);
            CHECK(exact ? passes == may : passes || !may);
            excluded += !passes;
        }
    }
    CHECK(excluded > 0);
    CHECK(filters_has(chunk_filters(c), 0) == exact);
    buf_done(&scratch);
    (void)close(fd);
    chunk_close(fresh);
    chunk_close(c);
}

static void many_blocks(void) {
    enum { MANY = 3000 }; /* more trailer than the first read of the tail takes */
    struct chunk_block *many = calloc(MANY, sizeof(*many));
    for (unsigned i = 0; i < MANY; i++)
        many[i] = blocks[i % BLOCKS];
    struct chunk_sums sums;
    struct chunk *c = NULL;
    struct err err;
    int fd = -1;
    CHECK_INT(chunk_write(dir_fd, "many", &head, many, MANY, &fd, &sums, &err), 0);
    (void)close(fd);
    CHECK_INT(chunk_open(dir_fd, "many", &c, &err), 0);
    CHECK_INT(chunk_block_count(c), MANY);
    check_filter(c, MANY - 1, many[MANY - 1].filter);
    chunk_close(c);
    ask_many("many", many, MANY, true);
    /* A damaged page: its grams exclude nothing any more. */
    fd = openat(dir_fd, "many", O_RDWR);
    char footer[48], byte;
    CHECK_INT(pread(fd, footer, sizeof(footer), (off_t)sums.file_bytes - 48), sizeof(footer));
    off_t at = (off_t)(get_le64(footer) + get_le64(footer + 8)) / 2;
    CHECK_INT(pread(fd, &byte, 1, at), 1);
    byte ^= 16;
    CHECK_INT(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
    ask_many("many", many, MANY, false);
    free(many);
}

static void refusals(void) {
    struct chunk_sums sums;
    struct chunk *c = NULL;
    struct err err;
    int fd = -1;
    CHECK_INT(chunk_write(dir_fd, "r", &head, blocks, 0, &fd, &sums, &err), -EINVAL);
    CHECK_INT(chunk_write(dir_fd, "r", &head, blocks, 16385, &fd, &sums, &err), -E2BIG);
    struct chunk_block bad = {.encoded = STR("not a block")};
    CHECK_INT(chunk_write(dir_fd, "r", &head, &bad, 1, &fd, &sums, &err), -ECORRUPT);
    CHECK_INT(chunk_write(dir_fd, "no/such/folder", &head, blocks, 1, &fd, &sums, &err), -ENOENT);
    CHECK_INT(chunk_open(dir_fd, "r", &c, &err), -ENOENT);
}

/* Fails each write in turn: no file may be left. */
static int writes_left;
static int fail_write(enum io_op op, const char *path, void *ctx) {
    (void)path;
    (void)ctx;
    return op == IO_WRITE && writes_left-- == 0 ? -ENOSPC : 0;
}

static void failed_write_leaves_nothing(void) {
    struct chunk_sums sums;
    struct err err;
    int fd = -1, r = -ENOSPC;
    for (int n = 0; r < 0; n++) {
        writes_left = n;
        io_set_hook(fail_write, NULL);
        r = chunk_write(dir_fd, "f", &head, blocks, BLOCKS, &fd, &sums, &err);
        io_set_hook(NULL, NULL);
        CHECK(r == 0 || r == -ENOSPC);
        CHECK((faccessat(dir_fd, "f", F_OK, 0) == 0) == (r == 0));
    }
    (void)close(fd);
}

/* ---- damage */

static void write_file(const char *name, struct str bytes) {
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK_INT(write(fd, bytes.data, bytes.size), bytes.size);
    (void)close(fd);
}

static void load_chunk_a(struct buf *out) {
    struct chunk_sums sums;
    write_chunk("a", BLOCKS, &sums);
    *out = buf_make(BUF_NO_MAX);
    CHECK_INT(io_read_file(dir_fd, "a", out), 0);
}

static uint64_t block_offset(uint32_t i) {
    struct chunk *c = NULL;
    struct err err;
    CHECK_INT(chunk_open(dir_fd, "a", &c, &err), 0);
    uint64_t offset = chunk_block_offset(c, i);
    chunk_close(c);
    return offset;
}

/* Opens the bytes as a file and checks that blocks `want` (a string of digits) are found. */
static void expect_blocks(struct str bytes, bool damaged, const char *want) {
    struct chunk *c = NULL;
    struct err err = {0};
    write_file("d", bytes);
    CHECK_INT(chunk_open(dir_fd, "d", &c, &err), 0);
    if (!c)
        return;
    CHECK(chunk_is_damaged(c) == damaged);
    CHECK_INT(chunk_block_count(c), strlen(want));
    int fd = openat(dir_fd, "d", O_RDONLY);
    for (uint32_t i = 0; i < chunk_block_count(c) && i < strlen(want); i++) {
        check_block(fd, c, i, (uint32_t)(want[i] - '0'));
        if (damaged)
            CHECK(!filters_has(chunk_filters(c), i));
    }
    (void)close(fd);
    chunk_close(c);
}

static void damaged_tail(void) {
    struct buf raw;
    load_chunk_a(&raw);
    size_t size = raw.size;
    expect_blocks(str_make(raw.data, size), false, "01234");
    for (size_t back = 1; back <= 48 + 600; back++) {
        raw.data[size - back] ^= 4;
        if (back > 12 || back <= 8) /* the reserved word may hold anything */
            expect_blocks(str_make(raw.data, size), true, "01234");
        raw.data[size - back] ^= 4;
    }
    raw.data[block_offset(2) + 3] ^= 1; /* behind a good trailer it is found by whoever reads it */
    write_file("d", buf_str(&raw));
    struct chunk *c = NULL;
    struct err err;
    CHECK_INT(chunk_open(dir_fd, "d", &c, &err), 0);
    CHECK(!chunk_is_damaged(c) && chunk_block_count(c) == BLOCKS);
    chunk_close(c);
    raw.data[size - 1] ^= 1;
    expect_blocks(str_make(raw.data, size), true, "0134");
    buf_done(&raw);
}

static void cut_off_anywhere(void) {
    struct buf raw;
    load_chunk_a(&raw);
    uint64_t start = block_offset(0), second = block_offset(1), last = block_offset(4);
    expect_blocks(str_make(raw.data, last + encoded[4].size), true, "01234");
    expect_blocks(str_make(raw.data, last + encoded[4].size - 1), true, "0123");
    expect_blocks(str_make(raw.data, second + 10), true, "0");
    for (size_t size = 0; size < start + encoded[0].size; size++) {
        struct chunk *c = NULL;
        struct err err;
        write_file("d", str_make(raw.data, size));
        CHECK_INT(chunk_open(dir_fd, "d", &c, &err), -ECORRUPT);
    }
    buf_done(&raw);
}

static void damaged_header(void) {
    struct buf raw;
    struct chunk *c = NULL;
    struct err err;
    load_chunk_a(&raw);
    for (size_t i = 0; i < block_offset(0) * 8; i++) {
        raw.data[i / 8] = (char)(raw.data[i / 8] ^ 1 << i % 8);
        write_file("d", buf_str(&raw));
        /* The trailer leads to the blocks. */
        CHECK_INT(chunk_open(dir_fd, "d", &c, &err), 0);
        CHECK(!chunk_has_head(c) && chunk_is_damaged(c) && chunk_get_head(c)->tenant.size == 0);
        CHECK_INT(chunk_block_count(c), 5);
        chunk_close(c);
        raw.data[raw.size - 1] ^= 1; /* without it nothing does */
        write_file("d", buf_str(&raw));
        CHECK_INT(chunk_open(dir_fd, "d", &c, &err), -ECORRUPT);
        raw.data[raw.size - 1] ^= 1;
        raw.data[i / 8] = (char)(raw.data[i / 8] ^ 1 << i % 8);
    }
    uint32_t header_size = get_le32(raw.data + 12);
    put_le32(raw.data + 16, 1 << 30); /* an incompatible flag under a right checksum */
    put_le32(raw.data + 8, (uint32_t)hash64(raw.data + 12, header_size - 12));
    write_file("d", buf_str(&raw));
    CHECK_INT(chunk_open(dir_fd, "d", &c, &err), -EFORMAT);
    put_le32(raw.data + 16, 0);
    put_le32(raw.data + 20, 2); /* a compatible one */
    put_le32(raw.data + 8, (uint32_t)hash64(raw.data + 12, header_size - 12));
    expect_blocks(buf_str(&raw), false, "01234");
    buf_done(&raw);
}

/* The blocks of the file "d" that may hold the needle, a bit each. */
static uint64_t blocks_with(const struct chunk *c, const char *needle) {
    struct gram_query q;
    gram_query_init(&q, str_from(needle), false);
    uint64_t alive = (1 << BLOCKS) - 1, singly = 0;
    (void)filters_expect(chunk_filters(c), &q);
    bool any = filters_narrow(chunk_filters(c), &q, &alive);
    for (uint32_t i = 0; i < BLOCKS; i++)
        singly |= (uint64_t)filters_may_contain(chunk_filters(c), i, &q) << i;
    CHECK_INT(alive, singly);
    CHECK(any == (alive != 0));
    return alive;
}

static void filters_are_asked(void) {
    struct chunk *c = NULL;
    struct err err;
    struct chunk_sums sums;
    write_chunk("a", BLOCKS, &sums);
    CHECK_INT(chunk_open(dir_fd, "a", &c, &err), 0);
    CHECK_INT(blocks_with(c, "block3 line 17 id"), 1 << 3);
    CHECK_INT(blocks_with(c, "block0 line"), 1 << 0);
    CHECK_INT(blocks_with(c, "line"), 31);
    CHECK_INT(blocks_with(c, "nowhere to be found"), 0);
    CHECK_INT(blocks_with(c, "abc"), 31);
    chunk_close(c);
}

/* A page with a flipped bit is not asked: what is in no line may be taken for there, what is there is found. */
static void damaged_filter_is_left_out(void) {
    struct buf raw;
    struct chunk *c = NULL;
    struct err err;
    load_chunk_a(&raw);
    uint64_t from = get_le64(raw.data + raw.size - 48), to = get_le64(raw.data + raw.size - 40);
    for (uint64_t at = from; at < to; at += 7) {
        raw.data[at] ^= 1;
        write_file("d", buf_str(&raw));
        CHECK_INT(chunk_open(dir_fd, "d", &c, &err), 0);
        CHECK(!chunk_is_damaged(c));
        for (int round = 0; round < 2; round++) {
            CHECK(blocks_with(c, "block3 line 17 id") >> 3 & 1);
            CHECK_INT(blocks_with(c, "line"), 31);
        }
        CHECK(!filters_has(chunk_filters(c), 2));
        chunk_close(c);
        raw.data[at] ^= 1;
    }
    buf_done(&raw);
}

/* ---- files of before */

/* The bytes of chunk "a" with its filters one after the other and a trailer that says so. */
static void make_old(const struct buf *raw, struct buf *out) {
    const char *footer = raw->data + raw->size - 48;
    uint64_t from = get_le64(footer), trailer = get_le64(footer + 8);
    const char *rows = raw->data + trailer + 16;
    size_t headers_size = 0;
    for (unsigned i = 0; i < BLOCKS; i++)
        headers_size += get_le32(rows + (size_t)16 * i + 12);
    *out = buf_make(BUF_NO_MAX);
    buf_add(out, raw->data, from);
    uint64_t offsets[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++) {
        offsets[i] = out->size;
        buf_add_str(out, buf_str(&filters[i]));
    }
    uint64_t old_trailer = out->size;
    char fixed[16] = "LOGQTRL1", row[32];
    put_le32(fixed + 8, BLOCKS);
    put_le32(fixed + 12, 0);
    buf_add(out, fixed, sizeof(fixed));
    for (unsigned i = 0; i < BLOCKS; i++) {
        put_le64(row, get_le64(rows + (size_t)16 * i));
        put_le64(row + 8, offsets[i]);
        put_le32(row + 16, (uint32_t)filters[i].size);
        put_le32(row + 20, (uint32_t)hash_str(buf_str(&filters[i])));
        put_le32(row + 24, get_le32(rows + (size_t)16 * i + 12));
        put_le32(row + 28, 0);
        buf_add(out, row, sizeof(row));
    }
    buf_add(out, rows + (size_t)16 * BLOCKS, headers_size);
    char end[48] = {0};
    put_le64(end, from);
    put_le64(end + 8, old_trailer);
    put_le64(end + 16, out->size + 48);
    put_le32(end + 24, (uint32_t)(out->size - old_trailer));
    put_le32(end + 28, (uint32_t)hash64(out->data + old_trailer, out->size - old_trailer));
    put_le32(end + 32, (uint32_t)hash64(end, 32));
    memcpy(end + 40, "LOGQEND1", 8);
    buf_add(out, end, sizeof(end));
    uint32_t header_size = get_le32(out->data + 12);
    put_le32(out->data + 16, 0);
    put_le32(out->data + 8, (uint32_t)hash64(out->data + 12, header_size - 12));
}

static void old_files(void) {
    struct buf raw, old;
    struct chunk *c = NULL;
    struct err err;
    load_chunk_a(&raw);
    make_old(&raw, &old);
    expect_blocks(buf_str(&old), false, "01234");
    CHECK_INT(chunk_open(dir_fd, "d", &c, &err), 0);
    for (uint32_t i = 0; i < BLOCKS; i++)
        check_filter(c, i, buf_str(&filters[i]));
    CHECK_INT(blocks_with(c, "block3 line 17 id"), 1 << 3);
    CHECK_INT(blocks_with(c, "nowhere to be found"), 0);
    chunk_close(c);
    uint64_t from = get_le64(old.data + old.size - 48);
    old.data[from + filters[0].size + 20] ^= 1;
    write_file("d", buf_str(&old));
    CHECK_INT(chunk_open(dir_fd, "d", &c, &err), 0);
    CHECK(!chunk_is_damaged(c));
    for (int round = 0; round < 2; round++) {
        check_filter(c, 0, buf_str(&filters[0]));
        CHECK(!filters_has(chunk_filters(c), 1));
        check_filter(c, 2, buf_str(&filters[2]));
        CHECK_INT(blocks_with(c, "nowhere to be found"), 1 << 1);
    }
    chunk_close(c);
    buf_done(&raw);
    buf_done(&old);
}

static void paths(void) {
    char dots[128], want[CHUNK_PATH_MAX], got[CHUNK_PATH_MAX];
    memset(dots, '.', sizeof(dots));
    const struct {
        struct str tenant;
        int32_t day;
        const char *want; /* NULL: refused */
    } cases[] = {
        {STR("fake"), 0, "chunks/fake/1970-01-01/000000000000004d-0000000000000001.chunk"},
        {STR("a-B_9"), -1, "chunks/a-B_9/1969-12-31/000000000000004d-0000000000000001.chunk"},
        {STR(".."), 20778, "chunks/%2E%2E/2026-11-21/000000000000004d-0000000000000001.chunk"},
        {STR("a/b\0\xff"), 19782,
         "chunks/a%2Fb%00%FF/2024-02-29/000000000000004d-0000000000000001.chunk"},
        {STR("x"), 11016, "chunks/x/2000-02-29/000000000000004d-0000000000000001.chunk"},
        {STR("x"), 47540, "chunks/x/2100-02-28/000000000000004d-0000000000000001.chunk"},
        {STR("x"), 47541, "chunks/x/2100-03-01/000000000000004d-0000000000000001.chunk"},
        {STR(""), 0, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = chunk_path(got, cases[i].tenant, cases[i].day, 77, 1);
        CHECK_INT(r, cases[i].want ? 0 : -EINVAL);
        if (cases[i].want)
            CHECK_STR(str_from(got), str_from(cases[i].want));
    }
    CHECK_INT(chunk_path(got, str_make(dots, sizeof(dots)), 0, UINT64_MAX, UINT64_MAX), 0);
    CHECK_INT(chunk_path(want, str_make(dots, sizeof(dots) - 1), 0, UINT64_MAX, UINT64_MAX), 0);
    CHECK(got[7] == '~' && strcmp(got, want) != 0 && strlen(got) < 255);
    CHECK_INT(chunk_path(got, STR("x"), INT32_MIN, 0, 0), 0);
    CHECK_INT(chunk_path(got, STR("x"), INT32_MAX, 0, 0), 0);
}

static int count_mappings(void) {
    FILE *f = fopen("/proc/self/maps", "r");
    int n = 0;
    for (int ch; f && (ch = fgetc(f)) != EOF;)
        n += ch == '\n';
    if (f)
        (void)fclose(f);
    return n;
}

/* Queries over very many streams hold all their chunks open, and mappings are few (vm.max_map_count). */
static void small_chunks_take_no_mapping(void) {
    enum { OPEN = 200 };
    struct chunk *open_ones[OPEN];
    struct chunk_sums sums;
    struct err err;
    write_chunk("a", 2, &sums);
    int before = count_mappings();
    CHECK(before > 0);
    for (size_t i = 0; i < OPEN; i++)
        CHECK_INT(chunk_open(dir_fd, "a", &open_ones[i], &err), 0);
    CHECK(count_mappings() < before + OPEN / 2);
    for (size_t i = 0; i < OPEN; i++) {
        check_filter(open_ones[i], 1, buf_str(&filters[1]));
        chunk_close(open_ones[i]);
    }
}

int main(void) {
    if (!mkdtemp(folder))
        return 1;
    dir_fd = open(folder, O_RDONLY | O_DIRECTORY);
    make_blocks();
    RUN(written_is_read);
    RUN(large_header);
    RUN(many_blocks);
    RUN(refusals);
    RUN(failed_write_leaves_nothing);
    RUN(damaged_tail);
    RUN(cut_off_anywhere);
    RUN(damaged_header);
    RUN(filters_are_asked);
    RUN(damaged_filter_is_left_out);
    RUN(small_chunks_take_no_mapping);
    RUN(old_files);
    RUN(paths);
    static const char *const names[] = {"a", "big", "many", "f", "d"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)unlinkat(dir_fd, names[i], 0);
    (void)rmdir(folder);
    (void)close(dir_fd);
    for (unsigned b = 0; b < BLOCKS; b++) {
        buf_done(&encoded[b]);
        buf_done(&filters[b]);
    }
    return test_done();
}
