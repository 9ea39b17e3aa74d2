/* CONV_2D: tiles of gemm.h, whose columns are the windows of three consecutive output pixels; rows run on.
 *
 *   column of (y, x) = in[y * sy - top + ky][x * sx - left + kx][i] over ky, kx, i, the zero point outside the input
 *
 * Where pixels are whole words, a column is made of them directly. Otherwise the order is: the whole words of every
 * kernel row, then the bytes that are left of the rows, packed; windows that reach over the border are first copied
 * together with their padding.
 *
 * The input may lie in the output's memory: a tile's windows are in scratch before it is written. `scratch` holds the
 * columns, 6 bytes per tap, and behind them such a copy. */
#ifndef TRECX_KERNELS_DSP_CONV_2D_H
#define TRECX_KERNELS_DSP_CONV_2D_H

#include "gemm.h"

typedef struct {
  trecx_window rows, columns;
  trecx_pixels input;
  int32_t input_zero_point;
  int32_t output_channels;
  int32_t rounding; /* TRECX_DSP_... */
  trecx_output output;
} trecx_dsp_conv_2d_params;

/* `count` times the same four bytes. */
TRECX_INLINE trecx_word *trecx_dsp_conv_2d_fill(trecx_word *column, uint32_t bytes, int32_t count) {
  for (const trecx_word *const end = column + TRECX_DSP_STEP_WORDS * count; column != end;) {
    trecx_dsp_widen(column, bytes);
    column += TRECX_DSP_STEP_WORDS;
  }
  return column;
}

/* The column of a window whose first tap is at row `top` and column `left`; pixels are whole words. */
TRECX_INLINE void trecx_dsp_conv_2d_words(trecx_word *column, const int8_t *input, int32_t top, int32_t left,
                                          const trecx_dsp_conv_2d_params p) {
  const int32_t words = p.input.channels / 4;
  const uint32_t padding = 0x01010101u * (uint8_t)p.input_zero_point;
  const int32_t begin = trecx_max(0, -left);
  const int32_t end = trecx_min(p.columns.kernel, p.columns.size - left);
  for (int32_t row = top; row < top + p.rows.kernel; row++) {
    if (row < 0 || row >= p.rows.size) {
      column = trecx_dsp_conv_2d_fill(column, padding, p.columns.kernel * words);
      continue;
    }
    const int8_t *const line = input + (row * p.columns.size + left) * p.input.stride;
    column = trecx_dsp_conv_2d_fill(column, padding, begin * words);
    if (p.input.stride == p.input.channels) {
      column = trecx_dsp_widen_words(column, line + begin * p.input.stride, (end - begin) * words);
    } else {
      for (int32_t kx = begin; kx < end; kx++) {
        column = trecx_dsp_widen_words(column, line + kx * p.input.stride, words);
      }
    }
    column = trecx_dsp_conv_2d_fill(column, padding, (p.columns.kernel - end) * words);
  }
}

/* The column of a window of dense kernel rows, `row_stride` bytes apart. */
TRECX_INLINE void trecx_dsp_conv_2d_rows(trecx_word *column, const int8_t *window, int32_t row_stride,
                                         const trecx_dsp_conv_2d_params p) {
  const int32_t row = p.columns.kernel * p.input.channels;
  const int32_t rest = row % 4;
  for (int32_t ky = 0; ky < p.rows.kernel; ky++) {
    column = trecx_dsp_widen_words(column, window + ky * row_stride, row / 4);
  }
  uint32_t bytes = 0; /* the oldest lowest */
  int32_t missing = 4;
  for (int32_t ky = 0; ky < p.rows.kernel && rest > 0; ky++) {
    for (int32_t k = 0; k < rest; k++) {
      bytes = bytes >> 8 | (uint32_t)(uint8_t)window[ky * row_stride + row - rest + k] << 24;
      if (--missing == 0) {
        trecx_dsp_widen(column, bytes);
        column += TRECX_DSP_STEP_WORDS;
        missing = 4;
      }
    }
  }
  if (missing < 4) {
    trecx_dsp_widen(column, bytes >> (8 * missing));
  }
}

/* Copies a window with its padding. */
TRECX_INLINE void trecx_dsp_conv_2d_copy(int8_t *window, const int8_t *input, int32_t top, int32_t left,
                                         const trecx_dsp_conv_2d_params p) {
  for (int32_t row = top; row < top + p.rows.kernel; row++) {
    for (int32_t pixel = left; pixel < left + p.columns.kernel; pixel++) {
      const int inside = row >= 0 && row < p.rows.size && pixel >= 0 && pixel < p.columns.size;
      const int8_t *const from = input + (row * p.columns.size + pixel) * p.input.stride;
      for (int32_t i = 0; i < p.input.channels; i++) {
        *window++ = inside ? from[i] : (int8_t)p.input_zero_point;
      }
    }
  }
}

/* The same for pixels that are no whole words; `window` is where it may be copied to. */
TRECX_INLINE void trecx_dsp_conv_2d_bytes(trecx_word *column, int8_t *window, const int8_t *input, int32_t top,
                                          int32_t left, const trecx_dsp_conv_2d_params p) {
  const int inside = top >= 0 && top + p.rows.kernel <= p.rows.size && left >= 0 &&
                     left + p.columns.kernel <= p.columns.size;
  if (inside && p.input.stride == p.input.channels) {
    const int32_t line = p.columns.size * p.input.stride;
    trecx_dsp_conv_2d_rows(column, input + top * line + left * p.input.stride, line, p);
  } else {
    trecx_dsp_conv_2d_copy(window, input, top, left, p);
    trecx_dsp_conv_2d_rows(column, window, p.columns.kernel * p.input.channels, p);
  }
}

TRECX_KERNEL void trecx_dsp_conv_2d(const int8_t *input, int8_t *output, int8_t *scratch, const uint32_t *weights,
                                    const trecx_dsp_conv_2d_params p) {
  const trecx_dsp_output o = {p.output_channels, p.rounding, p.output};
  const int32_t terms = p.rows.kernel * p.columns.kernel * p.input.channels;
  const int32_t pixels = p.rows.output * p.columns.output;
  trecx_dsp_tile tile = trecx_dsp_tile_of(scratch, weights, pixels, terms, p.output_channels);
  int8_t *const window = scratch + 4 * TRECX_DSP_STEP_WORDS * tile.steps;
  const int32_t size = trecx_dsp_tile_size(pixels);
  int32_t top = -p.rows.before;
  int32_t left = -p.columns.before;
  for (int32_t pixel = 0; pixel < pixels; pixel += size) {
    const int32_t count = trecx_min(size, pixels - pixel);
    for (int32_t k = 0; k < count; k++) {
      trecx_word *const column = trecx_dsp_tile_column(scratch, k, count);
      if (p.input.channels % 4 == 0) {
        trecx_dsp_conv_2d_words(column, input, top, left, p);
      } else {
        trecx_dsp_conv_2d_bytes(column, window, input, top, left, p);
      }
      left += p.columns.stride;
      if (left == p.columns.output * p.columns.stride - p.columns.before) {
        left = -p.columns.before;
        top += p.rows.stride;
      }
    }
    trecx_dsp_tile_run(&tile, output + pixel * p.output_channels, count, o);
  }
}

#endif
