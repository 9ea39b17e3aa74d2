/* Memory of a bare-metal board as its link.ld lays it out, what start-up code makes of it, and the end of every fault.
 * Included by one file of a board; `start` runs with a stack and does the rest up to main(). */
#ifndef TRECX_BOARDS_MEMORY_H
#define TRECX_BOARDS_MEMORY_H

#include <stdint.h>

#include "boards/board.h"

#define STACK_PAINT 0xA5C35A3Cu

/* Symbols of link.ld; the stack grows down from top to limit. */
extern uint32_t __stack_limit[], __stack_top[], __data_start[], __data_end[], __bss_start[], __bss_end[];
extern const uint32_t __data_load[];

int main(void);

__attribute__((noinline, noreturn, used)) static void start(void) {
  /* Paint the stack below this function's own frame. Volatile, so that no call to memset disturbs what it paints. */
  volatile uint32_t *const frame = (volatile uint32_t *)__builtin_frame_address(0) - 16;
  for (volatile uint32_t *word = __stack_limit; word < frame; word++) {
    *word = STACK_PAINT;
  }
  const uint32_t *load = __data_load;
  for (uint32_t *word = __data_start; word < __data_end; word++) {
    *word = *load++;
  }
  for (uint32_t *word = __bss_start; word < __bss_end; word++) {
    *word = 0;
  }
  (void)main();
  for (;;) {
  }
}

uint32_t board_stack_used(void) {
  const volatile uint32_t *word = __stack_limit;
  while (word < __stack_top && *word == STACK_PAINT) {
    word++;
  }
  return (uint32_t)(__stack_top - (const uint32_t *)word) * (uint32_t)sizeof *word;
}

/* Where exception handlers end, on a fresh stack: the old one may be what overflowed. */
__attribute__((noreturn, used)) static void report_fault(void) {
  for (const char *c = "\r\ne-[fault]\r\n"; *c != '\0'; c++) {
    board_put(*c);
  }
  for (;;) {
    __asm__ volatile("wfi");
  }
}

#endif
