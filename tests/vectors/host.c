/* Runs the vectors on this machine and writes their outputs to stdout. */
#include <stdint.h>
#include <stdio.h>

void put(const int8_t *data, int32_t bytes);
void run_vectors(void);

void put(const int8_t *data, int32_t bytes) {
  fwrite(data, 1, (size_t)bytes, stdout);
}

int main(void) {
  run_vectors();
  return 0;
}
