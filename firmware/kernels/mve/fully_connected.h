/* FULLY_CONNECTED, int8; see ../fully_connected.h for what it computes.
 *
 * 4 outputs at a time: per 16 inputs, 5 loads feed 4 VMLADAVA of 16 products each. `weights` is
 * [outputs / 4][runs][blocks][4][16], `requantization` per group of 4 outputs: biases, multipliers, shifts; both filled
 * up with zeros. All inputs are read for every group. */
#ifndef TRECX_KERNELS_MVE_FULLY_CONNECTED_H
#define TRECX_KERNELS_MVE_FULLY_CONNECTED_H

#include "requantize.h"

typedef struct {
  trecx_runs input;
  int32_t outputs;
  trecx_output output;
} trecx_mve_fully_connected_params;

/* What tells layers of one shape apart. */
typedef struct {
  const int8_t *weights;
  const int32_t *requantization;
} trecx_mve_fully_connected_tables;

TRECX_KERNEL void trecx_mve_fully_connected(const int8_t *input, int8_t *output,
                                            const trecx_mve_fully_connected_tables *tables,
                                            const trecx_mve_fully_connected_params p) {
  const int8_t *weights = tables->weights;
  const int32_t *requantization = tables->requantization;
  for (int32_t o = 0; o < p.outputs; o += 4) {
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int32_t run = 0; run < p.input.count; run++) {
      const int8_t *const from = input + run * p.input.stride;
      for (int32_t k = 0; k < p.input.length; k += 16) {
        const int32_t left = p.input.length - k;
        const int whole = p.input.length % 16 == 0 || left >= 16;
        const int8x16_t x = whole ? vldrbq_s8(from + k) : vldrbq_z_s8(from + k, vctp8q((uint32_t)left));
        s0 = vmladavaq_s8(s0, x, vldrbq_s8(weights));
        s1 = vmladavaq_s8(s1, x, vldrbq_s8(weights + 16));
        s2 = vmladavaq_s8(s2, x, vldrbq_s8(weights + 32));
        s3 = vmladavaq_s8(s3, x, vldrbq_s8(weights + 48));
        weights += 64;
      }
    }
    const int32x4_t sums = vaddq_s32(trecx_mve_lanes(s0, s1, s2, s3), vldrwq_s32(requantization));
    int32x4_t x = trecx_mve_scale_each(sums, vldrwq_s32(requantization + 4), vldrwq_s32(requantization + 8), p.output);
    x = vmaxq_s32(vaddq_n_s32(x, p.output.zero_point), vdupq_n_s32(p.output.range.min));
    vstrbq_p_s32(output + o, vminq_s32(x, vdupq_n_s32(p.output.range.max)), vctp32q((uint32_t)(p.outputs - o)));
    requantization += 12;
  }
}

#endif
