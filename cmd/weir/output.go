// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"gopkg.in/yaml.v3"

	"github.com/weirlb/weir/api"
)

var outputFlag = &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT`: table, json or yaml"}

var watchFlag = &cli.BoolFlag{Name: "watch", Usage: "show it again every second until interrupted"}

// show prints what get returns, in the format asked for, once or with --watch
// every second. The table is drawn by `table`, whose cells end in tabs.
func show[T any](c *cli.Context, get func() (T, error), table func(w io.Writer, value T)) error {
	for {
		value, err := get()
		if err != nil {
			return err
		}
		if c.Bool("watch") && c.String("output") == "table" {
			if _, err := fmt.Fprint(c.App.Writer, "\x1b[H\x1b[2J"); err != nil {
				return err
			}
		}
		if err := render(c, value, table); err != nil || !c.Bool("watch") {
			return err
		}
		select {
		case <-c.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

func render[T any](c *cli.Context, value T, table func(w io.Writer, value T)) error {
	switch format := c.String("output"); format {
	case "json":
		lines := json.NewEncoder(c.App.Writer)
		lines.SetIndent("", "  ")
		return lines.Encode(value)
	case "yaml":
		return encodeYAML(c.App.Writer, value)
	case "table":
		// It remembers the first error, for its last Flush.
		out := bufio.NewWriter(c.App.Writer)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		table(w, value)
		if err := w.Flush(); err != nil {
			return err
		}
		return out.Flush()
	default:
		return usageError{fmt.Errorf("output %q is not one of table, json, yaml", format)}
	}
}

// encodeYAML goes by JSON, for the same names in both.
func encodeYAML(w io.Writer, value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var plain yaml.Node
	if err := yaml.Unmarshal(encoded, &plain); err != nil {
		return err
	}
	plainStyle(&plain)
	return yaml.NewEncoder(w).Encode(&plain)
}

// plainStyle undoes JSON's braces and quotes.
func plainStyle(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		plainStyle(child)
	}
}

// row writes the cells of a table's row. Errors are render's to tell.
func row(w io.Writer, cells ...any) {
	for i, cell := range cells {
		end := "\t"
		if i == len(cells)-1 {
			end = "\n"
		}
		line(w, "%v%s", cell, end)
	}
}

// line writes what is no row.
func line(w io.Writer, format string, words ...any) { _, _ = fmt.Fprintf(w, format, words...) }

// amount shortens a count for people: 950, 1.2k, 3.4M.
func amount(n uint64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if float64(n) >= unit.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/unit.size), ".0") + unit.name
		}
	}
	return fmt.Sprint(n)
}

// since is how long ago, in the two words that matter: 3d4h, 5m2s.
func since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return api.Age(time.Since(t))
}
