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
  trecx_window rows, columns;
  trecx_pixels input;
  int32_t input_zero_point;
  trecx_output output;
} trecx_mve_depthwise_conv_2d_any_params;

/* What tells layers of one shape apart. */
typedef struct {
  const int8_t *weights;
  const int32_t *requantization;
} trecx_mve_depthwise_conv_2d_any_tables;

/* Up to 4 channels of the window that begins at row `top` and column `left`. */
TRECX_INLINE int32x4_t trecx_mve_depthwise_conv_2d_any_window(const int8_t *input, const int8_t *weights, int32_t top,
                                                              int32_t left, mve_pred16_t some,
                                                              const trecx_mve_depthwise_conv_2d_any_params p) {
  const int32_t wide = p.input.channels + (-p.input.channels & 3);
  int32x4_t sums = vdupq_n_s32(0);
  for (int32_t y = top; y < top + p.rows.kernel; y++) {
    for (int32_t x = left; x < left + p.columns.kernel; x++) {
      const int inside = y >= 0 && y < p.rows.size && x >= 0 && x < p.columns.size;
      const int32x4_t taps = inside ? vldrbq_z_s32(input + (y * p.columns.size + x) * p.input.stride, some)
                                    : vdupq_n_s32(p.input_zero_point);
      sums = vaddq_s32(sums, vmulq_s32(taps, vldrbq_s32(weights)));
      weights += wide;
    }
  }
  return sums;
}

TRECX_KERNEL void trecx_mve_depthwise_conv_2d_any(const int8_t *input, int8_t *output,
                                                  const trecx_mve_depthwise_conv_2d_any_tables *tables,
                                                  const trecx_mve_depthwise_conv_2d_any_params p) {
  const int8_t *const weights = tables->weights;
  const int32_t *const requantization = tables->requantization;
  for (int32_t y = 0; y < p.rows.output; y++) {
    for (int32_t x = 0; x < p.columns.output; x++) {
      const int32_t top = y * p.rows.stride - p.rows.before;
      const int32_t left = x * p.columns.stride - p.columns.before;
      for (int32_t c = 0; c < p.input.channels; c += 4) {
        const int32_t *const group = requantization + 3 * c;
        const mve_pred16_t some = vctp32q((uint32_t)(p.input.channels - c));
        int32x4_t sums = trecx_mve_depthwise_conv_2d_any_window(input + c, weights + c, top, left, some, p);
        sums = vaddq_s32(sums, vldrwq_s32(group));
        sums = trecx_mve_scale_each(sums, vldrwq_s32(group + 4), vldrwq_s32(group + 8), p.output);
        sums = vmaxq_s32(vaddq_n_s32(sums, p.output.zero_point), vdupq_n_s32(p.output.range.min));
        vstrbq_p_s32(output + c, vminq_s32(sums, vdupq_n_s32(p.output.range.max)), some);
      }
      output += p.input.channels;
    }
  }
}

#endif
