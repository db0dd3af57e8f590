// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"net/netip"

	"github.com/weirlb/weir/bpf"
)

// address returns the 16 bytes of the maps, IPv4 as ::ffff:a.b.c.d; the zero
// Addr is all zeros.
func address(a netip.Addr) bpf.LBAddr {
	if !a.IsValid() {
		return bpf.LBAddr{}
	}
	return bpf.LBAddr{Bytes: a.As16()}
}

// addressOf is the inverse; all zeros are the zero Addr.
func addressOf(value bpf.LBAddr) netip.Addr {
	if value.Bytes == [16]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom16(value.Bytes).Unmap()
}
