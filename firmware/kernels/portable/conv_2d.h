/* CONV_2D, int8, NHWC, for cores with 32-bit multiplication only: two output pixels share each product.
 *
 *   out[pixel][o] = clamp(zo + requantize(bias[o] + sum of w[o][k] * tap[pixel][k]))
 *
 * The taps of two pixels, a and b, are gathered in one column of words a + 2^16 * b (all arithmetic is modulo 2^32), the
 * input's zero point where they lie in the padding. Then w * word holds both pixels' products. A group of four such
 * products plus 2^15 is c = 2^15 + A + 2^16 * B, and as the sums A and B of a group fit 16 bits,
 *
 *   c >> 16 = B,    the sum of all B is the second pixel's accumulator `high`,
 *   sum of all c - 2^16 * high - groups * 2^15  is the first pixel's.
 *
 * They fit where the weights of a group have magnitudes of 255 at most in sum. What a group has too much of follows the
 * groups as residues, (index in the column << 8 | weight & 255), each a group of its own.
 *
 * Tile: two channels of two pixels, weights interleaved by two: 4 column words and 8 weights feed 16 multiply-accumulates
 * and 4 additions. Registers: 2 groups, 4 accumulators, word, weight, 2 pointers, end.
 *
 * Where `excess` is 1, weights are stored plus 128: a Cortex-M0 loads only unsigned bytes from pointer + constant. Then
 * each group of the column is followed by what takes this back, 2^15 - 128 * (sum of the group's words).
 *
 * `channels` has four words per channel: bias, for the second pixel; bias + 2^16 * bias - 2^15 * (groups and residues),
 * for the first; multiplier; residues << 8 | right shift. */
#ifndef TRECX_KERNELS_PORTABLE_CONV_2D_H
#define TRECX_KERNELS_PORTABLE_CONV_2D_H

#include "../memory.h"
#include "scale.h"

typedef struct {
  trecx_window rows, columns;
  trecx_pixels input;
  int32_t input_zero_point;
  int32_t padded; /* some windows reach into the padding */
  int32_t output_channels;
  int32_t groups;
  int32_t tile;   /* channels computed together, 1 or 2 */
  int32_t excess; /* weights are stored plus 128 */
  int32_t narrow; /* accumulators are below 2^20 */
  trecx_output output;
} trecx_portable_conv_2d_params;

/* What tells layers of one shape apart. */
typedef struct {
  const int8_t *weights;
  const uint32_t *residues;
  const int32_t *channels;
} trecx_portable_conv_2d_tables;

enum { TRECX_PORTABLE_CONV_2D_GROUP = 4 };

/* The first tap of an output pixel. */
typedef struct {
  int32_t top, left;
} trecx_portable_conv_2d_place;

/* Four products of both pixels on one channel, and the accumulators of both pixels. */
typedef struct {
  uint32_t all;
  int32_t high;
} trecx_portable_conv_2d_sums;

TRECX_INLINE trecx_portable_conv_2d_place trecx_portable_conv_2d_next(trecx_portable_conv_2d_place place,
                                                                      const trecx_portable_conv_2d_params p) {
  place.left += p.columns.stride;
  if (place.left == p.columns.output * p.columns.stride - p.columns.before) {
    place.left = -p.columns.before;
    place.top += p.rows.stride;
  }
  return place;
}

TRECX_INLINE int trecx_portable_conv_2d_inside(const trecx_portable_conv_2d_place place,
                                               const trecx_portable_conv_2d_params p) {
  return place.top >= 0 && place.top + p.rows.kernel <= p.rows.size && place.left >= 0 &&
         place.left + p.columns.kernel <= p.columns.size;
}

TRECX_INLINE trecx_word *trecx_portable_conv_2d_run(trecx_word *column, const int8_t *a, const int8_t *b,
                                                    int32_t count) {
#pragma GCC unroll 4
  for (int32_t i = 0; i < count; i++) {
    column[i] = (uint32_t)a[i] + ((uint32_t)b[i] << 16);
  }
  return column + count;
}

/* The channels of the pixel at (y, x), or `blank` where that lies in the padding. */
TRECX_INLINE const int8_t *trecx_portable_conv_2d_tap(const int8_t *input, const int8_t *blank, int32_t y, int32_t x,
                                                      const trecx_portable_conv_2d_params p) {
  const int inside = (uint32_t)y < (uint32_t)p.rows.size && (uint32_t)x < (uint32_t)p.columns.size;
  return inside ? input + (y * p.columns.size + x) * p.input.stride : blank;
}

/* Gather the taps of the pixels at a and b. */
TRECX_INLINE void trecx_portable_conv_2d_gather(const int8_t *input, trecx_word *column, const int8_t *blank,
                                                const trecx_portable_conv_2d_place a,
                                                const trecx_portable_conv_2d_place b,
                                                const trecx_portable_conv_2d_params p) {
  const int dense = p.input.stride == p.input.channels;
  if (dense && (!p.padded || (trecx_portable_conv_2d_inside(a, p) && trecx_portable_conv_2d_inside(b, p)))) {
    const int8_t *const from_a = input + (a.top * p.columns.size + a.left) * p.input.stride;
    const int8_t *const from_b = input + (b.top * p.columns.size + b.left) * p.input.stride;
    for (int32_t ky = 0; ky < p.rows.kernel; ky++) {
      const int32_t row = ky * p.columns.size * p.input.stride;
      column = trecx_portable_conv_2d_run(column, from_a + row, from_b + row, p.columns.kernel * p.input.channels);
    }
    return;
  }
  for (int32_t ky = 0; ky < p.rows.kernel; ky++) {
    for (int32_t kx = 0; kx < p.columns.kernel; kx++) {
      const int8_t *const from_a = trecx_portable_conv_2d_tap(input, blank, a.top + ky, a.left + kx, p);
      const int8_t *const from_b = trecx_portable_conv_2d_tap(input, blank, b.top + ky, b.left + kx, p);
      column = trecx_portable_conv_2d_run(column, from_a, from_b, p.input.channels);
    }
  }
}

/* Let each group be followed by what takes 128 times its words back; from the last on, as groups move up. */
TRECX_INLINE void trecx_portable_conv_2d_spread(trecx_word *column, const trecx_portable_conv_2d_params p) {
  for (int32_t g = p.groups - 1; g >= 0; g--) {
    const trecx_word *const from = column + g * TRECX_PORTABLE_CONV_2D_GROUP;
    trecx_word *const to = column + g * (TRECX_PORTABLE_CONV_2D_GROUP + 1);
    const uint32_t x0 = from[0], x1 = from[1], x2 = from[2], x3 = from[3];
    to[4] = (1u << 15) - ((x0 + x1 + x2 + x3) << 7);
    to[3] = x3;
    to[2] = x2;
    to[1] = x1;
    to[0] = x0;
  }
}

/* `group` plus one tap's products. Signed where they cannot overflow, as compilers reorder unsigned sums. */
TRECX_INLINE uint32_t trecx_portable_conv_2d_product(uint32_t group, uint32_t word, const int8_t *weight,
                                                     const trecx_portable_conv_2d_params p) {
  if (p.excess) {
    return group + word * (uint32_t) * (const uint8_t *)weight;
  }
  return (uint32_t)((int32_t)group + (int32_t)word * *weight);
}

/* 2^15, where a multiply-accumulate shall start from it: a constant would be added by an instruction of its own. */
TRECX_INLINE uint32_t trecx_portable_conv_2d_half(const trecx_portable_conv_2d_params p) {
  if (p.excess) {
    return 1u << 15;
  }
  const volatile uint32_t unknown = 1u << 15;
  return unknown;
}

TRECX_INLINE void trecx_portable_conv_2d_add(trecx_portable_conv_2d_sums *sums, uint32_t group) {
  sums->all += group;
  sums->high += (int32_t)group >> 16;
}

/* Add a channel's residues; returns the next channel's. */
TRECX_INLINE const uint32_t *trecx_portable_conv_2d_residues(trecx_portable_conv_2d_sums *sums,
                                                             const trecx_word *column, const uint32_t *residues,
                                                             int32_t count) {
  for (; count > 0; count--) {
    const uint32_t residue = *residues++;
    trecx_portable_conv_2d_add(sums, (1u << 15) + (uint32_t)(int8_t)(residue & 255) * column[residue >> 8]);
  }
  return residues;
}

/* What remains of a channel after its groups; returns the next channel's residues. */
TRECX_INLINE const uint32_t *trecx_portable_conv_2d_finish(trecx_portable_conv_2d_sums sums, const trecx_word *column,
                                                           int8_t *first, int8_t *second, const uint32_t *residues,
                                                           const int32_t *channel,
                                                           const trecx_portable_conv_2d_params p) {
  const int32_t right = channel[3] & 255;
  residues = trecx_portable_conv_2d_residues(&sums, column, residues, channel[3] >> 8);
  const int32_t a = (int32_t)((uint32_t)channel[1] + sums.all - ((uint32_t)sums.high << 16));
  *first = trecx_portable_scale(a, channel[2], right, p.narrow, p.output);
  *second = trecx_portable_scale(sums.high, channel[2], right, p.narrow, p.output);
  return residues;
}

/* All channels of two pixels. */
TRECX_INLINE void trecx_portable_conv_2d_pair(const trecx_word *column, int8_t *first, int8_t *second,
                                              const int8_t *weights, const uint32_t *residues, const int32_t *channels,
                                              const trecx_portable_conv_2d_params p) {
  const trecx_word *const end = column + p.groups * (TRECX_PORTABLE_CONV_2D_GROUP + p.excess);
  const uint32_t half = trecx_portable_conv_2d_half(p);
  for (int32_t o = 0; o < p.output_channels; o += p.tile) {
    trecx_portable_conv_2d_sums s0 = {0, channels[0]};
    trecx_portable_conv_2d_sums s1 = {0, channels[4 * (p.tile - 1)]};
    const trecx_word *x = column;
#pragma GCC unroll 2
    do {
      uint32_t c0 = p.excess ? x[TRECX_PORTABLE_CONV_2D_GROUP] : half;
      uint32_t c1 = c0;
#pragma GCC unroll 4
      for (int32_t k = 0; k < TRECX_PORTABLE_CONV_2D_GROUP; k++) {
        const uint32_t word = x[k];
        c0 = trecx_portable_conv_2d_product(c0, word, weights + p.tile * k, p);
        if (p.tile == 2) {
          c1 = trecx_portable_conv_2d_product(c1, word, weights + p.tile * k + 1, p);
        }
      }
      trecx_portable_conv_2d_add(&s0, c0);
      if (p.tile == 2) {
        trecx_portable_conv_2d_add(&s1, c1);
      }
      weights += p.tile * TRECX_PORTABLE_CONV_2D_GROUP;
      x += TRECX_PORTABLE_CONV_2D_GROUP + p.excess;
    } while (x != end);
    residues = trecx_portable_conv_2d_finish(s0, column, first, second, residues, channels, p);
    if (o + 1 < p.output_channels && p.tile == 2) {
      residues = trecx_portable_conv_2d_finish(s1, column, first + 1, second + 1, residues, channels + 4, p);
    }
    channels += 4 * p.tile;
    first += p.tile;
    second += p.tile;
  }
}

TRECX_KERNEL void trecx_portable_conv_2d(const int8_t *input, int8_t *output, int8_t *scratch,
                                         const trecx_portable_conv_2d_tables *tables,
                                         const trecx_portable_conv_2d_params p) {
  const int8_t *const weights = tables->weights;
  const uint32_t *const residues = tables->residues;
  const int32_t *const channels = tables->channels;
  const int32_t taps = p.rows.kernel * p.columns.kernel * p.input.channels;
  const int32_t pixels = p.rows.output * p.columns.output;
  trecx_word *const column = (trecx_word *)(void *)scratch;
  int8_t *const blank = scratch + 4 * p.groups * (TRECX_PORTABLE_CONV_2D_GROUP + p.excess);
  if (p.padded) {
    memset(blank, p.input_zero_point, (uint32_t)p.input.channels);
  }
  trecx_portable_conv_2d_place place = {-p.rows.before, -p.columns.before};
  for (int32_t pixel = 0; pixel < pixels; pixel += 2) {
    /* An odd last pixel is computed twice. */
    const int32_t second = trecx_min(pixel + 1, pixels - 1);
    const trecx_portable_conv_2d_place a = place;
    const trecx_portable_conv_2d_place b = second > pixel ? trecx_portable_conv_2d_next(a, p) : a;
    place = trecx_portable_conv_2d_next(b, p);
    trecx_portable_conv_2d_gather(input, column, blank, a, b, p);
    for (int32_t k = taps; k < p.groups * TRECX_PORTABLE_CONV_2D_GROUP; k++) {
      column[k] = 0;
    }
    if (p.excess) {
      trecx_portable_conv_2d_spread(column, p);
    }
    trecx_portable_conv_2d_pair(column, output + pixel * p.output_channels, output + second * p.output_channels,
                                weights, residues, channels, p);
  }
}

#endif
