// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/weirlb/weir/api"
)

// TestPlan: what a reload would change is told beforehand, with a connection
// open, and nothing has changed by it.
func TestPlan(t *testing.T) {
	for _, hook := range []string{"xdp", "tc"} {
		t.Run(hook, func(t *testing.T) {
			l := newLab(t, hook == "tc")
			l.serve(t)
			w := newWeir(t, l.router)
			text := fmt.Sprintf(head, hook) + service("web", "ipv4", 1, 1, 1) + service("web6", "ipv6", 1)
			w.configure(text)
			if out, code := w.run("plan", "-c", w.config()); code != 1 || !strings.Contains(out, "start it with: weir run") {
				t.Errorf("without a daemon: exit %d: %s", code, out)
			}
			w.start()
			w.up("web", 3)
			w.up("web6", 1)
			if out := w.must("plan", "-c", w.config()); out != "no changes\n" {
				t.Errorf("the same file: %s", out)
			}
			conn := l.open(t, "ipv4")
			defer conn.Close()
			before, leaves := w.status(), -1 // the backend that has the connection
			w.await("the connection in status", func() bool {
				for i, b := range w.status().Services[0].Backends {
					if b.Connections.Active == 1 {
						leaves = i
					}
				}
				return leaves >= 0
			})

			draft := filepath.Join(w.folder, "draft.yaml")
			gone := fmt.Sprintf("      - {address: %q, port: 8080, weight: 1}\n", backendAddress("ipv4", leaves))
			check(t, os.WriteFile(draft, []byte(strings.Replace(fmt.Sprintf(head, hook)+service("web", "ipv4", 1, 1, 1), gone, "", 1)), 0o600))
			var plan api.Plan
			check(t, json.Unmarshal([]byte(w.must("plan", "-c", draft, "-o", "json")), &plan))
			if len(plan.Services) != 2 || len(plan.Settings) != 0 {
				t.Fatalf("plan: %+v", plan)
			}
			web, web6 := plan.Services[0], plan.Services[1]
			backend := backendAddress("ipv4", leaves).String() + ":8080"
			if web.Service != "web" || web.Change != api.Changed || web.Slots.Old != 3 || web.Slots.New != 2 ||
				web.Connections != (api.ConnChange{Drained: 1}) || len(web.Backends) != 1 || web.Backends[0].Backend != backend ||
				web.Backends[0].Change != api.Removed || web.Backends[0].Connections != (api.ConnChange{Drained: 1}) {
				t.Errorf("web: %+v", web)
			}
			if web6.Service != "web6" || web6.Change != api.Removed || web6.Slots != (api.SlotChange{Old: 1, New: 0, Moved: 1}) {
				t.Errorf("web6: %+v", web6)
			}
			if out := w.must("plan", "-c", draft); !strings.Contains(out, backend) || !strings.Contains(out, "removed") {
				t.Errorf("table: %s", out)
			}
			check(t, os.WriteFile(draft, []byte("services: nonsense\n"), 0o600))
			if out, code := w.run("plan", "-c", draft); code != 2 || !strings.Contains(out, "draft.yaml:1: services") {
				t.Errorf("bad file: exit %d: %s", code, out)
			}
			check(t, os.WriteFile(draft, []byte(strings.Replace(text, "guest2", "guest9", 1)), 0o600))
			if out, code := w.run("plan", "-c", draft); code != 1 || !strings.Contains(out, "guest9 does not exist") {
				t.Errorf("missing interface: exit %d: %s", code, out)
			}
			if after := w.status(); !reflect.DeepEqual(after.Config, before.Config) || len(after.Services) != 2 {
				t.Errorf("after the plans: %+v, before %+v", after.Config, before.Config)
			}
			talk(t, conn, "after the plans")
		})
	}
}
