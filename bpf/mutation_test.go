// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// outcome is what a hook made of a frame.
type outcome struct {
	action string // pass, drop, send
	reason int    // the one counter that moved; -1: not exactly one
	frame  []byte
}

func (h *hook) outcome(t *testing.T, frame []byte) outcome {
	t.Helper()
	before := h.reasons(t)
	verdict, out := h.run(t, frame)
	o := outcome{action: "send", reason: -1, frame: out}
	switch verdict {
	case h.pass:
		o.action = "pass"
	case h.drop:
		o.action = "drop"
	}
	moved := 0
	for reason, n := range h.reasons(t) {
		if n != before[reason] {
			o.reason = reason
			moved += int(n - before[reason])
		}
	}
	if moved != 1 {
		o.reason = -1
	}
	return o
}

func (h *hook) reasons(t *testing.T) (all [LBReasonREASON_COUNT]uint64) {
	t.Helper()
	for reason := range all {
		all[reason] = h.reason(t, LBReason(reason))
	}
	return all
}

// extended puts IPv6 extension headers (RFC 8200 §4) before the payload.
func extended(frame []byte, headers ...byte) []byte {
	const next, payload, ip6 = 14 + 6, 14 + 4, 14 + 40
	out := bytes.Clone(frame[:ip6])
	last := out[next]
	for i, kind := range headers {
		following := last
		if i+1 < len(headers) {
			following = headers[i+1]
		}
		out = append(out, following, 0, 1, 4, 0, 0, 0, 0) // PadN
		if i == 0 {
			out[next] = kind
		}
	}
	binary.BigEndian.PutUint16(out[payload:], uint16(len(headers)*8+len(frame)-ip6))
	return append(out, frame[ip6:]...)
}

// seeds are valid packets of all kinds; those of an open connection come after
// its opener.
func seeds(f family) [][]byte {
	other := map[string]string{"ipv4": "192.0.2.9", "ipv6": "2001:db8:9::9"}[f.name]
	out := func(flags byte) segment { return segment{f.client, f.vip, 4000, 80, flags, 100, 901} }
	frames := [][]byte{
		out(synFlag).tcp(64), segment{f.backends[0], f.client, 8080, 4000, synFlag | ackFlag, 900, 101}.tcp(64), out(ackFlag).tcp(64),
		segment{f.client, f.vip, 5000, 80, 0, 0, 0}.udp(64, true), segment{f.client, other, 4000, 80, synFlag, 1, 0}.tcp(64),
		segment{f.backends[1], other, 8080, 9, ackFlag, 1, 1}.tcp(64), segment{f.client, f.vip, 5001, 80, 0, 0, 0}.udp(64, false),
		segment{f.client, f.vip, 4001, 81, synFlag, 1, 0}.tcp(64), segment{other, f.vip, 4001, 80, synFlag, 1, 0}.tcp(64),
	}
	if f.name == "ipv6" {
		for n := 1; n <= 8; n++ {
			frames = append(frames, extended(out(ackFlag).tcp(64), bytes.Repeat([]byte{60}, n)...))
		}
		frames = append(frames, extended(out(ackFlag).tcp(64), 0, 43, 60), extended(out(ackFlag).tcp(64), 60, 44))
	}
	return frames
}

// broken changes a frame where parsers err: lengths, versions, flags, any byte.
func broken(random *rand.Rand, frame []byte) []byte {
	frame = bytes.Clone(frame)
	l4 := 14 + 20
	if frame[12] == 0x86 {
		l4 = 14 + 40
	}
	set16 := func(at int, v uint16) { binary.BigEndian.PutUint16(frame[at:], v) }
	for range 1 + random.IntN(2) {
		switch random.IntN(9) {
		case 0:
			frame[14] = byte(random.Uint32()) // version, IHL or traffic class
		case 1:
			frame[l4+12] = byte(random.Uint32()) // data offset, or payload
		case 2:
			set16(16, uint16(random.IntN(2*len(frame)))) // IPv4 total length
		case 3:
			set16(18, uint16(random.IntN(2*len(frame)))) // IPv6 payload length
		case 4:
			set16(l4+4, uint16(random.IntN(2*len(frame)))) // UDP length
		case 5:
			set16(20, uint16(random.Uint32())) // fragment; next header and hop limit
		case 6:
			frame[l4+13] = byte(random.Uint32()) // TCP flags
		default:
			frame[14+random.IntN(len(frame)-14)] = byte(random.Uint32())
		}
	}
	if random.IntN(4) == 0 {
		frame = frame[:l4+random.IntN(len(frame)-l4+1)]
	}
	return frame
}

// TestMutations: both hooks make the same of every broken packet, to the byte,
// count it under one reason, and change none that they do not send.
func TestMutations(t *testing.T) {
	const rounds = 800
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			both := hooks(t)
			for i := range both {
				both[i].serve(t, f)
			}
			valid := seeds(f)
			reached := map[int]int{}
			for i := range rounds {
				frame := valid[i%len(valid)]
				if i >= len(valid) {
					frame = broken(random, frame)
				}
				xdp, tc := both[0].outcome(t, frame), both[1].outcome(t, frame)
				where := fmt.Sprintf("seed %d, packet %d, %x", seed, i, frame)
				if xdp.action != tc.action || xdp.reason != tc.reason || !bytes.Equal(xdp.frame, tc.frame) {
					t.Fatalf("%s:\nxdp %s %d %x\ntc  %s %d %x", where, xdp.action, xdp.reason, xdp.frame, tc.action, tc.reason, tc.frame)
				}
				if xdp.reason < 0 {
					t.Errorf("%s: not counted once", where)
				}
				if xdp.action != "send" && !bytes.Equal(xdp.frame, frame) {
					t.Errorf("%s: changed to %x", where, xdp.frame)
				}
				if len(xdp.frame) != len(frame) {
					t.Errorf("%s: length became %d", where, len(xdp.frame))
				}
				reached[xdp.reason]++
			}
			for _, reason := range []LBReason{LBReasonREASON_NOT_OURS, LBReasonREASON_FORWARDED, LBReasonREASON_REPLIED,
				LBReasonREASON_TRUNCATED, LBReasonREASON_BAD_HEADER, LBReasonREASON_NO_CONNECTION, LBReasonREASON_NO_SERVICE} {
				if reached[int(reason)] == 0 {
					t.Errorf("seed %d: no packet ended as %v: %v", seed, reason, reached)
				}
			}
		})
	}
}

// TestExtensions: chains up to the limit are followed, to the byte; longer ones
// are dropped with their reason, and fragments are the kernel's.
func TestExtensions(t *testing.T) {
	const most = 6
	f := families[1]
	for _, h := range hooks(t) {
		t.Run(h.name, func(t *testing.T) {
			h.serve(t, f)
			for n := range most + 3 {
				headers := bytes.Repeat([]byte{60}, n)
				port := uint16(4000 + n)
				in := extended(segment{f.client, f.vip, port, 80, synFlag, 1, 0}.tcp(64), headers...)
				got := h.outcome(t, in)
				want := outcome{"drop", int(LBReasonREASON_EXTENSIONS), in}
				if n <= most {
					sent := extended(segment{f.client, f.backends[n%2], port, 8080, synFlag, 1, 0}.tcp(63), headers...)
					want = outcome{"send", int(LBReasonREASON_FORWARDED), sent}
				}
				if got.action != want.action || got.reason != want.reason || !bytes.Equal(got.frame[14:], want.frame[14:]) {
					t.Errorf("%d headers:\n got %s %d %x\nwant %s %d %x", n, got.action, got.reason, got.frame, want.action, want.reason, want.frame)
				}
			}
			in := extended(segment{f.client, f.vip, 4000, 80, ackFlag, 1, 0}.tcp(64), 60, 44)
			if got := h.outcome(t, in); got.action != "pass" || got.reason != int(LBReasonREASON_FRAGMENT) {
				t.Errorf("fragment: %s %d", got.action, got.reason)
			}
		})
	}
}

// TestZeroSum: a UDP checksum that comes out as 0 leaves as 0xffff, and one
// that came as 0xffff is updated like any other (RFC 768).
func TestZeroSum(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		h.put(t, LBMapSlots, uint32(1), uint32(1)) // one backend
		at := 14 + 20 + 6
		if f.name == "ipv6" {
			at = 14 + 40 + 6
		}
		// The sum of each port is another: one of 65 535 gives 0.
		for _, vip := range []bool{true, false} {
			for port := uint16(1); port != 0; port++ {
				in := segment{f.client, f.vip, port, 80, 0, 0, 0}.udp(64, true)
				want := segment{f.client, f.backends[0], port, 8080, 0, 0, 0}.udp(63, true)
				zero := map[bool][]byte{true: in, false: want}[vip]
				if zero[at] != 0 || zero[at+1] != 0 {
					continue
				}
				zero[at], zero[at+1] = 0xff, 0xff
				if _, out := h.run(t, in); !bytes.Equal(out[14:], want[14:]) {
					t.Errorf("port %d:\n got %x\nwant %x", port, out[14:], want[14:])
				}
				break
			}
		}
	})
}
