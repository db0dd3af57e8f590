// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/maps"
)

// TestFailingWrites fails each write once: the next attempt heals it.
func TestFailingWrites(t *testing.T) {
	for fail := 1; ; fail++ {
		f := newFake(t)
		r := New(f, nil)
		reconcile(t, r, desired("ab", 1, 2))
		f.fail = fail
		err := r.Reconcile(desired("bc", 2, 3))
		if f.fail > 0 {
			return // more than the plan has
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("write %d failed, error %v", fail, err)
		}
		reconcile(t, r, desired("bc", 2, 3))
		for _, name := range []byte("bc") {
			if got := f.table(name); len(got) != 2 {
				t.Errorf("write %d failed: table of %c is %v", fail, name, got)
			}
		}
		if len(f.published) != 2 {
			t.Errorf("write %d failed: %d services published", fail, len(f.published))
		}
	}
}

// says is what packets find in the maps, in words that do not depend on ids.
func (f *fake) says() string {
	services := map[string]string{}
	for key, id := range f.published {
		s := f.services[id]
		var table, allowed []string
		for _, backend := range s.table.IDs {
			b := f.backends[backend]
			table = append(table, fmt.Sprint(b.address, f.hops[b.hop].Ifindex, b.service == id, f.roles[b.address]))
		}
		for row := range f.allowed {
			if row.service == id {
				allowed = append(allowed, row.prefix.String())
			}
		}
		slices.Sort(table)
		slices.Sort(allowed)
		services[key.String()] = fmt.Sprint(s.vip, f.roles[s.vip].vip, table, allowed)
	}
	return fmt.Sprint(services)
}

// TestFailureThenOther fails each write of a change once, then asks for a state
// other than the one that failed: the maps say that one, as if nothing had been.
func TestFailureThenOther(t *testing.T) {
	failing := desired("bc", 2, 3)
	failing.State.Services[0].Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	failing.State.Services[0].Timeouts.Idle = time.Minute
	failing.Hops[netip.MustParseAddr("10.0.0.2")] = maps.Adjacency{Ifindex: 7, MTU: 1500}
	for name, then := range map[string]*Desired{"what was": desired("ab", 1, 2), "another": desired("acd", 3, 4), "nothing": desired("")} {
		want := newFake(t)
		reconcile(t, New(want, nil), then)
		for fail := 1; ; fail++ {
			f := newFake(t)
			r := New(f, nil)
			reconcile(t, r, desired("ab", 1, 2))
			f.fail = fail
			if err := r.Reconcile(failing); f.fail > 0 {
				break // more than the plan has
			} else if !errors.Is(err, errFull) {
				t.Fatalf("write %d failed, error %v", fail, err)
			}
			if err := r.Sweep(maps.Usage{}); err != nil { // as the daemon does, whatever has failed
				t.Fatal(err)
			}
			reconcile(t, r, then)
			if got := f.says(); got != want.says() {
				t.Errorf("write %d failed, then %s:\n got %s\nwant %s", fail, name, got, want.says())
			}
			before := f.writes
			reconcile(t, r, then)
			if f.writes != before {
				t.Errorf("write %d failed, then %s: %d writes for an unchanged state", fail, name, f.writes-before)
			}
			if err := r.Sweep(maps.Usage{}); err != nil {
				t.Fatal(err)
			}
			if len(f.services) != len(want.services) || len(f.backends) != len(want.backends) {
				t.Errorf("write %d failed, then %s: %d services, %d backends stay", fail, name, len(f.services), len(f.backends))
			}
		}
	}
}

// TestFailedSweep: what a sweep that failed has deleted can come back.
func TestFailedSweep(t *testing.T) {
	want := newFake(t)
	reconcile(t, New(want, nil), desired("ab", 1, 2))
	for fail := 1; ; fail++ {
		f := newFake(t)
		r := New(f, nil)
		reconcile(t, r, desired("ab", 1, 2))
		reconcile(t, r, desired("a", 1))
		f.fail = fail
		if err := r.Sweep(maps.Usage{}); f.fail > 0 {
			return
		} else if !errors.Is(err, errFull) {
			t.Fatalf("write %d failed, error %v", fail, err)
		}
		reconcile(t, r, desired("ab", 1, 2))
		if got := f.says(); got != want.says() {
			t.Errorf("write %d failed:\n got %s\nwant %s", fail, got, want.says())
		}
	}
}

// TestFailedUpdate: the same for a change of health that fails.
func TestFailedUpdate(t *testing.T) {
	for fail := 1; ; fail++ {
		f := newFake(t)
		r := New(f, nil)
		d := desired("ab", 1, 2)
		reconcile(t, r, d)
		want := f.says()
		key := BackendKey{d.State.Services[0].Key(), d.State.Services[0].Backends[0].AddrPort()}
		d.Health[key] = lb.Down
		f.fail = fail
		if err := r.Update(d, []*lb.Service{&d.State.Services[0]}); f.fail > 0 {
			return
		} else if !errors.Is(err, errFull) {
			t.Fatalf("write %d failed, error %v", fail, err)
		}
		d.Health[key] = lb.Up
		reconcile(t, r, d)
		if got := f.says(); got != want {
			t.Errorf("write %d failed:\n got %s\nwant %s", fail, got, want)
		}
	}
}

// TestAllow: a service has the prefixes of its own family alone, and a change
// of all of them never holds more than the map does.
func TestAllow(t *testing.T) {
	f := newFake(t)
	r := New(f, nil)
	d := desired("a", 1)
	d.State.Services[0].Allow = []netip.Prefix{netip.MustParsePrefix("::/0"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("10.0.0.0/8")}
	reconcile(t, r, d)
	if len(f.allowed) != 1 {
		t.Errorf("an IPv4 service allows %v; ::/0 would cover every mapped address", f.allowed)
	}
	for _, net := range []byte{10, 11} {
		d := desired("a", 1)
		d.State.Services[0].Allow = nil
		for i := range lb.MaxAllow {
			d.State.Services[0].Allow = append(d.State.Services[0].Allow,
				netip.PrefixFrom(netip.AddrFrom4([4]byte{net, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
		}
		reconcile(t, r, d)
		if len(f.allowed) != lb.MaxAllow || f.mostAllowed > int(maps.MaxAllow) {
			t.Errorf("%d prefixes, at most %d; the map holds %d", len(f.allowed), f.mostAllowed, maps.MaxAllow)
		}
	}
}
