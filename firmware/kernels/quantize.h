/* QUANTIZE from int8 to int8: another scale and zero point.
 *
 *   out = clamp(zo + requantize(in - zx, m, s))
 *
 * Rounding: requantize.h. */
#ifndef TRECX_KERNELS_QUANTIZE_H
#define TRECX_KERNELS_QUANTIZE_H

#include "requantize.h"

typedef struct {
  trecx_runs input;
  int32_t input_zero_point;
  trecx_multiplier factor;
  int32_t output_zero_point;
} trecx_quantize_params;

TRECX_KERNEL void trecx_quantize(const int8_t *input, int8_t *output, const trecx_quantize_params p) {
  for (int32_t run = 0; run < p.input.count; run++) {
    for (int32_t k = 0; k < p.input.length; k++) {
      const int32_t x = input[run * p.input.stride + k] - p.input_zero_point;
      const int32_t scaled = trecx_requantize(x, p.factor.value, p.factor.shift);
      *output++ = trecx_clamp(scaled + p.output_zero_point, INT8_MIN, INT8_MAX);
    }
  }
}

#endif
