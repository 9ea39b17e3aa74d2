/* ADD, int8, equal shapes.
 *
 *   a = requantize((in0 - z0) << 20, m0, s0),  b likewise
 *   out = clamp(zo + requantize(a + b, mo, so))
 *
 * m0, s0, m1, s1 scale both inputs to twice the larger input scale, so |a|, |b| < 2^27. Rounding: requantize.h, once
 * for each input and once for their sum. */
#ifndef TRECX_KERNELS_ADD_H
#define TRECX_KERNELS_ADD_H

#include "requantize.h"

/* Fraction bits that each input gets before it is scaled. */
#define TRECX_ADD_LEFT_SHIFT 20

typedef trecx_addition trecx_add_params;

TRECX_KERNEL void trecx_add(const int8_t *input0, const int8_t *input1, int8_t *output, const trecx_add_params p) {
  const int32_t one = (int32_t)1 << TRECX_ADD_LEFT_SHIFT;
  for (int32_t run = 0; run < p.runs; run++) {
    for (int32_t k = 0; k < p.run_length; k++) {
      const int32_t x0 = (input0[run * p.input0.stride + k] - p.input0.zero_point) * one;
      const int32_t x1 = (input1[run * p.input1.stride + k] - p.input1.zero_point) * one;
      const int32_t a = trecx_requantize(x0, p.input0.factor.value, p.input0.factor.shift);
      const int32_t b = trecx_requantize(x1, p.input1.factor.value, p.input1.factor.shift);
      const int32_t sum = trecx_requantize(a + b, p.factor.value, p.factor.shift);
      *output++ = trecx_to_output(sum, p.output);
    }
  }
}

#endif
