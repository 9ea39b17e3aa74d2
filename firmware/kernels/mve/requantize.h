/* requantize.h on vectors of 4 sums, for shifts of -31..-1, and the way from 16 of them to 16 bytes.
 *
 *   multiply_high = VQRDMULH; round_shift(x, r) = VRSHL(x < 0 ? x - 1 : x, -r), as VRSHL rounds half up
 *
 * x < 0 where the sum is negative; where x is 0 nevertheless, -1 rounds to 0 as well. So VQRDMLAH adds the product to
 * the sum's sign in one step. Where the zero point is the lowest output (RELU), a negative x ends there however it is
 * rounded, and the sign is left out. */
#ifndef TRECX_KERNELS_MVE_REQUANTIZE_H
#define TRECX_KERNELS_MVE_REQUANTIZE_H

#include <arm_mve.h>

#include "../requantize.h"

/* Words of a table `channels` for four channels: their shifts in one word, then bias and multiplier of each. */
enum { TRECX_MVE_GROUP = 9 };

/* The sums of one channel, whose multiplier and shift are scalars; of `shift`, the lowest byte counts. */
TRECX_INLINE int32x4_t trecx_mve_scale(int32x4_t sums, int32_t multiplier, int32_t shift, const trecx_output out) {
  const int32x4_t scaled = out.range.min >= out.zero_point ? vqrdmulhq_n_s32(sums, multiplier)
                                                     : vqrdmlahq_n_s32(vshrq_n_s32(sums, 31), sums, multiplier);
  return vrshlq_n_s32(scaled, shift);
}

/* The sums, without bias, of the channel whose bias and multiplier `channel` points to; returns where the next lie. GCC
 * would load them apart. */
TRECX_INLINE const int32_t *trecx_mve_requantize(int32x4_t *sums, const int32_t *channel, int32_t shift,
                                                 const trecx_output out) {
  int32_t bias, multiplier;
  __asm__("ldrd %0, %1, [%2], #8" : "=&r"(bias), "=&r"(multiplier), "+r"(channel));
  *sums = trecx_mve_scale(vaddq_n_s32(*sums, bias), multiplier, shift, out);
  return channel;
}

/* The sums of four channels. */
TRECX_INLINE int32x4_t trecx_mve_scale_each(int32x4_t sums, int32x4_t multipliers, int32x4_t shifts,
                                            const trecx_output out) {
  const int32x4_t scaled = vqrdmulhq_s32(sums, multipliers);
  return vrshlq_s32(out.range.min >= out.zero_point ? scaled : vaddq_s32(scaled, vshrq_n_s32(sums, 31)), shifts);
}

/* Elements of `even` and `odd` in turn, as 16 bits. As intrinsics these two would cost a copy of `even`. */
TRECX_INLINE int16x8_t trecx_mve_pack(int32x4_t even, int32x4_t odd) {
  __asm__("vqmovnb.s32 %q0, %q0\n\tvqmovnt.s32 %q0, %q1" : "+w"(even) : "w"(odd));
  return vreinterpretq_s16_s32(even);
}

/* clamp(zero point + x), elements of `even` and `odd` in turn. */
TRECX_INLINE int8x16_t trecx_mve_bytes(int16x8_t even, int16x8_t odd, const trecx_output out) {
  even = vqaddq_n_s16(even, (int16_t)out.zero_point);
  odd = vqaddq_n_s16(odd, (int16_t)out.zero_point);
  __asm__("vqmovnb.s16 %q0, %q0\n\tvqmovnt.s16 %q0, %q1" : "+w"(even) : "w"(odd));
  int8x16_t bytes = vreinterpretq_s8_s16(even);
  if (out.range.min > INT8_MIN) {
    bytes = vmaxq_s8(bytes, vdupq_n_s8((int8_t)out.range.min));
  }
  if (out.range.max < INT8_MAX) {
    bytes = vminq_s8(bytes, vdupq_n_s8((int8_t)out.range.max));
  }
  return bytes;
}

/* A vector of four sums from VMLADAV. GCC would go through memory. */
TRECX_INLINE int32x4_t trecx_mve_lanes(int32_t x0, int32_t x1, int32_t x2, int32_t x3) {
  int32x4_t lanes;
  __asm__("vmov %q0[2], %q0[0], %1, %3\n\tvmov %q0[3], %q0[1], %2, %4"
          : "=&w"(lanes)
          : "r"(x0), "r"(x1), "r"(x2), "r"(x3));
  return lanes;
}

/* Stores the lowest 1..4 bytes of every word at `output` + its offset: `channels` channels of four pixels. Words need
 * addresses that are multiples of 4. */
TRECX_INLINE void trecx_mve_store(int8_t *output, uint32x4_t offsets, int8x16_t bytes, int32_t channels, int aligned) {
  uint32x4_t words = vreinterpretq_u32_s8(bytes);
  if (aligned) {
    vstrwq_scatter_offset_u32((uint32_t *)(void *)output, offsets, words);
  } else {
    for (int32_t c = 0; c < trecx_min(4, channels); c++) {
      vstrbq_scatter_offset_u32((uint8_t *)output + c, offsets, words);
      words = vshrq_n_u32(words, 8);
    }
  }
}

#endif
