/* Rollups: what is written is what a plain count gives; what does not pay is not written; what is malformed is
 * refused. */
#include "rollup.h"

#include <errno.h>
#include <stdlib.h>

#include "bytes.h"
#include "err.h"
#include "test.h"

enum { ENTRIES = 2000, MINUTES = 25 };

static int64_t times[ENTRIES];
static struct str lines[ENTRIES];
static uint8_t ids[ENTRIES];
static uint32_t order[ENTRIES];
static const char text[] = "some bytes that lines borrow from here";
static const struct str values[] = {{"info", 4}, {"error", 5}, {"warn", 4}};

static struct rollup_input make_input(int64_t start_ns, int64_t step_ns) {
    for (uint32_t i = 0; i < ENTRIES; i++) {
        times[i] = start_ns + (int64_t)i * step_ns;
        lines[i] = str_make(text, i * 7 % sizeof(text));
        ids[i] = (uint8_t)(i * 31 % 17 % 4);
        order[i] = i;
    }
    return (struct rollup_input){.count = ENTRIES,
                                 .times = times,
                                 .lines = lines,
                                 .ids = ids,
                                 .name = STR("level"),
                                 .values = values,
                                 .n_values = 3};
}

static uint32_t line_bytes(void) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < ENTRIES; i++)
        sum += (uint32_t)lines[i].size;
    return sum;
}

static void check_against_count(const struct rollup_input *in) {
    struct buf out = buf_make(BUF_NO_MAX);
    CHECK_INT(rollup_write(in, &out), 1);
    CHECK(out.size <= in->count / ROLLUP_SHARE);
    struct rollup r;
    CHECK_INT(rollup_open(buf_str(&out), in->count, line_bytes(), &r), 0);
    CHECK_STR(r.name, in->name);
    CHECK_INT(r.n_values, in->n_values);
    struct rollup_row row;
    uint64_t total = 0;
    int64_t before = INT64_MIN;
    while (rollup_next(&r, &row)) {
        CHECK(row.minute > before);
        before = row.minute;
        for (uint32_t id = 0; id <= r.n_values; id++) {
            uint64_t entries = 0, bytes = 0;
            for (uint32_t i = 0; i < in->count; i++) {
                bool inside = in->times[i] > row.minute * ROLLUP_MINUTE_NS &&
                              in->times[i] <= (row.minute + 1) * ROLLUP_MINUTE_NS &&
                              (in->ids ? in->ids[i] : 0) == id;
                entries += inside;
                bytes += inside ? in->lines[i].size : 0;
            }
            CHECK_INT(row.entries[id], entries);
            CHECK_INT(row.bytes[id], bytes);
            total += entries;
        }
    }
    CHECK_INT(total, in->count);
    struct rollup again;
    rollup_reopen(buf_str(&out), &again);
    CHECK_STR(again.name, in->name);
    CHECK_STR(again.head, r.head);
    for (total = 0; rollup_next(&again, &row);)
        for (uint32_t id = 0; id <= again.n_values; id++)
            total += row.entries[id];
    CHECK_INT(total, in->count);
    buf_done(&out);
}

static void test_minutes(void) {
    static const int64_t starts[] = {0,
                                     1,
                                     ROLLUP_MINUTE_NS,
                                     -17 * ROLLUP_MINUTE_NS,
                                     -17 * ROLLUP_MINUTE_NS - 1,
                                     INT64_C(1700000000123456789)};
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        struct rollup_input in = make_input(starts[i], MINUTES * ROLLUP_MINUTE_NS / ENTRIES);
        check_against_count(&in);
    }
    struct rollup_input same = make_input(5 * ROLLUP_MINUTE_NS, 0);
    check_against_count(&same);
    struct rollup_input sparse = make_input(0, 1); /* an hour's hole */
    for (uint32_t i = ENTRIES / 2; i < ENTRIES; i++)
        times[i] += 60 * ROLLUP_MINUTE_NS;
    check_against_count(&sparse);
}

static void test_without_column(void) {
    struct rollup_input in = make_input(12345, ROLLUP_MINUTE_NS / 100);
    in.ids = NULL;
    in.name = STR("");
    in.values = NULL;
    in.n_values = 0;
    check_against_count(&in);
}

static void test_unsorted(void) {
    struct rollup_input in = make_input(0, ROLLUP_MINUTE_NS / 100);
    for (uint32_t i = 0; i < ENTRIES; i += 2) { /* neighbours swapped: order puts them right */
        int64_t t = times[i];
        times[i] = times[i + 1];
        times[i + 1] = t;
        order[i] = i + 1;
        order[i + 1] = i;
    }
    in.order = order;
    check_against_count(&in);
}

static void test_what_does_not_pay(void) {
    struct buf out = buf_make(BUF_NO_MAX);
    struct rollup_input in = make_input(0, ROLLUP_MINUTE_NS * 2); /* a row for each entry */
    CHECK_INT(rollup_write(&in, &out), 0);
    in = make_input(0, 1);
    in.count = ROLLUP_ENTRIES_MIN - 1;
    CHECK_INT(rollup_write(&in, &out), 0);
    in = make_input(INT64_MAX - ENTRIES, 1); /* no minute behind it */
    CHECK_INT(rollup_write(&in, &out), 0);
    CHECK_INT(out.size, 0);
    buf_done(&out);
}

static void test_malformed(void) {
    struct buf out = buf_make(BUF_NO_MAX);
    struct rollup_input in = make_input(0, MINUTES * ROLLUP_MINUTE_NS / ENTRIES);
    CHECK_INT(rollup_write(&in, &out), 1);
    struct rollup r;
    for (size_t cut = 0; cut < out.size; cut++) {
        char *copy = malloc(cut + 1);
        memcpy(copy, out.data, cut);
        CHECK_INT(rollup_open(str_make(copy, cut), ENTRIES, line_bytes(), &r), -ECORRUPT);
        free(copy);
    }
    CHECK_INT(rollup_open(buf_str(&out), ENTRIES + 1, line_bytes(), &r), -ECORRUPT);
    CHECK_INT(rollup_open(buf_str(&out), ENTRIES, line_bytes() + 1, &r), -ECORRUPT);
    for (size_t i = 0; i < out.size; i++) { /* no harm; the sums find most of it */
        char was = out.data[i];
        out.data[i] = (char)(was ^ 0x41);
        (void)rollup_open(buf_str(&out), ENTRIES, line_bytes(), &r);
        out.data[i] = was;
    }
    buf_done(&out);
}

int main(void) {
    RUN(test_minutes);
    RUN(test_without_column);
    RUN(test_unsorted);
    RUN(test_what_does_not_pay);
    RUN(test_malformed);
    return test_done();
}
