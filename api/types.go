// SPDX-License-Identifier: Apache-2.0

// Package api is what the daemon and its commands say to each other: JSON over
// HTTP on the control socket. Fields may be added, never changed: scripts read
// them.
package api

import "time"

// Status is one look at everything.
type Status struct {
	Version    string            `json:"version"`
	Interfaces []Interface       `json:"interfaces"`
	Services   []Service         `json:"services"`
	Drops      map[string]uint64 `json:"drops"`
	Table      Table             `json:"table"`
	Config     Config            `json:"config"`
	Problems   []string          `json:"problems"`
	Reconcile  Reconcile         `json:"reconcile"`
	Programs   []Program         `json:"programs"`
}

// Reconcile is how writing the maps went.
type Reconcile struct {
	DurationS   float64   `json:"duration_s"` // of the last time
	Errors      uint64    `json:"errors"`
	LastSuccess time.Time `json:"last_success"`
}

// Program is a loaded program; the kernel counts its runs only where
// kernel.bpf_stats_enabled is on.
type Program struct {
	Name     string  `json:"name"`
	Runs     uint64  `json:"runs"`
	RuntimeS float64 `json:"runtime_s"`
}

// Interface is a NIC that weir manages.
type Interface struct {
	Name    string `json:"name"`
	Attach  string `json:"attach"` // xdp | xdp-generic | tc
	OK      bool   `json:"ok"`
	Problem string `json:"problem"`
}

// Table is the connection table.
type Table struct {
	Capacity uint64 `json:"capacity"`
	Used     uint64 `json:"used"`
	// Connections that left a full table for new ones, by class.
	Evictions map[string]uint64 `json:"evictions"`
}

// Config is the configuration in force, and why a newer file is not.
type Config struct {
	Path     string    `json:"path"`
	Revision uint64    `json:"revision"`
	LoadedAt time.Time `json:"loaded_at"`
	Error    string    `json:"error"`
}

// Connections counts those open now (half-open and established), all that
// were opened, and the openers that were refused.
type Connections struct {
	Active  uint64 `json:"active"`
	Opened  uint64 `json:"opened"`
	Refused uint64 `json:"refused"`
}

// Service is a VIP and port. Packets and bytes count both directions.
type Service struct {
	Name        string      `json:"name"`
	Address     string      `json:"address"`
	Port        string      `json:"port"`
	Protocol    string      `json:"protocol"`
	Algorithm   string      `json:"algorithm"`
	Mode        string      `json:"mode"`
	Tier        string      `json:"tier"`
	Packets     uint64      `json:"packets"`
	Bytes       uint64      `json:"bytes"`
	Connections Connections `json:"connections"`
	Backends    []Backend   `json:"backends"`
}

// Backend is one server of a service.
type Backend struct {
	Service        string             `json:"service"`
	Address        string             `json:"address"`
	Port           uint16             `json:"port"`
	Weight         uint16             `json:"weight"`
	State          string             `json:"state"` // up | down | drain | unknown
	Reason         string             `json:"reason"`
	Since          time.Time          `json:"since"`
	CheckLatencyMS float64            `json:"check_latency_ms"`
	Connections    BackendConnections `json:"connections"`
	Packets        uint64             `json:"packets"`
	Bytes          uint64             `json:"bytes"`
}

// BackendConnections counts those open now and all that were opened.
type BackendConnections struct {
	Active uint64 `json:"active"`
	Opened uint64 `json:"opened"`
}

// Map is a BPF map. Entries of an array are its capacity: each exists.
type Map struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Entries  uint64 `json:"entries"`
	Capacity uint64 `json:"capacity"`
	Bytes    uint64 `json:"bytes"`
	Pin      string `json:"pin"`
}

// Drain names a backend of a service: "address:port", "[v6]:port".
type Drain struct {
	Service string `json:"service"`
	Backend string `json:"backend"`
	Drain   bool   `json:"drain"`
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	Error   string `json:"error"`
	Invalid bool   `json:"invalid"` // the configuration is, or the request was
}
