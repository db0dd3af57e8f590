// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/weirlb/weir/bpf"
)

// hopState is where an adjacency's state lies.
func hopState(hop uint32) int64 {
	var a bpf.LBAdjacency
	return int64(hop)*int64(unsafe.Sizeof(a)) + int64(unsafe.Offsetof(a.State))
}

// eachClientHop calls do for every adjacency that the program has learned
// towards clients.
func (t *Tables) eachClientHop(do func(hop uint32)) error {
	var state [4]byte
	for hop := range FirstAdjacency {
		if _, err := t.hops.ReadAt(state[:], hopState(hop)); err != nil {
			return fmt.Errorf("read map adjacencies: %w", err)
		}
		if binary.NativeEndian.Uint32(state[:]) == uint32(bpf.LBAdjacencyStateADJACENCY_READY) {
			do(hop)
		}
	}
	return nil
}

// FreeHops frees the adjacencies towards clients that two sweeps in a row
// found without a connection. One that a client takes up at this very moment
// is learned again from its next packet.
func (t *Tables) FreeHops(before, now Usage) error {
	free := binary.NativeEndian.AppendUint32(nil, uint32(bpf.LBAdjacencyStateADJACENCY_FREE))
	for hop := range now.IdleHops {
		if !before.IdleHops[hop] {
			continue
		}
		if _, err := t.hops.WriteAt(free, hopState(hop)); err != nil {
			return fmt.Errorf("write map adjacencies: %w", err)
		}
	}
	return nil
}
