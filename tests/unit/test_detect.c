/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/resource.o exporter/list.o exporter/container.o exporter/buf.o */
/* LINK: preload/sys.o preload/utf8.o */
#include "exporter/detect.c"

#include <sys/wait.h>

#include "tests/unit/test.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *text(const struct atr_resource *r, const char *key)
{
	const struct atr_attr *attr = atr_resource_get(r, key);

	return attr ? attr->text : NULL;
}

TEST(start_ticks_are_found_behind_any_name)
{
	static const char plain[] =
		"12 (cat) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21\n";
	static const char nasty[] =
		"12 (a) S 9 ) (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4243 20\n";

	CHECK_INT(atr_detect_start_ticks(plain, sizeof(plain) - 1), 4242);
	CHECK_INT(atr_detect_start_ticks(nasty, sizeof(nasty) - 1), 4243);
	for (size_t len = 0; len <= (size_t)(strstr(plain, "4242") - plain); len++) {
		char *edge = test_edge(plain, len);

		CHECK_INT(atr_detect_start_ticks(edge, len), 0);
		test_edge_free(edge, len);
	}
}

TEST(times_are_written_in_utc)
{
	static const int64_t seconds[] = { 0,	       951782400,  951868799,
					   1077926400, 1735689599, 1700000000,
					   4102444799, 1709164800, 68169600 };
	char out[ATR_TIME_TEXT], want[64];

	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		time_t t = (time_t)seconds[i];
		struct tm tm;

		gmtime_r(&t, &tm);
		strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.042Z", &tm);
		atr_detect_time_text(out, seconds[i] * 1000000000 + 42999999);
		CHECK_STR(out, want);
	}
	for (int64_t day = 0; day < 40000; day++) {
		time_t t = (time_t)(day * 86400);
		struct tm tm;

		gmtime_r(&t, &tm);
		strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.000Z", &tm);
		atr_detect_time_text(out, day * 86400 * 1000000000);
		if (strcmp(out, want) != 0) {
			CHECK_STR(out, want);
			break;
		}
	}
}

TEST(a_user_is_found_by_number)
{
	static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
				     "broken\n:x:5:5::/:\n"
				     "ten:x:10:1000::/:/bin/sh\n"
				     "hundred:x:100:10::/:/bin/sh";
	size_t len = 0;
	const char *name = atr_detect_user(passwd, sizeof(passwd) - 1, 10, &len);

	CHECK(name && len == 3 && memcmp(name, "ten", 3) == 0);
	name = atr_detect_user(passwd, sizeof(passwd) - 1, 100, &len);
	CHECK(name && len == 7);
	name = atr_detect_user(passwd, sizeof(passwd) - 1, 0, &len);
	CHECK(name == passwd && len == 4);
	CHECK(!atr_detect_user(passwd, sizeof(passwd) - 1, 1000, &len));
	CHECK(!atr_detect_user(passwd, sizeof(passwd) - 1, 5, &len));
	for (size_t n = 0; n < sizeof(passwd); n++) {
		char *edge = test_edge(passwd, n);

		(void)atr_detect_user(edge, n, 100, &len);
		test_edge_free(edge, n);
	}
}

TEST(os_release_lines_are_unquoted)
{
	static const char release[] = "PRETTY_NAME=\"Some \\\"Linux\\\" 12\"\nNAME='So me'\n"
				      "VERSION_ID=12.5 \r\nVERSION=\"x\"\nBUILD_ID=";
	struct atr_resource r = { 0 };

	atr_detect_os_release(&r, release, sizeof(release) - 1);
	CHECK_STR(text(&r, "os.description"), "Some \"Linux\" 12");
	CHECK_STR(text(&r, "os.name"), "So me");
	CHECK_STR(text(&r, "os.version"), "12.5");
	CHECK(!text(&r, "os.build_id"));
	atr_resource_finish(&r);
	for (size_t n = 0; n < sizeof(release); n++) {
		char *edge = test_edge(release, n);

		atr_detect_os_release(&r, edge, n);
		atr_resource_finish(&r);
		test_edge_free(edge, n);
	}
}

TEST(machines_have_the_names_of_the_conventions)
{
	CHECK_STR(atr_detect_arch("x86_64"), "amd64");
	CHECK_STR(atr_detect_arch("aarch64"), "arm64");
	CHECK_STR(atr_detect_arch("i686"), "x86");
	CHECK_STR(atr_detect_arch("armv7l"), "arm32");
	CHECK_STR(atr_detect_arch("riscv64"), "riscv64");
}

static void check_container(bool v2, const char *with, bool want)
{
	char id[ATR_CONTAINER_ID] = "";
	size_t len = strlen(with);
	char *edge = test_edge(with, len);
	bool got = v2 ? atr_detect_container_v2(id, edge, len)
		      : atr_detect_container_v1(id, edge, len);

	if (!CHECK_INT(got, want))
		printf("  %s\n", with);
	if (got && want)
		CHECK_MEM(id, ID, ATR_CONTAINER_ID);
	for (size_t n = 0; n < len; n++) {
		char *cut = test_edge(with, n);

		(void)(v2 ? atr_detect_container_v2(id, cut, n)
			  : atr_detect_container_v1(id, cut, n));
		test_edge_free(cut, n);
	}
	test_edge_free(edge, len);
}

TEST(a_container_is_found_in_cgroup_v1)
{
	check_container(false, "13:name=systemd:/podruntime/docker/kubepods/" ID "\n", true);
	check_container(false, "9:cpu:/\n8:memory:/docker/" ID, true);
	check_container(false, "1:x:/system.slice/docker-" ID ".scope\n", true);
	check_container(false, "1:x:/kubepods.slice/cri-containerd:" ID "\n", true);
	check_container(false, "1:x:/docker/" ID "0\n", false);
	check_container(false, "0::/user.slice/session-3.scope\n", false);
	check_container(false, "0::/\n", false);
	check_container(false, "", false);
}

TEST(a_container_is_found_in_mountinfo)
{
	check_container(true,
			"456 375 0:143 / / rw - overlay overlay rw\n"
			"474 456 254:1 /docker/containers/" ID "/resolv.conf /etc/resolv.conf rw - "
			"ext4 /dev/vda1 rw\n",
			true);
	check_container(true, "1 2 0:1 /x/crio-" ID ".scope /y rw - t s o\n", true);
	check_container(true, "1 2 0:1 /a/cri-containerd:" ID " /y rw - t s o\n", true);
	check_container(true,
			"1 2 0:1 /containers/storage/overlay-containers/" ID "/userdata/h /y rw\n",
			true);
	check_container(true, "1 2 0:1 /a/" ID "/x /containers/y rw - t s o\n", false);
	check_container(true, "1 2 0:1 / / rw - overlay overlay rw\n", false);
	check_container(true, "", false);
}

TEST(this_process_is_described)
{
	struct atr_resource r = { 0 };
	const char *id, *created;
	time_t now = time(NULL);
	struct tm tm = { 0 };

	atr_detect(&r);
	CHECK_INT(atr_resource_get(&r, "process.pid")->number, getpid());
	CHECK_STR(text(&r, "process.executable.name"), "test_detect");
	CHECK(text(&r, "process.executable.path")[0] == '/');
	CHECK_STR(text(&r, "os.type"), "linux");
	CHECK_STR(text(&r, "telemetry.sdk.language"), "c");
	CHECK(text(&r, "host.name") != NULL);
	CHECK(!text(&r, "process.command_args") && !text(&r, "process.command_line"));
	id = text(&r, "service.instance.id");
	CHECK(id && strlen(id) == 36 && id[14] == '4' && strchr("89ab", id[19]));
	created = text(&r, "process.creation.time");
	if (CHECK(created != NULL) && CHECK(strptime(created, "%Y-%m-%dT%H:%M:%S", &tm) != NULL)) {
		time_t t = timegm(&tm);

		CHECK(t >= now - 200 && t <= now + 1);
	}
	if (geteuid() == 0)
		CHECK_STR(text(&r, "process.owner"), "root");
	for (size_t i = 0; i < r.n_attrs; i++)
		for (size_t j = 0; j < i; j++)
			CHECK(strcmp(r.attrs[i].key, r.attrs[j].key) != 0);
	atr_resource_finish(&r);
}

TEST(every_process_has_its_own_instance_id)
{
	struct atr_resource a = { 0 }, b = { 0 };

	atr_detect(&a);
	atr_detect(&b);
	CHECK(strcmp(text(&a, "service.instance.id"), text(&b, "service.instance.id")) != 0);
	atr_resource_finish(&a);
	atr_resource_finish(&b);
}
