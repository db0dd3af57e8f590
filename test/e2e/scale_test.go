// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/api"
	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/internal/testenv"
)

const (
	scaleServices = 1000
	scalePort     = 10000 // of the first service; one each
	scaleTable    = 1 << 20
)

// BenchmarkScale measures the daemon with 1 000 services of 10 backends, each
// checked by tcp, and a table for 1 Mi connections. Run it with
// -benchtime=1x: it repeats each measurement itself, and reports the median,
// least and most.
func BenchmarkScale(b *testing.B) {
	router := scaleLab(b)
	w := newWeir(b, router)
	w.configure(scaleConfig())
	const rounds = 5
	var first, all, drained, written, status, conns []float64
	for round := range rounds {
		if round > 0 {
			w.stop(unix.SIGTERM)
			w.must("detach")
			check(b, os.RemoveAll(filepath.Join(w.folder, "state")))
		}
		toFirst, toAll := w.startAtScale(b)
		first, all = append(first, toFirst), append(all, toAll)
	}
	time.Sleep(15 * time.Second) // until the memory of the first checks is given back
	b.ReportMetric(w.anonymous(b), "MiB-anonymous")
	control := api.NewClient(filepath.Join(w.folder, "run", "weir.sock"))
	for range rounds {
		for _, drain := range []bool{true, false} {
			drained = append(drained, seconds(func() {
				check(b, control.Drain(context.Background(), api.Drain{Service: "s500", Backend: scaleBackend(500, 3), Drain: drain}))
			}))
			now, err := control.Status(context.Background())
			check(b, err)
			written = append(written, now.Reconcile.DurationS)
		}
		status = append(status, seconds(func() { w.must("status", "-o", "json") }))
	}
	w.fill(b, scaleTable)
	for range rounds {
		conns = append(conns, seconds(func() {
			if n := w.countConns(b); n != scaleTable {
				b.Errorf("weir conns printed %d connections of %d", n, scaleTable)
			}
		}))
	}
	report(b, "first-s", first)
	report(b, "all-s", all)
	report(b, "drain-s", drained)
	report(b, "written-s", written)
	report(b, "status-s", status)
	report(b, "conns-s", conns)
	b.ReportMetric(w.tables(b), "MiB-maps")
	b.ReportMetric(0, "ns/op") // says nothing here
}

// report gives the median, the least and the most.
func report(b *testing.B, unit string, values []float64) {
	slices.Sort(values)
	b.ReportMetric(values[len(values)/2], "median-"+unit)
	b.ReportMetric(values[0], "min-"+unit)
	b.ReportMetric(values[len(values)-1], "max-"+unit)
}

func seconds(do func()) float64 {
	began := time.Now()
	do()
	return time.Since(began).Seconds()
}

// scaleLab is a client, the router, and one namespace that is all backends.
func scaleLab(b *testing.B) (router testenv.NS) {
	l := &lab{client: testenv.NewNS(b, "client"), router: testenv.NewNS(b, "router")}
	l.connect(b, l.client, "public", "198.51.100.", "2001:db8:c::", false)
	servers := testenv.NewNS(b, "servers")
	l.connect(b, servers, "guest0", "10.1.0.", "2001:db8:1::", false)
	for i := range 10 {
		testenv.Run(b, fmt.Sprintf("ip -n %s addr add 10.1.0.%d/24 dev eth0", servers.Name, 101+i))
	}
	servers.Do(b, func() {
		for i := range scaleServices {
			listener, err := net.Listen("tcp4", fmt.Sprintf(":%d", scalePort+i))
			check(b, err)
			b.Cleanup(func() { _ = listener.Close() })
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_ = conn.Close()
				}
			}()
		}
	})
	scaleClient = l.client
	return l.router
}

// scaleClient is where connections to the services come from.
var scaleClient testenv.NS

func scaleBackend(service, backend int) string {
	return fmt.Sprintf("10.1.0.%d:%d", 101+backend, scalePort+service)
}

func scaleConfig() string {
	var text strings.Builder
	fmt.Fprintf(&text, "interfaces: [{name: public}, {name: guest0}]\ntable: {connections: %d}\nservices:\n", scaleTable)
	for i := range scaleServices {
		fmt.Fprintf(&text, "  - {name: s%d, address: %s, port: %d, protocol: tcp, allow: [0.0.0.0/0], backends: [", i, vips["ipv4"], scalePort+i)
		for j := range 10 {
			fmt.Fprintf(&text, "{address: 10.1.0.%d}, ", 101+j)
		}
		text.WriteString("]}\n")
	}
	return text.String()
}

// startAtScale starts the daemon and returns the seconds until a client is
// connected to the first of its services, and to the last.
func (w *weir) startAtScale(b *testing.B) (first, last float64) {
	w.daemon = w.command("run", "-c", w.config())
	w.log = &bytes.Buffer{}
	w.daemon.Stdout, w.daemon.Stderr = w.log, w.log
	began := time.Now()
	w.router.Do(b, func() { check(b, w.daemon.Start()) })
	connected := func(service int) float64 {
		address := net.JoinHostPort(vips["ipv4"], strconv.Itoa(scalePort+service))
		for time.Since(began) < time.Minute {
			conn, err := net.DialTimeout("tcp", address, 20*time.Millisecond)
			if err == nil {
				check(b, conn.Close())
				return time.Since(began).Seconds()
			}
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				time.Sleep(5 * time.Millisecond) // refused or unreachable: not there yet
			}
		}
		b.Errorf("no connection to service %d; the daemon says:\n%s", service, w.log)
		return 0
	}
	scaleClient.Do(b, func() { first, last = connected(0), connected(scaleServices-1) })
	return first, last
}

// anonymous is the daemon's own memory in MiB, without what it maps.
func (w *weir) anonymous(b *testing.B) float64 {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", w.daemon.Process.Pid))
	check(b, err)
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); fields[0] == "RssAnon:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			check(b, err)
			return kib / 1024
		}
	}
	b.Error("no RssAnon in the daemon's status")
	return 0
}

// fill writes n established connections of service 1 into the table.
func (w *weir) fill(b *testing.B, n int) {
	conns, err := ebpf.LoadPinnedMap(filepath.Join(w.folder, "bpffs", "weir", "maps", bpf.LBMapConns), nil)
	check(b, err)
	defer conns.Close()
	var now unix.Timespec
	check(b, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	tick := uint32(now.Nano() >> bpf.LBLimitTICK_SHIFT)
	perBucket := (n + int(conns.MaxEntries()) - 1) / int(conns.MaxEntries())
	for i, left := uint32(0), n; left > 0; i++ {
		var bucket bpf.LBBucket
		for way := range min(left, perBucket) {
			bucket.Ways[way] = bpf.LBConn{
				Client:  bpf.LBAddr{Bytes: netip.AddrFrom4([4]byte{10, byte(left >> 16), byte(left >> 8), byte(left)}).As16()},
				Service: 1, Backend: 1, Protocol: 6, State: uint8(bpf.LBConnStateCONN_ESTABLISHED), Seen: tick, Opened: tick,
			}
			left--
		}
		check(b, conns.Put(i, &bucket))
	}
}

// countConns returns the lines that weir conns prints.
func (w *weir) countConns(b *testing.B) (lines int) {
	c := w.command("conns", "-o", "json")
	out, err := c.StdoutPipe()
	check(b, err)
	w.router.Do(b, func() { check(b, c.Start()) })
	for buffer := make([]byte, 1<<20); ; {
		n, err := out.Read(buffer)
		lines += bytes.Count(buffer[:n], []byte{'\n'})
		if err != nil {
			check(b, c.Wait())
			return lines
		}
	}
}

// tables is the memory of all maps in MiB.
func (w *weir) tables(b *testing.B) (sum float64) {
	control := api.NewClient(filepath.Join(w.folder, "run", "weir.sock"))
	infos, err := control.Maps(context.Background())
	check(b, err)
	for _, info := range infos {
		sum += float64(info.Bytes) / (1 << 20)
	}
	return sum
}
