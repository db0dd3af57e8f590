// SPDX-License-Identifier: Apache-2.0

// Command weir is an XDP load balancer: its daemon and the commands that talk
// to it. Each command is one file here; main only wires them.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/api"
	"github.com/weirlb/weir/config"
)

// Exit codes of the contract.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // usage or invalid configuration
)

// usageError is an error of who called weir, not of weir.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	app := newApp(stdout, stderr)
	err := app.Run(reorder(app, args))
	if err == nil {
		return exitDone
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		_, _ = fmt.Fprintf(stderr, "weir: %s\n", line)
	}
	return exitCode(err)
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:                 "weir",
		Usage:                "an XDP load balancer",
		Description:          "Example: weir check -c /etc/weir/weir.yaml",
		HideVersion:          true, // weir version
		EnableBashCompletion: true,
		Writer:               stdout,
		ErrWriter:            stderr,
		OnUsageError:         onUsageError,
		// Returned errors are printed and turned into exit codes by run alone.
		ExitErrHandler: func(*cli.Context, error) {},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "socket", EnvVars: []string{"WEIR_SOCKET"}, Value: "/run/weir/weir.sock",
				Usage: "control `SOCKET` of the daemon"},
			&cli.StringFlag{Name: "bpffs", EnvVars: []string{"WEIR_BPFFS"}, Value: "/sys/fs/bpf/weir/",
				Usage: "`FOLDER` of the pins, in a mounted bpffs"},
			&cli.StringFlag{Name: "state", EnvVars: []string{"WEIR_STATE"}, Value: "/var/lib/weir/",
				Usage: "`FOLDER` of what outlives the daemon"},
		},
		Commands: []*cli.Command{
			runCommand, checkCommand, planCommand, reloadCommand, statusCommand, servicesCommand, backendsCommand, connsCommand, mapsCommand,
			drainCommand, undrainCommand, doctorCommand, detachCommand, versionCommand,
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError{fmt.Errorf("%q is not a command; see weir help", c.Args().First())}
			}
			return usageError{errors.New("no command given; see weir help")}
		},
	}
	for _, cmd := range app.Commands {
		cmd.OnUsageError = onUsageError
	}
	return app
}

func onUsageError(_ *cli.Context, err error, _ bool) error { return usageError{err} }

// exitCode maps an error to the contract. The cli package's own exit errors
// all concern usage ("No help topic for").
func exitCode(err error) int {
	var usage usageError
	var invalid config.Errors
	var exit cli.ExitCoder
	var refused api.Invalid
	if errors.As(err, &usage) || errors.As(err, &refused) || errors.As(err, &invalid) || errors.As(err, &exit) {
		return exitUsage
	}
	return exitFailed
}
