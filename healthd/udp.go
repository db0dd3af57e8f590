// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"
)

// udpChecker sends an empty datagram. An answer is a success, and so is
// silence, as most servers say nothing to one; an ICMP unreachable is not.
type udpChecker struct{ probe Probe }

func (c udpChecker) Check(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", netip.AddrPortFrom(c.probe.Address, c.probe.Port).String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	// Silence must end before the check's own timeout, which is a failure.
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline.Add(-time.Until(deadline) / 10)); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if _, err := conn.Write(nil); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}
