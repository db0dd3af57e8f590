/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The packet's journey. Read it downwards; each stage is a header. */
#ifndef WEIR_LB_H
#define WEIR_LB_H

#include "adjacency.h"
#include "conntrack.h"
#include "finish.h"
#include "learn.h"
#include "parse.h"
#include "scheduler.h"
#include "service.h"

/* Whom a packet to a VIP without a connection asks for, whether it may, which
 * backend it is given, and how replies will reach it. */
__noinline int choose_backend(hook_ctx *ctx, struct packet *p, __u32 now)
{
	struct service *service;
	struct backend *backend;
	enum verdict verdict;

	if (!p)
		return VERDICT_DROP;
	verdict = find_service(p);
	if (verdict != VERDICT_CONTINUE)
		return verdict;
	verdict = admit(p);
	if (verdict != VERDICT_CONTINUE)
		return verdict;
	service = service_by_id(p->service);
	if (!service)
		return VERDICT_DROP;
	verdict = schedule(p, service, now);
	if (verdict != VERDICT_CONTINUE)
		return verdict;
	backend = backend_by_id(p->backend);
	if (!backend)
		return VERDICT_DROP;
	p->translated_port = backend->port ? backend->port : p->destination_port;
	p->client_adjacency = learn_client_adjacency(ctx);
	return VERDICT_CONTINUE;
}

static __always_inline enum verdict open_connection(hook_ctx *ctx, struct packet *p, __u32 now)
{
	enum verdict verdict = choose_backend(ctx, p, now);

	if (verdict == VERDICT_PASS && !has_role(&p->destination, ROLE_VIP))
		p->reason = REASON_NOT_OURS;
	if (verdict != VERDICT_CONTINUE)
		return verdict;
	if (!p->client_adjacency || !conn_learn(p, now)) {
		p->reason = REASON_TABLE_FULL;
		return VERDICT_DROP;
	}
	remember_backend(p, now);
	return VERDICT_CONTINUE;
}

/* Fills in what the packet becomes. The unmodified packet is left to the
 * companion when the next hop is not known here. */
static __always_inline enum verdict translate(hook_ctx *ctx, struct packet *p)
{
	struct backend *backend = backend_by_id(p->backend);
	struct service *service = service_by_id(p->service);
	struct adjacency *next;

	if (!backend || !service)
		return VERDICT_DROP;
	p->translated = p->from_backend ? service->vip : backend->address;
	p->adjacency = p->from_backend ? p->client_adjacency : backend->adjacency;
	next = bpf_map_lookup_elem(&adjacencies, &p->adjacency);
	p->reason = REASON_UNRESOLVED;
	if (!next || next->state < ADJACENCY_UNRESOLVED)
		return packet_can_resolve() ? VERDICT_DROP : VERDICT_PASS;
	if (next->state != ADJACENCY_READY && !packet_can_resolve())
		return VERDICT_PASS;
	p->reason = REASON_TTL;
	if (p->ttl <= 1)
		return VERDICT_DROP;
	p->reason = REASON_TRUNCATED;
	if (packet_translate(ctx, p))
		return VERDICT_DROP;
	p->reason = p->from_backend ? REASON_REPLIED : REASON_FORWARDED;
	return VERDICT_SEND;
}

static __always_inline enum verdict process(hook_ctx *ctx, struct packet *p)
{
	enum verdict verdict = parse(ctx, p), owner;
	struct conn *conn;
	__u32 now;

	if (verdict == VERDICT_PASS)
		return verdict;
	owner = role(p);
	if (owner != VERDICT_CONTINUE && !p->to_backend)
		return owner;
	if (verdict == VERDICT_DROP)
		return !p->from_backend && has_role(&p->destination, ROLE_VIP) ? VERDICT_DROP : VERDICT_PASS;

	now = now_ticks();
	if (owner != VERDICT_CONTINUE) {
		conn_give_way(p, now);
		return owner;
	}
	conn = conn_find(p, now);
	if (conn && !p->from_backend && conn->state == CONN_CLOSING &&
	    (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		conn_release(conn);
		conn = 0;
	}
	if (conn) {
		conn_track(conn, p, now);
		if (!p->from_backend)
			follow_client(ctx, p, conn);
	} else if (p->from_backend) {
		p->reason = has_role(&p->source, ROLE_BACKEND) ? REASON_NO_CONNECTION : REASON_NOT_OURS;
		return VERDICT_PASS;
	} else {
		verdict = open_connection(ctx, p, now);
		if (verdict != VERDICT_CONTINUE)
			return verdict;
	}
	return translate(ctx, p);
}

/* The whole program, of either hook. */
static __always_inline int journey(hook_ctx *ctx)
{
	struct packet p = {};

	packet_linearise(ctx);
	return finish(ctx, &p, process(ctx, &p));
}

#endif
