// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"encoding/binary"
	"net/netip"

	"github.com/weirlb/weir/bpf"
)

// address returns the 16 bytes of the maps, IPv4 as ::ffff:a.b.c.d; the zero
// Addr is all zeros.
func address(a netip.Addr) (value bpf.LBAddr) {
	if !a.IsValid() {
		return value
	}
	b := a.As16()
	// The generated type is an array of words, so decoding cannot fall short.
	_, _ = binary.Decode(b[:], binary.NativeEndian, &value)
	return value
}

func allowKey(service uint32, p netip.Prefix) *bpf.LBAllowKey {
	length := p.Bits()
	if p.Addr().Is4() {
		length += 96
	}
	return &bpf.LBAllowKey{Prefixlen: 32 + uint32(length), Service: service, Client: address(p.Addr())}
}
