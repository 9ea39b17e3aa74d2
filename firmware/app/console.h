/* Text over the board's serial port: commands in, lines out. Integers only. */
#ifndef TRECX_CONSOLE_H
#define TRECX_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMMAND_SIZE 80u /* longest command, as in MLPerf Tiny's reference firmware */
#define COMMAND_END '%'

void put_text(const char *text);
void put_unsigned(uint64_t value);
void put_hex(const int8_t *bytes, size_t count);

/* What came over the wire, made harmless for the host's terminal and parsers: all but plain ASCII becomes '?'. */
void put_quoted(const char *text);

/* "NAMEvalueEND\r\n" */
void put_line(const char *name, uint64_t value, const char *end);

/* Waits for a command; false where it was longer than COMMAND_SIZE, and then `command` holds only its beginning.
 * Control characters are dropped, so that a person may press Enter. */
bool read_command(char command[COMMAND_SIZE + 1]);

/* Cuts the next word off `rest`; an empty string where there is none. */
char *next_word(char **rest);

#endif
