/* MEAN over height and width, int8, at most 256 pixels, for the DSP extension: four channels at a time.
 *
 *   out[c] = clamp(zo + requantize(sum over pixels of (in[pixel][c] - zx), m, s))
 *
 * m holds the ratio of scales divided by the number of pixels. Rounding: requantize.h. */
#ifndef TRECX_KERNELS_DSP_MEAN_H
#define TRECX_KERNELS_DSP_MEAN_H

#include "sum.h"

typedef struct {
  int32_t pixels, channels;
  int32_t input_stride; /* bytes from pixel to pixel */
  int32_t input_zero_point;
  int32_t multiplier, shift;
  int32_t output_zero_point;
} trecx_dsp_mean_params;

TRECX_KERNEL void trecx_dsp_mean(const int8_t *input, int8_t *output, const trecx_dsp_mean_params p) {
  for (int32_t c = 0; c < p.channels; c += 4) {
    const int32_t count = trecx_min(4, p.channels - c);
    int32_t sums[4];
    trecx_dsp_sum(input + c, 1, 0, p.pixels, p.input_stride, count, sums);
    for (int32_t k = 0; k < count; k++) {
      const int32_t scaled = trecx_requantize(sums[k] - p.pixels * p.input_zero_point, p.multiplier, p.shift);
      output[c + k] = trecx_clamp(scaled + p.output_zero_point, INT8_MIN, INT8_MAX);
    }
  }
}

#endif
