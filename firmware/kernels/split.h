/* SPLIT, int8, all outputs of the input's scale and zero point.
 *
 *   for every index before the axis: outputs[0] gets a slice, outputs[1] the next one, ...
 *
 * A slice is `runs` runs of contiguous bytes. Exact; nothing is rounded. */
#ifndef TRECX_KERNELS_SPLIT_H
#define TRECX_KERNELS_SPLIT_H

#include <string.h>

#include "requantize.h"

#define TRECX_SPLIT_PARTS 8

typedef struct {
  int32_t outputs;
  int32_t outer; /* indices before the axis */
  int32_t input_step, input_stride; /* bytes from index to index, from run to run */
  int32_t begin[TRECX_SPLIT_PARTS]; /* bytes before an output's slice */
  int32_t runs[TRECX_SPLIT_PARTS], run_length[TRECX_SPLIT_PARTS];
} trecx_split_params;

TRECX_KERNEL void trecx_split(const int8_t *input, int8_t *const *outputs, const trecx_split_params p) {
  for (int32_t part = 0; part < p.outputs; part++) {
    int8_t *output = outputs[part];
    for (int32_t k = 0; k < p.outer; k++) {
      const int8_t *from = input + k * p.input_step + p.begin[part];
      for (int32_t run = 0; run < p.runs[part]; run++) {
        memcpy(output, from + run * p.input_stride, (size_t)p.run_length[part]);
        output += p.run_length[part];
      }
    }
  }
}

#endif
