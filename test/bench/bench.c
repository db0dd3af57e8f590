//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The stages of the XDP program in a harness that can be run over and over:
 * each program first restores the header that the one before rewrote. The
 * time of `empty` is the harness's own and is taken off the others'. */
#define HOOK_XDP
#include "lb.h"

/* A whole number of 8-byte words after the Ethernet header, for IPv6 and TCP. */
#define FRAME 78
#define BACKENDS 8

/* Set before each run. */
__u8 header[FRAME];
__u32 ipv6, reply;
__u32 client_mask;	/* number of clients - 1, a power of two minus one */
__u32 stride = 1;	/* odd; 1: clients in order, large: mixed */
__u32 next_client;
__u32 drive_to;		/* live frames: where they are driven into */
__u32 redirect_to;	/* live frames: the interface of `live_redirect` */
__u64 sink;

/* The n-th client's address is n times an odd number, modulo 2^24, so that a
 * few clients lie as far apart as many. */
static __always_inline __u32 client_address(__u32 client)
{
	return (client * 251) & 0xffffff;
}

/* Writes the header for the next client. Words are stored as the stages read
 * them, whole: a load that gathers two recent stores would wait for them, and
 * a received packet has none. A reply comes from the backend that round robin
 * gave the client when clients were opened in order. */
static __always_inline int restore(hook_ctx *ctx)
{
	__u8 *frame = packet_start(ctx);
	__u32 client = (next_client++ * stride) & client_mask;
	__u32 low = bpf_htonl(10 << 24 | client_address(client));
	__u64 half = (__u64)low << 32 | low;
	__be16 port = bpf_htons(1024 + (client & 0x7fff));

	if (frame + FRAME > (__u8 *)packet_end(ctx))
		return -1;
	*(__u64 *)frame = *(__u64 *)header;
	*(__u64 *)(frame + 6) = *(__u64 *)(header + 6);
#pragma unroll
	for (int i = ETH_HLEN; i < FRAME; i += 8)
		*(__u64 *)(frame + i) = *(__u64 *)(header + i);
	if (!ipv6) {
		*(__u32 *)(frame + (reply ? 30 : 26)) = low;
		*(__be16 *)(frame + (reply ? 36 : 34)) = port;
		if (reply)
			*(__u32 *)(frame + 26) = bpf_htonl(10 << 24 | 255 << 16 | (1 + client % BACKENDS));
	} else {
		*(__u64 *)(frame + (reply ? 46 : 30)) = half;
		*(__be16 *)(frame + (reply ? 56 : 54)) = port;
		if (reply)
			*(__u64 *)(frame + 30) = (__u64)bpf_htonl(1 + client % BACKENDS) << 32;
	}
	return 0;
}

SEC("xdp")
int empty(hook_ctx *ctx)
{
	return restore(ctx) ? XDP_ABORTED : XDP_TX;
}

/* REDIRECT becomes TX, which a test run takes for done. */
SEC("xdp")
int weir(hook_ctx *ctx)
{
	int action;

	if (restore(ctx))
		return XDP_ABORTED;
	action = journey(ctx);
	return action == XDP_REDIRECT ? XDP_TX : action;
}

/* The connection of the next client's opener, sent once more; for the two
 * programs that prepare a run. */
static __always_inline struct conn *next_conn(hook_ctx *ctx)
{
	struct packet p = {};

	if (restore(ctx) || process(ctx, &p) != VERDICT_SEND)
		return 0;
	return conn_find(&p, now_ticks());
}

SEC("xdp")
int establish(hook_ctx *ctx)
{
	struct conn *conn = next_conn(ctx);

	if (!conn)
		return XDP_ABORTED;
	conn->state = CONN_ESTABLISHED;
	conn->flags = CONN_ANSWERED | CONN_CONFIRMED;
	return XDP_TX;
}

SEC("xdp")
int forget(hook_ctx *ctx)
{
	struct conn *conn = next_conn(ctx);

	if (!conn)
		return XDP_ABORTED;
	conn_release(conn);
	return XDP_TX;
}

/* One random 64-byte line of the connection table: what memory alone costs. */
SEC("xdp")
int line(hook_ctx *ctx)
{
	__u64 at = hash_mix(next_client);
	__u32 index = at & cfg_bucket_mask;
	struct bucket *bucket = bpf_map_lookup_elem(&conns, &index);

	if (!bucket || restore(ctx))
		return XDP_ABORTED;
	sink += bucket->ways[(at >> 32) % WAYS].service;
	return XDP_TX;
}

/* Live frames: driven into a veth, at whose other end the router receives
 * and forwards them; and what its forwarding is compared with. */
SEC("xdp")
int live_drive(hook_ctx *ctx)
{
	return restore(ctx) ? XDP_ABORTED : bpf_redirect(drive_to, 0);
}

SEC("xdp")
int live_weir(hook_ctx *ctx)
{
	return journey(ctx);
}

SEC("xdp")
int live_redirect(hook_ctx *ctx)
{
	return bpf_redirect(redirect_to, 0);
}

/* Counts what arrives at the far end of the veth. */
__u64 arrived;

SEC("xdp")
int live_sink(hook_ctx *ctx)
{
	__sync_fetch_and_add(&arrived, 1);
	return XDP_DROP;
}

char __license[] SEC("license") = "Dual BSD/GPL";
