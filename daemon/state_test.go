// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weirlb/weir/lb"
)

// TestSaved: what is written is read again, and nothing is left beside it.
func TestSaved(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new", "state")
	if s, err := readSaved(folder); err != nil || !reflect.DeepEqual(s, saved{}) {
		t.Errorf("without a file: %+v, %v", s, err)
	}
	backend := netip.MustParseAddrPort("[2001:db8::1]:8080")
	want := saved{
		Health: []savedHealth{{"web", backend, lb.Down, "HTTP 500", time.Unix(1000, 0).UTC()}},
		Drains: []savedDrain{{"web", backend}}, VIPs: []savedVIP{{netip.MustParseAddr("203.0.113.1"), "eth0"}},
	}
	for range 2 {
		if err := want.write(folder); err != nil {
			t.Fatal(err)
		}
		if got, err := readSaved(folder); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 1 {
		t.Errorf("beside the file: %v, %v", entries, err)
	}
}

// TestSavedByOthers: files of another weir, and those that no weir wrote.
func TestSavedByOthers(t *testing.T) {
	for _, c := range []struct {
		name, text string
		health     int
		bad        bool
	}{
		{"older", `{"health": [{"service": "web", "backend": "10.0.0.1:80", "health": "up"}]}`, 1, false},
		{"newer", `{"health": [], "drains": null, "later": {"a": 1}}`, 0, false},
		{"odd health", `{"health": [{"service": "web", "backend": "10.0.0.1:80", "health": "half"}], "vips": [{"interface": "a"}]}`, 0, false},
		{"torn", `{"health": [{"service": "web", "ba`, 0, true},
		{"empty", "", 0, true},
		{"zeros", strings.Repeat("\x00", 4096), 0, true},
		{"other type", `{"health": "up"}`, 0, true},
		{"bad address", `{"drains": [{"service": "web", "backend": "nowhere"}]}`, 0, true},
	} {
		folder := t.TempDir()
		if err := os.WriteFile(statePath(folder), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := readSaved(folder)
		if (err != nil) != c.bad || len(s.Health) != c.health || len(s.VIPs) != 0 {
			t.Errorf("%s: %+v, %v", c.name, s, err)
		}
		if err != nil && !strings.Contains(err.Error(), statePath(folder)) {
			t.Errorf("%s: %v does not name the file", c.name, err)
		}
	}
}

// TestTornState: a daemon starts without a file that cannot be read, and keeps
// it for whoever asks.
func TestTornState(t *testing.T) {
	r := newRouter(t)
	r.write(base, "HOOK", "tc")
	const torn = `{"drains": [{"serv`
	r.check(os.WriteFile(statePath(r.folder), []byte(torn), 0o600))
	r.daemon(func(d *Daemon) {
		if _, err := readSaved(r.folder); err != nil {
			t.Errorf("the file is not mended: %v", err)
		}
	})
	if kept, err := os.ReadFile(statePath(r.folder) + ".unreadable"); err != nil || string(kept) != torn {
		t.Errorf("kept %q, %v", kept, err)
	}
}
