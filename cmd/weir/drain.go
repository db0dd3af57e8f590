// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/api"
)

var drainCommand = &cli.Command{
	Name:      "drain",
	Usage:     "give a backend no new connections",
	ArgsUsage: "SERVICE BACKEND",
	Description: `BACKEND is ADDRESS:PORT or [IPv6]:PORT. Its connections go on. The drain is kept over
reloads and restarts, until weir undrain.

Example: weir drain web 10.1.1.21:8080`,
	Flags: []cli.Flag{&cli.StringFlag{Name: "deadline", Hidden: true}},
	Action: func(c *cli.Context) error {
		if c.IsSet("deadline") {
			return usageError{fmt.Errorf("--deadline is not supported by this version of weir: connections of a drained backend end by themselves")}
		}
		return drain(c, true)
	},
}

var undrainCommand = &cli.Command{
	Name:      "undrain",
	Usage:     "give a drained backend connections again",
	ArgsUsage: "SERVICE BACKEND",
	Description: `Ends what weir drain began; a backend that the file drains stays so.

Example: weir undrain web 10.1.1.21:8080`,
	Action: func(c *cli.Context) error { return drain(c, false) },
}

func drain(c *cli.Context, on bool) error {
	if err := wantArgs(c, 2); err != nil {
		return err
	}
	request := api.Drain{Service: c.Args().Get(0), Backend: c.Args().Get(1), Drain: on}
	if err := client(c).Drain(c.Context, request); err != nil {
		return err
	}
	done := "drained"
	if !on {
		done = "undrained"
	}
	_, err := fmt.Fprintf(c.App.Writer, "%s %s of %s\n", done, request.Backend, request.Service)
	return err
}
