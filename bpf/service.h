/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whose packet is it, which service does it ask for, and may it? */
#ifndef WEIR_SERVICE_H
#define WEIR_SERVICE_H

#include "maps.h"
#include "packet.h"

/* What an address may be, of enum role. Wrong for the few addresses that share
 * a slot with a VIP or a backend: who acts on it looks again, at a connection's
 * or a service's own address. The hash is RoleSlot of hints.go. */
static __always_inline __u32 role_hint(const struct addr *address)
{
	__u64 hash = (address->halves[0] * 0x9e3779b97f4a7c15 ^ address->halves[1]) * 0xd6e8feb86659fd93;
	__u32 slot = hash >> 46, zero = 0;
	struct role_hints *hints = bpf_map_lookup_elem(&role_hints, &zero);

	return hints ? (hints->slots[slot / 4] >> (slot % 4 * 2)) & (ROLE_VIP | ROLE_BACKEND) : 0;
}

static __always_inline int has_role(const struct addr *address, enum role role)
{
	enum role *bits = bpf_map_lookup_elem(&roles, address);

	return bits && *bits & role;
}

/* PASS unless the packet goes to a VIP or comes from a backend. Asked before
 * the connection table, so that other traffic does not touch it. */
static __always_inline enum verdict role(struct packet *p)
{
	__u32 to = role_hint(&p->destination), from = role_hint(&p->source);

	if (to & ROLE_VIP && (!(from & ROLE_BACKEND) || has_role(&p->destination, ROLE_VIP)))
		return VERDICT_CONTINUE;
	p->to_backend = !!(to & ROLE_BACKEND);
	p->from_backend = !!(from & ROLE_BACKEND);
	if (p->from_backend)
		return VERDICT_CONTINUE;
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
