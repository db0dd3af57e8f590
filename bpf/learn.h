/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Enters new connections into the table, and says who must leave for them.
 * An insert locks both buckets, the lower first, and looks again: without,
 * two CPUs enter one connection twice. */
#ifndef WEIR_LEARN_H
#define WEIR_LEARN_H

#include "conns.h"

/* The lock is held for one insert and lies beside the tags that the search
 * before has read. A CPU that cannot get it refuses the opener, whose
 * retransmission finds it free. */
#define BUCKET_LOCK (1U << 31)
#define LOCK_TRIES 256

static __always_inline int lock(struct bucket *bucket)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		__u32 open = *(volatile __u32 *)&bucket->ways[0].tags & ~BUCKET_LOCK;

		if (__sync_val_compare_and_swap(&bucket->ways[0].tags, open, open | BUCKET_LOCK) == open)
			return 1;
	}
	return 0;
}

static __always_inline void unlock(struct bucket *bucket)
{
	__sync_fetch_and_and(&bucket->ways[0].tags, ~BUCKET_LOCK);
}

/* Under the bucket's lock. */
static __always_inline void set_tag(struct bucket *bucket, __u32 way, __u32 tag)
{
	__u32 others = bucket->ways[0].tags & ~(7U << (3 * way));

	*(volatile __u32 *)&bucket->ways[0].tags = others | tag << (3 * way);
}

/* Who must leave first: a class, then the oldest. NOT_EVICTABLE stays. */
#define NOT_EVICTABLE (~0ULL)

static __always_inline __u64 rank_of(enum eviction_class class, const struct conn *conn)
{
	return (__u64)class << 32 | conn->seen;
}

static __always_inline __u64 conn_rank(const struct conn *conn, __u32 now)
{
	struct service *service;

	if (conn->state == CONN_FREE)
		return CLASS_FREE;
	service = service_by_id(conn->service);
	if (!service || conn_expired(conn, service, now))
		return CLASS_FREE;
	if (conn->state == CONN_CLOSING)
		return rank_of(CLASS_CLOSING, conn);
	if (conn->state == CONN_UDP)
		return rank_of(conn->flags & CONN_ANSWERED ? CLASS_IDLE_UDP : CLASS_UNPROVEN, conn);
	if (conn->flags & CONN_CONFIRMED)
		return NOT_EVICTABLE;
	return rank_of(CLASS_UNPROVEN, conn);
}

/* conn_rank of one way; an expired one is freed. */
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

/* taken << 4 | the free way that a search meets first; WAYS << 4 or more when
 * none is free. */
__noinline __u32 bucket_free(__u32 index, __u32 begin)
{
	struct bucket *bucket = bpf_map_lookup_elem(&conns, &index);
	__u32 taken = 0, free = 0;

	if (!bucket)
		return WAYS << 4;
	for (int i = WAYS - 1; i >= 0; i--) {
		__u32 way = (begin ^ i) % WAYS;

		if (bucket->ways[way].state == CONN_FREE)
			free = way;
		else
			taken++;
	}
	return taken << 4 | free;
}

/* The way of a bucket that must leave first: rank << 8 | way, or
 * NOT_EVICTABLE. */
__noinline __u64 bucket_victim(__u32 index, __u32 now)
{
	__u64 best = NOT_EVICTABLE;

	for (__u32 way = 0; way < WAYS; way++) {
		__u64 rank = way_rank(index, way, now);

		if (rank != NOT_EVICTABLE && (rank << 8 | way) < best)
			best = rank << 8 | way;
	}
	return best;
}

/* Fills the entry and publishes it under a new generation. */
static __always_inline void conn_fill(struct conn *conn, const struct packet *p, __u32 now)
{
	union conn_word word = conn_word(conn);

	conn_release(conn);
	conn->client = p->source;
	conn->client_port = p->source_port;
	conn->vip_port = p->destination_port;
	conn->backend_port = p->translated_port;
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
	__sync_lock_test_and_set((__u32 *)&conn->state, word.word);
	count_active(p->backend, 1);
}

static __always_inline void count_eviction(__u64 victim)
{
	enum eviction_class class = victim >> (32 + 8);
	__u64 *count = bpf_map_lookup_elem(&evictions, &class);

	if (count)
		++*count;
}

/* Up to this many taken ways a connection goes to its first bucket, where it is
 * found sooner; then to the emptier one. Simulated at a load of 50 % (70 %):
 * 72 % (60 %) lie where their search begins, 91 % (84 %) in their first bucket,
 * and none (0.0007 %) are refused. */
#define FIRST_CHOICE_WAYS 4

/* Chooses where a new connection lies, under both locks: way at->way of
 * at->first; 0 when the buckets are full and nobody may leave. */
static __always_inline int conn_place(struct home *at, __u32 now)
{
	__u64 first, second;

	if (way_rank(at->first, at->way, now) == CLASS_FREE)
		return 1;
	first = bucket_free(at->first, at->way);
	second = first >> 4 <= FIRST_CHOICE_WAYS ? NOT_EVICTABLE : bucket_free(at->second, at->way);
	if (first >= WAYS << 4 && second >= WAYS << 4) {
		first = bucket_victim(at->first, now);
		second = bucket_victim(at->second, now);
		if (first == NOT_EVICTABLE && second == NOT_EVICTABLE)
			return 0;
		count_eviction(second < first ? second : first);
	}
	if (second < first)
		at->first = at->second;
	at->way = (second < first ? second : first) % WAYS;
	return 1;
}

/* Enters the connection that p opens, to its backend and translated port;
 * another CPU may have been first: then p takes its choice. */
static __always_inline int conn_insert(struct packet *p, struct home at, __u32 now)
{
	struct bucket *bucket;

	if (conn_find(p, now))
		return 1;
	if (!conn_place(&at, now))
		return 0;
	bucket = bpf_map_lookup_elem(&conns, &at.first);
	if (!bucket)
		return 0;
	conn_fill(&bucket->ways[at.way % WAYS], p, now);
	set_tag(bucket, at.way % WAYS, at.tag);
	p->opened = 1;
	return 1;
}

/* Learns the connection that p opens: p->backend, p->translated_port and
 * p->client_adjacency become the entry's, p->opened says whether it is new.
 * Returns 0 when the table refuses. */
__noinline int conn_learn(struct packet *p, __u32 now)
{
	struct bucket *low, *high;
	struct home at;
	__u32 lower, higher;
	int learned = 0;

	if (!p)
		return 0;
	at = conn_home(p);
	lower = at.first < at.second ? at.first : at.second;
	higher = at.first ^ at.second ^ lower;
	low = bpf_map_lookup_elem(&conns, &lower);
	high = bpf_map_lookup_elem(&conns, &higher);
	if (!low || !high || !lock(low))
		return 0;
	if (lock(high)) {
		learned = conn_insert(p, at, now);
		unlock(high);
	}
	unlock(low);
	return learned;
}

#endif
