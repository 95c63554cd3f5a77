/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -MMD -MP */
/* LIBS: tests/e2e/programs/gate/gate.c -lpthread */
/*
 * http-prefork UPSTREAM-PORT CHILDREN: a gateway (gate/gate.h) whose children wait in
 * accept() on one listening socket and serve one connection at a time.
 */
#include "gate/gate.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHILDREN_MAX 64

static void child(int door)
{
	while (!gate_stop) {
		int fd = accept(door, NULL, NULL);

		if (fd < 0)
			continue;
		gate_serve(fd);
		close(fd);
	}
	gate_report();
	exit(0);
}

int main(int argc, char **argv)
{
	pid_t children[CHILDREN_MAX];
	int door = gate_listen(), n;

	gate_upstream = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
	n = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 8;
	if (n > CHILDREN_MAX)
		n = CHILDREN_MAX;
	for (int i = 0; i < n; i++) {
		children[i] = fork();
		if (children[i] < 0)
			gate_die("fork");
		if (children[i] == 0)
			child(door);
	}
	gate_listening(door);
	while (!gate_stop)
		pause();
	gate_end(children, n);
	return 0;
}
