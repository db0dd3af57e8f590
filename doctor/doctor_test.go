// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/netdev"
)

var (
	testVIP, testVIP6 = netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::10")
	server, server6   = netip.MustParseAddr("10.1.1.21"), netip.MustParseAddr("2001:db8:1::21")
)

// well are the facts of a router with nothing wrong: eth0 is a virtio NIC,
// veth0 a veth whose other end is veth1.
func well() *Facts {
	web := func(name string, vip, backend netip.Addr) lb.Service {
		return lb.Service{Name: name, Address: vip, Ports: lb.PortRange{First: 80, Last: 80}, Protocol: lb.TCP, Backends: []lb.Backend{{Address: backend, Port: 80, Weight: 1}}}
	}
	links := map[string]netdev.Link{
		"eth0":  {Name: "eth0", Index: 1, MTU: 1500, Up: true, Kind: "device"},
		"veth0": {Name: "veth0", Index: 2, MTU: 1500, Up: true, Kind: "veth", Parent: 3},
		"veth1": {Name: "veth1", Index: 3, MTU: 1500, Up: true, Kind: "veth", Parent: 2},
	}
	native := netdev.XDP{Known: true, Receive: true, Transmit: true}
	return &Facts{
		State: &lb.State{
			Interfaces: []lb.Interface{{Name: "eth0", Attach: lb.AttachXDP}, {Name: "veth0", Attach: lb.AttachXDP}},
			Services:   []lb.Service{web("web", testVIP, server), web("web6", testVIP6, server6)},
		},
		Release: "6.1.0-49-cloud-amd64", BTF: true, Memory: 1 << 30, CPUs: 2, Table: 1 << 20, Links: links,
		Sysctls: map[string]int64{"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1, "net/ipv4/neigh/default/gc_thresh3": 1024,
			"net/ipv6/neigh/default/gc_thresh3": 1024, "vm/panic_on_oom": 0},
		Devices: map[int]netdev.Device{
			1: {Link: links["eth0"], Driver: "virtio_net", Queues: 4, XDP: native},
			2: {Link: links["veth0"], Driver: "veth", XDP: native},
			3: {Link: links["veth1"], Driver: "veth", Features: map[string]bool{"rx-gro": true}},
		},
		Hooks:   map[string]lb.Attach{"eth0": lb.AttachXDP, "veth0": lb.AttachXDP},
		Holders: map[netip.Addr][]int{testVIP: {1}},
		Routes: map[netip.Addr]Route{
			testVIP6: {Hop: netdev.Hop{Ifindex: 1, NextHop: testVIP6}}, server: {Hop: netdev.Hop{Ifindex: 2, NextHop: server}},
			server6: {Hop: netdev.Hop{Ifindex: 2, NextHop: server6}},
		},
		Listeners: []Listener{{lb.UDP, netip.MustParseAddrPort("0.0.0.0:80")}, {lb.TCP, netip.MustParseAddrPort("0.0.0.0:22")}},
	}
}

func (f *Facts) device(index int, change func(*netdev.Device)) {
	d := f.Devices[index]
	change(&d)
	f.Devices[index] = d
}

func (f *Facts) generic() {
	f.Hooks = map[string]lb.Attach{"eth0": lb.AttachXDPGeneric, "veth0": lb.AttachXDPGeneric}
}

// TestJudge spoils one thing at a time: that, and nothing else, is found.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name          string
		spoil         func(*Facts)
		status        Status
		check, words  string // words of what and mend together
		subjectIsPart string
	}{
		{"nothing", func(*Facts) {}, OK, "", "", ""},
		{"old kernel", func(f *Facts) { f.Release = "5.15.0" }, Fail, "kernel", "newer kernel", "5.15.0"},
		{"odd kernel", func(f *Facts) { f.Release = "next" }, Fail, "kernel", "6.1", "next"},
		{"no btf", func(f *Facts) { f.BTF = false }, Fail, "btf", "CONFIG_DEBUG_INFO_BTF", ""},
		{"no bpffs", func(f *Facts) { f.Pins = errors.New("not in a bpffs") }, Fail, "bpffs", "mount -t bpf", ""},
		{"no root", func(f *Facts) { f.Missing = []string{"CAP_BPF"} }, Fail, "capabilities", "no CAP_BPF", ""},
		{"large table", func(f *Facts) { f.Table = 300 << 20 }, Warn, "table", "300 MiB", ""},
		{"huge table", func(f *Facts) { f.Table = 600 << 20 }, Fail, "table", "600 MiB", ""},
		{"panics", func(f *Facts) { f.Sysctls["vm/panic_on_oom"], f.Table = 1, 200<<20 }, Warn, "panic_on_oom", "reboots", ""},
		{"no forwarding", func(f *Facts) { f.Sysctls["net/ipv4/ip_forward"] = 0 }, Warn, "forwarding", "sysctl -w net.ipv4.ip_forward=1", ""},
		{"no forwarding of IPv6", func(f *Facts) { f.Sysctls["net/ipv6/conf/all/forwarding"] = 0 }, Warn, "forwarding", "forwarding=1", "ipv6"},
		{"few neighbours", func(f *Facts) { f.Sysctls["net/ipv6/neigh/default/gc_thresh3"] = 1 }, Fail, "neighbours", "gc_thresh3=4096", "ipv6"},
		{"rp_filter", func(f *Facts) { f.Sysctls["net/ipv4/conf/all/rp_filter"] = 1 }, OK, "", "", ""},
		{"conntrack", func(f *Facts) { f.Sysctls["net/netfilter/nf_conntrack_max"] = 1 }, OK, "", "", ""},
		{"missing interface", func(f *Facts) { f.State.Interfaces = append(f.State.Interfaces, lb.Interface{Name: "eth9"}) }, Fail, "interface", "does not exist", "eth9"},
		{"interface down", func(f *Facts) { l := f.Links["eth0"]; l.Up = false; f.Links["eth0"] = l }, Fail, "interface", "link set eth0 up", "eth0"},
		{"two hooks", func(f *Facts) { f.HooksErr = errors.New("cannot redirect") }, Fail, "attach", "the same attach", "interfaces"},
		{"no native XDP", func(f *Facts) { f.device(1, func(d *netdev.Device) { d.XDP.Receive = false }) }, Fail, "attach", "attach: tc", "eth0"},
		{"guest offloads", func(f *Facts) { f.device(1, func(d *netdev.Device) { d.GuestOffloads = true }) }, Fail, "attach", "guest_csum=off", "eth0"},
		{"LRO", func(f *Facts) { f.device(1, func(d *netdev.Device) { d.Features = map[string]bool{"rx-lro": true} }) }, Fail, "attach", "lro off", "eth0"},
		{"jumbo", func(f *Facts) { f.device(1, func(d *netdev.Device) { d.MTU = 9000 }) }, Fail, "attach", "mtu 3506", "eth0"},
		{"few queues", func(f *Facts) { f.device(1, func(d *netdev.Device) { d.Queues = 3 }) }, Warn, "attach", "4 queue pairs", "eth0"},
		{"generic with GRO", func(f *Facts) {
			f.generic()
			f.device(1, func(d *netdev.Device) { d.Features = map[string]bool{"rx-gro": true} })
		}, Fail, "attach", "gro off", "eth0"},
		{"generic", (*Facts).generic, OK, "", "", ""},
		{"other end without NAPI", func(f *Facts) { f.device(2, func(d *netdev.Device) { d.XDP.Transmit = false }) }, Fail, "attach", "ethtool -K veth1 gro on", "veth0"},
		{"the same on 6.1", func(f *Facts) {
			f.device(2, func(d *netdev.Device) { d.XDP = netdev.XDP{} })
			f.device(3, func(d *netdev.Device) { d.Features["rx-gro"] = false })
		}, Fail, "attach", "ethtool -K veth1 gro on", "veth0"},
		{"partial checksums", func(f *Facts) { f.Devices[3].Features["tx-checksum-ip-generic"] = true }, Fail, "attach", "ethtool -K veth1 tx off", "veth0"},
		{"other end elsewhere", func(f *Facts) { delete(f.Devices, 3) }, Warn, "attach", "cannot be read", "veth0"},
		{"VLAN tags aside", func(f *Facts) {
			f.device(1, func(d *netdev.Device) { d.Features = map[string]bool{"rx-vlan-hw-parse": true} })
			f.Links["eth0.7"] = netdev.Link{Name: "eth0.7", Index: 9, Kind: "vlan", Parent: 1}
		}, Fail, "vlan", "ethtool -K eth0 rxvlan off", "eth0"},
		{"offloads with tc", func(f *Facts) {
			f.Hooks = map[string]lb.Attach{"eth0": lb.AttachTC, "veth0": lb.AttachTC}
			f.device(1, func(d *netdev.Device) { d.Features, d.MTU = map[string]bool{"rx-lro": true, "rx-gro": true}, 9000 })
			f.Devices[3].Features["tx-checksum-ip-generic"] = true
		}, OK, "", "", ""},
		{"MTUs differ", func(f *Facts) { l := f.Links["veth0"]; l.MTU = 1400; f.Links["veth0"] = l }, Warn, "mtu", "veth0 1400", ""},
		{"no route to a VIP", func(f *Facts) { f.Routes[testVIP6] = Route{Err: errors.New("unreachable")} }, Fail, "vip", "ip route add 2001:db8::10/128", testVIP6.String()},
		{"VIP on two", func(f *Facts) { f.Holders[testVIP] = []int{1, 2} }, Warn, "vip", "ip addr del 203.0.113.10/32 dev veth0", testVIP.String()},
		{"VIP elsewhere", func(f *Facts) { f.Holders[testVIP] = []int{3} }, Warn, "vip", "{name: veth1}", testVIP.String()},
		{"no IPv6", func(f *Facts) {
			f.Sysctls["net/ipv6/conf/eth0/disable_ipv6"] = 1
			f.Routes[testVIP6] = Route{Err: errors.New("unreachable")}
		}, Fail, "vip", "disable_ipv6=0", testVIP6.String()},
		{"no IPv6 to a backend", func(f *Facts) {
			f.Sysctls["net/ipv6/conf/veth0/disable_ipv6"] = 1
			f.Routes[server6] = Route{Err: errors.New("unreachable")}
		}, Fail, "backend", "disable_ipv6=0", server6.String()},
		{"a listener", func(f *Facts) { f.Listeners = append(f.Listeners, Listener{lb.TCP, netip.AddrPortFrom(testVIP, 80)}) }, Warn, "listener", "ss -lntup", "web"},
		{"a listener on all IPv4", func(f *Facts) { f.Listeners[0].Protocol = lb.TCP }, Warn, "listener", "0.0.0.0:80", "web"},
		{"backend is the router", func(f *Facts) { f.Holders[server] = []int{2} }, Fail, "backend", "own address", server.String()},
		{"no route to a backend", func(f *Facts) { f.Routes[server] = Route{Err: errors.New("unreachable")} }, Fail, "backend", "has no route: unreachable", server.String()},
		{"backend elsewhere", func(f *Facts) { f.Routes[server] = Route{Hop: netdev.Hop{Ifindex: 3, NextHop: server}} }, Fail, "backend", "{name: veth1}", server.String()},
		{"backend behind a gateway", func(f *Facts) {
			f.Routes[server] = Route{Hop: netdev.Hop{Ifindex: 2, NextHop: netip.MustParseAddr("10.1.1.1")}}
		}, Warn, "backend", "gateway 10.1.1.1", server.String()},
	} {
		f := well()
		c.spoil(f)
		var found []Check
		for _, check := range Judge(f) {
			if check.Status != OK {
				found = append(found, check)
			}
		}
		if c.status == OK {
			if len(found) > 0 {
				t.Errorf("%s: found %+v", c.name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Status != c.status || found[0].Check != c.check || found[0].Mend == "" ||
			!strings.Contains(found[0].What+" "+found[0].Mend, c.words) || !strings.Contains(found[0].Subject, c.subjectIsPart) {
			t.Errorf("%s: found %+v", c.name, found)
		}
	}
	if checks := Judge(well()); Failed(checks) != 0 || !strings.Contains(checks[len(checks)-1].What, "return through") {
		t.Errorf("well: %+v", checks)
	}
}
