// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weirlb/weir/lb"
)

// Attach has an interface's packets pass through the programs by a hook:
// AttachXDP (native) or AttachXDPGeneric, each with the companion on tc, or
// AttachTC alone. A link of an earlier daemon gets the new program in place,
// without a packet between. The new hook is on before another one is off.
func (p *Programs) Attach(device string, ifindex int, hook lb.Attach) error {
	if err := p.attachTC(device, ifindex); err != nil {
		return fmt.Errorf("attach tc to %s: %w", device, err)
	}
	if hook == lb.AttachTC {
		return p.release(device, "xdp")
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
	return errors.Join(p.release(device, "xdp"), p.release(device, "tc"))
}

func (p *Programs) attachXDP(device string, ifindex int, flags link.XDPAttachFlags) error {
	hook := "xdp"
	adopted, err := p.adopt(device, hook, ifindex, p.xdp.Programs["weir_xdp"])
	if err != nil || adopted {
		return err
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: p.xdp.Programs["weir_xdp"], Interface: ifindex, Flags: flags})
	if err != nil {
		return err
	}
	return p.keep(device, hook, l)
}

func (p *Programs) attachTC(device string, ifindex int) error {
	adopted, err := p.adopt(device, "tc", ifindex, p.tc.Programs["weir_tc"])
	if err != nil || adopted {
		return err
	}
	l, err := link.AttachTCX(link.TCXOptions{Program: p.tc.Programs["weir_tc"], Interface: ifindex, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return err
	}
	return p.keep(device, "tc", l)
}

// adopt gives a link of an earlier daemon the new program. A link whose
// interface has gone is dropped; false: attach anew.
func (p *Programs) adopt(device, hook string, ifindex int, program *ebpf.Program) (bool, error) {
	l := p.links[device+hook]
	if l == nil && p.pins != "" {
		pinned, err := link.LoadPinnedLink(p.pins.link(device, hook), nil)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		l = pinned
	}
	if l == nil {
		return false, nil
	}
	if linked(l) == ifindex {
		p.links[device+hook] = l
		return true, l.Update(program)
	}
	p.links[device+hook] = l
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
	p.links[device+hook] = l
	if p.pins == "" {
		return nil
	}
	if err := l.Pin(p.pins.link(device, hook)); err != nil {
		return errors.Join(err, p.release(device, hook))
	}
	return nil
}

func (p *Programs) release(device, hook string) error {
	l := p.links[device+hook]
	delete(p.links, device+hook)
	if l != nil {
		return errors.Join(l.Unpin(), l.Close())
	}
	if p.pins == "" {
		return nil
	}
	return unpin(p.pins.link(device, hook))
}
