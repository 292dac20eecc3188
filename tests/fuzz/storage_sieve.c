/* sieve_open on an arbitrary file, and what it says of chunks and grams. */
#include <stdlib.h>

#include "bytes.h"
#include "hash.h"
#include "memory_file.h"
#include "sieve.h"
#include "sieve_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses whether checksums and sizes of header and tables are put right. */
static void repair(uint8_t *p, size_t size) {
    if (size < SIEVE_HEADER_SIZE)
        return;
    uint32_t head = get_le32(p + SIEVE_AT_HEAD_SIZE);
    if (head >= SIEVE_HEADER_SIZE && head <= size)
        put_le32(p + SIEVE_AT_TABLES_CHECKSUM,
                 (uint32_t)hash64(p + SIEVE_HEADER_SIZE, head - SIEVE_HEADER_SIZE));
    put_le64(p + SIEVE_AT_FILE_SIZE, size);
    put_le32(p + SIEVE_AT_CHECKSUM,
             (uint32_t)hash64(p + SIEVE_AT_HEAD_SIZE, SIEVE_HEADER_SIZE - SIEVE_AT_HEAD_SIZE));
}

/* Grams clear columns, and never set any; what is not known is not found. */
static void ask(const struct sieve *s) {
    uint32_t words = sieve_words(s);
    uint64_t *all = calloc(words + 1, sizeof(*all)), *alive = calloc(words + 1, sizeof(*alive));
    struct buf scratch = buf_make(BUF_NO_MAX);
    struct gram_query q;
    bool damaged = false;
    if (!all || !alive)
        abort();
    sieve_begin(s, all);
    sieve_begin(s, alive);
    gram_query_init(&q, str_make("needle in a haystack", 20), false);
    if (sieve_ask(s, &q, true, &scratch, alive, &damaged) < 0)
        abort();
    for (uint32_t i = 0; i < words; i++)
        if (alive[i] & ~all[i])
            abort();
    uint64_t blocks = 0;
    for (uint32_t i = 0; i < sieve_chunks(s); i++) {
        blocks += sieve_chunk_blocks(s, i);
        (void)sieve_may_contain(s, i, alive);
        if (sieve_chunk_blocks(s, i) > 0 && !sieve_may_contain(s, i, all))
            abort();
    }
    if (sieve_chunks(s) > 0 && blocks != sieve_blocks(s))
        abort();
    (void)sieve_find(s, 12345);
    (void)sieve_check(s, NULL);
    buf_done(&scratch);
    free(alive);
    free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    struct memory_file f = memory_file_make(data, size, repair);
    struct sieve *s = NULL;
    uint64_t sum;
    (void)sieve_peek(-1, f.path, &sum);
    if (sieve_open(-1, f.path, &s, NULL) == 0)
        ask(s);
    sieve_close(s);
    memory_file_done(&f);
    return 0;
}
