#include "app/profile.h"

#include "app/console.h"
#include "boards/board.h"

#define MOST_MARKS 4096u /* two of the start, one per operator */

static struct {
  uint32_t index;
  uint32_t ticks;
} marks[MOST_MARKS];

static uint32_t count;

/* Two marks with nothing between them: their distance is what each mark adds to the operator that it ends. */
void profile_start(void) {
  count = 0;
  profile_mark(0);
  profile_mark(0);
}

/* Not inlined: every call of it must cost the same. */
__attribute__((noinline)) void profile_mark(uint32_t index) {
  const uint32_t now = board_ticks();
  if (count < MOST_MARKS) {
    marks[count].index = index;
    marks[count].ticks = now;
    count++;
  }
}

void profile_print(void) {
  const uint32_t overhead = marks[1].ticks - marks[0].ticks;
  if (count == MOST_MARKS) {
    put_text("m-operators-[more than there is memory for]\r\n");
    return;
  }
  put_text("m-operators-[");
  for (uint32_t k = 2; k < count; k++) {
    const uint32_t ticks = marks[k].ticks - marks[k - 1].ticks;
    put_text(k == 2 ? "" : ",");
    put_unsigned(marks[k].index);
    board_put(':');
    put_unsigned(ticks > overhead ? ticks - overhead : 0);
  }
  put_text("]\r\n");
}
