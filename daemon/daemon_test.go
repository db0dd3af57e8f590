// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/config"
	"github.com/weirlb/weir/internal/testenv"
	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/netdev"
	"github.com/weirlb/weir/reconcile"
)

// router is a namespace with the interfaces pub and guest, whose routes lead to
// backends, and folders for a daemon in it.
type router struct {
	testenv.NS
	t      *testing.T
	folder string
}

func newRouter(t *testing.T) router {
	t.Helper()
	r := router{testenv.NewNS(t, "router"), t, t.TempDir()}
	for i, name := range []string{"pub", "guest"} {
		testenv.Run(t, fmt.Sprintf("ip -n %s link add %s type veth peer name %speer", r.Name, name, name))
		testenv.Run(t, fmt.Sprintf("ip -n %s addr add 10.0.%d.1/24 dev %s", r.Name, i, name))
		testenv.Run(t, fmt.Sprintf("ip -n %s link set %s up", r.Name, name))
		testenv.Run(t, fmt.Sprintf("ip -n %s link set %speer up", r.Name, name))
	}
	testenv.Run(t, fmt.Sprintf("ip -n %s route add 203.0.113.0/24 dev pub", r.Name))
	bpffs := filepath.Join(r.folder, "bpffs")
	if err := os.Mkdir(bpffs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
		t.Fatalf("mount a bpffs: %v", err)
	}
	t.Cleanup(func() {
		r.Do(t, func() { r.check(Detach(filepath.Join(bpffs, "weir"), r.folder)) })
		r.check(unix.Unmount(bpffs, 0))
	})
	return r
}

func (r router) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Error(err)
	}
}

const base = `table: {connections: 1000}
metrics: {listen: 127.0.0.1:9419}
interfaces: [{name: pub, attach: HOOK}, {name: guest, attach: HOOK}]
services:
  - {name: web, address: 203.0.113.1, port: 80, protocol: tcp, allow: [0.0.0.0/0], health_check: none, backends: [{address: 10.0.1.2}]}
`

func (r router) write(text string, replace ...string) {
	r.check(os.WriteFile(r.config(), []byte(strings.NewReplacer(replace...).Replace(text)), 0o600))
}

func (r router) config() string { return filepath.Join(r.folder, "weir.yaml") }

// daemon starts a daemon without its goroutines on this thread, for f to drive.
func (r router) daemon(f func(d *Daemon)) {
	r.t.Helper()
	r.Do(r.t, func() {
		network, err := netdev.Open()
		if err != nil {
			r.t.Error(err)
			return
		}
		defer network.Close()
		d := newDaemon(Options{Config: r.config(), BPFFS: filepath.Join(r.folder, "bpffs", "weir"), State: r.folder,
			Log: slog.New(slog.DiscardHandler)}, network)
		state, err := config.Load(r.config())
		if err == nil {
			err = d.start(state)
		}
		if err != nil {
			r.t.Errorf("start: %v", err)
			return
		}
		defer func() { r.check(d.programs.Close()) }()
		defer d.metrics.close()
		f(d)
	})
}

// programs lists what is attached, by interface: "a: xdp 7 tc 8", with ids.
func (r router) programs() string {
	var all []string
	ids := regexp.MustCompile(`prog/xdp id (\d+)`)
	for _, name := range []string{"pub", "guest"} {
		out, err := exec.Command("ip", "-n", r.Name, "-d", "link", "show", "dev", name).Output()
		r.check(err)
		all = append(all, name, fmt.Sprint(ids.FindStringSubmatch(string(out))))
	}
	return strings.Join(all, " ")
}

// seen is everything that a reload may change.
func (d *Daemon) seen() string {
	s, err := d.status()
	if err != nil {
		return err.Error()
	}
	vips := fmt.Sprint(d.network.vips)
	devices, err := d.programs.Attached()
	slices.Sort(devices)
	return fmt.Sprint(s.Interfaces, s.Services, s.Problems, s.Table, d.config.Revision, vips, devices, err, d.metrics.at, d.failing, d.hooks)
}

// TestRefusedReload: whatever a reload is refused for, and however late,
// nothing has changed.
func TestRefusedReload(t *testing.T) {
	// Tables of 65 536 slots, of which the map holds 64.
	greedy := ""
	for i := range 65 {
		greedy += fmt.Sprintf("  - {name: g%d, address: 203.0.113.9, port: %d, protocol: tcp, allow: [0.0.0.0/0], health_check: none, "+
			"backends: [{address: 10.0.1.2, weight: 65535}, {address: 10.0.1.3}]}\n", i, 1000+i)
	}
	for _, hook := range []string{"tc", "xdp-generic"} {
		other := map[string]string{"tc": "xdp-generic", "xdp-generic": "tc"}[hook]
		t.Run(hook, func(t *testing.T) {
			r := newRouter(t)
			r.write(base, "HOOK", hook)
			r.daemon(func(d *Daemon) {
				taken, err := net.Listen("tcp", "127.0.0.1:9420")
				if err != nil {
					t.Error(err)
					return
				}
				defer taken.Close()
				for _, c := range []struct {
					name    string
					text    string
					replace []string
					want    string
				}{
					{"not YAML", "services: x", nil, "services"},
					{"missing interface", base, []string{"HOOK", hook, "name: guest", "name: c"}, "interface c does not exist"},
					{"mixed hooks", base, []string{"name: guest, attach: HOOK", "name: guest, attach: " + other, "HOOK", hook}, "give all interfaces one hook"},
					{"taken address", base, []string{"HOOK", hook, "9419", "9420"}, "address already in use"},
					{"taken address, other hook", base, []string{"HOOK", other, "9419", "9420"}, "address already in use"},
					{"no room", base + greedy, []string{"HOOK", hook, "9419", "9421"}, "no room for a table"},
					{"no room, other hook", base + greedy, []string{"HOOK", other, "9419", "9421"}, "no room for a table"},
				} {
					before, programs := d.seen(), r.programs()
					r.write(c.text, c.replace...)
					if err := d.reload(); err == nil || !strings.Contains(err.Error(), c.want) {
						t.Errorf("%s: %v, want %q", c.name, err, c.want)
					}
					if d.config.Error == "" {
						t.Errorf("%s: status does not tell", c.name)
					}
					if after := d.seen(); after != before {
						t.Errorf("%s:\nbefore %s\nafter  %s", c.name, before, after)
					}
					if after := r.programs(); after != programs {
						t.Errorf("%s: programs %s, before %s", c.name, after, programs)
					}
					if free, err := net.Listen("tcp", "127.0.0.1:9421"); err != nil {
						t.Errorf("%s: %v", c.name, err)
					} else {
						r.check(free.Close())
					}
				}
				// A good one still goes through, to the other hook and address.
				r.write(base, "HOOK", other, "9419", "9421", "10.0.1.2", "10.0.1.3")
				r.check(d.reload())
				if d.hooks["pub"] != lb.Attach(other) || d.metrics.at.Port() != 9421 || d.config.Error != "" || d.config.Revision != 2 {
					t.Errorf("after a good reload: %s", d.seen())
				}
			})
		})
	}
}

// TestAttachRefused: an interface that takes no program refuses the reload; the
// others are as they were, and outlive the daemon.
func TestAttachRefused(t *testing.T) {
	r := newRouter(t)
	r.write(base, "HOOK", "tc")
	r.daemon(func(d *Daemon) {
		before := d.seen()
		// Native XDP is refused by a veth whose peer's MTU is too large for it.
		testenv.Run(t, "ip -n "+r.Name+" link set guestpeer mtu 9000")
		r.check(d.network.look())
		r.write(base, "HOOK", "xdp", "9419", "9421")
		if err := d.reload(); err == nil || !strings.Contains(err.Error(), "attach xdp to guest") {
			t.Errorf("reload: %v", err)
		}
		if after := d.seen(); after != before {
			t.Errorf("before %s\nafter  %s", before, after)
		}
		if got := r.programs(); strings.Contains(got, "xdp") {
			t.Errorf("XDP left on: %s", got)
		}
	})
	r.write(base, "HOOK", "tc")
	r.daemon(func(d *Daemon) {
		if devices, err := d.programs.Attached(); err != nil || len(devices) != 2 {
			t.Errorf("adopted %v, %v", devices, err)
		}
	})
}

// TestManyPrefixes: as many as all services may allow are loaded, and changed
// for as many others; time and memory are in the log (go test -v).
func TestManyPrefixes(t *testing.T) {
	r := newRouter(t)
	write := func(n int, net string) {
		var list strings.Builder
		for i := range n {
			fmt.Fprintf(&list, "%s%d.%d.%d/32,", net, i>>16, i>>8&255, i&255)
		}
		r.write(base, "HOOK", "tc", "0.0.0.0/0", strings.TrimSuffix(list.String(), ","))
	}
	loaded := func(d *Daemon) {
		infos, err := d.programs.Tables.Describe("")
		r.check(err)
		for _, info := range infos {
			if info.Name == "allow" && info.Entries != lb.MaxAllow {
				t.Errorf("%d prefixes in the map", info.Entries)
			}
		}
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		t.Logf("writing the maps %.2fs, heap %d MB", d.wrote.DurationS, memory.HeapAlloc>>20)
	}
	write(lb.MaxAllow, "10.")
	started := time.Now()
	r.daemon(func(d *Daemon) {
		t.Logf("%d prefixes: started in %s", lb.MaxAllow, time.Since(started))
		loaded(d)
		write(lb.MaxAllow, "11.")
		started = time.Now()
		r.check(d.reload())
		t.Logf("all changed in %s", time.Since(started))
		loaded(d)
		write(lb.MaxAllow+1, "10.")
		if err := d.reload(); err == nil || !strings.Contains(err.Error(), "services: allow 100001 prefixes in all, more than 100000; join") {
			t.Errorf("one more: %v", err)
		}
	})
	write(lb.MaxAllow, "11.")
	started = time.Now()
	r.daemon(func(d *Daemon) {
		t.Logf("restarted in %s", time.Since(started))
		loaded(d)
	})
}

// TestControl: what the control socket asks for, on the loop's side.
func TestControl(t *testing.T) {
	r := newRouter(t)
	r.write(base, "HOOK", "tc")
	key := reconcile.BackendKey{
		Service: lb.ServiceKey{Address: netip.MustParseAddr("203.0.113.1"), Ports: lb.PortRange{First: 80, Last: 80}, Protocol: lb.TCP},
		Backend: netip.MustParseAddrPort("10.0.1.2:80"),
	}
	r.daemon(func(d *Daemon) {
		r.check(d.drain(d.members[0], true))
		r.check(d.drain(d.members[0], true)) // again is no error, nor two
		s, err := d.status()
		if err != nil || s.Services[0].Backends[0].State != "drain" || len(d.saved.Drains) != 1 {
			t.Errorf("drained: %+v, %v, %v", s, err, d.saved.Drains)
		}
		r.check(d.reload())
		if !d.desired.Drains[key] {
			t.Error("a reload ended the drain")
		}
	})
	r.daemon(func(d *Daemon) {
		if !d.desired.Drains[key] {
			t.Error("a restart ended the drain")
		}
		r.check(d.drain(d.members[0], false))
		if d.desired.Drains[key] || len(d.saved.Drains) != 0 {
			t.Errorf("undrained: %v", d.saved.Drains)
		}
	})
}
