/* ADD, int8, equal shapes; see ../add.h for what it computes.
 *
 * 16 elements at a time: both inputs are widened in two steps, even and odd elements apart, which also shift them left
 * by 4 + 16 bits; packing puts the elements in order again. The input of the larger scale has factor 1/2 (shift 0), so
 * it is shifted by 19 bits instead, which is exact. Every element is read before its output is written. */
#ifndef TRECX_KERNELS_MVE_ADD_H
#define TRECX_KERNELS_MVE_ADD_H

#include "requantize.h"

typedef trecx_addition trecx_mve_add_params;

/* Half of 8 inputs x << 4, scaled to 20 fraction bits. */
TRECX_INLINE int32x4_t trecx_mve_add_scale(int16x8_t x, int odd, const trecx_multiplier factor) {
  const trecx_output exact = {INT8_MAX, {INT8_MIN, INT8_MAX}};
  if (factor.shift == 0) {
    return odd ? vshlltq_n_s16(x, 15) : vshllbq_n_s16(x, 15);
  }
  return trecx_mve_scale(odd ? vshlltq_n_s16(x, 16) : vshllbq_n_s16(x, 16), factor.value, factor.shift, exact);
}

/* Four of 8 sums, scaled to the output. */
TRECX_INLINE int32x4_t trecx_mve_add_quarter(int16x8_t x0, int16x8_t x1, int odd, const trecx_mve_add_params p) {
  const int32x4_t sum = vaddq_s32(trecx_mve_add_scale(x0, odd, p.input0.factor),
                                  trecx_mve_add_scale(x1, odd, p.input1.factor));
  return trecx_mve_scale(sum, p.factor.value, p.factor.shift, p.output);
}

TRECX_INLINE int16x8_t trecx_mve_add_half(int16x8_t x0, int16x8_t x1, const trecx_mve_add_params p) {
  return trecx_mve_pack(trecx_mve_add_quarter(x0, x1, 0, p), trecx_mve_add_quarter(x0, x1, 1, p));
}

TRECX_INLINE int8x16_t trecx_mve_add_block(int8x16_t x0, int8x16_t x1, const trecx_mve_add_params p) {
  const int16_t z0 = (int16_t)(p.input0.zero_point * 16);
  const int16_t z1 = (int16_t)(p.input1.zero_point * 16);
  const int16x8_t even0 = vsubq_n_s16(vshllbq_n_s8(x0, 4), z0);
  const int16x8_t even1 = vsubq_n_s16(vshllbq_n_s8(x1, 4), z1);
  const int16x8_t odd0 = vsubq_n_s16(vshlltq_n_s8(x0, 4), z0);
  const int16x8_t odd1 = vsubq_n_s16(vshlltq_n_s8(x1, 4), z1);
  return trecx_mve_bytes(trecx_mve_add_half(even0, even1, p), trecx_mve_add_half(odd0, odd1, p), p.output);
}

TRECX_KERNEL void trecx_mve_add(const int8_t *input0, const int8_t *input1, int8_t *output,
                                const trecx_mve_add_params p) {
  const int32_t whole = p.run_length - p.run_length % 16;
  const mve_pred16_t rest = vctp8q((uint32_t)(p.run_length % 16));
  for (int32_t run = 0; run < p.runs; run++) {
    const int8_t *const from0 = input0 + run * p.input0.stride;
    const int8_t *const from1 = input1 + run * p.input1.stride;
    for (int32_t k = 0; k < whole; k += 16) {
      vstrbq_s8(output + k, trecx_mve_add_block(vldrbq_s8(from0 + k), vldrbq_s8(from1 + k), p));
    }
    if (whole < p.run_length) {
      const int8x16_t last = trecx_mve_add_block(vldrbq_z_s8(from0 + whole, rest), vldrbq_z_s8(from1 + whole, rest), p);
      vstrbq_p_s8(output + whole, last, rest);
    }
    output += p.run_length;
  }
}

#endif
