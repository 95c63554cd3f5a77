/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The batch is unpacked by protobuf-c and sorted by trace and start; then every
 * span is hung under its parent, if that is in the same batch, by a linked list
 * of children.  A span whose parent is elsewhere (another process, another batch)
 * is a tree of its own and says so.
 */
#include "exporter/console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporter/line.h"
#include "exporter/otlp.pb-c.h"
#include "exporter/resource.h"

#define DEPTH_MAX 40 /* deepest indentation drawn */

typedef Atr__Otlp__Span otlp_span; /* protobuf-c's names are long */

struct node {
	const otlp_span *span;
	struct node *parent, *child, *last; /* first and last child */
	struct node *next;		    /* sibling; of a root, the next root of the trace */
};

static int compare_ids(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	size_t n = a->len < b->len ? a->len : b->len;
	int order = n ? memcmp(a->data, b->data, n) : 0;

	return order ? order : (a->len > b->len) - (a->len < b->len);
}

/* Of two that start together the longer one may be the parent. */
static int by_start(const void *a, const void *b)
{
	const otlp_span *x = ((const struct node *)a)->span, *y = ((const struct node *)b)->span;
	int order = compare_ids(&x->trace_id, &y->trace_id);

	if (order)
		return order;
	if (x->start_time_unix_nano != y->start_time_unix_nano)
		return x->start_time_unix_nano < y->start_time_unix_nano ? -1 : 1;
	if (x->end_time_unix_nano != y->end_time_unix_nano)
		return x->end_time_unix_nano > y->end_time_unix_nano ? -1 : 1;
	return compare_ids(&x->span_id, &y->span_id);
}

static int by_id(const void *a, const void *b)
{
	const otlp_span *x = (*(struct node *const *)a)->span,
			*y = (*(struct node *const *)b)->span;
	int order = compare_ids(&x->trace_id, &y->trace_id);

	return order ? order : compare_ids(&x->span_id, &y->span_id);
}

static int by_first(const void *a, const void *b)
{
	const otlp_span *x = (*(struct node *const *)a)->span,
			*y = (*(struct node *const *)b)->span;

	if (x->start_time_unix_nano != y->start_time_unix_nano)
		return x->start_time_unix_nano < y->start_time_unix_nano ? -1 : 1;
	return compare_ids(&x->trace_id, &y->trace_id);
}

static struct node *find_parent(struct node **index, size_t n, const otlp_span *span)
{
	otlp_span wanted = { .trace_id = span->trace_id, .span_id = span->parent_span_id };
	struct node key = { .span = &wanted }, *at = &key;
	struct node **found;

	if (!span->parent_span_id.len)
		return NULL;
	found = bsearch(&at, index, n, sizeof(struct node *), by_id);
	return found ? *found : NULL;
}

/*
 * Hangs every node under its parent.  The nodes are sorted by start and a parent
 * has to come first, so no cycle can be closed, whatever the ids say.
 */
static void link_nodes(struct node *nodes, struct node **index, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct node *node = &nodes[i];
		struct node *parent = find_parent(index, n, node->span);

		if (!parent || parent >= node)
			continue;
		node->parent = parent;
		if (parent->last)
			parent->last->next = node;
		else
			parent->child = node;
		parent->last = node;
	}
}

static void put_branch(struct atr_buf *out, const struct node *node, const bool *more,
		       unsigned depth)
{
	unsigned drawn = depth < DEPTH_MAX ? depth : DEPTH_MAX;

	for (unsigned i = 0; i < drawn; i++)
		atr_buf_str(out, more[i] ? "│  " : "   ");
	atr_buf_str(out, node->next ? "├─ " : "└─ ");
}

/* Not recursive: our stack is small, and how deep a tree is others decide. */
static void put_tree(struct atr_buf *out, const struct node *root)
{
	bool more[DEPTH_MAX]; /* has the ancestor of that depth later siblings? */
	const struct node *node = root;
	unsigned depth = 0;

	for (;;) {
		put_branch(out, node, more, depth);
		atr_line_span(out, node->span, !node->parent);
		if (node->child) {
			if (depth < DEPTH_MAX)
				more[depth] = node->next != NULL;
			depth++;
			node = node->child;
			continue;
		}
		while (node != root && !node->next) {
			node = node->parent;
			depth--;
		}
		if (node == root)
			return;
		node = node->next;
	}
}

static bool same_trace(const struct node *a, const struct node *b)
{
	return compare_ids(&a->span->trace_id, &b->span->trace_id) == 0;
}

/* The nodes from `first` to `end` that belong to its trace. */
static void put_trace(struct atr_console *c, struct node *first, const struct node *end)
{
	struct node *roots = NULL, **tail = &roots;

	for (struct node *node = first; node < end && same_trace(first, node); node++)
		if (!node->parent) {
			*tail = node;
			tail = &node->next;
		}
	atr_buf_str(&c->text, "trace ");
	atr_line_hex(&c->text, first->span->trace_id.data, first->span->trace_id.len);
	atr_buf_str(&c->text, "  ");
	atr_buf_add(&c->text, c->who.bytes, c->who.len);
	atr_buf_str(&c->text, "\n");
	for (const struct node *root = roots; root; root = root->next)
		put_tree(&c->text, root);
}

/* All trees, in the order their traces began.  `index` has room for n pointers. */
static void put_traces(struct atr_console *c, struct node *nodes, struct node **index, size_t n)
{
	size_t n_traces = 0;

	for (size_t i = 0; i < n; i++)
		if (i == 0 || !same_trace(&nodes[i - 1], &nodes[i]))
			index[n_traces++] = &nodes[i];
	qsort(index, n_traces, sizeof(struct node *), by_first);
	for (size_t i = 0; i < n_traces; i++)
		put_trace(c, index[i], nodes + n);
}

static void put_spans(struct atr_console *c, otlp_span *const *spans, size_t n)
{
	struct node *nodes = calloc(n, sizeof(*nodes));
	struct node **index = calloc(n, sizeof(*index));

	if (nodes && index) {
		for (size_t i = 0; i < n; i++)
			nodes[i].span = spans[i];
		qsort(nodes, n, sizeof(*nodes), by_start);
		for (size_t i = 0; i < n; i++)
			index[i] = &nodes[i];
		qsort(index, n, sizeof(struct node *), by_id);
		link_nodes(nodes, index, n);
		put_traces(c, nodes, index, n);
	} else {
		c->text.failed = true;
	}
	free(nodes);
	free(index);
}

const struct atr_buf *atr_console_batch(struct atr_console *c, const uint8_t *spans, size_t len)
{
	Atr__Otlp__ScopeSpans *batch = atr__otlp__scope_spans__unpack(NULL, len, spans);

	if (!batch)
		return NULL;
	atr_buf_reset(&c->text);
	if (batch->n_spans)
		put_spans(c, batch->spans, batch->n_spans);
	atr__otlp__scope_spans__free_unpacked(batch, NULL);
	return c->text.failed ? NULL : &c->text;
}

void atr_console_init(struct atr_console *c, const struct atr_resource *r)
{
	const struct atr_attr *name = atr_resource_get(r, "service.name");
	const struct atr_attr *pid = atr_resource_get(r, "process.pid");
	char number[24];

	atr_buf_reset(&c->who);
	if (name && name->text)
		atr_buf_escaped(&c->who, name->text, strlen(name->text));
	if (pid) {
		(void)snprintf(number, sizeof(number), "[%lld]", (long long)pid->number);
		atr_buf_str(&c->who, number);
	}
}

void atr_console_finish(struct atr_console *c)
{
	atr_buf_free(&c->who);
	atr_buf_free(&c->text);
}
