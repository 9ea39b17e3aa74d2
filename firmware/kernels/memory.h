/* Words of memory that holds int8_t: kernels read several values at once through these.
 *
 * `trecx_load32` and `trecx_store32` take any address, `trecx_word` and `trecx_half` want theirs aligned. All may alias
 * int8_t, so that a kernel may keep any of them in its scratch memory. */
#ifndef TRECX_KERNELS_MEMORY_H
#define TRECX_KERNELS_MEMORY_H

#include <stdint.h>
#include <string.h>

#include "requantize.h"

/* Kernels take words of int8_t apart, and tables are words packed that way. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "trecx's kernels need a little-endian target"
#endif

typedef uint32_t __attribute__((may_alias)) trecx_word;
typedef int16_t __attribute__((may_alias)) trecx_half;

TRECX_INLINE uint32_t trecx_load32(const void *from) {
  uint32_t word;
  memcpy(&word, from, sizeof word);
  return word;
}

TRECX_INLINE void trecx_store32(void *to, uint32_t word) {
  memcpy(to, &word, sizeof word);
}

#endif
