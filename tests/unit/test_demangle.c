/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: -ldl */
#include "exporter/demangle.c"
#include "tests/unit/test.h"

static const char *shown(const char *symbol)
{
	static char buf[256];
	char *name = atr_demangle(symbol);

	(void)snprintf(buf, sizeof(buf), "%s", name ? name : "(none)");
	free(name);
	return buf;
}

TEST(names_of_c_stay_without_what_compilers_append)
{
	CHECK_STR(shown("main"), "main");
	CHECK_STR(shown("load_orders.part.0"), "load_orders");
	CHECK_STR(shown("load.constprop.0.isra.0"), "load");
	CHECK_STR(shown(".hidden"), ".hidden");
	CHECK_STR(shown(""), "");
	CHECK_STR(shown("_Z"), "_Z");
}

TEST(arguments_and_types_go_and_qualified_names_stay)
{
	static const char *const names[][2] = {
		{ "f()", "f" },
		{ "ns::C::f(int, void (*)(char))", "ns::C::f" },
		{ "ns::C::f(int) const", "ns::C::f" },
		{ "void ns::each<int>(int, std::function<void (int)>)", "ns::each<int>" },
		{ "(anonymous namespace)::f(int)", "(anonymous namespace)::f" },
		{ "ns::(anonymous namespace)::f(int)", "ns::(anonymous namespace)::f" },
		{ "f(int) [clone .cold]", "f" },
		{ "C::operator()(int)", "C::operator()" },
		{ "operator new(unsigned long)", "operator new" },
		{ "C::~C()", "C::~C" },
		{ "main", "main" },
		{ "", "" },
		{ ")", ")" },
		{ "(", "(" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char buf[128];

		(void)snprintf(buf, sizeof(buf), "%s", names[i][0]);
		without_arguments(buf);
		CHECK_STR(buf, names[i][1]);
	}
}

TEST(names_of_cxx_are_taken_apart_where_there_is_a_runtime_for_it)
{
	if (!dlsym(RTLD_DEFAULT, "__cxa_demangle")) /* a sanitizer brings one */
		CHECK_STR(shown("_ZN4shop6Orders4loadEi"), "_ZN4shop6Orders4loadEi");
	if (!dlopen("libstdc++.so.6", RTLD_NOW))
		SKIP("no libstdc++.so.6");
	CHECK_STR(shown("_ZN4shop6Orders4loadEi"), "shop::Orders::load");
	CHECK_STR(shown("_Znonsense"), "_Znonsense");
}
