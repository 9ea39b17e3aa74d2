/* FULLY_CONNECTED, int8, weights (outputs, inputs).
 *
 *   out[o] = clamp(zo + requantize(bias[o] + sum of w[o][i] * in[i]))
 *
 * The input's zero point zx is folded into the bias: b - zx * sum(w). The input is `runs` runs of contiguous bytes.
 * Rounding: requantize.h; per-tensor weights repeat their multiplier and shift for every output. */
#ifndef TRECX_KERNELS_FULLY_CONNECTED_H
#define TRECX_KERNELS_FULLY_CONNECTED_H

#include "dot.h"
#include "requantize.h"

typedef struct {
  trecx_runs input;
  int32_t outputs;
  int32_t shifts_right; /* all shifts are negative */
  trecx_output output;
} trecx_fully_connected_params;
typedef trecx_channel_tables trecx_fully_connected_tables;

TRECX_KERNEL void trecx_fully_connected(const int8_t *input, int8_t *output,
                                        const trecx_fully_connected_tables *tables,
                                        const trecx_fully_connected_params p) {
  const int8_t *const weights = tables->weights;
  const int32_t *const bias = tables->bias;
  const int32_t *const multipliers = tables->multipliers;
  const int8_t *const shifts = tables->shifts;
  for (int32_t o = 0; o < p.outputs; o++) {
    int32_t sum = bias[o];
    for (int32_t run = 0; run < p.input.count; run++) {
      const int8_t *const row = weights + (o * p.input.count + run) * p.input.length;
      sum += trecx_dot(input + run * p.input.stride, row, p.input.length);
    }
    const int32_t scaled = p.shifts_right ? trecx_requantize_right(sum, multipliers[o], shifts[o])
                                          : trecx_requantize(sum, multipliers[o], shifts[o]);
    output[o] = trecx_to_output(scaled, p.output);
  }
}

#endif
