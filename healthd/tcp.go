// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// tcpChecker succeeds when the target accepts a connection, and resets it: a
// probe leaves no TIME_WAIT, of which 10 000 targets would make too many.
type tcpChecker struct{ probe Probe }

func (c tcpChecker) Check(ctx context.Context) error {
	conn, err := dial(ctx, c.probe)
	if err != nil {
		return err
	}
	return conn.Close()
}

func dial(ctx context.Context, p Probe) (*net.TCPConn, error) {
	// Without keep-alive: a probe lives less than its first one.
	dialer := net.Dialer{KeepAlive: -1}
	conn, err := dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, netip.AddrPortFrom(p.Address, p.Port))
	if err != nil {
		return nil, err
	}
	if err := conn.SetLinger(0); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
