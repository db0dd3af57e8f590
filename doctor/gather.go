// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/loader"
	"github.com/weirlb/weir/netdev"
)

// Gather reads the facts about the router on which, and the network namespace
// in which, it runs.
func Gather(state *lb.State, bpffs string) (*Facts, error) {
	f := &Facts{State: state, Pins: loader.CheckPins(bpffs), CPUs: runtime.NumCPU(), Sysctls: map[string]int64{}}
	if state.Table.Connections > 0 {
		f.Table = loader.TableBytes(state.Table.Connections)
	}
	for _, read := range []func() error{f.system, f.capabilities, f.listeners, f.network} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	f.sysctls()
	return f, nil
}

// Unable tells why no daemon can run here, whatever its file says.
func Unable() error {
	f := &Facts{}
	errs := []error{f.system(), f.capabilities()}
	for _, c := range []Check{release(f), btf(f), capabilities(f)} {
		if c.Status == Fail {
			errs = append(errs, fmt.Errorf("%s: %s %s; %s", c.Check, c.Subject, c.What, c.Mend))
		}
	}
	return errors.Join(errs...)
}

func (f *Facts) system() error {
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	f.BTF = err == nil
	var name unix.Utsname
	var info unix.Sysinfo_t
	if err := errors.Join(unix.Uname(&name), unix.Sysinfo(&info)); err != nil {
		return fmt.Errorf("ask the kernel: %w", err)
	}
	f.Release = unix.ByteSliceToString(name.Release[:])
	f.Memory = uint64(info.Totalram) * uint64(info.Unit)
	return nil
}

// capabilities that weir run needs: without CAP_PERFMON the verifier takes no
// pointer arithmetic. CAP_SYS_ADMIN is an older name for it and CAP_BPF.
func (f *Facts) capabilities() error {
	header, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	has := func(number int) bool { return data[number/32].Effective&(1<<(number%32)) != 0 }
	for _, c := range []struct {
		name   string
		number int
		admin  bool
	}{
		{"CAP_BPF", unix.CAP_BPF, true}, {"CAP_PERFMON", unix.CAP_PERFMON, true},
		{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN, false}, {"CAP_NET_RAW", unix.CAP_NET_RAW, false},
	} {
		if !has(c.number) && (!c.admin || !has(unix.CAP_SYS_ADMIN)) {
			f.Missing = append(f.Missing, c.name)
		}
	}
	return nil
}

// sysctls that are absent belong to what this kernel or namespace has not.
func (f *Facts) sysctls() {
	paths := []string{
		"vm/panic_on_oom", "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/neigh/default/gc_thresh3",
		"net/ipv6/neigh/default/gc_thresh3", "net/ipv4/conf/all/rp_filter", "net/netfilter/nf_conntrack_max",
	}
	for name := range f.Links {
		paths = append(paths, "net/ipv6/conf/"+name+"/disable_ipv6")
	}
	for _, path := range paths {
		text, err := os.ReadFile(filepath.Join("/proc/sys", path))
		if err != nil {
			continue
		}
		if value, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			f.Sysctls[path] = value
		}
	}
}

// States of sockets, in /proc/net/tcp and udp, that take what comes.
const tcpListen, udpUnconnected = 10, 7

func (f *Facts) listeners() error {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return fmt.Errorf("list sockets: %w", err)
	}
	// What replaces these, inet_diag, is a module that a router may not have.
	tcp, err := fs.NetTCP()    //nolint:staticcheck
	tcp6, err6 := fs.NetTCP6() //nolint:staticcheck
	udp, errUDP := fs.NetUDP()
	udp6, errUDP6 := fs.NetUDP6()
	for _, l := range append(tcp, tcp6...) {
		if l.St == tcpListen {
			f.listener(lb.TCP, l.LocalAddr, l.LocalPort)
		}
	}
	for _, l := range append(udp, udp6...) {
		if l.St == udpUnconnected {
			f.listener(lb.UDP, l.LocalAddr, l.LocalPort)
		}
	}
	for _, err := range []error{err, err6, errUDP, errUDP6} {
		// Without IPv6 in the kernel there is no file for it.
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("list sockets: %w", err)
		}
	}
	return nil
}

func (f *Facts) listener(protocol lb.Protocol, address []byte, port uint64) {
	if a, ok := netip.AddrFromSlice(address); ok {
		f.Listeners = append(f.Listeners, Listener{protocol, netip.AddrPortFrom(a.Unmap(), uint16(port))})
	}
}

func (f *Facts) network() error {
	router, err := netdev.Open()
	if err != nil {
		return err
	}
	defer router.Close()
	links, err := router.Links()
	if err != nil {
		return err
	}
	f.Links, f.Devices, f.Routes = map[string]netdev.Link{}, map[int]netdev.Device{}, map[netip.Addr]Route{}
	byIndex := map[int]netdev.Link{}
	for _, l := range links {
		f.Links[l.Name], byIndex[l.Index] = l, l
	}
	f.Hooks, f.HooksErr = netdev.Hooks(f.State.Interfaces, f.Links)
	for _, i := range f.State.Interfaces {
		l := f.Links[i.Name]
		for _, l := range []netdev.Link{l, byIndex[l.Parent]} {
			if l.Index == 0 {
				continue
			}
			if f.Devices[l.Index], err = router.Device(l); err != nil {
				return err
			}
		}
	}
	if f.Holders, err = router.Holders(); err != nil {
		return err
	}
	route := func(a netip.Addr) {
		if _, asked := f.Routes[a]; !asked {
			hop, err := router.RouteTo(a)
			f.Routes[a] = Route{hop, err}
		}
	}
	for i := range f.State.Services {
		route(f.State.Services[i].Address)
	}
	eachBackend(f.State, func(_ *lb.Service, b lb.Backend) { route(b.Address) })
	return nil
}
