// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"testing"

	"github.com/weirlb/weir/internal/testenv"
)

// TestDevice: offloads as ethtool sets them, and a veth whose other end can or
// cannot take redirected frames, here and in another namespace.
func TestDevice(t *testing.T) {
	router, other := testenv.NewNS(t, "router"), testenv.NewNS(t, "other")
	testenv.Run(t, "ip -n "+router.Name+" link add near type veth peer name far netns "+other.Name)
	testenv.Run(t, "ip -n "+router.Name+" link add one type veth peer name two")
	for _, device := range []string{"near", "one", "two"} {
		testenv.Run(t, "ip -n "+router.Name+" link set "+device+" up")
	}
	testenv.Run(t, "ip -n "+other.Name+" link set far up")
	look := func() (devices map[string]Device) {
		devices = map[string]Device{}
		router.Do(t, func() {
			r := open(t)
			links, err := r.Links()
			if err != nil {
				t.Error(err)
			}
			for _, l := range links {
				if devices[l.Name], err = r.Device(l); err != nil {
					t.Error(err)
				}
			}
		})
		return devices
	}
	found := look()
	near, one, two := found["near"], found["one"], found["two"]
	if near.Driver != "veth" || near.Parent != 0 || !near.Features["tx-checksum-ip-generic"] || near.Features["rx-gro"] {
		t.Errorf("near: %+v", near)
	}
	if one.Parent != two.Index || two.Parent != one.Index {
		t.Errorf("ends of one veth: %d of %d, %d of %d", one.Parent, two.Index, two.Parent, one.Index)
	}
	if !near.XDP.Known {
		t.Logf("this kernel does not tell what XDP its drivers can")
	} else if !near.XDP.Receive || near.XDP.Transmit {
		t.Errorf("near: %+v", near.XDP)
	}
	testenv.Run(t, "ip netns exec "+other.Name+" ethtool -K far gro on")
	testenv.Run(t, "ip netns exec "+router.Name+" ethtool -K two gro on tx off")
	found = look()
	if x := found["near"].XDP; x.Known && !x.Transmit {
		t.Errorf("near, once far runs NAPI: %+v", x)
	}
	if two := found["two"]; !two.Features["rx-gro"] || two.Features["tx-checksum-ip-generic"] {
		t.Errorf("two: %+v", two)
	}
}
