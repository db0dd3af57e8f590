// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
)

// nested makes prefixes of a family, half of them inside earlier ones, none so
// short that few would leave nobody out.
func nested(random *rand.Rand, n, bits int) (all []netip.Prefix) {
	for range n {
		within := netip.PrefixFrom(netip.AddrFrom4([4]byte{}), 0)
		if bits == 128 {
			within = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		if len(all) > 0 && random.IntN(2) == 0 {
			within = all[random.IntN(len(all))]
		}
		length := max(12, within.Bits()+random.IntN(bits-within.Bits()+1))
		all = append(all, netip.PrefixFrom(inside(random, within), length).Masked())
	}
	return all
}

// inside is an address of the prefix.
func inside(random *rand.Rand, p netip.Prefix) netip.Addr {
	raw := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= byte(random.IntN(2)) << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}

// client is an address in, or one bit beside, one of the prefixes.
func client(random *rand.Rand, all []netip.Prefix) netip.Addr {
	p := all[random.IntN(len(all))]
	raw := inside(random, p).AsSlice()
	if random.IntN(2) == 0 {
		bit := random.IntN(p.Bits())
		raw[bit/8] ^= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}

// TestAllowOracle: nested prefixes, then half of them, admit exactly the
// clients that one of them contains, and another service's admit nobody.
func TestAllowOracle(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		bits, above := 32, uint32(32+96)
		if f.name == "ipv6" {
			bits, above = 128, 32
		}
		key := func(service uint32, p netip.Prefix) LBAllowKey {
			return LBAllowKey{Prefixlen: above + uint32(p.Bits()), Service: service, Client: as16(p.Addr().String())}
		}
		if err := h.coll.Maps[LBMapAllow].Delete(LBAllowKey{Prefixlen: 32 + f.allowBits, Service: 1, Client: as16(f.client)}); err != nil {
			t.Fatal(err)
		}
		prefixes := nested(random, 100, bits)
		for _, p := range prefixes {
			h.put(t, LBMapAllow, key(1, p), uint32(1))
		}
		for _, p := range nested(random, 20, bits) {
			h.put(t, LBMapAllow, key(2, p), uint32(1))
		}
		// ask has clients from around some prefixes open connections.
		ask := func(around []netip.Prefix) (admitted int) {
			for range 300 {
				from := client(random, around)
				before := h.reason(t, LBReasonREASON_NOT_ALLOWED)
				h.run(t, segment{from.String(), f.vip, uint16(1024 + random.IntN(60000)), 80, synFlag, 1, 0}.tcp(64))
				got := h.reason(t, LBReasonREASON_NOT_ALLOWED) == before
				want := slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(from) })
				if got != want {
					t.Errorf("seed %d, %d prefixes: %s admitted: %v, want %v", seed, len(prefixes), from, got, want)
				}
				if want {
					admitted++
				}
			}
			return admitted
		}
		if n := ask(prefixes); n == 0 || n == 300 {
			t.Errorf("%d of 300 admitted: nothing is shown", n)
		}
		all := prefixes
		prefixes = all[:len(all)/2]
		for _, p := range all[len(all)/2:] {
			if slices.Contains(prefixes, p) {
				continue
			}
			// The same prefix twice in the list is one key.
			if err := h.coll.Maps[LBMapAllow].Delete(key(1, p)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				t.Fatal(err)
			}
		}
		ask(all)
	})
}
