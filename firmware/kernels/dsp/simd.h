/* The instructions of Armv7E-M that GCC does not find by itself, and the same in portable C for other machines.
 *
 * A word holds two int16, the low and the high half, or four int8, byte 0 the lowest. */
#ifndef TRECX_KERNELS_DSP_SIMD_H
#define TRECX_KERNELS_DSP_SIMD_H

#include "../memory.h"

#if defined(__ARM_FEATURE_DSP)

/* Bytes 0 and 2, sign-extended to the halves of a word. */
TRECX_INLINE uint32_t trecx_sxtb16(uint32_t bytes) {
  uint32_t halves;
  __asm__("sxtb16 %0, %1" : "=r"(halves) : "r"(bytes));
  return halves;
}

/* Bytes 1 and 3, sign-extended to the halves of a word. */
TRECX_INLINE uint32_t trecx_sxtb16_odd(uint32_t bytes) {
  uint32_t halves;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(bytes));
  return halves;
}

/* sum + low(a) * low(b) + high(a) * high(b) */
TRECX_INLINE int32_t trecx_smlad(uint32_t a, uint32_t b, int32_t sum) {
  __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

/* sum + low(a) * low(b) */
TRECX_INLINE int32_t trecx_smlabb(uint32_t a, uint32_t b, int32_t sum) {
  __asm__("smlabb %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

/* sum + low(a) * high(b) */
TRECX_INLINE int32_t trecx_smlabt(uint32_t a, uint32_t b, int32_t sum) {
  __asm__("smlabt %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

/* sum + high(a) * low(b) */
TRECX_INLINE int32_t trecx_smlatb(uint32_t a, uint32_t b, int32_t sum) {
  __asm__("smlatb %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

/* sum + high(a) * high(b) */
TRECX_INLINE int32_t trecx_smlatt(uint32_t a, uint32_t b, int32_t sum) {
  __asm__("smlatt %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

/* (a * b + 2^31) / 2^32, rounded down */
TRECX_INLINE int32_t trecx_smmulr(int32_t a, int32_t b) {
  int32_t high;
  __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(a), "r"(b));
  return high;
}

/* sum + a * b / 2^32, rounded down */
TRECX_INLINE int32_t trecx_smmla(int32_t a, int32_t b, int32_t sum) {
  __asm__("smmla %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

/* x clamped to -128..127 */
TRECX_INLINE int32_t trecx_ssat8(int32_t x) {
  __asm__("ssat %0, #8, %1" : "=r"(x) : "r"(x));
  return x;
}

/* The low halves of `low` and `high` as one word. */
TRECX_INLINE uint32_t trecx_pkhbt(uint32_t low, uint32_t high) {
  uint32_t halves;
  __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(halves) : "r"(low), "r"(high));
  return halves;
}

/* The high halves of `low` and `high` as one word. */
TRECX_INLINE uint32_t trecx_pkhtb(uint32_t high, uint32_t low) {
  uint32_t halves;
  __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(halves) : "r"(high), "r"(low));
  return halves;
}

#else

TRECX_INLINE int32_t trecx_low(uint32_t word) {
  return (int16_t)(word & 0xffffu);
}

TRECX_INLINE int32_t trecx_high(uint32_t word) {
  return (int16_t)(word >> 16);
}

/* a + b as the instructions add: around, without overflow. */
TRECX_INLINE int32_t trecx_wrap(int32_t a, int32_t b) {
  return (int32_t)((uint32_t)a + (uint32_t)b);
}

TRECX_INLINE uint32_t trecx_pkhbt(uint32_t low, uint32_t high) {
  return (low & 0xffffu) | (high << 16);
}

TRECX_INLINE uint32_t trecx_pkhtb(uint32_t high, uint32_t low) {
  return (high & 0xffff0000u) | (low >> 16);
}

TRECX_INLINE uint32_t trecx_sxtb16(uint32_t bytes) {
  return trecx_pkhbt((uint32_t)(int8_t)(bytes & 0xffu), (uint32_t)(int8_t)((bytes >> 16) & 0xffu));
}

TRECX_INLINE uint32_t trecx_sxtb16_odd(uint32_t bytes) {
  return trecx_sxtb16(bytes >> 8);
}

TRECX_INLINE int32_t trecx_smlad(uint32_t a, uint32_t b, int32_t sum) {
  return trecx_wrap(trecx_wrap(sum, trecx_low(a) * trecx_low(b)), trecx_high(a) * trecx_high(b));
}

TRECX_INLINE int32_t trecx_smlabb(uint32_t a, uint32_t b, int32_t sum) {
  return trecx_wrap(sum, trecx_low(a) * trecx_low(b));
}

TRECX_INLINE int32_t trecx_smlabt(uint32_t a, uint32_t b, int32_t sum) {
  return trecx_wrap(sum, trecx_low(a) * trecx_high(b));
}

TRECX_INLINE int32_t trecx_smlatb(uint32_t a, uint32_t b, int32_t sum) {
  return trecx_wrap(sum, trecx_high(a) * trecx_low(b));
}

TRECX_INLINE int32_t trecx_smlatt(uint32_t a, uint32_t b, int32_t sum) {
  return trecx_wrap(sum, trecx_high(a) * trecx_high(b));
}

TRECX_INLINE int32_t trecx_smmulr(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
}

TRECX_INLINE int32_t trecx_smmla(int32_t a, int32_t b, int32_t sum) {
  return trecx_wrap(sum, (int32_t)(((int64_t)a * b) >> 32));
}

TRECX_INLINE int32_t trecx_ssat8(int32_t x) {
  return trecx_min(trecx_max(x, INT8_MIN), INT8_MAX);
}

#endif

#endif
