/* Accumulators to int8 with fewer instructions than requantize.h, and equal to it.
 *
 *   out = clamp(zo + round_shift(y, right)),  y = floor((x * m + 2^30) / 2^31)
 *
 * Doubling x makes y the high word of 2x * m plus the top bit of the low word: no 64-bit shift. Rounding half away from
 * zero is y - (x < 0) plus half of 2^right, shifted; where x and y differ in sign, y is 0 and the result is too. The
 * half and the distance of the zero point to the lowest output are one addend, (2 * (zo - low) + 1) << (right - 1); where
 * they are equal (ReLU), the sign makes no difference. The compiler's side of trecx makes sure that |x| < 2^30,
 * right >= 1 and that no sum overflows.
 *
 * A core whose widest product has 32 bits (Cortex-M0) gets y from products of parts of m. Where |x| < 2^20, these are
 * parts of 11, 10 and 10 bits, each product below 2^31; floors of nested quotients are the floor of the whole. */
#ifndef TRECX_KERNELS_PORTABLE_SCALE_H
#define TRECX_KERNELS_PORTABLE_SCALE_H

#include "../requantize.h"

/* floor((x * m + 2^30) / 2^31) for |x| < 2^30 and m from 0 to 2^31 - 1; |x| < 2^20 where `narrow`. */
TRECX_INLINE int32_t trecx_portable_multiply(int32_t x, int32_t m, int32_t narrow) {
#if defined(__ARM_ARCH) && __ARM_ARCH_ISA_THUMB == 1
  if (narrow) {
    const int32_t low = (x * (m & 1023)) >> 10;
    const int32_t middle = (x * ((m >> 10) & 1023) + low) >> 10;
    return (x * (m >> 20) + middle + (1 << 10)) >> 11;
  }
  const int32_t x_high = x >> 16;
  const int32_t m_high = m >> 16;
  const uint32_t x_low = (uint32_t)x & 0xffff;
  const uint32_t m_low = (uint32_t)m & 0xffff;
  /* Two middle products: one of each sign, below 2^31 and 2^30. */
  const int32_t carry = (int32_t)((x_low * m_low) >> 16);
  const int32_t crossed = x_high * (int32_t)m_low + carry;
  const int32_t straight = (int32_t)(x_low * (uint32_t)m_high >> 1);
  const int32_t odd = (int32_t)(x_low & (uint32_t)m_high & 1);
  const int32_t middle = ((crossed + odd) >> 1) + straight + (1 << 13);
  return (x_high * m_high * 2) + (middle >> 14);
#else
  (void)narrow;
  const int64_t product = (int64_t)(2 * x) * m;
  return (int32_t)(product >> 32) + (int32_t)((uint32_t)product >> 31);
#endif
}

TRECX_INLINE int8_t trecx_portable_scale(int32_t x, int32_t multiplier, int32_t right, int32_t narrow,
                                         const trecx_output output) {
  const int32_t zero_point = output.zero_point;
  const int32_t low = output.range.min;
  const int32_t high = output.range.max;
  const int32_t y = trecx_portable_multiply(x, multiplier, narrow) + (low < zero_point ? x >> 31 : 0);
  const int32_t above = (y + (2 * (zero_point - low) + 1) * ((int32_t)1 << (right - 1))) >> right;
  return (int8_t)(trecx_min(above & ~(above >> 31), high - low) + low);
}

#endif
