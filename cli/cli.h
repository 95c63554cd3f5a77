/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_CLI_CLI_H
#define ATR_CLI_CLI_H

#include <limits.h>
#include <stdbool.h>

/* Exit codes of our own, as env(1) and nohup(1) have them. */
#define ATR_EXIT_OURS 125   /* autotrace itself failed */
#define ATR_EXIT_CANNOT 126 /* the program was found, but not started */
#define ATR_EXIT_NONE 127   /* no such program */

/* autotrace run ...: argv[0] is "run".  Returns only when it failed: an exit code. */
int atr_cli_run(int argc, char **argv);

/* autotrace drain ...: argv[0] is "drain".  Returns the exit code. */
int atr_cli_drain(int argc, char **argv);

/* autotrace status ...: argv[0] is "status".  Returns the exit code. */
int atr_cli_status(int argc, char **argv);

/* Starts a process that drains for this one when it has ended (cli/watch.c). */
void atr_cli_watch(void);

/* The file of that name beside this program, or in ../lib of it; false (said) when there is none.
 */
bool atr_cli_beside(const char *name, char path[static PATH_MAX]);

#endif
