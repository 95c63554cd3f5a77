/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/detect.o exporter/container.o exporter/list.o exporter/buf.o */
/* LINK: preload/sys.o preload/utf8.o */
#include "exporter/resource.c"

#include "tests/unit/test.h"

/* The text of an attribute, NULL if it is not there. */
static const char *text(const struct atr_resource *r, const char *key)
{
	const struct atr_attr *attr = atr_resource_get(r, key);

	return attr ? attr->text : NULL;
}

TEST(setting_again_overwrites)
{
	struct atr_resource r = { 0 };

	atr_resource_set_str(&r, "a", "1");
	atr_resource_set_int(&r, "b", 2);
	atr_resource_set_str(&r, "a", "");
	atr_resource_set_str(&r, "b", "x\xff");
	CHECK_INT(r.n_attrs, 2);
	CHECK_STR(text(&r, "a"), "");
	CHECK_STR(text(&r, "b"), "x?");
	atr_resource_set_int(&r, "a", 5);
	CHECK(!text(&r, "a"));
	atr_resource_finish(&r);
}

TEST(the_users_list_is_decoded)
{
	struct atr_resource r = { 0 };

	CHECK_INT(atr_resource_parse(&r, " a = b , k%20ey=v%2Cw%3Dx%25,e=,u=gr%C3%BCn,"), 0);
	CHECK_INT(r.n_attrs, 4);
	CHECK_STR(text(&r, "a"), "b");
	CHECK_STR(text(&r, "k ey"), "v,w=x%");
	CHECK_STR(text(&r, "e"), "");
	CHECK_STR(text(&r, "u"), "gr\xc3\xbcn");
	atr_resource_finish(&r);
}

TEST(one_bad_item_discards_the_whole_list)
{
	static const char *const bad[] = { "a=b,c",	"a=b,=c",    "a=b,c=%",
					   "a=b,c=%zz", "a=b,c=%00", "a=b,c=%ff",
					   "a=b,%ff=c", "a=b,c=d=e", "a=b,c=\xff" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct atr_resource r = { 0 };

		if (!CHECK_INT(atr_resource_parse(&r, bad[i]), -EINVAL))
			printf("  %s\n", bad[i]);
		CHECK_INT(r.n_attrs, 0);
		atr_resource_finish(&r);
	}
}

TEST(later_sources_win)
{
	struct atr_resource r = { 0 };

	CHECK(atr_resource_build(&r,
				 "service.name=from-list,host.name=mine,os.type=", "from-name"));
	CHECK_STR(text(&r, "service.name"), "from-name");
	CHECK_STR(text(&r, "host.name"), "mine");
	CHECK_STR(text(&r, "os.type"), "");
	atr_resource_finish(&r);
	CHECK(atr_resource_build(&r, "service.name=from-list", NULL));
	CHECK_STR(text(&r, "service.name"), "from-list");
	atr_resource_finish(&r);
}

TEST(a_service_nobody_named_has_the_name_of_its_executable)
{
	struct atr_resource r = { 0 };

	CHECK(atr_resource_build(&r, NULL, NULL));
	CHECK_STR(text(&r, "service.name"), "unknown_service:test_resource");
	atr_resource_finish(&r);
	CHECK(!atr_resource_build(&r, "service.name=x,broken", ""));
	CHECK_STR(text(&r, "service.name"), "unknown_service:test_resource");
	atr_resource_finish(&r);
}

TEST(many_attributes_fit)
{
	struct atr_resource r = { 0 };
	char key[16];

	for (int i = 0; i < 1000; i++) {
		(void)snprintf(key, sizeof(key), "k%d", i);
		atr_resource_set_int(&r, key, i);
	}
	CHECK_INT(r.n_attrs, 1000);
	CHECK_INT(atr_resource_get(&r, "k999")->number, 999);
	CHECK(!r.failed);
	atr_resource_finish(&r);
}
