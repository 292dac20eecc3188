#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <snappy-c.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "batch.h"
#include "clock.h"
#include "reader.h"
#include "test.h"
#include "units.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define MODIFIED (INT64_C(1795262400) * NS_PER_S) /* 2026-11-21T12:00:00Z */

static char folder[] = "/tmp/logq-test-reader-XXXXXX";
static char path[sizeof(folder) + 16];

static void write_file(struct str content, const char *mode) {
    FILE *f = fopen(path, mode);
    CHECK(f != NULL);
    if (!f)
        return;
    CHECK(fwrite(content.data, 1, content.size, f) == content.size);
    fclose(f);
}

static void set_modified(int64_t ns) {
    struct timespec times[2] = {{.tv_sec = (time_t)(ns / NS_PER_S)},
                                {.tv_sec = (time_t)(ns / NS_PER_S)}};
    CHECK_INT(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Reads on until a line or the end; false at the end. */
static bool next_line(struct reader *s, struct str *line, int64_t *ns) {
    struct err err = {0};
    for (int i = 0; i < 1000; i++) {
        enum reader_state state = reader_next(s, line, ns);
        if (state == READER_LINE)
            return true;
        if (state == READER_END || reader_fill(s, 0, &err) < 0)
            return false;
    }
    return false;
}

/* What comes behind a rotation is waited for: the writer of the old file may go on for a while. */
static bool wait_line(struct reader *s, struct str *line, int64_t *ns) {
    int64_t until_ns = clock_mono_ns() + 5 * NS_PER_S;
    while (clock_mono_ns() < until_ns) {
        if (next_line(s, line, ns))
            return true;
        struct err err = {0};
        (void)reader_fill(s, 20, &err);
    }
    return false;
}

struct want {
    const char *line;
    int64_t ns; /* relative to MODIFIED */
};

static void check_file(struct str content, const struct want *want, size_t count) {
    struct err err = {0};
    write_file(content, "w");
    set_modified(MODIFIED);
    /* Twice: the same file has the same times. */
    for (int round = 0; round < 2; round++) {
        struct reader *s = NULL;
        struct str line;
        int64_t ns;
        CHECK_INT(reader_open(path, &(struct reader_options){.follow = false, .forced_now = false},
                              &s, &err),
                  0);
        for (size_t i = 0; i < count; i++) {
            CHECK(next_line(s, &line, &ns));
            CHECK_STR(line, str_from(want[i].line));
            CHECK_INT(ns - MODIFIED, want[i].ns);
        }
        CHECK(!next_line(s, &line, &ns));
        reader_close(s);
    }
}

static void test_times_of_files(void) {
    static const struct want plain[] = {{"a", -7}, {"bb", -4}, {"", -3}, {"cc", 0}};
    check_file(STR("a\nbb\n\ncc\n"), plain, 4);
    static const struct want open_end[] = {{"a", -3}, {"ccc", 0}};
    check_file(STR("a\nccc"), open_end, 2);
    static const struct want dos[] = {{"a", -4}, {"bb", 0}};
    check_file(STR("a\r\nbb\r\n"), dos, 2);
    check_file(STR(""), NULL, 0);
    /* Equal stamps are told apart, lines without take the one before, heads the one behind. */
    static const struct want stamped[] = {
        {"head", -NS_PER_MIN - 2},
        {"head", -NS_PER_MIN - 1},
        {"2026-11-21 11:59:00 x", -NS_PER_MIN},
        {"2026-11-21 11:59:00 x", -NS_PER_MIN + 1},
        {"  at y", -NS_PER_MIN + 2},
        {"2026-11-21 11:58:59 late", -NS_PER_MIN - NS_PER_S},
        {"2026-11-21 11:59:00 x", -NS_PER_MIN + 3},
        {"2026-11-21 11:59:01 z", -NS_PER_MIN + NS_PER_S},
    };
    check_file(STR("head\nhead\n2026-11-21 11:59:00 x\n2026-11-21 11:59:00 x\n  at y\n"
                   "2026-11-21 11:58:59 late\n2026-11-21 11:59:00 x\n2026-11-21 11:59:01 z\n"),
               stamped, COUNT(stamped));
}

static void test_long_lines(void) {
    enum { SIZE = 3 * READER_LINE_MAX + 10 };
    static char content[SIZE + 3];
    struct err err = {0};
    struct reader *s = NULL;
    struct str line;
    int64_t ns, last = INT64_MIN;
    /* Two-byte characters at odd offsets: no piece ends inside of one. */
    content[0] = 'x';
    for (size_t i = 1; i + 1 < SIZE; i += 2)
        memcpy(content + i, "\xc3\xa4", 2);
    content[SIZE - 1] = 'y';
    memcpy(content + SIZE, "\nz\n", 3);
    write_file(str_make(content, sizeof(content)), "w");
    set_modified(MODIFIED);
    CHECK_INT(
        reader_open(path, &(struct reader_options){.follow = false, .forced_now = false}, &s, &err),
        0);
    size_t total = 0;
    for (int i = 0; i < 4; i++) {
        CHECK(next_line(s, &line, &ns));
        CHECK(line.size <= READER_LINE_MAX);
        CHECK(memcmp(line.data, content + total, line.size) == 0);
        CHECK(((uint8_t)line.data[0] & 0xc0) != 0x80);
        CHECK(ns > last);
        last = ns;
        total += line.size;
    }
    CHECK_INT(total, SIZE);
    CHECK(next_line(s, &line, &ns));
    CHECK_STR(line, STR("z"));
    CHECK(!next_line(s, &line, &ns));
    CHECK_INT(reader_cut_lines(s), 1);
    reader_close(s);
}

static void test_follow(void) {
    struct err err = {0};
    struct reader *s = NULL;
    struct str line;
    int64_t ns;
    int64_t opened_ns = clock_now_ns();
    struct positions *positions = NULL;
    CHECK_INT(positions_open(NULL, &positions, &err), 0);
    write_file(STR("one\ntw"), "w");
    set_modified(MODIFIED);
    CHECK_INT(reader_open(path, &(struct reader_options){.follow = true, .positions = positions},
                          &s, &err),
              0);
    CHECK(next_line(s, &line, &ns));
    CHECK_STR(line, STR("one"));
    CHECK(!next_line(s, &line, &ns)); /* "tw" may go on */
    write_file(STR("o\nthree\n"), "a");
    CHECK(next_line(s, &line, &ns));
    CHECK_STR(line, STR("two"));
    CHECK(ns >= opened_ns); /* came after the file was opened: the clock's time */
    CHECK(next_line(s, &line, &ns));
    CHECK_STR(line, STR("three"));
    /* Rotation: the rest of the old file, then the new one. */
    char moved[sizeof(path) + 2];
    snprintf(moved, sizeof(moved), "%s.1", path);
    write_file(STR("rest"), "a");
    CHECK_INT(rename(path, moved), 0);
    write_file(STR("new\n"), "w");
    CHECK(wait_line(s, &line, &ns));
    CHECK_STR(line, STR("rest"));
    CHECK(wait_line(s, &line, &ns));
    CHECK_STR(line, STR("new"));
    /* Two rotations at once: the file between is not left out. */
    char older[sizeof(path) + 2];
    snprintf(older, sizeof(older), "%s.2", path);
    CHECK_INT(rename(moved, older), 0);
    CHECK_INT(rename(path, moved), 0);
    write_file(STR("between\n"), "w");
    CHECK_INT(rename(moved, older), 0);
    CHECK_INT(rename(path, moved), 0);
    write_file(STR("last\n"), "w");
    CHECK(wait_line(s, &line, &ns));
    CHECK_STR(line, STR("between"));
    CHECK(wait_line(s, &line, &ns));
    CHECK_STR(line, STR("last"));
    unlink(older);
    /* Truncation. */
    write_file(STR("a\n"), "w");
    CHECK(wait_line(s, &line, &ns));
    CHECK_STR(line, STR("a"));
    reader_close(s);
    positions_close(positions);
    unlink(moved);
}

static void test_forced_now(void) {
    struct err err = {0};
    struct reader *s = NULL;
    struct str line;
    int64_t ns, last = clock_now_ns() - 1;
    write_file(STR("2001-01-01 00:00:00 a\n2001-01-01 00:00:00 a\nb\n"), "w");
    CHECK_INT(
        reader_open(path, &(struct reader_options){.follow = false, .forced_now = true}, &s, &err),
        0);
    for (int i = 0; i < 3; i++) {
        CHECK(next_line(s, &line, &ns));
        CHECK(ns > last);
        last = ns;
    }
    reader_close(s);
}

static void test_trouble(void) {
    struct err err = {0};
    struct reader *s = NULL;
    CHECK_INT(reader_open("/nonexistent/file",
                          &(struct reader_options){.follow = false, .forced_now = false}, &s, &err),
              -ENOENT);
    CHECK(strstr(err.text, "/nonexistent/file") != NULL);
    CHECK_INT(reader_open(folder, &(struct reader_options){.follow = false, .forced_now = false},
                          &s, &err),
              -EISDIR);
}

/* The bytes that a server gets, byte by byte. */
static void test_batch(void) {
    struct batch b = batch_make();
    struct str packed;
    char raw[256];
    size_t size = sizeof(raw);
    static const char want[] = "\x0a\x20"
                               "\x0a\x05{a=1}"
                               "\x12\x09\x0a\x04\x08\x01\x10\x02\x12\x01x"
                               "\x12\x0c\x0a\x08\x08\x05\x10\xff\x93\xeb\xdc\x03\x12\x00";
    batch_add(&b, NS_PER_S + 2, STR("x"));
    batch_add(&b, 5 * NS_PER_S + 999999999, STR(""));
    CHECK_INT(b.n_lines, 2);
    CHECK_INT(b.line_bytes, 1);
    CHECK_INT(batch_encode(&b, STR("{a=1}"), &packed), 0);
    CHECK_INT(snappy_uncompress(packed.data, packed.size, raw, &size), SNAPPY_OK);
    CHECK_STR(str_make(raw, size), str_make(want, sizeof(want) - 1));
    batch_clear(&b);
    CHECK_INT(b.n_lines, 0);
    batch_done(&b);
}

int main(void) {
    setenv("TZ", "UTC0", 1);
    tzset();
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof(path), "%s/file.log", folder);
    RUN(test_times_of_files);
    RUN(test_long_lines);
    RUN(test_follow);
    RUN(test_forced_now);
    RUN(test_trouble);
    RUN(test_batch);
    unlink(path);
    rmdir(folder);
    return test_done();
}
