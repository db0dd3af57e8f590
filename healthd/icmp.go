// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// icmpChecker sends one echo request (RFC 792, RFC 4443 §4.1). It needs
// CAP_NET_RAW.
type icmpChecker struct{ address netip.Addr }

func (c icmpChecker) Check(ctx context.Context) error {
	network, local, protocol := "ip4:icmp", "0.0.0.0", 1
	var request, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if c.address.Is6() {
		network, local, protocol = "ip6:ipv6-icmp", "::", 58
		request, reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	conn, err := icmp.ListenPacket(network, local)
	if err != nil {
		return fmt.Errorf("open ICMP socket: %w", err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(0, 1)) })
	defer stop()

	// Every ICMP socket hears every answer; the nonce tells ours.
	nonce := fmt.Appendf(nil, "weir %016x", rand.Uint64())
	id := int(rand.Uint32() & 0xffff)
	message, err := (&icmp.Message{Type: request, Body: &icmp.Echo{ID: id, Seq: 1, Data: nonce}}).Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo(message, &net.IPAddr{IP: c.address.AsSlice()}); err != nil {
		return err
	}
	for buffer := make([]byte, 1500); ; {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		got, err := icmp.ParseMessage(protocol, buffer[:n])
		if err != nil || got.Type != reply || !from.(*net.IPAddr).IP.Equal(c.address.AsSlice()) {
			continue
		}
		if echo, ok := got.Body.(*icmp.Echo); ok && echo.ID == id && bytes.Equal(echo.Data, nonce) {
			return nil
		}
	}
}
