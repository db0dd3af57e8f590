// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestReorder(t *testing.T) {
	app := newApp(io.Discard, io.Discard)
	app.Commands = append(slices.DeleteFunc(app.Commands, func(c *cli.Command) bool { return c.Name == "drain" }), &cli.Command{Name: "drain", Flags: []cli.Flag{
		&cli.DurationFlag{Name: "deadline"}, &cli.BoolFlag{Name: "watch"}}},
		&cli.Command{Name: "outer", Flags: []cli.Flag{&cli.BoolFlag{Name: "all"}}, Subcommands: []*cli.Command{{Name: "inner",
			Aliases: []string{"in"}, Flags: []cli.Flag{&cli.StringFlag{Name: "kind", Aliases: []string{"k"}}}}}})
	for _, c := range []struct{ in, want string }{
		{"weir", "weir"},
		{"weir check -c f", "weir check -c f"},
		{"weir -c f check", "weir check -c f"},
		{"weir check --socket s -c f", "weir --socket s check -c f"},
		{"weir --socket=s check", "weir --socket=s check"},
		{"weir drain web b --deadline 3s", "weir drain --deadline 3s web b"},
		{"weir drain web --watch b --state=x", "weir --state=x drain --watch web b"},
		{"weir drain web -- --watch", "weir drain web -- --watch"},
		{"weir drain web -", "weir drain web -"},
		{"weir check --nope", "weir check --nope"},
		{"weir nope --socket s", "weir --socket s nope"},
		{"weir nope -c f", "weir nope -c f"},
		{"weir -c f", "weir -c f"},
		{"weir check drain", "weir check drain"},
		{"weir outer inner a --kind x b --all --socket s", "weir --socket s outer --all inner --kind x a b"},
		{"weir -k x --all outer inner a", "weir outer --all inner -k x a"},
		{"weir outer -k x inner a", "weir outer inner -k x a"},
		{"weir outer in --kind=x", "weir outer inner --kind=x"},
		{"weir outer inner --nope a", "weir outer inner --nope a"},
		{"weir drain x --generate-bash-completion", "weir drain x --generate-bash-completion"},
	} {
		if got := strings.Join(reorder(app, strings.Fields(c.in)), " "); got != c.want {
			t.Errorf("%s: got %s, want %s", c.in, got, c.want)
		}
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	for path, text := range map[string]string{good: "interfaces: [{name: eth0}]\n", bad: "interfaces: []\nx: 1\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"check -c " + good, 0, "is valid", ""},
		{"-c " + good + " check --socket s", 0, "is valid", ""},
		{"check -c " + bad, 2, "", "weir: " + bad + ":1: interfaces: is empty"},
		{"check -c " + bad, 2, "", "\nweir: " + bad + ":2: x: is not a known key"},
		{"check -c " + bad + ".none", 2, "", "no such file"},
		{"check extra -c " + good, 2, "", `unexpected argument "extra"`},
		{"check --nope", 2, "", "weir: flag provided but not defined: -nope"},
		{"check --help", 0, "Example: weir check -c", ""},
		{"version", 0, "weir ", ""},
		{"version --help", 0, "Example: weir version", ""},
		{"version extra", 2, "", "unexpected argument"},
		{"--nope", 2, "", "weir: flag"},
		{"nope", 2, "", `weir: "nope" is not a command`},
		{"help nope", 2, "", "weir: No help topic"},
		{"", 2, "", "no command given"},
		{"--help", 0, "WEIR_SOCKET", ""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(append([]string{"weir"}, strings.Fields(c.args)...), &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%s: got %d, %s, %s", c.args, code, &stdout, &stderr)
		}
		if c.stderr == "" && stderr.Len() > 0 || c.stdout == "" && stdout.Len() > 0 {
			t.Errorf("%s: unexpected output %q %q", c.args, &stdout, &stderr)
		}
	}
}

// TestRenderFails: output that is lost is an error, in each format.
func TestRenderFails(t *testing.T) {
	for _, format := range []string{"table", "json", "yaml"} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		flags.String("output", format, "")
		c := cli.NewContext(newApp(full, io.Discard), flags, nil)
		if err := render(c, 7, func(w io.Writer, n int) { row(w, "N", n) }); err == nil || !strings.Contains(err.Error(), "no space") {
			t.Errorf("%s: got %v, want no space", format, err)
		}
		if err := full.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestExamples: what is shipped is valid.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../packaging/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		var stdout, stderr bytes.Buffer
		if code := run([]string{"weir", "check", "-c", file}, &stdout, &stderr); code != exitDone {
			t.Errorf("%s: exit %d: %s", file, code, &stderr)
		}
	}
}
