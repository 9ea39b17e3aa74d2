/* trace: the generated model on this machine, for comparison with the reference.
 *
 *   trace [--tensors] LIMIT...     one limit (uint32) per early exit
 *
 * Reads any number of inputs of MODEL_INPUT_BYTES from stdin and writes for each one an answer to stdout:
 *   exit u8, label u8, scores[MODEL_CLASSES] i8, logits[MODEL_CLASSES] i8
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

#define EARLY_EXITS ((int)MODEL_EXITS - 1)
#define ANSWER_INDEX UINT32_MAX

static bool tensors;
static bool failed; /* a write failed: stop after this sample */

static void write_bytes(const void *data, size_t bytes) {
  failed |= fwrite(data, 1, bytes, stdout) != bytes;
}

static void write_u32(uint32_t value) {
  const uint8_t bytes[4] = { (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24) };
  write_bytes(bytes, sizeof bytes);
}

void trace_tensor(uint32_t index, const void *data, uint32_t bytes) {
  if (tensors) {
    write_u32(index);
    write_u32(bytes);
    write_bytes(data, bytes);
  }
}

static void write_answer(const model_result_t *result) {
  uint8_t answer[2 + 2 * MODEL_CLASSES] = { result->exit, result->label };
  memcpy(answer + 2, result->scores, MODEL_CLASSES);
  memcpy(answer + 2 + MODEL_CLASSES, result->logits, MODEL_CLASSES);
  if (tensors) {
    trace_tensor(ANSWER_INDEX, answer, sizeof answer);
  } else {
    write_bytes(answer, sizeof answer);
  }
}

static bool set_limits(int count, char **arguments) {
  if (count != EARLY_EXITS) {
    fprintf(stderr, "%s has %d early exits, so %d limits, not %d.\n", MODEL_NAME, EARLY_EXITS, EARLY_EXITS, count);
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
  if (!set_limits(argc - first, argv + first)) {
    return 2;
  }
  size_t samples = 0;
  static int8_t input[MODEL_INPUT_BYTES];
  size_t received;
  while ((received = fread(input, 1, sizeof input, stdin)) == sizeof input) {
    model_result_t result;
    memcpy(model_input(), input, sizeof input);
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
    fprintf(stderr, "After %zu samples the input ends with %zu bytes; a sample has %zu.\n", samples, received, sizeof input);
    return 2;
  }
  return 0;
}
