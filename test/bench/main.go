// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the XDP program costs a packet, in test runs
// of the kernel, and what it forwards between veth interfaces. It prints a
// Markdown table. It is no test: its figures depend on the machine and on
// what else runs there. It needs root.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Options of a run.
type options struct {
	groups  int    // groups of runs, each A B … B A
	repeat  int    // packets a run
	against string // an object file of another version of bench.c, or ""
	only    *regexp.Regexp
}

// Report is the JSON file.
type report struct {
	Date     string   `json:"date"`
	CPU      string   `json:"cpu"`
	Kernel   string   `json:"kernel"`
	Clang    string   `json:"clang"`
	Groups   int      `json:"groups"`
	Repeat   int      `json:"repeat"`
	Nanos    []result `json:"ns_per_packet"`
	LiveRate []result `json:"live_mpps"`
}

func main() {
	var o options
	flag.IntVar(&o.groups, "groups", 15, "groups of runs")
	flag.IntVar(&o.repeat, "repeat", 300_000, "packets a run")
	flag.StringVar(&o.against, "against", "", "bench object of another version to compare with in the same groups")
	only := flag.String("run", "", "regular expression: only cases whose name it matches")
	file := flag.String("json", "", "file to write the figures to")
	flag.Parse()
	o.only = regexp.MustCompile(*only)
	r, err := run(o)
	if err == nil && *file != "" {
		err = r.write(*file)
	}
	if err != nil {
		var verifier *ebpf.VerifierError
		if errors.As(err, &verifier) {
			fmt.Fprintf(os.Stderr, "%+v\n", verifier)
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o options) (*report, error) {
	r := &report{
		Date: time.Now().UTC().Format(time.DateOnly), CPU: cpuModel(), Kernel: kernelRelease(), Clang: clangVersion(),
		Groups: o.groups, Repeat: o.repeat,
	}
	fmt.Printf("%s · Linux %s · %s · %s · %d groups of %d packets\n\n", r.CPU, r.Kernel, r.Clang, r.Date, o.groups, o.repeat)
	heading(o, "ns a packet, net of the empty harness")
	for _, c := range cases {
		if !o.only.MatchString(c.name) {
			continue
		}
		result, err := c.measure(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Println(result)
		r.Nanos = append(r.Nanos, result)
	}
	fmt.Println()
	heading(o, "live on veth, Mpps")
	for _, c := range liveCases {
		if !o.only.MatchString(c.name) {
			continue
		}
		results, err := c.live(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		for _, result := range results {
			fmt.Println(result)
		}
		r.LiveRate = append(r.LiveRate, results...)
	}
	return r, nil
}

func heading(o options, what string) {
	fmt.Printf("| %s | median | min | max |", what)
	if o.against != "" {
		fmt.Print(" other: median | min | max | ratio |\n|---|---|---|---|---|---|---|---|\n")
		return
	}
	fmt.Print("\n|---|---|---|---|\n")
}

func (r *report) write(file string) error {
	out, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(out, '\n'), 0o644)
}

func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

func kernelRelease() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}

// clangVersion is that of the compiler `make generate` uses.
func clangVersion() string {
	out, err := exec.Command("clang-19", "--version").Output()
	if err != nil {
		return "clang not installed"
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}
