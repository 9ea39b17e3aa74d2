/* CIRCULAR_BUFFER, int8: the last frames of a stream, the oldest first.
 *
 *   output = output without its first frame, then the input
 *
 * The output holds its value from one run to the next. Exact; nothing is rounded. */
#ifndef TRECX_KERNELS_CIRCULAR_BUFFER_H
#define TRECX_KERNELS_CIRCULAR_BUFFER_H

#include <string.h>

#include "requantize.h"

typedef struct {
  int32_t kept;  /* bytes of all frames but one */
  int32_t frame; /* bytes of a frame */
  trecx_runs input;
} trecx_circular_buffer_params;

TRECX_KERNEL void trecx_circular_buffer(const int8_t *input, int8_t *output, const trecx_circular_buffer_params p) {
  memmove(output, output + p.frame, (size_t)p.kept);
  output += p.kept;
  for (int32_t run = 0; run < p.input.count; run++) {
    memcpy(output + run * p.input.length, input + run * p.input.stride, (size_t)p.input.length);
  }
}

#endif
