#include "linetab_split.h"

#include <stdlib.h>

#include "buf.h"
#include "test.h"

enum { PIECES = 4000, TOKENS = 64 };

static uint64_t random_state = 7;

static uint32_t below(uint32_t n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

/* What the splitter takes apart or together: keys, strings, escapes, padding, words with and without digits, quotes that
 * nothing ends. */
static void add_piece(struct buf *text) {
    static const char *const parts[] = {
        "level=info",
        " ",
        " ",
        "  ",
        "      ",
        "\"msg\":",
        "\"a b c\"",
        "\"\"",
        "\"a\\\"",
        "\"",
        "\\",
        "key=",
        "k9=",
        "=",
        ": ",
        "word",
        "longer-word-12",
        "7",
        "2026-11-26T10",
        "[12]: ",
        "{",
        "},",
        "\t",
        "\xc3\xa4",
        "a.b/c",
        "0xff8800",
        "WARN ",
        " - - [",
        "x=\"y z\"",
        "\"k\":\"v\",",
        "\"n\":17,",
        "'it",
        "|",
        "e=1 f=2",
        "tail  ",
        "()",
    };
    uint32_t n = below(9);
    for (uint32_t i = 0; i < n; i++) {
        /* A few parts make most pieces, so that paths are gone again. */
        const char *part = parts[below(below(3) ? 8 : sizeof(parts) / sizeof(parts[0]))];
        buf_add(text, part, strlen(part));
    }
}

/* Splits all pieces with room for `max_paths`; sums up tokens and shapes. */
static void split_all(const struct text_marks *m, enum split split, const struct piece *pieces,
                      uint32_t max_paths, struct piece (*tokens)[TOKENS], uint32_t *counts,
                      struct shape *shapes) {
    void *memory = malloc((size_t)max_paths * SPLITTER_PATH_SIZE);
    struct splitter s;
    splitter_init(&s, m, split, memory, max_paths);
    for (uint32_t i = 0; i < PIECES; i++)
        counts[i] = split_piece(&s, pieces[i], tokens[i], TOKENS, &shapes[i]);
    free(memory);
}

/* Tokens lie in their piece one behind the other. */
static bool is_orderly(struct piece p, const struct piece *tokens, uint32_t count) {
    uint32_t at = p.offset;
    for (uint32_t i = 0; i < count; i++) {
        if (tokens[i].offset < at)
            return false;
        at = tokens[i].offset + tokens[i].size;
    }
    return at <= p.offset + p.size;
}

static struct piece tokens[3][PIECES][TOKENS];
static uint32_t counts[3][PIECES];
static struct shape shapes[3][PIECES];

static void tokens_are_the_same_with_and_without_paths(void) {
    static const uint32_t room[3] = {1, 20, SPLITTER_PATHS_MAX};
    struct buf text = buf_make(BUF_NO_MAX);
    struct text_marks m = {0};
    struct piece pieces[PIECES];
    for (uint32_t i = 0; i < PIECES; i++) {
        pieces[i].offset = (uint32_t)text.size;
        add_piece(&text);
        pieces[i].size = (uint32_t)text.size - pieces[i].offset;
        buf_add_char(&text, '\n');
    }
    CHECK_INT(buf_reserve(&text, TEXT_SLACK), 0);
    CHECK_INT(text_marks_load(&m, buf_str(&text)), 0);
    for (enum split split = SPLIT_LINE; split <= SPLIT_FINE; split++) {
        for (unsigned k = 0; k < 3; k++)
            split_all(&m, split, pieces, room[k], tokens[k], counts[k], shapes[k]);
        unsigned wrong = 0, tokens_seen = 0;
        for (uint32_t i = 0; i < PIECES; i++) {
            wrong += !is_orderly(pieces[i], tokens[0][i], counts[0][i]);
            tokens_seen += counts[0][i];
            for (unsigned k = 1; k < 3; k++)
                wrong += counts[k][i] != counts[0][i] || shapes[k][i].gaps != shapes[0][i].gaps ||
                         shapes[k][i].words != shapes[0][i].words ||
                         memcmp(tokens[k][i], tokens[0][i], counts[0][i] * sizeof(struct piece));
        }
        CHECK_INT(wrong, 0);
        CHECK(tokens_seen > PIECES);
    }
    text_marks_done(&m);
    buf_done(&text);
}

/* Which bytes delimit, one by one, as the header of the splitter says. */
static void bytes_are_marked_as_they_are(void) {
    struct buf text = buf_make(BUF_NO_MAX);
    struct text_marks m = {0};
    for (unsigned i = 0; i < 3000; i++)
        buf_add_char(&text, (char)(i < 512 ? i : below(256)));
    CHECK(buf_reserve(&text, TEXT_SLACK) == 0);
    for (size_t size = text.size; size > text.size - 130; size--) {
        size_t wrong = 0;
        CHECK_INT(text_marks_load(&m, str_make(text.data, size)), 0);
        for (uint32_t i = 0; i < size; i++) {
            unsigned char c = (unsigned char)text.data[i], folded = c | 0x20;
            bool digit = c >= '0' && c <= '9', letter = folded >= 'a' && folded <= 'z';
            bool coarse = c <= ' ' || (c < 0x80 && strchr("\"'(),;<=>[\\]{|}", c) != NULL);
            wrong += marks_at(m.coarse, i) != coarse;
            wrong += marks_at(m.fine, i) != !(digit || letter || c >= 0x80);
            wrong += marks_at(m.digit, i) != digit;
            wrong += marks_at(m.quote, i) != (c == '"');
        }
        CHECK_INT(wrong, 0);
    }
    text_marks_done(&m);
    buf_done(&text);
}

static void a_piece_of_more_tokens_than_asked_for_is_told_apart(void) {
    const char *line = "a b c d e f g h                                ";
    struct text_marks m = {0};
    _Alignas(8) char memory[32 * SPLITTER_PATH_SIZE];
    struct splitter s;
    struct piece found[8];
    struct shape shape;
    CHECK_INT(text_marks_load(&m, str_make(line, 15)), 0);
    splitter_init(&s, &m, SPLIT_LINE, memory, 32);
    for (unsigned round = 0; round < 2; round++) {
        CHECK(split_piece(&s, (struct piece){0, 15}, found, 7, &shape) == UINT32_MAX);
        CHECK_INT(split_piece(&s, (struct piece){0, 15}, found, 8, &shape), 8);
        CHECK_INT(found[7].offset, 14);
    }
    text_marks_done(&m);
}

int main(void) {
    RUN(tokens_are_the_same_with_and_without_paths);
    RUN(bytes_are_marked_as_they_are);
    RUN(a_piece_of_more_tokens_than_asked_for_is_told_apart);
    return test_done();
}
