// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/internal/testenv"
)

// bare is a router with one interface and a weir.yaml that balances nothing.
func bare(t *testing.T, hook string) *weir {
	router := testenv.NewNS(t, "router")
	testenv.Run(t, "ip -n "+router.Name+" link add public type veth peer name clients")
	testenv.Run(t, "ip -n "+router.Name+" link set public up")
	testenv.Run(t, "ip -n "+router.Name+" link set clients up")
	w := newWeir(t, router)
	w.configure(fmt.Sprintf(bareFile, hook))
	return w
}

const bareFile = "interfaces: [{name: public, attach: %s}]\ntable: {connections: 1000}\n"

// fails runs the daemon, on a thread that `spoil` has changed, and returns what
// it said; it must end with exit code 1 and leave nothing on the interface.
func (w *weir) fails(spoil func(), args ...string) string {
	w.t.Helper()
	c := w.command(append([]string{"run", "-c", w.config()}, args...)...)
	var both bytes.Buffer
	c.Stdout, c.Stderr = &both, &both
	w.router.Do(w.t, func() {
		spoil()
		check(w.t, c.Start())
	})
	end := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
	err := c.Wait()
	end.Stop()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		w.t.Errorf("weir run: %v, want exit 1: %s", err, &both)
	}
	if links, err := os.ReadDir(filepath.Join(w.folder, "bpffs", "weir", "links")); err == nil && len(links) > 0 {
		w.t.Errorf("programs were left on interfaces: %v", links)
	}
	return both.String()
}

func says(t *testing.T, out string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(out, word) {
			t.Errorf("does not say %q: %s", word, out)
		}
	}
}

// forget takes capabilities from what the thread starts.
func forget(t *testing.T, capabilities ...uintptr) func() {
	return func() {
		for _, c := range capabilities {
			check(t, unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0))
		}
	}
}

// hide covers a folder with an empty one, for the thread and what it starts.
func hide(t *testing.T, folder string) func() {
	return func() {
		check(t, unix.Unshare(unix.CLONE_NEWNS))
		check(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		check(t, unix.Mount("empty", folder, "tmpfs", 0, ""))
	}
}

// full mounts a file system without room and returns how to give it some.
func full(t *testing.T, folder string) (room func()) {
	t.Helper()
	check(t, os.MkdirAll(folder, 0o700))
	check(t, unix.Mount("full", folder, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { check(t, unix.Unmount(folder, 0)) })
	filler := filepath.Join(folder, "filler")
	check(t, os.WriteFile(filler, make([]byte, 64<<10), 0o600))
	return func() { check(t, os.Remove(filler)) }
}

// TestCannotRun: what a daemon cannot do without, it says, with how to mend it.
func TestCannotRun(t *testing.T) {
	nothing := func() {}
	cases := map[string]func(t *testing.T, w *weir){
		"missing interface": func(t *testing.T, w *weir) {
			w.configure("interfaces: [{name: guest9}]\n")
			says(t, w.fails(nothing), "interface guest9 does not exist", "ip link")
		},
		"no CAP_BPF": func(t *testing.T, w *weir) {
			says(t, w.fails(forget(t, unix.CAP_BPF, unix.CAP_SYS_ADMIN)), "CAP_BPF", "as root")
		},
		"no CAP_NET_ADMIN": func(t *testing.T, w *weir) {
			says(t, w.fails(forget(t, unix.CAP_NET_ADMIN)), "CAP_NET_ADMIN", "as root")
		},
		"no bpffs": func(t *testing.T, w *weir) {
			folder := filepath.Join(w.folder, "plain", "weir")
			says(t, w.fails(nothing, "--bpffs", folder), folder, "is not in a bpffs", "mount -t bpf bpf /sys/fs/bpf")
		},
		"no BTF": func(t *testing.T, w *weir) {
			says(t, w.fails(hide(t, "/sys/kernel/btf")), "/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF")
		},
		"full disk": func(t *testing.T, w *weir) {
			folder := filepath.Join(w.folder, "state")
			room := full(t, folder)
			says(t, w.fails(nothing), folder, "no space left on device", "--state")
			room()
			w.start()
			w.stop(unix.SIGTERM)
			w.must("detach")
		},
	}
	for _, hook := range []string{"xdp", "tc"} {
		t.Run(hook, func(t *testing.T) {
			w := bare(t, hook)
			for name, try := range cases {
				t.Run(name, func(t *testing.T) {
					own := *w
					own.t = t
					own.configure(fmt.Sprintf(bareFile, hook))
					try(t, &own)
				})
			}
		})
	}
}

// TestSecondDaemon: the first one goes on.
func TestSecondDaemon(t *testing.T) {
	w := bare(t, "tc")
	w.start()
	for _, args := range [][]string{nil, {"--socket", filepath.Join(w.folder, "other.sock")}} {
		out, code := w.run(append([]string{"run", "-c", w.config()}, args...)...)
		if code != 1 {
			t.Errorf("second daemon %v: exit %d", args, code)
		}
		says(t, out, "another weir daemon", "stop it", "--bpffs")
	}
	other := filepath.Join(w.folder, "bpffs", "other")
	out, code := w.run("run", "-c", w.config(), "--bpffs", other)
	if code != 1 {
		t.Errorf("second daemon with pins of its own: exit %d", code)
	}
	says(t, out, "another daemon answers", "--socket")
	w.must("detach", "--force", "--bpffs", other)
	w.must("status")
}

// TestRefusedReload: what cannot be done is said, and nothing changes.
func TestRefusedReload(t *testing.T) {
	for _, hook := range []string{"xdp", "tc"} {
		t.Run(hook, func(t *testing.T) {
			w := bare(t, hook)
			w.start()
			before := w.status()
			refused := func(what string, words ...string) {
				t.Helper()
				out, code := w.run("reload")
				if code != 1 {
					t.Errorf("%s: exit %d: %s", what, code, out)
				}
				says(t, out, words...)
				after := w.status()
				if after.Config.Error == "" || after.Config.Revision != before.Config.Revision ||
					!reflect.DeepEqual(after.Interfaces, before.Interfaces) || len(after.Services) != 0 {
					t.Errorf("%s: %+v", what, after)
				}
			}
			text, err := os.ReadFile(w.config())
			check(t, err)
			w.configure(strings.Replace(string(text), "}]", "}, {name: guest9}]", 1) + "services:\n" + service("web", "ipv4", 1))
			refused("missing interface", "interface guest9 does not exist", "ip link")
			w.configure(string(text) + "services:\n" + service("web", "ipv4", 1))
			room := full(t, filepath.Join(w.folder, "state"))
			refused("full disk", filepath.Join(w.folder, "state"), "no space left on device")
			room()
			w.must("reload")
			if s := w.status(); s.Config.Error != "" || len(s.Services) != 1 {
				t.Errorf("with room: %+v", s)
			}
			w.stop(unix.SIGTERM)
			w.must("detach")
		})
	}
}
