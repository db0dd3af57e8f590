// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"net/netip"
)

const (
	finFlag = 0x01
	synFlag = 0x02
	ackFlag = 0x10
)

// segment is a TCP segment or UDP datagram; its frame has every checksum
// computed from scratch, so that equal bytes mean right checksums.
type segment struct {
	from, to             string
	fromPort, toPort     uint16
	flags                byte
	sequence, acknowledg uint32
}

func (s segment) tcp(ttl byte) []byte {
	l4 := make([]byte, 20)
	binary.BigEndian.PutUint16(l4[0:], s.fromPort)
	binary.BigEndian.PutUint16(l4[2:], s.toPort)
	binary.BigEndian.PutUint32(l4[4:], s.sequence)
	binary.BigEndian.PutUint32(l4[8:], s.acknowledg)
	l4[12], l4[13] = 5<<4, s.flags
	binary.BigEndian.PutUint16(l4[14:], 65535)
	binary.BigEndian.PutUint16(l4[16:], s.checksum(6, l4))
	return s.frame(6, ttl, l4)
}

func (s segment) udp(ttl byte, sum bool) []byte {
	l4 := append(make([]byte, 8), "payload of odd length"...)
	binary.BigEndian.PutUint16(l4[0:], s.fromPort)
	binary.BigEndian.PutUint16(l4[2:], s.toPort)
	binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	if sum {
		binary.BigEndian.PutUint16(l4[6:], s.checksum(17, l4))
	}
	return s.frame(17, ttl, l4)
}

// checksum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1) and l4.
func (s segment) checksum(protocol byte, l4 []byte) uint16 {
	from, to := netip.MustParseAddr(s.from).AsSlice(), netip.MustParseAddr(s.to).AsSlice()
	pseudo := append(append([]byte{}, from...), to...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(l4)))
	pseudo = append(pseudo, 0, 0, 0, protocol)
	return internetChecksum(append(pseudo, l4...))
}

func (s segment) frame(protocol, ttl byte, l4 []byte) []byte {
	from, to := netip.MustParseAddr(s.from), netip.MustParseAddr(s.to)
	eth := []byte{2, 0, 0, 0, 0, 0xfe, 2, 0, 0, 0, 0, 0xff}
	var ip []byte
	if from.Is4() {
		eth = append(eth, 0x08, 0x00)
		ip = make([]byte, 12)
		ip[0], ip[8], ip[9] = 0x45, ttl, protocol
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(l4)))
		ip = append(append(ip, from.AsSlice()...), to.AsSlice()...)
		binary.BigEndian.PutUint16(ip[10:], internetChecksum(ip))
	} else {
		eth = append(eth, 0x86, 0xdd)
		ip = []byte{0x60, 0, 0, 0, 0, byte(len(l4)), protocol, ttl}
		ip = append(append(ip, from.AsSlice()...), to.AsSlice()...)
	}
	return append(append(eth, ip...), l4...)
}

// internetChecksum of RFC 1071.
func internetChecksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
