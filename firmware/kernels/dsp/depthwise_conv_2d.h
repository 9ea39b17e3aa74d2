/* DEPTHWISE_CONV_2D, int8, NHWC, 3x3, stride 1 or 2 (the same both ways), depth multiplier 1, with an activation that
 * clamps at the zero point, -128, and only there; for the DSP extension.
 *
 *   out[y][x][o] = clamp(requantize(bias[o] + sum of w[ky][kx][o] * in[y * s - top + ky][x * s - left + kx][o]) - 128)
 *
 * Channel by channel over the whole image. Two rows of the channel at a time go into `scratch` as words of int16, the
 * upper row in the low half, with columns of the input's zero point where the image is padded. A column of two such
 * pairs, P = (a, b) and Q = (c, d), lies side by side; the next pair of rows has this Q as its P. So
 *
 *   out(y)     += P.(w0, w1) + c * w2     SMLAD, SMLABT
 *   out(y + 1) += b * w0 + Q.(w1, w2)     SMLATB, SMLAD     with stride 1: six products in four instructions
 *
 * A row is in scratch before output covers it, and a channel's output covers that channel's input only: exact in place,
 * and nowhere else while the two overlap.
 * Where input and output have one shape, rows and columns may change places: long rows, and an even number, cost least.
 *
 * Weights are halves of 256 * w, so that unpacking a word takes a mask only, and a sum is 256 times the accumulator.
 * With that clamp, the two roundings of requantize.h are one: negative values come to -128 however they are rounded,
 * and for others, with t = 7 - shift,
 *
 *   (((acc * m + 2^30) >> 31) + 2^(-shift - 1)) >> -shift  =  (hi32(256 * acc * m) + 2^6 + 2^(t - 1)) >> t
 *
 * which is SMMLA, ASR, SSAT. Rounding and zero point fit a word for shifts in -16..-1; a channel with any other is
 * computed in C. All layers share one loop in assembly (_pair, _row): shapes are no constants in it, and 14 registers
 * hold what no compiler keeps in them. */
#ifndef TRECX_KERNELS_DSP_DEPTHWISE_CONV_2D_H
#define TRECX_KERNELS_DSP_DEPTHWISE_CONV_2D_H

#include "simd.h"

typedef struct {
  int32_t channels;
  int32_t input_rows, input_columns;
  int32_t input_row_stride, input_column_stride; /* bytes */
  int32_t output_rows, output_columns;
  int32_t output_row_stride, output_column_stride; /* bytes */
  int32_t stride;
  int32_t pad_top, pad_left;
  int32_t input_zero_point;
} trecx_dsp_depthwise_conv_2d_params;

/* What tells layers of one shape apart. */
typedef struct {
  const uint32_t *weights;
  const int32_t *bias;
  const int32_t *multipliers;
  const int8_t *shifts;
} trecx_dsp_depthwise_conv_2d_tables;

/* What a row of output of one channel needs; the assembly knows the offsets. Weights are, for each column of the
 * kernel, those of rows 0 and 1 as one word and those of rows 1 and 2. */
typedef struct {
  uint32_t weights[6];
  int32_t bias;
  int32_t shift;
  int32_t multiplier, offset;
  int8_t *output;
  int32_t row;  /* bytes from a row of output to the next */
  int32_t step; /* bytes from an output to the next in its row */
  const trecx_word *end;
  int32_t single; /* the two roundings are one */
} trecx_dsp_depthwise_conv_2d_state;

#if defined(__ARM_FEATURE_DSP)

_Static_assert(__builtin_offsetof(trecx_dsp_depthwise_conv_2d_state, bias) == 24, "as in the assembly");
_Static_assert(__builtin_offsetof(trecx_dsp_depthwise_conv_2d_state, multiplier) == 32, "as in the assembly");
_Static_assert(__builtin_offsetof(trecx_dsp_depthwise_conv_2d_state, output) == 40, "as in the assembly");
_Static_assert(__builtin_offsetof(trecx_dsp_depthwise_conv_2d_state, end) == 52, "as in the assembly");

/* Two rows of output at k->output, from `column` up to k->end, two columns at a time: 55 instructions for 36 products.
 * Of an odd number of columns, one more is computed in vain, but not stored. */
static __attribute__((naked, noinline, unused)) void trecx_dsp_depthwise_conv_2d_pair(
    const trecx_word *column __attribute__((unused)), trecx_dsp_depthwise_conv_2d_state *k __attribute__((unused))) {
  __asm__(
      "push {r4-r11, lr}\n"
      "ldm r1, {r2-r7}\n"
      "1:\n"
      "ldr r11, [r1, #24]\n" /* bias */
      "ldrd r12, lr, [r0], #8\n"
      "smlad r8, r12, r2, r11\n"
      "smlatb r9, r12, r2, r11\n"
      "smlabt r8, lr, r3, r8\n"
      "smlad r9, lr, r3, r9\n"
      "ldrd r12, lr, [r0], #8\n"
      "smlad r8, r12, r4, r8\n"
      "smlatb r9, r12, r4, r9\n"
      "smlabt r8, lr, r5, r8\n"
      "smlad r9, lr, r5, r9\n"
      "smlad r10, r12, r2, r11\n"
      "smlatb r11, r12, r2, r11\n"
      "smlabt r10, lr, r3, r10\n"
      "smlad r11, lr, r3, r11\n"
      "ldrd r12, lr, [r0]\n"
      "smlad r8, r12, r6, r8\n"
      "smlatb r9, r12, r6, r9\n"
      "smlabt r8, lr, r7, r8\n"
      "smlad r9, lr, r7, r9\n"
      "smlad r10, r12, r4, r10\n"
      "smlatb r11, r12, r4, r11\n"
      "smlabt r10, lr, r5, r10\n"
      "smlad r11, lr, r5, r11\n"
      "ldrd r12, lr, [r0, #8]\n"
      "smlad r10, r12, r6, r10\n"
      "smlatb r11, r12, r6, r11\n"
      "smlabt r10, lr, r7, r10\n"
      "smlad r11, lr, r7, r11\n"
      "ldrd r12, lr, [r1, #32]\n" /* multiplier, offset */
      "smmla r8, r8, r12, lr\n"
      "smmla r9, r9, r12, lr\n"
      "smmla r10, r10, r12, lr\n"
      "smmla r11, r11, r12, lr\n"
      "ldr r12, [r1, #28]\n" /* shift */
      "asr r8, r8, r12\n"
      "asr r9, r9, r12\n"
      "asr r10, r10, r12\n"
      "asr r11, r11, r12\n"
      "ssat r8, #8, r8\n"
      "ssat r9, #8, r9\n"
      "ssat r10, #8, r10\n"
      "ssat r11, #8, r11\n"
      "ldrd r12, lr, [r1, #40]\n" /* output, row */
      "strb r9, [r12, lr]\n"
      "strb r8, [r12]\n"
      "ldrd r8, r9, [r1, #48]\n" /* step, end */
      "add r12, r12, r8\n"
      "cmp r0, r9\n"
      "itt ls\n"
      "strbls r11, [r12, lr]\n"
      "strbls r10, [r12]\n"
      "add r12, r12, r8\n"
      "str r12, [r1, #40]\n"
      "blo 1b\n"
      "pop {r4-r11, pc}\n");
}

/* One row of output, `advance` bytes from column to column of input: 20 instructions for 9 products. */
static __attribute__((naked, noinline, unused)) void trecx_dsp_depthwise_conv_2d_row(
    const trecx_word *column __attribute__((unused)), trecx_dsp_depthwise_conv_2d_state *k __attribute__((unused)),
    int32_t advance __attribute__((unused))) {
  __asm__(
      "push {r4-r11, lr}\n"
      "mov r11, r2\n"
      "ldr r8, [r1, #40]\n" /* output */
      "ldr r9, [r1, #48]\n" /* step */
      "ldm r1, {r2-r7}\n"
      "1:\n"
      "ldr r10, [r1, #24]\n" /* bias */
      "ldrd r12, lr, [r0]\n"
      "smlad r10, r12, r2, r10\n"
      "smlabt r10, lr, r3, r10\n"
      "ldrd r12, lr, [r0, #8]\n"
      "smlad r10, r12, r4, r10\n"
      "smlabt r10, lr, r5, r10\n"
      "ldrd r12, lr, [r0, #16]\n"
      "smlad r10, r12, r6, r10\n"
      "smlabt r10, lr, r7, r10\n"
      "ldrd r12, lr, [r1, #32]\n" /* multiplier, offset */
      "add r0, r0, r11\n"
      "smmla r10, r10, r12, lr\n"
      "ldr r12, [r1, #28]\n" /* shift */
      "ldr lr, [r1, #52]\n"  /* end */
      "asr r10, r10, r12\n"
      "ssat r10, #8, r10\n"
      "strb r10, [r8]\n"
      "add r8, r8, r9\n"
      "cmp r0, lr\n"
      "blo 1b\n"
      "pop {r4-r11, pc}\n");
}

#endif

TRECX_INLINE int8_t trecx_dsp_depthwise_conv_2d_output(int32_t sum, const trecx_dsp_depthwise_conv_2d_state *k) {
  if (k->single) {
    return (int8_t)trecx_ssat8(trecx_smmla(sum, k->multiplier, k->offset) >> k->shift);
  }
  return trecx_clamp(trecx_requantize(sum >> 8, k->multiplier, k->shift) - 128, -128, 127);
}

/* The same as _pair and _row for any shift, on any machine. */
static __attribute__((noinline)) void trecx_dsp_depthwise_conv_2d_any(const trecx_word *column,
                                                                      const trecx_dsp_depthwise_conv_2d_state *k,
                                                                      const trecx_dsp_depthwise_conv_2d_params *p) {
  int8_t *output = k->output;
  for (; column < k->end; column += 2 * p->stride) {
    int32_t upper = k->bias;
    int32_t lower = k->bias;
    for (int kx = 0; kx < 3; kx++) {
      const uint32_t above = column[2 * kx];
      const uint32_t below = column[2 * kx + 1];
      const uint32_t w01 = k->weights[2 * kx];
      const uint32_t w12 = k->weights[2 * kx + 1];
      upper = trecx_smlabt(below, w12, trecx_smlad(above, w01, upper));
      lower = trecx_smlad(below, w12, trecx_smlatb(above, w01, lower));
    }
    if (k->row != 0) {
      output[k->row] = trecx_dsp_depthwise_conv_2d_output(lower, k);
    }
    *output = trecx_dsp_depthwise_conv_2d_output(upper, k);
    output += k->step;
  }
}

/* One row of output from `column` on, or two where k->row is not 0. */
TRECX_INLINE void trecx_dsp_depthwise_conv_2d_rows(const trecx_word *column, trecx_dsp_depthwise_conv_2d_state *k,
                                                   const trecx_dsp_depthwise_conv_2d_params *p) {
#if defined(__ARM_FEATURE_DSP)
  if (k->single) {
    if (k->row != 0) {
      trecx_dsp_depthwise_conv_2d_pair(column, k);
    } else {
      trecx_dsp_depthwise_conv_2d_row(column, k, 8 * p->stride);
    }
    return;
  }
#endif
  trecx_dsp_depthwise_conv_2d_any(column, k, p);
}

/* Moves a column's Q to its P; `upper` and `lower` are its new Q. */
TRECX_INLINE void trecx_dsp_depthwise_conv_2d_push(trecx_word *column, int8_t upper, int8_t lower) {
  column[0] = column[1];
  column[1] = trecx_pkhbt((uint32_t)upper, (uint32_t)lower);
}

/* Rows y and y + 1 of the channel at `input` become the Q of `width` columns, what was there their P. A row outside the
 * image is one value, read again and again. */
TRECX_INLINE void trecx_dsp_depthwise_conv_2d_load(const int8_t *input, trecx_word *column, int32_t y, int32_t width,
                                                   const trecx_dsp_depthwise_conv_2d_params *p) {
  const int8_t zero = (int8_t)p->input_zero_point;
  const int has_upper = y >= 0 && y < p->input_rows;
  const int has_lower = y + 1 >= 0 && y + 1 < p->input_rows;
  const int8_t *upper = has_upper ? input + y * p->input_row_stride : &zero;
  const int8_t *lower = has_lower ? input + (y + 1) * p->input_row_stride : &zero;
  const int32_t upper_step = has_upper ? p->input_column_stride : 0;
  const int32_t lower_step = has_lower ? p->input_column_stride : 0;
  const trecx_word *const end = column + 2 * width;
  if (width % 2 != 0) {
    trecx_dsp_depthwise_conv_2d_push(column, *upper, *lower);
    column += 2;
    upper += upper_step;
    lower += lower_step;
  }
  while (column != end) {
    trecx_dsp_depthwise_conv_2d_push(column, upper[0], lower[0]);
    trecx_dsp_depthwise_conv_2d_push(column + 2, upper[upper_step], lower[lower_step]);
    column += 4;
    upper += 2 * upper_step;
    lower += 2 * lower_step;
  }
}

/* A channel of the whole image. */
static __attribute__((noinline)) void trecx_dsp_depthwise_conv_2d_channel(const int8_t *input, int8_t *output,
                                                                          trecx_word *columns, int32_t width,
                                                                          trecx_dsp_depthwise_conv_2d_state *k,
                                                                          const trecx_dsp_depthwise_conv_2d_params *p) {
  const int32_t rows = p->stride == 1 ? 2 : 1;
  int32_t y = -p->pad_top;
  trecx_dsp_depthwise_conv_2d_load(input, columns + 2 * p->pad_left, y, width, p);
  for (int32_t out = 0; out < p->output_rows; out += rows) {
    y += 2;
    trecx_dsp_depthwise_conv_2d_load(input, columns + 2 * p->pad_left, y, width, p);
    k->output = output;
    k->row = rows == 2 && out + 1 < p->output_rows ? p->output_row_stride : 0;
    trecx_dsp_depthwise_conv_2d_rows(columns, k, p);
    output += rows * p->output_row_stride;
  }
}

TRECX_KERNEL void trecx_dsp_depthwise_conv_2d(const int8_t *input, int8_t *output, int8_t *scratch,
                                              const trecx_dsp_depthwise_conv_2d_tables *tables,
                                              const trecx_dsp_depthwise_conv_2d_params p) {
  const uint32_t *weights = tables->weights;
  const int32_t *const bias = tables->bias;
  const int32_t *const multipliers = tables->multipliers;
  const int8_t *const shifts = tables->shifts;
  trecx_word *const columns = (trecx_word *)(void *)scratch;
  const int32_t needed = (p.output_columns - 1) * p.stride + 4;
  const int32_t width = trecx_min(p.input_columns, needed - 1 - p.pad_left);
  for (int32_t x = 0; x < 2 * needed; x++) {
    columns[x] = trecx_pkhbt((uint32_t)p.input_zero_point, (uint32_t)p.input_zero_point);
  }
  trecx_dsp_depthwise_conv_2d_state k;
  k.step = p.output_column_stride;
  k.end = columns + 2 * p.stride * p.output_columns;
  for (int32_t o = 0; o < p.channels; o++) {
    for (int kx = 0; kx < 3; kx++) {
      const uint32_t bytes = *weights++;
      k.weights[2 * kx] = bytes & 0xff00ff00u;
      k.weights[2 * kx + 1] = bytes << 8 & 0xff00ff00u;
    }
    k.bias = bias[o];
    k.multiplier = multipliers[o];
    k.single = shifts[o] >= -16 && shifts[o] < 0;
    k.shift = k.single ? 7 - shifts[o] : shifts[o];
    k.offset = k.single ? 64 - 255 * ((int32_t)1 << (k.shift - 1)) : 0;
    trecx_dsp_depthwise_conv_2d_channel(input + o, output + o, columns, width, &k, &p);
  }
}

#endif
