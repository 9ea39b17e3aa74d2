/* FULLY_CONNECTED with the weights of gemm.h, two outputs at a time; what is said there of v, x, s, y holds here too.
 *
 * Every input is read once per pair of outputs, so nothing is kept: x and y are made on the way, 10 instructions for 8
 * products. */
#ifndef TRECX_KERNELS_DSP_FULLY_CONNECTED_H
#define TRECX_KERNELS_DSP_FULLY_CONNECTED_H

#include "gemm.h"

typedef struct {
  int32_t inputs, outputs;
  trecx_output output;
} trecx_dsp_fully_connected_params;

TRECX_KERNEL void trecx_dsp_fully_connected(const int8_t *input, int8_t *output, const uint32_t *weights,
                                            const trecx_dsp_fully_connected_params p) {
  const trecx_dsp_output o = {p.outputs, TRECX_DSP_ANY, p.output};
  const int32_t rest = p.inputs % 4;
  for (int32_t channel = 0; channel < p.outputs; channel += 2) {
    int32_t a = (int32_t)weights[0];
    int32_t b = (int32_t)weights[1];
    weights += 2;
    for (int32_t k = 0; k < p.inputs; k += 4) {
      const uint32_t bytes = k < p.inputs - rest ? trecx_load32(input + k) : trecx_dsp_load_few(input + k, rest);
      uint32_t xy[2];
      trecx_dsp_widen(xy, bytes);
      a = trecx_smlad(trecx_sxtb16(weights[0]), xy[1], trecx_smlad(weights[0], xy[0], a));
      b = trecx_smlad(trecx_sxtb16(weights[1]), xy[1], trecx_smlad(weights[1], xy[0], b));
      weights += 2;
    }
    output[channel] = trecx_dsp_round_any(a, weights, 0, o);
    if (channel + 1 < p.outputs) {
      output[channel + 1] = trecx_dsp_round_any(b, weights, 1, o);
    }
    weights += TRECX_DSP_PAIR_WORDS - 2;
  }
}

#endif
