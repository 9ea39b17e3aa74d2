/* Arm MPS2+ at 25 MHz, as QEMU's machines mps2-an385 (Cortex-M3) and mps2-an386 (Cortex-M4F) emulate it.
 * Registers: Arm Cortex-M System Design Kit technical reference manual, APB timer. */
#include "boards/board.h"

#include "boards/cmsdk_uart.h"
#include "boards/cortex_m.h"

typedef struct {
  volatile uint32_t control, value, reload, interrupt;
} cmsdk_timer_t;

#define TIMER0 ((cmsdk_timer_t *)0x40000000u)
#define TIMER_ENABLE 1u
#define TICKS_PER_US 25u

#define UART0 ((cmsdk_uart_t *)0x40004000u)
#define UART0_RX_LINE 0u
#define UART_DIVIDER_115200 217u /* 25 MHz / 115,200 */

#define SAMPLES ((const uint8_t *)0x21000000u) /* the 16 MB PSRAM, which the linker script leaves alone */
#define SAMPLES_BYTES (16u * 1024u * 1024u)

void board_init(void) {
  TIMER0->reload = UINT32_MAX;
  TIMER0->value = UINT32_MAX;
  TIMER0->control = TIMER_ENABLE;
  uart_start(UART0, UART_DIVIDER_115200, UART0_RX_LINE);
}

void board_put(char c) {
  uart_put(UART0, c);
}

uint8_t board_get(void) {
  return uart_get(UART0, UART0_RX_LINE);
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
