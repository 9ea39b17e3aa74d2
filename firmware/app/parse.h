/* Numbers out of text that nobody has checked yet. */
#ifndef TRECX_PARSE_H
#define TRECX_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* Decimal digits only, at most 2^32 - 1; false for anything else. */
static inline bool parse_unsigned(const char *word, uint32_t *value) {
  uint64_t number = 0;
  const char *c = word;
  for (; *c >= '0' && *c <= '9' && number <= UINT32_MAX; c++) {
    number = number * 10u + (uint64_t)(*c - '0');
  }
  *value = (uint32_t)number;
  return c != word && *c == '\0' && number <= UINT32_MAX;
}

/* 0 to 15, or -1 where `c` is no hexadecimal digit. */
static inline int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  if (c >= 'A' && c <= 'F') {
    return c - 'A' + 10;
  }
  return -1;
}

#endif
