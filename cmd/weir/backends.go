// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/api"
)

var backendFlag = &cli.StringFlag{Name: "backend", Usage: "only this backend, by `ADDRESS` or ADDRESS:PORT"}

var backendsCommand = &cli.Command{
	Name:        "backends",
	Usage:       "list the backends of all services",
	Description: `Example: weir backends --service web`,
	Flags:       []cli.Flag{outputFlag, watchFlag, serviceFlag, backendFlag},
	Action: func(c *cli.Context) error {
		if err := wantArgs(c, 0); err != nil {
			return err
		}
		return show(c, func() ([]api.Backend, error) { return backends(c) }, backendsTable)
	},
}

func backends(c *cli.Context) ([]api.Backend, error) {
	all, err := services(c)
	found := []api.Backend{}
	for _, s := range all {
		for _, b := range s.Backends {
			if isBackend(c, endpoint(b.Address, fmt.Sprint(b.Port)), b.Address) {
				found = append(found, b)
			}
		}
	}
	return found, err
}

func isBackend(c *cli.Context, names ...string) bool {
	wanted := c.String("backend")
	for _, name := range names {
		if name == wanted {
			return true
		}
	}
	return wanted == ""
}

func backendsTable(w io.Writer, all []api.Backend) {
	row(w, "SERVICE", "BACKEND", "WEIGHT", "STATE", "FOR", "CHECK", "ACTIVE", "OPENED", "PACKETS", "BYTES", "REASON")
	for _, b := range all {
		row(w, b.Service, endpoint(b.Address, fmt.Sprint(b.Port)), b.Weight, b.State, since(b.Since), fmt.Sprintf("%.1fms", b.CheckLatencyMS),
			amount(b.Connections.Active), amount(b.Connections.Opened), amount(b.Packets), amount(b.Bytes), b.Reason)
	}
}
