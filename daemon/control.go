// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weirlb/weir/api"
	"github.com/weirlb/weir/config"
	"github.com/weirlb/weir/healthd"
	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/maps"
	"github.com/weirlb/weir/reconcile"
)

// control answers the control socket: each request is a command that the loop
// carries out between its own.
type control struct {
	*Daemon
	ending context.Context
}

var _ api.Daemon = control{}

// fresh is how old shown figures may be.
const fresh = time.Second

var errEnding = errors.New("the daemon is stopping")

// do has the loop run f and waits for it.
func (c control) do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	select {
	case c.commands <- func() { done <- f() }:
		return <-done
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ending.Done():
		return errEnding
	}
}

// Reload implements api.Daemon.
func (c control) Reload(ctx context.Context) error {
	return c.do(ctx, func() error {
		err := c.reload()
		var invalid config.Errors
		if errors.As(err, &invalid) {
			return api.Invalid{Err: err}
		}
		return err
	})
}

// Drain implements api.Daemon.
func (c control) Drain(ctx context.Context, request api.Drain) error {
	backend, err := netip.ParseAddrPort(request.Backend)
	if err != nil {
		return api.Invalid{Err: fmt.Errorf("backend %q is not ADDRESS:PORT or [IPv6]:PORT", request.Backend)}
	}
	return c.do(ctx, func() error {
		at := slices.IndexFunc(c.members, func(m member) bool { return m.service.Name == request.Service && m.key.Backend == backend })
		if at < 0 {
			return api.Invalid{Err: fmt.Errorf("there is no backend %s of a service %q; see: weir backends", backend, request.Service)}
		}
		return c.drain(c.members[at], request.Drain)
	})
}

// Maps implements api.Daemon.
func (c control) Maps(ctx context.Context) (all []api.Map, err error) {
	err = c.do(ctx, func() error {
		infos, err := c.programs.Tables.Describe(c.options.BPFFS)
		for _, info := range infos {
			all = append(all, api.Map(info))
		}
		return err
	})
	return all, err
}

// Rows implements api.Daemon. The reading does not hold up the loop.
func (c control) Rows(ctx context.Context, name string, do func(row any) error) error {
	if err := maps.Readable(name); err != nil {
		return api.Invalid{Err: err}
	}
	var tables *maps.Tables
	var names maps.Names
	err := c.do(ctx, func() error {
		tables, names = c.programs.Tables, c.names()
		return nil
	})
	if err != nil {
		return err
	}
	return tables.Rows(name, names, func(row any) error {
		return errors.Join(ctx.Err(), do(row))
	})
}

// names of all ids, also of what is only kept for its connections: that has no
// name any more but its address.
func (d *Daemon) names() maps.Names {
	named := map[lb.ServiceKey]string{}
	for i := range d.state.Services {
		named[d.state.Services[i].Key()] = d.state.Services[i].Name
	}
	keys, backendKeys := d.reconciler.Names()
	services, backends, links := map[uint32]string{}, map[uint32]string{}, map[uint32]string{}
	for id, key := range keys {
		services[id] = cmp.Or(named[key], key.String())
	}
	for id, key := range backendKeys {
		backends[id] = key.Backend.String()
	}
	for index, link := range d.network.byIndex {
		links[uint32(index)] = link.Name
	}
	of := func(names map[uint32]string) func(uint32) string { return func(id uint32) string { return names[id] } }
	return maps.Names{Service: of(services), Backend: of(backends), Interface: of(links)}
}

// Conns implements api.Daemon. The walk does not hold up the loop.
func (c control) Conns(ctx context.Context, do func(*api.Conn) error) error {
	var services map[uint32]lb.ServiceKey
	var backends map[uint32]reconcile.BackendKey
	names := map[lb.ServiceKey]string{}
	var tables *maps.Tables
	err := c.do(ctx, func() error {
		services, backends = c.reconciler.Names()
		for i := range c.state.Services {
			names[c.state.Services[i].Key()] = c.state.Services[i].Name
		}
		tables = c.programs.Tables
		return nil
	})
	if err != nil {
		return err
	}
	var failed error
	err = tables.EachConn(func(conn maps.Conn) bool {
		key := services[conn.Service]
		failed = do(&api.Conn{
			Protocol: string(conn.Protocol), Client: conn.Client,
			VIP:     netip.AddrPortFrom(key.Address, conn.VIPPort),
			Backend: netip.AddrPortFrom(backends[conn.Backend].Backend.Addr(), conn.BackendPort),
			Service: names[key], State: conn.State, AgeS: conn.Age.Seconds(), IdleS: conn.Idle.Seconds(),
		})
		return failed == nil && ctx.Err() == nil
	})
	return errors.Join(err, failed, ctx.Err())
}

// Status implements api.Daemon.
func (c control) Status(ctx context.Context) (status *api.Status, err error) {
	err = c.do(ctx, func() error {
		if time.Since(c.counted) >= fresh {
			if err := c.count(); err != nil {
				return err
			}
		}
		status, err = c.status()
		return err
	})
	return status, err
}

func (d *Daemon) status() (*api.Status, error) {
	s := &api.Status{
		Version: d.options.Version, Config: d.config, Problems: append([]string{}, d.problems...), Drops: map[string]uint64{},
		Interfaces: []api.Interface{}, Services: []api.Service{},
		Table:     api.Table{Capacity: d.programs.Tables.ConnCapacity(), Used: d.usage.Total},
		Reconcile: d.wrote,
	}
	var err error
	if s.Table.Evictions, err = d.programs.Tables.Evictions(); err != nil {
		return nil, err
	}
	programs, err := d.programs.Stats()
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		s.Programs = append(s.Programs, api.Program{Name: p.Name, Runs: p.Runs, RuntimeS: p.Runtime.Seconds()})
	}
	for _, i := range d.state.Interfaces {
		a := d.network.attached[i.Name]
		problem := cmp.Or(a.problem, a.offloads)
		s.Interfaces = append(s.Interfaces, api.Interface{Name: i.Name, Attach: string(a.hook), OK: problem == "", Problem: problem})
	}
	reasons, err := d.programs.Tables.Reasons()
	if err != nil {
		return nil, err
	}
	for _, r := range reasons {
		if r.Dropped {
			s.Drops[r.Name] = r.Packets
		}
	}
	if d.saving != "" {
		s.Problems = append(s.Problems, d.saving)
	}
	results := d.health.Snapshot()
	members := d.members
	for i := range d.state.Services {
		n := len(d.state.Services[i].Backends)
		service, err := d.service(&d.state.Services[i], members[:n], results)
		if err != nil {
			return nil, err
		}
		s.Services = append(s.Services, service)
		members = members[n:]
	}
	return s, nil
}

func (d *Daemon) service(s *lb.Service, members []member, results map[healthd.Target]healthd.Result) (api.Service, error) {
	id := d.reconciler.ServiceID(s.Key())
	c, err := d.programs.Tables.ServiceCounter(id)
	if err != nil {
		return api.Service{}, err
	}
	service := api.Service{
		Name: s.Name, Address: s.Address.String(), Port: s.Ports.String(), Protocol: string(s.Protocol),
		Algorithm: string(s.Algorithm), Mode: string(s.Mode), Tier: "xdp", Packets: c.Packets, Bytes: c.Bytes,
		Connections: api.Connections{Opened: c.Opened, Refused: c.Refused}, Backends: []api.Backend{},
	}
	for _, m := range members {
		backend, err := d.backend(m, results[m.target])
		if err != nil {
			return service, err
		}
		service.Connections.Active += backend.Connections.Active
		service.Backends = append(service.Backends, backend)
	}
	return service, nil
}

func (d *Daemon) backend(m member, r healthd.Result) (api.Backend, error) {
	id, b := d.reconciler.BackendID(m.key), m.backend
	c, err := d.programs.Tables.BackendCounter(id)
	if err != nil {
		return api.Backend{}, err
	}
	backend := api.Backend{
		Service: m.service.Name, Address: b.Address.String(), Port: b.Port, Weight: b.Weight,
		State: string(r.Health), Reason: r.Reason, Since: r.Since.UTC().Truncate(time.Second),
		CheckLatencyMS: float64(r.Latency.Microseconds()) / 1000,
		Connections:    api.BackendConnections{Active: d.usage.Active[id], Opened: c.Opened}, Packets: c.Packets, Bytes: c.Bytes,
	}
	if b.Drain || d.desired.Drains[m.key] {
		backend.State = "drain"
	}
	return backend, nil
}
