/* CONV_2D, int8, NHWC, for machines whose compiler vectorises sums of 16-bit products (a host).
 *
 *   out[pixel][o] = clamp(zo + requantize(bias[o] + sum of w[o][k] * tap[pixel][k]))
 *
 * A pixel's taps are gathered in a column of 16-bit values, the input's zero point where they lie in the padding; weights
 * are 16-bit too, rows of both filled up with zeros to `length`, a multiple of 16, so that no vector is partial.
 * Tile: one channel of one pixel. */
#ifndef TRECX_KERNELS_PORTABLE_CONV_2D_DOT_H
#define TRECX_KERNELS_PORTABLE_CONV_2D_DOT_H

#include "../memory.h"
#include "scale.h"

typedef struct {
  trecx_window rows, columns;
  trecx_pixels input;
  int32_t input_zero_point;
  int32_t output_channels;
  int32_t length; /* values in a column and a row of weights */
  trecx_output output;
} trecx_portable_conv_2d_dot_params;

/* What tells layers of one shape apart. */
typedef struct {
  const int16_t *weights;
  const int32_t *bias;
  const int32_t *multipliers;
  const uint8_t *rights;
} trecx_portable_conv_2d_dot_tables;

TRECX_INLINE void trecx_portable_conv_2d_dot_gather(const int8_t *input, trecx_half *column, int32_t top, int32_t left,
                                                    const trecx_portable_conv_2d_dot_params p) {
  for (int32_t ky = 0; ky < p.rows.kernel; ky++) {
    for (int32_t kx = 0; kx < p.columns.kernel; kx++) {
      const int32_t y = top + ky;
      const int32_t x = left + kx;
      const int inside = y >= 0 && y < p.rows.size && x >= 0 && x < p.columns.size;
      if (inside) {
        const int8_t *const from = input + (y * p.columns.size + x) * p.input.stride;
        for (int32_t i = 0; i < p.input.channels; i++) {
          column[i] = from[i];
        }
      } else {
        for (int32_t i = 0; i < p.input.channels; i++) {
          column[i] = (int16_t)p.input_zero_point;
        }
      }
      column += p.input.channels;
    }
  }
}

TRECX_INLINE int32_t trecx_portable_conv_2d_dot_sum(const trecx_half *column, const int16_t *weights, int32_t length) {
  int32_t sum = 0;
  for (int32_t k = 0; k < length; k++) {
    sum += column[k] * weights[k];
  }
  return sum;
}

TRECX_KERNEL void trecx_portable_conv_2d_dot(const int8_t *input, int8_t *output, int8_t *scratch,
                                             const trecx_portable_conv_2d_dot_tables *tables,
                                             const trecx_portable_conv_2d_dot_params p) {
  const int16_t *const weights = tables->weights;
  const int32_t *const bias = tables->bias;
  const int32_t *const multipliers = tables->multipliers;
  const uint8_t *const rights = tables->rights;
  trecx_half *const column = (trecx_half *)(void *)scratch;
  memset(scratch, 0, 2 * (uint32_t)p.length);
  for (int32_t y = 0; y < p.rows.output; y++) {
    for (int32_t x = 0; x < p.columns.output; x++) {
      trecx_portable_conv_2d_dot_gather(input, column, y * p.rows.stride - p.rows.before,
                                        x * p.columns.stride - p.columns.before, p);
      for (int32_t o = 0; o < p.output_channels; o++) {
        const int32_t sum = bias[o] + trecx_portable_conv_2d_dot_sum(column, weights + o * p.length, p.length);
        *output++ = trecx_portable_scale(sum, multipliers[o], rights[o], 0, p.output);
      }
    }
  }
}

#endif
