// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	stdmaps "maps"
	"slices"
	"time"

	"github.com/weirlb/weir/healthd"
	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/reconcile"
)

// follow takes in what changed on the router's network.
func (d *Daemon) follow() error {
	if err := d.network.look(); err != nil {
		return err
	}
	err := d.network.attach(d.programs, d.hooks, false)
	return errors.Join(err, d.reconcile())
}

// member is a backend of a service, and what probes it.
type member struct {
	service *lb.Service
	backend lb.Backend
	key     reconcile.BackendKey
	target  healthd.Target
}

// reconcile makes maps, VIPs and neighbours what state and health ask for. An
// error is in status, and is tried again, until a later one succeeds.
func (d *Daemon) reconcile() error {
	d.desired = reconcile.Desired{State: d.state, Health: map[reconcile.BackendKey]lb.Health{}, Drains: map[reconcile.BackendKey]bool{}}
	results := d.health.Snapshot()
	addresses := d.reconciler.Addresses()
	for _, m := range d.members {
		d.desired.Health[m.key] = results[m.target].Health
		if d.drained(m) {
			d.desired.Drains[m.key] = true
		}
		addresses = append(addresses, m.backend.Address)
	}
	d.desired.Hops, d.problems = d.network.hops(addresses)
	err := d.write(func() error { return d.reconciler.Reconcile(&d.desired) })
	d.desired.Hops = nil // the reconciler keeps them
	vips := d.reconciler.VIPs()
	if err != nil {
		// A reconciler that never got through does not know them yet.
		vips = slices.AppendSeq(vips, stdmaps.Keys(d.network.vips))
	}
	d.problems = append(d.problems, d.network.keepVIPs(vips)...)
	d.unsaved = true
	return err
}

// followHealth updates the services of the backends whose health changed.
func (d *Daemon) followHealth() error {
	changed := map[*lb.Service]bool{}
	for target, result := range d.health.Changes() {
		for _, m := range d.byTarget[target] {
			if result.Health != d.desired.Health[m.key] {
				d.desired.Health[m.key] = result.Health
				changed[m.service] = true
			}
		}
	}
	if d.failing || len(changed) == 0 {
		return nil // the next try of everything has them
	}
	d.unsaved = true
	return d.write(func() error { return d.reconciler.Update(&d.desired, slices.Collect(stdmaps.Keys(changed))) })
}

// write has the reconciler write, and keeps how that went for status.
func (d *Daemon) write(do func() error) error {
	started := time.Now()
	err := do()
	d.wrote.DurationS = time.Since(started).Seconds()
	d.failing = err != nil
	if err != nil {
		err = fmt.Errorf("write the maps: %w", err)
		d.problems = append(d.problems, err.Error())
		d.wrote.Errors++
		return err
	}
	d.wrote.LastSuccess = time.Now()
	return nil
}

// setTargets gives the health daemon its targets. A daemon that comes back
// goes on from what the last one knew.
func (d *Daemon) setTargets() {
	d.members, d.byTarget = nil, map[healthd.Target][]member{}
	for i := range d.state.Services {
		s := &d.state.Services[i]
		for _, b := range s.Backends {
			key := reconcile.BackendKey{Service: s.Key(), Backend: b.AddrPort()}
			m := member{s, b, key, healthd.NewTarget(b, s.HealthCheck)}
			d.members = append(d.members, m)
			d.byTarget[m.target] = append(d.byTarget[m.target], m)
		}
	}
	var targets []healthd.Target
	saved := map[savedDrain]savedHealth{}
	for _, h := range d.saved.Health {
		saved[savedDrain{h.Service, h.Backend}] = h
	}
	known := map[healthd.Target]healthd.Result{}
	for _, m := range d.members {
		targets = append(targets, m.target)
		if h, ok := saved[savedDrain{m.service.Name, m.key.Backend}]; ok {
			known[m.target] = healthd.Result{Health: h.Health, Reason: h.Reason, Since: h.Since}
		}
	}
	d.health.Set(targets, known)
}

// drained tells whether a backend takes no new connections by command.
func (d *Daemon) drained(m member) bool {
	for _, drain := range d.saved.Drains {
		if drain.Service == m.service.Name && drain.Backend == m.key.Backend {
			return true
		}
	}
	return false
}

// drain changes that, and returns when the maps and the disk hold it.
func (d *Daemon) drain(of member, on bool) error {
	drains := []savedDrain{}
	for _, drain := range d.saved.Drains {
		if drain.Service != of.service.Name || drain.Backend != of.key.Backend {
			drains = append(drains, drain)
		}
	}
	if on {
		drains = append(drains, savedDrain{of.service.Name, of.key.Backend})
	}
	d.saved.Drains, d.desired.Drains[of.key] = drains, on
	return errors.Join(d.write(func() error { return d.reconciler.Update(&d.desired, []*lb.Service{of.service}) }), d.save())
}

// save writes what must outlive the daemon. Changes of health wait for the
// next tick, so that a storm of them is written once.
func (d *Daemon) save() error {
	now := saved{Drains: d.saved.Drains}
	results := d.health.Snapshot()
	for _, m := range d.members {
		if r := results[m.target]; m.target.Value().Type != lb.CheckNone && r.Health != lb.Unknown {
			now.Health = append(now.Health, savedHealth{m.service.Name, m.key.Backend, r.Health, r.Reason, r.Since})
		}
	}
	for a, v := range d.network.vips {
		if v.added {
			now.VIPs = append(now.VIPs, savedVIP{a, v.device})
		}
	}
	if err := now.write(d.options.State); err != nil {
		d.saving = err.Error()
		return err
	}
	d.saved, d.unsaved, d.saving = now, false, ""
	return nil
}

// sweep forgets what no connection names any more, and corrects the counts of
// open connections: those of connections that just fell silent drift.
func (d *Daemon) sweep() error {
	before := map[uint32]uint64{}
	_, backends := d.reconciler.Names()
	for id := range backends {
		n, err := d.programs.Tables.Active(id)
		if err != nil {
			return err
		}
		before[id] = n
	}
	last := d.usage
	if err := d.count(); err != nil {
		return err
	}
	for id, was := range before {
		now, err := d.programs.Tables.Active(id)
		if err != nil {
			return err
		}
		// One that changed during the count is counted the next time.
		if now == was && was != d.usage.Active[id] {
			if err := d.programs.Tables.SetActive(id, d.usage.Active[id]); err != nil {
				return err
			}
		}
	}
	if err := d.programs.Tables.FreeHops(last, d.usage); err != nil {
		return err
	}
	return d.reconciler.Sweep(d.usage)
}

// count walks the connection table.
func (d *Daemon) count() (err error) {
	d.usage, err = d.programs.Tables.Sweep()
	d.counted = time.Now()
	return err
}
