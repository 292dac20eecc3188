#include "stock.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* Sanitizers are to see each use of what has been freed. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STOCK_KEEPS 0
#else
#define STOCK_KEEPS 1
#endif

enum {
    LEAST = 1 << 10, /* smaller ones malloc has lists of its own for */
    MOST = 16 << 10, /* larger ones are few */
    STEPS = 8,       /* classes from one power of two to the next: a sixteenth is wasted */
    STEPS_SHIFT = 3,
    LEAST_SHIFT = 10,
    CLASSES = 4 * STEPS,
    NO_CLASS = CLASSES,
};

static_assert(LEAST << CLASSES / STEPS == MOST && LEAST == 1 << LEAST_SHIFT, "classes");

/* In front of the memory. */
struct place {
    struct place *next; /* in its list */
    size_t class;
};

static_assert(sizeof(struct place) == 16, "what follows is aligned");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static struct place *lists[CLASSES];                     /* that nobody uses */
static size_t kept_bytes, kept_max = STOCK_KEPT_MAX;

/* Class i has room for (8 + i % 8 + 1) << (i / 8 + 7) bytes, struct place included. */
static size_t class_bytes(size_t class) {
    return (STEPS + class % STEPS + 1) << (class / STEPS + LEAST_SHIFT - STEPS_SHIFT);
}

static size_t class_of(size_t bytes) {
    if (!STOCK_KEEPS || bytes <= LEAST || bytes > MOST)
        return NO_CLASS;
    unsigned shift = 63 - (unsigned)__builtin_clzll(bytes - 1);
    size_t step = (bytes - 1) >> (shift - STEPS_SHIFT) & (STEPS - 1);
    return (shift - LEAST_SHIFT) * STEPS + step;
}

static struct place *take_kept(size_t class) {
    (void)pthread_mutex_lock(&lock);
    struct place *p = lists[class];
    if (p) {
        lists[class] = p->next;
        kept_bytes -= class_bytes(class);
    }
    (void)pthread_mutex_unlock(&lock);
    return p;
}

/* False: enough is kept. */
static bool keep(struct place *p, size_t class) {
    (void)pthread_mutex_lock(&lock);
    bool fits = kept_bytes + class_bytes(class) <= kept_max;
    if (fits) {
        p->next = lists[class];
        lists[class] = p;
        kept_bytes += class_bytes(class);
    }
    (void)pthread_mutex_unlock(&lock);
    return fits;
}

void *stock_take(size_t size, size_t *ret_room) {
    if (size > SIZE_MAX / 2)
        return NULL;
    size_t bytes = size + sizeof(struct place), class = class_of(bytes);
    struct place *p = NULL;
    if (class != NO_CLASS) {
        bytes = class_bytes(class);
        assert(bytes >= size + sizeof(*p));
        p = take_kept(class);
    }
    if (!p)
        p = malloc(bytes);
    if (!p)
        return NULL;
    p->class = class;
    *ret_room = bytes - sizeof(*p);
    return p + 1;
}

void stock_give(void *memory) {
    if (!memory)
        return;
    struct place *p = (struct place *)memory - 1;
    if (p->class == NO_CLASS || !keep(p, p->class))
        free(p);
}

void stock_empty(void) {
    for (size_t class = 0; class < CLASSES; class ++) {
        struct place *p;
        while ((p = take_kept(class)))
            free(p);
    }
}

void stock_limit(size_t bytes) {
    (void)pthread_mutex_lock(&lock);
    kept_max = bytes < STOCK_KEPT_MAX ? bytes : STOCK_KEPT_MAX;
    (void)pthread_mutex_unlock(&lock);
}

size_t stock_kept_bytes(void) {
    (void)pthread_mutex_lock(&lock);
    size_t bytes = kept_bytes;
    (void)pthread_mutex_unlock(&lock);
    return bytes;
}
