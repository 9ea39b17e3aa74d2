/* Runs the vectors on a Cortex-M under an emulator and writes their outputs through semihosting, in hexadecimal. */
#include <stdint.h>

#define SYS_WRITE0 0x04
#define SYS_EXIT_EXTENDED 0x20
#define APPLICATION_EXIT 0x20026
#define CPACR (*(volatile uint32_t *)0xe000ed88u)
#define CCR (*(volatile uint32_t *)0xe000ed14u)
#define CCR_UNALIGN_TRP (1u << 3)

void put(const void *data, uint32_t bytes);
uint32_t ticks(void);
void run_vectors(void);
void reset(void);

extern uint32_t stack_top;

typedef struct {
  const uint32_t *stack;
  void (*entry)(void);
} vector_table;

__attribute__((section(".vectors"), used)) static const vector_table vectors = {&stack_top, reset};

static void semihosting(int32_t operation, const void *argument) {
  register int32_t r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void put(const void *data, uint32_t bytes) {
  static const char digits[] = "0123456789abcdef";
  static char text[129];
  const uint8_t *const values = data;
  for (uint32_t k = 0; k < bytes;) {
    char *end = text;
    for (; k < bytes && end < text + 128; k++) {
      *end++ = digits[values[k] >> 4];
      *end++ = digits[values[k] & 15];
    }
    *end = 0;
    semihosting(SYS_WRITE0, text);
  }
}

/* The timer of the board: MPS2 counts down, MPS3 up. The compiler says which core it builds for. */
#if __ARM_FEATURE_MVE
#define COUNTER_CONTROL (*(volatile uint32_t *)0x58100000u)
#define COUNTER_VALUE (*(volatile uint32_t *)0x58100008u)
static void start_timer(void) {
  COUNTER_CONTROL = 1;
}
uint32_t ticks(void) {
  return COUNTER_VALUE;
}
#else
typedef struct {
  volatile uint32_t control, value, reload;
} cmsdk_timer;
#define TIMER0 ((cmsdk_timer *)0x40000000u)
static void start_timer(void) {
  TIMER0->reload = TIMER0->value = UINT32_MAX;
  TIMER0->control = 1;
}
uint32_t ticks(void) {
  return UINT32_MAX - TIMER0->value;
}
#endif

void reset(void) {
  static const uint32_t success[2] = {APPLICATION_EXIT, 0};
  CPACR |= 0xfu << 20; /* the compiler keeps integers in floating-point registers */
#ifndef __ARM_FEATURE_UNALIGNED
  CCR |= CCR_UNALIGN_TRP; /* the emulated Cortex-M3 would do what a Cortex-M0 cannot */
#endif
  __asm__ volatile("dsb\n isb" ::: "memory");
  start_timer();
  run_vectors();
  semihosting(SYS_EXIT_EXTENDED, success);
}
