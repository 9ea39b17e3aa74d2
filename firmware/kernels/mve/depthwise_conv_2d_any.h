/* DEPTHWISE_CONV_2D, int8, NHWC, depth multiplier 1, any kernel and strides; see ../depthwise_conv_2d.h for what it
 * computes.
 *
 * 4 channels at a time in lanes of 32 bits: per tap a widening load of inputs and one of weights, VMUL and VADD. MVE's
 * multiply-accumulate of vectors takes the same weight for all lanes. `weights` is [height * width][channels],
 * `requantization` per group of 4 channels: biases, multipliers, shifts; both filled up to groups of 4 with zeros. The
 * channels of a group are read before they are written. */
#ifndef TRECX_KERNELS_MVE_DEPTHWISE_CONV_2D_ANY_H
#define TRECX_KERNELS_MVE_DEPTHWISE_CONV_2D_ANY_H

#include "requantize.h"

typedef struct {
  int32_t input_height, input_width, channels;
  int32_t input_stride; /* bytes from pixel to pixel */
  int32_t kernel_height, kernel_width;
  int32_t stride_height, stride_width;
  int32_t pad_top, pad_left;
  int32_t output_height, output_width;
  int32_t input_zero_point;
  int32_t output_zero_point, output_min, output_max;
} trecx_mve_depthwise_conv_2d_any_params;

/* Up to 4 channels of the window that begins at row `top` and column `left`. */
TRECX_INLINE int32x4_t trecx_mve_depthwise_conv_2d_any_window(const int8_t *input, const int8_t *weights, int32_t top,
                                                              int32_t left, mve_pred16_t some,
                                                              const trecx_mve_depthwise_conv_2d_any_params p) {
  const int32_t wide = p.channels + (-p.channels & 3);
  int32x4_t sums = vdupq_n_s32(0);
  for (int32_t y = top; y < top + p.kernel_height; y++) {
    for (int32_t x = left; x < left + p.kernel_width; x++) {
      const int inside = y >= 0 && y < p.input_height && x >= 0 && x < p.input_width;
      const int32x4_t taps = inside ? vldrbq_z_s32(input + (y * p.input_width + x) * p.input_stride, some)
                                    : vdupq_n_s32(p.input_zero_point);
      sums = vaddq_s32(sums, vmulq_s32(taps, vldrbq_s32(weights)));
      weights += wide;
    }
  }
  return sums;
}

TRECX_KERNEL void trecx_mve_depthwise_conv_2d_any(const int8_t *input, int8_t *output, const int8_t *weights,
                                                  const int32_t *requantization,
                                                  const trecx_mve_depthwise_conv_2d_any_params p) {
  const trecx_mve_output out = {p.output_zero_point, p.output_min, p.output_max};
  for (int32_t y = 0; y < p.output_height; y++) {
    for (int32_t x = 0; x < p.output_width; x++) {
      const int32_t top = y * p.stride_height - p.pad_top;
      const int32_t left = x * p.stride_width - p.pad_left;
      for (int32_t c = 0; c < p.channels; c += 4) {
        const int32_t *const group = requantization + 3 * c;
        const mve_pred16_t some = vctp32q((uint32_t)(p.channels - c));
        int32x4_t sums = trecx_mve_depthwise_conv_2d_any_window(input + c, weights + c, top, left, some, p);
        sums = vaddq_s32(sums, vldrwq_s32(group));
        sums = trecx_mve_scale_each(sums, vldrwq_s32(group + 4), vldrwq_s32(group + 8), out);
        sums = vmaxq_s32(vaddq_n_s32(sums, p.output_zero_point), vdupq_n_s32(p.output_min));
        vstrbq_p_s32(output + c, vminq_s32(sums, vdupq_n_s32(p.output_max)), some);
      }
      output += p.channels;
    }
  }
}

#endif
