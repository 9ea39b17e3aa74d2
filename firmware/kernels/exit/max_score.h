/* Exit criterion: the highest softmax score, from int8 logits alone.
 *
 *   sum over classes of e[d],  d = (highest logit) - logit,  e[d] = round(2^16 exp(-scale d))
 *
 * The highest softmax score is 2^16 / sum, so "score >= rho" is "sum <= 2^16 / rho": no division, no exponential and
 * no float on the device. The sum of up to 65,535 classes fits in 32 bits.
 */
#ifndef TRECX_KERNELS_EXIT_MAX_SCORE_H
#define TRECX_KERNELS_EXIT_MAX_SCORE_H

#include <stdint.h>

static inline uint32_t trecx_exit_max_score(const int8_t *logits, uint32_t classes, const uint32_t *e) {
  int32_t highest = logits[0];
  for (uint32_t k = 1; k < classes; k++) {
    if (logits[k] > highest) {
      highest = logits[k];
    }
  }
  uint32_t sum = 0;
  for (uint32_t k = 0; k < classes; k++) {
    sum += e[highest - logits[k]];
  }
  return sum;
}

#endif
