// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/api"
)

var mapsCommand = &cli.Command{
	Name:      "maps",
	Usage:     "list the BPF maps with their sizes, or the rows of one",
	ArgsUsage: "[NAME]",
	Description: `Arrays are full by nature: each of their entries exists; of one map only those in use
are shown. Rows are streamed; with -o json one object a line.

Example: weir maps services`,
	Flags: []cli.Flag{outputFlag},
	Action: func(c *cli.Context) error {
		if c.Args().Present() {
			return rows(c)
		}
		return show(c, func() ([]api.Map, error) { return client(c).Maps(c.Context) }, func(w io.Writer, all []api.Map) {
			row(w, "MAP", "TYPE", "ENTRIES", "CAPACITY", "BYTES", "PIN")
			for _, m := range all {
				row(w, m.Name, m.Type, amount(m.Entries), amount(m.Capacity), amount(m.Bytes), m.Pin)
			}
		})
	},
}

func rows(c *cli.Context) error {
	if err := wantArgs(c, 1); err != nil {
		return err
	}
	out := bufio.NewWriterSize(c.App.Writer, 1<<16)
	write, end, err := rowWriter(out, c.String("output"))
	if err != nil {
		return err
	}
	if err := client(c).Rows(c.Context, c.Args().First(), write); err != nil {
		return err
	}
	if err := end(); err != nil {
		return err
	}
	return out.Flush()
}

// rowsAligned is how many rows of a table are held to find its columns: a map
// may have millions.
const rowsAligned = 10000

// rowWriter writes each row as it comes; end writes what is held.
func rowWriter(out *bufio.Writer, format string) (write func(json.RawMessage) error, end func() error, err error) {
	nothing := func() error { return nil }
	switch format {
	case "json":
		return func(row json.RawMessage) error {
			_, err := fmt.Fprintf(out, "%s\n", row)
			return err
		}, nothing, nil
	case "yaml":
		return func(row json.RawMessage) error { return encodeYAML(out, []json.RawMessage{row}) }, nothing, nil
	case "table":
		table, n := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), 0
		return func(object json.RawMessage) error {
			names, values, err := cells(object)
			if err != nil {
				return err
			}
			if n == 0 {
				row(table, names...)
			}
			row(table, values...)
			if n++; n%rowsAligned == 0 {
				return table.Flush()
			}
			return nil
		}, table.Flush, nil
	}
	return nil, nil, usageError{fmt.Errorf("output %q is not one of table, json, yaml", format)}
}

// cells are the names, in capitals, and the values of a flat object, in order.
func cells(object json.RawMessage) (names, values []any, err error) {
	tokens := json.NewDecoder(bytes.NewReader(object))
	tokens.UseNumber()
	if _, err := tokens.Token(); err != nil {
		return nil, nil, err
	}
	for tokens.More() {
		name, err := tokens.Token()
		if err != nil {
			return nil, nil, err
		}
		value, err := tokens.Token()
		if err != nil {
			return nil, nil, err
		}
		names, values = append(names, strings.ToUpper(fmt.Sprint(name))), append(values, value)
	}
	return names, values, nil
}
