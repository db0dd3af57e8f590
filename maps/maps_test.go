// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"testing"

	"github.com/weirlb/weir/lb"
)

// TestPortPrefixes compares the prefixes with every port, one by one.
func TestPortPrefixes(t *testing.T) {
	ranges := []lb.PortRange{lb.AnyPort, {First: 1, Last: 65535}, {First: 8000, Last: 8100}, {First: 0, Last: 1}, {First: 65534, Last: 65535}, {First: 1023, Last: 1024}, {First: 32768, Last: 65535}}
	for _, r := range ranges {
		prefixes := portPrefixes(r)
		if len(prefixes) > 30 {
			t.Errorf("%v: %d prefixes, a range needs at most 30", r, len(prefixes))
		}
		for port := range uint32(65536) {
			var covered int
			for _, p := range prefixes {
				if port>>(16-p.bits) == uint32(p.port)>>(16-p.bits) {
					covered++
				}
			}
			if want := port >= uint32(r.First) && port <= uint32(r.Last); (covered == 1) != want || covered > 1 {
				t.Fatalf("%v: port %d covered %d times", r, port, covered)
			}
		}
	}
}
