// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/config"
	"github.com/weirlb/weir/doctor"
)

var doctorCommand = &cli.Command{
	Name:  "doctor",
	Usage: "check that this router can balance what a file asks for",
	Description: `Looks at the kernel, the interfaces and their offloads, and the routes, and says what to
mend. It needs no daemon and changes nothing. Exits 1 when something must be mended; what
is a warning may be as you want it. What it cannot know: the router's own connections to
a VIP are not balanced, as they never pass an ingress hook.

Example: weir doctor -c /etc/weir/weir.yaml`,
	Flags: []cli.Flag{configFlag, outputFlag},
	Action: func(c *cli.Context) error {
		if err := wantArgs(c, 0); err != nil {
			return err
		}
		state, err := config.Load(c.Path("config"))
		if err != nil {
			return usageError{err}
		}
		facts, err := doctor.Gather(state, c.String("bpffs"))
		if err != nil {
			return err
		}
		checks := doctor.Judge(facts)
		if err := render(c, checks, doctorTable); err != nil {
			return err
		}
		if n := doctor.Failed(checks); n > 0 {
			return fmt.Errorf("%d of %d checks failed", n, len(checks))
		}
		return nil
	},
}

// doctorTable has what to mend on a line of its own, which is to be copied.
func doctorTable(w io.Writer, checks []doctor.Check) {
	for _, c := range checks {
		row(w, c.Status, c.Check, c.Subject, c.What)
		if c.Mend != "" {
			row(w, "", "", "", "→ "+c.Mend)
		}
	}
	if doctor.Failed(checks) == 0 {
		fmt.Fprintln(w, "all is well")
	}
}
