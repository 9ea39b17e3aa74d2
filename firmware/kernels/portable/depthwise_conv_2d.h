/* DEPTHWISE_CONV_2D with depth multiplier 1, int8, NHWC, weights (channels, height, width).
 *
 *   out[y][x][c] = clamp(zo + requantize(bias[c] + sum of w[c][ky][kx] * in[y * sy - top + ky][x * sx - left + kx][c]))
 *
 * Channel by channel over the whole image, so that a channel's weights and factors are loaded once. A band of the
 * channel's rows lies in scratch with the zero point around it, so no window has a border; rows that two bands need are
 * kept, so the input is read once. An output of the input's size may therefore lie where the input lies: each channel
 * writes only where its own values were. 3x3 kernels have their weights in registers, and load 9 values for 9 products. */
#ifndef TRECX_KERNELS_PORTABLE_DEPTHWISE_CONV_2D_H
#define TRECX_KERNELS_PORTABLE_DEPTHWISE_CONV_2D_H

#include <string.h>

#include "scale.h"

typedef struct {
  trecx_window rows, columns;
  trecx_pixels input;
  int32_t input_zero_point;
  int32_t band_height; /* output rows of a band */
  int32_t band_width;  /* bytes from row to row of a band, padding included */
  int32_t narrow;      /* accumulators are below 2^20 */
  trecx_output output;
} trecx_portable_depthwise_conv_2d_params;

/* What tells layers of one shape apart. */
typedef struct {
  const int8_t *weights;
  const int32_t *bias;
  const int32_t *multipliers;
  const uint8_t *rights;
} trecx_portable_depthwise_conv_2d_tables;

/* What one channel needs: its weights and how its sums become outputs. */
typedef struct {
  const int8_t *weights;
  int32_t bias, multiplier, right;
} trecx_portable_depthwise_conv_2d_channel;

/* Fill rows [begin, end) of a band whose first row is row `top` of the image; `input` is at the channel. */
TRECX_INLINE void trecx_portable_depthwise_conv_2d_fill(const int8_t *input, int8_t *band, int32_t top, int32_t begin,
                                                        int32_t end, const trecx_portable_depthwise_conv_2d_params p) {
  const int32_t columns = trecx_min(p.columns.size, p.band_width - p.columns.before);
  for (int32_t row = begin; row < end; row++) {
    int8_t *const to = band + row * p.band_width + p.columns.before;
    if ((uint32_t)(top + row) >= (uint32_t)p.rows.size) {
      memset(to, p.input_zero_point, (uint32_t)columns);
      continue;
    }
    const int8_t *from = input + (top + row) * p.columns.size * p.input.stride;
#pragma GCC unroll 4
    for (int32_t x = 0; x < columns; x++) {
      to[x] = *from;
      from += p.input.stride;
    }
  }
}

TRECX_INLINE int8_t trecx_portable_depthwise_conv_2d_output(int32_t sum,
                                                            const trecx_portable_depthwise_conv_2d_channel c,
                                                            const trecx_portable_depthwise_conv_2d_params p) {
  return trecx_portable_scale(sum, c.multiplier, c.right, p.narrow, p.output);
}

/* One row of outputs from the band's rows at `in`. */
TRECX_INLINE void trecx_portable_depthwise_conv_2d_row(const int8_t *in, int8_t *output,
                                                       const trecx_portable_depthwise_conv_2d_channel c,
                                                       const trecx_portable_depthwise_conv_2d_params p) {
  for (int32_t x = 0; x < p.columns.output; x++) {
    int32_t sum = c.bias;
    for (int32_t ky = 0; ky < p.rows.kernel; ky++) {
      for (int32_t kx = 0; kx < p.columns.kernel; kx++) {
        sum += (int32_t)in[ky * p.band_width + kx] * c.weights[ky * p.columns.kernel + kx];
      }
    }
    *output = trecx_portable_depthwise_conv_2d_output(sum, c, p);
    output += p.input.channels;
    in += p.columns.stride;
  }
}

/* `rows` rows of outputs of a 3x3 kernel. */
TRECX_INLINE void trecx_portable_depthwise_conv_2d_3x3(const int8_t *band, int8_t *output, int32_t rows,
                                                       const trecx_portable_depthwise_conv_2d_channel c,
                                                       const trecx_portable_depthwise_conv_2d_params p) {
  const int8_t *const w = c.weights;
  const int32_t w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4], w5 = w[5], w6 = w[6], w7 = w[7], w8 = w[8];
  for (int32_t y = 0; y < rows; y++) {
    const int8_t *in = band + y * p.rows.stride * p.band_width;
    for (int32_t x = 0; x < p.columns.output; x++) {
      const int8_t *const in1 = in + p.band_width;
      const int8_t *const in2 = in1 + p.band_width;
      int32_t sum = c.bias;
      sum += in[0] * w0;
      sum += in[1] * w1;
      sum += in[2] * w2;
      sum += in1[0] * w3;
      sum += in1[1] * w4;
      sum += in1[2] * w5;
      sum += in2[0] * w6;
      sum += in2[1] * w7;
      sum += in2[2] * w8;
      *output = trecx_portable_depthwise_conv_2d_output(sum, c, p);
      output += p.input.channels;
      in += p.columns.stride;
    }
  }
}

/* One channel of the whole image; `input` and `output` are at the channel. */
TRECX_INLINE void trecx_portable_depthwise_conv_2d_plane(const int8_t *input, int8_t *output, int8_t *band,
                                                         const trecx_portable_depthwise_conv_2d_channel c,
                                                         const trecx_portable_depthwise_conv_2d_params p) {
  const int32_t step = p.band_height * p.rows.stride;
  const int32_t shared = trecx_max(p.rows.kernel - p.rows.stride, 0);
  for (int32_t y = 0; y < p.rows.output; y += p.band_height) {
    const int32_t rows = trecx_min(p.band_height, p.rows.output - y);
    const int32_t kept = y > 0 ? shared : 0;
    memmove(band, band + step * p.band_width, (uint32_t)(kept * p.band_width));
    trecx_portable_depthwise_conv_2d_fill(input, band, y * p.rows.stride - p.rows.before, kept,
                                          (rows - 1) * p.rows.stride + p.rows.kernel, p);
    int8_t *const out = output + y * p.columns.output * p.input.channels;
    if (p.rows.kernel == 3 && p.columns.kernel == 3) {
      trecx_portable_depthwise_conv_2d_3x3(band, out, rows, c, p);
    } else {
      for (int32_t row = 0; row < rows; row++) {
        trecx_portable_depthwise_conv_2d_row(band + row * p.rows.stride * p.band_width,
                                             out + row * p.columns.output * p.input.channels, c, p);
      }
    }
  }
}

TRECX_KERNEL void trecx_portable_depthwise_conv_2d(const int8_t *input, int8_t *output,
                                                   int8_t *scratch,
                                                   const trecx_portable_depthwise_conv_2d_tables *tables,
                                                   const trecx_portable_depthwise_conv_2d_params p) {
  const int8_t *const weights = tables->weights;
  const int32_t *const bias = tables->bias;
  const int32_t *const multipliers = tables->multipliers;
  const uint8_t *const rights = tables->rights;
  const int32_t rows = (p.band_height - 1) * p.rows.stride + p.rows.kernel;
  memset(scratch, p.input_zero_point, (uint32_t)(rows * p.band_width));
  for (int32_t k = 0; k < p.input.channels; k++) {
    const trecx_portable_depthwise_conv_2d_channel c = {
        .weights = weights + k * p.rows.kernel * p.columns.kernel,
        .bias = bias[k],
        .multiplier = multipliers[k],
        .right = rights[k],
    };
    trecx_portable_depthwise_conv_2d_plane(input + k, output + k, scratch, c, p);
  }
}

#endif
