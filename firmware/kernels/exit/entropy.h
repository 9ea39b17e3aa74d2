/* Exit criterion: the entropy of the softmax scores in units of 2^-16 nats, from int8 logits alone.
 *
 *   H = -sum y ln y = U / S + ln(S / 2^16),  S = sum of e[d],  U = sum of a[d],  d = (highest logit) - logit
 *   e[d] = round(2^16 exp(-scale d)),  a[d] = round(2^16 scale d exp(-scale d)),  ln[k] = round(2^16 ln(1 + k / 64))
 *
 * Returns 1 + H rounded down. For up to 256 classes S is at most 2^24, so that a remainder shifted by 8 fits 32 bits.
 */
#ifndef TRECX_KERNELS_EXIT_ENTROPY_H
#define TRECX_KERNELS_EXIT_ENTROPY_H

#include <stdint.h>

/* 2^16 ln(s / 2^16) for s from 2^16 to 2^24: the exponent, and a straight line between the table's neighbours. */
static inline uint32_t trecx_exit_logarithm(uint32_t s, const uint16_t *ln) {
  uint32_t exponent = 15u; /* of s / 2^16 */
  while ((s & 0x80000000u) == 0) {
    s <<= 1;
    exponent--;
  }
  const uint32_t part = s >> 25 & 63u;
  const uint32_t rest = s >> 9 & 0xFFFFu;
  const uint32_t slope = (uint32_t)ln[part + 1u] - ln[part];
  return exponent * 45426u + ln[part] + (slope * rest >> 16);
}

static inline uint32_t trecx_exit_entropy(const int8_t *logits, uint32_t classes, const uint32_t *e, const uint16_t *a,
                                          const uint16_t *ln) {
  int32_t highest = logits[0];
  for (uint32_t k = 1; k < classes; k++) {
    if (logits[k] > highest) {
      highest = logits[k];
    }
  }
  uint32_t s = 0;
  uint32_t u = 0;
  for (uint32_t k = 0; k < classes; k++) {
    s += e[highest - logits[k]];
    u += a[highest - logits[k]];
  }
  /* 2^16 u / s, eight bits at a time. */
  uint32_t quotient = u / s;
  for (int step = 0; step < 2; step++) {
    u = (u % s) << 8;
    quotient = quotient << 8 | u / s;
  }
  return 1u + quotient + trecx_exit_logarithm(s, ln);
}

#endif
