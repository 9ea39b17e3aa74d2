/* Sums of four channels over pixels: a load and two SXTAB16 per pixel. */
#ifndef TRECX_KERNELS_DSP_SUM_H
#define TRECX_KERNELS_DSP_SUM_H

#include "simd.h"

/* Halves of `sums` plus bytes 0 and 2 of `bytes`, modulo 2^16. */
TRECX_INLINE uint32_t trecx_dsp_sum_even(uint32_t sums, uint32_t bytes) {
#if defined(__ARM_FEATURE_DSP)
  __asm__("sxtab16 %0, %0, %1" : "+r"(sums) : "r"(bytes));
  return sums;
#else
  const uint32_t halves = trecx_sxtb16(bytes);
  return trecx_pkhbt(sums + halves, (sums >> 16) + (halves >> 16));
#endif
}

/* Halves of `sums` plus bytes 1 and 3 of `bytes`, modulo 2^16. */
TRECX_INLINE uint32_t trecx_dsp_sum_odd(uint32_t sums, uint32_t bytes) {
#if defined(__ARM_FEATURE_DSP)
  __asm__("sxtab16 %0, %0, %1, ror #8" : "+r"(sums) : "r"(bytes));
  return sums;
#else
  return trecx_dsp_sum_even(sums, bytes >> 8);
#endif
}

/* Sums of four channels, or of fewer (`count`), over a block of at most 256 pixels, `step` bytes from column to column
 * and `row` bytes from row to row. */
TRECX_INLINE void trecx_dsp_sum(const int8_t *input, int32_t rows, int32_t row, int32_t columns, int32_t step,
                                int32_t count, int32_t sums[4]) {
  if (count < 4) {
    for (int32_t k = 0; k < count; k++) {
      sums[k] = 0;
      for (int32_t y = 0; y < rows; y++) {
        for (int32_t x = 0; x < columns; x++) {
          sums[k] += input[y * row + x * step + k];
        }
      }
    }
    return;
  }
  uint32_t even = 0;
  uint32_t odd = 0;
  for (int32_t y = 0; y < rows; y++) {
    const int8_t *pixel = input + y * row;
    for (int32_t x = 0; x < columns; x++) {
      const uint32_t bytes = trecx_load32(pixel);
      even = trecx_dsp_sum_even(even, bytes);
      odd = trecx_dsp_sum_odd(odd, bytes);
      pixel += step;
    }
  }
  sums[0] = (int16_t)(even & 0xffffu);
  sums[1] = (int16_t)(odd & 0xffffu);
  sums[2] = (int16_t)(even >> 16);
  sums[3] = (int16_t)(odd >> 16);
}

#endif
