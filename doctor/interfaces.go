// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/netdev"
)

func interfaces(f *Facts) (all []Check) {
	if f.HooksErr != nil {
		all = append(all, Check{"attach", "interfaces", Fail, f.HooksErr.Error(), "give every interface the same attach, or auto"})
	}
	for _, i := range f.State.Interfaces {
		link, there := f.Links[i.Name]
		if !there {
			all = append(all, Check{"interface", i.Name, Fail, "does not exist", "mend interfaces in the file; see: ip link"})
			continue
		}
		all = append(all, up(link))
		device, hook := f.Devices[link.Index], f.Hooks[i.Name]
		var other *netdev.Device
		if d, here := f.Devices[link.Parent]; here && link.Kind == "veth" {
			other = &d
		}
		found := slices.Concat(Offloads(device, other, hook), queues(f, device, hook), vlanTags(f, device, other, hook))
		all = append(all, orOK(found, "attach", i.Name, fmt.Sprintf("nothing stands in the way of %s", hook))...)
	}
	return append(all, mtu(f))
}

func up(l netdev.Link) Check {
	if !l.Up {
		return Check{"interface", l.Name, Fail, "is down or has no carrier", "ip link set " + l.Name + " up, and see to its other end"}
	}
	return ok("interface", l.Name, "is up")
}

// xdpMTU is what fits into the page that native XDP has for a frame (kernel:
// PAGE_SIZE less XDP_PACKET_HEADROOM, skb_shared_info and the header).
const xdpMTU = 4096 - 256 - 320 - 14

// Offloads finds what in a driver stands in the way of a hook; other is the
// other end of a veth, nil where it cannot be read. tc copes with everything.
func Offloads(d netdev.Device, other *netdev.Device, hook lb.Attach) (found []Check) {
	fail := func(what, mend string) { found = append(found, Check{"attach", d.Name, Fail, what, mend}) }
	switch hook {
	case lb.AttachXDP:
		if d.XDP.Known && !d.XDP.Receive {
			fail(fmt.Sprintf("its driver %s has no native XDP now (or too few queues for it)", d.Driver), "attach: tc")
		}
		if d.GuestOffloads {
			fail("the hypervisor gave it receive offloads that XDP cannot have",
				"start the machine with guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off for this NIC, or attach: tc")
		}
		if d.MTU > xdpMTU {
			fail(fmt.Sprintf("its MTU %d is more than the %d that native XDP takes", d.MTU, xdpMTU),
				fmt.Sprintf("ip link set %s mtu %d, or attach: tc", d.Name, xdpMTU))
		}
	case lb.AttachXDPGeneric:
		if d.Features["rx-gro"] {
			fail("generic XDP cannot send on what GRO has joined", "ethtool -K "+d.Name+" gro off")
		}
	default:
		return nil
	}
	if d.Features["rx-lro"] {
		fail("XDP cannot have packets that LRO has joined", "ethtool -K "+d.Name+" lro off")
	}
	if d.Kind == "veth" {
		found = append(found, otherEnd(d, other, hook)...)
	}
	return found
}

// otherEnd of a veth must take what is redirected to it, and send whole
// checksums: a partial one becomes wrong when the packet is translated.
func otherEnd(d netdev.Device, other *netdev.Device, hook lb.Attach) (found []Check) {
	name, known := "DEVICE", d.XDP.Known
	takes := d.XDP.Transmit
	if other != nil {
		name = other.Name
		if !known {
			known, takes = true, other.Features["rx-gro"]
		}
	}
	if hook == lb.AttachXDP && known && !takes {
		found = append(found, Check{"attach", d.Name, Fail, "the veth's other end takes no redirected frames: it does not run NAPI",
			"ethtool -K " + name + " gro on, at the other end"})
	}
	switch {
	case other == nil:
		what, mend := "the veth's other end is in another network namespace and cannot be read: its checksum offload must be off", "tx off"
		if hook == lb.AttachXDP && !known {
			what, mend = what+", and GRO on", "tx off gro on"
		}
		found = append(found, Check{"attach", d.Name, Warn, what, "ethtool -K DEVICE " + mend + ", at the other end"})
	case other.Features["tx-checksum-ip-generic"]:
		found = append(found, Check{"attach", d.Name, Fail, "the veth's other end, " + other.Name + ", leaves checksums partial, which translation would spoil",
			"ethtool -K " + other.Name + " tx off"})
	}
	return found
}

// queues: without one for each CPU, virtio's transmissions share a lock.
func queues(f *Facts, d netdev.Device, hook lb.Attach) []Check {
	if hook != lb.AttachXDP || d.Driver != "virtio_net" || d.Queues >= 2*f.CPUs {
		return nil
	}
	return []Check{{"attach", d.Name, Warn, fmt.Sprintf("%d queue pairs are too few for XDP on %d CPUs: sending takes a lock", d.Queues, f.CPUs),
		fmt.Sprintf("give the NIC %d queue pairs (QEMU: queues=), or attach: tc", 2*f.CPUs)}}
}

// vlanTags that a driver keeps beside the packet are out of XDP's sight.
func vlanTags(f *Facts, d netdev.Device, other *netdev.Device, hook lb.Attach) []Check {
	var mend []string
	if d.Features["rx-vlan-hw-parse"] {
		mend = append(mend, "ethtool -K "+d.Name+" rxvlan off")
	}
	if other != nil && other.Features["tx-vlan-hw-insert"] {
		mend = append(mend, "ethtool -K "+other.Name+" txvlan off")
	}
	tagged := false
	for _, l := range f.Links {
		tagged = tagged || l.Kind == "vlan" && l.Parent == d.Index
	}
	if hook == lb.AttachTC || !tagged || len(mend) == 0 {
		return nil
	}
	return []Check{{"vlan", d.Name, Fail, "it carries VLANs, whose tags an offload hides from XDP", strings.Join(mend, "; ")}}
}

// mtu: a reply that is too long for the clients' side is for the kernel to
// refuse, whose ICMP error names the router.
func mtu(f *Facts) Check {
	sizes := map[int]string{}
	for _, i := range f.State.Interfaces {
		if l, there := f.Links[i.Name]; there {
			sizes[l.MTU] = l.Name
		}
	}
	if len(sizes) < 2 {
		return ok("mtu", "interfaces", "all have one MTU")
	}
	var words []string
	for size, name := range sizes {
		words = append(words, fmt.Sprintf("%s %d", name, size))
	}
	slices.Sort(words)
	return Check{"mtu", "interfaces", Warn, "MTUs differ (" + strings.Join(words, ", ") + "): packets too long for the smaller side are lost",
		"give all one MTU, or lower the backends' to the smallest"}
}
