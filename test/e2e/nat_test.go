// SPDX-License-Identifier: Apache-2.0

// Package e2e runs real clients and servers through the programs.
package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weirlb/weir/internal/testenv"
	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/loader"
	"github.com/weirlb/weir/maps"
)

const backends, clients, payload = 3, 60, 200_000

// lab is client – router – backends. The VIPs are the router's own addresses,
// and the router does not forward: only weir can carry the traffic.
type lab struct {
	client, router testenv.NS
	backend        [backends]testenv.NS
	toClient       *net.Interface
	toBackend      [backends]*net.Interface
	backendMAC     [backends]net.HardwareAddr
}

var vips = map[string]string{"ipv4": "203.0.113.10", "ipv6": "2001:db8:ff::10"}

func backendAddress(family string, i int) netip.Addr {
	if family == "ipv4" {
		return netip.MustParseAddr(fmt.Sprintf("10.1.%d.21", i))
	}
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::21", i+1))
}

func newLab(t testing.TB, checksumOffload bool) *lab {
	l := &lab{client: testenv.NewNS(t, "client"), router: testenv.NewNS(t, "router")}
	l.connect(t, l.client, "public", "198.51.100.", "2001:db8:c::", checksumOffload)
	for i := range backends {
		l.backend[i] = testenv.NewNS(t, fmt.Sprintf("backend%d", i))
		l.connect(t, l.backend[i], fmt.Sprintf("guest%d", i), fmt.Sprintf("10.1.%d.", i), fmt.Sprintf("2001:db8:%x::", i+1), checksumOffload)
		l.backend[i].Do(t, func() { l.backendMAC[i] = device(t, "eth0").HardwareAddr })
	}
	testenv.Run(t, fmt.Sprintf("ip -n %s addr add %s/32 dev public", l.router.Name, vips["ipv4"]))
	testenv.Run(t, fmt.Sprintf("ip -n %s -6 addr add %s/128 dev public nodad", l.router.Name, vips["ipv6"]))
	testenv.Run(t, fmt.Sprintf("ip netns exec %s sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=1", l.router.Name))
	l.router.Do(t, func() {
		l.toClient = device(t, "public")
		for i := range backends {
			l.toBackend[i] = device(t, fmt.Sprintf("guest%d", i))
		}
	})
	return l
}

// connect joins a namespace's eth0 to a device of the router, which is .1 (::1)
// and its gateway; it is .21 (::21).
func (l *lab) connect(t testing.TB, ns testenv.NS, device, v4, v6 string, checksumOffload bool) {
	testenv.Run(t, fmt.Sprintf("ip link add %s netns %s type veth peer name eth0 netns %s", device, l.router.Name, ns.Name))
	for _, side := range []struct{ ns, device, v4, v6 string }{
		{l.router.Name, device, v4 + "1/24", v6 + "1/64"},
		{ns.Name, "eth0", v4 + "21/24", v6 + "21/64"},
	} {
		testenv.Run(t, fmt.Sprintf("ip -n %s addr add %s dev %s", side.ns, side.v4, side.device))
		testenv.Run(t, fmt.Sprintf("ip -n %s -6 addr add %s dev %s nodad", side.ns, side.v6, side.device))
		testenv.Run(t, fmt.Sprintf("ip -n %s link set %s up", side.ns, side.device))
		// A veth takes redirected XDP frames only when it runs NAPI.
		testenv.Run(t, fmt.Sprintf("ip netns exec %s ethtool -K %s gro on", side.ns, side.device))
		if !checksumOffload {
			testenv.Run(t, fmt.Sprintf("ip netns exec %s ethtool -K %s tx off", side.ns, side.device))
		}
	}
	testenv.Run(t, fmt.Sprintf("ip -n %s route add default via %s1", ns.Name, v4))
	// The gateway may not be reachable yet: the kernel learns of a carrier a moment later.
	testenv.Run(t, fmt.Sprintf("ip -n %s -6 route add default via %s1 dev eth0 onlink", ns.Name, v6))
}

func device(t testing.TB, name string) *net.Interface {
	d, err := net.InterfaceByName(name)
	if err != nil {
		t.Error(err)
		return &net.Interface{}
	}
	return d
}

// balance loads the programs on every NIC of the router and gives them a TCP
// service of the family on port 80, round robin over the backends' port 8080.
func (l *lab) balance(t *testing.T, hook lb.Attach, family string, resolved bool) {
	programs, err := loader.Load(loader.Options{Connections: 65536, HashKey: 1, XDP: hook == lb.AttachXDP})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { _ = programs.Close() })
	var ids []uint32
	for i := range backends {
		id, next := uint32(i+1), maps.Adjacency{
			Ifindex: l.toBackend[i].Index, MTU: l.toBackend[i].MTU,
			Source: l.toBackend[i].HardwareAddr, NextHop: backendAddress(family, i),
		}
		if resolved {
			next.Destination = l.backendMAC[i]
		}
		check(t, programs.Tables.PutAdjacency(maps.FirstAdjacency+id, next))
		check(t, programs.Tables.PutBackend(id, 1, lb.Backend{Address: backendAddress(family, i), Port: 8080, Weight: 1}, maps.FirstAdjacency+id))
		check(t, programs.Tables.SetRole(backendAddress(family, i), false, true))
		ids = append(ids, id)
	}
	service := &lb.Service{
		Name: "web", Address: netip.MustParseAddr(vips[family]), Ports: lb.PortRange{First: 80, Last: 80}, Protocol: lb.TCP,
		Algorithm: lb.RoundRobin,
		Timeouts:  lb.Timeouts{Idle: time.Hour, HalfOpen: 30 * time.Second, Closing: 30 * time.Second},
	}
	table := maps.Table{IDs: ids}
	check(t, programs.Tables.Allow(1, netip.PrefixFrom(service.Address, 0).Masked()))
	check(t, programs.Tables.PutTable(table))
	check(t, programs.Tables.PutService(1, service, table))
	check(t, programs.Tables.Publish(service.Key(), 1))
	check(t, programs.Tables.SetRole(service.Address, true, false))
	l.router.Do(t, func() {
		for _, d := range append([]*net.Interface{l.toClient}, l.toBackend[:]...) {
			check(t, programs.Attach(d.Name, d.Index, hook))
		}
	})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// serve answers each connection to a backend with its number, the client's
// address as the backend sees it, and what the client sent.
func (l *lab) serve(t *testing.T) {
	for i, ns := range l.backend {
		ns.Do(t, func() {
			listener, err := net.Listen("tcp", ":8080")
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = listener.Close() })
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					go answer(conn, i)
				}
			}()
		})
	}
}

func answer(conn net.Conn, backend int) {
	defer func() { _ = conn.Close() }()
	peer := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	sent, err := io.ReadAll(conn)
	if err != nil {
		return
	}
	head := fmt.Appendf(nil, "%d %s\n", backend, netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()))
	_, _ = conn.Write(append(head, sent...)) // what does not arrive, the client misses
}

// exchange sends the payload to the VIP and returns the backend that answered
// and the client's address as it saw it, both already compared with the truth.
func exchange(t *testing.T, vip string, body []byte) (backend int) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(vip, "80"), 5*time.Second)
	if err != nil {
		t.Error(err)
		return -1
	}
	defer func() { _ = conn.Close() }()
	check(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = conn.Write(body)
	check(t, err)
	check(t, conn.(*net.TCPConn).CloseWrite())
	got, err := io.ReadAll(conn)
	check(t, err)
	head, rest, _ := bytes.Cut(got, []byte("\n"))
	var seen string
	if _, err := fmt.Sscanf(string(head), "%d %s", &backend, &seen); err != nil {
		t.Errorf("answer %q: %v", head, err)
		return -1
	}
	if want := conn.LocalAddr().String(); seen != want {
		t.Errorf("backend saw client %s, want %s", seen, want)
	}
	if !bytes.Equal(rest, body) {
		t.Errorf("%d bytes came back, not the %d sent", len(rest), len(body))
	}
	return backend
}

// TestNAT runs real TCP connections through the programs on each hook: every
// byte comes back, backends see the client's own address, and round robin is
// exact. tc is also shown with checksum offload on, as hosts have it, and
// with next hops that only the kernel's neighbour table knows.
func TestNAT(t *testing.T) {
	body := bytes.Repeat([]byte("weir carries this "), payload/18)
	for _, c := range []struct {
		name              string
		hook              lb.Attach
		offload, resolved bool
	}{
		{"xdp", lb.AttachXDP, false, true},
		{"xdp with unresolved next hops", lb.AttachXDP, false, false},
		{"tc", lb.AttachTC, false, true},
		{"tc with checksum offload", lb.AttachTC, true, true},
		{"tc with unresolved next hops", lb.AttachTC, true, false},
	} {
		for family, vip := range vips {
			t.Run(c.name+"/"+family, func(t *testing.T) {
				l := newLab(t, c.offload)
				l.serve(t)
				l.balance(t, c.hook, family, c.resolved)
				var served [backends]int
				l.client.Do(t, func() {
					for range clients {
						if backend := exchange(t, vip, body); backend >= 0 {
							served[backend]++
						} else {
							return
						}
					}
				})
				for i, n := range served {
					if n != clients/backends {
						t.Errorf("backend %d served %d of %d, want a third", i, n, clients)
					}
				}
			})
		}
	}
}
