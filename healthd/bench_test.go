// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"
	"unique"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/lb"
)

// serverEnv makes the test binary the server of BenchmarkProbes.
const serverEnv = "WEIR_BENCH_SERVER"

// serve answers probes on every loopback address until it is killed.
func serve() {
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }))
}

func startServer(b *testing.B) (port uint16) {
	b.Helper()
	server := exec.Command(os.Args[0])
	server.Env = append(os.Environ(), serverEnv+"=1")
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	if _, err := fmt.Fscan(bufio.NewReader(out), &port); err != nil {
		b.Fatal(err)
	}
	return port
}

// BenchmarkProbes prints what 10 000 targets at an interval of 5 s cost, as a
// fraction of one core, the server in a process of its own; an operation is
// one interval. Twenty seconds: -bench Probes -benchtime 4x.
func BenchmarkProbes(b *testing.B) {
	const targets, interval = 10_000, 5 * time.Second
	for _, kind := range []lb.CheckType{lb.CheckTCP, lb.CheckHTTP} {
		b.Run(string(kind), func(b *testing.B) {
			port := startServer(b)
			d := New(slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			go func() { ended <- d.Run(ctx) }()
			var all []Target
			for i := range targets {
				all = append(all, unique.Make(Probe{Address: netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), Port: port, Type: kind,
					Path: "/health", Expect: "200-399", Interval: interval, Timeout: 2 * time.Second, Rise: 2, Fall: 3, Initial: lb.Unknown}))
			}
			d.Set(all, nil)
			time.Sleep(2 * interval) // first checks, and their spreading
			before, started := cpu(b), time.Now()
			for b.Loop() {
				time.Sleep(interval)
			}
			b.ReportMetric((cpu(b)-before).Seconds()/time.Since(started).Seconds()*100, "%core")
			up := 0
			for _, r := range d.Snapshot() {
				if r.Health == lb.Up {
					up++
				}
			}
			b.ReportMetric(float64(up), "up")
			cancel()
			if err := <-ended; err != nil {
				b.Error(err)
			}
		})
	}
}

// cpu is what this process used so far.
func cpu(b *testing.B) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
