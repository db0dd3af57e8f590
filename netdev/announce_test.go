// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weirlb/weir/internal/testenv"
)

// TestFrames compares with frames written by hand from the RFCs. The checksum
// was added up apart.
func TestFrames(t *testing.T) {
	mac := [6]byte{2, 0, 0, 0, 0, 0x0a}
	vip6 := netip.MustParseAddr("2001:db8::1").As16()
	for name, c := range map[string]struct {
		frame []byte
		want  string
	}{
		"arp": {arpAnnouncement(mac, [4]byte{203, 0, 113, 1}),
			"ffffffffffff 02000000000a 0806 0001 0800 06 04 0001" +
				"02000000000a cb007101 000000000000 cb007101"},
		"na of a host": {neighbourAdvertisement(mac, vip6, false),
			"333300000001 02000000000a 86dd 60000000 0020 3a ff" +
				"20010db8000000000000000000000001 ff020000000000000000000000000001" +
				"88 00 f921 20000000 20010db8000000000000000000000001 02 01 02000000000a"},
		"na of a router": {neighbourAdvertisement(mac, vip6, true),
			"333300000001 02000000000a 86dd 60000000 0020 3a ff" +
				"20010db8000000000000000000000001 ff020000000000000000000000000001" +
				"88 00 7921 a0000000 20010db8000000000000000000000001 02 01 02000000000a"},
	} {
		if got := hex.EncodeToString(c.frame); got != strings.ReplaceAll(c.want, " ", "") {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
	}
}

func TestAnnounceRefuses(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for _, c := range []struct {
		mac net.HardwareAddr
		vip string
	}{{nil, "10.0.0.9"}, {mac, "0.0.0.0"}, {mac, "224.0.0.1"}, {mac, "ff02::1"}} {
		if err := Announce(1, c.mac, netip.MustParseAddr(c.vip)); err == nil {
			t.Errorf("%v at %v announced", c.vip, c.mac)
		}
	}
}

// TestAnnounceMoves has a peer believe a wrong MAC until the announcement: the
// kernel on the other side judges the frames. They are repeated, as callers
// should: a link that just came up drops the first.
func TestAnnounceMoves(t *testing.T) {
	router, peer, index, mac := pair(t)
	for _, vip := range []string{"10.0.0.9", "2001:db8::9"} {
		testenv.Run(t, "ip -n "+peer.Name+" neigh replace "+vip+" lladdr 02:00:00:00:00:99 dev host nud stale")
		var got net.HardwareAddr
		for range 50 {
			router.Do(t, func() {
				if err := Announce(index, mac, netip.MustParseAddr(vip)); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(100 * time.Millisecond)
			peer.Do(t, func() { got = believed(t, netip.MustParseAddr(vip)) })
			if got.String() == mac.String() {
				break
			}
		}
		if got.String() != mac.String() {
			t.Errorf("%s: peer believes %v, want %v", vip, got, mac)
		}
	}
}

// believed is the MAC that the peer has for an address.
func believed(t *testing.T, a netip.Addr) net.HardwareAddr {
	host, err := net.InterfaceByName("host")
	if err != nil {
		t.Error(err)
		return nil
	}
	all, err := open(t).Neighbours()
	if err != nil {
		t.Error(err)
	}
	return all[LinkAddress{host.Index, a}]
}

// pair is a router and a peer joined by a veth pair, and the router's end.
func pair(t *testing.T) (router, peer testenv.NS, index int, mac net.HardwareAddr) {
	router, peer = testenv.NewNS(t, "router"), testenv.NewNS(t, "peer")
	testenv.Run(t, "ip link add guest netns "+router.Name+" type veth peer name host netns "+peer.Name)
	for _, command := range []string{
		"ip -n " + router.Name + " addr add 10.0.0.1/24 dev guest",
		"ip -n " + router.Name + " addr add 2001:db8::1/64 dev guest nodad",
		"ip -n " + router.Name + " link set guest up",
		"ip -n " + peer.Name + " addr add 10.0.0.2/24 dev host",
		"ip -n " + peer.Name + " addr add 2001:db8::2/64 dev host nodad",
		"ip -n " + peer.Name + " link set host up",
	} {
		testenv.Run(t, command)
	}
	router.Do(t, func() {
		link, err := net.InterfaceByName("guest")
		if err != nil {
			t.Error(err)
			return
		}
		index, mac = link.Index, link.HardwareAddr
	})
	if index == 0 {
		t.FailNow()
	}
	return router, peer, index, mac
}
