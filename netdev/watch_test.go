// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"context"
	"testing"
	"time"

	"github.com/weirlb/weir/internal/testenv"
)

// TestWatch makes one change of each kind, then many at once, then ends.
func TestWatch(t *testing.T) {
	router, _, _, _ := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var news News
	router.Do(t, func() {
		var err error
		if news, err = Watch(ctx); err != nil {
			t.Error(err)
		}
	})
	if news.Network == nil {
		t.FailNow()
	}
	ip := "ip -n " + router.Name + " "
	for _, c := range []struct {
		change string
		wakes  <-chan struct{}
	}{
		{"link set guest mtu 1400", news.Network},
		{"addr add 10.0.0.77/32 dev guest", news.Network},
		{"addr add 2001:db8::77/128 dev guest nodad", news.Network},
		{"route add 192.0.2.0/24 via 10.0.0.2", news.Network},
		{"-6 route add 2001:db8:2::/64 via 2001:db8::2", news.Network},
		{"nexthop add id 7 via 10.0.0.2 dev guest", news.Network},
		{"neigh add 10.0.0.50 lladdr 02:00:00:00:00:50 dev guest", news.Neighbours},
		{"neigh replace 10.0.0.50 lladdr 02:00:00:00:00:51 dev guest", news.Neighbours},
		{"neigh del 10.0.0.50 dev guest", news.Neighbours},
	} {
		settle(news.Network)
		settle(news.Neighbours)
		testenv.Run(t, ip+c.change)
		select {
		case <-c.wakes:
		case <-time.After(2 * time.Second):
			t.Errorf("%s: no wake", c.change)
		}
	}
	testenv.Run(t, ip+"neigh add 10.0.0.60 lladdr 02:00:00:00:00:60 nud reachable dev guest")
	settle(news.Neighbours)
	for _, state := range []string{"stale", "reachable", "stale"} {
		testenv.Run(t, ip+"neigh replace 10.0.0.60 lladdr 02:00:00:00:00:60 nud "+state+" dev guest")
	}
	if n := settle(news.Neighbours); n > 0 {
		t.Errorf("%d wakes of a neighbour that only ages", n)
	}
	for range 20 {
		testenv.Run(t, ip+"link set guest mtu 1300")
		testenv.Run(t, ip+"link set guest mtu 1301")
	}
	if n := settle(news.Network); n == 0 || n > 2 {
		t.Errorf("%d wakes of 40 changes nobody read, want them coalesced", n)
	}
	cancel()
	for _, c := range []<-chan struct{}{news.Network, news.Neighbours} {
		for end, open := time.After(2*time.Second), true; open; {
			select {
			case _, open = <-c:
			case <-end:
				t.Fatal("a channel stays open after its context ended")
			}
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
		links, err := open(t).Links()
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
