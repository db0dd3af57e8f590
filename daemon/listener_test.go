// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
)

// free is an address that nobody listens on.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// TestListener moves it: to an address, to the same, to a taken one, to
// another, to none.
func TestListener(t *testing.T) {
	var l listener
	defer l.close()
	move := func(at netip.AddrPort) error {
		socket, err := l.open(at)
		if err == nil {
			l.use(at, socket)
		}
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answers := func(at netip.AddrPort) bool {
		response, err := client.Get(fmt.Sprintf("http://%s/", at))
		if err != nil {
			return false
		}
		return response.Body.Close() == nil && response.StatusCode == http.StatusNoContent
	}
	first, second := free(t), free(t)
	if err := move(first); err != nil {
		t.Fatal(err)
	}
	l.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	if !answers(first) {
		t.Error("no answer on the first address")
	}
	taken, err := net.Listen("tcp", second.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := move(second); err == nil {
		t.Error("moved to a taken address")
	}
	if err := move(first); err != nil || !answers(first) {
		t.Errorf("gone from where it was (%v)", err)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	if err := move(second); err != nil || !answers(second) || answers(first) {
		t.Errorf("not moved (%v)", err)
	}
	if err := move(netip.AddrPort{}); err != nil || answers(second) {
		t.Errorf("still there (%v)", err)
	}
}
