// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Announce tells a link that a VIP is at a MAC, once: an ARP announcement for
// IPv4, an unsolicited neighbour advertisement for IPv6. Neither is
// acknowledged, so a caller that took a VIP over repeats it (RFC 5227 §1.1:
// twice, 2 s apart; RFC 4861 §7.2.6: at most three times, 1 s apart). It needs
// CAP_NET_RAW.
func Announce(ifindex int, mac net.HardwareAddr, vip netip.Addr) error {
	frame, err := announcement(ifindex, mac, vip.Unmap())
	if err == nil {
		err = transmit(ifindex, frame)
	}
	if err != nil {
		return fmt.Errorf("announce %s on interface %d: %w", vip, ifindex, err)
	}
	return nil
}

func announcement(ifindex int, mac net.HardwareAddr, vip netip.Addr) ([]byte, error) {
	if len(mac) != 6 {
		return nil, fmt.Errorf("%q is no Ethernet address", mac)
	}
	if !vip.IsValid() || vip.IsUnspecified() || vip.IsMulticast() {
		return nil, fmt.Errorf("%s is no unicast address", vip)
	}
	if vip.Is4() {
		return arpAnnouncement([6]byte(mac), vip.As4()), nil
	}
	router, err := forwards(ifindex)
	if err != nil {
		return nil, err
	}
	return neighbourAdvertisement([6]byte(mac), vip.As16(), router), nil
}

// forwards tells whether a link forwards IPv6: whoever heard "no router" from
// a gateway's address would drop its routes through it (RFC 4861 §7.2.5).
func forwards(ifindex int) (bool, error) {
	link, err := net.InterfaceByIndex(ifindex)
	if err != nil {
		return false, err
	}
	value, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + link.Name + "/forwarding")
	return !bytes.HasPrefix(value, []byte("0")), err
}

// arpAnnouncement is an ARP request for the VIP by the VIP, to everybody
// (RFC 5227 §2.3): every ARP implementation takes requests to heart, not all
// take replies they did not ask for.
func arpAnnouncement(mac [6]byte, vip [4]byte) []byte {
	frame := bytes.Repeat([]byte{0xff}, 6)
	frame = append(frame, mac[:]...)
	frame = append(frame, 0x08, 0x06, // EtherType: ARP
		0, 1, 0x08, 0, 6, 4, // Ethernet, IPv4 and their address lengths
		0, 1) // request
	frame = append(frame, mac[:]...)
	frame = append(frame, vip[:]...)
	frame = append(frame, 0, 0, 0, 0, 0, 0)
	return append(frame, vip[:]...)
}

const (
	flagRouter   = 0x80 // RFC 4861 §4.4
	flagOverride = 0x20 // replace a MAC that is known already
)

// neighbourAdvertisement is unsolicited, from the VIP to all nodes of the link
// (RFC 4861 §7.2.6). Hop limit 255 proves that no router passed it on.
func neighbourAdvertisement(mac [6]byte, vip [16]byte, router bool) []byte {
	flags := byte(flagOverride)
	if router {
		flags |= flagRouter
	}
	allNodes := netip.IPv6LinkLocalAllNodes().As16()
	message := []byte{136, 0, 0, 0, flags, 0, 0, 0}
	message = append(message, vip[:]...)
	message = append(message, 2, 1) // target link-layer address, 8 bytes
	message = append(message, mac[:]...)
	binary.BigEndian.PutUint16(message[2:], checksum(vip, allNodes, message))

	frame := append([]byte{0x33, 0x33, 0, 0, 0, 1}, mac[:]...)
	frame = append(frame, 0x86, 0xdd, // EtherType: IPv6
		0x60, 0, 0, 0, 0, byte(len(message)), unix.IPPROTO_ICMPV6, 255)
	frame = append(frame, vip[:]...)
	frame = append(frame, allNodes[:]...)
	return append(frame, message...)
}

// checksum is that of an ICMPv6 message of even length under its pseudo-header
// (RFC 4443 §2.3), the message's own field being zero.
func checksum(source, destination [16]byte, message []byte) uint16 {
	total := uint32(len(message)) + unix.IPPROTO_ICMPV6
	for _, part := range [][]byte{source[:], destination[:], message} {
		for i := 0; i < len(part); i += 2 {
			total += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return ^uint16(total)
}

// transmit sends a whole Ethernet frame. The socket's protocol 0 means that it
// receives nothing.
func transmit(ifindex int, frame []byte) error {
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	defer func() { _ = unix.Close(socket) }()
	return unix.Sendto(socket, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifindex})
}
