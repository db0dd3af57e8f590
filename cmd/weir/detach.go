// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/daemon"
)

var detachCommand = &cli.Command{
	Name:  "detach",
	Usage: "take weir off: programs, pins and the VIPs that it added",
	Description: `Traffic falls back to the kernel, and weir's connections are forgotten. It needs no
daemon, only --bpffs and --state; beside a running one it needs --force.

Example: weir detach`,
	Flags: []cli.Flag{&cli.BoolFlag{Name: "force", Usage: "even while a daemon runs"}},
	Action: func(c *cli.Context) error {
		if err := wantArgs(c, 0); err != nil {
			return err
		}
		if _, err := client(c).Status(c.Context); err == nil && !c.Bool("force") {
			return errors.New("a daemon is running on this socket: stop it first, or detach with --force")
		}
		if err := daemon.Detach(c.String("bpffs"), c.String("state")); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.App.Writer, "detached")
		return err
	},
}
