/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whose packet is it, which service does it ask for, and may it? */
#ifndef WEIR_SERVICE_H
#define WEIR_SERVICE_H

#include "maps.h"
#include "packet.h"

/* PASS unless the packet goes to a VIP or comes from a backend. Asked before
 * the connection table, so that other traffic does not touch it. */
static __always_inline enum verdict role(struct packet *p)
{
	enum role *bits = bpf_map_lookup_elem(&roles, &p->destination);

	if (bits && *bits & ROLE_VIP)
		return VERDICT_CONTINUE;
	p->to_backend = bits && *bits & ROLE_BACKEND;
	bits = bpf_map_lookup_elem(&roles, &p->source);
	if (bits && *bits & ROLE_BACKEND) {
		p->from_backend = 1;
		return VERDICT_CONTINUE;
	}
	p->reason = REASON_NOT_OURS;
	return VERDICT_PASS;
}

/* Exact port, then port range, then any port; PASS when none matches. */
static __always_inline enum verdict find_service(struct packet *p)
{
	struct service_key key = { .vip = p->destination, .port = p->destination_port, .protocol = p->protocol };
	__u32 *id = bpf_map_lookup_elem(&exact_ports, &key);

	if (!id) {
		struct port_prefix_key range = {
			.prefixlen = PORT_PREFIX_BITS + 16,
			.vip = p->destination,
			.protocol = p->protocol,
		};

		__builtin_memcpy(range.port, &p->destination_port, 2);
		id = bpf_map_lookup_elem(&port_ranges, &range);
	}
	if (!id) {
		p->reason = REASON_NO_SERVICE;
		return VERDICT_PASS;
	}
	p->service = *id;
	return VERDICT_CONTINUE;
}

/* May this client open a connection? Nothing is open by default. */
static __always_inline enum verdict admit(struct packet *p)
{
	struct allow_key key = { .prefixlen = 8 * (4 + 16), .service = p->service, .client = p->source };

	if (p->protocol == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_SYN) {
		p->reason = REASON_NOT_OPENING;
		return VERDICT_DROP;
	}
	if (!bpf_map_lookup_elem(&allow, &key)) {
		p->reason = REASON_NOT_ALLOWED;
		return VERDICT_DROP;
	}
	return VERDICT_CONTINUE;
}

#endif
