/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking at processes.
 *
 * /proc says how a process was started and what is loaded; its own page of the spool file
 * (preload/status.h) says how it does.  A living process is matched with its file by
 * what the file's name says (preload/spoolname.h), for numbers are used again.  Of a
 * container's process the numbers are those inside, and the directories are reached through
 * its root.
 */
#include "cli/seen.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/spool.h"
#include "preload/sys.h"
#include "preload/traceparent.h"

#define LIBRARY "libautotrace.so"
#define ENVIRON_MAX (1u << 20)
#define MAPS_MAX (8u << 20)
#define ALL_MAX 4096 /* processes and files looked at by one command */
#define AT_SECURE_TYPE 23
#define PREFIX "autotrace-" /* of a directory, in front of its owner's number */
#define EVERYBODY ((uid_t)-1)

/* ---- /proc ---- */

/* A whole file with a NUL behind it, malloc'ed; NULL when it cannot be read. */
static char *read_proc(int pid, const char *name, size_t max, size_t *ret_len)
{
	char path[64], *text = NULL;
	size_t len = 0, room = 0;
	ssize_t n = -1;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	do {
		if (len + 4096 > room) {
			char *more = realloc(text, room = room ? 2 * room : 16384);

			if (!more)
				break;
			text = more;
		}
		n = read(fd, text + len, room - len - 1);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0 && len < max);
	(void)close(fd);
	if (n < 0 && len == 0) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	if (ret_len)
		*ret_len = len;
	return text;
}

/* The nth number behind "Key:" in /proc/PID/status, or the last one of the line; `none` without. */
static long status_number(const char *text, const char *key, unsigned nth, long none)
{
	const char *line = strstr(text, key);
	long found = none;
	char *end;

	if (!line)
		return none;
	for (line += strlen(key); *line && *line != '\n'; line = end) {
		long v = strtol(line, &end, 10);

		if (end == line)
			break;
		found = v;
		if (--nth == 0)
			break;
	}
	return found;
}

static long filters_of(int pid)
{
	char *text = read_proc(pid, "status", 65536, NULL);
	long n = text ? status_number(text, "Seccomp_filters:", 1, -1) : -1;

	free(text);
	return n;
}

/* What a whole environment says, one variable at a time. */
static const char *environment;
static size_t environment_len;

static const char *env_of(const char *name)
{
	size_t n = strlen(name);

	for (const char *p = environment; p < environment + environment_len; p += strlen(p) + 1)
		if (strncmp(p, name, n) == 0 && p[n] == '=')
			return p + n + 1;
	return NULL;
}

static void no_warning(const char *line)
{
	(void)line;
}

static void look_at_preload(struct atr_seen *s)
{
	const char *list = env_of("LD_PRELOAD");
	struct stat st;

	while (list && *list) {
		size_t n = strcspn(list, ": ");

		if (n >= strlen(LIBRARY) && n < sizeof(s->library) &&
		    memcmp(list + n - strlen(LIBRARY), LIBRARY, strlen(LIBRARY)) == 0) {
			s->preload = true;
			(void)snprintf(s->library, sizeof(s->library), "%.*s", (int)n, list);
			s->library_missing = s->library[0] == '/' && stat(s->library, &st) != 0;
		}
		if (n > 10 && memmem(list, n, "/vgpreload_", 11))
			s->valgrind = true;
		list += n + (list[n] != '\0');
	}
}

static void look_at_parent(struct atr_seen *s)
{
	const char *text = env_of("TRACEPARENT");
	struct atr_context parent;

	s->parent_unsampled =
		text && atr_traceparent_parse(&parent, (struct atr_slice){ text, strlen(text) }) &&
		!(parent.flags & ATR_FLAG_SAMPLED);
}

static bool look_at_environment(struct atr_seen *s)
{
	char *text = read_proc(s->pid, "environ", ENVIRON_MAX, &environment_len);

	if (!text)
		return false;
	environment = text;
	look_at_preload(s);
	look_at_parent(s);
	/* A program may have written over it (its title): then nothing of it is there. */
	s->config_known = environment_len > 0 && memchr(text, '=', environment_len) != NULL;
	atr_config_read(&s->config, env_of, no_warning);
	return true;
}

static bool look_at_maps(struct atr_seen *s)
{
	char *text = read_proc(s->pid, "maps", MAPS_MAX, NULL);

	if (!text)
		return false;
	s->mapped = strstr(text, "/" LIBRARY) != NULL;
	s->tsan = strstr(text, "/libtsan.so") != NULL;
	free(text);
	return true;
}

static void look_at_auxv(struct atr_seen *s)
{
	size_t len = 0;
	char *text = read_proc(s->pid, "auxv", 65536, &len);
	unsigned long pair[2];

	for (size_t at = 0; text && at + sizeof(pair) <= len; at += sizeof(pair)) {
		memcpy(pair, text + at, sizeof(pair));
		if (pair[0] == AT_SECURE_TYPE)
			s->secure = pair[1] != 0;
	}
	free(text);
}

static void look_at_program(struct atr_seen *s)
{
	char path[64];
	struct stat st;
	ssize_t n;
	void *bytes;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/exe", s->pid);
	n = readlink(path, s->exe, sizeof(s->exe) - 1);
	s->exe[n > 0 ? n : 0] = '\0';
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
		bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (bytes != MAP_FAILED) {
			struct atr_elf elf = atr_elf_judge(bytes, (size_t)st.st_size);

			s->elf = elf.kind;
			s->go = elf.go;
			(void)munmap(bytes, (size_t)st.st_size);
		}
	}
	(void)close(fd);
}

static void look_at_threads(struct atr_seen *s)
{
	char path[64];
	struct dirent *d;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", s->pid);
	dir = opendir(path);
	while (dir && !s->thread && (d = readdir(dir))) {
		char name[512], comm[32];
		ssize_t n;

		if (d->d_name[0] == '.')
			continue;
		(void)snprintf(name, sizeof(name), "%s/%s/comm", path, d->d_name);
		n = atr_sys_read_file(name, comm, sizeof(comm));
		s->thread = n == 10 && memcmp(comm, "autotrace\n", 10) == 0;
	}
	if (dir)
		(void)closedir(dir);
}

static void copy_name(struct atr_seen *s, const char *stat)
{
	const char *from = strchr(stat, '('), *to = strrchr(stat, ')');

	if (from && to && to > from)
		(void)snprintf(s->name, sizeof(s->name), "%.*s", (int)(to - from - 1), from + 1);
}

/* How it was started, and as what; the pid as its own namespace has it in *ret_pid. */
static void look_at_process(struct atr_seen *s, long *ret_pid)
{
	char *status = read_proc(s->pid, "status", 65536, NULL);
	char *stat = read_proc(s->pid, "stat", 4096, NULL);
	struct atr_spool_stat parsed;
	long filters, parent;

	*ret_pid = s->pid;
	s->exists = status && stat && atr_spool_stat_parse(stat, strlen(stat), &parsed);
	if (s->exists) {
		copy_name(s, stat);
		s->zombie = (parsed.state == 'Z' || parsed.state == 'X') && parsed.n_threads <= 1;
		s->stopped = parsed.state == 'T' || parsed.state == 't';
		s->uid = (uid_t)status_number(status, "\nUid:", 1, -1);
		s->euid = (uid_t)status_number(status, "\nUid:", 2, -1);
		s->others = s->uid != geteuid();
		*ret_pid = status_number(status, "\nNSpid:", UINT_MAX, s->pid);
		filters = status_number(status, "\nSeccomp_filters:", 1, -1);
		parent = status_number(status, "\nPPid:", 1, 0);
		s->sandboxed = status_number(status, "\nSeccomp:", 1, 0) == 1 ||
			       (filters > 0 && parent > 0 && filters > filters_of((int)parent));
	}
	free(status);
	free(stat);
	if (!s->exists || s->zombie)
		return;
	look_at_program(s);
	look_at_auxv(s);
	look_at_threads(s);
	s->readable = look_at_maps(s) && look_at_environment(s);
}

/* ---- the spool ---- */

typedef void file_fn(int dir, const char *path, const char *name, const struct atr_spool_name *who,
		     void *arg);

/* False when there is no such directory, or it is not that user's. */
static bool each_file(const char *path, uid_t uid, file_fn *each, void *arg)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct atr_spool_name who;
	struct stat st;
	unsigned n = 0;
	DIR *dir = fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == uid ? fdopendir(fd) : NULL;
	struct dirent *d;

	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return false;
	}
	while ((d = readdir(dir)) && n < ALL_MAX) {
		if (!atr_spool_name_parse(d->d_name, &who))
			continue;
		each(fd, path, d->d_name, &who, arg);
		n++;
	}
	(void)closedir(dir);
	return true;
}

/* Whose directory it is by its name, which is the one that the library gives it. */
static bool owner_of(const char *name, uid_t *ret_uid)
{
	char again[32];

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
		return false;
	*ret_uid = (uid_t)strtoul(name + strlen(PREFIX), NULL, 10);
	(void)snprintf(again, sizeof(again), PREFIX "%u", (unsigned)*ret_uid);
	return strcmp(name, again) == 0;
}

/* In the directories below `base` that are named by their owners.  Others anybody can make there:
 * they do not count. */
static void each_owner(const char *base, file_fn *each, void *arg)
{
	DIR *dir = opendir(base);
	const struct dirent *d;
	char path[PATH_MAX];
	unsigned n = 0;
	uid_t uid;

	while (dir && n < ALL_MAX && (d = readdir(dir))) {
		if (!owner_of(d->d_name, &uid))
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", base, d->d_name);
		n += each_file(path, uid, each, arg);
	}
	if (dir)
		(void)closedir(dir);
}

/* In all directories where files of that user may be; `root` is put in front of them. */
static void each_spool(const char *root, uid_t uid, const char *(*env)(const char *), file_fn *each,
		       void *arg)
{
	const char *bases[] = { env("AUTOTRACE_SPOOL_DIR"), env("XDG_RUNTIME_DIR"), "/dev/shm",
				"/tmp" };
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
		bool twice = false;

		for (size_t k = 0; bases[i] && k < i; k++)
			twice |= bases[k] && strcmp(bases[k], bases[i]) == 0;
		if (!bases[i] || bases[i][0] != '/' || twice)
			continue;
		if (uid == EVERYBODY) {
			each_owner(bases[i], each, arg);
			continue;
		}
		(void)snprintf(path, sizeof(path), "%s%s/" PREFIX "%u", root, bases[i],
			       (unsigned)uid);
		(void)each_file(path, uid, each, arg);
	}
}

static bool open_file(struct atr_seen *s, int dir, const char *path, const char *name,
		      const struct atr_spool_name *who)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st, owner;

	if (fd < 0)
		return false;
	s->file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && atr_seen_file(s, fd);
	(void)close(fd);
	if (s->file) {
		s->who = *who;
		(void)snprintf(s->path, sizeof(s->path), "%s/%s", path, name);
	}
	if (s->file && !s->exists && fstat(dir, &owner) == 0) {
		s->uid = owner.st_uid;
		s->others = s->uid != geteuid();
	}
	return s->file;
}

/* The process that made the file, if it lives. */
static bool lives(const struct atr_spool_name *who, int pid)
{
	char *text = read_proc(pid, "stat", 4096, NULL);
	bool alive = text && atr_spool_alive(who, text, strlen(text));

	free(text);
	return alive;
}

struct search {
	struct atr_seen *s;
	uint64_t ns, pid; /* as the process itself has them */
	int outer_pid;
};

static void match(int dir, const char *path, const char *name, const struct atr_spool_name *who,
		  void *arg)
{
	const struct search *search = arg;
	struct atr_seen *s = search->s;
	struct atr_spool_name as_we_see = *who;

	if (who->pid != search->pid || (search->ns && who->ns && who->ns != search->ns))
		return;
	/* Of a dead process any file will do, of a living one only its own. */
	as_we_see.pid = (uint64_t)search->outer_pid;
	if (s->exists && !s->zombie && !lives(&as_we_see, search->outer_pid))
		return;
	if (!s->file)
		(void)open_file(s, dir, path, name, who);
}

static const char *env_ours(const char *name)
{
	return getenv(name);
}

/* In the directories of that user, here and where the process has its root. */
static void match_in(struct search *search, const char *root, uid_t uid)
{
	struct atr_seen *s = search->s;

	if (s->readable)
		each_spool("", uid, env_of, match, search);
	if (s->readable && !s->file)
		each_spool(root, uid, env_of, match, search);
	if (!s->file)
		each_spool("", uid, env_ours, match, search);
}

void atr_see(struct atr_seen *s, int pid)
{
	struct search search = { .s = s, .outer_pid = pid };
	char path[64];
	struct stat st;
	long inner;

	*s = (struct atr_seen){ .pid = pid, .uid = geteuid(), .euid = geteuid() };
	environment = NULL;
	environment_len = 0;
	look_at_process(s, &inner);
	search.pid = (uint64_t)inner;
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	if (stat(path, &st) == 0)
		search.ns = (uint64_t)st.st_ino;
	(void)snprintf(path, sizeof(path), "/proc/%d/root", pid);
	match_in(&search, path, s->uid);
	if (!s->file && s->euid != s->uid)
		match_in(&search, path, s->euid);
	/* Root's, made before it gave up its rights; of the dead nobody knows whose they were. */
	if (!s->file && s->others && geteuid() == 0)
		match_in(&search, path, 0);
	if (!s->file && !s->exists && geteuid() == 0)
		each_spool("", EVERYBODY, env_ours, match, &search);
	free((void *)(uintptr_t)environment);
	environment = NULL;
	environment_len = 0;
}

/* ---- all ---- */

struct all {
	void (*each)(const struct atr_seen *s, void *arg);
	void *arg;
	uint64_t ns;
	unsigned n;
};

/* Files of the dead; the living have been seen. */
static void dead_file(int dir, const char *path, const char *name, const struct atr_spool_name *who,
		      void *arg)
{
	struct all *all = arg;
	struct atr_seen *s;

	if (all->n >= ALL_MAX || who->pid > INT_MAX || (all->ns && who->ns != all->ns) ||
	    lives(who, (int)who->pid))
		return;
	s = calloc(1, sizeof(*s));
	if (s) {
		s->pid = (int)who->pid;
		if (open_file(s, dir, path, name, who)) {
			all->each(s, all->arg);
			all->n++;
		}
	}
	free(s);
}

void atr_see_all(void (*each)(const struct atr_seen *s, void *arg), void *arg)
{
	struct all all = { .each = each, .arg = arg, .ns = atr_sys_pid_namespace() };
	struct atr_seen *s = malloc(sizeof(*s));
	DIR *dir = s ? opendir("/proc") : NULL;
	struct dirent *d;

	while (dir && all.n < ALL_MAX && (d = readdir(dir))) {
		char path[300];
		struct stat st;
		char *end;
		long pid = strtol(d->d_name, &end, 10);

		if (*end || pid <= 0 || pid > INT_MAX)
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%s", d->d_name);
		if (stat(path, &st) != 0 || (st.st_uid != geteuid() && geteuid() != 0))
			continue;
		*s = (struct atr_seen){ .pid = (int)pid };
		if (!look_at_maps(s) || !s->mapped)
			continue;
		atr_see(s, (int)pid);
		if (s->exists && s->mapped) {
			each(s, arg);
			all.n++;
		}
	}
	if (dir)
		(void)closedir(dir);
	free(s);
	each_spool("", geteuid() ? geteuid() : EVERYBODY, env_ours, dead_file, &all);
}
