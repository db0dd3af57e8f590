// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weirlb/weir/lb"
)

func kernel(f *Facts) (all []Check) {
	for _, check := range []func(*Facts) Check{
		release, btf, pins, capabilities, memory, panicOnOOM, forwarding4, forwarding6, neighbours4, neighbours6, reversePath, firewall, ownConnections,
	} {
		all = append(all, check(f))
	}
	return all
}

func release(f *Facts) Check {
	var major, minor int
	if _, err := fmt.Sscanf(f.Release, "%d.%d", &major, &minor); err != nil || major < 6 || major == 6 && minor < 1 {
		return Check{"kernel", f.Release, Fail, "weir needs Linux 6.1 or later", "boot a newer kernel; Debian 12 has 6.1"}
	}
	return ok("kernel", f.Release, "6.1 or later")
}

func btf(f *Facts) Check {
	if !f.BTF {
		return Check{"btf", "/sys/kernel/btf/vmlinux", Fail, "is not there: the kernel does not describe its types",
			"boot a kernel with CONFIG_DEBUG_INFO_BTF=y (Debian's have it), with /sys mounted"}
	}
	return ok("btf", "/sys/kernel/btf/vmlinux", "is there")
}

func pins(f *Facts) Check {
	if f.Pins != nil {
		return Check{"bpffs", "--bpffs", Fail, f.Pins.Error(), "mount -t bpf bpf /sys/fs/bpf"}
	}
	return ok("bpffs", "--bpffs", "is in a bpffs")
}

func capabilities(f *Facts) Check {
	if len(f.Missing) > 0 {
		return Check{"capabilities", "this process", Fail, "has no " + strings.Join(f.Missing, ", no "),
			"run weir as root, or as a service with AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_NET_ADMIN CAP_NET_RAW"}
	}
	return ok("capabilities", "this process", "has what weir run needs")
}

// memory: the kernel takes the whole table at once, and never swaps it.
func memory(f *Facts) Check {
	subject := fmt.Sprintf("%d MiB", f.Memory>>20)
	if f.Table > f.Memory/4 {
		status := Warn
		if f.Table > f.Memory/2 {
			status = Fail
		}
		return Check{"table", subject, status, fmt.Sprintf("table.connections needs %d MiB of the router's memory", f.Table>>20),
			"lower table.connections, or leave it out for a sixteenth of memory"}
	}
	return ok("table", subject, "memory has room for the connection table")
}

func panicOnOOM(f *Facts) Check {
	if f.Sysctls["vm/panic_on_oom"] != 0 && f.Table > f.Memory/8 {
		return Check{"panic_on_oom", "vm.panic_on_oom", Warn, fmt.Sprintf("a router short of memory reboots, and the table takes %d MiB", f.Table>>20),
			"lower table.connections, or sysctl -w vm.panic_on_oom=0"}
	}
	return ok("panic_on_oom", "vm.panic_on_oom", "is no danger with this table")
}

func forwarding4(f *Facts) Check {
	return forwarding(f, "net/ipv4/ip_forward", netip.Addr.Is4)
}

func forwarding6(f *Facts) Check {
	return forwarding(f, "net/ipv6/conf/all/forwarding", netip.Addr.Is6)
}

// forwarding: weir sends what it balances itself; the kernel forwards the rest.
func forwarding(f *Facts, path string, family func(netip.Addr) bool) Check {
	name := strings.ReplaceAll(path, "/", ".")
	if on, known := f.Sysctls[path]; known && on == 0 && len(addresses(f, family)) > 0 {
		return Check{"forwarding", name, Warn, "balanced connections work, but the kernel drops the rest: backends' own connections, ICMP errors",
			"sysctl -w " + name + "=1"}
	}
	return ok("forwarding", name, "is no hindrance")
}

func neighbours4(f *Facts) Check {
	return neighbours(f, "net/ipv4/neigh/default/gc_thresh3", netip.Addr.Is4)
}

func neighbours6(f *Facts) Check {
	return neighbours(f, "net/ipv6/neigh/default/gc_thresh3", netip.Addr.Is6)
}

// neighbours: every backend on the link is one that the kernel must remember.
func neighbours(f *Facts, path string, family func(netip.Addr) bool) Check {
	name := strings.ReplaceAll(path, "/", ".")
	backends := len(addresses(f, family))
	if most, known := f.Sysctls[path]; known && int64(backends) > most/2 {
		return Check{"neighbours", name, Fail, fmt.Sprintf("%d backends are more than half of the %d neighbours that the kernel keeps", backends, most),
			fmt.Sprintf("sysctl -w %s=%d", name, 4*max(backends, 1024))}
	}
	return ok("neighbours", name, "has room for %d backends", backends)
}

// addresses of the backends of a family.
func addresses(f *Facts, family func(netip.Addr) bool) map[netip.Addr]bool {
	all := map[netip.Addr]bool{}
	eachBackend(f.State, func(_ *lb.Service, b lb.Backend) {
		if family(b.Address) {
			all[b.Address] = true
		}
	})
	return all
}

func eachBackend(s *lb.State, do func(*lb.Service, lb.Backend)) {
	for i := range s.Services {
		for _, b := range s.Services[i].Backends {
			do(&s.Services[i], b)
		}
	}
}

func reversePath(f *Facts) Check {
	if f.Sysctls["net/ipv4/conf/all/rp_filter"] != 0 {
		return ok("rp_filter", "net.ipv4.conf.all.rp_filter", "is on: it checks what the kernel forwards, balanced packets leave before")
	}
	return ok("rp_filter", "net.ipv4.conf.all.rp_filter", "is off")
}

func firewall(f *Facts) Check {
	if _, tracked := f.Sysctls["net/netfilter/nf_conntrack_max"]; tracked {
		return ok("firewall", "nf_conntrack", "is loaded: it and the firewall's rules do not see balanced connections; a service's allow list is their firewall")
	}
	return ok("firewall", "nf_conntrack", "is not loaded")
}

func ownConnections(*Facts) Check {
	return ok("own connections", "this router", "its own connections to a VIP are not balanced: they never pass an ingress hook")
}
