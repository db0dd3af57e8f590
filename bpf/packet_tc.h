/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Writing and sending a packet in tc: the kernel's helpers keep partial
 * checksums and GSO right, which direct stores would corrupt. */

/* As packet_translate of XDP. */
static __always_inline int packet_translate(hook_ctx *ctx, struct packet *p)
{
	const struct addr *old = p->from_backend ? &p->source : &p->destination;
	__be16 old_port = p->from_backend ? p->source_port : p->destination_port;
	__u64 addresses = address_difference(old, &p->translated);
	__u32 address_at, ttl_at, checksum_at;
	__u32 zero = p->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__u8 ttl = p->ttl - 1;

	checksum_at = p->l4_offset + (p->protocol == IPPROTO_TCP ? __builtin_offsetof(struct tcphdr, check) :
								   __builtin_offsetof(struct udphdr, check));
	if (p->has_checksum) {
		/* Only addresses belong to the pseudo header of a partial checksum. */
		if (bpf_l4_csum_replace(ctx, checksum_at, 0, fold32(addresses), BPF_F_PSEUDO_HDR | zero) ||
		    bpf_l4_csum_replace(ctx, checksum_at, old_port, p->translated_port, zero | 2))
			return -1;
	}
	if (p->ipv6) {
		address_at = L3_OFFSET + (p->from_backend ? __builtin_offsetof(struct ipv6hdr, saddr) :
							   __builtin_offsetof(struct ipv6hdr, daddr));
		ttl_at = L3_OFFSET + __builtin_offsetof(struct ipv6hdr, hop_limit);
		if (bpf_skb_store_bytes(ctx, address_at, &p->translated, 16, 0))
			return -1;
	} else {
		__u32 sum_at = L3_OFFSET + __builtin_offsetof(struct iphdr, check);

		address_at = L3_OFFSET + (p->from_backend ? __builtin_offsetof(struct iphdr, saddr) :
							   __builtin_offsetof(struct iphdr, daddr));
		ttl_at = L3_OFFSET + __builtin_offsetof(struct iphdr, ttl);
		if (bpf_l3_csum_replace(ctx, sum_at, old->words[3], p->translated.words[3], 4) ||
		    bpf_l3_csum_replace(ctx, sum_at, p->ttl, ttl, 2) ||
		    bpf_skb_store_bytes(ctx, address_at, &p->translated.words[3], 4, 0))
			return -1;
	}
	if (bpf_skb_store_bytes(ctx, ttl_at, &ttl, 1, 0))
		return -1;
	return bpf_skb_store_bytes(ctx, p->l4_offset + (p->from_backend ? 0 : 2), &p->translated_port, 2, 0);
}

/* Sends the packet over the adjacency, asking the kernel's neighbour table
 * when its MAC is not known; returns the hook's action. */
static __always_inline int packet_send(hook_ctx *ctx, const struct packet *p, const struct adjacency *next)
{
	if (next->state != ADJACENCY_READY) {
		struct bpf_redir_neigh hop = {};

		hop.nh_family = p->ipv6 ? 10 : 2;
		if (p->ipv6)
			__builtin_memcpy(hop.ipv6_nh, &next->next_hop, 16);
		else
			hop.ipv4_nh = next->next_hop.words[3];
		return bpf_redirect_neigh(next->ifindex, &hop, sizeof(hop), 0);
	}
	if (bpf_skb_store_bytes(ctx, 0, next->destination, ETH_ALEN, 0) ||
	    bpf_skb_store_bytes(ctx, ETH_ALEN, next->source, ETH_ALEN, 0))
		return TC_ACT_SHOT;
	return bpf_redirect(next->ifindex, 0);
}

static __always_inline int packet_can_resolve(void)
{
	return 1;
}

#define ACTION_PASS TC_ACT_UNSPEC
#define ACTION_DROP TC_ACT_SHOT
