// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder collects errors and remembers the line of every path, so that what
// lb finds wrong later gets its line too.
type decoder struct {
	file   string
	lines  map[string]int
	failed map[string]bool // paths with an error, and their ancestors
	errs   Errors
}

func (d *decoder) add(line int, path, problem, hint string) {
	if !d.full() {
		d.errs = append(d.errs, Error{d.file, line, path, problem, hint})
	}
}

// full tells that nobody would read more errors: then the rest of the file is
// left alone, of which a hostile one has half a million values.
func (d *decoder) full() bool { return len(d.errs) >= maxErrors }

// fail records an error of the file itself; reported then hides what lb says
// about the zero value that stands in for it.
func (d *decoder) fail(n *yaml.Node, path, hint, format string, args ...any) {
	d.add(n.Line, path, fmt.Sprintf(format, args...), hint)
	for p := path; p != ""; p = parent(p) {
		d.failed[p] = true
	}
	d.failed["!"+path] = true
}

// reported says whether path, something in it or something around it failed.
func (d *decoder) reported(path string) bool {
	if d.failed[path] || d.failed["!"] {
		return true
	}
	for p := path; p != ""; p = parent(p) {
		if d.failed["!"+p] {
			return true
		}
	}
	return false
}

func (d *decoder) line(path string) int {
	for ; path != ""; path = parent(path) {
		if line, ok := d.lines[path]; ok {
			return line
		}
	}
	return d.lines[""]
}

func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

// plain refuses what makes YAML more than data. Aliases are how a small file
// becomes a huge value; tags change what a plain value means.
func (d *decoder) plain(n *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fail(n, "", "write the value out", "anchors and aliases are not allowed")
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n, "", "remove the tag", "the tag %s is not allowed", quote(n.Tag))
	}
	for i := 0; i < len(n.Content) && !d.full(); i++ {
		d.plain(n.Content[i])
	}
}

// object is a mapping whose keys have been checked.
type object struct {
	d    *decoder
	node *yaml.Node
	path string
	vals map[string]*yaml.Node
}

// object checks the keys of n; later names those of the contract that this
// version does not do.
func (d *decoder) object(n *yaml.Node, path string, known, later []string) (object, bool) {
	o := object{d, n, path, map[string]*yaml.Node{}}
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "give it keys: "+strings.Join(known, ", "), "is %s, not a mapping", kind(n))
		return o, false
	}
	for i := 0; i+1 < len(n.Content) && !d.full(); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.fail(key, path, "use one of "+strings.Join(known, ", "), "a key is %s", kind(key))
			continue
		}
		at := o.at(key.Value)
		switch {
		case slices.Contains(later, key.Value):
			d.fail(key, at, "remove it", "is not supported by this version of weir")
		case !slices.Contains(known, key.Value):
			d.fail(key, o.at(quote(key.Value)), "use one of "+strings.Join(known, ", "), "is not a known key")
		case o.vals[key.Value] != nil:
			d.fail(key, at, "remove one of the two", "is already set in line %d", d.lines[at])
		default:
			o.vals[key.Value] = val
			d.lines[at] = key.Line
		}
	}
	return o, true
}

func (o object) at(key string) string {
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}

func (o object) require(keys ...string) {
	for _, key := range keys {
		if o.vals[key] == nil {
			o.d.fail(o.node, o.at(key), "add it", "is required")
		}
	}
}

// list calls each for every item of a key's list; an absent key has none.
func (o object) list(key string, each func(n *yaml.Node, path string)) {
	n := o.vals[key]
	if n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode {
		o.d.fail(n, o.at(key), "write a list, as in [a, b]", "is %s, not a list", kind(n))
		return
	}
	for i := 0; i < len(n.Content) && !o.d.full(); i++ {
		item := n.Content[i]
		path := fmt.Sprintf("%s[%d]", o.at(key), i)
		o.d.lines[path] = item.Line
		each(item, path)
	}
}

// scalar is a parser of one kind of value: the problem is empty when v is good.
type scalar[T any] func(n *yaml.Node) (v T, problem, hint string)

// value parses a key's value; absent or bad, it is def.
func value[T any](o object, key string, def T, parse scalar[T]) T {
	n := o.vals[key]
	if n == nil {
		return def
	}
	if v, ok := item(o.d, n, o.at(key), parse); ok {
		return v
	}
	return def
}

func item[T any](d *decoder, n *yaml.Node, path string, parse scalar[T]) (T, bool) {
	var zero T
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		d.fail(n, path, "write one value", "is %s", kind(n))
		return zero, false
	}
	v, problem, hint := parse(n)
	if problem != "" {
		d.fail(n, path, hint, "%s %s", quote(n.Value), problem)
		return zero, false
	}
	return v, true
}

func kind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null":
		return "empty"
	}
	return quote(n.Value)
}

// quote shows a value as written when that is one plain word, so that a hostile
// file cannot write to the reader's terminal or flood it.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("%.*q...", most, s)
	}
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}
