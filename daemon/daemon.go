// SPDX-License-Identifier: Apache-2.0

// Package daemon wires the parts together: one goroutine, the loop, owns
// everything that changes; sources, health and the network wake it.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirlb/weir/api"
	"github.com/weirlb/weir/config"
	"github.com/weirlb/weir/doctor"
	"github.com/weirlb/weir/healthd"
	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/loader"
	"github.com/weirlb/weir/maps"
	"github.com/weirlb/weir/metrics"
	"github.com/weirlb/weir/netdev"
	"github.com/weirlb/weir/reconcile"
)

// Options of a daemon.
type Options struct {
	Config  string // weir.yaml
	Socket  string
	BPFFS   string
	State   string
	Version string
	Log     *slog.Logger
	Ready   func()          // called once, when packets are balanced
	Alive   func()          // called every second by the loop
	Reload  <-chan struct{} // SIGHUP
}

const (
	tick  = time.Second      // announcements, retries, counters of leastconn
	sweep = 10 * time.Second // of the connection table
	// settle is how long changes of the network may gather before one look.
	settle = 100 * time.Millisecond
)

// Daemon is the state of the loop.
type Daemon struct {
	inForce
	options  Options
	log      *slog.Logger
	commands chan func()
	config   api.Config
	health   *healthd.Daemon
	network  *network
	members  []member
	byTarget map[healthd.Target][]member
	desired  reconcile.Desired
	saved    saved // as it was read or last written
	unsaved  bool
	saving   string // why the last save failed
	usage    maps.Usage
	counted  time.Time // when usage was
	problems []string
	failing  bool // the last reconciliation did
	wrote    api.Reconcile
	metrics  listener
}

// inForce is what a reload replaces as a whole, or not at all.
type inForce struct {
	state      *lb.State
	hooks      map[string]lb.Attach
	programs   *loader.Programs
	xdp        bool // the programs were loaded for XDP with a companion
	reconciler *reconcile.Reconciler
}

// gcPercent keeps the heap close to what lives: a router has better uses for
// its memory, and a daemon that waits for changes has time to collect.
const gcPercent = 20

// giveBack returns to the router what a burst took: the first checks of many
// targets, a large file.
func giveBack() {
	const most = 4 << 20 // bytes that lie idle until the next
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	if memory.HeapIdle-memory.HeapReleased > most {
		debug.FreeOSMemory()
	}
}

// Run is the daemon, until ctx ends: then packets go on without it.
func Run(ctx context.Context, o Options) (err error) {
	debug.SetGCPercent(gcPercent)
	state, err := config.Load(o.Config)
	if err != nil {
		return err
	}
	if err := doctor.Unable(); err != nil {
		return err
	}
	lock, err := loader.Lock(o.BPFFS)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	router, err := netdev.Open()
	if err != nil {
		return err
	}
	defer router.Close()
	d := newDaemon(o, router)
	listener, err := api.Listen(o.Socket)
	if err != nil {
		return err
	}
	// From serve on it is the server's to close.
	news, err := netdev.Watch(ctx)
	if err == nil {
		err = d.start(state)
	}
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, d.programs.Close()) }()
	return d.serve(ctx, listener, news)
}

// newDaemon returns a daemon that goes on from what the last one saved.
func newDaemon(o Options, router *netdev.Router) *Daemon {
	d := &Daemon{
		options: o, log: o.Log, commands: make(chan func()), health: healthd.New(o.Log), network: newNetwork(o.Log, router),
		config: api.Config{Path: o.Config},
	}
	var err error
	if d.saved, err = readSaved(o.State); err != nil {
		// Balancing without it is better than not balancing.
		d.tell("go on without what the last daemon saved: health, drains, VIPs", errors.Join(err, setAside(o.State)))
	}
	for _, v := range d.saved.VIPs {
		d.network.vips[v.Address] = vip{v.Interface, true}
	}
	return d
}

// start makes the first state true.
func (d *Daemon) start(state *lb.State) error {
	if err := d.network.look(); err != nil {
		return err
	}
	err := d.adopt(state)
	if err != nil && d.programs != nil {
		err = errors.Join(err, d.programs.Close())
	}
	return err
}

// serve runs the tasks until ctx ends or one of them fails.
func (d *Daemon) serve(ctx context.Context, listener net.Listener, news netdev.News) error {
	tasks, ctx := errgroup.WithContext(ctx)
	server := &http.Server{Handler: api.Handler(control{d, ctx}), ReadHeaderTimeout: headerTimeout}
	d.metrics.serve(metrics.Handler(control{d, ctx}.Status))
	defer d.metrics.close()
	tasks.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("control socket: %w", err)
		}
		return nil
	})
	tasks.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	tasks.Go(func() error { return d.health.Run(ctx) })
	tasks.Go(func() error { return d.loop(ctx, news) })
	d.options.Ready()
	return tasks.Wait()
}

// loop is the one goroutine that changes anything.
func (d *Daemon) loop(ctx context.Context, news netdev.News) error {
	ticks, sweeps := time.NewTicker(tick), time.NewTicker(sweep)
	defer ticks.Stop()
	defer sweeps.Stop()
	var settled, resolved <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return d.save()
		case command := <-d.commands:
			command()
		case <-d.options.Reload:
			d.tell("reload", d.reload())
		case <-d.health.Changed():
			d.tell("health", d.followHealth())
		case _, ok := <-news.Network:
			if !ok {
				return ended(ctx)
			}
			if settled == nil {
				settled = time.After(settle)
			}
		case _, ok := <-news.Neighbours:
			if !ok {
				return ended(ctx)
			}
			if resolved == nil {
				resolved = time.After(settle)
			}
		case <-settled:
			settled = nil
			d.tell("network", d.follow())
		case <-resolved:
			resolved = nil
			d.tell("neighbours", errors.Join(d.network.lookAtNeighbours(), d.reconcile()))
		case <-ticks.C:
			d.options.Alive()
			d.network.announce()
			if d.failing {
				d.tell("retry", d.reconcile())
			}
			if d.unsaved {
				d.tell("save", d.save())
			}
		case <-sweeps.C:
			d.tell("sweep", d.sweep())
			giveBack()
		}
	}
}

// ended tells why the news of the network ended: usually ctx did, of which
// this goroutine may hear a moment later.
func ended(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(time.Second):
		return errors.New("the kernel's news of the network ended")
	}
}

// tell logs what the loop has nobody to return to.
func (d *Daemon) tell(what string, err error) {
	if err != nil {
		d.log.Error("the daemon goes on after an error", "task", what, "err", err)
	}
}
