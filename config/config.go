// SPDX-License-Identifier: Apache-2.0

// Package config reads weir.yaml into an lb.State. It is strict: every key and
// value it does not know, or that this version cannot do yet, is an error with
// its line. It starts no goroutine and reads nothing but the one file.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"unicode/utf8"

	"github.com/weirlb/weir/lb"
	"gopkg.in/yaml.v3"
)

// MaxSize bounds the file: ten thousand services fit, and the parser's time
// and memory stay small whatever is in it.
const MaxSize = 1 << 20

// maxErrors is where a list of errors stops helping its reader.
const maxErrors = 100

// Load reads and validates the file at path. An invalid file is an Errors.
func Load(path string) (*lb.State, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse validates data; file is the name that errors carry. Every error it
// returns is an Errors.
func Parse(file string, data []byte) (*lb.State, error) {
	root, err := document(file, data)
	if err != nil {
		return nil, err
	}
	d := &decoder{file: file, lines: map[string]int{"": root.Line}, failed: map[string]bool{}}
	d.plain(root)
	if len(d.errs) > 0 {
		return nil, d.errs
	}
	state := d.state(root)
	for _, e := range lb.FieldErrors(state.Validate()) {
		if !d.reported(e.Path) {
			d.add(d.line(e.Path), e.Path, e.Problem, e.Hint)
		}
	}
	if len(d.errs) > 0 {
		d.errs.sort()
		if d.dropped > 0 {
			d.errs = append(d.errs, Error{File: file, Problem: fmt.Sprintf("and %d more errors", d.dropped)})
		}
		return nil, d.errs
	}
	return state, nil
}

// yamlLine takes the line out of the yaml package's messages, which have no
// field for it.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// document returns the only document's root.
func document(file string, data []byte) (*yaml.Node, error) {
	one := func(line int, problem, hint string) error {
		return Errors{{File: file, Line: line, Problem: problem, Hint: hint}}
	}
	if len(data) > MaxSize {
		return nil, one(0, fmt.Sprintf("is larger than %d bytes", MaxSize), "is it a weir.yaml?")
	}
	// The yaml package would also take UTF-16; a file has one encoding here.
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, one(0, "is not UTF-8 text", "is it a weir.yaml?")
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil, one(1, "is empty", "start with the key interfaces")
	}
	if err == nil {
		if err = dec.Decode(&second); errors.Is(err, io.EOF) {
			return doc.Content[0], nil
		} else if err == nil {
			return nil, one(second.Line, "a second document begins", "keep one document in the file")
		}
	}
	line := 0
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil && m[1] != "" {
		line, _ = strconv.Atoi(m[1])
	}
	return nil, one(line, "is not YAML: "+yamlLine.ReplaceAllString(err.Error(), ""),
		"look at the indentation, brackets and quotes around this line")
}
