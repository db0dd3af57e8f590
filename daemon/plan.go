// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"

	"github.com/weirlb/weir/api"
	"github.com/weirlb/weir/config"
	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/netdev"
	"github.com/weirlb/weir/reconcile"
)

// Plan implements api.Daemon: what a reload of the file would change, and what
// it would be refused for.
func (c control) Plan(ctx context.Context, file api.File) (plan *api.Plan, err error) {
	state, err := config.Parse(file.Path, file.Content)
	if err != nil {
		return nil, api.Invalid{Err: err}
	}
	err = c.do(ctx, func() error {
		if err := missing(state.Interfaces, c.network.links); err != nil {
			return err
		}
		if _, err := netdev.Hooks(state.Interfaces, c.network.links); err != nil {
			return err
		}
		if err := c.count(); err != nil {
			return err
		}
		plan = comparison{&c.desired, c.wouldDesire(state), func(key reconcile.BackendKey) uint64 {
			return c.usage.Active[c.reconciler.BackendID(key)]
		}}.plan()
		return nil
	})
	return plan, err
}

// wouldDesire is the desired state after a reload, once the backends that are
// new have answered their checks.
func (d *Daemon) wouldDesire(state *lb.State) *reconcile.Desired {
	next := &reconcile.Desired{State: state, Health: map[reconcile.BackendKey]lb.Health{}, Drains: map[reconcile.BackendKey]bool{}}
	for i := range state.Services {
		s := &state.Services[i]
		for _, b := range s.Backends {
			key := reconcile.BackendKey{Service: s.Key(), Backend: b.AddrPort()}
			health, known := d.desired.Health[key]
			if !known {
				health = lb.Up
			}
			next.Health[key] = health
			next.Drains[key] = d.drained(member{service: s, key: key})
		}
	}
	return next
}
