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

typedef struct {
  int32_t runs, run_length;
  int32_t input0_stride, input1_stride; /* bytes from run to run */
  int32_t input0_zero_point, input0_multiplier, input0_right;
  int32_t input1_zero_point, input1_multiplier, input1_right;
  int32_t output_multiplier, output_right, output_zero_point, output_min, output_max;
} trecx_dsp_add_params;

/* x / 2^right, rounded half away from zero, for |x| < 2^30. */
TRECX_INLINE int32_t trecx_dsp_add_shift(int32_t x, int32_t right) {
  return right == 0 ? x : (x + (x >> 31) + ((int32_t)1 << (right - 1))) >> right;
}

TRECX_INLINE int8_t trecx_dsp_add_one(int32_t x0, int32_t x1, const trecx_dsp_add_params p) {
  const int32_t wide0 = (x0 - p.input0_zero_point) * ((int32_t)1 << 21);
  const int32_t wide1 = (x1 - p.input1_zero_point) * ((int32_t)1 << 21);
  const int32_t a = trecx_dsp_add_shift(trecx_smmulr(wide0, p.input0_multiplier), p.input0_right);
  const int32_t b = trecx_dsp_add_shift(trecx_smmulr(wide1, p.input1_multiplier), p.input1_right);
  const int32_t sum = trecx_smmulr(2 * (a + b), p.output_multiplier);
  const int32_t out = trecx_dsp_add_shift(sum, p.output_right) + p.output_zero_point;
  return p.output_min == INT8_MIN && p.output_max == INT8_MAX ? (int8_t)trecx_ssat8(out)
                                                              : trecx_clamp(out, p.output_min, p.output_max);
}

TRECX_INLINE int8_t trecx_dsp_add_byte(uint32_t word, int byte) {
  return (int8_t)(word >> (8 * byte));
}

TRECX_KERNEL void trecx_dsp_add(const int8_t *input0, const int8_t *input1, int8_t *output,
                                const trecx_dsp_add_params p) {
  for (int32_t run = 0; run < p.runs; run++) {
    const int8_t *in0 = input0 + run * p.input0_stride;
    const int8_t *in1 = input1 + run * p.input1_stride;
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
