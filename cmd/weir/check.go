// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
	"github.com/weirlb/weir/config"
)

const defaultConfig = "/etc/weir/weir.yaml"

var configFlag = &cli.PathFlag{Name: "config", Aliases: []string{"c"}, Value: defaultConfig, TakesFile: true,
	Usage: "configuration `FILE`"}

var checkCommand = &cli.Command{
	Name:  "check",
	Usage: "validate a configuration file",
	Description: `Reads the file alone, not the host, and prints every error with its line.
Exits 0 when the file is valid and 2 when it is not.

Example: weir check -c /etc/weir/weir.yaml`,
	Flags:  []cli.Flag{configFlag},
	Action: check,
}

func check(c *cli.Context) error {
	if err := wantArgs(c, 0); err != nil {
		return err
	}
	path := c.Path("config")
	state, err := config.Load(path)
	if err != nil {
		// Also a file that cannot be read: check knows only valid and not.
		return usageError{err}
	}
	backends := 0
	for i := range state.Services {
		backends += len(state.Services[i].Backends)
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s is valid: interfaces %d, services %d, backends %d\n", path,
		len(state.Interfaces), len(state.Services), backends)
	return err
}
