// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/internal/testenv"
)

//go:embed sandbox.sh
var sandbox string

const unitFile = "../../packaging/weir.service"

// unit is a systemd unit's settings, each with its words.
type unit map[string][]string

func readUnit(t *testing.T) unit {
	t.Helper()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	u := unit{}
	for line := range strings.Lines(string(text)) {
		if key, words, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			u[key] = append(u[key], strings.Fields(words)...)
		}
	}
	return u
}

// need skips a test for want of programs, by name.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs %s: %v", p, err)
		}
	}
}

// TestUnitVerifies has systemd judge the unit, with programs where the unit
// expects them.
func TestUnitVerifies(t *testing.T) {
	need(t, "systemd-analyze")
	root := t.TempDir()
	text, err := os.ReadFile(unitFile)
	check(t, err)
	for path, mode := range map[string]os.FileMode{"etc/systemd/system/weir.service": 0o644, "usr/bin/weir": 0o755, "bin/mkdir": 0o755} {
		check(t, os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755))
		check(t, os.WriteFile(filepath.Join(root, path), text, mode))
	}
	// The targets that every service has by default.
	check(t, os.MkdirAll(filepath.Join(root, "usr/lib/systemd"), 0o755))
	check(t, os.CopyFS(filepath.Join(root, "usr/lib/systemd/system"), os.DirFS("/usr/lib/systemd/system")))
	if out, err := exec.Command("systemd-analyze", "verify", "--root="+root, "weir.service").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestUnitCapabilities runs the daemon as root with the capabilities that the
// unit names, no others, where only the unit's folders can be written.
func TestUnitCapabilities(t *testing.T) {
	need(t, "setpriv", "unshare")
	u := readUnit(t)
	for _, hook := range []string{"xdp", "tc"} {
		t.Run(hook, func(t *testing.T) {
			l := newLab(t, hook == "tc")
			l.routeVIPs(t)
			l.serve(t)
			w := newWeir(t, l.router)
			w.confine(u)
			w.configure(fmt.Sprintf(head, hook) + service("web", "ipv4", 1, 1, 1) + service("web6", "ipv6", 1, 1, 1))
			w.start()
			w.up("web", 3)
			w.up("web6", 3)
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.daemon.Process.Pid))
			check(t, err)
			if want := fmt.Sprintf("CapEff:\t%016x\nCapBnd:\t%016[1]x\n", capabilityMask(t, u)); !strings.Contains(string(status), want) {
				t.Errorf("want %q, the daemon runs with\n%s", want, status)
			}
			for family, vip := range vips {
				if served := l.ask(t, family, 6); served != [backends]int{2, 2, 2} {
					t.Errorf("%s: served %v of 6", family, served)
				}
				if out := output(t, "ip", "-n", l.router.Name, "addr", "show", "to", vip); !strings.Contains(out, vip) {
					t.Errorf("VIP %s is on no interface", vip)
				}
				neighbours := output(t, "ip", "-n", l.router.Name, "neigh", "show", "to", backendAddress(family, 0).String())
				if !strings.Contains(neighbours, "managed") {
					t.Errorf("neighbour %s is not kept resolved: %s", backendAddress(family, 0), neighbours)
				}
			}
			w.configure(fmt.Sprintf(head, hook) + service("web", "ipv4", 0, 1, 3))
			w.must("reload")
			if served := l.ask(t, "ipv4", 8); served != [backends]int{0, 2, 6} {
				t.Errorf("reloaded: served %v of 8", served)
			}
			w.stop(unix.SIGTERM)
			if served := l.ask(t, "ipv4", 4); served != [backends]int{0, 1, 3} {
				t.Errorf("stopped: served %v of 4", served)
			}
			if strings.Contains(w.log.String(), "level=ERROR") || strings.Contains(w.log.String(), "level=WARN") {
				t.Errorf("the daemon complains:\n%s", w.log)
			}
		})
	}
}

// confine has the daemon run as systemd would by the unit, whose folders are
// the test's own.
func (w *weir) confine(u unit) {
	w.t.Helper()
	run, state, pins := filepath.Join(w.folder, "run"), filepath.Join(w.folder, "state"), filepath.Join(w.folder, "bpffs", "weir")
	ours := map[string]string{"RuntimeDirectory=weir": run, "StateDirectory=weir": state, "ReadWritePaths=-/sys/fs/bpf/weir": pins}
	var writable []string
	for setting, folder := range ours {
		key, value, _ := strings.Cut(setting, "=")
		check(w.t, os.MkdirAll(folder, 0o700))
		if slices.Contains(u[key], value) {
			writable = append(writable, folder)
		}
	}
	var names []string
	for _, c := range u["CapabilityBoundingSet"] {
		names = append(names, strings.ToLower(strings.TrimPrefix(c, "CAP_")))
	}
	w.sandbox = []string{"unshare", "--mount", "sh", "-c", sandbox, "sandbox", strings.Join(names, ","), strings.Join(writable, " ")}
}

// capabilityMask is the unit's set as the kernel shows it. What is not in the
// list is not for the daemon to have.
func capabilityMask(t *testing.T, u unit) (mask uint64) {
	known := map[string]int{"CAP_BPF": unix.CAP_BPF, "CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_PERFMON": unix.CAP_PERFMON, "CAP_NET_RAW": unix.CAP_NET_RAW}
	for _, name := range u["CapabilityBoundingSet"] {
		bit, ok := known[name]
		if !ok {
			t.Fatalf("the unit gives %s", name)
		}
		mask |= 1 << bit
	}
	return mask
}

func output(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// routeVIPs gives the router routes to the VIPs instead of the VIPs, which
// weir adds itself.
func (l *lab) routeVIPs(t *testing.T) {
	for _, vip := range vips {
		address := netip.MustParseAddr(vip)
		testenv.Run(t, fmt.Sprintf("ip -n %s addr del %s/%d dev public", l.router.Name, vip, address.BitLen()))
		testenv.Run(t, fmt.Sprintf("ip -n %s route add %s dev public", l.router.Name, netip.PrefixFrom(address, address.BitLen()-8).Masked()))
	}
}
