/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Ethernet → IPv4 or IPv6 → TCP or UDP into struct packet. Broken headers get
 * a reason and the verdict DROP; whether that is carried out is decided when
 * it is known that the packet is ours (see lb.h). */
#ifndef WEIR_PARSE_H
#define WEIR_PARSE_H

#include "packet.h"

#define MAX_EXTENSIONS 6

static __always_inline enum verdict broken(struct packet *p, enum reason reason)
{
	p->reason = reason;
	return VERDICT_DROP;
}

/* A fragment is not broken: the kernel, which knows how to reassemble it, has
 * it, be it a reply to the router's own address or a datagram to a VIP. */
static __always_inline enum verdict fragment(struct packet *p)
{
	p->reason = REASON_FRAGMENT;
	return VERDICT_PASS;
}

static __always_inline enum verdict parse_ipv4(hook_ctx *ctx, struct packet *p)
{
	struct iphdr *ip = packet_start(ctx) + L3_OFFSET;
	__u32 header, total;

	if ((void *)(ip + 1) > packet_end(ctx))
		return broken(p, REASON_TRUNCATED);
	load_ipv4(&p->source, ip->saddr);
	load_ipv4(&p->destination, ip->daddr);
	p->protocol = ip->protocol;
	p->ttl = ip->ttl;
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header < sizeof(*ip) || total < header)
		return broken(p, REASON_BAD_HEADER);
	if (total + L3_OFFSET > p->length)
		return broken(p, REASON_TRUNCATED);
	if (ip->frag_off & bpf_htons(0x3fff))
		return fragment(p);
	p->l4_offset = L3_OFFSET + header;
	p->l4_length = total - header;
	return VERDICT_CONTINUE;
}

/* Follows at most MAX_EXTENSIONS extension headers (RFC 8200 §4). */
static __always_inline enum verdict parse_ipv6(hook_ctx *ctx, struct packet *p)
{
	struct ipv6hdr *ip6 = packet_start(ctx) + L3_OFFSET;
	__u32 offset = L3_OFFSET + sizeof(*ip6), limit;

	if ((void *)(ip6 + 1) > packet_end(ctx))
		return broken(p, REASON_TRUNCATED);
	p->ipv6 = 1;
	load_ipv6(&p->source, &ip6->saddr);
	load_ipv6(&p->destination, &ip6->daddr);
	p->protocol = ip6->nexthdr;
	p->ttl = ip6->hop_limit;
	if (ip6->version != 6)
		return broken(p, REASON_BAD_HEADER);
	limit = offset + bpf_ntohs(ip6->payload_len);
	if (limit > p->length)
		return broken(p, REASON_TRUNCATED);
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u8 *extension;

		if (p->protocol == IPPROTO_FRAGMENT)
			return fragment(p);
		if (p->protocol != IPPROTO_HOPOPTS && p->protocol != IPPROTO_ROUTING &&
		    p->protocol != IPPROTO_DSTOPTS)
			break;
		if (offset > 0xff)
			return broken(p, REASON_EXTENSIONS);
		extension = packet_start(ctx) + (offset & 0xff);
		if ((void *)(extension + 2) > packet_end(ctx))
			return broken(p, REASON_TRUNCATED);
		p->protocol = extension[0];
		offset += (extension[1] + 1) * 8;
	}
	if (p->protocol == IPPROTO_HOPOPTS || p->protocol == IPPROTO_ROUTING || p->protocol == IPPROTO_DSTOPTS ||
	    offset > 0xff)
		return broken(p, REASON_EXTENSIONS);
	if (offset > limit)
		return broken(p, REASON_TRUNCATED);
	p->l4_offset = offset;
	p->l4_length = limit - offset;
	return VERDICT_CONTINUE;
}

static __always_inline enum verdict parse_tcp(hook_ctx *ctx, struct packet *p)
{
	struct tcphdr *tcp = packet_start(ctx) + (p->l4_offset & 0xff);

	if (p->l4_length < sizeof(*tcp) || (void *)(tcp + 1) > packet_end(ctx))
		return broken(p, REASON_TRUNCATED);
	if (tcp->doff < 5 || tcp->doff * 4 > p->l4_length)
		return broken(p, REASON_BAD_HEADER);
	p->source_port = tcp->source;
	p->destination_port = tcp->dest;
	p->tcp_flags = ((__u8 *)tcp)[13];
	p->sequence = bpf_ntohl(tcp->seq);
	p->acknowledgment = bpf_ntohl(tcp->ack_seq);
	p->has_checksum = 1;
	return VERDICT_CONTINUE;
}

static __always_inline enum verdict parse_udp(hook_ctx *ctx, struct packet *p)
{
	struct udphdr *udp = packet_start(ctx) + (p->l4_offset & 0xff);
	__u32 length;

	if (p->l4_length < sizeof(*udp) || (void *)(udp + 1) > packet_end(ctx))
		return broken(p, REASON_TRUNCATED);
	length = bpf_ntohs(udp->len);
	if (length < sizeof(*udp) || length > p->l4_length)
		return broken(p, REASON_BAD_HEADER);
	if (p->ipv6 && !udp->check)
		return broken(p, REASON_ZERO_CHECKSUM);
	p->source_port = udp->source;
	p->destination_port = udp->dest;
	p->has_checksum = udp->check != 0;
	return VERDICT_CONTINUE;
}

/* Fills p. PASS: not IP. DROP: broken, with the reason. */
static __always_inline enum verdict parse(hook_ctx *ctx, struct packet *p)
{
	struct ethernet *eth = packet_start(ctx);
	enum verdict verdict;

	p->length = packet_length(ctx);
	p->reason = REASON_NOT_OURS;
	if ((void *)(eth + 1) > packet_end(ctx))
		return VERDICT_PASS;
	if (eth->protocol == bpf_htons(ETH_P_IP))
		verdict = parse_ipv4(ctx, p);
	else if (eth->protocol == bpf_htons(ETH_P_IPV6))
		verdict = parse_ipv6(ctx, p);
	else
		return VERDICT_PASS;
	if (verdict != VERDICT_CONTINUE)
		return verdict;
	if (p->protocol == IPPROTO_TCP)
		return parse_tcp(ctx, p);
	if (p->protocol == IPPROTO_UDP)
		return parse_udp(ctx, p);
	p->reason = REASON_PROTOCOL;
	return VERDICT_PASS;
}

#endif
