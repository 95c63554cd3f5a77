/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A spool file of a dead process, good or hostile, through its reader.
 *
 * Byte 0: 1 = what the reader refuses at once is made good, 2 = so are the checksums.  Byte 1
 * is the size of a batch.  Then come 64 bytes for the file's header, 256 for the ring's,
 * and the rest is the ring's data.
 */
/* LINK: exporter/otlp.o exporter/resource.o exporter/detect.o exporter/container.o */
/* LINK: exporter/list.o exporter/buf.o exporter/otlp.pb-c.o preload/spoolname.o */
/* LINK: preload/target.o exporter/limits.o */
/* LINK: preload/sys.o preload/utf8.o exporter/health.o -lprotobuf-c */
#include "exporter/orphan.c"

#include "tests/unit/spool_file.h"

static char dir[] = "/tmp/fuzz_spool.XXXXXX";
static struct atr_stats stats;
static uint8_t file[SPOOL_FILE(2)] __attribute__((aligned(4096)));

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void remove_dir(void)
{
	(void)rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	if (!mkdtemp(dir))
		abort();
	(void)atexit(remove_dir);
	return 0;
}

static const char *spool_dir(void)
{
	return dir;
}

static void used(uint64_t bytes)
{
	(void)bytes;
}

static size_t part(uint8_t *to, size_t max, const uint8_t **data, size_t *size)
{
	size_t n = *size < max ? *size : max;

	memcpy(to, *data, n);
	*data += n;
	*size -= n;
	return n;
}

/* What can be made good without changing what the input is about. */
static void mend(uint8_t flags)
{
	struct atr_spool_file *f = (struct atr_spool_file *)(void *)file, good;
	struct atr_ring *ring = spool_ring(file, 0);

	memcpy(&good, file, sizeof(good));
	if (flags & 1) {
		f->magic = ATR_SPOOL_MAGIC;
		f->version = ATR_SPOOL_VERSION;
		f->stride = SPOOL_STRIDE;
		f->n_rings = 1 + f->n_rings % 2;
		ring->magic = ATR_RING_MAGIC;
		ring->version = 1;
		ring->size = ATR_RING_LEAST;
		ring->tail &= ~7ull;
		ring->shipped &= ~7ull;
		ring->head = ring->tail + (ring->head & 0xfff8);
	}
	if (!(flags & 2))
		return;
	for (size_t at = 0; at + sizeof(struct atr_record) < 8192;) {
		struct atr_record *r =
			(struct atr_record *)(void *)((uint8_t *)ring + ATR_RING_DATA + at);

		if (!atr_record_sound(r, 8192 - at))
			break;
		r->checksum = atr_record_sum(r);
		at += r->size;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct atr_spool_name who = { atr_sys_pid_namespace(), 0x7fffffff, 0, 0, 1, 1 };
	/* By the size of a batch: both limits are passed by some. */
	struct atr_config config = { .span_attribute_count = size > 1 ? data[1] : 0,
				     .span_attribute_length = size > 1 ? data[1] : 0 };
	struct atr_host host = {
		.config = &config, .stats = &stats, .spool_dir = spool_dir, .spool_used = used
	};
	char name[ATR_SPOOL_NAME_MAX], path[256];
	struct atr_orphans o;
	unsigned rounds = 0;
	uint8_t flags;
	size_t max, n;
	int fd;

	if (size < 2)
		return 0;
	flags = data[0];
	max = 1 + data[1];
	data += 2;
	size -= 2;
	spool_file(file, 2, 4711);
	(void)part(file, 64, &data, &size);
	(void)part((uint8_t *)spool_ring(file, 0), 256, &data, &size);
	(void)part((uint8_t *)spool_ring(file, 0) + ATR_RING_DATA, 8192, &data, &size);
	mend(flags);

	atr_spool_name_text(name, &who);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = atr_sys_open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 ||
	    atr_sys(SYS_pwrite64, fd, file, ATR_SPOOL_HEADER + ATR_RING_DATA + 8192, 0, 0, 0) < 0)
		abort();
	(void)atr_sys_close(fd);

	atr_orphans_init(&o, &host);
	atr_orphans_scan(&o);
	while ((n = atr_orphans_next(&o, max)) > 0) {
		size_t len = 0;

		/* As many fields as it says. */
		for (size_t i = 0; i < n; i++)
			len += atr_otlp_span_field(o.spans.bytes + len, o.spans.len - len);
		if (n > max || len != o.spans.len || ++rounds > 10000)
			abort();
		atr_orphans_settle(&o, SIZE_MAX, ATR_SHIPPED);
		atr_orphans_settle(&o, SIZE_MAX, flags & 4 ? ATR_SETTLED : ATR_BACK);
		if (!(flags & 4))
			break;
	}
	atr_orphans_finish(&o);
	if (flags & 4 && access(path, F_OK) == 0)
		abort(); /* with nothing left in it, it goes */
	(void)unlink(path);
	return 0;
}
