/* positions: what is written is read, the furthest of each stream; no flipped bit and no cut goes unnoticed. */
#include "positions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "bytes.h"
#include "hash.h"
#include "io.h"
#include "test.h"
#include "test_folder.h"

static struct positions some(void) {
    struct positions p = positions_make();
    const struct label labels[] = {{STR("app"), STR("shop")}, {STR("env"), STR("prod")}};
    static const struct {
        uint64_t id, lsn;
        uint32_t index;
    } rows[] = {{7, 100, 3}, {5, UINT64_C(1) << 40, 0}, {7, 100, 9}, {7, 99, 50}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct index_stream row = {.id = rows[i].id,
                                         .tenant = STR("t"),
                                         .labels = {labels, rows[i].id == 7 ? 2 : 0},
                                         .flushed_lsn = rows[i].lsn,
                                         .flushed_index = rows[i].index};
        CHECK_INT(positions_add(&p, &row), 0);
    }
    return p;
}

static void what_is_written_is_read(void) {
    char dir[TEST_FOLDER_MAX];
    struct err err = {0};
    folder_make_in_memory(dir);
    int fd = io_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
    struct positions p = some(), q = positions_make();
    CHECK_INT(positions_read(fd, POSITIONS_NAME, &q, &err), -ENOENT);
    CHECK_INT(positions_write(fd, POSITIONS_NAME, &p, &err), 0);
    CHECK_INT(positions_read(fd, POSITIONS_NAME, &q, &err), 0);
    CHECK_INT(q.count, 2);
    CHECK(q.count == 2 && q.items[0].stream_id == 5 && q.items[0].flushed_lsn == UINT64_C(1) << 40);
    const struct position *seven = positions_find(&q, 7);
    CHECK(seven && seven->flushed_lsn == 100 && seven->flushed_index == 9);
    CHECK(!positions_find(&q, 6));
    struct labels labels;
    CHECK_INT(seven ? labels_decode(seven->labels, &q.arena, &labels) : -ENOENT, 0);
    CHECK_STR(labels_get(labels, STR("env")), STR("prod"));
    CHECK_STR(q.items[0].tenant, STR("t"));
    positions_done(&q);
    positions_done(&p);
    p = positions_make(); /* none */
    CHECK_INT(positions_write(fd, POSITIONS_NAME, &p, &err), 0);
    CHECK_INT(positions_read(fd, POSITIONS_NAME, &q, &err), 0);
    CHECK_INT(q.count, 0);
    positions_done(&q);
    io_close(fd);
    folder_remove(dir);
}

static int parse(struct str bytes) {
    struct positions p = positions_make();
    struct err err = {0};
    int r = positions_parse(bytes, &p, &err);
    positions_done(&p);
    return r;
}

static void damage_is_noticed(void) {
    char dir[TEST_FOLDER_MAX];
    struct err err = {0};
    folder_make_in_memory(dir);
    int fd = io_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
    struct positions p = some();
    struct buf bytes = buf_make(BUF_NO_MAX);
    CHECK_INT(positions_write(fd, "p", &p, &err), 0);
    CHECK_INT(io_read_file(fd, "p", &bytes), 0);
    for (size_t i = 0; i < bytes.size * 8; i++) {
        bytes.data[i / 8] = (char)(bytes.data[i / 8] ^ 1 << i % 8);
        CHECK_INT(parse(buf_str(&bytes)), -ECORRUPT);
        bytes.data[i / 8] = (char)(bytes.data[i / 8] ^ 1 << i % 8);
    }
    for (size_t size = 0; size < bytes.size; size++)
        CHECK_INT(parse(str_make(bytes.data, size)), -ECORRUPT);
    CHECK_INT(parse(buf_str(&bytes)), 0);
    put_le32(bytes.data + 12, 1); /* an incompatible flag, and its checksum */
    put_le32(bytes.data + 8, (uint32_t)hash64(bytes.data + 12, bytes.size - 12));
    CHECK_INT(parse(buf_str(&bytes)), -EFORMAT);
    buf_done(&bytes);
    positions_done(&p);
    io_close(fd);
    folder_remove(dir);
}

int main(void) {
    RUN(what_is_written_is_read);
    RUN(damage_is_noticed);
    return test_done();
}
