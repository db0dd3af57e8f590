// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/lb"
)

// liveFrames is BPF_F_TEST_XDP_LIVE_FRAMES: the kernel sends what the program
// says to send.
const liveFrames = 1 << 1

// liveCase compares forwarding by weir with a plain redirect: between two
// veths, in a namespace of its own, one CPU drives, forwards and receives.
type liveCase struct {
	name string
	sent traffic
}

var liveCases = []liveCase{
	{"live, IPv4, 1 Ki connections", traffic{clients: ki, stride: mixed, flags: ack}},
	{"live, IPv6, 1 Ki connections", traffic{clients: ki, stride: mixed, flags: ack, ipv6: true}},
}

// live runs the case on a thread whose network namespace ends with it.
func (c liveCase) live(o options) (results []result, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Not unlocked: the thread, and with it the namespace, ends here.
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("make a network namespace: %w", err)
			return
		}
		var one unix.CPUSet
		one.Set(0)
		if err = unix.SchedSetaffinity(0, &one); err != nil {
			err = fmt.Errorf("stay on one CPU: %w", err)
			return
		}
		results, err = c.liveHere(o)
	}()
	<-done
	return results, err
}

func (c liveCase) liveHere(o options) ([]result, error) {
	h, err := load("", c.sent)
	if err != nil {
		return nil, err
	}
	defer h.coll.Close()
	in, client, err := veth("in")
	if err != nil {
		return nil, err
	}
	out, far, err := veth("out")
	if err != nil {
		return nil, err
	}
	links := map[string]link.Link{}
	for _, attach := range []struct {
		to      *net.Interface
		program string
	}{{in, "live_weir"}, {out, "live_weir"}, {far, "live_sink"}} {
		l, err := link.AttachXDP(link.XDPOptions{Program: h.coll.Programs[attach.program], Interface: attach.to.Index, Flags: link.XDPDriverMode})
		if err != nil {
			return nil, fmt.Errorf("attach: %w", err)
		}
		defer l.Close()
		links[attach.to.Name] = l
	}
	err = errors.Join(h.serve(lb.RoundRobin, nil, out.Index, far.HardwareAddr), h.connect(),
		h.coll.Variables["drive_to"].Set(uint32(client.Index)), h.coll.Variables["redirect_to"].Set(uint32(out.Index)))
	if err != nil {
		return nil, err
	}
	rate := func(program string) func() (float64, error) {
		return func() (float64, error) {
			if err := links[in.Name].Update(h.coll.Programs[program]); err != nil {
				return 0, fmt.Errorf("attach %s: %w", program, err)
			}
			return h.rate(program, o.repeat)
		}
	}
	figures, err := interleave(o.groups, []func() (float64, error){rate("live_redirect"), rate("live_weir")})
	if err != nil {
		return nil, err
	}
	return []result{
		{Name: c.name + ", XDP_REDIRECT", Value: spreadOf(figures[0])},
		{Name: c.name + ", weir", Value: spreadOf(figures[1])},
		{Name: c.name + ", ratio", Value: spreadOf(over(figures[1], figures[0]))},
	}, nil
}

// veth makes a pair of interfaces and sets them up.
func veth(name string) (near, far *net.Interface, err error) {
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-far"}
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, nil, fmt.Errorf("add veth %s: %w", name, err)
	}
	ends := make([]*net.Interface, 2)
	for i, name := range []string{name, name + "-far"} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err == nil {
			ends[i], err = net.InterfaceByName(name)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("set up %s: %w", name, err)
		}
	}
	return ends[0], ends[1], nil
}

// rate drives live frames to the router, which runs the program named, and
// returns the million packets a second that arrived behind it. A few are
// lost when the receiving side gets the CPU too late; many would say nothing.
func (h *harness) rate(forwarder string, repeat int) (float64, error) {
	var before, after uint64
	if err := h.coll.Variables["arrived"].Get(&before); err != nil {
		return 0, err
	}
	began := time.Now()
	_, err := h.coll.Programs["live_drive"].Run(&ebpf.RunOptions{Data: h.sent.header(), Repeat: uint32(repeat), Flags: liveFrames})
	took := time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("drive packets: %w", err)
	}
	if err := h.coll.Variables["arrived"].Get(&after); err != nil {
		return 0, err
	}
	if lost := repeat - int(after-before); lost > repeat/4 {
		return 0, fmt.Errorf("%s: %d of %d packets did not arrive", forwarder, lost, repeat)
	}
	return float64(after-before) / 1e6 / took.Seconds(), nil
}
