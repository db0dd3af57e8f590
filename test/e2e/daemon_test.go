// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/api"
	"github.com/weirlb/weir/internal/testenv"
)

// weir is the command, run in a router's namespace with folders of its own, or
// installed on a machine.
type weir struct {
	t       testing.TB
	binary  string
	router  testenv.NS
	folder  string   // config, run, state; and bpffs, mounted
	sandbox []string // the command that the daemon is run by; none: itself
	machine *machine // nil: none
	daemon  *exec.Cmd
	log     *bytes.Buffer
}

func newWeir(t testing.TB, router testenv.NS) *weir {
	t.Helper()
	w := &weir{t: t, router: router, folder: t.TempDir()}
	w.binary = os.Getenv("WEIR_BINARY")
	if w.binary == "" {
		w.binary = filepath.Join(w.folder, "weir")
		if out, err := exec.Command("go", "build", "-o", w.binary, "../../cmd/weir").CombinedOutput(); err != nil {
			t.Fatalf("build weir: %v: %s", err, out)
		}
	}
	bpffs := filepath.Join(w.folder, "bpffs")
	check(t, os.Mkdir(bpffs, 0o700))
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
		t.Fatalf("mount a bpffs: %v", err)
	}
	t.Cleanup(func() {
		if w.daemon != nil {
			w.stop(unix.SIGTERM)
		}
		w.must("detach")
		check(t, unix.Unmount(bpffs, 0))
		if t.Failed() {
			t.Logf("daemon:\n%s", w.log)
		}
	})
	return w
}

func (w *weir) command(args ...string) *exec.Cmd {
	if w.machine != nil {
		return w.machine.command(append([]string{w.binary}, args...)...)
	}
	c := exec.Command(w.binary, args...)
	c.Env = append(os.Environ(),
		"WEIR_SOCKET="+filepath.Join(w.folder, "run", "weir.sock"), "WEIR_BPFFS="+filepath.Join(w.folder, "bpffs", "weir"),
		"WEIR_STATE="+filepath.Join(w.folder, "state"))
	return c
}

// run starts the command in the router's network namespace alone: `ip netns
// exec` would mount another /sys. It returns what it printed and its exit code.
func (w *weir) run(args ...string) (out string, code int) {
	c := w.command(args...)
	var both bytes.Buffer
	c.Stdout, c.Stderr = &both, &both
	w.router.Do(w.t, func() {
		if err := c.Start(); err != nil {
			w.t.Error(err)
		}
	})
	err := c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Error(err)
	}
	return both.String(), c.ProcessState.ExitCode()
}

func (w *weir) must(args ...string) string {
	w.t.Helper()
	out, code := w.run(args...)
	if code != 0 {
		w.t.Errorf("weir %s: exit %d: %s", strings.Join(args, " "), code, out)
	}
	return out
}

func (w *weir) configure(text string) {
	w.t.Helper()
	check(w.t, os.WriteFile(w.config(), []byte(text), 0o600))
}

func (w *weir) config() string { return filepath.Join(w.folder, "weir.yaml") }

// start runs the daemon and waits until it answers.
func (w *weir) start() {
	w.t.Helper()
	w.daemon = w.command("run", "-c", w.config())
	if w.sandbox != nil {
		w.daemon.Args = append(w.sandbox, w.daemon.Args...)
		w.daemon.Path, w.daemon.Err = exec.LookPath(w.sandbox[0])
	}
	if w.log == nil {
		w.log = &bytes.Buffer{}
	}
	w.daemon.Stdout, w.daemon.Stderr = w.log, w.log
	w.router.Do(w.t, func() { check(w.t, w.daemon.Start()) })
	w.await("an answer", func() bool {
		_, code := w.run("status")
		return code == 0
	})
}

func (w *weir) stop(signal unix.Signal) {
	w.t.Helper()
	check(w.t, w.daemon.Process.Signal(signal))
	err := w.daemon.Wait()
	if signal == unix.SIGTERM && err != nil {
		w.t.Errorf("daemon: %v", err)
	}
	w.daemon = nil
}

func (w *weir) status() (s api.Status) {
	w.t.Helper()
	out := w.must("status", "-o", "json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		w.t.Errorf("status: %v: %s", err, out)
	}
	return s
}

func (w *weir) await(what string, condition func() bool) {
	w.t.Helper()
	for end := time.Now().Add(60 * time.Second); !condition(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("no %s; the daemon says:\n%s", what, w.log)
		}
	}
}

// get asks the daemon's metrics listener, from the router.
func (w *weir) get(path string) (answer string) {
	w.router.Do(w.t, func() {
		conn, err := net.Dial("tcp", "127.0.0.1:9419")
		if err != nil {
			w.t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
		check(w.t, err)
		body, err := io.ReadAll(conn)
		check(w.t, err)
		answer = string(body)
	})
	return answer
}

// up waits until the service has n backends up.
func (w *weir) up(service string, n int) {
	w.t.Helper()
	w.await(fmt.Sprintf("%d backends of %s up", n, service), func() bool {
		up := 0
		for _, s := range w.status().Services {
			for _, b := range s.Backends {
				if s.Name == service && b.State == "up" {
					up++
				}
			}
		}
		return up == n
	})
}

const head = `interfaces: [{name: public, attach: %s}, {name: guest0}, {name: guest1}, {name: guest2}]
table: {connections: 10000}
metrics: {listen: 127.0.0.1:9419}
services:
`

// service of a family on port 80, in YAML.
func service(name, family string, weights ...int) string {
	anyone := map[string]string{"ipv4": "0.0.0.0/0", "ipv6": "::/0"}[family]
	text := fmt.Sprintf("  - name: %s\n    address: %q\n    port: 80\n    protocol: tcp\n    allow: [%q]\n"+
		"    health_check: {interval: 200ms, timeout: 200ms, rise: 1, fall: 2}\n    backends:\n", name, vips[family], anyone)
	for i, weight := range weights {
		text += fmt.Sprintf("      - {address: %q, port: 8080, weight: %d}\n", backendAddress(family, i), weight)
	}
	return text
}

func (l *lab) ask(t *testing.T, family string, times int) (served [backends]int) {
	t.Helper()
	l.client.Do(t, func() {
		for range times {
			if i := exchange(t, vips[family], []byte("hello")); i >= 0 {
				served[i]++
			}
		}
	})
	return served
}

// TestDaemon drives the whole of weir by its commands, on each hook: traffic
// of both families, weights changed live, a bad file, a drain that outlives a
// restart, kill -9 with a connection open, and detach.
func TestDaemon(t *testing.T) {
	for _, hook := range []string{"xdp", "tc"} {
		t.Run(hook, func(t *testing.T) {
			l := newLab(t, hook == "tc")
			l.routeVIPs(t)
			l.serve(t)
			w := newWeir(t, l.router)
			w.configure(fmt.Sprintf(head, hook) + service("web", "ipv4", 1, 1, 1) + service("web6", "ipv6", 1, 1, 1))
			w.start()
			w.up("web", 3)
			w.up("web6", 3)
			for family := range vips {
				if served := l.ask(t, family, 12); served != [backends]int{4, 4, 4} {
					t.Errorf("%s: served %v", family, served)
				}
			}
			if out, code := w.run("run", "-c", w.config()); code != 1 || !strings.Contains(out, "another weir daemon") {
				t.Errorf("second daemon: exit %d: %s", code, out)
			}

			w.configure(fmt.Sprintf(head, hook) + service("web", "ipv4", 0, 1, 3) + service("web6", "ipv6", 1, 1, 1))
			w.must("reload")
			if served := l.ask(t, "ipv4", 8); served != [backends]int{0, 2, 6} {
				t.Errorf("weights 0, 1, 3: served %v of 8", served)
			}
			w.configure(strings.Replace(fmt.Sprintf(head, hook), "10000", "90000", 1) + service("web", "ipv4", 1, 1, 1))
			if out, code := w.run("reload"); code != 1 || !strings.Contains(out, "table.connections") {
				t.Errorf("another table size: exit %d: %s", code, out)
			}
			w.configure("services: nonsense\n")
			if out, code := w.run("reload"); code != 2 || !strings.Contains(out, "weir.yaml:1: services") {
				t.Errorf("bad file: exit %d: %s", code, out)
			}
			if s := w.status(); s.Config.Error == "" || len(s.Services) != 2 || s.Services[0].Connections.Opened != 20 {
				t.Errorf("after a bad file: %+v", s)
			}

			w.must("drain", "web", backendAddress("ipv4", 2).String()+":8080")
			conn := l.open(t, "ipv4")
			w.stop(unix.SIGKILL)
			talk(t, conn, "while no daemon runs")
			if served := l.ask(t, "ipv4", 2); served != [backends]int{0, 2, 0} {
				t.Errorf("without a daemon: served %v of 2", served)
			}
			w.configure(fmt.Sprintf(head, hook) + service("web", "ipv4", 1, 1, 1))
			w.start()
			w.up("web", 2)
			if served := l.ask(t, "ipv4", 4); served != [backends]int{2, 2, 0} {
				t.Errorf("drained over a restart: served %v of 4", served)
			}
			talk(t, conn, "after the restart")
			check(t, conn.Close())
			if s := w.status(); s.Services[0].Connections.Opened != 27 || s.Services[0].Backends[2].State != "drain" {
				t.Errorf("after the restart: %+v", s.Services)
			}
			if got := w.get("/metrics"); !strings.Contains(got, `weir_service_connections_opened_total{service="web"} 27`) {
				t.Errorf("metrics: %s", got)
			}
			if got := w.get("/readyz"); !strings.HasSuffix(got, "ok\n") {
				t.Errorf("ready: %s", got)
			}
			w.must("undrain", "web", backendAddress("ipv4", 2).String()+":8080")
			if served := l.ask(t, "ipv4", 3); served != [backends]int{1, 1, 1} {
				t.Errorf("undrained: served %v of 3", served)
			}

			if out, code := w.run("detach"); code != 1 || !strings.Contains(out, "--force") {
				t.Errorf("detach beside a daemon: exit %d: %s", code, out)
			}
			w.stop(unix.SIGTERM)
			w.must("detach")
			out, err := exec.Command("ip", "-n", l.router.Name, "addr").Output()
			check(t, err)
			if strings.Contains(string(out), vips["ipv4"]) || strings.Contains(string(out), vips["ipv6"]) {
				t.Errorf("detach left a VIP:\n%s", out)
			}
		})
	}
}

// open opens a connection through the VIP and keeps it.
func (l *lab) open(t *testing.T, family string) (conn net.Conn) {
	l.client.Do(t, func() {
		var err error
		if conn, err = net.DialTimeout("tcp", net.JoinHostPort(vips[family], "80"), 5*time.Second); err != nil {
			t.Errorf("open: %v", err)
		}
	})
	if conn == nil {
		t.FailNow()
	}
	return conn
}

// talk sends on a connection and waits until the other end's kernel has it.
func talk(t *testing.T, conn net.Conn, when string) {
	t.Helper()
	if _, err := conn.Write([]byte(when)); err != nil {
		t.Errorf("%s: %v", when, err)
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	check(t, err)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var unsent int
		var errno error
		check(t, raw.Control(func(fd uintptr) { unsent, errno = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) }))
		if errno == nil && unsent == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%s: %d bytes are not acknowledged (%v)", when, unsent, errno)
			return
		}
	}
}
