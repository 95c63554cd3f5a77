/* SPDX-License-Identifier: Apache-2.0 */
/* LINK: exporter/otlp.o exporter/buf.o exporter/otlp.pb-c.o preload/sys.o preload/utf8.o */
/* LINK: exporter/resource.o exporter/detect.o exporter/container.o exporter/list.o */
/* LINK: -lprotobuf-c */
#include "exporter/batch.c"

#include "tests/unit/test.h"

static uint8_t bytes_of_span[ATR_RECORD_MAX];

/* Pushes a span whose bytes are all `mark`. */
static bool push(struct atr_batch *b, uint8_t mark, size_t len)
{
	memset(bytes_of_span, mark, len);
	return atr_batch_push(b, bytes_of_span, len, &(struct atr_place){ 0 });
}

TEST(spans_come_out_in_order_in_batches)
{
	struct atr_batch b;
	const uint8_t *bytes;
	size_t len;

	atr_batch_init(&b, 10, 3);
	for (uint8_t i = 0; i < 7; i++)
		CHECK(push(&b, i, 5));
	CHECK_INT(atr_batch_len(&b), 7);
	CHECK_INT(atr_batch_front(&b, &bytes, &len), 3);
	CHECK_INT(len, 21);
	CHECK_MEM(bytes, "\x12\x05\0\0\0\0\0\x12\x05\x01\x01\x01\x01\x01\x12\x05\x02", 17);
	atr_batch_pop(&b, 3, len);
	CHECK_INT(atr_batch_front(&b, &bytes, &len), 3);
	CHECK_INT(bytes[2], 3);
	atr_batch_pop(&b, 3, len);
	CHECK_INT(atr_batch_front(&b, &bytes, &len), 1);
	CHECK_INT(bytes[2], 6);
	atr_batch_pop(&b, 1, len);
	CHECK_INT(atr_batch_front(&b, &bytes, &len), 0);
	CHECK_INT(len, 0);
	atr_batch_finish(&b);
}

TEST(a_batch_is_at_most_the_queue)
{
	struct atr_batch b;

	atr_batch_init(&b, 10, 512);
	CHECK_INT(b.max_batch, 10);
	CHECK_INT(atr_batch_room(&b), 10);
	for (int i = 0; i < 10; i++)
		CHECK(push(&b, 1, 100));
	CHECK_INT(atr_batch_room(&b), 0);
	atr_batch_finish(&b);
}

TEST(empty_and_longest_spans_keep_their_frames)
{
	static const size_t lens[] = { 0, 1, 127, 128, 300, 16383, ATR_RECORD_MAX };
	struct atr_batch b;
	const uint8_t *bytes;
	size_t len;

	atr_batch_init(&b, 100, 1);
	for (size_t i = 0; i < 7; i++)
		CHECK(push(&b, (uint8_t)i, lens[i]));
	for (size_t i = 0; i < 7; i++) {
		CHECK_INT(atr_batch_front(&b, &bytes, &len), 1);
		CHECK_INT(len, lens[i] + (lens[i] < 128 ? 2 : lens[i] < 16384 ? 3 : 4));
		if (lens[i])
			CHECK_INT(bytes[len - 1], i);
		atr_batch_pop(&b, 1, len);
	}
	atr_batch_finish(&b);
}

TEST(the_queue_is_bounded_in_bytes)
{
	struct atr_batch b;
	size_t n = 0;

	atr_batch_init(&b, 1048576, 1048576);
	while (atr_batch_room(&b) > 0 && n < 10000) {
		CHECK(push(&b, 1, ATR_RECORD_MAX));
		n++;
	}
	CHECK(b.bytes.len <= ATR_BATCH_BYTES);
	CHECK(b.bytes.len > ATR_BATCH_BYTES - 2 * FIELD_MAX);
	atr_batch_finish(&b);
}

TEST(steady_use_moves_bytes_but_grows_no_memory)
{
	struct atr_batch b;
	const uint8_t *bytes;
	size_t len, room = 0;
	uint8_t in = 0, out = 0;

	atr_batch_init(&b, 100, 7);
	for (int round = 0; round < 20000; round++) {
		for (; atr_batch_room(&b) > (size_t)(round % 40); in++)
			(void)push(&b, in, 50 + (size_t)in % 200);
		while (atr_batch_len(&b) > 50) {
			size_t n = atr_batch_front(&b, &bytes, &len);

			for (size_t i = 0, at = 0; i < n; i++) {
				size_t field = atr_otlp_span_field(bytes + at, len - at);

				at += field;
				if (bytes[at - 1] != out++) {
					CHECK(false);
					return;
				}
			}
			atr_batch_pop(&b, n, len);
		}
		if (round == 2000)
			room = b.bytes.room;
	}
	CHECK_INT(b.bytes.room, room);
	CHECK_INT(b.pushed - b.popped, atr_batch_len(&b));
	atr_batch_finish(&b);
}
