/* serve: the model behind a serial port.
 *
 * Speaks the protocol of MLPerf Tiny, so that its runner drives the device: commands end with '%', every reply ends with
 * "m-ready". Early exits need a few commands more, which the runner never sends (see `commands`); "m-exit-[k]" after the
 * results is a line that it ignores. Everything that arrives is checked: a broken command changes nothing.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "app/console.h"
#include "app/parse.h"
#include "boards/board.h"
#include "trecx_model.h"

#define VENDOR "trecx"
#define FIRMWARE "ULPMark for tinyML Firmware V0.0.1" /* the name that the benchmark gives to this protocol */
#define DEFAULT_WARMUPS 10u
#define MOST_INFERENCES 65535u /* of one command: a slip of the keyboard must not keep the device busy for days */
#define PRINT_WIDTH 8u         /* bytes per line of `db print` */

/* The sample as it was sent: bytes whose sign is the payload's matter. Running the model consumes its input, so each inference starts from a copy. */
static int8_t sample[MODEL_INPUT_BYTES];
static uint32_t sample_missing; /* bytes that `db load` still expects */

static model_result_t result;
static bool has_result;

typedef void (*work_t)(model_result_t *);

static void do_nothing(model_result_t *unused) {
  (void)unused;
}

/* Ticks of one call. With do_nothing it is the cost of measuring, which the host subtracts. */
static uint32_t measure(work_t work) {
  const work_t volatile unknown = work; /* volatile: the compiler must make the same indirect call for both */
  const work_t call = unknown;
  const uint32_t start = board_ticks();
  call(&result);
  return board_ticks() - start;
}

static bool sample_complete(void) {
  if (sample_missing != 0) {
    put_line("e-[The sample is incomplete, bytes missing: ", sample_missing, "]");
  }
  return sample_missing == 0;
}

/* MLPerf Tiny sends images as uint8 and audio features as int8. */
static void prepare_input(void) {
  const int8_t *next = sample;
  for (uint32_t number = 0; number < MODEL_INPUTS; number++) {
    uint32_t bytes;
    int8_t *const input = model_input(number, &bytes);
    for (uint32_t k = 0; k < bytes; k++) {
      input[k] = (int8_t)(uint8_t)((uint8_t)*next++ - MODEL_INPUT_OFFSET);
    }
  }
}

static uint32_t infer_sample(void) {
  prepare_input();
  has_result = true;
  return measure(model_run);
}

static void timestamp(char *rest) {
  (void)rest;
  put_line("m-lap-us-", board_time_us(), "");
}

static void name(char *rest) {
  (void)rest;
  put_text("m-name-dut-[" VENDOR "]\r\n");
}

static void profile(char *rest) {
  (void)rest;
  put_text("m-profile-[" FIRMWARE "]\r\nm-model-[" MODEL_TASK "]\r\n");
}

static void load_start(char *rest) {
  uint32_t bytes;
  if (!parse_unsigned(next_word(&rest), &bytes)) {
    put_text("e-[Command 'db load' requires the # of bytes]\r\n");
  } else if (bytes != MODEL_INPUT_BYTES) {
    put_line("e-[Command 'db load' must be as many bytes as the model's input: ", MODEL_INPUT_BYTES, "]");
  } else {
    sample_missing = bytes;
    put_line("m-[Expecting ", bytes, " bytes]");
  }
}

static void load_bytes(const char *digits) {
  const size_t length = strlen(digits);
  if (sample_missing == 0) {
    put_text("e-[Command 'db' requires a 'db load' first]\r\n");
    return;
  }
  if (length % 2u != 0) {
    put_text("e-[Insufficient number of hex digits]\r\n");
    return;
  }
  for (size_t k = 0; k < length; k++) {
    if (hex_digit(digits[k]) < 0) {
      put_text("e-[Invalid hex digits '");
      put_quoted(digits);
      put_text("']\r\n");
      return;
    }
  }
  for (size_t k = 0; k < length && sample_missing > 0; k += 2) {
    const int byte = hex_digit(digits[k]) * 16 + hex_digit(digits[k + 1]);
    sample[MODEL_INPUT_BYTES - sample_missing] = (int8_t)(uint8_t)byte;
    sample_missing--;
  }
  if (sample_missing == 0) {
    put_text("m-load-done\r\n");
  }
}

/* Takes a sample from the board's memory as if `db load` had brought it. */
static void pick(char *rest) {
  uint32_t available;
  uint32_t index;
  const uint8_t *samples = board_samples(&available);
  available /= MODEL_INPUT_BYTES;
  if (!parse_unsigned(next_word(&rest), &index) || index >= available) {
    put_line("e-[Command 'pick' requires a sample in memory; their number is ", available, "]");
    return;
  }
  memcpy(sample, samples + index * MODEL_INPUT_BYTES, MODEL_INPUT_BYTES);
  sample_missing = 0;
  put_line("m-pick-[", index, "]");
}

static void print_sample(void) {
  for (uint32_t k = 0; k < MODEL_INPUT_BYTES; k++) {
    put_text(k % PRINT_WIDTH == 0 ? "m-buffer-" : "-");
    put_hex(&sample[k], 1);
    if ((k + 1) % PRINT_WIDTH == 0 || k + 1 == MODEL_INPUT_BYTES) {
      put_text("\r\n");
    }
  }
}

static void db(char *rest) {
  const char *word = next_word(&rest);
  if (*word == '\0') {
    put_text("e-[Command 'db' requires a subcommand]\r\n");
  } else if (strcmp(word, "load") == 0) {
    load_start(rest);
  } else if (strcmp(word, "print") == 0) {
    print_sample();
  } else {
    load_bytes(word);
  }
}

#if MODEL_CLASSES > 0
/* Scores as probabilities with three decimals: (score + 128) / 256, rounded. */
static void put_answer(void) {
  for (uint32_t k = 0; k < MODEL_CLASSES; k++) {
    const uint32_t thousandths = ((uint32_t)(result.scores[k] + 128) * 1000u + 128u) / 256u;
    put_text(k == 0 ? "0." : ",0.");
    board_put((char)('0' + (char)(thousandths / 100u)));
    board_put((char)('0' + (char)(thousandths / 10u % 10u)));
    board_put((char)('0' + (char)(thousandths % 10u)));
  }
}

/* "SCORES,LOGITS" in hexadecimal, two digits each. */
static void put_raw(void) {
  put_hex(result.scores, MODEL_CLASSES);
  board_put(',');
  put_hex(result.logits, MODEL_CLASSES);
}
#else
/* Every value of the answer as it is, a whole number. */
static void put_answer(void) {
  const char *before = "";
  for (uint32_t k = 0; k < MODEL_OUTPUTS; k++) {
    uint32_t bytes;
    const int8_t *const values = model_output(k, &bytes);
    for (uint32_t n = 0; n < bytes; n++) {
      put_text(before);
      put_text(values[n] < 0 ? "-" : "");
      put_unsigned((uint64_t)(values[n] < 0 ? -values[n] : values[n]));
      before = ",";
    }
  }
}

/* "VALUES," likewise. */
static void put_raw(void) {
  for (uint32_t k = 0; k < MODEL_OUTPUTS; k++) {
    uint32_t bytes;
    const int8_t *const values = model_output(k, &bytes);
    put_hex(values, bytes);
  }
  board_put(',');
}
#endif

static void results(char *rest) {
  (void)rest;
  if (!has_result) {
    put_text("e-[No inference yet]\r\n");
    return;
  }
  put_text("m-results-[");
  put_answer();
  put_text("]\r\n");
  put_line("m-exit-[", result.exit, "]");
}

static void infer(char *rest) {
  uint32_t inferences = 1;
  uint32_t warmups = DEFAULT_WARMUPS;
  const char *word = next_word(&rest);
  if (*word != '\0' && (!parse_unsigned(word, &inferences) || inferences == 0 || inferences > MOST_INFERENCES)) {
    put_line("e-[Inference iterations must be >0 and <=", MOST_INFERENCES, "]");
    return;
  }
  word = next_word(&rest);
  if (*word != '\0' && (!parse_unsigned(word, &warmups) || warmups > MOST_INFERENCES)) {
    put_line("e-[Inference warmup must be >=0 and <=", MOST_INFERENCES, "]");
    return;
  }
  if (!sample_complete()) {
    return;
  }
  put_line("m-warmup-start-", warmups, "");
  for (uint32_t k = 0; k < warmups; k++) {
    (void)infer_sample();
  }
  put_text("m-warmup-done\r\n");
  put_line("m-infer-start-", inferences, "");
  timestamp(rest);
  for (uint32_t k = 0; k < inferences; k++) {
    (void)infer_sample();
  }
  timestamp(rest);
  put_text("m-infer-done\r\n");
  results(rest);
}

/* "m-raw-[exit,label,ticks,SCORES,LOGITS]": everything, exactly; label 0 and no logits where there are no classes. */
static void raw(char *rest) {
  (void)rest;
  if (!sample_complete()) {
    return;
  }
  const uint32_t ticks = infer_sample();
  put_text("m-raw-[");
  put_unsigned(result.exit);
  board_put(',');
#if MODEL_CLASSES > 0
  put_unsigned(result.label);
#else
  put_unsigned(0);
#endif
  board_put(',');
  put_unsigned(ticks);
  board_put(',');
  put_raw();
  put_text("]\r\n");
}

#ifdef TRECX_PROFILE_H
/* One inference, profiled; it is slower than that of `raw`. */
static void operators(char *rest) {
  (void)rest;
  if (!sample_complete()) {
    return;
  }
  prepare_input();
  has_result = true;
  profile_start();
  model_run(&result);
  profile_print();
}
#endif

static void overhead(char *rest) {
  (void)rest;
  put_line("m-overhead-[", measure(do_nothing), "]");
}

static void limit(char *rest) {
  uint32_t exit;
  uint32_t value;
  if (!parse_unsigned(next_word(&rest), &exit) || !parse_unsigned(next_word(&rest), &value) ||
      exit > UINT8_MAX || model_set_threshold((uint8_t)exit, value) != 0) {
    put_line("e-[Command 'limit' requires a limit below 2^32 and an early exit; their number is ", MODEL_LIMITS, "]");
    return;
  }
  put_text("m-limit-[");
  put_unsigned(exit);
  put_line(",", value, "]");
}

#if MODEL_POINTS > 0
static void point(char *rest) {
  uint32_t number;
  if (!parse_unsigned(next_word(&rest), &number) || number > UINT8_MAX || model_set_point((uint8_t)number) != 0) {
    put_line("e-[Command 'point' requires the number of an operating point; there are ", MODEL_POINTS, "]");
    return;
  }
  put_text("m-point-[");
  put_unsigned(number);
  for (uint32_t exit = 0; exit < MODEL_LIMITS; exit++) {
    uint32_t limit;
    const bool computed = model_threshold((uint8_t)exit, &limit) == 1;
    put_text(computed ? "," : ",off ");
    put_unsigned(limit);
  }
  put_text("]\r\n");
}
#endif

static void memory(char *rest) {
  (void)rest;
  put_text("m-memory-[");
  put_unsigned(MODEL_ARENA_BYTES);
  put_line(",", board_stack_used(), "]");
}

static void test(char *rest) {
  (void)rest;
  put_line("m-test-[", (uint64_t)model_self_test(), "]");
}

static void help(char *rest);

typedef struct {
  const char *word;
  void (*run)(char *rest);
  const char *usage;
} command_t;

static const command_t commands[] = {
  { "help", help, "help         : Print this information" },
  { "name", name, "name         : Print the name of the device" },
  { "timestamp", timestamp, "timestamp    : Print the time in microseconds" },
  { "profile", profile, "profile      : Print the protocol and the model" },
  { "db", db, "db SUBCMD    : Manipulate the sample\r\n"
              "  load N     : Expect N bytes, the size of the model's input\r\n"
              "  HH[HH]*    : Load 8-bit hex byte(s) until N bytes\r\n"
              "  print      : Print the sample as hex" },
  { "pick", pick, "pick K       : Take the sample from place K of the board's sample memory" },
  { "infer", infer, "infer N [W=10]: Load the sample, execute N inferences after W warmup loops" },
  { "results", results, "results      : Print the scores of the last inference, and the exit that answered" },
  { "raw", raw, "raw          : One inference: [exit,label,ticks,scores,logits], int8 as hex" },
#ifdef TRECX_PROFILE_H
  { "operators", operators, "operators    : One inference: [index:ticks,...] of every operator that ran" },
#endif
  { "overhead", overhead, "overhead     : Ticks that measuring adds to those of raw" },
  { "limit", limit, "limit EXIT N : Set the limit of an early exit; 0 never, 4294967295 always" },
#if MODEL_POINTS > 0
  { "point", point, "point K      : Set an operating point, and print its limits" },
#endif
  { "memory", memory, "memory       : Bytes of [arena, most stack used so far]" },
  { "test", test, "test         : Known-answer test, [differences]; resets the limits" },
};

static void help(char *rest) {
  (void)rest;
  put_text(FIRMWARE "\r\n\r\n");
  for (size_t k = 0; k < sizeof commands / sizeof commands[0]; k++) {
    put_text(commands[k].usage);
    put_text("\r\n");
  }
}

static void obey(char *line) {
  const char *word = next_word(&line);
  if (*word == '\0') {
    return;
  }
  for (size_t k = 0; k < sizeof commands / sizeof commands[0]; k++) {
    if (strcmp(word, commands[k].word) == 0) {
      commands[k].run(line);
      return;
    }
  }
  put_text("e-[Unknown command: ");
  put_quoted(word);
  put_text("]\r\n");
}

int main(void) {
  board_init();
  model_init();
  put_text("m-timestamp-mode-performance\r\n");
  put_line("m-lap-us-", board_time_us(), "");
  put_text("m-init-done\r\nm-ready\r\n");
  for (;;) {
    char line[COMMAND_SIZE + 1];
    if (read_command(line)) {
      obey(line);
    } else {
      put_line("e-[Command is longer than ", COMMAND_SIZE, " characters]");
    }
    put_text("m-ready\r\n");
  }
}
