/* Arm MPS2+ with the AN386 image (Cortex-M4F, 25 MHz), as QEMU's machine mps2-an386 emulates it.
 * Registers: Arm Cortex-M System Design Kit technical reference manual, APB timer and APB UART. */
#include "boards/board.h"

#include "memory.h"

typedef struct {
  volatile uint32_t control, value, reload, interrupt;
} cmsdk_timer_t;

typedef struct {
  volatile uint32_t data, state, control, interrupt, divider;
} cmsdk_uart_t;

#define TIMER0 ((cmsdk_timer_t *)0x40000000u)
#define TIMER_ENABLE 1u
#define TICKS_PER_US 25u

#define UART0 ((cmsdk_uart_t *)0x40004000u)
#define UART_STATE_TX_FULL 1u
#define UART_STATE_RX_FULL 2u
#define UART_CONTROL_TX_ENABLE 1u
#define UART_CONTROL_RX_ENABLE 2u
#define UART_CONTROL_RX_INTERRUPT 8u
#define UART_INTERRUPT_RX 2u
#define UART_DIVIDER_115200 217u /* 25 MHz / 115,200 */

#define NVIC_ENABLE (*(volatile uint32_t *)0xE000E100u)
#define NVIC_CLEAR_PENDING (*(volatile uint32_t *)0xE000E280u)
#define UART0_RX_LINE 1u /* interrupt 0 */

#define SAMPLES ((const uint8_t *)0x21000000u) /* the 16 MB PSRAM, which the linker script leaves alone */
#define SAMPLES_BYTES (16u * 1024u * 1024u)

void fault_handler(void);
void report_fault(void);

void board_init(void) {
  TIMER0->reload = UINT32_MAX;
  TIMER0->value = UINT32_MAX;
  TIMER0->control = TIMER_ENABLE;

  /* A received byte only wakes the core from `wfi`: with PRIMASK set no handler runs. */
  __asm__ volatile("cpsid i");
  UART0->divider = UART_DIVIDER_115200;
  UART0->control = UART_CONTROL_TX_ENABLE | UART_CONTROL_RX_ENABLE | UART_CONTROL_RX_INTERRUPT;
  NVIC_ENABLE = UART0_RX_LINE;
}

void board_put(char c) {
  while (UART0->state & UART_STATE_TX_FULL) {
  }
  UART0->data = (uint8_t)c;
}

uint8_t board_get(void) {
  while (!(UART0->state & UART_STATE_RX_FULL)) {
    __asm__ volatile("wfi");
  }
  /* Acknowledge before reading: reading lets the next byte in, whose interrupt must not be lost. */
  UART0->interrupt = UART_INTERRUPT_RX;
  NVIC_CLEAR_PENDING = UART0_RX_LINE;
  return (uint8_t)UART0->data;
}

uint32_t board_ticks(void) {
  return UINT32_MAX - TIMER0->value; /* the timer counts down */
}

/* Extends the 32-bit timer by its wraps; two calls must lie less than 2^32 ticks (171 s) apart. */
uint64_t board_time_us(void) {
  static uint64_t ticks;
  ticks += (uint32_t)(board_ticks() - (uint32_t)ticks);
  return ticks / TICKS_PER_US;
}

const uint8_t *board_samples(uint32_t *bytes) {
  *bytes = SAMPLES_BYTES;
  return SAMPLES;
}

uint32_t board_stack_used(void) {
  const volatile uint32_t *word = __stack_limit;
  while (word < __stack_top && *word == STACK_PAINT) {
    word++;
  }
  return (uint32_t)(__stack_top - (const uint32_t *)word) * (uint32_t)sizeof *word;
}

void report_fault(void) {
  for (const char *c = "\r\ne-[fault]\r\n"; *c != '\0'; c++) {
    board_put(*c);
  }
  for (;;) {
    __asm__ volatile("wfi");
  }
}

/* Every exception but reset: say so on a fresh stack (the old one may be what overflowed) and stop. */
__attribute__((naked)) void fault_handler(void) {
  __asm__ volatile("ldr sp, =__stack_top\n\tb report_fault");
}
