// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/weirlb/weir/internal/testenv"
)

// TestWatch makes one change of each kind, then many at once, then ends.
func TestWatch(t *testing.T) {
	router, _, _, _ := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wake <-chan struct{}
	router.Do(t, func() {
		var err error
		if wake, err = Watch(ctx); err != nil {
			t.Error(err)
		}
	})
	if wake == nil {
		t.FailNow()
	}
	ip := "ip -n " + router.Name + " "
	for _, change := range []string{
		"link set guest mtu 1400",
		"addr add 10.0.0.77/32 dev guest",
		"addr add 2001:db8::77/128 dev guest nodad",
		"route add 192.0.2.0/24 via 10.0.0.2",
		"-6 route add 2001:db8:2::/64 via 2001:db8::2",
		"neigh add 10.0.0.50 lladdr 02:00:00:00:00:50 dev guest",
		"nexthop add id 7 via 10.0.0.2 dev guest",
	} {
		settle(wake)
		testenv.Run(t, ip+change)
		select {
		case <-wake:
		case <-time.After(2 * time.Second):
			t.Errorf("%s: no wake", change)
		}
	}
	for range 20 {
		testenv.Run(t, ip+"link set guest mtu 1300")
		testenv.Run(t, ip+"link set guest mtu 1301")
	}
	if n := settle(wake); n == 0 || n > 2 {
		t.Errorf("%d wakes of 40 changes nobody read, want them coalesced", n)
	}
	cancel()
	for end := time.After(2 * time.Second); ; {
		select {
		case _, open := <-wake:
			if !open {
				return
			}
		case <-end:
			t.Fatal("the channel stays open after its context ended")
		}
	}
}

// settle reads wakes until none came for a while.
func settle(wake <-chan struct{}) (wakes int) {
	for {
		select {
		case <-wake:
			wakes++
		case <-time.After(300 * time.Millisecond):
			return wakes
		}
	}
}

func TestLinks(t *testing.T) {
	router, _, index, mac := pair(t)
	testenv.Run(t, "ip -n "+router.Name+" link add spare type veth peer name end")
	router.Do(t, func() {
		links, err := Links()
		if err != nil {
			t.Error(err)
		}
		byName := map[string]Link{}
		for _, l := range links {
			byName[l.Name] = l
		}
		if l := byName["guest"]; l.Index != index || l.MAC.String() != mac.String() || l.MTU != 1500 || !l.Up || l.Kind != "veth" {
			t.Errorf("veth: %+v", l)
		}
		if l := byName["spare"]; l.Up || l.Kind != "veth" {
			t.Errorf("link that is down: %+v", l)
		}
	})
}

// TestVIPLink: by a connected route, by a gateway's, and where a VIP is already.
func TestVIPLink(t *testing.T) {
	router, _, index, _ := pair(t)
	for _, command := range []string{
		"link add spare type veth peer name end", "link set spare up", "link set end up",
		"addr add 10.0.0.88/32 dev spare", "addr add 2001:db8::88/128 dev spare nodad",
		"route add 192.0.2.0/24 via 10.0.0.2",
	} {
		testenv.Run(t, "ip -n "+router.Name+" "+command)
	}
	router.Do(t, func() {
		for _, vip := range []string{"10.0.0.1", "10.0.0.88", "2001:db8::1", "2001:db8::88"} {
			if added, err := EnsureVIP(index, netip.MustParseAddr(vip)); added || err != nil {
				t.Errorf("%s, which is there: added %v, %v", vip, added, err)
			}
		}
		for vip, onGuest := range map[string]bool{
			"10.0.0.9": true, "192.0.2.9": true, "2001:db8::9": true, "10.0.0.88": false, "2001:db8::88": false,
		} {
			if got, err := VIPLink(netip.MustParseAddr(vip)); err != nil || got <= 1 || (got == index) != onGuest {
				t.Errorf("%s: interface %d, %v (guest is %d)", vip, got, err, index)
			}
		}
		if got, err := VIPLink(netip.MustParseAddr("198.51.100.1")); err == nil {
			t.Errorf("VIP without a route: interface %d", got)
		}
	})
}
