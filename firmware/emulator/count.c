/* A QEMU plugin for this machine, not for a device: counts what one call of a function executes, per instruction.
 *
 *   qemu-system-arm ... -plugin libcount.so,entry=4660,out=FILE
 *
 * Counting begins where the instruction at the address `entry` (decimal) is executed and ends where that call returns.
 * Then FILE holds lines "address executed left", several for an instruction that lies in several runs: `left` says how
 * often the program went on elsewhere than at the next instruction, which is how often a branch was taken. Each further
 * call overwrites FILE.
 *
 * QEMU translates straight runs of instructions and calls `executed` before each. A run that the emulator cuts short
 * (its instruction budget, input and output) is translated again from there, so every run is executed to its end.
 *
 * Linux distributions ship plugin support without its header, so the part of the interface that is used here is
 * declared below. It is the same in all versions from 1 (QEMU 6) on; PLUGIN_VERSION says which one QEMU wants.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum plugin_registers { NO_REGISTERS };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id_t id, void (*translated)(plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*executed)(unsigned int, void *),
                                          enum plugin_registers access, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

/* A straight run of `size` instructions; `end` is the address after its last one. */
typedef struct run {
  struct run *next;
  uint64_t executed, left, end;
  size_t size;
  uint64_t addresses[];
} run_t;

static run_t *runs;           /* every one that was ever translated */
static run_t *last;           /* that was executed, counted or not */
static uint64_t entry, leave; /* the function's first instruction, and the one after its call */
static bool counting;
static const char *out;

static void *required(void *memory) {
  if (memory == NULL) {
    perror("count");
    exit(EXIT_FAILURE);
  }
  return memory;
}

static void write_counts(void) {
  FILE *file = required(fopen(out, "w"));
  for (run_t *run = runs; run != NULL; run = run->next) {
    for (size_t k = 0; run->executed > 0 && k < run->size; k++) {
      const uint64_t left = k + 1 == run->size ? run->left : 0;
      fprintf(file, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", run->addresses[k], run->executed, left);
    }
    run->executed = run->left = 0;
  }
  if (fclose(file) != 0) {
    perror(out);
    exit(EXIT_FAILURE);
  }
}

/* Whether `start` is the next instruction after a run. A run of Thumb code ends before an instruction that lies across
 * two pages, and QEMU 7 takes the halfword at which it saw that for a part of the run's last instruction, whose end is
 * then 2 bytes too far. */
static bool goes_on(const run_t *run, uint64_t start) {
  return start == run->end || start == run->end - 2;
}

static void executed(unsigned int cpu, void *data) {
  (void)cpu;
  run_t *const run = data;
  const uint64_t start = run->addresses[0];
  if (counting && !goes_on(last, start)) {
    last->left++;
  }
  if (!counting && start == entry && last != NULL) {
    counting = true;
    leave = last->end; /* the run before this one ended with the call */
  } else if (counting && start == leave) {
    counting = false;
    write_counts();
  }
  run->executed += counting;
  last = run;
}

static void translated(plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  const size_t size = qemu_plugin_tb_n_insns(tb);
  run_t *const run = required(calloc(1, sizeof(run_t) + size * sizeof(uint64_t)));
  for (size_t k = 0; k < size; k++) {
    const struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, k);
    run->addresses[k] = qemu_plugin_insn_vaddr(insn);
    run->end = run->addresses[k] + qemu_plugin_insn_size(insn);
  }
  run->size = size;
  run->next = runs;
  runs = run;
  qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, NO_REGISTERS, run);
}

EXPORT int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv) {
  (void)info;
  for (int k = 0; k < argc; k++) {
    if (strncmp(argv[k], "entry=", 6) == 0) {
      entry = strtoull(argv[k] + 6, NULL, 10);
    } else if (strncmp(argv[k], "out=", 4) == 0) {
      out = required(strdup(argv[k] + 4));
    }
  }
  if (out == NULL) {
    return -1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  return 0;
}
