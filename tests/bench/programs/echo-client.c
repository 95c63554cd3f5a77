/* SPDX-License-Identifier: Apache-2.0 */
/* echo-client PORT N: N round trips of one byte; prints round trips per second. */
#include "loopback.h"

int main(int argc, char **argv)
{
	int s = dial(argv[1]), n = atoi(argv[2]);
	double start = now();
	char c = 'x';

	for (int i = 0; i < n; i++)
		if (send(s, &c, 1, 0) != 1 || recv(s, &c, 1, 0) != 1)
			return 1;
	printf("%.1f\n", n / (now() - start));
	return 0;
}
