/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/trouble.h"

bool atr_trouble_fails(struct atr_trouble *t, uint64_t now, unsigned *ret_others)
{
	if (!t->down)
		t->n++;
	t->down = true;
	if (t->said || !atr_trouble_old(t->said_at, now))
		return false;
	*ret_others = t->n - 1;
	t->said = true;
	t->said_at = now;
	t->n = 0;
	return true;
}

bool atr_trouble_ends(struct atr_trouble *t)
{
	bool say = t->said;

	t->down = t->said = false;
	return say;
}
