#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "io.h"
#include "positions.h"
#include "test.h"
#include "test_folder.h"

static char folder[TEST_FOLDER_MAX];
static char path[TEST_FOLDER_MAX + 16];

static struct place make_place(uint64_t inode, uint64_t offset) {
    struct place p = {.device = 7,
                      .inode = inode,
                      .offset = offset,
                      .modified_ns = 5,
                      .head_hash = UINT64_MAX - 3,
                      .head_size = 9};
    for (int64_t stamp = 100; stamp < 100 + 40 * 7; stamp += 7)
        stamper_restore(&p.stamper, stamp, stamp + 3, true);
    return p;
}

static struct positions *open_file(void) {
    struct positions *p = NULL;
    struct err err = {0};
    CHECK_INT(positions_open(path, &p, &err), 0);
    return p;
}

static void test_survives(void) {
    struct err err = {0};
    struct positions *p = open_file();
    static struct place a, b;
    a = make_place(1, 50);
    stamper_moved(&a.stamper);
    b = make_place(UINT64_C(1) << 60, 0);
    stamper_moved(&b.stamper);
    CHECK_INT(positions_commit(p, "/var/log/a", &a, &err), 0);
    CHECK_INT(positions_commit(p, "/var/log/b \"odd\"", &b, &err), 0);
    positions_finish(p, 7, 3, 1000);
    a.offset = 60;
    CHECK_INT(positions_commit(p, "/var/log/a", &a, &err), 0);
    positions_close(p);
    p = open_file();
    const struct place *found = positions_get(p, "/var/log/a");
    CHECK(found != NULL);
    CHECK_INT(found->offset, 60);
    CHECK(found->head_hash == UINT64_MAX - 3);
    CHECK(found->stamper.current == &found->stamper.slots[found->stamper.current_index]);
    CHECK_INT(found->stamper.current->stamp_ns, 100 + 39 * 7);
    CHECK_INT(found->stamper.current->next_ns, 100 + 39 * 7 + 3);
    CHECK(positions_get(p, "/var/log/b \"odd\"")->inode == UINT64_C(1) << 60);
    CHECK(!positions_get(p, "/var/log/c"));
    CHECK(positions_is_finished(p, 7, 3, 1000));
    CHECK(!positions_is_finished(p, 7, 3, 1001));
    positions_close(p);
}

static void test_pending(void) {
    struct err err = {0};
    struct positions *p = open_file();
    struct buf body = buf_make(1 << 20);
    static struct place place, left;
    char *name = NULL;
    place = make_place(9, 77);
    stamper_moved(&place.stamper);
    CHECK_INT(positions_pending(p, &body, &name, &left, &err), 0);
    CHECK_INT(positions_begin(p, "/x", &place, STR("a\nb\0c"), &err), 0);
    positions_close(p); /* killed here */
    p = open_file();
    CHECK_INT(positions_pending(p, &body, &name, &left, &err), 1);
    CHECK_STR(buf_str(&body), STR("a\nb\0c"));
    CHECK_STR(str_from(name), STR("/x"));
    CHECK_INT(left.offset, 77);
    CHECK_INT(positions_commit(p, name, &left, &err), 0);
    free(name);
    buf_clear(&body);
    CHECK_INT(positions_pending(p, &body, &name, &left, &err), 0);
    buf_done(&body);
    positions_close(p);
}

static void test_one_at_a_time(void) {
    struct err err = {0};
    struct positions *p = open_file(), *second = NULL;
    CHECK_INT(positions_open(path, &second, &err), -EBUSY);
    CHECK(strstr(err.text, "in use") != NULL);
    positions_close(p);
}

static void test_damaged(void) {
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "{\"version\":2}",
                                        "{\"version\":1,\"files\":[{\"name\":\"a\"}]}",
                                        "{\"version\":1,\"files\":[5]}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct err err = {0};
        struct positions *p = NULL;
        CHECK_INT(io_write_file_durable(AT_FDCWD, path, str_from(texts[i])), 0);
        CHECK_INT(positions_open(path, &p, &err), -ECORRUPT);
        CHECK(strstr(err.text, path) != NULL);
    }
}

static void test_memory(void) {
    struct err err = {0};
    struct positions *p = NULL;
    static struct place place;
    place = make_place(1, 2);
    CHECK_INT(positions_open(NULL, &p, &err), 0);
    CHECK_INT(positions_begin(p, "a", &place, STR("x"), &err), 0);
    CHECK_INT(positions_commit(p, "a", &place, &err), 0);
    CHECK_INT(positions_get(p, "a")->offset, 2);
    positions_close(p);
}

int main(void) {
    folder_make(folder);
    (void)snprintf(path, sizeof(path), "%s/positions", folder);
    RUN(test_survives);
    RUN(test_pending);
    RUN(test_one_at_a_time);
    RUN(test_damaged);
    RUN(test_memory);
    folder_remove(folder);
    return test_done();
}
