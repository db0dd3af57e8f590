// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/api"
)

var serviceFlag = &cli.StringFlag{Name: "service", Usage: "only of this service, by `NAME`"}

var servicesCommand = &cli.Command{
	Name:  "services",
	Usage: "list the services",
	Description: `Packets and bytes count both directions.

Example: weir services -o json`,
	Flags: []cli.Flag{outputFlag, watchFlag, serviceFlag},
	Action: func(c *cli.Context) error {
		if err := wantArgs(c, 0); err != nil {
			return err
		}
		return show(c, func() ([]api.Service, error) { return services(c) }, servicesTable)
	},
}

func services(c *cli.Context) ([]api.Service, error) {
	status, err := client(c).Status(c.Context)
	return slices.DeleteFunc(status.Services, func(s api.Service) bool {
		return c.String("service") != "" && s.Name != c.String("service")
	}), err
}

func servicesTable(w io.Writer, all []api.Service) {
	row(w, "SERVICE", "ADDRESS", "ALGORITHM", "MODE", "UP", "ACTIVE", "OPENED", "REFUSED", "PACKETS", "BYTES")
	for _, s := range all {
		up := 0
		for _, b := range s.Backends {
			if b.State == "up" {
				up++
			}
		}
		row(w, s.Name, endpoint(s.Address, s.Port)+"/"+s.Protocol, s.Algorithm, s.Mode, amount(uint64(up))+"/"+amount(uint64(len(s.Backends))),
			amount(s.Connections.Active), amount(s.Connections.Opened), amount(s.Connections.Refused), amount(s.Packets), amount(s.Bytes))
	}
}
