// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/api"
)

var connsCommand = &cli.Command{
	Name:  "conns",
	Usage: "list the connections",
	Description: `Streams them, millions too; with -o json one object a line.

Example: weir conns --client 198.51.100.7`,
	Flags: []cli.Flag{outputFlag, serviceFlag, backendFlag,
		&cli.StringFlag{Name: "client", Usage: "only of this client, by `ADDRESS` or ADDRESS:PORT"}},
	Action: conns,
}

func conns(c *cli.Context) error {
	if err := wantArgs(c, 0); err != nil {
		return err
	}
	filter := api.ConnFilter{Service: c.String("service"), Backend: c.String("backend"), Client: c.String("client")}
	switch format := c.String("output"); format {
	case "json":
		return client(c).Conns(c.Context, filter, api.JSONLines, c.App.Writer)
	case "yaml":
		return connsYAML(c, filter)
	case "table":
		return client(c).Conns(c.Context, filter, api.Text, c.App.Writer)
	default:
		return usageError{fmt.Errorf("output %q is not one of table, json, yaml", format)}
	}
}

// connsYAML prints a document of one list.
func connsYAML(c *cli.Context, filter api.ConnFilter) error {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(client(c).Conns(c.Context, filter, api.JSONLines, writer)) }()
	for lines := json.NewDecoder(reader); ; {
		var conn api.Conn
		if err := lines.Decode(&conn); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := encodeYAML(c.App.Writer, []api.Conn{conn}); err != nil {
			return err
		}
	}
}
