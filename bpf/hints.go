// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"net/netip"
)

// RoleSlot is the slot of an address among the hints of roles: role_hint of
// service.h.
func RoleSlot(a netip.Addr) uint32 {
	b := a.As16()
	hash := (binary.LittleEndian.Uint64(b[:])*0x9e3779b97f4a7c15 ^ binary.LittleEndian.Uint64(b[8:])) * 0xd6e8feb86659fd93
	return uint32(hash >> 46)
}
