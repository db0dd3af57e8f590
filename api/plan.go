// SPDX-License-Identifier: Apache-2.0

package api

// File is a configuration as its reader sees it: the daemon may run elsewhere
// or see other files.
type File struct {
	Path    string `json:"path"` // for errors
	Content []byte `json:"content"`
}

// Plan is what a reload would change.
type Plan struct {
	Settings []FieldChange   `json:"settings"` // outside of services
	Services []ServiceChange `json:"services"`
}

// The kinds of a change.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// FieldChange is one key of the configuration; an absent value is "".
type FieldChange struct {
	Field string `json:"field"` // "health_check.interval"
	Old   string `json:"old"`
	New   string `json:"new"`
}

// ServiceChange is what becomes of a service, which its address, port and
// protocol identify.
type ServiceChange struct {
	Service     string          `json:"service"`
	Address     string          `json:"address"`
	Port        string          `json:"port"`
	Protocol    string          `json:"protocol"`
	Change      string          `json:"change"` // added | removed | changed
	Fields      []FieldChange   `json:"fields"`
	Backends    []BackendChange `json:"backends"`
	Slots       SlotChange      `json:"slots"`
	Connections ConnChange      `json:"connections"`
}

// BackendChange is what becomes of a backend.
type BackendChange struct {
	Backend     string        `json:"backend"` // "address:port", as it is before the change
	Change      string        `json:"change"`  // added | removed | changed
	Fields      []FieldChange `json:"fields"`  // weight, state, port
	Connections ConnChange    `json:"connections"`
}

// SlotChange is what becomes of a service's table. Moved are the slots of the
// larger table that hold another backend in the other one, or none.
type SlotChange struct {
	Old   int `json:"old"`
	New   int `json:"new"`
	Moved int `json:"moved"`
}

// ConnChange is what becomes of the connections that are open. Drained ones
// go on until they end, at a backend that gets no more.
type ConnChange struct {
	Kept    uint64 `json:"kept"`
	Drained uint64 `json:"drained"`
}
