/* trace: the generated model on this machine, for comparison with the reference.
 *
 *   trace [--tensors] LIMIT...     one limit (uint32) per exit that decides
 *   trace --point K                the limits of an operating point
 *   trace --points                 prints the limits of every operating point, as "K,LIMIT,..." or "off LIMIT"
 *
 * Reads any number of samples of MODEL_INPUT_BYTES from stdin and writes for each one an answer to stdout:
 *   exit u8, label u8, outputs[MODEL_OUTPUT_BYTES] i8, logits[MODEL_CLASSES] i8, statistics[MODEL_LIMITS] u32
 * The outputs are the class scores, or whatever the model answers with; the label is then 0. The statistics are by what
 * each exit decided, little-endian, 0 where it was not asked.
 * With --tensors it writes records instead, `index u32, bytes u32, data` in little-endian order: one per operator run,
 * and last the answer, with index 0xFFFFFFFF.
 * Exit status: 0 fine, 1 reading or writing failed, 2 wrong arguments or an incomplete input.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/hook.h"
#include "app/parse.h"
#include "trecx_model.h"

#define DECISIONS ((int)MODEL_LIMITS)
#define LOGITS_AT (2u + MODEL_OUTPUT_BYTES)
#define STATISTICS_AT (LOGITS_AT + MODEL_CLASSES)
#define ANSWER_INDEX UINT32_MAX

static bool tensors;
static bool failed; /* a write failed: stop after this sample */

/* What write_answer writes; decisions leave their statistics here. */
static uint8_t answer[STATISTICS_AT + 4u * MODEL_LIMITS];

static void write_bytes(const void *data, size_t bytes) {
  failed |= fwrite(data, 1, bytes, stdout) != bytes;
}

static void store_u32(uint8_t *bytes, uint32_t value) {
  for (uint32_t k = 0; k < 4u; k++) {
    bytes[k] = (uint8_t)(value >> 8 * k);
  }
}

static void write_u32(uint32_t value) {
  uint8_t bytes[4];
  store_u32(bytes, value);
  write_bytes(bytes, sizeof bytes);
}

void trace_decision(uint32_t exit, uint32_t statistic) {
  store_u32(answer + STATISTICS_AT + 4u * exit, statistic);
}

void trace_tensor(uint32_t index, const void *data, uint32_t bytes) {
  if (tensors) {
    write_u32(index);
    write_u32(bytes);
    write_bytes(data, bytes);
  }
}

static void write_answer(const model_result_t *result) {
  answer[0] = result->exit;
#if MODEL_CLASSES > 0
  answer[1] = result->label;
  memcpy(answer + 2, result->scores, MODEL_CLASSES);
  memcpy(answer + LOGITS_AT, result->logits, MODEL_CLASSES);
#else
  uint8_t *next = answer + 2;
  for (uint32_t k = 0; k < MODEL_OUTPUTS; k++) {
    uint32_t bytes;
    const int8_t *const values = model_output(k, &bytes);
    memcpy(next, values, bytes);
    next += bytes;
  }
#endif
  if (tensors) {
    trace_tensor(ANSWER_INDEX, answer, sizeof answer);
  } else {
    write_bytes(answer, sizeof answer);
  }
}

static bool set_limits(int count, char **arguments) {
  if (count != DECISIONS) {
    fprintf(stderr, "%s has %d exits that decide, so %d limits, not %d.\n", MODEL_NAME, DECISIONS, DECISIONS, count);
    return false;
  }
  for (int k = 0; k < count; k++) {
    uint32_t limit;
    if (!parse_unsigned(arguments[k], &limit) || model_set_threshold((uint8_t)k, limit) != 0) {
      fprintf(stderr, "The limit of exit %d is \"%s\", not a number from 0 to 4294967295.\n", k, arguments[k]);
      return false;
    }
  }
  return true;
}

static bool set_point(const char *argument) {
#if MODEL_POINTS > 0
  uint32_t point;
  if (parse_unsigned(argument, &point) && point <= UINT8_MAX && model_set_point((uint8_t)point) == 0) {
    return true;
  }
#endif
  fprintf(stderr, "%s has no operating point \"%s\"; it has %u.\n", MODEL_NAME, argument, MODEL_POINTS);
  return false;
}

#if MODEL_POINTS > 0
static void print_points(void) {
  for (uint32_t point = 0; point < MODEL_POINTS; point++) {
    (void)model_set_point((uint8_t)point);
    printf("%u", (unsigned)point);
    for (uint32_t exit = 0; exit < MODEL_LIMITS; exit++) {
      uint32_t limit;
      const bool computed = model_threshold((uint8_t)exit, &limit) == 1;
      printf(computed ? ",%u" : ",off %u", (unsigned)limit);
    }
    printf("\n");
  }
}
#endif

int main(int argc, char **argv) {
#ifdef SIGPIPE
  signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error to report, not a sudden death */
#endif
  int first = 1;
  if (argc > 1 && strcmp(argv[1], "--tensors") == 0) {
    tensors = true;
    first = 2;
  }
  model_init();
#if MODEL_POINTS > 0
  if (argc - first == 1 && strcmp(argv[first], "--points") == 0) {
    print_points();
    return 0;
  }
#endif
  const bool pointed = argc - first == 2 && strcmp(argv[first], "--point") == 0;
  if (!(pointed ? set_point(argv[first + 1]) : set_limits(argc - first, argv + first))) {
    return 2;
  }
  size_t samples = 0;
  static int8_t sample[MODEL_INPUT_BYTES];
  size_t received;
  while ((received = fread(sample, 1, sizeof sample, stdin)) == sizeof sample) {
    model_result_t result;
    memset(answer, 0, sizeof answer);
    const int8_t *next = sample;
    for (uint32_t k = 0; k < MODEL_INPUTS; k++) {
      uint32_t bytes;
      int8_t *const to = model_input(k, &bytes);
      memcpy(to, next, bytes);
      next += bytes;
    }
    model_run(&result);
    write_answer(&result);
    samples++;
    if (failed) {
      break;
    }
  }
  if (failed || fflush(stdout) != 0) {
    fprintf(stderr, "Writing stopped at sample %zu.\n", samples);
    return 1;
  }
  if (ferror(stdin)) {
    fprintf(stderr, "Reading stopped after sample %zu.\n", samples);
    return 1;
  }
  if (received != 0) {
    fprintf(stderr, "After %zu samples the input ends with %zu bytes; a sample has %zu.\n", samples, received, sizeof sample);
    return 2;
  }
  return 0;
}
