/* pack_open on an arbitrary file, and each of the members that it finds. */
#include <stdlib.h>

#include "bytes.h"
#include "hash.h"
#include "memory_file.h"
#include "pack.h"
#include "pack_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses whether checksums of header, directory and footer are put right. */
static void repair(uint8_t *p, size_t size) {
    if (size < PACK_HEADER_FIXED + PACK_FOOTER_SIZE)
        return;
    uint8_t *footer = p + size - PACK_FOOTER_SIZE;
    uint32_t header_size = get_le32(p + PACK_AT_HEADER_SIZE);
    uint32_t n = get_le32(footer + PACK_FOOTER_AT_MEMBERS) % 64;
    size_t directory = (size_t)n * PACK_ROW_SIZE;
    if (header_size >= PACK_HEADER_FIXED && header_size <= size)
        put_le32(p + PACK_AT_CHECKSUM,
                 (uint32_t)hash64(p + PACK_AT_HEADER_SIZE, header_size - PACK_AT_HEADER_SIZE));
    put_le32(footer + PACK_FOOTER_AT_MEMBERS, n);
    put_le64(footer + PACK_FOOTER_AT_FILE_SIZE, size);
    if (directory <= size - PACK_FOOTER_SIZE) {
        put_le64(footer + PACK_FOOTER_AT_DIRECTORY, size - PACK_FOOTER_SIZE - directory);
        put_le32(footer + PACK_FOOTER_AT_DIRECTORY_CHECKSUM,
                 (uint32_t)hash64(footer - directory, directory));
    }
    put_le32(footer + PACK_FOOTER_AT_CHECKSUM, (uint32_t)hash64(footer, PACK_FOOTER_AT_CHECKSUM));
}

static void look_at(const char *path, const struct pack *p, size_t size) {
    uint64_t end = 0;
    if (p->n_members == 0 || p->file_size != size || (!p->damaged && p->head.tenant.size == 0))
        abort();
    for (size_t i = 0; i < p->n_members; i++) {
        const struct pack_member *m = &p->members[i];
        if (m->offset < end || m->size > size - m->offset)
            abort();
        end = m->offset + m->size;
        struct chunk *c = NULL;
        struct chunk_span span = {.offset = m->offset, .size = m->size};
        if (chunk_open_at(-1, path, span, &c, NULL) == 0 &&
            chunk_block_offset(c, 0) + chunk_block_info(c, 0)->stored_size > end)
            abort();
        chunk_close(c);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    struct memory_file f = memory_file_make(data, size, repair);
    struct pack p;
    if (pack_open(-1, f.path, &p, NULL) == 0) {
        look_at(f.path, &p, f.size);
        pack_done(&p);
    }
    memory_file_done(&f);
    return 0;
}
