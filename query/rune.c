#include "rune.h"

#include <locale.h>
#include <pthread.h>
#include <wctype.h>

/* glibc's tables, which need no locale files for C.UTF-8. Without it (another libc) only ASCII is known. */
static locale_t unicode;
static pthread_once_t unicode_once = PTHREAD_ONCE_INIT;

static void load(void) {
    unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static locale_t tables(void) {
    (void)pthread_once(&unicode_once, load);
    return unicode;
}

static bool is_lower_ascii(uint32_t r) {
    return r >= 'a' && r <= 'z';
}

static bool is_upper_ascii(uint32_t r) {
    return r >= 'A' && r <= 'Z';
}

uint32_t rune_upper(uint32_t r) {
    if (r < 0x80)
        return is_lower_ascii(r) ? r - 32 : r;
    return tables() ? (uint32_t)towupper_l((wint_t)r, tables()) : r;
}

uint32_t rune_lower(uint32_t r) {
    if (r < 0x80)
        return is_upper_ascii(r) ? r + 32 : r;
    return tables() ? (uint32_t)towlower_l((wint_t)r, tables()) : r;
}

/* Decimal digits of scripts other than Latin: glibc calls them letters. The first of each run of ten. */
static const uint32_t digit_runs[] = {
    0x660,   0x6F0,   0x7C0,   0x966,   0x9E6,   0xA66,   0xAE6,   0xB66,   0xBE6,
    0xC66,   0xCE6,   0xD66,   0xDE6,   0xE50,   0xED0,   0xF20,   0x1040,  0x1090,
    0x17E0,  0x1810,  0x1946,  0x19D0,  0x1A80,  0x1A90,  0x1B50,  0x1BB0,  0x1C40,
    0x1C50,  0xA620,  0xA8D0,  0xA900,  0xA9D0,  0xA9F0,  0xAA50,  0xABF0,  0xFF10,
    0x104A0, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650,
    0x116C0, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E950};

bool rune_is_digit(uint32_t r) {
    if (r < 0x80)
        return r >= '0' && r <= '9';
    for (unsigned i = 0; i < sizeof(digit_runs) / sizeof(digit_runs[0]); i++)
        if (r >= digit_runs[i] && r < digit_runs[i] + 10)
            return true;
    return false;
}

bool rune_is_letter(uint32_t r) {
    if (r < 0x80)
        return is_lower_ascii(r) || is_upper_ascii(r);
    return tables() && iswalpha_l((wint_t)r, tables()) && !rune_is_digit(r);
}

bool rune_is_space(uint32_t r) {
    return (r >= 9 && r <= 13) || r == ' ' || r == 0x85 || r == 0xA0 || r == 0x1680 ||
           (r >= 0x2000 && r <= 0x200A) || r == 0x2028 || r == 0x2029 || r == 0x202F ||
           r == 0x205F || r == 0x3000;
}

bool rune_is_print(uint32_t r) {
    if (r < 0x80)
        return r >= 0x20 && r < 0x7F;
    if (r == 0xAD || rune_is_space(r) || (r >= 0xE000 && r <= 0xF8FF) ||
        (r >= 0x200B && r <= 0x200F) || (r >= 0x202A && r <= 0x202E) ||
        (r >= 0x2060 && r <= 0x206F) || r == 0xFEFF || (r >= 0xFFF9 && r <= 0xFFFB) || r >= 0xE0000)
        return r >= 0xE0100 && r <= 0xE01EF; /* variation selectors are marks */
    return tables() && iswprint_l((wint_t)r, tables());
}
