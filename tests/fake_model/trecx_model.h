/* A model small enough to check by hand, with the interface of a generated one. */
#ifndef TRECX_MODEL_H
#define TRECX_MODEL_H

#include "fake.h"

#define MODEL_NAME "fake"
#define MODEL_TASK "kws01"
#define MODEL_INPUTS 1u
#define MODEL_INPUT_BYTES FAKE_INPUT_BYTES
#define MODEL_INPUT_OFFSET FAKE_INPUT_OFFSET
#define MODEL_CLASSES FAKE_CLASSES
#define MODEL_OUTPUT_BYTES FAKE_CLASSES
#define MODEL_EXITS FAKE_EXITS
#define MODEL_LIMITS 1u
#define MODEL_POINTS 0u
#define MODEL_ARENA_BYTES FAKE_ARENA_BYTES
#define MODEL_STATE_BYTES 0

typedef fake_result_t model_result_t;

#define model_init fake_init
#define model_run fake_run
#define model_set_threshold fake_set_threshold
#define model_self_test fake_self_test

static inline int8_t *model_input(uint32_t number, uint32_t *bytes) {
  (void)number;
  *bytes = FAKE_INPUT_BYTES;
  return fake_input();
}

#endif
