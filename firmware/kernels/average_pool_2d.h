/* AVERAGE_POOL_2D, int8, NHWC; input and output have one scale and zero point.
 *
 *   out[y][x][c] = clamp(sum of in[row][column][c] over the taps inside the input / their number)
 *
 * Padding counts neither in the sum nor in the number. The quotient rounds half away from zero. */
#ifndef TRECX_KERNELS_AVERAGE_POOL_2D_H
#define TRECX_KERNELS_AVERAGE_POOL_2D_H

#include "requantize.h"

typedef trecx_pooling trecx_average_pool_2d_params;

TRECX_KERNEL void trecx_average_pool_2d(const int8_t *input, int8_t *output, const trecx_average_pool_2d_params p) {
  for (int32_t y = 0; y < p.rows.output; y++) {
    const int32_t top = y * p.rows.stride - p.rows.before;
    const int32_t row_begin = trecx_max(0, top);
    const int32_t row_end = trecx_min(p.rows.size, top + p.rows.kernel);
    for (int32_t x = 0; x < p.columns.output; x++) {
      const int32_t left = x * p.columns.stride - p.columns.before;
      const int32_t column_begin = trecx_max(0, left);
      const int32_t column_end = trecx_min(p.columns.size, left + p.columns.kernel);
      const int32_t taps = (row_end - row_begin) * (column_end - column_begin);
      for (int32_t c = 0; c < p.input.channels; c++) {
        int32_t sum = 0;
        for (int32_t row = row_begin; row < row_end; row++) {
          const int8_t *in = input + (row * p.columns.size + column_begin) * p.input.stride + c;
          for (int32_t column = column_begin; column < column_end; column++) {
            sum += *in;
            in += p.input.stride;
          }
        }
        *output++ = trecx_clamp((sum + (sum > 0 ? taps / 2 : -(taps / 2))) / taps, p.range.min, p.range.max);
      }
    }
  }
}

#endif
