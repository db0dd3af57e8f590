/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every map: what it holds · who writes · who reads · how entries leave. */
#ifndef WEIR_MAPS_H
#define WEIR_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"

/* Set by the loader: number of buckets - 1 (a power of two, minus one), and
 * the key of all hashes (a fleet shares it). */
volatile const __u32 cfg_bucket_mask = 1023;
volatile const __u64 cfg_hash_key = 0x6a09e667f3bcc908;
/* The program on tc only finishes what XDP left: what it passes on is counted
 * there already. */
volatile const __u8 cfg_companion = 0;

#define MAP(name, kind, key_type, value_type, entries, flags)    	\
	struct {							\
		__uint(type, kind);					\
		__uint(max_entries, entries);				\
		__uint(map_flags, flags);				\
		__type(key, key_type);					\
		__type(value, value_type);				\
	} name SEC(".maps")

/* What this set of maps was made with · loader, once · loader · never. */
MAP(pinned, BPF_MAP_TYPE_ARRAY, __u32, struct pinned, 1, 0);
/* Connections · program · program, daemon by mmap · expiry, eviction. */
MAP(conns, BPF_MAP_TYPE_ARRAY, __u32, struct bucket, 1024, BPF_F_MMAPABLE);
/* Addresses that matter, enum role bits · daemon · program · daemon. */
MAP(roles, BPF_MAP_TYPE_HASH, struct addr, enum role, MAX_SERVICES + MAX_BACKENDS, BPF_F_NO_PREALLOC);
/* Hints of roles · daemon · program · daemon. */
MAP(role_hints, BPF_MAP_TYPE_ARRAY, __u32, struct role_hints, 1, BPF_F_MMAPABLE);
/* Services by exact port, by range or any port · daemon · program · daemon. */
MAP(exact_ports, BPF_MAP_TYPE_HASH, struct service_key, __u32, MAX_SERVICES, BPF_F_NO_PREALLOC);
MAP(port_ranges, BPF_MAP_TYPE_LPM_TRIE, struct port_prefix_key, __u32, MAX_SERVICES * MAX_PORT_PREFIXES, BPF_F_NO_PREALLOC);
/* Who may open connections · daemon · program · daemon. */
MAP(allow, BPF_MAP_TYPE_LPM_TRIE, struct allow_key, __u32, MAX_ALLOW, BPF_F_NO_PREALLOC);
/* Where clients of services with affinity went · program · program · least
 * recently used. */
MAP(affinities, BPF_MAP_TYPE_LRU_HASH, struct affinity_key, struct affinity, MAX_AFFINITY, 0);
/* By id; mapped by the daemon, which publishes a table by one store · daemon · program · id reused only after a sweep. */
MAP(services, BPF_MAP_TYPE_ARRAY, __u32, struct service, MAX_SERVICES, BPF_F_MMAPABLE);
MAP(backends, BPF_MAP_TYPE_ARRAY, __u32, struct backend, MAX_BACKENDS, BPF_F_MMAPABLE);
/* slot → backend id · daemon · program · a newer table. */
MAP(slots, BPF_MAP_TYPE_ARRAY, __u32, __u32, MAX_SLOTS, 0);
/* Next hops · daemon; towards clients the program · program · no connection
 * names it. */
MAP(adjacencies, BPF_MAP_TYPE_ARRAY, __u32, struct adjacency, MAX_ADJACENCIES, BPF_F_MMAPABLE);
/* Round-robin position of a service, open connections of a backend ·
 * program, atomically · program, daemon · never. */
MAP(positions, BPF_MAP_TYPE_ARRAY, __u32, __u64, MAX_SERVICES, 0);
MAP(active, BPF_MAP_TYPE_ARRAY, __u32, __u64, MAX_BACKENDS, BPF_F_MMAPABLE);
/* Counters, a copy a CPU so that no atomics are needed. */
MAP(reason_counters, BPF_MAP_TYPE_PERCPU_ARRAY, enum reason, struct counter, REASON_COUNT, 0);
MAP(service_counters, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct service_counter, MAX_SERVICES, 0);
MAP(evictions, BPF_MAP_TYPE_PERCPU_ARRAY, enum eviction_class, __u64, CLASS_COUNT, 0);
MAP(backend_counters, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct service_counter, MAX_BACKENDS, 0);

/* By id, or null. The key is a copy: Linux 6.1 takes none out of what a
 * function was given. */
static __always_inline struct service *service_by_id(__u32 id)
{
	return bpf_map_lookup_elem(&services, &id);
}

static __always_inline struct backend *backend_by_id(__u32 id)
{
	return bpf_map_lookup_elem(&backends, &id);
}

/* Enums that no map holds whole; a variable of each keeps it in BTF, from
 * which the Go constants come. */
const enum limit *unused_limit __attribute__((unused));
const enum abi *unused_abi __attribute__((unused));
const enum conn_state *unused_conn_state __attribute__((unused));
const enum conn_flag *unused_conn_flag __attribute__((unused));
const enum adjacency_state *unused_adjacency_state __attribute__((unused));

#endif
