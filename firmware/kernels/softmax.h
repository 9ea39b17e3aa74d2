/* SOFTMAX over the channels, int8 logits to int8 scores of scale 1/256 and zero point -128.
 *
 *   d = highest logit - logit,  e[d] = exp(-beta * scale * d) from a table in fractions of 2^31, 0 where negligible
 *   S = sum of round_shift(e[d], 12)
 *   score = e[d] / S * 256 - 128
 *
 * 1 / S comes from three Newton steps on S shifted to [1/2, 1), as in TensorFlow Lite Micro: y += y * (1 - S * y).
 * e depends on d alone, so that the table is exact. S stays in [2^19, 2^28): the highest logit adds 2^19, and rows of more
 * than 511 are refused. */
#ifndef TRECX_KERNELS_SOFTMAX_H
#define TRECX_KERNELS_SOFTMAX_H

#include "requantize.h"

typedef struct {
  trecx_runs input; /* pixels and their classes */
} trecx_softmax_params;

TRECX_INLINE int32_t trecx_saturate(int64_t x) {
  return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}

/* 2 / S' in fractions of 2^31, divided by 2, for S' = half / 2^31 in [1/2, 1). */
TRECX_INLINE int32_t trecx_reciprocal(int32_t half) {
  int32_t y = 1515870810 + trecx_multiply_high(half, -1010580540); /* 48/17 - 32/17 S', 29 fraction bits */
  for (int step = 0; step < 3; step++) {
    const int32_t error = (1 << 29) - trecx_multiply_high(half, y);
    y += trecx_saturate((int64_t)trecx_multiply_high(y, error) * 4);
  }
  return trecx_saturate((int64_t)y * 2);
}

TRECX_KERNEL void trecx_softmax(const int8_t *input, int8_t *output, const int32_t *exponentials,
                                const trecx_softmax_params p) {
  for (int32_t pixel = 0; pixel < p.input.count; pixel++) {
    const int8_t *const logits = input + pixel * p.input.stride;
    int32_t highest = INT8_MIN;
    for (int32_t c = 0; c < p.input.length; c++) {
      highest = trecx_max(highest, logits[c]);
    }
    int32_t sum = 0;
    for (int32_t c = 0; c < p.input.length; c++) {
      sum += trecx_round_shift(exponentials[highest - logits[c]], 12);
    }
    int32_t zeros = 0; /* in front of the highest bit of the 32-bit sum */
    while ((((uint32_t)sum << zeros) & 0x80000000u) == 0) {
      zeros++;
    }
    const int32_t scale = trecx_reciprocal((int32_t)(((uint32_t)sum << zeros) >> 1));
    for (int32_t c = 0; c < p.input.length; c++) {
      const int32_t share = trecx_multiply_high(exponentials[highest - logits[c]], scale);
      *output++ = trecx_clamp(trecx_round_shift(share, 35 - zeros) - 128, INT8_MIN, INT8_MAX);
    }
  }
}

#endif
