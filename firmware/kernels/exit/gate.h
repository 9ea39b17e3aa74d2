/* Exit criterion: a learned gate, an output of one value whose sigmoid is not computed.
 *
 *   128 - q, from 1 to 256; exact
 *
 * sigmoid(scale (q - zero point)) > tau is q > zero point + ln(tau / (1 - tau)) / scale.
 */
#ifndef TRECX_KERNELS_EXIT_GATE_H
#define TRECX_KERNELS_EXIT_GATE_H

#include <stdint.h>

static inline uint32_t trecx_exit_gate(const int8_t *gate, uint32_t values) {
  (void)values; /* one */
  return (uint32_t)(128 - gate[0]);
}

#endif
