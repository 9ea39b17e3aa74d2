/* Arm MPS3 with the AN547 image (Cortex-M55, 32 MHz), as QEMU's machine mps3-an547 emulates it. It starts in the Secure
 * state, so devices and memories are used at their secure addresses.
 * Registers: Arm SSE-300 technical reference manual, system counter; AN547, memory map. */
#include "boards/board.h"

#include "boards/cmsdk_uart.h"
#include "boards/cortex_m.h"

typedef struct {
  volatile uint32_t control, status, low, high;
} system_counter_t;

#define COUNTER ((system_counter_t *)0x58100000u)
#define COUNTER_ENABLE 1u
#define TICKS_PER_US 32u

#define UART0 ((cmsdk_uart_t *)0x59303000u)
#define UART0_RX_LINE 33u
#define UART_DIVIDER_115200 217u /* 25 MHz / 115,200 */

#define SAMPLES ((const uint8_t *)0x70000000u) /* the beginning of the 2 GB DDR4 */
#define SAMPLES_BYTES (16u * 1024u * 1024u)

void board_init(void) {
  COUNTER->control = COUNTER_ENABLE;
  uart_start(UART0, UART_DIVIDER_115200, UART0_RX_LINE);
}

void board_put(char c) {
  uart_put(UART0, c);
}

uint8_t board_get(void) {
  return uart_get(UART0, UART0_RX_LINE);
}

uint32_t board_ticks(void) {
  return COUNTER->low;
}

uint64_t board_time_us(void) {
  uint32_t high;
  uint32_t low;
  do {
    high = COUNTER->high;
    low = COUNTER->low;
  } while (high != COUNTER->high);
  return ((uint64_t)high << 32 | low) / TICKS_PER_US;
}

const uint8_t *board_samples(uint32_t *bytes) {
  *bytes = SAMPLES_BYTES;
  return SAMPLES;
}
