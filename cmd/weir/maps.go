// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/api"
)

var mapsCommand = &cli.Command{
	Name:  "maps",
	Usage: "list the BPF maps with their sizes",
	Description: `Arrays are full by nature: each of their entries exists.

Example: weir maps`,
	Flags: []cli.Flag{outputFlag},
	Action: func(c *cli.Context) error {
		if c.Args().Present() {
			return usageError{errors.New("maps NAME is not supported by this version of weir: it lists the maps alone")}
		}
		return show(c, func() ([]api.Map, error) { return client(c).Maps(c.Context) }, func(w io.Writer, all []api.Map) {
			row(w, "MAP", "TYPE", "ENTRIES", "CAPACITY", "BYTES", "PIN")
			for _, m := range all {
				row(w, m.Name, m.Type, amount(m.Entries), amount(m.Capacity), amount(m.Bytes), m.Pin)
			}
		})
	},
}
