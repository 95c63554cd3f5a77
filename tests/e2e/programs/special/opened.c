/* SPDX-License-Identifier: Apache-2.0 */
/* What opens.c opens. */
const char *whose(void);
const char *found(void);

const char *whose(void)
{
	return "the plugin's own";
}

const char *found(void)
{
	return whose();
}
