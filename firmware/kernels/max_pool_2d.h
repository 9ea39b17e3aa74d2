/* MAX_POOL_2D, int8, NHWC; input and output have one scale and zero point.
 *
 *   out[y][x][c] = clamp(highest in[row][column][c] over the taps inside the input)
 *
 * Exact; nothing is rounded. */
#ifndef TRECX_KERNELS_MAX_POOL_2D_H
#define TRECX_KERNELS_MAX_POOL_2D_H

#include "requantize.h"

typedef struct {
  int32_t input_height, input_width, channels;
  int32_t input_stride; /* bytes from pixel to pixel */
  int32_t kernel_height, kernel_width;
  int32_t stride_height, stride_width;
  int32_t pad_top, pad_left;
  int32_t output_height, output_width;
  int32_t output_min, output_max;
} trecx_max_pool_2d_params;

TRECX_KERNEL void trecx_max_pool_2d(const int8_t *input, int8_t *output, const trecx_max_pool_2d_params p) {
  for (int32_t y = 0; y < p.output_height; y++) {
    const int32_t top = y * p.stride_height - p.pad_top;
    const int32_t row_begin = trecx_max(0, top);
    const int32_t row_end = trecx_min(p.input_height, top + p.kernel_height);
    for (int32_t x = 0; x < p.output_width; x++) {
      const int32_t left = x * p.stride_width - p.pad_left;
      const int32_t column_begin = trecx_max(0, left);
      const int32_t column_end = trecx_min(p.input_width, left + p.kernel_width);
      for (int32_t c = 0; c < p.channels; c++) {
        int32_t highest = INT8_MIN;
        for (int32_t row = row_begin; row < row_end; row++) {
          const int8_t *in = input + (row * p.input_width + column_begin) * p.input_stride + c;
          for (int32_t column = column_begin; column < column_end; column++) {
            highest = trecx_max(highest, *in);
            in += p.input_stride;
          }
        }
        *output++ = trecx_clamp(highest, p.output_min, p.output_max);
      }
    }
  }
}

#endif
