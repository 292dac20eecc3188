/* load: sends the bodies that gen made, as fast as the server answers, over K kept-alive connections. A body that
 * is answered 429 or 503 is sent again after a short wait; any other answer but 204 ends the run. Prints one JSON
 * object: wall seconds, bytes and lines sent, push latencies. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "bytes.h"
#include "client.h"
#include "str.h"

enum { CONNECTIONS_MAX = 256, BODIES_MAX = 1 << 22, RETRY_WAIT_MS = 50, RETRIES_MAX = 10000 };

struct body {
    struct str bytes;
    uint32_t line_bytes, lines;
};

struct load {
    struct sockaddr_in address;
    const char *content_type;
    struct body *bodies;
    size_t n_bodies;
    uint32_t *latency_us; /* per body, of its last attempt */
    atomic_size_t next;
    atomic_uint_fast64_t retries, bytes, lines;
    atomic_bool failed;
};

static bool send_all(int fd, struct str head, struct str body) {
    struct iovec parts[2] = {{(void *)(uintptr_t)head.data, head.size},
                             {(void *)(uintptr_t)body.data, body.size}};
    int first = 0;
    while (first < 2) {
        ssize_t n = writev(fd, parts + first, 2 - first);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        for (size_t left = (size_t)n; first < 2 && left >= parts[first].iov_len; first++)
            left -= parts[first].iov_len, n -= (ssize_t)parts[first].iov_len;
        if (first < 2) {
            parts[first].iov_base = (char *)parts[first].iov_base + n;
            parts[first].iov_len -= (size_t)n;
        }
    }
    return true;
}

static bool send_body(struct load *l, int fd, size_t i) {
    char head[512], *answer = malloc(ANSWER_MAX);
    const struct body *b = &l->bodies[i];
    int n = snprintf(head, sizeof(head),
                     "POST /loki/api/v1/push HTTP/1.1\r\nHost: bench\r\nContent-Type: %s\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     l->content_type, b->bytes.size);
    int status = -1;
    for (int attempt = 0; answer && attempt < RETRIES_MAX; attempt++) {
        int64_t before = now_ns();
        status = send_all(fd, str_make(head, (size_t)n), b->bytes) ? read_answer(fd, answer) : -1;
        l->latency_us[i] = (uint32_t)((now_ns() - before) / 1000);
        if (status != 429 && status != 503)
            break;
        atomic_fetch_add(&l->retries, 1);
        struct timespec wait = {.tv_nsec = RETRY_WAIT_MS * 1000000L};
        (void)nanosleep(&wait, NULL);
    }
    if (status == 204) {
        atomic_fetch_add(&l->bytes, b->line_bytes);
        atomic_fetch_add(&l->lines, b->lines);
    } else {
        (void)fprintf(stderr, "load: body %zu of %zu: status %d: %s\n", i, l->n_bodies, status,
                      answer && status >= 0 ? answer : "no answer");
    }
    free(answer);
    return status == 204;
}

static void *connection(void *arg) {
    struct load *l = arg;
    int fd = connect_server(&l->address);
    bool ok = fd >= 0;
    while (ok && !atomic_load(&l->failed)) {
        size_t i = atomic_fetch_add(&l->next, 1);
        if (i >= l->n_bodies)
            break;
        ok = send_body(l, fd, i);
    }
    if (!ok)
        atomic_store(&l->failed, true);
    if (fd >= 0)
        (void)close(fd);
    return NULL;
}

/* Maps the file and finds the bodies. */
static bool open_bodies(struct load *l, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return false;
    size_t size = (size_t)st.st_size;
    const char *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)close(fd);
    l->bodies = calloc(BODIES_MAX, sizeof(*l->bodies));
    if (p == MAP_FAILED || !l->bodies)
        return false;
    for (size_t at = 0; at + 12 <= size && l->n_bodies < BODIES_MAX;) {
        uint32_t body_size = get_le32(p + at);
        if (body_size > size - at - 12)
            return false;
        l->bodies[l->n_bodies++] = (struct body){.bytes = str_make(p + at + 12, body_size),
                                                 .line_bytes = get_le32(p + at + 4),
                                                 .lines = get_le32(p + at + 8)};
        at += 12 + (size_t)body_size;
    }
    l->latency_us = calloc(l->n_bodies + 1, sizeof(*l->latency_us));
    return l->latency_us != NULL;
}

static int compare_u32(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_result(struct load *l, int64_t wall_ns) {
    qsort(l->latency_us, l->n_bodies, sizeof(*l->latency_us), compare_u32);
    double seconds = (double)wall_ns / 1e9;
    (void)printf("{\"seconds\": %.3f, \"bytes\": %llu, \"lines\": %llu, \"bodies\": %zu, "
                 "\"mb_per_second\": %.1f, "
                 "\"p50_ms\": %.1f, \"p99_ms\": %.1f, \"max_ms\": %.1f, \"retries\": %llu}\n",
                 seconds, (unsigned long long)atomic_load(&l->bytes),
                 (unsigned long long)atomic_load(&l->lines), l->n_bodies,
                 (double)atomic_load(&l->bytes) / seconds / 1e6,
                 l->latency_us[l->n_bodies / 2] / 1e3, l->latency_us[l->n_bodies * 99 / 100] / 1e3,
                 l->latency_us[l->n_bodies - 1] / 1e3,
                 (unsigned long long)atomic_load(&l->retries));
}

int main(int argc, char **argv) {
    static struct load l;
    uint64_t port = 0, connections = 0;
    if (argc < 4 || u64_parse(str_from(argv[1]), &port) < 0 || port == 0 || port > 65535 ||
        u64_parse(str_from(argv[2]), &connections) < 0 || connections == 0 ||
        connections > CONNECTIONS_MAX) {
        (void)fprintf(stderr, "usage: load PORT CONNECTIONS BODIES [--json]\n");
        return 2;
    }
    l.content_type = argc > 4 ? "application/json" : "application/x-protobuf";
    l.address = local_address((uint16_t)port);
    if (!open_bodies(&l, argv[3]) || l.n_bodies == 0) {
        (void)fprintf(stderr, "load: %s holds no bodies\n", argv[3]);
        return 2;
    }
    static pthread_t threads[CONNECTIONS_MAX];
    int64_t before = now_ns();
    uint64_t started = 0;
    while (started < connections && pthread_create(&threads[started], NULL, connection, &l) == 0)
        started++;
    for (uint64_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
    print_result(&l, now_ns() - before);
    return atomic_load(&l.failed) || started < connections ? 1 : 0;
}
