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

// icmpChecker sends one echo request (RFC 792, RFC 4443 §4.1). It needs a ping
// socket (net.ipv4.ping_group_range) or CAP_NET_RAW.
type icmpChecker struct{ address netip.Addr }

func (c icmpChecker) Check(ctx context.Context) error {
	conn, to, err := openICMP(c.address)
	if err != nil {
		return fmt.Errorf("open ICMP socket: %w", err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(0, 1)) })
	defer stop()

	protocol, request, reply := 1, icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply)
	if c.address.Is6() {
		protocol, request, reply = 58, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	// Every raw socket hears every answer; the nonce tells ours. A ping socket
	// has an ID of its own, whatever is asked for.
	nonce := fmt.Appendf(nil, "weir %016x", rand.Uint64())
	message, err := (&icmp.Message{Type: request, Body: &icmp.Echo{ID: int(rand.Uint32() & 0xffff), Seq: 1, Data: nonce}}).Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo(message, to); err != nil {
		return err
	}
	for buffer := make([]byte, 1500); ; {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		got, err := icmp.ParseMessage(protocol, buffer[:n])
		if err != nil || got.Type != reply || from.String() != to.String() {
			continue
		}
		if echo, ok := got.Body.(*icmp.Echo); ok && bytes.Equal(echo.Data, nonce) {
			return nil
		}
	}
}

// openICMP prefers a ping socket, as the kernel gives it its own answers
// alone, where most hosts allow only raw ones, and those with CAP_NET_RAW.
func openICMP(address netip.Addr) (*icmp.PacketConn, net.Addr, error) {
	ping, raw, local := "udp4", "ip4:icmp", "0.0.0.0"
	if address.Is6() {
		ping, raw, local = "udp6", "ip6:ipv6-icmp", "::"
	}
	if conn, err := icmp.ListenPacket(ping, local); err == nil {
		return conn, &net.UDPAddr{IP: address.AsSlice()}, nil
	}
	conn, err := icmp.ListenPacket(raw, local)
	return conn, &net.IPAddr{IP: address.AsSlice()}, err
}
