/* PAD around height, width and channels, int8, NHWC; input and output have one scale and zero point.
 *
 *   out[y][x][c] = in[y - top][x - left][c - front] where that exists, else the zero point
 *
 * Exact; nothing is rounded. */
#ifndef TRECX_KERNELS_PAD_H
#define TRECX_KERNELS_PAD_H

#include <string.h>

#include "requantize.h"

/* Along one axis, `before` of `output` places lie in front of the `size` of the input. */
typedef struct {
  int32_t size, before, output;
} trecx_padding;

typedef struct {
  trecx_padding rows, columns, channels;
  int32_t input_stride; /* bytes from pixel to pixel */
  int32_t zero_point;
} trecx_pad_params;

TRECX_KERNEL void trecx_pad(const int8_t *input, int8_t *output, const trecx_pad_params p) {
  memset(output, p.zero_point, (size_t)(p.rows.output * p.columns.output * p.channels.output));
  for (int32_t y = 0; y < p.rows.size; y++) {
    const int32_t pixel = (y + p.rows.before) * p.columns.output + p.columns.before;
    int8_t *out = output + pixel * p.channels.output + p.channels.before;
    for (int32_t x = 0; x < p.columns.size; x++) {
      memcpy(out, input, (size_t)p.channels.size);
      input += p.input_stride;
      out += p.channels.output;
    }
  }
}

#endif
