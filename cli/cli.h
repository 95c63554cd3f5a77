/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_CLI_CLI_H
#define ATR_CLI_CLI_H

/* Exit codes of our own, as env(1) and nohup(1) have them. */
#define ATR_EXIT_OURS 125   /* autotrace itself failed */
#define ATR_EXIT_CANNOT 126 /* the program was found, but not started */
#define ATR_EXIT_NONE 127   /* no such program */

/* autotrace run ...: argv[0] is "run".  Returns only when it failed: an exit code. */
int atr_cli_run(int argc, char **argv);

#endif
