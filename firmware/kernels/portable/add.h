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

typedef trecx_addition trecx_portable_add_params;

TRECX_INLINE int32_t trecx_portable_add_term(int32_t difference, const trecx_multiplier factor) {
  const int32_t right = -factor.shift;
  const int32_t high = factor.value >> 11;
  const int32_t low = factor.value & 2047;
  const int32_t y = difference * high + ((difference * low + (1 << 10)) >> 11);
  return right > 0 ? (y + (y >> 31) + ((int32_t)1 << (right - 1))) >> right : y;
}

TRECX_KERNEL void trecx_portable_add(const int8_t *input0, const int8_t *input1, int8_t *output,
                                     const trecx_portable_add_params p) {
  for (int32_t run = 0; run < p.runs; run++) {
    for (int32_t k = 0; k < p.run_length; k++) {
      const int32_t a = trecx_portable_add_term(input0[k] - p.input0.zero_point, p.input0.factor);
      const int32_t b = trecx_portable_add_term(input1[k] - p.input1.zero_point, p.input1.factor);
      *output++ = trecx_portable_scale(a + b, p.factor.value, -p.factor.shift, 0, p.output);
    }
    input0 += p.input0.stride;
    input1 += p.input1.stride;
  }
}

#endif
