/* CONV_2D with a 1x1 kernel, stride 1, no padding: tiles of gemm.h, whose columns are the input's pixels.
 *
 * The input may lie in the output's memory: a tile's pixels are in scratch before it is written, so that equal widths
 * run in place. `scratch` holds the columns, 6 bytes per input channel. */
#ifndef TRECX_KERNELS_DSP_CONV_1X1_H
#define TRECX_KERNELS_DSP_CONV_1X1_H

#include "gemm.h"

typedef struct {
  trecx_runs input; /* pixels and their channels */
  int32_t output_channels;
  int32_t rounding; /* TRECX_DSP_... */
  trecx_output output;
} trecx_dsp_conv_1x1_params;

TRECX_INLINE void trecx_dsp_conv_1x1_column(trecx_word *column, const int8_t *input,
                                            const trecx_dsp_conv_1x1_params p) {
  const int32_t rest = p.input.length % 4;
  column = trecx_dsp_widen_words(column, input, p.input.length / 4);
  if (rest != 0) {
    trecx_dsp_widen(column, trecx_dsp_load_few(input + p.input.length - rest, rest));
  }
}

TRECX_KERNEL void trecx_dsp_conv_1x1(const int8_t *input, int8_t *output, int8_t *scratch, const uint32_t *weights,
                                     const trecx_dsp_conv_1x1_params p) {
  const trecx_dsp_output o = {p.output_channels, p.rounding, p.output};
  trecx_dsp_tile tile = trecx_dsp_tile_of(scratch, weights, p.input.count, p.input.length, p.output_channels);
  const int32_t size = trecx_dsp_tile_size(p.input.count);
  for (int32_t pixel = 0; pixel < p.input.count; pixel += size) {
    const int32_t count = trecx_min(size, p.input.count - pixel);
    for (int32_t k = 0; k < count; k++) {
      trecx_dsp_conv_1x1_column(trecx_dsp_tile_column(scratch, k, count), input, p);
      input += p.input.stride;
    }
    trecx_dsp_tile_run(&tile, output + pixel * p.output_channels, count, o);
  }
}

#endif
