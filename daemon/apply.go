// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/api"
	"github.com/weirlb/weir/config"
	"github.com/weirlb/weir/healthd"
	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/loader"
	"github.com/weirlb/weir/netdev"
	"github.com/weirlb/weir/reconcile"
)

// reload reads the file again. A bad one changes nothing but status.
func (d *Daemon) reload() error {
	state, err := config.Load(d.config.Path)
	if err == nil {
		err = d.adopt(state)
	}
	if err != nil {
		d.config.Error = err.Error()
		return err
	}
	d.log.Info("configuration loaded", "path", d.config.Path, "revision", d.config.Revision, "services", len(state.Services))
	return nil
}

// adopt makes a state the one in force, or changes nothing and says why.
func (d *Daemon) adopt(state *lb.State) error {
	if err := missing(state.Interfaces, d.network.links); err != nil {
		return err
	}
	wanted, err := netdev.Hooks(state.Interfaces, d.network.links)
	if err != nil {
		return err
	}
	// What cannot be remembered, as VIPs that detach is to remove, is not begun.
	if err := d.saved.write(d.options.State); err != nil {
		return err
	}
	if err := d.metrics.listen(state.Metrics.Listen); err != nil {
		return err
	}
	again, err := d.load(state, wanted)
	if err != nil {
		return err
	}
	if err := d.network.attach(d.programs, wanted, again); err != nil {
		return err
	}
	d.state, d.hooks = state, wanted
	d.config = api.Config{Path: d.config.Path, Revision: d.config.Revision + 1, LoadedAt: time.Now()}
	d.setTargets()
	// The VIPs that were added must be known to detach, whatever comes.
	err = errors.Join(d.reconcile(), d.save())
	// What reading a large file took is not needed again until the next.
	debug.FreeOSMemory()
	return err
}

// load loads the programs, at the start and when XDP comes or goes; again
// tells that they are new.
func (d *Daemon) load(state *lb.State, wanted map[string]lb.Attach) (again bool, err error) {
	xdp := false
	for _, hook := range wanted {
		xdp = xdp || hook != lb.AttachTC
	}
	if d.programs != nil && d.xdp == xdp {
		return false, nil
	}
	connections := state.Table.Connections
	if connections == 0 {
		connections = loader.MaxConnections(defaultTableBytes())
	}
	programs, err := loader.Load(loader.Options{Pins: d.options.BPFFS, Connections: connections, HashKey: rand.Uint64(), XDP: xdp})
	if err != nil {
		return false, err
	}
	restored, err := programs.Tables.Restore()
	if err != nil {
		return false, errors.Join(err, programs.Close())
	}
	if d.programs != nil {
		d.tell("close the programs before", d.programs.Close())
	}
	d.programs, d.xdp = programs, xdp
	d.reconciler = reconcile.New(programs.Tables, restored)
	return true, nil
}

// defaultTableBytes is a sixteenth of memory, at most 256 MiB.
func defaultTableBytes() uint64 {
	const most = 256 << 20
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return most / 16
	}
	return min(most, uint64(info.Totalram)*uint64(info.Unit)/16)
}

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
	d.problems = append(d.problems, d.network.keepVIPs(d.reconciler.VIPs())...)
	d.unsaved = true
	return err
}

// follow health: the services of backends whose health changed are updated.
func (d *Daemon) followHealth() error {
	results := d.health.Snapshot()
	var changed []*lb.Service
	for _, m := range d.members {
		now := results[m.target].Health
		if now == d.desired.Health[m.key] {
			continue
		}
		d.desired.Health[m.key] = now
		if len(changed) == 0 || changed[len(changed)-1] != m.service {
			changed = append(changed, m.service)
		}
	}
	if d.failing {
		return nil // the next try of everything has them
	}
	d.unsaved = true
	return d.write(func() error { return d.reconciler.Update(&d.desired, changed) })
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
	d.members = nil
	for i := range d.state.Services {
		s := &d.state.Services[i]
		for _, b := range s.Backends {
			key := reconcile.BackendKey{Service: s.Key(), Backend: b.AddrPort()}
			d.members = append(d.members, member{s, b, key, healthd.NewTarget(b, s.HealthCheck)})
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

// sweep forgets what no connection names any more and corrects the counts of
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
	return d.reconciler.Sweep(d.usage)
}

// count walks the connection table.
func (d *Daemon) count() (err error) {
	d.usage, err = d.programs.Tables.Sweep()
	d.counted = time.Now()
	return err
}
