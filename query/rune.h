/* rune: what Unicode says about characters, beyond UTF-8 itself. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

uint32_t rune_upper(uint32_t rune);
uint32_t rune_lower(uint32_t rune);
bool rune_is_letter(uint32_t rune);
bool rune_is_digit(uint32_t rune);
bool rune_is_space(uint32_t rune);
/* Go's unicode.IsPrint: letters, marks, numbers, punctuation, symbols and the ASCII space. */
bool rune_is_print(uint32_t rune);
