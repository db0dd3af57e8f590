// SPDX-License-Identifier: Apache-2.0

// Package doctor judges whether a router can balance what a configuration
// asks for: Gather reads the facts, Judge is pure. It needs no daemon, changes
// nothing and starts no goroutine.
package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/netdev"
)

// Status of a check.
type Status string

// OK also marks what is only to be known; Warn what may hurt some traffic or
// cannot be seen from here; Fail what must be mended.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Check is one judgement. Fields may be added, never changed: scripts read them.
type Check struct {
	Check   string `json:"check"`
	Subject string `json:"subject"`
	Status  Status `json:"status"`
	What    string `json:"what"`
	Mend    string `json:"mend"`
}

// Facts are what the judgement follows from.
type Facts struct {
	State     *lb.State
	Release   string // of the kernel: "6.1.0-49-cloud-amd64"
	BTF       bool
	Pins      error    // why the folder of --bpffs cannot hold pins
	Missing   []string // capabilities
	Memory    uint64   // bytes
	Table     uint64   // bytes that the connection table needs; 0: the default
	CPUs      int
	Sysctls   map[string]int64 // by path: "vm/panic_on_oom"; only those that are there
	Listeners []Listener
	Links     map[string]netdev.Link
	Devices   map[int]netdev.Device // of the file's interfaces, and their veths' other ends
	Hooks     map[string]lb.Attach
	HooksErr  error // why the interfaces cannot have one hook
	Holders   map[netip.Addr][]int
	Routes    map[netip.Addr]Route // of VIPs and backends
}

// Route is the way to an address, or why there is none.
type Route struct {
	netdev.Hop
	Err error
}

// Listener is a process's socket on this router.
type Listener struct {
	Protocol lb.Protocol
	At       netip.AddrPort
}

// Judge makes all checks.
func Judge(f *Facts) []Check {
	return slices.Concat(kernel(f), interfaces(f), routes(f))
}

// Failed counts what must be mended.
func Failed(checks []Check) (n int) {
	for _, c := range checks {
		if c.Status == Fail {
			n++
		}
	}
	return n
}

func ok(check, subject, what string, args ...any) Check {
	return Check{check, subject, OK, fmt.Sprintf(what, args...), ""}
}

// orOK returns the problems, or that there are none.
func orOK(problems []Check, check, subject, what string) []Check {
	if len(problems) > 0 {
		return problems
	}
	return []Check{{check, subject, OK, what, ""}}
}

// name of an interface.
func (f *Facts) name(ifindex int) string {
	for _, l := range f.Links {
		if l.Index == ifindex {
			return l.Name
		}
	}
	return fmt.Sprintf("interface %d", ifindex)
}

// managed tells whether weir is to attach to an interface.
func (f *Facts) managed(name string) bool {
	return slices.ContainsFunc(f.State.Interfaces, func(i lb.Interface) bool { return i.Name == name })
}
