/* replay: main() of a fuzz target in the ordinary suite. Runs each file of the corpus folder through the target, and
 * then some thousand small mutations of each (fixed seed), so that the decoder is exercised without a
 * fuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20, MUTATIONS = 500 };

static void mutate(uint8_t *data, size_t *size) {
    for (unsigned n = 1 + (unsigned)(random_next() % 4); n > 0 && *size > 0; n--) {
        size_t at = random_next() % *size;
        switch (random_next() % 5) {
        case 0:
            data[at] ^= (uint8_t)(1u << (random_next() % 8));
            break;
        case 1:
            data[at] = (uint8_t)random_next();
            break;
        case 2:
            *size = at;
            break;
        case 3:
            data[at] = 0xff;
            break;
        default:
            memmove(data + at, data + at + 1, *size - at - 1);
            (*size)--;
            break;
        }
    }
}

/* A fresh allocation of exact size lets ASan see each byte read past the end. */
static void run_one(const uint8_t *data, size_t size) {
    uint8_t *copy = calloc(size > 0 ? size : 1, 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_file(const char *folder, const char *name) {
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        return;
    uint8_t *data = malloc(INPUT_MAX), *work = malloc(INPUT_MAX);
    if (!data || !work)
        abort();
    size_t size = fread(data, 1, INPUT_MAX, f);
    (void)fclose(f);
    run_one(data, size);
    unsigned rounds = size > 65536 ? MUTATIONS / 20 : MUTATIONS;
    for (unsigned i = 0; i < rounds; i++) {
        size_t work_size = size;
        memcpy(work, data, size);
        mutate(work, &work_size);
        run_one(work, work_size);
    }
    free(data);
    free(work);
}

int main(int argc, char **argv) {
    int files = 0;
    run_one((const uint8_t *)"", 0);
    DIR *d = argc > 1 ? opendir(argv[1]) : NULL;
    if (d) {
        for (struct dirent *e = readdir(d); e; e = readdir(d)) {
            if (e->d_name[0] == '.')
                continue;
            run_file(argv[1], e->d_name);
            files++;
        }
        (void)closedir(d);
    }
    printf("%d inputs with mutations\n%d passed, %d failed\n", files, 1, 0);
    return 0;
}
