// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unique"

	"github.com/weirlb/weir/lb"
)

func addrPort(t *testing.T, address string) netip.AddrPort {
	t.Helper()
	parsed, err := netip.ParseAddrPort(strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// closedPort is a port of loopback on which nobody listens.
func closedPort(t *testing.T, network string) netip.AddrPort {
	t.Helper()
	if network == "udp" {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return addrPort(t, conn.LocalAddr().String())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return addrPort(t, listener.Addr().String())
}

// TestCheckers probes real sockets, answering and failing ones.
func TestCheckers(t *testing.T) {
	handler := http.NewServeMux()
	handler.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "www.example.com" {
			w.WriteHeader(http.StatusMisdirectedRequest)
		}
	})
	handler.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	handler.Handle("/moved", http.RedirectHandler("/ok", http.StatusFound))
	handler.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })

	web := func(kind lb.CheckType, server *httptest.Server, path string) Probe {
		a := addrPort(t, server.URL)
		return Probe{Address: a.Addr(), Port: a.Port(), Type: kind, Path: path, Host: "www.example.com", Expect: "200-399"}
	}
	at := func(kind lb.CheckType, a netip.AddrPort) Probe {
		return Probe{Address: a.Addr(), Port: a.Port(), Type: kind}
	}
	verified := web(lb.CheckHTTPS, secure, "/ok")
	verified.Verify = true
	only200 := web(lb.CheckHTTP, plain, "/moved")
	only200.Expect = "200-200"
	for _, c := range []struct {
		name   string
		probe  Probe
		reason string // empty: success
	}{
		{"tcp", at(lb.CheckTCP, addrPort(t, plain.URL)), ""},
		{"tcp refused", at(lb.CheckTCP, closedPort(t, "tcp")), "connection refused"},
		{"http", web(lb.CheckHTTP, plain, "/ok"), ""},
		{"http 500", web(lb.CheckHTTP, plain, "/broken"), "HTTP 500"},
		{"http redirect expected", web(lb.CheckHTTP, plain, "/moved"), ""},
		{"http redirect not expected", only200, "HTTP 302"},
		{"http timeout", web(lb.CheckHTTP, plain, "/slow"), "timeout after 1s"},
		{"https", web(lb.CheckHTTPS, secure, "/ok"), ""},
		{"https verified", verified, "certificate signed by unknown authority"},
		{"udp silent", at(lb.CheckUDP, addrPort(t, silent.LocalAddr().String())), ""},
		{"udp closed", at(lb.CheckUDP, closedPort(t, "udp")), "connection refused"},
		{"icmp", at(lb.CheckICMP, netip.MustParseAddrPort("127.0.0.1:0")), ""},
		{"icmp6", at(lb.CheckICMP, netip.MustParseAddrPort("[::1]:0")), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.probe.Timeout = time.Second
			err := check(t.Context(), &state{target: unique.Make(c.probe), checker: newChecker(c.probe)})
			if got := reasonOf(err); got != c.reason {
				t.Errorf("%q, want %q", got, c.reason)
			}
		})
	}
}

func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestDaemon: a server that starts to fail is found down with the reason, one
// that is removed is probed no more, and nothing runs after the end.
func TestDaemon(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	var probes, broken atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		probes.Add(1)
		if broken.Load() > 0 {
			w.WriteHeader(503)
		}
	}))
	a := addrPort(t, server.URL)
	target := unique.Make(Probe{Address: a.Addr(), Port: a.Port(), Type: lb.CheckHTTP, Expect: "200-299",
		Interval: 10 * time.Millisecond, Timeout: 10 * time.Second, Rise: 1, Fall: 2, Initial: lb.Unknown})
	d := New(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()

	d.Set([]Target{target}, nil)
	if got := d.Snapshot()[target].Health; got == lb.Down {
		t.Errorf("starts %s", got)
	}
	await(t, d, target, lb.Up, "")
	broken.Store(1)
	await(t, d, target, lb.Down, "HTTP 503")
	broken.Store(0)
	await(t, d, target, lb.Up, "")

	d.Set(nil, nil)
	if len(d.Snapshot()) != 0 {
		t.Error("removed target is still there")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("end: %v", err)
	}
	after := probes.Load()
	server.Close()
	for range 100 {
		if runtime.NumGoroutine() <= goroutines {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if probes.Load() != after {
		t.Error("probed after the end")
	}
}

// silent never answers, and counts its probes.
type silent struct{ begun, running, most *atomic.Int64 }

func (s silent) Check(ctx context.Context) error {
	s.begun.Add(1)
	if n := s.running.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	defer s.running.Add(-1)
	<-ctx.Done()
	return ctx.Err()
}

// TestSilentTargets: targets that hold their probes delay no other's, and one
// that is removed and comes back meanwhile has no second probe beside.
func TestSilentTargets(t *testing.T) {
	const n = 5000
	d, s := New(slog.New(slog.DiscardHandler)), silent{new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)}
	d.checker = func(Probe) Checker { return s }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	var targets []Target
	for port := range uint16(n) {
		targets = append(targets, unique.Make(Probe{Port: port, Type: lb.CheckTCP, Interval: time.Hour, Timeout: time.Hour, Rise: 1, Fall: 1}))
	}
	begun := func(wanted int64) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); s.begun.Load() < wanted; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d probes begun, want %d", s.begun.Load(), wanted)
			}
		}
	}
	d.Set(targets, nil)
	begun(n)
	d.Set(targets[1:], nil)
	d.Set(targets, nil)
	d.Set(append(targets, unique.Make(Probe{Port: 9, Type: lb.CheckUDP, Interval: time.Hour, Timeout: time.Hour})), nil)
	begun(n + 1) // the new one; the one that came back was queued before it
	if most := s.most.Load(); most != n+1 {
		t.Errorf("%d probes at once for %d targets", most, n+1)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("end: %v", err)
	}
}

func await(t *testing.T, d *Daemon, target Target, health lb.Health, reason string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		select {
		case <-d.Changed():
		case <-time.After(50 * time.Millisecond):
		}
		if r := d.Snapshot()[target]; r.Health == health && r.Reason == reason {
			return
		}
	}
	t.Fatalf("%+v, want %s %q", d.Snapshot()[target], health, reason)
}

// TestSpread: after the first, checks of many targets fall evenly into the
// interval.
func TestSpread(t *testing.T) {
	d, start := New(slog.New(slog.DiscardHandler)), time.Now()
	var quarters [4]int
	for port := range uint16(4000) {
		s := &state{target: unique.Make(Probe{Port: port, Interval: 4 * time.Second}), checks: 1}
		quarters[int(d.next(s, start, start).Sub(start)/time.Second)%4]++
	}
	if quarters[0] != 0 {
		t.Errorf("%d targets again within a quarter of their interval", quarters[0])
	}
	for _, n := range quarters[1:] {
		if n < 1200 || n > 1470 {
			t.Errorf("4000 targets spread %v", quarters)
		}
	}
}
