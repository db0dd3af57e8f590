// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirlb/weir/lb"
	"gopkg.in/yaml.v3"
)

// decimal leaves out YAML's other spellings (0x50, 8_0, 010): a port that
// reads differently to a person and to the parser is a mistake waiting.
var decimal = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})$`)

func text(n *yaml.Node) (string, string, string) {
	if tag := n.ShortTag(); tag != "!!str" {
		return "", "is " + tag[2:] + ", not text", "put it in quotes"
	}
	return n.Value, "", ""
}

func boolean(n *yaml.Node) (bool, string, string) {
	if n.Value != "true" && n.Value != "false" || n.ShortTag() != "!!bool" {
		return false, "is not true or false", "write true or false"
	}
	return n.Value == "true", "", ""
}

func number(low, high uint64) scalar[uint64] {
	return func(n *yaml.Node) (uint64, string, string) {
		if !decimal.MatchString(n.Value) || n.ShortTag() != "!!int" {
			return 0, "is not a whole number", fmt.Sprintf("write a number in %d..%d, without quotes", low, high)
		}
		v, err := strconv.ParseUint(n.Value, 10, 64)
		if err != nil || v < low || v > high {
			return 0, fmt.Sprintf("is not in %d..%d", low, high), "write a number in this range"
		}
		return v, "", ""
	}
}

func duration(n *yaml.Node) (time.Duration, string, string) {
	d, err := time.ParseDuration(n.Value)
	if err != nil || n.ShortTag() != "!!str" {
		return 0, "is not a duration", "write it with its unit, as in 500ms, 30s or 1h30m"
	}
	if d <= 0 {
		return 0, "is not positive", "write a duration such as 30s"
	}
	return d, "", ""
}

func address(n *yaml.Node) (netip.Addr, string, string) {
	a, _ := netip.ParseAddr(n.Value)
	problem, hint := lb.AddressProblem(a)
	return a, problem, hint
}

func prefix(n *yaml.Node) (netip.Prefix, string, string) {
	if a, err := netip.ParseAddr(n.Value); err == nil {
		return netip.Prefix{}, "has no length", fmt.Sprintf("write %s/%d for this one address", a.WithZone(""), a.BitLen())
	}
	p, err := netip.ParsePrefix(n.Value)
	switch {
	case err != nil:
		return p, "is not a prefix", "write it as in 198.51.100.0/24 or 2001:db8::/32"
	case p.Addr().Is4In6():
		return p, "is an IPv4-mapped IPv6 prefix", "write the IPv4 prefix"
	}
	return p.Masked(), "", ""
}

func listen(n *yaml.Node) (netip.AddrPort, string, string) {
	a, err := netip.ParseAddrPort(n.Value)
	if err != nil || a.Port() == 0 || a.Addr().Is4In6() || a.Addr().Zone() != "" {
		return netip.AddrPort{}, "is not an address and port", "write it as in 127.0.0.1:9419 or [::1]:9419"
	}
	return a, "", ""
}

func ports(n *yaml.Node) (lb.PortRange, string, string) {
	const hint = `write a port, a range "8000-8100" or "any"`
	if n.Value == "any" {
		return lb.AnyPort, "", ""
	}
	first, last, isRange := strings.Cut(n.Value, "-")
	if !isRange {
		last = first
	}
	if !decimal.MatchString(first) || !decimal.MatchString(last) {
		return lb.PortRange{}, "is not in 1..65535", hint
	}
	low, _ := strconv.ParseUint(first, 10, 64)
	high, _ := strconv.ParseUint(last, 10, 64)
	if low < 1 || high > 65535 {
		return lb.PortRange{}, "is not in 1..65535", hint
	}
	if low > high {
		return lb.PortRange{}, "ends before it begins", fmt.Sprintf(`write "%d-%d"`, high, low)
	}
	return lb.PortRange{First: uint16(low), Last: uint16(high)}, "", ""
}

// statuses parses "200-399" or "200,301-302".
func statuses(n *yaml.Node) ([]lb.StatusRange, string, string) {
	const hint = `write it as in "200-399" or "200,301-302"`
	var all []lb.StatusRange
	for part := range strings.SplitSeq(n.Value, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		low, errLow := strconv.Atoi(first)
		high, errHigh := strconv.Atoi(last)
		if errLow != nil || errHigh != nil || low < 100 || high > 599 || low > high {
			return nil, "is not made of HTTP status codes in 100..599", hint
		}
		all = append(all, lb.StatusRange{First: low, Last: high})
	}
	return all, "", ""
}

// choice parses an enumeration; later are the contract's values that this
// version does not do.
func choice[T ~string](now, later []T) scalar[T] {
	return func(n *yaml.Node) (T, string, string) {
		v := T(n.Value)
		hint := fmt.Sprintf("use one of %s", strings.Join(names(now), ", "))
		switch {
		case slices.Contains(now, v):
			return v, "", ""
		case slices.Contains(later, v):
			return v, "is not supported by this version of weir", hint
		}
		return v, "is not known", hint
	}
}

func names[T ~string](all []T) []string {
	s := make([]string, len(all))
	for i := range all {
		s[i] = string(all[i])
	}
	return s
}
