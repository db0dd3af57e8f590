// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/api"
	"github.com/weirlb/weir/config"
)

var planCommand = &cli.Command{
	Name:  "plan",
	Usage: "show what a reload of a file would change",
	Description: `Asks the running daemon and changes nothing: services and backends, the slots of their
tables that move, and what becomes of the connections that are open. Drained ones go on
until they end. New backends count as up. Exits 2 when the file is not valid.

Example: weir plan -c /etc/weir/weir.yaml`,
	Flags: []cli.Flag{configFlag, outputFlag},
	Action: func(c *cli.Context) error {
		if err := wantArgs(c, 0); err != nil {
			return err
		}
		return show(c, func() (plan api.Plan, err error) {
			file := api.File{Path: c.Path("config")}
			if file.Content, err = config.Read(file.Path); err != nil {
				return plan, usageError{err}
			}
			return client(c).Plan(c.Context, file)
		}, planTable)
	},
}

func planTable(w io.Writer, p api.Plan) {
	if len(p.Settings)+len(p.Services) == 0 {
		fmt.Fprintln(w, "no changes")
		return
	}
	row(w, "WHAT", "CHANGE", "SLOTS", "MOVED", "KEPT", "DRAINED")
	for _, f := range p.Settings {
		row(w, f.Field, fieldText(f))
	}
	for _, s := range p.Services {
		row(w, fmt.Sprintf("%s (%s/%s)", s.Service, endpoint(s.Address, s.Port), s.Protocol), s.Change,
			fmt.Sprintf("%d → %d", s.Slots.Old, s.Slots.New), s.Slots.Moved, s.Connections.Kept, s.Connections.Drained)
		for _, f := range s.Fields {
			row(w, "  "+f.Field, fieldText(f))
		}
		for _, b := range s.Backends {
			row(w, "  "+b.Backend, b.Change, "", "", b.Connections.Kept, b.Connections.Drained)
			for _, f := range b.Fields {
				row(w, "    "+f.Field, fieldText(f))
			}
		}
	}
}

func fieldText(f api.FieldChange) string { return cmp.Or(f.Old, "-") + " → " + cmp.Or(f.New, "-") }
