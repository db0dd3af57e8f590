// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/api"
	"github.com/weirlb/weir/internal/testenv"
)

// TestNetworkChanges: weir follows a backend that changes its MAC, a NIC that
// is unplugged and comes back, and a backend that fails, with traffic.
func TestNetworkChanges(t *testing.T) {
	l := newLab(t, false)
	l.serve(t)
	w := newWeir(t, l.router)
	w.configure(fmt.Sprintf(head, "xdp") + service("web", "ipv4", 1, 1, 1))
	w.start()
	w.up("web", 3)

	// As a migrated machine does: another MAC, announced by an ARP request.
	ns := l.backend[1].Name
	testenv.Run(t, "ip -n "+ns+" link set eth0 address 02:00:00:00:77:01")
	testenv.Run(t, "ip -n "+ns+" neigh flush dev eth0")
	testenv.Run(t, "ip netns exec "+ns+" ping -c 1 -W 5 10.1.1.1")
	w.await("traffic to the new MAC", func() bool { return l.served(t, "ipv4", 3) == [backends]int{1, 1, 1} })

	testenv.Run(t, "ip -n "+l.router.Name+" link del guest2")
	w.await("a problem in status", func() bool {
		for _, i := range w.status().Interfaces {
			if i.Name == "guest2" {
				return !i.OK && i.Problem != ""
			}
		}
		return false
	})
	w.up("web", 2)
	if served := l.ask(t, "ipv4", 4); served != [backends]int{2, 2, 0} {
		t.Errorf("without guest2: served %v of 4", served)
	}
	l.connect(t, l.backend[2], "guest2", "10.1.2.", "2001:db8:3::", false)
	w.up("web", 3)
	if served := l.ask(t, "ipv4", 3); served != [backends]int{1, 1, 1} {
		t.Errorf("after guest2 came back: served %v of 3", served)
	}
	for _, i := range w.status().Interfaces {
		if !i.OK || i.Attach != "xdp" {
			t.Errorf("interface %+v", i)
		}
	}

	testenv.Run(t, "ip -n "+l.backend[0].Name+" link set eth0 down")
	w.up("web", 2)
	if served := l.ask(t, "ipv4", 4); served[0] != 0 {
		t.Errorf("with a backend down: served %v of 4", served)
	}
	var down api.Backend
	for _, b := range w.status().Services[0].Backends {
		if b.State == "down" {
			down = b
		}
	}
	if down.Address != "10.1.0.21" || down.Reason == "" {
		t.Errorf("down: %+v", down)
	}
}

// served is ask whose failures are no errors yet.
func (l *lab) served(t *testing.T, family string, times int) (served [backends]int) {
	l.client.Do(t, func() {
		for range times {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(vips[family], "80"), time.Second)
			if err != nil {
				continue
			}
			check(t, conn.SetDeadline(time.Now().Add(2*time.Second)))
			var i int
			_ = conn.(*net.TCPConn).CloseWrite()
			if _, err := fmt.Fscanf(conn, "%d", &i); err == nil {
				served[i]++
			}
			_ = conn.Close()
		}
	})
	return served
}

// TestKillUnderLoad: clients open connections all the time while the daemon is
// killed, started, reloaded and a backend drained: none fails.
func TestKillUnderLoad(t *testing.T) {
	l := newLab(t, true)
	l.serve(t)
	w := newWeir(t, l.router)
	text := fmt.Sprintf(head, "auto") + service("web", "ipv4", 1, 1, 1)
	w.configure(text)
	w.start()
	w.up("web", 3)

	stop := make(chan struct{})
	var load sync.WaitGroup
	var exchanges [4]int
	for i := range exchanges {
		load.Go(func() {
			l.client.Do(t, func() {
				for {
					select {
					case <-stop:
						return
					default:
						if exchange(t, vips["ipv4"], bytes.Repeat([]byte("load"), 1000)) < 0 {
							return
						}
						exchanges[i]++
					}
				}
			})
		})
	}
	for range 3 {
		w.stop(unix.SIGKILL)
		w.start()
		w.must("drain", "web", "10.1.0.21:8080")
		w.configure(strings.Replace(text, "weight: 1", "weight: 3", 1))
		w.must("reload")
		w.must("undrain", "web", "10.1.0.21:8080")
		w.configure(text)
		w.must("reload")
	}
	close(stop)
	load.Wait()
	total := 0
	for _, n := range exchanges {
		total += n
	}
	if total < 50 {
		t.Errorf("only %d exchanges under all that", total)
	}
	if opened := w.status().Services[0].Connections.Opened; opened != uint64(total) {
		t.Errorf("%d connections counted, %d made", opened, total)
	}
}

// TestUDP: datagrams of both families come back from the backends in turn, and
// `weir conns` shows them.
func TestUDP(t *testing.T) {
	for _, hook := range []string{"xdp", "tc"} {
		t.Run(hook, func(t *testing.T) {
			l := newLab(t, hook == "tc")
			l.serveUDP(t)
			w := newWeir(t, l.router)
			text := fmt.Sprintf(head, hook)
			for _, family := range []string{"ipv4", "ipv6"} {
				s := strings.ReplaceAll(service("dns-"+family, family, 1, 1, 1), "protocol: tcp", "protocol: udp")
				text += strings.ReplaceAll(s, "{interval", "{type: udp, interval")
			}
			w.configure(text)
			w.start()
			for family, vip := range vips {
				w.up("dns-"+family, 3)
				var served [backends]int
				l.client.Do(t, func() {
					for range 9 {
						served[askUDP(t, vip)]++
					}
				})
				if served != [backends]int{3, 3, 3} {
					t.Errorf("%s: served %v of 9", family, served)
				}
			}
			seen := 0
			for line := range strings.Lines(w.must("conns", "-o", "json", "--service", "dns-ipv6")) {
				var c api.Conn
				if err := json.Unmarshal([]byte(line), &c); err != nil {
					t.Fatalf("conns: %v: %s", err, line)
				}
				if c.Protocol != "udp" || c.VIP.String() != "["+vips["ipv6"]+"]:80" || c.Client.Addr().String() != "2001:db8:c::21" {
					t.Errorf("connection %+v", c)
				}
				seen++
			}
			if seen != 9 {
				t.Errorf("conns shows %d connections, want 9", seen)
			}
		})
	}
}

// serveUDP answers datagrams with the backend's number.
func (l *lab) serveUDP(t *testing.T) {
	for i, ns := range l.backend {
		ns.Do(t, func() {
			conn, err := net.ListenPacket("udp", ":8080")
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			go func() {
				for buffer := make([]byte, 2000); ; {
					_, from, err := conn.ReadFrom(buffer)
					if err != nil {
						return
					}
					_, _ = conn.WriteTo(fmt.Append(nil, i), from)
				}
			}()
		})
	}
}

func askUDP(t *testing.T, vip string) (backend int) {
	conn, err := net.Dial("udp", net.JoinHostPort(vip, "80"))
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	check(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = conn.Write([]byte("which?"))
	check(t, err)
	answer := make([]byte, 10)
	n, err := conn.Read(answer)
	check(t, err)
	backend, err = strconv.Atoi(string(answer[:n]))
	check(t, err)
	return backend
}
