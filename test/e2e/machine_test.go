// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/internal/testenv"
)

// machine is a Debian of its own for systemd and dpkg, by machine.sh: this
// one's files with changes that are forgotten, in a namespace's network.
type machine struct {
	t    *testing.T
	pid  string // of its first process
	root string // its files
}

func newMachine(t *testing.T, ns testenv.NS) *machine {
	t.Helper()
	need(t, "/lib/systemd/systemd", "unshare", "nsenter", "dpkg")
	folder := t.TempDir()
	files, groups := filepath.Join(folder, "files"), filepath.Join(folder, "cgroup")
	check(t, os.Mkdir(files, 0o755))
	check(t, os.Mkdir(groups, 0o755))
	if err := unix.Mount("cgroup2", groups, "cgroup2", 0, ""); err != nil {
		t.Skipf("needs cgroups, version 2: %v", err)
	}
	t.Cleanup(func() { check(t, unix.Unmount(groups, 0)) })
	group := filepath.Join(groups, fmt.Sprintf("weir-%d", os.Getpid()))
	check(t, os.Mkdir(group, 0o755))
	t.Cleanup(func() { removeGroup(t, group) })

	boot := exec.Command("sh", "machine.sh", files, group)
	boot.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC}
	boot.Stdout, boot.Stderr = os.Stderr, os.Stderr
	ns.Do(t, func() { check(t, boot.Start()) })
	t.Cleanup(func() {
		check(t, boot.Process.Kill())
		_ = boot.Wait() // killed
	})
	pid := strconv.Itoa(boot.Process.Pid)
	m := &machine{t: t, pid: pid, root: "/proc/" + pid + "/root"}
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if out, _ := m.run("systemctl", "is-system-running"); strings.HasPrefix(out, "running") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("systemd does not come up")
		}
	}
	m.must("systemctl", "start", "systemd-journald")
	return m
}

// removeGroup removes a control group and those that systemd made in it, as
// soon as their processes are gone.
func removeGroup(t *testing.T, group string) {
	var groups []string
	check(t, filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return err
	}))
	for _, g := range slices.Backward(groups) {
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			err := unix.Rmdir(g)
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Errorf("remove control group %s: %v", g, err)
				break
			}
		}
	}
}

// command is one to be run on the machine.
func (m *machine) command(words ...string) *exec.Cmd {
	c := exec.Command("nsenter", append([]string{"-t", m.pid, "-a"}, words...)...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"}
	return c
}

func (m *machine) run(words ...string) (out string, err error) {
	both, err := m.command(words...).CombinedOutput()
	return string(both), err
}

func (m *machine) must(words ...string) string {
	m.t.Helper()
	out, err := m.run(words...)
	if err != nil {
		m.t.Fatalf("%s: %v: %s", strings.Join(words, " "), err, out)
	}
	return out
}

// property is one of weir's service, as systemd tells it.
func (m *machine) property(name string) string {
	m.t.Helper()
	return strings.TrimSpace(m.must("systemctl", "show", "--value", "-p", name, "weir"))
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	check(m.t, os.WriteFile(m.root+path, []byte(text), 0o644))
}

func (m *machine) has(path string) bool {
	_, err := os.Lstat(m.root + path)
	return err == nil
}
