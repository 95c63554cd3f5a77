/* SPDX-License-Identifier: Apache-2.0 */
#include "preload/life.h"

#include <errno.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "preload/compiler.h"
#include "preload/context.h"
#include "preload/sys.h"
#include "preload/text.h"

#define LIFE_WORDS 4096
enum { GIVEN, NUMBER, FIRST }; /* words that went out so far; the segment's own number */

static uint32_t *segment; /* ours, or that of the process that forked us */

static bool refused(long ret)
{
	return ret < 0 && ret > -4096;
}

static uint32_t *make_segment(void)
{
	uint32_t *other = NULL, *words;
	long id, at;

	id = atr_sys(SYS_shmget, IPC_PRIVATE, LIFE_WORDS * sizeof(*words), IPC_CREAT | 0600, 0, 0,
		     0);
	if (refused(id))
		return NULL;
	at = atr_sys(SYS_shmat, id, NULL, 0, 0, 0, 0);
	/* It can be attached all the same, for as long as somebody has it. */
	(void)atr_sys(SYS_shmctl, id, IPC_RMID, NULL, 0, 0, 0);
	if (refused(at))
		return NULL;
	words = (uint32_t *)at;
	words[NUMBER] = (uint32_t)id;
	if (__atomic_compare_exchange_n(&segment, &other, words, 0, __ATOMIC_RELEASE,
					__ATOMIC_ACQUIRE))
		return words;
	(void)atr_sys(SYS_shmdt, words, 0, 0, 0, 0, 0);
	return other; /* another thread was first */
}

/* A word may lie in a segment that we attached: that of who started us. */
static bool is_ours(const uint32_t *words, const uint32_t *word)
{
	return words && word >= words + FIRST && word < words + LIFE_WORDS;
}

bool atr_life_begin(struct atr_cell *cell)
{
	uint32_t *words = atr_load_acquire(&segment), *word = atr_load_acquire(&cell->life);

	if (word)
		return is_ours(words, word);
	if (!words && !(words = make_segment()))
		return false;
	if (__atomic_exchange_n(&cell->life_claim, 1, __ATOMIC_ACQUIRE))
		return false; /* another thread is at it: then this child has no parent */
	word = &words[FIRST + atr_add(&words[GIVEN], 1u) % (LIFE_WORDS - FIRST)];
	cell->life_gen = atr_add(word, 1u) + 1; /* who had it before is over */
	atr_store_release(&cell->life, word);
	return true;
}

void atr_life_end(struct atr_cell *cell, bool everywhere)
{
	uint32_t *word = atr_load(&cell->life);

	(void)__atomic_fetch_add(&cell->gen, 1, __ATOMIC_RELEASE);
	if (atr_likely(!word))
		return;
	if (everywhere)
		(void)__atomic_fetch_add(word, 1, __ATOMIC_RELEASE);
	atr_store(&cell->life, NULL);
	atr_store(&cell->life_claim, 0u);
}

size_t atr_life_text(const struct atr_cell *cell, char buf[static ATR_LIFE_TEXT_MAX])
{
	const uint32_t *words = atr_load(&segment);
	size_t len = atr_decimal(buf, words[NUMBER]);

	buf[len++] = '-';
	len += atr_decimal(buf + len, (uint64_t)(atr_load(&cell->life) - words));
	buf[len++] = '-';
	return len + atr_decimal(buf + len, cell->life_gen);
}

/* Digits up to the next hyphen or the end; false when they are no 32-bit number. */
static bool number_of(struct atr_slice *rest, uint32_t *ret)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < rest->len && rest->p[i] != '-'; i++) {
		if (rest->p[i] < '0' || rest->p[i] > '9' || i == 10)
			return false;
		v = v * 10 + (uint64_t)(rest->p[i] - '0');
	}
	if (!i || v > UINT32_MAX || i + 1 == rest->len)
		return false;
	*ret = (uint32_t)v;
	i += i < rest->len;
	rest->p += i;
	rest->len -= i;
	return true;
}

bool atr_life_attach(struct atr_cell *cell, struct atr_slice text)
{
	static uint32_t over; /* the word of a span that is over, for its gen is not 0 */
	uint32_t id, word, gen;
	long at;

	if (!number_of(&text, &id) || !number_of(&text, &word) || !number_of(&text, &gen) ||
	    text.len || word < FIRST || word >= LIFE_WORDS || !gen)
		return false;
	at = atr_sys(SYS_shmat, id, NULL, SHM_RDONLY, 0, 0, 0);
	/* A number may have gone to somebody else's segment. */
	if (!refused(at) && ((const uint32_t *)at)[NUMBER] != id) {
		(void)atr_sys(SYS_shmdt, at, 0, 0, 0, 0, 0);
		at = -EINVAL;
	}
	cell->life_gen = gen;
	atr_store_release(&cell->life, refused(at) ? &over : (uint32_t *)at + word);
	return true;
}
