/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a packet does to its connection: last seen, TCP state. */
#ifndef WEIR_CONNTRACK_H
#define WEIR_CONNTRACK_H

#include "conns.h"

/* A client's first ACK may already cover this much of the backend's data. */
#define CONFIRM_WINDOW 65536
/* A connection's two directions may be on two CPUs; more rarely meet. */
#define CHANGE_TRIES 4

/* The client acknowledges the number in the backend's SYN-ACK, which only who
 * received that knows. */
static __always_inline int confirms(const struct packet *p, const struct conn *conn, union conn_word word)
{
	return !p->from_backend && word.meta.state == CONN_HALF_OPEN && (word.meta.flags & CONN_ANSWERED) &&
	       (p->tcp_flags & (TCP_ACK | TCP_SYN)) == TCP_ACK && p->acknowledgment - conn->synack < CONFIRM_WINDOW;
}

/* State and flags after the packet (RFC 9293, 3.3.2, as a box between sees it). */
static __always_inline union conn_word conn_next(const struct packet *p, const struct conn *conn, union conn_word word)
{
	const __u8 both = CONN_FIN_CLIENT | CONN_FIN_BACKEND;
	union conn_word next = word;

	if (p->from_backend)
		next.meta.flags |= CONN_ANSWERED;
	if (p->protocol != IPPROTO_TCP)
		return next;
	if (confirms(p, conn, word)) {
		next.meta.state = CONN_ESTABLISHED;
		next.meta.flags |= CONN_CONFIRMED;
	}
	if (p->tcp_flags & TCP_FIN)
		next.meta.flags |= p->from_backend ? CONN_FIN_BACKEND : CONN_FIN_CLIENT;
	if ((p->tcp_flags & TCP_RST) || (next.meta.flags & both) == both)
		next.meta.state = CONN_CLOSING;
	return next;
}

/* A client speaks to a backend itself, from a port of which it has, or had, a
 * connection to that backend through a VIP: what the backend answers must pass
 * as it is. A closed connection gives way, and UDP, to which the last datagram
 * tells what answers belong to; of open TCP the backend knows but one. A
 * function of its own, as it is rarely asked for. */
__noinline int conn_give_way(struct packet *p, __u32 now)
{
	struct conn *conn;

	if (!p || (p->protocol == IPPROTO_TCP && !(p->tcp_flags & TCP_SYN)))
		return 0;
	conn = conn_find(p, now);
	if (conn && (conn->state == CONN_CLOSING || conn->state == CONN_UDP))
		conn_release(conn);
	return 0;
}

/* Follows one packet of a connection. */
static __always_inline void conn_track(struct conn *conn, const struct packet *p, __u32 now)
{
	/* Written when the tick changes only, so that CPUs share the line. */
	if (conn->seen != now)
		conn->seen = now;
	if (p->from_backend && (p->tcp_flags & TCP_SYN) && conn->state == CONN_HALF_OPEN)
		conn->synack = p->sequence + 1;
	for (int i = 0; i < CHANGE_TRIES; i++) {
		union conn_word word = conn_word(conn);

		if (conn_change(conn, word, conn_next(p, conn, word)))
			return;
	}
}

#endif
