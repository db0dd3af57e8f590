/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The only header through which stages reach the packet. Including files
 * define HOOK_XDP or HOOK_TC; every other header is the same for both. */
#ifndef WEIR_PACKET_H
#define WEIR_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"

#ifdef HOOK_XDP
typedef struct xdp_md hook_ctx;
#else
typedef struct __sk_buff hook_ctx;
#endif

enum verdict { VERDICT_CONTINUE, VERDICT_PASS, VERDICT_DROP, VERDICT_SEND };

/* What the stages know of the packet. Offsets, never pointers: those die when
 * the packet is resized. Ports and addresses stay in network order. */
struct packet {
	struct addr source;
	struct addr destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 length;		/* frame, bytes */
	__u16 l4_offset;
	__u16 l4_length;	/* header and payload, bytes */
	__u8 ipv6;
	__u8 protocol;
	__u8 tcp_flags;		/* low byte: FIN SYN RST PSH ACK */
	__u8 ttl;
	__u8 has_checksum;
	__u8 from_backend;
	__u8 to_backend;	/* a client speaks to a backend itself */
	__u8 opened;		/* this packet opened its connection */
	__u32 sequence;		/* host order */
	__u32 acknowledgment;	/* host order */
	__u32 reason;
	__u32 service;
	__u32 backend;
	__u32 client_adjacency;
	__u32 adjacency;
	struct addr translated;	/* address and port to write */
	__be16 translated_port;
};

#define L3_OFFSET ETH_HLEN
/* An Ethernet header of words: the kernel's, which is packed, would be loaded
 * byte by byte. */
struct ethernet {
	__u16 destination[3];
	__u16 source[3];
	__be16 protocol;
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

static __always_inline void *packet_start(hook_ctx *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline void *packet_end(hook_ctx *ctx)
{
	return (void *)(long)ctx->data_end;
}

static __always_inline __u32 packet_length(hook_ctx *ctx)
{
#ifdef HOOK_XDP
	return ctx->data_end - ctx->data;
#else
	return ctx->len;
#endif
}

/* Makes the headers readable in place; XDP's are by nature. */
static __always_inline void packet_linearise(hook_ctx *ctx)
{
#ifndef HOOK_XDP
	__u32 headers = ETH_HLEN + 60 + 60;

	bpf_skb_pull_data(ctx, ctx->len < headers ? ctx->len : headers);
#endif
}

static __always_inline __u32 packet_ifindex(hook_ctx *ctx)
{
	return ctx->ingress_ifindex;
}

/* Addresses are stored as they are loaded later, in halves: a load of two
 * stores that lie apart waits for both. */
static __always_inline void load_ipv4(struct addr *to, __be32 from)
{
	to->halves[1] = (__u64)from << 32 | bpf_htonl(0xffff);
}

static __always_inline void load_ipv6(struct addr *to, const struct in6_addr *from)
{
	to->halves[0] = ((const __u64 *)from)[0];
	to->halves[1] = ((const __u64 *)from)[1];
}

/* One's-complement sum of replacing 16 bytes at `old` by `new` (RFC 1624).
 * The equal prefix of mapped IPv4 addresses sums to zero, so one path serves
 * both families. */
static __always_inline __u64 address_difference(const struct addr *old, const struct addr *new)
{
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)(__u32)~old->words[i] + new->words[i];
	return sum;
}

static __always_inline __u32 fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline __u16 fold16(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u16 checksum_add(__u16 checksum, __u64 difference)
{
	__u32 sum = (__u16)~checksum + (__u32)fold16(fold32(difference));

	return ~fold16(sum);
}

#ifdef HOOK_XDP
#include "packet_xdp.h"
#else
#include "packet_tc.h"
#endif

#endif
