/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The end of every journey: counts, and turns a verdict into the action. */
#ifndef WEIR_FINISH_H
#define WEIR_FINISH_H

#include "maps.h"
#include "packet.h"

static __always_inline void count(void *map, __u32 id, __u32 length, int opened, int refused)
{
	struct service_counter *counter = bpf_map_lookup_elem(map, &id);

	if (!counter)
		return;
	counter->packets += length > 0;
	counter->bytes += length;
	if (opened)
		counter->opened++;
	if (refused)
		counter->refused++;
}

/* Per-CPU counters need no atomics: a program is not preempted by itself. */
static __always_inline int finish(hook_ctx *ctx, struct packet *p, enum verdict verdict)
{
	enum reason reason = p->reason;
	struct counter *counter = bpf_map_lookup_elem(&reason_counters, &reason);
	struct adjacency *next;

	if (verdict == VERDICT_PASS && cfg_companion)
		return ACTION_PASS;
	if (counter) {
		counter->packets++;
		counter->bytes += p->length;
	}
	/* Left to the companion, which finds the connection and counts the packet. */
	if (verdict == VERDICT_PASS && p->opened) {
		count(&service_counters, p->service, 0, 1, 0);
		count(&backend_counters, p->backend, 0, 1, 0);
	}
	if (verdict == VERDICT_PASS || verdict == VERDICT_CONTINUE)
		return ACTION_PASS;
	if (p->service)
		count(&service_counters, p->service, p->length, p->opened, verdict == VERDICT_DROP && !p->backend);
	if (verdict == VERDICT_DROP)
		return ACTION_DROP;
	count(&backend_counters, p->backend, p->length, p->opened, 0);
	next = bpf_map_lookup_elem(&adjacencies, &p->adjacency);
	return next ? packet_send(ctx, p, next) : ACTION_DROP;
}

#endif
