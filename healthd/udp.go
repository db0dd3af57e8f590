// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// udpChecker sends an empty datagram. An answer is a success, and so is
// silence, as most servers say nothing to one; an ICMP unreachable is not.
type udpChecker struct{ probe Probe }

func (c udpChecker) Check(ctx context.Context) error {
	dialer := net.Dialer{Control: hearErrors}
	conn, err := dialer.DialContext(ctx, "udp", netip.AddrPortFrom(c.probe.Address, c.probe.Port).String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if _, err := conn.Write(nil); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil
	}
	return err
}

// hearErrors makes an unreachable host or network fail the check: without it a
// UDP socket hears of unreachable ports alone (ip(7), IP_RECVERR).
func hearErrors(network, _ string, socket syscall.RawConn) (err error) {
	controlled := socket.Control(func(fd uintptr) {
		if network == "udp6" {
			err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVERR, 1)
		} else {
			err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_RECVERR, 1)
		}
	})
	return errors.Join(controlled, err)
}
