// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// groups of rtnetlink whose news may change where packets go.
const groups = unix.RTMGRP_LINK | unix.RTMGRP_NEIGH | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
	unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE | 1<<(unix.RTNLGRP_NEXTHOP-1)

// News wakes its channels after changes in a network namespace. Each is a
// level: many changes are one wake, and what changed is not told, so the
// reader reads anew (the first time after Watch returned: no change is missed
// between). Both are closed when the watch ends.
type News struct {
	Network    <-chan struct{} // links, addresses, routes
	Neighbours <-chan struct{} // a neighbour's MAC: not its ageing, of which there is news all the time
}

// Watch watches the caller's network namespace until ctx ends or the socket
// fails; its one goroutine ends with it.
func Watch(ctx context.Context) (News, error) {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return News{}, fmt.Errorf("watch the network: %w", err)
	}
	if err := unix.Bind(socket, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(socket)
		return News{}, fmt.Errorf("watch the network: %w", err)
	}
	w := watch{
		file: os.NewFile(uintptr(socket), "rtnetlink"), network: make(chan struct{}, 1), neighbours: make(chan struct{}, 1),
		macs: map[LinkAddress]string{},
	}
	stop := context.AfterFunc(ctx, func() { _ = w.file.Close() })
	go func() {
		w.run()
		stop()
		_ = w.file.Close()
	}()
	return News{w.network, w.neighbours}, nil
}

type watch struct {
	file                *os.File
	network, neighbours chan struct{}
	macs                map[LinkAddress]string // as last told; absent: not usable
}

func (w *watch) run() {
	defer close(w.network)
	defer close(w.neighbours)
	// More than a page's message is never sent to a group.
	for buffer := make([]byte, 32<<10); ; {
		n, err := w.file.Read(buffer)
		if errors.Is(err, unix.ENOBUFS) {
			// News were lost, which is news.
			wake(w.network)
			wake(w.neighbours)
			continue
		}
		if err != nil {
			return
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			wake(w.network)
		}
		for _, m := range messages {
			if m.Header.Type != unix.RTM_NEWNEIGH && m.Header.Type != unix.RTM_DELNEIGH {
				wake(w.network)
			} else if w.changes(m) {
				wake(w.neighbours)
			}
		}
	}
}

// changes tells whether a message says more than that a neighbour aged.
func (w *watch) changes(m syscall.NetlinkMessage) bool {
	n, err := netlink.NeighDeserialize(m.Data)
	if err != nil {
		return true
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return false // of a bridge
	}
	key, mac := LinkAddress{n.LinkIndex, a.Unmap()}, ""
	if m.Header.Type == unix.RTM_NEWNEIGH && n.State&usable != 0 {
		mac = string(n.HardwareAddr)
	}
	if w.macs[key] == mac {
		return false
	}
	if mac == "" {
		delete(w.macs, key)
	} else {
		w.macs[key] = mac
	}
	return true
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // awake already
	}
}
