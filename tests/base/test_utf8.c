#include "test.h"
#include "utf8.h"

struct utf8_case {
    struct str text;
    bool valid;
    size_t count;
    struct str repaired;
};

#define BAD "\xEF\xBF\xBD"

static const struct utf8_case cases[] = {
    {STR_INIT(""), true, 0, STR_INIT("")},
    {STR_INIT("plain ascii text that is longer than a vector"), true, 45,
     STR_INIT("plain ascii text that is longer than a vector")},
    {STR_INIT("h\xC3\xA9llo"), true, 5, STR_INIT("h\xC3\xA9llo")},
    {STR_INIT("\xE2\x82\xAC\xF0\x9F\x98\x80"), true, 2, STR_INIT("\xE2\x82\xAC\xF0\x9F\x98\x80")},
    {STR_INIT("\xF4\x8F\xBF\xBF"), true, 1, STR_INIT("\xF4\x8F\xBF\xBF")},
    {STR_INIT("0123456789abcdef\xFF"), false, 17, STR_INIT("0123456789abcdef" BAD)},
    {STR_INIT("\xC3"), false, 1, STR_INIT(BAD)},
    {STR_INIT("\xC0\x80"), false, 2, STR_INIT(BAD BAD)},
    {STR_INIT("\xE0\x80\x80"), false, 3, STR_INIT(BAD BAD BAD)},
    {STR_INIT("\xED\xA0\x80"), false, 3, STR_INIT(BAD BAD BAD)},
    {STR_INIT("\xF4\x90\x80\x80"), false, 4, STR_INIT(BAD BAD BAD BAD)},
    {STR_INIT("\xF0\x8F\xBF\xBF"), false, 4, STR_INIT(BAD BAD BAD BAD)},
    {STR_INIT("\xE2\x82x"), false, 3, STR_INIT(BAD BAD "x")},
    {STR_INIT("\xF5\x80\x80\x80"), false, 4, STR_INIT(BAD BAD BAD BAD)},
    {STR_INIT("a\x80z"), false, 3, STR_INIT("a" BAD "z")},
};

static void test_cases(void) {
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = buf_make(BUF_NO_MAX);
        CHECK(utf8_valid(cases[i].text) == cases[i].valid);
        CHECK_INT(utf8_count(cases[i].text), cases[i].count);
        utf8_add_valid(&b, cases[i].text);
        CHECK_STR(buf_str(&b), cases[i].repaired);
        buf_done(&b);
    }
}

static void test_each_rune(void) {
    for (uint32_t rune = 0; rune <= 0x110000; rune++) {
        bool exists = rune <= 0x10FFFF && (rune < 0xD800 || rune > 0xDFFF);
        char text[4];
        unsigned length = utf8_encode(text, rune);
        uint32_t got;
        CHECK_INT(utf8_decode(str_make(text, length), &got), length);
        CHECK_INT(got, exists ? rune : 0xFFFD);
        CHECK(utf8_valid(str_make(text, length)));
        if (length > 1)
            CHECK(!utf8_valid(str_make(text, length - 1)));
    }
}

/* A bad byte is found at each position relative to the vectors. */
static void test_positions(void) {
    char text[70];
    for (size_t size = 1; size <= sizeof(text); size++) {
        for (size_t at = 0; at < size; at++) {
            memset(text, 'x', size);
            CHECK(utf8_valid(str_make(text, size)));
            text[at] = (char)0xA5;
            CHECK(!utf8_valid(str_make(text, size)));
            CHECK_INT(utf8_count(str_make(text, size)), size);
        }
    }
}

int main(void) {
    RUN(test_cases);
    RUN(test_each_rune);
    RUN(test_positions);
    return test_done();
}
