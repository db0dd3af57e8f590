// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// built is the path of weir as it is installed: by its name.
func built(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return binary
}

// TestCompletion asks the binary, as shells do, for its commands and for every
// command's flags.
func TestCompletion(t *testing.T) {
	binary, app := built(t), newApp(io.Discard, io.Discard)
	complete := func(typed ...string) []string {
		t.Helper()
		out, err := exec.Command(binary, append(typed, "--generate-bash-completion")...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", typed, err, out)
		}
		return strings.Fields(string(out))
	}
	flags := func(offered []string, wanted []cli.Flag, of string) {
		t.Helper()
		for _, f := range wanted {
			if visible, ok := f.(cli.VisibleFlag); ok && visible.IsVisible() && !slices.Contains(offered, "--"+f.Names()[0]) {
				t.Errorf("%s: --%s is not in %s", of, f.Names()[0], offered)
			}
		}
	}
	commands := complete()
	flags(complete("-"), app.Flags, "weir")
	for _, c := range app.Commands {
		if !slices.Contains(commands, c.Name) {
			t.Errorf("%s is not in %s", c.Name, commands)
		}
		flags(complete(c.Name, "-"), c.Flags, c.Name)
	}
}

// TestBashCompletion has bash complete lines by the file that is shipped.
func TestBashCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	binary := built(t)
	for line, want := range map[string]string{
		"und":                 "undrain",
		"status --w":          "--watch",
		"--sock":              "--socket",
		"--socket /nowhere c": "check conns",
		"check -c ":           "", // files
	} {
		script := `source ../../packaging/completion/weir.bash
			read -ra COMP_WORDS <<<"$1"
			[[ $1 != *" " ]] || COMP_WORDS+=("")
			COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			_weir && echo "${COMPREPLY[*]}"`
		out, err := exec.Command(bash, "-c", script, "bash", binary+" "+line).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q: got %q (%v), want %q", line, got, err, want)
		}
	}
}
