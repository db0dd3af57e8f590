// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/weirlb/weir/lb"
)

// saved is what outlives the daemon beside the pins, as state.json.
type saved struct {
	Health []savedHealth `json:"health"`
	Drains []savedDrain  `json:"drains"`
	VIPs   []savedVIP    `json:"vips"` // that weir added, hence may remove
}

type savedHealth struct {
	Service string         `json:"service"`
	Backend netip.AddrPort `json:"backend"`
	Health  lb.Health      `json:"health"`
	Reason  string         `json:"reason"`
	Since   time.Time      `json:"since"`
}

type savedDrain struct {
	Service string         `json:"service"`
	Backend netip.AddrPort `json:"backend"`
}

type savedVIP struct {
	Address   netip.Addr `json:"address"`
	Interface string     `json:"interface"`
}

func statePath(folder string) string { return filepath.Join(folder, "state.json") }

// readSaved returns nothing, and no error, where there is no file.
func readSaved(folder string) (s saved, err error) {
	data, err := os.ReadFile(statePath(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return saved{}, fmt.Errorf("read %s: %w", statePath(folder), err)
	}
	s.Health = slices.DeleteFunc(s.Health, func(h savedHealth) bool { return h.Health != lb.Up && h.Health != lb.Down })
	s.VIPs = slices.DeleteFunc(s.VIPs, func(v savedVIP) bool { return !v.Address.IsValid() })
	return s, nil
}

// setAside keeps an unreadable file for whoever wants to know what was in it.
func setAside(folder string) error {
	return os.Rename(statePath(folder), statePath(folder)+".unreadable")
}

// write replaces the file in one step: a full disk or a crash leaves the old.
func (s saved) write(folder string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return fmt.Errorf("save state: %w; give weir another --state", err)
	}
	part := statePath(folder) + ".part"
	err = os.WriteFile(part, append(data, '\n'), 0o640)
	if err == nil {
		err = os.Rename(part, statePath(folder))
	}
	if err != nil {
		_ = os.Remove(part)
		return fmt.Errorf("save state: %w; make room there, or give weir another --state", err)
	}
	return nil
}
