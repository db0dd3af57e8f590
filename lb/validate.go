// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Limits of the domain.
const (
	// MinInterval keeps a probe from becoming a flood of its own backend.
	MinInterval = 100 * time.Millisecond
	// MaxInterval is where a typo is likelier than a wish.
	MaxInterval = time.Hour
	// MinTimeout is below the packet path's clock, which ticks every 268 ms.
	MinTimeout = 100 * time.Millisecond
	// MaxTimeout keeps ticks far from where their 32 bits wrap around.
	MaxTimeout = 30 * 24 * time.Hour
	// MaxAllow is how many prefixes all services may allow together. The map
	// has room for more, as a change adds the new before it removes the old.
	MaxAllow = 100_000
	// MaxServices and MaxBackends leave ids for those that are removed, and
	// kept until their connections end.
	MaxServices = 16_000
	MaxBackends = 128_000
	// MaxConnections is 16 GiB of 64-byte entries, more than any host that weir
	// runs on would give it.
	MaxConnections = 1 << 28

	maxInterfaceName = 15 // IFNAMSIZ less its closing zero
)

// Service names become metric labels, file names and command arguments.
var serviceName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// FieldError is one thing wrong with a State and where it is.
type FieldError struct {
	Path    string // "services[0].port", in the names of weir.yaml
	Problem string // "70000 is not in 1..65535"
	Hint    string // how to mend it; may be empty
}

// Error returns "PATH: PROBLEM; HINT".
func (e *FieldError) Error() string {
	s := e.Problem
	if e.Path != "" {
		s = e.Path + ": " + s
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Validate returns every *FieldError of the state, joined by errors.Join, or
// nil. It asks only the state: whether an interface exists is for others.
func (s *State) Validate() error {
	v := &validator{}
	v.interfaces(s.Interfaces)
	v.services(s.Services)
	v.totals(s.Services)
	if s.Table.Connections > MaxConnections {
		v.fail("table.connections", "leave it out for a size that fits the memory", "%d is not in 1..%d",
			s.Table.Connections, MaxConnections)
	}
	return errors.Join(v.errs...)
}

// FieldErrors returns the field errors that Validate joined into err.
func FieldErrors(err error) []*FieldError {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		var one *FieldError
		if errors.As(err, &one) {
			return []*FieldError{one}
		}
		return nil
	}
	var all []*FieldError
	for _, e := range joined.Unwrap() {
		all = append(all, FieldErrors(e)...)
	}
	return all
}

type validator struct{ errs []error }

func (v *validator) fail(path, hint, format string, args ...any) {
	v.errs = append(v.errs, &FieldError{Path: path, Problem: fmt.Sprintf(format, args...), Hint: hint})
}

func (v *validator) interfaces(all []Interface) {
	if len(all) == 0 {
		v.fail("interfaces", "list at least one, as in: interfaces: [{name: eth0}]", "is empty")
	}
	seen := map[string]int{}
	for i, in := range all {
		path := fmt.Sprintf("interfaces[%d]", i)
		bad := in.Name == "." || in.Name == ".." || strings.ContainsFunc(in.Name, func(r rune) bool {
			return r <= ' ' || r > '~' || r == '/' || r == ':'
		})
		if in.Name == "" || len(in.Name) > maxInterfaceName || bad {
			v.fail(path+".name", "take a name that `ip link` shows", "%q is not an interface name", in.Name)
		} else if first, dup := seen[in.Name]; dup {
			v.fail(path+".name", "remove one of the two", "%q is already interfaces[%d]", in.Name, first)
		} else {
			seen[in.Name] = i
		}
		oneOf(v, path+".attach", in.Attach, AttachAuto, AttachXDP, AttachXDPGeneric, AttachTC)
	}
}

func (v *validator) services(all []Service) {
	names := map[string]int{}
	vips := map[netip.Addr]int{}
	for i := range all {
		if _, ok := vips[all[i].Address]; !ok {
			vips[all[i].Address] = i
		}
	}
	for i := range all {
		s, path := &all[i], fmt.Sprintf("services[%d]", i)
		if !serviceName.MatchString(s.Name) {
			v.fail(path+".name", "use 1 to 64 of A-Z a-z 0-9 . _ -", "%q is not a service name", s.Name)
		} else if first, dup := names[s.Name]; dup {
			v.fail(path+".name", "give each service its own name", "%q is already services[%d]", s.Name, first)
		} else {
			names[s.Name] = i
		}
		v.service(s, path)
		v.backends(s, vips, path)
	}
	v.overlaps(all)
}

// totals refuses what the maps have no room for.
func (v *validator) totals(all []Service) {
	backends, allow := 0, 0
	for i := range all {
		backends += len(all[i].Backends)
		allow += len(all[i].Allow)
	}
	if len(all) > MaxServices {
		v.fail("services", "run a second weir for the rest", "has %d services, more than %d", len(all), MaxServices)
	}
	if backends > MaxBackends {
		v.fail("services", "run a second weir for the rest", "have %d backends in all, more than %d", backends, MaxBackends)
	}
	if allow > MaxAllow {
		v.fail("services", "join neighbouring prefixes", "allow %d prefixes in all, more than %d", allow, MaxAllow)
	}
}

// overlaps compares only services of one address and protocol, so that ten
// thousand VIPs do not cost fifty million comparisons. Within a group the
// ranges of one class are sorted: only a neighbour can be the first overlap.
func (v *validator) overlaps(all []Service) {
	type group struct {
		addr  netip.Addr
		proto Protocol
		class int
	}
	groups := map[group][]int{}
	for i := range all {
		g := group{all[i].Address, all[i].Protocol, all[i].Ports.class()}
		groups[g] = append(groups[g], i)
	}
	var clashes [][2]int // later service, earlier service
	for _, members := range groups {
		slices.SortStableFunc(members, func(a, b int) int {
			return int(all[a].Ports.First) - int(all[b].Ports.First)
		})
		widest := members[0]
		for _, i := range members[1:] {
			if all[i].Ports.Overlaps(all[widest].Ports) {
				clashes = append(clashes, [2]int{max(i, widest), min(i, widest)})
			}
			if all[i].Ports.Last > all[widest].Ports.Last {
				widest = i
			}
		}
	}
	slices.SortFunc(clashes, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	for _, c := range clashes {
		v.fail(fmt.Sprintf("services[%d].port", c[0]), "change the address, port or protocol of one of them",
			"%s overlaps services[%d], %s", all[c[0]].Key(), c[1], all[c[1]].Key())
	}
}
