// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/internal/testenv"
)

// What others do on the interface, before weir attaches or while it is.
type others func(t *testing.T, ifindex int)

var clsactCases = []struct {
	name          string
	before, while others
	qdisc         bool // left, and how many filters
	filters       int
}{
	{"alone", nil, nil, false, 0},
	{"an empty qdisc before", addQdisc, nil, true, 0},
	{"a filter before", addQdiscAndFilter, nil, true, 1},
	{"a filter later", nil, addFilter(netlink.HANDLE_MIN_INGRESS), true, 1},
	{"a filter on egress later", nil, addFilter(netlink.HANDLE_MIN_EGRESS), true, 1},
	// Its qdisc cannot be told from one that was always there.
	{"a killed weir before", attachAnother, nil, true, 0},
	{"another weir takes over", nil, attachAnother, true, 1},
	{"the qdisc goes", nil, func(t *testing.T, ifindex int) {
		check(t, netlink.QdiscDel(clsactQdisc(ifindex)))
	}, false, 0},
	{"the interface goes", nil, func(t *testing.T, ifindex int) {
		check(t, netlink.LinkDel(linkOf(ifindex)))
	}, false, 0},
}

// TestClsact shows that weir's filter comes first, and what detach leaves: all
// that others put there and nothing of weir's.
func TestClsact(t *testing.T) {
	for _, c := range clsactCases {
		t.Run(c.name, func(t *testing.T) {
			ns := testenv.NewNS(t, "router")
			testenv.Run(t, "ip -n "+ns.Name+" link add guest type veth peer name end")
			program := newProgram(t)
			info, err := program.Info()
			check(t, err)
			id, _ := info.ID()
			var attached *clsact
			var ifindex int
			ns.Do(t, func() {
				guest, err := netlink.LinkByName("guest")
				if err != nil {
					t.Error(err)
					return
				}
				ifindex = guest.Attrs().Index
				if c.before != nil {
					c.before(t, ifindex)
				}
				attached, err = attachClsact(program, ifindex)
				check(t, err)
				if found := programsOn(t, ifindex); len(found) == 0 || found[0] != id {
					t.Errorf("programs %v, want %d first", found, id)
				}
				if c.while != nil {
					c.while(t, ifindex)
				}
			})
			if attached == nil {
				t.FailNow()
			}
			check(t, attached.detach()) // from another namespace
			ns.Do(t, func() {
				if got := hasClsact(t, ifindex); got != c.qdisc {
					t.Errorf("clsact is left: %v, want %v", got, c.qdisc)
				}
				left := programsOn(t, ifindex)
				for _, other := range left {
					if other == id {
						t.Error("weir's filter is left")
					}
				}
				if len(left) != c.filters {
					t.Errorf("%d filters left, want %d", len(left), c.filters)
				}
			})
		})
	}
}

func addQdisc(t *testing.T, ifindex int) {
	check(t, netlink.QdiscAdd(clsactQdisc(ifindex)))
}

func addQdiscAndFilter(t *testing.T, ifindex int) {
	addQdisc(t, ifindex)
	addFilter(netlink.HANDLE_MIN_INGRESS)(t, ifindex)
}

// addFilter uses weir's own priority, the hardest case.
func addFilter(parent uint32) others {
	return func(t *testing.T, ifindex int) {
		check(t, netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: ifindex, Parent: parent, Handle: 1, Priority: filterPriority, Protocol: unix.ETH_P_ALL,
			},
			Fd: newProgram(t).FD(), Name: "other", DirectAction: true,
		}))
	}
}

func attachAnother(t *testing.T, ifindex int) {
	c, err := attachClsact(newProgram(t), ifindex)
	check(t, err)
	if c != nil {
		c.netlink.Close()
	}
}

// programsOn are the programs of both directions, in the order they run.
func programsOn(t *testing.T, ifindex int) (ids []ebpf.ProgramID) {
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := netlink.FilterList(linkOf(ifindex), parent)
		check(t, err)
		for _, f := range filters {
			if f, ok := f.(*netlink.BpfFilter); ok && f.Handle != 0 {
				ids = append(ids, ebpf.ProgramID(f.Id))
			}
		}
	}
	return ids
}

func hasClsact(t *testing.T, ifindex int) bool {
	qdiscs, err := netlink.QdiscList(nil)
	check(t, err)
	for _, q := range qdiscs {
		if q.Attrs().LinkIndex == ifindex && q.Type() == "clsact" {
			return true
		}
	}
	return false
}

func linkOf(ifindex int) netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}
}

// newProgram is a filter that passes everything on.
func newProgram(t *testing.T) *ebpf.Program {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { _ = program.Close() })
	return program
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
