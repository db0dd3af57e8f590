// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/internal/testenv"
	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/maps"
)

var testVIP = netip.MustParseAddr("203.0.113.10")

// bpffs mounts one for the test.
func bpffs(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := unix.Mount("bpf", folder, "bpf", 0, ""); err != nil {
		t.Fatalf("mount a bpffs: %v", err)
	}
	t.Cleanup(func() { check(t, unix.Unmount(folder, 0)) })
	return filepath.Join(folder, "weir")
}

func loadPinned(t *testing.T, folder string, xdp bool) *Programs {
	t.Helper()
	p, err := Load(Options{Pins: folder, Connections: 1000, HashKey: 7, XDP: xdp})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return p
}

// TestRestart: maps and programs stay on while no daemon runs, the next one
// finds what the last one wrote, and detach leaves nothing.
func TestRestart(t *testing.T) {
	ns := testenv.NewNS(t, "router")
	// The dot is what a VLAN's name has and a pin's must not.
	testenv.Run(t, "ip -n "+ns.Name+" link add guest.1 type veth peer name end")
	folder := bpffs(t)
	on := func() string {
		out, err := exec.Command("ip", "netns", "exec", ns.Name, "ip", "-d", "link", "show", "guest.1").Output()
		check(t, err)
		return string(out)
	}
	key := lb.ServiceKey{Address: testVIP, Ports: lb.PortRange{First: 80, Last: 90}, Protocol: lb.UDP}
	for restart := range 3 {
		p := loadPinned(t, folder, true)
		if restart == 0 {
			service := &lb.Service{Address: key.Address, Ports: key.Ports, Protocol: key.Protocol, Algorithm: lb.Maglev}
			check(t, p.Tables.PutService(3, service, maps.Table{First: 5, IDs: []uint32{1, 2}}))
			check(t, p.Tables.Publish(key, 3))
		}
		found, err := p.Tables.Restore()
		check(t, err)
		if s := found.Services[3]; s.Key != key || s.Table.First != 5 || len(s.Table.IDs) != 2 || found.Published[key] != 3 {
			t.Errorf("restored %+v, published %v", s, found.Published)
		}
		ns.Do(t, func() {
			device, err := net.InterfaceByName("guest.1")
			check(t, err)
			check(t, p.Attach(device.Name, device.Index, lb.AttachXDP))
		})
		check(t, p.Close())
		if !strings.Contains(on(), "xdp") {
			t.Error("no program is on the interface while no daemon runs")
		}
	}
	ns.Do(t, func() { check(t, Detach(folder)) })
	if strings.Contains(on(), "xdp") {
		t.Error("detach leaves a program on the interface")
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("detach leaves pins: %v", err)
	}
	ns.Do(t, func() { check(t, Detach(folder)) }) // of nothing is no error
}

// TestHookChange: from XDP to tc and back, and an interface that comes back
// under the same name.
func TestHookChange(t *testing.T) {
	ns, folder := testenv.NewNS(t, "router"), bpffs(t)
	add := func() { testenv.Run(t, "ip -n "+ns.Name+" link add guest type veth peer name end") }
	add()
	for i, hook := range []lb.Attach{lb.AttachXDP, lb.AttachTC, lb.AttachXDPGeneric, lb.AttachTC} {
		if i == 3 {
			testenv.Run(t, "ip -n "+ns.Name+" link del guest")
			add()
		}
		p := loadPinned(t, folder, hook != lb.AttachTC)
		ns.Do(t, func() {
			device, err := net.InterfaceByName("guest")
			check(t, err)
			check(t, p.Attach(device.Name, device.Index, hook))
		})
		_, isXDP := p.attached["guest"+hookXDP]
		if isXDP != (hook != lb.AttachTC) || p.attached["guest"+hookTC] == nil {
			t.Errorf("%s: attached %v", hook, p.attached)
		}
		check(t, p.Close())
	}
	ns.Do(t, func() { check(t, Detach(folder)) })
}

// TestOtherABI: pins of another ABI are refused and stay as they are.
func TestOtherABI(t *testing.T) {
	folder := bpffs(t)
	check(t, loadPinned(t, folder, false).Close())
	m, err := ebpf.LoadPinnedMap(filepath.Join(pins(folder).maps(), bpf.LBMapPinned), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	other := bpf.LBPinned{AbiVersion: 77, BucketMask: 15}
	check(t, m.Put(uint32(0), &other))
	if _, err := Load(Options{Pins: folder, Connections: 1000}); !errors.Is(err, ErrABI) || !strings.Contains(err.Error(), "weir detach") {
		t.Errorf("error %v", err)
	}
	var after bpf.LBPinned
	check(t, m.Lookup(uint32(0), &after))
	if after != other {
		t.Errorf("pins changed to %+v", after)
	}
}

func TestLock(t *testing.T) {
	folder := bpffs(t)
	first, err := Lock(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(folder); err == nil || !strings.Contains(err.Error(), "another weir daemon") {
		t.Errorf("second lock: %v", err)
	}
	check(t, first.Close())
	again, err := Lock(folder)
	check(t, err)
	check(t, again.Close())
	if _, err := Lock(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not in a bpffs") {
		t.Errorf("lock outside a bpffs: %v", err)
	}
}
