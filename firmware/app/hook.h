/* Included before the generated model in the host's `trace`, so that every operator's output and decision passes by. */
#ifndef TRECX_HOOK_H
#define TRECX_HOOK_H

#include <stdint.h>

void trace_tensor(uint32_t index, const void *data, uint32_t bytes);
void trace_decision(uint32_t exit, uint32_t statistic);

#define TRECX_HOOK(index, data, bytes) trace_tensor((index), (data), (bytes))
#define TRECX_DECISION(exit, statistic) trace_decision((exit), (statistic))

#endif
