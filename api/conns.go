// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// Conn is one connection.
type Conn struct {
	Protocol string         `json:"protocol"`
	Client   netip.AddrPort `json:"client"`
	VIP      netip.AddrPort `json:"vip"`
	Backend  netip.AddrPort `json:"backend"`
	Service  string         `json:"service"`
	State    string         `json:"state"`
	AgeS     float64        `json:"age_s"`
	IdleS    float64        `json:"idle_s"`
}

// ConnFilter chooses connections by what is not "": a service's name, a
// backend's and a client's "address" or "address:port".
type ConnFilter struct {
	Service, Backend, Client string
}

func (f ConnFilter) query() string {
	return url.Values{"service": {f.Service}, "backend": {f.Backend}, "client": {f.Client}}.Encode()
}

func filterOf(query url.Values) ConnFilter {
	return ConnFilter{query.Get("service"), query.Get("backend"), query.Get("client")}
}

func (f ConnFilter) chooses(c *Conn) bool {
	return (f.Service == "" || f.Service == c.Service) && isEndpoint(f.Backend, c.Backend) && isEndpoint(f.Client, c.Client)
}

func isEndpoint(wanted string, endpoint netip.AddrPort) bool {
	return wanted == "" || wanted == endpoint.Addr().String() || wanted == endpoint.String()
}

// connFormat appends a connection to b in one of the formats, as a line. A
// table may hold millions: they are formatted once, here, and only copied on
// their way to who reads them.
type connFormat func(b []byte, c *Conn) []byte

// connFormats by media type, and what goes before the first line.
var (
	connFormats = map[string]connFormat{JSONLines: appendJSON, Text: appendText}
	connHeads   = map[string][]byte{Text: appendCells(nil, "", "CLIENT", "VIP", "BACKEND", "SERVICE", "STATE", "AGE", "IDLE")}
)

// Media types of a stream of connections.
const (
	JSONLines = "application/x-ndjson"
	Text      = "text/plain"
)

func appendJSON(b []byte, c *Conn) []byte {
	b = appendString(append(b, `{"protocol":`...), c.Protocol)
	b = c.Client.AppendTo(append(b, `,"client":"`...))
	b = c.VIP.AppendTo(append(b, `","vip":"`...))
	b = c.Backend.AppendTo(append(b, `","backend":"`...))
	b = appendString(append(b, `","service":`...), c.Service)
	b = appendString(append(b, `,"state":`...), c.State)
	b = strconv.AppendFloat(append(b, `,"age_s":`...), c.AgeS, 'f', 3, 64)
	b = strconv.AppendFloat(append(b, `,"idle_s":`...), c.IdleS, 'f', 3, 64)
	return append(b, "}\n"...)
}

// appendString quotes what needs no escapes itself: nearly everything.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			quoted, _ := json.Marshal(s) // of a string never fails
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// columns of the table, whose widths fit most: one of millions is not held to
// find its widest cells.
var columns = [...]int{5, 28, 28, 28, 17, 12, 8}

func appendText(b []byte, c *Conn) []byte {
	return appendCells(b, c.Protocol, c.Client.String(), c.VIP.String(), c.Backend.String(), c.Service, c.State, Age(seconds(c.AgeS)), Age(seconds(c.IdleS)))
}

func appendCells(b []byte, cells ...string) []byte {
	for i, cell := range cells {
		b = append(b, cell...)
		if i == len(cells)-1 {
			break
		}
		b = append(b, ' ')
		for pad := len(cell) + 1; pad < columns[i]; pad++ {
			b = append(b, ' ')
		}
	}
	return append(b, '\n')
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Age is a duration in the two units that matter to people: 3d4h, 5m2s.
func Age(d time.Duration) string {
	switch d = max(d, 0).Truncate(time.Second); {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return d.String()
	}
}
