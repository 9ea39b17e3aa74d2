/* AVERAGE_POOL_2D, int8, NHWC, windows of up to 256 taps; see ../average_pool_2d.h for what it computes.
 *
 * 8 channels at a time, summed in 16 bits. With n taps the quotient is
 *
 *   sign(sum) * floor((2 |sum| + n) / 2n) = sign(sum) * ((2 |sum| + n) * ceil(2^31 / n) >> 32)
 *
 * which is exact, as the rounded reciprocal adds less than (2 |sum| + n) / 2^32 <= 257 n / 2^32 < 1 / 2n. The channels
 * of a group are read before they are written. */
#ifndef TRECX_KERNELS_MVE_AVERAGE_POOL_2D_H
#define TRECX_KERNELS_MVE_AVERAGE_POOL_2D_H

#include <arm_mve.h>

#include "../requantize.h"

typedef trecx_pooling trecx_mve_average_pool_2d_params;

TRECX_INLINE int32x4_t trecx_mve_average_pool_2d_divide(int32x4_t sums, uint32_t taps) {
  const uint32_t reciprocal = (0x80000000u + taps - 1) / taps;
  const uint32x4_t twice = vshlq_n_u32(vreinterpretq_u32_s32(vabsq_s32(sums)), 1);
  const uint32x4_t high = vmulhq_u32(vaddq_n_u32(twice, taps), vdupq_n_u32(reciprocal));
  const int32x4_t quotients = vreinterpretq_s32_u32(high);
  return vnegq_m_s32(quotients, quotients, vcmpltq_n_s32(sums, 0));
}

/* 8 channels of one window, whose taps inside the input are `rows` by `columns` from `input` on. */
TRECX_INLINE int16x8_t trecx_mve_average_pool_2d_window(const int8_t *input, int32_t rows, int32_t columns,
                                                        mve_pred16_t some, const trecx_mve_average_pool_2d_params p) {
  int16x8_t sums = vdupq_n_s16(0);
  for (int32_t row = 0; row < rows; row++) {
    const int8_t *from = input + row * p.columns.size * p.input.stride;
    for (int32_t column = 0; column < columns; column++) {
      sums = vaddq_s16(sums, vldrbq_z_s16(from, some));
      from += p.input.stride;
    }
  }
  const uint32_t taps = (uint32_t)(rows * columns);
  const int32x4_t even = trecx_mve_average_pool_2d_divide(vmovlbq_s16(sums), taps);
  const int32x4_t odd = trecx_mve_average_pool_2d_divide(vmovltq_s16(sums), taps);
  sums = vmovntq_s32(vmovnbq_s32(sums, even), odd);
  return vminq_s16(vmaxq_s16(sums, vdupq_n_s16((int16_t)p.range.min)), vdupq_n_s16((int16_t)p.range.max));
}

TRECX_KERNEL void trecx_mve_average_pool_2d(const int8_t *input, int8_t *output,
                                            const trecx_mve_average_pool_2d_params p) {
  for (int32_t y = 0; y < p.rows.output; y++) {
    const int32_t top = y * p.rows.stride - p.rows.before;
    const int32_t row_begin = trecx_max(0, top);
    const int32_t rows = trecx_min(p.rows.size, top + p.rows.kernel) - row_begin;
    for (int32_t x = 0; x < p.columns.output; x++) {
      const int32_t left = x * p.columns.stride - p.columns.before;
      const int32_t column_begin = trecx_max(0, left);
      const int32_t columns = trecx_min(p.columns.size, left + p.columns.kernel) - column_begin;
      const int8_t *const first = input + (row_begin * p.columns.size + column_begin) * p.input.stride;
      for (int32_t c = 0; c < p.input.channels; c += 8) {
        const mve_pred16_t some = vctp16q((uint32_t)(p.input.channels - c));
        vstrbq_p_s16(output + c, trecx_mve_average_pool_2d_window(first + c, rows, columns, some, p), some);
      }
      output += p.input.channels;
    }
  }
}

#endif
