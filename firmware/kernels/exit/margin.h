/* Exit criterion: how far the highest int8 logit is above the second highest.
 *
 *   256 - (highest - second highest), from 1 to 256; exact
 */
#ifndef TRECX_KERNELS_EXIT_MARGIN_H
#define TRECX_KERNELS_EXIT_MARGIN_H

#include <stdint.h>

static inline uint32_t trecx_exit_margin(const int8_t *logits, uint32_t classes) {
  int32_t highest = INT8_MIN;
  int32_t second = INT8_MIN;
  for (uint32_t k = 0; k < classes; k++) {
    if (logits[k] > highest) {
      second = highest;
      highest = logits[k];
    } else if (logits[k] > second) {
      second = logits[k];
    }
  }
  return (uint32_t)(256 - (highest - second));
}

#endif
