/* DEPTHWISE_CONV_2D, int8, NHWC, depth multiplier 1, strides 1x1 (kernel up to 3x4) or 2x2 (kernel up to 4x4); see
 * ../depthwise_conv_2d.h for what it computes.
 *
 * Scratch holds the last four input rows, channel by channel: per channel a line of words, one per (padded) column,
 * each with the column's four rows as bytes. So the window of an output is four words in a row, and one VMLADAV with
 * the channel's weights in the same order (zeros where the kernel has no tap) gives its sum. At stride 1 the four rows
 * hold the windows of two output rows, whose weights are the same, one byte up; one load feeds both. Each step of one
 * (stride 2) or two (stride 1) output rows replaces two rows, so that in odd steps the halves of the words, and of the
 * weights, are swapped. Per channel of a 3x3 kernel, 4 pixels x 2 rows are 4 loads and 8 VMLADAV for 72 MACs, then
 * requantized as in conv_2d.h; sums take all even registers as there.
 *
 * `weights` is [channels][4 columns][4 rows], `channels` as in conv_2d.h, both filled up to groups of four channels.
 * A step has copied its rows before it writes any output. */
#ifndef TRECX_KERNELS_MVE_DEPTHWISE_CONV_2D_H
#define TRECX_KERNELS_MVE_DEPTHWISE_CONV_2D_H

#include "requantize.h"

typedef struct {
  trecx_window rows, columns; /* at least 2 columns of output, strides both 1 or both 2 */
  trecx_pixels input;
  int32_t input_zero_point;
  int32_t line; /* bytes of scratch per channel */
  int32_t scratch;
  int32_t aligned; /* the output's pixels begin at addresses that are multiples of 4 */
  trecx_output output;
} trecx_mve_depthwise_conv_2d_params;

/* What tells layers of one shape apart. */
typedef struct {
  const int8_t *weights;
  const int32_t *channels;
} trecx_mve_depthwise_conv_2d_tables;

/* Replaces one half of the words by rows `row` and `row` + 1 of the input; its zero point stands for padding. */
TRECX_INLINE void trecx_mve_depthwise_conv_2d_rows(int8_t *lines, const int8_t *input, int32_t row,
                                                   const trecx_mve_depthwise_conv_2d_params p) {
  const int upper = row >= 0 && row < p.rows.size;
  const int lower = row + 1 >= 0 && row + 1 < p.rows.size;
  const int32_t columns = trecx_min(p.columns.size, p.line / 4 - p.columns.before);
  const int32_t next = p.columns.size * p.input.stride;
  const uint16x8_t zero = vdupq_n_u16((uint8_t)p.input_zero_point);
  const uint16x8_t offsets = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)p.line);
  for (int32_t c = 0; c < p.input.channels; c += 8) {
    const mve_pred16_t some = vctp16q((uint32_t)(p.input.channels - c));
    const uint8_t *from = (const uint8_t *)input + row * next + c;
    int8_t *to = lines + c * p.line + p.columns.before * 4;
    if (upper && lower && (p.input.channels % 8 == 0 || p.input.channels - c >= 8)) {
      for (int32_t x = 0; x < columns; x++) {
        const uint16x8_t pair = vsliq_n_u16(vldrbq_u16(from), vldrbq_u16(from + next), 8);
        vstrhq_scatter_offset_u16((uint16_t *)(void *)to, offsets, pair);
        from += p.input.stride;
        to += 4;
      }
    } else {
      for (int32_t x = 0; x < columns; x++) {
        const uint16x8_t first = upper ? vldrbq_z_u16(from, some) : zero;
        const uint16x8_t second = lower ? vldrbq_z_u16(from + next, some) : zero;
        vstrhq_scatter_offset_p_u16((uint16_t *)(void *)to, offsets, vsliq_n_u16(first, second, 8), some);
        from += p.input.stride;
        to += 4;
      }
    }
  }
}

/* The weights of an output row, as they fit the order of rows in scratch, and those of the row below it. */
TRECX_INLINE int8x16_t trecx_mve_depthwise_conv_2d_weights(const int8_t *weights, int odd) {
  const int8x16_t even = vldrbq_s8(weights);
  return odd ? vreinterpretq_s8_s16(vrev32q_s16(vreinterpretq_s16_s8(even))) : even;
}

TRECX_INLINE int8x16_t trecx_mve_depthwise_conv_2d_below(int8x16_t weights) {
  const uint32x4_t words = vreinterpretq_u32_s8(weights);
  return vreinterpretq_s8_u32(vsriq_n_u32(vshlq_n_u32(words, 8), words, 24));
}

/* Sums of 4 pixels of two output rows. All even registers are sums; GCC would spill. */
TRECX_INLINE void trecx_mve_depthwise_conv_2d_4x2(const int8_t *line, int8x16_t weights, int32x4_t *above,
                                                  int32x4_t *below) {
  int32x4_t x, y, a = vreinterpretq_s32_s8(weights);
  int32x4_t b = vreinterpretq_s32_s8(trecx_mve_depthwise_conv_2d_below(weights));
  __asm__ volatile(
      "vldrw.32 %q[x], [%[line]]\n\t"
      "vmladav.s8 r0, %q[a], %q[x]\n\t"
      "vldrw.32 %q[y], [%[line], #4]\n\t"
      "vmladav.s8 r8, %q[b], %q[x]\n\t"
      "vmladav.s8 r2, %q[a], %q[y]\n\t"
      "vldrw.32 %q[x], [%[line], #8]\n\t"
      "vmladav.s8 r10, %q[b], %q[y]\n\t"
      "vmladav.s8 r4, %q[a], %q[x]\n\t"
      "vldrw.32 %q[y], [%[line], #12]\n\t"
      "vmladav.s8 r12, %q[b], %q[x]\n\t"
      "vmladav.s8 r6, %q[a], %q[y]\n\t"
      "vmladav.s8 lr, %q[b], %q[y]\n\t"
      "vmov %q[a][2], %q[a][0], r0, r4\n\t"
      "vmov %q[a][3], %q[a][1], r2, r6\n\t"
      "vmov %q[b][2], %q[b][0], r8, r12\n\t"
      "vmov %q[b][3], %q[b][1], r10, lr\n\t"
      : [a] "+w"(a), [b] "+w"(b), [x] "=&w"(x), [y] "=&w"(y)
      : [line] "r"(line)
      : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "memory");
  *above = a;
  *below = b;
}

/* One channel of 4 pixels of two rows, scaled; `shift` selects it in its group. */
TRECX_INLINE void trecx_mve_depthwise_conv_2d_pair(const int8_t *line, const int8_t *weights, int odd,
                                                   const int32_t *channel, int32_t shift, int32x4_t *above,
                                                   int32x4_t *below, const trecx_output out) {
  trecx_mve_depthwise_conv_2d_4x2(line, trecx_mve_depthwise_conv_2d_weights(weights, odd), above, below);
  *above = trecx_mve_scale(vaddq_n_s32(*above, channel[0]), channel[1], shift, out);
  *below = trecx_mve_scale(vaddq_n_s32(*below, channel[0]), channel[1], shift, out);
}

/* All channels of 4 pixels of two rows. */
TRECX_INLINE void trecx_mve_depthwise_conv_2d_eight(const int8_t *lines, int8_t *output, const int8_t *weights,
                                                    const int32_t *channels, int odd,
                                                    const trecx_mve_depthwise_conv_2d_params p) {
  const uint32x4_t offsets = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)p.input.channels);
  for (int32_t c = 0; c < p.input.channels; c += 4) {
    int32x4_t a0, a1, a2, a3, b0, b1, b2, b3;
    const int32_t shifts = channels[0];
    trecx_mve_depthwise_conv_2d_pair(lines, weights, odd, channels + 1, shifts, &a0, &b0, p.output);
    trecx_mve_depthwise_conv_2d_pair(lines + 2 * p.line, weights + 32, odd, channels + 5, shifts >> 16, &a2, &b2,
                                     p.output);
    const int16x8_t a02 = trecx_mve_pack(a0, a2);
    const int16x8_t b02 = trecx_mve_pack(b0, b2);
    trecx_mve_depthwise_conv_2d_pair(lines + p.line, weights + 16, odd, channels + 3, shifts >> 8, &a1, &b1, p.output);
    trecx_mve_depthwise_conv_2d_pair(lines + 3 * p.line, weights + 48, odd, channels + 7, shifts >> 24, &a3, &b3,
                                     p.output);
    const int8x16_t above = trecx_mve_bytes(a02, trecx_mve_pack(a1, a3), p.output);
    const int8x16_t below = trecx_mve_bytes(b02, trecx_mve_pack(b1, b3), p.output);
    trecx_mve_store(output + c, offsets, above, p.input.channels - c, p.aligned);
    trecx_mve_store(output + p.columns.output * p.input.channels + c, offsets, below, p.input.channels - c, p.aligned);
    lines += 4 * p.line;
    weights += 4 * 16;
    channels += TRECX_MVE_GROUP;
  }
}

/* One channel of 4 outputs, scaled: 4 pixels of one row (`wide`), or 2 pixels of two rows, or of one row twice. */
TRECX_INLINE int32x4_t trecx_mve_depthwise_conv_2d_quad(const int8_t *line, const int8_t *weights, int odd, int wide,
                                                        int two, const int32_t *channel, int32_t shift,
                                                        const trecx_mve_depthwise_conv_2d_params p) {
  const int8x16_t a = trecx_mve_depthwise_conv_2d_weights(weights, odd);
  const int8x16_t b = two ? trecx_mve_depthwise_conv_2d_below(a) : a;
  const int32_t step = 4 * p.rows.stride;
  const int8_t *const next = line + (wide ? 2 * step : 0);
  const int32x4_t sums = trecx_mve_lanes(vmladavq_s8(a, vldrbq_s8(line)), vmladavq_s8(a, vldrbq_s8(line + step)),
                                         vmladavq_s8(b, vldrbq_s8(next)), vmladavq_s8(b, vldrbq_s8(next + step)));
  return trecx_mve_scale(vaddq_n_s32(sums, channel[0]), channel[1], shift, p.output);
}

/* All channels of 4 outputs. */
TRECX_INLINE void trecx_mve_depthwise_conv_2d_four(const int8_t *lines, int8_t *output, const int8_t *weights,
                                                   const int32_t *channels, int odd, int wide, int two,
                                                   const trecx_mve_depthwise_conv_2d_params p) {
  const uint32_t row = (uint32_t)(two ? p.columns.output * p.input.channels : 0);
  const uint32x4_t lanes = vidupq_n_u32(0, 1);
  const uint32x4_t pixels = vmulq_n_u32(wide ? lanes : vandq_u32(lanes, vdupq_n_u32(1)), (uint32_t)p.input.channels);
  const uint32x4_t offsets = wide ? pixels : vaddq_u32(pixels, vmulq_n_u32(vshrq_n_u32(lanes, 1), row));
  for (int32_t c = 0; c < p.input.channels; c += 4) {
    const int32_t shifts = channels[0];
    const int32x4_t x0 = trecx_mve_depthwise_conv_2d_quad(lines, weights, odd, wide, two, channels + 1, shifts, p);
    const int32x4_t x1 = trecx_mve_depthwise_conv_2d_quad(lines + p.line, weights + 16, odd, wide, two, channels + 3,
                                                          shifts >> 8, p);
    const int32x4_t x2 = trecx_mve_depthwise_conv_2d_quad(lines + 2 * p.line, weights + 32, odd, wide, two,
                                                          channels + 5, shifts >> 16, p);
    const int32x4_t x3 = trecx_mve_depthwise_conv_2d_quad(lines + 3 * p.line, weights + 48, odd, wide, two,
                                                          channels + 7, shifts >> 24, p);
    const int8x16_t bytes = trecx_mve_bytes(trecx_mve_pack(x0, x2), trecx_mve_pack(x1, x3), p.output);
    trecx_mve_store(output + c, offsets, bytes, p.input.channels - c, p.aligned);
    lines += 4 * p.line;
    weights += 4 * 16;
    channels += TRECX_MVE_GROUP;
  }
}

/* One output row, or two. What is left of a row is computed in pieces that begin earlier: scratch keeps their input. */
TRECX_INLINE void trecx_mve_depthwise_conv_2d_step(const int8_t *lines, int8_t *output, const int8_t *weights,
                                                   const int32_t *channels, int odd, int two,
                                                   const trecx_mve_depthwise_conv_2d_params p) {
  const int32_t step = 4 * p.rows.stride;
  const int32_t pairs = two ? 2 : 0; /* the most pixels that are left to pieces of 2 */
  int32_t x = 0;
  while (x < p.columns.output) {
    const int32_t left = p.columns.output - x;
    if (left > pairs && p.columns.output >= 4) {
      x = trecx_min(x, p.columns.output - 4);
      const int8_t *const from = lines + x * step;
      int8_t *const to = output + x * p.input.channels;
      if (two) {
        trecx_mve_depthwise_conv_2d_eight(from, to, weights, channels, odd, p);
      } else {
        trecx_mve_depthwise_conv_2d_four(from, to, weights, channels, odd, 1, 0, p);
      }
      x += 4;
    } else {
      x = trecx_min(x, p.columns.output - 2);
      int8_t *const to = output + x * p.input.channels;
      trecx_mve_depthwise_conv_2d_four(lines + x * step, to, weights, channels, odd, 0, two, p);
      x += 2;
    }
  }
}

TRECX_KERNEL void trecx_mve_depthwise_conv_2d(const int8_t *input, int8_t *output, int8_t *scratch,
                                              const trecx_mve_depthwise_conv_2d_tables *tables,
                                              const trecx_mve_depthwise_conv_2d_params p) {
  const int8_t *const weights = tables->weights;
  const int32_t *const channels = tables->channels;
  for (int32_t k = 0; k < p.scratch; k += 16) {
    vstrbq_s8(scratch + k, vdupq_n_s8((int8_t)p.input_zero_point));
  }
  const int32_t rows = p.rows.stride == 1 ? 2 : 1; /* of output per step */
  trecx_mve_depthwise_conv_2d_rows(scratch, input, -p.rows.before, p);
  int32_t row = 2 - p.rows.before;
  int odd = 0;
  for (int32_t y = 0; y < p.rows.output; y += rows) {
    trecx_mve_depthwise_conv_2d_rows(scratch + (odd ? 0 : 2), input, row, p);
    if (rows == 2 && (p.rows.output % 2 == 0 || y + 1 < p.rows.output)) {
      trecx_mve_depthwise_conv_2d_step(scratch, output, weights, channels, odd, 1, p);
    } else {
      trecx_mve_depthwise_conv_2d_step(scratch, output, weights, channels, odd, 0, p);
    }
    output += rows * p.columns.output * p.input.channels;
    row += 2;
    odd ^= 1;
  }
}

#endif
