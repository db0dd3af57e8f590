// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"net"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

// TestOpened shows that a file left open is seen.
func TestOpened(t *testing.T) {
	before := openFiles()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if left := opened(before); len(left) != 1 {
		t.Errorf("one more open: %q", left)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if left := opened(before); len(left) != 0 {
		t.Errorf("closed again: %q", left)
	}
}
