// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/api"
	"github.com/weirlb/weir/config"
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

// adopt makes a state the one in force, or leaves things as they were and says
// why: what can be refused is asked first, what is refused later is undone.
func (d *Daemon) adopt(state *lb.State) error {
	next, err := d.prepare(state)
	if err != nil {
		return err
	}
	was := d.inForce
	socket, err := d.metrics.open(state.Metrics.Listen)
	if err != nil {
		return errors.Join(err, next.drop(was))
	}
	d.inForce = next
	err = d.network.attach(d.programs, d.hooks, d.programs != was.programs)
	refused := err != nil
	if !refused {
		d.setTargets()
		err = d.reconcile()
		refused = errors.Is(err, reconcile.ErrNoRoom)
	}
	if refused {
		if socket != nil {
			err = errors.Join(err, socket.Close())
		}
		return errors.Join(err, d.restore(was))
	}
	d.tell("close the programs before", was.drop(d.inForce))
	d.metrics.use(state.Metrics.Listen, socket)
	d.config = api.Config{Path: d.config.Path, Revision: d.config.Revision + 1, LoadedAt: time.Now()}
	// The VIPs that were added must be known to detach, whatever comes.
	err = errors.Join(err, d.save())
	giveBack()
	return err
}

// prepare makes what a state needs without touching what is in force. Programs
// are loaded at the start, and when XDP comes or goes.
func (d *Daemon) prepare(state *lb.State) (next inForce, err error) {
	if err := missing(state.Interfaces, d.network.links); err != nil {
		return next, err
	}
	// What cannot be remembered, as VIPs that detach is to remove, is not begun.
	if err := d.saved.write(d.options.State); err != nil {
		return next, err
	}
	next = d.inForce
	next.state = state
	if next.hooks, err = netdev.Hooks(state.Interfaces, d.network.links); err != nil {
		return next, err
	}
	next.xdp = false
	for _, hook := range next.hooks {
		next.xdp = next.xdp || hook != lb.AttachTC
	}
	if d.programs == nil || d.xdp != next.xdp {
		if next.programs, next.reconciler, err = d.load(state, next.xdp); err != nil {
			return next, err
		}
	}
	if wanted := state.Table.Connections; wanted != 0 && !next.programs.Fits(wanted) {
		err := fmt.Errorf("table.connections: %d is another size than that of the table in use, which a running weir cannot change yet: "+
			"keep the size, or start anew after weir detach, which ends all connections", wanted)
		return next, errors.Join(err, next.drop(d.inForce))
	}
	return next, nil
}

// load loads programs, and what their maps hold already.
func (d *Daemon) load(state *lb.State, xdp bool) (*loader.Programs, *reconcile.Reconciler, error) {
	connections := state.Table.Connections
	if connections == 0 {
		connections = loader.MaxConnections(defaultTableBytes())
	}
	programs, err := loader.Load(loader.Options{Pins: d.options.BPFFS, Connections: connections, HashKey: rand.Uint64(), XDP: xdp})
	if err != nil {
		return nil, nil, err
	}
	restored, err := programs.Tables.Restore()
	if err != nil {
		return nil, nil, errors.Join(err, programs.Close())
	}
	return programs, reconcile.New(programs.Tables, restored), nil
}

// drop lets go of programs that the other does not have.
func (f inForce) drop(other inForce) error {
	if f.programs == nil || f.programs == other.programs {
		return nil
	}
	return f.programs.Close()
}

// restore puts back in force what was, after a refusal.
func (d *Daemon) restore(was inForce) error {
	next := d.inForce
	d.inForce = was
	if was.programs == nil {
		return next.drop(was)
	}
	err := d.network.attach(d.programs, d.hooks, true)
	d.setTargets()
	return errors.Join(err, d.reconcile(), next.drop(was))
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
