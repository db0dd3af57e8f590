/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Next hops: the daemon's towards backends, learned ones towards clients. */
#ifndef WEIR_ADJACENCY_H
#define WEIR_ADJACENCY_H

#include "hash.h"
#include "maps.h"
#include "packet.h"

#define ADJACENCY_TRIES 4

static __always_inline int same_hop(const struct adjacency *hop, const struct adjacency *wanted)
{
	return hop->ifindex == wanted->ifindex &&
	       !__builtin_memcmp(hop->destination, wanted->destination, 2 * ETH_ALEN);
}

/* The index of the way back to where the packet came from, learned when it
 * is new; 0 when the slots it may use are taken. */
static __always_inline __u32 learn_client_adjacency(hook_ctx *ctx)
{
	struct adjacency wanted = { .ifindex = packet_ifindex(ctx), .state = ADJACENCY_READY };
	struct ethhdr *eth = packet_start(ctx);
	__u64 low = 0, high = 0;

	if ((void *)(eth + 1) > packet_end(ctx))
		return 0;
	__builtin_memcpy(wanted.destination, eth->h_source, ETH_ALEN);
	__builtin_memcpy(wanted.source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(&low, eth->h_source, ETH_ALEN);
	__builtin_memcpy(&high, eth->h_dest, ETH_ALEN);
	low = hash_mix(hash_mix(low) + high + wanted.ifindex);
	for (__u32 i = 0; i < ADJACENCY_TRIES; i++) {
		__u32 index = (low + i) % CLIENT_ADJACENCIES;
		struct adjacency *hop;

		if (!index)
			continue;
		hop = bpf_map_lookup_elem(&adjacencies, &index);
		if (!hop)
			return 0;
		if (hop->state == ADJACENCY_READY && same_hop(hop, &wanted))
			return index;
		if (__sync_val_compare_and_swap(&hop->state, ADJACENCY_FREE, ADJACENCY_WRITING) == ADJACENCY_FREE) {
			hop->ifindex = wanted.ifindex;
			__builtin_memcpy(hop->destination, wanted.destination, ETH_ALEN);
			__builtin_memcpy(hop->source, wanted.source, ETH_ALEN);
			__sync_lock_test_and_set(&hop->state, ADJACENCY_READY);
			return index;
		}
	}
	return 0;
}

#endif
