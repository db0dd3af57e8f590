// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// buildPackage returns the Debian package's path and version.
func buildPackage(t *testing.T) (path, version string) {
	t.Helper()
	need(t, "go", "git", "dpkg-deb")
	var errors bytes.Buffer
	build := exec.Command("../../scripts/deb", t.TempDir())
	build.Stderr = &errors
	out, err := build.Output()
	if err != nil {
		t.Fatalf("scripts/deb: %v: %s", err, &errors)
	}
	path = strings.TrimSpace(string(out))
	return path, strings.TrimSpace(output(t, "dpkg-deb", "-f", path, "Version"))
}

// TestPackageContents: what is promised is in the package.
func TestPackageContents(t *testing.T) {
	path, _ := buildPackage(t)
	contents := output(t, "dpkg-deb", "-c", path)
	for _, want := range []string{
		"-rwxr-xr-x root/root * ./usr/bin/weir\n", "./usr/lib/systemd/system/weir.service\n", "./etc/weir/weir.yaml\n",
		"./usr/share/bash-completion/completions/weir\n", "./usr/share/doc/weir/OPERATIONS.md\n", "./usr/share/doc/weir/copyright\n",
		"./usr/share/doc/weir/third-party-licenses\n", "./usr/share/doc/weir/examples/dns.yaml\n",
	} {
		mode, name, _ := strings.Cut(want, " * ")
		if name == "" {
			mode, name = "-rw-r--r-- root/root", want
		}
		found := false
		for line := range strings.Lines(contents) {
			found = found || strings.HasPrefix(line, mode) && strings.HasSuffix(line, " "+name)
		}
		if !found {
			t.Errorf("%s is not in the package:\n%s", want, contents)
		}
	}
	if got := output(t, "dpkg-deb", "-I", path, "conffiles"); got != "/etc/weir/weir.yaml\n" {
		t.Errorf("conffiles: %q", got)
	}
	control := output(t, "dpkg-deb", "-I", path)
	for _, want := range []string{"Package: weir", "Architecture: amd64", "postinst", "prerm", "postrm"} {
		if !strings.Contains(control, want) {
			t.Errorf("no %q in:\n%s", want, control)
		}
	}
}

// TestPackage goes through the life of an installation under systemd, with
// traffic: install, start, reload, upgrade, crash, stop, removal, purge.
func TestPackage(t *testing.T) {
	path, version := buildPackage(t)
	l := newLab(t, true)
	l.routeVIPs(t)
	l.serve(t)
	m := newMachine(t, l.router)
	w := &weir{t: t, router: l.router, binary: "weir", machine: m, log: &bytes.Buffer{}}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := m.run("journalctl", "--no-pager", "-o", "short-monotonic")
			t.Log(out)
		}
	})
	before := m.must("find", "/etc", "/usr", "/var", "/run", "/sys/fs/bpf", "-name", "*weir*")
	data, err := os.ReadFile(path)
	check(t, err)
	m.write("/package.deb", string(data))

	if out := m.must("dpkg", "-i", "/package.deb"); !strings.Contains(out, "weir is not started") {
		t.Errorf("the installation does not say that weir is not started: %s", out)
	}
	if got := m.property("ActiveState") + " " + m.property("UnitFileState"); got != "inactive disabled" {
		t.Errorf("installed: %s", got)
	}
	if out := w.must("version"); !strings.HasPrefix(out, "weir "+version+" ") {
		t.Errorf("version %s: %s", version, out)
	}
	w.must("check")

	m.write("/etc/weir/weir.yaml", fmt.Sprintf(head, "auto")+service("web", "ipv4", 1, 1, 1)+service("web6", "ipv6", 1, 1, 1))
	m.must("systemctl", "enable", "--now", "weir")
	w.up("web", 3)
	w.up("web6", 3)
	for family := range vips {
		if served := l.ask(t, family, 6); served != [backends]int{2, 2, 2} {
			t.Errorf("%s: served %v of 6", family, served)
		}
	}
	if out := m.must("stat", "-c", "%U:%G %a", "/run/weir/weir.sock"); out != "root:weir 660\n" {
		t.Errorf("control socket: %s", out)
	}
	m.reload(t, l, w)
	m.exchange(t, l, w)
	m.mend(w)
	m.remove(t, l, before)
}

// reload: systemctl returns when the change is in force; a bad file fails it
// and changes nothing.
func (m *machine) reload(t *testing.T, l *lab, w *weir) {
	m.write("/etc/weir/weir.yaml", fmt.Sprintf(head, "auto")+service("web", "ipv4", 0, 1, 3))
	m.must("systemctl", "reload", "weir")
	if served := l.ask(t, "ipv4", 8); served != [backends]int{0, 2, 6} {
		t.Errorf("reloaded: served %v of 8", served)
	}
	good, err := os.ReadFile(m.root + "/etc/weir/weir.yaml")
	check(t, err)
	m.write("/etc/weir/weir.yaml", "services: nonsense\n")
	if out, err := m.run("systemctl", "reload", "weir"); err == nil {
		t.Errorf("a bad file is loaded: %s", out)
	}
	if s := w.status(); s.Config.Error == "" || m.property("ActiveState") != "active" {
		t.Errorf("after a bad file: %s, %+v", m.property("ActiveState"), s.Config)
	}
	m.write("/etc/weir/weir.yaml", string(good))
	m.must("systemctl", "reload", "weir")
}

// exchange: one connection lives through an upgrade, a crash and a stop.
func (m *machine) exchange(t *testing.T, l *lab, w *weir) {
	conn := l.open(t, "ipv4")
	daemon := m.property("MainPID")
	m.must("dpkg", "-i", "/package.deb")
	talk(t, conn, "upgraded")
	upgraded := m.property("MainPID")
	if upgraded == daemon || upgraded == "0" {
		t.Errorf("the upgrade left daemon %s", upgraded)
	}
	m.must("systemctl", "kill", "--signal=KILL", "weir")
	talk(t, conn, "killed")
	w.await("daemon after a crash", func() bool {
		return m.property("ActiveState") == "active" && m.property("MainPID") != upgraded
	})
	m.must("systemctl", "stop", "weir")
	talk(t, conn, "stopped")
	if served := l.ask(t, "ipv4", 4); served != [backends]int{0, 1, 3} {
		t.Errorf("stopped: served %v of 4", served)
	}
	check(t, conn.Close())
}

// mend: a silent daemon is restarted, one with an invalid file when that is good.
func (m *machine) mend(w *weir) {
	patience := "/run/systemd/system/weir.service.d"
	m.must("mkdir", "-p", patience)
	m.write(patience+"/patience.conf", "[Service]\nWatchdogSec=5s\n")
	m.must("systemctl", "daemon-reload")
	m.must("systemctl", "start", "weir")
	silent := m.property("MainPID")
	m.must("systemctl", "kill", "--signal=STOP", "weir")
	w.await("daemon after silence", func() bool {
		return m.property("ActiveState") == "active" && m.property("MainPID") != silent
	})
	m.must("rm", "-r", patience)
	m.must("systemctl", "daemon-reload")

	m.must("mv", "/etc/weir/weir.yaml", "/etc/weir/good.yaml")
	m.write("/etc/weir/weir.yaml", "services: nonsense\n")
	if out, err := m.run("systemctl", "restart", "weir"); err == nil {
		m.t.Errorf("weir starts with a bad file: %s", out)
	}
	m.must("mv", "/etc/weir/good.yaml", "/etc/weir/weir.yaml")
	w.await("daemon after its file was mended", func() bool { return m.property("ActiveState") == "active" })
}

// remove: weir leaves the router; purged, the machine is as it was.
func (m *machine) remove(t *testing.T, l *lab, before string) {
	m.must("dpkg", "-r", "weir")
	if out := output(t, "ip", "-n", l.router.Name, "addr"); strings.Contains(out, vips["ipv4"]) {
		t.Errorf("removal left the VIP:\n%s", out)
	}
	if served := l.served(t, "ipv4", 1); served != [backends]int{} {
		t.Errorf("removed, it serves %v", served)
	}
	for path, want := range map[string]bool{"/sys/fs/bpf/weir": false, "/run/weir": false, "/etc/weir/weir.yaml": true, "/var/lib/weir/state.json": true} {
		if m.has(path) != want {
			t.Errorf("removed: %s is there: %v", path, !want)
		}
	}
	m.must("dpkg", "-P", "weir")
	if after := m.must("find", "/etc", "/usr", "/var", "/run", "/sys/fs/bpf", "-name", "*weir*"); after != before {
		t.Errorf("purged, there is:\n%s\nbefore:\n%s", after, before)
	}
	if out, err := m.run("getent", "group", "weir"); err == nil {
		t.Errorf("purged, there is group %s", out)
	}
}
