/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Writing and sending a packet in XDP: direct stores, incremental checksums. */

/* Writes p->translated over the source or destination and counts the hop
 * limit down. Headers were checked by parse; the bounds here are for the
 * verifier. Returns 0, or -1 when it cannot. */
static __always_inline int packet_translate(hook_ctx *ctx, struct packet *p)
{
	void *data = packet_start(ctx), *end = packet_end(ctx);
	const struct addr *old = p->from_backend ? &p->source : &p->destination;
	__be16 old_port = p->from_backend ? p->source_port : p->destination_port;
	__u64 addresses = address_difference(old, &p->translated);
	__u64 whole = addresses + (__u16)~old_port + p->translated_port;
	__be16 *ports = data + (p->l4_offset & 0xff);
	__u16 *checksum;

	if (p->ipv6) {
		struct ipv6hdr *ip6 = data + L3_OFFSET;

		if ((void *)(ip6 + 1) > end)
			return -1;
		__builtin_memcpy(p->from_backend ? &ip6->saddr : &ip6->daddr, &p->translated, 16);
		ip6->hop_limit--;
	} else {
		struct iphdr *ip = data + L3_OFFSET;

		if ((void *)(ip + 1) > end)
			return -1;
		if (p->from_backend)
			ip->saddr = p->translated.words[3];
		else
			ip->daddr = p->translated.words[3];
		ip->ttl--;
		/* TTL is the high byte of its 16-bit word. */
		ip->check = checksum_add(ip->check, addresses + (__u16)~bpf_htons(0x0100));
	}

	if (p->protocol == IPPROTO_TCP) {
		if ((void *)ports + sizeof(struct tcphdr) > end)
			return -1;
		checksum = (void *)ports + __builtin_offsetof(struct tcphdr, check);
	} else {
		if ((void *)ports + sizeof(struct udphdr) > end)
			return -1;
		checksum = (void *)ports + __builtin_offsetof(struct udphdr, check);
	}
	ports[p->from_backend ? 0 : 1] = p->translated_port;
	if (p->has_checksum) {
		__u16 sum = checksum_add(*checksum, whole);

		/* A computed UDP zero is sent as all ones (RFC 768). */
		*checksum = p->protocol == IPPROTO_UDP && !sum ? 0xffff : sum;
	}
	return 0;
}

/* Sends the packet over the adjacency; returns the hook's action. */
static __always_inline int packet_send(hook_ctx *ctx, const struct packet *p, const struct adjacency *next)
{
	struct ethernet *eth = packet_start(ctx);

	if ((void *)(eth + 1) > packet_end(ctx))
		return XDP_DROP;
	__builtin_memcpy(eth->destination, next->destination, ETH_ALEN);
	__builtin_memcpy(eth->source, next->source, ETH_ALEN);
	if (next->ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return bpf_redirect(next->ifindex, 0);
}

/* XDP cannot ask the kernel for a neighbour; its companion on tc can. */
static __always_inline int packet_can_resolve(void)
{
	return 0;
}

#define ACTION_PASS XDP_PASS
#define ACTION_DROP XDP_DROP
