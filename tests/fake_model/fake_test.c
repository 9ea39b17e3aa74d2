#include "fake.h"

#include <string.h>

int fake_self_test(void) {
  fake_result_t result;
  memset(fake_input(), 0, FAKE_INPUT_BYTES);
  fake_input()[5] = 100;
  (void)fake_set_threshold(0, UINT32_MAX);
  fake_run(&result);
  fake_init();
  return (result.label != 5) + (result.exit != 0) + (result.scores[5] != 50);
}
