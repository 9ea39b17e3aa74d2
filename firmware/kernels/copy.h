/* RESHAPE and STRIDED_SLICE: pack runs of contiguous bytes.
 *
 *   out[run * length + k] = in[run * stride + k]
 *
 * Exact; nothing is rounded. */
#ifndef TRECX_KERNELS_COPY_H
#define TRECX_KERNELS_COPY_H

#include <string.h>

#include "requantize.h"

typedef struct {
  trecx_runs input;
} trecx_copy_params;

TRECX_KERNEL void trecx_copy(const int8_t *input, int8_t *output, const trecx_copy_params p) {
  for (int32_t run = 0; run < p.input.count; run++) {
    memcpy(output + run * p.input.length, input + run * p.input.stride, (size_t)p.input.length);
  }
}

#endif
