/* SPDX-License-Identifier: Apache-2.0 */
/* Prints what libearly's constructor saw, then goes on with its sockets. */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

extern int early[12], early_pair[2];

int main(void)
{
	char buf[8];

	for (int i = 0; i < 11; i++)
		printf("%d\n", early[i]);
	printf("%zd\n", send(early_pair[0], "later", 5, 0));
	printf("%zd\n", recv(early_pair[1], buf, 8, 0));
	return 0;
}
