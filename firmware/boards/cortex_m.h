/* From reset to main() on a Cortex-M, from Armv6-M to Armv8.1-M: vector table, floating-point unit, memory, faults.
 * Included by one file of a board. */
#ifndef TRECX_BOARDS_CORTEX_M_H
#define TRECX_BOARDS_CORTEX_M_H

#include "boards/memory.h"

void reset_handler(void);

/* Configuration and control register: trap unaligned accesses (Armv7-M reference manual, B3.2.8). */
#define CCR (*(volatile uint32_t *)0xE000ED14u)
#define CCR_UNALIGN_TRP (1u << 3)
/* Coprocessor access control register: full access to CP10 and CP11, the FPU and the vector extension (B3.2.20). */
#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define CPACR_FPU (0xFu << 20)

/* Every exception but reset. Only instructions of Armv6-M, which moves no constant into sp. */
__attribute__((naked, noreturn)) static void fault_handler(void) {
  __asm__ volatile("ldr r0, =__stack_top\n\tmov sp, r0\n\tbl report_fault");
}

/* Nothing here takes interrupts, so the table ends with the system exceptions. */
typedef struct {
  uint32_t *stack_top;
  void (*exceptions[15])(void);
} vector_table_t;

__attribute__((section(".vectors"), used)) static const vector_table_t vectors = {
  .stack_top = __stack_top,
  .exceptions = { reset_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
                  fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
                  fault_handler },
};

void reset_handler(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  CPACR |= CPACR_FPU;
#endif
#ifndef __ARM_FEATURE_UNALIGNED
  CCR |= CCR_UNALIGN_TRP; /* the core may be better than the one that the code is for: an emulated Cortex-M0 is an M3 */
#endif
  __asm__ volatile("dsb\n\tisb" ::: "memory");
  start();
}

#endif
