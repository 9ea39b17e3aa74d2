/* The tile that the DSP convolutions are made of: all output channels of three pixels, two channels at a time.
 *
 *   out[p][o] = clamp(zo + requantize(sum over k of w[o][k] * in[p][k] + bias[o]))
 *
 * Four bytes b0..b3 of input become two words in a column, made once per pixel and read by every pair of channels:
 *
 *   x = (b0, b2)                                        sxtb16
 *   y = (256 * b1 + 127 - b0, 256 * b3 + 127 - b2)      bytes ^ 0x007f007f
 *
 * Four weights stay one word v = (256 * w0 + w1, 256 * w2 + w3), and only their odd ones are widened, s = (w1, w3):
 *
 *   v * x + s * y = 256 * (w0 * b0 + w1 * b1 + w2 * b2 + w3 * b3) + 127 * (w1 + w3)
 *
 * The last term is taken off the bias, so a sum ends as exactly 256 times the accumulator; that scale makes the
 * rounding constants below integers. Per four k: LDM (v of both channels), 2 SXTB16 and three times LDRD + 4 SMLAD: 18
 * instructions for 24 products. Six sums, two v, two s, x, y and two pointers are all 14 registers, so everything else
 * of a tile waits on the stack; the first four k are apart because their SMLAD take the sums from the bias.
 *
 * Weights are one stream of words per pair of channels: 2 biases, v v for every four k, 2 multipliers, 2 constants and
 * a word of shifts, 14 bytes per channel.
 *
 * Rounding twice as in requantize.h, with h = multiply_high(a, m) and a right shift r, is a single rounding where the
 * accumulator a is not negative, and h can keep 7 more bits until the last shift:
 *
 *   out = (256 * a * m / 2^32 + c) >> (r + 7),    c = 2^(r + 6) + 2^6 + (zo << (r + 7)),    c - 128 where a < 0
 *
 * Where zo is the lowest output, negative accumulators are clamped to it anyhow (TRECX_DSP_POSITIVE): SMMLA, ASR, SSAT,
 * STRB. Other outputs clamped to int8 (TRECX_DSP_SIGNED) take two instructions more, and everything else
 * (TRECX_DSP_ANY: other clamps, left shifts, odd channel counts) is requantized in C. */
#ifndef TRECX_KERNELS_DSP_GEMM_H
#define TRECX_KERNELS_DSP_GEMM_H

#include "simd.h"

#define TRECX_DSP_POSITIVE 0
#define TRECX_DSP_SIGNED 1
#define TRECX_DSP_ANY 2

#define TRECX_DSP_SLOTS 3      /* pixels of a tile */
#define TRECX_DSP_STEP_WORDS 6 /* words of a column per four k: x and y of three pixels */
#define TRECX_DSP_PAIR_WORDS 7 /* words of a pair of channels beside its weights */

/* One copy, whatever calls it: what it saves by specialisation is less than what it costs in flash. */
#if defined(__GNUC__)
#define TRECX_DSP_SHARED static __attribute__((noinline, unused))
#else
#define TRECX_DSP_SHARED static inline
#endif

/* The assembly reads these fields in this order. */
typedef struct {
  const trecx_word *columns;
  const uint32_t *weights_end;
  int8_t *output;       /* of slot 0 */
  int32_t output_stride; /* from slot to slot: 0 writes slot 0 only, since that is written last */
  const trecx_word *columns_end;
  int32_t steps; /* of four k */
  const uint32_t *weights;
} trecx_dsp_tile;

typedef struct {
  int32_t channels;
  int32_t rounding;    /* TRECX_DSP_... */
  trecx_output output; /* read by TRECX_DSP_ANY only */
} trecx_dsp_output;

/* Four bytes of input as words x and y of a column. */
TRECX_INLINE void trecx_dsp_widen(trecx_word *column, uint32_t bytes) {
  column[0] = trecx_sxtb16(bytes);
  column[1] = bytes ^ 0x007f007fu;
}

#if defined(__ARM_FEATURE_DSP)
/* 4 instructions a word; GCC takes 9. */
#define TRECX_DSP_WIDEN "ldr r2, [%1], #4\n sxtb16 r4, r2\n eor r5, r2, #0x007f007f\n strd r4, r5, [%0], #24\n"
#endif

/* `count` times four bytes of input, of any alignment, one below the other; returns where the column goes on. */
TRECX_INLINE trecx_word *trecx_dsp_widen_words(trecx_word *column, const int8_t *input, int32_t count) {
#if defined(__ARM_FEATURE_DSP)
  for (; count >= 4; count -= 4) {
    __asm__ volatile(TRECX_DSP_WIDEN TRECX_DSP_WIDEN TRECX_DSP_WIDEN TRECX_DSP_WIDEN
                     : "+r"(column), "+r"(input)
                     :
                     : "r2", "r4", "r5", "memory");
  }
  for (; count > 0; count--) {
    __asm__ volatile(TRECX_DSP_WIDEN : "+r"(column), "+r"(input) : : "r2", "r4", "r5", "memory");
  }
#else
  for (; count > 0; count--) {
    trecx_dsp_widen(column, trecx_load32(input));
    column += TRECX_DSP_STEP_WORDS;
    input += 4;
  }
#endif
  return column;
}

/* 1 to 3 bytes; the others are 0, and so are their weights. */
TRECX_INLINE uint32_t trecx_dsp_load_few(const int8_t *from, int32_t count) {
  uint32_t bytes = (uint8_t)from[0];
  bytes |= count > 1 ? (uint32_t)(uint8_t)from[1] << 8 : 0;
  bytes |= count > 2 ? (uint32_t)(uint8_t)from[2] << 16 : 0;
  return bytes;
}

/* Sums of two channels and three slots, slot by slot. */
TRECX_INLINE void trecx_dsp_sums(const trecx_word *column, const uint32_t *weights, int32_t steps, int32_t sums[6]) {
  int32_t a0 = (int32_t)weights[0], a1 = a0, a2 = a0;
  int32_t b0 = (int32_t)weights[1], b1 = b0, b2 = b0;
  weights += 2;
  for (int32_t step = 0; step < steps; step++) {
    const uint32_t va = weights[0], sa = trecx_sxtb16(va);
    const uint32_t vb = weights[1], sb = trecx_sxtb16(vb);
    a0 = trecx_smlad(sa, column[1], trecx_smlad(va, column[0], a0));
    b0 = trecx_smlad(sb, column[1], trecx_smlad(vb, column[0], b0));
    a1 = trecx_smlad(sa, column[3], trecx_smlad(va, column[2], a1));
    b1 = trecx_smlad(sb, column[3], trecx_smlad(vb, column[2], b1));
    a2 = trecx_smlad(sa, column[5], trecx_smlad(va, column[4], a2));
    b2 = trecx_smlad(sb, column[5], trecx_smlad(vb, column[4], b2));
    weights += 2;
    column += TRECX_DSP_STEP_WORDS;
  }
  sums[0] = a0, sums[1] = b0, sums[2] = a1, sums[3] = b1, sums[4] = a2, sums[5] = b2;
}

/* Any multiplier, shift and clamp; `constants` follow the weights of a pair: 2 multipliers, 2 shifts. */
TRECX_INLINE int8_t trecx_dsp_round_any(int32_t sum, const uint32_t *constants, int32_t channel,
                                        const trecx_dsp_output o) {
  const int32_t scaled = trecx_requantize(sum >> 8, (int32_t)constants[channel], (int32_t)constants[2 + channel]);
  return trecx_to_output(scaled, o.output);
}

TRECX_DSP_SHARED void trecx_dsp_tile_any(const trecx_dsp_tile *tile, const trecx_dsp_output o) {
  const uint32_t *weights = tile->weights;
  for (int32_t channel = 0; channel < o.channels; channel += 2) {
    int32_t sums[2 * TRECX_DSP_SLOTS];
    trecx_dsp_sums(tile->columns, weights, tile->steps, sums);
    const uint32_t *const constants = weights + 2 + 2 * tile->steps;
    for (int32_t slot = TRECX_DSP_SLOTS - 1; slot >= 0; slot--) {
      int8_t *const output = tile->output + slot * tile->output_stride + channel;
      output[0] = trecx_dsp_round_any(sums[2 * slot], constants, 0, o);
      if (channel + 1 < o.channels) {
        output[1] = trecx_dsp_round_any(sums[2 * slot + 1], constants, 1, o);
      }
    }
    weights = constants + TRECX_DSP_PAIR_WORDS - 2;
  }
}

#if defined(__ARM_FEATURE_DSP)

/* r0 column, r1 weights, r2 r3 v, r4 r5 s, r6 r7 x and y, then the sums: r8 r9 of slot 0, r10 r11, r12 lr. */
#define TRECX_DSP_WEIGHTS "ldmia r1!, {r2, r3}\n sxtb16 r4, r2\n sxtb16 r5, r3\n"
#define TRECX_DSP_SLOT(load, a, b, from_a, from_b)                                                                     \
  "ldrd r6, r7, " load "\n smlad " a ", r2, r6, " from_a "\n smlad " b ", r3, r6, " from_b "\n smlad " a               \
  ", r4, r7, " a "\n smlad " b ", r5, r7, " b "\n"
#define TRECX_DSP_FIRST_STEP                                                                                           \
  TRECX_DSP_WEIGHTS TRECX_DSP_SLOT("[r0, #8]", "r10", "r11", "r8", "r9")                                               \
  TRECX_DSP_SLOT("[r0, #16]", "r12", "lr", "r8", "r9") TRECX_DSP_SLOT("[r0], #24", "r8", "r9", "r8", "r9")
/* 70 bytes of code: the loop is entered in its middle. */
#define TRECX_DSP_STEP                                                                                                 \
  TRECX_DSP_WEIGHTS TRECX_DSP_SLOT("[r0, #8]", "r10", "r11", "r10", "r11")                                             \
  TRECX_DSP_SLOT("[r0, #16]", "r12", "lr", "r12", "lr") TRECX_DSP_SLOT("[r0], #24", "r8", "r9", "r8", "r9")
/* Repeated by the assembler, as C promises strings of 4,095 characters only. GCC takes the assembly for shorter than it
 * is, which misleads nothing: the function is noinline and holds no more than this. */
#define TRECX_DSP_EIGHT_STEPS ".rept 8\n" TRECX_DSP_STEP ".endr\n"

/* The sum in register `a` becomes an output; multiplier in `m`, constant in `c`, shift - 1 in the low byte of r6. */
#define TRECX_DSP_ROUND_POSITIVE(a, m, c, to)                                                                          \
  "smmla " a ", " a ", " m ", " c "\n asr " a ", " a ", r6\n ssat " a ", #8, " a ", asr #1\n strb " a ", " to "\n"
/* r1 waits on the stack. */
#define TRECX_DSP_ROUND_SIGNED(a, m, c, to)                                                                            \
  "asr r1, " a ", #31\n add r1, " c ", r1, lsl #7\n" TRECX_DSP_ROUND_POSITIVE(a, m, "r1", to)

#define TRECX_DSP_ROUND_TILE(round)                                                                                    \
  round("r10", "r2", "r4", "[r0, r7]") round("r12", "r2", "r4", "[r0, r7, lsl #1]")                                    \
  round("r8", "r2", "r4", "[r0], #1") "lsr r6, r6, #8\n" round("r11", "r3", "r5", "[r0, r7]")                          \
  round("lr", "r3", "r5", "[r0, r7, lsl #1]") round("r9", "r3", "r5", "[r0], #1")

/* On the stack: columns, end of the weights, output, its stride, end of the columns, entry into the loop, weights, and
 * r7, which some builds use as frame pointer and no asm may name. ADR counts from a whole word, hence the alignment. */
#define TRECX_DSP_TILE(round, save, restore)                                                                           \
  "ldmia r0, {r0-r6}\n"                                                                                                \
  "subs r5, r5, #1\n"                                                                                                  \
  "and r5, r5, #7\n"                                                                                                   \
  "movs r8, #70\n"                                                                                                     \
  "mul r5, r5, r8\n"                                                                                                   \
  ".balign 4\n"                                                                                                        \
  "adr.w r8, 2f\n"                                                                                                     \
  "sub r5, r8, r5\n"                                                                                                   \
  "orr r5, r5, #1\n"                                                                                                   \
  "push {r0-r7}\n"                                                                                                     \
  "mov r1, r6\n"                                                                                                       \
  "0:\n"                                                                                                               \
  "ldmia r1!, {r8, r9}\n" TRECX_DSP_FIRST_STEP                                                                         \
  "ldr pc, [sp, #20]\n"                                                                                                \
  "1:\n" TRECX_DSP_EIGHT_STEPS                                                                                         \
  "2:\n"                                                                                                               \
  "ldr r6, [sp, #16]\n"                                                                                                \
  "cmp r0, r6\n"                                                                                                       \
  "bne 1b\n"                                                                                                           \
  "ldmia r1!, {r2-r6}\n"                                                                                               \
  "ldrd r0, r7, [sp, #8]\n" save TRECX_DSP_ROUND_TILE(round)                                                           \
  "str r0, [sp, #8]\n" restore                                                                                         \
  "ldrd r0, r2, [sp]\n"                                                                                                \
  "cmp r1, r2\n"                                                                                                       \
  "bne 0b\n"                                                                                                           \
  "add sp, sp, #28\n"                                                                                                  \
  "pop {r7}\n"

#define TRECX_DSP_TILE_FUNCTION(name, round, save, restore)                                                            \
  TRECX_DSP_SHARED void name(const trecx_dsp_tile *tile) {                                                             \
    register const trecx_dsp_tile *r0 __asm__("r0") = tile;                                                            \
    __asm__ volatile(TRECX_DSP_TILE(round, save, restore)                                                              \
                     : "+r"(r0)                                                                                        \
                     :                                                                                                 \
                     : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory");     \
  }

TRECX_DSP_TILE_FUNCTION(trecx_dsp_tile_positive, TRECX_DSP_ROUND_POSITIVE, "", "")
TRECX_DSP_TILE_FUNCTION(trecx_dsp_tile_signed, TRECX_DSP_ROUND_SIGNED, "str r1, [sp, #24]\n", "ldr r1, [sp, #24]\n")

#else

/* The same arithmetic; `below` is what a negative sum takes off the constant. */
TRECX_INLINE void trecx_dsp_tile_rounded(const trecx_dsp_tile *tile, int32_t below) {
  int8_t *output = tile->output;
  for (const uint32_t *weights = tile->weights; weights != tile->weights_end; output += 2) {
    int32_t sums[2 * TRECX_DSP_SLOTS];
    trecx_dsp_sums(tile->columns, weights, tile->steps, sums);
    const uint32_t *const constants = weights + 2 + 2 * tile->steps;
    for (int32_t slot = TRECX_DSP_SLOTS - 1; slot >= 0; slot--) {
      for (int32_t channel = 0; channel < 2; channel++) {
        const int32_t sum = sums[2 * slot + channel];
        const int32_t constant = (int32_t)constants[2 + channel] - (sum < 0 ? below : 0);
        const int32_t scaled = trecx_smmla(sum, (int32_t)constants[channel], constant);
        const int32_t shift = (int32_t)((constants[4] >> (8 * channel)) & 0xffu);
        output[slot * tile->output_stride + channel] = (int8_t)trecx_ssat8((scaled >> shift) >> 1);
      }
    }
    weights = constants + TRECX_DSP_PAIR_WORDS - 2;
  }
}

TRECX_DSP_SHARED void trecx_dsp_tile_positive(const trecx_dsp_tile *tile) {
  trecx_dsp_tile_rounded(tile, 0);
}

TRECX_DSP_SHARED void trecx_dsp_tile_signed(const trecx_dsp_tile *tile) {
  trecx_dsp_tile_rounded(tile, 128);
}

#endif

/* The tile of layers of `pixels` with `terms` products per output; `scratch` holds its columns. An image that fills no
 * tile leaves slots without a pixel, which are computed all the same: from zeros, not from what lies there. */
TRECX_INLINE trecx_dsp_tile trecx_dsp_tile_of(int8_t *scratch, const uint32_t *weights, int32_t pixels, int32_t terms,
                                              int32_t channels) {
  const int32_t steps = (terms + 3) / 4;
  const int32_t pairs = (channels + 1) / 2;
  const trecx_word *const columns = (const trecx_word *)(const void *)scratch;
  if (pixels < TRECX_DSP_SLOTS) {
    memset(scratch, 0, (size_t)(steps * TRECX_DSP_STEP_WORDS) * sizeof *columns);
  }
  return (trecx_dsp_tile){
      .columns = columns,
      .columns_end = columns + steps * TRECX_DSP_STEP_WORDS,
      .steps = steps,
      .weights = weights,
      .weights_end = weights + pairs * (2 * steps + TRECX_DSP_PAIR_WORDS),
  };
}

/* Pixels of a full tile: images smaller than one go pixel by pixel. */
TRECX_INLINE int32_t trecx_dsp_tile_size(int32_t pixels) {
  return pixels < TRECX_DSP_SLOTS ? 1 : TRECX_DSP_SLOTS;
}

/* The column of pixel k of a tile of `count`. What is left behind full tiles goes backwards from the last pixel: the
 * pixel in front of two is then still in slot 2 and is computed once more. */
TRECX_INLINE trecx_word *trecx_dsp_tile_column(int8_t *scratch, int32_t k, int32_t count) {
  const int32_t slot = count == TRECX_DSP_SLOTS ? k : count - 1 - k;
  return (trecx_word *)(void *)scratch + 2 * slot;
}

/* Computes a tile of `count` pixels whose columns are made, the first of them at `output`. */
TRECX_INLINE void trecx_dsp_tile_run(trecx_dsp_tile *tile, int8_t *output, int32_t count, const trecx_dsp_output o) {
  tile->output = count == TRECX_DSP_SLOTS ? output : output + (count - 1) * o.channels;
  tile->output_stride = count == TRECX_DSP_SLOTS ? o.channels : count == 2 ? -o.channels : 0;
  if (o.rounding == TRECX_DSP_POSITIVE) {
    trecx_dsp_tile_positive(tile);
  } else if (o.rounding == TRECX_DSP_SIGNED) {
    trecx_dsp_tile_signed(tile);
  } else {
    trecx_dsp_tile_any(tile, o);
  }
}

#endif
