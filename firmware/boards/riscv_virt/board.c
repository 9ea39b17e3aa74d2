/* QEMU's RISC-V board `virt`: one RV32IMC hart in machine mode.
 * Registers: National Semiconductor PC16550D data sheet; RISC-V privileged architecture, PLIC and ACLINT specifications. */
#include "boards/board.h"

#include "boards/memory.h"

/* Instructions on control and status registers are an extension of their own, which -march need not name. */
#define CSR(instruction) ".option push\n\t.option arch, +zicsr\n\t" instruction "\n\t.option pop"

#define MTIME ((volatile uint32_t *)0x0200BFF8u) /* low word, high word */
#define TICKS_PER_US 10u

typedef struct {
  volatile uint8_t data, interrupts, fifo, line_control, modem_control, line_status;
} uart16550_t;

#define UART0 ((uart16550_t *)0x10000000u)
#define UART_INTERRUPT_RX 1u
#define UART_LINE_8N1 3u
#define UART_STATUS_RX_FULL 1u
#define UART_STATUS_TX_EMPTY 0x20u

#define PLIC_PRIORITY ((volatile uint32_t *)0x0C000000u)
#define PLIC_ENABLE (*(volatile uint32_t *)0x0C002000u)
#define PLIC_CLAIM (*(volatile uint32_t *)0x0C200004u)
#define UART0_LINE 10u
#define MIE_EXTERNAL (1u << 11)

/* A locked entry of the physical memory protection, which binds machine mode too: execute and read up to its address. */
#define PMP_LOCKED_READ_EXECUTE 0x8Du
extern const uint32_t __flash_start[], __flash_end[];

#define SAMPLES ((const uint8_t *)0x84000000u) /* RAM that the linker script leaves alone */
#define SAMPLES_BYTES (16u * 1024u * 1024u)

void reset_handler(void);

/* What `-bios none` starts is the first instruction of the RAM. */
__attribute__((naked, noreturn, section(".reset"))) void reset_handler(void) {
  __asm__ volatile(
    ".option push\n\t.option norelax\n\tla gp, __global_pointer$\n\t.option pop\n\t"
    "la sp, __stack_top\n\tj start");
}

__attribute__((naked, noreturn, aligned(4))) static void trap_handler(void) {
  __asm__ volatile("la sp, __stack_top\n\tj report_fault");
}

/* Flash as flash is: a stack that overflows into it faults. */
static void protect_flash(void) {
  __asm__ volatile(CSR("csrw pmpaddr0, %0\n\tcsrw pmpaddr1, %1\n\tcsrw pmpcfg0, %2")
                   ::"r"((uint32_t)__flash_start >> 2),
                   "r"((uint32_t)__flash_end >> 2), "r"(PMP_LOCKED_READ_EXECUTE << 8));
}

void board_init(void) {
  __asm__ volatile(CSR("csrw mtvec, %0") ::"r"(trap_handler));
  protect_flash();
  UART0->line_control = UART_LINE_8N1;
  UART0->interrupts = UART_INTERRUPT_RX;
  /* A received byte only wakes the core from `wfi`: with mstatus.MIE clear no handler runs. */
  PLIC_PRIORITY[UART0_LINE] = 1;
  PLIC_ENABLE = 1u << UART0_LINE;
  __asm__ volatile(CSR("csrs mie, %0") ::"r"(MIE_EXTERNAL));
}

void board_put(char c) {
  while (!(UART0->line_status & UART_STATUS_TX_EMPTY)) {
  }
  UART0->data = (uint8_t)c;
}

uint8_t board_get(void) {
  while (!(UART0->line_status & UART_STATUS_RX_FULL)) {
    __asm__ volatile("wfi");
  }
  /* Claim and complete before reading: reading lets the next byte in, whose interrupt must not be lost. */
  PLIC_CLAIM = PLIC_CLAIM;
  return UART0->data;
}

/* Retired instructions. */
uint32_t board_ticks(void) {
  uint32_t retired;
  __asm__ volatile(CSR("csrr %0, minstret") : "=r"(retired));
  return retired;
}

uint64_t board_time_us(void) {
  uint32_t high;
  uint32_t low;
  do {
    high = MTIME[1];
    low = MTIME[0];
  } while (high != MTIME[1]);
  return ((uint64_t)high << 32 | low) / TICKS_PER_US;
}

const uint8_t *board_samples(uint32_t *bytes) {
  *bytes = SAMPLES_BYTES;
  return SAMPLES;
}
