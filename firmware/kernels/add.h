/* ADD, int8, equal shapes.
 *
 *   a = requantize((in0 - z0) << left_shift, m0, s0),  b likewise
 *   out = clamp(zo + requantize(a + b, mo, so))
 *
 * m0, s0, m1, s1 scale both inputs to twice the larger input scale, so |a|, |b| < 2^27. Rounding: requantize.h, once
 * for each input and once for their sum. */
#ifndef TRECX_KERNELS_ADD_H
#define TRECX_KERNELS_ADD_H

#include "requantize.h"

typedef struct {
  int32_t runs, run_length;
  int32_t input0_stride, input1_stride; /* bytes from run to run */
  int32_t left_shift;
  int32_t input0_zero_point, input0_multiplier, input0_shift;
  int32_t input1_zero_point, input1_multiplier, input1_shift;
  int32_t output_multiplier, output_shift, output_zero_point, output_min, output_max;
} trecx_add_params;

TRECX_KERNEL void trecx_add(const int8_t *input0, const int8_t *input1, int8_t *output, const trecx_add_params p) {
  const int32_t one = (int32_t)1 << p.left_shift;
  for (int32_t run = 0; run < p.runs; run++) {
    for (int32_t k = 0; k < p.run_length; k++) {
      const int32_t x0 = (input0[run * p.input0_stride + k] - p.input0_zero_point) * one;
      const int32_t x1 = (input1[run * p.input1_stride + k] - p.input1_zero_point) * one;
      const int32_t a = trecx_requantize(x0, p.input0_multiplier, p.input0_shift);
      const int32_t b = trecx_requantize(x1, p.input1_multiplier, p.input1_shift);
      const int32_t sum = trecx_requantize(a + b, p.output_multiplier, p.output_shift);
      *output++ = trecx_clamp(sum + p.output_zero_point, p.output_min, p.output_max);
    }
  }
}

#endif
