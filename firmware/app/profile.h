/* Included before the generated model in `profile`, so that every operator's end is marked with the board's ticks. */
#ifndef TRECX_PROFILE_H
#define TRECX_PROFILE_H

#include <stdint.h>

/* Before the inference: forgets the last one, and measures what a mark costs. */
void profile_start(void);

/* The operator `index` of the model file has ended. */
void profile_mark(uint32_t index);

/* "m-operators-[index:ticks,...]" in the order of execution, without the cost of the marks. The first operator includes
 * the call of the model, an operator after an exit the decision not to leave there. */
void profile_print(void);

#define TRECX_HOOK(index, data, bytes) profile_mark(index)

#endif
