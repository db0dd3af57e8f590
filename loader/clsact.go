// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The filter goes first, as a tcx program does. Its handle, "weir", tells it
// from filters of others at the same priority, and lets a new process replace
// in one step what one that was killed left behind.
const filterPriority, filterHandle = 1, 0x77656972

// clsact is a program on the classic ingress hook, for kernels before 6.6,
// which have no tcx. Other than a link it outlives its process.
type clsact struct {
	netlink    *netlink.Handle // stays in the network namespace of the attach
	filter     *netlink.BpfFilter
	program    ebpf.ProgramID // 0: any with the handle
	addedQdisc bool
}

// newClsact is the program as it is, or is to be, on an interface.
func newClsact(program *ebpf.Program, ifindex int) (*clsact, error) {
	info, err := program.Info()
	if err != nil {
		return nil, fmt.Errorf("read program id: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return nil, errors.New("read program id: unknown to this kernel")
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &clsact{netlink: handle, program: id, filter: &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_INGRESS, Handle: filterHandle,
			Priority: filterPriority, Protocol: unix.ETH_P_ALL,
		},
		Fd: program.FD(), Name: "weir_tc", DirectAction: true,
	}}, nil
}

// attachClsact puts the program on an interface, in one step in the place of
// one that an earlier process left there.
func attachClsact(program *ebpf.Program, ifindex int) (*clsact, error) {
	c, err := newClsact(program, ifindex)
	if err != nil {
		return nil, err
	}
	err = c.netlink.QdiscAdd(clsactQdisc(ifindex))
	c.addedQdisc = err == nil
	if err != nil && !errors.Is(err, unix.EEXIST) {
		c.netlink.Close()
		return nil, fmt.Errorf("add clsact qdisc: %w", err)
	}
	if err := c.netlink.FilterReplace(c.filter); err != nil {
		return nil, errors.Join(fmt.Errorf("add bpf filter: %w", err), c.detach())
	}
	return c, nil
}

// leave lets go of it without taking it off.
func (c *clsact) leave() error {
	c.netlink.Close()
	return nil
}

func clsactQdisc(ifindex int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifindex, Parent: netlink.HANDLE_CLSACT, Handle: netlink.MakeHandle(0xffff, 0),
	}}
}

// detach removes the filter if it still runs this program, and the qdisc if
// attachClsact added it and nobody else's filter is in it by now.
func (c *clsact) detach() error {
	defer c.netlink.Close()
	ingress, err := c.filters(netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return err
	}
	others := false
	for _, f := range ingress {
		if found, ok := f.(*netlink.BpfFilter); !ok || found.Handle != filterHandle || c.program != 0 && found.Id != int(c.program) {
			others = true
			continue
		}
		if err := c.netlink.FilterDel(c.filter); err != nil && !gone(err) {
			return fmt.Errorf("remove bpf filter from interface %d: %w", c.filter.LinkIndex, err)
		}
	}
	egress, err := c.filters(netlink.HANDLE_MIN_EGRESS)
	if err != nil || others || len(egress) > 0 || !c.addedQdisc {
		return err
	}
	if err := c.netlink.QdiscDel(clsactQdisc(c.filter.LinkIndex)); err != nil && !gone(err) {
		return fmt.Errorf("remove clsact qdisc from interface %d: %w", c.filter.LinkIndex, err)
	}
	return nil
}

// filters lists the filters of one direction.
func (c *clsact) filters(parent uint32) (found []netlink.Filter, err error) {
	link := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: c.filter.LinkIndex}}
	all, err := c.netlink.FilterList(link, parent)
	if err != nil && !gone(err) {
		return nil, fmt.Errorf("list filters of interface %d: %w", c.filter.LinkIndex, err)
	}
	for _, f := range all {
		// Each priority is listed as well, with the handle 0.
		if f.Attrs().Handle != 0 {
			found = append(found, f)
		}
	}
	return found, nil
}

// gone: the interface, or what was on it, is no more, which is what
// detach wants. For a qdisc that somebody else removed the kernel says EINVAL.
func gone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL)
}
