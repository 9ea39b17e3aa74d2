/* Inner products of int8 rows: sum of a[k] * b[k], sum of a[k]. */
#ifndef TRECX_KERNELS_DOT_H
#define TRECX_KERNELS_DOT_H

#include "requantize.h"

TRECX_INLINE int32_t trecx_dot(const int8_t *a, const int8_t *b, int32_t count) {
  int32_t sum = 0;
  for (int32_t k = 0; k < count; k++) {
    sum += (int32_t)a[k] * b[k];
  }
  return sum;
}

TRECX_INLINE int32_t trecx_sum(const int8_t *a, int32_t count) {
  int32_t sum = 0;
  for (int32_t k = 0; k < count; k++) {
    sum += a[k];
  }
  return sum;
}

#endif
