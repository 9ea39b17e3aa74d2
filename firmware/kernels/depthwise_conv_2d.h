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
  int32_t input_height, input_width, input_channels;
  int32_t input_stride; /* bytes from pixel to pixel */
  int32_t kernel_height, kernel_width;
  int32_t stride_height, stride_width;
  int32_t pad_top, pad_left;
  int32_t output_height, output_width;
  int32_t depth_multiplier;
  int32_t input_zero_point;
  int32_t shifts_right; /* all shifts are negative */
  int32_t output_zero_point, output_min, output_max;
} trecx_depthwise_conv_2d_params;

/* Sum of taps of one channel, all of them inside the input; `input` and `weights` are at the first tap. */
TRECX_INLINE int32_t trecx_depthwise_conv_2d_inside(const int8_t *input, const int8_t *weights,
                                                    const trecx_depthwise_conv_2d_params p) {
  const int32_t channels = p.input_channels * p.depth_multiplier;
  int32_t sum = 0;
  for (int32_t ky = 0; ky < p.kernel_height; ky++) {
    for (int32_t kx = 0; kx < p.kernel_width; kx++) {
      sum += (int32_t)input[(ky * p.input_width + kx) * p.input_stride] *
             weights[(ky * p.kernel_width + kx) * channels];
    }
  }
  return sum;
}

/* The same where the window, whose first tap is at row `top` and column `left`, reaches into the padding. */
TRECX_INLINE int32_t trecx_depthwise_conv_2d_border(const int8_t *input, const int8_t *weights, int32_t top,
                                                    int32_t left, const trecx_depthwise_conv_2d_params p) {
  const int32_t channels = p.input_channels * p.depth_multiplier;
  int32_t sum = 0;
  for (int32_t ky = 0; ky < p.kernel_height; ky++) {
    for (int32_t kx = 0; kx < p.kernel_width; kx++) {
      const int32_t y = top + ky;
      const int32_t x = left + kx;
      const int inside = y >= 0 && y < p.input_height && x >= 0 && x < p.input_width;
      const int32_t value = inside ? input[(y * p.input_width + x) * p.input_stride] : p.input_zero_point;
      sum += value * weights[(ky * p.kernel_width + kx) * channels];
    }
  }
  return sum;
}

TRECX_KERNEL void trecx_depthwise_conv_2d(const int8_t *input, int8_t *output, const int8_t *weights,
                                          const int32_t *bias, const int32_t *multipliers, const int8_t *shifts,
                                          const trecx_depthwise_conv_2d_params p) {
  for (int32_t y = 0; y < p.output_height; y++) {
    const int32_t top = y * p.stride_height - p.pad_top;
    const int rows_inside = top >= 0 && top + p.kernel_height <= p.input_height;
    for (int32_t x = 0; x < p.output_width; x++) {
      const int32_t left = x * p.stride_width - p.pad_left;
      const int inside = rows_inside && left >= 0 && left + p.kernel_width <= p.input_width;
      const int32_t first = (top * p.input_width + left) * p.input_stride;
      for (int32_t o = 0; o < p.input_channels * p.depth_multiplier; o++) {
        const int32_t i = o / p.depth_multiplier;
        const int32_t sum = bias[o] + (inside ? trecx_depthwise_conv_2d_inside(input + first + i, weights + o, p)
                                              : trecx_depthwise_conv_2d_border(input + i, weights + o, top, left, p));
        const int32_t scaled = p.shifts_right ? trecx_requantize_right(sum, multipliers[o], shifts[o])
                                              : trecx_requantize(sum, multipliers[o], shifts[o]);
        *output++ = trecx_clamp(scaled + p.output_zero_point, p.output_min, p.output_max);
      }
    }
  }
}

#endif
