/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Next hops: the daemon's towards backends, learned ones towards clients. */
#ifndef WEIR_ADJACENCY_H
#define WEIR_ADJACENCY_H

#include "hash.h"
#include "maps.h"
#include "packet.h"

#define ADJACENCY_TRIES 8

/* Does the packet come from this next hop? Words, as a comparison of bytes
 * would wait for the stores that made them. */
static __always_inline int came_from(hook_ctx *ctx, const struct adjacency *hop)
{
	const __u16 *destination = (const __u16 *)hop->destination, *source = (const __u16 *)hop->source;
	struct ethernet *eth = packet_start(ctx);

	if ((void *)(eth + 1) > packet_end(ctx) || hop->state != ADJACENCY_READY || hop->ifindex != packet_ifindex(ctx))
		return 0;
	return eth->source[0] == destination[0] && eth->source[1] == destination[1] && eth->source[2] == destination[2] &&
	       eth->destination[0] == source[0] && eth->destination[1] == source[1] && eth->destination[2] == source[2];
}

/* The index of the next hop that the packet came from, entered when it is new;
 * 0 when the places it may take are taken. */
static __always_inline __u32 learn_client_adjacency(hook_ctx *ctx)
{
	struct ethernet *eth = packet_start(ctx);
	__u64 hash, low = 0, high = 0;

	if ((void *)(eth + 1) > packet_end(ctx))
		return 0;
	__builtin_memcpy(&low, eth->source, ETH_ALEN);
	__builtin_memcpy(&high, eth->destination, ETH_ALEN);
	hash = hash_mix(hash_mix(low) + high + packet_ifindex(ctx));
	for (__u32 i = 0; i < ADJACENCY_TRIES; i++) {
		__u32 index = (hash + i) % CLIENT_ADJACENCIES;
		struct adjacency *hop;

		if (!index)
			continue;
		hop = bpf_map_lookup_elem(&adjacencies, &index);
		if (!hop)
			return 0;
		if (came_from(ctx, hop))
			return index;
		if (__sync_val_compare_and_swap(&hop->state, ADJACENCY_FREE, ADJACENCY_WRITING) == ADJACENCY_FREE) {
			hop->ifindex = packet_ifindex(ctx);
			__builtin_memcpy(hop->destination, eth->source, ETH_ALEN);
			__builtin_memcpy(hop->source, eth->destination, ETH_ALEN);
			__sync_lock_test_and_set(&hop->state, ADJACENCY_READY);
			return index;
		}
	}
	return 0;
}

/* A client's packets may begin to arrive another way, as when its router fails
 * over: replies follow. */
static __always_inline void follow_client(hook_ctx *ctx, const struct packet *p, struct conn *conn)
{
	struct adjacency *known = bpf_map_lookup_elem(&adjacencies, &p->client_adjacency);
	__u32 index;

	if (!known || came_from(ctx, known))
		return;
	index = learn_client_adjacency(ctx);
	if (index)
		conn->client_adjacency = index;
}

#endif
