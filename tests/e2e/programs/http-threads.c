/* SPDX-License-Identifier: Apache-2.0 */
/* CFLAGS: -MMD -MP */
/* LIBS: tests/e2e/programs/gate/gate.c -lpthread */
/*
 * http-threads UPSTREAM-PORT: a gateway (gate/gate.h) with a thread per connection.
 * Connections to the upstream are new or out of a pool that all threads share.
 */
#include "gate/gate.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;

	gate_serve(fd);
	close(fd);
	return NULL;
}

int main(int argc, char **argv)
{
	int door = gate_listen();
	pthread_attr_t attr;

	gate_upstream = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256 << 10);
	gate_listening(door);
	while (!gate_stop) {
		int fd = accept(door, NULL, NULL);
		pthread_t thread;

		if (fd >= 0 && pthread_create(&thread, &attr, serve, (void *)(intptr_t)fd))
			close(fd);
	}
	gate_report();
	return 0;
}
