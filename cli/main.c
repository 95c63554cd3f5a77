/* SPDX-License-Identifier: Apache-2.0 */
/* The autotrace command: finds the subcommand and hands over. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "preload/version.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *line;
} commands[] = {
	{ "run", atr_cli_run, "run a program with its network operations traced" },
	{ "drain", atr_cli_drain, "send what killed programs left, or files of spans" },
	{ "status", atr_cli_status, "say how traced programs do, and why spans do not arrive" },
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(FILE *to)
{
	fputs("usage: autotrace COMMAND ...\n\n", to);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].line);
	fputs("\n'autotrace COMMAND --help' says more; 'autotrace --version' the version.\n", to);
}

static int printed(void)
{
	return fflush(stdout) == 0 ? 0 : ATR_EXIT_OURS;
}

/* What is opened next, a file of spans, must not become one of them.  Reading and writing fail as
 * they did, and a program that is run has them closed as they were. */
static bool open_standard(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH | O_CLOEXEC) != fd)
			return false;
	return true;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!open_standard()) {
		perror("autotrace: a standard descriptor is closed");
		return ATR_EXIT_OURS;
	}
	if (!name) {
		help(stderr);
		return ATR_EXIT_OURS;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
		help(stdout);
		return printed();
	}
	if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
		puts("autotrace " ATR_VERSION);
		return printed();
	}
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "autotrace: there is no command '%s' ('autotrace --help' lists them)\n",
		name);
	return ATR_EXIT_OURS;
}
