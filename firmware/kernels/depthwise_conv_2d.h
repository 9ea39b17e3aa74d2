/* DEPTHWISE_CONV_2D, int8, NHWC, weights (height, width, output channels).
 *
 *   out[y][x][o] = clamp(zo + requantize(bias[o] + sum of w[ky][kx][o] * in[y * sy - top + ky][x * sx - left + kx][o / m]))
 *
 * m is the depth multiplier. The input's zero point zx is folded into the bias, b - zx * sum(w), over all taps; so taps
 * in the padding, which are zero, read as zx. Rounding: requantize.h, one multiplier and shift per output channel. */
#ifndef TRECX_KERNELS_DEPTHWISE_CONV_2D_H
#define TRECX_KERNELS_DEPTHWISE_CONV_2D_H

#include "requantize.h"

typedef struct {
  trecx_window rows, columns;
  trecx_pixels input;
  int32_t input_zero_point;
  int32_t depth_multiplier;
  int32_t shifts_right; /* all shifts are negative */
  trecx_output output;
} trecx_depthwise_conv_2d_params;
typedef trecx_channel_tables trecx_depthwise_conv_2d_tables;

/* Sum of taps of one channel, all of them inside the input; `input` and `weights` are at the first tap. */
TRECX_INLINE int32_t trecx_depthwise_conv_2d_inside(const int8_t *input, const int8_t *weights,
                                                    const trecx_depthwise_conv_2d_params p) {
  const int32_t channels = p.input.channels * p.depth_multiplier;
  int32_t sum = 0;
  for (int32_t ky = 0; ky < p.rows.kernel; ky++) {
    for (int32_t kx = 0; kx < p.columns.kernel; kx++) {
      sum += (int32_t)input[(ky * p.columns.size + kx) * p.input.stride] *
             weights[(ky * p.columns.kernel + kx) * channels];
    }
  }
  return sum;
}

/* The same where the window, whose first tap is at row `top` and column `left`, reaches into the padding. */
TRECX_INLINE int32_t trecx_depthwise_conv_2d_border(const int8_t *input, const int8_t *weights, int32_t top,
                                                    int32_t left, const trecx_depthwise_conv_2d_params p) {
  const int32_t channels = p.input.channels * p.depth_multiplier;
  int32_t sum = 0;
  for (int32_t ky = 0; ky < p.rows.kernel; ky++) {
    for (int32_t kx = 0; kx < p.columns.kernel; kx++) {
      const int32_t y = top + ky;
      const int32_t x = left + kx;
      const int inside = y >= 0 && y < p.rows.size && x >= 0 && x < p.columns.size;
      const int32_t value = inside ? input[(y * p.columns.size + x) * p.input.stride] : p.input_zero_point;
      sum += value * weights[(ky * p.columns.kernel + kx) * channels];
    }
  }
  return sum;
}

TRECX_KERNEL void trecx_depthwise_conv_2d(const int8_t *input, int8_t *output,
                                          const trecx_depthwise_conv_2d_tables *tables,
                                          const trecx_depthwise_conv_2d_params p) {
  const int8_t *const weights = tables->weights;
  const int32_t *const bias = tables->bias;
  const int32_t *const multipliers = tables->multipliers;
  const int8_t *const shifts = tables->shifts;
  for (int32_t y = 0; y < p.rows.output; y++) {
    const int32_t top = y * p.rows.stride - p.rows.before;
    const int rows_inside = top >= 0 && top + p.rows.kernel <= p.rows.size;
    for (int32_t x = 0; x < p.columns.output; x++) {
      const int32_t left = x * p.columns.stride - p.columns.before;
      const int inside = rows_inside && left >= 0 && left + p.columns.kernel <= p.columns.size;
      const int32_t first = (top * p.columns.size + left) * p.input.stride;
      for (int32_t o = 0; o < p.input.channels * p.depth_multiplier; o++) {
        const int32_t i = o / p.depth_multiplier;
        const int32_t sum = bias[o] + (inside ? trecx_depthwise_conv_2d_inside(input + first + i, weights + o, p)
                                              : trecx_depthwise_conv_2d_border(input + i, weights + o, top, left, p));
        const int32_t scaled = p.shifts_right ? trecx_requantize_right(sum, multipliers[o], shifts[o])
                                              : trecx_requantize(sum, multipliers[o], shifts[o]);
        *output++ = trecx_to_output(scaled, p.output);
      }
    }
  }
}

#endif
