// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
)

// TestLoad shows that the verifier accepts both programs.
func TestLoad(t *testing.T) {
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){"xdp": LoadLB, "tc": LoadTC} {
		t.Run(name, func(t *testing.T) {
			spec, err := load()
			if err != nil {
				t.Fatal(err)
			}
			coll, err := ebpf.NewCollection(spec)
			var verifier *ebpf.VerifierError
			if errors.As(err, &verifier) {
				t.Fatalf("%+v", verifier)
			}
			if err != nil {
				t.Fatal(err)
			}
			coll.Close()
		})
	}
}
