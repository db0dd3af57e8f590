// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weirlb/weir/internal/testenv"
)

// TestRouter asks a router of two namespaces for routes, neighbours and VIPs.
func TestRouter(t *testing.T) {
	router, peer := testenv.NewNS(t, "router"), testenv.NewNS(t, "peer")
	testenv.Run(t, "ip link add guest netns "+router.Name+" type veth peer name host netns "+peer.Name)
	for _, command := range []string{
		"ip -n " + router.Name + " addr add 10.0.0.1/24 dev guest",
		"ip -n " + router.Name + " addr add 2001:db8::1/64 dev guest nodad",
		"ip -n " + router.Name + " link set guest up",
		"ip -n " + peer.Name + " addr add 10.0.0.2/24 dev host",
		"ip -n " + peer.Name + " addr add 2001:db8::2/64 dev host nodad",
		"ip -n " + peer.Name + " link set host up",
		"ip -n " + router.Name + " route add 192.0.2.0/24 via 10.0.0.2",
	} {
		testenv.Run(t, command)
	}
	var mac net.HardwareAddr
	peer.Do(t, func() {
		if link, err := net.InterfaceByName("host"); err != nil {
			t.Error(err)
		} else {
			mac = link.HardwareAddr
		}
	})
	router.Do(t, func() {
		for to, via := range map[string]string{"10.0.0.2": "10.0.0.2", "192.0.2.9": "10.0.0.2", "2001:db8::2": "2001:db8::2"} {
			hop, err := open(t).RouteTo(netip.MustParseAddr(to))
			if err != nil || hop.NextHop != netip.MustParseAddr(via) {
				t.Errorf("route to %s: %v, %v; want via %s", to, hop, err, via)
				continue
			}
			for range 2 { // asking again is no error
				if err := open(t).ManageNeighbour(hop.Ifindex, hop.NextHop); err != nil {
					t.Error(err)
				}
			}
			if got := resolved(t, hop); got.String() != mac.String() {
				t.Errorf("neighbour %s: %v, want %v", hop.NextHop, got, mac)
			}
			for _, vip := range []string{"203.0.113.1", "2001:db8:1::1"} {
				testVIP(t, hop.Ifindex, netip.MustParseAddr(vip))
			}
		}
		if hop, err := open(t).RouteTo(netip.MustParseAddr("198.51.100.1")); err == nil {
			t.Errorf("route to nowhere: %v", hop)
		}
	})
}

// resolved waits for the kernel to hear from the neighbour.
func resolved(t *testing.T, hop Hop) net.HardwareAddr {
	for range 100 {
		all, err := open(t).Neighbours()
		if err != nil {
			t.Error(err)
		}
		if mac := all[LinkAddress{hop.Ifindex, hop.NextHop}]; mac != nil {
			return mac
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// testVIP adds a VIP, finds it among the router's addresses, and removes it;
// removing it again is no error.
func testVIP(t *testing.T, ifindex int, vip netip.Addr) {
	if err := open(t).AddVIP(ifindex, vip); err != nil {
		t.Error(err)
	}
	if all, err := open(t).Addresses(); err != nil || all[vip] != ifindex {
		t.Errorf("addresses %v, %v; want %s on %d", all, err, vip, ifindex)
	}
	for range 2 {
		if err := open(t).RemoveVIP(ifindex, vip); err != nil {
			t.Error(err)
		}
	}
	if all, err := open(t).Addresses(); err != nil || all[vip] != 0 {
		t.Errorf("%s is still there: %v, %v", vip, all, err)
	}
}

// open opens a Router of the caller's namespace until the test ends.
func open(t *testing.T) *Router {
	t.Helper()
	r, err := Open()
	if err != nil {
		t.Error(err)
		return &Router{}
	}
	t.Cleanup(r.Close)
	return r
}
