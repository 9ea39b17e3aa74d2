/* AVERAGE_POOL_2D, int8, NHWC, for the DSP extension; input and output have one scale and zero point.
 *
 *   out[y][x][c] = clamp(sum of in[row][column][c] over the taps inside the input / their number)
 *
 * Padding counts neither in the sum nor in the number. The quotient rounds half away from zero. Four channels at a
 * time: a load and two SXTAB16 per tap, sums in int16, which holds up to 256 taps. */
#ifndef TRECX_KERNELS_DSP_AVERAGE_POOL_2D_H
#define TRECX_KERNELS_DSP_AVERAGE_POOL_2D_H

#include "sum.h"

typedef trecx_pooling trecx_dsp_average_pool_2d_params;

TRECX_INLINE int8_t trecx_dsp_average_pool_2d_output(int32_t sum, int32_t taps,
                                                     const trecx_dsp_average_pool_2d_params p) {
  return trecx_clamp((sum + (sum > 0 ? taps / 2 : -(taps / 2))) / taps, p.range.min, p.range.max);
}

/* All channels of the mean over `rows` x `columns` taps from `input` on. */
TRECX_INLINE void trecx_dsp_average_pool_2d_window(const int8_t *input, int8_t *output, int32_t rows, int32_t columns,
                                                   const trecx_dsp_average_pool_2d_params p) {
  const int32_t taps = rows * columns;
  const int32_t row = p.columns.size * p.input.stride;
  for (int32_t c = 0; c < p.input.channels; c += 4) {
    const int32_t count = trecx_min(4, p.input.channels - c);
    int32_t sums[4];
    trecx_dsp_sum(input + c, rows, row, columns, p.input.stride, count, sums);
    for (int32_t k = 0; k < count; k++) {
      output[c + k] = trecx_dsp_average_pool_2d_output(sums[k], taps, p);
    }
  }
}

TRECX_KERNEL void trecx_dsp_average_pool_2d(const int8_t *input, int8_t *output,
                                            const trecx_dsp_average_pool_2d_params p) {
  for (int32_t y = 0; y < p.rows.output; y++) {
    const int32_t top = y * p.rows.stride - p.rows.before;
    const int32_t row_begin = trecx_max(0, top);
    const int32_t rows = trecx_min(p.rows.size, top + p.rows.kernel) - row_begin;
    for (int32_t x = 0; x < p.columns.output; x++) {
      const int32_t left = x * p.columns.stride - p.columns.before;
      const int32_t column_begin = trecx_max(0, left);
      const int32_t columns = trecx_min(p.columns.size, left + p.columns.kernel) - column_begin;
      const int8_t *const first = input + (row_begin * p.columns.size + column_begin) * p.input.stride;
      trecx_dsp_average_pool_2d_window(first, output, rows, columns, p);
      output += p.input.channels;
    }
  }
}

#endif
