/* From reset to main() on a Cortex-M4F: vector table, floating-point unit, .data, .bss, painted stack. */
#include <stdint.h>

#include "memory.h"

extern uint32_t __data_start[], __data_end[], __bss_start[], __bss_end[];
extern const uint32_t __data_load[];

int main(void);
void reset_handler(void);
void fault_handler(void);

/* Coprocessor access control register: full access to CP10 and CP11, the FPU (Armv7-M reference manual, B3.2.20). */
#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define CPACR_FPU (0xFu << 20)

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
  CPACR |= CPACR_FPU;
  __asm__ volatile("dsb\n\tisb" ::: "memory");

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
