/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Picks a backend for a new connection from the service's slot table. */
#ifndef WEIR_SCHEDULER_H
#define WEIR_SCHEDULER_H

#include "hash.h"
#include "maps.h"
#include "packet.h"

/* Up to this many slots least connections looks at all; above, at two. */
#define LEASTCONN_ALL 16

static __always_inline __u32 slot_backend(const struct service *service, __u32 slot)
{
	__u32 at = service->first_slot + slot;
	__u32 *id = bpf_map_lookup_elem(&slots, &at);

	return id ? *id : 0;
}

/* The one with fewer connections for its weight; `best` may be 0. */
static __always_inline __u32 less_loaded(__u32 best, __u32 candidate)
{
	__u64 *best_active = bpf_map_lookup_elem(&active, &best);
	__u64 *candidate_active = bpf_map_lookup_elem(&active, &candidate);
	struct backend *b = backend_by_id(best);
	struct backend *c = backend_by_id(candidate);

	if (!candidate || !candidate_active || !c)
		return best;
	if (!best || !best_active || !b)
		return candidate;
	return (*candidate_active + 1) * b->weight < (*best_active + 1) * c->weight ? candidate : best;
}

static __always_inline __u32 least_connections(const struct service *service, __u64 start)
{
	__u32 count = service->slots, best = 0;

	if (count > LEASTCONN_ALL) {
		/* Power of two choices (Mitzenmacher 2001). */
		best = slot_backend(service, bpf_get_prandom_u32() % count);
		return less_loaded(best, slot_backend(service, bpf_get_prandom_u32() % count));
	}
	for (__u32 i = 0; i < LEASTCONN_ALL; i++) {
		if (i >= count)
			break;
		/* Begins at a moving slot, so that equals take turns. */
		best = less_loaded(best, slot_backend(service, (start + i) % count));
	}
	return best;
}

/* The backend of the client's last connection, if that is recent enough and
 * the backend takes new ones; else 0. */
static __always_inline __u32 sticky_backend(const struct packet *p, const struct service *service, __u32 now)
{
	struct affinity_key key = { .service = p->service, .client = p->source };
	struct affinity *last = bpf_map_lookup_elem(&affinities, &key);
	struct backend *backend;
	__u32 id;

	if (!last || now - last->seen > service->affinity)
		return 0;
	id = last->backend;
	backend = backend_by_id(id);
	/* The id may have been given to another service's backend since. */
	return backend && backend->weight && backend->service == p->service ? id : 0;
}

/* Keeps where the client of a service with affinity went. */
__noinline int remember_backend(struct packet *p, __u32 now)
{
	struct affinity_key key = {};
	struct affinity value = {};
	struct service *service;

	if (!p)
		return 0;
	service = service_by_id(p->service);
	if (!service || !service->affinity)
		return 0;
	key.service = p->service;
	key.client = p->source;
	value.backend = p->backend;
	value.seen = now;
	return bpf_map_update_elem(&affinities, &key, &value, BPF_ANY);
}

/* Sets p->backend; DROP with a reason when the service has none. */
static __always_inline enum verdict schedule(struct packet *p, const struct service *service, __u32 now)
{
	__u32 id = p->service;
	__u64 *position, slot = 0;

	p->reason = REASON_NO_BACKEND;
	if (!service->slots)
		return VERDICT_DROP;
	if (service->affinity) {
		p->backend = sticky_backend(p, service, now);
		if (p->backend)
			return VERDICT_CONTINUE;
	}
	switch (service->algorithm) {
	case ALGORITHM_SOURCE:
		slot = hash_endpoint(&p->source, 0, 0);
		break;
	case ALGORITHM_MAGLEV:
		slot = hash_endpoint(&p->source, p->source_port, p->protocol);
		break;
	default:
		position = bpf_map_lookup_elem(&positions, &id);
		if (!position)
			return VERDICT_DROP;
		/* Shared by all CPUs: round robin is exact over a cycle. */
		slot = __sync_fetch_and_add(position, 1);
	}
	if (service->algorithm == ALGORITHM_LEASTCONN)
		p->backend = least_connections(service, slot);
	else
		p->backend = slot_backend(service, slot % service->slots);
	return p->backend ? VERDICT_CONTINUE : VERDICT_DROP;
}

#endif
