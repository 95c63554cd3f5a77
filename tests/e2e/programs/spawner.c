/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawner: serves HTTP on a port of its own, which it prints.  GET /MAKER/WAY/ENV/WHAT
 * makes a child (fork, vfork, spawn) that becomes another program in this way with this
 * environment; the answer is what the child wrote, then how it ended.  GET /quit ends it.
 *
 * shown ...: such a program; prints its arguments and its environment.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char self[4096], script[4096];
static char inherited[256] = "TRACEPARENT=";
static char **started_with;

#define PAGE 4096
#define OTHER "TRACEPARENT=00-99999999999999999999999999999999-8888888888888888-01"
#define MANY 5000

/* ---- environments ---- */

/* n bytes that end at an unreadable page. */
static void *edge(const void *bytes, size_t n)
{
	char *p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(p + 7 * PAGE, PAGE, PROT_NONE);
	return memcpy(p + 7 * PAGE - n, bytes, n);
}

static char **copy(size_t n, char *entries[])
{
	char **env = calloc(n + 1, sizeof(*env));

	memcpy(env, entries, n * sizeof(*env));
	return env;
}

#define COPY(...) \
	copy(sizeof((char *[]){ __VA_ARGS__ }) / sizeof(char *), (char *[]){ __VA_ARGS__ })

static char **entries(size_t n)
{
	char **env = calloc(n + 1, sizeof(*env));

	for (size_t i = 0; i < n; i++)
		env[i] = "E=1";
	return env;
}

static char **environment(const char *kind)
{
	char **env;

	if (!strcmp(kind, "environ"))
		return started_with;
	if (!strcmp(kind, "own"))
		return COPY("Z=1", "PATH=/usr/bin:/bin", "A=2");
	if (!strcmp(kind, "empty"))
		return COPY(NULL);
	if (!strcmp(kind, "null"))
		return NULL;
	if (!strcmp(kind, "bad"))
		return (char **)8;
	if (!strcmp(kind, "bad-entry"))
		return COPY("A=1", (char *)8, "B=2");
	if (!strcmp(kind, "no-end"))
		return edge((char *[]){ "A=1", "B=2" }, 2 * sizeof(char *));
	if (!strcmp(kind, "no-nul"))
		return COPY("A=1", edge("TRACEPARENT=0", 13));
	if (!strcmp(kind, "edge"))
		return edge((char *[]){ "A=1", edge("TRACESTATE=x", 13), edge("T", 2), NULL },
			    4 * sizeof(char *));
	if (!strcmp(kind, "same"))
		return COPY("A=1", strdup(inherited), "B=2");
	if (!strcmp(kind, "twice"))
		return COPY(inherited, "A=1", inherited, "TRACESTATE=a=b", "B=2");
	if (!strcmp(kind, "other"))
		return COPY("A=1", OTHER, "TRACESTATE=a=b");
	if (!strcmp(kind, "both"))
		return COPY(inherited, OTHER);
	if (!strcmp(kind, "set-empty"))
		return COPY("TRACEPARENT=");
	if (!strcmp(kind, "others"))
		return COPY("TRACESTATE=a=b", "BAGGAGE=mine", "TRACEPAREN=x", "traceparent=x");
	if (!strcmp(kind, "4096"))
		return entries(4096);
	if (!strcmp(kind, "4097"))
		return entries(4097);
	env = entries(MANY);
	if (!strcmp(kind, "late"))
		env[MANY - 1] = (char *)8;
	return env;
}

/* ---- ways ---- */

static int run(const char *way, const char *path, char *const argv[], char **env)
{
	int fd;

	environ = strcmp(way, "execv") && strcmp(way, "execvp") && strcmp(way, "execl") &&
				  strcmp(way, "execlp")
			  ? environ
			  : env;
	if (!strcmp(way, "execve"))
		return execve(path, argv, env);
	if (!strcmp(way, "execv"))
		return execv(path, argv);
	if (!strcmp(way, "execvp"))
		return execvp(path, argv);
	if (!strcmp(way, "execvpe"))
		return execvpe(path, argv, env);
	if (!strcmp(way, "execl"))
		return execl(path, argv[0], argv[1], argv[2], NULL);
	if (!strcmp(way, "execlp"))
		return execlp(path, argv[0], argv[1], argv[2], NULL);
	if (!strcmp(way, "execle"))
		return execle(path, argv[0], argv[1], argv[2], NULL, env);
	if (!strcmp(way, "execveat"))
		return execveat(AT_FDCWD, path, argv, env, 0);
	fd = open(path, O_RDONLY); /* a script would need it open */
	return fexecve(fd, argv, env);
}

static int spawned(const char *way, const char *path, char *const argv[], char **env, int out,
		   pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	int err;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	errno = 4711;
	err = (strcmp(way, "spawn") ? posix_spawnp : posix_spawn)(pid, path, &actions, NULL, argv,
								  env);
	if (errno != 4711)
		dprintf(out, "errno became %d\n", errno);
	if (err)
		dprintf(out, "error %d\n", err);
	posix_spawn_file_actions_destroy(&actions);
	return err ? -1 : 0;
}

static char shared[64]; /* a vfork child writes to its parent's memory */

static void failed(int out)
{
	int n = snprintf(shared, sizeof(shared), "errno %d\n", errno);

	(void)!write(out, shared, (size_t)n);
	_exit(99);
}

/* Returns the wait status; what the child writes goes to `out`. */
static int child(const char *maker, const char *way, const char *path, char *const argv[],
		 char **env, int out)
{
	char **before = environ;
	int status = -1;
	pid_t pid = -1;

	if (!strcmp(maker, "spawn")) {
		if (spawned(way, path, argv, env, out, &pid))
			return -1;
	} else {
		pid = strcmp(maker, "fork") ? vfork() : fork();
		if (pid == 0) {
			dup2(out, 1);
			run(way, path, argv, env);
			failed(1);
		}
		environ = before;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* The longest string that still can be handed to a new program. */
static void longest(const char *maker, const char *way, int out)
{
	size_t low = 1, high = 40000;
	char **env = calloc(64, sizeof(*env));
	int null = open("/dev/null", O_WRONLY);
	struct rlimit limit;

	for (size_t i = 0; i < 6; i++)
		env[i] = memset(malloc(130001), 'x', 130000), env[i][130000] = 0;
	getrlimit(RLIMIT_STACK, &limit);
	limit.rlim_cur = 3200000; /* a quarter of it */
	setrlimit(RLIMIT_STACK, &limit);
	env[6] = malloc(high + 1);
	while (low < high) {
		size_t middle = (low + high + 1) / 2;
		int status;

		memset(env[6], 'y', middle);
		env[6][middle] = 0;
		status = child(maker, way, "/bin/true", (char *[]){ "true", NULL }, env, null);
		if (status == 0)
			low = middle;
		else
			high = middle - 1;
	}
	dprintf(out, "longest %zu\n", low);
}

/* ---- requests ---- */

static void act(char *target, int out)
{
	char *maker = strtok(target, "/"), *way = strtok(NULL, "/");
	char *env = strtok(NULL, "/"), *what = strtok(NULL, "/");
	char *const show[] = { "shown", "first", "with space", NULL };
	char *const *argv = show;
	const char *path = self;
	int status;

	if (!strcmp(what, "longest")) {
		longest(maker, way, out);
		return;
	}
	if (!strcmp(maker, "shell")) { /* everything that WHAT says, in one shell */
		char line[4096];

		snprintf(line, sizeof(line), "%s/%s", getenv("SCRIPTS"), what);
		status = child(way, !strcmp(way, "spawn") ? "spawnp" : "execvp", "sh",
			       (char *[]){ "sh", line, NULL }, environment(env), out);
		dprintf(out, "status %x\n", (unsigned)status);
		return;
	}
	if (!strcmp(what, "missing"))
		path = "/no/such/program";
	if (!strcmp(what, "dir"))
		path = "/tmp";
	if (!strcmp(what, "script"))
		path = script;
	if (!strcmp(what, "name"))
		path = "spawner";
	if (!strcmp(what, "noname"))
		path = "no-such-program";
	if (!strcmp(what, "bad-path"))
		path = (char *)8;
	if (!strcmp(what, "bad-argv"))
		argv = (char *const *)8;
	if (!strcmp(what, "null-argv"))
		argv = NULL;
	status = child(maker, way, path, argv, environment(env), out);
	dprintf(out, "status %x\n", (unsigned)status);
}

static void answer(int fd, char *target)
{
	char name[] = "/tmp/atr-spawner.XXXXXX";
	int out = mkstemp(name);
	static char text[1 << 20];
	char head[128];
	ssize_t n;

	unlink(name);
	act(target, out);
	lseek(out, 0, SEEK_SET);
	n = read(out, text, sizeof(text));
	close(out);
	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zd\r\n\r\n", n);
	if (send(fd, head, strlen(head), MSG_MORE) < 0 || send(fd, text, (size_t)n, 0) < 0)
		exit(3);
}

static void serve(int fd)
{
	static char head[65536];
	char target[4096];
	size_t have = 0;
	ssize_t n;

	while ((n = recv(fd, head + have, sizeof(head) - 1 - have, 0)) > 0) {
		have += (size_t)n;
		head[have] = '\0';
		if (!strstr(head, "\r\n\r\n"))
			continue;
		if (sscanf(head, "GET %4095s", target) != 1 || !strcmp(target, "/quit"))
			exit(0);
		answer(fd, target);
		have = 0;
	}
	close(fd);
}

static int show(int argc, char **argv, char **envp)
{
	for (int i = 0; i < argc; i++)
		printf("argument %s\n", argv[i]);
	for (; *envp; envp++)
		puts(*envp);
	return 0;
}

int main(int argc, char **argv, char **envp)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);
	int listener;

	if (argc < 1 || !*argv[0] || strcmp(argv[0], "shown") == 0)
		return show(argc, argv, envp);
	started_with = environ;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getenv("TRACEPARENT"))
		strncat(inherited, getenv("TRACEPARENT"), 200);
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 2;
	snprintf(script, sizeof(script), "%s", getenv("SCRIPT") ?: "/no/script");
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 9) ||
	    getsockname(listener, (struct sockaddr *)&address, &len))
		return 2;
	printf("%d\n", ntohs(address.sin_port));
	for (;;)
		serve(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}
