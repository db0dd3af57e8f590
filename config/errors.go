// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"strings"
)

// Error is one thing wrong with the file.
type Error struct {
	File    string
	Line    int    // 0: the file as a whole
	Path    string // "services[0].port"; empty: no key in particular
	Problem string
	Hint    string // how to mend it
}

// Error returns "FILE:LINE: PATH: PROBLEM; HINT".
func (e Error) Error() string {
	s := e.File
	if e.Line > 0 {
		s += fmt.Sprintf(":%d", e.Line)
	}
	if e.Path != "" {
		s += ": " + e.Path
	}
	s += ": " + e.Problem
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Errors is everything wrong with the file, in the order of its lines.
type Errors []Error

// Error returns one line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b Error) int { return a.Line - b.Line })
}
