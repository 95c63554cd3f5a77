/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exits HOW PORT: one echo round trip (connect, send, recv), then end at once.
 *
 * LIBS: -lpthread */
#include <arpa/inet.h>
#include <err.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int port;

static void round_trip(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_STREAM, 0);
	char buf[8];

	if (connect(s, (void *)&at, sizeof(at)) || send(s, "x", 1, 0) != 1 ||
	    recv(s, buf, 8, 0) != 1)
		abort();
}

static void *late(void *arg)
{
	usleep(20000);
	round_trip();
	return NULL;
}

static void *leave(void *arg)
{
	round_trip();
	exit(7);
}

static void in_atexit(void)
{
	round_trip();
}

int main(int argc, char **argv)
{
	const char *how = argv[1];
	pthread_t t;

	port = atoi(argv[2]);
	setvbuf(stdout, NULL, _IONBF, 0);
	if (!strcmp(how, "atexit"))
		atexit(in_atexit);
	else if (strcmp(how, "thread-exit") && strcmp(how, "nothing"))
		round_trip();
	printf("%s\n", how);
	if (!strcmp(how, "exit"))
		exit(7);
	if (!strcmp(how, "err"))
		errx(7, "by libc itself");
	if (!strcmp(how, "_exit"))
		_exit(7);
	if (!strcmp(how, "_Exit"))
		_Exit(7);
	if (!strcmp(how, "quick_exit"))
		quick_exit(7);
	if (!strcmp(how, "execv"))
		execv("/bin/sh", (char *[]){ "sh", "-c", "exit 7", NULL });
	if (!strcmp(how, "execlp"))
		execlp("sh", "sh", "-c", "exit 7", (char *)NULL);
	if (!strcmp(how, "execvp-missing")) {
		execvp("/no/such/program", argv);
		round_trip(); /* it failed: life goes on, and is traced */
		return 7;
	}
	if (!strcmp(how, "self"))
		execl("/proc/self/exe", argv[0], "return", argv[2], (char *)NULL);
	if (!strcmp(how, "pthread_exit")) {
		pthread_create(&t, NULL, late, NULL);
		pthread_detach(t);
		pthread_exit(NULL); /* the process ends with 0 when late() is done */
	}
	if (!strcmp(how, "thread-exit")) {
		pthread_create(&t, NULL, leave, NULL);
		pause();
	}
	if (!strcmp(how, "system"))
		return system("exit 7") >> 8;
	if (!strcmp(how, "SIGTERM"))
		raise(SIGTERM);
	if (!strcmp(how, "abort"))
		abort();
	return 7;
}
