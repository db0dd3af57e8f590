// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestMapRows: an operator reads every map in words, and is told the names.
func TestMapRows(t *testing.T) {
	for _, hook := range []string{"xdp", "tc"} {
		t.Run(hook, func(t *testing.T) {
			l := newLab(t, hook == "tc")
			l.serve(t)
			w := newWeir(t, l.router)
			w.configure(fmt.Sprintf(head, hook) + service("web", "ipv4", 1, 1, 1))
			w.start()
			w.up("web", 3)
			l.ask(t, "ipv4", 3)
			var service struct {
				Service, VIP, Ports, Algorithm string
				Slots                          int
			}
			out := w.must("maps", "services", "-o", "json")
			if err := json.Unmarshal([]byte(out), &service); err != nil || service.Service != "web" || service.VIP != vips["ipv4"] ||
				service.Ports != "80" || service.Algorithm != "roundrobin" || service.Slots != 3 {
				t.Errorf("services: %v: %s", err, out)
			}
			for _, c := range []struct{ name, output, want string }{
				{"backends", "table", "SERVICE_ID"},
				{"backends", "table", backendAddress("ipv4", 1).String()},
				{"backends", "yaml", "address: " + backendAddress("ipv4", 1).String() + "\n"},
				{"slots", "table", backendAddress("ipv4", 2).String() + ":8080"},
				{"adjacencies", "table", "guest1"},
				{"adjacencies", "table", l.backendMAC[1].String()},
				{"allow", "table", "0.0.0.0/0"},
				{"reason_counters", "table", "forwarded"},
				{"service_counters", "table", "web"},
			} {
				if out := w.must("maps", c.name, "-o", c.output); !strings.Contains(out, c.want) {
					t.Errorf("maps %s: no %s in %s", c.name, c.want, out)
				}
			}
			var all []struct{ Name string }
			check(t, json.Unmarshal([]byte(w.must("maps", "-o", "json")), &all))
			for _, m := range all {
				if m.Name != "conns" {
					w.must("maps", m.Name)
				}
			}
			if out, code := w.run("maps", "nope"); code != 2 || !strings.Contains(out, "adjacencies") {
				t.Errorf("maps nope: exit %d: %s", code, out)
			}
			if out, code := w.run("maps", "conns"); code != 2 || !strings.Contains(out, "weir conns") {
				t.Errorf("maps conns: exit %d: %s", code, out)
			}
		})
	}
}
