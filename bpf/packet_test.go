// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
)

const (
	actionDropXDP     = 1
	actionPassXDP     = 2
	actionTransmitXDP = 3
	actionRedirectXDP = 4
	actionPassTC      = 0xffffffff // TC_ACT_UNSPEC
	actionDropTC      = 2
	actionRedirectTC  = 7
)

// hook is one of the two programs under test, with its maps.
type hook struct {
	name                 string
	coll                 *ebpf.Collection
	prog                 *ebpf.Program
	pass, drop, redirect uint32
}

func hooks(t *testing.T) []hook {
	t.Helper()
	load := func(name, prog string, load func() (*ebpf.CollectionSpec, error), pass, drop, redirect uint32) hook {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		coll, err := ebpf.NewCollection(spec)
		if err != nil {
			t.Fatalf("load %s: %v", name, err)
		}
		t.Cleanup(coll.Close)
		return hook{name, coll, coll.Programs[prog], pass, drop, redirect}
	}
	return []hook{
		load("xdp", "weir_xdp", LoadLB, actionPassXDP, actionDropXDP, actionRedirectXDP),
		load("tc", "weir_tc", LoadTC, actionPassTC, actionDropTC, actionRedirectTC),
	}
}

func (h *hook) put(t *testing.T, name string, key, value any) {
	t.Helper()
	if err := h.coll.Maps[name].Put(key, value); err != nil {
		t.Fatalf("%s: put %v: %v", name, key, err)
	}
}

func as16(s string) LBAddr { return LBAddr{Bytes: netip.MustParseAddr(s).As16()} }

func be16(port uint16) uint16 { return port<<8 | port>>8 }

// role makes an address a VIP or a backend.
func (h *hook) role(t *testing.T, address string, role LBRole) {
	t.Helper()
	h.put(t, LBMapRoles, as16(address), role)
	h.hint(t, address, role)
}

func (h *hook) hint(t *testing.T, address string, role LBRole) {
	t.Helper()
	var hints LBRoleHints
	if err := h.coll.Maps[LBMapRoleHints].Lookup(uint32(0), &hints); err != nil {
		t.Fatal(err)
	}
	slot := RoleSlot(netip.MustParseAddr(address))
	hints.Slots[slot/4] |= uint8(role) << (slot % 4 * 2)
	h.put(t, LBMapRoleHints, uint32(0), &hints)
}

// serve gives the hook service 1 (VIP port 80, tcp and udp) with backends 1
// and 2 on port 8080, round robin, open to `allow`.
func (h *hook) serve(t *testing.T, f family) {
	t.Helper()
	h.role(t, f.vip, LBRoleROLE_VIP)
	for _, protocol := range []uint8{6, 17} {
		h.put(t, "exact_ports", LBServiceKey{Vip: as16(f.vip), Port: be16(80), Protocol: protocol}, uint32(1))
	}
	allow := LBAllowKey{Prefixlen: 32 + f.allowBits, Service: 1, Client: as16(f.client)}
	h.put(t, "allow", allow, uint32(1))
	h.put(t, "services", uint32(1), LBService{
		Vip: as16(f.vip), FirstSlot: 0, Slots: 2, Algorithm: LBAlgorithmALGORITHM_ROUNDROBIN,
		Idle: 10000, HalfOpen: 100, Closing: 100,
	})
	for i, backend := range f.backends {
		id := uint32(i + 1)
		adjacency := uint32(LBLimitCLIENT_ADJACENCIES) + id
		h.role(t, backend, LBRoleROLE_BACKEND)
		h.put(t, "backends", id, LBBackend{Address: as16(backend), Port: be16(8080), Weight: 1, Adjacency: adjacency, Service: 1})
		h.put(t, "adjacencies", adjacency, LBAdjacency{
			Ifindex: 2, Mtu: 1500, State: uint32(LBAdjacencyStateADJACENCY_READY),
			Destination: [6]uint8{2, 0, 0, 0, 0, uint8(id)}, Source: [6]uint8{2, 0, 0, 0, 1, 1},
		})
		h.put(t, "slots", uint32(i), id)
	}
}

func (h *hook) run(t *testing.T, frame []byte) (uint32, []byte) {
	t.Helper()
	verdict, out, err := h.prog.Test(frame)
	if err != nil {
		t.Fatal(err)
	}
	return verdict, out
}

func (h *hook) reason(t *testing.T, reason LBReason) uint64 {
	t.Helper()
	var perCPU []LBCounter
	if err := h.coll.Maps["reason_counters"].Lookup(reason, &perCPU); err != nil {
		t.Fatal(err)
	}
	var sum uint64
	for _, c := range perCPU {
		sum += c.Packets
	}
	return sum
}

// sends is the action of a packet sent on: a reply leaves, in these tests, by
// the interface it came in on, which XDP has an action of its own for.
func (h *hook) sends(reply bool) uint32 {
	if reply && h.name == "xdp" {
		return actionTransmitXDP
	}
	return h.redirect
}

type family struct {
	name, client, vip string
	backends          []string
	allowBits         uint32
}

var families = []family{
	{"ipv4", "198.51.100.7", "203.0.113.10", []string{"10.1.1.21", "10.1.1.22"}, 128},
	{"ipv6", "2001:db8:1::7", "2001:db8:2::10", []string{"2001:db8:3::21", "2001:db8:3::22"}, 128},
}

func each(t *testing.T, test func(t *testing.T, h hook, f family)) {
	for _, f := range families {
		for _, h := range hooks(t) {
			t.Run(fmt.Sprintf("%s/%s", h.name, f.name), func(t *testing.T) {
				h.serve(t, f)
				test(t, h, f)
			})
		}
	}
}

// TestHandshake follows a connection from SYN to FIN in both directions and
// checks every byte that leaves.
func TestHandshake(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		chosen := f.backends[0]
		steps := []struct {
			name           string
			in, out        segment
			state          LBConnState
			active, opened uint64
		}{
			{"SYN", segment{f.client, f.vip, 4000, 80, synFlag, 100, 0}, segment{f.client, chosen, 4000, 8080, synFlag, 100, 0}, LBConnStateCONN_HALF_OPEN, 1, 1},
			{"SYN-ACK", segment{chosen, f.client, 8080, 4000, synFlag | ackFlag, 900, 101}, segment{f.vip, f.client, 80, 4000, synFlag | ackFlag, 900, 101}, LBConnStateCONN_HALF_OPEN, 1, 1},
			{"wrong ACK", segment{f.client, f.vip, 4000, 80, ackFlag, 101, 7}, segment{f.client, chosen, 4000, 8080, ackFlag, 101, 7}, LBConnStateCONN_HALF_OPEN, 1, 1},
			{"ACK", segment{f.client, f.vip, 4000, 80, ackFlag, 101, 901}, segment{f.client, chosen, 4000, 8080, ackFlag, 101, 901}, LBConnStateCONN_ESTABLISHED, 1, 1},
			{"client FIN", segment{f.client, f.vip, 4000, 80, ackFlag | finFlag, 101, 901}, segment{f.client, chosen, 4000, 8080, ackFlag | finFlag, 101, 901}, LBConnStateCONN_ESTABLISHED, 1, 1},
			{"backend FIN", segment{chosen, f.client, 8080, 4000, ackFlag | finFlag, 901, 102}, segment{f.vip, f.client, 80, 4000, ackFlag | finFlag, 901, 102}, LBConnStateCONN_CLOSING, 0, 1},
		}
		for _, s := range steps {
			verdict, out := h.run(t, s.in.tcp(64))
			if want := h.sends(s.in.to != f.vip); verdict != want {
				t.Fatalf("%s: verdict %d, want %d", s.name, verdict, want)
			}
			if got, want := out[14:], s.out.tcp(63)[14:]; string(got) != string(want) {
				t.Errorf("%s:\n got %x\nwant %x", s.name, got, want)
			}
			if state := h.onlyConn(t).State; LBConnState(state) != s.state {
				t.Errorf("%s: state %d, want %d", s.name, state, s.state)
			}
			var active uint64
			if err := h.coll.Maps["active"].Lookup(uint32(1), &active); err != nil || active != s.active {
				t.Errorf("%s: active %d, want %d (%v)", s.name, active, s.active, err)
			}
			if opened := h.opened(t); opened != s.opened {
				t.Errorf("%s: opened %d, want %d", s.name, opened, s.opened)
			}
		}
	})
}

func (h *hook) onlyConn(t *testing.T) LBConn {
	t.Helper()
	var found []LBConn
	var bucket LBBucket
	for i := uint32(0); i < h.coll.Maps["conns"].MaxEntries(); i++ {
		if err := h.coll.Maps["conns"].Lookup(i, &bucket); err != nil {
			t.Fatal(err)
		}
		for _, c := range bucket.Ways {
			if c.State != uint8(LBConnStateCONN_FREE) {
				found = append(found, c)
			}
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d connections, want 1", len(found))
	}
	return found[0]
}

func (h *hook) opened(t *testing.T) (sum uint64) {
	t.Helper()
	var perCPU []LBServiceCounter
	if err := h.coll.Maps["service_counters"].Lookup(uint32(1), &perCPU); err != nil {
		t.Fatal(err)
	}
	for _, c := range perCPU {
		sum += c.Opened
	}
	return sum
}

// TestRoundRobin shows that consecutive clients get the backends in turn.
func TestRoundRobin(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		for i := range uint16(8) {
			_, out := h.run(t, segment{f.client, f.vip, 5000 + i, 80, synFlag, 1, 0}.tcp(64))
			want := segment{f.client, f.backends[i%2], 5000 + i, 8080, synFlag, 1, 0}.tcp(63)
			if string(out[14:]) != string(want[14:]) {
				t.Errorf("client %d:\n got %x\nwant %x", i, out[14:], want[14:])
			}
		}
	})
}

// TestUDP covers a datagram with a checksum both ways and, on IPv4, one
// without, which must stay without (RFC 768).
func TestUDP(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		sums := []bool{true}
		if f.name == "ipv4" {
			sums = append(sums, false)
		}
		for i, sum := range sums {
			port, chosen := uint16(6000+i), f.backends[i%2]
			exchange := [][2]segment{
				{{f.client, f.vip, port, 80, 0, 0, 0}, {f.client, chosen, port, 8080, 0, 0, 0}},
				{{chosen, f.client, 8080, port, 0, 0, 0}, {f.vip, f.client, 80, port, 0, 0, 0}},
			}
			for _, s := range exchange {
				verdict, out := h.run(t, s[0].udp(64, sum))
				if want := h.sends(s[0].to != f.vip); verdict != want {
					t.Fatalf("verdict %d, want %d", verdict, want)
				}
				if want := s[1].udp(63, sum); string(out[14:]) != string(want[14:]) {
					t.Errorf("checksum %v:\n got %x\nwant %x", sum, out[14:], want[14:])
				}
			}
		}
	})
}

// TestWrongHints: what only hashes like a VIP or a backend is none, and a
// client that does is served like others.
func TestWrongHints(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		other := "192.0.2.9"
		if f.name == "ipv6" {
			other = "2001:db8:9::9"
		}
		for i, hints := range []struct{ client, other LBRole }{
			{LBRoleROLE_VIP, LBRoleROLE_VIP}, {LBRoleROLE_BACKEND, LBRoleROLE_BACKEND}, {LBRoleROLE_VIP | LBRoleROLE_BACKEND, 0},
		} {
			h.hint(t, f.client, hints.client)
			h.hint(t, other, hints.other)
			port, chosen := uint16(4000+i), f.backends[i%2]
			if verdict, out := h.run(t, segment{f.client, f.vip, port, 80, synFlag, 100, 0}.tcp(64)); verdict != h.sends(false) {
				t.Errorf("hints %v: SYN: verdict %d: %x", hints, verdict, out)
			}
			want := segment{f.vip, f.client, 80, port, synFlag | ackFlag, 900, 101}.tcp(63)
			if _, out := h.run(t, segment{chosen, f.client, 8080, port, synFlag | ackFlag, 900, 101}.tcp(64)); string(out[14:]) != string(want[14:]) {
				t.Errorf("hints %v: SYN-ACK:\n got %x\nwant %x", hints, out[14:], want[14:])
			}
			passing := segment{f.client, other, port, 80, synFlag, 1, 0}
			back := segment{other, f.client, 80, port, synFlag | ackFlag, 1, 2}
			broken := mutate(passing.tcp(64), len(passing.tcp(64))-20+12, 0x40)
			for _, frame := range [][]byte{passing.tcp(64), back.tcp(64), broken} {
				before := h.reason(t, LBReasonREASON_NOT_OURS)
				verdict, out := h.run(t, frame)
				if h.reason(t, LBReasonREASON_NOT_OURS) != before+1 && &frame[0] != &broken[0] {
					t.Errorf("hints %v: not counted as not ours: %x", hints, frame)
				}
				if verdict != h.pass || string(out) != string(frame) {
					t.Errorf("hints %v: other traffic: verdict %d: %x", hints, verdict, out)
				}
			}
		}
	})
}

// TestDirect: a client that speaks to a backend itself, from the port of a
// connection through the VIP that has ended, gets the backend's own answers.
func TestDirect(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		backend := f.backends[0]
		pass := func(what string, frame []byte) {
			t.Helper()
			verdict, out := h.run(t, frame)
			if verdict != h.pass || string(out) != string(frame) {
				t.Errorf("%s: verdict %d, packet %x, want it to pass as it was", what, verdict, out)
			}
		}
		for _, s := range []segment{
			{f.client, f.vip, 4000, 80, synFlag, 100, 0}, {backend, f.client, 8080, 4000, synFlag | ackFlag, 900, 101},
			{f.client, f.vip, 4000, 80, finFlag | ackFlag, 101, 901}, {backend, f.client, 8080, 4000, finFlag | ackFlag, 901, 102},
		} {
			h.run(t, s.tcp(64))
		}
		pass("SYN", segment{f.client, backend, 4000, 8080, synFlag, 700, 0}.tcp(64))
		pass("SYN-ACK", segment{backend, f.client, 8080, 4000, synFlag | ackFlag, 50, 701}.tcp(64))

		datagram := segment{f.client, f.vip, 5000, 80, 0, 0, 0}
		h.run(t, datagram.udp(64, true))
		chosen := f.backends[1] // round robin's next
		pass("datagram", segment{f.client, chosen, 5000, 8080, 0, 0, 0}.udp(64, true))
		pass("answer", segment{chosen, f.client, 8080, 5000, 0, 0, 0}.udp(64, true))
		pass("another port's answer", segment{backend, f.client, 22, 4000, synFlag | ackFlag, 1, 1}.tcp(64))
	})
}

// TestClientMoves: replies follow the client's packets when those begin to
// arrive from another neighbour.
func TestClientMoves(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		h.run(t, segment{f.client, f.vip, 4000, 80, synFlag, 100, 0}.tcp(64))
		reply := segment{f.backends[0], f.client, 8080, 4000, synFlag | ackFlag, 900, 101}.tcp(64)
		for _, router := range [][6]byte{{2, 0, 0, 0, 9, 1}, {2, 0, 0, 0, 9, 2}} {
			packet := segment{f.client, f.vip, 4000, 80, ackFlag, 101, 901}.tcp(64)
			copy(packet[6:], router[:])
			h.run(t, packet)
			_, out := h.run(t, reply)
			if [6]byte(out[:6]) != router {
				t.Errorf("the reply went to %x, the client's packet came from %x", out[:6], router)
			}
		}
	})
}

// TestEnds has a packet for each way a journey ends without forwarding; the
// packet must leave unchanged and be counted under its reason, once.
func TestEnds(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		other := "192.0.2.9"
		if f.name == "ipv6" {
			other = "2001:db8:9::9"
		}
		syn := segment{f.client, f.vip, 4000, 80, synFlag, 1, 0}
		h.put(t, "allow", LBAllowKey{Prefixlen: 32 + 128, Service: 1, Client: as16(f.client)}, uint32(1))
		cases := []struct {
			name   string
			frame  []byte
			drop   bool
			reason LBReason
		}{
			{"not ours", segment{f.client, other, 4000, 80, synFlag, 1, 0}.tcp(64), false, LBReasonREASON_NOT_OURS},
			{"no service", segment{f.client, f.vip, 4000, 81, synFlag, 1, 0}.tcp(64), false, LBReasonREASON_NO_SERVICE},
			{"backend's own", segment{f.backends[0], other, 8080, 9, ackFlag, 1, 1}.tcp(64), false, LBReasonREASON_NO_CONNECTION},
			{"refused client", segment{other, f.vip, 4000, 80, synFlag, 1, 0}.tcp(64), true, LBReasonREASON_NOT_ALLOWED},
			{"ACK from nowhere", segment{f.client, f.vip, 4001, 80, ackFlag, 1, 1}.tcp(64), true, LBReasonREASON_NOT_OPENING},
			{"hop limit", syn.tcp(1), true, LBReasonREASON_TTL},
			{"bad data offset", mutate(syn.tcp(64), len(syn.tcp(64))-20+12, 0x40), true, LBReasonREASON_BAD_HEADER},
		}
		if f.name == "ipv4" {
			cases = append(cases, []struct {
				name   string
				frame  []byte
				drop   bool
				reason LBReason
			}{
				{"IHL 4", mutate(syn.tcp(64), 14, 0x44), true, LBReasonREASON_BAD_HEADER},
				{"total length past the frame", mutate(syn.tcp(64), 16, 0x05), true, LBReasonREASON_TRUNCATED},
				{"first fragment", mutate(syn.tcp(64), 20, 0x20), false, LBReasonREASON_FRAGMENT},
			}...)
		} else {
			cases = append(cases, struct {
				name   string
				frame  []byte
				drop   bool
				reason LBReason
			}{"UDP without checksum", segment{f.client, f.vip, 4000, 80, 0, 0, 0}.udp(64, false), true, LBReasonREASON_ZERO_CHECKSUM})
		}
		for _, c := range cases {
			before := h.reason(t, c.reason)
			verdict, out := h.run(t, c.frame)
			want := h.pass
			if c.drop {
				want = h.drop
			}
			if verdict != want {
				t.Errorf("%s: verdict %d, want %d", c.name, verdict, want)
			}
			if string(out) != string(c.frame) {
				t.Errorf("%s: packet changed", c.name)
			}
			if n := h.reason(t, c.reason) - before; n != 1 {
				t.Errorf("%s: counted %d times under %v, want once", c.name, n, c.reason)
			}
		}
	})
}

// TestTruncated cuts an opener at every length: never forwarded.
func TestTruncated(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		frame := segment{f.client, f.vip, 4000, 80, synFlag, 1, 0}.tcp(64)
		shortest := 14 + 20 // the kernel's test run itself refuses less than an IP header
		if f.name == "ipv6" {
			shortest = 14 + 40
		}
		for n := shortest; n < len(frame); n++ {
			if verdict, _ := h.run(t, frame[:n]); verdict == h.redirect {
				t.Errorf("forwarded when cut to %d bytes", n)
			}
		}
	})
}

func mutate(frame []byte, at int, value byte) []byte {
	frame[at] = value
	return frame
}
