/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The connection table: set-associative, two choices of 8-way buckets (Azar
 * et al. 1994), one 64-byte entry for both directions. Lookups take no lock;
 * an insert locks both buckets, the lower first. */
#ifndef WEIR_CONNTRACK_H
#define WEIR_CONNTRACK_H

#include "hash.h"
#include "maps.h"
#include "packet.h"

/* A lock is held for one insert and lies in a line that the lookup before has
 * brought. A CPU that cannot get it refuses the opener, whose retransmission
 * finds it free. */
#define LOCK_TRIES 256
/* A client's first ACK may already cover this much of the backend's data. */
#define CONFIRM_WINDOW 65536

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

static __always_inline __u32 *conn_word(struct conn *conn)
{
	return (__u32 *)&conn->state;
}

static __always_inline __u32 now_ticks(void)
{
	return bpf_ktime_get_coarse_ns() >> TICK_SHIFT;
}

struct bucket_pair {
	__u32 low, high;
};

/* Both directions hash the client's endpoint, so they meet in one entry. */
static __always_inline struct bucket_pair conn_buckets(const struct packet *p)
{
	const struct addr *client = p->from_backend ? &p->destination : &p->source;
	__be16 port = p->from_backend ? p->destination_port : p->source_port;
	__u64 hash = hash_endpoint(client, port, p->protocol);
	__u32 one = hash & cfg_bucket_mask, two = (hash >> 32) & cfg_bucket_mask;

	if (one == two)
		two = one ^ 1;
	return (struct bucket_pair){ one < two ? one : two, one < two ? two : one };
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

/* What a packet's entry holds: computed once, compared with every way. */
struct wanted {
	struct addr client;
	__u64 ports;		/* as the entry's first eight bytes after the address */
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
	union conn_ports ports = {}, mask = { .client = 0xffff };

	if (p->from_backend) {
		ports.client = p->destination_port;
		ports.backend = p->source_port;
		mask.backend = 0xffff;
		return (struct wanted){ p->destination, ports.all, mask.all };
	}
	ports.client = p->source_port;
	ports.vip = p->destination_port;
	mask.vip = 0xffff;
	return (struct wanted){ p->source, ports.all, mask.all };
}

/* Is this live entry the packet's connection? Ports tell most others apart.
 * The service and the backend, which are hot, hold the addresses that the
 * entry leaves out. */
static __always_inline int conn_matches(struct conn *conn, const struct packet *p, const struct wanted *wanted,
					__u32 now)
{
	struct service *service;
	struct backend *backend;
	__u32 id;

	if ((*(__u64 *)&conn->client_port & wanted->mask) != wanted->ports || !same_address(&conn->client, &wanted->client) ||
	    conn->protocol != p->protocol || conn->state == CONN_FREE)
		return 0;
	id = conn->service;
	service = bpf_map_lookup_elem(&services, &id);
	if (!service || conn_expired(conn, service, now))
		return 0;
	if (!p->from_backend)
		return same_address(&service->vip, &p->destination);
	id = conn->backend;
	backend = bpf_map_lookup_elem(&backends, &id);
	return backend && same_address(&backend->address, &p->source);
}

static __always_inline struct conn *bucket_find(__u32 index, const struct packet *p, const struct wanted *wanted,
						__u32 now)
{
	struct bucket *bucket = bpf_map_lookup_elem(&conns, &index);

	if (!bucket)
		return 0;
	for (int i = 0; i < WAYS; i++)
		if (conn_matches(&bucket->ways[i], p, wanted, now))
			return &bucket->ways[i];
	return 0;
}

/* The packet's connection, or null. */
static __always_inline struct conn *conn_find(const struct packet *p, __u32 now)
{
	struct wanted wanted = conn_wanted(p);
	struct bucket_pair at = conn_buckets(p);
	struct conn *conn = bucket_find(at.low, p, &wanted, now);

	return conn ? conn : bucket_find(at.high, p, &wanted, now);
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

/* Moves a connection to another state; the CPU whose exchange wins counts. */
static __always_inline void conn_change(struct conn *conn, union conn_word old, union conn_word new)
{
	__u32 backend = conn->backend;

	if (old.word == new.word)
		return;
	if (__sync_val_compare_and_swap(conn_word(conn), old.word, new.word) == old.word &&
	    conn_is_active(old.meta.state) && !conn_is_active(new.meta.state))
		count_active(backend, -1);
}

/* Follows one packet of a connection: last seen, TCP state. */
static __always_inline void conn_track(struct conn *conn, const struct packet *p, __u32 now)
{
	union conn_word old = { .word = *conn_word(conn) }, new = old;

	if (conn->seen != now)
		conn->seen = now;
	if (p->from_backend)
		new.meta.flags |= CONN_ANSWERED;
	if (p->protocol == IPPROTO_TCP) {
		if (p->from_backend && (p->tcp_flags & TCP_SYN) && old.meta.state == CONN_HALF_OPEN)
			conn->synack = p->sequence + 1;
		if (!p->from_backend && old.meta.state == CONN_HALF_OPEN && (old.meta.flags & CONN_ANSWERED) &&
		    (p->tcp_flags & (TCP_ACK | TCP_SYN)) == TCP_ACK &&
		    p->acknowledgment - conn->synack < CONFIRM_WINDOW) {
			new.meta.state = CONN_ESTABLISHED;
			new.meta.flags |= CONN_CONFIRMED;
		}
		if (p->tcp_flags & TCP_FIN)
			new.meta.flags |= p->from_backend ? CONN_FIN_BACKEND : CONN_FIN_CLIENT;
		if ((p->tcp_flags & TCP_RST) ||
		    (new.meta.flags & (CONN_FIN_CLIENT | CONN_FIN_BACKEND)) == (CONN_FIN_CLIENT | CONN_FIN_BACKEND))
			new.meta.state = CONN_CLOSING;
	}
	conn_change(conn, old, new);
}

/* Frees the entry of a connection whose client opens the same tuple anew. */
static __always_inline void conn_release(struct conn *conn)
{
	union conn_word old = { .word = *conn_word(conn) }, new = old;

	new.meta.state = CONN_FREE;
	conn_change(conn, old, new);
}

static __always_inline int lock(struct bucket *bucket)
{
	__u32 *word = &bucket->ways[0].lock;

	for (int i = 0; i < LOCK_TRIES; i++)
		if (!__sync_val_compare_and_swap(word, 0, 1))
			return 1;
	return 0;
}

static __always_inline void unlock(struct bucket *bucket)
{
	__sync_lock_test_and_set(&bucket->ways[0].lock, 0);
}

/* Who must leave first: a class, then the oldest. NOT_EVICTABLE stays. */
#define CLASS_FREE 0ULL
#define CLASS_CLOSING (1ULL << 32)
#define CLASS_UNPROVEN (2ULL << 32)
#define CLASS_IDLE_UDP (3ULL << 32)
#define NOT_EVICTABLE (~0ULL)

static __always_inline __u64 conn_rank(const struct conn *conn, __u32 now)
{
	__u32 id = conn->service;
	struct service *service;

	if (conn->state == CONN_FREE)
		return CLASS_FREE;
	service = bpf_map_lookup_elem(&services, &id);
	if (!service || conn_expired(conn, service, now))
		return CLASS_FREE;
	if (conn->state == CONN_CLOSING)
		return CLASS_CLOSING | conn->seen;
	if (conn->state == CONN_UDP)
		return (conn->flags & CONN_ANSWERED ? CLASS_IDLE_UDP : CLASS_UNPROVEN) | conn->seen;
	if (conn->flags & CONN_CONFIRMED)
		return NOT_EVICTABLE;
	return CLASS_UNPROVEN | conn->seen;
}

/* conn_rank of one way; an expired one is freed, so that the next opener finds
 * it without asking for ranks. */
__noinline __u64 way_rank(__u32 index, __u32 way, __u32 now)
{
	struct bucket *bucket = bpf_map_lookup_elem(&conns, &index);
	__u64 rank;

	if (!bucket || way >= WAYS)
		return NOT_EVICTABLE;
	rank = conn_rank(&bucket->ways[way], now);
	if (rank == CLASS_FREE)
		conn_release(&bucket->ways[way]);
	return rank;
}

/* taken << 4 | first free way of a bucket; WAYS << 4 or more when none is. */
__noinline __u32 bucket_free(__u32 index)
{
	struct bucket *bucket = bpf_map_lookup_elem(&conns, &index);
	__u32 taken = 0, way = 0;

	if (!bucket)
		return WAYS << 4;
	for (int i = WAYS - 1; i >= 0; i--) {
		if (bucket->ways[i].state == CONN_FREE)
			way = i;
		else
			taken++;
	}
	return taken << 4 | way;
}

/* The way of a bucket that must leave first: rank << 8 | (WAYS - free) << 4 |
 * way, so that the smaller of two answers is also the emptier bucket; or
 * NOT_EVICTABLE. A function of its own (not static), as is conn_learn, for
 * the verifier to walk its loop once and not once a path that leads here. */
__noinline __u64 bucket_victim(__u32 index, __u32 now)
{
	__u64 best = NOT_EVICTABLE, taken = WAYS;

	for (__u32 i = 0; i < WAYS; i++) {
		__u64 rank = way_rank(index, i, now);

		if (rank == NOT_EVICTABLE)
			continue;
		taken -= rank == CLASS_FREE;
		rank = rank << 8 | i;
		if (rank < best)
			best = rank;
	}
	return best == NOT_EVICTABLE ? best : best | taken << 4;
}

/* Fills the entry and publishes it under a new generation. */
static __always_inline void conn_fill(struct conn *conn, const struct packet *p, __be16 backend_port, __u32 now)
{
	union conn_word word = { .word = *conn_word(conn) };

	conn_release(conn);
	conn->client = p->source;
	conn->client_port = p->source_port;
	conn->vip_port = p->destination_port;
	conn->backend_port = backend_port;
	conn->service = p->service;
	conn->backend = p->backend;
	conn->client_adjacency = p->client_adjacency;
	conn->seen = now;
	conn->opened = now;
	conn->synack = 0;
	conn->protocol = p->protocol;
	word.meta.generation++;
	word.meta.flags = 0;
	word.meta.state = p->protocol == IPPROTO_TCP ? CONN_HALF_OPEN : CONN_UDP;
	__sync_lock_test_and_set(conn_word(conn), word.word);
	count_active(p->backend, 1);
}

/* The part of conn_learn under the locks: 2 learned, 1 another CPU was first,
 * 0 no entry may go. */
static __always_inline int conn_insert(struct packet *p, struct bucket_pair at, __be16 backend_port, __u32 now)
{
	struct conn *conn = conn_find(p, now);
	struct bucket *bucket;
	__u64 low, high;

	if (conn) {
		p->backend = conn->backend;
		return 1;
	}
	low = bucket_free(at.low);
	high = bucket_free(at.high);
	if (low >= WAYS << 4 && high >= WAYS << 4) {
		low = bucket_victim(at.low, now);
		high = bucket_victim(at.high, now);
		if (low == NOT_EVICTABLE && high == NOT_EVICTABLE)
			return 0;
	}
	if (high < low) {
		at.low = at.high;
		low = high;
	}
	bucket = bpf_map_lookup_elem(&conns, &at.low);
	if (!bucket)
		return 0;
	conn_fill(&bucket->ways[low % WAYS], p, backend_port, now);
	return 2;
}

/* Learns the connection that p opens. Returns 2 when learned, 1 when another
 * CPU was first (p->backend is then its choice), 0 when the table refuses. */
__noinline int conn_learn(struct packet *p, __u32 backend_port, __u32 now)
{
	struct bucket *low, *high;
	struct bucket_pair at;
	int learned = 0;

	if (!p)
		return 0;
	at = conn_buckets(p);
	low = bpf_map_lookup_elem(&conns, &at.low);
	high = bpf_map_lookup_elem(&conns, &at.high);
	if (!low || !high || !lock(low))
		return 0;
	if (lock(high)) {
		learned = conn_insert(p, at, backend_port, now);
		unlock(high);
	}
	unlock(low);
	return learned;
}

#endif
