// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/api"
)

// client asks the daemon of --socket.
func client(c *cli.Context) *api.Client { return api.NewClient(c.String("socket")) }

var reloadCommand = &cli.Command{
	Name:  "reload",
	Usage: "have the daemon read its file again",
	Description: `Returns when the maps hold the change. A bad file changes nothing: its errors are
printed, and weir exits 2.

Example: weir reload`,
	Action: func(c *cli.Context) error {
		if err := wantArgs(c, 0); err != nil {
			return err
		}
		if err := client(c).Reload(c.Context); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.App.Writer, "reloaded")
		return err
	},
}
