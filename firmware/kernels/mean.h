/* MEAN over height and width, int8.
 *
 *   out[c] = clamp(zo + requantize(sum over pixels of (in[pixel][c] - zx), m, s))
 *
 * m holds the ratio of scales divided by the number of pixels. Rounding: requantize.h. */
#ifndef TRECX_KERNELS_MEAN_H
#define TRECX_KERNELS_MEAN_H

#include "requantize.h"

typedef struct {
  trecx_runs input; /* pixels and their channels */
  int32_t input_zero_point;
  trecx_multiplier factor;
  int32_t output_zero_point;
} trecx_mean_params;

TRECX_KERNEL void trecx_mean(const int8_t *input, int8_t *output, const trecx_mean_params p) {
  for (int32_t c = 0; c < p.input.length; c++) {
    int32_t sum = -p.input.count * p.input_zero_point;
    for (int32_t pixel = 0; pixel < p.input.count; pixel++) {
      sum += input[pixel * p.input.stride + c];
    }
    const int32_t scaled = trecx_requantize(sum, p.factor.value, p.factor.shift);
    output[c] = trecx_clamp(scaled + p.output_zero_point, INT8_MIN, INT8_MAX);
  }
}

#endif
