// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder moves flags ahead of arguments, where urfave/cli v2 looks for them:
// each right after the command that has it, global ones before all. Flags of
// unknown name stay with the last command, whose parser then names them.
func reorder(app *cli.App, args []string) []string {
	// A shell asking for completions wants to know about the line as typed.
	if len(args) < 2 || args[len(args)-1] == "--generate-bash-completion" {
		return args
	}
	// The commands on the line, each a subcommand of the one before; the app is
	// the first.
	path := []*cli.Command{{Name: args[0], Flags: app.Flags, Subcommands: app.Commands}}
	var words []string
	type given struct {
		name string
		args []string
	}
	var flags []given
	for i := 1; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			words = append(words, args[i:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			if sub := subcommand(path[len(path)-1], arg); sub != nil && words == nil {
				path = append(path, sub)
			} else {
				words = append(words, arg)
			}
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		flag := given{name, []string{arg}}
		if !hasValue && i+1 < len(args) && takesValue(lookUp(path, name)) {
			i++
			flag.args = append(flag.args, args[i])
		}
		flags = append(flags, flag)
	}
	own := make([][]string, len(path))
	for _, flag := range flags {
		if at := owner(path, flag.name); at > 0 || find(app.Flags, flag.name) != nil {
			own[at] = append(own[at], flag.args...)
		} else {
			words = append(words, flag.args...) // there is no command to have it
		}
	}
	var out []string
	for i, cmd := range path {
		out = append(append(out, cmd.Name), own[i]...)
	}
	return append(out, words...)
}

// owner is the place in the path of the last command that has the flag, or of
// the last command.
func owner(path []*cli.Command, name string) int {
	for at := len(path) - 1; at >= 0; at-- {
		if find(path[at].Flags, name) != nil {
			return at
		}
	}
	return len(path) - 1
}

// lookUp finds a flag of a command on the line, or of one that may come yet.
func lookUp(path []*cli.Command, name string) cli.Flag {
	last := len(path) - 1
	if f := find(path[owner(path, name)].Flags, name); f != nil {
		return f
	}
	for _, sub := range path[last].Subcommands {
		if f := lookUp(append(path[:last:last], sub), name); f != nil {
			return f
		}
	}
	return nil
}

func subcommand(of *cli.Command, name string) *cli.Command {
	for _, sub := range of.Subcommands {
		if sub.HasName(name) {
			return sub
		}
	}
	return nil
}

func find(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	v, ok := f.(cli.DocGenerationFlag)
	return ok && v.TakesValue()
}

// wantArgs refuses a command line with another number of arguments.
func wantArgs(c *cli.Context, n int) error {
	switch {
	case c.NArg() > n:
		return usageError{fmt.Errorf("%s: unexpected argument %q", c.Command.Name, c.Args().Get(n))}
	case c.NArg() < n:
		return usageError{fmt.Errorf("%s: %d arguments wanted, %d given; see weir help %s", c.Command.Name, n, c.NArg(),
			c.Command.Name)}
	}
	return nil
}
