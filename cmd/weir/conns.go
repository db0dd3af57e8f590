// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

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
	out := bufio.NewWriterSize(c.App.Writer, 1<<16)
	write, err := connWriter(out, c.String("output"))
	if err != nil {
		return err
	}
	err = client(c).Conns(c.Context, func(conn api.Conn) error {
		if !isConn(c, conn) {
			return nil
		}
		return write(conn)
	})
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	return err
}

// connWriter writes each connection as it comes: a table of millions is not
// held to find its columns, they have fixed widths.
func connWriter(out *bufio.Writer, format string) (func(api.Conn) error, error) {
	const columns = "%-4s %-27s %-27s %-27s %-16s %-11s %8s %8s\n"
	switch format {
	case "json":
		lines := json.NewEncoder(out)
		return func(conn api.Conn) error { return lines.Encode(conn) }, nil
	case "yaml":
		return func(conn api.Conn) error { return encodeYAML(out, []api.Conn{conn}) }, nil
	case "table":
		_, err := fmt.Fprintf(out, columns, "", "CLIENT", "VIP", "BACKEND", "SERVICE", "STATE", "AGE", "IDLE")
		return func(conn api.Conn) error {
			_, err := fmt.Fprintf(out, columns, conn.Protocol, conn.Client, conn.VIP, conn.Backend, conn.Service, conn.State,
				age(time.Duration(conn.AgeS*1e9)), age(time.Duration(conn.IdleS*1e9)))
			return err
		}, err
	}
	return nil, usageError{fmt.Errorf("output %q is not one of table, json, yaml", format)}
}

func isConn(c *cli.Context, conn api.Conn) bool {
	client := c.String("client")
	return (c.String("service") == "" || conn.Service == c.String("service")) &&
		isBackend(c, conn.Backend, address(conn.Backend)) &&
		(client == "" || conn.Client == client || address(conn.Client) == client)
}

func address(endpoint string) string {
	parsed, err := netip.ParseAddrPort(endpoint)
	if err != nil {
		return endpoint
	}
	return parsed.Addr().String()
}
