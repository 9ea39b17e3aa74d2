/* What the application needs of a board. To add one: a folder beside this file with these functions in C, its start-up
 * code and, for bare metal, a linker script `link.ld`; then one Target(...) row that names the folder. */
#ifndef TRECX_BOARD_H
#define TRECX_BOARD_H

#include <stdint.h>

/* Clocks, serial port (8 data bits, no parity, 1 stop bit) and timer; called once, first. */
void board_init(void);

/* Sends one byte; waits while the port is busy. */
void board_put(char c);

/* Receives one byte; waits for it, asleep where the board can. */
uint8_t board_get(void);

/* A free-running counter that counts up and wraps at 2^32: cycles, instructions or ns, whatever the board counts best.
 * Differences of up to 2^32 - 1 ticks are measured with it, so it must be cheap and monotonic. */
uint32_t board_ticks(void);

/* Time since board_init in microseconds. */
uint64_t board_time_us(void);

/* Memory that a debugger or an emulator fills with samples before the start, to spare the serial port;
 * NULL and 0 bytes where the board has none. */
const uint8_t *board_samples(uint32_t *bytes);

/* Most bytes of stack used so far, found by painting at start-up; 0 where the board cannot tell. */
uint32_t board_stack_used(void);

#endif
