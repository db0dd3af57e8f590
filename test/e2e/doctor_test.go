// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirlb/weir/doctor"
	"github.com/weirlb/weir/internal/testenv"
)

// checks of weir doctor, without those that are well.
func (w *weir) checks(code int, args ...string) (found []doctor.Check) {
	w.t.Helper()
	out, got := w.run(append([]string{"doctor", "-c", w.config(), "-o", "json"}, args...)...)
	if got != code {
		w.t.Errorf("doctor: exit %d: %s", got, out)
	}
	var all []doctor.Check
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&all); err != nil {
		w.t.Errorf("doctor: %v: %s", err, out)
	}
	for _, c := range all {
		if c.Status != doctor.OK {
			found = append(found, c)
		}
	}
	return found
}

// TestDoctor: on a router where much is wrong, each is named; mended as it is
// told to be, all is well. Offloads show in the status of a daemon, too.
func TestDoctor(t *testing.T) {
	for _, hook := range []string{"xdp", "tc"} {
		t.Run(hook, func(t *testing.T) {
			l := newLab(t, hook == "tc")
			router := l.router.Name
			ip := func(command string) { t.Helper(); testenv.Run(t, "ip -n "+router+" "+command) }
			in := func(command string) { t.Helper(); testenv.Run(t, "ip netns exec "+router+" "+command) }
			ip("link add near type veth peer name far")
			ip("link set near up")
			ip("link set far up")
			ip("addr del " + vips["ipv4"] + "/32 dev public")
			in("sysctl -qw net.ipv6.conf.public.disable_ipv6=1")
			ip("link set guest1 down")
			var listener net.Listener
			l.router.Do(t, func() {
				var err error
				listener, err = net.Listen("tcp", "[::]:80")
				check(t, err)
			})
			w := newWeir(t, l.router)
			text := fmt.Sprintf(head, hook) + service("web", "ipv4", 1, 1, 1) + service("web6", "ipv6", 1)
			w.configure(strings.Replace(text, "{name: guest2}", "{name: near}, {name: guest9}", 1))

			found := w.checks(1, "--bpffs", filepath.Join(w.folder, "state"))
			want := [][3]string{
				{"bpffs", "--bpffs", "mount -t bpf"},
				{"forwarding", "net.ipv4.ip_forward", "sysctl -w net.ipv4.ip_forward=1"},
				{"interface", "guest9", "ip link"},
				{"interface", "guest1", "ip link set guest1 up"},
				{"vip", vips["ipv4"], "ip route add"},
				{"vip", vips["ipv6"], "sysctl -w net/ipv6/conf/public/disable_ipv6=0"},
				{"backend", backendAddress("ipv4", 1).String(), "route"},
				{"backend", backendAddress("ipv4", 2).String(), "{name: guest2}"},
				{"listener", "web", "ss -lntup"},
			}
			if hook == "xdp" {
				want = append(want, [3]string{"attach", "near", "ethtool -K far gro on"}, [3]string{"attach", "near", "ethtool -K far tx off"})
			}
			for _, c := range want {
				if !named(found, c[0], c[1], c[2]) {
					t.Errorf("not named: %s of %s, %s", c[0], c[1], c[2])
				}
			}
			if hook == "tc" && named(found, "attach", "near", "") {
				t.Errorf("tc minds no offloads: %+v", found)
			}

			check(t, listener.Close())
			in("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.public.disable_ipv6=0")
			ip("link set guest1 up")
			ip("route add 203.0.113.0/24 dev public")
			ip("-6 route add 2001:db8:ff::/64 dev public")
			w.configure(strings.Replace(text, "{name: guest2}", "{name: guest2}, {name: near}", 1))
			w.start()
			offloads := func() (problem string) {
				for _, i := range w.status().Interfaces {
					if i.OK != (i.Problem == "") {
						t.Errorf("interface %+v", i)
					}
					if i.Name == "near" {
						problem = i.Problem
					}
				}
				return problem
			}
			if problem := offloads(); strings.Contains(problem, "ethtool -K far tx off") != (hook == "xdp") {
				t.Errorf("status with wrong offloads: %q", problem)
			}
			in("ethtool -K far gro on tx off")
			w.await("no problem with the offloads", func() bool { return offloads() == "" })

			for _, c := range w.checks(0) {
				// Only what cannot be seen from here: ends of veths elsewhere.
				if c.Status == doctor.Fail || c.Check != "attach" || !strings.Contains(c.What, "another network namespace") {
					t.Errorf("after mending: %+v", c)
				}
			}
			if out := w.must("doctor", "-c", w.config()); !strings.HasSuffix(out, "all is well\n") || !strings.Contains(out, "own connections to a VIP are not balanced") {
				t.Errorf("after mending: %s", out)
			}
		})
	}
}

func named(found []doctor.Check, check, subject, mend string) bool {
	for _, c := range found {
		if c.Check == check && c.Subject == subject && strings.Contains(c.Mend, mend) {
			return true
		}
	}
	return false
}
