/* What kernels are told of a layer: windows, pixels, quantization. Said once here, in the words of trecx/compiler/. */
#ifndef TRECX_KERNELS_LAYER_H
#define TRECX_KERNELS_LAYER_H

#include <stdint.h>

/* Along one axis, a window of `kernel` taps moves by `stride` over `size` inputs, `output` times. `before` taps of the
 * first one are padding. */
typedef struct {
  int32_t size, kernel, stride, before, output;
} trecx_window;

/* A pixel has `channels` contiguous bytes; the next one starts `stride` bytes after it. */
typedef struct {
  int32_t channels, stride;
} trecx_pixels;

/* `count` runs of `length` contiguous bytes; the next one starts `stride` bytes after the one before. */
typedef struct {
  int32_t count, length, stride;
} trecx_runs;

/* What an activation lets through, of int8. */
typedef struct {
  int32_t min, max;
} trecx_range;

/* The last step to an output: clamp(x + zero_point). */
typedef struct {
  int32_t zero_point;
  trecx_range range;
} trecx_output;

/* A real factor, value * 2^(shift - 31). */
typedef struct {
  int32_t value, shift;
} trecx_multiplier;

/* What tells layers of one shape apart: weights, and per output channel the bias and the factor to the output's scale. */
typedef struct {
  const int8_t *weights;
  const int32_t *bias;
  const int32_t *multipliers;
  const int8_t *shifts;
} trecx_channel_tables;

/* AVERAGE_POOL_2D and MAX_POOL_2D, whose output has the input's scale and zero point. */
typedef struct {
  trecx_window rows, columns;
  trecx_pixels input;
  trecx_range range;
} trecx_pooling;

/* ADD: one of its inputs, whose factor takes it to twice the larger scale of both, and the whole. */
typedef struct {
  int32_t stride; /* bytes from run to run */
  int32_t zero_point;
  trecx_multiplier factor;
} trecx_addend;

typedef struct {
  int32_t runs, run_length;
  trecx_addend input0, input1;
  trecx_multiplier factor; /* from there to the output */
  trecx_output output;
} trecx_addition;

#endif
