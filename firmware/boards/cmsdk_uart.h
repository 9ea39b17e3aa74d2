/* Serial port of Arm's Cortex-M System Design Kit (technical reference manual, APB UART), asleep while it waits.
 * A received byte only wakes the core from `wfi`: with PRIMASK set no handler runs. */
#ifndef TRECX_BOARDS_CMSDK_UART_H
#define TRECX_BOARDS_CMSDK_UART_H

#include <stdint.h>

typedef struct {
  volatile uint32_t data, state, control, interrupt, divider;
} cmsdk_uart_t;

#define UART_STATE_TX_FULL 1u
#define UART_STATE_RX_FULL 2u
#define UART_CONTROL_TX_ENABLE 1u
#define UART_CONTROL_RX_ENABLE 2u
#define UART_CONTROL_RX_INTERRUPT 8u
#define UART_INTERRUPT_RX 2u

#define NVIC_ENABLE ((volatile uint32_t *)0xE000E100u)
#define NVIC_CLEAR_PENDING ((volatile uint32_t *)0xE000E280u)

/* `divider` is the peripheral clock over the baud rate; `line` the interrupt of received bytes. */
static inline void uart_start(cmsdk_uart_t *uart, uint32_t divider, uint32_t line) {
  __asm__ volatile("cpsid i");
  uart->divider = divider;
  uart->control = UART_CONTROL_TX_ENABLE | UART_CONTROL_RX_ENABLE | UART_CONTROL_RX_INTERRUPT;
  NVIC_ENABLE[line / 32u] = 1u << (line % 32u);
}

static inline void uart_put(cmsdk_uart_t *uart, char c) {
  while (uart->state & UART_STATE_TX_FULL) {
  }
  uart->data = (uint8_t)c;
}

static inline uint8_t uart_get(cmsdk_uart_t *uart, uint32_t line) {
  while (!(uart->state & UART_STATE_RX_FULL)) {
    __asm__ volatile("wfi");
  }
  /* Acknowledge before reading: reading lets the next byte in, whose interrupt must not be lost. */
  uart->interrupt = UART_INTERRUPT_RX;
  NVIC_CLEAR_PENDING[line / 32u] = 1u << (line % 32u);
  return (uint8_t)uart->data;
}

#endif
