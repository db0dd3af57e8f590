/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One keyed hash for the table's buckets and the scheduler's slots. */
#ifndef WEIR_HASH_H
#define WEIR_HASH_H

#include "maps.h"

/* Finaliser of MurmurHash3's 64-bit variant: every input bit reaches every
 * output bit (Appleby, public domain). */
static __always_inline __u64 hash_mix(__u64 x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccd;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53;
	return x ^ (x >> 33);
}

/* Hash of an address, a port (network order) and a protocol under cfg_hash_key.
 * Port and protocol share a word with the first 24 bits of the address, which
 * no client can choose to cancel them out. */
static __always_inline __u64 hash_endpoint(const struct addr *address, __be16 port, __u8 protocol)
{
	__u64 first = address->halves[0] ^ ((__u64)port << 8 | protocol);

	return hash_mix(hash_mix(first ^ cfg_hash_key) + address->halves[1]);
}

#endif
