// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"net/netip"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/scheduler"
)

// Slots returns the backend of each slot of a service's table: what the maps
// would say, without the ids that only a reconciliation gives.
func (d *Desired) Slots(s *lb.Service) []netip.AddrPort {
	pool := make([]scheduler.Backend, len(s.Backends))
	for i, b := range s.Backends {
		pool[i] = scheduler.Backend{ID: uint32(i + 1), Key: b.AddrPort().String()}
		if d.usable(BackendKey{s.Key(), b.AddrPort()}, b) {
			pool[i].Weight = b.Weight
		}
	}
	ids := slotsOf(s.Algorithm, pool)
	slots := make([]netip.AddrPort, len(ids))
	for i, id := range ids {
		slots[i] = s.Backends[id-1].AddrPort()
	}
	return slots
}
