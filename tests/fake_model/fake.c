#include "fake.h"

#include <string.h>

#ifndef TRECX_HOOK
#define TRECX_HOOK(index, data, bytes) ((void)0)
#endif

#define DEFAULT_LIMIT 100u

static _Alignas(16) int8_t fake_arena[FAKE_ARENA_BYTES];
static uint32_t limits[1] = { DEFAULT_LIMIT };
static const uint8_t weights[FAKE_CLASSES] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };

static void sums(const int8_t *input, uint32_t first, uint32_t end, int8_t *logits) {
  for (uint32_t k = first; k < end; k++) {
    const uint32_t weighted = (uint32_t)(uint8_t)input[k] * weights[k % FAKE_CLASSES];
    logits[k % FAKE_CLASSES] = (int8_t)(uint8_t)((uint8_t)logits[k % FAKE_CLASSES] + weighted);
  }
}

static void answer(fake_result_t *result, uint8_t exit) {
  uint8_t best = 0;
  for (uint8_t k = 0; k < FAKE_CLASSES; k++) {
    result->scores[k] = (int8_t)(result->logits[k] >> 1);
    if (result->scores[k] > result->scores[best]) {
      best = k;
    }
  }
  TRECX_HOOK(exit == 0 ? 1 : 3, result->scores, FAKE_CLASSES);
  result->exit = exit;
  result->label = best;
}

void fake_init(void) {
  limits[0] = DEFAULT_LIMIT;
}

int8_t *fake_input(void) {
  return fake_arena;
}

/* On a microcontroller the first two bytes say how many rounds of two instructions to spend: what counting must find. */
static void spend(const int8_t *input) {
#if defined(__arm__) || defined(__riscv)
  uint32_t rounds = 1u + (uint32_t)(uint8_t)input[0] + 256u * (uint32_t)(uint8_t)input[1];
#ifdef __arm__
  __asm__ volatile(".syntax unified\n1:\tsubs %0, %0, #1\n\tbne 1b" : "+l"(rounds)::"cc");
#else
  __asm__ volatile("1:\taddi %0, %0, -1\n\tbnez %0, 1b" : "+r"(rounds));
#endif
#else
  (void)input;
#endif
}

void fake_run(fake_result_t *result) {
  spend(fake_arena);
  memset(result->logits, 0, sizeof result->logits);
  sums(fake_arena, 0, FAKE_INPUT_BYTES / 2, result->logits);
  TRECX_HOOK(0, result->logits, FAKE_CLASSES);
  uint32_t confidence = 255;
  for (uint32_t k = 0; k < FAKE_CLASSES; k++) {
    const uint32_t distance = (uint32_t)(127 - result->logits[k]);
    confidence = distance < confidence ? distance : confidence;
  }
  if (confidence < limits[0]) {
    answer(result, 0);
  } else {
    sums(fake_arena, FAKE_INPUT_BYTES / 2, FAKE_INPUT_BYTES, result->logits);
    TRECX_HOOK(2, result->logits, FAKE_CLASSES);
    answer(result, 1);
  }
  memset(fake_arena, 0x55, FAKE_INPUT_BYTES); /* the input is consumed */
}

int fake_set_threshold(uint8_t exit, uint32_t limit) {
  if (exit != 0) {
    return -1;
  }
  limits[0] = limit;
  return 0;
}
