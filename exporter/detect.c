/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What process, host, operating system and container say about themselves
 * (semantic conventions 1.44, "Resource").  Files only, read by raw system calls:
 * no NSS, no popen, no name look-up.  Command line arguments and the environment
 * may hold secrets and are left alone.  What cannot be read is left out.
 */
#include "exporter/detect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "exporter/buf.h"
#include "exporter/resource.h"
#include "preload/compiler.h"
#include "preload/sys.h"
#include "preload/version.h"

/* Most bytes read of any file here; a mountinfo of thousands of mounts fits. */
#define FILE_MAX (1u << 20)

#define NS_PER_S 1000000000ll

uint64_t atr_detect_start_ticks(const char *stat, size_t len)
{
	/* "pid (name) S ...": the name may hold anything; behind its last ')' come fields 3 and on.
	 */
	const char *s = memrchr(stat, ')', len);
	const char *end = stat + len;
	uint64_t ticks = 0;

	for (int field = 2; s && field < 22; field++) {
		s = memchr(s, ' ', (size_t)(end - s));
		if (s)
			s++;
	}
	for (; s && s < end && *s >= '0' && *s <= '9'; s++)
		ticks = 10 * ticks + (uint64_t)(*s - '0');
	return ticks;
}

void atr_detect_time_text(char out[static ATR_TIME_TEXT], int64_t unix_ns)
{
	int64_t ms = unix_ns / 1000000;
	int64_t s = ms / 1000;
	/* Days into year, month, day of a calendar that begins in March of year 0. */
	int64_t days = s / 86400 + 719468;
	int64_t era = days / 146097;
	int64_t doe = days % 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;
	int64_t day = doy - (153 * mp + 2) / 5 + 1;
	int64_t month = mp < 10 ? mp + 3 : mp - 9;
	int64_t year = 400 * era + yoe + (month <= 2);

	(void)snprintf(out, ATR_TIME_TEXT, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
		       (unsigned)(year % 10000), (unsigned)month % 100, (unsigned)day % 100,
		       (unsigned)(s % 86400 / 3600), (unsigned)(s % 3600 / 60), (unsigned)(s % 60),
		       (unsigned)(ms % 1000));
}

/* Boot is not asked of /proc/stat: two clocks tell it, and to the same tick. */
static void creation_time(struct atr_resource *r, uint64_t ticks)
{
	long hz = sysconf(_SC_CLK_TCK);
	struct timespec wall, boot;
	char text[ATR_TIME_TEXT];
	int64_t booted;

	/* A dead process's may be anything (orphan.c); this is 87 years. */
	if (!ticks || ticks >> 38 || hz <= 0 || clock_gettime(CLOCK_REALTIME, &wall) != 0 ||
	    clock_gettime(CLOCK_BOOTTIME, &boot) != 0)
		return;
	booted = (wall.tv_sec - boot.tv_sec) * NS_PER_S + (wall.tv_nsec - boot.tv_nsec);
	atr_detect_time_text(text, booted + (int64_t)ticks * (NS_PER_S / hz));
	atr_resource_set_str(r, "process.creation.time", text);
}

const char *atr_detect_user(const char *passwd, size_t len, uint32_t uid, size_t *ret_len)
{
	char want[16]; /* ":1000:" */
	size_t want_len = (size_t)snprintf(want, sizeof(want), ":%u:", uid);
	const char *end = passwd + len;

	for (const char *line = passwd; line && line < end;) {
		const char *eol = memchr(line, '\n', (size_t)(end - line));
		const char *stop = eol ? eol : end;
		const char *name_end = memchr(line, ':', (size_t)(stop - line));
		const char *password_end =
			name_end ? memchr(name_end + 1, ':', (size_t)(stop - name_end - 1)) : NULL;

		if (password_end && name_end > line && (size_t)(stop - password_end) >= want_len &&
		    memcmp(password_end, want, want_len) == 0) {
			*ret_len = (size_t)(name_end - line);
			return line;
		}
		line = eol ? eol + 1 : NULL;
	}
	return NULL;
}

/* What /proc/<pid>/exe says. */
static void executable(struct atr_resource *r, const char *path, size_t len)
{
	static const char deleted[] = " (deleted)";
	const size_t n = sizeof(deleted) - 1;
	const char *slash;

	if (!len)
		return;
	if (len > n && memcmp(path + len - n, deleted, n) == 0)
		len -= n;
	slash = memrchr(path, '/', len);
	atr_resource_set(r, "process.executable.path", path, len);
	if (slash && slash + 1 < path + len)
		atr_resource_set(r, "process.executable.name", slash + 1,
				 (size_t)(path + len - slash - 1));
}

static void process(struct atr_resource *r)
{
	char text[4096];
	ssize_t n;

	atr_resource_set_int(r, "process.pid", atr_sys_getpid());
	n = atr_sys_read_file("/proc/self/stat", text, sizeof(text));
	creation_time(r, n > 0 ? atr_detect_start_ticks(text, (size_t)n) : 0);
	n = atr_sys(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", text, sizeof(text), 0, 0);
	executable(r, text, n > 0 ? (size_t)n : 0);
	n = atr_sys_read_file("/proc/self/cmdline", text, sizeof(text));
	if (n > 0 && text[0])
		atr_resource_set(r, "process.command", text, strnlen(text, (size_t)n));
}

static void owner(struct atr_resource *r, struct atr_buf *file)
{
	const char *user;
	size_t len;

	atr_buf_reset(file);
	if (atr_buf_read_file(file, "/etc/passwd", FILE_MAX) != 0)
		return;
	user = atr_detect_user((char *)file->bytes, file->len, geteuid(), &len);
	if (user)
		atr_resource_set(r, "process.owner", user, len);
}

/* The value of a NAME="value" line; quotes and backslashes as in a shell. */
static void unquoted(struct atr_resource *r, const char *key, const char *s, size_t len)
{
	char text[256];
	size_t out = 0, i = 0;
	char quote = len && (*s == '"' || *s == '\'') ? *s : '\0';

	for (i = quote != '\0'; i < len && out < sizeof(text); i++) {
		if (quote && s[i] == quote)
			break;
		if (s[i] == '\\' && quote != '\'' && i + 1 < len)
			i++;
		text[out++] = s[i];
	}
	while (!quote && out && (text[out - 1] == ' ' || text[out - 1] == '\r'))
		out--;
	if (out)
		atr_resource_set(r, key, text, out);
}

void atr_detect_os_release(struct atr_resource *r, const char *text, size_t len)
{
	static const struct {
		const char *name, *key;
	} wanted[] = {
		{ "NAME=", "os.name" },
		{ "VERSION_ID=", "os.version" },
		{ "PRETTY_NAME=", "os.description" },
		{ "BUILD_ID=", "os.build_id" },
	};

	while (len) {
		const char *eol = memchr(text, '\n', len);
		size_t line = eol ? (size_t)(eol - text) : len;

		for (size_t i = 0; i < ATR_ARRAY_LEN(wanted); i++) {
			size_t n = strlen(wanted[i].name);

			if (line > n && memcmp(text, wanted[i].name, n) == 0)
				unquoted(r, wanted[i].key, text + n, line - n);
		}
		text += line + (eol != NULL);
		len -= line + (eol != NULL);
	}
}

const char *atr_detect_arch(const char *machine)
{
	static const struct {
		const char *machine, *arch;
	} known[] = {
		{ "x86_64", "amd64" }, { "aarch64", "arm64" }, { "ppc64le", "ppc64" },
		{ "ppc64", "ppc64" },  { "s390x", "s390x" },   { "ia64", "ia64" },
		{ "i386", "x86" },     { "i486", "x86" },      { "i586", "x86" },
		{ "i686", "x86" },     { "ppc", "ppc32" },
	};

	for (size_t i = 0; i < ATR_ARRAY_LEN(known); i++)
		if (strcmp(machine, known[i].machine) == 0)
			return known[i].arch;
	return strncmp(machine, "arm", 3) == 0 ? "arm32" : machine;
}

static bool container(struct atr_resource *r, struct atr_buf *file)
{
	char id[ATR_CONTAINER_ID];
	bool found;

	atr_buf_reset(file);
	found = atr_buf_read_file(file, "/proc/self/cgroup", FILE_MAX) == 0 &&
		atr_detect_container_v1(id, (char *)file->bytes, file->len);
	if (!found) {
		atr_buf_reset(file);
		found = atr_buf_read_file(file, "/proc/self/mountinfo", FILE_MAX) == 0 &&
			atr_detect_container_v2(id, (char *)file->bytes, file->len);
	}
	if (found)
		atr_resource_set(r, "container.id", id, sizeof(id));
	return found;
}

/* In a container the machine id is the image's, so it names nothing. */
static void host(struct atr_resource *r, bool contained)
{
	static const char *const files[] = { "/etc/machine-id", "/var/lib/dbus/machine-id" };
	struct utsname uts;
	char id[34] = "";

	if (uname(&uts) == 0) {
		atr_resource_set_str(r, "host.name", uts.nodename);
		atr_resource_set_str(r, "host.arch", atr_detect_arch(uts.machine));
	}
	for (size_t i = 0; i < ATR_ARRAY_LEN(files) && !contained; i++) {
		ssize_t n = atr_sys_read_file(files[i], id, sizeof(id) - 1);

		id[n > 0 ? n : 0] = '\0';
		if (strspn(id, "0123456789abcdef") == 32) {
			atr_resource_set(r, "host.id", id, 32);
			break;
		}
	}
}

/* A UUID made of 16 random bytes. */
static void instance_id(struct atr_resource *r, const uint8_t random[static 16])
{
	uint8_t b[16];
	char text[37];
	size_t out = 0;

	memcpy(b, random, sizeof(b));
	b[6] = (uint8_t)(0x40 | (b[6] & 0x0f)); /* version 4 */
	b[8] = (uint8_t)(0x80 | (b[8] & 0x3f)); /* of RFC 9562 */
	for (size_t i = 0; i < sizeof(b); i++)
		out += (size_t)snprintf(text + out, sizeof(text) - out, "%s%02x",
					i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
	atr_resource_set(r, "service.instance.id", text, out);
}

/* What is the same for all processes of a user here. */
static void surroundings(struct atr_resource *r)
{
	struct atr_buf file = { 0 };

	atr_resource_set_str(r, "telemetry.sdk.name", "libautotrace");
	atr_resource_set_str(r, "telemetry.sdk.language", "c");
	atr_resource_set_str(r, "telemetry.sdk.version", ATR_VERSION);
	owner(r, &file);
	atr_resource_set_str(r, "os.type", "linux");
	atr_buf_reset(&file);
	if (atr_buf_read_file(&file, "/etc/os-release", FILE_MAX) == 0)
		atr_detect_os_release(r, (char *)file.bytes, file.len);
	host(r, container(r, &file));
	atr_buf_free(&file);
}

void atr_detect(struct atr_resource *r)
{
	uint8_t random[16];

	if (atr_sys_getrandom(random, sizeof(random), 0) == sizeof(random))
		instance_id(r, random);
	process(r);
	surroundings(r);
}

void atr_detect_dead(struct atr_resource *r, const struct atr_dead *dead)
{
	instance_id(r, dead->random);
	atr_resource_set_int(r, "process.pid", dead->pid);
	creation_time(r, dead->start_ticks);
	executable(r, dead->exe, strlen(dead->exe));
	surroundings(r);
}
