// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weirlb/weir/lb"
)

// The hooks of an interface, as their pins are named.
const (
	hookXDP    = "xdp"
	hookTC     = "tc"           // tcx, a link
	hookClsact = "clsact"       // the program of a filter, where there is no tcx
	hookQdisc  = "clsact-qdisc" // the same, where the qdisc is weir's too
)

// attachment is a program on an interface.
type attachment interface {
	leave() error  // lets go of it; what is pinned or a filter stays on
	detach() error // takes it off
}

// pinnable is a link: it stays on as long as it has a pin.
type pinnable struct{ link.Link }

func (p pinnable) leave() error  { return p.Close() }
func (p pinnable) detach() error { return errors.Join(p.Unpin(), p.Close()) }

// Attach has an interface's packets pass through the programs by a hook:
// AttachXDP (native) or AttachXDPGeneric, each with the companion on tc, or
// AttachTC alone. What an earlier daemon attached gets the new program in
// place, without a packet between. The new hook is on before another is off.
func (p *Programs) Attach(device string, ifindex int, hook lb.Attach) error {
	if err := p.attachTC(device, ifindex); err != nil {
		return fmt.Errorf("attach tc to %s: %w", device, err)
	}
	if hook == lb.AttachTC {
		return p.release(device, hookXDP)
	}
	flags := link.XDPDriverMode
	if hook == lb.AttachXDPGeneric {
		flags = link.XDPGenericMode
	}
	if err := p.attachXDP(device, ifindex, flags); err != nil {
		return fmt.Errorf("attach %s to %s: %w", hook, device, err)
	}
	return nil
}

// Release takes the programs off an interface.
func (p *Programs) Release(device string) error {
	return errors.Join(p.release(device, hookXDP), p.release(device, hookTC))
}

// Attached lists the interfaces that have programs, an earlier daemon's too.
func (p *Programs) Attached() ([]string, error) {
	entries, err := os.ReadDir(p.pins.links())
	if err != nil {
		return nil, fmt.Errorf("list pinned links: %w", err)
	}
	var devices []string
	for _, e := range entries {
		device, _ := parseLink(e.Name())
		devices = append(devices, device)
	}
	return devices, nil
}

func (p *Programs) attachXDP(device string, ifindex int, flags link.XDPAttachFlags) error {
	program := p.xdp.Programs["weir_xdp"]
	adopted, err := p.adopt(device, hookXDP, ifindex, program)
	if err != nil || adopted {
		return err
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: ifindex, Flags: flags})
	if err != nil {
		return err
	}
	return p.keep(device, hookXDP, l)
}

// attachTC uses tcx and, on kernels before 6.6 (the virtual router's 6.1),
// clsact.
func (p *Programs) attachTC(device string, ifindex int) error {
	program := p.tc.Programs["weir_tc"]
	adopted, err := p.adopt(device, hookTC, ifindex, program)
	if err != nil || adopted {
		return err
	}
	l, err := link.AttachTCX(link.TCXOptions{Program: program, Interface: ifindex, Attach: ebpf.AttachTCXIngress})
	if errors.Is(err, ebpf.ErrNotSupported) {
		return p.attachClsact(device, ifindex, program)
	}
	if err != nil {
		return err
	}
	return p.keep(device, hookTC, l)
}

// attachClsact pins the filter's program, so that Detach finds the interface.
func (p *Programs) attachClsact(device string, ifindex int, program *ebpf.Program) error {
	c, err := attachClsact(program, ifindex)
	if err != nil {
		return err
	}
	if was, ok := p.attached[device+hookTC]; ok {
		if before, ok := was.(*clsact); ok {
			c.addedQdisc = c.addedQdisc || before.addedQdisc
		}
		_ = was.leave()
	}
	p.attached[device+hookTC] = c
	if p.pins == "" {
		return nil
	}
	hook := hookClsact
	if _, err := os.Stat(p.pins.link(device, hookQdisc)); err == nil || c.addedQdisc {
		hook, c.addedQdisc = hookQdisc, true
	}
	pin := p.pins.link(device, hook)
	if err := os.Remove(pin); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return program.Pin(pin)
}

// adopt gives a link of an earlier daemon the new program. A link whose
// interface has gone is dropped; false: attach anew.
func (p *Programs) adopt(device, hook string, ifindex int, program *ebpf.Program) (bool, error) {
	l, ok := p.attached[device+hook].(pinnable)
	if !ok && p.pins != "" {
		pinned, err := link.LoadPinnedLink(p.pins.link(device, hook), nil)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		l = pinnable{pinned}
		p.attached[device+hook] = l
	}
	if l.Link == nil {
		return false, nil
	}
	if linked(l) == ifindex {
		return true, errors.Join(l.Update(program), p.pin(device, hook, l))
	}
	return false, p.release(device, hook)
}

// linked is the interface that a link is on, 0 when it has gone.
func linked(l link.Link) int {
	info, err := l.Info()
	if err != nil {
		return 0
	}
	if xdp := info.XDP(); xdp != nil {
		return int(xdp.Ifindex)
	}
	if tcx := info.TCX(); tcx != nil {
		return int(tcx.Ifindex)
	}
	return 0
}

// keep pins a new link; a link that the garbage collector closes detaches.
func (p *Programs) keep(device, hook string, l link.Link) error {
	p.attached[device+hook] = pinnable{l}
	if err := p.pin(device, hook, l); err != nil {
		return errors.Join(err, p.release(device, hook))
	}
	return nil
}

// pin pins a link that has no pin: it is new, or other programs took its
// interface over and gave it back.
func (p *Programs) pin(device, hook string, l link.Link) error {
	if p.pins == "" {
		return nil
	}
	path := p.pins.link(device, hook)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	// Or the link believes that it has its pin still.
	return errors.Join(l.Unpin(), l.Pin(path))
}

func (p *Programs) release(device, hook string) error {
	var err error
	if a, ok := p.attached[device+hook]; ok {
		delete(p.attached, device+hook)
		err = a.detach()
	}
	if p.pins == "" {
		return err
	}
	pins := []string{hook}
	if hook == hookTC {
		pins = []string{hookTC, hookClsact, hookQdisc}
	}
	for _, pin := range pins {
		err = errors.Join(err, unpin(p.pins, device, pin))
	}
	return err
}

// unpin takes off what a pin keeps on an interface; no pin is no error.
func unpin(p pins, device, hook string) error {
	path := p.link(device, hook)
	if hook == hookClsact || hook == hookQdisc {
		return unpinClsact(path, device, hook == hookQdisc)
	}
	l, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("detach %s: %w", path, err)
	}
	return pinnable{l}.detach()
}

func unpinClsact(path, device string, addedQdisc bool) error {
	program, err := ebpf.LoadPinnedProgram(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("detach %s: %w", path, err)
	}
	defer func() { _ = program.Close() }()
	// An interface that has gone took its filter with it.
	if i, err := net.InterfaceByName(device); err == nil {
		c, err := newClsact(program, i.Index)
		if err != nil {
			return fmt.Errorf("detach %s: %w", path, err)
		}
		// By the handle alone: a daemon may have died between a new filter and
		// its pin.
		c.program, c.addedQdisc = 0, addedQdisc
		if err := c.detach(); err != nil {
			return err
		}
	}
	return program.Unpin()
}
