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
	// The generated type is an array of the same size: decoding cannot fail.
	_, _ = binary.Decode(b[:], binary.NativeEndian, &value)
	return value
}

// addressOf is the inverse; all zeros are the zero Addr.
func addressOf(value bpf.LBAddr) netip.Addr {
	var b [16]byte
	_, _ = binary.Encode(b[:], binary.NativeEndian, &value)
	if b == [16]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom16(b).Unmap()
}
