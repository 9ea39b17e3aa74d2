/* SPLIT, int8, all outputs of the input's scale and zero point.
 *
 *   for every index before the axis: outputs[0] gets a slice, outputs[1] the next one, ...
 *
 * Exact; nothing is rounded. */
#ifndef TRECX_KERNELS_SPLIT_H
#define TRECX_KERNELS_SPLIT_H

#include <string.h>

#include "requantize.h"

#define TRECX_SPLIT_PARTS 8

/* An output's slice begins `begin` bytes after its index and is runs of contiguous bytes. */
typedef struct {
  int32_t begin;
  trecx_runs runs;
} trecx_slice;

typedef struct {
  int32_t outputs;
  int32_t outer;      /* indices before the axis */
  int32_t input_step; /* bytes from index to index */
  trecx_slice slices[TRECX_SPLIT_PARTS];
} trecx_split_params;

TRECX_KERNEL void trecx_split(const int8_t *input, int8_t *const *outputs, const trecx_split_params p) {
  for (int32_t part = 0; part < p.outputs; part++) {
    const trecx_runs runs = p.slices[part].runs;
    int8_t *output = outputs[part];
    for (int32_t k = 0; k < p.outer; k++) {
      const int8_t *from = input + k * p.input_step + p.slices[part].begin;
      for (int32_t run = 0; run < runs.count; run++) {
        memcpy(output, from + run * runs.stride, (size_t)runs.length);
        output += runs.length;
      }
    }
  }
}

#endif
