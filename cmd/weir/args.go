// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder moves flags ahead of arguments, where urfave/cli v2 looks for them:
// global ones before the command, the rest right after it. Flags of unknown
// name stay with the command, whose parser then names them.
func reorder(app *cli.App, args []string) []string {
	// A shell asking for completions wants to know about the line as typed.
	if len(args) < 2 || args[len(args)-1] == "--generate-bash-completion" {
		return args
	}
	var cmd *cli.Command
	var global, own, rest []string
	for i := 1; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			rest = append(rest, args[i:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			if cmd == nil && rest == nil {
				cmd = app.Command(arg)
			}
			rest = append(rest, arg)
			continue
		}
		to := &own
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		flag := find(app.Flags, name)
		if flag != nil || cmd == nil && rest == nil && !anyCommandHas(app, name) {
			to = &global
		} else if cmd != nil {
			flag = find(cmd.Flags, name)
		} else {
			flag = findInCommands(app, name)
		}
		*to = append(*to, arg)
		if takesValue(flag) && !hasValue && i+1 < len(args) {
			i++
			*to = append(*to, args[i])
		}
	}
	out := append([]string{args[0]}, global...)
	if len(rest) > 0 && rest[0] != "--" {
		out, rest = append(out, rest[0]), rest[1:]
	}
	return append(append(out, own...), rest...)
}

func find(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func findInCommands(app *cli.App, name string) cli.Flag {
	for _, c := range app.Commands {
		if f := find(c.Flags, name); f != nil {
			return f
		}
	}
	return nil
}

func anyCommandHas(app *cli.App, name string) bool { return findInCommands(app, name) != nil }

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
