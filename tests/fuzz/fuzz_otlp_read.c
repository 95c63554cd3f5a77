/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text through the reader of OTLP JSON: what is read is protobuf, and written and read again
 * it is the same.
 */
/* LINK: exporter/otlp.o exporter/resource.o exporter/detect.o exporter/container.o */
/* LINK: exporter/list.o exporter/buf.o exporter/line.o exporter/otlp.pb-c.o */
/* LINK: exporter/json.o exporter/otlp-json.o */
/* LINK: preload/sys.o preload/utf8.o -lprotobuf-c -lm */
#include "exporter/otlp-read.c"

#include "exporter/otlp-json.h"
#include "exporter/otlp.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const ProtobufCMessageDescriptor *type =
		&atr__otlp__export_trace_service_request__descriptor;
	struct atr_buf wire = { 0 }, json = { 0 }, again = { 0 }, twice = { 0 };
	uint64_t lost = 0, none = 0;

	if (atr_otlp_read(&wire, type, (const char *)data, size, &lost, NULL)) {
		ProtobufCMessage *m = protobuf_c_message_unpack(type, NULL, wire.len, wire.bytes);

		if (!m && wire.len)
			abort();
		if (m)
			protobuf_c_message_free_unpacked(m, NULL);
		if (!atr_otlp_json_message(&json, type, wire.bytes, wire.len, &lost) ||
		    !atr_otlp_read(&again, type, (const char *)json.bytes, json.len, &none, NULL) ||
		    none)
			abort();
		none = 0;
		if (!atr_otlp_json_message(&twice, type, again.bytes, again.len, &none) || none ||
		    twice.len != json.len || memcmp(twice.bytes, json.bytes, json.len) != 0)
			abort();
	}
	atr_buf_free(&wire);
	atr_buf_free(&json);
	atr_buf_free(&again);
	atr_buf_free(&twice);
	return 0;
}
