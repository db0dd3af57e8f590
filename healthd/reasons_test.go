// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unique"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/internal/testenv"
	"github.com/weirlb/weir/lb"
)

// fullListener accepts nobody and has no room for another connection.
func fullListener(t *testing.T) netip.AddrPort {
	t.Helper()
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	listener := socket()
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(listener, 0); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(listener)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := unix.Connect(socket(), at); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
	}
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(at.(*unix.SockaddrInet4).Port))
}

// neighbour joins a router to a host that answers, has another address that
// swallows everything, and tells of a network that it cannot reach.
func neighbour(t *testing.T) testenv.NS {
	t.Helper()
	router, host := testenv.NewNS(t, "prober"), testenv.NewNS(t, "host")
	testenv.Run(t, fmt.Sprintf("ip link add eth0 netns %s type veth peer name eth0 netns %s", router.Name, host.Name))
	for _, side := range []struct{ ns, end string }{{router.Name, "1"}, {host.Name, "2"}} {
		testenv.Run(t, fmt.Sprintf("ip -n %s addr add 192.0.2.%s/24 dev eth0", side.ns, side.end))
		testenv.Run(t, fmt.Sprintf("ip -n %s addr add 2001:db8::%s/64 dev eth0 nodad", side.ns, side.end))
		testenv.Run(t, fmt.Sprintf("ip -n %s link set eth0 up", side.ns))
	}
	for _, family := range []struct{ silent, far string }{{"192.0.2.9", "198.51.100.0/24 via 192.0.2.2"}, {"2001:db8::9", "2001:db8:1::/64 via 2001:db8::2"}} {
		testenv.Run(t, fmt.Sprintf("ip -n %s neigh add %s lladdr 02:00:00:00:00:99 dev eth0", router.Name, family.silent))
		testenv.Run(t, fmt.Sprintf("ip -n %s route add %s", router.Name, family.far))
	}
	testenv.Run(t, "ip netns exec "+host.Name+" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 "+
		"net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0") // each probe needs its answer
	testenv.Run(t, "ip -n "+host.Name+" route add unreachable 198.51.100.0/24")
	testenv.Run(t, "ip -n "+host.Name+" route add unreachable 2001:db8:1::/64")
	router.Do(t, func() {
		for _, address := range []string{"192.0.2.2", "2001:db8::2"} {
			p := Probe{Type: lb.CheckICMP, Address: netip.MustParseAddr(address), Timeout: 200 * time.Millisecond}
			for end := time.Now().Add(10 * time.Second); once(t, newChecker(p), p) != "" && time.Now().Before(end); {
			}
		}
	})
	return router
}

// TestReasons asks hosts of every kind, over both families.
func TestReasons(t *testing.T) {
	router := neighbour(t)
	const silence = "timeout after 300ms"
	probes := func(sockets string) {
		for _, c := range []struct {
			kind    lb.CheckType
			address string
			reason  string
		}{
			{lb.CheckTCP, "192.0.2.2", "connection refused"}, {lb.CheckTCP, "2001:db8::2", "connection refused"},
			{lb.CheckTCP, "192.0.2.9", silence}, {lb.CheckTCP, "2001:db8::9", silence},
			{lb.CheckTCP, "203.0.113.1", "network unreachable"}, {lb.CheckTCP, "2001:db8:2::1", "network unreachable"},
			{lb.CheckUDP, "192.0.2.2", "connection refused"}, {lb.CheckUDP, "2001:db8::2", "connection refused"},
			{lb.CheckUDP, "192.0.2.9", ""}, {lb.CheckUDP, "2001:db8::9", ""},
			{lb.CheckICMP, "192.0.2.2", ""}, {lb.CheckICMP, "2001:db8::2", ""},
			{lb.CheckICMP, "192.0.2.9", silence}, {lb.CheckICMP, "2001:db8::9", silence},
			{lb.CheckICMP, "203.0.113.1", "network unreachable"}, {lb.CheckICMP, "2001:db8:2::1", "network unreachable"},
		} {
			p := Probe{Type: c.kind, Address: netip.MustParseAddr(c.address), Port: 9, Timeout: 300 * time.Millisecond}
			if got := once(t, newChecker(p), p); got != c.reason {
				t.Errorf("%s %s%s: %q, want %q", c.kind, c.address, sockets, got, c.reason)
			}
		}
	}
	// Told by a router, of which none tells more than a few a second.
	for _, c := range []struct {
		kind            lb.CheckType
		address, reason string
	}{
		{lb.CheckUDP, "198.51.100.1", "no route to host"}, {lb.CheckUDP, "2001:db8:1::1", "network unreachable"},
		{lb.CheckTCP, "198.51.100.1", "no route to host"},
	} {
		p := Probe{Type: c.kind, Address: netip.MustParseAddr(c.address), Port: 9, Timeout: 3 * time.Second}
		router.Do(t, func() {
			if got := once(t, newChecker(p), p); got != c.reason {
				t.Errorf("%s %s: %q, want %q", c.kind, c.address, got, c.reason)
			}
		})
	}
	router.Do(t, func() { probes("") })
	router.Do(t, func() {
		pingSockets(t, "0 2147483647")
		dropRaw(t)
		probes(", without CAP_NET_RAW")
	})
	router.Do(t, func() {
		pingSockets(t, "1 0")
		dropRaw(t)
		p := Probe{Type: lb.CheckICMP, Address: netip.MustParseAddr("192.0.2.2"), Timeout: time.Second}
		if got := once(t, newChecker(p), p); got != "cannot check: not permitted" {
			t.Errorf("icmp without any socket: %q", got)
		}
	})
}

// pingSockets are for these groups, in the namespace of this thread.
func pingSockets(t *testing.T, groups string) {
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(groups), 0o600); err != nil {
		t.Error(err)
	}
}

// dropRaw takes CAP_NET_RAW from this thread.
func dropRaw(t *testing.T) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Error(err)
	}
	sets[0].Effective &^= 1 << unix.CAP_NET_RAW
	if err := unix.Capset(&header, &sets[0]); err != nil {
		t.Error(err)
	}
}

// TestFullBacklog: a server that accepts nobody is a timeout.
func TestFullBacklog(t *testing.T) {
	a := fullListener(t)
	for _, kind := range []lb.CheckType{lb.CheckTCP, lb.CheckHTTP, lb.CheckHTTPS} {
		p := Probe{Type: kind, Address: a.Addr(), Port: a.Port(), Timeout: 200 * time.Millisecond}
		if got := once(t, newChecker(p), p); got != "timeout after 200ms" {
			t.Errorf("%s: %q", kind, got)
		}
	}
}

// failing fails as told.
type failing struct{ with error }

func (f failing) Check(context.Context) error { return f.with }

// TestLocalFailures: what goes wrong on this host leaves the health as it was,
// is told in the reason, and logged once for all targets.
func TestLocalFailures(t *testing.T) {
	var log bytes.Buffer
	d := New(slog.New(slog.NewTextHandler(&log, nil)))
	for _, health := range []lb.Health{lb.Up, lb.Down, lb.Unknown} {
		p := Probe{Type: lb.CheckTCP, Interval: time.Hour, Timeout: time.Second, Rise: 1, Fall: 1, Initial: health}
		for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL,
			syscall.EPERM, syscall.EACCES} {
			s := newState(unique.Make(p), failing{fmt.Errorf("dial: %w", errno)}, Result{}, time.Now())
			d.probe(t.Context(), s)
			if s.result.Health != health || !strings.HasPrefix(s.result.Reason, "cannot check: ") {
				t.Errorf("%v: %s became %+v", errno, health, s.result)
			}
			s.checker = failing{}
			d.probe(t.Context(), s)
			if s.result.Health != lb.Up || s.result.Reason != "" {
				t.Errorf("after %v: %s became %+v", errno, health, s.result)
			}
		}
	}
	if n := strings.Count(log.String(), "cannot check"); n != 6 { // EPERM and EACCES read alike
		t.Errorf("%d lines:\n%s", n, &log)
	}
}

// TestNoFiles: a real lack of descriptors fails no target.
func TestNoFiles(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []lb.CheckType{lb.CheckTCP, lb.CheckHTTP, lb.CheckHTTPS, lb.CheckICMP, lb.CheckUDP} {
		p := Probe{Type: kind, Address: netip.MustParseAddr("127.0.0.1"), Port: 9, Timeout: time.Second}
		if got := once(t, newChecker(p), p); got != "cannot check: too many open files of weir (LimitNOFILE)" {
			t.Errorf("%s: %q", kind, got)
		}
	}
}
