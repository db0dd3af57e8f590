// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version string

var versionCommand = &cli.Command{
	Name:  "version",
	Usage: "print the version of this program",
	Description: `Prints the version, the Go release it was built with and the platform.

Example: weir version`,
	Action: func(c *cli.Context) error {
		if err := wantArgs(c, 0); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.App.Writer, "weir %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS,
			runtime.GOARCH)
		return err
	},
}

// buildVersion falls back to what the Go tool recorded, for `go install`.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
