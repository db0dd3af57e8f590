// SPDX-License-Identifier: Apache-2.0

// Package lb holds the domain of the load balancer: services, backends and
// the State that a source (a file, CloudStack, the API) wants. It validates
// them and imports nothing else of weir. Addresses and ports are host values;
// byte order, ids and padding belong to package maps.
package lb

import (
	"fmt"
	"net/netip"
	"time"
)

// Protocol is what a service speaks towards its clients.
type Protocol string

// Protocols of the contract. Only TCP and UDP are carried in the packet path.
const (
	TCP      Protocol = "tcp"
	UDP      Protocol = "udp"
	HTTP     Protocol = "http"
	HTTPS    Protocol = "https"
	TCPProxy Protocol = "tcp-proxy"
)

// Algorithm chooses the backend of a new connection.
type Algorithm string

// Algorithms of the contract.
const (
	RoundRobin Algorithm = "roundrobin"
	LeastConn  Algorithm = "leastconn"
	Source     Algorithm = "source"
	Maglev     Algorithm = "maglev"
	Latency    Algorithm = "latency"
)

// Mode is how a packet travels from the router to its backend.
type Mode string

// Modes of the contract.
const (
	NAT     Mode = "nat"
	FullNAT Mode = "fullnat"
	DSR     Mode = "dsr"
	IPIP    Mode = "ipip"
	GRE     Mode = "gre"
	GUE     Mode = "gue"
	VXLAN   Mode = "vxlan"
)

// Attach is the hook through which weir sees an interface's packets.
type Attach string

// Attach values of the contract.
const (
	AttachAuto       Attach = "auto"
	AttachXDP        Attach = "xdp"
	AttachXDPGeneric Attach = "xdp-generic"
	AttachTC         Attach = "tc"
)

// NoBackend is what a client of a service without a usable backend gets.
type NoBackend string

// NoBackend values of the contract.
const (
	NoBackendReset   NoBackend = "reset"
	NoBackendDrop    NoBackend = "drop"
	NoBackendForward NoBackend = "forward"
)

// BackendDown is what happens to the connections of a backend found down.
type BackendDown string

// BackendDown values of the contract.
const (
	BackendDownKeep  BackendDown = "keep"
	BackendDownReset BackendDown = "reset"
)

// State is everything a source wants, as one immutable value. A newer
// Revision replaces an older one as a whole.
type State struct {
	Revision   uint64
	Interfaces []Interface
	Services   []Service
	Table      Table
	Metrics    Metrics
}

// Interface is a NIC that weir manages.
type Interface struct {
	Name   string
	Attach Attach
}

// Table sizes the connection table; zero means the default.
type Table struct {
	Connections uint64
}

// Metrics says where /metrics, /healthz and /readyz listen; zero: nowhere.
type Metrics struct {
	Listen netip.AddrPort
}

// PortRange is an inclusive range of ports; "any" is 0–65535.
type PortRange struct {
	First, Last uint16
}

// AnyPort matches every port of an address.
var AnyPort = PortRange{0, 65535}

// String returns the contract's spelling: "80", "8000-8100" or "any".
func (r PortRange) String() string {
	switch {
	case r == AnyPort:
		return "any"
	case r.First == r.Last:
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Overlaps reports whether some port is in both ranges and neither range is
// looked up before the other (exact port before range before any).
func (r PortRange) Overlaps(o PortRange) bool {
	return r.class() == o.class() && r.First <= o.Last && o.First <= r.Last
}

func (r PortRange) class() int {
	switch {
	case r == AnyPort:
		return 2
	case r.First != r.Last:
		return 1
	}
	return 0
}

// ServiceKey identifies a service on the wire.
type ServiceKey struct {
	Address  netip.Addr
	Ports    PortRange
	Protocol Protocol
}

// String returns "203.0.113.10:80/tcp".
func (k ServiceKey) String() string {
	if k.Address.Is6() {
		return fmt.Sprintf("[%s]:%s/%s", k.Address, k.Ports, k.Protocol)
	}
	return fmt.Sprintf("%s:%s/%s", k.Address, k.Ports, k.Protocol)
}

// Service is a VIP, its ports and protocol, and what serves them.
type Service struct {
	Name            string
	Address         netip.Addr // the VIP; never IPv4-mapped
	Ports           PortRange
	Protocol        Protocol
	Algorithm       Algorithm
	Mode            Mode
	Allow           []netip.Prefix // who may open connections; masked
	AffinityTimeout time.Duration  // 0: no source affinity
	Timeouts        Timeouts
	WhenNoBackend   NoBackend
	WhenBackendDown BackendDown
	HealthCheck     HealthCheck
	Backends        []Backend
}

// Key returns what identifies the service on the wire.
func (s *Service) Key() ServiceKey { return ServiceKey{s.Address, s.Ports, s.Protocol} }

// Timeouts after which a silent connection is forgotten.
type Timeouts struct {
	Idle, HalfOpen, Closing time.Duration
}

// Backend is one server of a service.
type Backend struct {
	Address netip.Addr
	Port    uint16
	Weight  uint16 // 0: no new connections
	Drain   bool
}

// AddrPort returns the backend's endpoint.
func (b Backend) AddrPort() netip.AddrPort { return netip.AddrPortFrom(b.Address, b.Port) }

// CheckType is the protocol of a health check.
type CheckType string

// CheckTypes of the contract; CheckNone means always up.
const (
	CheckNone  CheckType = "none"
	CheckTCP   CheckType = "tcp"
	CheckHTTP  CheckType = "http"
	CheckHTTPS CheckType = "https"
	CheckICMP  CheckType = "icmp"
	CheckUDP   CheckType = "udp"
)

// Health is what is known of a backend.
type Health string

// Health values of the contract (drain is a setting, not a health).
const (
	Unknown Health = "unknown"
	Up      Health = "up"
	Down    Health = "down"
)

// HealthCheck says how a service's backends are probed.
type HealthCheck struct {
	Type     CheckType
	Port     uint16 // 0: the backend's port
	Path     string // http, https
	Host     string // http, https: Host header; empty: the target address
	SNI      string // https; empty: Host
	Verify   bool   // https: verify the certificate
	Expect   []StatusRange
	Interval time.Duration
	Timeout  time.Duration
	Rise     int
	Fall     int
	Initial  Health // Unknown or Up
}

// StatusRange is an inclusive range of HTTP status codes.
type StatusRange struct {
	First, Last int
}
