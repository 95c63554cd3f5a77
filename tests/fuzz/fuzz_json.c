/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a span, as spans of a request and as a metric, through the JSON writer: what is
 * written is one line of valid UTF-8 with as many brackets closed as opened outside of its strings.
 */
/* LINK: exporter/otlp.o exporter/resource.o exporter/detect.o exporter/container.o */
/* LINK: exporter/list.o exporter/buf.o exporter/line.o exporter/otlp.pb-c.o */
/* LINK: preload/sys.o preload/utf8.o -lprotobuf-c -lm */
#include "exporter/otlp-json.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Aborts where the text cannot be JSON. */
static void check(const uint8_t *s, size_t len)
{
	bool inside = false;
	long depth = 0;

	for (size_t i = 0; i < len; i++) {
		if (s[i] < 0x20)
			abort();
		if (inside && s[i] == '\\')
			i++;
		else if (s[i] == '"')
			inside = !inside;
		else if (!inside && strchr("{[", s[i]))
			depth++;
		else if (!inside && strchr("}]", s[i]) && --depth < 0)
			abort();
	}
	if (depth || inside || atr_utf8_valid((const char *)s, len) != len)
		abort();
}

static void message(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t size)
{
	struct atr_buf out = { 0 };
	uint64_t lost = 0;

	if (atr_otlp_json_message(&out, type, data, size, &lost))
		check(out.bytes, out.len);
	else if (out.len)
		abort();
	atr_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct atr_otlp_head none = { 0 };
	struct atr_buf out = { 0 };

	message(&atr__otlp__span__descriptor, data, size);
	message(&atr__otlp__metric__descriptor, data, size);
	if (atr_otlp_json(&out, &none, data, size))
		check(out.bytes, out.len);
	atr_buf_free(&out);
	return 0;
}
