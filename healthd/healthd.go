// SPDX-License-Identifier: Apache-2.0

// Package healthd probes targets and keeps the latest health of each. A
// Daemon's Run owns all its goroutines; its output is a level, the latest
// snapshot, never a queue of changes.
package healthd

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync"
	"time"
	"unique"

	"github.com/weirlb/weir/lb"
)

// Target is a Probe as a key: equal probes are one target, of one word.
type Target = unique.Handle[Probe]

// Probe is what is probed and how.
type Probe struct {
	Address  netip.Addr
	Port     uint16
	Type     lb.CheckType
	Path     string
	Host     string
	SNI      string
	Verify   bool
	Expect   string // status ranges, as of expectKey
	Interval time.Duration
	Timeout  time.Duration
	Rise     int
	Fall     int
	Initial  lb.Health
}

// NewTarget is how a service's check probes one of its backends.
func NewTarget(b lb.Backend, c lb.HealthCheck) Target {
	port := c.Port
	if port == 0 {
		port = b.Port
	}
	return unique.Make(Probe{
		Address: b.Address, Port: port, Type: c.Type, Path: c.Path, Host: c.Host, SNI: c.SNI, Verify: c.Verify,
		Expect: expectKey(c.Expect), Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall, Initial: c.Initial,
	})
}

// String returns "http 10.1.1.21:8080/health.php".
func (p Probe) String() string {
	if p.Type == lb.CheckICMP || p.Type == lb.CheckNone {
		return string(p.Type) + " " + p.Address.String()
	}
	return string(p.Type) + " " + netip.AddrPortFrom(p.Address, p.Port).String() + p.Path
}

// Result is what is known of a target.
type Result struct {
	Health  lb.Health
	Reason  string // why it is down or not up yet: "connection refused"
	Since   time.Time
	Latency time.Duration // of the last successful probe
}

// workers bound the probes under way. A target has one at most, so that this
// many silent targets, each holding a place until its timeout, delay nobody.
const workers = 10240

// firstEvery keeps first checks, which wait for nothing else, at 20 000/s.
const firstEvery = time.Second / 20000

// tellAgain keeps a failure of this host, which all targets may meet, from
// filling the log.
const tellAgain = time.Hour

// Daemon probes the targets it is given.
type Daemon struct {
	log     *slog.Logger
	changed chan struct{}
	wake    chan struct{}
	spread  maphash.Seed
	checker func(Probe) Checker // replaced by tests only

	mu      sync.Mutex
	targets map[Target]*state
	probing map[Target]bool // a probe is under way, maybe of a removed target
	first   time.Time       // of the last first check queued
	queue   queue
	told    map[string]time.Time // local failures, when they were logged
	dirty   map[Target]bool      // changed since Changes was last asked
}

// New returns a Daemon that logs transitions.
func New(log *slog.Logger) *Daemon {
	return &Daemon{
		log: log, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), spread: maphash.MakeSeed(), checker: newChecker,
		targets: map[Target]*state{}, probing: map[Target]bool{}, told: map[string]time.Time{}, dirty: map[Target]bool{},
	}
}

// Set makes these the targets. One that was there keeps its state; a new one
// is probed at once and starts as `known` says, which a restarted daemon has
// from its predecessor, else with its check's initial health.
func (d *Daemon) Set(targets []Target, known map[Target]Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	wanted := make(map[Target]bool, len(targets))
	for _, t := range targets {
		wanted[t] = true
		if d.targets[t] != nil {
			continue
		}
		s := newState(t, d.checker(t.Value()), known[t], now)
		d.targets[t] = s
		// Its predecessor's probe, if one is under way, queues it at its end.
		if t.Value().Type != lb.CheckNone && !d.probing[t] {
			d.queueFirst(s, now)
		}
	}
	for t, s := range d.targets {
		if !wanted[t] {
			s.gone = true
			delete(d.targets, t)
		}
	}
	d.queue.sweep()
	signal(d.wake)
}

// queueFirst queues a new target's first check, behind all other first ones.
func (d *Daemon) queueFirst(s *state, now time.Time) {
	d.first = d.first.Add(firstEvery)
	if d.first.Before(now) {
		d.first = now
	}
	d.queue.push(s, d.first)
}

// Snapshot returns the latest result of every target.
func (d *Daemon) Snapshot() map[Target]Result {
	d.mu.Lock()
	defer d.mu.Unlock()
	results := make(map[Target]Result, len(d.targets))
	for t, s := range d.targets {
		results[t] = s.result
	}
	return results
}

// Changes returns the latest results of the targets whose health changed since
// it was last asked, however often it did.
func (d *Daemon) Changes() map[Target]Result {
	d.mu.Lock()
	defer d.mu.Unlock()
	results := make(map[Target]Result, len(d.dirty))
	for t := range d.dirty {
		if s := d.targets[t]; s != nil {
			results[t] = s.result
		}
	}
	clear(d.dirty)
	return results
}

// Changed wakes after a target's health changed; many changes are one wake.
func (d *Daemon) Changed() <-chan struct{} { return d.changed }

// Run probes until ctx ends, which is no error, and then waits for the probes
// under way.
func (d *Daemon) Run(ctx context.Context) error {
	var probes sync.WaitGroup
	defer probes.Wait()
	slots := make(chan struct{}, workers)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s, wait := d.due()
		if s == nil {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return nil
			case <-timer.C:
			case <-d.wake:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case slots <- struct{}{}:
		}
		probes.Go(func() {
			defer func() { <-slots }()
			d.probe(ctx, s)
		})
	}
}

// idle is how long Run sleeps without a target.
const idle = time.Hour

// due takes the target whose time has come, or tells how long until one's.
func (d *Daemon) due() (*state, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) == 0 {
		return nil, idle
	}
	if wait := time.Until(d.queue[0].at); wait > 0 {
		return nil, wait
	}
	s := d.queue.pop()
	d.probing[s.target] = true
	return s, 0
}

// probe checks a target once and queues its next check: no two probes of one
// target run at once, because it is not in the queue while one does.
func (d *Daemon) probe(ctx context.Context, s *state) {
	started := time.Now()
	err := check(ctx, s)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.probing, s.target)
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	if s.gone {
		if successor := d.targets[s.target]; successor != nil {
			d.queueFirst(successor, now)
			signal(d.wake)
		}
		return
	}
	if errors.As(err, &local{}) && now.Sub(d.told[err.Error()]) > tellAgain {
		d.told[err.Error()] = now
		d.log.Warn("health checks", "err", err, "target", s.target.Value().String())
	}
	was := s.result.Health
	if s.observe(err, now.Sub(started), now) {
		d.log.Info("health changed", "target", s.target.Value().String(), "from", was, "to", s.result.Health, "reason", s.result.Reason)
		d.dirty[s.target] = true
		signal(d.changed)
	}
	d.queue.push(s, d.next(s, started, now))
	if d.queue[0].state == s {
		signal(d.wake)
	}
}

// next keeps the interval from start to start. After the first check, made at
// once, a target moves to its own place in the interval, so that many targets
// spread over it.
func (d *Daemon) next(s *state, started, now time.Time) time.Time {
	interval := s.target.Value().Interval
	at := started.Add(interval)
	if s.checks == 1 {
		at = started.Add(interval/4 + time.Duration(maphash.Comparable(d.spread, s.target)%uint64(interval*3/4+1)))
	}
	if at.Before(now) {
		at = now
	}
	return at
}

func check(ctx context.Context, s *state) error {
	timeout := s.target.Value().Timeout
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return reword(s.checker.Check(ctx), timeout)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
