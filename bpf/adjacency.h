/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Next hops: the daemon's towards backends, learned ones towards clients. */
#ifndef WEIR_ADJACENCY_H
#define WEIR_ADJACENCY_H

#include "hash.h"
#include "maps.h"
#include "packet.h"

#define ADJACENCY_TRIES 8

/* The way back to where the packet came from; 0 for a frame cut short. */
static __always_inline int way_back(hook_ctx *ctx, struct adjacency *hop)
{
	struct ethhdr *eth = packet_start(ctx);

	if ((void *)(eth + 1) > packet_end(ctx))
		return 0;
	hop->ifindex = packet_ifindex(ctx);
	__builtin_memcpy(hop->destination, eth->h_source, ETH_ALEN);
	__builtin_memcpy(hop->source, eth->h_dest, ETH_ALEN);
	return 1;
}

static __always_inline int same_hop(const struct adjacency *a, const struct adjacency *b)
{
	return a->ifindex == b->ifindex && !__builtin_memcmp(a->destination, b->destination, 2 * ETH_ALEN);
}

/* The index of a next hop towards clients, entered when it is new; 0 when the
 * ways it may take are taken. */
static __always_inline __u32 hop_index(const struct adjacency *wanted)
{
	__u64 hash, low = 0, high = 0;

	__builtin_memcpy(&low, wanted->destination, ETH_ALEN);
	__builtin_memcpy(&high, wanted->source, ETH_ALEN);
	hash = hash_mix(hash_mix(low) + high + wanted->ifindex);
	for (__u32 i = 0; i < ADJACENCY_TRIES; i++) {
		__u32 index = (hash + i) % CLIENT_ADJACENCIES;
		struct adjacency *hop;

		if (!index)
			continue;
		hop = bpf_map_lookup_elem(&adjacencies, &index);
		if (!hop)
			return 0;
		if (hop->state == ADJACENCY_READY && same_hop(hop, wanted))
			return index;
		if (__sync_val_compare_and_swap(&hop->state, ADJACENCY_FREE, ADJACENCY_WRITING) == ADJACENCY_FREE) {
			hop->ifindex = wanted->ifindex;
			__builtin_memcpy(hop->destination, wanted->destination, ETH_ALEN);
			__builtin_memcpy(hop->source, wanted->source, ETH_ALEN);
			__sync_lock_test_and_set(&hop->state, ADJACENCY_READY);
			return index;
		}
	}
	return 0;
}

/* The adjacency over which the client of an opener is reached; 0: no room. */
static __always_inline __u32 learn_client_adjacency(hook_ctx *ctx)
{
	struct adjacency hop = {};

	return way_back(ctx, &hop) ? hop_index(&hop) : 0;
}

/* A client's packets may begin to arrive another way, as when its router fails
 * over: replies follow. */
static __always_inline void follow_client(hook_ctx *ctx, const struct packet *p, struct conn *conn)
{
	__u32 index = p->client_adjacency;
	struct adjacency *known = bpf_map_lookup_elem(&adjacencies, &index), hop = {};

	if (!known || !way_back(ctx, &hop) || (known->state == ADJACENCY_READY && same_hop(known, &hop)))
		return;
	index = hop_index(&hop);
	if (index)
		conn->client_adjacency = index;
}

#endif
