/* SPDX-License-Identifier: Apache-2.0 */
/*
 * autotrace run: sets the environment and becomes the program.  What that leaves
 * is sent by another process (cli/watch.c).
 *
 * The options are names for OTEL_* variables; LD_PRELOAD gets libautotrace.so
 * behind whatever is there (a sanitizer must stay first).  A program that a
 * preloaded object cannot reach is run all the same, after one line on stderr
 * that says why it is not traced; stdout belongs to the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/elf.h"

#define LIBRARY "libautotrace.so"

/* Scripts whose interpreters are scripts: as many as Linux follows. */
#define MAX_SCRIPTS 5

static const char help[] =
	"usage: autotrace run [OPTION...] [--] PROGRAM [ARGUMENT...]\n"
	"\n"
	"  --service NAME       the service's name (OTEL_SERVICE_NAME)\n"
	"  --exporter NAME      where spans go: otlp, console, none (OTEL_TRACES_EXPORTER)\n"
	"  --endpoint URL       the collector (OTEL_EXPORTER_OTLP_ENDPOINT)\n"
	"  -e, --env NAME=VALUE any other variable; may be repeated\n"
	"  -h, --help           this\n"
	"\n"
	"The exit status is the program's; 125 if autotrace fails, 126 if the program\n"
	"cannot be started, 127 if there is none of that name.\n";

static const struct option options[] = {
	{ "service", required_argument, NULL, 's' },  { "exporter", required_argument, NULL, 'x' },
	{ "endpoint", required_argument, NULL, 'u' }, { "env", required_argument, NULL, 'e' },
	{ "help", no_argument, NULL, 'h' },	      { 0 },
};

static int set_variable(const char *name, const char *value)
{
	if (setenv(name, value, 1) == 0)
		return 0;
	fprintf(stderr, "autotrace: cannot set %s: %s\n", name, strerror(errno));
	return ATR_EXIT_OURS;
}

static int set_pair(char *pair)
{
	char *equals = strchr(pair, '=');

	if (!equals || equals == pair) {
		fprintf(stderr, "autotrace: --env wants NAME=VALUE, not '%s'\n", pair);
		return ATR_EXIT_OURS;
	}
	/* putenv() takes the pair as it is; argv lives as long as we do. */
	if (putenv(pair) == 0)
		return 0;
	fprintf(stderr, "autotrace: cannot set %s: %s\n", pair, strerror(errno));
	return ATR_EXIT_OURS;
}

bool atr_cli_beside(const char *name, char path[static PATH_MAX])
{
	static const char *const places[] = { "", "../lib/" };
	char self[PATH_MAX], place[2 * PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n < 0)
		return false;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return false;
	slash[1] = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		(void)snprintf(place, sizeof(place), "%s%s%s", self, places[i], name);
		if (realpath(place, path))
			return true;
	}
	fprintf(stderr, "autotrace: no %s in %s nor in %s../lib/\n", name, self, self);
	return false;
}

/* One of the entries of an LD_PRELOAD is the library already, from wherever. */
static bool is_preloaded(const char *preload)
{
	while (*preload) {
		size_t n = strcspn(preload, ": ");
		const char *end = preload + n;

		if (n >= strlen(LIBRARY) &&
		    memcmp(end - strlen(LIBRARY), LIBRARY, strlen(LIBRARY)) == 0 &&
		    (n == strlen(LIBRARY) || end[-(ptrdiff_t)strlen(LIBRARY) - 1] == '/'))
			return true;
		preload = end + (*end != '\0');
	}
	return false;
}

static int add_preload(const char *library)
{
	const char *now = getenv("LD_PRELOAD");
	size_t size;
	char *both;
	int err;

	if (!now || !*now)
		return set_variable("LD_PRELOAD", library);
	if (is_preloaded(now))
		return 0;
	size = strlen(now) + 1 + strlen(library) + 1;
	both = malloc(size);
	if (!both) {
		fputs("autotrace: out of memory\n", stderr);
		return ATR_EXIT_OURS;
	}
	(void)snprintf(both, size, "%s:%s", now, library);
	err = set_variable("LD_PRELOAD", both);
	free(both);
	return err;
}

/* The file execvp() would start for name; false when it would find none. */
static bool find_program(const char *name, char path[static PATH_MAX])
{
	const char *dirs = getenv("PATH");

	if (strchr(name, '/'))
		return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
	if (!dirs)
		dirs = "/bin:/usr/bin";
	for (;; dirs++) {
		size_t n = strcspn(dirs, ":");
		struct stat st;
		int len = snprintf(path, PATH_MAX, "%.*s%s%s", (int)n, dirs, n ? "/" : "", name);

		if (len < PATH_MAX && access(path, X_OK) == 0 && stat(path, &st) == 0 &&
		    S_ISREG(st.st_mode))
			return true;
		dirs += n;
		if (!*dirs)
			return false;
	}
}

/* The kernel would run it with more rights than ours: then the linker drops LD_PRELOAD. */
static bool gains_rights(int fd, const struct stat *st)
{
	if (st->st_mode & S_ISUID && st->st_uid != geteuid())
		return true;
	if (st->st_mode & S_ISGID && st->st_mode & S_IXGRP && st->st_gid != getegid())
		return true;
	return getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

/* Why a program of that kind cannot be traced, NULL when it can. */
static const char *elf_reason(struct atr_elf elf)
{
	switch (elf.kind) {
	case ATR_ELF_STATIC:
		return elf.go ? "is a static Go program" : "is statically linked";
	case ATR_ELF_OTHER_LIBC:
		return "is linked against another libc than ours";
	case ATR_ELF_FOREIGN:
		return "is made for another kind of machine, or for 32 bits";
	case ATR_ELF_DYNAMIC:
		return elf.go ? "is a Go program, which calls the kernel itself" : NULL;
	case ATR_ELF_NONE:
		break;
	}
	return NULL;
}

struct verdict {
	const char *reason; /* it is not traced because it ...; NULL: it is */
	bool refuses;	    /* it would not even start with our library preloaded */
	bool script;	    /* path is now the interpreter, to be looked at next */
};

static struct verdict judge(char path[static PATH_MAX])
{
	struct verdict v = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *bytes;

	if (fd < 0)
		return v; /* it may be executable without being readable */
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
		goto out;
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		goto out;
	v.script = atr_elf_script(bytes, (size_t)st.st_size, path, PATH_MAX);
	if (!v.script) { /* Linux ignores the set-id bits of scripts */
		struct atr_elf elf = atr_elf_judge(bytes, (size_t)st.st_size);

		v.refuses = elf.kind == ATR_ELF_OTHER_LIBC || elf.kind == ATR_ELF_FOREIGN;
		v.reason = elf_reason(elf);
		if (!v.reason && elf.kind == ATR_ELF_DYNAMIC && gains_rights(fd, &st))
			v.reason = "runs with other rights than yours";
	}
	(void)munmap(bytes, (size_t)st.st_size);
out:
	(void)close(fd);
	return v;
}

/* Says why the program cannot be traced, if so; false when LD_PRELOAD must stay as it is. */
static bool announce(const char *program, const char *library)
{
	struct verdict v = { 0 };
	char path[PATH_MAX];

	if (strpbrk(library, ": $")) {
		fprintf(stderr,
			"autotrace: %s is not traced: the path %s cannot be in LD_PRELOAD (no "
			"colon, blank or $ can)\n",
			program, library);
		return false;
	}
	if (!find_program(program, path))
		return true; /* execvp() will say so */
	for (int i = 0; i <= MAX_SCRIPTS; i++) {
		v = judge(path);
		if (!v.script)
			break;
	}
	if (v.reason)
		fprintf(stderr, "autotrace: %s is not traced: %s %s\n", program, path, v.reason);
	return !v.refuses;
}

int atr_cli_run(int argc, char **argv)
{
	static char name[] = "autotrace"; /* getopt's messages begin with it */
	char library[PATH_MAX];
	int c, err = 0;

	argv[0] = name;
	while (!err && (c = getopt_long(argc, argv, "+e:h", options, NULL)) != -1) {
		switch (c) {
		case 's':
			err = set_variable("OTEL_SERVICE_NAME", optarg);
			break;
		case 'x':
			err = set_variable("OTEL_TRACES_EXPORTER", optarg);
			break;
		case 'u':
			/* The one for traces alone would win over what was typed here. */
			(void)unsetenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
			err = set_variable("OTEL_EXPORTER_OTLP_ENDPOINT", optarg);
			break;
		case 'e':
			err = set_pair(optarg);
			break;
		case 'h':
			fputs(help, stdout);
			return fflush(stdout) == 0 ? 0 : ATR_EXIT_OURS;
		default: /* getopt has said what is wrong */
			return ATR_EXIT_OURS;
		}
	}
	if (err)
		return err;
	argv += optind;
	if (!argv[0]) {
		fputs("autotrace: run what? ('autotrace run --help')\n", stderr);
		return ATR_EXIT_OURS;
	}
	if (!atr_cli_beside(LIBRARY, library))
		return ATR_EXIT_OURS;
	if (announce(argv[0], library)) {
		err = add_preload(library);
		if (err)
			return err;
		atr_cli_watch();
	}
	(void)execvp(argv[0], argv);
	err = errno == ENOENT ? ATR_EXIT_NONE : ATR_EXIT_CANNOT;
	fprintf(stderr, "autotrace: %s: %s\n", argv[0], strerror(errno));
	return err;
}
