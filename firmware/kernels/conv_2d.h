/* CONV_2D, int8, NHWC, weights (output channels, height, width, input channels).
 *
 *   out[y][x][o] = clamp(zo + requantize(bias[o] + sum of w[o][ky][kx][i] * in[y * sy - top + ky][x * sx - left + kx][i]))
 *
 * The input's zero point zx is folded into the bias, b - zx * sum(w), over all taps; so taps in the padding, which are
 * zero, read as zx. Rounding: requantize.h, with one multiplier and shift per output channel. */
#ifndef TRECX_KERNELS_CONV_2D_H
#define TRECX_KERNELS_CONV_2D_H

#include "dot.h"
#include "requantize.h"

typedef struct {
  trecx_window rows, columns;
  trecx_pixels input;
  int32_t input_zero_point;
  int32_t output_channels;
  int32_t shifts_right; /* all shifts are negative */
  trecx_output output;
} trecx_conv_2d_params;
typedef trecx_channel_tables trecx_conv_2d_tables;

/* The taps of one window that lie inside the input: rows and columns [begin, end) of the kernel. */
typedef struct {
  int32_t row_begin, row_end, column_begin, column_end;
} trecx_conv_2d_window;

/* `columns` taps of one kernel row on the pixels from `input` on. */
TRECX_INLINE int32_t trecx_conv_2d_row(const int8_t *input, const int8_t *weights, int32_t columns,
                                       const trecx_conv_2d_params p) {
  if (p.input.stride == p.input.channels) {
    return trecx_dot(input, weights, columns * p.input.channels);
  }
  int32_t sum = 0;
  for (int32_t kx = 0; kx < columns; kx++) {
    sum += trecx_dot(input + kx * p.input.stride, weights + kx * p.input.channels, p.input.channels);
  }
  return sum;
}

/* Sum of the weights whose taps lie in the padding. */
TRECX_INLINE int32_t trecx_conv_2d_outside(const int8_t *weights, const trecx_conv_2d_window window,
                                           const trecx_conv_2d_params p) {
  const int32_t row = p.columns.kernel * p.input.channels;
  const int32_t left = window.column_begin * p.input.channels;
  const int32_t right = window.column_end * p.input.channels;
  int32_t sum = trecx_sum(weights, window.row_begin * row);
  for (int32_t ky = window.row_begin; ky < window.row_end; ky++) {
    sum += trecx_sum(weights + ky * row, left) + trecx_sum(weights + ky * row + right, row - right);
  }
  return sum + trecx_sum(weights + window.row_end * row, (p.rows.kernel - window.row_end) * row);
}

/* All channels of one output pixel; `input` is the first tap inside the input. */
TRECX_INLINE void trecx_conv_2d_pixel(const int8_t *input, int8_t *output, const int8_t *weights, const int32_t *bias,
                                      const int32_t *multipliers, const int8_t *shifts,
                                      const trecx_conv_2d_window window, const trecx_conv_2d_params p) {
  const int32_t row = p.columns.kernel * p.input.channels;
  const int32_t columns = window.column_end - window.column_begin;
  const int padded = window.row_begin > 0 || window.row_end < p.rows.kernel || window.column_begin > 0 ||
                     window.column_end < p.columns.kernel;
  for (int32_t o = 0; o < p.output_channels; o++) {
    const int8_t *const filter = weights + o * p.rows.kernel * row;
    const int8_t *const inside = filter + window.column_begin * p.input.channels;
    int32_t sum = bias[o];
    if (padded) {
      sum += p.input_zero_point * trecx_conv_2d_outside(filter, window, p);
    }
    for (int32_t ky = window.row_begin; ky < window.row_end; ky++) {
      const int8_t *const line = input + (ky - window.row_begin) * p.columns.size * p.input.stride;
      sum += trecx_conv_2d_row(line, inside + ky * row, columns, p);
    }
    const int32_t scaled = p.shifts_right ? trecx_requantize_right(sum, multipliers[o], shifts[o])
                                          : trecx_requantize(sum, multipliers[o], shifts[o]);
    output[o] = trecx_to_output(scaled, p.output);
  }
}

TRECX_KERNEL void trecx_conv_2d(const int8_t *input, int8_t *output,
                                const trecx_conv_2d_tables *tables, const trecx_conv_2d_params p) {
  const int8_t *const weights = tables->weights;
  const int32_t *const bias = tables->bias;
  const int32_t *const multipliers = tables->multipliers;
  const int8_t *const shifts = tables->shifts;
  for (int32_t y = 0; y < p.rows.output; y++) {
    const int32_t top = y * p.rows.stride - p.rows.before;
    for (int32_t x = 0; x < p.columns.output; x++) {
      const int32_t left = x * p.columns.stride - p.columns.before;
      const trecx_conv_2d_window window = {
          .row_begin = trecx_max(0, -top),
          .row_end = trecx_min(p.rows.kernel, p.rows.size - top),
          .column_begin = trecx_max(0, -left),
          .column_end = trecx_min(p.columns.kernel, p.columns.size - left),
      };
      const int32_t first = (top + window.row_begin) * p.columns.size + left + window.column_begin;
      trecx_conv_2d_pixel(input + first * p.input.stride, output, weights, bias, multipliers, shifts, window, p);
      output += p.output_channels;
    }
  }
}

#endif
