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

// MaxSize bounds the file: a hundred thousand long IPv6 prefixes fit.
const MaxSize = 8 << 20

// maxMarks bounds what separates values in the file, and with it the parser's
// time and memory: it takes some 200 bytes for a value of one letter, and a
// router may have 1 GB and no swap. Ten thousand services of ten backends fit.
const maxMarks = 1 << 19

// maxErrors is where a list of errors stops helping its reader.
const maxErrors = 100

// Load reads and validates the file at path. An invalid file is an Errors.
func Load(path string) (*lb.State, error) {
	data, err := Read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Read reads the file, no further than to see that it is too large.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return data, nil
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
	if !d.full() {
		d.validate(state)
	}
	if len(d.errs) > 0 {
		d.errs.sort()
		if d.full() {
			d.errs = append(d.errs, Error{File: file, Problem: "has more errors than these, probably"})
		}
		return nil, d.errs
	}
	return state, nil
}

// validate adds what lb finds wrong.
func (d *decoder) validate(state *lb.State) {
	for _, e := range lb.FieldErrors(state.Validate()) {
		if !d.reported(e.Path) {
			d.add(d.line(e.Path), e.Path, e.Problem, e.Hint)
		}
	}
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
	if marks(data) > maxMarks {
		return nil, one(0, fmt.Sprintf("has more than %d lines and values", maxMarks), "is it a weir.yaml?")
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

// marks counts the bytes of which every value, or pair of key and value, needs
// one before it. Those in texts and comments are counted too: few in a real
// file.
func marks(data []byte) (n int) {
	for i, c := range data {
		switch c {
		case ',', '[', '{', '\n', '\r':
			n++
		case '-', '?':
			if i+1 < len(data) && (data[i+1] == ' ' || data[i+1] == '\t') {
				n++
			}
		}
	}
	return n
}
