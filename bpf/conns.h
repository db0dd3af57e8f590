/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The connection table: set-associative, two choices of 8-way buckets (Azar
 * et al. 1994), one 64-byte entry for both directions. Lookups take no lock;
 * learn.h enters connections, conntrack.h follows them. */
#ifndef WEIR_CONNS_H
#define WEIR_CONNS_H

#include "hash.h"
#include "maps.h"
#include "packet.h"

/* State, flags and generation change together, as one word. */
struct conn_meta {
	__u8 state;
	__u8 flags;
	__u16 generation;
};

union conn_word {
	struct conn_meta meta;
	__u32 word;
};

static __always_inline union conn_word conn_word(const struct conn *conn)
{
	return (union conn_word){ .word = *(volatile const __u32 *)&conn->state };
}

static __always_inline __u32 now_ticks(void)
{
	return bpf_ktime_get_coarse_ns() >> TICK_SHIFT;
}

/* Where a connection may lie: two buckets, the way at which its search begins
 * in both, so that most are found in the first line that is read, and the tag
 * that tells most others apart without reading their lines. */
struct home {
	__u32 first, second;
	__u32 way;
	__u32 tag;		/* 1..7; 0: no connection has been there */
};

/* Both directions hash the client's endpoint, so they meet in one entry. */
static __always_inline struct home conn_home(const struct packet *p)
{
	const struct addr *client = p->from_backend ? &p->destination : &p->source;
	__be16 port = p->from_backend ? p->destination_port : p->source_port;
	__u64 hash = hash_endpoint(client, port, p->protocol);
	__u32 first = hash & cfg_bucket_mask, second = (hash >> 32) & cfg_bucket_mask;
	__u32 tag = (hash >> 58) & 7;

	if (first == second)
		second = first ^ 1;
	return (struct home){ first, second, hash >> 61, tag ? tag : 7 };
}

static __always_inline __u32 way_tag(const struct bucket *bucket, __u32 way)
{
	return (*(volatile const __u32 *)&bucket->ways[0].tags >> (3 * way)) & 7;
}

static __always_inline int same_address(const struct addr *a, const struct addr *b)
{
	return a->halves[1] == b->halves[1] && a->halves[0] == b->halves[0];
}

/* How long an entry in this state may be silent, in ticks. */
static __always_inline __u32 conn_timeout(__u8 state, const struct service *service)
{
	if (state == CONN_HALF_OPEN)
		return service->half_open;
	return state == CONN_CLOSING ? service->closing : service->idle;
}

static __always_inline int conn_expired(const struct conn *conn, const struct service *service, __u32 now)
{
	return now - conn->seen > conn_timeout(conn->state, service);
}

/* The ports of a packet's entry: computed once, compared with every way. */
struct wanted {
	__u64 ports;		/* as the entry's eight bytes after the client's address */
	__u64 mask;		/* of those that the packet knows */
};

union conn_ports {
	struct {
		__be16 client, vip, backend, rewritten;
	};
	__u64 all;
};

static __always_inline struct wanted conn_wanted(const struct packet *p)
{
	union conn_ports ports = { .client = p->source_port }, mask = { .client = 0xffff };

	if (p->from_backend) {
		ports.client = p->destination_port;
		ports.backend = p->source_port;
		mask.backend = 0xffff;
	} else if (p->to_backend) {
		ports.backend = p->destination_port;
		mask.backend = 0xffff;
	} else {
		ports.vip = p->destination_port;
		mask.vip = 0xffff;
	}
	return (struct wanted){ ports.all, mask.all };
}

/* Is this live entry the packet's connection? Then p takes over what it says.
 * Ports tell most others apart; the service and the backend, which are hot,
 * hold the addresses that the entry leaves out. The generation shows at the
 * end whether the entry became another connection's meanwhile. */
static __always_inline int conn_read(const struct conn *conn, struct packet *p, struct wanted wanted, __u32 now)
{
	const struct addr *client = p->from_backend ? &p->destination : &p->source;
	const struct addr *peer = p->from_backend ? &p->source : &p->destination;
	union conn_word word = conn_word(conn);
	__u32 service_id = conn->service, backend_id = conn->backend, adjacency = conn->client_adjacency;
	__be16 port = p->from_backend ? conn->vip_port : conn->backend_port;
	struct service *service;
	struct backend *backend;

	if ((*(__u64 *)&conn->client_port & wanted.mask) != wanted.ports || !same_address(&conn->client, client) ||
	    conn->protocol != p->protocol || word.meta.state == CONN_FREE)
		return 0;
	service = service_by_id(service_id);
	backend = backend_by_id(backend_id);
	if (!service || !backend || conn_expired(conn, service, now))
		return 0;
	if (!same_address(p->from_backend || p->to_backend ? &backend->address : &service->vip, peer))
		return 0;
	if (conn_word(conn).meta.generation != word.meta.generation)
		return 0;
	p->service = service_id;
	p->backend = backend_id;
	p->client_adjacency = adjacency;
	p->translated_port = port;
	return 1;
}

/* The packet's connection, or null; p takes over its service, backend, client
 * adjacency and translated port. */
static __always_inline struct conn *conn_find(struct packet *p, __u32 now)
{
	struct wanted wanted = conn_wanted(p);
	struct home at = conn_home(p);
	struct bucket *first = bpf_map_lookup_elem(&conns, &at.first);
	struct bucket *second = bpf_map_lookup_elem(&conns, &at.second);

	if (!first || !second)
		return 0;
	for (__u32 i = 0; i < 2 * WAYS; i++) {
		struct bucket *bucket = i < WAYS ? first : second;
		__u32 way = (at.way ^ i) % WAYS;

		/* Tags may lie in another line; the likeliest way needs none. */
		if (i && way_tag(bucket, way) != at.tag)
			continue;
		if (conn_read(&bucket->ways[way], p, wanted, now))
			return &bucket->ways[way];
	}
	return 0;
}

static __always_inline void count_active(__u32 backend, __s64 change)
{
	__u64 *count = bpf_map_lookup_elem(&active, &backend);

	if (count)
		__sync_fetch_and_add(count, change);
}

static __always_inline int conn_is_active(__u8 state)
{
	return state != CONN_FREE && state != CONN_CLOSING;
}

/* Moves a connection to another state unless another CPU has just moved it:
 * then 0. The CPU whose exchange wins counts. */
static __always_inline int conn_change(struct conn *conn, union conn_word old, union conn_word new)
{
	__u32 backend = conn->backend;

	if (old.word == new.word)
		return 1;
	if (__sync_val_compare_and_swap((__u32 *)&conn->state, old.word, new.word) != old.word)
		return 0;
	if (conn_is_active(old.meta.state) && !conn_is_active(new.meta.state))
		count_active(backend, -1);
	return 1;
}

/* Frees the entry, of a connection that has expired or must leave, or whose
 * client opens the same tuple anew. */
static __always_inline void conn_release(struct conn *conn)
{
	union conn_word old = conn_word(conn), new = old;

	new.meta.state = CONN_FREE;
	conn_change(conn, old, new);
}

#endif
