/* CONV_2D, int8, NHWC, any kernel and stride; see ../conv_2d.h for what it computes.
 *
 * The taps of 4 output pixels are copied to scratch (4 "columns"; padding reads as the input's zero point), then all
 * output channels of these pixels are computed, 2 at a time: per 16 taps, 2 loads of weights and 4 of columns feed 8
 * VMLADAVA of 16 products each, 14 instructions for 128 MACs. The 8 sums take all even registers, to which VMLADAVA is
 * confined; lr is one of them, which rules out LE loops. Two pointers have to do, so weights and columns are stored in
 * the order of their use: per block of 16 taps, those of 2 channels, and those of 4 pixels. Two such tiles are
 * requantized and packed together to one word of 4 channels per pixel.
 *
 * `weights` is [channels / 2][blocks][2][16], padded with zeros; `channels` per group of 4 channels: the 4 shifts in
 * one word, then bias and multiplier of each. All taps are copied before any output of the tile is written. */
#ifndef TRECX_KERNELS_MVE_CONV_2D_H
#define TRECX_KERNELS_MVE_CONV_2D_H

#include "requantize.h"

typedef struct {
  trecx_window rows, columns;
  trecx_pixels input;
  int32_t input_zero_point;
  int32_t padded; /* some taps lie outside the input */
  int32_t output_channels;
  int32_t aligned; /* the output's pixels begin at addresses that are multiples of 4 */
  trecx_output output;
} trecx_mve_conv_2d_params;

/* What tells layers of one shape apart. */
typedef struct {
  const int8_t *weights;
  const int32_t *channels;
} trecx_mve_conv_2d_tables;

enum {
  TRECX_MVE_CONV_2D_PIXELS = 4,
  TRECX_MVE_CONV_2D_BLOCK = 16,
};

/* clang-format off */
/* One block; `mla` is vmladav to begin the sums, vmladava to add to them. */
#define TRECX_MVE_CONV_2D_BLOCK_OF(mla)   \
  "vldrb.8 %q[a], [%[w]], #16\n"          \
  "vldrb.8 %q[x], [%[c]], #16\n"          \
  #mla ".s8 r0, %q[a], %q[x]\n"           \
  "vldrb.8 %q[b], [%[w]], #16\n"          \
  #mla ".s8 r8, %q[b], %q[x]\n"           \
  "vldrb.8 %q[y], [%[c]], #16\n"          \
  #mla ".s8 r2, %q[a], %q[y]\n"           \
  #mla ".s8 r10, %q[b], %q[y]\n"          \
  "vldrb.8 %q[x], [%[c]], #16\n"          \
  #mla ".s8 r4, %q[a], %q[x]\n"           \
  #mla ".s8 r12, %q[b], %q[x]\n"          \
  "vldrb.8 %q[y], [%[c]], #16\n"          \
  #mla ".s8 r6, %q[a], %q[y]\n"           \
  #mla ".s8 lr, %q[b], %q[y]\n"

#define TRECX_MVE_CONV_2D_LANES                 \
  "vmov %q[a][2], %q[a][0], r0, r4\n"           \
  "vmov %q[a][3], %q[a][1], r2, r6\n"           \
  "vmov %q[b][2], %q[b][0], r8, r12\n"          \
  "vmov %q[b][3], %q[b][1], r10, lr\n"
#define TRECX_MVE_CONV_2D_RESULTS \
  [a] "=&w"(*first), [b] "=&w"(*second), [x] "=&w"(x), [y] "=&w"(y), [w] "+r"(weights), [c] "+r"(columns)
#define TRECX_MVE_CONV_2D_CHANGED "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "cc", "memory"

/* Two channels of four pixels, without bias; returns the weights of the next two. */
TRECX_INLINE const int8_t *trecx_mve_conv_2d_dot(const int8_t *weights, const int8_t *columns, int32_t blocks,
                                                 int32x4_t *first, int32x4_t *second) {
  int32x4_t x, y;
  if (__builtin_constant_p(blocks) && blocks <= 4) {
    __asm__ volatile(
        TRECX_MVE_CONV_2D_BLOCK_OF(vmladav)
        ".rept %c[rest]\n"
        TRECX_MVE_CONV_2D_BLOCK_OF(vmladava)
        ".endr\n"
        TRECX_MVE_CONV_2D_LANES
        : TRECX_MVE_CONV_2D_RESULTS
        : [rest] "i"(blocks <= 4 ? blocks - 1 : 0)
        : TRECX_MVE_CONV_2D_CHANGED);
  } else {
    __asm__ volatile(
        TRECX_MVE_CONV_2D_BLOCK_OF(vmladav)
        "lsrs %[n], %[n], #1\n"
        "bcc 2f\n" /* an even number of blocks: begin in the middle */
        "beq 3f\n"
        "1:\n"
        TRECX_MVE_CONV_2D_BLOCK_OF(vmladava)
        "2:\n"
        TRECX_MVE_CONV_2D_BLOCK_OF(vmladava)
        "subs %[n], #1\n"
        "bne 1b\n"
        "3:\n"
        TRECX_MVE_CONV_2D_LANES
        : TRECX_MVE_CONV_2D_RESULTS, [n] "+r"(blocks)
        :
        : TRECX_MVE_CONV_2D_CHANGED);
  }
  return weights;
}
/* clang-format on */

/* All channels of up to 4 pixels; the bytes of `offsets` lead from `output` to each pixel. */
TRECX_INLINE void trecx_mve_conv_2d_tile(const int8_t *columns, int8_t *output, uint32x4_t offsets,
                                         const int8_t *weights, const int32_t *channels, int32_t blocks,
                                         const trecx_mve_conv_2d_params p) {
  for (int32_t o = 0; o < p.output_channels; o += 4) {
    int32x4_t x0, x1, x2, x3;
    const int32_t shifts = *channels++;
    weights = trecx_mve_conv_2d_dot(weights, columns, blocks, &x0, &x1);
    channels = trecx_mve_requantize(&x0, channels, shifts, p.output);
    channels = trecx_mve_requantize(&x1, channels, shifts >> 8, p.output);
    weights = trecx_mve_conv_2d_dot(weights, columns, blocks, &x2, &x3);
    channels = trecx_mve_requantize(&x2, channels, shifts >> 16, p.output);
    channels = trecx_mve_requantize(&x3, channels, shifts >> 24, p.output);
    const int8x16_t bytes = trecx_mve_bytes(trecx_mve_pack(x0, x2), trecx_mve_pack(x1, x3), p.output);
    trecx_mve_store(output + o, offsets, bytes, p.output_channels - o, p.aligned);
  }
}

/* A column's blocks lie `spread` times as far apart as its taps: 4 times in their place between the other columns,
 * where all pieces begin at whole blocks, else once, to be spread later. The last block of a piece is written whole;
 * the next piece overwrites the rest. */
TRECX_INLINE void trecx_mve_conv_2d_copy(int8_t *column, const int8_t *from, int32_t bytes, int32_t spread) {
  for (int32_t k = 0; k < bytes; k += TRECX_MVE_CONV_2D_BLOCK) {
    const int whole = bytes % TRECX_MVE_CONV_2D_BLOCK == 0 || bytes - k >= TRECX_MVE_CONV_2D_BLOCK;
    vstrbq_s8(column + k * spread, whole ? vldrbq_s8(from + k) : vldrbq_z_s8(from + k, vctp8q((uint32_t)(bytes - k))));
  }
}

TRECX_INLINE void trecx_mve_conv_2d_fill(int8_t *column, int32_t value, int32_t bytes, int32_t spread) {
  for (int32_t k = 0; k < bytes; k += TRECX_MVE_CONV_2D_BLOCK) {
    vstrbq_s8(column + k * spread, vdupq_n_s8((int8_t)value));
  }
}

/* `taps` taps of one kernel row, from the pixel `input` on. */
TRECX_INLINE void trecx_mve_conv_2d_taps(int8_t *column, const int8_t *input, int32_t taps, int32_t spread,
                                         const trecx_mve_conv_2d_params p) {
  if (p.input.stride == p.input.channels) {
    trecx_mve_conv_2d_copy(column, input, taps * p.input.channels, spread);
  } else {
    for (int32_t k = 0; k < taps; k++) {
      trecx_mve_conv_2d_copy(column + k * p.input.channels * spread, input + k * p.input.stride, p.input.channels,
                             spread);
    }
  }
}

/* The column of one output pixel, whose window begins at row `top` and column `left`. */
TRECX_INLINE void trecx_mve_conv_2d_column(int8_t *column, const int8_t *input, int32_t top, int32_t left,
                                           int32_t spread, const trecx_mve_conv_2d_params p) {
  const int32_t row = p.columns.kernel * p.input.channels;
  const int32_t next = p.columns.size * p.input.stride;
  const int32_t pixel = p.input.channels * spread;
  const int32_t begin = p.padded ? trecx_max(0, -left) : 0;
  const int32_t end = p.padded ? trecx_min(p.columns.kernel, p.columns.size - left) : p.columns.kernel;
  const int8_t *from = input + (top * p.columns.size + left) * p.input.stride;
  /* All taps, and what whole blocks would read beyond them, lie inside the input. */
  const int32_t inside = (p.rows.size - top - p.rows.kernel + 1) * next - left * p.input.stride;
  if (p.input.stride == p.input.channels && inside >= row + TRECX_MVE_CONV_2D_BLOCK &&
      (!p.padded || (begin == 0 && end == p.columns.kernel && top >= 0))) {
    for (int32_t ky = 0; ky < p.rows.kernel; ky++) {
      for (int32_t k = 0; k < row; k += TRECX_MVE_CONV_2D_BLOCK) {
        vstrbq_s8(column + k * spread, vldrbq_s8(from + k));
      }
      column += row * spread;
      from += next;
    }
    return;
  }
  for (int32_t ky = 0; ky < p.rows.kernel; ky++) {
    if (p.padded && (top + ky < 0 || top + ky >= p.rows.size)) {
      trecx_mve_conv_2d_fill(column, p.input_zero_point, p.columns.kernel * p.input.channels, spread);
    } else if (begin == 0 && end == p.columns.kernel) {
      trecx_mve_conv_2d_taps(column, from, p.columns.kernel, spread, p);
    } else {
      trecx_mve_conv_2d_fill(column, p.input_zero_point, begin * p.input.channels, spread);
      trecx_mve_conv_2d_taps(column + begin * pixel, from + begin * p.input.stride, end - begin, spread, p);
      trecx_mve_conv_2d_fill(column + end * pixel, p.input_zero_point, (p.columns.kernel - end) * p.input.channels,
                             spread);
    }
    column += p.columns.kernel * pixel;
    from += p.columns.size * p.input.stride;
  }
}

TRECX_KERNEL void trecx_mve_conv_2d(const int8_t *input, int8_t *output, int8_t *scratch,
                                    const trecx_mve_conv_2d_tables *tables,
                                    const trecx_mve_conv_2d_params p) {
  const int8_t *const weights = tables->weights;
  const int32_t *const channels = tables->channels;
  const int32_t taps = p.rows.kernel * p.columns.kernel * p.input.channels;
  const int32_t blocks = (taps + TRECX_MVE_CONV_2D_BLOCK - 1) / TRECX_MVE_CONV_2D_BLOCK;
  const int in_place = p.rows.kernel * p.columns.kernel == 1 || p.input.channels % TRECX_MVE_CONV_2D_BLOCK == 0;
  const int32_t pixels = p.rows.output * p.columns.output;
  int8_t *const apart = scratch + TRECX_MVE_CONV_2D_PIXELS * TRECX_MVE_CONV_2D_BLOCK * blocks;
  int32_t y = 0, x = 0;
  for (int32_t pixel = 0; pixel < pixels; pixel += TRECX_MVE_CONV_2D_PIXELS) {
    const int32_t last = trecx_min(TRECX_MVE_CONV_2D_PIXELS, pixels - pixel) - 1;
    int8_t *column = scratch;
    for (int32_t k = 0; k < TRECX_MVE_CONV_2D_PIXELS; k++) {
      const int32_t top = y * p.rows.stride - p.rows.before;
      const int32_t left = x * p.columns.stride - p.columns.before;
      if (in_place) {
        trecx_mve_conv_2d_column(column, input, top, left, TRECX_MVE_CONV_2D_PIXELS, p);
      } else {
        trecx_mve_conv_2d_column(apart, input, top, left, 1, p);
        for (int32_t block = 0; block < blocks; block++) {
          vstrbq_s8(column + TRECX_MVE_CONV_2D_PIXELS * TRECX_MVE_CONV_2D_BLOCK * block,
                    vldrbq_s8(apart + TRECX_MVE_CONV_2D_BLOCK * block));
        }
      }
      column += TRECX_MVE_CONV_2D_BLOCK;
      if (k < last && ++x == p.columns.output) { /* a tile that is not full repeats the last pixel */
        x = 0;
        y++;
      }
    }
    if (++x == p.columns.output) {
      x = 0;
      y++;
    }
    const uint32x4_t lanes = vminq_u32(vidupq_n_u32(0, 1), vdupq_n_u32((uint32_t)last));
    trecx_mve_conv_2d_tile(scratch, output, vmulq_n_u32(lanes, (uint32_t)p.output_channels), weights, channels, blocks,
                           p);
    output += TRECX_MVE_CONV_2D_PIXELS * p.output_channels;
  }
}

#endif
