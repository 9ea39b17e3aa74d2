/* Runs the vectors on an emulated RISC-V and writes what they put through semihosting, in hexadecimal. */
#include <stdint.h>

#define SYS_WRITE0 0x04
#define SYS_EXIT_EXTENDED 0x20
#define APPLICATION_EXIT 0x20026

void put(const void *data, uint32_t bytes);
uint32_t ticks(void);
void run_vectors(void);
void reset(void);
void start(void);

static void semihosting(int32_t operation, const void *argument) {
  register int32_t a0 __asm__("a0") = operation;
  register const void *a1 __asm__("a1") = argument;
  __asm__ volatile(
      ".option push\n .option norvc\n .balign 16\n slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7\n .option pop"
      : "+r"(a0)
      : "r"(a1)
      : "memory");
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

uint32_t ticks(void) {
  uint32_t retired;
  __asm__ volatile(".option push\n .option arch, +zicsr\n csrr %0, minstret\n .option pop" : "=r"(retired));
  return retired;
}

void start(void) {
  static const uint32_t success[2] = {APPLICATION_EXIT, 0};
  run_vectors();
  semihosting(SYS_EXIT_EXTENDED, success);
}

__attribute__((naked, section(".reset"))) void reset(void) {
  __asm__ volatile("la sp, stack_top\n j start");
}
