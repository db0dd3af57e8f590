// SPDX-License-Identifier: Apache-2.0

// Package testenv makes the network namespaces that tests run in. It needs
// root and iproute2, and touches only namespaces it made.
package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
)

// NS is a network namespace that ends with its test.
type NS struct {
	Name string
}

// NewNS makes a namespace named for the test's process and role.
func NewNS(t testing.TB, role string) NS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	ns := NS{fmt.Sprintf("weir-%d-%s", os.Getpid(), role)}
	Run(t, "ip netns add "+ns.Name)
	t.Cleanup(func() { Run(t, "ip netns del "+ns.Name) })
	Run(t, "ip -n "+ns.Name+" link set lo up")
	return ns
}

// Run runs one command, split at spaces, and fails the test when it fails.
func Run(t testing.TB, command string) {
	t.Helper()
	words := strings.Fields(command)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// Do runs f on a thread inside the namespace. Sockets that f opens stay in it;
// goroutines that f starts do not.
func (n NS) Do(t testing.TB, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		// The thread is not unlocked: it ends with this goroutine, and with it
		// its namespace.
		runtime.LockOSThread()
		handle, err := netns.GetFromName(n.Name)
		if err == nil {
			err = netns.Set(handle)
			_ = handle.Close()
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("enter namespace %s: %v", n.Name, err)
	}
}
