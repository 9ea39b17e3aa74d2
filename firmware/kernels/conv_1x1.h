/* CONV_2D with a 1x1 kernel, stride 1, no padding; int8, NHWC, weights (output channels, input channels).
 *
 *   out[p][o] = clamp(zo + requantize(bias[o] + sum of w[o][i] * in[p][i]))
 *
 * The input's zero point zx is folded into the bias: b - zx * sum(w). Two channels of four pixels are computed
 * together: six loads feed eight products. Rounding: requantize.h, one multiplier and shift per output channel. */
#ifndef TRECX_KERNELS_CONV_1X1_H
#define TRECX_KERNELS_CONV_1X1_H

#include "dot.h"
#include "requantize.h"

typedef struct {
  trecx_runs input; /* pixels and their channels */
  int32_t output_channels;
  int32_t shifts_right; /* all shifts are negative */
  trecx_output output;
} trecx_conv_1x1_params;
typedef trecx_channel_tables trecx_conv_1x1_tables;

TRECX_INLINE int8_t trecx_conv_1x1_output(int32_t sum, int32_t multiplier, int32_t shift,
                                          const trecx_conv_1x1_params p) {
  const int32_t scaled = p.shifts_right ? trecx_requantize_right(sum, multiplier, shift)
                                        : trecx_requantize(sum, multiplier, shift);
  return trecx_to_output(scaled, p.output);
}

/* Channels o and o + 1 of four pixels. */
TRECX_INLINE void trecx_conv_1x1_tile(const int8_t *input, int8_t *output, const int8_t *weights, const int32_t *bias,
                                      const int32_t *multipliers, const int8_t *shifts, int32_t o,
                                      const trecx_conv_1x1_params p) {
  const int8_t *const in0 = input;
  const int8_t *const in1 = in0 + p.input.stride;
  const int8_t *const in2 = in1 + p.input.stride;
  const int8_t *const in3 = in2 + p.input.stride;
  const int8_t *const w0 = weights + o * p.input.length;
  const int8_t *const w1 = w0 + p.input.length;
  int32_t a0 = bias[o], a1 = a0, a2 = a0, a3 = a0;
  int32_t b0 = bias[o + 1], b1 = b0, b2 = b0, b3 = b0;
  for (int32_t i = 0; i < p.input.length; i++) {
    const int32_t a = w0[i];
    const int32_t b = w1[i];
    a0 += a * in0[i];
    b0 += b * in0[i];
    a1 += a * in1[i];
    b1 += b * in1[i];
    a2 += a * in2[i];
    b2 += b * in2[i];
    a3 += a * in3[i];
    b3 += b * in3[i];
  }
  int8_t *const out = output + o;
  out[0] = trecx_conv_1x1_output(a0, multipliers[o], shifts[o], p);
  out[1] = trecx_conv_1x1_output(b0, multipliers[o + 1], shifts[o + 1], p);
  out[p.output_channels] = trecx_conv_1x1_output(a1, multipliers[o], shifts[o], p);
  out[p.output_channels + 1] = trecx_conv_1x1_output(b1, multipliers[o + 1], shifts[o + 1], p);
  out[2 * p.output_channels] = trecx_conv_1x1_output(a2, multipliers[o], shifts[o], p);
  out[2 * p.output_channels + 1] = trecx_conv_1x1_output(b2, multipliers[o + 1], shifts[o + 1], p);
  out[3 * p.output_channels] = trecx_conv_1x1_output(a3, multipliers[o], shifts[o], p);
  out[3 * p.output_channels + 1] = trecx_conv_1x1_output(b3, multipliers[o + 1], shifts[o + 1], p);
}

TRECX_KERNEL void trecx_conv_1x1(const int8_t *input, int8_t *output,
                                 const trecx_conv_1x1_tables *tables, const trecx_conv_1x1_params p) {
  const int8_t *const weights = tables->weights;
  const int32_t *const bias = tables->bias;
  const int32_t *const multipliers = tables->multipliers;
  const int8_t *const shifts = tables->shifts;
  const int32_t tiled_pixels = p.input.count - p.input.count % 4;
  const int32_t tiled_channels = p.output_channels - p.output_channels % 2;
  for (int32_t pixel = 0; pixel < tiled_pixels; pixel += 4) {
    for (int32_t o = 0; o < tiled_channels; o += 2) {
      trecx_conv_1x1_tile(input + pixel * p.input.stride, output + pixel * p.output_channels, weights, bias,
                          multipliers, shifts, o, p);
    }
  }
  for (int32_t pixel = 0; pixel < p.input.count; pixel++) {
    for (int32_t o = pixel < tiled_pixels ? tiled_channels : 0; o < p.output_channels; o++) {
      const int32_t sum = bias[o] + trecx_dot(input + pixel * p.input.stride, weights + o * p.input.length,
                                              p.input.length);
      output[pixel * p.output_channels + o] = trecx_conv_1x1_output(sum, multipliers[o], shifts[o], p);
    }
  }
}

#endif
