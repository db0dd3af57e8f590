// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/weirlb/weir/doctor"
	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/loader"
	"github.com/weirlb/weir/maps"
	"github.com/weirlb/weir/netdev"
)

// announcements of a VIP that was added or whose link came up, a second
// apart: none is acknowledged (RFC 5227 §1.1, RFC 4861 §7.2.6).
const announcements = 3

// network is the daemon's view of the router and what it changed there. The
// daemon's loop owns it.
type network struct {
	log      *slog.Logger
	router   *netdev.Router
	links    map[string]netdev.Link
	byIndex  map[int]netdev.Link
	held     map[netip.Addr]int        // the router's own addresses
	routes   map[netip.Addr]netdev.Hop // asked since the last look
	macs     map[netdev.LinkAddress]net.HardwareAddr
	attached map[string]attached // by name
	vips     map[netip.Addr]vip
	pending  map[netip.Addr]int // announcements still to make
}

type attached struct {
	ifindex  int
	hook     lb.Attach
	problem  string
	offloads string // what in its driver spoils packets, as doctor judges it
}

type vip struct {
	device string
	added  bool // by weir
}

func newNetwork(log *slog.Logger, router *netdev.Router) *network {
	return &network{log: log, router: router, attached: map[string]attached{}, vips: map[netip.Addr]vip{}, pending: map[netip.Addr]int{}}
}

// look reads everything anew. VIPs of a link that came up are to be announced.
func (n *network) look() error {
	found, err := n.router.Links()
	if err != nil {
		return err
	}
	if n.held, err = n.router.Addresses(); err != nil {
		return err
	}
	if err := n.lookAtNeighbours(); err != nil {
		return err
	}
	before := n.links
	n.links, n.byIndex, n.routes = map[string]netdev.Link{}, map[int]netdev.Link{}, map[netip.Addr]netdev.Hop{}
	for _, l := range found {
		n.links[l.Name], n.byIndex[l.Index] = l, l
		if before != nil && l.Up && (!before[l.Name].Up || before[l.Name].Index != l.Index) {
			for a, v := range n.vips {
				if v.device == l.Name {
					n.pending[a] = announcements
				}
			}
		}
	}
	return nil
}

func (n *network) lookAtNeighbours() (err error) {
	n.macs, err = n.router.Neighbours()
	return err
}

// route asks the kernel once until the next look.
func (n *network) route(a netip.Addr) (hop netdev.Hop, err error) {
	hop, ok := n.routes[a]
	if !ok {
		if hop, err = n.router.RouteTo(a); err == nil {
			n.routes[a] = hop
		}
	}
	return hop, err
}

// missing names the interfaces that are not there.
func missing(interfaces []lb.Interface, links map[string]netdev.Link) error {
	var errs []error
	for _, i := range interfaces {
		if _, ok := links[i.Name]; !ok {
			errs = append(errs, fmt.Errorf("interface %s does not exist; see: ip link", i.Name))
		}
	}
	return errors.Join(errs...)
}

// attach has every wanted interface pass through the programs; again: also
// those that do already, as the programs are new.
func (n *network) attach(p *loader.Programs, wanted map[string]lb.Attach, again bool) error {
	var errs []error
	for name, hook := range wanted {
		link, was := n.links[name], n.attached[name]
		now := attached{ifindex: link.Index, hook: hook}
		if link.Index == 0 {
			now.problem = "the interface is gone; waiting for it to come back"
		} else if again || was.ifindex != link.Index || was.hook != hook || was.problem != "" {
			if err := p.Attach(name, link.Index, hook); err != nil {
				now.problem = err.Error()
				errs = append(errs, err)
			}
		}
		now.offloads = n.offloads(link, hook)
		if now.offloads != "" && now.offloads != was.offloads {
			n.log.Warn("interface", "dev", name, "offloads", now.offloads)
		}
		if now.problem != was.problem || now.ifindex != was.ifindex {
			n.log.Info("interface", "dev", name, "attach", hook, "problem", now.problem)
		}
		n.attached[name] = now
	}
	if len(errs) > 0 {
		return errors.Join(errs...) // which may undo it: nothing is let go of yet
	}
	devices, err := p.Attached()
	errs = append(errs, err)
	for _, name := range devices {
		if _, ok := wanted[name]; !ok {
			delete(n.attached, name)
			errs = append(errs, p.Release(name))
		}
	}
	return errors.Join(errs...)
}

// offloads asks the driver what would spoil the packets of this hook. News of
// a link come also when its offloads change.
func (n *network) offloads(link netdev.Link, hook lb.Attach) string {
	if link.Index == 0 || hook == lb.AttachTC {
		return ""
	}
	device, err := n.router.Device(link)
	if err != nil {
		return "" // the link has just gone, of which there is news
	}
	var other *netdev.Device
	if l, here := n.byIndex[link.Parent]; here {
		if d, err := n.router.Device(l); err == nil {
			other = &d
		}
	}
	var words []string
	for _, c := range doctor.Offloads(device, other, hook) {
		if c.Status == doctor.Fail {
			words = append(words, c.What+" ("+c.Mend+")")
		}
	}
	return strings.Join(words, "; ")
}

// hops finds the next hop of every backend address that has a route, and asks
// the kernel to keep it resolved.
func (n *network) hops(addresses []netip.Addr) (hops map[netip.Addr]maps.Adjacency, problems []string) {
	hops = map[netip.Addr]maps.Adjacency{}
	refused, refusal := 0, error(nil)
	for _, a := range addresses {
		if _, ok := hops[a]; ok {
			continue
		}
		hop, err := n.route(a)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		link := n.byIndex[hop.Ifindex]
		if _, ok := n.attached[link.Name]; !ok {
			problems = append(problems, fmt.Sprintf("backend %s is reached through %s, which is not among weir's interfaces: its replies would not come back through weir", a, link.Name))
		}
		key := netdev.LinkAddress{Ifindex: hop.Ifindex, Address: hop.NextHop}
		mac, known := n.macs[key]
		if !known {
			n.macs[key] = nil // asked for, until the next look at the neighbours
			if err := n.router.ManageNeighbour(hop.Ifindex, hop.NextHop); err != nil {
				refused++
				refusal = err
			}
		}
		hops[a] = maps.Adjacency{Ifindex: hop.Ifindex, MTU: link.MTU, Source: link.MAC, Destination: mac, NextHop: hop.NextHop}
	}
	if refused > 0 {
		problems = append(problems, fmt.Sprintf("%d next hops are not kept resolved, the last because: %v; where the kernel's table is full, "+
			"raise net.ipv4.neigh.default.gc_thresh3 (net.ipv6 likewise)", refused, refusal))
	}
	return hops, problems
}

// keepVIPs puts wanted VIPs on their interfaces and takes those off that weir
// added and nobody wants.
func (n *network) keepVIPs(wanted []netip.Addr) (problems []string) {
	keep := map[netip.Addr]bool{}
	for _, a := range wanted {
		keep[a] = true
		known, ours := n.vips[a]
		ifindex, held := n.held[a]
		if !held {
			hop, err := n.route(a)
			if err == nil {
				err = n.router.AddVIP(hop.Ifindex, a)
			}
			if err != nil {
				problems = append(problems, fmt.Sprintf("VIP %s: %v", a, err))
				continue
			}
			n.held[a], ifindex, known.added = hop.Ifindex, hop.Ifindex, true
		}
		if !held || !ours {
			n.pending[a] = announcements
		}
		n.vips[a] = vip{n.byIndex[ifindex].Name, known.added}
	}
	for a, v := range n.vips {
		if keep[a] {
			continue
		}
		delete(n.vips, a)
		if link, ok := n.links[v.device]; ok && v.added {
			if err := n.router.RemoveVIP(link.Index, a); err != nil {
				problems = append(problems, err.Error())
			}
		}
	}
	return problems
}

// announce makes one of the announcements that are still to make.
func (n *network) announce() {
	for a, left := range n.pending {
		link := n.links[n.vips[a].device]
		if len(link.MAC) == 6 && link.Up {
			if err := netdev.Announce(link.Index, link.MAC, a); err != nil {
				n.log.Warn("announce", "vip", a, "dev", link.Name, "err", err)
			}
		}
		if n.pending[a] = left - 1; left <= 1 {
			delete(n.pending, a)
		}
	}
}
