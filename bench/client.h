/* client: what the bench's programs share of HTTP: connections to a local port, and answers. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "units.h"

enum { ANSWER_MAX = 65536 };

static inline int64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static inline struct sockaddr_in local_address(uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline int connect_server(const struct sockaddr_in *address) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
        (void)fprintf(stderr, "bench: connect: %s\n", strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

/* Is all of the answer there? Behind its headers: as many bytes as it says, or chunks up to the last. */
static inline bool answer_is_whole(const char *text, size_t size) {
    const char *end = strstr(text, "\r\n\r\n");
    if (!end)
        return false;
    const char *length = strcasestr(text, "\r\nContent-Length:");
    size_t head = (size_t)(end + 4 - text);
    if (length && length < end)
        return size >= head + (size_t)strtoul(length + 17, NULL, 10);
    const char *chunked = strcasestr(text, "\r\nTransfer-Encoding:");
    if (chunked && chunked < end)
        return size >= head + 5 && memcmp(text + size - 5, "0\r\n\r\n", 5) == 0;
    return true;
}

/* Reads one answer of at most ANSWER_MAX - 1 bytes; returns its status, or -1. `text` is what came, headers first. */
static inline int read_answer(int fd, char text[static ANSWER_MAX]) {
    size_t size = 0;
    text[0] = '\0';
    while (!answer_is_whole(text, size)) {
        ssize_t n = size < ANSWER_MAX - 1 ? read(fd, text + size, ANSWER_MAX - 1 - size) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        size += (size_t)n;
        text[size] = '\0';
    }
    return strncmp(text, "HTTP/1.1 ", 9) == 0 ? (int)strtol(text + 9, NULL, 10) : -1;
}
