/* Symbols of link.ld that more than one file reads. */
#ifndef TRECX_MPS2_AN386_MEMORY_H
#define TRECX_MPS2_AN386_MEMORY_H

#include <stdint.h>

#define STACK_PAINT 0xA5C35A3Cu

extern uint32_t __stack_limit[], __stack_top[]; /* the stack grows down from top to limit */

#endif
