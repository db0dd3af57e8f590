// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unique"

	"github.com/weirlb/weir/lb"
)

// TestState writes probes as + and -, and the health after each as u(nknown),
// U(p) or D(own).
func TestState(t *testing.T) {
	for _, c := range []struct {
		name             string
		initial, known   lb.Health
		rise, fall       int
		probes, expected string
	}{
		{"first success", lb.Unknown, "", 2, 3, "++", "UU"},
		{"never answered", lb.Unknown, "", 2, 3, "----", "uuDD"},
		{"answers late", lb.Unknown, "", 2, 3, "-+", "uU"},
		{"falls and rises", lb.Up, "", 2, 3, "---++", "UUDDU"},
		{"a success forgives", lb.Up, "", 2, 3, "--+--+", "UUUUUU"},
		{"a failure spoils the rise", lb.Up, "", 3, 1, "-++-+++", "DDDDDDU"},
		{"pinned down", lb.Unknown, lb.Down, 2, 3, "++", "DU"},
		{"pinned up", lb.Unknown, lb.Up, 2, 2, "--", "UD"},
	} {
		s := newState(unique.Make(Probe{Type: lb.CheckTCP, Rise: c.rise, Fall: c.fall, Initial: c.initial}), nil, Result{Health: c.known}, time.Now())
		var got strings.Builder
		before, changes, told := s.result.Health, 0, 0
		for _, probe := range c.probes {
			var err error
			if probe == '-' {
				err = errors.New("connection refused")
			}
			if s.observe(err, time.Millisecond, time.Now()) {
				told++
			}
			if s.result.Health != before {
				changes++
				before = s.result.Health
			}
			got.WriteString(map[lb.Health]string{lb.Unknown: "u", lb.Up: "U", lb.Down: "D"}[s.result.Health])
		}
		if got.String() != c.expected || told != changes {
			t.Errorf("%s: %s, want %s; told %d of %d changes", c.name, got.String(), c.expected, told, changes)
		}
	}
}
