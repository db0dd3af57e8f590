// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// groups of rtnetlink whose news may change where packets go.
const groups = unix.RTMGRP_LINK | unix.RTMGRP_NEIGH | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
	unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE | 1<<(unix.RTNLGRP_NEXTHOP-1)

// Watch wakes its channel after any change of links, addresses, routes or
// neighbours in the caller's network namespace. The channel is a level: many
// changes are one wake, and what changed is not told, so the caller reads anew
// (the first time after Watch returned: no change is missed between). It is
// closed when ctx ends or the socket fails; the one goroutine ends with it.
func Watch(ctx context.Context) (<-chan struct{}, error) {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("watch the network: %w", err)
	}
	if err := unix.Bind(socket, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(socket)
		return nil, fmt.Errorf("watch the network: %w", err)
	}
	news, wake := os.NewFile(uintptr(socket), "rtnetlink"), make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, func() { _ = news.Close() })
	go func() {
		defer close(wake)
		defer func() { stop(); _ = news.Close() }()
		// A message cut short is as good as a whole one: only that it came counts.
		for message := make([]byte, 64); ; {
			// ENOBUFS says that news were lost, which is news.
			if _, err := news.Read(message); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
			select {
			case wake <- struct{}{}:
			default: // awake already
			}
		}
	}()
	return wake, nil
}
