/* MEAN over height and width, int8, at most 256 pixels, for the DSP extension: four channels at a time.
 *
 *   out[c] = clamp(zo + requantize(sum over pixels of (in[pixel][c] - zx), m, s))
 *
 * m holds the ratio of scales divided by the number of pixels. Rounding: requantize.h. */
#ifndef TRECX_KERNELS_DSP_MEAN_H
#define TRECX_KERNELS_DSP_MEAN_H

#include "sum.h"

typedef struct {
  trecx_runs input; /* pixels and their channels */
  int32_t input_zero_point;
  trecx_multiplier factor;
  int32_t output_zero_point;
} trecx_dsp_mean_params;

TRECX_KERNEL void trecx_dsp_mean(const int8_t *input, int8_t *output, const trecx_dsp_mean_params p) {
  for (int32_t c = 0; c < p.input.length; c += 4) {
    const int32_t count = trecx_min(4, p.input.length - c);
    int32_t sums[4];
    trecx_dsp_sum(input + c, 1, 0, p.input.count, p.input.stride, count, sums);
    for (int32_t k = 0; k < count; k++) {
      const int32_t sum = sums[k] - p.input.count * p.input_zero_point;
      const int32_t scaled = trecx_requantize(sum, p.factor.value, p.factor.shift);
      output[c + k] = trecx_clamp(scaled + p.output_zero_point, INT8_MIN, INT8_MAX);
    }
  }
}

#endif
