// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/api"
)

var statusCommand = &cli.Command{
	Name:  "status",
	Usage: "show everything on one screen",
	Description: `Interfaces, services with their backends and why one is not up, connections, drops by
reason, and what is wrong.

Example: weir status`,
	Flags: []cli.Flag{outputFlag, watchFlag},
	Action: func(c *cli.Context) error {
		if err := wantArgs(c, 0); err != nil {
			return err
		}
		return show(c, func() (api.Status, error) { return client(c).Status(c.Context) }, statusTable)
	},
}

func statusTable(w io.Writer, s api.Status) {
	line(w, "weir %s · %s, revision %d, loaded %s ago\n", s.Version, s.Config.Path, s.Config.Revision, since(s.Config.LoadedAt))
	if s.Config.Error != "" {
		line(w, "NOT IN FORCE: %s\n", s.Config.Error)
	}
	for _, problem := range s.Problems {
		line(w, "PROBLEM: %s\n", problem)
	}
	line(w, "connections %s of %s\n\n", amount(s.Table.Used), amount(s.Table.Capacity))
	row(w, "INTERFACE", "ATTACH", "OK")
	for _, i := range s.Interfaces {
		state := "yes"
		if !i.OK {
			state = i.Problem
		}
		row(w, i.Name, i.Attach, state)
	}
	line(w, "\n")
	row(w, "SERVICE", "BACKEND", "STATE", "FOR", "ACTIVE", "OPENED", "REASON")
	for _, service := range s.Services {
		row(w, service.Name, endpoint(service.Address, service.Port)+"/"+service.Protocol, service.Algorithm, "",
			amount(service.Connections.Active), amount(service.Connections.Opened), refused(service))
		for _, b := range service.Backends {
			row(w, "", endpoint(b.Address, fmt.Sprint(b.Port)), b.State, since(b.Since), amount(b.Connections.Active), amount(b.Connections.Opened), b.Reason)
		}
	}
	drops := false
	for _, reason := range slices.Sorted(maps.Keys(s.Drops)) {
		if s.Drops[reason] == 0 {
			continue
		}
		if !drops {
			line(w, "\n")
			row(w, "DROPPED", "PACKETS")
		}
		drops = true
		row(w, reason, amount(s.Drops[reason]))
	}
}

func refused(s api.Service) string {
	if s.Connections.Refused == 0 {
		return ""
	}
	return amount(s.Connections.Refused) + " refused"
}

func endpoint(address, port string) string {
	for _, c := range address {
		if c == ':' {
			return "[" + address + "]:" + port
		}
	}
	return address + ":" + port
}
