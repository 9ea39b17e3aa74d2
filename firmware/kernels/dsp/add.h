/* ADD, int8, equal shapes, for the DSP extension.
 *
 *   a = requantize((in0 - z0) << 20, m0, s0),  b likewise
 *   out = clamp(zo + requantize(a + b, mo, so))
 *
 * The rounding of requantize.h on SMMULR(2 * x, m) = multiply_high(x, m): all shifts are to the right or 0, |x| < 2^28,
 * and |a + b| < 2^28, so that doubling and adding half a step cannot overflow. Four values at a time, a word of each
 * input: exact in place of either. Shifts are constants, and fold into the instruction that takes their result. */
#ifndef TRECX_KERNELS_DSP_ADD_H
#define TRECX_KERNELS_DSP_ADD_H

#include "simd.h"

typedef trecx_addition trecx_dsp_add_params;

/* requantize(x / 2, factor) for |x| < 2^30. */
TRECX_INLINE int32_t trecx_dsp_add_scale(int32_t x, const trecx_multiplier factor) {
  const int32_t right = -factor.shift;
  const int32_t y = trecx_smmulr(x, factor.value);
  return right == 0 ? y : (y + (y >> 31) + ((int32_t)1 << (right - 1))) >> right;
}

TRECX_INLINE int8_t trecx_dsp_add_one(int32_t x0, int32_t x1, const trecx_dsp_add_params p) {
  const int32_t wide0 = (x0 - p.input0.zero_point) * ((int32_t)1 << 21);
  const int32_t wide1 = (x1 - p.input1.zero_point) * ((int32_t)1 << 21);
  const int32_t sum = trecx_dsp_add_scale(wide0, p.input0.factor) + trecx_dsp_add_scale(wide1, p.input1.factor);
  const int32_t out = trecx_dsp_add_scale(2 * sum, p.factor) + p.output.zero_point;
  const trecx_range range = p.output.range;
  const int whole = range.min == INT8_MIN && range.max == INT8_MAX;
  return whole ? (int8_t)trecx_ssat8(out) : trecx_clamp(out, range.min, range.max);
}

TRECX_INLINE int8_t trecx_dsp_add_byte(uint32_t word, int byte) {
  return (int8_t)(word >> (8 * byte));
}

TRECX_KERNEL void trecx_dsp_add(const int8_t *input0, const int8_t *input1, int8_t *output,
                                const trecx_dsp_add_params p) {
  for (int32_t run = 0; run < p.runs; run++) {
    const int8_t *in0 = input0 + run * p.input0.stride;
    const int8_t *in1 = input1 + run * p.input1.stride;
    const int8_t *const end = in0 + p.run_length - p.run_length % 4;
    while (in0 != end) {
      const uint32_t x0 = trecx_load32(in0);
      const uint32_t x1 = trecx_load32(in1);
      in0 += 4;
      in1 += 4;
      output[0] = trecx_dsp_add_one(trecx_dsp_add_byte(x0, 0), trecx_dsp_add_byte(x1, 0), p);
      output[1] = trecx_dsp_add_one(trecx_dsp_add_byte(x0, 1), trecx_dsp_add_byte(x1, 1), p);
      output[2] = trecx_dsp_add_one(trecx_dsp_add_byte(x0, 2), trecx_dsp_add_byte(x1, 2), p);
      output[3] = trecx_dsp_add_one(trecx_dsp_add_byte(x0, 3), trecx_dsp_add_byte(x1, 3), p);
      output += 4;
    }
    for (int32_t k = 0; k < p.run_length % 4; k++) {
      *output++ = trecx_dsp_add_one(in0[k], in1[k], p);
    }
  }
}

#endif
