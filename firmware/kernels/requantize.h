/* Fixed-point arithmetic of int8 inference, bit for bit that of TensorFlow Lite Micro ("double rounding").
 *
 *   requantize(x, m, s) = round_shift(multiply_high(x << max(s, 0), m), max(-s, 0)), about x * m * 2^(s - 31)
 *   multiply_high(a, b) = floor((a * b + 2^30) / 2^31)            rounds half up
 *   round_shift(x, r)   = x / 2^r                                 rounds half away from zero
 *
 * Right shifts of negative values are arithmetic, as in every supported compiler. Nothing here can overflow for the
 * values that trecx lets through: it refuses a model whose accumulators, shifted left, could leave int32. */
#ifndef TRECX_KERNELS_REQUANTIZE_H
#define TRECX_KERNELS_REQUANTIZE_H

#include <stdint.h>

#include "layer.h"

/* Kernels are specialised by inlining them into a caller whose shapes are constants, so they must be inlined.
 * Define TRECX_INLINE as `static inline` for a build that compiles faster and runs slower. */
#if defined(TRECX_INLINE)
#elif defined(__GNUC__)
#define TRECX_INLINE static inline __attribute__((always_inline))
#else
#define TRECX_INLINE static inline
#endif

/* The kernels themselves, as opposed to the functions that they are made of. A build for least flash defines
 * TRECX_KERNEL as `static __attribute__((noinline))`, so that layers of different shape share a kernel too. */
#ifndef TRECX_KERNEL
#define TRECX_KERNEL TRECX_INLINE
#endif

TRECX_INLINE int32_t trecx_min(int32_t a, int32_t b) {
  return a < b ? a : b;
}

TRECX_INLINE int32_t trecx_max(int32_t a, int32_t b) {
  return a > b ? a : b;
}

TRECX_INLINE int8_t trecx_clamp(int32_t x, int32_t low, int32_t high) {
  return (int8_t)trecx_min(trecx_max(x, low), high);
}

TRECX_INLINE int8_t trecx_to_output(int32_t x, const trecx_output output) {
  return trecx_clamp(x + output.zero_point, output.range.min, output.range.max);
}

/* a * b / 2^31; a and b are never both INT32_MIN. */
TRECX_INLINE int32_t trecx_multiply_high(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* x / 2^right for right = 1..31 and |x| < INT32_MAX. The last bit is shifted out apart from the others: adding
 * 2^(right - 1) to x instead would be the same number, but could overflow. */
TRECX_INLINE int32_t trecx_round_shift(int32_t x, int32_t right) {
  return (((x + (x >> 31)) >> (right - 1)) + 1) >> 1;
}

/* `requantize` where the shift is known to be negative. */
TRECX_INLINE int32_t trecx_requantize_right(int32_t x, int32_t multiplier, int32_t shift) {
  return trecx_round_shift(trecx_multiply_high(x, multiplier), -shift);
}

TRECX_INLINE int32_t trecx_requantize(int32_t x, int32_t multiplier, int32_t shift) {
  if (shift < 0) {
    return trecx_requantize_right(x, multiplier, shift);
  }
  return trecx_multiply_high(x * ((int32_t)1 << shift), multiplier);
}

#endif
