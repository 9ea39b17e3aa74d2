/* PAD around height, width and channels, int8, NHWC; input and output have one scale and zero point.
 *
 *   out[y][x][c] = in[y - top][x - left][c - front] where that exists, else the zero point
 *
 * Exact; nothing is rounded. */
#ifndef TRECX_KERNELS_PAD_H
#define TRECX_KERNELS_PAD_H

#include <string.h>

#include "requantize.h"

typedef struct {
  int32_t input_height, input_width, input_channels;
  int32_t input_stride; /* bytes from pixel to pixel */
  int32_t pad_top, pad_left, pad_front;
  int32_t output_height, output_width, output_channels;
  int32_t zero_point;
} trecx_pad_params;

TRECX_KERNEL void trecx_pad(const int8_t *input, int8_t *output, const trecx_pad_params p) {
  memset(output, p.zero_point, (size_t)(p.output_height * p.output_width * p.output_channels));
  for (int32_t y = 0; y < p.input_height; y++) {
    int8_t *out = output + ((y + p.pad_top) * p.output_width + p.pad_left) * p.output_channels + p.pad_front;
    for (int32_t x = 0; x < p.input_width; x++) {
      memcpy(out, input, (size_t)p.input_channels);
      input += p.input_stride;
      out += p.output_channels;
    }
  }
}

#endif
