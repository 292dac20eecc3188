/* ask: GETs the paths of a file, one per line, over K kept-alive connections for some seconds, each connection from a
 * place of its own, and prints how many answers came and how long they took. Answers but 200 end the run. */
#include <pthread.h>
#include <stdatomic.h>

#include "buf.h"
#include "client.h"
#include "io.h"
#include "str.h"

#include <fcntl.h>

enum { CONNECTIONS_MAX = 1024, PATHS_MAX = 1 << 20, REQUEST_MAX = 8192, SAMPLES_MAX = 1 << 22 };

static struct {
    struct sockaddr_in address;
    struct str *paths;
    size_t n_paths;
    int64_t until_ns;
    atomic_size_t started, answered;
    atomic_bool failed;
    uint32_t *latency_us;
} ask;

static bool ask_one(int fd, struct str path, char *answer) {
    char request[REQUEST_MAX];
    int n = snprintf(request, sizeof(request), "GET %.*s HTTP/1.1\r\nHost: bench\r\n\r\n",
                     STR_ARG(path));
    int64_t before = now_ns();
    if (n < 0 || n >= REQUEST_MAX || send(fd, request, (size_t)n, MSG_NOSIGNAL) != n)
        return false;
    int status = read_answer(fd, answer);
    size_t i = atomic_fetch_add(&ask.answered, 1);
    if (i < SAMPLES_MAX)
        ask.latency_us[i] = (uint32_t)((now_ns() - before) / 1000);
    if (status != 200)
        (void)fprintf(stderr, "ask: status %d: %.*s\n%.300s\n", status, STR_ARG(path),
                      status >= 0 ? answer : "");
    return status == 200;
}

static void *connection(void *unused) {
    (void)unused;
    char *answer = malloc(ANSWER_MAX);
    size_t at = atomic_fetch_add(&ask.started, 1) * 7919;
    int fd = connect_server(&ask.address);
    bool ok = fd >= 0 && answer;
    for (; ok && now_ns() < ask.until_ns && !atomic_load(&ask.failed); at++)
        ok = ask_one(fd, ask.paths[at % ask.n_paths], answer);
    if (!ok)
        atomic_store(&ask.failed, true);
    if (fd >= 0)
        (void)close(fd);
    free(answer);
    return NULL;
}

static bool read_paths(const char *name, struct buf *text) {
    ask.paths = calloc(PATHS_MAX, sizeof(*ask.paths));
    if (!ask.paths || io_read_file(AT_FDCWD, name, text) < 0)
        return false;
    for (size_t from = 0; from < text->size && ask.n_paths < PATHS_MAX;) {
        const char *end = memchr(text->data + from, '\n', text->size - from);
        size_t to = end ? (size_t)(end - text->data) : text->size;
        if (to > from)
            ask.paths[ask.n_paths++] = str_make(text->data + from, to - from);
        from = to + 1;
    }
    return ask.n_paths > 0;
}

static int compare_u32(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    uint64_t port = 0, connections = 0, seconds = 0;
    struct buf text = buf_make(BUF_NO_MAX);
    if (argc < 5 || u64_parse(str_from(argv[1]), &port) < 0 || port == 0 || port > 65535 ||
        u64_parse(str_from(argv[2]), &connections) < 0 || connections == 0 ||
        connections > CONNECTIONS_MAX || u64_parse(str_from(argv[3]), &seconds) < 0 ||
        seconds == 0 || seconds > 3600 || !read_paths(argv[4], &text)) {
        (void)fprintf(stderr, "usage: ask PORT CONNECTIONS SECONDS PATHS\n");
        return 2;
    }
    ask.address = local_address((uint16_t)port);
    ask.latency_us = calloc(SAMPLES_MAX, sizeof(*ask.latency_us));
    int64_t began = now_ns();
    ask.until_ns = began + (int64_t)seconds * NS_PER_S;
    static pthread_t threads[CONNECTIONS_MAX];
    uint64_t started = 0;
    while (ask.latency_us && started < connections &&
           pthread_create(&threads[started], NULL, connection, NULL) == 0)
        started++;
    for (uint64_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
    size_t n = atomic_load(&ask.answered), kept = n < SAMPLES_MAX ? n : SAMPLES_MAX;
    if (kept == 0)
        return 1;
    qsort(ask.latency_us, kept, sizeof(*ask.latency_us), compare_u32);
    (void)printf("{\"answers\": %zu, \"per_second\": %.1f, \"p50_ms\": %.2f, \"p99_ms\": %.2f}\n",
                 n, (double)n / ((double)(now_ns() - began) / 1e9), ask.latency_us[kept / 2] / 1e3,
                 ask.latency_us[kept * 99 / 100] / 1e3);
    return atomic_load(&ask.failed) || started < connections ? 1 : 0;
}
