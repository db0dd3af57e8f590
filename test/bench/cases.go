// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/maps"
)

// benchCase is one row of the table.
type benchCase struct {
	name      string
	program   string
	sent      traffic
	opens     bool // each packet opens a connection; forgotten between runs
	prefixes  int  // in the allow list; 0: everybody
	algorithm lb.Algorithm
	ends      string // reason under which every packet must be counted
}

const other4, ki, mi = "192.0.2.9", 1 << 10, 1 << 20

var cases = []benchCase{
	established("IPv4, 1 connection", traffic{clients: 1}),
	established("IPv4, 1 Ki connections", traffic{clients: ki}),
	established("IPv4, 64 Ki connections", traffic{clients: 64 * ki}),
	established("IPv4, 1 Mi connections", traffic{clients: mi}),
	established("IPv6, 1 connection", traffic{clients: 1, ipv6: true}),
	established("IPv6, 1 Ki connections", traffic{clients: ki, ipv6: true}),
	established("IPv6, 64 Ki connections", traffic{clients: 64 * ki, ipv6: true}),
	established("IPv6, 1 Mi connections", traffic{clients: mi, ipv6: true}),
	established("IPv4, 1 connection, replies", traffic{clients: 1, reply: true}),
	established("IPv4, 64 Ki connections, replies", traffic{clients: 64 * ki, reply: true}),
	established("IPv4, 1 Mi connections, replies", traffic{clients: mi, reply: true}),
	opening("allow 0.0.0.0/0", 0),
	opening("allow 100 000 prefixes", 100_000),
	notOurs("one flow", 1),
	notOurs("64 Ki flows", 64*ki),
	{name: "(the empty harness itself)", program: "empty", sent: traffic{clients: 1, stride: mixed, flags: ack}},
	{
		name: "one random 64-byte line of the table of 1 Mi connections", program: "line",
		sent: traffic{clients: mi, stride: mixed, flags: ack},
	},
}

func established(name string, sent traffic) benchCase {
	c := benchCase{name: "established TCP, " + name, program: "weir", sent: sent, algorithm: lb.RoundRobin, ends: "forwarded"}
	c.sent.stride, c.sent.flags = mixed, ack
	if sent.reply {
		c.ends = "replied"
	}
	return c
}

func opening(name string, prefixes int) benchCase {
	return benchCase{
		name: "new connection, maglev, 64 Ki clients, " + name, program: "weir", prefixes: prefixes, opens: true,
		sent: traffic{clients: 64 * ki, stride: mixed, flags: syn}, algorithm: lb.Maglev, ends: "forwarded",
	}
}

func notOurs(name string, clients uint32) benchCase {
	return benchCase{
		name: "not ours, " + name, program: "weir", algorithm: lb.RoundRobin, ends: "not_ours",
		sent: traffic{clients: clients, stride: mixed, flags: ack, to: other4},
	}
}

// prefixes returns n different prefixes: the /24s of the clients' 10.0.0.0/8,
// so that every client is allowed, and longer ones at random among them.
func prefixes(n int) []netip.Prefix {
	var list []netip.Prefix
	random := rand.New(rand.NewPCG(1, 2))
	seen := map[netip.Prefix]bool{}
	for i := 0; len(list) < n; i++ {
		network, length := uint32(i)<<8, 24
		if i >= 1<<16 {
			network, length = random.Uint32()&0xffffff, 25+random.IntN(8)
		}
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24|network)
		p := netip.PrefixFrom(netip.AddrFrom4(a), length).Masked()
		if !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list
}

// prepare loads an object and brings it to where the case's runs begin.
func (c benchCase) prepare(object string) (*harness, error) {
	h, err := load(object, c.sent)
	if err != nil {
		return nil, err
	}
	var allow []netip.Prefix
	if c.prefixes > 0 {
		allow = prefixes(c.prefixes)
	}
	if err := h.serve(c.algorithm, allow, 2, net.HardwareAddr{2, 0, 0, 0, 0, 1}); err != nil {
		return nil, err
	}
	if c.opens || c.sent.to != "" {
		return h, nil
	}
	return h, h.connect()
}

// subject returns a run of one of the harness's programs.
func (c benchCase) subject(h *harness, program string, o options) func() (float64, error) {
	if c.opens && program == c.program {
		return func() (float64, error) { return c.open(h, o) }
	}
	return func() (float64, error) { return h.run(program, o.repeat) }
}

// open runs every client's opener once, as often as makes up a run, and
// forgets the connections in between.
func (c benchCase) open(h *harness, o options) (float64, error) {
	rounds := (o.repeat + int(c.sent.clients) - 1) / int(c.sent.clients)
	var sum float64
	for range rounds {
		took, err := h.run(c.program, int(c.sent.clients))
		if err != nil {
			return 0, err
		}
		sum += took
		if _, err := h.run("forget", int(c.sent.clients)); err != nil {
			return 0, err
		}
	}
	return sum / float64(rounds), nil
}

func (c benchCase) measure(o options) (result, error) {
	h, err := c.prepare("")
	if err != nil {
		return result{}, err
	}
	defer h.coll.Close()
	subjects := []func() (float64, error){c.subject(h, "empty", o), c.subject(h, c.program, o)}
	if o.against != "" {
		other, err := c.prepare(o.against)
		if err != nil {
			return result{}, fmt.Errorf("%s: %w", o.against, err)
		}
		defer other.coll.Close()
		subjects = append(subjects, c.subject(other, c.program, o))
	}
	before, err := h.tables.Reasons()
	if err != nil {
		return result{}, err
	}
	figures, err := interleave(o.groups, subjects)
	if err != nil {
		return result{}, err
	}
	if err := c.check(h, before); err != nil {
		return result{}, err
	}
	if c.program == "empty" {
		return result{Name: c.name, Value: spreadOf(figures[0])}, nil
	}
	r := result{Name: c.name, Value: spreadOf(minus(figures[1], figures[0]))}
	if o.against != "" {
		other := spreadOf(minus(figures[2], figures[0]))
		r.Other = &other
		r.Ratio = median(over(minus(figures[1], figures[0]), minus(figures[2], figures[0])))
	}
	return r, nil
}

// check shows that every packet took the journey the case is named for.
func (c benchCase) check(h *harness, before []maps.Reason) error {
	after, err := h.tables.Reasons()
	if err != nil {
		return err
	}
	for i, reason := range after {
		n := reason.Packets - before[i].Packets
		if (n > 0) != (reason.Name == c.ends && c.program == "weir") {
			return fmt.Errorf("%d packets ended as %s", n, reason.Name)
		}
	}
	return nil
}
