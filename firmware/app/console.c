#include "app/console.h"

#include "boards/board.h"

void put_text(const char *text) {
  for (; *text != '\0'; text++) {
    board_put(*text);
  }
}

void put_unsigned(uint64_t value) {
  char digits[20]; /* 2^64 - 1 has 20 */
  size_t count = 0;
  do {
    digits[count++] = (char)('0' + (char)(value % 10u));
    value /= 10u;
  } while (value != 0);
  while (count > 0) {
    board_put(digits[--count]);
  }
}

void put_hex(const int8_t *bytes, size_t count) {
  static const char digits[] = "0123456789abcdef";
  for (size_t k = 0; k < count; k++) {
    const uint8_t byte = (uint8_t)bytes[k];
    board_put(digits[byte >> 4]);
    board_put(digits[byte & 15u]);
  }
}

void put_quoted(const char *text) {
  for (; *text != '\0'; text++) {
    const bool plain = *text > ' ' && *text <= '~' && *text != '[' && *text != ']';
    board_put(plain ? *text : '?');
  }
}

void put_line(const char *name, uint64_t value, const char *end) {
  put_text(name);
  put_unsigned(value);
  put_text(end);
  put_text("\r\n");
}

bool read_command(char command[COMMAND_SIZE + 1]) {
  size_t length = 0;
  bool fits = true;
  for (;;) {
    const char c = (char)board_get();
    if (c == COMMAND_END) {
      command[length] = '\0';
      return fits;
    }
    if ((uint8_t)c < ' ') {
      continue;
    }
    if (length < COMMAND_SIZE) {
      command[length++] = c;
    } else {
      fits = false;
    }
  }
}

char *next_word(char **rest) {
  char *word = *rest;
  while (*word == ' ') {
    word++;
  }
  char *end = word;
  while (*end != '\0' && *end != ' ') {
    end++;
  }
  *rest = end;
  if (*end != '\0') {
    *end = '\0';
    *rest = end + 1;
  }
  return word;
}
