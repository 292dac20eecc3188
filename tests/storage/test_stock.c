#include "stock.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "test.h"

/* All of what is given may be used, and is not given twice. */
static void rooms(void) {
    void *taken[2];
    size_t room[2];
    for (size_t size = 1; size < 200 << 10; size += size / 50 + 1) {
        for (int i = 0; i < 2; i++) {
            taken[i] = stock_take(size, &room[i]);
            CHECK(taken[i] != NULL && (uintptr_t)taken[i] % 16 == 0);
            CHECK(room[i] >= size && room[i] <= size + size / 8 + 144);
            memset(taken[i], i + 1, room[i]);
        }
        for (int i = 0; i < 2; i++) {
            const unsigned char *bytes = taken[i];
            CHECK(bytes[0] == i + 1 && bytes[room[i] - 1] == i + 1);
            stock_give(taken[i]);
        }
    }
    stock_give(NULL);
    CHECK(stock_take(SIZE_MAX, &room[0]) == NULL);
    stock_empty();
    CHECK_INT(stock_kept_bytes(), 0);
}

static void what_is_kept_is_bounded(void) {
    enum { N = 5000 };
    static void *taken[N];
    size_t room;
    for (int i = 0; i < N; i++)
        taken[i] = stock_take(9000, &room);
    for (int i = 0; i < N; i++)
        stock_give(taken[i]);
    CHECK(stock_kept_bytes() <= STOCK_KEPT_MAX);
    stock_empty();
    CHECK_INT(stock_kept_bytes(), 0);
    stock_limit(20000);
    for (int i = 0; i < 4; i++)
        taken[i] = stock_take(9000, &room);
    for (int i = 0; i < 4; i++)
        stock_give(taken[i]);
    CHECK(stock_kept_bytes() <= 20000);
    stock_empty();
    stock_limit(STOCK_KEPT_MAX);
}

static void *take_and_give(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    enum { N = 32 };
    unsigned char *taken[N] = {0};
    size_t room[N];
    for (int round = 0; round < 20000; round++) {
        seed = seed * 1103515245 + 12345;
        unsigned at = seed >> 8 & (N - 1);
        if (taken[at]) {
            CHECK(taken[at][0] == at && taken[at][room[at] - 1] == at);
            stock_give(taken[at]);
            taken[at] = NULL;
            continue;
        }
        taken[at] = stock_take(1000 + (seed >> 13) % 9000, &room[at]);
        taken[at][0] = taken[at][room[at] - 1] = (unsigned char)at;
    }
    for (unsigned i = 0; i < N; i++)
        stock_give(taken[i]);
    return NULL;
}

static void many_threads(void) {
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, take_and_give, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    stock_empty();
    CHECK_INT(stock_kept_bytes(), 0);
}

int main(void) {
    RUN(rooms);
    RUN(what_is_kept_is_bounded);
    RUN(many_threads);
    return test_done();
}
