/* ADD, int8, equal shapes, in 32-bit arithmetic.
 *
 *   a = round_shift(floor(((in0 - z0) * 2^20 * m0 + 2^30) / 2^31), right0),  b likewise from in1
 *   out = clamp(zo + requantize(a + b, mo, so))
 *
 * With m = 2^11 * high + low the inner quotient is d * high + floor((d * low + 2^10) / 2^11) for d = in - z, exact in 32
 * bits: |d| < 2^8, high < 2^20, low < 2^11. |a|, |b| < 2^27. The last rounding: scale.h. */
#ifndef TRECX_KERNELS_PORTABLE_ADD_H
#define TRECX_KERNELS_PORTABLE_ADD_H

#include "scale.h"

typedef struct {
  int32_t runs, run_length;
  int32_t input0_stride, input1_stride; /* bytes from run to run */
  int32_t input0_zero_point, input0_multiplier, input0_right;
  int32_t input1_zero_point, input1_multiplier, input1_right;
  int32_t output_multiplier, output_right, output_zero_point, output_min, output_max;
} trecx_portable_add_params;

TRECX_INLINE int32_t trecx_portable_add_term(int32_t difference, int32_t multiplier, int32_t right) {
  const int32_t high = multiplier >> 11;
  const int32_t low = multiplier & 2047;
  const int32_t y = difference * high + ((difference * low + (1 << 10)) >> 11);
  return right > 0 ? (y + (y >> 31) + ((int32_t)1 << (right - 1))) >> right : y;
}

TRECX_KERNEL void trecx_portable_add(const int8_t *input0, const int8_t *input1, int8_t *output,
                                     const trecx_portable_add_params p) {
  for (int32_t run = 0; run < p.runs; run++) {
    for (int32_t k = 0; k < p.run_length; k++) {
      const int32_t a = trecx_portable_add_term(input0[k] - p.input0_zero_point, p.input0_multiplier, p.input0_right);
      const int32_t b = trecx_portable_add_term(input1[k] - p.input1_zero_point, p.input1_multiplier, p.input1_right);
      *output++ = trecx_portable_scale(a + b, p.output_multiplier, p.output_right, 0, p.output_zero_point, p.output_min,
                                       p.output_max);
    }
    input0 += p.input0_stride;
    input1 += p.input1_stride;
  }
}

#endif
