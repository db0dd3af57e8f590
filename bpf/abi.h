/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Everything that crosses between the programs and Go. bpf2go turns it into
 * the Go types of package bpf; nothing here is typed a second time.
 * Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d; ports are network order;
 * an id of 0 means "unset" in every id space. */
#ifndef WEIR_ABI_H
#define WEIR_ABI_H

#include <linux/types.h>

/* Raised when a pinned map's layout or meaning changes. */
enum abi { ABI_VERSION = 2 };

enum limit {
	/* Connection times are counted in ticks of 2^28 ns, about 268 ms, so that
	 * a busy connection's cache line is written four times a second, not once
	 * a packet. */
	TICK_SHIFT = 28,
	WAYS = 8,
	MAX_SERVICES = 16384,
	MAX_BACKENDS = 131072,
	MAX_SLOTS = 4 * 1024 * 1024,
	/* Twice what a configuration may have, so that all can be exchanged. */
	MAX_ALLOW = 262144,
	ROLE_HINTS = 1 << 18,
	MAX_PORT_PREFIXES = 30,	/* that a range of ports can need */
	MAX_AFFINITY = 65536,
	/* Next hops towards clients, learned by the program, come first. */
	CLIENT_ADJACENCIES = 16384,
	MAX_ADJACENCIES = CLIENT_ADJACENCIES + MAX_BACKENDS,
};

enum role { ROLE_VIP = 1, ROLE_BACKEND = 2 };

/* The roles of all addresses that hash to a slot, two bits a slot: what an
 * address surely is not, without a look-up. */
struct role_hints {
	__u8 slots[ROLE_HINTS / 4];
};

enum algorithm {
	ALGORITHM_UNSET,
	ALGORITHM_ROUNDROBIN,
	ALGORITHM_SOURCE,
	ALGORITHM_MAGLEV,
	ALGORITHM_LEASTCONN,
};

/* Why a packet's journey ended. */
enum reason {
	REASON_NOT_OURS,	/* neither to a VIP nor from a backend */
	REASON_NO_SERVICE,	/* to a VIP, but to no service's port */
	REASON_NO_CONNECTION,	/* from a backend, of no connection of ours */
	REASON_FORWARDED,	/* translated and sent to a backend */
	REASON_REPLIED,		/* translated and sent to the client */
	REASON_FRAGMENT,	/* passed: the kernel reassembles */
	REASON_TRUNCATED,
	REASON_BAD_HEADER,
	REASON_EXTENSIONS,	/* more IPv6 extension headers than followed */
	REASON_PROTOCOL,	/* neither TCP nor UDP */
	REASON_ZERO_CHECKSUM,	/* UDP over IPv6 without checksum, RFC 8200 */
	REASON_NOT_ALLOWED,
	REASON_NO_BACKEND,
	REASON_NOT_OPENING,	/* TCP without SYN and without a connection */
	REASON_TABLE_FULL,
	REASON_TTL,
	REASON_UNRESOLVED,	/* next hop unknown here: the companion's work */
	REASON_COUNT,
};

enum conn_state {
	CONN_FREE,
	CONN_HALF_OPEN,
	CONN_ESTABLISHED,
	CONN_CLOSING,
	CONN_UDP,
};

/* Who leaves a full table for a new connection: lower classes first. */
enum eviction_class {
	CLASS_FREE,		/* nobody: the way is free, or its connection expired */
	CLASS_CLOSING,
	CLASS_UNPROVEN,		/* half-open, unanswered UDP, never confirmed TCP */
	CLASS_IDLE_UDP,
	CLASS_COUNT,
};

enum conn_flag {
	CONN_ANSWERED = 1,	/* the backend has sent something */
	CONN_CONFIRMED = 2,	/* the client acknowledged the backend's SYN-ACK */
	CONN_FIN_CLIENT = 4,
	CONN_FIN_BACKEND = 8,
};

struct addr {
	union {
		__u8 bytes[16];
		__u32 words[4];
		__u64 halves[2];
	};
};

/* One connection, both directions, one cache line. Fixed for what comes
 * later: networks, rewritten port and pool, mode. */
struct conn {
	struct addr client;
	__be16 client_port;
	__be16 vip_port;
	__be16 backend_port;
	__be16 rewritten_port;
	__u32 service;
	__u32 backend;
	__u32 client_adjacency;
	__u32 seen;		/* tick */
	__u32 synack;		/* half-open: ACK number that confirms; host order */
	__u16 client_network;
	__u16 backend_network;
	__u16 pool;
	__u8 mode;
	__u8 protocol;
	__u8 state;		/* enum conn_state, the publishing byte */
	__u8 flags;		/* enum conn_flag */
	__u16 generation;
	__u32 opened;		/* tick */
	__u32 tags;		/* in a bucket's first way: three bits a way, and its lock */
};
_Static_assert(sizeof(struct conn) == 64, "a connection is one cache line");

struct bucket {
	struct conn ways[WAYS];
};

/* Keys name their padding and are multiples of 8 bytes: a byte of padding
 * that nobody sets makes equal keys differ. */
struct service_key {
	struct addr vip;
	__be16 port;
	__u8 protocol;
	__u8 pad[5];
};

/* Longest prefix wins: a port range is a set of prefixes, any port is none. */
struct port_prefix_key {
	__u32 prefixlen;
	__u8 protocol;
	__u8 pad[3];
	struct addr vip;
	__u8 port[2];		/* network order */
	__u8 tail[6];
};
#define PORT_PREFIX_BITS (8 * (1 + 3 + 16))	/* before those of the port */

struct allow_key {
	__u32 prefixlen;
	__u32 service;
	struct addr client;
};

struct affinity_key {
	__u32 service;
	__u32 pad;
	struct addr client;
};

struct affinity {
	__u32 backend;
	__u32 seen;		/* tick of the client's last new connection */
};

_Static_assert(sizeof(struct service_key) == 24, "no hidden padding in keys");
_Static_assert(sizeof(struct port_prefix_key) == 32, "no hidden padding in keys");
_Static_assert(sizeof(struct allow_key) == 24, "no hidden padding in keys");
_Static_assert(sizeof(struct affinity_key) == 24, "no hidden padding in keys");

struct service {
	struct addr vip;
	__u32 first_slot;
	__u32 slots;
	enum algorithm algorithm;
	__u32 idle;		/* ticks */
	__u32 half_open;	/* ticks */
	__u32 closing;		/* ticks */
	__u32 affinity;		/* ticks; 0: none */
	__u32 flags;
	/* What the service is found by, for a daemon that restarts: */
	__be16 first_port;
	__be16 last_port;
	__u8 protocol;
	__u8 pad[3];
	__u64 reserved;		/* latency measurement */
};
_Static_assert(sizeof(struct service) == 64, "a service is one cache line");

struct backend {
	struct addr address;
	__be16 port;		/* 0: the port that the client asked for */
	__u16 weight;		/* 0: takes no new connections */
	__u32 adjacency;
	__u32 service;
	__u32 reserved;		/* latency measurement */
};
_Static_assert(sizeof(struct backend) == 32, "two backends a cache line");

enum adjacency_state {
	ADJACENCY_FREE,
	ADJACENCY_WRITING,	/* a CPU is filling it in */
	ADJACENCY_UNRESOLVED,	/* next hop known, its MAC not */
	ADJACENCY_READY,
};

/* Where a packet goes next. */
struct adjacency {
	__u32 ifindex;
	__u32 mtu;
	__u8 destination[6];
	__u8 source[6];
	__u32 state;		/* enum adjacency_state */
	struct addr next_hop;	/* for the companion's neighbour look-up */
};

/* What the pinned maps were made with; a daemon that does not speak the
 * version leaves them alone. */
struct pinned {
	__u32 abi_version;
	__u32 bucket_mask;
	__u64 hash_key;
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct service_counter {
	__u64 packets;
	__u64 bytes;
	__u64 opened;
	__u64 refused;
};

#endif
