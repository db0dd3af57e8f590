// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/bpf"
)

// pins is the folder in a bpffs under which maps and links outlive the daemon.
type pins string

func (p pins) maps() string  { return filepath.Join(string(p), "maps") }
func (p pins) links() string { return filepath.Join(string(p), "links") }

// link is the pin of an interface's link; a bpffs takes no dots.
func (p pins) link(device, hook string) string {
	return filepath.Join(p.links(), strings.ReplaceAll(device, ".", "@")+"-"+hook)
}

// parseLink is the inverse of link's last part.
func parseLink(name string) (device, hook string) {
	// hookQdisc is the only hook whose name has a dash.
	device, hook = strings.TrimSuffix(name, "-"+hookQdisc), hookQdisc
	if device == name {
		at := strings.LastIndexByte(name, '-')
		device, hook = name[:max(at, 0)], name[at+1:]
	}
	return strings.ReplaceAll(device, "@", "."), hook
}

// CheckPins tells why a folder cannot hold pins: no bpffs is mounted there.
func CheckPins(folder string) error {
	// The first folder that exists tells the file system.
	at := filepath.Clean(folder)
	for {
		var stat unix.Statfs_t
		err := unix.Statfs(at, &stat)
		if errors.Is(err, fs.ErrNotExist) && at != "/" && at != "." {
			at = filepath.Dir(at)
			continue
		}
		if err != nil {
			return fmt.Errorf("pins %s: %w", folder, err)
		}
		if stat.Type != unix.BPF_FS_MAGIC {
			return fmt.Errorf("pins %s: %s is not in a bpffs; mount one: mount -t bpf bpf /sys/fs/bpf", folder, at)
		}
		return nil
	}
}

// create makes the folders, in a bpffs that is mounted.
func (p pins) create() error {
	if p == "" {
		return nil
	}
	if err := CheckPins(string(p)); err != nil {
		return err
	}
	for _, folder := range []string{p.maps(), p.links()} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return fmt.Errorf("pins %s: %w", p, err)
		}
	}
	return nil
}

// ErrABI says that the pins were made by a weir that lays maps out otherwise.
var ErrABI = errors.New("pinned maps have another ABI")

// made returns what the pinned maps were made with, or nil without pins.
func (p pins) made() (*bpf.LBPinned, error) {
	if p == "" {
		return nil, nil
	}
	m, err := ebpf.LoadPinnedMap(filepath.Join(p.maps(), bpf.LBMapPinned), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pins %s: %w", p, err)
	}
	defer func() { _ = m.Close() }()
	var made bpf.LBPinned
	if err := m.Lookup(uint32(0), &made); err != nil {
		return nil, fmt.Errorf("pins %s: %w; remove them with: weir detach", p, errors.Join(ErrABI, err))
	}
	switch made.AbiVersion {
	case uint32(bpf.LBAbiABI_VERSION):
		return &made, nil
	case 0: // a daemon died before it wrote anything
		return nil, p.removeMaps()
	}
	return nil, fmt.Errorf("pins %s: %w: they have %d, this weir needs %d; run the weir that made them, or remove them with: weir detach",
		p, ErrABI, made.AbiVersion, bpf.LBAbiABI_VERSION)
}

// Lock makes the caller the only daemon on the pins until the file is closed.
func Lock(folder string) (*os.File, error) {
	if err := pins(folder).create(); err != nil {
		return nil, err
	}
	f, err := os.Open(folder)
	if err != nil {
		return nil, fmt.Errorf("lock pins: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("pins %s: another weir daemon uses them; stop it, or give this one its own --bpffs", folder)
		}
		return nil, fmt.Errorf("lock pins %s: %w", folder, err)
	}
	return f, nil
}

// Detach removes everything under the folder: programs leave the interfaces,
// connections are forgotten. What is not there is no error.
func Detach(folder string) error {
	p := pins(folder)
	entries, err := os.ReadDir(p.links())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("detach: %w", err)
	}
	var errs []error
	for _, e := range entries {
		device, hook := parseLink(e.Name())
		errs = append(errs, unpin(p, device, hook))
	}
	errs = append(errs, p.removeMaps())
	for _, empty := range []string{p.links(), p.maps(), folder} {
		if err := os.Remove(empty); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("detach: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (p pins) removeMaps() error {
	entries, err := os.ReadDir(p.maps())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pinned maps: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.Remove(filepath.Join(p.maps(), e.Name())))
	}
	return errors.Join(errs...)
}
