/* This machine as a board: the serial port is stdin and stdout, so that the application can be tested and sanitized. */
#define _POSIX_C_SOURCE 200809L

#include "boards/board.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t now_ns(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t start_ns;

void board_init(void) {
  start_ns = now_ns();
}

void board_put(char c) {
  if (putchar(c) == EOF) {
    exit(EXIT_FAILURE); /* nobody listens any more */
  }
}

uint8_t board_get(void) {
  if (fflush(stdout) == EOF) {
    exit(EXIT_FAILURE);
  }
  const int c = getchar();
  if (c == EOF) {
    exit(EXIT_SUCCESS); /* the cable is unplugged */
  }
  return (uint8_t)c;
}

uint32_t board_ticks(void) {
  return (uint32_t)now_ns();
}

uint64_t board_time_us(void) {
  return (now_ns() - start_ns) / 1000u;
}

const uint8_t *board_samples(uint32_t *bytes) {
  *bytes = 0;
  return NULL;
}

uint32_t board_stack_used(void) {
  return 0;
}
