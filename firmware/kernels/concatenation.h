/* CONCATENATION, int8, all inputs of one scale and zero point.
 *
 *   out = for every index before the axis: the slice of inputs[0], the slice of inputs[1], ...
 *
 * A slice is `runs` runs of contiguous bytes. Exact; nothing is rounded. */
#ifndef TRECX_KERNELS_CONCATENATION_H
#define TRECX_KERNELS_CONCATENATION_H

#include <string.h>

#include "requantize.h"

#define TRECX_CONCATENATION_PARTS 8

typedef struct {
  int32_t parts;
  int32_t outer; /* indices before the axis */
  trecx_runs inputs[TRECX_CONCATENATION_PARTS];
} trecx_concatenation_params;

TRECX_KERNEL void trecx_concatenation(const int8_t *const *inputs, int8_t *output,
                                      const trecx_concatenation_params p) {
  for (int32_t k = 0; k < p.outer; k++) {
    for (int32_t part = 0; part < p.parts; part++) {
      const trecx_runs runs = p.inputs[part];
      for (int32_t run = 0; run < runs.count; run++) {
        memcpy(output, inputs[part] + (k * runs.count + run) * runs.stride, (size_t)runs.length);
        output += runs.length;
      }
    }
  }
}

#endif
