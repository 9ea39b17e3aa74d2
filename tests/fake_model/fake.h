/* Two exits over sums of the input: logits[k] = sum of input[k], input[k + 12], ... modulo 256; the early exit sees the
 * first half of the input only. scores[k] = logits[k] / 2 rounded down. */
#ifndef TRECX_FAKE_H
#define TRECX_FAKE_H

#include <stdint.h>

#define FAKE_INPUT_BYTES 490u
#ifndef FAKE_INPUT_OFFSET
#define FAKE_INPUT_OFFSET 0
#endif
#define FAKE_CLASSES 12u
#define FAKE_EXITS 2u
#define FAKE_ARENA_BYTES 512u

typedef struct {
  uint8_t exit;
  uint8_t label;
  int8_t scores[FAKE_CLASSES];
  int8_t logits[FAKE_CLASSES];
} fake_result_t;

void fake_init(void);
int8_t *fake_input(void);
void fake_run(fake_result_t *result);
int fake_set_threshold(uint8_t exit, uint32_t limit);
int fake_self_test(void);

#endif
