/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox CASE [HOW WHAT]: programs that shut themselves in.
 *
 * LIBS: -lpthread */
#include "harm.h"

#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif

static int n_args;
static char **args;

/* ---- seccomp ---- */

static const struct {
	const char *name;
	int nr;
} calls[] = {
	{ "socket", SYS_socket },
	{ "futex", SYS_futex },
	{ "sendmsg", SYS_sendmsg },
	{ "clone", SYS_clone },
	{ "clone3", SYS_clone3 },
	{ "openat", SYS_openat },
	{ "process_vm_readv", SYS_process_vm_readv },
	{ "mmap", SYS_mmap },
	{ "munmap", SYS_munmap },
	{ "madvise", SYS_madvise },
	{ "getpid", SYS_getpid },
	{ "gettid", SYS_gettid },
	{ "getrandom", SYS_getrandom },
	{ "rt_sigprocmask", SYS_rt_sigprocmask },
	{ "getpeername", SYS_getpeername },
	{ "getsockname", SYS_getsockname },
	{ "getsockopt", SYS_getsockopt },
	{ "fstat", SYS_newfstatat },
	{ "clock_gettime", SYS_clock_gettime },
	{ "sched_yield", SYS_sched_yield },
	{ "close_range", SYS_close_range },
	{ "ppoll", SYS_ppoll },
	{ "prctl", SYS_prctl },
	{ "readlinkat", SYS_readlinkat },
	{ "shmat", SYS_shmat },
};

static int install_raw(void *program, unsigned flags)
{
	long ret;

#if defined(__x86_64__)
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(SYS_seccomp), "D"(SECCOMP_SET_MODE_FILTER), "S"(flags), "d"(program)
			 : "rcx", "r11", "memory");
#else
	ret = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
#endif
	return ret ? -1 : 0;
}

static int install(struct sock_filter *filter, size_t n)
{
	struct sock_fprog program = { (unsigned short)n, filter };
	const char *how = args[2];

	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (!strcmp(how, "prctl"))
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
	if (!strcmp(how, "syscall"))
		return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
	if (!strcmp(how, "syscall-prctl"))
		return (int)syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
	if (!strcmp(how, "tsync"))
		return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
				    &program);
	MUST(!strcmp(how, "raw"));
	return install_raw(&program, SECCOMP_FILTER_FLAG_TSYNC);
}

static void some_bytes(void)
{
	char b;

	for (int i = 0; i < 20; i++) {
		MUST(write(harm_pair[0], "x", 1) == 1 && read(harm_pair[1], &b, 1) == 1);
		MUST(send(harm_pair[0], "x", 1, 0) == 1 && recv(harm_pair[1], &b, 1, 0) == 1);
	}
}

/* sandbox deny HOW ACTION[,CALL...]: these calls are forbidden, all others allowed. */
static void deny(void)
{
	struct sock_filter filter[64];
	size_t n = 0;
	char *list = strdup(args[3]), *name = strtok(list, ",");
	unsigned action = !strcmp(name, "errno")    ? SECCOMP_RET_ERRNO | EPERM
			  : !strcmp(name, "thread") ? SECCOMP_RET_KILL_THREAD
						    : SECCOMP_RET_KILL_PROCESS;
	int forbidden = -1;

	filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						   offsetof(struct seccomp_data, nr));
	while ((name = strtok(NULL, ",")))
		for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
			if (!strcmp(name, calls[i].name)) {
				forbidden = calls[i].nr;
				filter[n++] = (struct sock_filter)BPF_JUMP(
					BPF_JMP | BPF_JEQ | BPF_K, (unsigned)forbidden, 0, 1);
				filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
			}
	MUST(forbidden >= 0);
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	traffic();
	if (n_args > 4)
		nap(atoi(args[4]));
	MUST(install(filter, n) == 0);
	some_bytes();
	nap(30); /* our thread's time to do what is forbidden */
	some_bytes();
	(void)!write(1, "inside\n", 7);
	if (action == (SECCOMP_RET_ERRNO | EPERM)) {
		said("forbidden", syscall(forbidden, -1, -1, 0, 0, 0, 0));
		exit(3);
	}
	/* Still filtered: the forbidden call is the end, by SIGSYS. */
	syscall(forbidden, -1, -1, 0, 0, 0, 0);
	_exit(4);
}

/* sandbox only HOW: nothing but reading, writing and the end. */
static void only(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 6, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_recvfrom, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	if (n_args > 3)
		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, harm_pair) == 0);
	else
		traffic();
	(void)!fflush(stdout);
	MUST(install(filter, sizeof(filter) / sizeof(filter[0])) == 0);
	some_bytes();
	(void)!write(1, "inside\n", 7);
	exit(3);
}

/* sandbox strict HOW [early|ms]: ends by the thread's exit, or by what is forbidden. */
static void strict(void)
{
	if (n_args > 3 && !strcmp(args[3], "early"))
		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, harm_pair) == 0);
	else
		traffic();
	if (n_args > 3)
		nap(atoi(args[3]));
	if (!strcmp(args[2], "prctl"))
		MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
	else
		MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL) == 0);
	for (int i = 0; i < 20; i++) {
		char b;

		if (write(harm_pair[0], "x", 1) != 1 || read(harm_pair[1], &b, 1) != 1)
			(void)!write(1, "oh\n", 3);
	}
	(void)!write(1, "inside\n", 7);
	if (n_args >
	    4) /* forbidden: the end by SIGKILL, of this thread only, and it is the only one */
		(void)send(harm_pair[0], "x", 1, 0);
	syscall(SYS_exit, 3);
}

/* Asking whether there is such a thing as seccomp is not being in it. */
static void probe(void)
{
	unsigned action = SECCOMP_RET_KILL_PROCESS;

	traffic();
	said("prctl", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL));
	said("seccomp", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL));
	said("tsync",
	     syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, NULL));
	said("action", syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
	said("strict", syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL));
	said("get", prctl(PR_GET_SECCOMP));
	traffic();
}

/* One thread in the sandbox, others outside it. */
static void *in_filter(void *arg)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	(void)arg;
	MUST(install(filter, 4) == 0);
	said("inside", socket(AF_INET, SOCK_STREAM, 0));
	return NULL;
}

static void one_thread(void)
{
	pthread_t t;

	traffic();
	MUST(pthread_create(&t, NULL, in_filter, NULL) == 0);
	pthread_join(t, NULL);
	said("outside", socket(AF_INET, SOCK_STREAM, 0) >= 0);
	traffic();
}

/* What is forbidden to this program was forbidden before it began. */
static void inherited(void)
{
	if (getenv("HARM_INSIDE")) {
		traffic();
		said("inside", 0);
		return;
	}
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	setenv("HARM_INSIDE", "1", 1);
	MUST(install(filter, 5) == 0);
	execv("/proc/self/exe", args);
	abort();
}

/* The same, and the filter knows only what a start of a program and some bytes need. */
static void inherited_only(void)
{
	if (getenv("HARM_INSIDE")) {
		char b;

		if (n_args > 3)
			MUST(send(8, "x", 1, 0) == 1 && recv(9, &b, 1, 0) == 1);
		printf("inside\n");
		return;
	}
	static const int may[] = {
		SYS_read,
		SYS_write,
		SYS_exit_group,
		SYS_exit,
		SYS_execve,
		SYS_brk,
		SYS_mmap,
		SYS_munmap,
		SYS_mprotect,
		SYS_openat,
		SYS_close,
		SYS_newfstatat,
		SYS_pread64,
		SYS_set_tid_address,
		SYS_set_robust_list,
		SYS_rseq,
		SYS_prlimit64,
		SYS_getrandom,
		SYS_faccessat,
		SYS_ioctl,
		SYS_fstat,
#ifdef SYS_arch_prctl
		SYS_access,
		SYS_arch_prctl,
#endif
		/* Ours, as docs/harmless.md says, and what the program does. */
		SYS_getpid,
		SYS_madvise,
		SYS_sendto,
		SYS_recvfrom,
	};
	struct sock_filter filter[64];
	size_t n = 0, n_may = sizeof(may) / sizeof(may[0]);
	int p[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0 && dup2(p[0], 8) == 8 &&
	     dup2(p[1], 9) == 9);
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						   offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < n_may; i++)
		filter[n++] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (unsigned)may[i], (unsigned char)(n_may - i), 0);
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	setenv("HARM_INSIDE", "1", 1);
	MUST(install(filter, n) == 0);
	execv("/proc/self/exe", args);
	abort();
}

/* ---- namespaces and roots ---- */

static void unshared(int flags)
{
	traffic();
	said("unshare", unshare(flags));
	traffic();
	said("again", unshare(CLONE_NEWNS));
	traffic();
	fds("after");
}

static void unshare_user(void)
{
	unshared(CLONE_NEWUSER);
}

static void unshare_rest(void)
{
	unshared(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID);
}

static void unshare_syscall(void)
{
	traffic();
	said("unshare", syscall(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNET));
	said("sighand", unshare(CLONE_SIGHAND));
	traffic();
}

/* Its own threads make it impossible, as they do bare. */
static void *asleep(void *arg)
{
	(void)arg;
	pause();
	return NULL;
}

static void unshare_threads(void)
{
	pthread_t t;

	traffic();
	MUST(pthread_create(&t, NULL, asleep, NULL) == 0);
	said("unshare", unshare(CLONE_NEWUSER));
	traffic();
}

static void set_namespace(void)
{
	int mnt = open("/proc/self/ns/mnt", O_RDONLY), user;
	pid_t child;

	MUST(mnt >= 0);
	traffic();
	said("mnt", setns(mnt, CLONE_NEWNS));
	traffic();
	said("mnt again", (int)syscall(SYS_setns, mnt, 0));
	traffic();
	child = fork();
	if (!child) {
		MUST(unshare(CLONE_NEWUSER) == 0);
		kill(getpid(), SIGSTOP);
		_exit(0);
	}
	MUST(waitpid(child, NULL, WUNTRACED) == child);
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", child);
	user = open(path, O_RDONLY);
	traffic();
	said("user", setns(user, CLONE_NEWUSER));
	traffic();
	kill(child, SIGKILL);
	ended("child", child);
}

static void chrooted(void)
{
	traffic();
	said("mkdir", mkdir("jail", 0700));
	said("chroot", chroot("jail"));
	said("chdir", chdir("/"));
	said("open", open("/proc/self/status", O_RDONLY));
	traffic();
	nap(30);
	traffic();
}

/* Chrooted before the first operation. */
static void chrooted_early(void)
{
	said("mkdir", mkdir("jail", 0700));
	said("chroot", chroot("jail"));
	said("chdir", chdir("/"));
	traffic();
	nap(30);
	traffic();
}

/* ---- privileges ---- */

static void dropped(void)
{
	traffic();
	nap(20);
	said("setgroups", setgroups(0, NULL));
	said("setgid", setresgid(65534, 65534, 65534));
	said("setuid", setresuid(65534, 65534, 65534));
	traffic();
	said("back", setuid(0));
	said("uid", (long)getuid());
	traffic();
}

static int caps_set(unsigned effective, unsigned permitted)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { effective, permitted, 0 }, { 0, 0, 0 } };

	return (int)syscall(SYS_capset, &h, d);
}

/* Capabilities are a thread's, and libc's setuid() wants the same answer from all of them. */
static void keep_caps(void)
{
	unsigned setid = 1u << CAP_SETUID | 1u << CAP_SETGID;

	traffic();
	nap(20);
	said("keep", prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
	said("setuid", setresuid(65534, 65534, 65534));
	said("capset", caps_set(setid, setid));
	traffic();
	said("setuid", setresuid(0, 0, 0));
	traffic();
	said("setuid", setresuid(65534, 65534, 65534));
}

static void drop_caps(void)
{
	traffic();
	nap(20);
	said("capset", caps_set(0, 0));
	traffic();
	said("setuid", setuid(65534));
	said("setgid", setgid(65534));
	said("uid", (long)getuid());
	traffic();
}

static void raw_setuid(void)
{
	traffic();
	nap(20);
	said("setuid", syscall(SYS_setresuid, 65534, 65534, 65534));
	traffic();
	said("setuid", setuid(0));
	said("uid", (long)getuid());
}

/* No thread of this process may keep what the program gave up. */
static void no_caps_left(void)
{
	char line[256], path[64];
	int left = 0;

	traffic();
	nap(20);
	MUST(caps_set(0, 0) == 0);
	traffic();
	nap(20);
	for (int tid = getpid(); tid < getpid() + 64; tid++) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
		if (!(f = fopen(path, "r")))
			continue;
		while (fgets(line, sizeof(line), f))
			if (!strncmp(line, "CapPrm:", 7) && strtoull(line + 7, NULL, 16))
				left++;
		fclose(f);
	}
	said("threads with capabilities", left);
}

/* ---- memory and limits ---- */

static int limit(int what, rlim_t value)
{
	struct rlimit r = { value, value };

	return setrlimit(what, &r);
}

static void fsize(void)
{
	int fd = open("file", O_WRONLY | O_CREAT, 0600);

	if (n_args < 3)
		traffic();
	said("limit", limit(RLIMIT_FSIZE, 0));
	for (int i = 0; i < 50; i++)
		traffic();
	nap(30);
	traffic();
	(void)!write(2, "", 0);
	/* SIGXFSZ, now and not before. */
	(void)!write(harm_pair[0], "last", 4);
	(void)!write(fd, "x", 1);
	_exit(5);
}

/* All of memory is taken, then given back. */
static void exhaust(int early)
{
	void *first = NULL;
	size_t size = 1 << 20;

	if (!early)
		traffic();
	else
		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, harm_pair) == 0);
	MUST(limit(RLIMIT_AS, 1ul << 30) == 0);
	while (size >= 16) {
		void **p = malloc(size);

		if (!p) {
			size /= 2;
			continue;
		}
		*p = first;
		first = p;
	}
	for (int i = 0; i < 200; i++)
		traffic();
	(void)!write(1, "exhausted\n", 10);
	while (first) {
		void *next = *(void **)first;

		free(first);
		first = next;
	}
	for (int i = 0; i < 200; i++)
		traffic();
	said("again", malloc(16 << 20) ? 0 : -1);
}

static void exhausted(void)
{
	exhaust(0);
}

static void exhausted_early(void)
{
	exhaust(1);
}

/* A program that needs 8 MiB within a limit of 256. */
static void address_space(void)
{
	MUST(limit(RLIMIT_AS, 256ul << 20) == 0);
	traffic();
	nap(50);
	said("malloc", malloc(8 << 20) ? 0 : -1);
	traffic();
}

static void no_processes(void)
{
	pid_t pid;

	MUST(setresuid(65534, 65534, 65534) == 0);
	MUST(limit(RLIMIT_NPROC, 0) == 0);
	traffic();
	pid = fork();
	said("fork", pid);
	if (pid == 0)
		_exit(0);
	traffic();
}

static void no_core(void)
{
	traffic();
	said("core", limit(RLIMIT_CORE, 0));
	said("locked", limit(RLIMIT_MEMLOCK, 0));
	said("stack", limit(RLIMIT_STACK, 256 << 10));
	said("cpu", limit(RLIMIT_CPU, 10));
	traffic();
	said("mlockall", mlockall(MCL_CURRENT | MCL_FUTURE));
	said("dumpable", prctl(PR_SET_DUMPABLE, 0));
	traffic();
}

/* Locked: every page we map is locked too. */
static void locked(void)
{
	said("mlockall", mlockall(MCL_CURRENT | MCL_FUTURE));
	traffic();
	nap(30);
	traffic();
}

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

/* No memory both writable and executable, nor first one and then the other. */
static void mdwe(void)
{
	if (!getenv("HARM_INSIDE")) {
		setenv("HARM_INSIDE", "1", 1);
		said("mdwe", prctl(PR_SET_MDWE, 1, 0, 0, 0));
		execv("/proc/self/exe", args);
		abort();
	}
	traffic();
	nap(50);
	said("exec", mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
			     ? -1
			     : 0);
	traffic();
}

/* Landlock binds the calling thread and what it makes. */
static void landlock(void)
{
	unsigned long access = 1; /* LANDLOCK_ACCESS_FS_EXECUTE */
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &access, sizeof(access), 0);

	traffic();
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	said("restrict", ruleset < 0 ? -1 : syscall(SYS_landlock_create_ruleset + 2, ruleset, 0));
	traffic();
	fds("after");
	said("exec", execl("/bin/true", "true", NULL));
}

int main(int argc, char **argv)
{
	static const struct harm_case cases[] = {
		{ "deny", deny },
		{ "only", only },
		{ "strict", strict },
		{ "probe", probe },
		{ "one-thread", one_thread },
		{ "inherited", inherited },
		{ "inherited-only", inherited_only },
		{ "unshare-user", unshare_user },
		{ "unshare-rest", unshare_rest },
		{ "unshare-syscall", unshare_syscall },
		{ "unshare-threads", unshare_threads },
		{ "setns", set_namespace },
		{ "chroot", chrooted },
		{ "chroot-early", chrooted_early },
		{ "setuid", dropped },
		{ "keep-caps", keep_caps },
		{ "drop-caps", drop_caps },
		{ "raw-setuid", raw_setuid },
		{ "no-caps-left", no_caps_left },
		{ "fsize", fsize },
		{ "exhausted", exhausted },
		{ "exhausted-early", exhausted_early },
		{ "address-space", address_space },
		{ "no-processes", no_processes },
		{ "limits", no_core },
		{ "locked", locked },
		{ "mdwe", mdwe },
		{ "landlock", landlock },
	};

	n_args = argc;
	args = argv;
	return harm_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
