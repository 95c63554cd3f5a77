/* SPDX-License-Identifier: Apache-2.0 */
/* Names of C++: each call prints the qualified name of its function, file and line. */
#include <arpa/inet.h>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <sys/socket.h>

#define CALL(name, expr) (std::printf("%s %s %d\n", name, __FILE__, __LINE__), std::fflush(stdout), (expr))
#define KEEP __attribute__((noinline, noclone))

static int fd;

namespace shop
{
struct Orders {
	KEEP int load(const std::string &what, int n)
	{
		int ret = CALL("shop::Orders::load", send(fd, what.data(), n, 0));
		__asm__ volatile("" ::: "memory");
		return ret;
	}
};

template <typename T> KEEP void each(T, std::function<void(int)> f)
{
	CALL("shop::each<int>", send(fd, "t", 1, 0));
	f(1);
}

namespace
{
KEEP void hidden(int)
{
	CALL("shop::(anonymous namespace)::hidden", send(fd, "h", 1, 0));
	throw std::runtime_error("out of here");
}
} // namespace
} // namespace shop

int main(int, char **argv)
{
	struct sockaddr_in to = {};

	to.sin_family = AF_INET;
	to.sin_port = htons(std::atoi(argv[1]));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (CALL("main", connect(fd, (struct sockaddr *)&to, sizeof(to))) != 0)
		return 2;
	shop::Orders().load("xy", 2);
	try {
		shop::each(7, shop::hidden);
	} catch (const std::exception &e) {
		std::printf("# caught %s\n", e.what());
	}
	return 0;
}
